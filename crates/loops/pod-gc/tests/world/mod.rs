//! Pods and nodes, and a server that does what the plans ask for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use evenkeel_api::{Key, Node, Object, Pod, Uid};
use evenkeel_cache::{Change, Stores};
use evenkeel_plan::{Answer, ControlLoop, Done, Failure, FailureKind, Next, Outcome, Trigger, Write};
use evenkeel_pod_gc::{PERIOD, PodGcLoop, Reason};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// A pod in the making.
pub struct PodBuilder(Value);

pub fn pod(name: &str) -> PodBuilder {
    let meta = json!({"name": name, "namespace": "n", "uid": format!("uid-{name}"), "resourceVersion": "1"});
    PodBuilder(json!({"metadata": meta, "spec": {}, "status": {"phase": "Pending"}}))
}

impl PodBuilder {
    fn set(mut self, pointer: [&str; 2], value: impl Into<Value>) -> Self {
        self.0[pointer[0]][pointer[1]] = value.into();
        self
    }

    pub fn phase(self, phase: &str) -> Self {
        self.set(["status", "phase"], phase)
    }

    pub fn reason(self, reason: &str) -> Self {
        self.set(["status", "reason"], reason)
    }

    pub fn disrupted(self) -> Self {
        self.set(["status", "conditions"], json!([{"type": "DisruptionTarget", "status": "True"}]))
    }

    pub fn node(self, name: &str) -> Self {
        self.set(["spec", "nodeName"], name)
    }

    pub fn generation(self, generation: i64) -> Self {
        self.set(["metadata", "generation"], generation)
    }

    /// Created so many seconds after the year began.
    pub fn created(self, second: i64) -> Self {
        self.set(["metadata", "creationTimestamp"], (start() + SignedDuration::from_secs(second)).to_string())
    }

    pub fn held(self) -> Self {
        self.set(["metadata", "finalizers"], json!(["example.com/held"]))
    }

    pub fn terminating(self, grace: i64) -> Self {
        self.set(["metadata", "deletionTimestamp"], "2026-01-01T00:00:00Z").set(["metadata", "deletionGracePeriodSeconds"], grace)
    }

    pub fn value(self) -> Value {
        self.0
    }
}

