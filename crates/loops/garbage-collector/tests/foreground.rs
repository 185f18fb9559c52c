//! Dependents go before their owner, and rings of those that wait for each other.

use evenkeel_plan::{
    FailureKind,
    Propagation::{Background, Foreground},
    Write,
};
use serde_json::{Value, json};

use crate::world::{World, blocking, owner, with};

fn release(world: &mut World, kind_name: &str, name: &str) {
    world.edit(kind_name, name, |meta| meta["finalizers"] = Value::Null);
}

/// garbage-collection A16.17
#[test]
fn a_blocking_dependent_goes_first() {
    let mut world = World::new();
    world.create("ReplicationController", "r", &[]);
    world.create("ConfigMap", "p", &[blocking("ReplicationController", "r")]);
    world.run();
    world.delete("ReplicationController", "r", Foreground);
    world.run();
    assert_eq!(world.names(), [""; 0]);
    let calls = ["get ReplicationController/r", "delete ConfigMap/p Background", "patch ReplicationController/r finalizers"];
    assert_eq!(world.log, calls);
}

/// garbage-collection A16.18
#[test]
fn an_owner_waits_for_a_dependent_that_others_hold() {
    let mut world = World::new();
    world.create("ReplicationController", "r", &[]);
    world.create("ConfigMap", "p", &[blocking("ReplicationController", "r")]);
    world.hold("ConfigMap", "p", &["example.com/h"]);
    world.run();
    world.delete("ReplicationController", "r", Foreground);
    world.run();
    world.run_with_retries(5);
    assert_eq!(world.names(), ["p", "r"]);
    assert_eq!(world.log, ["get ReplicationController/r", "delete ConfigMap/p Background"]);
    release(&mut world, "ConfigMap", "p");
    world.run();
    assert_eq!(world.names(), [""; 0]);
    assert_eq!(world.log.len(), 3);
}

/// garbage-collection A16.19
#[test]
fn an_owner_waits_for_nobody_who_does_not_block() {
    let mut world = World::new();
    world.create("ReplicationController", "r", &[]);
    world.create("ConfigMap", "unset", &[owner("ReplicationController", "r")]);
    world.create("ConfigMap", "false", &[with(owner("ReplicationController", "r"), "blockOwnerDeletion", false)]);
    for name in ["unset", "false"] {
        world.hold("ConfigMap", name, &["example.com/h"]);
    }
    world.run();
    world.delete("ReplicationController", "r", Foreground);
    world.run();
    assert_eq!(world.names(), ["false", "unset"]);
    for name in ["unset", "false"] {
        release(&mut world, "ConfigMap", name);
    }
    world.run();
    assert_eq!(world.names(), [""; 0], "they were deleted all the same");
}

/// garbage-collection A16.20
#[test]
fn a_dependent_with_another_owner_is_let_go() {
    let mut world = World::new();
    world.create("ConfigMap", "r1", &[]);
    world.create("ConfigMap", "r2", &[]);
    world.create("Secret", "p", &[blocking("ConfigMap", "r1"), owner("ConfigMap", "r2")]);
    world.run();
    world.delete("ConfigMap", "r1", Foreground);
    world.run();
    assert_eq!((world.names(), world.owners_of("p")), (vec!["p", "r2"], vec!["r2".to_owned()]));
    assert_eq!(world.log, ["get ConfigMap/r1", "patch Secret/p owners", "patch ConfigMap/r1 finalizers"]);
}

/// garbage-collection A16.21
#[test]
fn an_owner_that_others_hold_loses_the_finalizer_every_time() {
    let mut world = World::new();
    world.create("ConfigMap", "o", &[]);
    world.hold("ConfigMap", "o", &["example.com/h"]);
    world.run();
    for time in 1..=2 {
        world.delete("ConfigMap", "o", Foreground);
        world.run();
        assert_eq!(world.log, vec!["patch ConfigMap/o finalizers"; time]);
        let finalizers = crate::world::find(&world.server, "ConfigMap", "o").finalizers.clone();
        assert_eq!(finalizers.iter().map(|f| &**f).collect::<Vec<_>>(), ["example.com/h"]);
    }
    release(&mut world, "ConfigMap", "o");
    world.run();
    assert_eq!(world.names(), [""; 0]);
}

