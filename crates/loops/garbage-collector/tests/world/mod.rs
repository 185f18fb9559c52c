//! Objects of several kinds on an imagined server, a cache that follows it, and the loop at work.

mod kinds;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, RwLockReadGuard,
        atomic::{AtomicI64, Ordering},
    },
};

use evenkeel_api::{Key, Kind, Meta, OwnerReference, Partial, Version};
use evenkeel_cache::{Cache, Entry, Mapping, Owner, Stores, Wait};
use evenkeel_garbage_collector::{
    Clock, GarbageCollector, Interlock,
    imagined::{Server, by_default},
};
use evenkeel_plan::{Answer, ControlLoop, Done, Failure, FailureKind, Next, Outcome, PatchForm, Propagation, Write};
use jiff::Timestamp;
use serde_json::{Value, json};

pub use self::kinds::{kind, served};

/// What somebody else does before a request is answered, and how it is answered if not by the server.
pub type Meddler = Box<dyn FnMut(&mut Server, &Write) -> Option<Done>>;

pub struct World {
    pub server: Server,
    pub cache: Arc<Cache>,
    pub collector: Arc<GarbageCollector>,
    /// Kinds that are served, and whether their first list is in.
    kinds: BTreeMap<Kind, bool>,
    /// Kinds that are served and cannot be watched.
    unwatched: BTreeSet<Kind>,
    /// Kinds whose watches are held up.
    held_up: BTreeSet<Kind>,
    /// What the cache has not heard of.
    news: Vec<(Kind, Entry<Partial>)>,
    queue: Arc<Mutex<BTreeSet<Key>>>,
    /// What is looked at later.
    later: BTreeMap<Key, Timestamp>,
    meddlers: Vec<Meddler>,
    /// All requests.
    pub log: Vec<String>,
    pub events: Vec<String>,
    /// What waits for a back-off.
    pub retries: BTreeMap<Key, String>,
    /// How many passes there were.
    pub passes: usize,
    interlock: Option<Arc<Interlock>>,
    /// Milliseconds of the clock.
    now: Arc<AtomicI64>,
}

/// An owner reference: kind, name and uid of the owner.
pub fn owner(kind_name: &str, name: &str) -> Value {
    let kind = kind(kind_name);
    json!({"apiVersion": kind.api_version(), "kind": kind.kind, "name": name, "uid": format!("uid-{name}")})
}

pub fn blocking(kind_name: &str, name: &str) -> Value {
    with(owner(kind_name, name), "blockOwnerDeletion", true)
}

/// A reference with something else in it.
pub fn with(mut reference: Value, field: &str, value: impl Into<Value>) -> Value {
    reference[field] = value.into();
    reference
}

/// A header as servers send it.
pub fn read(mut meta: Value) -> Meta {
    meta["resourceVersion"] = "1".into();
    Meta::read(json!({"metadata": meta}).to_string().as_bytes()).unwrap()
}

pub fn failed(kind: FailureKind) -> Done {
    Done::Failed(Failure { kind, message: format!("{kind:?}") })
}

fn clock(now: &Arc<AtomicI64>) -> Clock {
    let now = now.clone();
    Arc::new(move || Timestamp::from_millisecond(now.load(Ordering::Relaxed)).unwrap())
}

impl World {
    pub fn new() -> Self {
        Self::with_kinds(&served())
    }

    /// A world in which only these kinds are served.
    pub fn with_kinds(kinds: &[Kind]) -> Self {
        let now = Arc::new(AtomicI64::new(1_800_000_000_000));
        let mut world = Self {
            server: Server::default(),
            cache: Cache::new(),
            collector: Arc::new(GarbageCollector::new(clock(&now))),
            kinds: kinds.iter().map(|kind| (*kind, true)).collect(),
            unwatched: BTreeSet::new(),
            held_up: BTreeSet::new(),
            news: Vec::new(),
            queue: Arc::default(),
            later: BTreeMap::new(),
            meddlers: Vec::new(),
            log: Vec::new(),
            events: Vec::new(),
            retries: BTreeMap::new(),
            passes: 0,
            interlock: None,
            now,
        };
        world.restart();
        world
    }

    /// Another interlock than the one that every collector has; with it the collector starts anew.
    pub fn lock(&mut self, budgets: &str, holds: bool) -> Arc<Interlock> {
        let interlock = Arc::new(Interlock::new(budgets.parse().unwrap(), holds, clock(&self.now)));
        self.interlock = Some(interlock.clone());
        self.restart();
        interlock
    }

    /// Somebody creates an object in namespace `n` (or in the cluster).
    pub fn create(&mut self, kind_name: &str, name: &str, owners: &[Value]) {
        let namespace = if kind(kind_name).namespaced { "n" } else { "" };
        self.create_in(namespace, kind_name, name, owners);
    }

