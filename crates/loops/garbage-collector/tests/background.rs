//! Objects go after their owners.

use evenkeel_plan::Propagation::{Background, Foreground, Orphan};

use crate::world::{World, blocking, owner};

/// garbage-collection A16.1
#[test]
fn what_an_owner_leaves_behind_goes_with_one_call_and_nothing_is_remembered_of_it() {
    let mut world = World::new();
    world.create("ReplicationController", "r1", &[]);
    world.create("ConfigMap", "p", &[owner("ReplicationController", "r1")]);
    world.run();
    assert!(world.log.is_empty());
    world.delete("ReplicationController", "r1", Background);
    world.run();
    assert_eq!(world.names(), [""; 0]);
    assert_eq!(world.log, ["delete ConfigMap/p Background"]);
    assert_eq!(world.stores().kinds().map(|(_, store)| store.count()).sum::<usize>(), 0);
}

/// garbage-collection A16.2
#[test]
fn an_object_with_another_owner_stays_and_forgets_the_one_that_went() {
    let mut world = World::new();
    world.create("ReplicationController", "r1", &[]);
    world.create("ReplicationController", "r2", &[]);
    world.create("ConfigMap", "p", &[owner("ReplicationController", "r1"), owner("ReplicationController", "r2")]);
    world.run();
    world.delete("ReplicationController", "r1", Background);
    world.run();
    assert_eq!((world.names(), world.owners_of("p")), (vec!["p", "r2"], vec!["r2".to_owned()]));
    assert_eq!(world.log, ["patch ConfigMap/p owners"]);
}

/// garbage-collection A16.3
#[test]
fn nobody_touches_what_has_no_owner() {
    let mut world = World::new();
    world.create("ConfigMap", "p", &[]);
    world.create("Secret", "held", &[]);
    world.hold("Secret", "held", &["example.com/h"]);
    world.run();
    world.edit("ConfigMap", "p", |meta| meta["labels"] = serde_json::json!({"a": "b"}));
    world.restart();
    world.run();
    assert_eq!(world.names(), ["held", "p"]);
    assert_eq!((world.log.len(), world.passes), (0, 0));
}

/// garbage-collection A16.4
#[test]
fn a_child_of_an_owner_that_never_was_goes() {
    let mut world = World::new();
    world.create("ConfigMap", "p", &[owner("ReplicationController", "never")]);
    world.run();
    assert_eq!(world.names(), [""; 0]);
    assert_eq!(world.log, ["get ReplicationController/never", "delete ConfigMap/p Background"]);
}

/// garbage-collection A16.5
#[test]
fn a_child_of_an_earlier_life_of_a_name_goes() {
    let mut world = World::new();
    world.create("ReplicationController", "r", &[]);
    world.create("ConfigMap", "p", &[crate::world::with(owner("ReplicationController", "r"), "uid", "an earlier life")]);
    world.run();
    assert_eq!(world.names(), ["r"]);
    assert_eq!(world.log, ["get ReplicationController/r", "delete ConfigMap/p Background"]);
}

/// garbage-collection A16.6
#[test]
fn an_owner_that_went_while_nobody_looked_is_noticed_at_the_start() {
    let mut world = World::new();
    world.create("ConfigMap", "a", &[]);
    for name in ["b", "c"] {
        world.create("Secret", name, &[owner("ConfigMap", "a")]);
    }
    world.delete("ConfigMap", "a", Background);
    world.restart();
    world.run();
    assert_eq!(world.names(), [""; 0]);
    assert_eq!(world.log, ["get ConfigMap/a", "delete Secret/b Background", "delete Secret/c Background"]);
}

/// garbage-collection A16.7
#[test]
fn a_chain_falls_link_by_link() {
    let mut world = World::new();
    world.create("ConfigMap", "a", &[]);
    world.create("Secret", "b", &[owner("ConfigMap", "a")]);
    world.create("ReplicaSet", "c", &[owner("Secret", "b")]);
    world.run();
    world.delete("ConfigMap", "a", Background);
    world.run();
    assert_eq!(world.names(), [""; 0]);
    assert_eq!(world.log, ["delete Secret/b Background", "delete ReplicaSet/c Background"]);
}

/// garbage-collection A16.8
#[test]
fn fifty_owners_deleted_at_once_in_all_ways_leave_just_the_orphans() {
    let mut world = World::new();
    let way = |number: usize| [Background, Foreground, Orphan][number % 3];
    for number in 0..50 {
        world.create("ReplicationController", &format!("rc-{number:02}"), &[]);
        for pod in 0..3 {
            world.create("ConfigMap", &format!("pod-{number:02}-{pod}"), &[blocking("ReplicationController", &format!("rc-{number:02}"))]);
        }
    }
    world.run();
    for number in 0..50 {
        world.delete("ReplicationController", &format!("rc-{number:02}"), way(number));
    }
    world.run();
    let orphans =
        (0..50).filter(|number| way(*number) == Orphan).flat_map(|number| (0..3).map(move |pod| format!("pod-{number:02}-{pod}")));
    assert_eq!(world.names(), orphans.collect::<Vec<_>>());
    assert!(world.names().iter().all(|name| world.owners_of(name).is_empty()));
    // One call for each pod, one more for each owner that waits or is orphaned, and one read of each that waits.
    let waited = (0..50).filter(|number| way(*number) == Foreground).count();
    let orphaned = (0..50).filter(|number| way(*number) == Orphan).count();
    assert_eq!(world.log.len(), 150 + 2 * waited + orphaned);
}

/// garbage-collection A16.9
#[test]
fn what_is_being_deleted_anyway_is_left_to_who_holds_it() {
    let mut world = World::new();
    world.create("ConfigMap", "a", &[]);
    world.create("Secret", "b", &[owner("ConfigMap", "a")]);
    world.hold("Secret", "b", &["example.com/h"]);
    world.run();
    world.delete("Secret", "b", Background);
    world.delete("ConfigMap", "a", Background);
    world.run();
    // Nobody has to look, and who looks all the same does nothing.
    world.look_at("Secret", "b");
    assert_eq!(world.names(), ["b"]);
    assert!(world.log.is_empty(), "{:?}", world.log);
}

/// garbage-collection A16.10
#[test]
fn finalizers_set_in_advance_say_how_dependents_go() {
    for (finalizer, calls) in [
        ("orphan", vec!["delete Secret/b Orphan", "patch ReplicaSet/c owners", "patch Secret/b finalizers"]),
        ("foregroundDeletion", vec!["delete Secret/b Foreground", "delete ReplicaSet/c Background", "patch Secret/b finalizers"]),
    ] {
        let mut world = World::new();
        world.create("ConfigMap", "a", &[]);
        world.create("Secret", "b", &[owner("ConfigMap", "a")]);
        world.hold("Secret", "b", &[finalizer]);
        world.create("ReplicaSet", "c", &[blocking("Secret", "b")]);
        world.run();
        world.delete("ConfigMap", "a", Background);
        world.run();
        let kept = if finalizer == "orphan" { vec!["c"] } else { vec![] };
        assert_eq!(world.names(), kept);
        assert_eq!(world.log, calls);
    }
}
