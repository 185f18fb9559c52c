use std::ops::Deref;

use evenkeel_api::{Object, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS, ReplicaSet, Replicated, ReplicationController};
use evenkeel_plan::{About, LONGEST_RETRY};

/// Names of the ReplicaSet loop (workloads 1.1).
pub const REPLICA_SET: About = About {
    name: "replicaset-controller",
    alias: "replicaset",
    client: "replicaset-controller",
    event_component: "replicaset-controller",
    queue: "replicaset",
    longest_retry: LONGEST_RETRY,
    watches: &[&REPLICA_SETS, &PODS],
    primary: &REPLICA_SETS,
};

/// Names of the ReplicationController loop (workloads 1.1).
pub const REPLICATION_CONTROLLER: About = About {
    name: "replicationcontroller-controller",
    alias: "replicationcontroller",
    client: "replication-controller",
    event_component: "replication-controller",
    queue: "replicationmanager",
    longest_retry: LONGEST_RETRY,
    watches: &[&REPLICATION_CONTROLLERS, &PODS],
    primary: &REPLICATION_CONTROLLERS,
};

/// What the two kinds do differently (workloads 4). How a selector is written is settled when the entry is decoded.
pub trait SetKind: Object + Deref<Target = Replicated> {
    /// The loop's names.
    const ABOUT: &'static About;
    /// Whether the status has `terminatingReplicas`.
    const COUNTS_TERMINATING: bool;
    /// Whether pods of sibling sets on the same node matter for who goes first.
    const SPREADS: bool;
}

impl SetKind for ReplicaSet {
    const ABOUT: &'static About = &REPLICA_SET;
    const COUNTS_TERMINATING: bool = true;
    const SPREADS: bool = true;
}

impl SetKind for ReplicationController {
    const ABOUT: &'static About = &REPLICATION_CONTROLLER;
    const COUNTS_TERMINATING: bool = false;
    const SPREADS: bool = false;
}
