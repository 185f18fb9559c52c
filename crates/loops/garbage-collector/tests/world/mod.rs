//! Objects of several kinds, a server that does what the plans ask for, and a cache that follows it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use evenkeel_api::{FOREGROUND, Key, Kind, Meta, ORPHAN, Partial, Resource, Uid, Version, Watched};
use evenkeel_cache::{Change, Entry, Fold, Headers, Mapping, Stores};
use evenkeel_garbage_collector::{Clock, GarbageCollector};
use evenkeel_plan::{Answer, ControlLoop, Done, Failure, FailureKind, Next, Outcome, PatchForm, Propagation, Write};
use jiff::Timestamp;
use serde_json::{Value, json};

pub fn kind(name: &str) -> Kind {
    match name {
        "ConfigMap" => Resource::found("", "v1", "configmaps", "ConfigMap", true),
        "Secret" => Resource::found("", "v1", "secrets", "Secret", true),
        "ReplicaSet" => Resource::found("apps", "v1", "replicasets", "ReplicaSet", true),
        "ClusterRole" => Resource::found("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", false),
        other => panic!("no kind {other}"),
    }
}

const KINDS: [&str; 4] = ["ConfigMap", "Secret", "ReplicaSet", "ClusterRole"];

type Place = (&'static str, Key);

pub struct World {
    objects: BTreeMap<(String, Key), Value>,
    stores: BTreeMap<&'static str, Headers>,
    /// Kinds whose first list is not in.
    pub unlisted: BTreeSet<&'static str>,
    mapping: Mapping,
    pub collector: GarbageCollector,
    /// Events of the log that the cache has not seen.
    pending: Vec<(&'static str, Entry<Partial>)>,
    queue: BTreeSet<Key>,
    /// All requests.
    pub log: Vec<String>,
    pub events: Vec<String>,
    /// What waits for a back-off.
    pub retries: BTreeMap<Key, String>,
    version: u64,
    /// Milliseconds of the clock.
    now: Arc<AtomicI64>,
}

/// An owner reference: kind, name and uid of the owner.
pub fn owner(kind_name: &str, name: &str) -> Value {
    let kind = kind(kind_name);
    json!({"apiVersion": kind.api_version(), "kind": kind.kind, "name": name, "uid": format!("uid-{name}")})
}

pub fn blocking(kind_name: &str, name: &str) -> Value {
    let mut owner = owner(kind_name, name);
    owner["blockOwnerDeletion"] = true.into();
    owner
}

fn clock(now: &Arc<AtomicI64>) -> Clock {
    let now = now.clone();
    Arc::new(move || Timestamp::from_millisecond(now.load(Ordering::Relaxed)).unwrap())
}

impl World {
    pub fn new() -> Self {
        let mut mapping = Mapping::default();
        KINDS.iter().for_each(|name| mapping.add(&kind(name).api_version(), name, kind(name)));
        let now = Arc::new(AtomicI64::new(1_800_000_000_000));
        let collector = GarbageCollector::new(clock(&now));
        Self {
            objects: BTreeMap::new(),
            stores: KINDS
                .iter()
                .map(|name| {
                    let mut store = Headers::default();
                    store.fold(Entry::Replace { version: Version(1), objects: Vec::new() }).unwrap();
                    (*name, store)
                })
                .collect(),
            unlisted: BTreeSet::new(),
            mapping,
            collector,
            pending: Vec::new(),
            queue: BTreeSet::new(),
            log: Vec::new(),
            events: Vec::new(),
            retries: BTreeMap::new(),
            version: 1,
            now,
        }
    }

    fn name_of(kind: Kind) -> &'static str {
        KINDS.iter().find(|name| std::ptr::eq(self::kind(name), kind)).expect("a known kind")
    }

    /// Somebody creates an object in namespace `n` (or in the cluster).
    pub fn create(&mut self, kind_name: &'static str, name: &str, owners: &[Value]) {
        let namespace = if kind(kind_name).namespaced { "n" } else { "" };
        self.create_in(namespace, kind_name, name, owners);
    }

    pub fn create_in(&mut self, namespace: &str, kind_name: &'static str, name: &str, owners: &[Value]) {
        let mut meta = json!({"name": name, "namespace": namespace, "uid": format!("uid-{name}")});
        if !owners.is_empty() {
            meta["ownerReferences"] = owners.into();
        }
        self.store((kind_name, Key::new(namespace, name)), json!({"metadata": meta}));
    }

    /// Somebody puts finalizers on an object.
    pub fn hold(&mut self, kind_name: &'static str, name: &str, finalizers: &[&str]) {
        self.edit(kind_name, name, |meta| meta["finalizers"] = finalizers.into());
    }

    pub fn edit(&mut self, kind_name: &'static str, name: &str, edit: impl FnOnce(&mut Value)) {
        let place = self.place(kind_name, name);
        let mut object = self.objects[&(kind_name.to_owned(), place.1.clone())].clone();
        edit(&mut object["metadata"]);
        self.settle_object(place, object);
    }

    /// Somebody deletes an object.
    pub fn delete(&mut self, kind_name: &'static str, name: &str, propagation: Propagation) {
        let place = self.place(kind_name, name);
        self.remove(place, propagation);
    }

    fn place(&self, kind_name: &'static str, name: &str) -> Place {
        let found = self.objects.keys().find(|(k, key)| k == kind_name && *key.name == *name);
        (kind_name, found.unwrap_or_else(|| panic!("no {kind_name} {name}")).1.clone())
    }

    fn get(&self, place: &Place) -> Option<&Value> {
        self.objects.get(&(place.0.to_owned(), place.1.clone()))
    }

    fn store(&mut self, place: Place, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let partial = Partial::read(object.to_string().as_bytes()).unwrap();
        self.pending.push((place.0, Entry::Put(partial)));
        self.objects.insert((place.0.to_owned(), place.1), object);
    }

    /// Stores an object, or takes it away when it is being deleted and nobody holds it.
    fn settle_object(&mut self, place: Place, object: Value) {
        let meta = &object["metadata"];
        let held = meta["finalizers"].as_array().is_some_and(|f| !f.is_empty());
        if meta["deletionTimestamp"].is_string() && !held {
            self.version += 1;
            let mut last = object;
            last["metadata"]["resourceVersion"] = self.version.to_string().into();
            self.pending.push((place.0, Entry::Delete(Partial::read(last.to_string().as_bytes()).unwrap())));
            self.objects.remove(&(place.0.to_owned(), place.1));
        } else {
            self.store(place, object);
        }
    }

    /// What a server makes of a DELETE (garbage-collection A1).
    fn remove(&mut self, place: Place, propagation: Propagation) {
        let mut object = self.get(&place).expect("it is there").clone();
        let meta = &mut object["metadata"];
        let mut finalizers: Vec<String> =
            meta["finalizers"].as_array().into_iter().flatten().map(|f| f.as_str().unwrap().to_owned()).collect();
        finalizers.retain(|f| f != ORPHAN && f != FOREGROUND);
        match propagation {
            Propagation::Background => {}
            Propagation::Foreground => finalizers.push(FOREGROUND.to_owned()),
            Propagation::Orphan => finalizers.push(ORPHAN.to_owned()),
        }
        meta["finalizers"] = finalizers.into();
        meta["deletionTimestamp"] = self.now().to_string().into();
        self.settle_object(place, object);
    }

    fn stores(&self) -> Stores {
        let awaited = self.unlisted.iter().map(|name| kind(name)).collect();
        let mut mapping = self.mapping.clone();
        mapping.awaited = awaited;
        let mut stores = Stores::default().with_mapping(mapping);
        for (name, store) in &self.stores {
            let store = if self.unlisted.contains(name) { Headers::default() } else { store.clone() };
            stores = stores.with_headers(kind(name), store);
        }
        stores
    }

    /// The cache sees everything that has happened.
    pub fn watch(&mut self) {
        for (name, entry) in std::mem::take(&mut self.pending) {
            let changes = self.stores.get_mut(name).unwrap().fold(entry).unwrap();
            for (old, new) in changes {
                let change = Change::of_kind(kind(name), old, new);
                let triggers = self.collector.triggers(&change, &self.stores());
                self.queue.extend(triggers.into_iter().map(|t| t.key));
            }
        }
    }

    /// A new collector, with the cache as it is and everything to look at.
    pub fn restart(&mut self) {
        self.watch();
        self.collector = GarbageCollector::new(clock(&self.now));
        self.retries.clear();
        self.queue = self.collector.all(&self.stores()).into_iter().map(|t| t.key).collect();
    }

    fn now(&self) -> Timestamp {
        clock(&self.now)()
    }

    /// Lets time pass.
    pub fn wait(&self, milliseconds: i64) {
        self.now.fetch_add(milliseconds, Ordering::Relaxed);
    }

    /// Passes until nothing is left to do at once.
    pub fn run(&mut self) {
        for _ in 0..100_000 {
            self.watch();
            let Some(key) = self.queue.pop_first() else { return };
            self.pass(&key);
        }
        panic!("it never comes to rest: {:?}", &self.log[self.log.len() - 20..]);
    }

    /// The same, with everything that waits for a back-off tried again so many times.
    pub fn run_with_retries(&mut self, times: usize) {
        for _ in 0..times {
            self.wait(10_000);
            self.queue.extend(std::mem::take(&mut self.retries).into_keys());
            self.run();
        }
    }

    fn pass(&mut self, key: &Key) {
        let snap = self.collector.snapshot(&self.stores(), key);
        let plan = self.collector.plan(&snap, self.now());
        let mut steps = Vec::new();
        for step in &plan.steps {
            steps.push(step.iter().map(|write| self.send(write)).collect());
        }
        let outcome = Outcome { steps };
        self.collector.remember(&snap, &plan, &outcome, self.now());
        let report = self.collector.conclude(&snap, &plan, &outcome, self.now());
        self.events.extend(report.events.into_iter().map(|e| format!("{} {}: {}", e.about.name, e.reason, e.message)));
        match report.next {
            Next::OnChange => drop(self.retries.remove(key)),
            Next::Again | Next::At(_) => {
                self.wait(50);
                self.queue.insert(key.clone());
            }
            Next::Retry(why) => drop(self.retries.insert(key.clone(), why)),
        }
    }

    fn send(&mut self, write: &Write) -> Done {
        let name = Self::name_of(write.kind());
        let place: Place = (name, write.key().clone());
        let fail = |kind: FailureKind| Done::Failed(Failure { kind, message: format!("{kind:?}") });
        let stored = self.get(&place).cloned();
        let line = match write {
            Write::Look { .. } => format!("get {name}/{}", write.name()),
            Write::Delete { propagation, .. } => format!("delete {name}/{} {}", write.name(), propagation.unwrap().as_str()),
            Write::Patch { body, .. } => {
                let what = if body["metadata"].get("finalizers").is_some() { "finalizers" } else { "owners" };
                format!("patch {name}/{} {what}", write.name())
            }
            other => panic!("{other:?}"),
        };
        self.log.push(line);
        let target = match write {
            Write::Look { .. } => {
                return match stored {
                    Some(object) => Done::Found(Arc::new(Meta::read(object.to_string().as_bytes()).unwrap())),
                    None => Done::AlreadyGone,
                };
            }
            Write::Delete { target, .. } | Write::Patch { target, .. } => target,
            _ => unreachable!("the line was made above"),
        };
        let Some(mut object) = stored else {
            return if matches!(write, Write::Delete { .. }) { Done::AlreadyGone } else { fail(FailureKind::NotFound) };
        };
        if object["metadata"]["uid"] != target.uid.to_string() {
            return if matches!(write, Write::Delete { .. }) { Done::AlreadyGone } else { fail(FailureKind::Conflict) };
        }
        if target.version.is_some_and(|v| object["metadata"]["resourceVersion"] != v.to_string()) {
            return fail(FailureKind::Conflict);
        }
        match write {
            Write::Delete { propagation, .. } => self.remove(place, propagation.unwrap()),
            Write::Patch { body, form, .. } => {
                for field in ["finalizers", "ownerReferences"] {
                    let Some(value) = body["metadata"].get(field) else { continue };
                    if *form == PatchForm::Merge {
                        object["metadata"][field] = value.clone();
                        continue;
                    }
                    let gone: Vec<&Value> = value.as_array().unwrap().iter().inspect(|e| assert_eq!(e["$patch"], "delete")).map(|e| &e["uid"]).collect();
                    object["metadata"][field].as_array_mut().unwrap().retain(|owner| !gone.contains(&&owner["uid"]));
                }
                self.settle_object(place, object);
            }
            _ => unreachable!("reads are answered above"),
        }
        Done::Written(Answer { uid: Uid::new("u"), version: None })
    }

    /// Names of all that is there.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.objects.keys().map(|(_, key)| &*key.name).collect();
        names.sort_unstable();
        names
    }

    /// Names of an object's owners.
    pub fn owners_of(&self, name: &str) -> Vec<String> {
        let object = self.objects.iter().find(|((_, key), _)| *key.name == *name).expect("it is there").1;
        let owners = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        owners.map(|o| o["name"].as_str().unwrap().to_owned()).collect()
    }

    pub fn take_log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }
}
