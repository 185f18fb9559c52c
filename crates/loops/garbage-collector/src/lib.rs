//! The garbage collector: takes objects away whose owners are gone, in the order that their deletion asked for (garbage-collection A).
//!
//! The graph is the cache: an owner is looked up by what a reference says (kind, namespace, name) and compared by uid, and dependents by the
//! index that every store keeps. So there are no nodes for owners that nobody has seen (upstream's virtual ones): the dependent is what is
//! worked on, and what its owners are is asked of the cache, of what is known to be gone for good, and at last of the server, once for each
//! owner. Keys name the resource as well: `namespace`, `plural.group/name`.
//!
//! Start reading at `standing.rs` (what an owner is to its dependent), then `plan.rs`.

mod budget;
mod conclude;
mod facts;
mod graph;
pub mod imagined;
mod interlock;
mod plan;
mod recent;
mod ring;
mod snapshot;
mod standing;
mod telling;
mod triggers;
pub mod what_if;
mod work;

use std::sync::Arc;

use evenkeel_api::{Key, Kind, NAMESPACES};
use evenkeel_cache::{Change, Stores};
use evenkeel_plan::{About, ControlLoop, Done, LONGEST_RETRY, Outcome, Plan, Report, Trigger, Write};
use jiff::Timestamp;

use crate::facts::Facts;
pub use crate::{
    budget::{Budget, BudgetError, Budgets, NEW_LEADER},
    facts::Clock,
    graph::dot,
    interlock::{Admission, Batch, Interlock},
    snapshot::{Held, Snapshot},
    standing::{Owner, Standing},
    work::{key_of, object_of},
};

/// Names of the loop (garbage-collection A2).
pub static ABOUT: About = About {
    name: "garbage-collector-controller",
    alias: "garbagecollector",
    client: "generic-garbage-collector",
    event_component: "garbage-collector-controller",
    queue: "garbage_collector_attempt_to_delete",
    longest_retry: LONGEST_RETRY,
    // It watches all there is: what else, it is told by the mapping.
    watches: &[],
    primary: &NAMESPACES,
};

/// Most dependents that one pass orphans; the rest follow in the next.
const BATCH: usize = 500;

/// Takes objects away whose owners are gone.
pub struct GarbageCollector {
    facts: Facts,
    interlock: Arc<Interlock>,
}

impl GarbageCollector {
    /// A collector that knows nothing yet.
    pub fn new(clock: Clock) -> Self {
        let interlock = Arc::new(Interlock::new(Budgets::default(), false, clock.clone()));
        Self { facts: Facts::new(clock), interlock }
    }

    /// With an interlock that somebody else looks at, too.
    pub fn with_interlock(self, interlock: Arc<Interlock>) -> Self {
        Self { interlock, ..self }
    }

    /// Number of owners that something is remembered about.
    pub fn remembered(&self) -> usize {
        self.facts.len()
    }
}

impl ControlLoop for GarbageCollector {
    type Snapshot = Snapshot;

    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn hears(&self, _kind: Kind) -> bool {
        true
    }

    fn subject(&self, key: &Key) -> String {
        match key.name.split_once('/') {
            Some((resource, name)) if key.namespace.is_empty() => format!("{resource} {name}"),
            Some((resource, name)) => format!("{resource} {}/{name}", key.namespace),
            None => key.to_string(),
        }
    }

    fn triggers(&self, change: &Change, stores: &Stores) -> Vec<Trigger> {
        if change.new_header().is_none() {
            self.interlock.went(change.kind, &change.key);
        }
        triggers::triggers(change, stores, &self.facts)
    }

    fn all(&self, stores: &Stores) -> Vec<Trigger> {
        triggers::all(stores)
    }

    fn snapshot(&self, stores: &Stores, key: &Key) -> Snapshot {
        let mut snap = snapshot::take(stores, key, &self.facts);
        snap.admission = self.interlock.admit(stores, &snap);
        self.facts.announce(&snap);
        snap
    }

    fn plan(&self, snap: &Snapshot, now: Timestamp) -> Plan {
        plan::plan(snap, now)
    }

    fn answered(&self, snap: &Snapshot, plan: &Plan, outcome: &Outcome, stores: &Stores) -> Vec<Trigger> {
        triggers::answered(snap, plan, outcome, stores, &self.facts)
    }

    fn conclude(&self, snap: &Snapshot, _plan: &Plan, outcome: &Outcome, now: Timestamp) -> Report {
        conclude::conclude(snap, outcome, now)
    }

    fn explain(&self, snap: &Snapshot, _plan: &Plan) -> Option<String> {
        conclude::explain(snap)
    }

    fn remember(&self, snap: &Snapshot, plan: &Plan, outcome: &Outcome, now: Timestamp) {
        facts::learn(&self.facts, snap, plan, outcome, now);
        let answers = plan.writes().zip(outcome.steps.iter().flatten());
        for (write, done) in answers.filter(|(write, _)| matches!(write, Write::Delete { .. })) {
            self.interlock.spend(write.kind(), &snap.key, matches!(done, Done::Written(_)), &snap.admission);
        }
    }
}
