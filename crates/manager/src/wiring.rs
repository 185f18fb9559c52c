//! Which loops there are, what they read, and how they are connected: drivers feed the cache, changes become keys, keys become passes.

use std::{collections::BTreeMap, sync::Arc};

use evenkeel_api::{Deployment, Key, Kind, Namespace, Node, Object, Pod, ReplicaSet, ReplicationController};
use evenkeel_cache::{Cache, Cached, Owner, Stores};
use evenkeel_client::{Api, ClientMetrics, Fence, Pace, PaceOptions, Recorder, Writer};
use evenkeel_deployment::DeploymentLoop;
use evenkeel_garbage_collector::{GarbageCollector, Interlock};
use evenkeel_namespace::NamespaceLoop;
use evenkeel_plan::{About, ControlLoop, Trigger};
use evenkeel_pod_gc::PodGcLoop;
use evenkeel_queue::{Priority, Queue, QueueMetrics, QueueOptions};
use evenkeel_replicaset::{ReplicaSetLoop, ReplicationControllerLoop};
use evenkeel_watch::{Driver, Feed, ListWatch, Metrics as WatchMetrics};
use futures::future::BoxFuture;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::{
    Around, World,
    flags::Options,
    interlock::{LeaseNotes, Reporter},
    kinds::Kinds,
    metrics::{AgeRatios, ForcedDeletes, PassMetrics},
    pass::Shell,
};

/// Everything that a loop would look at, whatever changes.
type All = Arc<dyn Fn(&Stores) -> Vec<Trigger> + Send + Sync>;

/// One loop, wired up.
pub(crate) struct Wired {
    pub(crate) about: &'static About,
    pub(crate) recorder: Recorder,
    queue: Queue<Key>,
    /// What a new leader looks at.
    all: All,
    workers: usize,
    /// Starts one worker.
    work: Box<dyn Fn(watch::Receiver<bool>) -> BoxFuture<'static, ()> + Send + Sync>,
}

impl Wired {
    /// Workers that take keys while `leading`; each ends at a key boundary.
    pub(crate) fn workers(&self, leading: &watch::Receiver<bool>) -> Vec<BoxFuture<'static, ()>> {
        (0..self.workers).map(|_| (self.work)(leading.clone())).collect()
    }

    /// Queues all there is to look at, behind what changed.
    pub(crate) fn queue_all(&self, cache: &Cache) {
        queue_all(&self.all, &self.queue, cache);
    }

    pub(crate) fn shut_down(&self) {
        self.queue.shut_down_now();
    }
}

fn queue_all(all: &All, queue: &Queue<Key>, cache: &Cache) {
    let all = all(&cache.read());
    all.into_iter().for_each(|trigger| crate::pass::queue(queue, trigger, Priority::Existing));
}

/// Cache, drivers and loops of one manager.
pub(crate) struct Wiring {
    pub(crate) cache: Arc<Cache>,
    pub(crate) feed: Feed,
    pub(crate) drivers: Vec<Arc<dyn Driver>>,
    pub(crate) loops: Vec<Wired>,
    /// Follows what the server serves, where a loop works on all of it.
    pub(crate) kinds: Option<Kinds>,
    /// Reports what the interlock finds.
    pub(crate) reporter: Option<Reporter>,
    /// Tasks that send events.
    pub(crate) senders: Vec<BoxFuture<'static, ()>>,
}

/// What the loops have in common while they are wired.
struct Common<'a> {
    world: &'a World,
    cache: Arc<Cache>,
    pace: Pace,
    fence: Fence,
    client_metrics: ClientMetrics,
    queue_metrics: QueueMetrics,
    leading: watch::Receiver<bool>,
    registry: &'a mut Registry,
    senders: Vec<BoxFuture<'static, ()>>,
    queues: BTreeMap<&'static str, Queue<Key>>,
}

impl Common<'_> {
    fn wire<L: ControlLoop>(&mut self, control_loop: L, workers: usize) -> Wired {
        let about = control_loop.about();
        let api = Api::new(self.world.client.clone(), about.client, self.pace.clone(), self.client_metrics.clone());
        let queue = Queue::new(QueueOptions { cap: about.longest_retry, ..QueueOptions::named(about.queue) }, &self.queue_metrics);
        let (recorder, sender) =
            Recorder::new(api.clone(), about.event_component, self.world.clock.clone(), self.fence.clone(), self.client_metrics.clone());
        self.senders.push(Box::pin(sender));
        self.queues.insert(about.name, queue.clone());
        let shell = Arc::new(Shell {
            control_loop: Arc::new(control_loop),
            cache: self.cache.clone(),
            queue: queue.clone(),
            writer: Writer::new(api, self.cache.clone(), self.fence.clone()),
            recorder: recorder.clone(),
            clock: self.world.clock.clone(),
            metrics: PassMetrics::register(self.registry, about.alias),
        });
        shell.listen(self.leading.clone());
        let looks = shell.control_loop.clone();
        let all = Arc::new(move |stores: &Stores| looks.all(stores));
        let work = Box::new(move |leading| -> BoxFuture<'static, ()> { Box::pin(shell.clone().work(leading)) });
        Wired { about, recorder, queue, all, workers, work }
    }
}

