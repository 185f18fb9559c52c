//! Metrics of passes, under upstream's names where it has one (manager 10).

use std::sync::Arc;

use evenkeel_api::Kind;
use evenkeel_pod_gc::{Attempt, Observer};
use evenkeel_replicaset::AgeRatioObserver;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use tracing::{info, warn};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GroupResource {
    group: String,
    resource: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Running {
    name: String,
    manager: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Forced {
    namespace: String,
    reason: &'static str,
}

/// Counters of one loop's passes.
#[derive(Debug, Clone, Default)]
pub struct PassMetrics {
    stale: Family<GroupResource, Counter>,
    panics: Counter,
}

impl PassMetrics {
    /// Registers `<loop>_controller_stale_sync_skips` (manager 10.2) and the loop's panics.
    pub fn register(registry: &mut Registry, alias: &str) -> Self {
        let metrics = Self::default();
        registry.register(
            format!("{alias}_controller_stale_sync_skips"),
            "Number of passes that were put off because the watch cache did not show an own write yet",
            metrics.stale.clone(),
        );
        registry.register(
            format!("evenkeel_{alias}_panics"),
            "Number of passes that ended in a panic and were retried",
            metrics.panics.clone(),
        );
        metrics
    }

    pub(crate) fn stale(&self, kind: Kind) {
        self.stale.get_or_create(&GroupResource { group: kind.group.to_owned(), resource: kind.plural.to_owned() }).inc();
    }

    pub(crate) fn panicked(&self) {
        self.panics.inc();
    }
}

/// `running_managed_controllers` (manager 10.1).
#[derive(Debug, Clone, Default)]
pub struct RunningControllers(Family<Running, Gauge>);

impl RunningControllers {
    /// Registers the gauge.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "running_managed_controllers",
            "Indicates where instances of a controller are currently running",
            metrics.0.clone(),
        );
        metrics
    }

    /// Says whether a controller runs in this process.
    pub fn set(&self, name: &str, runs: bool) {
        self.0.get_or_create(&Running { name: name.to_owned(), manager: "kube-controller-manager".to_owned() }).set(i64::from(runs));
    }
}

/// `replicaset_controller_sorting_deletion_age_ratio` (manager 10.2, workloads 3.7).
#[derive(Debug, Clone)]
pub struct AgeRatios(Histogram);

impl Default for AgeRatios {
    fn default() -> Self {
        Self(Histogram::new(exponential_buckets(0.25, 2.0, 6)))
    }
}

impl AgeRatios {
    /// Registers the histogram.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "replicaset_controller_sorting_deletion_age_ratio",
            "Age of each ready pod that a scale-down chose, divided by that of the youngest ready pod at the time; well below 2 when young \
             pods go first",
            metrics.0.clone(),
        );
        metrics
    }

    /// What a loop tells its ratios to.
    pub fn observer(&self) -> AgeRatioObserver {
        let histogram = self.0.clone();
        Arc::new(move |ratio| histogram.observe(ratio))
    }
}

/// What the pod garbage collector takes away (garbage-collection B4).
#[derive(Debug, Clone, Default)]
pub struct ForcedDeletes {
    total: Family<Forced, Counter>,
    errors: Family<Forced, Counter>,
}

impl ForcedDeletes {
    /// Registers `pod_gc_collector_force_delete_pods_total` and `pod_gc_collector_force_delete_pod_errors_total`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        // The registry adds `_total` to the names of counters.
        registry.register(
            "pod_gc_collector_force_delete_pods",
            "Number of pods that are being forcefully deleted since the Pod GC Controller started",
            metrics.total.clone(),
        );
        registry.register(
            "pod_gc_collector_force_delete_pod_errors",
            "Number of errors encountered when forcefully deleting the pods since the Pod GC Controller started",
            metrics.errors.clone(),
        );
        metrics
    }

    /// What the loop tells its attempts to.
    pub fn observer(&self) -> Observer {
        let metrics = self.clone();
        Arc::new(move |attempt| metrics.attempted(attempt))
    }

    fn attempted(&self, attempt: &Attempt<'_>) {
        let (pod, reason) = (attempt.key, attempt.reason.as_str());
        let labels = Forced { namespace: pod.namespace.to_string(), reason };
        self.total.get_or_create(&labels).inc();
        match attempt.error {
            None => info!(%pod, reason, "pod deleted without grace"),
            Some(error) => {
                self.errors.get_or_create(&labels).inc();
                warn!(%pod, reason, error, "a pod cannot be taken away; trying again in the next run");
            }
        }
    }
}
