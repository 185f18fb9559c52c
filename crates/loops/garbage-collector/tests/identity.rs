//! Who an owner is: kind, place, name and uid together.

use evenkeel_plan::Propagation::{Background, Foreground};
use serde_json::{Value, json};

use crate::world::{World, blocking, owner, with};

fn misplaced(child: &str, kind: &str, name: &str, namespace: &str) -> String {
    format!(
        "{child} OwnerRefInvalidNamespace: ownerRef [v1/{kind}, namespace: {namespace}, name: {name}, uid: uid-{name}] \
         does not exist in namespace {namespace:?}"
    )
}

/// garbage-collection A16.26, A15
#[test]
fn an_owner_in_another_namespace_is_absent_and_an_event_says_so() {
    let mut world = World::new();
    world.create_in("b", "ConfigMap", "o", &[]);
    world.create_in("b", "Secret", "good", &[owner("ConfigMap", "o")]);
    world.run();
    world.create_in("a", "Secret", "bad", &[owner("ConfigMap", "o")]);
    world.run();
    assert_eq!(world.names(), ["good", "o"]);
    assert_eq!(world.log, ["get ConfigMap/o", "delete Secret/bad Background"]);
    assert_eq!(world.events, [misplaced("bad", "ConfigMap", "o", "a")]);
}

/// garbage-collection A16.26: the child first. Where the owner is not known by then, nothing is said.
#[test]
fn a_child_that_comes_before_its_owner_in_another_namespace_goes_silently() {
    let mut world = World::new();
    world.create_in("a", "Secret", "bad", &[owner("ConfigMap", "o")]);
    world.create_in("a", "Secret", "held", &[owner("ConfigMap", "o")]);
    world.hold("Secret", "held", &["example.com/h"]);
    world.run();
    assert_eq!((world.names(), world.events.len()), (vec!["held"], 0));
    world.create_in("b", "ConfigMap", "o", &[]);
    world.create_in("b", "Secret", "good", &[owner("ConfigMap", "o")]);
    world.run();
    assert_eq!(world.names(), ["good", "held", "o"]);
    assert_eq!(world.events.len(), 0, "it is on its way out");
    // Absence in one namespace says nothing about another.
    world.delete("ConfigMap", "o", Background);
    world.run();
    assert_eq!(world.names(), ["held"]);
}

/// garbage-collection A16.27
#[test]
fn a_planted_uid_harms_nobody_but_who_planted_it() {
    for restart in [false, true] {
        let mut world = World::new();
        world.create_in("b", "ConfigMap", "o", &[]);
        let children: Vec<String> = (0..10).map(|number| format!("child-{number}")).collect();
        for name in &children {
            world.create_in("b", "Secret", name, &[owner("ConfigMap", "o")]);
        }
        world.create_in("a", "Secret", "bad", &[with(owner("ConfigMap", "o"), "kind", "Secret")]);
        if restart {
            world.restart();
        }
        world.run();
        world.run_with_retries(3);
        assert_eq!(world.names(), children.iter().map(String::as_str).chain(["o"]).collect::<Vec<_>>());
        assert_eq!(world.log, ["get Secret/o", "delete Secret/bad Background"]);
        world.delete("ConfigMap", "o", Background);
        world.run();
        assert_eq!(world.names(), [""; 0]);
        assert_eq!(world.log.len(), 12, "nobody has to ask");
    }
}

/// garbage-collection A16.28
#[test]
fn unknown_kinds_keep_their_dependents_and_hold_up_nobody_else() {
    let mut world = World::new();
    let unknown = |n: usize| json!({"apiVersion": "no.such/v1", "kind": format!("Gizmo{n}"), "name": "g", "uid": format!("g{n}")});
    let mut owners: Vec<_> = (0..25).map(unknown).collect();
    owners.push(owner("ConfigMap", "never"));
    world.create("Secret", "kept", &owners);
    world.create("Secret", "garbage", &[owner("ConfigMap", "never")]);
    world.run();
    assert_eq!(world.names(), ["kept"]);
    world.run_with_retries(5);
    assert_eq!(world.names(), ["kept"]);
    assert_eq!(world.retries.len(), 1, "tried again, ever more rarely");
    assert_eq!(world.log, ["get ConfigMap/never", "delete Secret/garbage Background"]);
}

