//! Who goes first when there are too many (workloads 3.7).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use evenkeel_api::{DEPLOYMENTS, Name, Object, PODS, Pod as Entry, ReplicaSet};
use evenkeel_plan::ControlLoop;
use evenkeel_replicaset::{Options, Ranking, SetLoop, choose_victims, deletion_age_ratios};
use serde_json::json;

use crate::{both, world::*};

pub fn entry(pod: Pod) -> Arc<Entry> {
    let mut value = pod.0;
    value["metadata"]["resourceVersion"] = "7".into();
    Arc::new(Entry::decode(value.to_string().as_bytes()).unwrap())
}

/// Names of the candidates in the order in which they would go. One that nobody gives up is put behind, because if all go none is ranked.
fn order_with(pods: impl IntoIterator<Item = Pod>, related: &[(&str, u32)], deletion_cost: bool) -> Vec<String> {
    let mut pods: Vec<_> = pods.into_iter().map(entry).collect();
    let count = pods.len();
    let best = pod("~best")
        .uid("~")
        .node("~")
        .cost("2147483647")
        .ready_since(seconds_before(noon(), 3_000_000_000))
        .created(seconds_before(noon(), 3_000_000_000));
    pods.push(entry(best));
    let related_on_node: BTreeMap<Name, u32> = related.iter().map(|(node, n)| ((*node).into(), *n)).collect();
    let ranking = Ranking { related_on_node: &related_on_node, deletion_cost, now: noon() };
    choose_victims(&pods, count, ranking).iter().map(|p| p.meta.name.to_string()).collect()
}

fn order(pods: impl IntoIterator<Item = Pod>) -> Vec<String> {
    order_with(pods, &[], true)
}

fn hours(n: i64) -> Timestamp {
    seconds_before(noon(), n * 3600)
}

/// workloads 3.9.31, and TestSortingActivePodsWithRanks of upstream's controller_utils_test.go.
#[test]
fn the_least_useful_goes_first() {
    let ready = |name: &str, at: Timestamp| pod(name).node("alone").ready_since(at).created(at);
    let pods = [
        ready("08 ready for long", hours(720)),
        ready("07 ready for 2 h", hours(2)),
        ready("06 ready now", noon()),
        pod("05 ready sometime").node("alone").ready_sometime(),
        pod("04 ready together").node("crowded").ready_since(hours(720)),
        pod("03 running").node("alone").running(),
        pod("02 unknown").node("alone").phase("Unknown"),
        pod("01 pending").node("alone"),
        pod("00 unassigned"),
    ];
    let mut want: Vec<_> = pods.iter().map(|p| p.0["metadata"]["name"].as_str().unwrap().to_owned()).collect();
    want.sort();
    assert_eq!(order_with(pods, &[("crowded", 2), ("alone", 1)], true), want);
}

/// workloads 3.7 rules 1 to 3: each before all that come behind.
#[test]
fn earlier_rules_win() {
    let at = hours(1);
    assert_eq!(order([pod("a").node("n"), pod("b").running().ready_since(at)]), ["b", "a"], "unassigned before pending");
    assert_eq!(
        order([pod("a").node("n").running(), pod("b").node("n").phase("").ready_sometime().phase("")]),
        ["b", "a"],
        "no phase is pending"
    );
    assert_eq!(
        order([pod("a").node("n").running().cost("-5"), pod("b").node("n").phase("Unknown").cost("5")]),
        ["b", "a"],
        "phase before cost"
    );
    assert_eq!(
        order([pod("a").node("n").ready_since(at).cost("-5"), pod("b").node("n").running().cost("5")]),
        ["b", "a"],
        "readiness before cost"
    );
    let crowded = [pod("a").node("x").ready_since(at).cost("-5"), pod("b").node("y").ready_since(at).cost("5")];
    assert_eq!(order_with(crowded, &[("y", 9)], true), ["a", "b"], "cost before crowding");
    let young = [pod("a").node("x").ready_since(hours(9)), pod("b").node("y").ready_since(noon())];
    assert_eq!(order_with(young, &[("x", 9)], true), ["a", "b"], "crowding before time");
}

