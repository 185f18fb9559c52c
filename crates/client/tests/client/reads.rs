//! Live reads as steps of a plan, and deletions of collections.

use evenkeel_api::{Key, PODS};
use evenkeel_plan::{Done, FailureKind, Propagation, Write};
use http::Method;
use serde_json::{Value, json};

use crate::{
    server::{Reply, status},
    world::{assert_failed, world},
};

fn look() -> Write {
    Write::Look { kind: &PODS, key: Key::new("ns", "a") }
}

fn count() -> Write {
    Write::Count { kind: &PODS, place: Key::of_namespace("ns") }
}

/// Only the server's own word says that something is gone.
#[tokio::test(start_paused = true)]
async fn a_look_tells_what_is_there_and_what_is_gone() {
    let there = world(|_, _| Reply::Json(200, json!({"kind": "Pod", "metadata": {"name": "a", "uid": "u", "resourceVersion": "7"}})));
    assert!(matches!(there.one(look()).await, Done::Found(meta) if meta.uid.to_string() == "u"));
    let refused = |name: &str| json!({"kind": "Status", "reason": "NotFound", "message": "gone", "code": 404, "details": {"name": name}});
    assert_eq!(world(move |_, _| Reply::Json(404, refused("a"))).one(look()).await, Done::AlreadyGone);
    // Nor a path that is not there, or another object's absence (garbage-collection A17.18).
    for other in
        [refused("b"), json!({"kind": "Status", "reason": "NotFound", "message": "the server could not find the requested resource"})]
    {
        let other = world(move |_, _| Reply::Json(404, other.clone()));
        assert!(matches!(other.one(look()).await, Done::Failed(failure) if failure.kind == FailureKind::NotFound));
    }
    let proxy = world(|_, _| Reply::Raw(404, "no such page".into()));
    assert!(matches!(proxy.one(look()).await, Done::Failed(failure) if failure.kind == FailureKind::NotFound));
    assert!(matches!(world(|_, _| Reply::Reset).one(look()).await, Done::Failed(_)));
}

/// Some kinds take any text for a name.
#[tokio::test(start_paused = true)]
async fn names_are_escaped_in_paths() {
    let world = world(|seen, _| {
        assert_eq!(seen.path, "/api/v1/namespaces/ns/pods/system:a%20b%3Fdry%2Fun");
        status(503, "ServiceUnavailable", "not now")
    });
    let look = Write::Look { kind: &PODS, key: Key::new("ns", "system:a b?dry/un") };
    assert!(matches!(world.one(look).await, Done::Failed(_)));
}

