//! The ReplicaSet and ReplicationController loops: one logic, two kinds (workloads 3 and 4).
//!
//! Here live what one pass looks at ([`Snapshot`]), the decision (claims first, then either creates or deletes, never both), the ranking
//! of victims ([`choose_victims`]), the status, and which changes wake which set. What never lives here: IO, tokio, clocks, chance, and
//! memory of counts: what a pass must not forget (its own writes) is the cache's freshness gate, which stands where upstream has
//! expectations and its read-your-writes barrier (workloads 3.2, 3.3). All that a loop keeps between passes is in `memory.rs`: which names it
//! has used, and two dampers; forgetting any of it costs a write, never a pod.
//!
//! Start reading at [`SetLoop`], then `snapshot.rs` (the courses that a pass can take) and `plan.rs`.

mod conclude;
mod explain;
mod kind;
mod memory;
mod plan;
mod pods;
mod snapshot;
mod status;
mod triggers;
mod victims;

use std::sync::Arc;

use evenkeel_api::{Key, ReplicaSet, ReplicationController};
use evenkeel_cache::{Change, Stores};
use evenkeel_plan::{About, ControlLoop, Outcome, Plan, Report, Trigger};
use jiff::Timestamp;

use crate::memory::Memory;
pub use crate::{
    kind::{REPLICA_SET, REPLICATION_CONTROLLER, SetKind},
    snapshot::{Options, Recall, Snapshot},
    victims::{Ranking, choose_victims, deletion_age_ratios},
};

/// The loop of `replicaset-controller`.
pub type ReplicaSetLoop = SetLoop<ReplicaSet>;

/// The loop of `replicationcontroller-controller`.
pub type ReplicationControllerLoop = SetLoop<ReplicationController>;

/// Told the age ratio of every ready pod that was given up (workloads 3.7): what feeds the histogram
/// `replicaset_controller_sorting_deletion_age_ratio`.
pub type AgeRatioObserver = Arc<dyn Fn(f64) + Send + Sync>;

/// Keeps the number of pods of each set at what its spec says.
pub struct SetLoop<S> {
    options: Options,
    memory: Memory,
    age_ratios: Option<AgeRatioObserver>,
    kind: std::marker::PhantomData<fn() -> S>,
}

impl<S> Default for SetLoop<S> {
    fn default() -> Self {
        Self::new(Options::default())
    }
}

impl<S> SetLoop<S> {
    /// A loop that remembers nothing yet.
    pub fn new(options: Options) -> Self {
        Self { options, memory: Memory::default(), age_ratios: None, kind: std::marker::PhantomData }
    }

    /// Tells `observer` the age ratios of what is given up.
    pub fn with_age_ratio_observer(mut self, observer: AgeRatioObserver) -> Self {
        self.age_ratios = Some(observer);
        self
    }

    /// Number of sets that the loop remembers something about: bounded by the sets that there are.
    pub fn remembered(&self) -> usize {
        self.memory.len()
    }
}

impl<S: SetKind> ControlLoop for SetLoop<S> {
    type Snapshot = Snapshot<S>;

    fn about(&self) -> &'static About {
        S::ABOUT
    }

    fn triggers(&self, change: &Change, stores: &Stores) -> Vec<Trigger> {
        triggers::triggers::<S>(change, stores)
    }

    fn snapshot(&self, stores: &Stores, key: &Key) -> Snapshot<S> {
        snapshot::take(stores, key, self.options, &self.memory)
    }

    fn plan(&self, snap: &Snapshot<S>, now: Timestamp) -> Plan {
        plan::plan(snap, now)
    }

    fn conclude(&self, snap: &Snapshot<S>, plan: &Plan, outcome: &Outcome, now: Timestamp) -> Report {
        if let Some(observer) = &self.age_ratios {
            plan::age_ratios(snap, plan, now).into_iter().for_each(|ratio| observer(ratio));
        }
        conclude::conclude(snap, plan, outcome, now)
    }

    fn explain(&self, snap: &Snapshot<S>, _plan: &Plan) -> Option<String> {
        explain::explain(snap)
    }

    fn remember(&self, snap: &Snapshot<S>, plan: &Plan, outcome: &Outcome, _now: Timestamp) {
        memory::remember(&self.memory, snap, plan, outcome);
    }
}
