use evenkeel_api::Kind;

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
    /// Kinds whose changes and stores it reads.
    pub watches: &'static [Kind],
    /// The kind whose objects its keys name.
    pub primary: Kind,
}
