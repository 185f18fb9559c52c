//! A namespace, what is in it, and a server that does what the plans ask for.

use std::{collections::BTreeMap, sync::Arc};

use evenkeel_api::{Key, Kind, NAMESPACES, Namespace, Object, Pod, Resource, Uid};
use evenkeel_cache::Stores;
use evenkeel_namespace::NamespaceLoop;
use evenkeel_plan::{Answer, ControlLoop, Discovered, Done, Failure, FailureKind, Left, Next, Outcome, Served, Verbs, Write};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

pub fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// An object in the namespace.
#[derive(Debug, Clone, Default)]
pub struct Thing {
    pub finalizers: Vec<&'static str>,
    /// Seconds that a pod may take; `None`: it goes at once.
    pub grace: Option<i64>,
    /// Nobody knows why, but it stays.
    pub stuck: bool,
    pub going: Option<Timestamp>,
}

pub fn held(finalizers: &[&'static str]) -> Thing {
    Thing { finalizers: finalizers.to_vec(), ..Thing::default() }
}

pub fn running(grace: i64) -> Thing {
    Thing { grace: Some(grace), ..Thing::default() }
}

pub const ALL: Verbs = Verbs { list: true, watch: true, delete: true, delete_collection: true };

pub struct World {
    pub namespace: Option<Value>,
    /// By plural and name.
    pub things: BTreeMap<(&'static str, &'static str), Thing>,
    pub served: Discovered,
    /// Requests that fail, as the log has them.
    pub fail: BTreeMap<String, FailureKind>,
    /// All requests.
    pub log: Vec<String>,
    pub now: Timestamp,
    pub control_loop: NamespaceLoop,
    version: u64,
}

impl World {
    /// A namespace that is being deleted, on a server with pods, configmaps, secrets and deployments.
    pub fn new(things: &[(&'static str, &'static str, Thing)]) -> Self {
        let mut world = Self {
            namespace: Some(json!({
                "metadata": {"name": "x", "uid": "ns", "resourceVersion": "1", "deletionTimestamp": start().to_string()},
                "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Terminating"},
            })),
            things: things.iter().map(|(plural, name, thing)| ((*plural, *name), thing.clone())).collect(),
            served: Discovered::default(),
            fail: BTreeMap::new(),
            log: Vec::new(),
            now: start() + SignedDuration::from_secs(5),
            control_loop: NamespaceLoop::default(),
            version: 1,
        };
        for (group, version, plural, kind) in [
            ("", "v1", "pods", "Pod"),
            ("", "v1", "configmaps", "ConfigMap"),
            ("", "v1", "secrets", "Secret"),
            ("apps", "v1", "deployments", "Deployment"),
        ] {
            world.serve(Resource::found(group, version, plural, kind, true), ALL);
        }
        // Neither of these is ever emptied.
        world.serve(Resource::found("", "v1", "nodes", "Node", false), ALL);
        world.serve(Resource::found("", "v1", "bindings", "Binding", true), Verbs::default());
        world
    }

    pub fn serve(&mut self, kind: Kind, verbs: Verbs) {
        self.served.resources.retain(|s| s.kind.plural != kind.plural);
        self.served.resources.push(Served { kind, verbs });
    }

    pub fn stores(&self) -> Stores {
        let namespaces = self.namespace.iter().map(|n| Namespace::decode(n.to_string().as_bytes()).unwrap());
        let pods = self.things.iter().filter(|((plural, _), _)| *plural == "pods").map(|((_, name), thing)| {
            let mut pod =
                json!({"metadata": {"name": name, "namespace": "x", "uid": name, "resourceVersion": "1"}, "status": {"phase": "Running"}});
            if let Some(at) = thing.going {
                pod["metadata"]["deletionTimestamp"] = at.to_string().into();
            }
            Pod::decode(pod.to_string().as_bytes()).unwrap()
        });
        Stores::default().with(namespaces).with(pods)
    }

    /// One pass. Tells what comes next.
    pub fn pass(&mut self) -> Next {
        let snap = self.control_loop.snapshot(&self.stores(), &Key::new("", "x"));
        let plan = self.control_loop.plan(&snap, self.now);
        assert_eq!(plan, self.control_loop.plan(&snap, self.now), "equal snapshots give equal plans");
        let outcome = self.carry_out(&plan.steps);
        self.control_loop.remember(&snap, &plan, &outcome, self.now);
        let report = self.control_loop.conclude(&snap, &plan, &outcome, self.now);
        assert!(report.events.is_empty(), "the stock role allows none");
        let reported = self.carry_out(&report.steps);
        reported.first_failure().map_or(report.next, |failure| Next::Retry(failure.message.clone()))
    }

    /// A whole round: passes until the loop wants to wait. Tells what it waits for.
    pub fn round(&mut self) -> Next {
        for _ in 0..16 {
            match self.pass() {
                Next::Again => {}
                next => return next,
            }
        }
        panic!("a round has an end: {:?}", self.log);
    }

    pub fn take_log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    /// Reason and message of a condition, and since when.
    pub fn condition(&self, kind: &str) -> (String, String, String) {
        let conditions = self.namespace.as_ref().expect("it is there")["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.iter().find(|c| c["type"] == kind).unwrap_or_else(|| panic!("no {kind}: {conditions:?}"));
        let text = |field: &str| found[field].as_str().unwrap().to_owned();
        (text("reason"), text("message"), text("lastTransitionTime"))
    }

    pub fn message(&self, kind: &str) -> String {
        self.condition(kind).1
    }

    fn carry_out(&mut self, steps: &[Vec<Write>]) -> Outcome {
        Outcome { steps: steps.iter().map(|step| step.iter().map(|write| self.send(write)).collect()).collect() }
    }

    fn send(&mut self, write: &Write) -> Done {
        let plural = write.kind().plural;
        let line = match write {
            Write::Discover => "discover".to_owned(),
            Write::Replace { subresource, .. } => format!("put {}", subresource.unwrap()),
            Write::Delete { .. } => format!("delete {plural}/{}", write.name()),
            _ => format!("{} {plural}", write.verb()),
        };
        self.log.push(line.clone());
        if let Some(kind) = self.fail.get(&line) {
            return Done::Failed(Failure { kind: *kind, message: format!("{line}: refused") });
        }
        match write {
            Write::Discover => Done::Discovered(Arc::new(self.served.clone())),
            Write::DeleteCollection { place, .. } => {
                assert_eq!(*place, Key::of_namespace("x"));
                self.delete(plural, None);
                answer()
            }
            Write::Delete { target, .. } => {
                self.delete(plural, Some(&target.key.name));
                answer()
            }
            Write::Count { .. } => Done::Counted(self.count(plural)),
            Write::Replace { target, subresource, body } => self.put(target.version.unwrap().0, subresource.unwrap(), body),
            other => panic!("namespaces have no use for {other:?}"),
        }
    }

    fn delete(&mut self, plural: &str, name: Option<&str>) {
        let now = self.now;
        self.things.retain(|(p, n), thing| {
            if *p != plural || name.is_some_and(|name| name != *n) {
                return true;
            }
            thing.going.get_or_insert(now + SignedDuration::from_secs(thing.grace.unwrap_or(0)));
            thing.stuck || !thing.finalizers.is_empty() || thing.grace.is_some()
        });
    }

    fn count(&self, plural: &str) -> Left {
        let mut left = Left::default();
        for ((_, name), thing) in self.things.iter().filter(|((p, _), _)| *p == plural) {
            left.add(name, name, thing.finalizers.iter().copied());
        }
        left
    }

    fn put(&mut self, version: u64, subresource: &str, body: &Value) -> Done {
        let Some(namespace) = &mut self.namespace else {
            return Done::Failed(Failure { kind: FailureKind::NotFound, message: "not found".to_owned() });
        };
        let version = version.to_string();
        if namespace["metadata"]["resourceVersion"] != version.as_str() {
            return Done::Failed(Failure { kind: FailureKind::Conflict, message: "conflict".to_owned() });
        }
        assert_eq!((&body["kind"], &body["metadata"]["uid"]), (&json!(NAMESPACES.kind), &json!("ns")));
        let field = if subresource == "finalize" { "spec" } else { "status" };
        assert_ne!(namespace[field], body[field], "no write that changes nothing");
        namespace[field] = body[field].clone();
        self.version += 1;
        namespace["metadata"]["resourceVersion"] = self.version.to_string().into();
        if namespace["spec"]["finalizers"] == json!([]) {
            self.namespace = None;
        }
        answer()
    }

    /// Somebody else writes to the namespace.
    pub fn touch(&mut self) {
        self.version += 1;
        self.namespace.as_mut().unwrap()["metadata"]["resourceVersion"] = self.version.to_string().into();
    }
}

fn answer() -> Done {
    Done::Written(Answer { uid: Uid::new("ns"), version: None, gone: false })
}
