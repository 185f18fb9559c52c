//! What `evenkeel plan` says of a pass: one phrase a situation, taken from the decision itself.

use evenkeel_plan::{ControlLoop, Plan};
use serde_json::json;

use crate::world::{Cluster, Dep, deployment, pod, set};

fn why(world: &Cluster) -> Option<String> {
    world.looper.explain(&world.snapshot(), &Plan::default())
}

/// Every world with its phrase.
fn assert_said<const N: usize>(table: [(Cluster, &str); N]) {
    for (world, phrase) in table {
        assert_eq!(why(&world).as_deref(), Some(phrase), "{:?}", world.plan());
    }
}

fn third() -> Dep {
    deployment("web").image("app:3").replicas(3).rolling(1, 1)
}

/// workloads 2.7
#[test]
fn a_rolling_update_tells_what_it_makes_room_for_or_waits_for() {
    assert_said([
        (Cluster::new(third()).and(set("web", 1).full(3).sized_for(3, 4)), "rolling update: no ReplicaSet has the template"),
        (
            Cluster::new(third()).and(set("web", 1).full(2).sized_for(3, 4)).and(set("web", 3).full(1).sized_for(3, 4)),
            "rolling update: 1 of 3 new pods, at most 4 in all",
        ),
        (Cluster::new(third()).and(set("web", 3).full(5).sized_for(3, 4)), "rolling update: 5 of 3 new pods, at most 4 in all"),
        (
            Cluster::new(third()).and(set("web", 1).full(1).sized_for(3, 4)).and(set("web", 3).full(3).sized_for(3, 4)),
            "rolling update: 1 old pod, at least 2 of all must be available",
        ),
        (
            Cluster::new(third()).and(set("web", 1).full(2).sized_for(3, 4)).and(set("web", 3).size(2).sized_for(3, 4)),
            "rolling update: 2 old pods, waiting for new ones: at least 2 of all must be available",
        ),
        (
            Cluster::new(third()).and(set("web", 1).size(2).available(3).sized_for(3, 4)).and(set("web", 3).full(2).sized_for(3, 4)),
            "rolling update: waiting for the counters of an old ReplicaSet",
        ),
        // Counters that lag change nothing where nothing may go anyway.
        (
            Cluster::new(third()).and(set("web", 1).size(2).available(3).sized_for(3, 4)).and(set("web", 3).size(2).sized_for(3, 4)),
            "rolling update: 2 old pods, waiting for new ones: at least 2 of all must be available",
        ),
        (
            Cluster::new(third()).and(set("web", 1)).and(set("web", 3).size(3).available(2).sized_for(3, 4)),
            "rolling update: 2 of 3 new pods available",
        ),
    ]);
}

/// workloads 2.8
#[test]
fn recreate_tells_which_pods_it_waits_for() {
    let recreate = || deployment("web").image("app:3").replicas(3).recreate();
    let third = || set("web", 3).sized_for(3, 3);
    assert_said([
        (Cluster::new(recreate()).and(set("web", 1).full(2).sized_for(3, 3)), "recreate: 2 old pods to stop first"),
        (Cluster::new(recreate()).and(set("web", 1)).and_pod(pod("a", "web-1")), "recreate: waiting for the pods of 1 old ReplicaSet"),
        (
            Cluster::new(recreate()).and(set("web", 1).with("/status/replicas", 1)).and(set("web", 2)).and_pod(pod("a", "web-2")),
            "recreate: waiting for the pods of 2 old ReplicaSets",
        ),
        (Cluster::new(recreate()).and(set("web", 1)), "recreate: no ReplicaSet has the template"),
        (Cluster::new(recreate()).and(third().full(2)), "recreate: 2 of 3 new pods"),
        (Cluster::new(recreate()).and(third().size(3).available(1)), "recreate: 1 of 3 new pods available"),
    ]);
}

/// workloads 2.6
#[test]
fn sizes_are_told_with_what_they_were() {
    assert_said([
        (Cluster::new(third()).and(set("web", 3).full(5).sized_for(5, 6)), "scaling 5 → 3: the size changed"),
        (
            Cluster::new(third().replicas(6)).and(set("web", 1).full(2).sized_for(3, 4)).and(set("web", 3).full(1).sized_for(3, 4)),
            "scaling 3 → 6: the size changed",
        ),
        (Cluster::new(third().paused()).and(set("web", 3).full(5).sized_for(5, 6)), "paused: sizes only"),
        (Cluster::new(third().deleting()).and(set("web", 3).full(5).sized_for(5, 6)), "being deleted: status only"),
    ]);
}

