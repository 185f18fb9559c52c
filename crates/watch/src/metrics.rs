use evenkeel_api::Kind;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Value of the label `name` that upstream's informers carry.
const NAME: &str = "kube-controller-manager";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    name: &'static str,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
}

/// What drivers count, per kind. Names and labels follow upstream's `informer_*` (manager 10.1); the counters are ours.
#[derive(Debug, Default)]
pub struct Metrics {
    store_version: Family<Labels, Gauge>,
    objects: Family<Labels, Gauge>,
    lists: Family<Labels, Counter>,
    watches: Family<Labels, Counter>,
    failures: Family<Labels, Counter>,
    refused: Family<Labels, Counter>,
    resets: Family<Labels, Counter>,
    bad_objects: Family<Labels, Counter>,
    paged: Family<Labels, Counter>,
    audits: Family<Labels, Counter>,
    differences: Family<Labels, Counter>,
}

/// The metrics of one kind.
#[derive(Debug, Clone, Default)]
pub struct KindMetrics {
    /// `informer_store_resource_version`.
    pub store_version: Gauge,
    /// `informer_store_objects`.
    pub objects: Gauge,
    /// `informer_lists_total`: complete fills, the first one included.
    pub lists: Counter,
    /// `informer_watch_restarts_total`: watches opened to resume, without a list.
    pub watches: Counter,
    /// `informer_failures_total`: lists and watches that failed and were tried again after a pause.
    pub failures: Counter,
    /// `informer_refused_total`: lists and events older than what was seen.
    pub refused: Counter,
    /// `informer_resets_total`: older lists believed in the end (the server was restored from a backup).
    pub resets: Counter,
    /// `informer_bad_objects_total`: objects that could not be read and were passed over.
    pub bad_objects: Counter,
    /// `informer_paged_lists_total`: fills in pages because the server has no streaming list.
    pub paged: Counter,
    /// `informer_audits_total`: comparisons with the server.
    pub audits: Counter,
    /// `informer_audit_differences_total`: objects found to differ; each is a bug somewhere.
    pub differences: Counter,
}

impl Metrics {
    /// Adds all of them to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("informer_store_resource_version", "Resource version that the store has reached", self.store_version.clone());
        registry.register("informer_store_objects", "Objects in the store", self.objects.clone());
        registry.register("informer_lists", "Complete fills of the store", self.lists.clone());
        registry.register("informer_watch_restarts", "Watches resumed without a list", self.watches.clone());
        registry.register("informer_failures", "Lists and watches that failed", self.failures.clone());
        registry.register("informer_refused", "Lists and events refused because they are older than what was seen", self.refused.clone());
        registry.register("informer_resets", "Older lists accepted as a reset of the server", self.resets.clone());
        registry.register("informer_bad_objects", "Objects that could not be read", self.bad_objects.clone());
        registry.register("informer_paged_lists", "Fills in pages because the server has no streaming list", self.paged.clone());
        registry.register("informer_audits", "Comparisons of the store with the server", self.audits.clone());
        registry.register("informer_audit_differences", "Objects found to differ from the server", self.differences.clone());
    }

    /// The metrics of one kind; handles share their values.
    pub fn of(&self, kind: Kind) -> KindMetrics {
        let labels = Labels { name: NAME, group: kind.group, version: kind.version, resource: kind.plural };
        KindMetrics {
            store_version: self.store_version.get_or_create_owned(&labels),
            objects: self.objects.get_or_create_owned(&labels),
            lists: self.lists.get_or_create_owned(&labels),
            watches: self.watches.get_or_create_owned(&labels),
            failures: self.failures.get_or_create_owned(&labels),
            refused: self.refused.get_or_create_owned(&labels),
            resets: self.resets.get_or_create_owned(&labels),
            bad_objects: self.bad_objects.get_or_create_owned(&labels),
            paged: self.paged.get_or_create_owned(&labels),
            audits: self.audits.get_or_create_owned(&labels),
            differences: self.differences.get_or_create_owned(&labels),
        }
    }
}
