//! Names of pods: chosen so that the same decision taken twice collides instead of doubling (reliability D-4).

use evenkeel_api::PODS;
use evenkeel_plan::{FailureKind, Next, Write};
use evenkeel_replicaset::SetLoop;

use crate::{both, world::*};

both! {
    /// A leader that crashed after its creates, and the next one with an empty cache: no pod twice.
    fn the_same_decision_taken_twice_makes_the_pods_once<S>() {
        let mut world = World::new().with::<S>(set("web").replicas(3));
        let first = world.pass(&SetLoop::<S>::default(), "web");
        // The next leader has seen nothing of it.
        let blind = World { server: std::mem::take(&mut world.server), ..World::new().with::<S>(set("web").replicas(3)) };
        let mut world = blind;
        world.server.take_log();
        let second = world.pass(&SetLoop::<S>::default(), "web");
        assert_eq!(first.writes(), second.writes());
        assert_eq!(world.pods().len(), 3);
        assert_eq!(second.events().len(), 3, "told again: the first may have died before it could");
        assert!(matches!(second.report.next, Next::OnChange));
    }

    /// A restarted leader finds again which names are used, from the pods that there are.
    fn a_restarted_leader_uses_other_names_for_more_pods<S>() {
        let mut world = World::new().with::<S>(set("web").replicas(3));
        world.settle(&SetLoop::<S>::default(), "web");
        let before = world.pods();
        world.scale::<S>("web", 6);
        let pass = world.pass(&SetLoop::<S>::default(), "web");
        assert_eq!(pass.creates(), 3);
        assert!(pass.plan.writes().all(|w| !before.contains(&w.name().to_string())));
        assert_eq!(world.pods().len(), 6);
    }

    /// A name that turns out to belong to somebody else is passed over by the next pass; nobody is told of a failure.
    fn a_name_that_is_taken_by_a_stranger_is_passed_over<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(1));
        let name = world.look(&lp, "web").writes().next().unwrap().name().to_string();
        let mut stranger = pod(&name).0;
        stranger["metadata"]["labels"] = serde_json::json!({"x": "y"});
        world.server.put(&PODS, stranger);
        let pass = world.pass(&lp, "web");
        assert!(pass.events().is_empty() && matches!(pass.report.next, Next::Retry(_)));
        assert_eq!(pass.status().get("conditions"), None);
        // Not even the watch need have shown the stranger.
        let (pods, sets) = world.server.take_log().into_iter().partition(|step| step.kind == &PODS);
        world.server.give_back(sets);
        world.deliver();
        assert_ne!(world.look(&lp, "web").writes().next().unwrap().name().to_string(), name);
        world.server.give_back(pods);
        let pass = world.settle(&lp, "web").swap_remove(0);
        assert_eq!((pass.creates(), world.live_of("web").len()), (1, 1));
        assert_ne!(world.live_of("web")[0], name);
    }

    /// One that the cache shows is not even tried.
    fn a_name_that_is_seen_to_be_taken_is_not_tried<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(1));
        let name = world.look(&lp, "web").writes().next().unwrap().name().to_string();
        world.add_pods::<S>([pod(&name).labels(serde_json::json!({"x": "y"}))]);
        assert_ne!(world.look(&lp, "web").writes().next().unwrap().name().to_string(), name);
    }

    /// What was refused did not use its name up: the text of the failure stays the same, and so does the condition.
    fn a_refused_create_is_tried_under_the_same_name<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(1));
        world.refuse = no_creates(FailureKind::Forbidden, "no");
        let first = world.pass(&lp, "web").writes();
        world.deliver();
        assert_eq!(world.pass(&lp, "web").writes(), first);
    }

    /// A pod that is replaced gets another name, so that the old one's end cannot be mistaken for the new one's.
    fn a_replacement_has_a_name_of_its_own<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(1));
        world.settle(&lp, "web");
        for _ in 0..5 {
            let [old] = &world.pods()[..] else { panic!("one pod") };
            let old = old.clone();
            world.remove(&PODS, &old);
            world.settle(&lp, "web");
            assert_ne!(world.pods()[0], old);
        }
    }

    /// workloads 3.6.1: a name too long for a dash does without, and its pods are found again all the same.
    fn a_name_too_long_for_a_dash_does_without<S>() {
        for (length, dash) in [(3, "-"), (252, "-"), (253, "")] {
            let (lp, name) = (SetLoop::<S>::default(), "a".repeat(length));
            let mut world = World::new().with::<S>(set(&name).replicas(1));
            let pass = world.pass(&lp, &name);
            let Some(Write::Create { body, .. }) = pass.plan.writes().next() else { panic!("{pass:?}") };
            assert_eq!(body["metadata"]["generateName"], format!("{name}{dash}"));
            world.scale::<S>(&name, 2);
            let second = world.pass(&SetLoop::<S>::default(), &name);
            assert_eq!(second.creates(), 1);
            assert_ne!(second.writes(), pass.writes());
        }
    }
}