/// garbage-collection A16.29, A12, in either order of arrival.
#[test]
fn a_cluster_scoped_child_of_an_owner_in_a_namespace_is_left_alone_and_told_of_once() {
    for child_first in [false, true] {
        let mut world = World::new();
        if !child_first {
            world.create("ConfigMap", "o", &[]);
            world.run();
        }
        world.create("ClusterRole", "child", &[owner("ConfigMap", "o")]);
        world.create("ClusterRole", "of-none", &[owner("ConfigMap", "none")]);
        world.create("Secret", "sibling", &[owner("ConfigMap", "none")]);
        world.run();
        if child_first {
            assert_eq!(world.events.len(), 0);
            world.create("ConfigMap", "o", &[]);
            world.run();
        }
        world.create("Secret", "good", &[owner("ConfigMap", "o")]);
        world.run();
        assert_eq!(world.events, [misplaced("child", "ConfigMap", "o", "")]);
        assert_eq!(world.names(), ["child", "good", "o", "of-none"]);
        world.run_with_retries(20);
        assert_eq!(world.names(), ["child", "good", "o", "of-none"]);
        assert!(world.retries.is_empty(), "no endless retry: {:?}", world.retries);
        assert_eq!(world.log, ["get ConfigMap/none", "delete Secret/sibling Background"]);
        // Better (A17.8): the other one is told of as well, once it has been so for a minute.
        assert_eq!(world.events, [misplaced("child", "ConfigMap", "o", ""), misplaced("of-none", "ConfigMap", "none", "")]);
        world.delete("ConfigMap", "o", Background);
        world.run();
        assert_eq!(world.names(), ["child", "of-none"]);
    }
}

/// garbage-collection A16.30: a kind whose list is under way is waited for, and one that is only late is asked for.
#[test]
fn a_child_of_a_cluster_scoped_owner_that_is_known_late_stays() {
    let mut unlisted = World::new();
    unlisted.create("ClusterRole", "root", &[]);
    unlisted.create("Secret", "child", &[owner("ClusterRole", "root")]);
    unlisted.unlist("ClusterRole");
    unlisted.run();
    assert_eq!((unlisted.names(), unlisted.log.len()), (vec!["child", "root"], 0));
    unlisted.list("ClusterRole");
    unlisted.run();
    assert_eq!((unlisted.names(), unlisted.log.len()), (vec!["child", "root"], 0));

    let mut late = World::new();
    late.hold_up("ClusterRole");
    late.create("ClusterRole", "root", &[]);
    late.create("Secret", "child", &[owner("ClusterRole", "root")]);
    late.run();
    late.run_with_retries(3);
    assert_eq!(late.names(), ["child", "root"]);
    assert_eq!(late.log, ["get ClusterRole/root"; 4], "asked again at each look, as nobody will tell when it goes");
    late.go_on("ClusterRole");
    late.run_with_retries(2);
    assert_eq!((late.log.len(), late.retries.len()), (4, 0));
}

/// garbage-collection A16.31, A17.17: its absence is established once, not for each namespace.
#[test]
fn children_of_a_missing_cluster_scoped_owner_go() {
    let mut world = World::new();
    for namespace in ["a", "b", "c"] {
        world.create_in(namespace, "Secret", &format!("in-{namespace}"), &[owner("ClusterRole", "none")]);
    }
    world.run();
    assert_eq!(world.names(), [""; 0]);
    assert_eq!(world.log.len(), 4);
    assert_eq!(world.log[0], "get ClusterRole/none");
}

/// garbage-collection A16.32
#[test]
fn a_child_of_an_unknown_kind_stays_until_the_kind_is_known() {
    let mut world = World::new();
    world.create("Secret", "child", &[owner("Gizmo", "g")]);
    world.run();
    assert_eq!(world.retries.values().collect::<Vec<_>>(), ["an owner's kind is not served"]);
    world.run_with_retries(3);
    assert_eq!((world.names(), world.log.len(), world.retries.len()), (vec!["child"], 0, 1));
    world.serve("Gizmo");
    world.run();
    assert_eq!((world.names(), world.retries.len()), (vec![], 0));
    assert_eq!(world.log, ["get Gizmo/g", "delete Secret/child Background"]);
}

/// garbage-collection A16.33
#[test]
fn an_owner_is_known_by_any_version_that_is_served() {
    let kind = "HorizontalPodAutoscaler";
    let by = |version: &str| with(owner(kind, "h"), "apiVersion", version);
    let mut world = World::new();
    world.hold_up(kind);
    world.create(kind, "h", &[]);
    world.create("Secret", "by-v1", &[by("autoscaling/v1")]);
    world.create("Secret", "by-v2", &[by("autoscaling/v2")]);
    world.run();
    assert_eq!((world.names(), world.log.len()), (vec!["by-v1", "by-v2", "h"], 1), "one read for both");
    assert_eq!(world.retries.len(), 2);
    world.go_on(kind);
    world.run_with_retries(1);
    assert_eq!((world.log.len(), world.retries.len()), (1, 0), "polling stops once the owner is observed");
    world.delete(kind, "h", Background);
    world.run();
    assert_eq!((world.names(), world.log.len()), (vec![], 3));
}

/// garbage-collection A16.34
#[test]
fn a_version_that_nobody_serves_keeps_what_names_it() {
    let mut world = World::new();
    world.create("Deployment", "d", &[]);
    world.create("Secret", "child", &[with(owner("Deployment", "d"), "apiVersion", "apps/v9")]);
    world.create("Secret", "good", &[owner("Deployment", "d")]);
    world.run();
    world.run_with_retries(2);
    assert_eq!(world.names(), ["child", "d", "good"]);
    world.delete("Deployment", "d", Background);
    world.run();
    world.run_with_retries(2);
    assert_eq!(world.names(), ["child"]);
    assert_eq!(world.log, ["delete Secret/good Background"]);
}

