//! What a bench stands on: a server, a manager beside it, and kubectl to ask with.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Options;
use crate::process::Running;
use crate::{Failure, kubectl, program, workspace};

/// The loops that both managers run when nothing else is said: those that make pods.
pub const WORKLOADS: &str = "deployment-controller,replicaset-controller,replicationcontroller-controller";
/// The Lease that managers share.
const LEASE: &str = "kube-controller-manager";
const LEASE_NAMESPACE: &str = "kube-system";
/// How long a server or a manager may take to be there.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A server and the way to it.
pub struct Stage {
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    folder: PathBuf,
    /// Kept running while the bench lasts.
    server: Option<Running>,
    /// Whether the server is the local one.
    pub server_name: &'static str,
}

/// A manager to be looked at.
pub struct Contender {
    /// What it is called in the figures.
    pub name: String,
    binary: PathBuf,
    flags: Vec<String>,
}

/// Evenkeel and, if there is one, the rival.
pub fn contenders(options: &Options) -> Result<Vec<Contender>, Failure> {
    program::build(&["--bins", "--quiet"])?;
    let mut contenders = vec![Contender { name: "evenkeel".into(), binary: workspace::built("evenkeel"), flags: Vec::new() }];
    if let Some(binary) = &options.rival {
        let name = binary.file_name().map_or_else(|| "rival".into(), |name| name.to_string_lossy().into_owned());
        contenders.push(Contender { name, binary: binary.clone(), flags: options.rival_flags.clone() });
    }
    Ok(contenders)
}

