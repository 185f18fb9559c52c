//! What is kept: one revision counter, per resource an ordered map and a bounded log of events.
//!
//! Each version of an object is kept once, as its encoded bytes plus what selectors ask for. The past is the present with the log
//! undone, so a list at an earlier revision costs no copy.

pub mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::watch as notify;

use crate::options::{Commit, Observer};
use crate::registry::Resource;

/// One version of an object.
#[derive(Debug)]
pub struct Stored {
    /// Namespace and name (`ns/name`), or the name alone.
    pub key: Arc<str>,
    /// The encoded document.
    pub bytes: Bytes,
    /// Labels, in the order of the document.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// Values of the resource's selectable fields, in the order of the table in `selector/fields.rs`.
    pub fields: Box<[Box<str>]>,
}

impl Stored {
    /// Namespace; empty for cluster-scoped objects.
    pub fn namespace(&self) -> &str {
        self.key.split_once('/').map_or("", |(ns, _)| ns)
    }

    /// Name.
    pub fn name(&self) -> &str {
        self.key.split_once('/').map_or(&*self.key, |(_, n)| n)
    }
}

/// What happened to an object.
#[derive(Debug)]
pub struct Event {
    /// Revision of the write.
    pub rv: u64,
    /// State before; `None`: created.
    pub old: Option<Arc<Stored>>,
    /// State after; of a deletion, the last state with the deletion's revision.
    pub new: Arc<Stored>,
    /// Whether the object is gone.
    pub deleted: bool,
}

impl Event {
    /// The line of a watch: `{"type":...,"object":...}`. Made for each watcher anew: a copy of two kilobytes costs less than keeping
    /// every version twice.
    pub fn line(&self) -> Bytes {
        let kind = if self.deleted {
            "DELETED"
        } else if self.old.is_some() {
            "MODIFIED"
        } else {
            "ADDED"
        };
        watch::line(kind, &self.new.bytes)
    }
}

struct Log {
    items: BTreeMap<Arc<str>, Arc<Stored>>,
    events: VecDeque<Arc<Event>>,
    /// Number of events forgotten: the sequence number of the first one kept.
    first: u64,
    /// Events at or before this revision may be gone.
    floor: u64,
    /// Watches begin at this revision at the earliest: when the resource came to be.
    since: u64,
    tell: notify::Sender<u64>,
}

impl Log {
    fn new(floor: u64) -> Self {
        Log { items: BTreeMap::new(), events: VecDeque::new(), first: 0, floor, since: 0, tell: notify::channel(0).0 }
    }

    fn forget(&mut self, n: usize) {
        for e in self.events.drain(..n) {
            self.floor = self.floor.max(e.rv);
        }
        self.first += n as u64;
    }
}

struct Inner {
    rv: u64,
    /// Revisions at or before this one are gone.
    compacted: u64,
    /// Revision at the last call of `compact`: gone at the next.
    mark: u64,
    logs: BTreeMap<String, Log>,
    history_limit: usize,
    observer: Option<Observer>,
}

/// The store. All methods take one short lock.
pub struct Store {
    inner: Mutex<Inner>,
}

/// The asked-for revision is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// Oldest revision that can be asked for.
    pub oldest: u64,
}

/// A list and the revision that it shows.
pub type Listed = (u64, Vec<Arc<Stored>>);

