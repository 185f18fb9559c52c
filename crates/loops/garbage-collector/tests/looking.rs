//! Live reads of owners, and what is remembered of them.

use std::{cell::Cell, rc::Rc};

use evenkeel_plan::{ControlLoop, FailureKind, Next, Outcome, Propagation::Background};

use crate::world::{World, failed, kind, owner, served, with};

fn gets(world: &World) -> usize {
    world.log.iter().filter(|line| line.starts_with("get")).count()
}

/// garbage-collection A16.47: of one more owner than are remembered, only the one asked about longest ago is read again.
#[test]
fn what_is_remembered_of_absent_owners_has_an_end() {
    const MOST: usize = 10_000;
    let mut world = World::new();
    let child = |world: &mut World, life: &str, number: usize| {
        world.create("Secret", &format!("{life}-{number:05}"), &[owner("ConfigMap", &format!("gone-{number:05}"))]);
    };
    for number in 0..=MOST {
        child(&mut world, "first", number);
    }
    world.run();
    assert_eq!((gets(&world), world.names().len()), (MOST + 1, 0));
    world.take_log();
    for number in [1, MOST / 2, MOST] {
        child(&mut world, "second", number);
        world.run();
    }
    assert_eq!(gets(&world), 0);
    child(&mut world, "second", 0);
    world.run();
    assert_eq!(gets(&world), 1, "the first of all was forgotten");
    // Now it is 2, as 1 was asked about meanwhile.
    child(&mut world, "third", 1);
    world.run();
    assert_eq!(gets(&world), 1);
    child(&mut world, "third", 2);
    world.run();
    assert_eq!(gets(&world), 2);
    assert!((MOST..=3 * MOST).contains(&world.collector.remembered()), "{}", world.collector.remembered());
}

/// garbage-collection A16.48
#[test]
fn an_owner_is_read_once_for_all_its_dependents() {
    let mut world = World::new();
    for name in ["a", "b", "c"] {
        world.create("Secret", name, &[owner("ConfigMap", "never")]);
    }
    world.run();
    assert_eq!(world.names(), [""; 0]);
    assert_eq!(world.log[0], "get ConfigMap/never");
    assert_eq!((gets(&world), world.log.len()), (1, 4));
}

/// garbage-collection A16.48: while one asks, the others wait, the longer the longer it takes. A polling crowd would cost more than the answer.
#[test]
fn those_who_wait_for_the_same_answer_look_ever_more_rarely() {
    let mut world = World::new();
    for name in ["a", "b"] {
        world.create("Secret", name, &[owner("ConfigMap", "never")]);
    }
    world.watch();
    let key = |name: &str| evenkeel_garbage_collector::key_of(kind("Secret"), &evenkeel_api::Key::new("n", name));
    // The first one asks, and there is no answer yet.
    let asking = world.collector.snapshot(&world.stores(), &key("a"));
    assert_eq!(world.collector.plan(&asking, world.now()).writes().count(), 1);
    let mut waits = Vec::new();
    for _ in 0..12 {
        let snap = world.collector.snapshot(&world.stores(), &key("b"));
        let now = world.now();
        let plan = world.collector.plan(&snap, now);
        assert!(plan.is_empty(), "nobody asks twice");
        let Next::At(at) = world.collector.conclude(&snap, &plan, &Outcome::default(), now).next else { panic!("it waits") };
        let wait = at.as_millisecond() - now.as_millisecond();
        waits.push(wait);
        world.wait(wait);
    }
    assert_eq!(waits, [50, 50, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000, 5000]);
    // A question that is never answered is asked again by somebody else.
    world.wait(60_000);
    world.run();
    assert_eq!((world.names(), gets(&world)), (vec![], 1));
}

