//! What the answers to the collector's own writes tell is acted on before the cache shows it.

use evenkeel_api::{Key, Version};
use evenkeel_garbage_collector::key_of;
use evenkeel_plan::{
    Answer, ControlLoop, Done, Outcome,
    Propagation::{Background, Foreground},
};
use serde_json::Value;

use crate::world::{World, blocking, find, kind, owner};

fn key(world: &World, kind_name: &str, name: &str) -> Key {
    key_of(kind(kind_name), &find(&world.server, kind_name, name).key())
}

/// A chain of ConfigMaps: b owned by a, c by b.
fn chain() -> World {
    let mut world = World::new();
    world.create("ConfigMap", "a", &[]);
    world.create("ConfigMap", "b", &[blocking("ConfigMap", "a")]);
    world.create("ConfigMap", "c", &[blocking("ConfigMap", "b")]);
    world.run();
    world
}

/// garbage-collection A4
#[test]
fn who_owned_goes_with_the_answer_to_its_deletion() {
    let mut world = chain();
    world.delete("ConfigMap", "a", Background);
    world.watch();
    world.hold_up("ConfigMap");
    world.run();
    assert_eq!(world.log, ["delete ConfigMap/b Background", "delete ConfigMap/c Background"]);
    assert_eq!(world.names(), [""; 0]);
    world.go_on("ConfigMap");
    world.run();
    assert_eq!(world.log.len(), 2, "the events bring nothing new: {:?}", world.log);
}

/// The same where the server does not say whether it is gone: then the event is waited for.
#[test]
fn an_answer_that_does_not_say_that_it_is_gone_says_nothing() {
    let mut world = chain();
    world.delete("ConfigMap", "a", Background);
    world.watch();
    let key = key(&world, "ConfigMap", "b");
    let snap = world.collector.snapshot(&world.stores(), &key);
    let plan = world.collector.plan(&snap, world.now());
    let uid = find(&world.server, "ConfigMap", "b").uid.clone();
    let outcome = Outcome { steps: vec![vec![Done::Written(Answer { uid, version: Some(Version(9)), gone: false })]] };
    world.collector.remember(&snap, &plan, &outcome, world.now());
    assert_eq!(world.collector.answered(&snap, &plan, &outcome, &world.stores()), []);
    world.look_at("ConfigMap", "c");
    assert!(world.log.is_empty(), "{:?}", world.log);
}

/// garbage-collection A6
#[test]
fn who_is_owned_by_one_that_waits_goes_with_the_answer() {
    let mut world = chain();
    world.delete("ConfigMap", "a", Foreground);
    world.watch();
    world.hold_up("ConfigMap");
    world.run();
    assert_eq!(world.log, ["get ConfigMap/a", "delete ConfigMap/b Foreground", "delete ConfigMap/c Background"]);
    assert_eq!(world.names(), ["a", "b"]);
    world.go_on("ConfigMap");
    world.run();
    assert_eq!(world.names(), [""; 0]);
    assert_eq!(world.log[3..], ["patch ConfigMap/b finalizers", "patch ConfigMap/a finalizers"]);
}

/// garbage-collection A7
#[test]
fn who_waits_for_one_that_is_released_goes_with_the_answer() {
    let mut world = World::new();
    world.create("ReplicationController", "a", &[]);
    world.create("ConfigMap", "b", &[blocking("ReplicationController", "a")]);
    world.create("Secret", "c", &[blocking("ConfigMap", "b")]);
    world.hold("Secret", "c", &["example.com/h"]);
    world.run();
    world.delete("ReplicationController", "a", Foreground);
    world.run();
    assert_eq!(world.names(), ["a", "b", "c"]);
    world.hold_up("ConfigMap");
    world.edit("Secret", "c", |meta| meta["finalizers"] = Value::Null);
    world.take_log();
    world.run();
    assert_eq!(world.log, ["patch ConfigMap/b finalizers", "patch ReplicationController/a finalizers"]);
    assert_eq!(world.names(), [""; 0]);
    // What went is not released once more while the cache still shows it, but for so long that the server may have it again.
    let b = key_of(kind("ConfigMap"), &Key::new("n", "b"));
    world.look_at_key(b.clone());
    assert_eq!(world.log.len(), 2);
    world.run_for(9_000);
    assert_eq!(world.log.len(), 2);
    world.run_for(6_000);
    assert_eq!(world.take_log()[2..], ["patch ConfigMap/b finalizers"]);
    world.go_on("ConfigMap");
    world.run();
    assert_eq!(world.log.len(), 0);
}

