//! Scenarios of garbage-collection A16 against a small server.

mod what_if;
mod world;

use evenkeel_plan::Propagation::{Background, Foreground, Orphan};

use crate::world::{World, blocking, owner};

/// garbage-collection A16.1, A16.7
#[test]
fn dependents_go_after_their_owner_one_call_each() {
    let mut world = World::new();
    world.create("ConfigMap", "a", &[]);
    world.create("Secret", "b", &[owner("ConfigMap", "a")]);
    world.create("ReplicaSet", "c", &[owner("Secret", "b")]);
    world.run();
    assert!(world.log.is_empty());
    world.delete("ConfigMap", "a", Background);
    world.run();
    assert_eq!(world.names(), [""; 0]);
    assert_eq!(world.log, ["delete Secret/b Background", "delete ReplicaSet/c Background"]);
}

/// garbage-collection A16.2
#[test]
fn an_object_with_another_owner_stays_and_forgets_the_one_that_went() {
    let mut world = World::new();
    world.create("ConfigMap", "a", &[]);
    world.create("ConfigMap", "b", &[]);
    world.create("Secret", "c", &[owner("ConfigMap", "a"), owner("ConfigMap", "b")]);
    world.run();
    world.delete("ConfigMap", "a", Background);
    world.run();
    assert_eq!((world.names(), world.owners_of("c")), (vec!["b", "c"], vec!["b".to_owned()]));
    assert_eq!(world.log, ["patch Secret/c owners"]);
}

/// garbage-collection A16.4, A16.5, A16.48: one read for each owner, however many dependents ask.
#[test]
fn an_owner_that_never_existed_is_asked_for_once() {
    let mut world = World::new();
    world.create("ConfigMap", "kept", &[]);
    for name in ["a", "b", "c"] {
        world.create("Secret", name, &[owner("ConfigMap", "never")]);
    }
    world.run();
    assert_eq!(world.names(), ["kept"]);
    assert_eq!(world.log.iter().filter(|line| line.starts_with("get")).count(), 1, "{:?}", world.log);
    assert_eq!(world.log.len(), 4);
    // The name exists with another uid.
    let mut other = owner("ConfigMap", "kept");
    other["uid"] = "another".into();
    world.create("Secret", "d", &[other]);
    world.run();
    assert_eq!(world.names(), ["kept"]);
}

/// garbage-collection A16.6
#[test]
fn an_owner_that_went_while_nobody_looked_is_noticed_at_the_start() {
    let mut world = World::new();
    world.create("ConfigMap", "a", &[]);
    world.create("Secret", "b", &[owner("ConfigMap", "a")]);
    world.delete("ConfigMap", "a", Background);
    world.restart();
    world.run();
    assert_eq!(world.names(), [""; 0]);
    assert_eq!(world.log, ["get ConfigMap/a", "delete Secret/b Background"]);
}

/// garbage-collection A16.11
#[test]
fn orphans_lose_the_reference_and_stay() {
    let mut world = World::new();
    world.create("ReplicaSet", "rs", &[]);
    for name in ["a", "b", "c"] {
        world.create("Secret", name, &[blocking("ReplicaSet", "rs")]);
    }
    world.run();
    world.delete("ReplicaSet", "rs", Orphan);
    world.run();
    assert_eq!(world.names(), ["a", "b", "c"]);
    assert!(world.owners_of("a").is_empty());
    assert_eq!(world.log.len(), 4, "{:?}", world.log);
    assert_eq!(world.log[3], "patch ReplicaSet/rs finalizers");
}

/// garbage-collection A16.17, A16.25
#[test]
fn in_foreground_dependents_go_first() {
    let mut world = World::new();
    world.create("ConfigMap", "a", &[]);
    world.create("ReplicaSet", "b", &[blocking("ConfigMap", "a")]);
    world.create("Secret", "c", &[blocking("ReplicaSet", "b")]);
    world.run();
    world.delete("ConfigMap", "a", Foreground);
    world.run();
    assert_eq!(world.names(), [""; 0]);
    assert_eq!(
        world.log,
        [
            "get ConfigMap/a",
            "delete ReplicaSet/b Foreground",
            "delete Secret/c Background",
            "patch ReplicaSet/b finalizers",
            "patch ConfigMap/a finalizers",
        ]
    );
}

/// garbage-collection A16.18, A16.19
#[test]
fn an_owner_waits_for_what_blocks_it_and_for_nothing_else() {
    let mut world = World::new();
    world.create("ConfigMap", "a", &[]);
    world.create("Secret", "blocks", &[blocking("ConfigMap", "a")]);
    world.create("Secret", "does-not", &[owner("ConfigMap", "a")]);
    world.hold("Secret", "blocks", &["example.com/h"]);
    world.hold("Secret", "does-not", &["example.com/h"]);
    world.run();
    world.delete("ConfigMap", "a", Foreground);
    world.run();
    assert_eq!(world.names(), ["a", "blocks", "does-not"]);
    world.edit("Secret", "blocks", |meta| meta["finalizers"] = serde_json::Value::Null);
    world.run();
    assert_eq!(world.names(), ["does-not"]);
}

