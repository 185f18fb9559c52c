//! `bench apiserver`: the local API server as one process, the load maker (`stories load`) as a second, on the same cores, over TLS.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Options;
use super::verdict::Target::{AtLeast, AtMost};
use super::verdict::Verdict;
use crate::process::Running;
use crate::{Failure, program, workspace};

/// How many pods when nothing else is said.
const PODS: u64 = 10_000;
/// Pods that are made before anything is measured.
const WARM_UP: u64 = 1_000;
/// Who watches.
const WATCHERS: u64 = 10;
/// How long the server may take to be there.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long memory is given to come to rest.
const REST: Duration = Duration::from_secs(1);

/// What must be reached.
const CREATES_PER_SECOND: f64 = 4_000.0;
const DELIVERIES_PER_SECOND: f64 = 20_000.0;
const LIST_MS: f64 = 150.0;
const BYTES_PER_POD: f64 = 4_096.0;

/// Prints creates and deliveries per second, the time of a long list, and memory per pod; the same creates with a data file.
pub fn run(options: &Options) -> Result<(), Failure> {
    program::build(&["--bins", "--quiet"])?;
    let pods = options.pods.unwrap_or(PODS);
    let folder = workspace::target().join("bench");
    let mut verdict = Verdict::of("apiserver");

    let server = LocalServer::start(&folder, "apiserver", &[])?;
    server.load("create", "warm", WARM_UP, &[])?;
    std::thread::sleep(REST);
    let before = server.running.resident()?;
    let made = server.load("create", "standing", pods, &[])?;
    std::thread::sleep(REST);
    let after = server.running.resident()?;
    verdict.line("creates", &made, &[("per_second", AtLeast(CREATES_PER_SECOND))]);
    let per_pod = |now: u64| (now.saturating_sub(before) as f64 / pods as f64).round();
    let memory = json!({"pods": pods, "resident_before_bytes": before, "resident_bytes": after, "bytes_per_pod": per_pod(after)});
    verdict.line("memory", &memory, &[("bytes_per_pod", AtMost(BYTES_PER_POD))]);
    let listed = server.load("list", "standing", pods, &[])?;
    verdict.line("list", &listed, &[("median_ms", AtMost(LIST_MS))]);
    let delivered = server.load("deliver", "watched", pods / 2, &["--watchers", &WATCHERS.to_string()])?;
    verdict.line("watch", &delivered, &[("deliveries_per_second", AtLeast(DELIVERIES_PER_SECOND))]);
    // For information: a second version of each pod, of which the first one is history.
    let before = server.running.resident()?;
    let mut touched = server.load("touch", "standing", pods, &[])?;
    std::thread::sleep(REST);
    touched["bytes_per_version"] = (server.running.resident()?.saturating_sub(before) as f64 / pods as f64).round().into();
    verdict.line("status writes", &touched, &[]);
    drop(server);

    let data = folder.join("apiserver.data");
    let _ = std::fs::remove_file(&data);
    let flag = format!("--data={}", data.display());
    let server = LocalServer::start(&folder, "apiserver-data", &[&flag])?;
    server.load("create", "warm", WARM_UP, &[])?;
    let mut made = server.load("create", "standing", pods, &["--connections", "64"])?;
    drop(server);
    made["file_bytes"] = std::fs::metadata(&data).map_or(0, |file| file.len()).into();
    verdict.line("creates, each durable (--data)", &made, &[]);
    let start = Instant::now();
    let server = LocalServer::start(&folder, "apiserver-data", &[&flag])?;
    let again = json!({"pods": pods + WARM_UP, "seconds": super::idle::rounded(start.elapsed().as_secs_f64())});
    drop(server);
    let _ = std::fs::remove_file(&data);
    verdict.line("start with that file", &again, &[]);
    verdict.result()
}

/// A local API server with nothing beside it.
struct LocalServer {
    running: Running,
    kubeconfig: PathBuf,
}

impl LocalServer {
    fn start(folder: &Path, name: &str, flags: &[&str]) -> Result<LocalServer, Failure> {
        let (kubeconfig, log) = (folder.join(format!("{name}.kubeconfig")), folder.join(format!("{name}.log")));
        let mut command = Command::new(workspace::built("devcluster"));
        command.args(["--no-manager", "--no-nodes", "--port", "0", "--kubeconfig"]).arg(&kubeconfig).args(flags);
        let mut running = Running::start(&mut command, &log)?;
        let start = Instant::now();
        // It says where it is once it answers.
        while !std::fs::read_to_string(&log).is_ok_and(|said| said.contains("Ctrl-C")) {
            running.check()?;
            if start.elapsed() > START_LIMIT {
                return Err(Failure::Machine(format!("the local API server does not answer; see {}", log.display())));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(LocalServer { running, kubeconfig })
    }

    /// Runs the load maker and gives its figures.
    fn load(&self, what: &str, namespace: &str, pods: u64, flags: &[&str]) -> Result<Value, Failure> {
        let mut command = Command::new(workspace::built("stories"));
        command
            .args(["load", what, "--namespace", namespace, "--pods", &pods.to_string(), "--kubeconfig"])
            .arg(&self.kubeconfig)
            .args(flags);
        let text = program::output(&mut command)?;
        serde_json::from_str(text.trim()).map_err(|error| Failure::Machine(format!("{}: {error}", program::shown(&command))))
    }
}
