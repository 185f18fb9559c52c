//! Conversations about pods, ReplicaSets and Deployments: what the loops stand on.

mod support;

use serde_json::{Value, json};
use support::{next, talk, talk_with};

const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": "web:1"}]}})
}

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": "web:1"}]}})
}

fn deployment() -> Value {
    json!({"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template()}})
}

fn set() -> Value {
    json!({"metadata": {"name": "web"}, "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template()}})
}

/// workloads 1.4.1
#[test]
fn generation_of_a_deployment_grows_with_spec_and_annotations() {
    let t = talk();
    let (code, d) = t.post(DEPLOYMENTS, deployment());
    assert_eq!((code, &d["metadata"]["generation"]), (201, &json!(1)), "{d}");
    let path = format!("{DEPLOYMENTS}/web");
    assert_eq!(t.merge(&path, json!({"metadata": {"annotations": {"a": "b"}}})).1["metadata"]["generation"], 2);
    assert_eq!(t.merge(&path, json!({"metadata": {"labels": {"a": "b"}}})).1["metadata"]["generation"], 2);
    assert_eq!(t.merge(&path, json!({"spec": {"replicas": 3}})).1["metadata"]["generation"], 3);
    t.post(SETS, set());
    let path = format!("{SETS}/web");
    assert_eq!(t.merge(&path, json!({"metadata": {"annotations": {"a": "b"}}})).1["metadata"]["generation"], 1);
    assert_eq!(t.merge(&path, json!({"spec": {"replicas": 3}})).1["metadata"]["generation"], 2);
}

/// workloads 1.4.2
#[test]
fn a_status_write_of_a_deployment_keeps_annotations_and_nothing_else() {
    let t = talk();
    let (_, mut d) = t.post(DEPLOYMENTS, deployment());
    d["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": "1"});
    d["metadata"]["labels"] = json!({"x": "y"});
    d["spec"]["replicas"] = 9.into();
    d["status"] = json!({"replicas": 1, "updatedReplicas": 1});
    let (code, got) = t.put(&format!("{DEPLOYMENTS}/web/status"), d);
    assert_eq!(code, 200, "{got}");
    assert_eq!(got["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "1");
    assert!(got["metadata"].get("labels").is_none());
    assert_eq!(got["spec"]["replicas"], 1);
    assert_eq!(got["status"]["updatedReplicas"], 1);
    assert_eq!(got["metadata"]["generation"], 1);
    let (_, mut s) = t.post(SETS, set());
    s["metadata"]["labels"] = json!({"x": "y"});
    let (_, got) = t.put(&format!("{SETS}/web/status"), s);
    assert_eq!(got["metadata"]["labels"]["x"], "y", "labels of a ReplicaSet are stored by a status write");
}

/// workloads 1.4.3
#[test]
fn counters_of_a_status_must_agree() {
    let t = talk();
    t.post(DEPLOYMENTS, deployment());
    let path = format!("{DEPLOYMENTS}/web/status");
    let bad = [
        json!({"replicas": -1}),
        json!({"replicas": 1, "readyReplicas": 2}),
        json!({"replicas": 3, "readyReplicas": 1, "availableReplicas": 2}),
        json!({"replicas": 1, "updatedReplicas": 2}),
        json!({"terminatingReplicas": -1}),
    ];
    for status in bad {
        let (code, got) = t.merge(&path, json!({"status": status}));
        assert_eq!(code, 422, "{status}: {got}");
    }
    assert_eq!(t.merge(&path, json!({"status": {"collisionCount": 2}})).0, 200);
    assert_eq!(t.merge(&path, json!({"status": {"collisionCount": 1}})).0, 422);
    assert_eq!(t.merge(&path, json!({"status": {"collisionCount": null}})).0, 422);
}

/// workloads 1.4.4
#[test]
fn selectors_are_immutable_and_match_the_template() {
    let t = talk();
    t.post(DEPLOYMENTS, deployment());
    let (code, e) = t.merge(
        &format!("{DEPLOYMENTS}/web"),
        json!({"spec": {"selector": {"matchLabels": {"app": "x"}}, "template": {"metadata": {"labels": {"app": "x"}}}}}),
    );
    assert_eq!(code, 422);
    assert!(e["message"].as_str().unwrap_or("").contains("field is immutable"), "{e}");
    let mut d = deployment();
    d["metadata"]["name"] = "other".into();
    d["spec"]["template"]["metadata"]["labels"] = json!({"app": "y"});
    let (code, e) = t.post(DEPLOYMENTS, d.clone());
    assert_eq!((code, &e["details"]["causes"][0]["field"]), (422, &json!("spec.template.metadata.labels")));
    d["spec"]["template"]["metadata"]["labels"] = json!({"app": "web"});
    d["spec"]["template"]["spec"]["restartPolicy"] = "Never".into();
    assert_eq!(t.post(DEPLOYMENTS, d.clone()).0, 422);
    d["spec"]["template"]["spec"]["restartPolicy"] = "Always".into();
    d["spec"]["template"]["spec"]["activeDeadlineSeconds"] = 5.into();
    assert_eq!(t.post(DEPLOYMENTS, d.clone()).0, 422);
    d["spec"]["template"]["spec"].as_object_mut().expect("an object").shift_remove("activeDeadlineSeconds");
    d["spec"]["progressDeadlineSeconds"] = 5.into();
    d["spec"]["minReadySeconds"] = 5.into();
    assert_eq!(t.post(DEPLOYMENTS, d).0, 422);
}

/// workloads 1.4.5
#[test]
fn surge_and_unavailability_are_checked() {
    let t = talk();
    let tried = |u: Value, s: Value| {
        let mut d = deployment();
        d["spec"]["strategy"] = json!({"rollingUpdate": {"maxUnavailable": u, "maxSurge": s}});
        t.post(&format!("{DEPLOYMENTS}?dryRun=All"), d).0
    };
    assert_eq!(tried(json!("100%"), json!("200%")), 201);
    assert_eq!(tried(json!("101%"), json!(1)), 422);
    assert_eq!(tried(json!(0), json!("0%")), 422);
    assert_eq!(tried(json!("1%"), json!(0)), 201);
    let mut d = deployment();
    d["spec"]["strategy"] = json!({"type": "Recreate", "rollingUpdate": {"maxSurge": 1}});
    assert_eq!(t.post(DEPLOYMENTS, d).0, 422);
}

/// workloads 1.4.6: without a node, or finished, a pod goes at once; otherwise its grace counts.
#[tokio::test(start_paused = true)]
async fn a_pod_on_a_node_keeps_its_grace() {
    let t = talk();
    t.post(PODS, pod("a"));
    let (code, gone) = t.delete(&format!("{PODS}/a"));
    assert_eq!((code, &gone["metadata"]["deletionGracePeriodSeconds"]), (200, &json!(0)));
    assert_eq!(t.get(&format!("{PODS}/a")).0, 404);
    let mut p = pod("b");
    p["spec"]["nodeName"] = "n1".into();
    t.post(PODS, p);
    let (_, marked) = t.delete(&format!("{PODS}/b"));
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(marked["metadata"]["deletionTimestamp"], "2023-11-14T22:13:50Z");
    assert_eq!(t.get(&format!("{PODS}/b")).0, 200);
    assert_eq!(t.delete(&format!("{PODS}/b?gracePeriodSeconds=0")).0, 200);
    assert_eq!(t.get(&format!("{PODS}/b")).0, 404);
}

/// workloads 1.4.7
#[test]
fn only_the_old_group_orphans_by_default() {
    let t = talk();
    t.post(SETS, set());
    assert_eq!(t.delete(&format!("{SETS}/web")).1["status"], "Success");
    let rc = json!({"metadata": {"name": "rc"}, "spec": {"selector": {"app": "web"}, "template": template()}});
    let path = "/api/v1/namespaces/default/replicationcontrollers";
    t.post(path, rc);
    let (_, got) = t.delete(&format!("{path}/rc"));
    assert_eq!(got["metadata"]["finalizers"], json!(["orphan"]));
    t.post(SETS, set());
    let r = t.send("DELETE", &format!("{SETS}/web"), "application/json", Some(&json!({"propagationPolicy": "Foreground"})));
    assert_eq!(r.value()["metadata"]["finalizers"], json!(["foregroundDeletion"]));
}

/// workloads 1.4.8
#[test]
fn nothing_is_created_in_an_ending_namespace() {
    let t = talk();
    t.post("/api/v1/namespaces", json!({"metadata": {"name": "gone"}}));
    let (_, ns) = t.delete("/api/v1/namespaces/gone");
    assert_eq!(ns["status"]["phase"], "Terminating");
    let (code, e) = t.post("/api/v1/namespaces/gone/pods", pod("a"));
    assert_eq!((code, &e["details"]["causes"][0]["reason"]), (403, &json!("NamespaceTerminating")));
    let (code, e) = t.post("/api/v1/namespaces/never/pods", pod("a"));
    assert_eq!((code, &e["details"]["kind"]), (404, &json!("namespaces")));
    let mut done = ns.clone();
    done["spec"] = json!({});
    assert_eq!(t.put("/api/v1/namespaces/gone/finalize", done).0, 200);
    assert_eq!(t.get("/api/v1/namespaces/gone").0, 404);
}

/// workloads 1.4.9 and 1.4.10
#[test]
fn adoption_patches_are_guarded_by_uid() {
    let t = talk();
    let (_, p) = t.post(PODS, pod("a"));
    let owner = |uid: &str| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "uid": uid, "controller": true});
    let uid = p["metadata"]["uid"].clone();
    let path = format!("{PODS}/a");
    assert_eq!(t.strategic(&path, json!({"metadata": {"uid": "other", "ownerReferences": [owner("1")]}})).0, 422);
    assert_eq!(t.strategic(&path, json!({"metadata": {"uid": uid, "ownerReferences": [owner("1")]}})).0, 200);
    let (code, e) = t.strategic(&path, json!({"metadata": {"uid": uid, "ownerReferences": [owner("2")]}}));
    assert_eq!(code, 422);
    assert!(e["message"].as_str().unwrap_or("").contains("Only one reference can have Controller set to true"), "{e}");
    let release = json!({"metadata": {"uid": uid, "ownerReferences": [{"$patch": "delete", "uid": "1"}]}});
    assert!(t.strategic(&path, release).1["metadata"].get("ownerReferences").is_none());
}

/// workloads 1.4.11
#[test]
fn generated_names_are_cut_and_differ() {
    let t = talk();
    let mut p = pod("x");
    p["metadata"] = json!({"generateName": "a".repeat(60)});
    let a = t.post(PODS, p.clone()).1["metadata"]["name"].clone();
    let b = t.post(PODS, p).1["metadata"]["name"].clone();
    assert_ne!(a, b);
    assert_eq!(a.as_str().map(str::len), Some(63));
}

#[test]
fn a_field_from_the_future_is_dropped_unless_the_server_is_told_to_keep_it() {
    let mut p = pod("a");
    p["spec"]["fromTheFuture"] = json!({"a": 1});
    let t = talk();
    let r = t.send("POST", PODS, "application/json", Some(&p));
    assert_eq!(r.headers.get("warning").and_then(|w| w.to_str().ok()), Some("299 - \"unknown field \\\"spec.fromTheFuture\\\"\""));
    assert!(r.value()["spec"].get("fromTheFuture").is_none());
    assert_eq!(t.post(&format!("{PODS}?fieldValidation=Strict"), p.clone()).0, 400);
    let t = talk_with(|o| o.keep_unknown_fields = true);
    assert_eq!(t.post(PODS, p).1["spec"]["fromTheFuture"], json!({"a": 1}));
}

#[tokio::test(start_paused = true)]
async fn a_watch_shows_changes_in_order_and_says_when_the_past_is_gone() {
    let t = talk();
    let (_, list) = t.get(PODS);
    let rv = list["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();
    let mut w = t.watch(&format!("{PODS}?watch=1&resourceVersion={rv}&labelSelector=app%3Dweb"));
    t.post(PODS, pod("a"));
    t.merge(&format!("{PODS}/a"), json!({"metadata": {"labels": {"app": "other"}}}));
    t.merge(&format!("{PODS}/a"), json!({"metadata": {"labels": {"app": "web"}}}));
    t.delete(&format!("{PODS}/a"));
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(next(&mut w).await.0);
    }
    assert_eq!(seen, ["ADDED", "DELETED", "ADDED", "MODIFIED", "DELETED"]);
    t.server.compact();
    t.server.compact();
    t.post(PODS, pod("b"));
    let mut late = t.watch(&format!("{PODS}?watch=1&resourceVersion={rv}"));
    let (kind, status) = next(&mut late).await;
    assert_eq!((kind.as_str(), &status["code"], &status["reason"]), ("ERROR", &json!(410), &json!("Expired")));
}

#[tokio::test(start_paused = true)]
async fn a_streaming_list_ends_with_a_bookmark_that_says_so() {
    let t = talk();
    t.post(PODS, pod("a"));
    let mut w = t.watch(&format!(
        "{PODS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=60"
    ));
    assert_eq!(next(&mut w).await.0, "ADDED");
    let (kind, mark) = next(&mut w).await;
    assert_eq!(kind, "BOOKMARK");
    assert_eq!(mark["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    t.post(PODS, pod("b"));
    assert_eq!(next(&mut w).await.1["metadata"]["name"], "b");
}

#[test]
fn pages_show_the_state_of_the_first_page() {
    let t = talk();
    for n in ["a", "b", "c"] {
        t.post(PODS, pod(n));
    }
    let (_, first) = t.get(&format!("{PODS}?limit=1"));
    assert_eq!(first["metadata"]["remainingItemCount"], 2);
    t.delete(&format!("{PODS}/b"));
    let token = first["metadata"]["continue"].as_str().expect("a token");
    let (_, rest) = t.get(&format!("{PODS}?limit=5&continue={token}"));
    let names: Vec<&str> = rest["items"].as_array().expect("items").iter().filter_map(|i| i["metadata"]["name"].as_str()).collect();
    assert_eq!(names, ["b", "c"]);
    assert_eq!(rest["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    t.server.compact();
    t.server.compact();
    t.post(PODS, pod("d"));
    assert_eq!(t.get(&format!("{PODS}?limit=5&continue={token}")).0, 410);
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let run = || {
        let t = talk();
        t.post(PODS, json!({"metadata": {"generateName": "p-"}, "spec": {"containers": [{"name": "a", "image": "b"}]}}));
        t.server.dump("/pods").1
    };
    assert_eq!(run(), run());
}
