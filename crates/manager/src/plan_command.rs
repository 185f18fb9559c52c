//! `evenkeel plan`: prints the writes that the loops would make now, and makes none.

use std::{process::ExitCode, sync::Arc};

use clap::Parser;
use evenkeel_api::{Key, Kind};
use evenkeel_client::{ConnectOptions, SystemClock};
use evenkeel_plan::{ControlLoop, Next, Outcome, PatchForm, Propagation, Write};

use crate::{
    World,
    controllers::Selection,
    flags::Options,
    gc_command::{self, LeaseArguments},
    kind_names,
    planner::Planner,
    subcommand::subcommand,
    what_if_command::{self, Cascade, HOW_TO_NAME, Question, kind_and_name},
};

/// Prints the writes that the loops would make now, and why; or what would follow if an object were deleted. Makes no write.
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
    /// What would go and what would stay if this object, such as `deployment/web`, were deleted.
    #[arg(long, value_name = "KIND/NAME", conflicts_with_all = ["object", "controllers"])]
    if_deleted: Option<String>,
    /// How its dependents would go; without it, as the server does it when a delete does not say.
    #[arg(long, value_enum, requires = "if_deleted")]
    cascade: Option<Cascade>,
    /// A line for every object, also where very many fare alike.
    #[arg(long, requires = "if_deleted")]
    all: bool,
    /// Only this object, such as `deployment/web` or `rs/web-5d4f`.
    object: Option<String>,
    #[command(flatten)]
    lease: LeaseArguments,
}

/// Runs the subcommand with the words after `plan`.
pub async fn main(args: impl Iterator<Item = String>) -> ExitCode {
    subcommand("evenkeel plan", args, plan).await
}

/// Which objects are asked about.
struct Scope {
    namespace: Option<String>,
    object: Option<(String, String)>,
}

impl Scope {
    fn covers(&self, kind: Kind, key: &Key) -> bool {
        self.namespace.as_deref().is_none_or(|ns| ns == &*key.namespace)
            && self.object.as_ref().is_none_or(|(given, name)| kind_names::goes_by(kind, given) && *name == *key.name)
    }
}

async fn plan(arguments: Arguments) -> Result<String, String> {
    let split = |object: &String| kind_and_name(object).map(|(kind, name)| (kind.to_owned(), name.to_owned()));
    let object = arguments.object.as_ref().map(|object| split(object).ok_or(HOW_TO_NAME)).transpose()?;
    arguments.if_deleted.as_ref().map(|object| split(object).ok_or(HOW_TO_NAME)).transpose()?;
    let namespace = arguments.namespace.clone().or_else(|| object.as_ref().map(|_| "default".to_owned()));
    let scope = Scope { namespace, object };
    // What follows from a delete is the collector's work alone.
    let controllers = if arguments.if_deleted.is_some() { evenkeel_garbage_collector::ABOUT.name } else { &arguments.controllers };
    let selection = Selection::parse(controllers)
        .map_err(|e| e.unknown.iter().map(|n| format!("{n:?} is not in the list of known controllers")).collect::<Vec<_>>().join("\n"))?;
    let connect = ConnectOptions { kubeconfig: arguments.kubeconfig.clone(), master: None };
    let world = World::connect(&connect, Arc::new(SystemClock)).await.map_err(|e| e.to_string())?;
    let options = Options { controllers: selection, leader_elect: false, ..Options::default() };
    let mut planner = Planner::new(&options, &world);
    planner.fill().await?;
    let text = match &arguments.if_deleted {
        Some(object) => {
            let namespace = arguments.namespace.as_deref();
            what_if_command::answer(&planner, &Question { object, namespace, cascade: arguments.cascade, all: arguments.all })
        }
        None => {
            let text = planner.describe(&|kind, key| scope.covers(kind, key));
            let held = held(&world, &arguments.lease).await;
            Ok(if text.is_empty() { "nothing to do\n".to_owned() } else { text } + &planner.not_known() + &held)
        }
    };
    planner.end().await;
    text
}

/// What the leader holds of all that would be collected.
async fn held(world: &World, lease: &LeaseArguments) -> String {
    let held = gc_command::held(&gc_command::notes(world, lease)).await;
    held.unwrap_or_else(|error| format!("what the garbage collector holds is not known: {error}\n"))
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
        Write::Patch { body, form, .. } => patch_in_words(&object, *form, &body["metadata"]),
        Write::Delete { grace: Some(0), .. } => format!("delete {object} without grace"),
        Write::Delete { propagation: Some(Propagation::Foreground), .. } => format!("delete {object}, its dependents first"),
        Write::Delete { propagation: Some(Propagation::Orphan), .. } => format!("delete {object}, its dependents are let go"),
        Write::Delete { .. } => format!("delete {object}"),
        Write::Look { .. } => format!("read {object} live: is it gone?"),
        Write::DeleteCollection { kind, place, .. } => format!("delete all {} of namespace {}", kind.group_resource(), place.namespace),
        Write::Count { kind, place } => format!("count the {} of namespace {}", kind.group_resource(), place.namespace),
        Write::Discover => "ask what the server serves".to_owned(),
        Write::ConfirmOwner { .. } => format!("read {object} live, before anything is adopted"),
    }
}

/// A patch of owner references or finalizers. One that merges carries what is left, not what goes.
fn patch_in_words(object: &str, form: PatchForm, header: &serde_json::Value) -> String {
    let names = |field: &str, name: &dyn Fn(&serde_json::Value) -> Option<String>| -> Option<String> {
        let left: Vec<String> = header.get(field)?.as_array().into_iter().flatten().filter_map(name).collect();
        Some(left.join(", "))
    };
    if let Some(left) = names("finalizers", &|f| f.as_str().map(str::to_owned)) {
        let left = if left.is_empty() { String::new() } else { format!("; {left} still holds it") };
        return format!("take the collector's finalizer off {object}{left}");
    }
    let release = header.pointer("/ownerReferences/0/$patch").is_some();
    match names("ownerReferences", &|owner| Some(format!("{} {}", owner["kind"].as_str()?, owner["name"].as_str()?))) {
        Some(left) if form == PatchForm::Merge && left.is_empty() => format!("release {object} from all its owners"),
        Some(left) if form == PatchForm::Merge => format!("release {object} from all its owners but {left}"),
        _ => format!("{} {object}", if release { "release" } else { "adopt" }),
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

    /// What the collector writes says what is let go of, and what is left.
    #[test]
    fn patches_of_owners_and_finalizers_are_told_by_what_they_do() {
        let told = |form, header: Value| patch_in_words("secrets/b", form, &header);
        let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "u"});
        assert_eq!(told(PatchForm::Strategic, json!({"ownerReferences": [{"$patch": "delete", "uid": "u"}]})), "release secrets/b");
        assert_eq!(told(PatchForm::Strategic, json!({"ownerReferences": [owner]})), "adopt secrets/b");
        assert_eq!(told(PatchForm::Merge, json!({"ownerReferences": [owner]})), "release secrets/b from all its owners but ConfigMap a");
        assert_eq!(told(PatchForm::Merge, json!({"ownerReferences": null})), "release secrets/b from all its owners");
        assert_eq!(told(PatchForm::Merge, json!({"finalizers": null})), "take the collector's finalizer off secrets/b");
        assert_eq!(
            told(PatchForm::Merge, json!({"finalizers": ["example.com/h"]})),
            "take the collector's finalizer off secrets/b; example.com/h still holds it"
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
