//! The garbage collector's interlock, by the whole manager (docs/garbage-collection-budgets.md).

use evenkeel_client::{Api, ClientMetrics, Pace, PaceOptions};
use evenkeel_manager::{Options, interlock::LeaseNotes};
use evenkeel_tests::recorded::virtual_time::in_virtual_time;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    managed::{SEC, manage_with, page_of, tap, until},
    process::value,
    tap::Tap,
};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";

fn holding() -> Options {
    Options { gc_holds: true, gc_budgets: "100/0%/1m".parse().expect("a budget"), ..Options::default() }
}

fn create(tap: &Tap, path: &str, kind: &str, name: &str, owner: Option<&Value>) -> Value {
    let mut meta = json!({"name": name});
    if let Some(owner) = owner {
        let of = &owner["metadata"];
        meta["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": of["name"], "uid": of["uid"]}]);
    }
    tap.admin().create(path, &json!({"apiVersion": "v1", "kind": kind, "metadata": meta})).expect("created")
}

/// An owner, and so many ConfigMaps of it.
fn family(tap: &Tap, name: &str, children: usize) {
    let owner = create(tap, MAPS, "ConfigMap", name, None);
    (0..children).for_each(|n| drop(create(tap, MAPS, "ConfigMap", &format!("{name}-{n}"), Some(&owner))));
}

fn delete(tap: &Tap, path: &str) {
    tap.admin().delete(path, &json!({"kind": "DeleteOptions", "apiVersion": "v1"})).expect("deleted");
}

/// How many objects of this name's family are left.
fn left(tap: &Tap, path: &str, family: &str) -> usize {
    let list = tap.admin().get(path).expect("a list");
    let name = |item: &Value| item["metadata"]["name"].as_str().is_some_and(|n| n.starts_with(family));
    list["items"].as_array().into_iter().flatten().filter(|item| name(item)).count()
}

fn events(tap: &Tap, reason: &str) -> Vec<String> {
    let list = tap.admin().get("/api/v1/namespaces/default/events").expect("events");
    let of = |event: &&Value| event["reason"] == reason;
    list["items"].as_array().into_iter().flatten().filter(of).map(|e| e["message"].as_str().unwrap_or_default().to_owned()).collect()
}

fn notes(tap: &Tap) -> LeaseNotes {
    let pace = Pace::new(PaceOptions::default());
    LeaseNotes::new(
        Api::new(tap.client(), "tests", pace, ClientMetrics::unregistered("in-process")),
        "kube-system",
        "kube-controller-manager",
    )
}

/// Stock behaviour: what is over the budget is told once, by event, metric and log, and goes on.
#[test]
fn what_is_over_the_budget_is_told_and_goes_on() {
    in_virtual_time(async {
        let (tap, clock) = tap();
        let manager = manage_with(&tap, clock, "a", Options { gc_holds: false, ..holding() });
        family(&tap, "many", 60);
        sleep(10 * SEC).await;
        delete(&tap, &format!("{MAPS}/many"));
        assert!(until(30 * SEC, || left(&tap, MAPS, "many") == 0).await);
        sleep(2 * SEC).await;
        let told = events(&tap, "OverCollectionBudget");
        // A new leader has a fifth of the budget.
        assert_eq!(told, ["20 configmaps collected, over the budget of 20 within 1m: going on"]);
        let (_, metrics) = page_of(&manager, "/metrics").await;
        let series = "evenkeel_garbagecollector_over_budget_objects{group=\"\",resource=\"configmaps\"}";
        assert!(value(&metrics, series) == Some(40.0), "{metrics}");
    })
    .expect("a runtime");
}

/// With `--gc-hold-over-budget` the rest waits until it is released, and nothing else waits for it.
#[test]
fn what_is_over_the_budget_is_held_until_it_is_released() {
    in_virtual_time(async {
        let (tap, clock) = tap();
        let manager = manage_with(&tap, clock, "a", holding());
        family(&tap, "many", 100);
        family(&tap, "few", 3);
        let owner = create(&tap, SECRETS, "Secret", "owner", None);
        let mut of_secret = json!([{"apiVersion": "v1", "kind": "Secret", "name": "owner", "uid": owner["metadata"]["uid"]}]);
        let child = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "owner-child", "ownerReferences": of_secret.take()}});
        tap.admin().create(SECRETS, &child).expect("created");
        sleep(10 * SEC).await;
        delete(&tap, &format!("{MAPS}/many"));
        sleep(10 * SEC).await;
        let held = left(&tap, MAPS, "many");
        assert_eq!(held, 80);
        assert_eq!(events(&tap, "CollectionHeld").len(), 1);
        let (_, metrics) = page_of(&manager, "/metrics").await;
        let series = "evenkeel_garbagecollector_held_objects{group=\"\",resource=\"configmaps\"}";
        assert_eq!(value(&metrics, series), Some(held as f64), "{metrics}");

        // Another kind, and once the window is over the same kind, do not wait for it.
        delete(&tap, &format!("{SECRETS}/owner"));
        sleep(61 * SEC).await;
        assert_eq!(left(&tap, SECRETS, "owner"), 0);
        delete(&tap, &format!("{MAPS}/few"));
        sleep(10 * SEC).await;
        assert_eq!((left(&tap, MAPS, "few"), left(&tap, MAPS, "many")), (0, held));

        let notes = notes(&tap);
        assert_eq!(notes.release("pods-1").await, Err("\"pods-1\" is not held; held: configmaps-1".to_owned()));
        assert_eq!(notes.release("configmaps-1").await, Ok(held));
        assert!(until(30 * SEC, || left(&tap, MAPS, "many") == 0).await);
        sleep(15 * SEC).await;
        assert_eq!(notes.read().await.expect("a lease").held.len(), 0, "its end is noted");
        let again = notes.release("configmaps-1").await;
        assert_eq!(again, Err("\"configmaps-1\" is not held; nothing is".to_owned()));
        let _ = manager.end().await;
    })
    .expect("a runtime");
}

/// A batch and its release outlive the leader.
#[test]
fn the_next_leader_holds_what_is_held_and_lets_go_what_was_released() {
    in_virtual_time(async {
        let (tap, clock) = tap();
        let first = manage_with(&tap, clock, "a", holding());
        family(&tap, "many", 100);
        sleep(10 * SEC).await;
        delete(&tap, &format!("{MAPS}/many"));
        sleep(15 * SEC).await;
        let held = left(&tap, MAPS, "many");
        assert_eq!(held, 80);

        first.kill().await;
        let second = manage_with(&tap, clock, "b", holding());
        sleep(90 * SEC).await;
        assert_eq!(left(&tap, MAPS, "many"), held, "a change of leader lets nothing through");

        second.kill().await;
        assert!(notes(&tap).release("configmaps-1").await.is_ok());
        let third = manage_with(&tap, clock, "c", holding());
        assert!(until(60 * SEC, || left(&tap, MAPS, "many") == 0).await, "a release outlives the leader");
        let _ = third.end().await;
    })
    .expect("a runtime");
}