/// garbage-collection A16.22
#[test]
fn an_edited_reference_releases_the_owner() {
    for owners in [json!([owner("ConfigMap", "a")]), Value::Null] {
        let mut world = World::new();
        world.create("ConfigMap", "a", &[]);
        world.create("Secret", "b", &[blocking("ConfigMap", "a")]);
        world.hold("Secret", "b", &["example.com/h"]);
        world.run();
        world.delete("ConfigMap", "a", Foreground);
        world.run();
        assert_eq!(world.names(), ["a", "b"]);
        world.edit("Secret", "b", |meta| meta["ownerReferences"] = owners);
        world.run();
        assert_eq!(world.names(), ["b"]);
    }
}

/// A ring of so many, known.
fn ring(count: usize) -> World {
    let mut world = World::new();
    let name = |number: usize| format!("o{number:05}");
    for number in 0..count {
        world.create("ConfigMap", &name(number), &[blocking("ConfigMap", &name((number + count - 1) % count))]);
    }
    world.run();
    assert!(world.log.iter().all(|line| line.starts_with("get")), "{:?}", world.log);
    world.take_log();
    world
}

/// garbage-collection A16.23
#[test]
fn a_ring_falls_where_one_of_it_is_deleted() {
    let mut world = ring(3);
    world.delete("ConfigMap", "o00000", Foreground);
    world.run();
    assert_eq!(world.names(), [""; 0], "{:?}", world.log);
    // Two reads of owners that wait, two deletes, and the finalizers of those that waited.
    assert!(world.log.len() <= 6, "{:?}", world.log);
    let mut background = ring(3);
    background.delete("ConfigMap", "o00000", Background);
    background.run();
    assert_eq!((background.names(), background.log.len()), (vec![], 2));
}

/// garbage-collection A17.1: upstream hangs where all are deleted in foreground, or one blocks itself.
#[test]
fn a_ring_falls_where_all_of_it_wait() {
    for count in [1, 2, 3, 300] {
        let mut world = ring(count);
        for number in 0..count {
            world.delete("ConfigMap", &format!("o{number:05}"), Foreground);
        }
        world.run();
        assert_eq!(world.names(), [""; 0]);
        assert_eq!(world.log.len(), count, "one finalizer each");
    }
}

/// garbage-collection A17.1: what holds one of a ring holds those that wait for it, and nobody else.
#[test]
fn a_ring_with_a_held_dependent_waits_for_that() {
    let mut world = ring(3);
    world.create("Secret", "s", &[blocking("ConfigMap", "o00001")]);
    world.hold("Secret", "s", &["example.com/h"]);
    world.run();
    for number in 0..3 {
        world.delete("ConfigMap", &format!("o{number:05}"), Foreground);
    }
    world.run();
    assert!(world.names().contains(&"o00001") && world.names().contains(&"s"));
    release(&mut world, "Secret", "s");
    world.run();
    assert_eq!(world.names(), [""; 0]);
}

/// garbage-collection A16.24
#[test]
fn custom_resources_are_like_all_others() {
    for (above, below) in [("Gizmo", "Gizmo"), ("ConfigMap", "Gizmo"), ("Gizmo", "ConfigMap")] {
        let mut world = World::new();
        world.serve("Gizmo");
        world.create("CustomResourceDefinition", "gizmos.example.com", &[]);
        world.create(above, "o", &[]);
        world.create(below, "d", &[blocking(above, "o")]);
        world.run();
        world.delete(above, "o", Foreground);
        world.run();
        assert_eq!(world.names(), ["gizmos.example.com"]);
        let calls = [format!("get {above}/o"), format!("delete {below}/d Background"), format!("patch {above}/o finalizers")];
        assert_eq!(world.log, calls);
    }
}

