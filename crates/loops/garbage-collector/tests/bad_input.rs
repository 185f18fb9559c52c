//! What anybody can write: it hurts nobody else, and costs what it weighs.

use std::time::{Duration, Instant};

use evenkeel_plan::Propagation::{Background, Foreground, Orphan};
use serde_json::{Value, json};

use crate::world::{World, blocking, owner, with};

/// Far more than any of these takes, and far less than what grows with the square would: a debug build on a busy machine.
const PROMPTLY: Duration = Duration::from_secs(20);

fn number(number: usize) -> String {
    format!("o{number:05}")
}

/// 10,000 owners of one object, none of which is there: each is read once, in batches, and then the object goes.
#[test]
fn ten_thousand_absent_owners_of_one_object() {
    const COUNT: usize = 10_000;
    let start = Instant::now();
    let mut world = World::new();
    let owners: Vec<Value> = (0..COUNT).map(|n| owner("ConfigMap", &number(n))).collect();
    world.create("Secret", "s", &owners);
    world.create("Secret", "other", &[owner("ConfigMap", "never")]);
    world.run();
    assert_eq!(world.names(), [""; 0]);
    assert_eq!(world.log.len(), COUNT + 3);
    // A pass asks for 500 owners at most, so that other keys have their turn.
    assert!((COUNT / 500..60).contains(&world.passes), "{} passes", world.passes);
    assert!(start.elapsed() < PROMPTLY, "{:?}", start.elapsed());
}

/// The same with owners that are there and go one after another, and with one that waits.
#[test]
fn ten_thousand_owners_that_go() {
    const COUNT: usize = 10_000;
    let start = Instant::now();
    let mut world = World::new();
    for n in 0..COUNT {
        world.create("ConfigMap", &number(n), &[]);
    }
    let owners: Vec<Value> = (0..COUNT).map(|n| blocking("ConfigMap", &number(n))).collect();
    world.create("Secret", "s", &owners);
    world.run();
    assert_eq!(world.log.len(), 0);
    world.delete("ConfigMap", &number(7), Foreground);
    world.run();
    assert_eq!(world.log, ["get ConfigMap/o00007", "patch Secret/s owners", "patch ConfigMap/o00007 finalizers"]);
    for n in (0..COUNT).filter(|n| *n != 7) {
        world.delete("ConfigMap", &number(n), Background);
    }
    world.run();
    assert_eq!(world.names(), [""; 0]);
    assert_eq!(world.log[3..], ["delete Secret/s Background"]);
    assert!(start.elapsed() < PROMPTLY, "{:?}", start.elapsed());
}

/// 300 objects, each owned by all, deleted in foreground one and all: every one is in a ring with every other.
#[test]
fn everybody_owns_everybody() {
    const COUNT: usize = 300;
    let start = Instant::now();
    let mut world = World::new();
    let owners: Vec<Value> = (0..COUNT).map(|n| blocking("ConfigMap", &number(n))).collect();
    for n in 0..COUNT {
        world.create("ConfigMap", &number(n), &owners);
    }
    world.run();
    world.take_log();
    for n in 0..COUNT {
        world.delete("ConfigMap", &number(n), Foreground);
    }
    world.run();
    assert_eq!(world.names(), [""; 0]);
    assert_eq!(world.log.len(), COUNT);
    assert!(start.elapsed() < PROMPTLY, "{:?}", start.elapsed());
}

/// Owners of kinds that nobody knows, on very many objects: these stay, others go.
#[test]
fn unknown_kinds_everywhere() {
    let mut world = World::new();
    for n in 0..2_000 {
        let unknown = json!({"apiVersion": format!("g{n}/v1"), "kind": "K", "name": "x", "uid": "u"});
        world.create("Secret", &number(n), &[unknown, owner("ConfigMap", "never")]);
    }
    world.create("Secret", "garbage", &[owner("ConfigMap", "never")]);
    world.run();
    assert_eq!((world.names().len(), world.retries.len()), (2_000, 2_000));
    assert_eq!(world.log, ["get ConfigMap/never", "delete Secret/garbage Background"]);
}

