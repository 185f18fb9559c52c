#![allow(dead_code)]

mod objects;
mod server;

use std::sync::Arc;

use evenkeel_api::{Key, Kind, Object, PODS, ReplicaSet, ReplicationController};
use evenkeel_cache::{Cache, Entry, Owner, Wait};
use evenkeel_plan::{ControlLoop, Done, Failure, FailureKind, Next, Outcome, Plan, Report, Write};
use evenkeel_replicaset::SetLoop;
pub use jiff::{SignedDuration, Timestamp};
pub use objects::{Pod, Set, Written, pod, set};
use serde_json::{Value, json};
use server::{Server, Step};

/// Noon, when every story starts.
pub fn noon() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

pub fn seconds_before(at: Timestamp, seconds: i64) -> Timestamp {
    at - SignedDuration::from_secs(seconds)
}

/// Runs a test for both kinds (workloads 4).
#[macro_export]
macro_rules! both {
    ($($(#[$doc:meta])* fn $name:ident<$s:ident>() $body:block)*) => {$(
        $(#[$doc])*
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            fn story<$s: Written>() $body
            #[test]
            fn replica_set() { story::<evenkeel_api::ReplicaSet>() }
            #[test]
            fn replication_controller() { story::<evenkeel_api::ReplicationController>() }
        }
    )*};
}

type Refuse = Box<dyn FnMut(&Write) -> Option<Failure>>;

/// How many cases a property is tried with: this many, unless `PROPTEST_CASES` has another number.
pub fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// A server, a late watch, and the cache.
pub struct World {
    pub cache: Arc<Cache>,
    pub server: Server,
    pub now: Timestamp,
    /// Requests so far, as `verb kind name`.
    pub sent: Vec<String>,
    /// Asked about every write before the server is.
    pub refuse: Refuse,
}

/// What one pass did.
#[derive(Debug, Default)]
pub struct Pass {
    /// The cache does not show our own writes yet, so nothing else happened.
    pub behind: Option<Wait>,
    pub plan: Plan,
    pub outcome: Outcome,
    pub report: Report,
    pub status_outcome: Outcome,
}

impl Pass {
    /// `verb name` of every write of the plan.
    pub fn writes(&self) -> Vec<String> {
        self.plan.writes().map(|w| format!("{} {}", w.verb(), w.name())).collect()
    }
    pub fn creates(&self) -> usize {
        self.plan.writes().filter(|w| w.verb() == "create").count()
    }
    /// Names of pods to delete, in order.
    pub fn victims(&self) -> Vec<String> {
        self.plan.writes().filter(|w| w.verb() == "delete").map(|w| w.name().to_string()).collect()
    }
    /// `type reason: message` of every event.
    pub fn events(&self) -> Vec<String> {
        self.report.events.iter().map(|e| format!("{} {}: {}", e.kind.as_str(), e.reason, e.message)).collect()
    }
    pub fn writes_status(&self) -> bool {
        self.report.steps.iter().any(|s| !s.is_empty())
    }
    /// `status` as it was to be written.
    pub fn status(&self) -> Value {
        match self.report.steps.iter().flatten().next() {
            Some(Write::Replace { body, subresource: Some("status"), .. }) => body["status"].clone(),
            other => panic!("no status write but {other:?}"),
        }
    }
    pub fn quiet(&self) -> bool {
        self.behind.is_none() && self.plan.is_empty() && !self.writes_status() && self.report.events.is_empty()
    }
}

impl World {
    /// A world in which the caches have had their first list.
    pub fn new() -> Self {
        let world = Self { cache: Cache::new(), server: Server::default(), now: noon(), sent: Vec::new(), refuse: Box::new(|_| None) };
        fn empty<T: Object + evenkeel_cache::Cached>(cache: &Cache) {
            cache.ingest(Entry::<T>::Replace { version: evenkeel_api::Version(1), objects: Vec::new() }).unwrap();
        }
        empty::<evenkeel_api::Pod>(&world.cache);
        empty::<ReplicaSet>(&world.cache);
        empty::<ReplicationController>(&world.cache);
        world
    }

    /// With this set.
    pub fn with<S: Written>(mut self, set: Set) -> Self {
        self.add::<S>(set);
        self
    }

    /// With these pods; `of` means a set of kind `S`.
    pub fn with_pods<S: Written>(mut self, pods: impl IntoIterator<Item = Pod>) -> Self {
        self.add_pods::<S>(pods);
        self
    }

    pub fn add<S: Written>(&mut self, set: Set) {
        self.server.put(S::resource(), set.object::<S>());
        self.deliver();
    }

    pub fn add_pods<S: Written>(&mut self, pods: impl IntoIterator<Item = Pod>) {
        for Pod(mut value, owner) in pods {
            if let Some(owner) = owner {
                let uid =
                    self.server.get(S::resource(), &owner).map_or_else(|| json!(format!("uid-{owner}")), |o| o["metadata"]["uid"].clone());
                value["metadata"]["ownerReferences"] = json!([{"apiVersion": S::resource().api_version(), "kind": S::resource().kind,
                    "name": owner, "uid": uid, "controller": true, "blockOwnerDeletion": true}]);
            }
            self.server.put(&PODS, value);
        }
        self.deliver();
    }

    /// Somebody else changes an object. The watch does not say so before [`World::deliver`].
    pub fn change(&mut self, kind: Kind, name: &str, edit: impl FnOnce(&mut Value)) {
        let mut value = self.server.get(kind, name).unwrap_or_else(|| panic!("no {name}")).clone();
        let spec = value["spec"].clone();
        edit(&mut value);
        if value["spec"] != spec && value["metadata"]["generation"].is_number() {
            value["metadata"]["generation"] = (value["metadata"]["generation"].as_i64().unwrap() + 1).into();
        }
        self.server.put(kind, value);
    }

    pub fn change_set<S: Written>(&mut self, name: &str, edit: impl FnOnce(&mut Value)) {
        self.change(S::resource(), name, edit);
        self.deliver();
    }

    pub fn scale<S: Written>(&mut self, name: &str, replicas: i64) {
        self.change_set::<S>(name, |v| v["spec"]["replicas"] = replicas.into());
    }

    pub fn change_pod(&mut self, name: &str, edit: impl FnOnce(&mut Value)) {
        self.change(&PODS, name, edit);
        self.deliver();
    }

    /// Somebody removes an object for good.
    pub fn remove(&mut self, kind: Kind, name: &str) {
        self.server.remove(kind, name);
        self.deliver();
    }

    /// Every pod becomes ready now.
    pub fn all_ready(&mut self) {
        for name in self.pods() {
            let now = self.now.to_string();
            self.change_pod(&name, |v| {
                v["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}]});
            });
        }
    }

    /// The watch brings all that happened.
    pub fn deliver(&mut self) -> Vec<Owner> {
        let mut released = Vec::new();
        for step in self.server.take_log() {
            released.extend(self.ingest(step));
        }
        released
    }

    /// The watch brings the next `n` changes.
    pub fn deliver_next(&mut self, n: usize) -> Vec<Owner> {
        let mut log = self.server.take_log();
        let rest = log.split_off(n.min(log.len()));
        self.server.give_back(rest);
        log.into_iter().flat_map(|step| self.ingest(step)).collect()
    }

    fn ingest(&self, step: Step) -> Vec<Owner> {
        fn fold<T: Object + evenkeel_cache::Cached>(cache: &Cache, step: Step) -> Vec<Owner> {
            let object = T::decode(step.object.to_string().as_bytes()).unwrap();
            let entry = if step.deleted { Entry::Delete(object) } else { Entry::Put(object) };
            cache.ingest(entry).unwrap().released
        }
        match step.kind.plural {
            "pods" => fold::<evenkeel_api::Pod>(&self.cache, step),
            "replicasets" => fold::<ReplicaSet>(&self.cache, step),
            _ => fold::<ReplicationController>(&self.cache, step),
        }
    }

    /// One pass, as the shell makes it: not before the cache shows our own writes. The watch brings nothing in the meantime.
    pub fn pass<S: Written>(&mut self, lp: &SetLoop<S>, name: &str) -> Pass {
        let owner = owner::<S>(lp, name);
        if let Some(wait) = self.cache.behind(&owner) {
            return Pass { behind: Some(wait), ..Pass::default() };
        }
        let snap = lp.snapshot(&self.cache.read(), &owner.key);
        let plan = lp.plan(&snap, self.now);
        let outcome = self.carry_out(&owner, &plan.steps);
        let report = lp.conclude(&snap, &plan, &outcome, self.now);
        lp.remember(&snap, &plan, &outcome, self.now);
        let status_outcome = self.carry_out(&owner, &report.steps);
        Pass { behind: None, plan, outcome, report, status_outcome }
    }

    /// What a pass would do.
    pub fn look<S: Written>(&self, lp: &SetLoop<S>, name: &str) -> Plan {
        lp.plan(&lp.snapshot(&self.cache.read(), &owner::<S>(lp, name).key), self.now)
    }

    /// Passes, with the watch at their heels, until one finds nothing to do. All that were made.
    pub fn settle<S: Written>(&mut self, lp: &SetLoop<S>, name: &str) -> Vec<Pass> {
        let mut passes = Vec::new();
        for _ in 0..60 {
            self.deliver();
            let pass = self.pass(lp, name);
            let done = pass.quiet() || matches!(pass.report.next, Next::Retry(_));
            passes.push(pass);
            if done {
                return passes;
            }
        }
        panic!("{name} does not come to rest: {:#?}", passes.last());
    }

    fn carry_out(&mut self, owner: &Owner, steps: &[Vec<Write>]) -> Outcome {
        let mut outcome = Outcome::default();
        let mut failed = false;
        for step in steps {
            let mut done = Vec::new();
            let mut rest = &step[..];
            for size in [1, 2, 4, 8, usize::MAX] {
                let batch = if step.iter().all(|w| w.verb() == "create") { size } else { usize::MAX };
                let (now, later) = rest.split_at(batch.min(rest.len()));
                rest = later;
                let stop = failed;
                for write in now {
                    let how = if stop { Done::Skipped } else { self.send(owner, write) };
                    failed |= how.failure().is_some();
                    done.push(how);
                }
            }
            outcome.steps.push(done);
        }
        outcome
    }

    fn send(&mut self, owner: &Owner, write: &Write) -> Done {
        self.sent.push(format!("{} {} {}", write.verb(), write.kind().plural, write.name()));
        if let Some(failure) = (self.refuse)(write) {
            return Done::Failed(failure);
        }
        let done = self.server.send(write, self.now);
        match (&done, write) {
            (_, Write::ConfirmOwner { .. }) => {}
            (Done::Written(_) | Done::AlreadyGone, Write::Delete { target, .. }) => {
                self.cache.wrote(owner, Wait::Gone { kind: target.kind, key: target.key.clone(), uid: target.uid.clone() });
            }
            _ => {
                if let Some(version) = done.answer().and_then(|a| a.version) {
                    self.cache.wrote(owner, Wait::Reached { kind: write.kind(), version });
                }
            }
        }
        done
    }

    /// Names of all pods.
    pub fn pods(&self) -> Vec<String> {
        self.server.names(&PODS)
    }

    /// Pods that this set controls and that are neither ended nor going.
    pub fn live_of(&self, set: &str) -> Vec<String> {
        let live = |name: &String| {
            let pod = self.pod(name);
            let ended = matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded"));
            let owners = pod["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
            !ended
                && pod["metadata"].get("deletionTimestamp").is_none()
                && owners.iter().any(|o| o["controller"] == true && o["name"] == set)
        };
        self.pods().into_iter().filter(live).collect()
    }

    pub fn pod(&self, name: &str) -> &Value {
        self.server.get(&PODS, name).unwrap_or_else(|| panic!("no pod {name}"))
    }

    /// Owner references as `*name` for the controller and `name` for others.
    pub fn owners_of(&self, name: &str) -> Vec<String> {
        let owners = self.pod(name)["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
        owners.iter().map(|o| format!("{}{}", if o["controller"] == true { "*" } else { "" }, o["name"].as_str().unwrap())).collect()
    }

    pub fn status<S: Written>(&self, set: &str) -> Value {
        self.server.get(S::resource(), set).unwrap()["status"].clone()
    }
}

pub fn owner<S: Written>(lp: &SetLoop<S>, name: &str) -> Owner {
    Owner { controller: lp.about().name, key: Key::new("ns", name) }
}

/// A failure as a server answers it.
pub fn failure(kind: FailureKind, message: &str) -> Failure {
    Failure { kind, message: message.into() }
}

/// Refuses creates with this answer.
pub fn no_creates(kind: FailureKind, message: &'static str) -> Refuse {
    Box::new(move |write| (write.verb() == "create").then(|| failure(kind, message)))
}

/// Lets this many creates through and refuses the others.
pub fn quota(allowed: usize, message: &'static str) -> Refuse {
    let mut left = allowed;
    Box::new(move |write| {
        if write.verb() != "create" {
            return None;
        }
        if left == 0 {
            return Some(failure(FailureKind::Forbidden, message));
        }
        left -= 1;
        None
    })
}
