use std::{
    collections::{BTreeMap, BTreeSet},
    marker::PhantomData,
    sync::{Mutex, PoisonError},
};

use evenkeel_api::{Key, Kind, Version, Watched};
use evenkeel_cache::{Cache, Cached, Entry};
use tokio::sync::Notify;
use tracing::warn;

use crate::{Backoff, Bad, Feed, KindMetrics, Malformed, WatchError, bounds, driver::Troubles};

/// The way of one kind into the cache, the same for every driver: counting, refusing, telling who waited, pausing after failures.
pub(crate) struct Intake<T> {
    pub(crate) kind: Kind,
    pub(crate) feed: Feed,
    pub(crate) metrics: KindMetrics,
    /// Told when somebody asks for a new list.
    pub(crate) again: Notify,
    pub(crate) troubles: Troubles,
    logged: Mutex<BTreeMap<Option<Key>, Option<Version>>>,
    of: PhantomData<fn() -> T>,
}

impl<T: Cached> Intake<T> {
    pub(crate) fn new(feed: Feed, kind: Kind) -> Self {
        let metrics = feed.metrics.of(kind);
        Self { kind, feed, metrics, again: Notify::new(), troubles: Troubles::default(), logged: Mutex::default(), of: PhantomData }
    }

    /// The version that the store has reached; `None` before the first list.
    pub(crate) fn seen(&self, cache: &Cache) -> Option<Version> {
        let version = cache.read().any(self.kind).map(|s| s.version()).unwrap_or_default();
        (version != Version::default()).then_some(version)
    }

    /// Folds one entry in and tells who waited for it.
    pub(crate) fn ingest(&self, cache: &Cache, entry: Entry<T>) -> Result<(), WatchError> {
        let ingested = cache.ingest_of(self.kind, entry).map_err(|refused| {
            self.metrics.refused.inc();
            WatchError::Backwards { offered: refused.offered, seen: refused.seen }
        })?;
        {
            let stores = cache.read();
            if let Some(store) = stores.any(self.kind) {
                self.metrics.store_version.set(i64::try_from(store.version().0).unwrap_or(i64::MAX));
                self.metrics.objects.set(i64::try_from(store.count()).unwrap_or(i64::MAX));
            }
        }
        if !ingested.released.is_empty() {
            (self.feed.released)(ingested.released);
        }
        Ok(())
    }

    /// Notes a failure and waits as long as it asks for. A refill that somebody asked for does not cut the pause short.
    pub(crate) async fn pause(&self, pace: &mut Backoff, error: &WatchError) {
        let asked = match error {
            WatchError::Unreachable { retry_after, .. } => *retry_after,
            WatchError::Refused(status) => status.retry_after,
            _ => None,
        };
        let pause = pace.next((self.feed.chance)()).max(asked.unwrap_or_default().min(bounds::RETRY_AFTER));
        self.metrics.failures.inc();
        let failures = self.troubles.add(error);
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        warn!(kind = %self.kind, %error, failures, pause_ms, "not current; trying again after a pause");
        tokio::time::sleep(pause).await;
    }

    /// What an event about an unreadable object means for the log: a deletion still takes the object away; of anything else what is known
    /// stays, and the log moves past it. `None`: the event says nothing at all.
    pub(crate) fn pass_over(&self, cache: &Cache, bad: Bad) -> Option<Entry<T>> {
        self.note_bad(&bad);
        match (bad.version, bad.key) {
            (Some(version), Some(key)) if bad.deleted => Some(Entry::Gone { key, uid: bad.uid, version }),
            // Without a version the uid says that this life is over; the log stays where it is.
            (None, Some(key)) if bad.deleted && bad.uid.is_some() => Some(Entry::Gone { key, uid: bad.uid, version: self.seen(cache)? }),
            (version, _) => version.map(Entry::Bookmark),
        }
    }

    /// Counts an unreadable object, and logs it once per version.
    pub(crate) fn note_bad(&self, bad: &Bad) {
        self.metrics.bad_objects.inc();
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.get(&bad.key) == Some(&bad.version) {
            return;
        }
        if logged.len() >= bounds::BAD_REMEMBERED {
            logged.clear();
        }
        logged.insert(bad.key.clone(), bad.version);
        let (key, version) = (bad.key.as_ref().map(ToString::to_string), bad.version.map(|v| v.0));
        warn!(kind = %self.kind, key, version, why = bad.why, "an object cannot be read and is passed over");
    }
}

/// Objects of a list that is not complete yet.
pub(crate) struct Gathered<T> {
    /// In the order in which they came.
    steps: Vec<Step<T>>,
    unreadable: BTreeSet<Key>,
    /// What the last step is about.
    last: Option<Key>,
    /// Something came that may be about an object already here.
    late: bool,
}

/// An object came, or one is gone again. A list may have very many of these, so nothing is kept twice.
enum Step<T> {
    Put(T),
    Gone(Key),
}

impl<T: Watched> Step<T> {
    fn key(&self) -> Key {
        match self {
            Self::Put(object) => object.key(),
            Self::Gone(key) => key.clone(),
        }
    }

    fn object(&self) -> Option<&T> {
        if let Self::Put(object) = self { Some(object) } else { None }
    }
}

impl<T: Watched> Gathered<T> {
    pub(crate) fn new() -> Self {
        Self { steps: Vec::new(), unreadable: BTreeSet::new(), last: None, late: false }
    }

    pub(crate) fn put(&mut self, object: T) -> Result<(), Malformed> {
        self.step(object.key(), Step::Put(object))
    }

    pub(crate) fn delete(&mut self, key: Key) -> Result<(), Malformed> {
        self.step(key.clone(), Step::Gone(key))
    }

    /// An object that is there (or gone) and cannot be read.
    pub(crate) fn bad(&mut self, bad: Bad) -> Result<(), Malformed> {
        match bad.key {
            Some(key) if bad.deleted => self.delete(key),
            Some(key) => {
                self.unreadable.insert(key);
                self.bounded()
            }
            None => Ok(()),
        }
    }

    fn step(&mut self, key: Key, step: Step<T>) -> Result<(), Malformed> {
        // Lists are ordered; only where one goes back may it repeat an object.
        self.late |= self.last.as_ref().is_some_and(|last| *last >= key);
        if !self.unreadable.is_empty() {
            self.unreadable.remove(&key);
        }
        self.last = Some(key);
        self.steps.push(step);
        self.bounded()
    }

    fn bounded(&self) -> Result<(), Malformed> {
        if self.steps.len() + self.unreadable.len() > bounds::LISTED {
            return Err(Malformed(format!("more than {} objects in one list", bounds::LISTED)));
        }
        Ok(())
    }

    /// The highest version among the objects.
    pub(crate) fn highest(&self) -> Version {
        self.steps.iter().filter_map(Step::object).map(Watched::version).max().unwrap_or_default()
    }

    /// The last state of each object, and what was there but not readable.
    pub(crate) fn finish(mut self) -> (Vec<T>, BTreeSet<Key>) {
        if self.late {
            self.steps.reverse();
            self.steps.sort_by_key(Step::key);
            self.steps.dedup_by(|earlier, last| earlier.key() == last.key());
        }
        let object = |step| if let Step::Put(object) = step { Some(object) } else { None };
        (self.steps.into_iter().filter_map(object).collect(), self.unreadable)
    }
}
