//! What a request looks like, and how answers are read.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use evenkeel_api::{Key, PODS};
use evenkeel_client::CallError;
use evenkeel_plan::{Propagation, Write};
use http::Method;
use serde_json::json;

use crate::{
    server::{Reply, Seen},
    world::{PODS_PATH, SET_PATH, World, body, create, delete, patch, put_status, set, stored, target, world},
};

fn working() -> World {
    world(|seen, stored| stored.answer(seen))
}

async fn sent(write: Write) -> Seen {
    let world = working();
    world.server.store(SET_PATH, set());
    world.server.store(&format!("{PODS_PATH}/a"), stored("a", "owner"));
    world.one(write).await;
    world.server.seen().remove(0)
}

/// manager 3.4; docs/decisions/0005-field-manager.md
#[tokio::test(start_paused = true)]
async fn every_write_carries_user_agent_field_manager_and_time_out() {
    for write in [create("web-a"), patch("a"), put_status(101), delete("a")] {
        let seen = sent(write).await;
        let agent = seen.header("user-agent");
        assert!(agent.starts_with("evenkeel/") && agent.ends_with(" kubernetes/1.36 replicaset-controller"), "{agent}");
        assert_eq!(seen.parameter("timeout"), Some("29000ms"));
        let manager = (seen.method != Method::DELETE).then_some("kube-controller-manager");
        assert_eq!(seen.parameter("fieldManager"), manager, "{}", seen.method);
        // What comes back of an object that is written in part, or goes, is read no further than its metadata.
        let metadata = matches!(seen.method, Method::PATCH | Method::DELETE);
        let accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
        assert_eq!(seen.header("accept"), if metadata { accept } else { "application/json" });
    }
}

#[tokio::test(start_paused = true)]
async fn reads_carry_a_user_agent_and_no_field_manager() {
    let world = working();
    world.api.call(Method::GET, SET_PATH, "", None).await.unwrap();
    let seen = &world.server.seen()[0];
    assert!(seen.header("user-agent").ends_with(" replicaset-controller"));
    assert_eq!(seen.query, "");
}

#[tokio::test(start_paused = true)]
async fn a_create_goes_to_the_collection_under_its_name_and_keeps_fields_that_we_do_not_know() {
    let seen = sent(create("web-a")).await;
    assert_eq!((seen.method.as_str(), seen.path.as_str(), seen.header("content-type")), ("POST", PODS_PATH, "application/json"));
    let mut want = body("owner");
    want["metadata"]["name"] = "web-a".into();
    want["metadata"]["namespace"] = "ns".into();
    assert_eq!(seen.json(), want);
}

#[tokio::test(start_paused = true)]
async fn a_name_in_the_shared_body_gives_way_to_the_one_that_was_chosen() {
    let shared = Arc::new(json!({"kind": "Pod", "metadata": {"name": "old", "namespace": "old", "annotations": null}}));
    let seen = sent(Write::Create { kind: &PODS, key: Key::new("ns", "new"), controller: None, body: shared }).await;
    assert_eq!(seen.json(), json!({"kind": "Pod", "metadata": {"name": "new", "namespace": "ns", "annotations": null}}));
    assert_eq!(seen.body.windows(6).filter(|w| w == b"\"name\"").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_replace_puts_the_whole_object_with_its_version_to_the_subresource() {
    let seen = sent(put_status(101)).await;
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("PUT", format!("{SET_PATH}/status").as_str()));
    let meta = &seen.json()["metadata"];
    assert_eq!((meta["uid"].as_str(), meta["resourceVersion"].as_str()), (Some("uid-web"), Some("101")));
}

#[tokio::test(start_paused = true)]
async fn a_patch_is_strategic_and_carries_the_uid() {
    let seen = sent(patch("a")).await;
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("PATCH", format!("{PODS_PATH}/a").as_str()));
    assert_eq!(seen.header("content-type"), "application/strategic-merge-patch+json");
    assert_eq!(seen.json()["metadata"]["uid"], "uid-a");
}

/// reliability D-3
#[tokio::test(start_paused = true)]
async fn a_delete_carries_the_uid_and_the_version_where_one_is_given() {
    let seen = sent(delete("a")).await;
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("DELETE", format!("{PODS_PATH}/a").as_str()));
    assert_eq!(seen.json(), json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "uid-a"}}));
    for (propagation, text) in
        [(Propagation::Background, "Background"), (Propagation::Foreground, "Foreground"), (Propagation::Orphan, "Orphan")]
    {
        let seen = sent(Write::Delete { target: target("a", Some(7)), propagation: Some(propagation), grace: None }).await;
        assert_eq!(seen.json()["preconditions"], json!({"uid": "uid-a", "resourceVersion": "7"}));
        assert_eq!(seen.json()["propagationPolicy"], text);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_above_the_limit_is_an_error() {
    let limit = 16 << 20;
    let fits = world(move |_, _| Reply::Raw(200, Bytes::from(vec![b' '; limit])));
    assert_eq!(fits.api.call(Method::GET, "/x", "", None).await.unwrap().body.len(), limit);
    let long = world(move |_, _| Reply::Raw(200, Bytes::from(vec![b' '; limit + 1])));
    assert!(matches!(long.api.call(Method::GET, "/x", "", None).await, Err(CallError::Broken(_))));
}

/// reliability F11
#[tokio::test(start_paused = true)]
async fn a_server_that_goes_silent_is_given_up() {
    for reply in [|| Reply::Never, || Reply::Stalls] {
        let world = world(move |_, _| reply());
        let start = tokio::time::Instant::now();
        let short = world.api.with_timeout(Duration::from_secs(5));
        assert!(matches!(short.call(Method::GET, "/x", "", None).await, Err(CallError::TimedOut(t)) if t == Duration::from_secs(5)));
        assert!(matches!(world.api.call(Method::GET, "/x", "", None).await, Err(CallError::TimedOut(_))));
        assert_eq!(start.elapsed(), Duration::from_secs(35));
    }
}

#[tokio::test(start_paused = true)]
async fn a_path_that_is_none_is_an_error_and_not_sent() {
    let world = world(|_, _| panic!("sent"));
    assert!(matches!(world.api.call(Method::GET, "/a b", "", None).await, Err(CallError::NotSent(_))));
    // Its place is free again.
    let limit = world.pace.limit();
    for _ in 0..2 * limit {
        let called = tokio::time::timeout(Duration::from_secs(1), world.api.call(Method::GET, "/a b", "", None)).await;
        assert!(called.is_ok());
    }
}