/// Connects everything that `options` ask for. Nothing runs yet.
pub(crate) fn wire(
    options: &Options,
    world: &World,
    fence: Fence,
    leading: watch::Receiver<bool>,
    registry: &mut Registry,
    around: &impl Around,
) -> Wiring {
    let cache = Cache::new();
    let client_metrics = ClientMetrics::register(registry, &world.host);
    let queue_metrics = QueueMetrics::register(registry);
    let watch_metrics = Arc::new(WatchMetrics::default());
    watch_metrics.register(registry);
    let mut common = Common {
        world,
        cache: cache.clone(),
        pace: Pace::new(PaceOptions { qps: options.qps, burst: options.burst, ..PaceOptions::default() }),
        fence,
        client_metrics,
        queue_metrics,
        leading,
        registry,
        senders: Vec::new(),
        queues: BTreeMap::new(),
    };
    let on = |about: &About| options.controllers.runs(about.name);
    let mut loops = Vec::new();
    if on(&evenkeel_deployment::ABOUT) {
        loops.push(common.wire(around.around(DeploymentLoop::new(true)), options.deployment_syncs));
    }
    // Both loops feed one histogram, as in the stock manager, where they are one controller.
    let (sets, rcs) = (on(&evenkeel_replicaset::REPLICA_SET), on(&evenkeel_replicaset::REPLICATION_CONTROLLER));
    let ratios = if sets || rcs { AgeRatios::register(common.registry) } else { AgeRatios::default() };
    if sets {
        let control_loop = ReplicaSetLoop::default().with_age_ratio_observer(ratios.observer());
        loops.push(common.wire(around.around(control_loop), options.replicaset_syncs));
    }
    if rcs {
        let control_loop = ReplicationControllerLoop::default().with_age_ratio_observer(ratios.observer());
        loops.push(common.wire(around.around(control_loop), options.rc_syncs));
    }
    if on(&evenkeel_namespace::ABOUT) {
        loops.push(common.wire(around.around(NamespaceLoop::default()), options.namespace_syncs));
    }
    if on(&evenkeel_pod_gc::ABOUT) {
        let deletes = ForcedDeletes::register(common.registry);
        let control_loop = PodGcLoop::new(options.terminated_pods).with_observer(deletes.observer());
        loops.push(common.wire(around.around(control_loop), 1));
    }
    let collector = (options.enable_gc && on(&evenkeel_garbage_collector::ABOUT)).then(|| {
        let interlock = Arc::new(Interlock::new(options.gc_budgets.clone(), options.gc_holds, time_of(world)));
        let control_loop = GarbageCollector::new(time_of(world)).with_interlock(interlock.clone());
        // Upstream has so many workers that delete, and as many that orphan (garbage-collection A2); here each does both.
        (common.wire(around.around(control_loop), 2 * options.gc_syncs), interlock)
    });
    let queues = std::mem::take(&mut common.queues);
    let senders = std::mem::take(&mut common.senders);
    let feed = Feed { metrics: watch_metrics, ..Feed::new(world.watch_client.clone(), world.chance.clone()) }.released(move |owners| {
        for Owner { controller, key } in owners {
            if let Some(queue) = queues.get(controller) {
                queue.add(key, Priority::Changed);
            }
        }
    });
    let drivers: Vec<_> = kinds_read(loops.iter().map(|l| l.about)).map(|read| (read.driver)(&feed)).collect();
    drivers.iter().for_each(|d| d.register(&cache));
    let (mut kinds, mut reporter) = (None, None);
    if let Some((wired, interlock)) = collector {
        let again = || {
            let (all, queue, cache) = (wired.all.clone(), wired.queue.clone(), cache.clone());
            Box::new(move || queue_all(&all, &queue, &cache))
        };
        let api = Api::new(world.client.clone(), wired.about.client, common.pace.clone(), common.client_metrics.clone());
        let watched = drivers.iter().map(|d| d.kind()).collect();
        let notes = options.leader_elect.then(|| LeaseNotes::new(api.clone(), &options.lease_namespace, &options.lease_name));
        kinds = Some(Kinds::new(api, feed.clone(), cache.clone(), watched, common.registry, again()));
        reporter = Some(Reporter::new(interlock, notes, common.registry, again()));
        loops.push(wired);
    }
    Wiring { cache, feed, drivers, loops, kinds, reporter, senders }
}

/// The clock that tells a loop how old its facts are.
pub(crate) fn time_of(world: &World) -> evenkeel_garbage_collector::Clock {
    let clock = world.clock.clone();
    Arc::new(move || clock.now())
}

/// How one kind comes into the cache.
pub(crate) struct Read {
    kind: Kind,
    pub(crate) driver: fn(&Feed) -> Arc<dyn Driver>,
}

/// Every kind that some loop may read: one list and watch per kind in the whole process.
fn all_kinds() -> [Read; 6] {
    fn read<T: Object + Cached>() -> Read {
        Read { kind: T::resource(), driver: |feed| Arc::new(ListWatch::<T>::new(feed.clone())) }
    }
    [read::<Deployment>(), read::<ReplicaSet>(), read::<ReplicationController>(), read::<Pod>(), read::<Node>(), read::<Namespace>()]
}

/// The kinds that some of these loops read.
pub(crate) fn kinds_read<'a>(loops: impl Iterator<Item = &'a About> + Clone) -> impl Iterator<Item = Read> {
    all_kinds().into_iter().filter(move |read| loops.clone().any(|about| about.watches.contains(&read.kind)))
}
