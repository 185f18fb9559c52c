//! The imagined world: what is concerned by a delete, copied onto an imagined server, and the loop at work on it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use evenkeel_api::{Key, Kind, Meta, Name, Partial};
use evenkeel_cache::{Cache, Entry, Header, Stores};
use evenkeel_plan::{ControlLoop, Done, Failure, FailureKind, Next, Outcome, Propagation, Write};
use jiff::{SignedDuration, Timestamp};

use crate::{GarbageCollector, imagined::Server, object_of};

/// Passes for each object that is concerned, and how many besides: far more than any end needs (one or two an object).
const PASSES: (usize, usize) = (20, 1_000);

/// What the clock of that world shows at first, in milliseconds. Each pass takes one; when all wait, it jumps to who waits the shortest.
const START: i64 = 1_800_000_000_000;

/// How long after the last write all counts as at rest: longer than the loop leaves anything to somebody else.
const REST: SignedDuration = SignedDuration::from_secs(90);

/// Every back-off there.
const RETRY: SignedDuration = SignedDuration::from_secs(10);

/// Passes that run side by side, where any do: as many as a manager has workers by default (garbage-collection A2).
const WORKERS: usize = 20;

/// In which order passes come. Some ends depend on it, since passes of a real manager run side by side: an owner that waits for nobody goes
/// at once, and its dependents fare differently when they are looked at before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// As they come, many at once: none sees what the others do.
    SideBySide,
    /// One by one, what is being deleted before all else.
    OwnersFirst,
    /// One by one, what is being deleted after all else.
    DependentsFirst,
    /// One by one, what has just been found worth looking at first.
    NewestFirst,
}

/// An object that may go because another one does.
pub(super) struct Below {
    pub(super) kind: Kind,
    pub(super) meta: Meta,
    /// Where the owner stands through which it was found first: the nearest to the object that is deleted.
    pub(super) parent: Option<usize>,
}

/// An object, and all that depends on it, each once and the nearest first. Empty: there is no such object.
pub(super) fn below(stores: &Stores, kind: Kind, key: &Key) -> Vec<Below> {
    let Some(root) = stores.any(kind).and_then(|store| store.header(&key.namespace, &key.name)) else { return Vec::new() };
    let mut known = BTreeSet::from([(kind, key.clone())]);
    let mut all = vec![Below { kind, meta: whole(root, key), parent: None }];
    let mut at = 0;
    while at < all.len() {
        let uid = all[at].meta.uid.clone();
        for (kind, meta) in stores.dependents(&uid) {
            if known.insert((kind, meta.key())) {
                all.push(Below { kind, meta: meta.clone(), parent: Some(at) });
            }
        }
        at += 1;
    }
    all
}

/// A whole header, also where next to nothing is kept of it.
fn whole(header: Header<'_>, key: &Key) -> Meta {
    header.meta().cloned().unwrap_or_else(|| Meta {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        uid: header.uid().clone(),
        version: Default::default(),
        generation: 0,
        created: None,
        deleting: None,
        labels: Arc::default(),
        owners: Arc::from([]),
        finalizers: Arc::from([] as [Name; 0]),
    })
}

/// The loop, at work on an imagined server.
pub(super) struct Play {
    pub(super) server: Server,
    pub(super) cache: Arc<Cache>,
    pub(super) collector: Arc<GarbageCollector>,
    /// When each object went that did: a number that grows.
    pub(super) went: BTreeMap<(Kind, Key), usize>,
    /// How the collector deleted what it did.
    pub(super) how: BTreeMap<(Kind, Key), Propagation>,
    /// Kinds that the real cache has listed. Whether an object of another kind is there, nobody can tell.
    listed: BTreeSet<Kind>,
    order: Order,
    queue: Arc<Mutex<Queue>>,
    wrote_at: Timestamp,
    /// Milliseconds.
    clock: Arc<AtomicI64>,
}

