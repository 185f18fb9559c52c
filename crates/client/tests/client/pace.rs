//! 429 and the shared pace, through the whole stack.

use std::time::Duration;

use evenkeel_client::{Api, ClientMetrics, PaceOptions};
use evenkeel_plan::FailureKind;
use http::Method;
use serde_json::json;

use crate::{
    server::{Reply, after},
    world::{assert_failed, create, leading, world, world_with},
};

fn busy(seconds: &'static str) -> Reply {
    Reply::Headed(429, "retry-after", seconds, json!({"kind": "Status", "reason": "TooManyRequests", "message": "the server is busy"}))
}

/// manager 3.1, reliability F10: 429 + Retry-After
#[tokio::test(start_paused = true)]
async fn a_429_is_obeyed_by_all_who_share_the_pace() {
    let mut refused = false;
    let world = world(move |seen, stored| {
        if !std::mem::replace(&mut refused, true) {
            return busy("7");
        }
        stored.answer(seen)
    });
    let other = Api::new(world.server.client(), "deployment-controller", world.pace.clone(), ClientMetrics::unregistered("host"));
    let later = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        other.call(Method::GET, "/api/v1/namespaces/ns/pods", "fieldSelector=metadata.name%3Dx", None).await
    };
    let (done, listed) = futures::join!(world.one(create("a")), later);
    assert!(done.answer().is_some(), "{done:?}");
    assert!(listed.is_ok());
    let times: Vec<u64> = world.server.seen().iter().map(|s| s.at.as_secs()).collect();
    assert_eq!(times, [0, 7, 7]);
    assert_eq!(world.server.count("POST"), 2, "a refused POST was not taken, so it is sent again");
}

/// manager 3.1
#[tokio::test(start_paused = true)]
async fn a_request_is_sent_again_ten_times_at_most() {
    let world = world(|_, _| busy("2"));
    assert_failed(&world.one(create("a")).await, FailureKind::Other, "the server is busy");
    let times: Vec<u64> = world.server.seen().iter().map(|s| s.at.as_secs()).collect();
    assert_eq!(times, (0..11).map(|n| 2 * n).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_429_without_a_usable_retry_after_waits_a_second() {
    for reply in [|| Reply::Json(429, json!({})), || Reply::Headed(429, "retry-after", "soon", json!({}))] {
        let mut first = true;
        let world = world(move |seen, stored| if std::mem::take(&mut first) { reply() } else { stored.answer(seen) });
        assert!(world.one(create("a")).await.answer().is_some());
        assert_eq!(world.server.seen()[1].at, Duration::from_secs(1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_of_days_does_not_stop_the_process_for_days() {
    let mut first = true;
    let world = world(move |seen, stored| if std::mem::take(&mut first) { busy("18446744073709551615") } else { stored.answer(seen) });
    assert!(world.one(create("a")).await.answer().is_some());
    assert_eq!(world.server.seen()[1].at, Duration::from_secs(300));
}

#[tokio::test(start_paused = true)]
async fn a_given_rate_caps_writes() {
    let options = PaceOptions { qps: Some(10.0), burst: 5, ..Default::default() };
    let world = world_with(options, leading(), |seen, stored| stored.answer(seen));
    let creates = (0..55).map(|n| create(&format!("web-{n}"))).collect();
    assert!(world.steps(&[creates]).await.all_done());
    let last = world.server.seen().last().unwrap().at.as_secs_f64();
    assert!((4.9..5.2).contains(&last), "{last}");
}

/// A pass that is given up takes nothing with it: the places of its requests are free again.
#[tokio::test(start_paused = true)]
async fn places_of_passes_that_are_dropped_come_back() {
    let world = world(|seen, stored| if seen.name().starts_with("stuck") { Reply::Never } else { stored.answer(seen) });
    for round in 0..20 {
        let steps = [(0..40).map(|n| create(&format!("stuck-{round}-{n}"))).collect()];
        assert!(tokio::time::timeout(Duration::from_millis(50), world.steps(&steps)).await.is_err());
    }
    let steps = [(0..40).map(|n| create(&format!("web-{n}"))).collect()];
    let outcome = tokio::time::timeout(Duration::from_secs(1), world.steps(&steps)).await.expect("there are places");
    assert!(outcome.all_done());
}

/// Latency under contention on a small machine is no reason to be slow.
#[tokio::test(start_paused = true)]
async fn noise_of_a_quick_server_lets_at_least_sixteen_be_in_flight() {
    let mut n = 0;
    let world = world(move |seen, stored| {
        n += 1;
        let reply = stored.answer(seen);
        after(2 + (n * 7) % 19, reply)
    });
    for round in 0..5 {
        let creates = (0..500).map(|n| create(&format!("web-{round}-{n}"))).collect();
        assert!(world.steps(&[creates]).await.all_done());
        assert!(world.pace.limit() >= 16, "{}", world.pace.limit());
    }
    assert!(world.server.most_busy() >= 16);
}
