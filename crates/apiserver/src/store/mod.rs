//! What is kept: one revision counter, per resource an ordered map and a bounded log of events.
//!
//! Each version of an object is kept once, as its encoded bytes plus what selectors ask for. The past is the present with the log
//! undone, so a list at an earlier revision costs no copy.
//!
//! All of it is in memory. With a data file (`file`) every change is also written there (`keeper`), and what is shown waits until it is
//! durable: answers through [`Store::settled`], watches by reading no further than the last durable revision.

mod file;
mod keeper;
mod record;
#[cfg(test)]
mod tests;
pub mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch as notify;

pub use self::file::{DataError, DataFile};
pub use self::keeper::NotKept;
use self::keeper::{Change, Keeper};
use crate::options::{Commit, Observer};
use crate::registry::Resource;
use crate::request::UserInfo;

/// One version of an object.
#[derive(Debug)]
pub struct Stored {
    /// Revision of the write.
    pub rv: u64,
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

impl Event {
    /// Bytes of the versions that only the history holds.
    fn held(&self) -> usize {
        let gone = if self.deleted { self.new.bytes.len() } else { 0 };
        gone + self.old.as_ref().map_or(0, |old| old.bytes.len())
    }
}

/// How much history a resource may have.
#[derive(Debug, Clone, Copy)]
pub struct HistoryLimits {
    /// Most events.
    pub events: usize,
    /// Most bytes in versions that are no longer current.
    pub bytes: usize,
}

struct Log {
    name: Arc<str>,
    items: BTreeMap<Arc<str>, Arc<Stored>>,
    events: VecDeque<Arc<Event>>,
    /// Sum of [`Event::held`].
    held: usize,
    /// Number of events forgotten: the sequence number of the first one kept.
    first: u64,
    /// Events at or before this revision may be gone.
    floor: u64,
    /// Watches begin at this revision at the earliest: when the resource came to be.
    since: u64,
    tell: notify::Sender<u64>,
}

impl Log {
    fn new(name: &str, floor: u64) -> Self {
        Log {
            name: name.into(),
            items: BTreeMap::new(),
            events: VecDeque::new(),
            held: 0,
            first: 0,
            floor,
            since: 0,
            tell: notify::channel(0).0,
        }
    }

    /// Makes `new` the state of its key, and an event of that.
    fn turn_to(&mut self, new: &Arc<Stored>, deleted: bool) -> Event {
        let old = if deleted { self.items.remove(&new.key) } else { self.items.insert(new.key.clone(), new.clone()) };
        Event { rv: new.rv, old, new: new.clone(), deleted }
    }

    fn remember(&mut self, event: Event) {
        self.held += event.held();
        self.events.push_back(Arc::new(event));
    }

    /// Forgets the first `n` events; gives the versions that nothing needs any more.
    fn forget(&mut self, n: usize) -> Vec<u64> {
        let mut superseded = Vec::new();
        for e in self.events.drain(..n) {
            self.floor = self.floor.max(e.rv);
            self.held -= e.held();
            superseded.extend(e.old.as_ref().map(|old| old.rv));
            superseded.extend(e.deleted.then_some(e.rv));
        }
        self.first += n as u64;
        superseded
    }

    /// How many events are too many.
    fn surplus(&self, limits: HistoryLimits) -> usize {
        let (mut n, mut held) = (self.events.len().saturating_sub(limits.events), self.held);
        if held > limits.bytes {
            held -= self.events.iter().take(n).map(|e| e.held()).sum::<usize>();
            while held > limits.bytes && n < self.events.len() {
                held -= self.events[n].held();
                n += 1;
            }
        }
        n
    }
}

struct Inner {
    rv: u64,
    /// Revisions at or before this one are gone.
    compacted: u64,
    /// Revision at the last call of `compact`: gone at the next.
    mark: u64,
    logs: BTreeMap<Arc<str>, Log>,
    limits: HistoryLimits,
    observer: Option<Observer>,
}

impl Inner {
    fn log(&mut self, name: &str) -> &mut Log {
        // Looked up twice, so that no name is made for one that is there.
        if !self.logs.contains_key(name) {
            let log = Log::new(name, self.compacted);
            self.logs.insert(log.name.clone(), log);
        }
        self.logs.get_mut(name).expect("inserted above")
    }
}

/// The store. All methods take one short lock.
pub struct Store {
    inner: Mutex<Inner>,
    /// Writes changes to a data file, when there is one.
    keeper: Option<Keeper>,
}

/// The asked-for revision is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// Oldest revision that can be asked for.
    pub oldest: u64,
}

