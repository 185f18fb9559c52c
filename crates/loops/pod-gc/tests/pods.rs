//! The scenarios of garbage-collection B5, run by run, against a small server that knows nodes and pods.

mod world;

use evenkeel_pod_gc::Reason;
use serde_json::json;

use crate::world::{World, node, pod};

/// garbage-collection B5.1
#[test]
fn of_ended_pods_the_oldest_go_until_the_threshold_is_met() {
    let ended = || [pod("a").phase("Succeeded").created(3), pod("b").phase("Failed").created(1), pod("c").phase("Succeeded").created(2)];
    let mut all_stay = World::new(0).with(ended());
    assert_eq!(all_stay.run(), [""; 0]);
    let mut world = World::new(1).with(ended());
    assert_eq!(world.run(), ["delete b", "delete c"]);
    assert_eq!(world.names(), ["a"]);
    assert_eq!(world.attempts(), [("b", Reason::Terminated, false), ("c", Reason::Terminated, false)]);
    assert_eq!(world.run(), [""; 0]);
}

/// garbage-collection B5.2, and the rest of the order of B2
#[test]
fn evicted_pods_go_before_older_ones_and_names_decide_between_equals() {
    let mut world =
        World::new(1).with([pod("old").phase("Failed").created(1), pod("evicted").phase("Failed").reason("Evicted").created(9)]);
    assert_eq!(world.run(), ["delete evicted"]);
    let twins = ["c", "a", "b"].map(|name| pod(name).phase("Failed").created(5));
    assert_eq!(World::new(1).with(twins).run(), ["delete a", "delete b"]);
    // What runs is never evicted, whatever its status says.
    let mut world =
        World::new(1).with([pod("runs").reason("Evicted").phase("Running"), pod("a").phase("Failed"), pod("b").phase("Failed")]);
    assert_eq!(world.run(), ["delete a"]);
}

/// garbage-collection B5.3
#[test]
fn fewer_ended_pods_than_the_threshold_stay() {
    let mut world = World::new(5).with([pod("a").phase("Failed"), pod("b").phase("Succeeded"), pod("c").phase("Running")]);
    assert_eq!(world.run(), [""; 0]);
    assert_eq!(world.names(), ["a", "b", "c"]);
}

/// garbage-collection B5.4, B3
#[test]
fn a_pod_of_a_missing_node_goes_after_the_quarantine_once_the_node_is_not_found() {
    let mut world = World::new(12_500).with([pod("a").node("gone").phase("Running").generation(3), pod("b").node("here").phase("Running")]);
    world.nodes.insert("here".into(), node(true, false));
    assert_eq!(world.run(), [""; 0]);
    world.advance(19);
    assert_eq!(world.run(), [""; 0], "19 s");
    world.advance(20);
    assert_eq!(world.run(), [""; 0], "39 s");
    world.advance(1);
    assert_eq!(world.run(), ["get gone", "fail a", "delete a"]);
    assert_eq!(world.attempts(), [("a", Reason::Orphaned, false)]);
    let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC", "message": "PodGC: node no longer exists",
        "observedGeneration": 3, "lastTransitionTime": "2026-01-01T00:00:40Z"});
    assert_eq!(
        world.patches[0],
        json!({"metadata": {"uid": "uid-a"}, "status": {"phase": "Failed", "observedGeneration": 3, "conditions": [condition]}})
    );
    assert_eq!(world.names(), ["b"]);
}

/// garbage-collection B4: a condition that held already keeps its time.
#[test]
fn a_pod_that_was_a_target_of_disruption_before_keeps_the_time_of_it() {
    let mut world = World::new(0).with([pod("a").node("gone").phase("Running").disrupted()]);
    world.run();
    world.advance(40);
    world.run();
    assert_eq!(world.patches[0]["status"]["conditions"][0].get("lastTransitionTime"), None);
}

/// garbage-collection B5.5
#[test]
fn ended_pods_of_a_missing_node_are_deleted_as_they_are() {
    let mut world = World::new(0).with([pod("a").node("gone").phase("Succeeded"), pod("b").node("gone").phase("Failed")]);
    world.run();
    world.advance(40);
    assert_eq!(world.run(), ["get gone", "delete a", "delete b"]);
    assert!(world.patches.is_empty());
}

/// garbage-collection B5.6
#[test]
fn a_pod_whose_node_turns_up_stays() {
    let mut in_the_cache = World::new(0).with([pod("a").node("late").phase("Running")]);
    in_the_cache.run();
    in_the_cache.advance(30);
    in_the_cache.nodes.insert("late".into(), node(true, false));
    assert_eq!(in_the_cache.run(), [""; 0]);
    // Missed again, it has a whole quarantine before it.
    in_the_cache.advance(5);
    in_the_cache.nodes.clear();
    assert_eq!(in_the_cache.run(), [""; 0]);
    in_the_cache.advance(39);
    assert_eq!(in_the_cache.run(), [""; 0]);

    let mut by_get = World::new(0).with([pod("a").node("late").phase("Running")]);
    by_get.unseen.insert("late".into());
    by_get.run();
    by_get.advance(40);
    assert_eq!(by_get.run(), ["get late"]);
    assert_eq!(by_get.names(), ["a"]);
    by_get.advance(20);
    assert_eq!(by_get.run(), [""; 0], "it is in quarantine again");
}

