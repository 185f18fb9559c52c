//! Devices, from the slice that a driver writes to the status of a claim (`resource.k8s.io`).

mod support;

use evenkeel_apiserver::UserInfo;
use serde_json::{Value, json};
use support::{Talk, talk};

const CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
const TEMPLATES: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaimtemplates";
const SLICES: &str = "/apis/resource.k8s.io/v1/resourceslices";

fn devices() -> Value {
    json!({"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]})
}

fn claim() -> Value {
    json!({"metadata": {"name": "c"}, "spec": {"devices": devices()}})
}

fn slice(device: Value) -> Value {
    json!({"metadata": {"name": "s"}, "spec": {
        "driver": "x.example.com", "nodeName": "n1", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}, "devices": [device]}})
}

fn result(device: &str) -> Value {
    json!({"request": "r", "driver": "x.example.com", "pool": "p", "device": device})
}

fn told(device: &str) -> Value {
    json!({"driver": "x.example.com", "pool": "p", "device": device})
}

fn message(answer: &(u16, Value)) -> &str {
    answer.1["message"].as_str().unwrap_or("")
}

#[test]
fn requests_get_a_mode_and_a_count_and_never_change() {
    let t = talk();
    let (code, c) = t.post(CLAIMS, claim());
    assert_eq!(code, 201, "{c}");
    assert_eq!(
        c["spec"]["devices"]["requests"][0]["exactly"],
        json!({"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1})
    );
    let answer = t.merge(&format!("{CLAIMS}/c"), json!({"spec": {"devices": {"requests": []}}}));
    assert_eq!(
        (answer.0, message(&answer)),
        (
            422,
            r#"ResourceClaim.resource.k8s.io "c" is invalid: spec: Invalid value: {"Devices":{"Requests":[],"Constraints":null,"Config":null}}: field is immutable"#
        )
    );
    let (code, _) = t.post(TEMPLATES, json!({"metadata": {"name": "t"}, "spec": {"spec": {"devices": devices()}}}));
    assert_eq!(code, 201);
    let answer = t.merge(&format!("{TEMPLATES}/t"), json!({"spec": {"metadata": {"labels": {"a": "b"}, "name": "n"}}}));
    assert_eq!(answer.0, 422);
    let fields: Vec<&str> = answer.1["details"]["causes"].as_array().expect("causes").iter().filter_map(|c| c["field"].as_str()).collect();
    assert_eq!(fields, ["spec.metadata.name", "spec"]);
}

#[test]
fn the_status_leaves_the_rest_alone_and_follows_the_allocation() {
    let t = talk();
    t.post(CLAIMS, claim());
    let path = format!("{CLAIMS}/c/status");
    let status = json!({"allocation": {"devices": {"results": [result("d")]}}, "devices": [told("d")],
        "reservedFor": [{"resource": "pods", "name": "a", "uid": "1"}]});
    let (code, c) = t.merge(&path, json!({"metadata": {"labels": {"a": "b"}}, "status": status}));
    assert_eq!(code, 200, "{c}");
    assert_eq!(c["metadata"].get("labels"), None);
    assert_eq!(c["status"]["devices"][0]["device"], "d");
    let answer = t.merge(&path, json!({"status": {"allocation": {"devices": {"results": [result("e")]}}}}));
    assert_eq!(answer.0, 422, "{}", answer.1);
    assert!(message(&answer).contains("status.allocation: Invalid value: {\"Devices\":{\"Results\":[{\"Request\":\"r\","), "{}", answer.1);
    let (code, c) = t.merge(&path, json!({"status": {"allocation": null, "reservedFor": null}}));
    assert_eq!(code, 200, "{c}");
    assert_eq!(c["status"].get("devices"), None);
}

#[test]
fn administrators_access_is_for_marked_namespaces() {
    let t = talk();
    let mut wanted = claim();
    wanted["spec"]["devices"]["requests"][0]["exactly"]["adminAccess"] = true.into();
    let answer = t.post(CLAIMS, wanted.clone());
    assert_eq!(
        (answer.0, message(&answer)),
        (
            422,
            "ResourceClaim.resource.k8s.io \"c\" is invalid: spec.devices.requests[0].adminAccess: Forbidden: admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace"
        )
    );
    t.merge("/api/v1/namespaces/default", json!({"metadata": {"labels": {"resource.kubernetes.io/admin-access": "true"}}}));
    assert_eq!(t.post(CLAIMS, wanted).0, 201);
}

fn let_in(t: &Talk, resources: &Value) {
    let role = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    t.post(
        role,
        json!({"metadata": {"name": "x"}, "rules": [
        {"apiGroups": ["resource.k8s.io"], "resources": resources, "verbs": ["patch", "arbitrary-node:patch"]}]}),
    );
    t.post(
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        json!({"metadata": {"name": "x"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "x"},
            "subjects": [{"kind": "User", "name": "jane"}]}),
    );
}

#[test]
fn parts_of_the_status_need_permissions_of_their_own() {
    for (resources, refused) in [
        (json!(["resourceclaims/status"]), vec!["status.allocation", "status.devices"]),
        (json!(["resourceclaims/status", "resourceclaims/binding"]), vec!["status.devices"]),
        (json!(["resourceclaims/status", "resourceclaims/binding", "resourceclaims/driver"]), vec![]),
    ] {
        let mut t = talk();
        t.post(CLAIMS, claim());
        let_in(&t, &resources);
        t.user = UserInfo { name: "jane".into(), uid: String::new(), groups: vec!["system:authenticated".into()] };
        let status = json!({"allocation": {"devices": {"results": [result("d")]}}, "devices": [told("d")]});
        let (code, got) = t.merge(&format!("{CLAIMS}/c/status"), json!({"status": status}));
        let causes = got["details"]["causes"].as_array().map_or(&[][..], Vec::as_slice);
        let fields: Vec<&str> = causes.iter().filter_map(|c| c["field"].as_str()).collect();
        assert_eq!((code, fields), (if refused.is_empty() { 200 } else { 422 }, refused.clone()), "{got}");
        if refused.len() == 2 {
            assert_eq!(
                causes[0]["message"],
                "Forbidden: changing status.allocation or status.reservedFor requires resource=\"resourceclaims/binding\", verb=\"patch\" permission: resourceclaims.resource.k8s.io is forbidden: User \"jane\" cannot patch resource \"resourceclaims/binding\" in API group \"resource.k8s.io\" at the cluster scope"
            );
        }
    }
}

#[test]
fn taints_begin_when_they_are_written() {
    let t = talk();
    let (code, s) = t.post(SLICES, slice(json!({"name": "d", "taints": [{"key": "a", "effect": "NoSchedule"}]})));
    assert_eq!(code, 201, "{s}");
    assert_eq!(s["spec"]["devices"][0]["taints"][0]["timeAdded"], "2023-11-14T22:13:20Z");
    t.clock.advance(60);
    let (_, s) = t.merge(&format!("{SLICES}/s"), json!({"metadata": {"labels": {"a": "b"}}}));
    assert_eq!(s["spec"]["devices"][0]["taints"][0]["timeAdded"], "2023-11-14T22:13:20Z");
    assert_eq!(s["metadata"]["generation"], 1);
}

#[test]
fn what_is_not_open_yet_is_dropped_and_upper_case_warned_about() {
    let t = talk();
    let device = json!({"name": "d", "attributes": {"a": {"int": 1, "strings": ["x"]}}, "nodeAllocatableResourceMappings": {"cpu": {}}});
    let mut s = slice(device);
    s["spec"]["driver"] = "X.example.com".into();
    let r = t.send("POST", SLICES, "application/json", Some(&s));
    assert_eq!(r.status, 201);
    assert_eq!(r.value()["spec"]["devices"], json!([{"name": "d", "attributes": {"a": {"int": 1}}}]));
    assert_eq!(
        r.headers["warning"],
        r#"299 - "spec.driver: driver names should be lowercase; \"X.example.com\" contains uppercase characters""#
    );
}

#[test]
fn quotas_count_devices_by_class() {
    let t = talk();
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    let limit = |n: &str| json!({"gpu.deviceclass.resource.k8s.io/devices": n});
    t.post(quotas, json!({"metadata": {"name": "q"}, "spec": {"hard": limit("2")}}));
    t.merge(&format!("{quotas}/q/status"), json!({"status": {"hard": limit("2"), "used": limit("0")}}));
    let mut wanted = claim();
    wanted["spec"]["devices"]["requests"] = json!([
        {"name": "a", "exactly": {"deviceClassName": "gpu"}},
        {"name": "b", "firstAvailable": [{"name": "x", "deviceClassName": "gpu", "count": 2}, {"name": "y", "deviceClassName": "gpu"}]}]);
    let answer = t.post(CLAIMS, wanted);
    assert_eq!(
        (answer.0, message(&answer)),
        (
            403,
            "resourceclaims.resource.k8s.io \"c\" is forbidden: exceeded quota: q, requested: gpu.deviceclass.resource.k8s.io/devices=3, used: gpu.deviceclass.resource.k8s.io/devices=0, limited: gpu.deviceclass.resource.k8s.io/devices=2"
        )
    );
    assert_eq!(t.post(CLAIMS, claim()).0, 201);
}
