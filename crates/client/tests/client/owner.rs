//! The recheck of an owner before adoption (workloads 1.6.1).

use evenkeel_api::{Key, REPLICA_SETS, Uid};
use evenkeel_plan::{Done, FailureKind, Target, Write};

use crate::{
    server::{Reply, status},
    world::{SET_PATH, World, assert_failed, patch, set, world},
};

fn confirm() -> Write {
    Write::ConfirmOwner { target: Target { kind: &REPLICA_SETS, key: Key::new("ns", "web"), uid: Uid::new("uid-web"), version: None } }
}

fn working() -> World {
    world(|seen, stored| stored.answer(seen))
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_is_alive_lets_the_adoption_through() {
    let world = working();
    world.server.store(SET_PATH, set());
    world.server.store("/api/v1/namespaces/ns/pods/a", crate::world::stored("a", "nobody"));
    let outcome = world.steps(&[vec![confirm()], vec![patch("a")]]).await;
    assert!(outcome.all_done(), "{outcome:?}");
    // A GET without a resourceVersion: the newest state, not what some cache has.
    let read = &world.server.seen()[0];
    assert_eq!((read.method.as_str(), read.path.as_str(), read.query.as_str()), ("GET", SET_PATH, ""));
}

#[tokio::test(start_paused = true)]
async fn an_owner_with_another_uid_is_gone_and_nothing_is_adopted() {
    let world = working();
    let mut other = set();
    other["metadata"]["uid"] = "another-life".into();
    world.server.store(SET_PATH, other);
    let outcome = world.steps(&[vec![confirm()], vec![patch("a")]]).await;
    assert_failed(&outcome.steps[0][0], FailureKind::OwnerGone, "original ReplicaSet ns/web is gone: got uid another-life, wanted uid-web");
    assert_eq!(outcome.steps[1], [Done::Skipped]);
    assert_eq!(world.server.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_is_being_deleted_adopts_nothing() {
    let world = working();
    let mut going = set();
    going["metadata"]["deletionTimestamp"] = "2026-02-03T04:05:06Z".into();
    world.server.store(SET_PATH, going);
    assert_failed(&world.one(confirm()).await, FailureKind::OwnerGone, "ns/web has just been deleted at 2026-02-03T04:05:06Z");
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_is_not_there_adopts_nothing() {
    let message = format!("can't recheck DeletionTimestamp: {SET_PATH} not found");
    assert_failed(&working().one(confirm()).await, FailureKind::OwnerGone, &message);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_cannot_be_read_adopts_nothing_and_is_not_called_gone() {
    let garbage = "can't recheck DeletionTimestamp: the server answered with something that is no object";
    for text in ["", "<html>", "[]", "{\"metadata\": {\"uid\": 3}}"] {
        assert_failed(&world(move |_, _| Reply::Raw(200, text.into())).one(confirm()).await, FailureKind::Other, garbage);
    }
    let refused = world(|_, _| status(403, "Forbidden", "no get for you"));
    assert_failed(&refused.one(confirm()).await, FailureKind::Forbidden, "can't recheck DeletionTimestamp: no get for you");
    let failing = world(|_, _| status(500, "InternalError", "boom"));
    assert_failed(&failing.one(confirm()).await, FailureKind::Other, "can't recheck DeletionTimestamp: boom");
    let silent = world(|_, _| Reply::Never);
    assert_failed(&silent.one(confirm()).await, FailureKind::Other, "can't recheck DeletionTimestamp: no answer within 30s");
    assert_eq!(silent.server.seen().len(), 1);
}
