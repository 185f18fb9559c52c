use std::{
    collections::{BTreeMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    marker::PhantomData,
    sync::Arc,
    time::Duration,
};

use evenkeel_api::{DecodeError, Key, Kind, Labels, Meta, Object, Uid, Version};
use evenkeel_cache::{Cache, Cached, Stores};
use serde::Deserialize;
use tokio::time::Instant;
use tracing::{debug, error, info};

use crate::{
    Driver, Feed, Item, Json, KindMetrics, Malformed, Stop, WatchError, bounds,
    driver::until,
    pages::{self, Broken},
};

/// How often a kind is compared with the server.
const EVERY: Duration = Duration::from_secs(600);
/// How long a store may take to reach the version of the list. Idle kinds advance by bookmarks, about one a minute.
const CATCH_UP: Duration = Duration::from_secs(180);
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Suspects that are kept; beyond it the difference is certain and only counted.
const SUSPECTS: usize = 10_000;
/// Keys that are named in the log.
const NAMED: usize = 5;

/// Slow anti-entropy of one kind (reliability D-6): compares name, uid and version of every object with a consistent list of metadata.
///
/// Nothing should ever be found: a difference is a bug of the server, of the way, or ours. It is counted, logged, and mended by a new list.
/// Only what two lists in a row show is believed, since objects come and go while they are read.
pub struct Audit<T> {
    feed: Feed,
    metrics: KindMetrics,
    driver: Arc<dyn Driver>,
    every: Duration,
    kind: PhantomData<fn() -> T>,
}

/// What one comparison found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditReport {
    /// Version of the (last) list.
    pub version: Version,
    /// Objects in it.
    pub objects: usize,
    /// Objects that differ, by key; at most 10,000.
    pub differences: Vec<Key>,
}

impl<T: Object + Cached> Audit<T> {
    /// An audit of the kind that `driver` feeds, every 10 minutes.
    pub fn new(feed: Feed, driver: Arc<dyn Driver>) -> Self {
        let metrics = feed.metrics.of(T::resource());
        Self { feed, metrics, driver, every: EVERY, kind: PhantomData }
    }

    /// Another pace.
    pub fn every(self, every: Duration) -> Self {
        Self { every, ..self }
    }

    /// Compares until `stop`, with pauses of the given length and up to a quarter more by chance.
    pub async fn run(&self, cache: Arc<Cache>, stop: Stop) {
        until(stop, async {
            loop {
                let jitter = self.feed.draw(0..1_000);
                tokio::time::sleep(self.every + self.every / 4 * u32::try_from(jitter).unwrap_or(0) / 1_000).await;
                if let Err(e) = self.once(&cache).await {
                    info!(kind = %T::resource(), %e, "audit put off");
                }
            }
        })
        .await;
    }

    /// Compares once; a difference asks the driver for a new list.
    pub async fn once(&self, cache: &Cache) -> Result<AuditReport, WatchError> {
        if !cache.read().any(T::resource()).is_some_and(|s| s.synced()) {
            return Ok(AuditReport::default());
        }
        let seen = version::<T>(&cache.read());
        let (mut report, mut found) = self.compare(cache).await?;
        if report.version < seen {
            // The driver knows what to do about a server that went back in time; it may not have noticed yet.
            self.driver.refill();
            return Err(WatchError::Backwards { offered: report.version, seen });
        }
        if !found.is_empty() {
            let (second, again) = self.compare(cache).await?;
            found.retain(|key, difference| again.get(key) == Some(difference));
            report = second;
        }
        self.metrics.audits.inc();
        report.differences = found.into_keys().collect();
        if report.differences.is_empty() {
            debug!(kind = %T::resource(), version = %report.version, objects = report.objects, "audit: no difference");
        } else {
            self.metrics.differences.inc_by(report.differences.len() as u64);
            error!(kind = %T::resource(), version = %report.version, differences = report.differences.len(),
                some = ?&report.differences[..report.differences.len().min(NAMED)], "the store differs from the server; listing again");
            self.driver.refill();
        }
        Ok(report)
    }