/// garbage-collection A16.25
#[test]
fn a_dependent_with_dependents_waits_in_its_turn() {
    let mut world = World::new();
    world.create("ConfigMap", "a", &[]);
    world.create("ReplicaSet", "b", &[blocking("ConfigMap", "a")]);
    world.create("Secret", "c", &[blocking("ReplicaSet", "b")]);
    world.run();
    world.delete("ConfigMap", "a", Foreground);
    world.run();
    assert_eq!(world.names(), [""; 0]);
    let calls = [
        "get ConfigMap/a",
        "delete ReplicaSet/b Foreground",
        "delete Secret/c Background",
        "patch ReplicaSet/b finalizers",
        "patch ConfigMap/a finalizers",
    ];
    assert_eq!(world.log, calls);
}

/// garbage-collection A16.25
#[test]
fn a_dependent_born_while_the_owner_waits_does_not_outlive_it() {
    let mut world = World::new();
    world.create("ConfigMap", "a", &[]);
    world.create("Secret", "held", &[blocking("ConfigMap", "a")]);
    world.hold("Secret", "held", &["example.com/h"]);
    world.run();
    world.delete("ConfigMap", "a", Foreground);
    world.run();
    world.create("Secret", "late", &[blocking("ConfigMap", "a")]);
    world.run();
    assert_eq!(world.names(), ["a", "held"], "upstream leaves it until another dependent goes");
    world.create("Secret", "late-and-held", &[blocking("ConfigMap", "a")]);
    world.hold("Secret", "late-and-held", &["example.com/h"]);
    world.run();
    release(&mut world, "Secret", "held");
    world.run();
    assert_eq!(world.names(), ["a", "late-and-held"]);
    release(&mut world, "Secret", "late-and-held");
    world.run();
    assert_eq!(world.names(), [""; 0]);
}

/// garbage-collection A17.12: upstream asks for the uid alone.
#[test]
fn nobody_in_another_namespace_or_under_another_name_holds_up_an_owner() {
    let mut world = World::new();
    world.create_in("b", "ConfigMap", "o", &[]);
    world.create_in("a", "Secret", "elsewhere", &[blocking("ConfigMap", "o")]);
    world.create_in("b", "Secret", "misnamed", &[with(blocking("ConfigMap", "o"), "name", "p")]);
    world.create_in("b", "Secret", "other-kind", &[with(blocking("ConfigMap", "o"), "kind", "Secret")]);
    world.create_in("b", "Secret", "other-group", &[with(blocking("ConfigMap", "o"), "apiVersion", "apps/v1")]);
    for name in ["elsewhere", "misnamed", "other-kind", "other-group"] {
        world.hold("Secret", name, &["example.com/h"]);
    }
    world.run();
    world.delete("ConfigMap", "o", Foreground);
    world.run();
    assert!(!world.names().contains(&"o"), "{:?}", world.log);
}

/// garbage-collection A16.34, A7: whoever names an owner in a version that nobody serves is not judged, and yet waited for.
#[test]
fn a_version_that_nobody_serves_blocks_until_it_is_gone() {
    let mut world = World::new();
    world.create("Deployment", "d", &[]);
    world.create("Secret", "odd", &[with(blocking("Deployment", "d"), "apiVersion", "apps/v9")]);
    world.run();
    world.delete("Deployment", "d", Foreground);
    world.run();
    world.run_with_retries(3);
    assert_eq!((world.names(), world.log.len()), (vec!["d", "odd"], 0));
    world.delete("Secret", "odd", Background);
    world.run();
    assert_eq!(world.names(), [""; 0]);
}

