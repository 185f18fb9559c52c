//! The hands-on story: what a person does with a cluster, in order, each step with what must be seen.
//!
//! The steps here are those about Deployments, ReplicaSets, collection and the manager itself; their numbers are those of the whole walk.

mod basics;
mod collection;
mod commands;
mod managers;
mod rollouts;
mod strategies;

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::kubectl::{self, Kubectl};
use super::plane::{Place, Plane};
use super::wait::eventually;
use crate::recorded::Broken;
use crate::recorded::chance::namespace_name;

/// Labels of the frontend's pods.
const FRONTEND: &str = "app=guestbook,role=web";
/// How long anything may take to be seen when a manager runs.
const PATIENT: Duration = Duration::from_secs(60);
/// How long it is waited for when none does: nothing will come.
const IMPATIENT: Duration = Duration::from_secs(1);

/// The steps: number in the walk, and what the person does.
pub const STEPS: [(u32, &str); 22] = [
    (1, "apply the guestbook"),
    (2, "describe everything"),
    (3, "rollout status"),
    (4, "scale in the file, apply"),
    (5, "delete a pod"),
    (6, "relabel a pod, and back"),
    (7, "change the memory request, apply"),
    (8, "rollout history"),
    (9, "rollout undo --to-revision=1"),
    (10, "rollout restart"),
    (11, "a second rollout before the first ends"),
    (12, "rollout pause, two changes, resume"),
    (13, "twelve changes with revisionHistoryLimit 10"),
    (14, "strategy Recreate"),
    (15, "a template that never becomes Ready"),
    (16, "set image, scale, edit, patch, label, annotate, diff, server-side apply, prune"),
    (17, "kubectl wait"),
    (28, "delete a Deployment: background, orphan, foreground"),
    (29, "a ConfigMap of a custom resource, owners elsewhere"),
    (30, "a foreign finalizer"),
    (31, "two managers, SIGTERM and SIGKILL"),
    (32, "delete the guestbook, and a namespace with everything in it"),
];

/// What the story is told with.
pub struct Stage {
    k: Kubectl,
    plane: Plane,
    kubectl: PathBuf,
    /// Files of this story.
    folder: PathBuf,
    manager: bool,
    /// How long anything may take to be seen.
    limit: Duration,
}

/// How the story is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where.
    pub place: Place,
    /// Whether a manager runs. Without one most steps must fail, or they would prove nothing.
    pub manager: bool,
    /// Another manager's program in the place of evenkeel, run with the same flags: to hold the story itself against the reference.
    pub program: Option<PathBuf>,
    /// Just these steps; empty: all. Most need what an earlier one left.
    pub only: Vec<u32>,
    /// Where its files go.
    pub folder: PathBuf,
}

/// Tells the story; prints a line per step. Gives how many steps passed and how many failed.
///
/// # Errors
/// When it cannot begin.
pub async fn tell(options: &Options) -> Result<(usize, usize), Broken> {
    let program = kubectl::find()?;
    // A kubeconfig that somebody else's control plane had written here must not be taken for the new one's.
    if options.folder.exists() {
        std::fs::remove_dir_all(&options.folder).map_err(|error| Broken(format!("cannot empty {}: {error}", options.folder.display())))?;
    }
    println!("On {}{}", options.place.describe(), if options.manager { "" } else { ", without a manager" });
    let plane = Plane::start(&options.place, &options.folder, options.manager, options.program.as_deref(), &program).await?;
    let seed = Timestamp::now().as_nanosecond() as u64;
    let k = Kubectl::new(&program, &plane.kubeconfig, &namespace_name(seed, 1).replacen("b-", "handson-", 1));
    k.run(&["create", "namespace", &k.namespace]).await?;
    let limit = if options.manager { PATIENT } else { IMPATIENT };
    let mut stage = Stage { k, plane, kubectl: program, folder: options.folder.clone(), manager: options.manager, limit };
    let (mut passed, mut failed) = (0, 0);
    for (number, title) in STEPS.into_iter().filter(|(number, _)| options.only.is_empty() || options.only.contains(number)) {
        let start = Instant::now();
        let outcome = stage.step(number).await;
        let took = start.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => {
                passed += 1;
                println!("ok   {number:>2} {title} ({took:.1} s)");
            }
            Err(error) => {
                failed += 1;
                println!("FAIL {number:>2} {title} ({took:.1} s): {error}");
            }
        }
    }
    _ = stage.k.run(&["delete", "namespace", &stage.k.namespace, "--wait=false"]).await;
    stage.plane.stop().await;
    println!("{passed} passed, {failed} failed");
    Ok((passed, failed))
}

impl Stage {
    async fn step(&mut self, number: u32) -> Result<(), Broken> {
        match number {
            1 => self.apply_the_guestbook().await,
            2 => self.describe_everything().await,
            3 => self.rollout_status().await,
            4 => self.scale_in_the_file().await,
            5 => self.delete_a_pod().await,
            6 => self.relabel_a_pod().await,
            7 => self.change_the_template().await,
            8 => self.rollout_history().await,
            9 => self.undo().await,
            10 => self.restart().await,
            11 => self.two_rollouts_at_once().await,
            12 => self.pause_and_resume().await,
            13 => self.keep_ten_revisions().await,
            14 => self.recreate().await,
            15 => self.never_ready().await,
            16 => self.commands().await,
            17 => self.wait_for_things().await,
            28 => self.three_cascades().await,
            29 => self.owned_by_a_custom_resource().await,
            30 => self.foreign_finalizer().await,
            31 => self.two_managers().await,
            32 => self.delete_the_guestbook().await,
            other => Err(Broken(format!("no such step: {other}"))),
        }
    }

    /// Waits for a rollout as a person does.
    async fn rolled_out(&self, deployment: &str) -> Result<(), Broken> {
        let (resource, limit) = (format!("deployment/{deployment}"), format!("--timeout={}s", self.limit.as_secs()));
        self.k.run(&["rollout", "status", &resource, &limit]).await.map(|_| ())
    }

    /// Waits until the manager has seen the latest spec.
    async fn observed(&self, deployment: &str) -> Result<Value, Broken> {
        eventually(self.limit, &format!("{deployment} is observed"), async || {
            let found = self.k.object("deployment", deployment).await?;
            let seen = found["status"]["observedGeneration"] == found["metadata"]["generation"];
            if seen {
                Ok(found)
            } else {
                Err(Broken(format!("generation {}, observed {}", found["metadata"]["generation"], found["status"]["observedGeneration"])))
            }
        })
        .await
    }

    /// The ReplicaSets of a Deployment, oldest revision first.
    async fn sets(&self, deployment: &str) -> Result<Vec<Value>, Broken> {
        let mut sets = self.k.live("replicasets", "").await?;
        sets.retain(|set| {
            set["metadata"]["ownerReferences"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|owner| owner["kind"] == "Deployment" && owner["name"] == deployment)
        });
        sets.sort_by_key(revision);
        Ok(sets)
    }
}

/// The revision of a ReplicaSet or Deployment; 0: it has none.
fn revision(object: &Value) -> u64 {
    object["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn replicas(object: &Value) -> u64 {
    object["spec"]["replicas"].as_u64().unwrap_or(0)
}

/// A Deployment of our own, beside the guestbook: labels `app: NAME`. `more` are lines of its spec.
fn deployment(name: &str, replicas: u32, image: &str, more: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\nspec:\n  replicas: {replicas}\n{more}  selector: {{matchLabels: {{app: {name}}}}}\n  \
         template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec:\n      containers: [{{name: main, image: \"{image}\"}}]\n"
    )
}