    pub fn create_in(&mut self, namespace: &str, kind_name: &str, name: &str, owners: &[Value]) {
        let meta = json!({"name": name, "namespace": namespace, "uid": format!("uid-{name}"), "ownerReferences": owners});
        self.server.put(kind(kind_name), read(meta));
    }

    /// Somebody puts finalizers on an object.
    pub fn hold(&mut self, kind_name: &str, name: &str, finalizers: &[&str]) {
        self.edit(kind_name, name, |meta| meta["finalizers"] = finalizers.into());
    }

    pub fn edit(&mut self, kind_name: &str, name: &str, change: impl FnOnce(&mut Value)) {
        edit(&mut self.server, kind_name, name, change);
    }

    /// Somebody deletes an object.
    pub fn delete(&mut self, kind_name: &str, name: &str, propagation: Propagation) {
        let key = find(&self.server, kind_name, name).key();
        self.server.delete(kind(kind_name), &key, propagation, self.now());
    }

    /// The same, without saying how its dependents go.
    pub fn delete_by_default(&mut self, kind_name: &str, name: &str) {
        let propagation = by_default(kind(kind_name), find(&self.server, kind_name, name));
        self.delete(kind_name, name, propagation);
    }

    /// From now on somebody does things before requests are answered, or answers them.
    pub fn meddle(&mut self, meddler: impl FnMut(&mut Server, &Write) -> Option<Done> + 'static) {
        self.meddlers.push(Box::new(meddler));
    }

