//! The cache's promises: one ordered log per kind, never back in time, indexes that agree with a scan, own writes seen first.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use evenkeel_api::{Key, Object, PODS, Pod, Selector, Uid, Version};
use evenkeel_cache::{Cache, Entry, Owner, Store, Wait};
use proptest::prelude::*;
use serde_json::json;

fn pod(name: &str, uid: &str, version: u64) -> Pod {
    pod_with(name, uid, version, &[], None)
}

fn pod_with(name: &str, uid: &str, version: u64, labels: &[(&str, &str)], owner: Option<(&str, bool)>) -> Pod {
    let labels: BTreeMap<_, _> = labels.iter().copied().collect();
    let owners: Vec<_> = owner
        .iter()
        .map(|(uid, controller)| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "o", "uid": uid, "controller": controller}))
        .collect();
    let value = json!({"metadata": {"name": name, "namespace": "n", "uid": uid, "resourceVersion": version.to_string(), "labels": labels, "ownerReferences": owners}});
    Pod::decode(value.to_string().as_bytes()).unwrap()
}

fn going(name: &str, uid: &str, version: u64) -> Pod {
    let value = json!({"metadata": {"name": name, "namespace": "n", "uid": uid, "resourceVersion": version.to_string(), "deletionTimestamp": "2026-01-01T00:00:00Z"}});
    Pod::decode(value.to_string().as_bytes()).unwrap()
}

fn list(version: u64, objects: Vec<Pod>) -> Entry<Pod> {
    Entry::Replace { version: Version(version), objects }
}

