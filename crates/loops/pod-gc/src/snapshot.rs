use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evenkeel_api::{Name, Node, Pod};
use evenkeel_cache::Stores;
use jiff::Timestamp;

use crate::BATCH;

/// Why a pod is taken away; the value of a metric's label (garbage-collection B2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// It has ended, and there are too many of those.
    Terminated,
    /// It is being deleted on a node that is down for good.
    OutOfService,
    /// Its node is gone.
    Orphaned,
    /// It is being deleted and no node ever had it.
    Unscheduled,
}

impl Reason {
    /// The text of the metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Terminated => "terminated",
            Self::OutOfService => "out-of-service",
            Self::Orphaned => "orphaned",
            Self::Unscheduled => "unscheduled",
        }
    }
}

/// A pod that is to be taken away.
#[derive(Debug, Clone)]
pub struct Doomed {
    /// Why; the first of several reasons.
    pub reason: Reason,
    /// The pod.
    pub pod: Arc<Pod>,
}

/// How far the run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Stage {
    /// It begins.
    #[default]
    Start,
    /// Missing nodes have been asked for.
    Asked,
    /// Pods have been marked as failed.
    Marked,
}

/// What earlier passes left to know.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Recall {
    pub(crate) stage: Stage,
    /// Missing nodes, and when each may be asked for.
    pub(crate) quarantine: BTreeMap<Name, Timestamp>,
    /// Nodes that turned out to be gone in this run.
    pub(crate) gone: BTreeSet<Name>,
}

/// Everything one pass looks at.
#[derive(Debug)]
pub struct Snapshot {
    /// How far the run is.
    pub stage: Stage,
    /// Pods to take away, in the order in which they go.
    pub doomed: Vec<Doomed>,
    /// Nodes that pods name and that the cache does not have, and when each may be asked for; `None`: it is missed for the first time.
    pub missing: BTreeMap<Name, Option<Timestamp>>,
}

/// Takes what one pass needs out of one read of the cache.
pub(crate) fn take(stores: &Stores, threshold: Option<usize>, recall: Recall) -> Snapshot {
    let nodes = stores.of::<Node>();
    let mut ended: Vec<&Arc<Pod>> = Vec::new();
    let mut doomed: Vec<Doomed> = Vec::new();
    let mut missing: BTreeMap<Name, Option<Timestamp>> = BTreeMap::new();
    for pod in stores.of::<Pod>().iter() {
        if pod.terminal() && threshold.is_some() {
            ended.push(pod);
        }
        let node = pod.node.as_ref().map(|name| (name, nodes.get("", name)));
        let reason = match node {
            Some((name, None)) if something_left(pod) => {
                missing.entry(name.clone()).or_insert_with(|| recall.quarantine.get(name).copied());
                recall.gone.contains(name).then_some(Reason::Orphaned)
            }
            // A node that works ends its pods by itself, whatever its taints say.
            Some((_, Some(node))) if !node.ready && node.out_of_service && pod.meta.deleting.is_some() => Some(Reason::OutOfService),
            None if pod.meta.deleting.is_some() => Some(Reason::Unscheduled),
            _ => None,
        };
        doomed.extend(reason.filter(|_| something_left(pod)).map(|reason| Doomed { reason, pod: pod.clone() }));
    }
    // Pods on their way out count, and take up the surplus, although there may be nothing left to do about them (B2).
    let surplus = surplus(ended, threshold.unwrap_or(usize::MAX));
    let uids: BTreeSet<_> = surplus.iter().map(|pod| &pod.meta.uid).collect();
    doomed.retain(|d| !uids.contains(&d.pod.meta.uid));
    doomed.sort_by(|a, b| (a.reason, rank(&a.pod)).cmp(&(b.reason, rank(&b.pod))));
    let first = surplus.iter().filter(|pod| something_left(pod)).map(|pod| Doomed { reason: Reason::Terminated, pod: (*pod).clone() });
    let doomed = first.chain(doomed).take(BATCH).collect();
    Snapshot { stage: recall.stage, doomed, missing }
}

/// Whether taking the pod away would change anything: what has ended and is deleted without grace is held by finalizers alone.
fn something_left(pod: &Pod) -> bool {
    !(pod.terminal() && pod.deleted_at_once)
}

/// Evicted pods go first, then the oldest, then by name (garbage-collection B2).
fn rank(pod: &Pod) -> (bool, Option<Timestamp>, &str, &str) {
    (!pod.evicted, pod.meta.created, &pod.meta.name, &pod.meta.namespace)
}

/// Those of the ended pods that are more than `threshold`.
fn surplus(mut ended: Vec<&Arc<Pod>>, threshold: usize) -> Vec<&Arc<Pod>> {
    let count = ended.len().saturating_sub(threshold);
    if count > 0 {
        ended.sort_by(|a, b| rank(a).cmp(&rank(b)));
    }
    ended.truncate(count);
    ended
}