#[tokio::test(start_paused = true)]
async fn what_is_left_is_counted_page_by_page_without_contents() {
    let world = world(|seen, _| {
        assert!(seen.header("accept").starts_with("application/json;as=PartialObjectMetadataList"));
        let item = |name: &str, finalizers: Value| json!({"metadata": {"name": name, "uid": name, "finalizers": finalizers}});
        let (items, more) = match seen.parameter("continue") {
            None => (json!([item("a", json!(["x"])), item("b", Value::Null)]), "t+1"),
            Some("t%2B1") => (json!([item("c", json!(["x", "y"]))]), ""),
            other => panic!("{other:?}"),
        };
        Reply::Json(200, json!({"kind": "PartialObjectMetadataList", "metadata": {"continue": more}, "items": items}))
    });
    let Done::Counted(left) = world.one(count()).await else { panic!() };
    assert_eq!(left.count, 3);
    assert_eq!(left.finalizers.into_iter().collect::<Vec<_>>(), [("x".to_owned(), 2), ("y".to_owned(), 1)]);
    assert_eq!(left.first.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_list_of_nothing_is_empty_and_garbage_is_no_list() {
    let none = world(|_, _| Reply::Json(200, json!({"kind": "PodList", "metadata": {}, "items": null})));
    assert!(matches!(none.one(count()).await, Done::Counted(left) if left.count == 0));
    let garbage = world(|_, _| Reply::Json(200, json!({"hello": "world"})));
    assert!(matches!(garbage.one(count()).await, Done::Failed(_)), "nothing is left: that must not be read out of garbage");
    assert_failed(&world(|_, _| status(405, "MethodNotAllowed", "no")).one(count()).await, FailureKind::NotAllowed, "no");
}

#[tokio::test(start_paused = true)]
async fn a_collection_is_deleted_in_one_call_that_is_not_resolved_by_reading() {
    let delete = || Write::DeleteCollection { kind: &PODS, place: Key::of_namespace("ns"), propagation: Propagation::Background };
    let fine = world(|_, _| Reply::Json(200, json!({"kind": "PodList", "metadata": {}, "items": []})));
    assert!(matches!(fine.one(delete()).await, Done::Written(_)));
    let seen = &fine.server.seen()[0];
    assert_eq!((&seen.method, seen.path.as_str()), (&Method::DELETE, "/api/v1/namespaces/ns/pods"));
    assert_eq!(seen.json()["propagationPolicy"], "Background");
    for reply in [|| Reply::Reset, || status(500, "InternalError", "unwell")] {
        let world = world(move |_, _| reply());
        assert!(matches!(world.one(delete()).await, Done::Failed(_)));
        assert_eq!(world.server.seen().len(), 1);
    }
}

/// A server without the aggregated form is asked group version by group version, and one that fails costs its own resources.
#[tokio::test(start_paused = true)]
async fn discovery_falls_back_to_the_plain_form() {
    let world = world(|seen, _| {
        let resource = |name: &str, kind: &str| json!({"name": name, "kind": kind, "namespaced": true, "verbs": ["list", "delete"]});
        match seen.path.as_str() {
            "/api" => Reply::Json(200, json!({"kind": "APIVersions", "versions": ["v1"]})),
            "/apis" => {
                let version = |v: &str| json!({"groupVersion": v});
                let group = |versions: Value, preferred: Value| json!({"versions": versions, "preferredVersion": preferred});
                let groups = [
                    group(json!([version("e.com/v2"), version("e.com/v1")]), version("e.com/v1")),
                    group(json!([version("down.com/v1")]), version("down.com/v1")),
                    group(json!([version("a/b/c")]), Value::Null),
                ];
                Reply::Json(200, json!({"kind": "APIGroupList", "groups": groups}))
            }
            "/api/v1" => Reply::Json(200, json!({"resources": [resource("pods", "Pod"), resource("pods/status", "Pod")]})),
            "/apis/e.com/v1" | "/apis/e.com/v2" => Reply::Json(200, json!({"resources": [resource("shelves", "Shelf")]})),
            _ => status(503, "ServiceUnavailable", "down"),
        }
    });
    let Done::Discovered(found) = world.one(Write::Discover).await else { panic!() };
    let told: Vec<(String, &str)> = found.resources.iter().map(|s| (s.kind.api_version(), s.kind.plural)).collect();
    assert_eq!(told, [("v1".to_owned(), "pods"), ("e.com/v1".to_owned(), "shelves")]);
    assert!(std::ptr::eq(found.resources[0].kind, &PODS));
    assert_eq!(found.failed.keys().map(String::as_str).collect::<Vec<_>>(), ["down.com/v1"]);
    assert_eq!(found.malformed, ["a/b/c"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_tells_nothing_is_a_failure_and_one_without_its_core_is_told_of() {
    assert!(matches!(world(|_, _| status(503, "ServiceUnavailable", "down")).one(Write::Discover).await, Done::Failed(_)));
    let half = world(|seen, _| match seen.path.as_str() {
        "/apis" => {
            let resources = json!([{"resource": "shelves", "responseKind": {"kind": "Shelf"}, "scope": "Namespaced", "verbs": ["list"]}]);
            let group = json!({"metadata": {"name": "e.com"}, "versions": [{"version": "v1", "resources": resources}]});
            Reply::Json(200, json!({"kind": "APIGroupDiscoveryList", "items": [group]}))
        }
        _ => status(503, "ServiceUnavailable", "down"),
    });
    let Done::Discovered(found) = half.one(Write::Discover).await else { panic!() };
    assert_eq!((found.resources.len(), found.failed.keys().map(String::as_str).collect::<Vec<_>>()), (1, vec!["v1"]));
}
