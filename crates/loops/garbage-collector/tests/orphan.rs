//! Dependents lose their owner and stay.

use evenkeel_plan::{
    Done, FailureKind,
    Propagation::{Background, Foreground, Orphan},
    Write,
};

use crate::world::{World, blocking, failed, find, owner, with};

/// An owner with three dependents, all known.
fn family(owner_kind: &str) -> World {
    let mut world = World::new();
    world.create(owner_kind, "rc", &[]);
    for name in ["a", "b", "c"] {
        world.create("ConfigMap", name, &[blocking(owner_kind, "rc")]);
    }
    world.run();
    assert!(world.log.is_empty());
    world
}

fn let_go(owner_kind: &str) -> Vec<String> {
    let patches = ["a", "b", "c"].map(|name| format!("patch ConfigMap/{name} owners"));
    patches.into_iter().chain([format!("patch {owner_kind}/rc finalizers")]).collect()
}

/// garbage-collection A16.11
#[test]
fn orphans_lose_the_reference_and_stay() {
    let mut world = family("ReplicationController");
    world.delete("ReplicationController", "rc", Orphan);
    world.run();
    assert_eq!(world.names(), ["a", "b", "c"]);
    assert!(world.names().iter().all(|name| world.owners_of(name).is_empty()));
    assert_eq!(world.log, let_go("ReplicationController"));
}

/// garbage-collection A16.12: it is the server that knows these kinds; the collector follows the finalizer.
#[test]
fn some_kinds_orphan_what_they_own_unless_asked_otherwise() {
    for owner_kind in ["ReplicationController", "Job"] {
        let mut world = family(owner_kind);
        world.delete_by_default(owner_kind, "rc");
        world.run();
        assert_eq!(world.names(), ["a", "b", "c"]);
        assert_eq!(world.log, let_go(owner_kind));
    }
    let mut other = family("ReplicaSet");
    other.delete_by_default("ReplicaSet", "rc");
    other.run();
    assert_eq!(other.names(), [""; 0]);
}

/// garbage-collection A16.13
#[test]
fn the_finalizer_orphan_counts_unless_the_delete_says_otherwise() {
    let ahead = |world: &mut World| world.hold("ReplicaSet", "rc", &["orphan"]);
    let mut by_finalizer = family("ReplicaSet");
    ahead(&mut by_finalizer);
    by_finalizer.delete_by_default("ReplicaSet", "rc");
    by_finalizer.run();
    assert_eq!(by_finalizer.names(), ["a", "b", "c"]);
    assert_eq!(by_finalizer.log, let_go("ReplicaSet"));
    let mut otherwise = family("ReplicaSet");
    ahead(&mut otherwise);
    otherwise.delete("ReplicaSet", "rc", Background);
    otherwise.run();
    assert_eq!(otherwise.names(), [""; 0]);
}

/// garbage-collection A16.13
#[test]
fn an_owner_that_waits_for_a_held_dependent_may_still_be_told_to_orphan_it() {
    let mut world = World::new();
    world.create("ReplicaSet", "rs", &[]);
    world.create("ConfigMap", "held", &[blocking("ReplicaSet", "rs")]);
    world.hold("ConfigMap", "held", &["example.com/h"]);
    world.run();
    world.delete("ReplicaSet", "rs", Foreground);
    world.run();
    assert_eq!(world.names(), ["held", "rs"]);
    world.take_log();
    world.delete("ReplicaSet", "rs", Orphan);
    world.run();
    assert_eq!((world.names(), world.owners_of("held")), (vec!["held"], vec![]));
    assert_eq!(world.log, ["patch ConfigMap/held owners", "patch ReplicaSet/rs finalizers"]);
}

