//! Every kind that the server has, as the garbage collector sees them: asked for again and again, and watched by their headers where no loop
//! reads more of them (garbage-collection A4).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use evenkeel_api::Kind;
use evenkeel_cache::{Cache, Change, Mapping};
use evenkeel_client::Api;
use evenkeel_plan::{Discovered, Verbs};
use evenkeel_watch::{Driver, Feed, ListWatch, Stop, run_audited};
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};
use tracing::{info, warn};

/// From the end of one round to the beginning of the next.
const PERIOD: Duration = Duration::from_secs(30);

/// Pauses before the rounds that follow a change of definitions: the server takes a moment to serve what was defined.
const SOON: [Duration; 4] = [Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(10)];

/// How long the first list of a kind is waited for before decisions are made without it (A17.6).
const LISTING: Duration = Duration::from_secs(30);

/// How often new lists are looked for while any is awaited.
const LOOK: Duration = Duration::from_millis(50);

/// Resources that nobody collects: they end by themselves, and there are very many (A2).
const IGNORED: [(&str, &str); 2] = [("", "events"), ("events.k8s.io", "events")];

/// Resources whose objects make the server serve others.
const DEFINITIONS: [(&str, &str); 2] = [("apiextensions.k8s.io", "customresourcedefinitions"), ("apiregistration.k8s.io", "apiservices")];

/// Most kinds that are watched.
const KINDS: usize = 2_000;

/// What follows when kinds have come, gone or been listed.
pub(crate) type Told = Box<dyn Fn() + Send + Sync>;

/// The kinds of one server, kept up with.
pub(crate) struct Kinds {
    api: Api,
    feed: Feed,
    cache: Arc<Cache>,
    /// Kinds that loops watch anyway, whole.
    watched: Vec<Kind>,
    told: Told,
    /// Something was defined, or is no longer.
    defined: Arc<Notify>,
    errors: Counter,
    running: BTreeMap<Kind, Running>,
    /// Kinds whose first list is waited for, and until when.
    awaited: BTreeMap<Kind, Instant>,
    /// Kinds that were found once.
    known: BTreeSet<Kind>,
    mapping: Mapping,
    /// How often the server had gone back in time when everything was looked at last.
    restores: u64,
}

struct Running {
    driver: Arc<dyn Driver>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Kinds {
    pub(crate) fn new(api: Api, feed: Feed, cache: Arc<Cache>, watched: Vec<Kind>, registry: &mut Registry, told: Told) -> Self {
        let errors = Counter::default();
        registry.register(
            "garbagecollector_controller_resources_sync_error",
            "Number of rounds of discovery that failed, and of kinds that could not be listed in time",
            errors.clone(),
        );
        let defined = Arc::new(Notify::new());
        let notify = defined.clone();
        cache.listen(move |change: &Change, _| {
            if DEFINITIONS.contains(&(change.kind.group, change.kind.plural)) {
                notify.notify_one();
            }
        });
        Self {
            api,
            feed,
            cache,
            watched,
            told,
            defined,
            errors,
            running: BTreeMap::new(),
            awaited: BTreeMap::new(),
            known: BTreeSet::new(),
            mapping: Mapping::default(),
            restores: 0,
        }
    }

    /// Asks and follows until `stop`.
    pub(crate) async fn run(mut self, mut stop: Stop) {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => {}
            () = self.follow() => {}
        }
        self.end().await;
    }

    /// Asks once what there is, and waits until all of it is listed or has taken too long: for who looks once.
    ///
    /// # Errors
    /// When the server does not say what it serves.
    pub(crate) async fn fill(&mut self) -> Result<(), String> {
        self.ask().await?;
        while !self.awaited.is_empty() {
            sleep(LOOK).await;
            self.look();
        }
        Ok(())
    }

    /// Kinds of which no list is in, and group versions that could not be asked; why, where that is known.
    pub(crate) fn not_known(&self) -> Vec<(String, Option<String>)> {
        let stores = self.cache.read();
        let unlisted = self.running.iter().filter(|(kind, _)| !stores.any(kind).is_some_and(|store| store.synced()));
        let unlisted = unlisted.map(|(kind, running)| (kind.to_string(), running.driver.trouble().map(|trouble| trouble.last)));
        unlisted.chain(self.mapping.unsure.iter().map(|group| (group.to_string(), None))).collect()
    }

    /// Stops all drivers.
    pub(crate) async fn end(self) {
        for running in self.running.into_values() {
            running.stop.send_replace(true);
            let _ = running.task.await;
        }
    }

    /// One round of discovery.
    async fn ask(&mut self) -> Result<(), String> {
        let found = self.api.discover().await?;
        if found.resources.is_empty() {
            return Err("the server says that it serves nothing".to_owned());
        }
        self.adjust(&found);
        Ok(())
    }