/// What an entry changed: (uid before, uid after).
fn told(store: &mut Store<Pod>, entry: Entry<Pod>) -> Vec<(Option<String>, Option<String>)> {
    let uid = |p: Option<Arc<Pod>>| p.map(|p| format!("{}@{}", p.meta.uid, p.meta.version));
    store.apply(entry).unwrap().into_iter().map(|(old, new)| (uid(old), uid(new))).collect()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// reliability 1, rows 66 and 67
#[test]
fn a_relist_is_a_three_way_diff_by_uid_and_deletions_carry_the_last_state() {
    let mut store = Store::default();
    told(&mut store, list(10, vec![pod("stays", "1", 1), pod("changes", "2", 2), pod("goes", "3", 3), pod("again", "4", 4)]));
    let changes =
        told(&mut store, list(20, vec![pod("stays", "1", 1), pod("changes", "2", 15), pod("again", "5", 16), pod("comes", "6", 17)]));
    assert_eq!(
        changes,
        [(some("4@4"), None), (some("3@3"), None), (some("2@2"), some("2@15")), (None, some("5@16")), (None, some("6@17")),]
    );
    assert_eq!((store.len(), store.version()), (4, Version(20)));
}

/// reliability 1, row 65
#[test]
fn the_store_never_goes_back_in_time() {
    let mut store = Store::default();
    told(&mut store, list(10, vec![pod("a", "1", 5)]));
    told(&mut store, Entry::Put(pod("a", "1", 12)));
    assert!(store.apply(list(11, vec![])).is_err());
    assert!(store.apply(Entry::Put(pod("a", "1", 11))).is_err());
    assert!(store.apply(Entry::Delete(pod("a", "1", 11))).is_err());
    assert!(store.apply(Entry::Bookmark(Version(9))).is_err());
    assert_eq!(store.get("n", "a").unwrap().meta.version, Version(12));
    told(&mut store, Entry::Bookmark(Version(30)));
    assert_eq!(store.version(), Version(30));
}

#[test]
fn a_deletion_of_another_life_of_the_name_deletes_nothing() {
    let mut store = Store::default();
    told(&mut store, list(10, vec![pod("a", "2", 9)]));
    assert_eq!(told(&mut store, Entry::Delete(pod("a", "1", 11))), []);
    assert_eq!(store.len(), 1);
}

#[test]
fn a_name_that_comes_again_without_a_deletion_in_between_is_two_changes() {
    let mut store = Store::default();
    told(&mut store, list(10, vec![pod("a", "1", 9)]));
    assert_eq!(told(&mut store, Entry::Put(pod("a", "2", 11))), [(some("1@9"), None), (None, some("2@11"))]);
}

#[test]
fn listeners_hear_changes_in_the_order_of_the_log_with_stores_that_show_them() {
    let cache = Cache::new();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let notes = heard.clone();
    cache.listen(move |change, stores| {
        let (old, new) = change.of::<Pod>().unwrap();
        let name = new.as_ref().or(old.as_ref()).unwrap().meta.name.to_string();
        notes.lock().unwrap().push((name.clone(), stores.of::<Pod>().get("n", &name).is_some()));
    });
    cache.ingest(list(10, vec![pod("a", "1", 5)])).unwrap();
    cache.ingest(Entry::Put(pod("b", "2", 11))).unwrap();
    cache.ingest(Entry::Delete(pod("a", "1", 12))).unwrap();
    assert_eq!(*heard.lock().unwrap(), [("a".to_owned(), true), ("b".to_owned(), true), ("a".to_owned(), false)]);
}

fn owner(name: &str) -> Owner {
    Owner { controller: "test-controller", key: Key::new("n", name) }
}

/// workloads 3.9.35, manager 16.31
#[test]
fn a_key_waits_until_the_cache_has_reached_its_write_and_bookmarks_alone_release_it() {
    let cache = Cache::new();
    cache.ingest(list(10, vec![])).unwrap();
    cache.wrote(&owner("a"), Wait::Reached { kind: &PODS, version: Version(12) });
    assert!(cache.behind(&owner("a")).is_some());
    assert!(cache.behind(&owner("b")).is_none());
    assert_eq!(cache.ingest(Entry::Put(pod("x", "1", 11))).unwrap().released, []);
    assert_eq!(cache.ingest(Entry::<Pod>::Bookmark(Version(12))).unwrap().released, [owner("a")]);
    assert!(cache.behind(&owner("a")).is_none());
}

#[test]
fn a_key_waits_until_what_it_deleted_is_gone_or_going() {
    let cache = Cache::new();
    cache.ingest(list(10, vec![pod("x", "1", 1), pod("y", "2", 2), pod("z", "3", 3)])).unwrap();
    let gone = |name: &str, uid: &str| Wait::Gone { kind: &PODS, key: Key::new("n", name), uid: Uid::new(uid) };
    for (name, uid) in [("x", "1"), ("y", "2"), ("z", "3")] {
        cache.wrote(&owner("a"), gone(name, uid));
    }
    assert_eq!(cache.ingest(Entry::Delete(pod("x", "1", 11))).unwrap().released, []);
    assert!(cache.behind(&owner("a")).is_some());
    assert_eq!(cache.ingest(Entry::Put(going("y", "2", 12))).unwrap().released, []);
    // Another life of the name is proof that the first is over.
    assert_eq!(cache.ingest(Entry::Put(pod("z", "9", 13))).unwrap().released, [owner("a")]);
}

/// Events tell everybody else what changed; a pass that finds nothing to do is saved.
#[test]
fn who_did_not_want_to_look_is_not_woken() {
    let cache = Cache::new();
    cache.ingest(list(10, vec![pod("x", "1", 1)])).unwrap();
    cache.wrote(&owner("a"), Wait::Gone { kind: &PODS, key: Key::new("n", "x"), uid: Uid::new("1") });
    assert_eq!(cache.ingest(Entry::Delete(pod("x", "1", 11))).unwrap().released, []);
    assert!(cache.behind(&owner("a")).is_none());
    // Who wanted to look once has been woken for it.
    cache.wrote(&owner("a"), Wait::Reached { kind: &PODS, version: Version(12) });
    assert!(cache.behind(&owner("a")).is_some());
    assert_eq!(cache.ingest(Entry::<Pod>::Bookmark(Version(12))).unwrap().released, [owner("a")]);
    cache.wrote(&owner("a"), Wait::Reached { kind: &PODS, version: Version(13) });
    assert_eq!(cache.ingest(Entry::<Pod>::Bookmark(Version(13))).unwrap().released, []);
}

#[test]
fn a_write_that_the_cache_shows_already_holds_nobody_back() {
    let cache = Cache::new();
    cache.ingest(list(10, vec![])).unwrap();
    cache.wrote(&owner("a"), Wait::Reached { kind: &PODS, version: Version(10) });
    assert!(cache.behind(&owner("a")).is_none());
    cache.wrote(&owner("a"), Wait::Reached { kind: &PODS, version: Version(99) });
    cache.forget(&owner("a"));
    assert!(cache.behind(&owner("a")).is_none());
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u8, u8, Option<(u8, bool)>),
    Delete(u8),
    Relist(Vec<(u8, u8, u8)>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6_u8, 0..3_u8, 0..3_u8, proptest::option::of((0..3_u8, any::<bool>()))).prop_map(|(n, u, l, o)| Step::Put(n, u, l, o)),
        2 => (0..6_u8).prop_map(Step::Delete),
        1 => proptest::collection::vec((0..6_u8, 0..3_u8, 0..3_u8), 0..5).prop_map(Step::Relist),
    ]
}

