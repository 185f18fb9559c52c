use std::{
    any::Any,
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use evenkeel_api::{Key, Kind, Meta, Name, Object, Uid, Version};

use crate::{
    Cached, Change, Entry, Fold, Header, Mapping, Owner, Refused, Store, Wait,
    freshness::{Freshness, News},
};

/// A store without its type: what the freshness gate and health pages need.
pub trait AnyStore: Any + Send + Sync {
    /// See [`Store::version`].
    fn version(&self) -> Version;
    /// See [`Store::synced`].
    fn synced(&self) -> bool;
    /// Number of objects.
    fn count(&self) -> usize;
    /// Header of one object.
    fn header(&self, namespace: &str, name: &str) -> Option<Header<'_>>;
    /// Headers of all objects that have an owner reference with this uid, by name. Costs what is taken of it: there may be very many.
    fn dependents<'s>(&'s self, owner: &Uid) -> Box<dyn Iterator<Item = &'s Meta> + 's>;
    /// Namespace and name of every object.
    fn keys(&self) -> Vec<Key>;
    /// Shows the header of every object about which there is something to say.
    fn each(&self, look: &mut dyn FnMut(&Meta));
    /// An object with this name and uid in whichever namespace.
    fn anywhere(&self, name: &str, uid: &Uid) -> Option<Key>;
    /// For downcasts.
    fn as_any(&self) -> &dyn Any;
    /// For downcasts.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

impl<T: Object> AnyStore for Store<T> {
    fn version(&self) -> Version {
        Store::version(self)
    }
    fn synced(&self) -> bool {
        Store::synced(self)
    }
    fn count(&self) -> usize {
        self.len()
    }
    fn header(&self, namespace: &str, name: &str) -> Option<Header<'_>> {
        self.get(namespace, name).map(|o| Header::Full(o.meta()))
    }
    fn dependents<'s>(&'s self, owner: &Uid) -> Box<dyn Iterator<Item = &'s Meta> + 's> {
        Box::new(self.owned_by(owner).map(|o| o.meta()))
    }
    fn keys(&self) -> Vec<Key> {
        self.iter().map(|o| o.meta().key()).collect()
    }
    fn each(&self, look: &mut dyn FnMut(&Meta)) {
        self.iter().for_each(|object| look(object.meta()));
    }
    fn anywhere(&self, name: &str, uid: &Uid) -> Option<Key> {
        let life = |namespace: &Name| self.get(namespace, name).filter(|o| o.meta().uid == *uid).map(|o| o.meta().key());
        self.namespaces().find_map(life)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// All stores, under one lock: what a snapshot is taken from.
#[derive(Default)]
pub struct Stores {
    kinds: BTreeMap<Kind, Box<dyn AnyStore>>,
    /// The same by `plural.group`.
    called: BTreeMap<String, Kind>,
    mapping: Arc<Mapping>,
    restores: u64,
}

impl Stores {
    /// Stores for tests and plans without a cluster: registers a kind and folds entries in.
    pub fn with<T: Object>(mut self, objects: impl IntoIterator<Item = T>) -> Self {
        let mut store = Store::<T>::default();
        let objects: Vec<T> = objects.into_iter().collect();
        let version = objects.iter().map(|o| o.meta().version).max().unwrap_or(Version(1));
        store.apply(Entry::Replace { version, objects }).expect("a new store is behind every version");
        self.add(T::resource(), Box::new(store));
        self
    }

    fn add(&mut self, kind: Kind, store: Box<dyn AnyStore>) {
        self.kinds.insert(kind, store);
        self.called.insert(kind.group_resource(), kind);
    }

    fn remove(&mut self, kind: Kind) -> Option<Box<dyn AnyStore>> {
        let removed = self.kinds.remove(kind);
        self.called.retain(|_, called| *called != kind);
        removed
    }

    /// The store of a kind.
    ///
    /// # Panics
    /// When the kind was never registered: a loop that reads a kind names it among those it watches.
    pub fn of<T: Object>(&self) -> &Store<T> {
        self.kinds
            .get(T::resource())
            .and_then(|s| s.as_any().downcast_ref())
            .unwrap_or_else(|| panic!("{} are read but not watched", T::resource().plural))
    }

    /// With a kind that was found at run time.
    pub fn with_headers(mut self, kind: Kind, store: crate::Headers) -> Self {
        self.add(kind, Box::new(store));
        self
    }

    /// The watched kind whose objects are called `plural.group`.
    pub fn called(&self, group_resource: &str) -> Option<Kind> {
        self.called.get(group_resource).copied()
    }

    /// The store of a kind without its type; `None` when it is not watched.
    pub fn any(&self, kind: Kind) -> Option<&dyn AnyStore> {
        self.kinds.get(kind).map(|s| &**s)
    }

    /// What `apiVersion` and `kind` of a reference stand for.
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// How often the server, or what it said, turned out not to be what was thought: a kind went back in time, as the server was restored from a
    /// backup, or differed from what a comparison found. What was known to be gone may be there again.
    pub fn restores(&self) -> u64 {
        self.restores
    }

    /// With this mapping.
    pub fn with_mapping(self, mapping: Mapping) -> Self {
        Self { mapping: Arc::new(mapping), ..self }
    }

    /// Headers of all objects, of whatever kind, that have an owner reference with this uid.
    pub fn dependents<'s>(&'s self, owner: &'s Uid) -> impl Iterator<Item = (Kind, &'s Meta)> {
        self.kinds().flat_map(move |(kind, store)| store.dependents(owner).map(move |meta| (kind, meta)))
    }

    /// All watched kinds.
    pub fn kinds(&self) -> impl Iterator<Item = (Kind, &dyn AnyStore)> {
        self.kinds.iter().map(|(k, s)| (*k, &**s))
    }
}

