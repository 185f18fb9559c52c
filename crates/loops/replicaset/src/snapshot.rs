use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evenkeel_api::{Key, Name, Pod, ReplicaSet, Replicated, Selector};
use evenkeel_cache::Stores;
use evenkeel_plan::claim::{Claims, claim};

use crate::{SetKind, memory::Memory, pods};

/// What can be set about a loop. The defaults are upstream's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Most pods that one pass creates, deletes, adopts or releases; the rest follow on the next pass (workloads 1.1).
    pub burst: usize,
    /// Gate `PodDeletionCost` (workloads 1.2).
    pub deletion_cost: bool,
    /// Gate `DeploymentReplicaSetTerminatingReplicas` (workloads 1.2).
    pub terminating_replicas: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { burst: 500, deletion_cost: true, terminating_replicas: true }
    }
}

/// Everything one pass looks at.
#[derive(Debug)]
pub struct Snapshot<S> {
    /// The set. `None`: it is gone.
    pub set: Option<Arc<S>>,
    /// Active pods: those of the set, those to adopt, those to release (workloads 1.6).
    pub claims: Claims<Pod>,
    /// Pods of the set that are going (workloads 1.9, 3.4.6).
    pub terminating: usize,
    /// Active related pods per node (workloads 3.7 rule 5); only looked up where a choice must be made.
    pub related_on_node: BTreeMap<Name, u32>,
    /// Serials and names that nobody has, for as many pods as this pass may create.
    pub names: Vec<(u64, String)>,
    /// What earlier passes left to know.
    pub recall: Recall,
    /// What the loop was told.
    pub options: Options,
}

/// What earlier passes left to know besides names. Forgetting it costs a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recall {
    /// The pass before told a failure in the condition (B2).
    pub failure_told: bool,
    /// The pass before adopted or released, and all went well.
    pub claimed: bool,
    /// How often `terminatingReplicas` has been written and was not there afterwards (B19).
    pub terminating_lost: u8,
}

/// What a pass is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Course {
    /// There is no set.
    Gone,
    /// The set cannot be worked on as it is; only a change of it helps.
    Unusable(Unusable),
    /// Pods are to be adopted or released before they can be counted.
    Claim,
    /// The set is being deleted: it is counted, and nothing else.
    Dying,
    /// The number of pods is made right. Where claims are pending as well, there are too many pods without them.
    Manage,
}

/// Why a set cannot be worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unusable {
    /// Reason of the event.
    pub(crate) reason: &'static str,
    /// Text of the event.
    pub(crate) message: String,
}

impl<S: SetKind> Snapshot<S> {
    fn of(set: Option<Arc<S>>, options: Options) -> Self {
        Self {
            set,
            claims: Claims { claimed: Vec::new(), adopt: Vec::new(), release: Vec::new() },
            terminating: 0,
            related_on_node: BTreeMap::new(),
            names: Vec::new(),
            recall: Recall::default(),
            options,
        }
    }

    pub(crate) fn course(&self) -> Course {
        let Some(set) = &self.set else { return Course::Gone };
        if let Err(unusable) = selector::<S>(set) {
            return Course::Unusable(unusable);
        }
        // Claims come first, but where orphans keep coming they must not keep the surplus from going: what is too many without them is too
        // many with them as well.
        if self.claims_pending() && !(self.recall.claimed && self.surplus() > 0) {
            return Course::Claim;
        }
        if set.meta.deleting.is_some() { Course::Dying } else { Course::Manage }
    }

    /// Whether pods are to be adopted or released.
    pub(crate) fn claims_pending(&self) -> bool {
        !self.claims.adopt.is_empty() || !self.claims.release.is_empty()
    }

    /// How many pods there should be. Negative numbers, which the server refuses, count as none.
    pub(crate) fn want(&self) -> usize {
        self.set.as_ref().map_or(0, |set| usize::try_from(set.replicas).unwrap_or(0))
    }

    /// How many pods are missing.
    pub(crate) fn missing(&self) -> usize {
        self.want().saturating_sub(self.claims.claimed.len())
    }

    /// How many pods are too many.
    pub(crate) fn surplus(&self) -> usize {
        self.claims.claimed.len().saturating_sub(self.want())
    }