    pub fn stores(&self) -> RwLockReadGuard<'_, Stores> {
        self.cache.read()
    }

    /// The first list of a kind is not in (before anything is looked at).
    pub fn unlist(&mut self, kind_name: &str) {
        self.kinds.insert(kind(kind_name), false);
        self.restart();
    }

    /// A kind is listed, and everything looked at again.
    pub fn list(&mut self, kind_name: &str) {
        self.kinds.insert(kind(kind_name), true);
        self.watch();
        self.fill(kind(kind_name));
        self.tell();
    }

    /// The server begins to serve a kind.
    pub fn serve(&mut self, kind_name: &str) {
        self.cache.register::<Partial>(kind(kind_name));
        self.list(kind_name);
    }

    /// It does so no more.
    pub fn unserve(&mut self, kind_name: &str) {
        self.watch();
        self.kinds.remove(kind(kind_name));
        self.cache.unregister(kind(kind_name));
        self.tell();
    }

    /// Watches of a kind tell nothing until [`World::go_on`].
    pub fn hold_up(&mut self, kind_name: &str) {
        self.watch();
        self.held_up.insert(kind(kind_name));
    }

    pub fn go_on(&mut self, kind_name: &str) {
        self.held_up.remove(kind(kind_name));
    }

    /// The server says what a kind's references mean, but its objects cannot be watched.
    pub fn resolve(&mut self, kind_name: &str) {
        self.unwatched.insert(kind(kind_name));
        self.tell();
    }

    /// The cache hears of everything that has happened twice.
    pub fn tell_twice(&mut self) {
        self.news.extend(self.server.take_news());
        let twice = std::mem::take(&mut self.news);
        let again = |entry: &Entry<Partial>| match entry {
            Entry::Put(object) => Some(Entry::Put(object.clone())),
            Entry::Delete(object) => Some(Entry::Delete(object.clone())),
            _ => None,
        };
        self.news =
            twice.into_iter().flat_map(|(kind, entry)| [again(&entry).map(|entry| (kind, entry)), Some((kind, entry))]).flatten().collect();
    }

    /// The server is as it was before: all is listed again, at an older version.
    pub fn restore(&mut self) {
        self.news.clear();
        self.server.take_news();
        for (kind, _) in self.kinds.iter().filter(|(_, listed)| **listed) {
            let objects = self.server.objects().filter(|(k, _)| k == kind).map(|(_, meta)| kinds::partial(meta)).collect();
            let refill = Entry::Refill { version: Version(1), objects, unreadable: BTreeSet::new(), reset: true };
            self.cache.ingest_of(kind, refill).unwrap();
        }
    }

    fn fill(&self, kind: Kind) {
        let objects: Vec<Partial> = self.server.objects().filter(|(k, _)| *k == kind).map(|(_, meta)| kinds::partial(meta)).collect();
        let version = Version(self.server.version().max(1));
        self.cache.ingest_of(kind, Entry::Replace { version, objects }).unwrap();
    }

    /// Makes known what is served, and has everything looked at.
    fn tell(&mut self) {
        let mut mapping = Mapping::default();
        for (kind, listed) in &self.kinds {
            kinds::versions(kind).into_iter().for_each(|version| mapping.add(&version, kind.kind, kind));
            if !listed {
                mapping.awaited.insert(kind);
            }
        }
        self.unwatched.iter().for_each(|kind| mapping.add(&kind.api_version(), kind.kind, kind));
        self.cache.map(mapping);
        let all = self.collector.all(&self.stores());
        self.queue().extend(all.into_iter().map(|trigger| trigger.key));
    }

    fn queue(&self) -> MutexGuard<'_, BTreeSet<Key>> {
        self.queue.lock().unwrap()
    }

    /// The cache sees everything that has happened, but for what is held up.
    pub fn watch(&mut self) {
        self.news.extend(self.server.take_news());
        for (kind, entry) in std::mem::take(&mut self.news) {
            match self.kinds.get(kind) {
                // The list will show it.
                Some(false) | None => {}
                Some(true) if self.held_up.contains(kind) => self.news.push((kind, entry)),
                Some(true) => {
                    let ingested = self.cache.ingest_of(kind, entry).unwrap();
                    self.queue().extend(ingested.released.into_iter().map(|owner| owner.key));
                }
            }
        }
    }

    /// A new collector, with a new cache and everything to look at.
    pub fn restart(&mut self) {
        self.server.take_news();
        self.news.clear();
        self.held_up.clear();
        self.retries.clear();
        self.later.clear();
        self.queue = Arc::default();
        self.cache = Cache::new();
        let collector = GarbageCollector::new(clock(&self.now));
        self.collector = Arc::new(match &self.interlock {
            Some(interlock) => collector.with_interlock(interlock.clone()),
            None => collector,
        });
        for (kind, listed) in &self.kinds {
            self.cache.register::<Partial>(kind);
            if *listed {
                self.fill(kind);
            }
        }
        let (collector, queue) = (self.collector.clone(), self.queue.clone());
        self.cache.listen(move |change, stores| {
            let triggers = collector.triggers(change, stores);
            queue.lock().unwrap().extend(triggers.into_iter().map(|trigger| trigger.key));
        });
        self.tell();
    }

    pub fn now(&self) -> Timestamp {
        clock(&self.now)()
    }

    /// Lets time pass, for meddlers.
    pub fn clock(&self) -> impl Fn(i64) + 'static + use<> {
        let now = self.now.clone();
        move |milliseconds| {
            now.fetch_add(milliseconds, Ordering::Relaxed);
        }
    }

    /// Lets time pass.
    pub fn wait(&self, milliseconds: i64) {
        self.now.fetch_add(milliseconds, Ordering::Relaxed);
    }

    /// Passes until nothing is left to do but what waits for a back-off or an event.
    pub fn run(&mut self) {
        self.run_until(Timestamp::MAX);
    }

    /// The same, for so many milliseconds.
    pub fn run_for(&mut self, milliseconds: i64) {
        let end = Timestamp::from_millisecond(self.now().as_millisecond() + milliseconds).unwrap();
        self.run_until(end);
        self.now.fetch_max(end.as_millisecond(), Ordering::Relaxed);
        let retries = std::mem::take(&mut self.retries);
        self.queue().extend(retries.into_keys());
    }

    fn run_until(&mut self, end: Timestamp) {
        for _ in 0..1_000_000 {
            self.watch();
            let next = self.queue().pop_first();
            if let Some(key) = next {
                self.pass(&key);
                continue;
            }
            let soonest = self.later.iter().filter(|(_, at)| **at <= end).min_by_key(|(_, at)| **at);
            let Some((key, at)) = soonest.map(|(key, at)| (key.clone(), *at)) else { return };
            self.now.fetch_max(at.as_millisecond(), Ordering::Relaxed);
            self.later.remove(&key);
            self.queue().insert(key);
        }
        panic!("it never comes to rest: {:?}", &self.log[self.log.len() - 20..]);
    }

    /// The same, with everything that waits for a back-off tried again so many times, 10 s apart.
    pub fn run_with_retries(&mut self, times: usize) {
        for _ in 0..times {
            self.wait(10_000);
            let retries = std::mem::take(&mut self.retries);
            self.queue().extend(retries.into_keys());
            self.run();
        }
    }

    /// One pass of an object's key, whatever is queued.
    pub fn look_at(&mut self, kind_name: &str, name: &str) {
        let key = evenkeel_garbage_collector::key_of(kind(kind_name), &find(&self.server, kind_name, name).key());
        self.look_at_key(key);
    }

    pub fn look_at_key(&mut self, key: Key) {
        self.queue().remove(&key);
        self.pass(&key);
    }

    fn pass(&mut self, key: &Key) {
        self.passes += 1;
        let owner = Owner { controller: "gc", key: key.clone() };
        if self.cache.behind(&owner).is_some() {
            return;
        }
        let snap = self.collector.snapshot(&self.stores(), key);
        let plan = self.collector.plan(&snap, self.now());
        let mut outcome = Outcome::default();
        for step in &plan.steps {
            outcome.steps.push(step.iter().map(|write| self.send(&owner, write)).collect());
        }
        self.collector.remember(&snap, &plan, &outcome, self.now());
        let told = self.collector.answered(&snap, &plan, &outcome, &self.stores());
        self.queue().extend(told.into_iter().map(|trigger| trigger.key));
        let report = self.collector.conclude(&snap, &plan, &outcome, self.now());
        let told = report.events.into_iter().filter(|event| event.reason != "OverCollectionBudget" || self.interlock.is_some());
        self.events.extend(told.map(|e| format!("{} {}: {}", e.about.name, e.reason, e.message)));
        self.retries.remove(key);
        match report.next {
            Next::OnChange => {}
            Next::Again => drop(self.queue().insert(key.clone())),
            Next::At(at) => drop(self.later.insert(key.clone(), at)),
            Next::Retry(why) => drop(self.retries.insert(key.clone(), why)),
        }
    }

    fn send(&mut self, waiter: &Owner, write: &Write) -> Done {
        self.log.push(line(write));
        let mut meddlers = std::mem::take(&mut self.meddlers);
        let answered = meddlers.iter_mut().find_map(|meddle| meddle(&mut self.server, write));
        self.meddlers = meddlers;
        let done = answered.unwrap_or_else(|| kinds::refused(&self.server, write).unwrap_or_else(|| self.server.answer(write, self.now())));
        match (write, &done) {
            (Write::Delete { target, .. }, Done::Written(_) | Done::AlreadyGone) => {
                let wait = Wait::Gone { kind: target.kind, key: target.key.clone(), uid: target.uid.clone() };
                self.cache.wrote(waiter, wait);
            }
            (Write::Patch { target, .. }, Done::Written(Answer { version: Some(version), .. })) => {
                self.cache.wrote(waiter, Wait::Reached { kind: target.kind, version: *version });
            }
            _ => {}
        }
        done
    }

    /// Names of all that is there.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.server.objects().map(|(_, meta)| &*meta.name).collect();
        names.sort_unstable();
        names
    }

    /// Names of an object's owners.
    pub fn owners_of(&self, name: &str) -> Vec<String> {
        let meta = self.server.objects().find(|(_, meta)| *meta.name == *name).expect("it is there").1;
        meta.owners.iter().map(|owner| owner.name.to_string()).collect()
    }

    pub fn take_log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }
}