/// garbage-collection A16.48: nor does everybody ask a server that does not answer.
#[test]
fn a_question_that_failed_is_not_repeated_by_everybody() {
    let mut world = World::new();
    for number in 0..100 {
        world.create("Secret", &format!("s{number}"), &[owner("ConfigMap", "never")]);
    }
    let working = Rc::new(Cell::new(false));
    let works = working.clone();
    world.meddle(move |_, _| (!works.get()).then(|| failed(FailureKind::Other)));
    let start = world.now();
    for _ in 0..30 {
        world.watch();
        // Nothing but the crowd's own clock drives this.
        world.run_for(1_000);
    }
    let seconds = world.now().duration_since(start).as_secs();
    assert!((29..=40).contains(&seconds), "{seconds}");
    assert!((10..=40).contains(&gets(&world)), "{} reads by 100 objects in {seconds} s", gets(&world));
    assert_eq!(world.names().len(), 100);
    working.set(true);
    world.run_with_retries(2);
    assert_eq!(world.names(), [""; 0]);
}

/// garbage-collection A16.49
#[test]
fn an_owner_of_a_kind_that_is_not_watched_is_asked_for_ever_more_rarely() {
    let without: Vec<_> = served().into_iter().filter(|k| k.kind != "Job").collect();
    let mut world = World::with_kinds(&without);
    world.resolve("Job");
    world.create("Job", "j", &[]);
    world.create("Secret", "child", &[owner("Job", "j")]);
    world.run();
    assert_eq!((world.names(), world.log.clone()), (vec!["child", "j"], vec!["get Job/j".to_owned()]));
    assert_eq!(world.retries.values().collect::<Vec<_>>(), ["an owner is not watched"], "with growing pauses");
    world.run_with_retries(2);
    assert_eq!(gets(&world), 3);
    world.delete("Job", "j", Background);
    world.run_with_retries(1);
    assert_eq!((world.names(), world.retries.len()), (vec![], 0));
    assert_eq!(world.log[3..], ["get Job/j", "delete Secret/child Background"]);
}

/// garbage-collection A16.50
#[test]
fn what_is_told_twice_changes_nothing() {
    let mut world = World::new();
    world.create("ConfigMap", "a", &[]);
    world.create("Secret", "b", &[owner("ConfigMap", "a")]);
    world.create("Secret", "c", &[owner("ConfigMap", "a"), owner("ConfigMap", "kept")]);
    world.create("ConfigMap", "kept", &[]);
    world.run();
    world.delete("ConfigMap", "a", Background);
    world.tell_twice();
    world.run();
    assert_eq!((world.names(), world.owners_of("c")), (vec!["c", "kept"], vec!["kept".to_owned()]));
    assert_eq!(world.log, ["delete Secret/b Background", "patch Secret/c owners"]);
}

/// garbage-collection A17.10
#[test]
fn writes_that_change_nothing_that_matters_are_passed_over() {
    let mut world = World::new();
    world.create("Secret", "child", &[owner("Gizmo", "g")]);
    world.run();
    let before = world.passes;
    for beat in 0..50 {
        world.edit("Secret", "child", |meta| meta["labels"] = serde_json::json!({"beat": beat.to_string()}));
        world.run();
    }
    assert_eq!(world.passes, before);
    world.edit("Secret", "child", |meta| meta["finalizers"] = serde_json::json!(["example.com/h"]));
    world.run();
    assert_eq!(world.passes, before + 1);
}

/// garbage-collection A17.11: neither an object nor an owner that the cache shows is read before it is decided.
#[test]
fn what_the_cache_shows_is_not_asked_for() {
    let mut world = World::new();
    world.create("ConfigMap", "a", &[]);
    for number in 0..100 {
        world.create("Secret", &format!("s{number}"), &[owner("ConfigMap", "a")]);
    }
    world.run();
    world.restart();
    world.run();
    assert_eq!(world.log.len(), 0);
    world.delete("ConfigMap", "a", Background);
    world.run();
    assert_eq!((world.log.len(), gets(&world)), (100, 0));
}