/// Keys, each once: those to look at, the oldest first, and those that wait, the earliest first.
#[derive(Default)]
struct Queue {
    order: VecDeque<Key>,
    /// Those that were passed over: they come when there are no others.
    late: VecDeque<Key>,
    queued: BTreeSet<Key>,
    waiting: BTreeSet<(Timestamp, Key)>,
    until: BTreeMap<Key, Timestamp>,
}

impl Queue {
    fn add(&mut self, key: Key) {
        if self.queued.insert(key.clone()) {
            self.order.push_back(key);
        }
    }

    fn add_at(&mut self, at: Timestamp, key: Key) {
        self.forget(&key);
        self.until.insert(key.clone(), at);
        self.waiting.insert((at, key));
    }

    fn forget(&mut self, key: &Key) {
        if let Some(at) = self.until.remove(key) {
            self.waiting.remove(&(at, key.clone()));
        }
    }

    /// At most so many that are next, without those that are `late` while there are others; and from when on.
    fn next(&mut self, most: usize, late: impl Fn(&Key) -> bool) -> (Option<Timestamp>, Vec<Key>) {
        let mut keys = Vec::new();
        while keys.len() < most
            && let Some(key) = self.order.pop_front()
        {
            if late(&key) { self.late.push_back(key) } else { keys.push(key) }
        }
        if keys.is_empty() {
            keys.extend(self.late.pop_front());
        }
        keys.iter().for_each(|key| drop(self.queued.take(key)));
        if !keys.is_empty() {
            return (None, keys);
        }
        let Some((at, key)) = self.waiting.pop_first() else { return (None, keys) };
        self.until.remove(&key);
        (Some(at), vec![key])
    }
}

impl Play {
    /// A world with these objects and their owners, as the real cache shows them.
    pub(super) fn new(stores: &Stores, concerned: &[Below], order: Order) -> Self {
        let clock = Arc::new(AtomicI64::new(START));
        let time = clock.clone();
        let collector = Arc::new(GarbageCollector::new(Arc::new(move || at(time.load(Ordering::Relaxed)))));
        let cache = Cache::new();
        // Nothing is awaited there: what has not been listed by now is not known, and said to be so.
        let mut mapping = stores.mapping().clone();
        mapping.awaited.clear();
        cache.map(mapping);
        let listed: BTreeSet<Kind> = stores.kinds().filter(|(_, store)| store.synced()).map(|(kind, _)| kind).collect();
        for kind in &listed {
            cache.register::<Partial>(kind);
        }
        let mut play = Self {
            server: Server::default(),
            cache,
            collector,
            went: BTreeMap::new(),
            how: BTreeMap::new(),
            listed,
            order,
            queue: Arc::default(),
            wrote_at: at(START),
            clock,
        };
        for Below { kind, meta, .. } in concerned {
            play.server.put(kind, meta.clone());
        }
        for (kind, meta) in owners(stores, concerned) {
            if play.server.get(kind, &meta.key()).is_none() {
                play.server.put(kind, meta);
            }
        }
        play.follow();
        let (collector, queue) = (play.collector.clone(), play.queue.clone());
        play.cache.listen(move |change, stores| {
            let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            collector.triggers(change, stores).into_iter().for_each(|trigger| queue.add(trigger.key));
        });
        play
    }

    /// Somebody deletes an object.
    pub(super) fn delete(&mut self, kind: Kind, key: &Key, propagation: Propagation) {
        self.server.delete(kind, key, propagation, self.now());
        self.follow();
    }

    /// Passes until nothing moves. `false`: it still does, after very many.
    pub(super) fn run(&mut self) -> bool {
        let mut left = PASSES.0 * self.server.objects().count() + PASSES.1;
        while left > 0 {
            let (from, keys) = self.next();
            if keys.is_empty() || from.is_some_and(|from| from.duration_since(self.wrote_at) > REST) {
                return true;
            }
            if let Some(from) = from {
                self.clock.fetch_max(from.as_millisecond(), Ordering::Relaxed);
            }
            left = left.saturating_sub(keys.len());
            self.pass(&keys);
        }
        false
    }

