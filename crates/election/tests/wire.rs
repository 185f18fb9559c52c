//! What goes over the wire: requests, answers and the watch, against a client whose transport is a function.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use evenkeel_election::{Hint, KubeLease, Lease, LeaseClient, LeaseError, Record};
use futures::StreamExt;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

type Script = Arc<Mutex<VecDeque<(u16, String)>>>;
type Seen = Arc<Mutex<Vec<(String, String, String)>>>;

/// A server that gives these answers one after the other and notes method, path with query, and body. After the last it never answers.
fn server(answers: Vec<(u16, String)>) -> (KubeLease, Seen) {
    let script: Script = Arc::new(Mutex::new(answers.into()));
    let seen: Seen = Arc::default();
    let noted = Arc::clone(&seen);
    let service = tower::service_fn(move |request: Request<Body>| {
        let (script, noted) = (Arc::clone(&script), Arc::clone(&noted));
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
            noted.lock().unwrap().push((head.method.to_string(), path, String::from_utf8_lossy(&body).into_owned()));
            let next = script.lock().unwrap().pop_front();
            let Some((status, text)) = next else { return std::future::pending().await };
            let response = match text.strip_suffix("<open>") {
                // The connection stays open after these bytes.
                Some(text) => {
                    let first = futures::stream::iter([Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from(text.to_owned())))]);
                    Response::new(StreamBody::new(first.chain(futures::stream::pending())).boxed_unsync())
                }
                None => Response::new(Full::new(Bytes::from(text)).map_err(std::io::Error::other).boxed_unsync()),
            };
            let (mut head, body) = response.into_parts();
            head.status = StatusCode::from_u16(status).unwrap();
            Ok::<_, std::io::Error>(Response::from_parts(head, body))
        }
    });
    (KubeLease::new(kube::Client::new(service, "default"), "kube-system", "kube-controller-manager"), seen)
}

fn lease(version: &str, holder: &str) -> Value {
    json!({
        "kind": "Lease", "apiVersion": "coordination.k8s.io/v1",
        "metadata": {"name": "kube-controller-manager", "resourceVersion": version, "labels": {"l": "1"}},
        "spec": {"holderIdentity": holder, "fromTheFuture": true},
    })
}

fn status(code: u16, reason: &str) -> (u16, String) {
    (code, json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "m"}).to_string())
}

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";

#[tokio::test]
async fn requests_go_to_the_lease_and_carry_the_whole_document() {
    let answers = [lease("1", "a"), lease("2", "b"), lease("3", "c")].map(|lease| (200, lease.to_string()));
    let (client, seen) = server(answers.to_vec());
    let read = client.get().await.unwrap();
    assert_eq!((read.version.as_str(), read.record.holder.as_str()), ("1", "a"));
    let document = read.with(&Record { holder: "b".into(), ..read.record.clone() });
    assert_eq!(client.update(&document).await.unwrap().version, "2");
    assert_eq!(client.create(&document).await.unwrap().version, "3");
    let seen = seen.lock().unwrap().clone();
    let lines: Vec<_> = seen.iter().map(|(method, path, _)| format!("{method} {path}")).collect();
    assert_eq!(
        lines,
        [format!("GET {PATH}/kube-controller-manager"), format!("PUT {PATH}/kube-controller-manager"), format!("POST {PATH}")]
    );
    let sent: Value = serde_json::from_str(&seen[1].2).unwrap();
    assert_eq!(
        (&sent["metadata"]["labels"]["l"], &sent["metadata"]["resourceVersion"], &sent["spec"]["fromTheFuture"]),
        (&json!("1"), &json!("1"), &json!(true))
    );
}

#[tokio::test]
async fn refusals_are_told_apart_by_what_to_do() {
    let cases = [
        (status(404, "NotFound"), LeaseError::NotFound),
        (status(409, "Conflict"), LeaseError::Conflict),
        (status(409, "AlreadyExists"), LeaseError::AlreadyExists),
        (status(403, "Forbidden"), LeaseError::Other("403 Forbidden: m".into())),
    ];
    for (answer, expected) in cases {
        let (client, _) = server(vec![answer]);
        assert_eq!(client.get().await, Err(expected));
    }
    for text in ["", "garbage", "[]", "{\"kind\":\"Pod\",\"metadata\":{\"resourceVersion\":\"1\"}}"] {
        let (client, _) = server(vec![(200, text.to_owned())]);
        assert!(matches!(client.get().await, Err(LeaseError::Other(_))), "{text}");
    }
    let (client, _) = server(vec![(502, "<html>".to_owned())]);
    assert!(matches!(client.get().await, Err(LeaseError::Other(_))));
}

#[tokio::test(start_paused = true)]
async fn the_watch_shows_changes_and_begins_again_after_bounded_pauses() {
    let event = |kind: &str, object: Value| json!({"type": kind, "object": object}).to_string() + "\n";
    let first = event("ADDED", lease("1", "a"))
        + &event("BOOKMARK", json!({}))
        + &event("MODIFIED", lease("2", "b"))
        + &event("DELETED", lease("3", "b"));
    let answers = vec![
        (200, first),
        status(403, "Forbidden"),
        (500, "garbage".to_owned()),
        (200, event("ERROR", json!({"message": "too old"}))),
        (200, "no json\n".to_owned()),
        // Silent for too long: taken for dead.
        (200, event("ADDED", lease("4", "c")) + "<open>"),
        (200, event("ADDED", lease("5", "d")) + "<open>"),
    ];
    let (client, seen) = server(answers);
    let start = Instant::now();
    let mut hints = client.watch(Arc::new(|| 0.5));
    let mut got = Vec::new();
    while got.last().is_none_or(|hint: &String| hint != "d") {
        let hint = timeout(Duration::from_secs(300), hints.next()).await.expect("in time").expect("never ends");
        got.push(match hint {
            Hint::Seen(Lease { record, .. }) => record.holder,
            Hint::Look => "look".to_owned(),
        });
    }
    assert_eq!(got, ["a", "b", "look", "look", "look", "look", "c", "look", "d"]);
    assert!(start.elapsed() > Duration::from_secs(35) && start.elapsed() < Duration::from_secs(150), "{:?}", start.elapsed());
    let paths: Vec<_> = seen.lock().unwrap().iter().map(|(_, path, _)| path.clone()).collect();
    assert_eq!(paths, vec![format!("{PATH}?watch=true&fieldSelector=metadata.name%3Dkube-controller-manager&timeoutSeconds=450"); 7]);
}
