//! A POST is never sent twice, and an unknown outcome is resolved by a live list.

use bytes::Bytes;
use evenkeel_plan::{Done, FailureKind};
use serde_json::json;

use crate::{
    server::{Reply, Seen, Stored, after, status},
    world::{PODS_PATH, World, assert_failed, create, failure, stored, world},
};

/// A server that treats POSTs as told, and answers the rest as it should.
fn posts(mut treat: impl FnMut(&Seen, &mut Stored) -> Reply + Send + 'static) -> World {
    world(move |seen, stored| if seen.method == "POST" { treat(seen, stored) } else { stored.answer(seen) })
}

/// Nothing was done; the answer did not say so. One POST, one list, a failure in the server's words.
async fn not_done(treat: impl FnMut(&Seen, &mut Stored) -> Reply + Send + 'static, message: &str) {
    let world = posts(treat);
    let done = world.one(create("web-a")).await;
    assert_failed(&done, FailureKind::Other, message);
    assert_eq!(world.server.lines(), [format!("POST {PODS_PATH}"), format!("GET {PODS_PATH}?metadata.name%3Dweb-a")]);
    assert_eq!(world.behind(), world.pods_at_the_servers_version());
}

/// It was done; the answer did not say so. One POST, one list, and the object is known to be there.
async fn done_all_the_same(mut treat: impl FnMut() -> Reply + Send + 'static) {
    let world = posts(move |seen, stored| {
        stored.answer(seen);
        treat()
    });
    let done = world.one(create("web-a")).await;
    let Done::Existed(answer) = &done else { panic!("{done:?}") };
    assert_eq!(answer.uid.to_string(), "uid-web-a");
    assert_eq!(world.server.lines(), [format!("POST {PODS_PATH}"), format!("GET {PODS_PATH}?metadata.name%3Dweb-a")]);
    assert_eq!(world.behind(), world.pods_at_the_servers_version());
}

/// reliability F10: 500
#[tokio::test(start_paused = true)]
async fn a_post_answered_500_is_sent_once() {
    not_done(|_, _| status(500, "InternalError", "failed calling webhook"), "failed calling webhook").await;
    done_all_the_same(|| status(500, "InternalError", "etcdserver: request timed out")).await;
}

/// reliability F10: 503; `Retry-After` changes nothing.
#[tokio::test(start_paused = true)]
async fn a_post_answered_503_is_sent_once() {
    not_done(|_, _| status(503, "ServiceUnavailable", "not ready"), "not ready").await;
    done_all_the_same(|| Reply::Headed(503, "retry-after", "1", json!({"kind": "Status", "message": "try again"}))).await;
}

/// reliability F10: 504
#[tokio::test(start_paused = true)]
async fn a_post_answered_504_is_sent_once() {
    not_done(|_, _| status(504, "Timeout", "request did not complete"), "request did not complete").await;
    done_all_the_same(|| status(504, "Timeout", "request did not complete")).await;
}

/// reliability F10: reset before and after the commit
#[tokio::test(start_paused = true)]
async fn a_post_cut_off_is_sent_once() {
    not_done(|_, _| Reply::Reset, "ServiceError: connection reset by peer").await;
    done_all_the_same(|| Reply::Reset).await;
    done_all_the_same(|| after(3000, Reply::Reset)).await;
}

/// reliability F10: time-out before and after the commit, slow body
#[tokio::test(start_paused = true)]
async fn a_post_that_is_not_answered_in_time_is_sent_once() {
    not_done(|_, _| Reply::Never, "no answer within 30s").await;
    done_all_the_same(|| Reply::Never).await;
    done_all_the_same(|| Reply::Stalls).await;
}

#[tokio::test(start_paused = true)]
async fn a_post_answered_201_with_garbage_is_sent_once() {
    for garbage in ["", "<html>", "{\"kind\": \"Pod\"", "[]", "null", "{\"metadata\": {}}"] {
        done_all_the_same(move || Reply::Raw(201, Bytes::from(garbage))).await;
        not_done(move |_, _| Reply::Raw(201, Bytes::from(garbage)), "the server answered with something that is no object").await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_ends_growing_is_given_up_and_the_post_sent_once() {
    done_all_the_same(|| Reply::Raw(201, Bytes::from(vec![b' '; (16 << 20) + 1]))).await;
}

/// reliability 1, row 8
#[tokio::test(start_paused = true)]
async fn an_unknown_create_that_finds_a_foreign_object_has_failed() {
    let world = posts(|_, _| Reply::Reset);
    world.server.store(&format!("{PODS_PATH}/web-a"), stored("web-a", "somebody-else"));
    let done = world.one(create("web-a")).await;
    assert_eq!(failure(&done).kind, FailureKind::AlreadyExists);
    assert_eq!(world.server.count("POST"), 1);
}

/// reliability 1, row 3: a timed-out create is never swallowed, not even when nothing can be read.
#[tokio::test(start_paused = true)]
async fn an_unknown_create_whose_live_list_fails_too_is_a_failure_with_both_reasons() {
    let world = world(|seen, _| if seen.method == "POST" { Reply::Never } else { status(403, "Forbidden", "no list for you") });
    let done = world.one(create("web-a")).await;
    assert_failed(&done, FailureKind::Other, "no answer within 30s; then: no list for you");
    assert_eq!(world.server.count("POST"), 1);
}

#[tokio::test(start_paused = true)]
async fn the_live_read_is_a_list_because_stock_roles_grant_no_get_of_pods() {
    let world = posts(|_, _| Reply::Reset);
    world.one(create("web-a")).await;
    let read = &world.server.seen()[1];
    assert_eq!((read.method.as_str(), read.path.as_str()), ("GET", PODS_PATH));
    // No resourceVersion: the server answers from its newest state.
    assert_eq!(read.query, "fieldSelector=metadata.name%3Dweb-a");
}