/// Counters of what the cache refused or passed over; all only grow.
#[derive(Debug, Default)]
pub struct Stats {
    /// Entries older than what was seen.
    pub refused: AtomicU64,
    /// Log entries folded in.
    pub applied: AtomicU64,
}

/// What one [`Cache::ingest`] did.
#[derive(Debug, PartialEq, Eq)]
pub struct Ingested {
    /// Number of changes told to listeners.
    pub changes: usize,
    /// Owners whose own writes are all visible now; they want to look again.
    pub released: Vec<Owner>,
}

type Listener = Box<dyn Fn(&Change, &Stores) + Send + Sync>;

/// The watch cache. Cheap to share; readers hold its lock for one snapshot.
#[derive(Default)]
pub struct Cache {
    stores: RwLock<Stores>,
    listeners: RwLock<Vec<Listener>>,
    freshness: Mutex<Freshness>,
    /// Counters.
    pub stats: Stats,
}

impl Cache {
    /// An empty cache.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Makes room for a kind; a second call changes nothing.
    pub fn register<T: Cached>(&self, kind: Kind) {
        let mut stores = self.stores.write().unwrap_or_else(PoisonError::into_inner);
        if stores.any(kind).is_none() {
            stores.add(kind, Box::new(T::Store::default()));
        }
    }

    /// Says what references stand for from now on.
    pub fn map(&self, mapping: Mapping) {
        self.stores.write().unwrap_or_else(PoisonError::into_inner).mapping = Arc::new(mapping);
    }

    /// Forgets a kind that is served no more, and all its objects. Nobody is told of them: who asks finds that the kind is not watched. Says
    /// who waited for any of them.
    pub fn unregister(&self, kind: Kind) -> Vec<Owner> {
        let removed = self.stores.write().unwrap_or_else(PoisonError::into_inner).remove(kind);
        let changed = removed.map(|store| store.keys()).unwrap_or_default();
        self.freshness().released(&News { kind, changed: &changed, back: true }, &self.read())
    }

