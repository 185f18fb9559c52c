use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The only label: the queue's name.
type Labels = [(&'static str, String); 1];

/// Metrics of all queues of a process, under upstream's names with label `name` (manager 10.1). Cheap to clone.
///
/// A queue's series appear when the queue is made, so queues of disabled loops do not appear.
#[derive(Clone)]
pub struct QueueMetrics {
    depth: Family<Labels, Gauge<i64, AtomicI64>>,
    adds: Family<Labels, Counter>,
    retries: Family<Labels, Counter>,
    waited: Family<Labels, Histogram, fn() -> Histogram>,
    worked: Family<Labels, Histogram, fn() -> Histogram>,
    in_progress: Arc<InProgress>,
}

/// 1e-8 × 10^0…10^9 seconds.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(1e-8, 10.0, 10))
}

impl QueueMetrics {
    /// Registers the families.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            depth: Family::default(),
            adds: Family::default(),
            retries: Family::default(),
            waited: Family::new_with_constructor(seconds),
            worked: Family::new_with_constructor(seconds),
            in_progress: Arc::default(),
        };
        registry.register("workqueue_depth", "Current depth of workqueue", metrics.depth.clone());
        registry.register("workqueue_adds", "Total number of adds handled by workqueue", metrics.adds.clone());
        registry.register("workqueue_retries", "Total number of retries handled by workqueue", metrics.retries.clone());
        registry.register(
            "workqueue_queue_duration_seconds",
            "How long in seconds an item stays in workqueue before being requested",
            metrics.waited.clone(),
        );
        registry.register(
            "workqueue_work_duration_seconds",
            "How long in seconds processing an item from workqueue takes",
            metrics.worked.clone(),
        );
        registry.register_collector(Box::new(Arc::clone(&metrics.in_progress)));
        metrics
    }

    pub(crate) fn of(&self, name: &str, queue: Weak<dyn Progress>) -> Handles {
        self.in_progress.queues.lock().unwrap_or_else(PoisonError::into_inner).push((name.to_owned(), queue));
        let labels = [("name", name.to_owned())];
        Handles {
            depth: self.depth.get_or_create_owned(&labels),
            adds: self.adds.get_or_create_owned(&labels),
            retries: self.retries.get_or_create_owned(&labels),
            waited: self.waited.get_or_create_owned(&labels),
            worked: self.worked.get_or_create_owned(&labels),
        }
    }
}

impl Default for QueueMetrics {
    /// Metrics that nobody reads.
    fn default() -> Self {
        Self::register(&mut Registry::default())
    }
}

impl fmt::Debug for QueueMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueMetrics").finish_non_exhaustive()
    }
}

/// One queue's series.
pub(crate) struct Handles {
    pub(crate) depth: Gauge<i64, AtomicI64>,
    pub(crate) adds: Counter,
    pub(crate) retries: Counter,
    pub(crate) waited: Histogram,
    pub(crate) worked: Histogram,
}

/// A queue that can tell the sum and the maximum of the time its keys have been held.
pub(crate) trait Progress: Send + Sync {
    fn in_progress(&self) -> (Duration, Duration);
}

/// The two gauges that change while nothing happens: computed when they are read.
#[derive(Default)]
struct InProgress {
    queues: Mutex<Vec<(String, Weak<dyn Progress>)>>,
}

impl fmt::Debug for InProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InProgress")
    }
}

impl Collector for InProgress {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // Queues may share a name (manager 10.1): their figures join.
        let mut by_name: BTreeMap<String, (Duration, Duration)> = BTreeMap::new();
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).retain(|(name, queue)| {
            let Some(queue) = queue.upgrade() else { return false };
            let (sum, max) = queue.in_progress();
            let entry = by_name.entry(name.clone()).or_default();
            *entry = (entry.0 + sum, entry.1.max(max));
            true
        });
        type Pick = fn(&(Duration, Duration)) -> Duration;
        let gauges: [(&str, &str, Pick); 2] = [
            (
                "workqueue_unfinished_work_seconds",
                "How many seconds of work has done that is in progress and hasn't been observed by work_duration. Large values indicate stuck threads.",
                |both| both.0,
            ),
            (
                "workqueue_longest_running_processor_seconds",
                "How many seconds has the longest running processor for workqueue been running.",
                |both| both.1,
            ),
        ];
        for (metric, help, pick) in gauges {
            let mut family = encoder.encode_descriptor(metric, help, None, prometheus_client::metrics::MetricType::Gauge)?;
            for (name, both) in &by_name {
                let labels: Labels = [("name", name.clone())];
                ConstGauge::new(pick(both).as_secs_f64()).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
