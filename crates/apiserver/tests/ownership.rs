//! Field ownership: server-side apply and the managers of other writes.

mod support;

use serde_json::{Value, json};
use support::talk;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data})
}

#[test]
fn what_another_applied_is_a_conflict_until_forced() {
    let t = talk();
    let path = |who: &str| format!("{MAPS}/m?fieldManager={who}");
    assert_eq!(t.apply(&path("alpha"), map(json!({"a": "1"}))).0, 201);
    let (code, e) = t.apply(&path("beta"), map(json!({"a": "2"})));
    assert_eq!(code, 409);
    assert_eq!(e["message"], "Apply failed with 1 conflict: conflict with \"alpha\": .data.a");
    assert_eq!(e["details"]["causes"][0]["reason"], "FieldManagerConflict");
    let (code, got) = t.apply(&format!("{}&force=true", path("beta")), map(json!({"a": "2"})));
    assert_eq!((code, &got["data"]["a"]), (200, &json!("2")));
    let owners: Vec<&str> =
        got["metadata"]["managedFields"].as_array().expect("owners").iter().filter_map(|e| e["manager"].as_str()).collect();
    assert_eq!(owners, ["beta"]);
}

#[test]
fn what_an_applier_drops_goes_when_nobody_else_owns_it() {
    let t = talk();
    let path = |who: &str| format!("{MAPS}/m?fieldManager={who}");
    t.apply(&path("alpha"), map(json!({"a": "1", "b": "1"})));
    t.apply(&path("beta"), map(json!({"b": "1"})));
    let (_, got) = t.apply(&path("alpha"), map(json!({})));
    assert_eq!(got["data"], json!({"b": "1"}));
}

#[test]
fn an_update_takes_fields_and_keeps_a_separate_entry_for_the_status() {
    let t = talk();
    let pods = "/api/v1/namespaces/default/pods";
    t.post(
        &format!("{pods}?fieldManager=maker"),
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "b"}]}}),
    );
    let (_, got) = t.merge(&format!("{pods}/p/status?fieldManager=kubelet"), json!({"status": {"phase": "Running"}}));
    let entries = got["metadata"]["managedFields"].as_array().expect("owners");
    let status = entries.iter().find(|e| e["subresource"] == "status").expect("an entry for the status");
    assert_eq!(status["manager"], "kubelet");
    assert_eq!(status["fieldsV1"], json!({"f:status": {"f:phase": {}}}));
    let maker = entries.iter().find(|e| e["manager"] == "maker").expect("an entry for the maker");
    let container = &maker["fieldsV1"]["f:spec"]["f:containers"]["k:{\"name\":\"a\"}"];
    assert_eq!(container["f:image"], json!({}));
    assert!(container.get(".").is_some());
}

#[test]
fn a_write_that_changes_nothing_is_none() {
    let t = talk();
    let (_, made) = t.post(MAPS, map(json!({"a": "1"})));
    let (_, got) = t.put(&format!("{MAPS}/m"), made.clone());
    assert_eq!(got["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
}

#[test]
fn dropping_the_only_applied_metadata_leaves_the_objects_identity() {
    let t = talk();
    let path = format!("{MAPS}/m?fieldManager=alpha");
    let mut first = map(json!({"a": "1"}));
    first["metadata"]["labels"] = json!({"x": "y"});
    t.apply(&path, first);
    let (code, got) = t.apply(&path, map(json!({"a": "1"})));
    assert_eq!(code, 200, "{got}");
    assert!(got["metadata"].get("labels").is_none());
    assert_eq!(got["metadata"]["name"], "m");
}
