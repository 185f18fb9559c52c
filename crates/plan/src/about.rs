use std::time::Duration;

use evenkeel_api::Kind;

/// Longest back-off of most queues' keys (manager 12.5).
pub const LONGEST_RETRY: Duration = Duration::from_secs(1000);

/// The names a loop goes by (manager 2.1, workloads 1.1). One constant per loop.
#[derive(Debug, PartialEq, Eq)]
pub struct About {
    /// Canonical name for `--controllers`, health and logs, such as `deployment-controller`.
    pub name: &'static str,
    /// Alias for `--controllers`, such as `deployment`.
    pub alias: &'static str,
    /// Client name and service account, suffix of the User-Agent, such as `replication-controller`.
    pub client: &'static str,
    /// `source.component` of its events.
    pub event_component: &'static str,
    /// `name` label of its work queue's metrics.
    pub queue: &'static str,
    /// Longest back-off of one key.
    pub longest_retry: Duration,
    /// Kinds whose changes and stores it reads.
    pub watches: &'static [Kind],
    /// The kind whose objects its keys name.
    pub primary: Kind,
}
