//! What changes between a decision and its request.

use evenkeel_plan::{
    FailureKind,
    Propagation::{self, Background, Foreground, Orphan},
    Write,
};
use serde_json::{Value, json};

use crate::world::{World, blocking, edit, failed, kind, owner, read};

const EXACT: &str = "delete Secret/b Background";
const BY_UID: &str = "delete Secret/b Background, the uid alone";

/// A dependent whose owner goes; something happens to it before the first delete gets through, and the cache hears of it late or at once.
fn surprised(late: bool, happens: impl Fn(&mut evenkeel_garbage_collector::imagined::Server) + 'static) -> World {
    let mut world = World::new();
    world.create("ConfigMap", "a", &[]);
    world.create("ConfigMap", "new", &[]);
    world.create("Secret", "b", &[owner("ConfigMap", "a")]);
    world.create("ReplicaSet", "c", &[owner("Secret", "b")]);
    world.run();
    let mut once = true;
    world.meddle(move |server, write| {
        if std::mem::take(&mut once) && matches!(write, Write::Delete { .. }) {
            happens(server);
        }
        None
    });
    world.delete("ConfigMap", "a", Background);
    world.watch();
    if late {
        world.hold_up("Secret");
    }
    world.run();
    assert_eq!(world.log[0], EXACT);
    assert!(!late || (world.log.len(), world.retries.len()) == (1, 1), "a conflict: {:?}", world.log);
    world.run_with_retries(1);
    world
}

/// garbage-collection A16.39
#[test]
fn an_object_that_got_another_owner_meanwhile_is_not_deleted() {
    let adopted = |server: &mut _| edit(server, "Secret", "b", |meta| meta["ownerReferences"] = json!([owner("ConfigMap", "new")]));
    let mut at_once = surprised(false, adopted);
    assert_eq!((at_once.names(), &at_once.log), (vec!["b", "c", "new"], &vec![EXACT.to_owned()]));
    at_once.run_with_retries(2);
    assert_eq!(at_once.log, [EXACT]);

    let mut late = surprised(true, adopted);
    assert_eq!(late.log, [EXACT, "get Secret/b"]);
    late.run_with_retries(3);
    assert_eq!(late.log.len(), 2, "nothing more, until the cache has heard of it");
    late.go_on("Secret");
    late.run();
    assert_eq!((late.names(), late.log.len()), (vec!["b", "c", "new"], 2));
    // It is an object like any other afterwards.
    late.delete("ConfigMap", "new", Background);
    late.run();
    assert_eq!(late.names(), [""; 0]);
    assert_eq!(late.log[2..], [EXACT, "delete ReplicaSet/c Background"]);
}

/// garbage-collection A16.39: an owner added beside the one that is gone.
#[test]
fn an_owner_added_meanwhile_keeps_the_object_and_only_the_other_reference_goes() {
    let both = json!([owner("ConfigMap", "a"), owner("ConfigMap", "new")]);
    let mut world = surprised(true, move |server| edit(server, "Secret", "b", |meta| meta["ownerReferences"] = both.clone()));
    world.go_on("Secret");
    world.run();
    assert_eq!(world.owners_of("b"), ["new"]);
    assert_eq!(world.log, [EXACT, "get Secret/b", "patch Secret/b owners"]);
}

/// garbage-collection A16.40
#[test]
fn an_object_of_which_only_other_fields_change_is_deleted_by_its_uid() {
    let labelled = |server: &mut _| edit(server, "Secret", "b", |meta| meta["labels"] = json!({"beat": "1"}));
    let late = surprised(true, labelled);
    assert_eq!(late.log[..3], [EXACT, "get Secret/b", BY_UID]);
    let at_once = surprised(false, labelled);
    assert_eq!(at_once.log, [EXACT, "get Secret/b", BY_UID, "delete ReplicaSet/c Background"]);
    assert_eq!(at_once.names(), ["new"]);
}

/// garbage-collection A16.40: what a look found is old after a second, and then guards only what it saw.
#[test]
fn an_old_look_allows_no_delete_by_the_uid_alone() {
    for changes_again in [false, true] {
        let mut world = World::new();
        world.create("ConfigMap", "a", &[]);
        world.create("Secret", "b", &[owner("ConfigMap", "a")]);
        world.run();
        world.hold_up("Secret");
        let beat = |world: &mut World, beat: &str| world.edit("Secret", "b", |meta| meta["labels"] = json!({"beat": beat}));
        beat(&mut world, "1");
        world.delete("ConfigMap", "a", Background);
        world.run();
        world.look_at("Secret", "b");
        assert_eq!(world.log, [EXACT, "get Secret/b"]);
        world.wait(1_001);
        if changes_again {
            beat(&mut world, "2");
        }
        world.run();
        assert_eq!(world.log[2..], [EXACT]);
        assert_eq!(world.names(), if changes_again { vec!["b"] } else { vec![] });
        world.run_with_retries(1);
        let rest: &[&str] = if changes_again { &["get Secret/b", BY_UID] } else { &[] };
        assert_eq!(&world.log[3..], rest);
    }
}

