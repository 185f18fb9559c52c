//! What the answers to the collector's own writes tell is acted on before the cache shows it.

use evenkeel_api::{Key, Uid, Version};
use evenkeel_garbage_collector::{Snapshot, key_of};
use evenkeel_plan::{
    Answer, ControlLoop, Done, Outcome, Plan,
    Propagation::{Background, Foreground},
    Write,
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

/// A pass of b that has begun, and whose answer is on the way.
struct Pass {
    snap: Snapshot,
    plan: Plan,
}

impl Pass {
    fn begin(world: &World) -> Self {
        let snap = world.collector.snapshot(&world.stores(), &key(world, "ConfigMap", "b"));
        let plan = world.collector.plan(&snap, world.now());
        assert_eq!(plan.writes().map(Write::verb).collect::<Vec<_>>(), ["delete"]);
        Self { snap, plan }
    }

    /// The answer comes: the version that is left, if any, or that it is gone. What is looked at because of it.
    fn end(self, world: &World, version: Option<Version>, gone: bool) -> Vec<Key> {
        let outcome = Outcome { steps: vec![vec![Done::Written(Answer { uid: Uid::new("uid-b"), version, gone })]] };
        world.collector.remember(&self.snap, &self.plan, &outcome, world.now());
        let told = world.collector.answered(&self.snap, &self.plan, &outcome, &world.stores());
        told.into_iter().map(|trigger| trigger.key).collect()
    }
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
    assert_eq!(Pass::begin(&world).end(&world, Some(Version(9)), false), []);
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
    let pass = Pass::begin(&world);
    // b is there again, and stays: its owner was never gone.
    world.create("ConfigMap", "a", &[]);
    world.restore();
    world.run();
    pass.end(&world, None, true);
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
    let pass = Pass::begin(&world);
    world.delete("ConfigMap", "b", Foreground);
    world.watch();
    world.look_at("ConfigMap", "c");
    assert!(world.log.is_empty(), "{:?}", world.log);
    let waits = find(&world.server, "ConfigMap", "b").version;
    assert_eq!(pass.end(&world, Some(waits), false), [key(&world, "ConfigMap", "c")]);
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
    world.delete("ConfigMap", "a", Background);
    world.watch();
    assert!(world.stores().dependents(&Uid::new("uid-b")).any(|(_, dependent)| *dependent.name == *"d"), "it names that uid");
    assert_eq!(Pass::begin(&world).end(&world, None, true), [key(&world, "ConfigMap", "c")]);
}