/// garbage-collection A16.20
#[test]
fn in_foreground_an_object_with_another_owner_is_let_go() {
    let mut world = World::new();
    world.create("ConfigMap", "a", &[]);
    world.create("ConfigMap", "b", &[]);
    world.create("Secret", "c", &[blocking("ConfigMap", "a"), owner("ConfigMap", "b")]);
    world.run();
    world.delete("ConfigMap", "a", Foreground);
    world.run();
    assert_eq!((world.names(), world.owners_of("c")), (vec!["b", "c"], vec!["b".to_owned()]));
}

/// garbage-collection A16.22
#[test]
fn an_edited_reference_releases_the_owner() {
    for owners in [serde_json::json!([owner("ConfigMap", "a")]), serde_json::Value::Null] {
        let mut world = World::new();
        world.create("ConfigMap", "a", &[]);
        world.create("Secret", "b", &[blocking("ConfigMap", "a")]);
        world.hold("Secret", "b", &["example.com/h"]);
        world.run();
        world.delete("ConfigMap", "a", Foreground);
        world.run();
        world.edit("Secret", "b", |meta| meta["ownerReferences"] = owners);
        world.run();
        assert_eq!(world.names(), ["b"]);
    }
}

/// garbage-collection A16.23, A17.1: upstream hangs where all are deleted in foreground, or one blocks itself.
#[test]
fn rings_fall() {
    let ring = || {
        let mut world = World::new();
        world.create("ConfigMap", "a", &[blocking("ConfigMap", "c")]);
        world.create("ConfigMap", "b", &[blocking("ConfigMap", "a")]);
        world.create("ConfigMap", "c", &[blocking("ConfigMap", "b")]);
        world.run();
        assert!(world.log.iter().all(|line| line.starts_with("get")), "{:?}", world.log);
        world.take_log();
        world
    };
    let mut one = ring();
    one.delete("ConfigMap", "a", Foreground);
    one.run();
    assert_eq!(one.names(), [""; 0], "{:?}", one.log);
    assert!(one.log.len() <= 6, "{:?}", one.log);
    let mut all = ring();
    for name in ["a", "b", "c"] {
        all.delete("ConfigMap", name, Foreground);
    }
    all.run();
    assert_eq!(all.names(), [""; 0]);
    let mut itself = World::new();
    itself.create("ConfigMap", "x", &[blocking("ConfigMap", "x")]);
    itself.run();
    itself.delete("ConfigMap", "x", Foreground);
    itself.run();
    assert_eq!(itself.names(), [""; 0]);
}

/// garbage-collection A16.26, A12
#[test]
fn an_owner_in_another_namespace_counts_as_absent_and_an_event_says_so() {
    let mut world = World::new();
    world.create_in("b", "ConfigMap", "o", &[]);
    world.create_in("b", "Secret", "good", &[owner("ConfigMap", "o")]);
    world.create_in("a", "Secret", "bad", &[owner("ConfigMap", "o")]);
    world.run();
    assert_eq!(world.names(), ["good", "o"]);
    let text = "bad OwnerRefInvalidNamespace: ownerRef [v1/ConfigMap, namespace: a, name: o, uid: uid-o] does not exist in namespace \"a\"";
    assert_eq!(world.events, [text]);
}

/// garbage-collection A16.28, A16.32
#[test]
fn unknown_kinds_keep_their_dependents_and_hold_up_nobody_else() {
    let mut world = World::new();
    let unknown = |n: usize| serde_json::json!({"apiVersion": "no.such/v1", "kind": format!("Gizmo{n}"), "name": "g", "uid": format!("g{n}")});
    let mut owners: Vec<_> = (0..25).map(unknown).collect();
    owners.push(owner("ConfigMap", "never"));
    world.create("Secret", "kept", &owners);
    world.create("Secret", "garbage", &[owner("ConfigMap", "never")]);
    world.run_with_retries(5);
    assert_eq!(world.names(), ["kept"]);
    assert_eq!(world.retries.len(), 1, "tried again, ever more rarely");
}

/// garbage-collection A16.29, A16.31
#[test]
fn scope_rules() {
    let mut world = World::new();
    world.create("ConfigMap", "o", &[]);
    world.create("ClusterRole", "child", &[owner("ConfigMap", "o")]);
    world.create("ClusterRole", "root", &[]);
    world.create("Secret", "of-root", &[owner("ClusterRole", "root")]);
    world.create("Secret", "of-none", &[owner("ClusterRole", "none")]);
    world.run_with_retries(3);
    assert_eq!(world.names(), ["child", "o", "of-root", "root"]);
    assert!(world.retries.is_empty(), "{:?}", world.retries);
    assert_eq!(world.events.len(), 1, "{:?}", world.events);
    world.delete("ClusterRole", "root", Background);
    world.run();
    assert_eq!(world.names(), ["child", "o"]);
}

/// garbage-collection A16.39, A16.40
#[test]
fn what_changes_between_decision_and_delete_is_looked_at_again() {
    let mut world = World::new();
    world.create("ConfigMap", "a", &[]);
    world.create("ConfigMap", "new", &[]);
    world.create("Secret", "b", &[owner("ConfigMap", "a")]);
    world.run();
    world.delete("ConfigMap", "a", Background);
    world.watch();
    // The cache has not seen that somebody else owns it now.
    world.edit("Secret", "b", |meta| meta["ownerReferences"] = serde_json::json!([owner("ConfigMap", "new")]));
    world.run();
    assert!(world.names().contains(&"b"));
}