/// garbage-collection A16.40: what beats all the time is not starved of its end.
#[test]
fn an_object_that_changes_before_every_request_is_deleted_all_the_same() {
    let mut world = World::new();
    world.create("ConfigMap", "a", &[]);
    world.create("Secret", "b", &[owner("ConfigMap", "a")]);
    world.run();
    let mut beat = 0;
    world.meddle(move |server, _| {
        beat += 1;
        edit(server, "Secret", "b", |meta| meta["labels"] = json!({"beat": beat.to_string()}));
        None
    });
    world.delete("ConfigMap", "a", Background);
    world.run();
    world.run_with_retries(1);
    assert_eq!(world.names(), [""; 0]);
    assert_eq!(world.log, [EXACT, "get Secret/b", BY_UID]);
}

/// garbage-collection A10: somebody deletes it meanwhile and says that its own dependents are to stay. Upstream's second delete, in
/// background, would take that back.
#[test]
fn a_delete_that_came_first_says_how_dependents_go() {
    for late in [false, true] {
        let mut world = surprised(late, |server| {
            let key = evenkeel_api::Key::new("n", "b");
            server.delete(kind("Secret"), &key, Orphan, jiff::Timestamp::UNIX_EPOCH);
        });
        world.go_on("Secret");
        world.run();
        assert_eq!((world.names(), world.owners_of("c")), (vec!["c", "new"], vec![]));
        assert!(!world.log.contains(&BY_UID.to_owned()), "{:?}", world.log);
    }
}

/// garbage-collection A16.39, A16.41: it is gone by the time that it is looked at, or another life is there.
#[test]
fn an_object_that_went_meanwhile_is_left_to_the_cache() {
    for reborn in [false, true] {
        let mut world = World::new();
        world.create("ConfigMap", "a", &[]);
        world.create("ConfigMap", "new", &[]);
        world.create("Secret", "b", &[owner("ConfigMap", "a")]);
        world.run();
        world.hold_up("Secret");
        world.meddle(move |server, write| match write {
            Write::Delete { .. } => Some(failed(FailureKind::Conflict)),
            Write::Look { kind, key } => {
                server.delete(kind, key, Background, jiff::Timestamp::UNIX_EPOCH);
                if reborn {
                    let meta =
                        json!({"name": "b", "namespace": "n", "uid": "another life", "ownerReferences": [owner("ConfigMap", "new")]});
                    server.put(kind, read(meta));
                }
                None
            }
            _ => None,
        });
        world.delete("ConfigMap", "a", Background);
        world.run();
        world.run_with_retries(1);
        assert_eq!(world.log[..2], [EXACT, "get Secret/b"]);
        assert!(!world.log.contains(&BY_UID.to_owned()), "{:?}", world.log);
        world.go_on("Secret");
        world.run();
        world.run_with_retries(2);
        let left = if reborn { vec!["b", "new"] } else { vec!["new"] };
        assert_eq!((world.names(), world.retries.len()), (left, 0));
        assert!(world.log.len() <= 3, "{:?}", world.log);
    }
}

/// garbage-collection A16.41
#[test]
fn an_object_that_is_gone_already_is_waited_for_and_its_dependents_follow() {
    let mut world = World::new();
    world.create("ConfigMap", "a", &[]);
    world.create("Secret", "b", &[owner("ConfigMap", "a")]);
    world.create("ReplicaSet", "c", &[owner("Secret", "b")]);
    world.run();
    world.hold_up("Secret");
    world.delete("Secret", "b", Background);
    world.delete("ConfigMap", "a", Background);
    world.run();
    world.run_with_retries(3);
    assert_eq!((&world.log, world.names()), (&vec![EXACT.to_owned()], vec!["c"]));
    world.go_on("Secret");
    world.run();
    assert_eq!((world.names(), world.retries.len()), (vec![], 0));
}

