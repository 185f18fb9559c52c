//! The scenarios of garbage-collection C6, and where the loop does better than upstream (C7), against a small server.

mod world;

use evenkeel_api::{Key, Pod, Resource};
use evenkeel_cache::Change;
use evenkeel_namespace::DELAY;
use evenkeel_plan::{ControlLoop, FailureKind, Next, Trigger, Verbs};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::world::{ALL, Thing, World, held, running};

const REMAINING: &str = "NamespaceContentRemaining";
const FINALIZERS: &str = "NamespaceFinalizersRemaining";
const CONTENT: &str = "NamespaceDeletionContentFailure";
const DISCOVERY: &str = "NamespaceDeletionDiscoveryFailure";
const PARSING: &str = "NamespaceDeletionGroupVersionParsingFailure";

fn thing() -> Thing {
    Thing::default()
}

fn after(world: &World, seconds: i64) -> Next {
    Next::At(world.now + SignedDuration::from_secs(seconds))
}

/// garbage-collection C6.1
#[test]
fn an_active_namespace_costs_nothing() {
    let mut world = World::new(&[("configmaps", "a", thing())]);
    world.namespace.as_mut().unwrap()["metadata"].as_object_mut().unwrap().remove("deletionTimestamp");
    assert_eq!(world.round(), Next::OnChange);
    assert!(world.log.is_empty());
    assert!(world.control_loop.all(&world.stores()).is_empty());
}

/// garbage-collection C6.2, C2: nothing in the first five seconds; then pods, then the others, each followed by a count, then what was found
/// is told, then the namespace is released.
#[test]
fn a_namespace_is_emptied_in_order_and_released() {
    let mut world = World::new(&[("pods", "p", thing()), ("configmaps", "c", thing()), ("deployments", "d", thing())]);
    let delayed = [Trigger { key: Key::new("", "x"), after: DELAY }];
    assert_eq!(world.control_loop.all(&world.stores()), delayed);
    let namespace = world.stores().of::<evenkeel_api::Namespace>().get("", "x").cloned();
    assert_eq!(world.control_loop.triggers(&Change::new(None, namespace), &world.stores()), delayed);

    assert_eq!(world.round(), Next::OnChange);
    assert!(world.namespace.is_none() && world.things.is_empty());
    assert_eq!(
        world.take_log(),
        [
            "discover",
            "deletecollection pods",
            "list pods",
            "deletecollection configmaps",
            "deletecollection secrets",
            "deletecollection deployments",
            "list configmaps",
            "list secrets",
            "list deployments",
            "put status",
            "put finalize",
        ]
    );
    assert_eq!((world.round(), world.control_loop.remembered()), (Next::OnChange, 0));
    assert!(world.log.is_empty());
}

/// garbage-collection C3: half of the longest grace period and a second, whatever is left of a second.
#[test]
fn a_part_of_a_second_counts_as_a_whole_one() {
    let mut world = World::new(&[("pods", "p", running(30))]);
    assert_eq!((world.pass(), world.control_loop.remembered()), (Next::Again, 1), "how far it is");
    assert_eq!((world.round(), world.control_loop.remembered()), (after(&world, 30 / 2 + 1), 0), "the next round begins anew");
    world.now += SignedDuration::from_millis(1_500);
    assert_eq!(world.round(), after(&world, 29 / 2 + 1));
    world.now += SignedDuration::from_millis(1_500);
    assert_eq!(world.round(), after(&world, 27 / 2 + 1));
}

/// garbage-collection C6.3
#[test]
fn finalizers_of_others_in_the_spec_stay() {
    let mut world = World::new(&[]);
    world.namespace.as_mut().unwrap()["spec"]["finalizers"] = json!(["other", "kubernetes", "example.com/b", "other"]);
    world.round();
    assert_eq!(world.namespace.as_ref().unwrap()["spec"]["finalizers"], json!(["example.com/b", "other"]));
    world.take_log();
    assert_eq!(world.round(), Next::OnChange);
    assert!(world.log.is_empty(), "what is left to do is theirs");
}

/// garbage-collection C6.4
#[test]
fn a_released_namespace_is_left_alone() {
    let mut world = World::new(&[("configmaps", "late", thing())]);
    world.namespace.as_mut().unwrap()["spec"]["finalizers"] = json!([]);
    assert_eq!(world.round(), Next::OnChange);
    assert!(world.log.is_empty());
}

