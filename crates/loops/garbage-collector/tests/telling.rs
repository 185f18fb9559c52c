//! What people are told, and how often.

use evenkeel_plan::{ControlLoop, Propagation::Background};
use serde_json::json;

use crate::world::{World, kind, owner, with};

/// garbage-collection A17.8, A17.15: upstream says nothing. Kinds come a moment after what names them, so nothing is said for a minute.
#[test]
fn an_owner_of_an_unknown_kind_is_told_of_once_after_a_minute() {
    let mut world = World::new();
    world.create("Secret", "s", &[owner("Gizmo", "g"), owner("Planet", "p"), owner("ConfigMap", "never")]);
    world.run();
    world.run_with_retries(5);
    assert!(world.events.is_empty(), "{:?}", world.events);
    world.run_with_retries(1);
    let text = "s OwnerRefUnknownKind: ownerRef [example.com/v1/Gizmo, namespace: n, name: g, uid: uid-g] (and 1 more) names nothing that \
                the server serves: as long as it stands, the object is not collected";
    assert_eq!(world.events, [text]);
    world.run_with_retries(20);
    assert_eq!((world.events.len(), world.retries.len()), (1, 1));
    // With other owners it is another matter.
    world.edit("Secret", "s", |meta| meta["ownerReferences"] = json!([owner("Planet", "p")]));
    world.run();
    world.run_with_retries(10);
    assert_eq!(world.events.len(), 2);
    assert!(world.events[1].contains("[example.com/v1/Planet, "), "{}", world.events[1]);
}

/// garbage-collection A15: once for each link, also where the object is looked at again and again.
#[test]
fn an_owner_in_another_namespace_is_told_of_once_for_an_object() {
    let mut world = World::new();
    world.create_in("b", "ConfigMap", "o", &[]);
    world.create_in("b", "ConfigMap", "p", &[]);
    world.create_in("a", "ConfigMap", "kept", &[]);
    // It stays for a while because of a kind that nobody knows.
    world.create_in("a", "ConfigMap", "bad", &[owner("Gizmo", "g"), owner("ConfigMap", "o")]);
    world.run();
    world.run_with_retries(3);
    assert_eq!(world.events.len(), 0, "nobody has asked for an owner of an object that cannot be decided");
    world.edit("ConfigMap", "bad", |meta| meta["ownerReferences"] = json!([owner("ConfigMap", "o"), owner("ConfigMap", "kept")]));
    world.run();
    assert_eq!((world.events.len(), world.owners_of("bad")), (1, vec!["kept".to_owned()]));
    world.edit("ConfigMap", "bad", |meta| meta["ownerReferences"] = json!([owner("ConfigMap", "p"), owner("ConfigMap", "kept")]));
    world.run();
    assert_eq!((world.events.len(), world.owners_of("bad")), (2, vec!["kept".to_owned()]));
    assert!(world.events[0].contains("name: o,") && world.events[1].contains("name: p,"), "{:?}", world.events);
}

/// Ten events say what a thousand would.
#[test]
fn an_object_with_very_many_misplaced_owners_gets_ten_events() {
    let mut world = World::new();
    let names: Vec<String> = (0..15).map(|n| format!("o{n:02}")).collect();
    for name in &names {
        world.create_in("b", "ConfigMap", name, &[]);
    }
    world.create_in("a", "ConfigMap", "kept", &[]);
    let owners = names.iter().map(|name| owner("ConfigMap", name)).chain([owner("ConfigMap", "kept")]);
    world.create_in("a", "Secret", "bad", &owners.collect::<Vec<_>>());
    world.run();
    assert_eq!((world.events.len(), world.owners_of("bad")), (10, vec!["kept".to_owned()]));
    assert!(world.events[9].contains("name: o09,"), "{}", world.events[9]);
}

/// garbage-collection A15: a misplaced owner that is collected after all, in its own place, is told of no more.
#[test]
fn an_owner_that_went_is_not_misplaced() {
    let mut world = World::new();
    world.create_in("b", "ConfigMap", "o", &[]);
    world.create_in("b", "Secret", "good", &[owner("ConfigMap", "o")]);
    world.run();
    world.delete("ConfigMap", "o", Background);
    world.create_in("a", "Secret", "bad", &[owner("ConfigMap", "o")]);
    world.run();
    assert_eq!((world.names(), world.events.len()), (vec![], 0));
}

/// What `evenkeel plan` says of an object.
#[test]
fn a_plan_is_explained_by_the_owners() {
    let mut world = World::new();
    world.create("ConfigMap", "a", &[]);
    let wrong = with(owner("ConfigMap", "x"), "kind", "Nothing");
    world.create("Secret", "s", &[owner("ConfigMap", "a"), wrong, owner("ConfigMap", "never")]);
    world.watch();
    let key = evenkeel_garbage_collector::key_of(kind("Secret"), &evenkeel_api::Key::new("n", "s"));
    let snap = world.collector.snapshot(&world.stores(), &key);
    let said = world.collector.explain(&snap, &world.collector.plan(&snap, world.now()));
    let expected = "owner ConfigMap a stays, owner Nothing x is of a kind that nobody serves, owner ConfigMap never has to be asked for";
    assert_eq!(said.as_deref(), Some(expected));
    assert_eq!(world.collector.subject(&key), "secrets n/s");
}