    /// Whether victims have to be chosen: some go and some stay.
    pub(crate) fn chooses(&self) -> bool {
        (1..self.claims.claimed.len()).contains(&self.surplus().min(self.options.burst))
    }
}

/// The selector, where one can work with it.
///
/// An invalid one is no error to retry (3.4.4); the empty one would adopt every orphan of the namespace (B14). An absent one matches
/// nothing (4): upstream would then release every pod, make new ones, and release those; so it is refused like the others. The server
/// admits none of them.
pub(crate) fn selector<S: SetKind>(set: &Replicated) -> Result<&Selector, Unusable> {
    let kind = S::resource().kind;
    match &set.selector {
        Ok(Some(selector)) if !selector.is_empty() => Ok(selector),
        Ok(Some(_)) => Err(Unusable {
            reason: "SelectingAll",
            message: format!("This {kind} is selecting all pods. A non-empty selector is required."),
        }),
        Ok(None) => {
            Err(Unusable { reason: "InvalidSelector", message: format!("This {kind} has no selector. A non-empty selector is required.") })
        }
        Err(error) => Err(Unusable {
            reason: "InvalidSelector",
            message: format!("error converting pod selector to selector for {kind} {}: {error}", set.meta.key()),
        }),
    }
}

/// Takes what one pass needs out of one read of the cache.
pub(crate) fn take<S: SetKind>(stores: &Stores, key: &Key, options: Options, memory: &Memory) -> Snapshot<S> {
    let Some(set) = stores.of::<S>().get(&key.namespace, &key.name).cloned() else {
        memory.forget(key);
        return Snapshot::of(None, options);
    };
    let mut snap = Snapshot::of(Some(set.clone()), options);
    let Ok(selector) = selector::<S>(&set) else { return snap };
    snap.recall = memory.recall(key, &set.meta.uid);

    let all = stores.of::<Pod>();
    // By kind and name too, as upstream indexes them: a reference with our uid and another name is somebody's mistake, not ours to act on.
    let ours = |pod: &Pod| {
        pod.meta.namespace == set.meta.namespace
            && pod.meta.controller().is_some_and(|c| *c.kind == *S::resource().kind && c.name == set.meta.name)
    };
    let owned: Vec<&Arc<Pod>> = all.controlled_by(&set.meta.uid).filter(|pod| ours(pod)).collect();
    snap.terminating = owned.iter().filter(|pod| pod.terminating() && selector.matches(&pod.meta.labels)).count();
    let orphans = if set.meta.deleting.is_none() { all.orphans(&set.meta.namespace, selector) } else { Vec::new() };
    // Only active pods are offered: ended and terminating ones are neither adopted nor released (3.4.5).
    let active = owned.iter().copied().cloned().chain(orphans).filter(|pod| pod.active());
    snap.claims = claim(&set.meta, selector, active);

    if snap.course() == Course::Manage {
        let create = snap.missing().min(options.burst);
        if create > 0 && pods::refusal(&set).is_none() {
            let owned = owned.iter().map(|pod| &*pod.meta.name);
            snap.names = memory.names(&set.meta, create, owned, |name| all.get(&set.meta.namespace, name).is_some());
        } else if S::SPREADS && snap.chooses() {
            snap.related_on_node = related_on_node(stores, &set);
        }
    }
    snap
}

/// Active pods per node that match the selector of any ReplicaSet with the same controller, whoever owns them (workloads 3.7).
fn related_on_node(stores: &Stores, set: &Replicated) -> BTreeMap<Name, u32> {
    let mut on_node: BTreeMap<Name, u32> = BTreeMap::new();
    let Some(controller) = set.meta.controller() else { return on_node };
    let siblings: Vec<&Arc<ReplicaSet>> = stores.of::<ReplicaSet>().controlled_by(&controller.uid).collect();
    let mut seen = BTreeSet::new();
    for sibling in &siblings {
        let Ok(selector) = selector::<ReplicaSet>(sibling) else { continue };
        for pod in stores.of::<Pod>().matching(&sibling.meta.namespace, selector) {
            let Some(node) = pod.node.as_ref().filter(|_| pod.active()) else { continue };
            // One sibling alone cannot show a pod twice.
            if siblings.len() == 1 || seen.insert(pod.meta.uid.clone()) {
                *on_node.entry(node.clone()).or_default() += 1;
            }
        }
    }
    on_node
}