/// garbage-collection C6.5, C5
#[test]
fn what_is_left_is_told_in_five_conditions() {
    let mut world = World::new(&[("pods", "p", thing()), ("deployments", "d", held(&["example.com/h"]))]);
    assert_eq!(world.round(), after(&world, 15 / 2 + 1));
    let types: Vec<String> = world.namespace.as_ref().unwrap()["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["type"].as_str().unwrap().into())
        .collect();
    assert_eq!(types, [DISCOVERY, PARSING, CONTENT, REMAINING, FINALIZERS]);
    assert_eq!(world.condition(DISCOVERY).0, "ResourcesDiscovered");
    assert_eq!(world.message(PARSING), "All legacy kube types successfully parsed");
    assert_eq!(world.condition(CONTENT).0, "ContentDeleted");
    assert_eq!(world.message(REMAINING), "Some resources are remaining: deployments.apps has 1 resource instances");
    assert_eq!(world.message(FINALIZERS), "Some content in the namespace has finalizers remaining: example.com/h in 1 resource instances");
    world.take_log();
    world.now += SignedDuration::from_secs(8);
    world.round();
    assert!(!world.take_log().contains(&"put status".to_owned()), "nothing has changed");
}

/// garbage-collection C5: entries are sorted, core resources end with the dot.
#[test]
fn lists_of_what_is_left_are_sorted() {
    let all = ["example.com/z", "example.com/a"];
    let mut world = World::new(&[("secrets", "s", held(&all)), ("configmaps", "a", held(&all[..1])), ("configmaps", "b", held(&all[..1]))]);
    world.round();
    assert_eq!(
        world.message(REMAINING),
        "Some resources are remaining: configmaps. has 2 resource instances, secrets. has 1 resource instances"
    );
    assert_eq!(
        world.message(FINALIZERS),
        "Some content in the namespace has finalizers remaining: example.com/a in 1 resource instances, example.com/z in 3 resource instances"
    );
}

/// garbage-collection C6.6, C7.1
#[test]
fn while_pods_run_nothing_else_is_touched() {
    let mut world = World::new(&[("pods", "p", running(30)), ("configmaps", "c", thing())]);
    assert_eq!(world.round(), after(&world, 30 / 2 + 1));
    assert_eq!(world.take_log(), ["discover", "deletecollection pods", "list pods", "put status"]);
    assert_eq!(world.message(REMAINING), "Some resources are remaining: pods. has 1 resource instances");
    assert_eq!(world.condition(CONTENT).0, "ContentDeleted");
    world.now += SignedDuration::from_secs(16);
    assert_eq!(world.round(), after(&world, 14 / 2 + 1));
    assert!(world.things.contains_key(&("configmaps", "c")));
    world.things.remove(&("pods", "p"));
    assert_eq!(world.round(), Next::OnChange);
    assert!(world.namespace.is_none() && world.things.is_empty());
}

/// Better than waiting for the estimate (C2): the last pod that leaves wakes the namespace.
#[test]
fn the_last_pod_that_leaves_wakes_the_namespace() {
    let mut world = World::new(&[("pods", "p", running(30)), ("pods", "q", running(30))]);
    let leaves = |world: &mut World, name: &'static str| {
        let pod = world.stores().of::<Pod>().get("x", name).cloned();
        world.things.remove(&("pods", name));
        world.control_loop.triggers(&Change::new::<Pod>(pod, None), &world.stores())
    };
    let early = World::new(&[("pods", "p", running(30))]);
    let pod = early.stores().of::<Pod>().get("x", "p").cloned();
    let empty = World::new(&[]);
    assert!(empty.control_loop.triggers(&Change::new::<Pod>(pod, None), &empty.stores()).is_empty(), "the delay is not cut short");
    world.round();
    assert!(leaves(&mut world, "p").is_empty());
    assert_eq!(leaves(&mut world, "q"), [Trigger::now(Key::new("", "x"))]);
}

/// garbage-collection C6.7
#[test]
fn a_pod_that_somebody_holds_keeps_all_else() {
    let mut world = World::new(&[("pods", "p", Thing { grace: Some(0), ..held(&["example.com/h"]) }), ("secrets", "s", thing())]);
    assert_eq!(world.round(), after(&world, 8));
    assert_eq!(world.message(FINALIZERS), "Some content in the namespace has finalizers remaining: example.com/h in 1 resource instances");
    assert_eq!(world.round(), after(&world, 8));
    assert!(world.things.contains_key(&("secrets", "s")));
}

