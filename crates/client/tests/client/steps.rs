//! Order, slow start, and what happens after a failure.

use std::time::Duration;

use evenkeel_client::PaceOptions;
use evenkeel_plan::{Done, FailureKind, Outcome};

use crate::{
    server::{after, status},
    world::{World, create, delete, failure, leading, patch, stored, world, world_with},
};

/// A server that lets `permitted` creates through and denies the rest, each after a few ms.
fn quota(permitted: usize) -> World {
    let mut left = permitted;
    world(move |seen, stored| {
        if seen.method == "POST" && left == 0 {
            return after(5, status(403, "Forbidden", "exceeded quota"));
        }
        left -= 1;
        let reply = stored.answer(seen);
        // The later, the quicker: answers come out of order.
        after(5 + 3 * (left as u64 % 7), reply)
    })
}

fn creates(count: usize) -> Vec<evenkeel_plan::Write> {
    (0..count).map(|n| create(&format!("web-{n}"))).collect()
}

fn counts(outcome: &Outcome) -> (usize, usize, usize) {
    let step = &outcome.steps[0];
    let count = |f: fn(&Done) -> bool| step.iter().filter(|d| f(d)).count();
    (count(|d| d.answer().is_some()), count(|d| d.failure().is_some()), count(|d| *d == Done::Skipped))
}

/// workloads 3.5
#[tokio::test(start_paused = true)]
async fn of_100_creates_with_10_permitted_at_most_15_are_sent() {
    let world = quota(10);
    let outcome = world.steps(&[creates(100)]).await;
    assert!(world.server.seen().len() <= 15, "{}", world.server.seen().len());
    let (done, failed, skipped) = counts(&outcome);
    assert_eq!((done, done + failed + skipped), (10, 100));
    assert_eq!(outcome.first_failure().unwrap().message, "exceeded quota");
}

/// workloads 3.5
#[tokio::test(start_paused = true)]
async fn creates_that_all_fail_cost_one_call() {
    let world = quota(0);
    let outcome = world.steps(&[creates(100)]).await;
    assert_eq!((world.server.seen().len(), counts(&outcome)), (1, (0, 1, 99)));
}

#[tokio::test(start_paused = true)]
async fn creates_that_succeed_open_up() {
    let world = quota(500);
    let start = tokio::time::Instant::now();
    let outcome = world.steps(&[creates(500)]).await;
    assert_eq!(counts(&outcome), (500, 0, 0));
    assert!(world.server.most_busy() >= 32, "{}", world.server.most_busy());
    assert!(start.elapsed() < Duration::from_millis(700), "{:?}", start.elapsed());
    // 1, 2, 4 and 8 at a time first.
    let early = world.server.seen().iter().filter(|s| s.at < Duration::from_millis(5)).count();
    assert_eq!(early, 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_in_the_last_batch_no_more_are_started() {
    let world = quota(100);
    let outcome = world.steps(&[creates(500)]).await;
    let (done, failed, skipped) = counts(&outcome);
    assert_eq!(done, 100);
    assert!(failed <= 64, "{failed} were under way at once");
    assert_eq!(done + failed + skipped, 500);
    assert_eq!(world.server.seen().len(), done + failed);
}

/// Not even those that wait for the pace already.
#[tokio::test(start_paused = true)]
async fn after_a_failure_creates_that_wait_for_the_pace_do_not_leave() {
    let mut left = 20;
    let pace = PaceOptions { max_in_flight: 2.0, ..Default::default() };
    let world = world_with(pace, leading(), move |seen, stored| {
        if left == 0 {
            return after(5, status(403, "Forbidden", "exceeded quota"));
        }
        left -= 1;
        let reply = stored.answer(seen);
        after(5, reply)
    });
    let outcome = world.steps(&[creates(100)]).await;
    let (done, failed, skipped) = counts(&outcome);
    assert_eq!((done, done + failed + skipped), (20, 100));
    assert!(failed <= 2, "{failed}");
}

#[tokio::test(start_paused = true)]
async fn outcomes_come_in_the_order_of_the_plan() {
    let world = quota(500);
    let outcome = world.steps(&[creates(200)]).await;
    let uids: Vec<String> = outcome.steps[0].iter().map(|d| d.answer().unwrap().uid.to_string()).collect();
    assert_eq!(uids, (0..200).map(|n| format!("uid-web-{n}")).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn steps_run_one_after_the_other_and_later_ones_are_skipped_after_a_failure() {
    let world = world(|seen, stored| {
        if seen.method == "PATCH" && seen.path.ends_with("/b") {
            return status(403, "Forbidden", "no");
        }
        let reply = stored.answer(seen);
        after(10, reply)
    });
    for name in ["a", "b", "c", "d"] {
        world.server.store(&format!("/api/v1/namespaces/ns/pods/{name}"), stored(name, "owner"));
    }
    let steps = [vec![delete("d")], vec![], vec![patch("a"), patch("b"), patch("c")], vec![create("x"), create("y")], vec![delete("a")]];
    let outcome = world.steps(&steps).await;
    assert_eq!(outcome.steps.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0, 3, 2, 1]);
    assert!(outcome.steps[2][0].answer().is_some() && outcome.steps[2][2].answer().is_some(), "writes of one step run side by side");
    assert_eq!(failure(&outcome.steps[2][1]).kind, FailureKind::Forbidden);
    assert_eq!((&outcome.steps[3][..], &outcome.steps[4][..]), (&[Done::Skipped, Done::Skipped][..], &[Done::Skipped][..]));
    assert_eq!(world.server.seen().iter().map(|s| s.at.as_millis()).collect::<Vec<_>>(), [0, 10, 10, 10]);
}

/// A step of ten thousand writes holds open no more than a few at once.
#[tokio::test(start_paused = true)]
async fn a_step_of_ten_thousand_holds_few_open() {
    let world = quota(10_000);
    let outcome = world.steps(&[creates(10_000)]).await;
    assert_eq!(counts(&outcome), (10_000, 0, 0));
    assert!(world.server.most_busy() <= 64, "{}", world.server.most_busy());
}

#[tokio::test(start_paused = true)]
async fn an_empty_plan_sends_nothing() {
    let world = quota(0);
    assert_eq!(world.steps(&[]).await, Outcome::default());
    assert_eq!(world.steps(&[vec![], vec![]]).await.steps, [vec![], vec![]]);
    assert!(world.server.seen().is_empty());
}