impl Stage {
    /// A local control plane without manager and nodes, or the server that was asked for.
    pub fn set(options: &Options) -> Result<Stage, Failure> {
        let folder = workspace::target().join("bench");
        std::fs::create_dir_all(&folder).map_err(|error| Failure::Machine(format!("cannot make {}: {error}", folder.display())))?;
        let kubectl = kubectl::find()?;
        if let Some(kubeconfig) = &options.kubeconfig {
            let stage = Stage { kubectl, kubeconfig: kubeconfig.clone(), folder, server: None, server_name: "given" };
            stage.get("/readyz")?;
            return Ok(stage);
        }
        program::build(&["--bins", "--quiet"])?;
        let kubeconfig = folder.join("kubeconfig");
        let _ = std::fs::remove_file(&kubeconfig);
        let mut command = Command::new(workspace::built("devcluster"));
        command.args(["--no-manager", "--no-nodes", "--port", "0", "--kubeconfig"]).arg(&kubeconfig);
        let server = Running::start(&mut command, &folder.join("devcluster.log"))?;
        let mut stage = Stage { kubectl, kubeconfig, folder, server: Some(server), server_name: "devcluster" };
        let start = Instant::now();
        while stage.get("/readyz").is_err() {
            stage.server.as_mut().map_or(Ok(()), Running::check)?;
            if start.elapsed() > START_LIMIT {
                return Err(Failure::Machine("the local control plane does not answer".into()));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(stage)
    }

    fn kubectl(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(args);
        command
    }

    /// The answer to a GET.
    pub fn get(&self, path: &str) -> Result<String, Failure> {
        program::output(&mut self.kubectl(&["get", "--raw", path]))
    }

    /// Calls kubectl to its end.
    pub fn call(&self, args: &[&str]) -> Result<String, Failure> {
        program::output(&mut self.kubectl(args))
    }

    /// Creates what a manifest says.
    pub fn create(&self, name: &str, manifest: &Value) -> Result<(), Failure> {
        let file = self.folder.join(name);
        std::fs::write(&file, manifest.to_string())
            .map_err(|error| Failure::Machine(format!("cannot write {}: {error}", file.display())))?;
        self.call(&["create", "-f", &file.to_string_lossy()]).map(|_| ())
    }

    /// How many objects the list at `path` holds, without reading them.
    pub fn count(&self, path: &str) -> Result<u64, Failure> {
        let text = self.get(&format!("{path}?limit=1"))?;
        let list: Value = serde_json::from_str(&text).map_err(|error| Failure::Machine(format!("{path}: {error}")))?;
        let here = list["items"].as_array().map_or(0, Vec::len) as u64;
        Ok(here + list["metadata"]["remainingItemCount"].as_u64().unwrap_or(0))
    }

    /// Sends requests out of a file over so many connections, then waits until the lists at `until_empty` are empty. Gives the load maker's
    /// figures.
    pub fn send(&self, name: &str, requests: &[Value], connections: usize, until_empty: &[String]) -> Result<Value, Failure> {
        let file = self.folder.join(format!("{name}.jsonl"));
        let lines: String = requests.iter().map(|request| format!("{request}\n")).collect();
        std::fs::write(&file, lines).map_err(|error| Failure::Machine(format!("cannot write {}: {error}", file.display())))?;
        let mut command = Command::new(workspace::built("stories"));
        command.arg("send").arg(flag("--kubeconfig", &self.kubeconfig)).arg(flag("--requests", &file));
        command.arg(format!("--connections={connections}")).args(until_empty.iter().map(|path| format!("--until-empty={path}")));
        let text = program::output(&mut command)?;
        serde_json::from_str(text.trim()).map_err(|error| Failure::Machine(format!("{}: {error}", program::shown(&command))))
    }

    /// A page of a manager that serves on this port.
    pub fn page(&self, port: u16, path: &str) -> Result<String, Failure> {
        let mut command = Command::new(&self.kubectl);
        let server = format!("--server=https://127.0.0.1:{port}");
        // The kubeconfig names an authority that knows nothing of the manager's certificate, and without any token kubectl asks for a name.
        command.env("KUBECONFIG", self.folder.join("none")).args([
            &server,
            "--insecure-skip-tls-verify=true",
            "--token=none",
            "get",
            "--raw",
            path,
        ]);
        program::output(&mut command)
    }

    /// Starts a manager with the loops that make pods and no pages; see [`Stage::start_with`].
    pub fn start(&self, contender: &Contender) -> Result<Running, Failure> {
        self.start_with(contender, &[&format!("--controllers={WORKLOADS}"), "--secure-port=0"])
    }

    /// Starts a manager and waits until it leads: until it holds the Lease that managers share.
    pub fn start_with(&self, contender: &Contender, flags: &[&str]) -> Result<Running, Failure> {
        self.free_lease();
        let mut manager = self.launch(contender, flags)?;
        let start = Instant::now();
        loop {
            manager.check()?;
            let holder = self.call(&["get", "lease", "-n", LEASE_NAMESPACE, LEASE, "-o", "jsonpath={.spec.holderIdentity}"]);
            if holder.is_ok_and(|holder| !holder.is_empty()) {
                return Ok(manager);
            }
            if start.elapsed() > START_LIMIT {
                return Err(Failure::Machine(format!("{} does not lead after {} s", contender.name, START_LIMIT.as_secs())));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Starts a manager that only watches, because somebody else holds the Lease.
    pub fn start_standby(&self, contender: &Contender, flags: &[&str]) -> Result<Running, Failure> {
        self.free_lease();
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": LEASE, "namespace": LEASE_NAMESPACE},
            "spec": {"holderIdentity": "bench", "leaseDurationSeconds": 3600, "renewTime": "2100-01-01T00:00:00.000000Z"},
        });
        self.create("lease.json", &lease)?;
        self.launch(contender, flags)
    }

    fn free_lease(&self) {
        let _ = self.call(&["delete", "lease", "--ignore-not-found", "-n", LEASE_NAMESPACE, LEASE]);
    }

    fn launch(&self, contender: &Contender, flags: &[&str]) -> Result<Running, Failure> {
        let mut command = Command::new(&contender.binary);
        command.arg(flag("--kubeconfig", &self.kubeconfig)).args(flags).args(&contender.flags);
        Running::start(&mut command, &self.folder.join(format!("{}.log", contender.name)))
    }
}

fn flag(name: &str, value: &Path) -> String {
    format!("{name}={}", value.display())
}