/// workloads 2.10, 2.12
#[test]
fn the_end_of_a_rollout_and_its_deadline_are_told() {
    let late = |d: Dep| d.progressing("False", "ProgressDeadlineExceeded", 60);
    let waiting = || set("web", 3).size(3).available(2).sized_for(3, 4);
    let full = || set("web", 3).full(3).sized_for(3, 4);
    assert_said([
        (Cluster::new(third().complete()).and(full()), "the rollout is complete"),
        (
            Cluster::new(third().complete().history(0)).and(set("web", 1)).and(full()),
            "the rollout is complete: 1 ReplicaSet beyond the history limit",
        ),
        (
            Cluster::new(third().complete().history(0)).and(set("web", 1)).and(set("web", 2)).and(full()),
            "the rollout is complete: 2 ReplicaSets beyond the history limit",
        ),
        (Cluster::new(late(third())).and(waiting()), "rolling update: 2 of 3 new pods available; the progress deadline is exceeded"),
        (Cluster::new(third().progressing("True", "ReplicaSetUpdated", 60)).and(waiting()), "rolling update: 2 of 3 new pods available"),
        // Neither of one that is complete again, nor of one that is not being rolled out.
        (Cluster::new(late(third().complete())).and(full()), "the rollout is complete"),
        (Cluster::new(late(third().paused())).and(waiting()), "paused: sizes only"),
    ]);
}

/// workloads 2.4: a write that only concerns what is copied to the new set says so.
#[test]
fn notes_that_are_behind_are_told() {
    let behind = "; annotations or minReadySeconds of the new ReplicaSet are behind";
    let waiting = || set("web", 3).size(3).available(2).sized_for(3, 4);
    assert_said([
        (Cluster::new(third().note("a", "b")).and(waiting()), &format!("rolling update: 2 of 3 new pods available{behind}")),
        (Cluster::new(third().with("/spec/minReadySeconds", 5).paused()).and(waiting()), &format!("paused: sizes only{behind}")),
        // Merged with the sizing, they need no word.
        (
            Cluster::new(third().note("a", "b")).and(set("web", 3).full(2).sized_for(3, 4)),
            "rolling update: 2 of 3 new pods, at most 4 in all",
        ),
    ]);
}

/// workloads 2.9
#[test]
fn a_rollback_is_told_with_its_revision() {
    let asked = |n: &str| third().note("deprecated.deployment.rollback.to", n);
    let old = || set("web", 1).full(3).sized_for(3, 4);
    let with_note = |n: &str| asked(n).complete().note("deployment.kubernetes.io/revision", "3");
    assert_said([
        (Cluster::new(asked("1")).and(old()), "rollback to revision 1: the present template is recorded first"),
        (Cluster::new(asked("0")).and(old()), "rollback to the last revision: the present template is recorded first"),
        (Cluster::new(with_note("1")).and(set("web", 1)).and(set("web", 3).full(3).sized_for(3, 4)), "rollback to revision 1"),
        (Cluster::new(with_note("0")).and(set("web", 1)).and(set("web", 3).full(3).sized_for(3, 4)), "rollback to the last revision"),
    ]);
}

/// workloads 1.6, 2.2: before any rollout.
#[test]
fn what_keeps_a_rollout_from_starting_is_told() {
    let two = Cluster::new(third()).and(set("web", 1).orphan()).and(set("web", 2).orphan());
    assert_said([
        (two, "2 ReplicaSets to adopt"),
        (
            Cluster::new(third()).and(set("web", 1).orphan()).and(set("web", 2).with("/metadata/labels", json!({"app": "x"}))),
            "1 ReplicaSet to adopt, 1 ReplicaSet to release",
        ),
        (Cluster::new(third().with("/spec/selector", json!({}))), "the selector is empty, it would select everything"),
        (Cluster::new(third().with("/spec/strategy", json!({"type": "BlueGreen"}))), "unexpected deployment strategy type: BlueGreen"),
    ]);
    let broken = Cluster::new(third().with("/spec/selector", json!({"matchExpressions": [{"key": "a", "operator": "Near"}]})));
    assert!(why(&broken).unwrap().starts_with("deployment default/web has invalid label selector"), "{:?}", why(&broken));
    let mut gone = Cluster::new(third());
    gone.objects.clear();
    assert_eq!(why(&gone), None);
}