/// garbage-collection A17.2: the finalizer of another life of the name is not taken away.
#[test]
fn a_successor_keeps_its_finalizer() {
    let mut world = World::new();
    world.create("ConfigMap", "o", &[]);
    world.run();
    let mut once = true;
    world.meddle(move |server, write| {
        if std::mem::take(&mut once) && matches!(write, Write::Patch { .. }) {
            crate::world::edit(server, "ConfigMap", "o", |meta| {
                meta["uid"] = "another life".into();
                meta["deletionTimestamp"] = Value::Null;
            });
        }
        None
    });
    world.delete("ConfigMap", "o", Foreground);
    world.run();
    world.run_with_retries(3);
    assert_eq!(world.log, ["patch ConfigMap/o finalizers"]);
    assert!(crate::world::find(&world.server, "ConfigMap", "o").held_by("foregroundDeletion"));
}

/// garbage-collection A17.11, GC-6: one read of an owner that waits serves all that ask within two seconds. And A17.10: that each
/// dependent's end is told of costs what is left to look at, not all of it again: a scan of all dependents would be 50 million looks here.
#[test]
fn ten_thousand_dependents_need_few_reads() {
    const COUNT: usize = 10_000;
    let mut world = World::new();
    world.create("ReplicaSet", "rs", &[]);
    for number in 0..COUNT {
        world.create("ConfigMap", &format!("c{number:05}"), &[blocking("ReplicaSet", "rs")]);
    }
    world.run();
    // Each call takes a millisecond.
    let clock = world.clock();
    world.meddle(move |_, _| {
        clock(1);
        None
    });
    world.delete("ReplicaSet", "rs", Foreground);
    let start = std::time::Instant::now();
    world.run();
    assert_eq!(world.names(), [""; 0]);
    let reads = world.log.iter().filter(|line| line.starts_with("get")).count();
    assert_eq!((reads, world.log.len()), (5, COUNT + 1 + reads));
    assert!(world.passes <= 3 * COUNT, "{} passes", world.passes);
    assert!(start.elapsed() < std::time::Duration::from_secs(20), "{:?}", start.elapsed());
}

/// garbage-collection A13, A14: a reference in a version that nobody serves decides nothing about its object, but it blocks like any other.
#[test]
fn references_in_retired_versions_block_and_close_rings() {
    let retired = |name: &str| with(blocking("Deployment", name), "apiVersion", "apps/v1beta1");
    let mut world = World::new();
    world.create("Deployment", "o", &[]);
    world.create("Secret", "s", &[retired("o")]);
    world.delete("Deployment", "o", Foreground);
    world.run();
    assert_eq!(world.names(), ["o", "s"]);
    world.delete("Secret", "s", Background);
    world.run();
    assert_eq!(world.names(), [""; 0]);

    let mut ring = World::new();
    ring.create("Deployment", "a", &[retired("b")]);
    ring.create("Deployment", "b", &[blocking("Deployment", "a")]);
    for name in ["a", "b"] {
        ring.delete("Deployment", name, Foreground);
    }
    ring.run();
    assert_eq!(ring.names(), [""; 0]);
}

/// garbage-collection A8: an owner that was found to stay, and of which a newer version waits, is asked for again.
#[test]
fn a_read_does_not_outweigh_a_newer_version() {
    let mut world = World::new();
    world.create("Deployment", "o", &[]);
    world.run();
    world.hold_up("Deployment");
    world.create("Deployment", "late", &[]);
    world.create("Secret", "s", &[blocking("Deployment", "late")]);
    world.run();
    assert_eq!(world.log, ["get Deployment/late"]);
    world.delete("Deployment", "late", Foreground);
    world.go_on("Deployment");
    world.run();
    world.run_with_retries(3);
    assert_eq!(world.names(), ["o"]);
}

/// A ConfigMap that somebody else holds, with a Secret that does not block it and comes after it in the queue: left is what their deletion
/// leaves of them.
fn held_owner_is_deleted(prepare: impl FnOnce(&mut World)) -> World {
    let mut world = World::new();
    world.create("ConfigMap", "c", &[]);
    world.hold("ConfigMap", "c", &["example.com/h"]);
    world.create("Secret", "side", &[owner("ConfigMap", "c")]);
    prepare(&mut world);
    world.run();
    world.delete("ConfigMap", "c", Foreground);
    world.run();
    world
}

