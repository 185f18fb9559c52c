//! The namespace loop: empties a namespace that is being deleted, pods before all else, and lets it go (garbage-collection C).
//!
//! One sync of upstream's is a chain of passes here: what the server serves is asked for, collections are deleted, what is left is counted,
//! and at the end the conditions are told and the namespace is released. How far a namespace is, is kept in `memory.rs`; forgetting it
//! begins the chain anew. What never lives here: IO, tokio, clocks.
//!
//! Start reading at `progress.rs` (the chain), then `conditions.rs` (what is told).

mod conclude;
mod conditions;
mod edit;
mod memory;
mod plan;
mod progress;
mod snapshot;
mod triggers;

use std::time::Duration;

use evenkeel_api::{Key, NAMESPACES, PODS};
use evenkeel_cache::{Change, Stores};
use evenkeel_plan::{About, ControlLoop, Outcome, Plan, Report, Trigger};
use jiff::{SignedDuration, Timestamp};

use crate::memory::Memory;
pub use crate::{
    progress::{Act, Progress, Scope, Stage},
    snapshot::{Grace, Snapshot},
};

/// Names of the loop (garbage-collection C1).
pub static ABOUT: About = About {
    name: "namespace-controller",
    alias: "namespace",
    client: "namespace-controller",
    event_component: "namespace-controller",
    queue: "namespace",
    longest_retry: Duration::from_secs(60),
    watches: &[&NAMESPACES, &PODS],
    primary: &NAMESPACES,
};

/// From the deletion of a namespace to the first request: other API servers may not have seen yet that nothing may be created in it any more
/// (garbage-collection C2).
pub const DELAY: SignedDuration = SignedDuration::from_secs(5);

/// The finalizer that this loop takes away, in `spec.finalizers`.
const FINALIZER: &str = "kubernetes";

/// Empties namespaces that are being deleted.
#[derive(Default)]
pub struct NamespaceLoop {
    memory: Memory,
}

impl NamespaceLoop {
    /// Number of namespaces that the loop remembers something about: bounded by those that are being deleted.
    pub fn remembered(&self) -> usize {
        self.memory.len()
    }
}

impl ControlLoop for NamespaceLoop {
    type Snapshot = Snapshot;

    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn triggers(&self, change: &Change, stores: &Stores) -> Vec<Trigger> {
        triggers::triggers(change, stores)
    }

    fn all(&self, stores: &Stores) -> Vec<Trigger> {
        triggers::all(stores)
    }

    fn snapshot(&self, stores: &Stores, key: &Key) -> Snapshot {
        snapshot::take(stores, key, &self.memory)
    }

    fn plan(&self, snap: &Snapshot, _now: Timestamp) -> Plan {
        plan::plan(snap)
    }

    fn conclude(&self, snap: &Snapshot, plan: &Plan, outcome: &Outcome, now: Timestamp) -> Report {
        conclude::conclude(snap, plan, outcome, now)
    }

    fn explain(&self, snap: &Snapshot, _plan: &Plan) -> Option<String> {
        snap.namespace.as_ref().map(|_| "being deleted: its pods go first, then all else, then the namespace".to_owned())
    }

    fn remember(&self, snap: &Snapshot, plan: &Plan, outcome: &Outcome, now: Timestamp) {
        let Some(namespace) = &snap.namespace else { return };
        self.memory.keep(&namespace.meta, progress::advance(snap, plan, outcome, now));
    }
}