/// garbage-collection C4: pods that outlive their time without a finalizer are a failure.
#[test]
fn pods_that_outlive_their_time_are_complained_about() {
    let mut world = World::new(&[("pods", "p", running(6)), ("secrets", "s", thing())]);
    world.round();
    world.now += SignedDuration::from_secs(7);
    let complaint = "unexpected items still remain in namespace: x for gvr: /v1, Resource=pods";
    assert_eq!(world.round(), Next::Retry(complaint.to_owned()));
    assert_eq!(world.message(CONTENT), format!("Failed to delete all resource types, 1 remaining: {complaint}"));
    assert!(world.things.contains_key(&("secrets", "s")));
}

/// garbage-collection C6.8
#[test]
fn a_group_that_cannot_be_discovered_keeps_the_namespace_and_nothing_else() {
    let mut world = World::new(&[("pods", "p", thing()), ("configmaps", "c", thing())]);
    world.served.failed.insert("metrics.k8s.io/v1beta1".into(), "stale GroupVersion discovery: metrics.k8s.io/v1beta1".into());
    assert!(matches!(world.round(), Next::Retry(_)));
    assert!(world.things.is_empty());
    let all =
        "unable to retrieve the complete list of server APIs: metrics.k8s.io/v1beta1: stale GroupVersion discovery: metrics.k8s.io/v1beta1";
    assert_eq!(world.message(DISCOVERY), format!("Discovery failed for some groups, 1 failing: {all}"));
    assert_eq!(world.condition(CONTENT).0, "ContentDeleted");
    world.served.failed.clear();
    world.now += SignedDuration::from_secs(1);
    assert_eq!(world.round(), Next::OnChange);
    assert!(world.namespace.is_none());
}

/// garbage-collection C7.2: upstream goes on where pods cannot be discovered, listed or deleted.
#[test]
fn where_nobody_can_tell_about_pods_all_else_waits() {
    let content = [("pods", "p", thing()), ("configmaps", "c", thing())];
    let mut no_core = World::new(&content);
    no_core.served.resources.retain(|s| !s.kind.group.is_empty());
    no_core.served.failed.insert("v1".into(), "the server is unwell".into());
    let mut no_answer = World::new(&content);
    no_answer.fail.insert("discover".into(), FailureKind::Other);
    let mut no_list = World::new(&content);
    no_list.fail.insert("list pods".into(), FailureKind::Other);
    let mut no_delete = World::new(&content);
    no_delete.fail.insert("deletecollection pods".into(), FailureKind::Forbidden);
    let mut no_pods = World::new(&content);
    no_pods.served.resources.retain(|s| s.kind.plural != "pods");
    let mut nothing = World::new(&content);
    nothing.served.resources.clear();
    let mut not_listed = World::new(&content);
    not_listed.fail.insert("list pods".into(), FailureKind::NotFound);
    let mut never_listed = World::new(&content);
    never_listed.serve(&evenkeel_api::PODS, Verbs { list: false, ..ALL });
    for mut world in [no_core, no_answer, no_list, no_delete, no_pods, nothing, not_listed, never_listed] {
        let next = world.round();
        assert!(matches!(next, Next::Retry(_)), "{next:?}");
        assert!(world.things.contains_key(&("configmaps", "c")) && world.namespace.is_some(), "{:?}", world.log);
    }
}

/// garbage-collection C6.9
#[test]
fn where_collections_cannot_be_deleted_objects_are_one_by_one() {
    let mut world = World::new(&[("shelves", "a", thing()), ("shelves", "b", thing())]);
    world.serve(Resource::found("example.com", "v1", "shelves", "Shelf", true), Verbs { delete_collection: false, ..ALL });
    assert_eq!(world.round(), Next::OnChange);
    let about: Vec<String> = world.take_log().into_iter().filter(|line| line.contains("shelves")).collect();
    assert_eq!(about, ["list shelves", "delete shelves/a", "delete shelves/b", "list shelves"]);
}

/// garbage-collection C6.10: what one namespace is told says nothing about another.
#[test]
fn a_404_to_a_collection_is_no_error() {
    for kind in [FailureKind::NotFound, FailureKind::NotAllowed] {
        let mut world = World::new(&[("secrets", "s", thing())]);
        world.fail.extend([("deletecollection secrets".to_owned(), kind), ("list secrets".to_owned(), kind)]);
        assert_eq!(world.round(), Next::OnChange);
        assert!(world.namespace.is_none());
    }
    let mut singly = World::new(&[("secrets", "s", thing())]);
    singly.fail.insert("deletecollection secrets".into(), FailureKind::NotAllowed);
    assert_eq!(singly.round(), Next::OnChange);
    assert!(singly.log.contains(&"delete secrets/s".to_owned()) && singly.things.is_empty());
}

