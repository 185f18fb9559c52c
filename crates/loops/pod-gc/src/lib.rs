//! The pod garbage collector: takes pods away that nobody will end any more (garbage-collection B).
//!
//! Its passes are about all pods at once, so its queue has one key, which comes back every [`PERIOD`]. One run of it is up to three passes:
//! nodes that have been missing for long are asked for; pods that have not ended are marked as failed; and pods that have ended are deleted
//! without grace. Between the passes the cache has to show what was written, like everywhere. What never lives here: IO, tokio, clocks.
//!
//! Start reading at `snapshot.rs` (which pods go, and why), then `plan.rs`.

mod conclude;
mod memory;
mod plan;
mod snapshot;

use std::sync::Arc;

use evenkeel_api::{Key, NODES, PODS};
use evenkeel_cache::{Change, Stores};
use evenkeel_plan::{About, ControlLoop, LONGEST_RETRY, Outcome, Plan, Report, Trigger};
use jiff::{SignedDuration, Timestamp};

use crate::memory::Memory;
pub use crate::{
    conclude::Attempt,
    snapshot::{Doomed, Reason, Snapshot, Stage},
};

/// Names of the loop (garbage-collection B1).
pub static ABOUT: About = About {
    name: "pod-garbage-collector-controller",
    alias: "podgc",
    client: "pod-garbage-collector",
    event_component: "pod-garbage-collector",
    queue: "orphaned_pods_nodes",
    longest_retry: LONGEST_RETRY,
    watches: &[&PODS, &NODES],
    primary: &PODS,
};

/// From the end of one run to the beginning of the next (garbage-collection B1).
pub const PERIOD: SignedDuration = SignedDuration::from_secs(20);

/// How long a node must have been missing before it is asked for: it may just be on its way into the cache (garbage-collection B3).
pub const QUARANTINE: SignedDuration = SignedDuration::from_secs(40);

/// Most pods and nodes that one pass is about; the rest follow in the next run.
const BATCH: usize = 5_000;

/// Told of every pod that was to be taken away, and how it went: what feeds the metrics and the log.
pub type Observer = Arc<dyn Fn(&Attempt<'_>) + Send + Sync>;

/// Takes pods away that nobody will end any more.
pub struct PodGcLoop {
    threshold: Option<usize>,
    memory: Memory,
    observer: Option<Observer>,
}

impl PodGcLoop {
    /// A loop that keeps so many ended pods (`--terminated-pod-gc-threshold`); zero or less: all of them.
    pub fn new(threshold: i64) -> Self {
        let threshold = usize::try_from(threshold).ok().filter(|n| *n > 0);
        Self { threshold, memory: Memory::default(), observer: None }
    }

    /// Tells `observer` what became of each pod.
    pub fn with_observer(mut self, observer: Observer) -> Self {
        self.observer = Some(observer);
        self
    }
}

impl ControlLoop for PodGcLoop {
    type Snapshot = Snapshot;

    fn about(&self) -> &'static About {
        &ABOUT
    }

    /// The clock alone brings the key back.
    fn triggers(&self, _change: &Change, _stores: &Stores) -> Vec<Trigger> {
        Vec::new()
    }

    fn all(&self, _stores: &Stores) -> Vec<Trigger> {
        vec![Trigger::now(Key::everything())]
    }

    fn snapshot(&self, stores: &Stores, _key: &Key) -> Snapshot {
        snapshot::take(stores, self.threshold, self.memory.recall())
    }

    fn plan(&self, snap: &Snapshot, now: Timestamp) -> Plan {
        plan::plan(snap, now)
    }

    fn conclude(&self, snap: &Snapshot, plan: &Plan, outcome: &Outcome, now: Timestamp) -> Report {
        conclude::conclude(snap, plan, outcome, now)
    }

    fn explain(&self, snap: &Snapshot, _plan: &Plan) -> Option<String> {
        conclude::explain(snap)
    }

    fn remember(&self, snap: &Snapshot, plan: &Plan, outcome: &Outcome, now: Timestamp) {
        if let Some(observer) = &self.observer {
            conclude::attempts(snap, plan, outcome).iter().for_each(|attempt| observer(attempt));
        }
        self.memory.remember(snap, plan, outcome, now);
    }
}