/// garbage-collection A16.35
#[test]
fn of_two_versions_of_a_missing_owner_only_the_served_one_says_anything() {
    for order in [["served", "unserved"], ["unserved", "served"]] {
        let mut world = World::new();
        for name in order {
            let version = if name == "served" { "apps/v1" } else { "extensions/v1beta1" };
            world.create("Secret", name, &[with(owner("Deployment", "gone"), "apiVersion", version)]);
            world.run();
        }
        world.run_with_retries(3);
        assert_eq!(world.names(), ["unserved"]);
        assert_eq!(world.log, ["get Deployment/gone", "delete Secret/served Background"]);
    }
}

/// garbage-collection A16.36
#[test]
fn a_good_and_a_bad_child_of_one_uid_are_told_apart() {
    for order in
        [["o", "good", "bad"], ["good", "bad", "o"], ["bad", "o", "good"], ["o", "bad", "good"], ["good", "o", "bad"], ["bad", "good", "o"]]
    {
        let mut world = World::new();
        // What names an owner that is not there yet is held, or it would be collected at once, as it should.
        world.unlist("Deployment");
        for name in order {
            match name {
                "o" => world.create("Deployment", "o", &[]),
                "good" => world.create("ConfigMap", "good", &[owner("Deployment", "o")]),
                _ => world.create("ConfigMap", "bad", &[with(with(owner("Deployment", "o"), "kind", "Secret"), "apiVersion", "v1")]),
            }
            world.run();
        }
        world.list("Deployment");
        world.run();
        assert_eq!(world.names(), ["good", "o"], "{order:?}");
        assert_eq!(world.log, ["get Secret/o", "delete ConfigMap/bad Background"]);
    }
}

/// garbage-collection A16.37: upstream forgets a queued node that is no longer virtual. Here the queue holds dependents, and what is asked is
/// asked when one of them is looked at.
#[test]
fn a_queued_child_whose_owner_came_meanwhile_or_that_let_it_go_asks_nobody() {
    for comes in [true, false] {
        let mut world = World::new();
        world.create("Secret", "child", &[owner("ConfigMap", "o")]);
        world.watch();
        if comes {
            world.create("ConfigMap", "o", &[]);
        } else {
            world.edit("Secret", "child", |meta| meta["ownerReferences"] = Value::Null);
        }
        world.run();
        assert_eq!((world.log.len(), world.passes), (0, 1));
        assert!(world.names().contains(&"child"));
    }
}

/// garbage-collection A16.38: there are no nodes for what nobody has seen, so none is left behind.
#[test]
fn what_came_and_went_unseen_leaves_nothing() {
    let mut world = World::new();
    world.hold_up("Secret");
    world.create("Secret", "short", &[owner("ConfigMap", "never")]);
    world.delete("Secret", "short", Background);
    world.server.take_news();
    world.go_on("Secret");
    world.run();
    assert_eq!((world.log.len(), world.passes, world.collector.remembered()), (0, 0, 0));
}

/// garbage-collection A17.9: upstream does not look again.
#[test]
fn changed_words_under_the_same_uid_are_judged_again() {
    let mut world = World::new();
    world.create("ConfigMap", "o", &[]);
    world.create("Secret", "child", &[owner("ConfigMap", "o")]);
    world.run();
    world.edit("Secret", "child", |meta| meta["ownerReferences"] = json!([with(owner("ConfigMap", "o"), "name", "p")]));
    world.run();
    assert_eq!(world.names(), ["o"]);
    assert_eq!(world.log, ["get ConfigMap/p", "delete Secret/child Background"]);
}

/// garbage-collection A13, A11: with the definition the instances go, and what they own is collected though nobody serves the kind any more.
#[test]
fn what_instances_own_goes_with_their_kind() {
    for again in 0..2 {
        let mut world = World::new();
        for life in 0..=again {
            let name = format!("g{life}");
            world.serve("Gizmo");
            world.create("Gizmo", &name, &[]);
            world.create("ConfigMap", "owned", &[owner("Gizmo", &name)]);
            world.run();
            world.take_log();
            world.delete("Gizmo", &name, Background);
            world.unserve("Gizmo");
            world.run();
            assert_eq!(world.names(), [""; 0]);
            assert_eq!(world.log, ["delete ConfigMap/owned Background"]);
        }
    }
}

/// garbage-collection A17.5: objects of a kind that is gone hold up nobody.
#[test]
fn what_a_vanished_kind_left_blocks_no_owner() {
    let mut world = World::new();
    world.serve("Gizmo");
    world.create("ConfigMap", "o", &[]);
    world.create("Gizmo", "g", &[blocking("ConfigMap", "o")]);
    world.hold("Gizmo", "g", &["example.com/h"]);
    world.run();
    world.delete("ConfigMap", "o", Foreground);
    world.run();
    assert_eq!(world.names(), ["g", "o"]);
    world.unserve("Gizmo");
    world.run();
    assert!(!world.names().contains(&"o"));
}
