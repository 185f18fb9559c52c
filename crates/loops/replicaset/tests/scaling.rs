//! How many pods there are, and what a new one looks like.

use std::sync::Arc;

use evenkeel_api::{PODS, ReplicaSet};
use evenkeel_plan::{ControlLoop, Next, Target, Write};
use evenkeel_replicaset::{Options, SetLoop};
use serde_json::json;

use crate::{both, world::*};

both! {
    /// workloads 3.9.1
    fn a_set_that_is_as_it_should_be_is_left_alone<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(2)).with_pods::<S>([pod("a").of("web"), pod("b").of("web")]);
        assert!(world.pass(&lp, "web").plan.is_empty());
        world.deliver();
        let pass = world.pass(&lp, "web");
        assert!(pass.quiet(), "{pass:?}");
        assert_eq!(pass.report.next, Next::OnChange);
        assert_eq!(world.sent, [format!("update {} web", S::resource().plural)]);
    }

    /// workloads 3.9.11 and the recorded stories rs-ended-and-dying, rc-pods.
    fn failed_and_going_pods_are_replaced_and_stay<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(2)).with_pods::<S>([
            pod("failed").of("web").phase("Failed"),
            pod("going").of("web").running().deleting(),
        ]);
        world.settle(&lp, "web");
        assert_eq!((world.pods().len(), world.live_of("web").len()), (4, 2));
        assert_eq!(world.status::<S>("web")["replicas"], 2);
    }

    /// workloads 3.9.12 and the recorded stories rs-scale, rc-scale.
    fn scaling_is_followed_up_down_to_nothing_and_back<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(2));
        for n in [2, 3, 0, 2] {
            world.scale::<S>("web", n);
            world.settle(&lp, "web");
            assert_eq!(world.live_of("web").len() as i64, n);
            assert_eq!(world.status::<S>("web")["replicas"], n);
        }
    }

    /// workloads 3.9.19
    fn more_than_a_burst_comes_and_goes_in_rounds<S>() {
        let lp = SetLoop::<S>::new(Options { burst: 5, ..Options::default() });
        let mut world = World::new().with::<S>(set("web").replicas(30));
        for round in 0..6 {
            let pass = world.pass(&lp, "web");
            assert_eq!(pass.creates(), 5, "round {round}");
            let next = if round < 5 { Next::At(world.now) } else { Next::OnChange };
            assert_eq!(pass.report.next, next, "the next round follows by itself");
            world.deliver_next(4);
            assert!(world.pass(&lp, "web").behind.is_some(), "not before all five were seen");
            world.deliver();
        }
        assert_eq!((world.pass(&lp, "web").creates(), world.pods().len()), (0, 30));
        world.settle(&lp, "web");
        world.scale::<S>("web", 0);
        for round in 0..6 {
            let pass = world.pass(&lp, "web");
            assert_eq!(pass.victims().len(), 5);
            assert_eq!(pass.report.next, if round < 5 { Next::At(world.now) } else { Next::OnChange });
            world.deliver_next(4);
            assert!(world.pass(&lp, "web").behind.is_some());
            world.deliver();
        }
        assert!(world.pods().is_empty());
    }

    /// workloads 3.5: 500 a pass, in one step that shares one body.
    fn at_most_five_hundred_are_made_in_one_pass<S>() {
        let world = World::new().with::<S>(set("web").replicas(i64::from(i32::MAX)));
        let plan = world.look(&SetLoop::<S>::default(), "web");
        let [step] = &plan.steps[..] else { panic!("one step") };
        assert_eq!(step.len(), 500);
        let body = |w: &Write| match w {
            Write::Create { body, .. } => body.clone(),
            other => panic!("{other:?}"),
        };
        let first = body(&step[0]);
        assert!(step.iter().all(|w| Arc::ptr_eq(&body(w), &first)), "memory does not grow with the number of pods");
    }

    /// Absurd numbers (the server refuses negative ones).
    fn numbers_out_of_range_are_harmless<S>() {
        let lp = SetLoop::<S>::default();
        for (given, victims) in [(i64::from(i32::MIN), 1), (-1, 1), (i64::from(i32::MAX), 0)] {
            let mut world = World::new().with::<S>(set("web").replicas(given).min_ready(i64::from(i32::MAX)))
                .with_pods::<S>([pod("a").of("web").ready_since(noon())]);
            let pass = world.pass(&lp, "web");
            assert_eq!(pass.victims().len(), victims);
            assert!(matches!(pass.report.next, Next::At(_)));
        }
    }

    /// reliability 1, row 5; D-3
    fn deletes_hold_for_the_very_state_that_was_looked_at<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(1)).with_pods::<S>([pod("a").of("web"), pod("b").of("web").running()]);
        let plan = world.look(&lp, "web");
        let version = evenkeel_api::Version::parse(world.pod("a")["metadata"]["resourceVersion"].as_str().unwrap());
        assert!(matches!(&plan.steps[0][..], [Write::Delete { target: Target { kind, uid, version: v, .. }, propagation: None, .. }]
            if *kind == &PODS && uid.to_string() == "uid-a" && *v == version && v.is_some()), "{plan:?}");
        // The pod is orphaned before our delete arrives: it stays, and nobody is told of an error.
        world.change(&PODS, "a", |v| drop(v["metadata"].as_object_mut().unwrap().shift_remove("ownerReferences")));
        world.change(&PODS, "a", |v| v["metadata"]["labels"] = json!({}));
        let pass = world.pass(&lp, "web");
        assert_eq!(world.pods(), ["a", "b"]);
        assert!(pass.events().is_empty(), "{:?}", pass.events());
        assert!(matches!(pass.report.next, Next::Retry(_)));
        assert_eq!(pass.status().get("conditions"), None);
        world.settle(&lp, "web");
        assert_eq!(world.pods(), ["a", "b"]);
    }

    /// workloads 3.6.1 and the recorded story rs-template-copied; fields that this program does not know travel along.
    fn a_pod_gets_what_the_template_has_and_nothing_of_the_set<S>() {
        let template = json!({
            "metadata": {"name": "ignored", "labels": {"app": "web"}, "annotations": {"note": "n"}, "finalizers": ["example.com/hold"],
                "creationTimestamp": null},
            "spec": {"containers": [{"name": "main", "image": "app:1", "fromTheFuture": {"a": [1, null]}}], "alsoUnknown": true},
        });
        let world = World::new().with::<S>(
            set("dotted.name").labels(json!({"app": "web"})).at("/metadata/annotations", json!({"own": "not copied"})).at("/spec/template", template.clone()));
        let plan = world.look(&SetLoop::<S>::default(), "dotted.name");
        let Write::Create { kind, key, controller, body } = &plan.steps[0][0] else { panic!("{plan:?}") };
        assert!(key.name.starts_with("dotted.name-") && key.name.len() == "dotted.name-".len() + 5 && &*key.namespace == "ns");
        assert_eq!((*kind, controller.as_ref().unwrap().to_string()), (&PODS, "uid-dotted.name".to_owned()));
        assert_eq!(**body, json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"labels": {"app": "web"}, "annotations": {"note": "n"}, "finalizers": ["example.com/hold"],
                "generateName": "dotted.name-",
                "ownerReferences": [{"apiVersion": S::resource().api_version(), "kind": S::resource().kind, "name": "dotted.name",
                    "uid": "uid-dotted.name", "controller": true, "blockOwnerDeletion": true}]},
            "spec": template["spec"],
        }));
    }

    /// workloads 3.6: events of what went well (recorded: rs-scale).
    fn every_pod_made_or_given_up_is_told<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(2));
        let pass = world.pass(&lp, "web");
        let names: Vec<_> = pass.plan.writes().map(|w| w.name().to_string()).collect();
        assert_eq!(pass.events(), [0, 1].map(|n| format!("Normal SuccessfulCreate: Created pod: {}", names[n])));
        let about = &pass.report.events[0].about;
        assert_eq!((about.kind, &*about.name, about.uid.to_string()), (S::resource(), "web", "uid-web".to_owned()));
        world.deliver();
        world.scale::<S>("web", 1);
        let pass = world.pass(&lp, "web");
        assert_eq!(pass.events(), [format!("Normal SuccessfulDelete: Deleted pod: {}", pass.victims()[0])]);
    }
}

#[test]
fn the_loops_go_by_their_names() {
    use evenkeel_api::ReplicationController;
    let (rs, rc) = (SetLoop::<ReplicaSet>::default(), SetLoop::<ReplicationController>::default());
    assert_eq!(
        [rs.about().name, rs.about().alias, rs.about().client, rs.about().event_component, rs.about().queue],
        ["replicaset-controller", "replicaset", "replicaset-controller", "replicaset-controller", "replicaset"]
    );
    assert_eq!(
        [rc.about().name, rc.about().alias, rc.about().client, rc.about().event_component, rc.about().queue],
        [
            "replicationcontroller-controller",
            "replicationcontroller",
            "replication-controller",
            "replication-controller",
            "replicationmanager"
        ]
    );
    assert_eq!(rs.about().watches.iter().map(|k| k.plural).collect::<Vec<_>>(), ["replicasets", "pods"]);
    assert_eq!(rc.about().watches.iter().map(|k| k.plural).collect::<Vec<_>>(), ["replicationcontrollers", "pods"]);
}
