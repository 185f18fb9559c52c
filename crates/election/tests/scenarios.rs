//! Scenarios 9-19 of manager 16, on an in-memory server under a paused clock.

mod fake;

use std::time::Duration;

use evenkeel_election::{Ended, OnLoss, State};
use fake::{Fault, MS, Options, SEC, Server, candidate, faults, led_by_a, plain, watching};
use jiff::SignedDuration;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

/// manager 16.9; fields as in manager 5.2.
#[tokio::test(start_paused = true)]
async fn without_a_lease_one_is_created_and_an_event_says_so() {
    let server = Server::default();
    let a = plain(&server, "a");
    assert_eq!((a.state(), a.master_status()), (State::Standby, 0.0));
    a.lead().await;
    let mut lease = server.lease().unwrap();
    assert_eq!(lease["metadata"].take(), json!({"name": "kube-controller-manager", "namespace": "kube-system", "resourceVersion": "1"}));
    assert_eq!(
        lease["spec"],
        json!({
            "holderIdentity": "a", "leaseTransitions": 0, "leaseDurationSeconds": 15,
            "acquireTime": "2026-01-01T00:00:00.002000Z", "renewTime": "2026-01-01T00:00:00.002000Z",
        })
    );
    assert_eq!(a.events(), ["a became leader"]);
    assert_eq!((a.may_write(), a.master_status()), (true, 1.0));
}

/// manager 16.10, by polling alone, whatever chance says.
#[tokio::test(start_paused = true)]
async fn a_standby_takes_over_from_a_killed_leader_after_the_lease_duration() {
    for chance in [0.0, 0.3, 0.999] {
        for life in [10_000, 10_700, 11_900] {
            let server = Server::default();
            let a = plain(&server, "a");
            a.lead().await;
            let acquired = server.spec("acquireTime");
            let b = candidate(&server, "b", Options { chance: Box::new(move || chance), ..Options::default() });
            sleep(life * MS).await;
            a.task.abort();
            let renewed = server.last_write("a");
            let b_leads = b.lead().await;
            let sighted = server.log().iter().find(|e| e.who == "b" && e.at >= renewed).unwrap().at;
            let waited = b_leads - sighted;
            assert!(waited >= 15 * SEC && waited <= 15 * SEC + 4400 * MS, "chance {chance}: {waited:?}");
            assert_eq!(server.spec("leaseTransitions"), 1);
            assert_ne!(server.spec("acquireTime"), acquired);
            assert_eq!(server.holder(), "b");
        }
    }
}

/// reliability LE-2: with a watch, within lease duration + retry period + 1 s of the kill.
#[tokio::test(start_paused = true)]
async fn a_watching_standby_takes_over_within_eighteen_seconds_of_a_kill() {
    for chance in [0.0, 0.999] {
        let server = Server::default();
        let a = plain(&server, "a");
        a.lead().await;
        let b = candidate(&server, "b", Options { hints: true, chance: Box::new(move || chance), ..Options::default() });
        sleep(9 * SEC).await;
        a.task.abort();
        let killed = Instant::now();
        let renewed = server.last_write("a");
        let led = b.lead().await;
        assert!(led - killed <= 18 * SEC && led - renewed >= 15 * SEC, "{:?} after the kill", led - killed);
    }
}

/// manager 16.11.
#[tokio::test(start_paused = true)]
async fn a_new_standby_waits_a_whole_lease_duration_after_its_own_first_sight() {
    let server = Server::default();
    server.edit(|lease| {
        lease["spec"] =
            json!({"holderIdentity": "dead", "leaseDurationSeconds": 15, "renewTime": "2020-01-01T00:00:00.000000Z", "leaseTransitions": 7});
    });
    for hints in [false, true] {
        let start = Instant::now();
        let b = candidate(&server, "b", Options { hints, ..Options::default() });
        let waited = b.lead().await - start;
        assert!(waited >= 15 * SEC && waited <= 15 * SEC + 4400 * MS, "{waited:?}");
        server.edit(|lease| lease["spec"]["holderIdentity"] = json!("dead"));
        b.task.abort();
    }
    assert_eq!(server.spec("leaseTransitions"), 9);
}