/// garbage-collection B3: an error says nothing about the node.
#[test]
fn a_node_that_cannot_be_asked_for_is_asked_for_after_another_quarantine() {
    let mut world = World::new(0).with([pod("a").node("gone").phase("Running")]);
    world.run();
    world.advance(40);
    world.fail = Some("get gone");
    assert_eq!(world.run(), ["get gone"]);
    world.fail = None;
    for _ in 0..2 {
        world.advance(20);
        assert_eq!(world.run(), [""; 0]);
    }
    world.advance(20);
    assert_eq!(world.run(), ["get gone", "fail a", "delete a"]);
}

/// garbage-collection B3: that a node is gone is known for one run; another may take its name.
#[test]
fn a_new_pod_under_the_name_of_a_lost_node_waits_for_a_quarantine_of_its_own() {
    let mut world = World::new(0).with([pod("a").node("gone").phase("Running")]);
    world.run();
    world.advance(40);
    world.run();
    world.pods.insert("b".into(), pod("b").node("gone").phase("Running").value());
    world.advance(20);
    assert_eq!(world.run(), [""; 0]);
    world.advance(20);
    assert_eq!(world.run(), [""; 0]);
    world.advance(20);
    assert_eq!(world.run(), ["get gone", "fail b", "delete b"]);
}

/// garbage-collection B5.7; unlike upstream, what nothing is left to do about is left alone in later runs.
#[test]
fn a_pod_that_somebody_holds_ends_failed_and_terminating() {
    let mut world = World::new(0).with([pod("a").node("gone").phase("Running").held()]);
    world.run();
    world.advance(40);
    assert_eq!(world.run(), ["get gone", "fail a", "delete a"]);
    assert_eq!(world.pods["a"]["status"]["phase"], "Failed");
    assert_eq!(world.pods["a"]["metadata"]["deletionGracePeriodSeconds"], 0);
    for _ in 0..4 {
        world.advance(20);
        assert_eq!(world.run(), [""; 0]);
    }
}

/// garbage-collection B5.8
#[test]
fn a_terminating_pod_of_a_node_out_of_service_is_failed_and_deleted() {
    let mut world = World::new(0).with([pod("a").node("down").phase("Running").terminating(300)]);
    world.nodes.insert("down".into(), node(false, false));
    assert_eq!(world.run(), [""; 0]);
    world.nodes.insert("down".into(), node(false, true));
    world.advance(20);
    assert_eq!(world.run(), ["fail a", "delete a"]);
    assert_eq!(world.patches[0]["status"], json!({"phase": "Failed", "observedGeneration": 0}));
    assert_eq!(world.attempts(), [("a", Reason::OutOfService, false)]);
}

/// garbage-collection B5.9
#[test]
fn pods_stay_on_nodes_that_work_or_are_only_down_and_where_nobody_deletes_them() {
    let pods = [pod("a").node("up").terminating(300), pod("b").node("down").terminating(300), pod("c").node("out")];
    let mut world = World::new(0).with(pods.map(|p| p.phase("Running")));
    world.nodes.extend([("up".into(), node(true, true)), ("down".into(), node(false, false)), ("out".into(), node(false, true))]);
    assert_eq!(world.run(), [""; 0]);
    assert_eq!(world.names(), ["a", "b", "c"]);
}

/// garbage-collection B5.10
#[test]
fn a_terminating_pod_that_no_node_ever_had_goes_at_once_in_any_phase() {
    let phases = ["Pending", "Running", "Succeeded", "Failed", "Unknown"];
    let pods = phases.map(|phase| pod(&phase.to_lowercase()).phase(phase).terminating(30));
    let mut world = World::new(0).with(pods).with([pod("scheduled").node("n").phase("Running").terminating(30), pod("stays")]);
    world.nodes.insert("n".into(), node(true, false));
    let marked = ["fail pending", "fail running", "fail unknown"];
    let writes = world.run();
    assert!(marked.iter().all(|m| writes.contains(&(*m).to_owned())), "{writes:?}");
    assert_eq!(writes.iter().filter(|w| w.starts_with("delete")).count(), 5, "{writes:?}");
    assert_eq!(world.names(), ["scheduled", "stays"]);
}

/// garbage-collection B5.11: the patch is about the status and the uid, so nothing of the spec can be in its way.
#[test]
fn the_mark_touches_nothing_but_the_status() {
    let mut world = World::new(0).with([pod("a").terminating(30)]);
    world.run();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        (keys(&world.patches[0]), keys(&world.patches[0]["metadata"])),
        (vec!["metadata".into(), "status".into()], vec!["uid".into()])
    );
}