/// A list and the revision that it shows.
pub type Listed = (u64, Vec<Arc<Stored>>);

/// Gives the values of a document's selectable fields, by its resource.
pub type FieldValues = Box<dyn Fn(&str, &Value) -> Box<[Box<str>]>>;

/// Tokens that a data file holds: whom they stand for until when.
pub type Tokens = Vec<(String, UserInfo, jiff::Timestamp)>;

impl Store {
    /// An empty store.
    pub fn new(limits: HistoryLimits) -> Self {
        let inner = Inner {
            rv: 1,
            compacted: 0,
            mark: 0,
            logs: BTreeMap::new(),
            limits: HistoryLimits { events: limits.events.max(1), ..limits },
            observer: None,
        };
        Store { inner: Mutex::new(inner), keeper: None }
    }

    /// The store that a data file holds, history included, and the tokens. From now on the file is kept up to date.
    ///
    /// `fields` gives the values of selectable fields, by resource, document, and whatever current documents of `schemas` say: these are
    /// read first.
    pub fn open(
        limits: HistoryLimits,
        file: DataFile,
        schemas: &str,
        fields: impl FnOnce(&[Value]) -> FieldValues,
    ) -> Result<(Self, Tokens), DataError> {
        let mut kept = file.load()?;
        let mut store = Store::new(limits);
        let inner = store.inner.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        inner.rv = kept.revision.max(inner.rv);
        (inner.compacted, inner.mark) = (kept.compacted, kept.compacted);
        let mut current: BTreeMap<&str, &Bytes> = BTreeMap::new();
        for (_, v) in kept.versions.iter().filter(|(_, v)| v.log == schemas) {
            match v.deleted {
                true => current.remove(&*v.key),
                false => current.insert(&v.key, &v.bytes),
            };
        }
        let definitions: Vec<Value> = current.values().filter_map(|bytes| serde_json::from_slice(bytes).ok()).collect();
        let fields = fields(&definitions);
        for (rv, v) in std::mem::take(&mut kept.versions) {
            let doc: Value = serde_json::from_slice(&v.bytes)
                .map_err(|e| DataError::Damaged { path: file.path().to_owned(), why: format!("revision {rv} is no document: {e}") })?;
            let new = Arc::new(Stored { rv, key: v.key.into(), labels: labels_of(&doc), fields: fields(&v.log, &doc), bytes: v.bytes });
            let log = inner.log(&v.log);
            if let Some(floor) = kept.floors.get(&v.log) {
                log.floor = log.floor.max(*floor);
            }
            // What can be watched began before this process did.
            log.since = 1;
            let event = log.turn_to(&new, v.deleted);
            if rv > log.floor {
                log.remember(event);
            }
        }
        let durable = inner.rv;
        store.keeper = Some(Keeper::start(file, durable)?);
        Ok((store, kept.tokens))
    }