/// manager 16.12.
#[tokio::test(start_paused = true)]
async fn a_lease_without_holder_is_taken_at_the_next_attempt() {
    let server = Server::default();
    server.edit(|lease| lease["spec"] = json!({"holderIdentity": "", "leaseDurationSeconds": 1, "leaseTransitions": 4}));
    let start = Instant::now();
    let b = plain(&server, "b");
    assert!(b.lead().await - start < 10 * MS);
    assert_eq!(server.spec("leaseTransitions"), 5);
}

/// manager 16.13.
#[tokio::test(start_paused = true)]
async fn a_steady_leader_sends_one_put_and_no_get_every_two_seconds() {
    for hints in [false, true] {
        let server = Server::default();
        let a = candidate(&server, "a", Options { hints, ..Options::default() });
        let led = a.lead().await;
        let fixed = (server.spec("acquireTime"), server.spec("leaseTransitions"));
        sleep(SEC).await;
        let mut renewed = server.spec("renewTime");
        for _ in 0..100 {
            sleep(2002 * MS).await;
            let now = server.spec("renewTime");
            assert_ne!(std::mem::replace(&mut renewed, now.clone()), now);
            assert!(a.may_write());
        }
        assert_eq!(server.verbs_since(led, "a"), vec!["PUT"; 100]);
        assert_eq!((server.spec("acquireTime"), server.spec("leaseTransitions")), fixed);
        assert_eq!(a.slow_paths(), 0.0);
    }
}

/// manager 16.14.
#[tokio::test(start_paused = true)]
async fn a_label_set_by_somebody_else_costs_one_slow_path_and_survives() {
    let (server, a) = led_by_a().await;
    sleep(SEC).await;
    let now = Instant::now();
    server.edit(|lease| lease["metadata"]["labels"] = json!({"team": "x"}));
    sleep(2 * SEC).await;
    assert_eq!(server.verbs_since(now, "a"), ["PUT!", "GET", "PUT"]);
    sleep(20 * SEC).await;
    assert_eq!(server.lease().unwrap()["metadata"]["labels"], json!({"team": "x"}));
    assert_eq!((a.slow_paths(), a.events()), (1.0, vec!["a became leader".to_owned()]));
    assert!(a.leads() && a.may_write());
}

/// manager 16.15. Upstream tries until its deadline; we stop writing as soon as we see the other holder.
#[tokio::test(start_paused = true)]
async fn a_leader_that_sees_another_holder_stops_leading() {
    let server = Server::default();
    let a = candidate(&server, "a", Options { change: |config| config.on_loss = OnLoss::End, ..Options::default() });
    a.lead().await;
    sleep(5 * SEC).await;
    let deadline = server.last_write("a") + 10 * SEC;
    server.edit(|lease| lease["spec"]["holderIdentity"] = json!("other"));
    assert_eq!(a.task.await.unwrap(), Ended::Lost);
    assert!(Instant::now() <= deadline);
    assert_eq!(server.holder(), "other", "the other's lease is left alone");
    let events = a.events.lock().unwrap().clone();
    assert_eq!(events, ["a became leader", "a stopped leading"]);
}

