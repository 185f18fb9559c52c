//! Seeds of the simulation, and proof that its checks can fail.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use evenkeel_api::{Key, Kind, PODS, REPLICA_SETS, Uid, Version};
use evenkeel_plan::{Plan, Target, Write};
use evenkeel_sim::{
    Fault, World,
    history::{Actor, Asked, History, Pass, Written},
    invariants, run_seed, run_with_history,
};
use serde_json::{Value, json};

/// issue: "100 seeds with crashes between writes, cut and late watches, lost answers; each kind of fault counted and seen to strike".
#[test]
fn a_hundred_seeds_hold_all_invariants_and_every_fault_strikes() {
    let mut faults: BTreeMap<Fault, u64> = BTreeMap::new();
    let mut failed = Vec::new();
    // Two threads, because that is what small machines have; worlds know nothing of each other.
    let reports: Vec<_> = std::thread::scope(|scope| {
        let halves: Vec<_> = [0..50, 50..100].map(|half| scope.spawn(|| half.map(|s| (s, run_seed(s))).collect::<Vec<_>>())).into();
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    });
    for (seed, report) in reports {
        report.faults.iter().for_each(|(fault, n)| *faults.entry(*fault).or_default() += n);
        failed.extend(report.violations.iter().map(|v| format!("seed {seed}: {v}")));
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    for fault in Fault::ALL.iter().filter(|f| f.strikes(World::Workloads)) {
        assert!(faults.get(fault).is_some_and(|n| *n > 0), "{fault:?} never struck");
    }
}

/// reliability part 3, rig 1: "Check determinism by running each seed twice."
#[test]
fn a_seed_gives_the_same_history_bit_for_bit() {
    for seed in [1, 7, 42] {
        let (first, second) = (run_seed(seed), run_seed(seed));
        assert!(first.writes > 50);
        assert_eq!(first, second, "seed {seed}");
    }
    assert_ne!(run_seed(1).history_hash, run_seed(2).history_hash);
}

const LEADER: Actor = Actor::Manager { link: 0, sent: 20_000 };

/// A small history by hand: a ReplicaSet of two pods, a leader that renewed in time.
struct Made(History);

static EMPTY: LazyLock<Value> = LazyLock::new(|| json!({}));

impl Made {
    fn new() -> Self {
        let mut made = Self(History::default());
        made.0.links.push(0);
        let renewal = Actor::Manager { link: 0, sent: 19_000 };
        made.write(renewal, "leases", None, Some(json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "m"}})));
        for kind in ["replicasets", "deployments", "pods"] {
            made.0.shown.insert((0, kind.to_owned()), vec![(0, 1000)]);
        }
        made
    }

    fn write(&mut self, actor: Actor, kind: &str, old: Option<Value>, new: Option<Value>) -> &mut Self {
        let rv = self.0.writes.len() as u64 + 1;
        let key = format!("default/{}", new.as_ref().or(old.as_ref()).unwrap_or(&EMPTY)["metadata"]["name"].as_str().unwrap_or_default());
        let at = if rv == 1 { 19_000 } else { 20_010 };
        self.0.writes.push(Written {
            rv,
            at,
            actor,
            status: false,
            group: String::new(),
            kind: kind.to_owned(),
            key,
            old: old.map(Arc::new),
            new: new.map(Arc::new),
        });
        self
    }

    fn ask(&mut self, at: u64, method: &str, path: &str, body: Value) -> &mut Self {
        self.0.requests.push(Asked {
            at,
            sent: at,
            link: 0,
            method: method.into(),
            path: path.into(),
            body,
            code: 200,
            late: false,
            unheard: false,
        });
        self
    }

    /// A pass that saw everything written so far.
    fn pass(&mut self, controller: &'static str, key: &str, writes: Vec<Write>) -> &mut Self {
        let rv = self.0.writes.len() as u64;
        let seen = ["deployments", "replicasets", "pods"].into_iter().map(|kind| (kind, rv)).collect();
        let plan = Plan { steps: vec![writes], wake_at: None };
        let now = "2027-01-15T08:10:00Z".parse().unwrap();
        let key = format!("default/{key}");
        self.0.passes.push(Pass { link: 0, controller, key, began: 19_990, now, seen, plan, report: Vec::new(), restores: 0 });
        self
    }

    fn violations(&self) -> Vec<String> {
        invariants::check(&self.0)
    }

    fn caught(&self, rule: &str) {
        let violations = self.violations();
        assert!(violations.iter().any(|v| v.starts_with(rule)), "{rule} was not caught: {violations:?}");
    }
}

