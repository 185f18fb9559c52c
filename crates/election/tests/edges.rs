//! What else can happen to a candidate (reliability F13), each under a paused clock.

mod fake;

use evenkeel_election::{ElectionConfig, Elector, Ended, Hint, Lease, OnLoss, State, Timings};
use fake::{Fault, MS, Options, SEC, Server, always, candidate, faults, healthy, led_by_a, plain, watching, with_faults};
use serde_json::json;
use tokio::time::{Instant, sleep};

/// The faults of requests number 0, 1, 2, …; healthy afterwards.
fn script<const N: usize>(script: [Option<Fault>; N]) -> fake::Faults {
    let mut script = script.into_iter();
    faults(move |_| script.next().flatten().unwrap_or(Fault::Delay(MS, MS)))
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_means_standing_by_and_leading_again_when_the_server_is_back() {
    let server = Server::default();
    let start = Instant::now();
    let outage = faults(move |_| if (5..40).contains(&start.elapsed().as_secs()) { Fault::LostOnTheWay } else { Fault::Delay(MS, MS) });
    let a = with_faults(&server, "a", outage);
    a.lead().await;
    let first_term = a.handle().fence().for_this_term();
    a.until(|state| *state == State::Standby).await;
    assert_eq!((a.may_write(), a.master_status()), (false, 0.0));
    assert!(a.handle().health().check().is_ok(), "it is a candidate and tries");
    let led = a.lead().await - start;
    assert!(led >= 40 * SEC && led <= 50 * SEC, "{led:?}");
    assert!(a.may_write() && first_term.check().is_err());
    assert!(matches!(a.state(), State::Leading { term: 2, .. }));
    assert_eq!(a.events(), ["a became leader", "a stopped leading", "a became leader"]);
    assert_eq!(server.spec("leaseTransitions"), 0, "the same process renewed its own lease");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_whose_answer_was_lost_is_recognised_as_our_own() {
    let server = Server::default();
    // GET, POST, then the first renewal.
    let a = with_faults(&server, "a", script([None, None, Some(Fault::AnswerLost)]));
    a.lead().await;
    let now = Instant::now();
    sleep(9 * SEC).await;
    assert_eq!(server.verbs_since(now, "a"), ["PUT", "GET", "PUT"], "5 s without answer, then the slow path");
    assert_eq!((a.slow_paths(), a.events().len()), (1.0, 1));
    assert!(a.may_write());
}

#[tokio::test(start_paused = true)]
async fn a_first_write_whose_answer_was_lost_still_leads_to_leadership() {
    let server = Server::default();
    let a = with_faults(&server, "a", script([None, Some(Fault::AnswerLost)]));
    let start = Instant::now();
    a.lead().await;
    assert!(start.elapsed() <= 10 * SEC);
    assert_eq!(server.spec("leaseTransitions"), 0);
    assert_eq!(a.events(), ["a became leader"]);
}

#[tokio::test(start_paused = true)]
async fn the_fence_counts_from_when_the_renewal_was_sent() {
    let server = Server::default();
    let a = with_faults(&server, "a", script([None, None, Some(Fault::Delay(MS, 4900 * MS))]));
    a.lead().await;
    let sent = Instant::now() + 2 * SEC;
    sleep(7 * SEC).await;
    assert_eq!(a.handle().fence().deadline(), Some(sent + 10 * SEC));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_after_the_deadline_does_not_make_a_leader() {
    let server = Server::default();
    let a = with_faults(&server, "a", script([None, Some(Fault::Delay(MS, SEC))]));
    sleep(10 * MS).await;
    a.power.stop_for(30 * SEC);
    sleep(30 * SEC).await;
    assert!(!a.leads() && !a.may_write());
    a.lead().await;
    assert_eq!(a.events(), ["a became leader"]);
}

/// reliability F13: foreign deletion.
#[tokio::test(start_paused = true)]
async fn a_deleted_lease_is_created_again_by_its_leader() {
    let server = Server::default();
    let a = plain(&server, "a");
    let b = candidate(&server, "b", Options { hints: false, ..Options::default() });
    a.lead().await;
    sleep(SEC).await;
    server.delete();
    sleep(60 * SEC).await;
    assert_eq!(i32::from(a.leads()) + i32::from(b.leads()), 1);
    assert_eq!(server.holder(), if a.leads() { "a" } else { "b" });
}

#[tokio::test(start_paused = true)]
async fn of_a_deleted_lease_only_one_candidate_becomes_the_holder() {
    let (server, a) = led_by_a().await;
    let b = watching(&server, "b");
    sleep(SEC).await;
    server.delete();
    b.lead().await;
    assert_eq!(server.holder(), "b");
    sleep(3 * SEC).await;
    assert!(!a.leads() && !a.may_write(), "the old leader sees the other holder with its next renewal");
    assert_eq!(a.events(), ["a became leader", "a stopped leading"]);
}

/// Two managers forced to one identity: the second sees renewals that are not its own and stands by.
#[tokio::test(start_paused = true)]
async fn a_second_process_of_the_same_identity_stands_by_and_says_so() {
    let server = Server::default();
    let first = plain(&server, "same");
    first.lead().await;
    let second = watching(&server, "same");
    sleep(120 * SEC).await;
    assert!(first.leads() && !second.leads() && !second.may_write());
    assert_eq!(second.events(), ["another process renews this lease as same; identities must be unique"], "once, not with every renewal");
    assert_eq!(first.events().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_process_finds_its_identity_taken_and_does_not_lead_on() {
    let server = Server::default();
    let first = plain(&server, "same");
    first.lead().await;
    let second = plain(&server, "same");
    first.power.stop_for(60 * SEC);
    second.lead().await;
    assert!(!first.may_write());
    sleep(120 * SEC).await;
    assert!(second.leads() && !first.leads());
    assert!(first.events().iter().any(|event| event.contains("identities must be unique")), "{:?}", first.events());
}

/// A process that comes back under its old identity cannot know who renewed last, so it waits like anybody else.
#[tokio::test(start_paused = true)]
async fn a_restarted_process_with_its_old_identity_waits_for_the_lease_to_expire() {
    let server = Server::default();
    let first = plain(&server, "same");
    first.lead().await;
    first.task.abort();
    let start = Instant::now();
    let second = plain(&server, "same");
    assert!(second.lead().await - start >= 15 * SEC);
    assert_eq!(server.spec("leaseTransitions"), 1);
}

/// manager 5.5, "Better": the release looks at the live record.
#[tokio::test(start_paused = true)]
async fn a_lease_that_somebody_else_has_taken_is_not_cleared() {
    let (server, a) = led_by_a().await;
    sleep(2100 * MS).await;
    server.edit(|lease| lease["spec"]["holderIdentity"] = json!("other"));
    a.handle().drained();
    assert_eq!(a.task.await.unwrap(), Ended::NotOurs);
    assert_eq!(server.holder(), "other");
}

#[tokio::test(start_paused = true)]
async fn a_standby_that_stops_leaves_the_lease_alone() {
    let (server, _a) = led_by_a().await;
    let b = plain(&server, "b");
    sleep(3 * SEC).await;
    let now = Instant::now();
    b.handle().drain();
    assert_eq!(b.task.await.unwrap(), Ended::NotOurs);
    assert_eq!(server.verbs_since(now, "b"), Vec::<String>::new());
    assert_eq!(server.holder(), "a");
}

#[tokio::test(start_paused = true)]
async fn a_standby_that_stops_with_its_acquisition_in_flight_releases_what_it_may_have_got() {
    let server = Server::default();
    let a = with_faults(&server, "a", script([None, Some(Fault::AnswerLost)]));
    sleep(SEC).await;
    assert_eq!((a.leads(), server.holder().as_str()), (false, "a"));
    a.handle().drain();
    assert_eq!(a.task.await.unwrap(), Ended::Released);
    assert_eq!(server.holder(), "");
}

#[tokio::test(start_paused = true)]
async fn a_release_goes_on_through_errors_and_conflicts() {
    let server = Server::default();
    // GET and POST, then the release: a lost GET, a GET, a PUT that a label edit defeats, and what follows.
    let edits = server.clone();
    let mut n = 0;
    let faults = faults(move |verb| {
        n += 1;
        match n {
            3 => return Fault::LostOnTheWay,
            5 => edits.edit(|lease| lease["metadata"]["labels"] = json!({"a": "b"})),
            6 => return Fault::Refused,
            _ => {}
        }
        assert!(n != 5 || verb == "PUT");
        Fault::Delay(MS, MS)
    });
    let a = with_faults(&server, "a", faults);
    a.lead().await;
    a.handle().drained();
    assert_eq!(a.task.await.unwrap(), Ended::Released);
    assert_eq!(server.holder(), "");
    assert_eq!(server.lease().unwrap()["metadata"]["labels"], json!({"a": "b"}));
}

#[tokio::test(start_paused = true)]
async fn a_release_that_cannot_succeed_ends_within_one_renew_deadline() {
    let server = Server::default();
    let start = Instant::now();
    let a = with_faults(&server, "a", faults(move |_| if start.elapsed() < SEC { Fault::Delay(MS, MS) } else { Fault::LostOnTheWay }));
    a.lead().await;
    sleep(SEC).await;
    let now = Instant::now();
    a.handle().drained();
    assert!(matches!(a.task.await.unwrap(), Ended::ReleaseFailed(_)));
    assert!(now.elapsed() <= 10 * SEC + 2 * MS, "{:?}", now.elapsed());
}

#[tokio::test(start_paused = true)]
async fn release_can_be_switched_off() {
    let server = Server::default();
    let a = candidate(&server, "a", Options { change: |config| config.release = false, ..Options::default() });
    a.lead().await;
    a.handle().drained();
    assert_eq!(a.task.await.unwrap(), Ended::NotOurs);
    assert_eq!(server.holder(), "a");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_loses_the_lease_while_draining_does_not_stand_by_again() {
    let server = Server::default();
    let start = Instant::now();
    let a = with_faults(&server, "a", faults(move |_| if start.elapsed() < SEC { Fault::Delay(MS, MS) } else { Fault::Refused }));
    a.lead().await;
    a.handle().drain();
    assert_eq!(a.task.await.unwrap(), Ended::NotOurs);
    assert!(start.elapsed() <= 11 * SEC);
    assert_eq!(*a.handle.unwrap().state().borrow(), State::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_handle_ends_the_campaign_without_release() {
    let (server, mut a) = led_by_a().await;
    let fence = a.handle().fence();
    drop(a.handle.take());
    assert_eq!(a.task.await.unwrap(), Ended::Abandoned);
    assert!(fence.check().is_err());
    assert_eq!(server.holder(), "a");
}

#[tokio::test(start_paused = true)]
async fn a_handle_dropped_after_draining_does_not_stop_the_release() {
    let (server, mut a) = led_by_a().await;
    a.handle().drained();
    drop(a.handle.take());
    assert_eq!(a.task.await.unwrap(), Ended::Released);
    assert_eq!(server.holder(), "");
}

/// reliability LE-3.
#[tokio::test(start_paused = true)]
async fn an_elector_that_is_gone_or_stuck_fails_the_health_check_within_five_seconds() {
    let server = Server::default();
    let (a, b) = (plain(&server, "a"), plain(&server, "b"));
    a.lead().await;
    sleep(5 * SEC).await;
    b.power.stop_for(100 * SEC);
    let health = (a.handle().health(), b.handle().health());
    assert_eq!((health.0.check(), health.1.check()), (Ok(()), Ok(())));
    a.task.abort();
    sleep(5 * SEC).await;
    assert!(health.0.check().unwrap_err().contains("has ended"));
    assert!(health.1.check().unwrap_err().contains("stuck"), "{:?}", health.1.check());
    assert!(!a.may_write());
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_cannot_reach_the_server_is_healthy_and_tries_at_a_bounded_pace() {
    let server = Server::default();
    let (faults, tries) = always(Fault::Refused);
    let a = with_faults(&server, "a", faults);
    sleep(200 * SEC).await;
    assert!(a.handle().health().check().is_ok());
    let tries = *tries.lock().unwrap();
    assert!((45..=100).contains(&tries), "{tries}");
}

/// Bad input: a server that answers garbage.
#[tokio::test(start_paused = true)]
async fn garbage_from_the_server_makes_no_leader_and_no_hot_loop() {
    let server = Server::default();
    let (faults, tries) = always(Fault::Garbage);
    let a = with_faults(&server, "a", faults);
    sleep(200 * SEC).await;
    assert!(!a.leads() && !a.may_write() && a.events().is_empty());
    assert!(*tries.lock().unwrap() <= 200, "{}", tries.lock().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_writer_gone_wild_cannot_make_a_standby_flood_the_server() {
    let server = Server::default();
    let b = watching(&server, "b");
    b.lead().await;
    let wild = watching(&server, "c");
    let now = Instant::now();
    for n in 0..2000 {
        if n % 2 == 0 {
            server.hint(&Hint::Look);
        } else {
            server.edit(|lease| lease["spec"]["leaseTransitions"] = json!(n));
        }
        sleep(5 * MS).await;
    }
    let asked = server.verbs_since(now, "c").len();
    assert!(asked <= 55, "{asked} requests in 10 s");
    assert!(!wild.leads());
}

#[tokio::test(start_paused = true)]
async fn a_late_watch_event_does_not_take_back_what_was_seen_since() {
    let (server, a) = led_by_a().await;
    let old = Lease::read(server.lease().unwrap()).unwrap();
    sleep(5 * SEC).await;
    let b = watching(&server, "b");
    sleep(SEC).await;
    a.task.abort();
    let renewed = server.last_write("a");
    for _ in 0..200 {
        sleep(100 * MS).await;
        server.hint(&Hint::Seen(old.clone()));
    }
    assert!(b.leads());
    let taken = server.log().iter().find(|e| e.who == "b" && e.verb == "PUT").unwrap().at;
    assert!(taken - renewed <= 15 * SEC + 4400 * MS);
}

#[tokio::test(start_paused = true)]
async fn a_holder_without_duration_gets_ours() {
    let server = Server::default();
    server.edit(|lease| lease["spec"] = json!({"holderIdentity": "odd", "leaseDurationSeconds": 0}));
    let start = Instant::now();
    let a = plain(&server, "a");
    assert!(a.lead().await - start >= 15 * SEC);
}

/// manager 5.3.4: the duration of the record counts, not ours.
#[tokio::test(start_paused = true)]
async fn the_duration_that_the_holder_wrote_counts() {
    let server = Server::default();
    server.edit(|lease| lease["spec"] = json!({"holderIdentity": "slow", "leaseDurationSeconds": 60}));
    let start = Instant::now();
    let a = plain(&server, "a");
    let waited = a.lead().await - start;
    assert!(waited >= 60 * SEC && waited <= 65 * SEC, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_cannot_work_is_refused_with_all_its_faults() {
    let server = Server::default();
    let client = fake::Client { server, who: "a".into(), faults: healthy() };
    let timings = Timings { renew_deadline: 15 * SEC, ..Timings::default() };
    let config = ElectionConfig { timings, name: "Bad/Name".into(), on_loss: OnLoss::End, ..ElectionConfig::new("") };
    let surroundings = evenkeel_election::Surroundings {
        clock: evenkeel_election::Clock::steady(),
        wall: Box::new(|| jiff::Timestamp::UNIX_EPOCH),
        chance: Box::new(|| 0.0),
        hints: None,
        on_event: Box::new(|_| {}),
        metrics: evenkeel_election::ElectionMetrics::default(),
    };
    let error = Elector::new(config, client, surroundings).err().unwrap();
    assert_eq!(error.0.len(), 3, "{error}");
}