/// workloads 3.9.31: 2 h before 5 h; 5 h and 8 h are the same bucket, so the uid decides.
#[test]
fn times_are_compared_on_a_logarithmic_scale() {
    let ready = |name: &str, uid: &str, h: i64| pod(name).node("n").uid(uid).ready_since(hours(h));
    assert_eq!(order([ready("5h", "a", 5), ready("2h", "b", 2)]), ["2h", "5h"]);
    assert_eq!(order([ready("5h", "b", 5), ready("8h", "a", 8)]), ["8h", "5h"]);
    assert_eq!(order([ready("5h", "a", 5), ready("8h", "b", 8)]), ["5h", "8h"]);
    let created = |name: &str, uid: &str, h: i64| pod(name).uid(uid).created(hours(h));
    assert_eq!(order([created("5h", "b", 5), created("8h", "a", 8)]), ["8h", "5h"]);
    assert_eq!(order([created("5h", "a", 5), created("2h", "b", 2)]), ["2h", "5h"]);
    let future = [
        pod("later").node("n").uid("b").ready_since(noon() + SignedDuration::from_secs(9)),
        pod("now").node("n").uid("a").ready_since(noon()),
    ];
    assert_eq!(order(future), ["now", "later"], "not yet is one bucket, before all others");
    let moment = SignedDuration::from_nanos(1);
    let just = [pod("a moment ago").uid("a").created(noon() - moment), pod("now").uid("b").created(noon())];
    assert_eq!(order(just), ["now", "a moment ago"], "not yet is before the smallest age");
    assert_eq!(
        order([created("made", "a", 5), pod("nobody knows").uid("b").at("/metadata/creationTimestamp", json!(null))]),
        ["nobody knows", "made"]
    );
}

/// workloads 3.9.30 and the recorded stories rs-victims-cost, rs-victims-restarts, rs-victims-mixed.
#[test]
fn lower_costs_go_first_and_then_more_restarts() {
    let ready = |name: &str| pod(name).node("n").ready_since(hours(5)).created(hours(5));
    let pods = || [ready("dear").cost("1000").restarts(5), ready("cheap").cost("100")];
    assert_eq!(order(pods()), ["cheap", "dear"]);
    assert_eq!(order_with(pods(), &[], false), ["dear", "cheap"], "gate off: the one with more restarts");
    assert_eq!(order([ready("a"), ready("b").restarts(5)]), ["b", "a"]);
    assert_eq!(order([ready("a").cost("7"), ready("b").cost("7").restarts(5)]), ["b", "a"]);
    assert_eq!(
        order([ready("none"), ready("bad").cost("007").restarts(1), ready("minus").cost("-1"), ready("plus").cost("1")]),
        ["minus", "bad", "none", "plus"]
    );
    assert_eq!(order([ready("a").cost("-2147483648"), ready("b").cost("-2147483648").restarts(1)]), ["b", "a"]);
}

/// workloads 3.7 rule 7
#[test]
fn restarts_of_sidecars_decide_between_equals() {
    let ready = |name: &str, restarts: i32, sidecar: i32| {
        pod(name)
            .node("n")
            .ready_since(noon())
            .created(noon())
            .restarts(restarts)
            .at("/spec/initContainers", json!([{"name": "side", "restartPolicy": "Always"}]))
            .at("/status/initContainerStatuses", json!([{"name": "side", "restartCount": sidecar}]))
    };
    assert_eq!(order([ready("a", 1, 9), ready("b", 2, 0)]), ["b", "a"]);
    assert_eq!(order([ready("a", 2, 0), ready("b", 2, 9)]), ["b", "a"]);
}

/// B11: between pods that became ready at different times restarts never matter.
#[test]
fn restarts_are_hidden_by_different_ready_times() {
    let ready = |name: &str, uid: &str, h: i64| pod(name).node("n").uid(uid).ready_since(hours(h));
    assert_eq!(order([ready("a", "a", 5), ready("b", "b", 8).restarts(9001)]), ["a", "b"]);
}

/// B12: availability is no input.
#[test]
fn availability_does_not_matter() {
    type S = ReplicaSet;
    let world = World::new().with::<S>(set("web").replicas(1).min_ready(3600)).with_pods::<S>([
        pod("available").of("web").node("n").ready_since(hours(5)).cost("-1"),
        pod("not yet").of("web").node("n").ready_since(noon()),
    ]);
    let plan = world.look(&SetLoop::<S>::default(), "web");
    assert_eq!(plan.writes().map(|w| w.name().to_string()).collect::<Vec<_>>(), ["available"]);
}

/// Where upstream's comparison goes round in a circle (a before b by restarts, b before c and c before a by uid), ours still has one answer.
#[test]
fn a_circle_of_comparisons_has_one_answer() {
    let ready = |uid: &str, h: i64| pod(uid).node("n").uid(uid).ready_since(hours(h));
    let circle = [ready("3", 5).restarts(9), ready("1", 5), ready("2", 8)];
    let [a, b, c] = circle.clone();
    assert_eq!(order(circle), order([c, a, b]));
}

