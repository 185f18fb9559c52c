use std::sync::Arc;

use evenkeel_api::{DEPLOYMENTS, Deployment, Key, OwnerReference, Pod, REPLICA_SETS, ReplicaSet, Strategy};
use evenkeel_cache::{Change, Stores};
use evenkeel_plan::Trigger;

use crate::sets::by_age;

/// Deployments that a change makes worth looking at (workloads 2.1).
pub(crate) fn triggers(change: &Change, stores: &Stores) -> Vec<Trigger> {
    let mut keys = if let Some((old, new)) = change.of::<Deployment>() {
        new.or(old).map(|d| d.meta.key()).into_iter().collect()
    } else if let Some((old, new)) = change.of::<ReplicaSet>() {
        of_set(old.as_deref(), new.as_deref(), stores)
    } else if let Some((Some(pod), None)) = change.of::<Pod>() {
        of_gone_pod(&pod, stores).into_iter().collect()
    } else {
        Vec::new()
    };
    keys.sort();
    keys.dedup();
    keys.into_iter().map(Trigger::now).collect()
}

fn of_set(old: Option<&ReplicaSet>, new: Option<&ReplicaSet>, stores: &Stores) -> Vec<Key> {
    let owner = |set: &ReplicaSet| set.meta.controller().and_then(|c| resolve(&set.meta.namespace, c, stores)).map(|d| d.meta.key());
    match (old, new) {
        (Some(old), Some(new)) if old.meta.version == new.meta.version => Vec::new(),
        (Some(old), Some(new)) => {
            let moved = old.meta.controller() != new.meta.controller();
            let mut keys: Vec<Key> = if moved { owner(old).into_iter().collect() } else { Vec::new() };
            if new.meta.controller().is_some() {
                keys.extend(owner(new));
            } else if moved || old.meta.labels != new.meta.labels {
                keys.extend(matching(new, stores));
            }
            keys
        }
        (None, Some(new)) if new.meta.controller().is_none() && new.meta.deleting.is_none() => matching(new, stores),
        (None, Some(set)) | (Some(set), None) => owner(set).into_iter().collect(),
        (None, None) => Vec::new(),
    }
}

/// The Deployment that a controller reference names, if it is still that one.
fn resolve<'s>(namespace: &str, reference: &OwnerReference, stores: &'s Stores) -> Option<&'s Arc<Deployment>> {
    let named = (*reference.kind == *DEPLOYMENTS.kind).then(|| stores.of::<Deployment>().get(namespace, &reference.name)).flatten();
    named.filter(|d| d.meta.uid == reference.uid)
}

/// Deployments that may want to adopt a set without a controller. A selector that is empty or cannot be used matches nothing here.
fn matching(set: &ReplicaSet, stores: &Stores) -> Vec<Key> {
    if set.meta.labels.is_empty() {
        return Vec::new();
    }
    let selects = |d: &&Arc<Deployment>| matches!(&d.selector, Ok(Some(s)) if !s.is_empty() && s.matches(&set.meta.labels));
    stores.of::<Deployment>().in_namespace(&set.meta.namespace).filter(selects).map(|d| d.meta.key()).collect()
}

/// A Recreate Deployment, once the last running pod of its old sets is gone (workloads 2.8.5). Ended pods do not count, and nobody is asked
/// but the cache (S3).
fn of_gone_pod(pod: &Pod, stores: &Stores) -> Option<Key> {
    let reference = pod.meta.controller().filter(|c| *c.kind == *REPLICA_SETS.kind)?;
    let set = stores.of::<ReplicaSet>().get(&pod.meta.namespace, &reference.name).filter(|s| s.meta.uid == reference.uid)?;
    let deployment = resolve(&set.meta.namespace, set.meta.controller()?, stores)?;
    if deployment.strategy != Strategy::Recreate {
        return None;
    }
    let sets = || stores.of::<ReplicaSet>().controlled_by(&deployment.meta.uid);
    let new = sets().filter(|s| s.template_fingerprint == deployment.template_fingerprint).min_by(|a, b| by_age(a, b));
    let old = |s: &&Arc<ReplicaSet>| new.is_none_or(|n| n.meta.uid != s.meta.uid);
    let waits = old(&set) && !sets().filter(old).any(|s| stores.of::<Pod>().controlled_by(&s.meta.uid).any(|p| !p.terminal()));
    waits.then(|| deployment.meta.key())
}