proptest! {
    /// The store is the fold of its log, and every index agrees with a scan of all objects.
    #[test]
    fn indexes_agree_with_a_scan(steps in proptest::collection::vec(step(), 1..60)) {
        let mut store = Store::<Pod>::default();
        let mut model: BTreeMap<String, Pod> = BTreeMap::new();
        let mut version = 1;
        for step in steps {
            version += 1;
            match step {
                Step::Put(n, u, l, o) => {
                    let owner = o.map(|(uid, c)| (uid.to_string(), c));
                    let value = l.to_string();
                    let p = pod_with(&format!("p{n}"), &format!("{n}-{u}"), version, &[("app", &value), ("all", "1")], owner.as_ref().map(|(u, c)| (u.as_str(), *c)));
                    model.insert(format!("p{n}"), p.clone());
                    store.apply(Entry::Put(p)).unwrap();
                }
                Step::Delete(n) => {
                    if let Some(p) = model.remove(&format!("p{n}")) {
                        store.apply(Entry::Delete(pod(&p.meta.name, &p.meta.uid.to_string(), version))).unwrap();
                    }
                }
                Step::Relist(all) => {
                    model = all.iter().map(|(n, u, l)| {
                        let value = l.to_string();
                        (format!("p{n}"), pod_with(&format!("p{n}"), &format!("{n}-{u}"), version, &[("app", &value)], None))
                    }).collect();
                    store.apply(list(version, model.values().cloned().collect())).unwrap();
                }
            }
            let names = |pods: Vec<&Pod>| { let mut n: Vec<String> = pods.iter().map(|p| p.meta.name.to_string()).collect(); n.sort(); n };
            prop_assert_eq!(names(store.iter().map(|p| &**p).collect()), names(model.values().collect()));
            for selector in [json!({"matchLabels": {"app": "1"}}), json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["0", "2"]}]}),
                json!({"matchExpressions": [{"key": "all", "operator": "DoesNotExist"}]}), json!({})] {
                let selector = Selector::read(&selector).unwrap();
                let found = store.matching("n", &selector);
                prop_assert_eq!(names(found.iter().map(|p| &**p).collect()), names(model.values().filter(|p| selector.matches(&p.meta.labels)).collect()));
                let orphans = store.orphans("n", &selector);
                prop_assert_eq!(names(orphans.iter().map(|p| &**p).collect()), names(model.values().filter(|p| selector.matches(&p.meta.labels) && p.meta.controller().is_none()).collect()));
            }
            for owner in 0..3 {
                let uid = Uid::new(&owner.to_string());
                let found: Vec<_> = store.controlled_by(&uid).map(|p| &**p).collect();
                prop_assert_eq!(names(found), names(model.values().filter(|p| p.meta.controlled_by(&uid)).collect()));
                let found: Vec<_> = store.owned_by(&uid).map(|p| &**p).collect();
                prop_assert_eq!(names(found), names(model.values().filter(|p| p.meta.owners.iter().any(|o| o.uid == uid)).collect()));
            }
            prop_assert_eq!(store.in_namespace("n").count(), model.len());
        }
    }
}

/// One move of the freshness game; numbers are pods and owners.
#[derive(Debug, Clone)]
enum Move {
    Wrote(u8, u8),
    Deleted(u8, u8),
    Put(u8, bool),
    Gone(u8),
    Bookmark,
    Relist(Vec<u8>),
    Forget(u8),
}

fn game() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => (0..4_u8, 0..4_u8).prop_map(|(o, ahead)| Move::Wrote(o, ahead)),
        3 => (0..4_u8, 0..5_u8).prop_map(|(o, p)| Move::Deleted(o, p)),
        3 => (0..5_u8, any::<bool>()).prop_map(|(p, going)| Move::Put(p, going)),
        3 => (0..5_u8).prop_map(Move::Gone),
        2 => Just(Move::Bookmark),
        1 => proptest::collection::vec(0..5_u8, 0..4).prop_map(Move::Relist),
        1 => (0..4_u8).prop_map(Move::Forget),
    ];
    proptest::collection::vec(one, 1..80)
}