/// A tenant names uids of objects of others, in its own namespace and with any kind: only what it made itself is touched, whatever happens to
/// the owners.
#[test]
fn planted_uids() {
    for propagation in [Background, Foreground, Orphan] {
        let mut world = World::new();
        world.create_in("victim", "Deployment", "d", &[]);
        world.create_in("victim", "ReplicaSet", "rs", &[blocking("Deployment", "d")]);
        world.create_in("victim", "ConfigMap", "settings", &[]);
        world.create("ClusterRole", "role", &[]);
        world.run();
        let planted = [
            blocking("Deployment", "d"),
            with(blocking("Deployment", "d"), "kind", "ReplicaSet"),
            with(with(blocking("Deployment", "d"), "apiVersion", "v1"), "kind", "Secret"),
            with(blocking("Deployment", "d"), "name", "settings"),
            blocking("ConfigMap", "settings"),
            with(blocking("ClusterRole", "role"), "name", "other"),
            with(blocking("ClusterRole", "role"), "kind", "CustomResourceDefinition"),
        ];
        for (n, reference) in planted.iter().enumerate() {
            world.create_in("tenant", "Secret", &number(n), std::slice::from_ref(reference));
            world.create_in("tenant", "Secret", &format!("held-{n}"), std::slice::from_ref(reference));
            world.hold("Secret", &format!("held-{n}"), &["example.com/h"]);
        }
        world.run();
        world.run_with_retries(10);
        let others = |world: &World| world.names().into_iter().filter(|n| !n.starts_with("held-") && !n.starts_with("o0")).count();
        assert_eq!(others(&world), 4, "{:?}", world.names());
        world.take_log();
        world.delete("Deployment", "d", propagation);
        world.run();
        let rest = if propagation == Orphan { vec!["rs", "settings"] } else { vec!["settings"] };
        let of_victim: Vec<&str> = world.names().into_iter().filter(|n| ["d", "rs", "settings"].contains(n)).collect();
        assert_eq!(of_victim, rest, "nobody holds up the deletion of another's object");
        assert!(!world.log.iter().any(|line| line.contains("Secret/held")), "{:?}", world.log);
    }
}

/// Names and uids that no object can have are never put into a request; what names them stays.
#[test]
fn odd_names() {
    let mut world = World::new();
    let huge = "x".repeat(200_000);
    for (n, name) in ["a/b", "../secrets/s", "..", ".", "a%2Fb", "x/status", &huge].into_iter().enumerate() {
        world.create("Secret", &number(n), &[with(owner("ConfigMap", "c"), "name", name)]);
    }
    world.create("Secret", "huge-uid", &[with(owner("ConfigMap", "c"), "uid", &*huge)]);
    world.create("Secret", "huge-kind", &[with(owner("ConfigMap", "c"), "kind", &*huge)]);
    world.run();
    world.run_with_retries(10);
    assert_eq!(world.names().len(), 9);
    assert!(world.log.is_empty(), "{:?}", world.log);
    assert_eq!(world.events.len(), 9);
    assert!(world.events.iter().all(|event| event.len() < 1_000), "events have room for what names have");
    // Odd, but possible: a space, a colon, letters of others.
    for name in ["system:x y", "größe", "a?b#c"] {
        world.create("Secret", "goes", &[with(owner("ConfigMap", "c"), "name", name)]);
        world.run();
        assert!(!world.names().contains(&"goes"), "{name}");
    }
}

/// No server stores empty names and uids; should one ever show them, nothing is done.
#[test]
fn empty_names() {
    let mut world = World::new();
    for (n, field) in ["name", "uid", "kind", "apiVersion"].into_iter().enumerate() {
        world.create("Secret", &number(n), &[with(owner("ConfigMap", "c"), field, "")]);
    }
    world.run();
    world.run_with_retries(2);
    assert_eq!((world.names().len(), world.log.len()), (4, 0));
}

/// Finalizers of others are neither needed nor touched, and what hangs on one hinders no other object.
#[test]
fn finalizers_of_others() {
    let mut world = World::new();
    let many: Vec<String> = (0..1_000).map(|n| format!("example.com/f{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).chain(["kubernetes"]).collect();
    world.create("ConfigMap", "a", &[]);
    world.create("Secret", "held", &[blocking("ConfigMap", "a")]);
    world.hold("Secret", "held", &many);
    world.create("Secret", "free", &[blocking("ConfigMap", "a")]);
    world.hold("ConfigMap", "a", &many);
    world.run();
    world.delete("ConfigMap", "a", Foreground);
    world.run();
    assert_eq!(world.names(), ["a", "held"]);
    world.edit("Secret", "held", |meta| meta["finalizers"] = Value::Null);
    world.run();
    assert_eq!(world.names(), ["a"]);
    let left = crate::world::find(&world.server, "ConfigMap", "a").finalizers.clone();
    assert_eq!(left.iter().map(|f| &**f).collect::<Vec<_>>(), many);
}

/// Late news of an object that is gone are refused by the store; nothing is done for a key whose object is not there.
#[test]
fn news_of_what_is_gone() {
    let mut world = World::new();
    world.create("ConfigMap", "a", &[]);
    world.create("Secret", "b", &[owner("ConfigMap", "a")]);
    world.run();
    world.hold_up("ConfigMap");
    world.delete("ConfigMap", "a", Background);
    world.delete("Secret", "b", Background);
    world.run();
    world.go_on("ConfigMap");
    world.run();
    assert_eq!((world.names(), world.log.len()), (vec![], 0));
    world.look_at_key(evenkeel_api::Key::new("n", "secrets/b"));
    world.look_at_key(evenkeel_api::Key::new("n", "no-such-resource/b"));
    world.look_at_key(evenkeel_api::Key::new("", "no slash"));
    assert_eq!((world.log.len(), world.retries.len()), (0, 0));
}
