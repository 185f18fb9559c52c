use std::collections::BTreeMap;

use evenkeel_api::{DEPLOYMENTS, Deployment, Key, Kind, Object, Pod, REPLICA_SETS, ReplicaSet, Uid, Version};
use evenkeel_cache::Stores;
use evenkeel_deployment::{DeploymentLoop, Snapshot};
use evenkeel_plan::{Answer, ControlLoop, Done, Failure, FailureKind, Outcome, Plan, Report, Write};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::objects::{Dep, PodObject, Set};

/// When every world begins: an hour after its objects were made.
pub const T0: i64 = 3600;

/// A moment, in seconds of the world's day.
pub fn at(second: i64) -> Timestamp {
    "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(second)
}

/// Answers instead of the server: verb, text that the name begins with, and the failure.
type Refusal = (&'static str, &'static str, FailureKind, &'static str);

/// An API server with one namespace, a cache that always shows it, and a ReplicaSet loop that does as it is told.
pub struct Cluster {
    pub looper: DeploymentLoop,
    pub key: Key,
    pub objects: BTreeMap<(&'static str, String), Value>,
    pub pods: Vec<Value>,
    pub now: i64,
    pub refusals: Vec<Refusal>,
    /// Names of writes that went through, as `verb name`.
    pub log: Vec<String>,
    /// Events of all passes.
    pub events: Vec<String>,
    /// Pods that are told to go stay, on their way out, until somebody lets them.
    pub graceful: bool,
    version: u64,
}

impl Cluster {
    pub fn new(deployment: Dep) -> Self {
        let name = deployment.0["metadata"]["name"].as_str().unwrap().to_owned();
        let mut world = Self {
            looper: DeploymentLoop::default(),
            key: Key::new("default", name.as_str()),
            objects: BTreeMap::new(),
            pods: Vec::new(),
            now: T0,
            refusals: Vec::new(),
            log: Vec::new(),
            events: Vec::new(),
            graceful: false,
            version: 1000,
        };
        world.objects.insert((DEPLOYMENTS.kind, name), deployment.0);
        world
    }

    pub fn and(mut self, set: Set) -> Self {
        let name = set.0["metadata"]["name"].as_str().unwrap().to_owned();
        self.objects.insert((REPLICA_SETS.kind, name), set.0);
        self
    }

    pub fn and_deployment(mut self, deployment: Dep) -> Self {
        let name = deployment.0["metadata"]["name"].as_str().unwrap().to_owned();
        self.objects.insert((DEPLOYMENTS.kind, name), deployment.0);
        self
    }

    pub fn and_pod(mut self, pod: PodObject) -> Self {
        self.pods.push(pod.0);
        self
    }

    /// With all pods that the sets want, ready.
    pub fn live(mut self) -> Self {
        self.follow();
        self.ready_pods("");
        self
    }

    /// The Deployment under test.
    pub fn deployment(&self) -> &Value {
        &self.objects[&(DEPLOYMENTS.kind, self.key.name.to_string())]
    }

    /// A user's change of the Deployment: generation and version go up.
    pub fn edit(&mut self, change: impl FnOnce(Dep) -> Dep) {
        let place = (DEPLOYMENTS.kind, self.key.name.to_string());
        let old = self.objects.remove(&place).unwrap();
        let mut new = change(Dep(old.clone())).0;
        if new["spec"] != old["spec"] || new["metadata"]["annotations"] != old["metadata"]["annotations"] {
            new["metadata"]["generation"] = (old["metadata"]["generation"].as_i64().unwrap() + 1).into();
        }
        new["metadata"]["resourceVersion"] = self.next_version().to_string().into();
        self.objects.insert(place, new);
    }

    /// Somebody's change of a set.
    pub fn edit_set(&mut self, name: &str, change: impl FnOnce(Set) -> Set) {
        let place = (REPLICA_SETS.kind, name.to_owned());
        let old = self.objects.remove(&place).unwrap();
        let mut new = change(Set(old.clone())).0;
        if new["spec"] != old["spec"] {
            new["metadata"]["generation"] = (old["metadata"]["generation"].as_i64().unwrap() + 1).into();
        }
        new["metadata"]["resourceVersion"] = self.next_version().to_string().into();
        self.objects.insert(place, new);
    }

    pub fn set(&self, name: &str) -> &Value {
        &self.objects[&(REPLICA_SETS.kind, name.to_owned())]
    }

    /// All ReplicaSets, by name.
    pub fn sets(&self) -> Vec<&Value> {
        self.objects.iter().filter(|((kind, _), _)| *kind == REPLICA_SETS.kind).map(|(_, v)| v).collect()
    }

    /// The set with this image, which must be the only one.
    pub fn set_of(&self, image: &str) -> &Value {
        let found: Vec<_> = self.sets().into_iter().filter(|s| s["spec"]["template"]["spec"]["containers"][0]["image"] == image).collect();
        assert_eq!(found.len(), 1, "sets with image {image}");
        found[0]
    }

    /// Name of the set with this image.
    pub fn name_of(&self, image: &str) -> String {
        self.set_of(image)["metadata"]["name"].as_str().unwrap().to_owned()
    }

    /// What the cache holds.
    pub fn stores(&self) -> Stores {
        fn read<T: Object>(values: impl IntoIterator<Item = Value>) -> Vec<T> {
            values.into_iter().map(|v| T::decode(v.to_string().as_bytes()).unwrap()).collect()
        }
        let of = |kind: &str| self.objects.iter().filter(|((k, _), _)| *k == kind).map(|(_, v)| v.clone()).collect::<Vec<_>>();
        Stores::default()
            .with::<Deployment>(read(of(DEPLOYMENTS.kind)))
            .with::<ReplicaSet>(read(of(REPLICA_SETS.kind)))
            .with::<Pod>(read(self.pods.clone()))
    }

    pub fn snapshot(&self) -> Snapshot {
        self.looper.snapshot(&self.stores(), &self.key)
    }

    pub fn plan(&self) -> Plan {
        self.looper.plan(&self.snapshot(), at(self.now))
    }

    /// The report of a pass whose writes all go through, without anything being written here.
    pub fn report(&self) -> Report {
        let snap = self.snapshot();
        let plan = self.looper.plan(&snap, at(self.now));
        let answer = || Done::Written(Answer { uid: Uid::new("new"), version: Some(Version(1)), gone: false });
        let steps = plan.steps.iter().map(|s| s.iter().map(|_| answer()).collect()).collect();
        self.looper.conclude(&snap, &plan, &Outcome { steps }, at(self.now))
    }

    /// The report of a pass in which the first write ends like this and those behind it are not tried.
    pub fn report_when_first(&self, first: Done) -> Report {
        let snap = self.snapshot();
        let plan = self.looper.plan(&snap, at(self.now));
        let mut steps: Vec<Vec<Done>> = plan.steps.iter().map(|s| s.iter().map(|_| Done::Skipped).collect()).collect();
        steps[0][0] = first;
        self.looper.conclude(&snap, &plan, &Outcome { steps }, at(self.now))
    }

    /// One pass, carried out. Tells the plan and the report.
    pub fn pass(&mut self) -> (Plan, Report) {
        let snap = self.snapshot();
        let now = at(self.now);
        let plan = self.looper.plan(&snap, now);
        assert_eq!(self.looper.plan(&snap, now), plan, "equal snapshots give equal plans");
        self.assert_sound(&plan);
        let outcome = self.carry_out(&plan.steps);
        let report = self.looper.conclude(&snap, &plan, &outcome, now);
        self.looper.remember(&snap, &plan, &outcome, now);
        self.carry_out(&report.steps);
        self.events.extend(super::events(&report));
        self.now += 1;
        (plan, report)
    }

    /// Passes until one has nothing to write; ReplicaSets follow after every pass.
    pub fn settle(&mut self) -> &mut Self {
        self.settle_with(|_| {})
    }

    /// The same, with something to be done (or checked) after every pass.
    pub fn settle_with(&mut self, mut between: impl FnMut(&mut Self)) -> &mut Self {
        for _ in 0..500 {
            let before = self.version;
            self.pass();
            self.follow();
            between(self);
            if self.version == before {
                return self;
            }
        }
        panic!("does not come to rest: {:#?}", self.log.iter().rev().take(10).collect::<Vec<_>>());
    }

    /// What no plan may contain.
    fn assert_sound(&self, plan: &Plan) {
        let mut seen = std::collections::BTreeSet::new();
        for write in plan.writes().filter(|w| w.changes()) {
            assert!(seen.insert((write.kind().kind, write.name().clone())), "two writes to {:?} in one pass", write.key());
        }
    }

    fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    fn carry_out(&mut self, steps: &[Vec<Write>]) -> Outcome {
        let mut failed = false;
        let steps = steps
            .iter()
            .map(|step| {
                let done: Vec<Done> = step.iter().map(|w| if failed { Done::Skipped } else { self.write(w) }).collect();
                failed |= done.iter().any(|d| d.failure().is_some());
                done
            })
            .collect();
        Outcome { steps }
    }

    fn write(&mut self, write: &Write) -> Done {
        let fail = |kind: FailureKind, message: String| Done::Failed(Failure { kind, message });
        let (verb, name, kind) = (write.verb(), write.name().to_string(), write.kind());
        if let Some((.., why, text)) = self.refusals.iter().find(|r| r.0 == verb && name.starts_with(r.1)) {
            return fail(*why, (*text).to_owned());
        }
        let place = (kind.kind, name.clone());
        let stored = self.objects.get(&place).cloned();
        let done = match write {
            Write::Create { controller, body, .. } => match stored {
                Some(taken) if controls(&taken, controller.as_ref()) => Done::Existed(answer(&taken)),
                Some(_) => fail(FailureKind::AlreadyExists, format!("{} \"{name}\" already exists", kind.group_resource())),
                None => {
                    let mut object = (**body).clone();
                    let meta = &mut object["metadata"];
                    meta["name"] = name.as_str().into();
                    meta["namespace"] = "default".into();
                    meta["uid"] = format!("made-{name}").into();
                    meta["generation"] = 1.into();
                    meta["creationTimestamp"] = at(self.now).to_string().into();
                    object["status"] = json!({"replicas": 0});
                    self.store(place, object)
                }
            },
            _ => {
                let Some(stored) = stored else {
                    return fail(FailureKind::NotFound, format!("{} \"{name}\" not found", kind.group_resource()));
                };
                self.change(write, kind, place, stored)
            }
        };
        if done.failure().is_none() && write.changes() {
            self.log.push(format!("{verb} {name}"));
        }
        done
    }

    fn change(&mut self, write: &Write, kind: Kind, place: (&'static str, String), stored: Value) -> Done {
        let fail = |kind: FailureKind, message: &str| Done::Failed(Failure { kind, message: message.to_owned() });
        let (Write::Replace { target, .. } | Write::Patch { target, .. } | Write::Delete { target, .. } | Write::ConfirmOwner { target }) =
            write
        else {
            unreachable!("creates are handled before, and nothing looks")
        };
        let same_life = Uid::new(stored["metadata"]["uid"].as_str().unwrap()) == target.uid;
        let current = target.version.is_none_or(|v| stored["metadata"]["resourceVersion"] == v.to_string());
        match write {
            Write::ConfirmOwner { .. } if same_life && stored["metadata"]["deletionTimestamp"].is_null() => Done::Written(answer(&stored)),
            Write::ConfirmOwner { .. } => fail(FailureKind::OwnerGone, "the owner is going"),
            _ if !same_life => fail(FailureKind::NotFound, "another life"),
            _ if !current => fail(FailureKind::Conflict, "the object has been modified"),
            Write::Replace { subresource, body, .. } => {
                assert_eq!(body["metadata"]["uid"], stored["metadata"]["uid"]);
                assert_eq!(body["spec"]["selector"], stored["spec"]["selector"], "selectors are immutable (workloads 2.18.47)");
                let mut object = body.clone();
                if subresource.is_some() {
                    object["spec"] = stored["spec"].clone();
                    object["metadata"]["labels"] = stored["metadata"]["labels"].clone();
                } else {
                    object["status"] = stored["status"].clone();
                    let notes = kind.kind == DEPLOYMENTS.kind && object["metadata"]["annotations"] != stored["metadata"]["annotations"];
                    if notes || object["spec"] != stored["spec"] {
                        object["metadata"]["generation"] = (stored["metadata"]["generation"].as_i64().unwrap() + 1).into();
                    }
                }
                assert_ne!(object.to_string(), stored.to_string(), "a write that changes nothing: {write:?}");
                self.store(place, object)
            }
            Write::Patch { body, .. } => {
                let mut object = stored;
                let reference = &body["metadata"]["ownerReferences"][0];
                let mut owners: Vec<Value> = object["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
                let known = owners.iter().position(|o| o["uid"] == reference["uid"]);
                match (known, reference["$patch"] == "delete") {
                    (Some(n), true) => drop(owners.remove(n)),
                    (Some(n), false) => owners[n] = reference.clone(),
                    (None, false) => owners.push(reference.clone()),
                    (None, true) => {}
                }
                object["metadata"]["ownerReferences"] = owners.into();
                self.store(place, object)
            }
            _ => {
                self.objects.remove(&place);
                self.next_version();
                Done::Written(answer(&stored))
            }
        }
    }

    fn store(&mut self, place: (&'static str, String), mut object: Value) -> Done {
        object["metadata"]["resourceVersion"] = self.next_version().to_string().into();
        let done = Done::Written(answer(&object));
        self.objects.insert(place, object);
        done
    }

    /// The ReplicaSet loop: every set gets its pods, sick ones go first, and its status says so.
    pub fn follow(&mut self) {
        let names: Vec<String> = self.sets().iter().map(|s| s["metadata"]["name"].as_str().unwrap().to_owned()).collect();
        names.iter().for_each(|n| self.follow_one(n));
    }

    /// The same for one set.
    pub fn follow_one(&mut self, name: &str) {
        let set = self.set(name).clone();
        let uid = set["metadata"]["uid"].clone();
        let wanted = set["spec"]["replicas"].as_u64().unwrap() as usize;
        let live = |p: &Value| owned(p, &uid) && p["metadata"]["deletionTimestamp"].is_null();
        let mut mine: Vec<usize> = (0..self.pods.len()).filter(|n| live(&self.pods[*n])).collect();
        mine.sort_by_key(|n| ready(&self.pods[*n]));
        if mine.len() > wanted {
            let mut gone = mine[..mine.len() - wanted].to_vec();
            gone.sort();
            for n in gone.into_iter().rev() {
                if self.graceful {
                    self.pods[n]["metadata"]["deletionTimestamp"] = at(self.now).to_string().into()
                } else {
                    drop(self.pods.remove(n))
                }
            }
        }
        for _ in mine.len()..wanted {
            let version = self.next_version();
            let mut pod = super::pod(&format!("pod-{version}"), name).0;
            pod["metadata"]["ownerReferences"][0]["uid"] = uid.clone();
            pod["metadata"]["resourceVersion"] = version.to_string().into();
            pod["status"]["phase"] = "Pending".into();
            self.pods.push(pod);
        }
        let going = self.pods.iter().filter(|p| owned(p, &uid) && !p["metadata"]["deletionTimestamp"].is_null()).count();
        let available = self.pods.iter().filter(|p| live(p) && ready(p)).count();
        let mut status = set["status"].clone();
        for (field, n) in [
            ("replicas", wanted),
            ("fullyLabeledReplicas", wanted),
            ("readyReplicas", available),
            ("availableReplicas", available),
            ("terminatingReplicas", going),
        ] {
            status[field] = n.into();
        }
        status["observedGeneration"] = set["metadata"]["generation"].clone();
        if status != set["status"] {
            let mut object = set;
            object["status"] = status;
            self.store((REPLICA_SETS.kind, name.to_owned()), object);
        }
    }

    /// The kubelet: pods of sets with this image become ready (and available); empty: of all sets.
    pub fn ready_pods(&mut self, image: &str) {
        let mut uids = self
            .sets()
            .into_iter()
            .filter(|s| image.is_empty() || s["spec"]["template"]["spec"]["containers"][0]["image"] == image)
            .map(|s| s["metadata"]["uid"].clone())
            .collect::<Vec<_>>();
        uids.dedup();
        for pod in self.pods.iter_mut().filter(|p| uids.iter().any(|uid| owned(p, uid))) {
            pod["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        }
        self.follow();
    }

    /// The same for one pod, unseen by the set's status so far.
    pub fn ready_one_by_one(&mut self, image: &str) {
        let uids: Vec<Value> = self
            .sets()
            .into_iter()
            .filter(|s| s["spec"]["template"]["spec"]["containers"][0]["image"] == image)
            .map(|s| s["metadata"]["uid"].clone())
            .collect();
        if let Some(pod) = self.pods.iter_mut().find(|p| !ready(p) && uids.iter().any(|uid| owned(p, uid))) {
            pod["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        }
    }

    /// Pods that are ready and not told to go.
    pub fn truly_available(&self) -> i64 {
        self.pods.iter().filter(|p| ready(p) && p["metadata"]["deletionTimestamp"].is_null()).count() as i64
    }

    /// Pods on their way out go.
    pub fn let_go(&mut self) {
        self.pods.retain(|p| p["metadata"]["deletionTimestamp"].is_null());
        self.follow();
    }
}

fn answer(object: &Value) -> Answer {
    let meta = &object["metadata"];
    Answer { uid: Uid::new(meta["uid"].as_str().unwrap()), version: meta["resourceVersion"].as_str().and_then(Version::parse), gone: false }
}

fn controls(object: &Value, uid: Option<&Uid>) -> bool {
    let owners = object["metadata"]["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
    owners.iter().any(|o| o["controller"] == true && uid.is_some_and(|u| o["uid"] == u.to_string()))
}

fn owned(pod: &Value, uid: &Value) -> bool {
    pod["metadata"]["ownerReferences"][0]["uid"] == *uid
}

fn ready(pod: &Value) -> bool {
    pod["status"]["conditions"][0]["status"] == "True"
}
