//! The kinds that the garbage collector finds at run time: garbage-collection A4 and A13, by the whole manager.

use evenkeel_tests::recorded::virtual_time::in_virtual_time;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    managed::{Manager, SEC, manage, page_of, tap, until},
    process::value,
    tap::{Fate, Tap},
};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SYNC_ERRORS: &str = "garbagecollector_controller_resources_sync_error_total";

/// Makes a custom kind, such as `Boat` with the plural `boats`.
fn define(tap: &Tap, group: &str, kind: &str) {
    let singular = kind.to_lowercase();
    let plural = format!("{singular}s");
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": plural, "singular": singular, "kind": kind, "listKind": format!("{kind}List")},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]},
    });
    tap.admin().create(DEFINITIONS, &definition).expect("defined");
}

fn boats(group: &str) -> String {
    format!("/apis/{group}/v1/namespaces/default/boats")
}

/// Creates an object.
fn create(tap: &Tap, path: &str, api_version: &str, kind: &str, name: &str, owners: Value) -> Value {
    let object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "ownerReferences": owners}});
    tap.admin().create(path, &object).expect("created")
}

fn boat(tap: &Tap, group: &str, name: &str) -> Value {
    create(tap, &boats(group), &format!("{group}/v1"), "Boat", name, json!([]))
}

/// A ConfigMap with one owner.
fn map_of(tap: &Tap, name: &str, owner: &Value) {
    let meta = &owner["metadata"];
    let reference = json!({"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": meta["name"], "uid": meta["uid"], "blockOwnerDeletion": true});
    create(tap, MAPS, "v1", "ConfigMap", name, json!([reference]));
}

fn there(tap: &Tap, path: &str) -> bool {
    tap.admin().get(path).is_ok()
}

fn delete(tap: &Tap, path: &str, policy: &str) {
    tap.admin().delete(path, &json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy})).expect("deleted");
}

/// Whether an object and the ConfigMap of this name go, once the object is deleted.
async fn collected(tap: &Tap, path: &str, map: &str, policy: &str) -> bool {
    delete(tap, path, policy);
    let map = format!("{MAPS}/{map}");
    until(60 * SEC, || !there(tap, path) && !there(tap, &map)).await
}

async fn sync_errors(manager: &Manager) -> f64 {
    let (_, metrics) = page_of(manager, "/metrics").await;
    value(&metrics, SYNC_ERRORS).unwrap_or_else(|| panic!("{SYNC_ERRORS} in {metrics}"))
}

/// garbage-collection A16.44
#[test]
fn a_new_kind_is_watched_soon_and_an_old_one_no_more() {
    in_virtual_time(async {
        let (tap, clock) = tap();
        let manager = manage(&tap, clock, "a");
        sleep(60 * SEC).await;
        define(&tap, "example.com", "Boat");
        assert!(until(30 * SEC, || tap.count("GET", "example.com/v1/boats") > 0).await);
        let owner = boat(&tap, "example.com", "b");
        map_of(&tap, "of-b", &owner);
        sleep(5 * SEC).await;
        let before = tap.asked().len();
        assert!(collected(&tap, &format!("{}/b", boats("example.com")), "of-b", "Background").await);
        let looked = tap.asked()[before..].iter().filter(|asked| asked.is("GET", "/boats/b")).count();
        assert_eq!(looked, 0, "the watch told of it");
        delete(&tap, &format!("{DEFINITIONS}/boats.example.com"), "Background");
        sleep(60 * SEC).await;
        let asked = tap.count("GET", "/boats");
        sleep(600 * SEC).await;
        assert_eq!(tap.count("GET", "/boats"), asked, "nobody asks for what is not served");
        assert!(manager.end().await.0.is_ok());
    })
    .expect("a runtime");
}

