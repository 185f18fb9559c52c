//! Objects of several kinds on an imagined server, and a cache that follows it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use evenkeel_api::{Key, Kind, Meta, OwnerReference, Resource, Version};
use evenkeel_cache::{Change, Entry, Fold, Headers, Mapping, Stores};
use evenkeel_garbage_collector::{Clock, GarbageCollector, imagined::Server};
use evenkeel_plan::{ControlLoop, Done, Next, Outcome, Propagation, Write};
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

pub struct World {
    server: Server,
    stores: BTreeMap<&'static str, Headers>,
    /// Kinds whose first list is not in.
    pub unlisted: BTreeSet<&'static str>,
    mapping: Mapping,
    pub collector: GarbageCollector,
    queue: BTreeSet<Key>,
    /// All requests.
    pub log: Vec<String>,
    pub events: Vec<String>,
    /// What waits for a back-off.
    pub retries: BTreeMap<Key, String>,
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

/// A header as servers send it.
fn read(mut meta: Value) -> Meta {
    meta["resourceVersion"] = "1".into();
    Meta::read(json!({"metadata": meta}).to_string().as_bytes()).unwrap()
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
            server: Server::default(),
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
            queue: BTreeSet::new(),
            log: Vec::new(),
            events: Vec::new(),
            retries: BTreeMap::new(),
            now,
        }
    }

    /// Somebody creates an object in namespace `n` (or in the cluster).
    pub fn create(&mut self, kind_name: &'static str, name: &str, owners: &[Value]) {
        let namespace = if kind(kind_name).namespaced { "n" } else { "" };
        self.create_in(namespace, kind_name, name, owners);
    }

    pub fn create_in(&mut self, namespace: &str, kind_name: &'static str, name: &str, owners: &[Value]) {
        let meta = json!({"name": name, "namespace": namespace, "uid": format!("uid-{name}"), "ownerReferences": owners});
        self.server.put(kind(kind_name), read(meta));
    }

    /// Somebody puts finalizers on an object.
    pub fn hold(&mut self, kind_name: &'static str, name: &str, finalizers: &[&str]) {
        self.edit(kind_name, name, |meta| meta["finalizers"] = finalizers.into());
    }

    pub fn edit(&mut self, kind_name: &'static str, name: &str, edit: impl FnOnce(&mut Value)) {
        let meta = self.find(kind_name, name);
        let mut header = json!({"name": &*meta.name, "namespace": &*meta.namespace, "uid": meta.uid.to_string()});
        header["ownerReferences"] = meta.owners.iter().map(OwnerReference::to_value).collect();
        header["finalizers"] = meta.finalizers.iter().map(|f| Value::from(&**f)).collect();
        header["deletionTimestamp"] = meta.deleting.map(|at| at.to_string()).into();
        edit(&mut header);
        self.server.put(kind(kind_name), read(header));
    }

    /// Somebody deletes an object.
    pub fn delete(&mut self, kind_name: &'static str, name: &str, propagation: Propagation) {
        let key = self.find(kind_name, name).key();
        self.server.delete(kind(kind_name), &key, propagation, self.now());
    }

    fn find(&self, kind_name: &str, name: &str) -> &Meta {
        let mut all = self.server.objects();
        all.find(|(kind, meta)| kind.kind == kind_name && *meta.name == *name).unwrap_or_else(|| panic!("no {kind_name} {name}")).1
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
        for (kind, entry) in self.server.take_news() {
            let changes = self.stores.get_mut(kind.kind).unwrap().fold(entry).unwrap();
            for (old, new) in changes {
                let change = Change::of_kind(kind, old, new);
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
        let name = write.kind().kind;
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
        self.server.answer(write, self.now())
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