fn owned(owner: &str, mut object: Value, uid: &str) -> Value {
    object["metadata"]["name"] = uid.into();
    object["metadata"]["namespace"] = "default".into();
    object["metadata"]["uid"] = uid.into();
    if !owner.is_empty() {
        object["metadata"]["ownerReferences"] = json!([{"uid": owner, "controller": true}]);
    }
    object
}

fn set(owner: &str, uid: &str, image: &str, replicas: u64) -> Value {
    owned(owner, json!({"metadata": {}, "spec": {"replicas": replicas, "template": {"spec": {"image": image}}}}), uid)
}

fn pod(owner: &str, uid: &str) -> Value {
    let conditions = json!([{"type": "Ready", "status": "True"}]);
    owned(owner, json!({"metadata": {}, "status": {"phase": "Running", "conditions": conditions}}), uid)
}

fn deployment(kind: &str, replicas: u64, image: &str) -> Value {
    let strategy = json!({"type": kind, "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    owned("", json!({"metadata": {}, "spec": {"replicas": replicas, "strategy": strategy, "template": {"spec": {"image": image}}}}), "d")
}

fn target(kind: Kind, name: &str) -> Target {
    Target { kind, key: Key::new("default", name), uid: Uid::new(name), version: Some(Version(1)) }
}

#[test]
fn a_good_history_is_good() {
    let mut made = Made::new();
    made.write(Actor::User, "replicasets", None, Some(set("", "s", "a", 2)));
    made.write(LEADER, "pods", None, Some(pod("s", "p1"))).write(LEADER, "pods", None, Some(pod("s", "p2")));
    made.ask(20_010, "POST", "/api/v1/namespaces/default/pods", pod("s", "p1"));
    assert_eq!(made.violations(), Vec::<String>::new());
}

#[test]
fn one_pod_too_many_is_caught() {
    let mut made = Made::new();
    made.write(Actor::User, "replicasets", None, Some(set("", "s", "a", 2)));
    for name in ["p1", "p2", "p3"] {
        made.write(LEADER, "pods", None, Some(pod("s", name)));
    }
    made.caught("RS-1");
}

#[test]
fn a_pod_too_few_a_foreign_pod_and_a_delete_by_name_are_caught() {
    let mut made = Made::new();
    made.write(Actor::User, "replicasets", None, Some(set("", "s", "a", 2)));
    made.write(LEADER, "pods", None, Some(pod("s", "p1"))).write(LEADER, "pods", Some(pod("s", "p1")), None);
    made.caught("RS-2");
    let mut made = Made::new();
    made.write(Actor::User, "pods", None, Some(pod("", "p"))).write(LEADER, "pods", Some(pod("", "p")), None);
    made.caught("RS-2");
    let mut made = Made::new();
    made.ask(20_010, "DELETE", "/api/v1/namespaces/default/pods/p", json!({}));
    made.caught("RS-2");
}

#[test]
fn a_write_behind_the_fence_is_caught() {
    let path = "/api/v1/namespaces/default/pods";
    let mut made = Made::new();
    made.ask(29_999, "POST", path, pod("s", "p"));
    assert_eq!(made.violations(), Vec::<String>::new());
    made.ask(30_001, "POST", path, pod("s", "p"));
    made.caught("LE-1");
}

#[test]
fn endless_asking_for_what_is_denied_is_caught() {
    let mut made = Made::new();
    for n in 0..40 {
        made.ask(20_000 + n * 20, "POST", "/api/v1/namespaces/default/pods", pod("s", "p"));
        made.0.requests.last_mut().unwrap().code = 403;
    }
    made.caught("RS-5");
}

#[test]
fn broken_rollouts_are_caught() {
    // More than replicas + maxSurge.
    let mut made = Made::new();
    made.write(Actor::User, "deployments", None, Some(deployment("RollingUpdate", 2, "b")));
    made.write(LEADER, "replicasets", None, Some(set("d", "s1", "a", 2))).write(LEADER, "replicasets", None, Some(set("d", "s2", "b", 2)));
    made.caught("DP-1");
    // Less than is to be available.
    let mut made = Made::new();
    made.write(Actor::User, "deployments", None, Some(deployment("RollingUpdate", 1, "b")));
    made.write(LEADER, "replicasets", None, Some(set("d", "s1", "b", 0)));
    made.write(Actor::Node, "pods", None, Some(pod("s1", "p")));
    made.0.writes.last_mut().unwrap().at = 1;
    for written in &mut made.0.writes {
        written.at += 100_000;
    }
    made.0.writes[3].at = 1;
    made.write(Actor::Manager { link: 0, sent: 100_000 }, "pods", Some(pod("s1", "p")), None);
    made.caught("DP-2");
    // A split that gives more than there is.
    let sized = |uid: &str, image: &str, replicas: u64, desired: &str| {
        let mut s = set("d", uid, image, replicas);
        let max: u64 = desired.parse::<u64>().unwrap() + 1;
        s["metadata"]["annotations"] = json!({"deployment.kubernetes.io/desired-replicas": desired, "deployment.kubernetes.io/max-replicas": max.to_string(),
                "deployment.kubernetes.io/revision": &uid[1..]});
        s
    };
    let split = |to: [u64; 2]| {
        let mut made = Made::new();
        made.0.broken = true;
        made.write(Actor::User, "deployments", None, Some(deployment("RollingUpdate", 9, "b")));
        made.write(Actor::User, "replicasets", None, Some(sized("s1", "a", 3, "4")));
        made.write(Actor::User, "replicasets", None, Some(sized("s2", "b", 2, "4")));
        let resize = |uid: &str, image: &str, replicas: u64| Write::Replace {
            target: target(&REPLICA_SETS, uid),
            subresource: None,
            body: sized(uid, image, replicas, "9"),
        };
        made.pass("deployment-controller", "d", vec![resize("s1", "a", to[0]), resize("s2", "b", to[1])]);
        made
    };
    assert_eq!(split([6, 4]).violations(), Vec::<String>::new());
    split([6, 5]).caught("DP-5");
    split([5, 5]).caught("DP-5");
    // A second set of one template.
    let mut made = Made::new();
    made.write(Actor::User, "deployments", None, Some(deployment("RollingUpdate", 2, "b")));
    made.write(LEADER, "replicasets", None, Some(set("d", "s1", "b", 1))).write(LEADER, "replicasets", None, Some(set("d", "s2", "b", 1)));
    made.caught("DP-3");
    // Old and new side by side.
    let mut made = Made::new();
    made.write(Actor::User, "deployments", None, Some(deployment("Recreate", 1, "b")));
    made.write(LEADER, "replicasets", None, Some(set("d", "s1", "a", 1))).write(LEADER, "pods", None, Some(pod("s1", "p1")));
    made.write(LEADER, "replicasets", None, Some(set("d", "s2", "b", 1))).write(LEADER, "pods", None, Some(pod("s2", "p2")));
    made.caught("DP-4");
}

/// workloads 3.7 rule 3.
#[test]
fn a_ready_victim_beside_one_that_is_not_ready_is_caught() {
    let choose = |victims: &[&str]| {
        let mut made = Made::new();
        let mut set = set("", "s", "a", 1);
        set["spec"]["selector"]["matchLabels"] = json!({"app": "web"});
        made.write(Actor::User, "replicasets", None, Some(set));
        for (name, ready) in [("p1", "True"), ("p2", "False")] {
            let mut pod = pod("s", name);
            pod["metadata"]["labels"] = json!({"app": "web"});
            pod["status"]["conditions"][0]["status"] = ready.into();
            made.write(Actor::Node, "pods", None, Some(pod));
        }
        let delete = |name: &&str| Write::Delete { target: target(&PODS, name), propagation: None, grace: None };
        made.pass("replicaset-controller", "s", victims.iter().map(delete).collect());
        made
    };
    assert_eq!(choose(&["p2"]).violations(), Vec::<String>::new());
    choose(&["p1"]).caught("RS-3");
    choose(&["p1", "p2"]).caught("RS-2");
}

/// reliability D-3.
#[test]
fn an_adoption_without_a_live_read_is_caught() {
    let mut made = Made::new();
    made.pass("replicaset-controller", "s", Vec::new());
    let patch = json!({"metadata": {"ownerReferences": [{"name": "s", "uid": "s", "controller": true}]}});
    made.ask(20_000, "GET", "/apis/apps/v1/namespaces/default/replicasets/s", Value::Null);
    made.ask(20_010, "PATCH", "/api/v1/namespaces/default/pods/p", patch);
    assert_eq!(made.violations(), Vec::<String>::new());
    made.0.requests.remove(0);
    made.caught("D-3");
}

/// workloads 3.5: one create, then two, then four.
#[test]
fn creates_that_do_not_begin_slowly_are_caught() {
    let mut made = Made::new();
    let names = ["p1", "p2"];
    let create = |name: &&str| Write::Create {
        kind: &PODS,
        key: Key::new("default", *name),
        controller: Some(Uid::new("s")),
        body: Arc::new(json!({})),
    };
    made.pass("replicaset-controller", "s", names.iter().map(create).collect());
    for name in names {
        made.ask(20_000, "POST", "/api/v1/namespaces/default/pods", pod("s", name));
        made.0.requests.last_mut().unwrap().code = 403;
    }
    made.caught("RS-5");
}

/// A manager whose fence always says yes, and one that makes each pod twice: true histories, changed accordingly.
#[test]
fn a_true_history_without_its_renewals_or_with_a_doubled_pod_is_caught() {
    let (report, history) = run_with_history(1);
    assert_eq!(report.violations, Vec::<String>::new());
    let mut history = std::mem::take(&mut *history.lock().unwrap());
    let last = history.writes.iter().rposition(|w| w.kind == "pods" && w.old.is_none() && w.actor.manager().is_some()).unwrap();
    let mut twins: Vec<Written> = vec![history.writes[last].clone(); 10];
    for (n, twin) in twins.iter_mut().enumerate() {
        let mut object = (**twin.new.as_ref().unwrap()).clone();
        object["metadata"]["uid"] = format!("twin-{n}").into();
        twin.new = Some(Arc::new(object));
    }
    history.writes.splice(last..last, twins);
    assert!(invariants::check(&history).iter().any(|v| v.starts_with("RS-1")));
    history.writes.retain(|w| w.kind != "leases");
    assert!(invariants::check(&history).iter().any(|v| v.starts_with("LE-1")));
}

#[test]
fn a_deadline_told_after_completion_early_late_or_never_is_caught() {
    // Progress was made 100 s after the beginning, and may pause for 10 s.
    let with = |reason: &str| {
        let mut d = deployment("RollingUpdate", 1, "a");
        d["spec"]["progressDeadlineSeconds"] = 10.into();
        d["status"] = json!({"conditions": [{"type": "Progressing", "reason": reason, "lastUpdateTime": "2027-01-15T08:01:40Z"}]});
        d
    };
    let told = |before: &str, at: u64| {
        let mut made = Made::new();
        made.0.calm_at = 1;
        made.write(LEADER, "deployments", None, Some(with(before)));
        made.write(LEADER, "deployments", Some(with(before)), Some(with("ProgressDeadlineExceeded")));
        made.0.writes.last_mut().unwrap().at = at;
        made
    };
    let dp6 = |made: &Made| made.violations().iter().any(|v| v.starts_with("DP-6"));
    assert!(!dp6(&told("ReplicaSetUpdated", 111_500)));
    told("NewReplicaSetAvailable", 111_500).caught("DP-6");
    told("ReplicaSetUpdated", 109_000).caught("DP-6");
    told("ReplicaSetUpdated", 114_000).caught("DP-6");
    let mut never = told("ReplicaSetUpdated", 111_500);
    never.0.writes.pop();
    never.write(LEADER, "pods", None, Some(pod("s", "p")));
    never.0.writes.last_mut().unwrap().at = 120_000;
    never.caught("DP-6");
}

#[test]
fn what_is_not_converged_is_seen() {
    let mut s = set("", "s", "a", 2);
    assert_eq!(invariants::not_converged(&[], &[s.clone()], &[pod("s", "p1")]).len(), 1);
    s["status"] = json!({"replicas": 2, "readyReplicas": 2, "availableReplicas": 2});
    assert_eq!(invariants::not_converged(&[], &[s.clone()], &[pod("s", "p1"), pod("s", "p2")]), Vec::<String>::new());
    s["status"]["readyReplicas"] = 1.into();
    assert_eq!(invariants::not_converged(&[], &[s], &[pod("s", "p1"), pod("s", "p2")]).len(), 1);
}