    /// The turn of a writer begins.
    pub fn make_room(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.make_room();
        }
    }

    /// The turn of a writer is over: what it changed is to be kept.
    pub fn publish(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.publish();
        }
    }

    /// Waits until everything that was changed up to now is kept. Without a data file there is nothing to wait for.
    ///
    /// # Errors
    /// [`NotKept`] when it never will be.
    pub async fn settled(&self) -> Result<(), NotKept> {
        match &self.keeper {
            Some(keeper) => keeper.settled().await,
            None => Ok(()),
        }
    }

    /// Waits until nothing can be kept any more; without a data file for ever.
    pub async fn failed(&self) -> NotKept {
        match &self.keeper {
            Some(keeper) => keeper.failed().await,
            None => std::future::pending().await,
        }
    }

    /// Writes what remains to the data file and closes it.
    pub fn close(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.close();
        }
    }

    /// Keeps a token (`None`: no longer). The caller holds the server's write lock.
    pub fn keep_token(&self, token: &str, user: Option<(UserInfo, jiff::Timestamp)>) {
        if let Some(keeper) = &self.keeper {
            keeper.push(Change::Token { token: token.into(), user });
        }
    }

    /// The last revision that may be shown to those who do not wait for [`Store::settled`].
    fn shown(&self, inner: &Inner) -> u64 {
        self.keeper.as_ref().map_or(inner.rv, Keeper::durable)
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

    /// Commits the next version of an object. `make` gets the new revision and returns the version.
    ///
    /// The caller holds the server's write lock, so that what it read is still current, and nobody else takes the revision.
    pub fn commit(&self, log: &str, resource: &Resource, deleted: bool, make: impl FnOnce(u64) -> Stored) -> Arc<Stored> {
        let rv = self.revision() + 1;
        // Encoded before the lock is taken: readers need not wait for it.
        let new = Arc::new(make(rv));
        let mut guard = self.lock();
        let inner = &mut *guard;
        assert_eq!(inner.rv + 1, rv, "writers take turns");
        inner.rv = rv;
        let limits = inner.limits;
        let l = inner.log(log);
        let event = l.turn_to(&new, deleted);
        let old = event.old.clone();
        l.remember(event);
        let surplus = l.surplus(limits);
        let superseded = if surplus > 0 { l.forget(surplus) } else { Vec::new() };
        match &self.keeper {
            Some(keeper) => {
                keeper.push(Change::Version { log: l.name.clone(), stored: new.clone(), deleted, tell: l.tell.clone() });
                if surplus > 0 {
                    keeper.push(Change::Forgotten { log: l.name.clone(), floor: l.floor, superseded });
                }
            }
            None => {
                l.tell.send_replace(rv);
            }
        }
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
        new
    }

    /// Forgets what was history at the call before this one (etcd's compaction). The caller holds the server's write lock.
    pub fn compact(&self) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        inner.compacted = inner.mark;
        inner.mark = inner.rv;
        let compacted = inner.compacted;
        for l in inner.logs.values_mut() {
            let n = l.events.partition_point(|e| e.rv <= compacted);
            let superseded = l.forget(n);
            if l.events.capacity() > 4 * l.events.len().max(64) {
                l.events.shrink_to_fit();
            }
            if let Some(keeper) = self.keeper.as_ref().filter(|_| n > 0) {
                keeper.push(Change::Forgotten { log: l.name.clone(), floor: l.floor, superseded });
            }
        }
        if let Some(keeper) = &self.keeper {
            keeper.push(Change::Compacted(compacted));
        }
    }

    /// Begins a resource: what was before now cannot be watched.
    pub fn begin(&self, log: &str) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let rv = inner.rv;
        let l = inner.log(log);
        if l.since == 0 || l.items.is_empty() && l.events.is_empty() {
            l.since = rv;
        }
    }

    /// Where a watch that has seen everything up to `rv` begins, and its alarm.
    pub fn position_after(&self, log: &str, rv: u64) -> Result<(u64, notify::Receiver<u64>), Compacted> {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let compacted = inner.compacted;
        let l = inner.log(log);
        let oldest = l.floor.max(l.since).max(compacted);
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
        let rv = inner.rv;
        let l = inner.log(log);
        let items = range(&l.items, prefix).cloned().collect();
        ((rv, items), l.first + l.events.len() as u64, l.tell.subscribe())
    }

    /// Up to `max` events from a position on, the position behind them and the revision up to which events may be shown. `None`: the
    /// position was forgotten.
    pub fn events_from(&self, log: &str, position: u64, max: usize) -> Option<(Vec<Arc<Event>>, u64, u64)> {
        let inner = self.lock();
        let shown = self.shown(&inner);
        let Some(l) = inner.logs.get(log) else { return Some((Vec::new(), position, shown)) };
        let skip = usize::try_from(position.checked_sub(l.first)?).ok()?;
        let unread = l.events.range(skip.min(l.events.len())..);
        let events: Vec<_> = unread.take(max).take_while(|e| e.rv <= shown).cloned().collect();
        let n = events.len() as u64;
        Some((events, position + n, shown))
    }
}

/// The labels of a document.
pub fn labels_of(doc: &Value) -> Box<[(Box<str>, Box<str>)]> {
    crate::json::object(doc, "metadata.labels")
        .map(|m| m.iter().map(|(k, v)| (Box::from(k.as_str()), Box::from(v.as_str().unwrap_or("")))).collect())
        .unwrap_or_default()
}

fn range<'a>(items: &'a BTreeMap<Arc<str>, Arc<Stored>>, prefix: &'a str) -> impl Iterator<Item = &'a Arc<Stored>> {
    use std::ops::Bound;
    items.range::<str, _>((Bound::Included(prefix), Bound::Unbounded)).take_while(move |(k, _)| k.starts_with(prefix)).map(|(_, s)| s)
}
