//! The Deployment loop: templates become ReplicaSets, and pods move from the old ones to the new one within the bounds that users set.
//!
//! Here lives every rule of workloads 2. One pass looks once ([`Snapshot`]), decides ([`DeploymentLoop::plan`]: which sets to adopt, make,
//! size and remove) and says how it went ([`DeploymentLoop::conclude`]: the status, one PUT for all its parts, and events). Pods themselves
//! are the ReplicaSet loop's business; this loop only sizes sets and reads their counters. What never lives here: IO, clocks, tokio.
//!
//! Start reading at `plan.rs`, which is the order of workloads 2.2; `rolling.rs`, `recreate.rs` and `scale.rs` are the three ways to size.

mod annotations;
mod bounds;
mod claiming;
mod cleanup;
mod conclude;
mod create;
mod edit;
mod explain;
mod plan;
mod progress;
mod recreate;
mod revision;
mod rollback;
mod rolling;
mod scale;
mod sets;
mod snapshot;
mod status;
mod triggers;

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use evenkeel_api::{DEPLOYMENTS, Key, PODS, REPLICA_SETS};
use evenkeel_cache::{Change, Stores};
use evenkeel_plan::{About, ControlLoop, LONGEST_RETRY, Outcome, Plan, Report, Trigger};
use jiff::Timestamp;

pub use claiming::PassedOver;
pub use snapshot::Snapshot;

/// The loop's names (workloads 1.1).
pub const ABOUT: About = About {
    name: "deployment-controller",
    alias: "deployment",
    client: "deployment-controller",
    event_component: "deployment-controller",
    queue: "deployment",
    longest_retry: LONGEST_RETRY,
    watches: &[&DEPLOYMENTS, &REPLICA_SETS, &PODS],
    primary: &DEPLOYMENTS,
};

/// The Deployment loop (workloads 2).
#[derive(Debug)]
pub struct DeploymentLoop {
    /// Gate `DeploymentReplicaSetTerminatingReplicas`: whether `status.terminatingReplicas` is kept.
    terminating_replicas: bool,
    /// Per key: sets that answered an adoption or release with "not there" in the version that the cache shows. At most one entry per set.
    passed_over: Mutex<BTreeMap<Key, PassedOver>>,
}

impl Default for DeploymentLoop {
    /// With the gates as 1.36 has them by default.
    fn default() -> Self {
        Self::new(true)
    }
}

impl DeploymentLoop {
    /// A loop with the gate `DeploymentReplicaSetTerminatingReplicas` on or off (workloads 1.2).
    pub fn new(terminating_replicas: bool) -> Self {
        Self { terminating_replicas, passed_over: Mutex::default() }
    }
}

impl ControlLoop for DeploymentLoop {
    type Snapshot = Snapshot;

    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn triggers(&self, change: &Change, stores: &Stores) -> Vec<Trigger> {
        triggers::triggers(change, stores)
    }

    fn snapshot(&self, stores: &Stores, key: &Key) -> Snapshot {
        let passed_over = self.passed_over.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned().unwrap_or_default();
        Snapshot::take(stores, key, passed_over)
    }

    fn plan(&self, snap: &Snapshot, _now: Timestamp) -> Plan {
        plan::decide(snap).plan()
    }

    fn conclude(&self, snap: &Snapshot, _plan: &Plan, outcome: &Outcome, now: Timestamp) -> Report {
        conclude::conclude(&plan::decide(snap), outcome, now, self.terminating_replicas)
    }

    fn explain(&self, snap: &Snapshot, _plan: &Plan) -> Option<String> {
        explain::explain(&plan::decide(snap))
    }

    fn remember(&self, snap: &Snapshot, plan: &Plan, outcome: &Outcome, _now: Timestamp) {
        let passed_over = claiming::passed_over(snap, plan, outcome);
        let mut memory = self.passed_over.lock().unwrap_or_else(PoisonError::into_inner);
        if passed_over.is_empty() {
            memory.remove(&snap.key);
        } else {
            memory.insert(snap.key.clone(), passed_over);
        }
    }
}