/// reliability F8: the answer is from before the server was restored from a backup, and comes after.
#[test]
fn an_answer_from_before_a_restore_says_nothing() {
    let mut world = chain();
    world.delete("ConfigMap", "a", Background);
    world.watch();
    let key_of_b = key(&world, "ConfigMap", "b");
    let snap = world.collector.snapshot(&world.stores(), &key_of_b);
    let plan = world.collector.plan(&snap, world.now());
    let uid = find(&world.server, "ConfigMap", "b").uid.clone();
    let outcome = Outcome { steps: vec![vec![Done::Written(Answer { uid, version: None, gone: true })]] };
    // b is there again, and stays: its owner was never gone.
    world.create("ConfigMap", "a", &[]);
    world.restore();
    world.run();
    world.collector.remember(&snap, &plan, &outcome, world.now());
    world.look_at("ConfigMap", "c");
    world.run();
    assert!(world.log.is_empty(), "{:?}", world.log);
    assert_eq!(world.names(), ["a", "b", "c"]);
}

/// A server may tell of a deletion before it answers; its dependents then wait for the answer instead of asking.
#[test]
fn who_hears_of_a_waiting_owner_before_its_answer_asks_nobody() {
    let mut world = chain();
    world.delete("ConfigMap", "a", Foreground);
    world.watch();
    world.look_at("ConfigMap", "b");
    assert_eq!(world.take_log(), ["get ConfigMap/a"]);
    // A pass of b has begun, and its answer is on the way.
    let key_of_b = key(&world, "ConfigMap", "b");
    let snap = world.collector.snapshot(&world.stores(), &key_of_b);
    let plan = world.collector.plan(&snap, world.now());
    assert_eq!(plan.writes().count(), 1);
    world.delete("ConfigMap", "b", Foreground);
    world.watch();
    world.look_at("ConfigMap", "c");
    assert!(world.log.is_empty(), "{:?}", world.log);
    let b = find(&world.server, "ConfigMap", "b");
    let outcome = Outcome { steps: vec![vec![Done::Written(Answer { uid: b.uid.clone(), version: Some(b.version), gone: false })]] };
    world.collector.remember(&snap, &plan, &outcome, world.now());
    let told = world.collector.answered(&snap, &plan, &outcome, &world.stores());
    assert_eq!(told.into_iter().map(|trigger| trigger.key).collect::<Vec<_>>(), [key(&world, "ConfigMap", "c")]);
    world.look_at("ConfigMap", "c");
    assert_eq!(world.log, ["delete ConfigMap/c Background"]);
}

/// Whoever was announced and then not deleted can be asked for.
#[test]
fn a_deletion_that_failed_is_announced_no_more() {
    let mut world = chain();
    world.delete("ConfigMap", "a", Foreground);
    world.watch();
    world.look_at("ConfigMap", "b");
    let mut refused = false;
    world.meddle(move |server, write| {
        let delete = !std::mem::replace(&mut refused, true);
        // Somebody else deletes it first, in the same way.
        delete.then(|| {
            server.delete(kind("ConfigMap"), &Key::new("n", "b"), Foreground, jiff::Timestamp::UNIX_EPOCH);
            assert_eq!(&**write.name(), "b");
            crate::world::failed(evenkeel_plan::FailureKind::Conflict)
        })
    });
    world.look_at("ConfigMap", "b");
    world.watch();
    world.look_at("ConfigMap", "c");
    assert_eq!(world.take_log()[1..], ["delete ConfigMap/b Foreground", "get ConfigMap/b"]);
}

/// The answer said that it waits; but the cache shows what came after: it changed its mind, and what it owns stays.
#[test]
fn what_the_cache_shows_since_counts_more_than_an_answer() {
    let mut world = chain();
    world.delete("ConfigMap", "a", Foreground);
    world.watch();
    world.look_at("ConfigMap", "b");
    world.look_at("ConfigMap", "b");
    assert_eq!(world.take_log(), ["get ConfigMap/a", "delete ConfigMap/b Foreground"]);
    world.edit("ConfigMap", "b", |meta| meta["finalizers"] = ["orphan"].as_slice().into());
    world.run();
    assert!(world.log.contains(&"patch ConfigMap/c owners".to_owned()), "{:?}", world.log);
    assert_eq!(world.names(), ["c"]);
}

/// garbage-collection A12: what a dependent in another namespace says of an owner does not make it go with that owner's answer.
#[test]
fn an_answer_concerns_only_who_means_that_owner() {
    let mut world = chain();
    world.create_in("other", "ConfigMap", "d", &[owner("ConfigMap", "b")]);
    world.create_in("other", "ConfigMap", "b2", &[]);
    world.run();
    world.take_log();
    world.delete("ConfigMap", "a", Background);
    world.watch();
    let key_of_b = key(&world, "ConfigMap", "b");
    let snap = world.collector.snapshot(&world.stores(), &key_of_b);
    let plan = world.collector.plan(&snap, world.now());
    let uid = find(&world.server, "ConfigMap", "b").uid.clone();
    let outcome = Outcome { steps: vec![vec![Done::Written(Answer { uid, version: None, gone: true })]] };
    world.collector.remember(&snap, &plan, &outcome, world.now());
    let told = world.collector.answered(&snap, &plan, &outcome, &world.stores());
    assert_eq!(told.into_iter().map(|trigger| trigger.key).collect::<Vec<_>>(), [key(&world, "ConfigMap", "c")]);
}