/// garbage-collection A16.13: a change of mind is noticed as soon as the cache shows it, and within two seconds where it does not.
#[test]
fn an_owner_that_changed_its_mind_loses_no_more_dependents() {
    for late in [false, true] {
        let mut world = World::new();
        world.create("ReplicaSet", "rs", &[]);
        for number in 0..10 {
            world.create("ConfigMap", &format!("c{number}"), &[blocking("ReplicaSet", "rs")]);
        }
        world.run();
        world.delete("ReplicaSet", "rs", Foreground);
        world.watch();
        for number in 0..3 {
            world.look_at("ConfigMap", &format!("c{number}"));
            if number == 0 {
                // Of the first pass only the read is done.
                world.look_at("ConfigMap", "c0");
            }
        }
        assert_eq!(world.log.iter().filter(|line| line.starts_with("delete")).count(), 3, "{:?}", world.log);
        if late {
            world.hold_up("ReplicaSet");
            world.wait(2_001);
        }
        world.delete("ReplicaSet", "rs", Orphan);
        world.take_log();
        world.run();
        assert!(!world.log.iter().any(|line| line.starts_with("delete")), "{:?}", world.log);
        // It may change it once more before the cache has heard of this.
        assert_eq!(world.retries.len(), if late { 7 } else { 0 });
        world.go_on("ReplicaSet");
        world.run();
        assert_eq!(world.names().len(), 7);
        assert!(world.names().iter().all(|name| world.owners_of(name).is_empty()));
    }
}

/// garbage-collection A16.14
#[test]
fn a_dependent_that_vanishes_meanwhile_hinders_nobody() {
    let mut world = family("ReplicaSet");
    world.meddle(|server, write| {
        if write.kind().kind == "ConfigMap" && &**write.name() == "b" && matches!(write, Write::Patch { .. }) {
            let (kind, key) = (write.kind(), write.key().clone());
            server.delete(kind, &key, Background, jiff::Timestamp::UNIX_EPOCH);
        }
        None
    });
    world.delete("ReplicaSet", "rc", Orphan);
    world.run();
    world.run_with_retries(1);
    assert_eq!(world.names(), ["a", "c"]);
    assert_eq!(world.log, let_go("ReplicaSet"));
}

/// garbage-collection A16.15
#[test]
fn whatever_a_dependent_answers_nobody_is_released_before_all_are_let_go() {
    for kind in [FailureKind::Conflict, FailureKind::Invalid, FailureKind::Other, FailureKind::NotFound] {
        let mut world = family("ReplicaSet");
        // At first, and twice after a back-off.
        let mut times = 3;
        world.meddle(move |_, write| {
            let concerns = write.kind().kind == "ConfigMap" && &**write.name() == "b";
            times -= i32::from(concerns);
            (concerns && times >= 0).then(|| failed(kind))
        });
        world.delete("ReplicaSet", "rc", Orphan);
        world.run();
        assert_eq!(world.names(), ["a", "b", "c", "rc"]);
        world.run_with_retries(2);
        assert_eq!((world.names(), world.retries.len()), (vec!["a", "b", "c", "rc"], 1));
        world.run_with_retries(1);
        assert_eq!(world.names(), ["a", "b", "c"]);
        assert_eq!(world.owners_of("b"), [""; 0]);
        let b = "patch ConfigMap/b owners";
        assert_eq!(world.log, ["patch ConfigMap/a owners", b, "patch ConfigMap/c owners", b, b, b, "patch ReplicaSet/rc finalizers"]);
    }
}

/// garbage-collection A16.16
#[test]
fn of_both_finalizers_orphan_counts() {
    let mut world = family("ReplicaSet");
    world.edit("ReplicaSet", "rc", |meta| {
        meta["finalizers"] = serde_json::json!(["foregroundDeletion", "orphan"]);
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    });
    world.run();
    assert_eq!(world.owners_of("a"), [""; 0]);
    assert_eq!(world.names(), ["a", "b", "c"]);
    assert!(!world.log.iter().any(|line| line.starts_with("delete")), "{:?}", world.log);
}

/// garbage-collection A17.14: not one request for each dependent at once, and no patch of a form that is refused anyway.
#[test]
fn dependents_are_let_go_in_batches() {
    let mut world = World::new();
    world.create("ReplicaSet", "rs", &[]);
    for number in 0..1_200 {
        world.create("ConfigMap", &format!("c{number:04}"), &[owner("ReplicaSet", "rs")]);
    }
    world.run();
    let before = world.passes;
    world.delete("ReplicaSet", "rs", Orphan);
    world.run();
    assert_eq!((world.names().len(), world.log.len()), (1_200, 1_201));
    let passes = world.passes - before;
    assert!((4..=12).contains(&passes), "{passes} passes of 500 at most, and those that find that the cache is not there yet");
}