/// garbage-collection C4: an object that is gone when its turn comes is no error, any other refusal is.
#[test]
fn deleting_one_by_one_tells_real_failures() {
    let shelf = Resource::found("example.com", "v1", "shelves", "Shelf", true);
    for (kind, fails) in [(FailureKind::NotFound, false), (FailureKind::NotAllowed, false), (FailureKind::Forbidden, true)] {
        let mut world = World::new(&[("shelves", "a", held(&["example.com/h"]))]);
        world.serve(shelf, Verbs { delete_collection: false, ..ALL });
        world.fail.insert("delete shelves/a".into(), kind);
        assert_eq!(matches!(world.round(), Next::Retry(_)), fails, "{kind:?}");
        assert_eq!(world.condition(CONTENT).0 == "ContentDeletionFailed", fails);
    }
}

/// garbage-collection C6.11
#[test]
fn a_conflict_is_written_again_on_the_version_that_the_cache_then_shows() {
    for write in ["put status", "put finalize"] {
        let mut world = World::new(&[]);
        world.fail.insert(write.into(), FailureKind::Conflict);
        assert!(matches!(world.round(), Next::Retry(_)), "{write}");
        world.fail.clear();
        world.touch();
        assert_eq!(world.round(), Next::OnChange);
        assert!(world.namespace.is_none(), "{write}");
    }
}

/// garbage-collection C6.11: another namespace of the name begins anew, and is not released for what is known of the one before.
#[test]
fn another_life_of_the_name_begins_anew() {
    let mut world = World::new(&[]);
    while world.log.last().is_none_or(|line| line != "put status") {
        world.pass();
    }
    world.take_log();
    world.namespace.as_mut().unwrap()["metadata"]["uid"] = "another".into();
    world.pass();
    assert_eq!(world.log, ["discover"]);
}

/// garbage-collection C6.12
#[test]
fn a_namespace_that_is_gone_at_the_end_is_what_was_wanted() {
    let mut world = World::new(&[]);
    world.fail.insert("put finalize".into(), FailureKind::NotFound);
    assert_eq!(world.round(), Next::OnChange);
}

/// garbage-collection C6.13
#[test]
fn what_remains_without_a_reason_is_an_error_and_is_tried_again() {
    let mut world = World::new(&[("configmaps", "c", Thing { stuck: true, ..thing() })]);
    let complaint = "unexpected items still remain in namespace: x for gvr: /v1, Resource=configmaps";
    assert_eq!(world.round(), Next::Retry(complaint.to_owned()));
    assert_eq!(world.condition(CONTENT).0, "ContentDeletionFailed");
    assert_eq!(evenkeel_namespace::ABOUT.longest_retry.as_secs(), 60);
}

/// garbage-collection C4: one kind's failure holds up no other, and all failures are told.
#[test]
fn failures_are_collected() {
    let mut world = World::new(&[("secrets", "s", thing()), ("configmaps", "c", thing()), ("deployments", "d", thing())]);
    world.fail.insert("deletecollection secrets".into(), FailureKind::Forbidden);
    world.fail.insert("list configmaps".into(), FailureKind::Other);
    assert_eq!(world.round(), Next::Retry("deletecollection secrets: refused, list configmaps: refused".to_owned()));
    assert_eq!(
        world.message(CONTENT),
        "Failed to delete all resource types, 2 remaining: deletecollection secrets: refused, list configmaps: refused"
    );
    assert!(!world.things.contains_key(&("deployments", "d")) && world.namespace.is_some());
}

/// garbage-collection C6.14
#[test]
fn a_failure_that_is_over_turns_its_condition_and_no_other() {
    let mut world = World::new(&[("configmaps", "c", held(&["example.com/h"]))]);
    world.fail.insert("deletecollection secrets".into(), FailureKind::Forbidden);
    world.round();
    let (_, _, told) = world.condition(REMAINING);
    world.fail.clear();
    world.now += SignedDuration::from_secs(60);
    world.round();
    let (reason, _, turned) = world.condition(CONTENT);
    assert_eq!((reason.as_str(), turned), ("ContentDeleted", world.now.to_string()));
    assert_eq!(world.condition(REMAINING).2, told);
}

/// garbage-collection C5: conditions of others stay where they are.
#[test]
fn conditions_of_others_stay() {
    let mut world = World::new(&[("configmaps", "c", held(&["example.com/h"]))]);
    let foreign = json!({"type": "example.com/Mine", "status": "True", "later": 1});
    world.namespace.as_mut().unwrap()["status"]["conditions"] = json!([foreign]);
    world.round();
    let conditions = &world.namespace.as_ref().unwrap()["status"]["conditions"];
    assert_eq!((&conditions[0], conditions.as_array().unwrap().len()), (&foreign, 6));
}