/// garbage-collection B5.12
#[test]
fn a_pod_that_was_replaced_before_the_mark_is_not_deleted() {
    let mut world = World::new(0).with([pod("a").terminating(30)]);
    world.replaced.insert("a".into());
    assert_eq!(world.run(), ["fail a"]);
    assert_eq!(world.attempts(), [("a", Reason::Unscheduled, true)]);
    assert_eq!(world.names(), ["a"]);
}

/// garbage-collection B6.1: upstream deletes whoever goes by the name.
#[test]
fn a_pod_that_was_replaced_before_the_delete_stays() {
    let mut world = World::new(1).with([pod("a").phase("Failed").created(1), pod("b").phase("Failed").created(2)]);
    world.replaced.insert("a".into());
    assert_eq!(world.run(), ["delete a"]);
    assert_eq!(world.names(), ["a", "b"]);
    assert_eq!(world.attempts(), [("a", Reason::Terminated, false)], "gone already is no error (B6.2)");
}

/// garbage-collection B1: a failure costs nobody else anything, and waits for the next run.
#[test]
fn a_failure_is_tried_again_in_the_next_run_and_holds_up_nobody() {
    let mut world = World::new(0).with([pod("a").terminating(30), pod("b").terminating(30), pod("c").terminating(30)]);
    world.fail = Some("fail b");
    assert_eq!(world.run(), ["fail a", "fail b", "fail c", "delete a", "delete c"]);
    assert_eq!(world.attempts(), [("b", Reason::Unscheduled, true), ("a", Reason::Unscheduled, false), ("c", Reason::Unscheduled, false)]);
    world.fail = Some("delete b");
    world.advance(20);
    assert_eq!(world.run(), ["fail b", "delete b"]);
    world.fail = None;
    world.advance(20);
    assert_eq!(world.run(), ["delete b"]);
    assert_eq!(world.names(), [""; 0]);
}

/// garbage-collection B2: ended pods that are going count, and take up the surplus.
#[test]
fn ended_pods_on_their_way_out_take_up_the_surplus() {
    let going = pod("going").node("n").phase("Failed").created(1).held().terminating(0);
    let mut world = World::new(1).with([going, pod("b").node("n").phase("Failed").created(2)]);
    world.nodes.insert("n".into(), node(true, false));
    assert_eq!(world.run(), [""; 0], "one is too many, and that one is going");
    let slow = pod("slow").node("n").phase("Failed").created(1).held().terminating(30);
    let mut world = World::new(1).with([slow, pod("b").node("n").phase("Failed").created(2)]);
    world.nodes.insert("n".into(), node(true, false));
    assert_eq!(world.run(), ["delete slow"]);
}

/// garbage-collection B6.4: a pod with several reasons to go is one pod.
#[test]
fn a_pod_that_is_doomed_twice_is_deleted_once() {
    let mut world = World::new(1).with([pod("a").phase("Failed").terminating(30).created(1), pod("b").phase("Failed").created(2)]);
    assert_eq!(world.run(), ["delete a"]);
    assert_eq!(world.attempts(), [("a", Reason::Terminated, false)]);
}

/// A pass that ends early (we lead no longer) is no attempt.
#[test]
fn what_was_not_sent_was_not_tried() {
    let mut world = World::new(0).with([pod("a").terminating(30)]);
    world.fenced = true;
    assert_eq!(world.run(), [""; 0]);
    assert_eq!(world.attempts(), [("", Reason::Terminated, true); 0]);
}

/// What `evenkeel plan` and the metric `pod_gc…_total{reason}` say.
#[test]
fn reasons_have_the_words_of_upstream() {
    let reasons = [Reason::Terminated, Reason::OutOfService, Reason::Orphaned, Reason::Unscheduled];
    assert_eq!(reasons.map(Reason::as_str), ["terminated", "out-of-service", "orphaned", "unscheduled"]);
    let world = World::new(1).with([
        pod("a").phase("Failed"),
        pod("b").phase("Failed"),
        pod("c").phase("Failed"),
        pod("d").terminating(30),
        pod("e").node("n").phase("Running"),
    ]);
    assert_eq!(world.explained().as_deref(), Some("2 terminated, 1 unscheduled"));
    assert_eq!(World::new(1).with([pod("a")]).explained(), None);
}

/// garbage-collection B1: the clock alone brings its one key back.
#[test]
fn a_new_leader_has_one_key_to_look_at_and_events_add_none() {
    let world = World::new(0).with([pod("a").terminating(30)]);
    let (all, after_an_event) = world.keys();
    assert_eq!((all, after_an_event), (vec![evenkeel_api::Key::everything()], vec![]));
}

/// Where a mark fails the delete is not tried.
#[test]
fn what_was_skipped_was_not_tried() {
    let mut world = World::new(1).with([pod("a").phase("Failed").created(1), pod("b").phase("Failed").created(2)]);
    world.skip = true;
    assert_eq!(world.run(), [""; 0]);
    assert_eq!(world.attempts(), [("", Reason::Terminated, true); 0]);
}