    fn next(&self) -> (Option<Timestamp>, Vec<Key>) {
        let stores = self.cache.read();
        let deleting = |key: &Key| {
            let header = object_of(&stores, key).and_then(|(kind, at)| stores.any(kind)?.header(&at.namespace, &at.name));
            header.is_some_and(|header| header.deleting())
        };
        match self.order {
            Order::SideBySide => self.queue().next(WORKERS, |_| false),
            Order::OwnersFirst => self.queue().next(1, |key| !deleting(key)),
            Order::DependentsFirst => self.queue().next(1, deleting),
            Order::NewestFirst => {
                let mut queue = self.queue();
                let newest = queue.order.pop_back();
                newest.into_iter().for_each(|key| queue.order.push_front(key));
                queue.next(1, |_| false)
            }
        }
    }

    /// One pass for each key: all look before any of them writes.
    fn pass(&mut self, keys: &[Key]) {
        let now = at(self.clock.fetch_add(1, Ordering::Relaxed));
        let looks: Vec<_> = {
            let stores = self.cache.read();
            keys.iter().map(|key| self.collector.snapshot(&stores, key)).collect()
        };
        let mut reports = Vec::new();
        for snap in &looks {
            let plan = self.collector.plan(snap, now);
            let mut outcome = Outcome::default();
            for step in &plan.steps {
                outcome.steps.push(step.iter().map(|write| self.answer(write, now)).collect());
            }
            self.collector.remember(snap, &plan, &outcome, now);
            reports.push(self.collector.conclude(snap, &plan, &outcome, now));
        }
        self.follow();
        let mut queue = self.queue();
        for (key, report) in keys.iter().zip(reports) {
            match report.next {
                Next::OnChange => queue.forget(key),
                Next::Again => queue.add(key.clone()),
                Next::At(at) => queue.add_at(at, key.clone()),
                Next::Retry(_) => queue.add_at(now.saturating_add(RETRY).unwrap_or(now), key.clone()),
            }
        }
    }

    fn answer(&mut self, write: &Write, now: Timestamp) -> Done {
        if matches!(write, Write::Look { .. }) && !self.listed.contains(write.kind()) {
            return Done::Failed(Failure { kind: FailureKind::Other, message: format!("{} are not listed", write.kind()) });
        }
        if let Write::Delete { propagation: Some(propagation), .. } = write {
            self.how.insert((write.kind(), write.key().clone()), *propagation);
        }
        self.server.answer(write, now)
    }

    /// The cache sees all that has happened.
    fn follow(&mut self) {
        let now = self.now();
        for (kind, entry) in self.server.take_news() {
            self.wrote_at = now;
            if let Entry::Delete(Partial::Full(meta)) = &entry {
                self.went.insert((kind, meta.key()), self.went.len());
            }
            // The server's versions only grow, so nothing is ever refused.
            let _ = self.cache.ingest_of(kind, entry);
        }
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        at(self.clock.load(Ordering::Relaxed))
    }
}

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// All that the references of these objects name and the cache shows.
fn owners<'s>(stores: &'s Stores, concerned: &'s [Below]) -> impl Iterator<Item = (Kind, Meta)> {
    let references = concerned.iter().flat_map(|below| below.meta.owners.iter().map(move |reference| (&below.meta, reference)));
    references.filter_map(|(meta, reference)| {
        let kind = stores.mapping().resolve(&reference.api_version, &reference.kind)?;
        let key = Key::new(if kind.namespaced { meta.namespace.clone() } else { "".into() }, reference.name.clone());
        let header = stores.any(kind)?.header(&key.namespace, &key.name)?;
        (*header.uid() == reference.uid).then(|| (kind, whole(header, &key)))
    })
}
