use super::*;

fn pace(options: PaceOptions) -> (Pace, usize) {
    let pace = Pace::new(options);
    let identity = pace.join();
    (pace, identity)
}

/// Keeps as many requests in flight as are let through, for `requests` requests that take `ms` (given their number) each.
async fn load(pace: &Pace, identity: usize, requests: u64, ms: impl Fn(u64) -> u64) {
    let one = async |n: u64| {
        let permit = pace.admit(identity).await;
        tokio::time::sleep(Duration::from_millis(ms(n))).await;
        permit.done("POST pods ", Ended::Done);
    };
    futures::future::join_all((0..requests).map(one)).await;
}

#[tokio::test(start_paused = true)]
async fn a_quick_server_gets_many_at_once_within_a_few_round_trips() {
    let (pace, id) = pace(PaceOptions::default());
    let start = Instant::now();
    load(&pace, id, 1000, |_| 5).await;
    assert_eq!(pace.limit(), 100);
    assert!(start.elapsed() < Duration::from_millis(100), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_becomes_slow_gets_fewer_at_once() {
    let (pace, id) = pace(PaceOptions::default());
    load(&pace, id, 1000, |_| 5).await;
    load(&pace, id, 500, |_| 400).await;
    assert!(pace.limit() <= 30, "{}", pace.limit());
}

#[tokio::test(start_paused = true)]
async fn latency_that_fluctuates_between_2_and_20_ms_does_not_throttle() {
    let (pace, id) = pace(PaceOptions::default());
    let mut lowest = usize::MAX;
    for round in 0..50 {
        load(&pace, id, 200, |n| 2 + (n * 7 + round * 13) % 19).await;
        lowest = lowest.min(pace.limit());
    }
    assert!(lowest >= 16, "{lowest}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_slow_by_itself_is_accepted() {
    let (pace, id) = pace(PaceOptions::default());
    load(&pace, id, 1000, |_| 5).await;
    // As with webhooks of 300 ms: no latency is won by asking for less.
    load(&pace, id, 2000, |_| 300).await;
    let start = Instant::now();
    load(&pace, id, 2000, |_| 300).await;
    assert!(pace.limit() > 16, "{}", pace.limit());
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

/// A server that works on four requests at a time, 30 ms each: more in flight only queue up.
#[tokio::test(start_paused = true)]
async fn a_saturated_server_is_kept_busy_without_a_long_queue() {
    let (pace, id) = pace(PaceOptions::default());
    let server = tokio::sync::Semaphore::new(4);
    let worst = Mutex::new(0);
    let one = async |n: u32| {
        let permit = pace.admit(id).await;
        let working = server.acquire().await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
        drop(working);
        permit.done("POST pods ", Ended::Done);
        if n > 300 {
            let mut worst = worst.lock().unwrap();
            *worst = (*worst).max(pace.limit());
        }
    };
    let start = Instant::now();
    futures::future::join_all((0..1000).map(one)).await;
    assert!(*worst.lock().unwrap() < 40, "{worst:?}");
    // 1000 requests, four at a time, 30 ms: 7.5 s at best.
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn quick_gets_do_not_make_slow_creates_look_worse() {
    let (pace, id) = pace(PaceOptions::default());
    for n in 0..600 {
        let permit = pace.admit(id).await;
        let (kind, ms) = if n % 2 == 0 { ("GET pods ", 1) } else { ("POST pods ", 500) };
        tokio::time::sleep(Duration::from_millis(ms)).await;
        permit.done(kind, Ended::Done);
    }
    assert!(pace.limit() >= 8, "{}", pace.limit());
}

#[tokio::test(start_paused = true)]
async fn time_outs_make_it_careful_and_quick_refusals_say_nothing() {
    let (pace, id) = pace(PaceOptions::default());
    for _ in 0..40 {
        pace.admit(id).await.done("POST pods ", Ended::Refused);
    }
    assert_eq!(pace.limit(), 8);
    for _ in 0..80 {
        let permit = pace.admit(id).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        permit.done("POST pods ", Ended::Silent);
    }
    assert_eq!(pace.limit(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_given_rate_is_kept() {
    let (pace, id) = pace(PaceOptions { qps: Some(20.0), burst: 30, ..Default::default() });
    let start = Instant::now();
    load(&pace, id, 130, |_| 0).await;
    let took = start.elapsed().as_secs_f64();
    assert!((4.9..5.2).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn rates_that_make_no_sense_limit_nothing_and_tiny_ones_do_not_overflow() {
    for qps in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let (pace, id) = pace(PaceOptions { qps: Some(qps), burst: 0, ..Default::default() });
        let start = Instant::now();
        load(&pace, id, 100, |_| 0).await;
        assert_eq!(start.elapsed(), Duration::ZERO, "{qps}");
    }
    let (pace, id) = pace(PaceOptions { qps: Some(1e-300), burst: 0, ..Default::default() });
    load(&pace, id, 3, |_| 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_waiter_does_not_take_the_place_with_it() {
    let (pace, id) = pace(PaceOptions { min_in_flight: 1.0, max_in_flight: 1.0, ..Default::default() });
    let held = pace.admit(id).await;
    for _ in 0..100 {
        assert!(tokio::time::timeout(Duration::from_millis(5), pace.admit(id)).await.is_err());
    }
    assert!(pace.state().waiting[id].len() <= 1, "those who gave up are forgotten");
    held.done("", Ended::Refused);
    tokio::time::timeout(Duration::from_secs(1), pace.admit(id)).await.expect("the place is free");
    // Let in, but given up while everybody waits.
    pace.admit(id).await.done("", Ended::Busy(Duration::from_secs(9)));
    assert!(tokio::time::timeout(Duration::from_secs(1), pace.admit(id)).await.is_err());
    tokio::time::sleep(Duration::from_secs(9)).await;
    tokio::time::timeout(Duration::from_secs(1), pace.admit(id)).await.expect("the place is free");
    assert_eq!(pace.state().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_permit_on_its_way_to_someone_who_left_comes_back() {
    let (pace, id) = pace(PaceOptions { min_in_flight: 1.0, max_in_flight: 1.0, ..Default::default() });
    let held = pace.admit(id).await;
    let mut waiting = Box::pin(pace.admit(id));
    assert!(futures::poll!(&mut waiting).is_pending());
    held.done("", Ended::Refused);
    assert_eq!(pace.state().in_flight, 1, "the permit is on its way");
    drop(waiting);
    assert_eq!(pace.state().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn retry_after_holds_everybody_back_and_counts_once() {
    let (pace, id) = pace(PaceOptions::default());
    let other = pace.join();
    let permits = futures::future::join_all((0..8).map(|_| pace.admit(id))).await;
    let start = Instant::now();
    permits.into_iter().for_each(|p| p.done("", Ended::Busy(Duration::from_secs(3))));
    assert_eq!(pace.limit(), 4);
    pace.admit(other).await.done("", Ended::Refused);
    assert_eq!(start.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn identities_take_turns_and_within_one_the_first_comes_first() {
    let (pace, busy) = pace(PaceOptions { min_in_flight: 1.0, max_in_flight: 1.0, ..Default::default() });
    let quiet = pace.join();
    let served = Mutex::new(Vec::new());
    let one = async |identity: usize, n: u32| {
        let permit = pace.admit(identity).await;
        served.lock().unwrap().push((identity, n));
        tokio::time::sleep(Duration::from_millis(1)).await;
        permit.done("", Ended::Done);
    };
    let many = futures::future::join_all((0..100).map(|n| one(busy, n)));
    futures::join!(many, one(quiet, 0));
    let served = served.into_inner().unwrap();
    assert!(served.iter().position(|s| *s == (quiet, 0)).unwrap() <= 2, "{served:?}");
    let own: Vec<u32> = served.iter().filter(|s| s.0 == busy).map(|s| s.1).collect();
    assert!(own.is_sorted());
}

#[test]
fn kinds_of_requests_carry_no_names() {
    assert_eq!(kind_of("POST", "/api/v1/namespaces/a/pods"), "POST pods ");
    assert_eq!(kind_of("DELETE", "/api/v1/namespaces/a/pods/x"), "DELETE pods ");
    assert_eq!(kind_of("PUT", "/apis/apps/v1/namespaces/a/replicasets/x/status"), "PUT replicasets status");
    assert_eq!(kind_of("GET", "/api/v1/namespaces/a"), "GET namespaces ");
    assert_eq!(kind_of("PUT", "/api/v1/namespaces/a/status"), "PUT namespaces status");
    assert_eq!(kind_of("GET", "/healthz"), "GET  ");
    assert_eq!(kind_of("GET", ""), "GET  ");
}