/// garbage-collection A6.7
#[test]
fn what_fails_is_tried_again() {
    for kind in [FailureKind::Other, FailureKind::Forbidden, FailureKind::Invalid, FailureKind::NotFound] {
        let mut world = World::new();
        world.create("ConfigMap", "a", &[]);
        world.create("Secret", "b", &[owner("ConfigMap", "a")]);
        world.run();
        let mut times = 2;
        world.meddle(move |_, _| {
            times -= 1;
            (times >= 0).then(|| failed(kind))
        });
        world.delete("ConfigMap", "a", Background);
        world.run();
        world.run_with_retries(1);
        assert_eq!((world.names(), world.retries.len()), (vec!["b"], 1), "{kind:?}");
        world.run_with_retries(1);
        assert_eq!((world.names(), world.retries.len()), (vec![], 0));
        assert_eq!(world.log, [EXACT; 3]);
    }
}

/// garbage-collection A17.18: that there is no such path says nothing about an owner.
#[test]
fn only_the_servers_word_about_the_owner_proves_that_it_is_gone() {
    for kind in [FailureKind::NotFound, FailureKind::Other, FailureKind::Forbidden] {
        let mut world = World::new();
        world.create("Secret", "b", &[owner("ConfigMap", "a")]);
        let mut times = 3;
        world.meddle(move |_, _| {
            times -= 1;
            (times >= 0).then(|| failed(kind))
        });
        world.run();
        world.run_with_retries(2);
        assert_eq!(world.names(), ["b"]);
        assert_eq!(world.log, ["get ConfigMap/a"; 3]);
        world.run_with_retries(1);
        assert_eq!(world.names(), [""; 0]);
    }
}

/// garbage-collection A14, A17.3: what all waits already need not be waited for, so there is no patch to conflict with.
#[test]
fn the_last_of_a_ring_is_deleted_without_a_patch() {
    let mut world = World::new();
    let name = |n: usize| ["a", "b", "c"][n % 3];
    for n in 0..3 {
        world.create("ConfigMap", name(n), &[blocking("ConfigMap", name(n + 2))]);
    }
    world.run();
    world.take_log();
    world.delete("ConfigMap", "a", Foreground);
    world.run();
    let deletes: Vec<&String> = world.log.iter().filter(|line| line.starts_with("delete")).collect();
    assert_eq!(deletes, ["delete ConfigMap/b Foreground", "delete ConfigMap/c Background"]);
    assert!(!world.log.iter().any(|line| line.ends_with("owners")), "{:?}", world.log);
}

/// garbage-collection A6: how an object's own dependents go, by what its owners are and what it is held by.
#[test]
fn a_delete_says_how_dependents_go() {
    let cases: [(Propagation, bool, Value, &str); 6] = [
        (Background, true, json!([]), "Background"),
        (Background, true, json!(["orphan"]), "Orphan"),
        (Background, true, json!(["foregroundDeletion"]), "Foreground"),
        (Foreground, true, json!([]), "Foreground"),
        (Foreground, true, json!(["orphan"]), "Foreground"),
        (Foreground, false, json!(["orphan"]), "Orphan"),
    ];
    for (of_owner, parent, finalizers, expected) in cases {
        let mut world = World::new();
        world.create("ConfigMap", "a", &[]);
        world.create("Secret", "b", &[blocking("ConfigMap", "a")]);
        world.edit("Secret", "b", |meta| meta["finalizers"] = finalizers.clone());
        if parent {
            world.create("ReplicaSet", "c", &[owner("Secret", "b")]);
        }
        world.run();
        world.delete("ConfigMap", "a", of_owner);
        world.run();
        let delete = world.log.iter().find(|line| line.starts_with("delete Secret")).expect("it goes");
        assert_eq!(*delete, format!("delete Secret/b {expected}"), "{of_owner:?} {finalizers}");
    }
}

/// garbage-collection A10: what was found in the place of a cached version may have changed back before the cache shows it, and then nothing is told.
#[test]
fn an_object_that_differs_from_the_cache_is_not_forgotten() {
    let mut world = World::new();
    world.create("Secret", "s", &[owner("ConfigMap", "gone")]);
    world.run_for(0);
    world.create("Secret", "s", &[owner("ConfigMap", "gone")]);
    world.watch();
    world.hold_up("Secret");
    world.hold("Secret", "s", &["example.com/h"]);
    world.look_at("Secret", "s");
    world.run();
    assert_eq!((world.names(), world.retries.len()), (vec!["s"], 1), "{:?}", world.log);
    world.hold("Secret", "s", &[]);
    world.run_with_retries(3);
    assert_eq!(world.names(), [""; 0], "{:?}", world.log);
}