/// manager 16.16, with requests that fail at once and with requests that hang.
#[tokio::test(start_paused = true)]
async fn a_leader_cut_off_from_the_server_ends_at_its_deadline() {
    for fault in [Fault::Refused, Fault::LostOnTheWay] {
        let server = Server::default();
        let start = Instant::now();
        let faults = faults(move |_| if start.elapsed() < 7 * SEC { Fault::Delay(MS, MS) } else { fault.clone() });
        let a = candidate(&server, "a", Options { faults, change: |config| config.on_loss = OnLoss::End, ..Options::default() });
        a.lead().await;
        let fence = a.handle().fence();
        let mut last_write = None;
        while !a.task.is_finished() {
            if fence.check().is_ok() {
                last_write = Some(Instant::now());
            }
            sleep(MS).await;
        }
        let renewed = server.last_write("a");
        let ended = Instant::now() - renewed;
        assert!(ended >= 10 * SEC - 2 * MS && ended <= 12 * SEC, "{ended:?}");
        assert!(last_write.unwrap() <= renewed + 10 * SEC);
        assert_eq!(a.task.await.unwrap(), Ended::Lost);
        assert_eq!(server.holder(), "a");
    }
}

/// manager 16.17.
#[tokio::test(start_paused = true)]
async fn wall_clocks_ten_minutes_apart_change_nothing() {
    for minutes in [-10, 10] {
        let server = Server::default();
        let a = plain(&server, "a");
        a.lead().await;
        let b = candidate(&server, "b", Options { wall_off: SignedDuration::from_mins(minutes), ..Options::default() });
        sleep(60 * SEC).await;
        assert!(a.leads() && !b.leads());
        a.task.abort();
        let renewed = server.last_write("a");
        let waited = b.lead().await - renewed;
        assert!(waited >= 15 * SEC && waited <= 24 * SEC, "{waited:?}");
    }
}

/// manager 16.18; sooner than upstream: reliability LE-3.
#[tokio::test(start_paused = true)]
async fn a_hung_leader_fails_its_health_check() {
    let server = Server::default();
    let a = plain(&server, "a");
    let health = a.handle().health();
    assert_eq!(health.check(), Ok(()), "a standby is healthy");
    a.lead().await;
    sleep(5 * SEC).await;
    a.power.stop_for(36 * SEC);
    sleep(9 * SEC).await;
    assert_eq!(health.check(), Ok(()), "it still leads");
    sleep(6 * SEC).await;
    assert_eq!(health.check(), Err("failed election to renew leadership on lease kube-controller-manager".to_owned()));
    sleep(20 * SEC).await;
    assert!(health.check().is_err());
    sleep(10 * SEC).await;
    assert_eq!(health.check(), Ok(()), "it stands by or leads again");
}

/// manager 16.19, by polling alone; design: only after the workers are drained.
#[tokio::test(start_paused = true)]
async fn a_stopped_leader_releases_the_lease_and_a_standby_leads_within_one_retry() {
    let (server, a) = led_by_a().await;
    let b = plain(&server, "b");
    sleep(7 * SEC).await;
    a.handle().drain();
    sleep(30 * SEC).await;
    assert!(a.leads() && a.may_write(), "it leads while its workers finish");
    let fence = a.handle().fence();
    a.handle().drained();
    let drained = Instant::now();
    assert_eq!(a.task.await.unwrap(), Ended::Released);
    assert!(fence.check().is_err());
    assert_eq!(
        (server.spec("holderIdentity"), server.spec("leaseDurationSeconds"), server.spec("leaseTransitions")),
        (json!(""), json!(1), json!(0))
    );
    assert!(b.lead().await - drained <= 4400 * MS);
    assert_eq!(server.spec("leaseTransitions"), 1);
}

/// reliability LE-2.
#[tokio::test(start_paused = true)]
async fn a_watching_standby_leads_within_a_second_of_the_release() {
    for delay in (0..2200).step_by(97) {
        let server = Server::default();
        let a = plain(&server, "a");
        a.lead().await;
        let b = watching(&server, "b");
        sleep(5 * SEC + Duration::from_millis(delay)).await;
        a.handle().drained();
        let drained = Instant::now();
        let waited = timeout(SEC, b.lead()).await.expect("within a second") - drained;
        assert!(waited < 300 * MS, "{waited:?}");
        assert_eq!(a.task.await.unwrap(), Ended::Released);
    }
}
