//! `evenkeel plan`: prints the writes that the loops would make now, and makes none.

use std::{process::ExitCode, sync::Arc, time::Duration};

use clap::Parser;
use evenkeel_api::Key;
use evenkeel_client::{ConnectOptions, SystemClock};
use evenkeel_plan::{ControlLoop, Next, Outcome, Write};
use evenkeel_watch::wait_synced;
use tokio::sync::watch;

use crate::{World, controllers::Selection, flags::Options, wiring};

/// Prints the writes that the loops would make now, and why; makes none.
#[derive(Debug, Parser)]
#[command(name = "evenkeel plan", disable_version_flag = true)]
struct Arguments {
    /// Only objects of this namespace.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Kubeconfig file; without it the in-cluster configuration.
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: Option<std::path::PathBuf>,
    /// Controllers to ask, as for the manager.
    #[arg(long, default_value = "*")]
    controllers: String,
    /// Only this object, such as `deployment/web` or `rs/web-5d4f`.
    object: Option<String>,
}

/// How long the caches may take to fill.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the subcommand with the words after `plan`.
pub async fn main(args: impl Iterator<Item = String>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(std::iter::once("evenkeel plan".to_owned()).chain(args)) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match plan(arguments).await {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("Error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Which objects are asked about.
struct Scope {
    namespace: Option<String>,
    object: Option<(String, String)>,
}

impl Scope {
    fn covers(&self, about: &evenkeel_plan::About, key: &Key) -> bool {
        let kind = |given: &str| {
            let given = given.to_lowercase();
            let (kind, plural) = (about.primary.kind.to_lowercase(), about.primary.plural);
            let short = match about.primary.kind {
                "Deployment" => "deploy",
                "ReplicaSet" => "rs",
                "ReplicationController" => "rc",
                "Namespace" => "ns",
                _ => "",
            };
            given == kind || given == plural || (given == short && !short.is_empty()) || given == about.primary.group_resource()
        };
        self.namespace.as_deref().is_none_or(|ns| ns == &*key.namespace)
            && self.object.as_ref().is_none_or(|(k, name)| kind(k) && *name == *key.name)
    }
}

async fn plan(arguments: Arguments) -> Result<String, String> {
    let object = match arguments.object.as_deref().map(|o| o.split_once('/')) {
        None => None,
        Some(Some((kind, name))) if !kind.is_empty() && !name.is_empty() => Some((kind.to_owned(), name.to_owned())),
        Some(_) => return Err("name an object as KIND/NAME, such as deployment/web".to_owned()),
    };
    let namespace = arguments.namespace.clone().or_else(|| object.as_ref().map(|_| "default".to_owned()));
    let scope = Scope { namespace, object };
    let selection = Selection::parse(&arguments.controllers)
        .map_err(|e| e.unknown.iter().map(|n| format!("{n:?} is not in the list of known controllers")).collect::<Vec<_>>().join("\n"))?;
    let connect = ConnectOptions { kubeconfig: arguments.kubeconfig, master: None };
    let world = World::connect(&connect, Arc::new(SystemClock)).await.map_err(|e| e.to_string())?;
    let options = Options { controllers: selection, leader_elect: false, ..Options::default() };
    let planner = wiring::Planner::new(&options, &world);

    let (end, ended) = watch::channel(false);
    let mut tasks = tokio::task::JoinSet::new();
    for driver in &planner.drivers {
        let (driver, cache, ended) = (driver.clone(), planner.cache.clone(), ended.clone());
        tasks.spawn(async move { driver.run(cache, ended).await });
    }
    let kinds: Vec<_> = planner.drivers.iter().map(|d| d.kind()).collect();
    let synced = tokio::time::timeout(PATIENCE, wait_synced(&planner.cache, &kinds, &ended)).await;
    let trouble =
        || planner.drivers.iter().filter_map(|d| d.trouble().map(|t| format!("{}: {}", d.kind(), t.last))).collect::<Vec<_>>().join("; ");
    if synced.is_err() {
        return Err(format!("the API server did not list everything within {PATIENCE:?}: {}", trouble()));
    }
    let text = planner.describe(|about, key| scope.covers(about, key));
    end.send_replace(true);
    tasks.shutdown().await;
    Ok(if text.is_empty() { "nothing to do\n".to_owned() } else { text })
}

/// The plans of all keys that `covers` lets through. Of a pass about everything, it lets single writes through.
pub(crate) fn describe_all<L: ControlLoop>(
    control_loop: &L,
    stores: &evenkeel_cache::Stores,
    covers: &dyn Fn(&Key) -> bool,
    now: jiff::Timestamp,
) -> String {
    let keys = control_loop.all(stores).into_iter().map(|trigger| trigger.key);
    keys.filter(|key| key.is_everything() || covers(key)).map(|key| describe(control_loop, stores, &key, covers, now)).collect()
}

/// The plan of one key in words, one line a write; where it is empty, the status write and the events instead. Empty when there is nothing to do.
fn describe<L: ControlLoop>(
    control_loop: &L,
    stores: &evenkeel_cache::Stores,
    key: &Key,
    covers: &dyn Fn(&Key) -> bool,
    now: jiff::Timestamp,
) -> String {
    let about = control_loop.about();
    let snap = control_loop.snapshot(stores, key);
    let plan = control_loop.plan(&snap, now);
    let mut lines: Vec<String> = Vec::new();
    for (number, step) in plan.steps.iter().filter(|s| !s.is_empty()).enumerate() {
        let told = step.iter().filter(|write| !key.is_everything() || covers(write.key()));
        lines.extend(told.map(|write| format!("  {}. {}", number + 1, in_words(write, key.is_everything()))));
    }
    if plan.is_empty() {
        let report = control_loop.conclude(&snap, &plan, &Outcome::default(), now);
        lines.extend(report.steps.iter().flatten().map(|write| format!("  -  {}", in_words(write, false))));
        lines.extend(report.events.iter().map(|event| format!("  -  event {}: {}", event.reason, event.message)));
        // What cannot be worked on as it is has nothing to write, and is not "nothing to do" for all that.
        if lines.is_empty() && matches!(report.next, Next::Retry(_)) {
            lines.push("  -  try again later".into());
        }
    }
    if lines.is_empty() {
        return String::new();
    }
    let why = control_loop.explain(&snap, &plan).map(|why| format!(": {why}")).unwrap_or_default();
    let heading = if key.is_everything() { about.name.to_owned() } else { control_loop.subject(key) };
    format!("{heading}{why}\n{}\n", lines.join("\n"))
}

/// One write; `whose` adds the namespace where the heading does not tell it.
fn in_words(write: &Write, whose: bool) -> String {
    let mut object = format!("{}/{}", write.kind().group_resource(), write.name());
    if whose && write.kind().namespaced {
        object.push_str(&format!(" of namespace {}", write.key().namespace));
    }
    match write {
        Write::Create { body, .. } => match body.pointer("/spec/replicas") {
            Some(replicas) => format!("create {object} with {replicas} replicas"),
            None => format!("create {object}"),
        },
        Write::Replace { subresource: Some(sub), .. } => format!("update {object}/{sub}"),
        Write::Replace { body, .. } => match body.pointer("/spec/replicas") {
            Some(replicas) => format!("update {object} (replicas {replicas})"),
            None => format!("update {object}"),
        },
        Write::Patch { body, subresource: Some("status"), .. } => match body.pointer("/status/phase").and_then(serde_json::Value::as_str) {
            Some(phase) => format!("mark {object} as {}", phase.to_lowercase()),
            None => format!("patch {object}/status"),
        },
        Write::Patch { body, .. } => {
            let release = body.pointer("/metadata/ownerReferences/0/$patch").is_some();
            format!("{} {object}", if release { "release" } else { "adopt" })
        }
        Write::Delete { grace: Some(0), .. } => format!("delete {object} without grace"),
        Write::Delete { .. } => format!("delete {object}"),
        Write::Look { .. } => format!("read {object} live: is it gone?"),
        Write::DeleteCollection { kind, place, .. } => format!("delete all {} of namespace {}", kind.group_resource(), place.namespace),
        Write::Count { kind, place } => format!("count the {} of namespace {}", kind.group_resource(), place.namespace),
        Write::Discover => "ask what the server serves".to_owned(),
        Write::ConfirmOwner { .. } => format!("read {object} live, before anything is adopted"),
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_api::{Deployment, Object, ReplicaSet};
    use evenkeel_cache::Stores;
    use evenkeel_deployment::DeploymentLoop;
    use serde_json::{Value, json};

    use super::*;

    fn asked(spec: &[(&str, Value)]) -> String {
        let mut deployment = json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "u", "resourceVersion": "1", "generation": 1},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}}}},
        });
        for (field, value) in spec {
            deployment["spec"][*field] = value.clone();
        }
        let deployment = Deployment::decode(deployment.to_string().as_bytes()).unwrap();
        let stores = Stores::default().with([deployment]).with::<ReplicaSet>([]);
        describe_all(&DeploymentLoop::default(), &stores, &|_| true, jiff::Timestamp::UNIX_EPOCH)
    }

    /// Each object has a line that tells why, and one line a write.
    #[test]
    fn every_write_is_told_and_why() {
        let text = asked(&[("strategy", json!({"type": "RollingUpdate"}))]);
        let (why, writes) = text.split_once('\n').unwrap();
        assert_eq!(why, "Deployment default/web: rolling update: no ReplicaSet has the template");
        assert!(writes.starts_with("  1. create replicasets.apps/web-") && writes.ends_with(" with 3 replicas\n"), "{writes}");
        assert_eq!(
            asked(&[("paused", true.into())]),
            "Deployment default/web: paused: sizes only\n  -  update deployments.apps/web/status\n"
        );
    }

    /// A pass about everything has a line for each object, and is narrowed down write by write.
    #[test]
    fn of_a_pass_about_everything_only_what_was_asked_for_is_told() {
        let pod = |name: &str, namespace: &str| {
            let gone = "2026-01-01T00:00:00Z";
            let meta = json!({"name": name, "namespace": namespace, "uid": name, "resourceVersion": "1", "deletionTimestamp": gone});
            evenkeel_api::Pod::decode(json!({"metadata": meta}).to_string().as_bytes()).unwrap()
        };
        let stores = Stores::default().with([pod("a", "x"), pod("b", "y")]).with::<evenkeel_api::Node>([]);
        let told =
            |covers: &dyn Fn(&Key) -> bool| describe_all(&evenkeel_pod_gc::PodGcLoop::new(0), &stores, covers, jiff::Timestamp::UNIX_EPOCH);
        let all = "pod-garbage-collector-controller: 2 unscheduled\n  1. mark pods/a of namespace x as failed\n  1. mark pods/b of namespace y as failed\n";
        assert_eq!(told(&|_| true), all);
        assert_eq!(told(&|key| *key.namespace == *"y").lines().nth(1), Some("  1. mark pods/b of namespace y as failed"));
        assert_eq!(told(&|_| false), "");
    }

    /// What cannot be worked on is told although there is nothing to write.
    #[test]
    fn what_is_wrong_with_an_object_is_told() {
        let all = asked(&[("selector", json!({}))]);
        assert!(all.contains("  -  event SelectingAll: This deployment is selecting all pods."), "{all}");
        let broken = asked(&[("selector", json!({"matchExpressions": [{"key": "a", "operator": "Near"}]}))]);
        assert!(broken.starts_with("Deployment default/web: deployment default/web has invalid label selector: "), "{broken}");
        assert!(broken.ends_with("\n  -  try again later\n"), "{broken}");
    }
}