/// A request in words. What guards it is held to the rules on the way (garbage-collection A10).
fn line(write: &Write) -> String {
    let about = format!("{}/{}", write.kind().kind, write.name());
    match write {
        Write::Look { .. } => format!("get {about}"),
        Write::Delete { target, propagation, .. } => {
            let guard = if target.version.is_some() { "" } else { ", the uid alone" };
            format!("delete {about} {}{guard}", propagation.unwrap().as_str())
        }
        Write::Patch { body, form, target, .. } => {
            let meta = &body["metadata"];
            assert_eq!(meta["uid"], target.uid.to_string());
            assert_eq!(meta["resourceVersion"].is_string(), *form == PatchForm::Merge, "whole lists need the version");
            let what = if meta.get("finalizers").is_some() { "finalizers" } else { "owners" };
            let whole = if what == "owners" && *form == PatchForm::Merge { ", all of them" } else { "" };
            format!("patch {about} {what}{whole}")
        }
        other => panic!("{other:?}"),
    }
}

pub fn find<'s>(server: &'s Server, kind_name: &str, name: &str) -> &'s Meta {
    let mut all = server.objects();
    all.find(|(kind, meta)| kind.kind == kind_name && *meta.name == *name).unwrap_or_else(|| panic!("no {kind_name} {name}")).1
}

/// Somebody changes an object's metadata.
pub fn edit(server: &mut Server, kind_name: &str, name: &str, change: impl FnOnce(&mut Value)) {
    let meta = find(server, kind_name, name);
    let mut header = json!({"name": &*meta.name, "namespace": &*meta.namespace, "uid": meta.uid.to_string()});
    header["ownerReferences"] = meta.owners.iter().map(OwnerReference::to_value).collect();
    header["finalizers"] = meta.finalizers.iter().map(|f| Value::from(&**f)).collect();
    header["deletionTimestamp"] = meta.deleting.map(|at| at.to_string()).into();
    change(&mut header);
    server.put(kind(kind_name), read(header));
}
