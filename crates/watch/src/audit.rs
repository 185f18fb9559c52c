use std::{
    collections::{BTreeMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use evenkeel_api::{Key, Kind, Partial, Uid, Version, Watched};
use evenkeel_cache::{Cache, Header, Stores};
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

/// Slow anti-entropy of one kind (reliability D-6): compares name, uid and version of every object with a consistent list of metadata. Of
/// objects that nobody owns, holds or deletes no version is kept: of these it is compared that they are such.
///
/// Nothing should ever be found: a difference is a bug of the server, of the way, or ours. It is counted, logged, and mended by a new list.
/// Only what two lists in a row show is believed, since objects come and go while they are read.
pub struct Audit {
    feed: Feed,
    metrics: KindMetrics,
    driver: Arc<dyn Driver>,
    every: Duration,
    kind: Kind,
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

impl Audit {
    /// An audit of the kind that `driver` feeds, every 10 minutes.
    pub fn new(feed: Feed, driver: Arc<dyn Driver>) -> Self {
        let kind = driver.kind();
        Self { metrics: feed.metrics.of(kind), feed, driver, every: EVERY, kind }
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
                    info!(kind = %self.kind, %e, "audit put off");
                }
            }
        })
        .await;
    }

    /// Compares once; a difference asks the driver for a new list.
    pub async fn once(&self, cache: &Cache) -> Result<AuditReport, WatchError> {
        if !cache.read().any(self.kind).is_some_and(|s| s.synced()) {
            return Ok(AuditReport::default());
        }
        let (seen, written) = (self.version(&cache.read()), cache.remembered());
        let (mut report, mut found) = self.compare(cache).await?;
        if cache.read().any(self.kind).is_none() {
            return Ok(AuditReport::default());
        }
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
            debug!(kind = %self.kind, version = %report.version, objects = report.objects, "audit: no difference");
            let released = cache.settled(self.kind, written);
            if !released.is_empty() {
                info!(kind = %self.kind, some = ?&released[..released.len().min(NAMED)], "writes that were answered have been undone");
                (self.feed.released)(released);
            }
        } else {
            cache.distrust();
            self.metrics.differences.inc_by(report.differences.len() as u64);
            error!(kind = %self.kind, version = %report.version, differences = report.differences.len(),
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
        while self.version(&cache.read()) < list.version && since.elapsed() < CATCH_UP {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let stores = cache.read();
        let mut found = BTreeMap::new();
        // It is served no more.
        let Some(store) = stores.any(self.kind) else { return Ok((AuditReport::default(), found)) };
        let newer = |known: Header<'_>| known.meta().is_some_and(|meta| meta.version > list.version);
        for (key, listed) in std::mem::take(&mut list.suspects) {
            match store.header(&key.namespace, &key.name) {
                None => drop(found.insert(key, Difference::Missing(listed.uid().clone()))),
                Some(known) if agrees(known, &listed) || newer(known) => {}
                Some(_) => drop(found.insert(key, Difference::Other(listed.uid().clone(), listed.version()))),
            }
        }
        for key in store.keys().into_iter().filter(|key| !list.seen.contains(&fingerprint(key))) {
            let known = store.header(&key.namespace, &key.name).filter(|known| !newer(*known));
            if let Some(known) = known.filter(|_| found.len() < SUSPECTS) {
                found.insert(key, Difference::TooMuch(known.uid().clone()));
            }
        }
        Ok((AuditReport { version: list.version, objects: list.seen.len(), differences: Vec::new() }, found))
    }

    fn version(&self, stores: &Stores) -> Version {
        stores.any(self.kind).map(|s| s.version()).unwrap_or_default()
    }

    /// Reads a consistent list. Of objects that agree with the store at once only a fingerprint is kept.
    async fn list(&self, cache: &Cache, limit: Option<usize>) -> Result<Listed, Broken> {
        let wire = Json { metadata_only: true, ..Json::default() };
        let mut list = Listed { version: Version::default(), seen: HashSet::new(), suspects: BTreeMap::new() };
        list.version = pages::list::<Partial>(&self.feed.client, self.kind, &wire, None, limit, |item| {
            if list.seen.len() >= bounds::LISTED {
                return Err(Malformed(format!("more than {} objects in one list", bounds::LISTED)));
            }
            match item {
                Item::Bad(bad) => list.seen.extend(bad.key.as_ref().map(fingerprint)),
                Item::Good(listed) => {
                    let key = listed.key();
                    list.seen.insert(fingerprint(&key));
                    let stores = cache.read();
                    let known = stores.any(self.kind).and_then(|s| s.header(&key.namespace, &key.name));
                    if !known.is_some_and(|known| agrees(known, &listed)) && list.suspects.len() < SUSPECTS {
                        list.suspects.insert(key, listed);
                    }
                }
            }
            Ok(())
        })
        .await?;
        Ok(list)
    }
}

/// Brings one kind into the cache, and compares it with the server now and then, until `stop`.
///
/// A standby's cache is audited as a leader's is: it must be right in the moment in which the standby leads. One list of metadata per kind
/// every ten minutes is what that costs the server.
pub async fn run_audited(driver: Arc<dyn Driver>, feed: Feed, cache: Arc<Cache>, stop: Stop) {
    let audit = Audit::new(feed, driver.clone());
    tokio::join!(driver.run(cache.clone(), stop.clone()), audit.run(cache, stop));
}

struct Listed {
    version: Version,
    seen: HashSet<u64>,
    suspects: BTreeMap<Key, Partial>,
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

/// Whether the store has an object as the list does.
fn agrees(known: Header<'_>, listed: &Partial) -> bool {
    match (known, listed) {
        (Header::Plain(uid), Partial::Plain { uid: listed, .. }) => uid == listed,
        (Header::Plain(_), Partial::Full(_)) => false,
        (Header::Full(meta), listed) => (&meta.uid, meta.version) == (listed.uid(), listed.version()),
    }
}

fn fingerprint(key: &Key) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&*key.namespace, &*key.name).hash(&mut hasher);
    hasher.finish()
}
