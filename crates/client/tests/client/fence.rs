//! Nothing leaves without leadership, nor at or after its end (reliability D-5).

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use evenkeel_client::{Fence, PaceOptions};
use evenkeel_plan::{Done, FailureKind};
use http::Method;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    server::{Reply, after},
    world::{World, create, delete, failure, world_with},
};

fn one_at_a_time() -> PaceOptions {
    PaceOptions { min_in_flight: 1.0, max_in_flight: 1.0, ..Default::default() }
}

fn until(at: Instant) -> Fence {
    Arc::new(move || Some(at))
}

fn fenced(done: &Done) -> bool {
    failure(done).kind == FailureKind::Fenced
}

#[tokio::test(start_paused = true)]
async fn without_leadership_nothing_is_sent() {
    let world = world_with(PaceOptions::default(), Arc::new(|| None), |_, _| panic!("sent"));
    let outcome = world.steps(&[vec![create("a"), create("b")], vec![delete("c")]]).await;
    assert!(fenced(&outcome.steps[0][0]));
    assert_eq!(outcome.steps[1], [Done::Skipped]);
    let past = world_with(PaceOptions::default(), until(Instant::now()), |_, _| panic!("sent"));
    assert!(fenced(&past.one(delete("a")).await));
    assert_eq!(past.behind(), None);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_leadership_bounds_the_time_out_and_the_servers() {
    let world =
        world_with(PaceOptions::default(), until(Instant::now() + Duration::from_secs(4)), |seen, stored| match seen.method.as_str() {
            "POST" => Reply::Never,
            _ => stored.answer(seen),
        });
    let done = world.one(create("a")).await;
    assert_eq!(failure(&done).message, "no answer within 4s");
    let seen = world.server.seen();
    assert_eq!(seen[0].parameter("timeout"), Some("3600ms"), "the server gives up first");
    assert_eq!((seen[1].method.as_str(), seen[1].at), ("GET", Duration::from_secs(4)), "reading is allowed to everybody");
}

/// A server that answers a GET of `/slow` after `ms`, in front of whom writes wait for the only place.
fn behind_a_slow_one(fence: Fence, ms: u64) -> World {
    world_with(one_at_a_time(), fence, move |seen, stored| match seen.path.as_str() {
        "/slow" => after(ms, Reply::Json(200, json!({}))),
        _ => stored.answer(seen),
    })
}

#[tokio::test(start_paused = true)]
async fn a_write_that_waits_for_the_pace_does_not_leave_after_the_end() {
    let world = behind_a_slow_one(until(Instant::now() + Duration::from_secs(3)), 20_000);
    let start = Instant::now();
    let write = async {
        let done = world.one(create("a")).await;
        (done, start.elapsed())
    };
    let (_, (done, took)) = futures::join!(world.api.call(Method::GET, "/slow", "", None), write);
    assert!(fenced(&done));
    assert_eq!(took, Duration::from_secs(3), "it gives up at the end, not when its turn comes");
    assert_eq!(world.server.count("POST"), 0);
    // The place that it waited for is not lost.
    assert!(world.api.call(Method::GET, "/slow", "", None).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_write_that_waits_for_the_pace_leaves_while_leadership_is_renewed() {
    let world = behind_a_slow_one(Arc::new(|| Some(Instant::now() + Duration::from_secs(3))), 20_000);
    let (_, done) = futures::join!(world.api.call(Method::GET, "/slow", "", None), world.one(create("a")));
    assert!(done.answer().is_some(), "{done:?}");
    assert_eq!(world.server.seen()[1].at, Duration::from_secs(20));
}

#[tokio::test(start_paused = true)]
async fn leadership_lost_while_everybody_waits_for_retry_after_sends_nothing() {
    let leads = Arc::new(Mutex::new(true));
    let asked = leads.clone();
    let fence: Fence = Arc::new(move || asked.lock().unwrap().then(|| Instant::now() + Duration::from_secs(2)));
    let world = world_with(PaceOptions::default(), fence, |_, _| Reply::Headed(429, "retry-after", "10", json!({})));
    let lose = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        *leads.lock().unwrap() = false;
    };
    let (done, ()) = futures::join!(world.one(create("a")), lose);
    assert!(fenced(&done));
    assert_eq!(world.server.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_does_not_begin_in_the_last_moment() {
    let world = world_with(PaceOptions::default(), until(Instant::now() + Duration::from_millis(9)), |_, _| panic!("sent"));
    assert!(fenced(&world.one(create("a")).await));
}
