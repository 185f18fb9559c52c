//! Cache, drivers and loops for `evenkeel plan`: nothing that could write.

use std::{
    sync::{Arc, RwLockReadGuard},
    time::Duration,
};

use evenkeel_api::{Key, Kind};
use evenkeel_cache::{Cache, Stores};
use evenkeel_client::{Api, ClientMetrics, Pace, PaceOptions};
use evenkeel_deployment::DeploymentLoop;
use evenkeel_garbage_collector::{GarbageCollector, object_of};
use evenkeel_namespace::NamespaceLoop;
use evenkeel_plan::{About, ControlLoop};
use evenkeel_pod_gc::PodGcLoop;
use evenkeel_replicaset::{ReplicaSetLoop, ReplicationControllerLoop};
use evenkeel_watch::{Driver, Feed, wait_synced};
use prometheus_client::registry::Registry;
use tokio::{sync::watch, task::JoinSet};

use crate::{World, flags::Options, kinds::Kinds, plan_command::describe_all, wiring};

/// How long the caches of the loops' own kinds may take to fill.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which objects are asked about.
pub(crate) type Covers<'a> = &'a dyn Fn(Kind, &Key) -> bool;

/// Tells what a loop would do about all keys that are let through.
type Describe = Box<dyn Fn(&Stores, Covers<'_>, jiff::Timestamp) -> String>;

/// See the head of this file.
pub(crate) struct Planner {
    cache: Arc<Cache>,
    drivers: Vec<Arc<dyn Driver>>,
    /// All that the server has, where a loop works on all of it.
    kinds: Option<Kinds>,
    clock: Arc<dyn evenkeel_client::Clock>,
    loops: Vec<(&'static About, Describe)>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

fn ask<L: ControlLoop>(control_loop: L) -> (&'static About, Describe) {
    let about = control_loop.about();
    let describe =
        move |stores: &Stores, covers: Covers<'_>, now| describe_all(&control_loop, stores, &|key| covers(about.primary, key), now);
    (about, Box::new(describe))
}

/// The collector's keys name objects of every kind.
fn ask_collector(collector: GarbageCollector) -> (&'static About, Describe) {
    let describe = move |stores: &Stores, covers: Covers<'_>, now| {
        let covered = |key: &Key| object_of(stores, key).is_some_and(|(kind, at)| covers(kind, &at));
        describe_all(&collector, stores, &covered, now)
    };
    (&evenkeel_garbage_collector::ABOUT, Box::new(describe))
}

impl Planner {
    /// Everything that the loops of `options` need to be asked. Nothing runs yet.
    pub(crate) fn new(options: &Options, world: &World) -> Self {
        let all = [
            ask(DeploymentLoop::default()),
            ask(ReplicaSetLoop::default()),
            ask(ReplicationControllerLoop::default()),
            ask(NamespaceLoop::default()),
            ask(PodGcLoop::new(options.terminated_pods)),
            ask_collector(GarbageCollector::new(wiring::time_of(world))),
        ];
        let loops: Vec<_> = all.into_iter().filter(|(about, _)| options.controllers.runs(about.name)).collect();
        let cache = Cache::new();
        let feed = Feed::new(world.watch_client.clone(), world.chance.clone());
        let drivers: Vec<_> = wiring::kinds_read(loops.iter().map(|(about, _)| *about)).map(|read| (read.driver)(&feed)).collect();
        drivers.iter().for_each(|d| d.register(&cache));
        let collector = loops.iter().map(|(about, _)| *about).find(|about| **about == evenkeel_garbage_collector::ABOUT);
        let kinds = collector.map(|about| {
            let metrics = ClientMetrics::unregistered(&world.host);
            let pace = Pace::new(PaceOptions { qps: options.qps, burst: options.burst, ..PaceOptions::default() });
            let api = Api::new(world.client.clone(), about.client, pace, metrics);
            let watched = drivers.iter().map(|d| d.kind()).collect();
            Kinds::new(api, feed, cache.clone(), watched, &mut Registry::default(), Box::new(|| {}))
        });
        Self { cache, drivers, kinds, clock: world.clock.clone(), loops, stop: watch::channel(false).0, tasks: JoinSet::new() }
    }

    /// Lists all there is. Kinds that only the collector asks for may be missing afterwards: [`Planner::not_known`].
    ///
    /// # Errors
    /// When the server cannot be asked what it serves, or does not list a kind that a loop reads.
    pub(crate) async fn fill(&mut self) -> Result<(), String> {
        for driver in &self.drivers {
            let (driver, cache, stop) = (driver.clone(), self.cache.clone(), self.stop.subscribe());
            self.tasks.spawn(async move { driver.run(cache, stop).await });
        }
        if let Some(kinds) = &mut self.kinds {
            kinds.fill().await.map_err(|error| format!("the API server does not say what it serves: {error}"))?;
        }
        let kinds: Vec<_> = self.drivers.iter().map(|d| d.kind()).collect();
        let synced = tokio::time::timeout(PATIENCE, wait_synced(&self.cache, &kinds, &self.stop.subscribe())).await;
        synced.map(|_| ()).map_err(|_| {
            let troubles = self.drivers.iter().filter_map(|d| d.trouble().map(|t| format!("{}: {}", d.kind(), t.last)));
            format!("the API server did not list everything within {PATIENCE:?}: {}", troubles.collect::<Vec<_>>().join("; "))
        })
    }

    /// What the caches show.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Stores> {
        self.cache.read()
    }

    /// What the loops would do now for every key that `covers` lets through.
    pub(crate) fn describe(&self, covers: Covers<'_>) -> String {
        let stores = self.read();
        let now = self.clock.now();
        self.loops.iter().map(|(_, describe)| describe(&stores, covers, now)).collect()
    }

    /// A line for each kind and each group version of which nothing is known.
    pub(crate) fn not_known(&self) -> String {
        let missing = self.kinds.as_ref().map(Kinds::not_known).unwrap_or_default();
        let line =
            |(what, why): (String, Option<String>)| format!("not known: {what}{}\n", why.map(|w| format!(" ({w})")).unwrap_or_default());
        missing.into_iter().map(line).collect()
    }

    /// Stops all drivers.
    pub(crate) async fn end(mut self) {
        self.stop.send_replace(true);
        self.tasks.shutdown().await;
        if let Some(kinds) = self.kinds {
            kinds.end().await;
        }
    }
}