    /// Calls `listener` for every later change, in the order of each kind's log, with stores that show the change.
    pub fn listen(&self, listener: impl Fn(&Change, &Stores) + Send + Sync + 'static) {
        self.listeners.write().unwrap_or_else(PoisonError::into_inner).push(Box::new(listener));
    }

    /// All stores as of now. Hold it for one snapshot, never across an await.
    pub fn read(&self) -> RwLockReadGuard<'_, Stores> {
        self.stores.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Folds one log entry in, tells listeners, and says who waited for it.
    ///
    /// One driver per kind calls this, one entry after the other: that is what makes the log ordered.
    ///
    /// # Errors
    /// When the entry would take the kind's store back in time.
    pub fn ingest<T: Object + Cached>(&self, entry: Entry<T>) -> Result<Ingested, Refused> {
        self.ingest_of(T::resource(), entry)
    }

    /// [`Cache::ingest`] for a kind that was found at run time.
    ///
    /// # Errors
    /// When the entry would take the kind's store back in time.
    pub fn ingest_of<T: Cached>(&self, kind: Kind, entry: Entry<T>) -> Result<Ingested, Refused> {
        let (applied, back) = {
            let mut stores = self.stores.write().unwrap_or_else(PoisonError::into_inner);
            let store = stores.kinds.entry(kind).or_insert_with(|| Box::new(T::Store::default()));
            let store = store.as_any_mut().downcast_mut::<T::Store>().expect("a resource has one entry type");
            let back = matches!(entry, Entry::Refill { reset: true, version, .. } if version < store.version());
            let folded = store.fold(entry);
            stores.restores += u64::from(back);
            (folded, back)
        };
        let changes = applied.inspect_err(|_| {
            self.stats.refused.fetch_add(1, Ordering::Relaxed);
        })?;
        self.stats.applied.fetch_add(1, Ordering::Relaxed);
        let count = changes.len();
        let stores = self.read();
        let listeners = self.listeners.read().unwrap_or_else(PoisonError::into_inner);
        let mut changed = Vec::with_capacity(count);
        for (old, new) in changes {
            changed.extend(new.as_ref().or(old.as_ref()).map(|object| object.key()));
            let change = Change::of_kind(kind, old, new);
            listeners.iter().for_each(|tell| tell(&change, &stores));
        }
        let released = self.freshness().released(&News { kind, changed: &changed, back }, &stores);
        Ok(Ingested { changes: count, released })
    }

    /// Remembers a write of ours: the owner does not look again before the cache shows it. What it shows already is not waited for: the event
    /// may have been quicker than the answer, and a restored server may take back what it said.
    pub fn wrote(&self, owner: &Owner, wait: Wait) {
        let stores = self.read();
        if !wait.covered(&stores) {
            self.freshness().add(owner, wait);
        }
    }

    /// A comparison with the server has found that a store is wrong: whatever is known besides the stores may be, too.
    pub fn distrust(&self) {
        self.stores.write().unwrap_or_else(PoisonError::into_inner).restores += 1;
    }

    /// How many writes have been remembered so far: for [`Cache::settled`].
    pub fn remembered(&self) -> u64 {
        self.freshness().last()
    }

    /// The cache shows a kind as the server did after this many writes were answered: whatever it does not show of them has been undone, by a
    /// restore that nobody noticed ([`Cache::distrust`]). Says who waited for any of it.
    pub fn settled(&self, kind: Kind, remembered: u64) -> Vec<Owner> {
        let (undone, owners) = self.freshness().settled(kind, remembered);
        if undone > 0 {
            self.distrust();
        }
        owners
    }

    /// What the owner's next look would miss; `None` when the cache shows all its writes.
    pub fn behind(&self, owner: &Owner) -> Option<Wait> {
        let stores = self.read();
        self.freshness().behind(owner, &stores)
    }

    /// Forgets what an owner wrote, for a key whose object is gone.
    pub fn forget(&self, owner: &Owner) {
        self.freshness().forget(owner);
    }

    fn freshness(&self) -> std::sync::MutexGuard<'_, Freshness> {
        self.freshness.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