/// garbage-collection C6.15: progress is kept for each namespace by itself; that one key is never worked on twice at once is the queue's.
#[test]
fn each_namespace_has_its_own_progress() {
    let (mut one, mut other) = (World::new(&[]), World::new(&[]));
    one.pass();
    other.namespace.as_mut().unwrap()["metadata"]["name"] = "y".into();
    other.control_loop = std::mem::take(&mut one.control_loop);
    let snap = other.control_loop.snapshot(&other.stores(), &Key::new("", "y"));
    assert_eq!(snap.progress, evenkeel_namespace::Progress::default());
}

/// garbage-collection C3.2
#[test]
fn a_phase_that_somebody_wrote_away_is_put_right_first() {
    let mut world = World::new(&[]);
    world.namespace.as_mut().unwrap()["status"]["phase"] = "Active".into();
    world.round();
    assert_eq!(world.log[..2], ["put status", "discover"]);
    assert!(world.namespace.is_none());
}

/// garbage-collection C3.2: a mark that cannot be made is tried again, unless the namespace is gone.
#[test]
fn a_mark_that_fails_is_made_again() {
    for (kind, next) in [
        (FailureKind::Other, Next::Retry("put status: refused".to_owned())),
        (FailureKind::Conflict, Next::Retry("put status: refused".to_owned())),
        (FailureKind::NotFound, Next::OnChange),
    ] {
        let mut world = World::new(&[]);
        world.namespace.as_mut().unwrap()["status"] = json!({"phase": "Active"});
        world.fail.insert("put status".to_owned(), kind);
        assert_eq!((world.round(), world.take_log()), (next, vec!["put status".to_owned()]));
    }
}

/// What `evenkeel plan` says.
#[test]
fn only_what_is_being_deleted_is_explained() {
    let mut world = World::new(&[]);
    let explained = |world: &World| {
        let snap = world.control_loop.snapshot(&world.stores(), &Key::new("", "x"));
        let plan = world.control_loop.plan(&snap, world.now);
        world.control_loop.explain(&snap, &plan)
    };
    let text = "being deleted: its pods go first, then all else, then the namespace";
    assert_eq!(explained(&world).as_deref(), Some(text));
    world.namespace.as_mut().unwrap()["metadata"].as_object_mut().unwrap().remove("deletionTimestamp");
    assert_eq!(explained(&world), None);
}

/// garbage-collection C5: one word that is not as it should be is enough to tell all anew.
#[test]
fn conditions_that_say_something_else_are_written() {
    let stuck = || Thing { finalizers: vec!["example.com/h"], ..thing() };
    for (field, value) in [("reason", "Other"), ("message", "Other"), ("status", "Unknown"), ("type", "Other")] {
        let mut world = World::new(&[("configmaps", "a", stuck())]);
        world.round();
        let told = world.namespace.as_ref().unwrap()["status"]["conditions"].clone();
        world.namespace.as_mut().unwrap()["status"]["conditions"][2][field] = value.into();
        world.take_log();
        world.round();
        assert!(world.log.contains(&"put status".to_owned()), "{field}");
        let now = world.namespace.as_ref().unwrap()["status"]["conditions"].as_array().unwrap().clone();
        let same = |a: &Value, b: &Value| ["type", "status", "reason", "message"].iter().all(|f| a[*f] == b[*f]);
        assert!(told.as_array().unwrap().iter().all(|t| now.iter().any(|n| same(t, n))), "{field}: {now:?}");
        world.take_log();
        world.round();
        assert!(!world.log.contains(&"put status".to_owned()), "{field}: once is enough");
    }
}

/// garbage-collection C7.7: upstream deletes nothing at all then.
#[test]
fn an_unparsable_group_version_is_told_and_holds_up_nothing_else() {
    let mut world = World::new(&[("configmaps", "c", thing())]);
    world.served.malformed.push("a/b/c".into());
    assert!(matches!(world.round(), Next::Retry(_)));
    assert_eq!(
        world.condition(PARSING),
        ("GroupVersionParsingFailed".into(), "unexpected GroupVersion string: a/b/c".into(), world.now.to_string())
    );
    assert!(world.things.is_empty() && world.namespace.is_some());
}

/// A pass that was not sent (we lead no longer) leaves nothing half known.
#[test]
fn what_was_not_sent_is_begun_anew() {
    let mut world = World::new(&[("configmaps", "c", thing())]);
    world.pass();
    world.fail.insert("deletecollection pods".into(), FailureKind::Fenced);
    world.pass();
    world.fail.clear();
    world.take_log();
    world.pass();
    assert_eq!(world.log, ["discover"]);
}