/// TestGetPodsToDelete of upstream's replica_set_test.go: if all go, nobody is ranked.
#[test]
fn if_all_go_they_go_as_they_come() {
    let pods: Vec<_> = [pod("b").ready_sometime(), pod("a")].into_iter().map(entry).collect();
    let ranking = Ranking { related_on_node: &BTreeMap::new(), deletion_cost: true, now: noon() };
    assert_eq!(choose_victims(&pods, 2, ranking), pods);
    assert!(choose_victims(&[], 0, ranking).is_empty());
}

both! {
    /// workloads 3.9.33, and the recorded stories rs-victims-age, rs-victims-ready-since; section 4: also for controllers.
    fn the_fresh_one_goes<S>() {
        let lp = SetLoop::<S>::default();
        let old = |name: &str| pod(name).of("web").created(seconds_before(noon(), 10));
        let mut world = World::new().with::<S>(set("web").replicas(2)).with_pods::<S>([old("a"), pod("fresh").of("web").created(noon()), old("b")]);
        assert_eq!(world.pass(&lp, "web").victims(), ["fresh"]);
    }

    /// The recorded stories rs-victims-phase, rc-victims.
    fn one_after_the_other_as_a_set_shrinks<S>() {
        let lp = SetLoop::<S>::default();
        let since = seconds_before(noon(), 1000);
        let mut world = World::new().with::<S>(set("web").replicas(4)).with_pods::<S>([
            pod("d").of("web").ready_since(since),
            pod("c").of("web").running(),
            pod("b").of("web").ready_since(since).phase("Unknown"),
            pod("a").of("web"),
        ]);
        world.settle(&lp, "web");
        for (replicas, gone) in [(3, "a"), (2, "b"), (1, "c")] {
            world.scale::<S>("web", replicas);
            assert_eq!(world.pass(&lp, "web").victims(), [gone]);
            world.settle(&lp, "web");
        }
    }

    /// workloads 3.9.30: the gate as the loop has it.
    fn the_gate_for_costs_can_be_closed<S>() {
        let world = World::new().with::<S>(set("web").replicas(1)).with_pods::<S>([
            pod("dear").of("web").ready_since(noon()).cost("1000").restarts(5),
            pod("cheap").of("web").ready_since(noon()).cost("100"),
        ]);
        let first = |lp: SetLoop<S>| world.look(&lp, "web").writes().next().unwrap().name().to_string();
        assert_eq!(first(SetLoop::default()), "cheap");
        assert_eq!(first(SetLoop::new(Options { deletion_cost: false, ..Options::default() })), "dear");
    }

    /// workloads 3.7, B9: every ready victim's age by that of the youngest ready candidate.
    fn age_ratios_of_the_chosen_are_told<S>() {
        let told: Arc<Mutex<Vec<f64>>> = Arc::default();
        let sink = told.clone();
        let lp = SetLoop::<S>::default().with_age_ratio_observer(Arc::new(move |ratio| sink.lock().unwrap().push(ratio)));
        let ready = |name: &str, age: i64, cost: &str| pod(name).of("web").ready_since(noon()).created(seconds_before(noon(), age)).cost(cost);
        let mut world = World::new().with::<S>(set("web").replicas(1)).with_pods::<S>([ready("a", 30, "1"), ready("b", 20, "2"), pod("c").of("web").created(seconds_before(noon(), 1))]);
        world.pass(&lp, "web");
        assert_eq!(*told.lock().unwrap(), [1.5]);
        world.deliver();
        world.scale::<S>("web", 0);
        world.settle(&lp, "web");
        assert_eq!(told.lock().unwrap().len(), 1, "nobody is chosen when all go");
    }
}

/// B9
#[test]
fn a_pod_of_no_age_divides_nothing_by_zero() {
    let at = |name: &str, created: Timestamp| entry(pod(name).ready_since(noon()).created(created));
    let (new, old) = (at("new", noon()), at("old", seconds_before(noon(), 2)));
    assert_eq!(deletion_age_ratios(std::slice::from_ref(&old), &[new.clone(), old.clone()], noon()), [2000.0]);
    assert_eq!(deletion_age_ratios(&[entry(pod("unready"))], &[new, old], noon()), [0.0; 0]);
}

type S = ReplicaSet;

fn of_deployment(name: &str) -> Set {
    set(name).controlled_by(&DEPLOYMENTS, "d", "uid-d")
}

