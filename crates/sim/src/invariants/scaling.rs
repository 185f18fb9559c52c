//! DP-5: proportional scaling, worked out once more from the objects as they were when the pass looked; and every pass of the Deployment loop
//! run again on them.

use std::{collections::BTreeMap, sync::Arc};

use evenkeel_api::{Deployment, Key, Object, Pod, ReplicaSet};
use evenkeel_cache::Stores;
use evenkeel_deployment::DeploymentLoop;
use evenkeel_plan::{ControlLoop, Write};
use serde_json::Value;

use super::{annotation, bounds, rolls};
use crate::history::{History, Pass, controller, replicas, template, uid};

pub(super) fn check(history: &History) -> Vec<String> {
    let passes = history.passes.iter().filter(|p| p.controller == "deployment-controller" && !p.plan.is_empty());
    passes
        .filter_map(|pass| judge(history, pass).map(|why| format!("{why} (link {}, {} at {} ms)", pass.link, pass.key, pass.began)))
        .collect()
}

fn judge(history: &History, pass: &Pass) -> Option<String> {
    let deployments = history.as_of("deployments", pass.saw("deployments"));
    let sets = history.as_of("replicasets", pass.saw("replicasets"));
    let deployment = deployments.get(pass.key.as_str())?;
    let mine: Vec<&Arc<Value>> = sets.values().filter(|s| controller(s) == Some(uid(deployment))).copied().collect();
    let split = split(deployment, &mine);
    if let Some(split) = &split {
        let sizes = planned(pass, &mine);
        let (allowed, sum) = (allowed(deployment), sizes.values().sum::<i64>());
        let floored = split.values().any(|size| *size == 0);
        if sum != allowed && !floored {
            return Some(format!("DP-5: a split over {} sets gives {sum}, not {allowed}", sizes.len()));
        }
        if *split != sizes {
            return Some(format!("DP-5: sizes {sizes:?} where the rule gives {split:?}"));
        }
    }
    // What a broken manager sent is not what its loop decided.
    if history.broken {
        return None;
    }
    let again = replay(history, pass);
    let first: Vec<String> = pass.plan.writes().map(shape).collect();
    (again != first).then(|| {
        let rule = if split.is_some() { "DP-5" } else { "CA-1" };
        format!("{rule}: the plan was {first:?}; on the objects of the revisions that it declares it is {again:?}")
    })
}

fn allowed(deployment: &Value) -> i64 {
    if replicas(deployment) > 0 { bounds(deployment).0 } else { 0 }
}

/// Sizes of the active sets by uid, where a pass must split (workloads 2.6.2 step 3).
fn split(deployment: &Value, sets: &[&Arc<Value>]) -> Option<BTreeMap<String, i64>> {
    let wanted = replicas(deployment);
    let number = |set: &Value, name: &str| annotation(set, name).and_then(|t| t.parse::<i64>().ok());
    let mut active: Vec<&Arc<Value>> = sets.iter().filter(|s| replicas(s) > 0).copied().collect();
    let outdated = active.iter().any(|s| number(s, "desired-replicas").is_some_and(|n| n != wanted));
    let scales = outdated || deployment["spec"]["paused"] == true;
    let saturated = active.iter().any(|s| {
        template(s) == template(deployment)
            && replicas(s) == wanted
            && s["status"]["availableReplicas"].as_i64().unwrap_or(0) == wanted
            && number(s, "desired-replicas") == Some(wanted)
    });
    if active.len() < 2 || !scales || saturated || !rolls(deployment) || !deployment["metadata"]["deletionTimestamp"].is_null() {
        return None;
    }
    let allowed = allowed(deployment);
    let to_add = allowed - active.iter().map(|s| replicas(s)).sum::<i64>();
    let age = |s: &Value| (s["metadata"]["creationTimestamp"].to_string(), s["metadata"]["name"].to_string());
    active.sort_by_key(|s| age(s));
    if to_add > 0 {
        active.reverse();
    }
    // Stable, so that equal sizes stay in the order of age.
    active.sort_by_key(|s| std::cmp::Reverse(replicas(s)));
    let mut left = to_add;
    let mut sizes: Vec<i64> = Vec::new();
    for set in &active {
        let (size, status) = (replicas(set), deployment["status"]["replicas"].as_i64().unwrap_or(0));
        let base = number(set, "max-replicas").filter(|n| *n != 0).unwrap_or(status);
        let fraction = match (wanted, base) {
            (0, _) => -size,
            (_, 0) => 0,
            _ => (size as f64 * allowed as f64 / base as f64).round() as i64 - size,
        };
        let share = match to_add {
            _ if left == 0 => 0,
            1.. => fraction.min(left),
            _ => fraction.max(left),
        };
        left -= share;
        sizes.push(size + share);
    }
    sizes[0] = (sizes[0] + left).max(0);
    Some(active.iter().map(|s| uid(s).to_owned()).zip(sizes).collect())
}

/// Sizes of the active sets after a plan.
fn planned(pass: &Pass, sets: &[&Arc<Value>]) -> BTreeMap<String, i64> {
    let active = sets.iter().filter(|s| replicas(s) > 0);
    let mut sizes: BTreeMap<String, i64> = active.map(|s| (uid(s).to_owned(), replicas(s))).collect();
    for write in pass.plan.writes() {
        if let Write::Replace { target, subresource: None, body } = write
            && let Some(size) = sizes.get_mut(&target.uid.to_string())
        {
            *size = replicas(body);
        }
    }
    sizes
}

/// The plan once more, by the loop itself, from the true objects of the revisions that the pass declares.
fn replay(history: &History, pass: &Pass) -> Vec<String> {
    fn all<T: Object>(history: &History, pass: &Pass) -> Vec<T> {
        let kind = T::resource().plural;
        history.as_of(kind, pass.saw(kind)).values().filter_map(|o| T::decode(o.to_string().as_bytes()).ok()).collect()
    }
    let stores =
        Stores::default().with::<Deployment>(all(history, pass)).with::<ReplicaSet>(all(history, pass)).with::<Pod>(all(history, pass));
    let Some((namespace, name)) = pass.key.split_once('/') else { return Vec::new() };
    let control_loop = DeploymentLoop::default();
    let snap = control_loop.snapshot(&stores, &Key::new(namespace, name));
    control_loop.plan(&snap, pass.now).writes().map(shape).collect()
}

/// A write but for fields that are carried along unread.
fn shape(write: &Write) -> String {
    let (target, body) = match write {
        Write::Create { body, .. } => (None, &**body),
        Write::Replace { target, body, .. } | Write::Patch { target, body, .. } => (Some(target), body),
        Write::Delete { target, .. } | Write::ConfirmOwner { target } => (Some(target), &Value::Null),
        Write::Look { .. } | Write::DeleteCollection { .. } | Write::Count { .. } | Write::Discover => (None, &Value::Null),
    };
    let version = target.and_then(|t| t.version);
    let (size, notes) = (&body["spec"]["replicas"], &body["metadata"]["annotations"]);
    format!("{} {} {version:?} {size} {notes}", write.verb(), write.key())
}
