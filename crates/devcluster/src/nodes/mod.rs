//! Simulated nodes: Node objects, a scheduler that binds pods to them, and kubelets that make pods run, become Ready, finish and go.
//!
//! The decisions are plain functions: [`scheduler`] (which node), [`kubelet`] (what a pod's status is at each stage of its life) and
//! [`behaviour`] (what its containers are meant to do). [`fleet`] is the shell: it follows nodes and pods through the API and
//! carries decisions out, moved by events and by due times only.
//!
//! # What containers do
//!
//! No image is ever pulled and no program runs. A container runs until it is told to stop, unless its pod says otherwise:
//!
//! | a pod with | does |
//! |---|---|
//! | an image from the host `registry.invalid`, or with the tag `broken` | stays Pending: `ErrImagePull`, then `ImagePullBackOff` |
//! | an image whose name or tag holds `never-ready`, or a readiness probe that runs `false` (or `exit 1` in a shell) | runs, but never becomes Ready |
//! | `restartPolicy: Never` or `OnFailure` | ends after 2 s with exit code 0 |
//! | … and the command `true`, `false`, `sleep N`, or a shell line of `sleep N` and `exit N` | ends after that time with that code |
//! | … and an endless command (`sleep infinity`, `tail -f`, `pause`) | runs on |
//! | annotation `devcluster.evenkeel/run-for: 500ms` | ends after that time, whatever its restart policy |
//! | annotation `devcluster.evenkeel/exit-code: "3"` | ends with that code (after `run-for`, else 2 s), whatever its restart policy |
//! | annotation `devcluster.evenkeel/ready-after: 5s` | becomes Ready that long after it started |
//! | annotation `devcluster.evenkeel/stop-after: 10s` | takes that long to stop once it is deleted, at most its grace period |
//!
//! A container that ends and must run again (`Always`, or `OnFailure` with a code other than 0) is restarted after a back-off:
//! 1 s, doubled each time, 30 s at most; the status says `CrashLoopBackOff` meanwhile.

pub mod behaviour;
pub mod fleet;
pub mod kubelet;
pub mod machines;
mod reporter;
pub mod scheduler;

use std::sync::Arc;
use std::time::Duration;

use evenkeel_apiserver::Server;

use crate::api::Api;

/// Most nodes that can be simulated: each has a /16 of 10.0.0.0/8 for its pods, from 10.128.0.0 on, and 10.96.0.0/16 is the Services'.
pub const MOST_NODES: u32 = 100;

/// How the simulated nodes behave.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// How many there are; [`MOST_NODES`] at most.
    pub count: u32,
    /// From being bound to running.
    pub start_delay: Duration,
    /// From running to Ready.
    pub ready_delay: Duration,
    /// From being deleted to being gone, grace periods that are shorter aside.
    pub stop_delay: Duration,
    /// How long containers run that end by themselves, where the pod does not say.
    pub run_for: Duration,
    /// Whether scheduler and kubelets report events.
    pub events: bool,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            count: 3,
            start_delay: Duration::from_millis(200),
            ready_delay: Duration::from_millis(100),
            stop_delay: Duration::from_millis(300),
            run_for: Duration::from_secs(2),
            events: true,
        }
    }
}

/// Registers the nodes and keeps them busy until the task is dropped.
pub async fn run_nodes(server: Arc<Server>, options: NodeOptions) {
    let clock = Arc::clone(&server.options().clock);
    let scheduler = Api::new(Arc::clone(&server), "system:kube-scheduler", "kube-scheduler");
    let kubelet = Api::new(server, "system:nodes", "kubelet");
    fleet::Fleet::new(scheduler, kubelet, clock, options).run().await;
}
