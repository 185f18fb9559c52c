//! Which pods belong to a set: adoption, release, and respect for others.

use evenkeel_api::{Kind, PODS};
use evenkeel_plan::{FailureKind, Next, Target, Write};
use evenkeel_replicaset::{Options, SetLoop};
use serde_json::{Value, json};

use crate::{both, world::*};

fn reference<S: Written>(set: &str, controller: bool) -> Value {
    let kind: Kind = S::resource();
    json!({"apiVersion": kind.api_version(), "kind": kind.kind, "name": set, "uid": format!("uid-{set}"), "controller": controller})
}

fn keeper(controller: bool) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "keeper", "uid": "uid-keeper", "controller": controller})
}

both! {
    /// workloads 3.9.2, 1.6.2: one live read, then one patch that carries the uid of the pod and the reference.
    fn an_orphan_that_matches_is_adopted<S>() {
        let world = World::new().with::<S>(set("web").replicas(1)).with_pods::<S>([pod("a"), pod("other").labels(json!({"app": "db"}))]);
        let plan = world.look(&SetLoop::<S>::default(), "web");
        let [confirm, adopt] = &plan.steps[..] else { panic!("{plan:?}") };
        assert!(matches!(&confirm[..], [Write::ConfirmOwner { target: Target { kind, key, version: None, .. } }]
            if *kind == S::resource() && &*key.name == "web"));
        let [Write::Patch { target, body, .. }] = &adopt[..] else { panic!("{adopt:?}") };
        assert_eq!(&*target.key.name, "a");
        assert_eq!(*body, json!({"metadata": {"uid": "uid-a", "ownerReferences": [{"apiVersion": S::resource().api_version(),
            "kind": S::resource().kind, "name": "web", "uid": "uid-web", "controller": true, "blockOwnerDeletion": true}]}}));
    }

    /// workloads 3.9.2 and the recorded story rs-references.
    fn references_to_the_set_are_upgraded_or_left_as_they_are<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(2)).with_pods::<S>([
            pod("mere").owners(json!([reference::<S>("web", false)])),
            pod("mine").owners(json!([reference::<S>("web", true)])),
            pod("theirs").owners(json!([keeper(true), reference::<S>("web", false)])),
        ]);
        let passes = world.settle(&lp, "web");
        assert_eq!(passes[0].writes(), ["get web", "patch mere"]);
        assert_eq!(world.owners_of("mere"), ["*web"]);
        assert_eq!(world.owners_of("mine"), ["*web"]);
        assert_eq!(world.pod("mine")["metadata"]["ownerReferences"][0].get("blockOwnerDeletion"), None);
        assert_eq!(world.owners_of("theirs"), ["*keeper", "web"]);
        assert_eq!(world.pods(), ["mere", "mine", "theirs"]);
    }

    /// workloads 3.9.3
    fn a_foreign_owner_that_does_not_control_is_kept<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web")).with_pods::<S>([pod("a").owners(json!([keeper(false)]))]);
        world.settle(&lp, "web");
        assert_eq!(world.owners_of("a"), ["*web", "keeper"]);
    }

    /// workloads 3.9.4 and the recorded story rs-adopt: all are adopted first, then the surplus goes; the ready ones stay.
    fn of_too_many_orphans_all_are_adopted_and_the_surplus_goes<S>() {
        let lp = SetLoop::<S>::default();
        let ready = |name: &str| pod(name).ready_since(noon());
        let mut world = World::new().with::<S>(set("web").replicas(2)).with_pods::<S>([ready("p1"), ready("p2"), pod("p3")]);
        let passes = world.settle(&lp, "web");
        assert_eq!(passes[0].writes(), ["get web", "patch p1", "patch p2", "patch p3"]);
        assert!(!passes[0].writes_status(), "it would be counted without the adopted ones");
        assert_eq!(passes[0].report.next, Next::At(world.now));
        assert_eq!(passes[1].writes(), ["delete p3"]);
        assert_eq!(passes[1].events(), ["Normal SuccessfulDelete: Deleted pod: p3"]);
        assert_eq!(world.pods(), ["p1", "p2"]);
    }

    /// workloads 3.9.5 and the recorded stories rs-release, rc-adopt.
    fn a_pod_whose_labels_change_is_let_go_and_replaced_and_taken_in_again<S>() {
        let lp = SetLoop::<S>::default();
        let ready = |name: &str| pod(name).of("web").ready_since(noon());
        let mut world = World::new().with::<S>(set("web").replicas(2)).with_pods::<S>([ready("a"), ready("b")]);
        world.settle(&lp, "web");
        world.change_pod("a", |v| v["metadata"]["labels"] = json!({"was": "in"}));
        let passes = world.settle(&lp, "web");
        let Write::Patch { body, .. } = &passes[0].plan.steps[0][0] else { panic!("{:?}", passes[0].plan) };
        assert_eq!(*body, json!({"metadata": {"uid": "uid-a", "ownerReferences": [{"$patch": "delete", "uid": "uid-web"}]}}));
        assert_eq!(passes[0].plan.steps.len(), 1, "no live read: nothing is adopted");
        assert!(world.owners_of("a").is_empty());
        assert_eq!((world.pods().len(), world.live_of("web").len()), (3, 2));
        world.change_pod("a", |v| v["metadata"]["labels"] = json!({"app": "web", "was": "in"}));
        world.settle(&lp, "web");
        assert_eq!(world.pods(), ["a", "b"], "the one that was not ready goes");
        assert_eq!(world.owners_of("a"), ["*web"]);
    }

    /// workloads 3.9.6 and the recorded story rs-lost-owner.
    fn a_pod_under_foreign_control_is_not_touched<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(2)).with_pods::<S>([pod("theirs").owners(json!([keeper(true)]))]);
        world.settle(&lp, "web");
        assert_eq!(world.live_of("web").len(), 2);
        assert!(!world.sent.iter().any(|s| s.starts_with("patch")), "{:?}", world.sent);
        let mine = world.live_of("web")[0].clone();
        world.change_pod(&mine, |v| v["metadata"]["ownerReferences"] = json!([keeper(true)]));
        world.settle(&lp, "web");
        assert_eq!((world.live_of("web").len(), world.pods().len()), (2, 4), "one given to somebody else is replaced");
    }

    /// workloads 3.9.7 and the recorded story rs-overlap.
    fn two_sets_with_one_selector_keep_to_their_own<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(1)).with::<S>(set("web2").labels(json!({"app": "web"})).replicas(2));
        for name in ["web", "web2", "web", "web2"] {
            world.settle(&lp, name);
        }
        assert_eq!((world.live_of("web").len(), world.live_of("web2").len(), world.pods().len()), (1, 2, 3));
        assert_eq!((world.status::<S>("web")["replicas"].clone(), world.status::<S>("web2")["replicas"].clone()), (json!(1), json!(2)));
    }

    /// workloads 3.9.8 and the recorded story rs-dying.
    fn a_set_on_its_way_out_neither_makes_nor_takes_nor_lets_go<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(3).deleting()).with_pods::<S>([
            pod("mine").of("web").ready_since(noon()),
            pod("off").of("web").labels(json!({"app": "off"})),
            pod("free"),
        ]);
        let pass = world.pass(&lp, "web");
        assert!(pass.plan.is_empty(), "{:?}", pass.plan);
        assert_eq!((pass.status()["replicas"].clone(), pass.status()["readyReplicas"].clone()), (json!(1), json!(1)));
        world.deliver();
        world.scale::<S>("web", 0);
        assert!(world.pass(&lp, "web").plan.is_empty(), "nor does it give up");
    }

    /// workloads 3.9.9: the cache says alive, a live read says deleted.
    fn a_set_that_was_deleted_in_the_meantime_adopts_nothing<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(2)).with_pods::<S>([pod("a")]);
        world.change(S::resource(), "web", |v| v["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z".into());
        let pass = world.pass(&lp, "web");
        assert_eq!(world.sent, [format!("get {} web", S::resource().plural)]);
        assert!(!pass.writes_status());
        assert_eq!(pass.report.next, Next::Retry("can't adopt Pod ns/a (uid-a): ns/web has just been deleted".into()));
    }

    /// workloads 1.6.1: another life of the name.
    fn another_set_of_the_same_name_does_not_adopt_for_the_old_one<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web")).with_pods::<S>([pod("a"), pod("b")]);
        world.server.remove(S::resource(), "web");
        world.server.put(S::resource(), set("web").uid("uid-new").object::<S>());
        let Next::Retry(text) = world.pass(&lp, "web").report.next else { panic!("retried") };
        assert!(text.starts_with("[can't adopt Pod ns/a (uid-a): ") && text.contains("can't adopt Pod ns/b (uid-b): "), "{text}");
        assert!(world.owners_of("a").is_empty());
    }

    /// workloads 3.9.10: both orphans are attempted, nothing is made, and equal errors are told once.
    fn where_adoption_fails_nothing_is_made<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(5)).with_pods::<S>([pod("a"), pod("b")]);
        world.refuse = Box::new(|w| (w.verb() == "patch").then(|| failure(FailureKind::Other, "fake error")));
        let pass = world.pass(&lp, "web");
        assert_eq!(pass.writes(), ["get web", "patch a", "patch b"]);
        assert_eq!(world.sent.len(), 3);
        assert_eq!(pass.report.next, Next::Retry("fake error".into()));
        assert!(!pass.writes_status() && pass.events().is_empty());
        let again = world.settle(&lp, "web");
        assert_eq!(again.last().unwrap().report.next, Next::Retry("fake error".into()), "never given up (B17)");
    }

    /// workloads 1.6.4: what is fine for a release (422) is not for an adoption; different errors are told together.
    fn adoptions_that_are_refused_are_told_together<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web")).with_pods::<S>((0..8).map(|n| pod(&format!("p{n}"))));
        world.refuse = Box::new(|w| (w.verb() == "patch").then(|| failure(FailureKind::Invalid, &format!("{} is invalid", w.name()))));
        let text = "[p0 is invalid, p1 is invalid, p2 is invalid, p3 is invalid, p4 is invalid, and 3 more]";
        assert_eq!(world.pass(&lp, "web").report.next, Next::Retry(text.into()));
    }

    /// workloads 1.6.4: a release that fails keeps no adoption from being tried.
    fn releases_and_adoptions_are_tried_together<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(1)).with_pods::<S>([pod("in"), pod("out").of("web").labels(json!({"app": "x"}))]);
        world.refuse = Box::new(|w| (&**w.name() == "out").then(|| failure(FailureKind::Other, "no")));
        let pass = world.pass(&lp, "web");
        assert_eq!(pass.plan.steps.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(world.owners_of("in"), ["*web"]);
        assert_eq!(pass.report.next, Next::Retry("no".into()));
    }

    /// workloads 1.6.4: an orphan that is gone is no error. But nobody tells a set of an orphan's end, so it looks again.
    fn an_orphan_that_is_gone_already_is_not_an_error_but_looked_at_again<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(1)).with_pods::<S>([pod("a")]);
        world.server.remove(&PODS, "a");
        let pass = world.pass(&lp, "web");
        assert_eq!(pass.report.next, Next::Retry("pod ns/a is gone, and the watch has not said so yet".into()));
        assert!(pass.events().is_empty());
        world.settle(&lp, "web");
        assert_eq!(world.live_of("web").len(), 1);
    }

    /// workloads 1.6.4, B16: releases answered 404, 422 or 200 without a change are all fine.
    fn releasing_what_is_not_there_any_more_is_fine<S>() {
        for (kind, message) in [(FailureKind::NotFound, "not found"), (FailureKind::Invalid, "uid is immutable")] {
            let lp = SetLoop::<S>::default();
            let mut world = World::new().with::<S>(set("web").replicas(0)).with_pods::<S>([pod("a").of("web").labels(json!({"x": "y"}))]);
            world.refuse = Box::new(move |w| (w.verb() == "patch").then(|| failure(kind, message)));
            let Next::Retry(text) = world.pass(&lp, "web").report.next else { panic!("looked at again") };
            assert!(text.contains("is gone"), "{text}");
        }
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(0)).with_pods::<S>([pod("a").of("web").labels(json!({"x": "y"}))]);
        world.change(&PODS, "a", |v| drop(v["metadata"].as_object_mut().unwrap().shift_remove("ownerReferences")));
        let pass = world.pass(&lp, "web");
        assert_eq!((pass.writes(), pass.report.next.clone()), (vec!["patch a".into()], Next::At(world.now)));
        assert!(world.pass(&lp, "web").behind.is_some(), "waits for what the answer showed instead of patching again");
        assert!(world.settle(&lp, "web").iter().all(|p| p.plan.is_empty()));
    }

    /// The recorded story rs-adopt-only-living; workloads 3.4.5.
    fn only_living_pods_are_adopted_or_released<S>() {
        let lp = SetLoop::<S>::default();
        let off = json!({"app": "off"});
        let mut world = World::new().with::<S>(set("web").replicas(2)).with_pods::<S>([
            pod("ended").phase("Failed"),
            pod("dying").node("n").deleting(),
            pod("well"),
            pod("ended-off").of("web").labels(off.clone()).phase("Succeeded"),
            pod("dying-off").of("web").labels(off).deleting(),
        ]);
        let passes = world.settle(&lp, "web");
        assert_eq!(passes[0].writes(), ["get web", "patch well"]);
        assert_eq!((world.live_of("web").len(), world.pods().len()), (2, 6));
    }

    /// The recorded story rs-delete: what was orphaned is taken in by the next set of that name.
    fn a_new_set_of_the_same_name_takes_in_what_the_old_one_left<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(2));
        world.settle(&lp, "web");
        world.remove(S::resource(), "web");
        for name in world.pods() {
            world.change_pod(&name, |v| drop(v["metadata"].as_object_mut().unwrap().shift_remove("ownerReferences")));
        }
        assert!(world.pass(&lp, "web").quiet());
        world.add::<S>(set("web").replicas(3).uid("uid-next"));
        world.settle(&lp, "web");
        assert_eq!((world.live_of("web").len(), world.pods().len()), (3, 3));
    }

    /// A reference with our uid but another name or kind is a mistake that is not ours to act on.
    fn a_reference_with_our_uid_and_another_name_is_not_ours<S>() {
        let odd = |field: &str, text: &str| {
            let mut odd = reference::<S>("web", true);
            odd[field] = text.into();
            json!([odd])
        };
        let world = World::new().with::<S>(set("web").replicas(0))
            .with_pods::<S>([pod("a").owners(odd("name", "wob")), pod("b").owners(odd("kind", "Wob"))]);
        assert!(world.look(&SetLoop::<S>::default(), "web").is_empty());
    }

    /// Somebody who makes matching orphans without end does not make the set grow without end; nor do deletes that fail keep pods from being
    /// adopted.
    fn a_flood_of_orphans_does_not_keep_the_surplus_from_going<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(2));
        world.settle(&lp, "web");
        for n in 0..30 {
            world.add_pods::<S>([pod(&format!("flood{n}")), pod(&format!("more{n}"))]);
            let pass = world.pass(&lp, "web");
            assert!(matches!(pass.report.next, Next::At(_)), "comes back for the rest by itself");
            assert!(world.pods().len() <= 8, "{:?}", world.pods());
        }
        world.settle(&lp, "web");
        assert_eq!(world.pods().len(), 2);
        world.refuse = Box::new(|w| (w.verb() == "delete").then(|| failure(FailureKind::Other, "no")));
        world.add_pods::<S>([pod("a")]);
        world.settle(&lp, "web");
        world.add_pods::<S>([pod("b")]);
        world.settle(&lp, "web");
        world.settle(&lp, "web");
        assert_eq!((world.owners_of("a"), world.owners_of("b")), (vec!["*web".into()], vec!["*web".into()]));
    }

    /// workloads 3.4.5: a claim that fails keeps everything else from being done, a surplus too.
    fn a_failing_claim_keeps_the_surplus<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(0)).with_pods::<S>([pod("mine").of("web"), pod("free")]);
        world.refuse = Box::new(|w| (w.verb() == "patch").then(|| failure(FailureKind::Other, "no")));
        for _ in 0..3 {
            assert_eq!(world.pass(&lp, "web").report.next, Next::Retry("no".into()));
        }
        assert_eq!(world.pods(), ["free", "mine"]);
    }

    /// Many orphans are adopted a burst at a time, and counted only when all are.
    fn claims_are_bounded_per_pass<S>() {
        let lp = SetLoop::<S>::new(Options { burst: 5, ..Options::default() });
        let mut world = World::new().with::<S>(set("web").replicas(12)).with_pods::<S>((0..12).map(|n| pod(&format!("p{n}"))));
        let passes = world.settle(&lp, "web");
        let patches: Vec<usize> = passes.iter().map(|p| p.writes().iter().filter(|w| w.starts_with("patch")).count()).collect();
        assert_eq!(patches[..4], [5, 5, 2, 0]);
        assert_eq!(world.pods().len(), 12);
        for n in 0..7 {
            world.change(&PODS, &format!("p{n}"), |v| v["metadata"]["labels"] = json!({"x": "y"}));
        }
        world.add_pods::<S>((0..7).map(|n| pod(&format!("q{n}"))));
        let passes = world.settle(&lp, "web");
        let patches: Vec<usize> = passes.iter().map(|p| p.writes().iter().filter(|w| w.starts_with("patch")).count()).collect();
        assert_eq!(patches[..4], [5, 5, 4, 0], "releases and adoptions together");
    }
}

/// The recorded story rs-selectors.
#[test]
fn expressions_choose_among_strangers() {
    type S = evenkeel_api::ReplicaSet;
    let lp = SetLoop::<S>::default();
    let selector = json!({"matchExpressions": [{"key": "x", "operator": "In", "values": ["1"]}, {"key": "y", "operator": "Exists"}]});
    let rack = set("rack").labels(json!({"x": "1", "y": "a"})).selector(selector).replicas(2);
    let mut world = World::new().with::<S>(rack).with_pods::<S>([
        pod("none").labels(Value::Null),
        pod("plain").labels(json!({"x": "1"})),
        pod("other").labels(json!({"x": "2", "y": "b"})),
        pod("both").labels(json!({"x": "1", "y": "a", "z": "0"})),
    ]);
    let passes = world.settle(&lp, "rack");
    assert_eq!(passes[0].writes(), ["get rack", "patch both"]);
    assert_eq!(world.live_of("rack").len(), 2);
}
