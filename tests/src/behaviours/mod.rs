//! Recorded behaviours: what kube-controller-manager 1.36.2 made of short stories, and a player that holds a manager against it.
//!
//! A story runs in a namespace of its own. It writes objects and plays scheduler and kubelet by patching pods; no node runs. Whenever
//! nothing moves any more, what is there is compared with what was recorded. The format stands in `tests/data/README.md`.
//!
//! Start reading at [`run::run`], then [`player::Player`]; [`picture`] says what is compared, [`masks`] what is not.

mod cleaning;
pub mod conditions;
pub mod in_process;
pub mod masks;
pub mod picture;
pub mod player;
pub mod projections;
pub mod rest;
pub mod run;
pub mod story;
pub mod world;

/// The path below which the objects of a kind (plural) stand.
pub fn api_of(plural: &str) -> Option<&'static str> {
    Some(match plural {
        "pods"
        | "services"
        | "endpoints"
        | "configmaps"
        | "secrets"
        | "events"
        | "replicationcontrollers"
        | "serviceaccounts"
        | "persistentvolumeclaims"
        | "resourcequotas" => "/api/v1",
        "deployments" | "replicasets" | "statefulsets" | "daemonsets" | "controllerrevisions" => "/apis/apps/v1",
        "jobs" | "cronjobs" => "/apis/batch/v1",
        "endpointslices" => "/apis/discovery.k8s.io/v1",
        "leases" => "/apis/coordination.k8s.io/v1",
        "poddisruptionbudgets" => "/apis/policy/v1",
        "horizontalpodautoscalers" => "/apis/autoscaling/v2",
        _ => return None,
    })
}