/// garbage-collection A16.45
#[test]
fn with_a_definition_go_its_instances_and_what_they_own_every_time() {
    in_virtual_time(async {
        let (tap, clock) = tap();
        let manager = manage(&tap, clock, "a");
        for life in 0..2 {
            define(&tap, "example.com", "Boat");
            assert!(until(60 * SEC, || there(&tap, &boats("example.com"))).await);
            let owner = boat(&tap, "example.com", "b");
            map_of(&tap, "of-b", &owner);
            sleep(40 * SEC).await;
            assert!(there(&tap, &format!("{MAPS}/of-b")), "life {life}");
            delete(&tap, &format!("{DEFINITIONS}/boats.example.com"), "Background");
            assert!(until(60 * SEC, || !there(&tap, &format!("{DEFINITIONS}/boats.example.com"))).await);
            assert!(until(60 * SEC, || !there(&tap, &format!("{MAPS}/of-b"))).await, "life {life}");
            sleep(60 * SEC).await;
        }
        assert!(manager.end().await.0.is_ok());
    })
    .expect("a runtime");
}

/// garbage-collection A16.46, A17.6, A17.16: nobody waits for ever for a list that never comes.
#[test]
fn a_kind_that_cannot_be_listed_holds_up_no_other() {
    in_virtual_time(async {
        let (tap, clock) = tap();
        tap.rule(|asked| asked.is("GET", "/boats").then_some(Fate::Refused(500)));
        define(&tap, "example.com", "Boat");
        let manager = manage(&tap, clock, "a");
        sleep(5 * SEC).await;
        for (name, policy, patience) in [("one", "Background", 5), ("two", "Foreground", 60), ("three", "Orphan", 60)] {
            let owner = create(&tap, MAPS, "v1", "ConfigMap", name, json!([]));
            map_of(&tap, "of", &owner);
            sleep(SEC).await;
            delete(&tap, &format!("{MAPS}/{name}"), policy);
            let orphaned = || tap.admin().get(&format!("{MAPS}/of")).is_ok_and(|o| o["metadata"]["ownerReferences"].as_array().is_none());
            let done = || {
                !there(&tap, &format!("{MAPS}/{name}")) && if policy == "Orphan" { orphaned() } else { !there(&tap, &format!("{MAPS}/of")) }
            };
            assert!(until(patience * SEC, done).await, "{name}");
        }
        assert!(sync_errors(&manager).await >= 1.0);
        let tries = tap.count("GET", "/boats");
        sleep(300 * SEC).await;
        assert!(tap.count("GET", "/boats") > tries, "it may be mended");
        // Nor does it hold up the watches of what is found later (A17.16).
        define(&tap, "example.com", "Car");
        assert!(until(30 * SEC, || tap.count("GET", "example.com/v1/cars") > 0).await);
        assert!(manager.end().await.0.is_ok());
    })
    .expect("a runtime");
}

/// Makes discovery tell of a group that it could not be asked.
fn stale(tap: &Tap, group: &'static str) {
    tap.change(move |asked, body| {
        let groups = body["items"].as_array_mut().filter(|_| asked.path == "/apis");
        for item in groups.into_iter().flatten().filter(|item| item["metadata"]["name"] == group) {
            for version in item["versions"].as_array_mut().into_iter().flatten() {
                version["freshness"] = "Stale".into();
                version["resources"] = json!([]);
            }
        }
    });
}

