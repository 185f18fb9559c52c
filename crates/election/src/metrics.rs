use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type Labels = [(&'static str, String); 1];

/// Metrics of all elections of a process, label `name` the Lease's name (manager 10.1). Cheap to clone.
#[derive(Debug, Clone)]
pub struct ElectionMetrics {
    leading: Family<Labels, Gauge>,
    slow_paths: Family<Labels, Counter>,
}

impl ElectionMetrics {
    /// Registers the families.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self { leading: Family::default(), slow_paths: Family::default() };
        registry.register(
            "leader_election_master_status",
            "Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates master. 'name' is the string used to \
             identify the lease. Please make sure to group by name",
            metrics.leading.clone(),
        );
        registry.register(
            "leader_election_slowpath",
            "Total number of slow path exercised in renewing leader leases. 'name' is the string used to identify the lease. Please make sure to group \
             by name",
            metrics.slow_paths.clone(),
        );
        metrics
    }

    /// The series of one Lease; they show 0 from now on.
    pub(crate) fn of(&self, name: &str) -> Handles {
        let labels = [("name", name.to_owned())];
        let handles =
            Handles { leading: self.leading.get_or_create_owned(&labels), slow_paths: self.slow_paths.get_or_create_owned(&labels) };
        handles.leading.set(0);
        handles
    }
}

impl Default for ElectionMetrics {
    /// Metrics that nobody reads.
    fn default() -> Self {
        Self::register(&mut Registry::default())
    }
}

pub(crate) struct Handles {
    pub(crate) leading: Gauge,
    pub(crate) slow_paths: Counter,
}
