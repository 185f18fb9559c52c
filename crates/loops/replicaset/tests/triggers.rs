//! Which changes wake which sets (workloads 3.1).

use std::sync::{Arc, Mutex};

use evenkeel_api::{Object, PODS, Pod as Entry, ReplicaSet, Version};
use evenkeel_cache::{Change, Entry as Log};
use evenkeel_plan::ControlLoop;
use evenkeel_replicaset::SetLoop;
use serde_json::{Value, json};

use crate::{both, world::*};

/// Everything that the changes since then have woken, as `name` or `name+seconds`.
fn listen<S: Written>(world: &World) -> impl Fn() -> Vec<String> + use<S> {
    let woken: Arc<Mutex<Vec<String>>> = Arc::default();
    let sink = woken.clone();
    let lp = SetLoop::<S>::default();
    world.cache.listen(move |change, stores| {
        let triggers = lp.triggers(change, stores).into_iter();
        sink.lock().unwrap().extend(triggers.map(|t| match t.after.as_secs() {
            0 => t.key.name.to_string(),
            n => format!("{}+{n}", t.key.name),
        }));
    });
    move || std::mem::take(&mut *woken.lock().unwrap())
}

fn nobody() -> Vec<String> {
    Vec::new()
}

both! {
    /// workloads 3.1 rows 1 to 3
    fn a_set_is_looked_at_when_it_comes_changes_or_goes<S>() {
        let mut world = World::new();
        let woken = listen::<S>(&world);
        world.add::<S>(set("web"));
        assert_eq!(woken(), ["web"]);
        world.scale::<S>("web", 3);
        assert_eq!(woken(), ["web"]);
        world.change_set::<S>("web", |v| v["status"] = json!({"replicas": 1}));
        assert_eq!(woken(), ["web"]);
        world.remove(S::resource(), "web");
        assert_eq!(woken(), ["web"]);
    }

    /// workloads 3.1 rows 5 and 6
    fn a_new_pod_wakes_its_owner_or_whoever_might_adopt_it<S>() {
        let mut world = World::new().with::<S>(set("web")).with::<S>(set("web2").labels(json!({"app": "web"}))).with::<S>(set("db"));
        let woken = listen::<S>(&world);
        world.add_pods::<S>([pod("a").of("db")]);
        assert_eq!(woken(), ["db"], "with a controller reference only the owner, whatever matches");
        world.add_pods::<S>([pod("b")]);
        assert_eq!(woken(), ["web", "web2"], "all that match");
        world.add_pods::<S>([pod("c").labels(Value::Null), pod("d").labels(json!({"app": "none"}))]);
        assert_eq!(woken(), nobody());
    }

    /// workloads 3.1, resolve: kind, name and uid must be right.
    fn references_that_lead_nowhere_wake_nobody<S>() {
        let mut world = World::new().with::<S>(set("web"));
        let woken = listen::<S>(&world);
        let owned = |kind: &str, name: &str, uid: &str| json!([{"apiVersion": "x", "kind": kind, "name": name, "uid": uid, "controller": true}]);
        world.add_pods::<S>([
            pod("a").owners(owned("Other", "web", "uid-web")),
            pod("b").owners(owned(S::resource().kind, "wob", "uid-web")),
            pod("c").owners(owned(S::resource().kind, "web", "uid-before")),
        ]);
        for name in ["a", "b", "c"] {
            world.change_pod(name, |v| v["status"]["phase"] = "Running".into());
            world.remove(&PODS, name);
        }
        assert_eq!(woken(), nobody());
    }

    /// workloads 3.9.26 and 3.1 row 9
    fn a_changed_pod_wakes_its_old_and_new_owners<S>() {
        let mut world = World::new().with::<S>(set("web")).with::<S>(set("web2").labels(json!({"app": "web"}))).with::<S>(set("db"));
        world.add_pods::<S>([pod("a").of("web"), pod("orphan").labels(json!({"app": "none"}))]);
        let woken = listen::<S>(&world);
        world.change_pod("a", |v| v["metadata"]["labels"] = json!({"app": "db"}));
        assert_eq!(woken(), ["web"], "labels changed, owner did not");
        let owner = world.pod("a")["metadata"]["ownerReferences"].clone();
        world.change_pod("a", |v| v["metadata"]["ownerReferences"][0] = json!({"apiVersion": "x", "kind": S::resource().kind, "name": "db", "uid": "uid-db", "controller": true}));
        assert_eq!(woken(), ["db", "web"]);
        world.change_pod("a", |v| { v["metadata"]["labels"] = json!({"app": "web"}); v["metadata"]["ownerReferences"] = owner; });
        assert_eq!(woken(), ["db", "web"]);
        world.change_pod("a", |v| drop(v["metadata"].as_object_mut().unwrap().shift_remove("ownerReferences")));
        assert_eq!(woken(), ["web", "web2"], "the old owner and all that match");
        world.change_pod("a", |v| v["status"]["phase"] = "Running".into());
        assert_eq!(woken(), nobody(), "an orphan whose labels and owners stay is nobody's business");
        world.change_pod("orphan", |v| v["metadata"]["labels"] = json!({"app": "db"}));
        assert_eq!(woken(), ["db"], "a stranger's labels begin to match");
    }

    /// workloads 3.1 row 9: the second look after `minReadySeconds`.
    fn a_pod_that_becomes_ready_wakes_its_set_twice<S>() {
        let mut world = World::new().with::<S>(set("web").min_ready(30)).with::<S>(set("db"));
        world.add_pods::<S>([pod("a").of("web"), pod("b").of("db")]);
        let woken = listen::<S>(&world);
        world.all_ready();
        assert_eq!(woken(), ["web", "web+30", "db"]);
        world.change_pod("a", |v| v["metadata"]["labels"]["x"] = "y".into());
        assert_eq!(woken(), ["web"], "it was ready before");
    }

    /// workloads 3.1 rows 4 and 8
    fn a_pod_that_is_going_wakes_its_owner<S>() {
        let mut world = World::new().with::<S>(set("web")).with::<S>(set("db"));
        world.add_pods::<S>([pod("a").of("web"), pod("b").of("web"), pod("free")]);
        let woken = listen::<S>(&world);
        let going = |v: &mut Value| v["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z".into();
        world.change_pod("a", going);
        assert_eq!(woken(), ["web"]);
        world.change_pod("free", going);
        assert_eq!(woken(), nobody(), "nobody adopts it any more");
        world.change_pod("b", |v| {
            going(v);
            v["metadata"]["labels"] = json!({"app": "db"});
            v["metadata"]["ownerReferences"][0]["name"] = "db".into();
            v["metadata"]["ownerReferences"][0]["uid"] = "uid-db".into();
        });
        assert_eq!(woken(), ["db", "web"], "labels changed as well: the old owner too");
        world.add_pods::<S>([pod("late").of("web").deleting()]);
        assert_eq!(woken(), ["web"], "first seen on its way out");
        world.change_pod("late", |v| drop(v["metadata"].as_object_mut().unwrap().shift_remove("ownerReferences")));
        assert_eq!(woken(), ["web"], "it counted as going, and does not any more");
    }

    /// workloads 3.1 row 10
    fn the_end_of_a_pod_wakes_its_owner_and_nobody_else<S>() {
        let mut world = World::new().with::<S>(set("web"));
        world.add_pods::<S>([pod("a").of("web"), pod("free")]);
        let woken = listen::<S>(&world);
        world.remove(&PODS, "a");
        assert_eq!(woken(), ["web"]);
        world.remove(&PODS, "free");
        assert_eq!(woken(), nobody());
    }

    /// workloads 3.9.25: a deletion that was only noticed by a new list carries the last known pod.
    fn a_pod_that_is_missing_from_a_new_list_wakes_its_owner<S>() {
        let world = World::new().with::<S>(set("web")).with_pods::<S>([pod("a").of("web")]);
        let woken = listen::<S>(&world);
        world.cache.ingest(Log::<Entry>::Replace { version: Version(900), objects: Vec::new() }).unwrap();
        assert_eq!(woken(), ["web"]);
    }

    /// workloads 3.1 row 7: the same version again is no news.
    fn the_same_version_again_is_ignored<S>() {
        let world = World::new().with::<S>(set("web")).with_pods::<S>([pod("a").of("web")]);
        let stores = world.cache.read();
        let a = stores.of::<Entry>().get("ns", "a").unwrap().clone();
        assert!(SetLoop::<S>::default().triggers(&Change::new(Some(a.clone()), Some(a)), &stores).is_empty());
    }

    /// B14: an empty or absent selector adopts nobody, so nobody asks it.
    fn sets_without_a_real_selector_are_not_asked<S>() {
        let mut world = World::new().with::<S>(set("all").selector(json!({}))).with::<S>(set("none").selector(Value::Null));
        let woken = listen::<S>(&world);
        world.add_pods::<S>([pod("a")]);
        assert_eq!(woken(), nobody());
    }
}

/// workloads 3.1 row 6: a pod without labels is offered to nobody, even where a selector is content with the absence of one.
#[test]
fn a_pod_without_labels_is_offered_to_nobody() {
    let without = json!({"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]});
    let mut world = World::new().with::<ReplicaSet>(set("web").selector(without));
    let woken = listen::<ReplicaSet>(&world);
    world.add_pods::<ReplicaSet>([pod("bare").labels(Value::Null)]);
    assert_eq!(woken(), nobody());
    world.add_pods::<ReplicaSet>([pod("other").labels(json!({"y": "1"}))]);
    assert_eq!(woken(), ["web"]);
}

/// A pod's owner is of one kind; the other loop is not woken by it.
#[test]
fn the_loops_do_not_wake_for_each_others_pods() {
    type C = evenkeel_api::ReplicationController;
    let mut world = World::new().with::<ReplicaSet>(set("web")).with::<C>(set("web"));
    let (rs, rc) = (listen::<ReplicaSet>(&world), listen::<C>(&world));
    world.add_pods::<C>([pod("a").of("web")]);
    assert_eq!((rs(), rc()), (nobody(), vec!["web".to_owned()]));
    world.change(C::resource(), "web", |v| v["spec"]["replicas"] = 4.into());
    world.deliver();
    assert_eq!((rs(), rc()), (nobody(), vec!["web".to_owned()]));
}