/// garbage-collection A16.42
#[test]
fn a_group_that_cannot_be_asked_stays_as_it_is_while_others_come_and_go() {
    in_virtual_time(async {
        let (tap, clock) = tap();
        define(&tap, "lost.example.com", "Boat");
        define(&tap, "goes.example.com", "Boat");
        let manager = manage(&tap, clock, "a");
        sleep(40 * SEC).await;
        let owner = boat(&tap, "lost.example.com", "b");
        map_of(&tap, "of-b", &owner);
        stale(&tap, "lost.example.com");
        sleep(90 * SEC).await;
        let watches = tap.count("GET", "/lost.example.com/v1/boats");
        delete(&tap, &format!("{DEFINITIONS}/boats.goes.example.com"), "Background");
        define(&tap, "comes.example.com", "Boat");
        assert!(until(40 * SEC, || tap.count("GET", "/comes.example.com/v1/boats") > 0).await);
        sleep(40 * SEC).await;
        let gone = tap.count("GET", "/goes.example.com/v1/boats");
        // The watch of the lost group goes on: its objects are owners as before.
        let before = tap.asked().len();
        assert!(collected(&tap, &format!("{}/b", boats("lost.example.com")), "of-b", "Background").await);
        assert!(!tap.asked()[before..].iter().any(|asked| asked.is("GET", "/boats/b")));
        assert_eq!(tap.count("GET", "/goes.example.com/v1/boats"), gone);
        assert!(tap.count("GET", "/lost.example.com/v1/boats") <= watches + 1, "no new list");
        // What is new and names the lost group is still understood.
        let owner = boat(&tap, "lost.example.com", "c");
        map_of(&tap, "of-c", &owner);
        assert!(collected(&tap, &format!("{}/c", boats("lost.example.com")), "of-c", "Foreground").await);
        assert!(manager.end().await.0.is_ok());
    })
    .expect("a runtime");
}

/// garbage-collection A16.43, A17.13: neither root of discovery answers, or with nothing, or only the core group's does.
#[test]
fn where_nothing_can_be_discovered_all_stays_and_it_is_counted() {
    for (what, counted) in [("silent", true), ("empty", true), ("half", false)] {
        in_virtual_time(async {
            let (tap, clock) = tap();
            define(&tap, "example.com", "Boat");
            let manager = manage(&tap, clock, "a");
            sleep(40 * SEC).await;
            let owner = boat(&tap, "example.com", "b");
            map_of(&tap, "of-b", &owner);
            sleep(5 * SEC).await;
            let before = sync_errors(&manager).await;
            let concerns = move |path: &str| path == "/apis" || path == "/api" && what != "half";
            if what == "empty" {
                tap.change(move |asked, body| {
                    if concerns(&asked.path) {
                        body["items"] = json!([]);
                    }
                });
            } else {
                tap.rule(move |asked| concerns(&asked.path).then_some(Fate::Refused(503)));
            }
            sleep(100 * SEC).await;
            let errors = sync_errors(&manager).await - before;
            assert!(if counted { (2.0..=5.0).contains(&errors) } else { errors == 0.0 }, "{what}: {errors} in 100 s");
            let before = tap.asked().len();
            assert!(collected(&tap, &format!("{}/b", boats("example.com")), "of-b", "Foreground").await, "{what}");
            assert!(!tap.asked()[before..].iter().any(|asked| asked.is("GET", "/boats")), "{what}: it has been watched all the time");
            assert!(manager.end().await.0.is_ok());
        })
        .expect("a runtime");
    }
}

/// garbage-collection A16.49
#[test]
fn an_owner_of_a_kind_that_cannot_be_watched_is_verified_ever_more_rarely() {
    in_virtual_time(async {
        let (tap, clock) = tap();
        define(&tap, "example.com", "Boat");
        tap.change(|asked, body| {
            let groups = body["items"].as_array_mut().filter(|_| asked.path == "/apis");
            for item in groups.into_iter().flatten().filter(|item| item["metadata"]["name"] == "example.com") {
                item["versions"][0]["resources"][0]["verbs"] = json!(["create", "get", "delete"]);
            }
        });
        let manager = manage(&tap, clock, "a");
        sleep(40 * SEC).await;
        let owner = boat(&tap, "example.com", "b");
        map_of(&tap, "of-b", &owner);
        sleep(300 * SEC).await;
        assert_eq!(tap.count("GET", "/boats"), 0, "it is not watched");
        let asked = tap.count("GET", "/boats/b");
        assert!((3..=20).contains(&asked), "{asked} times in five minutes");
        assert!(there(&tap, &format!("{MAPS}/of-b")));
        delete(&tap, &format!("{}/b", boats("example.com")), "Background");
        assert!(until(600 * SEC, || !there(&tap, &format!("{MAPS}/of-b"))).await);
        assert!(manager.end().await.0.is_ok());
    })
    .expect("a runtime");
}
