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

/// The plan of one key in words, one line a write; where it is empty, the status write and the events instead. Empty when there is nothing to do.
pub(crate) fn describe<L: ControlLoop>(control_loop: &L, stores: &evenkeel_cache::Stores, key: &Key, now: jiff::Timestamp) -> String {
    let about = control_loop.about();
    let snap = control_loop.snapshot(stores, key);
    let plan = control_loop.plan(&snap, now);
    let mut lines: Vec<String> = Vec::new();
    for (number, step) in plan.steps.iter().filter(|s| !s.is_empty()).enumerate() {
        lines.extend(step.iter().map(|write| format!("  {}. {}", number + 1, in_words(write))));
    }
    if plan.is_empty() {
        let report = control_loop.conclude(&snap, &plan, &Outcome::default(), now);
        lines.extend(report.steps.iter().flatten().map(|write| format!("  -  {}", in_words(write))));
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
    format!("{} {key}{why}\n{}\n", about.primary.kind, lines.join("\n"))
}

fn in_words(write: &Write) -> String {
    let object = format!("{}/{}", write.kind().group_resource(), write.name());
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
        Write::Patch { body, .. } => {
            let release = body.pointer("/metadata/ownerReferences/0/$patch").is_some();
            format!("{} {object}", if release { "release" } else { "adopt" })
        }
        Write::Delete { .. } => format!("delete {object}"),
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
        describe(&DeploymentLoop::default(), &stores, &Key::new("default", "web"), jiff::Timestamp::UNIX_EPOCH)
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