fn waits(world: &World) -> bool {
    crate::world::find(&world.server, "ConfigMap", "c").held_by("foregroundDeletion")
}

/// garbage-collection A5.3 (recorded as gc-foreground-chain; upstream's workers race here): what does not block its owner is looked at while
/// that still waits. Later it would have an owner that stays.
#[test]
fn a_held_owner_waits_until_all_its_dependents_were_looked_at() {
    let mut world = held_owner_is_deleted(|_| {});
    assert_eq!((world.names(), waits(&world)), (vec!["c"], false));
    let calls = ["get ConfigMap/c", "delete Secret/side Background", "patch ConfigMap/c finalizers"];
    assert_eq!(world.take_log(), calls);
    release(&mut world, "ConfigMap", "c");
    world.run();
    assert_eq!(world.names(), [""; 0]);
}

/// garbage-collection A7: nor does it wait for more than that look.
#[test]
fn a_held_owner_waits_for_no_dependent_that_does_not_go() {
    let at_once = |prepare: &dyn Fn(&mut World)| {
        let world = held_owner_is_deleted(prepare);
        let waited = world.now().as_millisecond() - World::new().now().as_millisecond();
        assert!(waited < 1_000, "{waited} ms");
        world
    };
    let world = at_once(&|world| world.hold("Secret", "side", &["example.com/h"]));
    assert_eq!((world.names(), waits(&world)), (vec!["c", "side"], false), "that is being deleted");

    let world = at_once(&|world| drop(world.lock("0/0%/1m", true)));
    assert_eq!((world.names(), waits(&world)), (vec!["c", "side"], false), "whose batch is held");

    let world = at_once(&|world| {
        world.create("Secret", "other", &[]);
        world.edit("Secret", "side", |meta| meta["ownerReferences"] = json!([owner("ConfigMap", "c"), owner("Secret", "other")]));
    });
    assert_eq!((world.owners_of("side"), waits(&world)), (vec!["other".to_owned()], false), "that another owner holds");

    for about in ["configmaps", "secrets"] {
        let world = at_once(&|world| {
            let refused = move |write: &Write| write.kind().plural == about && !matches!(write, Write::Patch { .. });
            world.meddle(move |_, write| refused(write).then(|| crate::world::failed(FailureKind::Forbidden)));
        });
        assert_eq!((world.names(), waits(&world)), (vec!["c", "side"], false), "of which {about} are forbidden");
    }
}

/// The same: where the look never comes to an end it waits a minute.
#[test]
fn a_held_owner_waits_for_a_look_at_most_a_minute() {
    let mut start = None;
    let world = held_owner_is_deleted(|world| {
        start = Some(world.now());
        let conflict = |write: &Write| matches!(write, Write::Delete { .. });
        world.meddle(move |_, write| conflict(write).then(|| crate::world::failed(FailureKind::Conflict)));
    });
    let waited = world.now().duration_since(start.unwrap()).as_secs();
    assert_eq!((world.names(), waits(&world), waited), (vec!["c", "side"], false, 60));
}

/// garbage-collection A7: nobody looks at an owner again that the next dependent is sure to hold.
#[test]
fn an_owner_is_looked_at_when_the_last_that_holds_it_goes() {
    let mut world = World::new();
    world.create("ReplicaSet", "rs", &[]);
    let names: Vec<String> = (0..50).map(|n| format!("p{n:02}")).collect();
    for name in &names {
        world.create("Secret", name, &[blocking("ReplicaSet", "rs")]);
        world.hold("Secret", name, &["example.com/h"]);
    }
    world.run();
    world.delete("ReplicaSet", "rs", Foreground);
    world.run();
    let before = world.passes;
    for name in &names {
        release(&mut world, "Secret", name);
        world.run();
    }
    assert_eq!(world.names(), [""; 0]);
    assert_eq!(world.passes - before, 1, "of the owner, after the last");
}
