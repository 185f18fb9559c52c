//! The story of clients that nobody here wrote: the Python client of Kubernetes, kube-rs with its runtime, and `kube-lease-manager`.
//!
//! Each does what its users do with it, each step with what must be seen. The Python half is `tests/python/story.py`; here is what starts
//! the control plane, tells both halves at the same time, and counts.

mod controller;
mod leases;
mod objects;
mod python;
mod watching;

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::recorded::Broken;
use crate::stories::program::{built, stop};
use crate::stories::wait::eventually;

/// How long anything may take to be seen.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the local server forgets history: soon enough for a watch from the past to be refused within the story.
const COMPACTION: &str = "5s";

/// What a step gives: nothing, or why it failed.
type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// How the story is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// A cluster with nodes and a manager; left out: the local control plane is started.
    pub kubeconfig: Option<PathBuf>,
    /// Where the modules of the Python client are; left out: its half is not told.
    pub modules: Option<PathBuf>,
    /// Where files of the story go.
    pub folder: PathBuf,
}

/// How many steps passed and failed.
#[derive(Debug, Default)]
struct Count {
    passed: usize,
    failed: usize,
}

/// Tells the story; prints a line per step. Gives how many steps passed and how many failed.
///
/// # Errors
/// When it cannot begin.
pub async fn tell(options: &Options) -> Result<(usize, usize), Broken> {
    std::fs::create_dir_all(&options.folder).map_err(|error| Broken(format!("cannot make {}: {error}", options.folder.display())))?;
    let (kubeconfig, plane) = match &options.kubeconfig {
        Some(kubeconfig) => {
            println!("On the cluster of {}", kubeconfig.display());
            (kubeconfig.clone(), None)
        }
        None => {
            println!("On the local control plane");
            let kubeconfig = options.folder.join("kubeconfig");
            let plane = start(&kubeconfig, &options.folder.join("devcluster.log"))?;
            (kubeconfig, Some(plane))
        }
    };
    let client = connect(&kubeconfig).await?;
    let python = async {
        match &options.modules {
            Some(modules) => {
                let namespace = namespace(&client, "python").await?;
                python::tell(modules, &kubeconfig, &namespace).await
            }
            None => {
                println!("The Python client is left out: `cargo xtask story clients` fetches it");
                Ok(Count::default())
            }
        }
    };
    let rust = async {
        let namespace = namespace(&client, "kube").await?;
        Ok(kube_steps(&client, &namespace).await)
    };
    let (python, rust): (Result<Count, Broken>, Result<Count, Broken>) = tokio::join!(python, rust);
    if let Some(plane) = plane {
        stop(plane).await;
    }
    let (python, rust) = (python?, rust?);
    let (passed, failed) = (python.passed + rust.passed, python.failed + rust.failed);
    println!("{passed} passed, {failed} failed");
    Ok((passed, failed))
}

fn start(kubeconfig: &Path, log: &Path) -> Result<Child, Broken> {
    let broken = |error: std::io::Error| Broken(format!("cannot start the local control plane: {error}"));
    let file = std::fs::File::create(log).map_err(broken)?;
    let mut command = Command::new(built("devcluster")?);
    command.args(["--port", "0", "--compaction-interval", COMPACTION, "--kubeconfig"]).arg(kubeconfig);
    command.stdin(std::process::Stdio::null()).stdout(file.try_clone().map_err(broken)?).stderr(file).kill_on_drop(true);
    command.spawn().map_err(broken)
}

async fn connect(kubeconfig: &Path) -> Result<Client, Broken> {
    eventually(PATIENCE, "the server answers", async || {
        let broken = |error: &dyn std::fmt::Display| Broken(error.to_string());
        let file = Kubeconfig::read_from(kubeconfig).map_err(|error| broken(&error))?;
        let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(|error| broken(&error))?;
        let client = Client::try_from(config).map_err(|error| broken(&error))?;
        client.apiserver_version().await.map_err(|error| broken(&error))?;
        Ok(client)
    })
    .await
}

/// A namespace of its own for each half.
async fn namespace(client: &Client, half: &str) -> Result<String, Broken> {
    let object = json!({"metadata": {"generateName": format!("clients-{half}-")}});
    let object: Namespace = serde_json::from_value(object).expect("a namespace");
    let made = Api::<Namespace>::all(client.clone()).create(&Default::default(), &object).await;
    Ok(made.map_err(|error| Broken(format!("no namespace: {error}")))?.metadata.name.unwrap_or_default())
}

/// What the steps of kube-rs are told with.
#[derive(Clone)]
struct Stage {
    client: Client,
    namespace: String,
}

impl Stage {
    /// Objects of a kind in the story's namespace.
    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

async fn kube_steps(client: &Client, namespace: &str) -> Count {
    let stage = Stage { client: client.clone(), namespace: namespace.to_owned() };
    let mut count = Count::default();
    macro_rules! tell {
        ($($step:path),+ $(,)?) => {
            $(count.note(stringify!($step), $step(&stage)).await;)+
        };
    }
    tell!(
        objects::an_object_is_created_replaced_and_deleted,
        objects::refusals_come_as_statuses,
        objects::patches_of_each_type_do_what_they_say,
        objects::applying_tells_conflicts_and_takes_over_by_force,
        objects::subresources_are_read_and_written,
        objects::logs_stream,
        objects::dynamic_objects_are_discovered_and_written,
        objects::metadata_comes_alone,
        objects::collections_are_paged_and_deleted,
        watching::a_plain_watch_resumes_and_ends_in_time,
        watching::a_plain_watch_from_the_past_is_told_410,
        watching::a_watcher_lists_in_pages_and_follows,
        watching::a_watcher_takes_the_list_from_the_stream,
        watching::a_reflector_keeps_a_copy,
        watching::conditions_are_awaited,
        controller::a_controller_keeps_what_it_owns_and_cleans_up,
        leases::a_lease_manager_hands_the_lease_over,
        leases::a_lease_that_is_not_renewed_is_taken,
    );
    count
}

impl Count {
    async fn note(&mut self, path: &str, step: impl Future<Output = Outcome>) {
        let start = Instant::now();
        let title = path.rsplit("::").next().unwrap_or(path).trim().replace('_', " ");
        let outcome = tokio::time::timeout(2 * PATIENCE, step).await.unwrap_or_else(|_| Err("it does not end".into()));
        let took = start.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => {
                self.passed += 1;
                println!("ok   kube-rs: {title} ({took:.1} s)");
            }
            Err(error) => {
                self.failed += 1;
                println!("FAIL kube-rs: {title} ({took:.1} s): {error}");
            }
        }
    }
}

/// `Ok` when it holds, else what was seen.
fn ensure(holds: bool, seen: impl std::fmt::Debug) -> Outcome {
    if holds { Ok(()) } else { Err(format!("{seen:?}").into()) }
}

/// The status that a call was refused with.
fn refusal<T>(outcome: Result<T, kube::Error>) -> Result<kube::core::Status, Box<dyn std::error::Error + Send + Sync>> {
    match outcome {
        Ok(_) => Err("it was not refused".into()),
        Err(kube::Error::Api(status)) => Ok(*status),
        Err(other) => Err(other.into()),
    }
}

/// Looks again and again until it holds.
async fn until(what: &str, mut look: impl AsyncFnMut() -> Result<bool, kube::Error>) -> Outcome {
    let start = Instant::now();
    loop {
        if look().await? {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("not within {} s: {what}", PATIENCE.as_secs()).into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A typed object from its document.
fn object<K: serde::de::DeserializeOwned>(document: serde_json::Value) -> Result<K, serde_json::Error> {
    serde_json::from_value(document)
}
