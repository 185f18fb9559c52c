use std::sync::Arc;

use evenkeel_api::{Key, Pod};
use evenkeel_cache::{Change, Stores};
use evenkeel_plan::Trigger;
use jiff::SignedDuration;

use crate::SetKind;

/// Which sets a change makes worth looking at (workloads 3.1). Sets that are named twice are named once.
pub(crate) fn triggers<S: SetKind>(change: &Change, stores: &Stores) -> Vec<Trigger> {
    let mut out = if let Some((old, new)) = change.of::<S>() {
        old.iter().chain(&new).map(|set| Trigger::now(set.meta().key())).collect()
    } else if let Some((old, new)) = change.of::<Pod>() {
        of_pod::<S>(old.as_deref(), new.as_deref(), stores)
    } else {
        Vec::new()
    };
    out.sort();
    out.dedup();
    out
}

fn of_pod<S: SetKind>(old: Option<&Pod>, new: Option<&Pod>, stores: &Stores) -> Vec<Trigger> {
    let owner = |pod: Option<&Pod>| pod.and_then(|pod| controller::<S>(pod, stores));
    let Some(pod) = new else {
        // Gone. Orphans are nobody's business.
        return owner(old).map(|set| Trigger::now(set.meta().key())).into_iter().collect();
    };
    if old.is_some_and(|old| old.meta.uid == pod.meta.uid && old.meta.version == pod.meta.version) {
        return Vec::new();
    }
    let moved = old.is_some_and(|old| old.meta.controller() != pod.meta.controller());
    let relabelled = old.is_some_and(|old| old.meta.labels != pod.meta.labels);
    let mut out = Vec::new();
    // Also the old owner of a pod that is going, which upstream forgets unless labels change too: it counts such pods.
    if moved {
        out.extend(owner(old).map(|set| Trigger::now(set.meta().key())));
    }
    if pod.meta.deleting.is_some() {
        out.extend(owner(new).map(|set| Trigger::now(set.meta().key())));
    } else if pod.meta.controller().is_some() {
        if let Some(set) = owner(new) {
            let key = set.meta().key();
            out.push(Trigger::now(key.clone()));
            let became_ready = pod.ready && old.is_some_and(|old| !old.ready);
            if became_ready && set.min_ready_seconds > 0 {
                out.push(Trigger { key, after: SignedDuration::from_secs(set.min_ready_seconds.into()) });
            }
        }
    } else if old.is_none() || moved || relabelled {
        out.extend(suitors::<S>(pod, stores).map(Trigger::now));
    }
    out
}

/// The set that a pod's controller reference names, if it is of this kind and this very life of the name.
fn controller<'s, S: SetKind>(pod: &Pod, stores: &'s Stores) -> Option<&'s Arc<S>> {
    let reference = pod.meta.controller().filter(|c| *c.kind == *S::resource().kind)?;
    stores.of::<S>().get(&pod.meta.namespace, &reference.name).filter(|set| set.meta().uid == reference.uid)
}

/// Sets that might adopt an orphan. A pod without labels has none.
fn suitors<'s, S: SetKind>(pod: &'s Pod, stores: &'s Stores) -> impl Iterator<Item = Key> + 's {
    let sets = (!pod.meta.labels.is_empty()).then(|| stores.of::<S>().in_namespace(&pod.meta.namespace));
    let matches = |set: &&Arc<S>| matches!(&set.selector, Ok(Some(s)) if !s.is_empty() && s.matches(&pod.meta.labels));
    sets.into_iter().flatten().filter(matches).map(|set| set.meta().key())
}