/// A node: ready, out of service.
pub fn node(ready: bool, out: bool) -> Value {
    let taints = if out { json!([{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]) } else { json!([]) };
    let status = if ready { "True" } else { "False" };
    json!({"metadata": {"uid": "node", "resourceVersion": "1"}, "spec": {"taints": taints}, "status": {"conditions": [{"type": "Ready", "status": status}]}})
}

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

type Attempts = Arc<Mutex<Vec<(String, Reason, bool)>>>;

pub struct World {
    pub pods: BTreeMap<String, Value>,
    pub nodes: BTreeMap<String, Value>,
    /// Nodes that the server has and the cache does not.
    pub unseen: BTreeSet<String>,
    /// Pods whose name another pod has taken, unseen by the cache.
    pub replaced: BTreeSet<String>,
    /// The write that fails.
    pub fail: Option<&'static str>,
    /// We lead no longer.
    pub fenced: bool,
    /// Something before it failed, so nothing is sent.
    pub skip: bool,
    /// Bodies of all patches.
    pub patches: Vec<Value>,
    now: Timestamp,
    control_loop: PodGcLoop,
    attempts: Attempts,
    seen: Vec<(String, Reason, bool)>,
}

impl World {
    pub fn new(threshold: i64) -> Self {
        let attempts = Attempts::default();
        let told = attempts.clone();
        let observer = Arc::new(move |a: &evenkeel_pod_gc::Attempt<'_>| {
            told.lock().unwrap().push((a.key.name.to_string(), a.reason, a.error.is_some()));
        });
        Self {
            pods: BTreeMap::new(),
            nodes: BTreeMap::new(),
            unseen: BTreeSet::new(),
            replaced: BTreeSet::new(),
            fail: None,
            fenced: false,
            skip: false,
            patches: Vec::new(),
            now: start(),
            control_loop: PodGcLoop::new(threshold).with_observer(observer),
            attempts,
            seen: Vec::new(),
        }
    }

    pub fn with(mut self, pods: impl IntoIterator<Item = PodBuilder>) -> Self {
        self.pods.extend(pods.into_iter().map(|p| (p.0["metadata"]["name"].as_str().unwrap().to_owned(), p.0)));
        self
    }

    pub fn advance(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    pub fn names(&self) -> Vec<&str> {
        self.pods.keys().map(String::as_str).collect()
    }

    /// What the run before last told its observer.
    pub fn attempts(&self) -> Vec<(&str, Reason, bool)> {
        self.seen.iter().map(|(name, reason, failed)| (name.as_str(), *reason, *failed)).collect()
    }

    fn stores(&self) -> Stores {
        let pods = self.pods.values().map(|p| Pod::decode(p.to_string().as_bytes()).unwrap());
        let nodes = self.nodes.iter().map(|(name, value)| {
            let mut value = value.clone();
            value["metadata"]["name"] = name.as_str().into();
            Node::decode(value.to_string().as_bytes()).unwrap()
        });
        Stores::default().with(pods).with(nodes)
    }

    /// What the loop says about a first pass.
    pub fn explained(&self) -> Option<String> {
        let snap = self.control_loop.snapshot(&self.stores(), &Key::everything());
        self.control_loop.explain(&snap, &self.control_loop.plan(&snap, self.now))
    }

    /// What a new leader looks at, and what a change of the first pod adds.
    pub fn keys(&self) -> (Vec<Key>, Vec<Key>) {
        let stores = self.stores();
        let change = Change::new(None, stores.of::<Pod>().iter().next().cloned());
        let keys = |triggers: Vec<Trigger>| triggers.into_iter().map(|trigger| trigger.key).collect();
        (keys(self.control_loop.all(&stores)), keys(self.control_loop.triggers(&change, &stores)))
    }

    /// One run: passes until the loop wants to wait. Tells the requests in order.
    pub fn run(&mut self) -> Vec<String> {
        let mut log = Vec::new();
        for _ in 0..4 {
            let snap = self.control_loop.snapshot(&self.stores(), &Key::everything());
            let plan = self.control_loop.plan(&snap, self.now);
            assert_eq!(plan, self.control_loop.plan(&snap, self.now), "equal snapshots give equal plans");
            let steps = plan.steps.iter().map(|step| step.iter().map(|write| self.send(write, &mut log)).collect()).collect();
            let outcome = Outcome { steps };
            self.control_loop.remember(&snap, &plan, &outcome, self.now);
            let report = self.control_loop.conclude(&snap, &plan, &outcome, self.now);
            assert!(report.steps.is_empty() && report.events.is_empty(), "its role allows neither");
            if report.next != Next::Again {
                assert_eq!(report.next, Next::At(self.now + PERIOD));
                self.seen = std::mem::take(&mut *self.attempts.lock().unwrap());
                return log;
            }
            if self.fenced {
                self.seen = std::mem::take(&mut *self.attempts.lock().unwrap());
                return log;
            }
        }
        panic!("a run has three passes at most: {log:?}");
    }

    fn send(&mut self, write: &Write, log: &mut Vec<String>) -> Done {
        let name = write.name().to_string();
        let fail = |kind: FailureKind, message: &str| Done::Failed(Failure { kind, message: message.to_owned() });
        if self.fenced {
            return fail(FailureKind::Fenced, "not sent");
        }
        if self.skip {
            return Done::Skipped;
        }
        let line = match write {
            Write::Look { .. } => format!("get {name}"),
            Write::Patch { subresource: Some("status"), .. } => format!("fail {name}"),
            Write::Delete { grace: Some(0), .. } => format!("delete {name}"),
            other => panic!("{other:?}"),
        };
        log.push(line.clone());
        if self.fail == Some(line.as_str()) {
            return fail(FailureKind::Other, "the server is unwell");
        }
        let answer = |uid: &str| Done::Written(Answer { uid: Uid::new(uid), version: None, gone: false });
        match write {
            Write::Look { .. } if self.nodes.contains_key(&name) || self.unseen.contains(&name) => answer("node"),
            Write::Look { .. } => Done::AlreadyGone,
            Write::Patch { .. } if self.replaced.contains(&name) => fail(FailureKind::Invalid, "metadata.uid: field is immutable"),
            Write::Patch { body, target, .. } => {
                assert_eq!(body["metadata"]["uid"], target.uid.to_string());
                self.patches.push(body.clone());
                self.pods.get_mut(&name).unwrap()["status"]["phase"] = body["status"]["phase"].clone();
                answer(&target.uid.to_string())
            }
            Write::Delete { .. } if self.replaced.contains(&name) => Done::AlreadyGone,
            Write::Delete { target, .. } => {
                let meta = &mut self.pods.get_mut(&name).unwrap()["metadata"];
                if meta.get("finalizers").is_some() {
                    meta["deletionTimestamp"] = self.now.to_string().into();
                    meta["deletionGracePeriodSeconds"] = 0.into();
                } else {
                    self.pods.remove(&name);
                }
                answer(&target.uid.to_string())
            }
            _ => unreachable!("the line was made above"),
        }
    }
}