impl Store {
    /// An empty store.
    pub fn new(history_limit: usize) -> Self {
        Store {
            inner: Mutex::new(Inner {
                rv: 1,
                compacted: 0,
                mark: 0,
                logs: BTreeMap::new(),
                history_limit: history_limit.max(1),
                observer: None,
            }),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Every change below is complete or has not begun when something can panic, so a poisoned lock is still sound.
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The current revision.
    pub fn revision(&self) -> u64 {
        self.lock().rv
    }

    /// Sets who is told of commits.
    pub fn observe(&self, observer: Observer) {
        self.lock().observer = Some(observer);
    }

    /// One object.
    pub fn get(&self, log: &str, key: &str) -> Option<Arc<Stored>> {
        self.lock().logs.get(log)?.items.get(key).cloned()
    }

    /// How many objects a resource has.
    pub fn count(&self, log: &str) -> usize {
        self.lock().logs.get(log).map_or(0, |l| l.items.len())
    }

    /// All objects whose key starts with `prefix`, in order.
    pub fn list(&self, log: &str, prefix: &str) -> Listed {
        let inner = self.lock();
        let items = inner.logs.get(log).map(|l| range(&l.items, prefix).cloned().collect()).unwrap_or_default();
        (inner.rv, items)
    }

    /// All objects as they were at a revision.
    pub fn list_at(&self, log: &str, prefix: &str, rv: u64) -> Result<Vec<Arc<Stored>>, Compacted> {
        let inner = self.lock();
        let Some(l) = inner.logs.get(log) else {
            return if rv < inner.compacted { Err(Compacted { oldest: inner.compacted }) } else { Ok(Vec::new()) };
        };
        if rv < inner.compacted || rv < l.floor {
            return Err(Compacted { oldest: inner.compacted.max(l.floor) });
        }
        let mut items: BTreeMap<Arc<str>, Arc<Stored>> = range(&l.items, prefix).map(|s| (s.key.clone(), s.clone())).collect();
        for e in l.events.iter().rev().take_while(|e| e.rv > rv).filter(|e| e.new.key.starts_with(prefix)) {
            match &e.old {
                Some(old) => items.insert(old.key.clone(), old.clone()),
                None => items.remove(&e.new.key),
            };
        }
        Ok(items.into_values().collect())
    }

    /// Commits the next version of an object. `make` gets the new revision and returns the version, with `None` for `deleted` false.
    ///
    /// The caller holds the server's write lock, so that what it read is still current.
    pub fn commit(&self, log: &str, resource: &Resource, deleted: bool, make: impl FnOnce(u64) -> Stored) -> Arc<Stored> {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let rv = inner.rv + 1;
        let new = Arc::new(make(rv));
        inner.rv = rv;
        let floor = inner.compacted;
        if !inner.logs.contains_key(log) {
            inner.logs.insert(log.to_owned(), Log::new(floor));
        }
        let l = inner.logs.get_mut(log).expect("inserted above");
        let old = if deleted { l.items.remove(&new.key) } else { l.items.insert(new.key.clone(), new.clone()) };
        if let Some(observer) = &mut inner.observer {
            observer(&Commit {
                rv,
                resource,
                namespace: new.namespace(),
                name: new.name(),
                old: old.as_ref().map(|o| &*o.bytes),
                new: (!deleted).then_some(&*new.bytes),
            });
        }
        l.events.push_back(Arc::new(Event { rv, old, new: new.clone(), deleted }));
        if l.events.len() > inner.history_limit {
            l.forget(1);
        }
        l.tell.send_replace(rv);
        new
    }

    /// Forgets what was history at the call before this one (etcd's compaction).
    pub fn compact(&self) {
        let mut inner = self.lock();
        inner.compacted = inner.mark;
        inner.mark = inner.rv;
        let compacted = inner.compacted;
        for l in inner.logs.values_mut() {
            let n = l.events.partition_point(|e| e.rv <= compacted);
            l.forget(n);
            if l.events.capacity() > 4 * l.events.len().max(64) {
                l.events.shrink_to_fit();
            }
        }
    }

    /// Begins a resource: what was before now cannot be watched.
    pub fn begin(&self, log: &str) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let (floor, rv) = (inner.compacted, inner.rv);
        let l = inner.logs.entry(log.to_owned()).or_insert_with(|| Log::new(floor));
        if l.since == 0 || l.items.is_empty() && l.events.is_empty() {
            l.since = rv;
        }
    }

    /// Where a watch that has seen everything up to `rv` begins, and its alarm.
    pub fn position_after(&self, log: &str, rv: u64) -> Result<(u64, notify::Receiver<u64>), Compacted> {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let floor = inner.compacted;
        let l = inner.logs.entry(log.to_owned()).or_insert_with(|| Log::new(floor));
        let oldest = l.floor.max(l.since).max(inner.compacted);
        if rv < oldest {
            return Err(Compacted { oldest });
        }
        let at = l.events.partition_point(|e| e.rv <= rv) as u64;
        Ok((l.first + at, l.tell.subscribe()))
    }

    /// The present, and where a watch that has seen it begins: both from one look.
    pub fn list_and_position(&self, log: &str, prefix: &str) -> (Listed, u64, notify::Receiver<u64>) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let floor = inner.compacted;
        let rv = inner.rv;
        let l = inner.logs.entry(log.to_owned()).or_insert_with(|| Log::new(floor));
        let items = range(&l.items, prefix).cloned().collect();
        ((rv, items), l.first + l.events.len() as u64, l.tell.subscribe())
    }

    /// Up to `max` events from a position on, the position behind them and the current revision. `None`: the position was forgotten.
    pub fn events_from(&self, log: &str, position: u64, max: usize) -> Option<(Vec<Arc<Event>>, u64, u64)> {
        let inner = self.lock();
        let Some(l) = inner.logs.get(log) else { return Some((Vec::new(), position, inner.rv)) };
        let skip = usize::try_from(position.checked_sub(l.first)?).ok()?;
        let n = l.events.len().saturating_sub(skip).min(max);
        let start = skip.min(l.events.len());
        Some((l.events.range(start..start + n).cloned().collect(), position + n as u64, inner.rv))
    }
}

fn range<'a>(items: &'a BTreeMap<Arc<str>, Arc<Stored>>, prefix: &'a str) -> impl Iterator<Item = &'a Arc<Stored>> {
    use std::ops::Bound;
    items.range::<str, _>((Bound::Included(prefix), Bound::Unbounded)).take_while(move |(k, _)| k.starts_with(prefix)).map(|(_, s)| s)
}
