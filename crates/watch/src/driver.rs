use std::sync::{Arc, Mutex, PoisonError};

use evenkeel_api::{Kind, Version};
use evenkeel_cache::{Cache, Cached, Owner};
use futures::future::BoxFuture;

use crate::{Json, Metrics, WatchError, intake::Intake, pages};

/// Turns `true` (or loses its sender) when all is to end.
pub type Stop = tokio::sync::watch::Receiver<bool>;

/// Gives 64 random bits: jitter and watch times are drawn from it, so that a seed gives the same history.
pub type Chance = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Told of owners whose own writes are all visible now ([`evenkeel_cache::Ingested::released`]). Called within ingestion: it must not
/// wait, and not read the cache for long.
pub type Released = Arc<dyn Fn(Vec<Owner>) + Send + Sync>;

/// Feeds the store of one kind. One driver per kind runs in a process: that is what makes the kind's log ordered.
pub trait Driver: Send + Sync {
    /// The kind that it feeds.
    fn kind(&self) -> Kind;
    /// Makes room for the kind in a cache, so that it can be read before the first list (empty and not synced).
    fn register(&self, cache: &Cache);
    /// Feeds the cache until `stop`. Failures are retried for ever, with pauses; they touch no other kind.
    fn run<'a>(&'a self, cache: Arc<Cache>, stop: Stop) -> BoxFuture<'a, ()>;
    /// Asks for a new list soon, whatever the driver is doing.
    fn refill(&self);
    /// The version that the server's own log of the kind has reached, from a consistent list of one object.
    fn newest(&self) -> BoxFuture<'_, Result<Version, WatchError>>;
    /// Asks for proof, soon, of how far the kind's log is: a watch that is opened anew brings what the old one held back, and a bookmark within
    /// a second or so. Costs the server nothing but that; drivers that cannot do it list again.
    fn catch_up(&self);
    /// What keeps the kind from being current, as of now; for readiness and debug pages.
    fn trouble(&self) -> Option<Trouble>;
}

/// Why a kind is not current.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Failures in a row.
    pub failures: u32,
    /// The last one, in words.
    pub last: String,
}

/// What every driver is given.
#[derive(Clone)]
pub struct Feed {
    /// Transport.
    pub client: kube::Client,
    /// Chance.
    pub chance: Chance,
    /// Who is told of released owners.
    pub released: Released,
    /// Where things are counted.
    pub metrics: Arc<Metrics>,
}

impl Feed {
    /// A feed that counts into metrics of its own and tells nobody of released owners.
    pub fn new(client: kube::Client, chance: Chance) -> Self {
        Self { client, chance, released: Arc::new(|_| {}), metrics: Arc::default() }
    }

    /// With somebody who is told of released owners.
    pub fn released(self, tell: impl Fn(Vec<Owner>) + Send + Sync + 'static) -> Self {
        Self { released: Arc::new(tell), ..self }
    }

    /// A whole number in `range`, by chance.
    pub(crate) fn draw(&self, range: std::ops::Range<u64>) -> u64 {
        range.start + (self.chance)() % (range.end - range.start)
    }
}

/// A way to list and watch one kind for ever. All else that a [`Driver`] does is the same for each.
pub(crate) trait Cycle: Send + Sync {
    /// The kind's entries.
    type Of: Cached;
    /// Its way into the cache.
    fn intake(&self) -> &Intake<Self::Of>;
    /// See [`Driver::catch_up`].
    fn catch_up(&self);
    /// Feeds a cache in which the kind is registered, for ever.
    fn cycle<'a>(&'a self, cache: &'a Cache) -> BoxFuture<'a, ()>;
}

impl<C: Cycle> Driver for C {
    fn kind(&self) -> Kind {
        self.intake().kind
    }

    fn register(&self, cache: &Cache) {
        cache.register::<C::Of>(self.intake().kind);
    }

    fn run<'a>(&'a self, cache: Arc<Cache>, stop: Stop) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            self.register(&cache);
            until(stop, self.cycle(&cache)).await;
        })
    }

    fn refill(&self) {
        self.intake().again.notify_one();
    }

    fn newest(&self) -> BoxFuture<'_, Result<Version, WatchError>> {
        let wire = Json { metadata_only: true, ..Json::default() };
        Box::pin(async move { pages::newest::<C::Of>(&self.intake().feed.client, self.intake().kind, &wire).await })
    }

    fn catch_up(&self) {
        Cycle::catch_up(self);
    }

    fn trouble(&self) -> Option<Trouble> {
        self.intake().troubles.get()
    }
}

/// The current trouble of a driver.
#[derive(Debug, Default)]
pub(crate) struct Troubles(Mutex<Option<Trouble>>);

impl Troubles {
    pub(crate) fn add(&self, last: &dyn std::fmt::Display) -> u32 {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = slot.as_ref().map_or(0, |t| t.failures).saturating_add(1);
        *slot = Some(Trouble { failures, last: last.to_string() });
        failures
    }

    pub(crate) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn get(&self) -> Option<Trouble> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Runs `work` until it ends or `stop` says so.
pub(crate) async fn until<F: Future<Output = ()>>(mut stop: Stop, work: F) {
    tokio::select! {
        biased;
        // An error means that nobody can stop us any more but by going away: that is a stop too.
        _ = stop.wait_for(|stop| *stop) => {}
        () = work => {}
    }
}