/// garbage-collection A10, A17.14
#[test]
fn custom_resources_are_written_whole_lists_of_owners() {
    let mut world = World::new();
    world.serve("Gizmo");
    world.create("CustomResourceDefinition", "gizmos.example.com", &[]);
    world.create("ReplicaSet", "rs", &[]);
    world.create("ConfigMap", "other", &[]);
    world.create("Gizmo", "g", &[owner("ReplicaSet", "rs"), blocking("ConfigMap", "other")]);
    world.run();
    world.delete("ReplicaSet", "rs", Orphan);
    world.run();
    assert_eq!(world.owners_of("g"), ["other"]);
    assert!(find(&world.server, "Gizmo", "g").owners[0].block_owner_deletion);
    assert_eq!(world.log, ["patch Gizmo/g owners, all of them", "patch ReplicaSet/rs finalizers"]);
}

/// garbage-collection A10: a kind of which nobody knows that it takes no strategic patch is asked once.
#[test]
fn a_refused_form_of_patch_is_not_tried_again() {
    let mut world = World::new();
    world.serve("Gizmo");
    world.create("ReplicaSet", "rs", &[]);
    world.create("Gizmo", "g", &[owner("ReplicaSet", "rs")]);
    world.create("Gizmo", "h", &[owner("ReplicaSet", "rs")]);
    world.run();
    world.delete("ReplicaSet", "rs", Orphan);
    world.run();
    world.run_with_retries(1);
    assert_eq!((world.names(), world.owners_of("g")), (vec!["g", "h"], vec![]));
    world.create("ReplicaSet", "more", &[]);
    world.create("Gizmo", "i", &[owner("ReplicaSet", "more")]);
    world.run();
    world.take_log();
    world.delete("ReplicaSet", "more", Orphan);
    world.run();
    assert_eq!(world.log, ["patch Gizmo/i owners, all of them", "patch ReplicaSet/more finalizers"]);
}

/// garbage-collection A17.4: what somebody added meanwhile is not overwritten.
#[test]
fn a_whole_list_of_owners_is_written_only_over_the_one_that_was_read() {
    let mut world = World::new();
    world.serve("Gizmo");
    world.create("CustomResourceDefinition", "gizmos.example.com", &[]);
    world.create("ReplicaSet", "rs", &[]);
    world.create("ConfigMap", "new", &[]);
    world.create("Gizmo", "g", &[owner("ReplicaSet", "rs")]);
    world.run();
    let mut once = true;
    world.meddle(move |server, write| {
        if std::mem::take(&mut once) && write.kind().kind == "Gizmo" {
            let both = serde_json::json!([owner("ReplicaSet", "rs"), owner("ConfigMap", "new")]);
            crate::world::edit(server, "Gizmo", "g", |meta| meta["ownerReferences"] = both);
        }
        None::<Done>
    });
    world.delete("ReplicaSet", "rs", Orphan);
    world.run();
    world.run_with_retries(1);
    assert_eq!((world.names(), world.owners_of("g")), (vec!["g", "gizmos.example.com", "new"], vec!["new".to_owned()]));
}

/// garbage-collection A10: strategic patches tell references apart by uid alone. Upstream takes both, and the object outlives its owner.
#[test]
fn one_uid_in_two_ways_loses_only_the_wrong_one() {
    let mut world = World::new();
    world.create("ConfigMap", "o", &[]);
    world.create("Secret", "s", &[owner("ConfigMap", "o"), with(owner("ConfigMap", "o"), "kind", "Secret")]);
    world.run();
    assert_eq!(world.owners_of("s"), ["o"]);
    assert_eq!(&*find(&world.server, "Secret", "s").owners[0].kind, "ConfigMap");
    assert_eq!(world.log, ["get Secret/o", "patch Secret/s owners, all of them"]);
    world.delete("ConfigMap", "o", Background);
    world.run();
    assert_eq!(world.names(), [""; 0]);
}

/// garbage-collection A17.6: what is not listed yet would be orphaned by nobody. The wait has an end: the list of kinds that are waited for.
#[test]
fn nobody_is_released_before_all_kinds_are_listed() {
    for propagation in [Orphan, Foreground] {
        let mut world = World::new();
        world.create("ReplicaSet", "rs", &[]);
        world.create("ConfigMap", "late", &[blocking("ReplicaSet", "rs")]);
        world.unlist("ConfigMap");
        world.delete("ReplicaSet", "rs", propagation);
        world.run();
        assert_eq!((world.names(), world.log.len()), (vec!["late", "rs"], 0));
        world.list("ConfigMap");
        world.run();
        let kept = if propagation == Orphan { vec!["late"] } else { vec![] };
        assert_eq!(world.names(), kept);
    }
}
