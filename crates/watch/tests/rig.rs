//! A driver, a cache and a scripted server, wired.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use evenkeel_api::{Object, Pod};
use evenkeel_cache::{Cache, Owner};
use evenkeel_watch::{Chance, Driver, Feed, KindMetrics, ListWatch, wait_synced};
use tokio::{sync::watch, time::Instant};

use crate::fake_server::{Fake, PODS};

/// Splitmix64: the same chance in every run.
pub fn chance(seed: u64) -> Chance {
    let state = Mutex::new(seed);
    Arc::new(move || {
        let mut state = state.lock().unwrap();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z ^ (z >> 31)
    })
}

pub struct Rig {
    pub fake: Fake,
    pub cache: Arc<Cache>,
    pub driver: Arc<dyn Driver>,
    pub feed: Feed,
    /// `-uid` and `+uid` for what listeners heard, `uid@version` for changes.
    pub heard: Arc<Mutex<Vec<String>>>,
    pub released: Arc<Mutex<Vec<Owner>>>,
    pub stop: watch::Sender<bool>,
    pub task: tokio::task::JoinHandle<()>,
}

impl Rig {
    /// The product's driver of pods.
    pub fn pods(fake: &Fake) -> Self {
        Self::with(fake, |feed| Arc::new(ListWatch::<Pod>::new(feed)))
    }

    pub fn with(fake: &Fake, make: impl FnOnce(Feed) -> Arc<dyn Driver>) -> Self {
        let released: Arc<Mutex<Vec<Owner>>> = Arc::default();
        let told = released.clone();
        let feed = Feed::new(fake.client(), chance(7)).released(move |owners| told.lock().unwrap().extend(owners));
        let cache = Cache::new();
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = heard.clone();
        cache.listen(move |change, _| {
            log.lock().unwrap().push(match (change.old_meta(), change.new_meta()) {
                (Some(old), None) => format!("-{}", old.uid),
                (None, Some(new)) => format!("+{}", new.uid),
                (_, Some(new)) => format!("{}@{}", new.uid, new.version),
                (None, None) => unreachable!("a change has a side"),
            });
        });
        let driver = make(feed.clone());
        let (stop, stopped) = watch::channel(false);
        let (running, into) = (driver.clone(), cache.clone());
        let task = tokio::spawn(async move { running.run(into, stopped).await });
        Self { fake: fake.clone(), cache, driver, feed, heard, released, stop, task }
    }

    pub async fn synced(self) -> Self {
        let (_never, stop) = watch::channel(false);
        tokio::time::timeout(Duration::from_secs(600), wait_synced(&self.cache, &[self.driver.kind()], &stop)).await.expect("synced");
        self.settled().await;
        self
    }

    pub fn metrics(&self) -> KindMetrics {
        self.feed.metrics.of(self.driver.kind())
    }

    /// Name, uid and version of all pods in the store.
    pub fn store(&self) -> Vec<(String, String, u64)> {
        store::<Pod>(&self.cache)
    }

    pub fn version(&self) -> u64 {
        self.cache.read().any(self.driver.kind()).map_or(0, |s| s.version().0)
    }

    pub fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.heard.lock().unwrap())
    }

    /// Lets everything that can happen at once happen.
    pub async fn settled(&self) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    /// Waits until the store is what the server has.
    pub async fn agrees(&self) {
        self.agrees_within(Duration::from_secs(120)).await;
    }

    pub async fn agrees_within(&self, most: Duration) {
        let since = Instant::now();
        while self.store() != self.fake.objects(PODS) {
            assert!(since.elapsed() < most, "{:?} is not {:?}", self.store(), self.fake.objects(PODS));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.settled().await;
        assert_eq!(self.store(), self.fake.objects(PODS));
    }
}

pub fn store<T: Object>(cache: &Cache) -> Vec<(String, String, u64)> {
    let stores = cache.read();
    if stores.any(T::resource()).is_none() {
        return Vec::new();
    }
    stores.of::<T>().iter().map(|o| o.meta()).map(|m| (m.name.to_string(), m.uid.to_string(), m.version.0)).collect()
}
