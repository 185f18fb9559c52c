//! What the status says, when it is written, and when the set is looked at again for it.

use evenkeel_api::ReplicaSet;
use evenkeel_plan::{ControlLoop, FailureKind, Next, Write};
use evenkeel_replicaset::{Options, SetLoop};
use serde_json::{Value, json};

use crate::{both, world::*};

both! {
    /// workloads 3.9.13 and the recorded stories rs-labelled, rc-labelled.
    fn a_change_of_the_template_alone_touches_no_pod<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(2));
        world.settle(&lp, "web");
        let pods = world.pods();
        world.change_set::<S>("web", |v| v["spec"]["template"]["spec"]["containers"][0]["image"] = "app:2".into());
        let pass = world.pass(&lp, "web");
        assert!(pass.plan.is_empty());
        assert_eq!(pass.status()["observedGeneration"], 2);
        assert_eq!(world.pods(), pods);
    }

    /// workloads 3.9.14 and the recorded stories rs-min-ready, rc-pods.
    fn ready_pods_become_available_after_their_time<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(3).min_ready(3600)).with_pods::<S>([
            pod("not").of("web").running(),
            pod("now").of("web").ready_since(noon()),
            pod("long").of("web").ready_since(seconds_before(noon(), 7200)),
        ]);
        let status = world.pass(&lp, "web").status();
        assert_eq!([&status["replicas"], &status["readyReplicas"], &status["availableReplicas"]], [3, 2, 1]);
        world.deliver();
        world.change_set::<S>("web", |v| v["spec"]["minReadySeconds"] = 0.into());
        assert_eq!(world.pass(&lp, "web").status()["availableReplicas"], 2);
    }

    /// workloads 3.9.15, B18 and the recorded story rs-min-ready-timer.
    fn the_next_pod_to_become_available_wakes_the_set<S>() {
        let lp = SetLoop::<S>::default();
        let ago = |millis: i64| noon() - SignedDuration::from_millis(millis);
        let mut world = World::new().with::<S>(set("web").replicas(4).min_ready(5)).with_pods::<S>([
            pod("pending").of("web"),
            pod("a").of("web").ready_since(noon()),
            pod("b").of("web").ready_since(ago(2000)),
            pod("c").of("web").ready_since(ago(4300)),
        ]);
        let pass = world.pass(&lp, "web");
        assert_eq!((pass.status()["readyReplicas"].clone(), pass.status().get("availableReplicas")), (json!(3), None));
        let due = noon() + SignedDuration::from_millis(700);
        assert_eq!((pass.report.next, pass.plan.wake_at), (Next::At(due), Some(due)));
        world.deliver();
        for (due, available) in [(700, 1), (3000, 2), (5000, 3)] {
            world.now = noon() + SignedDuration::from_millis(due);
            let pass = world.pass(&lp, "web");
            assert_eq!(pass.status()["availableReplicas"], available, "by the clock alone");
            let next = [3000, 5000].into_iter().find(|next| *next > due);
            assert_eq!(pass.report.next, next.map_or(Next::OnChange, |n| Next::At(noon() + SignedDuration::from_millis(n))), "re-armed");
            world.deliver();
        }
    }

    /// workloads 3.9.16
    fn a_pod_is_available_exactly_when_its_time_is_up<S>() {
        let lp = SetLoop::<S>::default();
        let one = |p: Pod| World::new().with::<S>(set("web").min_ready(5)).with_pods::<S>([p.of("web")]);
        let exactly = one(pod("a").ready_since(seconds_before(noon(), 5))).pass(&lp, "web");
        assert_eq!((exactly.status()["availableReplicas"].clone(), exactly.report.next.clone()), (json!(1), Next::OnChange));
        let sometime = one(pod("a").ready_sometime()).pass(&lp, "web");
        assert_eq!((sometime.status()["readyReplicas"].clone(), sometime.status().get("availableReplicas")), (json!(1), None));
        assert_eq!(sometime.report.next, Next::At(noon() + SignedDuration::from_secs(5)), "looks again after a full round");
    }

    /// workloads 3.9.17 and the recorded stories rs-labelled, rc-labelled.
    fn only_pods_with_all_labels_of_the_template_are_fully_labelled<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(2).at("/spec/template/metadata/labels", json!({"app": "web", "extra": "1"})))
            .with_pods::<S>([pod("a").of("web"), pod("b").of("web").labels(json!({"app": "web", "extra": "1"}))]);
        let status = world.pass(&lp, "web").status();
        assert_eq!([&status["replicas"], &status["fullyLabeledReplicas"]], [2, 1]);
    }

    /// workloads 3.8: counted before this pass's creates; zero is left out, except for `replicas`.
    fn pods_of_this_pass_are_not_counted_yet<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(2));
        let pass = world.pass(&lp, "web");
        let mut want = json!({"replicas": 0, "observedGeneration": 1});
        if S::COUNTS_TERMINATING {
            want["terminatingReplicas"] = 0.into();
        }
        assert_eq!((pass.creates(), pass.status()), (2, want));
        world.settle(&lp, "web");
        assert_eq!(world.status::<S>("web")["replicas"], 2);
    }

    /// workloads 3.9.29 and B15: the write is held to what was seen; the other writer's version is seen before the next one.
    fn a_status_that_somebody_else_wrote_first_is_counted_again<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(1)).with_pods::<S>([pod("a").of("web")]);
        world.change(S::resource(), "web", |v| v["status"] = json!({"replicas": 7, "theirs": true}));
        let pass = world.pass(&lp, "web");
        let Write::Replace { target, subresource, body } = &pass.report.steps[0][0] else { panic!("{:?}", pass.report) };
        assert!(target.version.is_some() && *subresource == Some("status"));
        assert_eq!((body["kind"].clone(), body["apiVersion"].clone()), (json!(S::resource().kind), json!(S::resource().api_version())));
        assert_eq!(pass.status_outcome.first_failure().unwrap().kind, FailureKind::Conflict);
        assert_eq!(world.status::<S>("web")["replicas"], 7);
        let again = world.settle(&lp, "web");
        assert_eq!(again[0].status()["replicas"], pass.status()["replicas"]);
        assert_eq!(world.status::<S>("web")["theirs"], true);
    }

    /// The recorded stories rs-status-nonsense, rc-labelled: conditions of others stay as they are, to the letter.
    fn nonsense_in_the_status_is_put_right<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(1)).with_pods::<S>([pod("a").of("web").ready_since(noon())]);
        world.settle(&lp, "web");
        let strange = json!({"type": "Strange", "status": "Unknown", "lastTransitionTime": null, "unknown": [1]});
        world.change_set::<S>("web", |v| v["status"] = json!({"replicas": 9, "readyReplicas": 8, "observedGeneration": 1,
            "conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "Made", "message": "up"}, strange]}));
        let status = world.pass(&lp, "web").status();
        assert_eq!(status["conditions"], json!([strange]));
        assert_eq!([&status["replicas"], &status["readyReplicas"], &status["availableReplicas"], &status["fullyLabeledReplicas"]], [1, 1, 1, 1]);
    }

    /// Fields of the object that this program does not know survive a status write.
    fn unknown_fields_survive_a_status_write<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(0).at("/spec/fromTheFuture", json!({"a": 1})));
        let pass = world.pass(&lp, "web");
        let Write::Replace { body, .. } = &pass.report.steps[0][0] else { panic!("{:?}", pass.report) };
        assert_eq!(body["spec"]["fromTheFuture"], json!({"a": 1}));
    }
}