    async fn compare(&self, cache: &Cache) -> Result<(AuditReport, BTreeMap<Key, Difference>), WatchError> {
        let mut list = match self.list(cache, Some(bounds::PAGE)).await {
            Err(Broken { error: WatchError::Expired(_), later: true }) => self.list(cache, None).await,
            other => other,
        }
        .map_err(|broken| broken.error)?;
        let since = Instant::now();
        while version::<T>(&cache.read()) < list.version && since.elapsed() < CATCH_UP {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let stores = cache.read();
        let mut found = BTreeMap::new();
        for (key, (uid, version)) in std::mem::take(&mut list.suspects) {
            match stores.any(T::resource()).and_then(|s| s.header(&key.namespace, &key.name)).and_then(|h| h.meta()) {
                None => {
                    found.insert(key, Difference::Missing(uid));
                }
                Some(known) if known.uid == uid && known.version == version || known.version > list.version => {}
                Some(_) => {
                    found.insert(key, Difference::Other(uid, version));
                }
            }
        }
        for known in stores.of::<T>().iter().map(|o| o.meta()).filter(|m| m.version <= list.version) {
            if !list.seen.contains(&fingerprint(&known.namespace, &known.name)) && found.len() < SUSPECTS {
                found.insert(known.key(), Difference::TooMuch(known.uid.clone()));
            }
        }
        Ok((AuditReport { version: list.version, objects: list.seen.len(), differences: Vec::new() }, found))
    }

    /// Reads a consistent list. Of objects that agree with the store at once only a fingerprint is kept.
    async fn list(&self, cache: &Cache, limit: Option<usize>) -> Result<Listed, Broken> {
        let wire = Json { metadata_only: true, ..Json::default() };
        let mut list = Listed { version: Version::default(), seen: HashSet::new(), suspects: BTreeMap::new() };
        list.version = pages::list::<Header<T>>(&self.feed.client, T::resource(), &wire, None, limit, |item| {
            if list.seen.len() >= bounds::LISTED {
                return Err(Malformed(format!("more than {} objects in one list", bounds::LISTED)));
            }
            match item {
                Item::Bad(bad) => {
                    list.seen.extend(bad.key.map(|key| fingerprint(&key.namespace, &key.name)));
                }
                Item::Good(Header(meta, _)) => {
                    list.seen.insert(fingerprint(&meta.namespace, &meta.name));
                    let stores = cache.read();
                    let known = stores.any(T::resource()).and_then(|s| s.header(&meta.namespace, &meta.name)).and_then(|h| h.meta());
                    if known.is_none_or(|k| k.uid != meta.uid || k.version != meta.version) && list.suspects.len() < SUSPECTS {
                        list.suspects.insert(meta.key(), (meta.uid, meta.version));
                    }
                }
            }
            Ok(())
        })
        .await?;
        Ok(list)
    }
}

struct Listed {
    version: Version,
    seen: HashSet<u64>,
    suspects: BTreeMap<Key, (Uid, Version)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Difference {
    /// On the server, not in the store.
    Missing(Uid),
    /// Another life or an older state in the store.
    Other(Uid, Version),
    /// In the store, not on the server.
    TooMuch(Uid),
}

fn version<T: Object>(stores: &Stores) -> Version {
    stores.any(T::resource()).map(|s| s.version()).unwrap_or_default()
}

fn fingerprint(namespace: &str, name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (namespace, name).hash(&mut hasher);
    hasher.finish()
}

/// Any object of `T`'s kind by its header alone.
struct Header<T>(Meta, PhantomData<fn() -> T>);

#[derive(Deserialize)]
struct HeaderWire {
    metadata: HeaderMeta,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct HeaderMeta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
}

impl<T: Object> Object for Header<T> {
    fn resource() -> Kind {
        T::resource()
    }

    fn meta(&self) -> &Meta {
        &self.0
    }

    fn decode(json: &[u8]) -> Result<Self, DecodeError> {
        let meta = serde_json::from_slice::<HeaderWire>(json)?.metadata;
        let given = |text: Option<String>, name| text.filter(|t| !t.is_empty()).ok_or(DecodeError::Missing(name));
        Ok(Self(
            Meta {
                namespace: meta.namespace.unwrap_or_default().into(),
                name: given(meta.name, "name")?.into(),
                uid: Uid::new(&given(meta.uid, "uid")?),
                version: Version::parse(&meta.resource_version.unwrap_or_default()).ok_or(DecodeError::Missing("resourceVersion"))?,
                generation: 0,
                created: None,
                deleting: None,
                labels: Arc::new(Labels::default()),
                owners: Arc::default(),
                finalizers: Arc::default(),
            },
            PhantomData,
        ))
    }
}
