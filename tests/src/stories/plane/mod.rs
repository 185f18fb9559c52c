//! Control planes that a story can be told on: the local one, a real kube-apiserver with etcd, or the one that a kubeconfig names.

mod nodes;
mod real;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::kubectl::Kubectl;
use super::program::{built, stop};
use super::wait::eventually;
use crate::recorded::Broken;

/// The loops that evenkeel has, for another manager in its place.
const LOOPS: &str = "deployment-controller,replicaset-controller,replicationcontroller-controller,garbage-collector-controller,\
                     namespace-controller,pod-garbage-collector-controller";

/// How long a server may take to be there.
const START_LIMIT: Duration = Duration::from_secs(120);

/// Where a story is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// `cargo dev`'s own program, as a child process.
    Local,
    /// `kube-apiserver` and `etcd` out of this folder, with nodes that this process simulates.
    Real(PathBuf),
    /// A cluster that has nodes, and no manager that runs evenkeel's loops.
    Given(PathBuf),
}

impl Place {
    /// What the environment says: `EVENKEEL_TEST_KUBECONFIG`, then `KUBEBUILDER_ASSETS` where that folder has both programs.
    pub fn from_environment() -> Place {
        if let Some(kubeconfig) = std::env::var_os("EVENKEEL_TEST_KUBECONFIG") {
            return Place::Given(kubeconfig.into());
        }
        let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
        let whole = assets.filter(|folder| ["kube-apiserver", "etcd"].iter().all(|program| folder.join(program).is_file()));
        whole.map_or(Place::Local, Place::Real)
    }

    /// What it is called.
    pub fn describe(&self) -> String {
        match self {
            Place::Local => "the local control plane".to_owned(),
            Place::Real(folder) => format!("kube-apiserver and etcd from {}", folder.display()),
            Place::Given(kubeconfig) => format!("the cluster of {}", kubeconfig.display()),
        }
    }
}

/// A control plane that runs. What was started for it ends when it goes.
pub struct Plane {
    place: Place,
    /// The manager's program; evenkeel where nothing else was said.
    program: Option<PathBuf>,
    /// Leads to the server.
    pub kubeconfig: PathBuf,
    /// The programs behind it, in the order in which they are stopped.
    programs: Vec<Child>,
    /// evenkeel as a process of its own; in the local control plane it runs inside.
    manager: Option<Child>,
    /// Whether it was stopped for a story that brings its own.
    paused: bool,
    nodes: Option<JoinHandle<()>>,
}

impl Plane {
    /// Starts it; `folder` is for its files. With `manager` evenkeel runs on it, or the given `program` with the same flags.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start(place: &Place, folder: &Path, manager: bool, program: Option<&Path>, kubectl: &Path) -> Result<Plane, Broken> {
        std::fs::create_dir_all(folder).map_err(|error| Broken(format!("cannot make {}: {error}", folder.display())))?;
        let mut plane = Plane {
            place: place.clone(),
            program: program.map(Path::to_owned),
            kubeconfig: folder.join("kubeconfig"),
            programs: Vec::new(),
            manager: None,
            paused: false,
            nodes: None,
        };
        match place {
            Place::Local => plane.programs.push(local(&plane.kubeconfig, manager && program.is_none(), folder)?),
            Place::Real(assets) => {
                plane.programs = real::start(assets, folder, &plane.kubeconfig)?;
                plane.answers(kubectl).await?;
                plane.nodes = Some(nodes::start(&plane.kubeconfig)?);
            }
            Place::Given(kubeconfig) => plane.kubeconfig.clone_from(kubeconfig),
        }
        plane.answers(kubectl).await?;
        if manager && (*place != Place::Local || program.is_some()) {
            plane.manager = Some(plane.manager(folder, "manager")?);
        }
        Ok(plane)
    }

    async fn answers(&mut self, kubectl: &Path) -> Result<(), Broken> {
        let kubectl = Kubectl::new(kubectl, &self.kubeconfig, "default");
        let programs = &mut self.programs;
        eventually(START_LIMIT, "the server answers", async || {
            for program in programs.iter_mut() {
                if let Ok(Some(status)) = program.try_wait() {
                    return Ok(Err(Broken(format!("a program of the control plane ended: {status}"))));
                }
            }
            kubectl.run(&["get", "--raw", "/readyz"]).await.map(|_| Ok(()))
        })
        .await?
    }

    /// A control plane of the same kind without a manager, for a story that brings its own. On a server that is not ours alone it is
    /// this one, its manager stopped.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn without_manager(&mut self, folder: &Path, kubectl: &Path) -> Result<Option<Plane>, Broken> {
        if self.place == Place::Local {
            return Plane::start(&Place::Local, folder, false, self.program.as_deref(), kubectl).await.map(Some);
        }
        if let Some(manager) = self.manager.take() {
            stop(manager).await;
            self.paused = true;
        }
        Ok(None)
    }

    /// Starts the manager again that [`Plane::without_manager`] stopped.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn resume(&mut self, folder: &Path) -> Result<(), Broken> {
        if std::mem::take(&mut self.paused) {
            self.manager = Some(self.manager(folder, "manager-resumed")?);
        }
        Ok(())
    }

    /// Starts a manager against this server, with stock timings; its Lease is the one that managers share.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn manager(&self, folder: &Path, log: &str) -> Result<Child, Broken> {
        let mut command = match &self.program {
            None => Command::new(built("evenkeel")?),
            // Loops that evenkeel does not have would find the simulated nodes lacking.
            Some(program) => {
                let mut command = Command::new(program);
                command.arg(format!("--controllers={LOOPS}"));
                command
            }
        };
        command.arg("--kubeconfig").arg(&self.kubeconfig).arg("--secure-port=0");
        spawn(&mut command, &folder.join(format!("{log}.log")))
    }

    /// Ends what was started, manager first.
    pub async fn stop(mut self) {
        for child in self.manager.take().into_iter().chain(self.programs.drain(..)) {
            stop(child).await;
        }
        if let Some(nodes) = self.nodes.take() {
            nodes.abort();
        }
    }
}

fn local(kubeconfig: &Path, manager: bool, folder: &Path) -> Result<Child, Broken> {
    let mut command = Command::new(built("devcluster")?);
    command.args(["--port", "0"]).arg("--kubeconfig").arg(kubeconfig);
    if !manager {
        command.arg("--no-manager");
    }
    spawn(&mut command, &folder.join("devcluster.log"))
}

fn spawn(command: &mut Command, log: &Path) -> Result<Child, Broken> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let file = std::fs::File::create(log).and_then(|file| Ok((file.try_clone()?, file)));
    let (out, err) = file.map_err(|error| Broken(format!("cannot write {}: {error}", log.display())))?;
    let started = command.stdin(Stdio::null()).stdout(out).stderr(err).kill_on_drop(true).spawn();
    started.map_err(|error| Broken(format!("cannot start {program}: {error}")))
}

/// A port that is free now.
fn free_port() -> Result<u16, Broken> {
    let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|socket| socket.local_addr());
    port.map(|address| address.port()).map_err(|error| Broken(format!("no free port: {error}")))
}