type S = ReplicaSet;

/// workloads 3.9.34 and the recorded stories rs-ended-and-dying, rs-dying-ends.
#[test]
fn pods_that_are_going_are_counted_until_they_have_ended() {
    let off = SetLoop::<S>::new(Options { terminating_replicas: false, ..Options::default() });
    let on = SetLoop::<S>::default();
    let five = (0..5).map(|n| pod(&format!("p{n}")).of("web").node("n").running());
    let mut world = World::new().with::<S>(set("web").replicas(5)).with_pods::<S>(five);
    world.settle(&off, "web");
    assert_eq!(world.status::<S>("web").get("terminatingReplicas"), None, "gate off: absent");
    world.settle(&on, "web");
    assert_eq!(world.status::<S>("web")["terminatingReplicas"], 0, "none is said as well");
    world.change_pod("p0", |v| v["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z".into());
    world.settle(&on, "web");
    let status = world.status::<S>("web");
    assert_eq!([&status["terminatingReplicas"], &status["replicas"]], [1, 5], "replaced and counted");
    world.change_pod("p1", |v| v["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z".into());
    world.change_pod("p1", |v| v["status"]["phase"] = "Failed".into());
    world.settle(&on, "web");
    assert_eq!(world.status::<S>("web")["terminatingReplicas"], 1, "ended is not going any more");
    world.change_pod("p0", |v| v["metadata"]["labels"] = json!({"app": "off"}));
    world.settle(&on, "web");
    assert_eq!(world.status::<S>("web")["terminatingReplicas"], 0, "nor is one that does not match");
    world.remove(&evenkeel_api::PODS, "p0");
    world.settle(&off, "web");
    assert_eq!(world.status::<S>("web").get("terminatingReplicas"), None, "gate off again: cleared");
}

/// B19: a server that drops the field is not asked for ever; one that lost a single write is.
#[test]
fn a_server_that_drops_terminating_replicas_is_not_asked_for_ever() {
    let lp = SetLoop::<S>::default();
    let mut world = World::new().with::<S>(set("web").replicas(1)).with_pods::<S>([pod("a").of("web")]);
    world.settle(&lp, "web");
    let forget = |world: &mut World| {
        world.change_set::<S>("web", |v| drop(v["status"].as_object_mut().unwrap().shift_remove("terminatingReplicas")));
    };
    for _ in 0..3 {
        forget(&mut world);
        assert!(world.pass(&lp, "web").writes_status(), "it may have been an accident");
    }
    forget(&mut world);
    assert!(world.pass(&lp, "web").quiet(), "absent and 0 are the same by now");
    world.add_pods::<S>([pod("z").of("web").node("n").deleting()]);
    assert_eq!(world.pass(&lp, "web").status()["terminatingReplicas"], 1, "a pod that is going is told all the same");
}

/// workloads 4: a ReplicationController never has the field.
#[test]
fn a_replication_controller_never_counts_what_is_going() {
    type C = evenkeel_api::ReplicationController;
    let lp = SetLoop::<C>::default();
    let mut world =
        World::new().with::<C>(set("web").replicas(1)).with_pods::<C>([pod("a").of("web"), pod("b").of("web").node("n").deleting()]);
    world.settle(&lp, "web");
    let status: Value = world.status::<C>("web");
    assert_eq!((status.get("terminatingReplicas"), &status["replicas"]), (None, &json!(1)));
    assert_eq!(lp.about().primary.kind, "ReplicationController");
}