proptest! {
    /// Whoever was told to wait is named by the very entry that shows the last of its writes, and by none before. The model knows no index:
    /// it asks every wait of every owner after every entry.
    #[test]
    fn who_waits_is_released_by_the_entry_that_ends_the_last_wait(moves in game()) {
        let cache = Cache::new();
        cache.ingest(list(1, vec![])).unwrap();
        let mut waits: BTreeMap<Owner, Vec<Wait>> = BTreeMap::new();
        let mut told_to_wait: Vec<Owner> = Vec::new();
        let mut version = 1;
        for (n, step) in moves.into_iter().enumerate() {
            let who = |o: u8| owner(&format!("o{o}"));
            let (name, uid) = (|p: u8| format!("p{p}"), |p: u8| format!("u{p}"));
            let entry = match step {
                Move::Wrote(o, ahead) => {
                    let wait = Wait::Reached { kind: &PODS, version: Version(version + u64::from(ahead)) };
                    cache.wrote(&who(o), wait.clone());
                    waits.entry(who(o)).or_default().push(wait);
                    None
                }
                Move::Deleted(o, p) => {
                    let wait = Wait::Gone { kind: &PODS, key: Key::new("n", name(p)), uid: Uid::new(&uid(p)) };
                    cache.wrote(&who(o), wait.clone());
                    waits.entry(who(o)).or_default().push(wait);
                    None
                }
                Move::Forget(o) => {
                    cache.forget(&who(o));
                    waits.remove(&who(o));
                    told_to_wait.retain(|w| *w != who(o));
                    None
                }
                Move::Put(p, true) => Some(Entry::Put(going(&name(p), &uid(p), version + 1))),
                Move::Put(p, false) if n % 5 == 0 => Some(Entry::Put(pod(&name(p), "another-life", version + 1))),
                Move::Put(p, false) => Some(Entry::Put(pod(&name(p), &uid(p), version + 1))),
                Move::Gone(p) => Some(Entry::Gone { key: Key::new("n", name(p)), uid: None, version: Version(version + 1) }),
                Move::Bookmark => Some(Entry::Bookmark(Version(version + 1))),
                Move::Relist(all) => Some(list(version + 1, all.into_iter().map(|p| pod(&name(p), &uid(p), version + 1)).collect())),
            };
            let released = match entry {
                Some(entry) => {
                    version += 1;
                    cache.ingest(entry).unwrap().released
                }
                None => Vec::new(),
            };
            waits.values_mut().for_each(|all| all.retain(|wait| !wait.covered(&cache.read())));
            waits.retain(|_, all| !all.is_empty());
            prop_assert!(released.iter().all(|who| !waits.contains_key(who)), "{released:?} wait for {waits:?}");
            let ended: Vec<Owner> = told_to_wait.iter().filter(|who| !waits.contains_key(who)).cloned().collect();
            prop_assert!(ended.iter().all(|who| released.contains(who)), "{ended:?} were not woken: {released:?}");
            for who in (0..4).map(who) {
                prop_assert_eq!(cache.behind(&who).is_some(), waits.contains_key(&who));
                told_to_wait.retain(|w| *w != who);
                if waits.contains_key(&who) {
                    told_to_wait.push(who);
                }
            }
        }
    }
}

/// reliability F8: an event that is quicker than the answer leaves nothing behind that a restored server could bring back.
#[test]
fn what_is_shown_already_is_not_waited_for_even_when_it_comes_back() {
    let cache = Cache::new();
    cache.ingest(list(10, vec![pod("x", "1", 1)])).unwrap();
    cache.ingest(Entry::Delete(pod("x", "1", 11))).unwrap();
    cache.wrote(&owner("a"), Wait::Gone { kind: &PODS, key: Key::new("n", "x"), uid: Uid::new("1") });
    cache.ingest(Entry::Put(pod("x", "1", 12))).unwrap();
    assert!(cache.behind(&owner("a")).is_none());
}

/// reliability F8, D-6: a kind that was compared with the server shows all that was written before, or it was undone.
#[test]
fn a_comparison_ends_what_was_waited_for_before_it() {
    let cache = Cache::new();
    cache.ingest(list(10, vec![pod("x", "1", 1), pod("y", "2", 2)])).unwrap();
    let gone = |name: &str, uid: &str| Wait::Gone { kind: &PODS, key: Key::new("n", name), uid: Uid::new(uid) };
    cache.wrote(&owner("a"), gone("x", "1"));
    cache.wrote(&owner("b"), Wait::Reached { kind: &PODS, version: Version(90) });
    cache.wrote(&owner("c"), gone("x", "1"));
    let before = cache.remembered();
    cache.wrote(&owner("c"), gone("y", "2"));
    for name in ["a", "b", "c"] {
        assert!(cache.behind(&owner(name)).is_some());
    }
    assert_eq!((cache.settled(&evenkeel_api::NODES, before), cache.read().restores()), (vec![], 0));
    assert_eq!(cache.settled(&PODS, before), [owner("a"), owner("b")]);
    assert_eq!(cache.behind(&owner("c")), Some(gone("y", "2")), "that was written since");
    assert_eq!(cache.read().restores(), 1, "what is known besides may be of another past");
    assert_eq!(cache.settled(&PODS, cache.remembered()), [owner("c")]);
}