    async fn follow(&mut self) {
        let mut soon = SOON.iter();
        loop {
            if let Err(error) = self.ask().await {
                self.errors.inc();
                warn!(error, "what the server serves is not known; all kinds stay as they are");
            }
            self.doubt();
            let next = Instant::now() + soon.next().copied().unwrap_or(PERIOD);
            loop {
                let defined = self.defined.clone();
                tokio::select! {
                    biased;
                    () = defined.notified() => {
                        soon = SOON[1..].iter();
                        sleep(SOON[0]).await;
                        break;
                    }
                    () = sleep_until(next) => break,
                    () = sleep(LOOK), if !self.awaited.is_empty() => self.look(),
                }
            }
        }
    }

    /// Stops waiting for lists that are in, or have taken too long.
    fn look(&mut self) {
        let now = Instant::now();
        let stores = self.cache.read();
        let before = self.awaited.len();
        self.awaited.retain(|kind, until| {
            let listed = stores.any(kind).is_none_or(|store| store.synced());
            if !listed && now >= *until {
                self.errors.inc();
                warn!(%kind, "cannot be listed; decisions no longer wait for it");
            }
            !listed && now < *until
        });
        drop(stores);
        if self.awaited.len() < before {
            self.tell();
        }
    }

    /// Has everything looked at after the server has gone back in time, or a store was found wrong: what failed meanwhile, on an old cache, need
    /// not wait for the end of its back-off.
    fn doubt(&mut self) {
        let restores = self.cache.read().restores();
        if restores != std::mem::replace(&mut self.restores, restores) {
            self.tell();
        }
    }

    /// Makes known what there is, and has everything looked at that this may concern.
    fn tell(&mut self) {
        self.mapping.awaited = self.awaited.keys().copied().collect();
        self.cache.map(self.mapping.clone());
        (self.told)();
    }

    /// Starts what is new and stops what is gone. What belongs to a group that could not be asked stays (A4.3).
    fn adjust(&mut self, found: &Discovered) {
        // One kind is watched in one version, whichever the server prefers.
        let ours = |kind: Kind| self.watched.iter().copied().find(|w| w.group == kind.group && w.plural == kind.plural).unwrap_or(kind);
        let wanted: BTreeSet<Kind> = collectable(found).map(ours).take(KINDS).collect();
        let unsure =
            |kind: &Kind| found.failed.contains_key(&kind.api_version()) || found.failed.contains_key("apis") && !kind.group.is_empty();
        let mut mapping = Mapping::default();
        mapping.unsure = found.failed.keys().map(|group| group.as_str().into()).collect();
        found.kinds.iter().for_each(|((api_version, kind), resource)| mapping.add(api_version, kind, ours(resource)));
        // Of a group that could not be asked, what was known stays known.
        self.mapping
            .entries()
            .filter(|(.., kind)| unsure(kind))
            .for_each(|(api_version, kind, resource)| mapping.add(api_version, kind, resource));

        let gone: Vec<Kind> = self.running.keys().copied().filter(|kind| !wanted.contains(kind) && !unsure(kind)).collect();
        for kind in gone {
            info!(%kind, "no longer served");
            if let Some(running) = self.running.remove(kind) {
                running.stop.send_replace(true);
                running.task.abort();
            }
            self.awaited.remove(kind);
            self.known.remove(kind);
            let released = self.cache.unregister(kind);
            (self.feed.released)(released);
        }
        for kind in wanted {
            if !self.known.insert(kind) {
                continue;
            }
            self.awaited.insert(kind, Instant::now() + LISTING);
            if !self.watched.contains(&kind) {
                let running = self.start(kind);
                self.running.insert(kind, running);
            }
        }
        mapping.awaited = self.awaited.keys().copied().collect();
        if mapping != self.mapping {
            self.mapping = mapping;
            self.tell();
        }
    }

    fn start(&self, kind: Kind) -> Running {
        let driver: Arc<dyn Driver> = Arc::new(ListWatch::headers(self.feed.clone(), kind));
        driver.register(&self.cache);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run_audited(driver.clone(), self.feed.clone(), self.cache.clone(), stopped));
        Running { driver, stop, task }
    }
}

/// Kinds whose objects can be collected.
fn collectable(found: &Discovered) -> impl Iterator<Item = Kind> {
    let able = |verbs: &Verbs| verbs.delete && verbs.list && verbs.watch;
    found.resources.iter().filter(move |s| able(&s.verbs) && !IGNORED.contains(&(s.kind.group, s.kind.plural))).map(|s| s.kind)
}