/// GC-1: a backup brings back who was gone.
#[test]
fn nobody_is_known_to_be_gone_after_the_server_was_restored() {
    let mut world = World::new();
    world.create("ConfigMap", "a", &[]);
    world.create("Secret", "b", &[owner("ConfigMap", "a")]);
    world.run();
    world.delete("ConfigMap", "a", Background);
    world.run();
    assert_eq!(world.names(), [""; 0]);
    world.take_log();
    world.create("Secret", "b", &[owner("ConfigMap", "a")]);
    world.watch();
    world.create("ConfigMap", "a", &[]);
    world.restore();
    world.run();
    assert_eq!(world.names(), ["a", "b"]);
    assert!(!world.log.iter().any(|line| line.starts_with("delete")), "{:?}", world.log);
}

/// garbage-collection A16.5: a live read that finds another life proves that the one that was meant is gone, and only that.
#[test]
fn another_life_under_the_name_is_no_owner() {
    let mut world = World::new();
    world.hold_up("ConfigMap");
    world.create("ConfigMap", "a", &[]);
    world.create("Secret", "of-this", &[owner("ConfigMap", "a")]);
    world.create("Secret", "of-another", &[with(owner("ConfigMap", "a"), "uid", "another")]);
    world.run();
    assert_eq!(world.names(), ["a", "of-this"]);
}

/// reliability GC-6: an object about which nothing may be decided does not ask, nor does it take the question from who does.
#[test]
fn an_undecided_object_leaves_questions_to_others() {
    let mut world = World::new();
    world.create("Secret", "asks", &[owner("ConfigMap", "never")]);
    world.create("Secret", "undecided", &[owner("ConfigMap", "never"), with(owner("ConfigMap", "x"), "kind", "Unknown")]);
    world.create("Secret", "waits", &[owner("ConfigMap", "never")]);
    world.watch();
    let writes = |world: &World, name: &str| {
        let key = evenkeel_garbage_collector::key_of(kind("Secret"), &evenkeel_api::Key::new("n", name));
        let snap = world.collector.snapshot(&world.stores(), &key);
        world.collector.plan(&snap, world.now()).writes().count()
    };
    assert_eq!(writes(&world, "asks"), 1);
    world.look_at("Secret", "undecided");
    assert_eq!(writes(&world, "waits"), 0);
    assert!(world.log.is_empty());
}

/// garbage-collection A11, GC-1: who is there again (a restored server; nobody else gives a uid out twice) is gone no more.
#[test]
fn an_owner_that_comes_back_in_the_same_life_holds_what_it_owns() {
    let mut world = World::new();
    world.create("ConfigMap", "o", &[]);
    world.create("Secret", "first", &[owner("ConfigMap", "o")]);
    world.run();
    world.delete("ConfigMap", "o", evenkeel_plan::Propagation::Background);
    world.run();
    assert_eq!(world.names(), [""; 0]);
    world.create("ConfigMap", "o", &[]);
    world.watch();
    world.create("Secret", "second", &[owner("ConfigMap", "o")]);
    world.watch();
    world.look_at("Secret", "second");
    assert_eq!(world.names(), ["o", "second"]);
}

#[test]
fn every_kind_is_heard_of() {
    let world = World::new();
    assert!(served().into_iter().all(|kind| world.collector.hears(kind)));
}

/// garbage-collection A17.6: the list will show it, and everything is looked at then.
#[test]
fn nobody_is_asked_for_while_its_kind_is_being_listed() {
    let mut world = World::new();
    world.create("ConfigMap", "o", &[]);
    world.create("Secret", "s", &[owner("ConfigMap", "o")]);
    world.unlist("ConfigMap");
    world.look_at("Secret", "s");
    world.run();
    assert!(world.log.is_empty(), "{:?}", world.log);
    world.list("ConfigMap");
    world.run();
    assert!(world.log.is_empty(), "{:?}", world.log);
}
