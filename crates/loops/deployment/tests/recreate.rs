//! Recreate: workloads 2.8, and its scenarios of 2.18.

use crate::world::{Cluster, deployment, events, pod, reason, said, set, status};
use serde_json::json;

/// workloads 2.18.27; recorded story `deploy-recreate-held`.
#[test]
fn old_pods_go_before_new_ones_come() {
    let mut world = Cluster::new(deployment("web").replicas(6).recreate()).and(set("web", 1).sized_for(6, 6).size(6));
    world.graceful = true;
    world.follow();
    world.ready_pods("");
    world.settle();
    assert_eq!(reason(world.deployment()), "NewReplicaSetAvailable");
    world.edit(|d| d.image("app:2"));
    world.settle();
    let s = world.deployment()["status"].clone();
    assert_eq!(world.set("web-1")["spec"]["replicas"], 0);
    assert_eq!((s.get("replicas"), s.get("updatedReplicas"), &s["terminatingReplicas"]), (None, None, &json!(6)));
    assert_eq!(world.sets().len(), 1, "no new set until they are really gone");
    world.pods.truncate(1);
    world.follow();
    world.settle();
    assert_eq!(world.sets().len(), 1, "one is enough to wait for");
    world.let_go();
    let (plan, _) = world.pass();
    assert_eq!(plan.steps.len(), 1);
    assert_eq!(world.set_of("app:2")["spec"]["replicas"], 6, "at full size");
    assert_eq!(world.set_of("app:2")["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "2");
    world.settle_with(|w| w.ready_pods(""));
    assert_eq!(reason(world.deployment()), "NewReplicaSetAvailable");
}

/// workloads 2.18.28, pod by pod; recorded story `deploy-recreate-ended`.
#[test]
fn only_ended_pods_are_not_waited_for() {
    let world = |phase: &str| {
        Cluster::new(deployment("web").image("app:2").replicas(2).recreate())
            .and(set("web", 1))
            .and_pod(pod("done", "web-1").phase("Succeeded"))
            .and_pod(pod("a", "web-1").phase(phase))
    };
    for phase in ["Failed", "Succeeded"] {
        assert_eq!(said(&world(phase), &world(phase).plan()), [["create 2"]], "{phase}");
    }
    for phase in ["Unknown", "Pending", "Running", "", "Novel"] {
        assert!(world(phase).plan().is_empty(), "{phase:?}");
    }
    let going = Cluster::new(deployment("web").image("app:2").recreate()).and(set("web", 1)).and_pod(pod("a", "web-1").deleting());
    assert!(going.plan().is_empty(), "on their way out is not gone");
    let counted = Cluster::new(deployment("web").image("app:2").recreate()).and(set("web", 1).with("/status/replicas", 1));
    assert!(counted.plan().is_empty(), "nor is one that only the set's status tells of");
    let unsure = Cluster::new(deployment("web").image("app:2").recreate()).and(set("web", 1).with("/metadata/generation", 9));
    assert!(unsure.plan().is_empty(), "nor is a set empty before it has answered to its size (Better S23)");
    let own = Cluster::new(deployment("web").image("app:2").replicas(2).recreate())
        .and(set("web", 1))
        .and(set("web", 2).size(1).sized_for(2, 2))
        .and_pod(pod("a", "web-2"));
    assert_eq!(said(&own, &own.plan()), [["web-2 1→2"]], "pods of the new set are no old ones");
}

/// A rolling update reads counters, never pods; recorded story `deploy-roll-held`.
#[test]
fn a_rolling_update_looks_at_no_pods() {
    let world = Cluster::new(deployment("web").image("app:2")).and(set("web", 1)).and_pod(pod("a", "web-1").deleting());
    assert!(world.snapshot().running.is_empty());
    assert_eq!(said(&world, &world.plan()), [["create 1"]]);
}

/// workloads 2.18.29
#[test]
fn changes_while_new_pods_run_are_followed_at_once() {
    let mut world = Cluster::new(deployment("web").replicas(6).recreate()).and(set("web", 1).sized_for(6, 6).size(6));
    world.graceful = true;
    world.follow();
    world.ready_pods("");
    world.settle();
    world.pods[0]["metadata"]["deletionTimestamp"] = "2026-01-01T01:00:00Z".into();
    world.follow();
    world.settle();
    let status = |w: &Cluster, f: &str| w.deployment()["status"][f].clone();
    assert_eq!((status(&world, "replicas"), status(&world, "terminatingReplicas")), (json!(6), json!(1)), "replaced at once");
    world.edit(|d| d.replicas(7));
    world.settle();
    assert_eq!(status(&world, "replicas"), 7);
    world.edit(|d| d.replicas(5));
    world.settle_with(|w| w.ready_pods(""));
    assert_eq!((status(&world, "replicas"), status(&world, "terminatingReplicas")), (json!(5), json!(3)));
    assert_eq!(status(&world, "availableReplicas"), 5);
    assert_eq!(reason(world.deployment()), "NewReplicaSetAvailable", "which does not wait for pods on their way out");
}

/// workloads 2.18.20; recorded story `deploy-recreate-scale`.
#[test]
fn sizes_follow() {
    let mut world = Cluster::new(deployment("web").recreate());
    for n in [1, 2, 0, 1] {
        world.edit(|d| d.replicas(n));
        world.settle_with(|w| w.ready_pods(""));
        assert_eq!(world.set_of("app:1")["spec"]["replicas"], n);
        assert_eq!(world.deployment()["status"].get("availableReplicas").and_then(|v| v.as_i64()).unwrap_or(0), n);
        assert_eq!(reason(world.deployment()), "NewReplicaSetAvailable");
    }
}

/// workloads 2.8.2 and 2.8.4: all old sets at once, and a failure is an error.
#[test]
fn old_sets_are_emptied_together() {
    let mut world = Cluster::new(deployment("web").image("app:3").replicas(2).recreate().history(0).complete())
        .and(set("web", 1).size(1).sized_for(2, 2))
        .and(set("web", 2).size(2).sized_for(2, 2));
    assert_eq!(said(&world, &world.plan()), [["web-1 1→0", "web-2 2→0"]]);
    world.refusals.push(("update", "web-2", evenkeel_plan::FailureKind::Other, "no"));
    let (_, report) = world.pass();
    assert_eq!(report.next, evenkeel_plan::Next::Retry("no".into()));
    assert_eq!(events(&report), ["Normal ScalingReplicaSet: Scaled down replica set web-1 from 1 to 0"]);
    assert!(report.steps.is_empty());
    // As many as wanted are of the new set and none of the old ones, yet one old pod runs: nothing is cleaned up before that.
    let waiting = Cluster::new(deployment("web").image("app:3").replicas(2).recreate().history(0).complete())
        .and(set("web", 1).with("/status/replicas", 1))
        .and(set("web", 2))
        .and(set("web", 3).full(2).sized_for(2, 2));
    assert!(waiting.plan().is_empty());
    let clean = Cluster::new(deployment("web").image("app:3").replicas(2).recreate().history(0).complete())
        .and(set("web", 1))
        .and(set("web", 2))
        .and(set("web", 3).full(2).sized_for(2, 2));
    assert_eq!(said(&clean, &clean.plan()), [["delete web-1", "delete web-2"]]);
}

/// The recorded story `deploy-recreate-mind`: the template changes again while old pods go; a set that never was is not made.
#[test]
fn a_change_of_mind_while_waiting_costs_nothing() {
    let mut world = Cluster::new(deployment("web").replicas(2).recreate()).and(set("web", 1).sized_for(2, 2).size(2));
    world.graceful = true;
    world.follow();
    world.ready_pods("");
    world.settle();
    world.edit(|d| d.image("app:2"));
    world.settle();
    world.edit(|d| d.image("app:3"));
    world.settle();
    world.let_go();
    world.settle_with(|w| w.ready_pods(""));
    assert_eq!(world.sets().len(), 2);
    assert_eq!(world.set_of("app:3")["spec"]["replicas"], 2);
    assert_eq!(world.set_of("app:3")["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "2");
}

/// workloads 2.11: every replica must be available.
#[test]
fn availability_needs_all_pods() {
    let world = |n: i64| Cluster::new(deployment("web").replicas(3).recreate()).and(set("web", 1).size(3).available(n).sized_for(3, 3));
    assert_eq!(crate::world::condition(status(&world(2).report()), "Available")["status"], "False");
    assert_eq!(crate::world::condition(status(&world(3).report()), "Available")["status"], "True");
}

/// workloads 2.2.10: a type of strategy that nobody here knows.
#[test]
fn an_unknown_strategy_is_an_error() {
    let world = Cluster::new(deployment("web").with("/spec/strategy", json!({"type": "BlueGreen"})).note("a", "b"))
        .and(set("web", 1).full(1).sized_for(1, 1));
    assert_eq!(said(&world, &world.plan()), [["web-1 note"]], "what the set lacks is put right all the same");
    let report = world.report();
    assert_eq!(report.next, evenkeel_plan::Next::Retry("unexpected deployment strategy type: BlueGreen".into()));
    assert!(report.steps.is_empty());
    let resized = Cluster::new(deployment("web").replicas(4).with("/spec/strategy", json!({"type": "BlueGreen"})))
        .and(set("web", 1).full(1).sized_for(1, 1));
    assert_eq!(said(&resized, &resized.plan()), [["web-1 1→4"]], "scaling needs no strategy");
}