/// workloads 3.9.32, 3.7 rule 5, and the recorded story rs-victims-node: pods of sibling sets count, whoever owns them, once each.
#[test]
fn pods_on_crowded_nodes_go_first() {
    let lp = SetLoop::<S>::default();
    let ready = |name: &str, node: &str| pod(name).node(node).ready_since(hours(5));
    let mut world = World::new()
        .with::<S>(of_deployment("web").replicas(1))
        .with::<S>(of_deployment("web-old").labels(json!({"gen": "old"})))
        .with_pods::<S>([
            ready("a", "A").of("web").uid("1"),
            ready("b", "B").of("web").uid("2"),
            ready("old", "B").of("web-old").labels(json!({"gen": "old"})),
        ]);
    assert_eq!(world.pass(&lp, "web").victims(), ["b"], "the uid would have said a");
    // What is ended, going, or of another Deployment does not count.
    let strange = set("strange").labels(json!({"gen": "strange"})).controlled_by(&DEPLOYMENTS, "e", "uid-e");
    let mut world = World::new()
        .with::<S>(of_deployment("web").replicas(1))
        .with::<S>(of_deployment("web-old").labels(json!({"gen": "old"})))
        .with::<S>(strange)
        .with_pods::<S>([
            ready("a", "A").of("web").uid("1"),
            ready("b", "B").of("web").uid("2"),
            ready("ended", "B").of("web-old").labels(json!({"gen": "old"})).phase("Failed"),
            ready("going", "B").of("web-old").labels(json!({"gen": "old"})).deleting(),
            ready("other", "B").of("strange").labels(json!({"gen": "strange"})),
        ]);
    assert_eq!(world.pass(&lp, "web").victims(), ["a"]);
}

/// workloads 3.7: siblings with overlapping selectors count a pod once; unusable selectors count nothing.
#[test]
fn a_related_pod_is_counted_once() {
    let lp = SetLoop::<S>::default();
    let ready = |name: &str, node: &str| pod(name).node(node).ready_since(hours(5));
    let world = World::new()
        .with::<S>(of_deployment("web").replicas(1))
        .with::<S>(of_deployment("twin").labels(json!({"app": "web"})))
        .with::<S>(of_deployment("broken").selector(json!({"matchExpressions": [{"key": "a", "operator": "Near"}]})))
        .with_pods::<S>([ready("a", "A").of("web"), ready("b", "B").of("web"), ready("c", "B").of("twin")]);
    let snap = lp.snapshot(&world.cache.read(), &owner(&lp, "web").key);
    assert_eq!(snap.related_on_node, BTreeMap::from([("A".into(), 1), ("B".into(), 2)]));
}

/// B10: a set without a controller has no related pods, and that is nothing to complain about. And nobody looks them up without need.
#[test]
fn without_a_controller_there_are_no_related_pods() {
    let lp = SetLoop::<S>::default();
    let ready = |name: &str, node: &str| pod(name).of("web").node(node).ready_since(hours(5));
    let pods = || [ready("a", "A").uid("1"), ready("b", "B").uid("2"), ready("c", "B").uid("3")];
    let mut world = World::new().with::<S>(set("web").replicas(2)).with_pods::<S>(pods());
    assert_eq!(world.pass(&lp, "web").victims(), ["a"], "by uid");
    for replicas in [0, 3, 5] {
        let world = World::new().with::<S>(of_deployment("web").replicas(replicas)).with_pods::<S>(pods());
        assert!(lp.snapshot(&world.cache.read(), &owner(&lp, "web").key).related_on_node.is_empty());
    }
}

/// workloads 4: a ReplicationController has no spread preference.
#[test]
fn a_replication_controller_does_not_spread() {
    type C = evenkeel_api::ReplicationController;
    let ready = |name: &str, node: &str| pod(name).of("web").node(node).ready_since(hours(5));
    // Not even with a ReplicaSet of the same controller that selects the same pods.
    let mut world = World::new()
        .with::<C>(set("web").replicas(2).controlled_by(&DEPLOYMENTS, "d", "uid-d"))
        .with::<S>(of_deployment("twin").labels(json!({"app": "web"})))
        .with_pods::<C>([ready("a", "A").uid("1"), ready("b", "B").uid("2"), ready("c", "B").uid("3")]);
    assert_eq!(world.pass(&SetLoop::<C>::default(), "web").victims(), ["a"]);
    assert_eq!(world.server.distinct_uids(&PODS), 3);
}
