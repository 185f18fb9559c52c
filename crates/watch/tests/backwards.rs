//! Never back in time: lists and events that are older, out of order, twice; objects that came and went unseen.

use std::time::Duration;

use evenkeel_api::{Key, PODS as POD_KIND, Version};
use evenkeel_cache::{Owner, Wait};
use evenkeel_watch::bounds;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    fake_server::{Fake, On, PODS, Reply, Streaming, bookmark, line},
    rig::Rig,
};

fn pod(name: &str, uid: &str, version: u64) -> serde_json::Value {
    json!({"kind": "Pod", "metadata": {"name": name, "namespace": "ns", "uid": uid, "resourceVersion": version.to_string()}})
}

/// reliability 1, row 65; F4
#[tokio::test(start_paused = true)]
async fn a_list_of_a_lagging_server_is_refused_and_the_next_one_is_consistent() {
    let fake = Fake::new();
    fake.pod("a", "1");
    let rig = Rig::pods(&fake).synced().await;
    fake.pod("b", "2");
    rig.agrees().await;
    let (seen, state) = (rig.version(), rig.store());
    tokio::time::sleep(Duration::from_secs(5)).await;
    // A server that is behind: neither `b` nor the last change of `a` is there yet.
    let old = [line(&json!({"type": "ADDED", "object": pod("a", "1", 50)})), line(&bookmark(PODS, 60, true))].concat();
    fake.then(On::Stream, Reply::Chunks(vec![old.into()]));
    fake.asked();
    rig.heard();
    // History is lost: a list is due that is not older than what we hold.
    fake.then(On::Watch, Reply::Status(410, "Gone", None));
    fake.end_watches();
    rig.settled().await;
    assert_eq!((rig.version(), rig.store()), (seen, state));
    assert_eq!(rig.metrics().refused.get(), 1);
    assert!(rig.driver.trouble().is_some_and(|t| t.last.contains("back in time")));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(rig.driver.trouble(), None);
    let asked: Vec<_> = fake.asked().into_iter().filter(|a| a.on == On::Stream).collect();
    assert_eq!(asked.iter().map(|a| a.get("resourceVersion").is_some()).collect::<Vec<_>>(), [true, false]);
    assert!(asked[1].at - asked[0].at >= Duration::from_millis(800));
    assert!(rig.heard().is_empty());
    assert_eq!(rig.metrics().resets.get(), 0);
}

/// F4, pages
#[tokio::test(start_paused = true)]
async fn an_older_page_is_refused_as_well() {
    let fake = Fake::new();
    fake.streaming(Streaming::Refused(422));
    fake.pod("a", "1");
    let rig = Rig::pods(&fake).synced().await;
    fake.then(On::List, Reply::Chunks(vec![r#"{"kind":"PodList","metadata":{"resourceVersion":"3"},"items":[]}"#.into()]));
    rig.driver.refill();
    rig.agrees().await;
    assert_eq!(rig.heard(), ["+1"]);
    assert_eq!(rig.metrics().refused.get(), 1);
}

/// F8: the server came back from a backup
#[tokio::test(start_paused = true)]
async fn a_server_that_stays_in_the_past_is_believed_in_the_end_and_nobody_waits_for_its_future() {
    let fake = Fake::new();
    fake.pod("a", "1");
    fake.pod("b", "2");
    let rig = Rig::pods(&fake).synced().await;
    let owner = Owner { controller: "replicaset-controller", key: Key::new("ns", "web") };
    rig.cache.wrote(&owner, Wait::Reached { kind: &POD_KIND, version: Version(fake.version() + 10) });
    assert!(rig.cache.behind(&owner).is_some());
    tokio::time::sleep(Duration::from_secs(5)).await;
    rig.heard();
    let since = Instant::now();
    fake.delete_unheard(PODS, "b");
    fake.set_version(40);
    fake.pod("a", "1");
    rig.agrees().await;
    let took = since.elapsed();
    assert!(took >= bounds::OLDER_LISTS && took < bounds::OLDER_LISTS + Duration::from_secs(60), "{took:?}");
    assert_eq!(rig.version(), 41);
    assert_eq!(rig.heard(), ["-2", "1@41"]);
    assert_eq!(rig.metrics().resets.get(), 1);
    assert_eq!(*rig.released.lock().unwrap(), [owner]);
    // From here on all is as usual.
    fake.pod("c", "3");
    rig.agrees_within(Duration::from_millis(100)).await;
    assert_eq!(rig.metrics().resets.get(), 1);
}

/// reliability 1, row 66; F5
#[tokio::test(start_paused = true)]
async fn an_object_deleted_and_created_again_while_nobody_looked_is_told_as_both() {
    let fake = Fake::new();
    fake.pod("a", "old");
    let rig = Rig::pods(&fake).synced().await;
    fake.end_watches();
    fake.delete(PODS, "a");
    fake.pod("brief", "never-seen");
    fake.delete(PODS, "brief");
    fake.pod("a", "new");
    fake.compact();
    rig.agrees().await;
    assert_eq!(rig.heard(), ["+old", "-old", "+new"]);
}

/// F5, during a streaming list
#[tokio::test(start_paused = true)]
async fn what_changes_while_a_list_streams_is_part_of_it() {
    let fake = Fake::new();
    let events = [
        json!({"type": "ADDED", "object": pod("a", "1", 5)}),
        json!({"type": "ADDED", "object": pod("b", "2", 6)}),
        json!({"type": "ADDED", "object": pod("c", "3", 7)}),
        json!({"type": "MODIFIED", "object": pod("b", "2", 11)}),
        json!({"type": "DELETED", "object": pod("a", "1", 12)}),
        json!({"type": "ADDED", "object": pod("a", "4", 13)}),
        json!({"type": "DELETED", "object": pod("c", "3", 14)}),
        bookmark(PODS, 14, true),
    ];
    let body: Vec<bytes::Bytes> = events.iter().map(line).collect();
    fake.then(On::Stream, Reply::Silent(body));
    let rig = Rig::pods(&fake).synced().await;
    assert_eq!(rig.store(), [("a".into(), "4".into(), 13), ("b".into(), "2".into(), 11)]);
    assert_eq!((rig.version(), rig.heard()), (14, vec!["+4".to_owned(), "+2".to_owned()]));
}

/// reliability 1, row 68
#[tokio::test(start_paused = true)]
async fn a_version_that_is_too_large_leads_to_a_consistent_list_at_once() {
    for on in [On::Stream, On::List] {
        let fake = Fake::new();
        if on == On::List {
            fake.streaming(Streaming::Refused(400));
        }
        fake.pod("a", "1");
        let rig = Rig::pods(&fake).synced().await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        fake.asked();
        // The server that is asked next lags behind what we hold.
        fake.then(
            on,
            Reply::Body(
                504,
                json!({"kind": "Status", "code": 504, "reason": "Timeout", "message": "Too large resource version: 9, current: 3"})
                    .to_string(),
            ),
        );
        fake.then(On::Watch, Reply::Status(410, "Gone", None));
        fake.end_watches();
        rig.settled().await;
        let asked: Vec<_> = fake.asked().into_iter().filter(|a| a.on == on).map(|a| a.get("resourceVersion").is_some()).collect();
        assert_eq!(asked, [true, false]);
        assert_eq!((rig.metrics().failures.get(), rig.metrics().lists.get()), (0, 2));
        rig.agrees().await;
    }
}

/// reliability 1, row 70; F7, F9
#[tokio::test(start_paused = true)]
async fn events_out_of_order_are_refused_and_what_was_missed_is_listed() {
    let fake = Fake::new();
    fake.pod("a", "1");
    let rig = Rig::pods(&fake).synced().await;
    // The server swaps two events.
    let (first, second) = (fake.version() + 1, fake.version() + 2);
    fake.put_unheard(PODS, json!({"metadata": {"name": "b", "namespace": "ns", "uid": "2"}}));
    fake.put_unheard(PODS, json!({"metadata": {"name": "c", "namespace": "ns", "uid": "3"}}));
    fake.event("ADDED", pod("c", "3", second));
    fake.event("ADDED", pod("b", "2", first));
    rig.agrees().await;
    assert_eq!(rig.heard(), ["+1", "+3", "+2"]);
    assert_eq!((rig.metrics().refused.get(), rig.metrics().lists.get()), (1, 2));
}

/// F9
#[tokio::test(start_paused = true)]
async fn an_event_that_comes_twice_is_told_once() {
    let fake = Fake::new();
    let rig = Rig::pods(&fake).synced().await;
    let version = fake.pod("a", "1");
    fake.event("MODIFIED", pod("a", "1", version));
    fake.event("ADDED", pod("a", "1", version));
    let gone = fake.delete(PODS, "a");
    fake.event("DELETED", pod("a", "1", gone));
    rig.agrees().await;
    assert_eq!(rig.heard(), ["+1", "-1"]);
    assert_eq!((rig.metrics().failures.get(), rig.metrics().lists.get()), (0, 1));
}

/// F9: an older state of an object does not come back, wherever it comes from
#[tokio::test(start_paused = true)]
async fn a_replayed_history_changes_nothing() {
    let fake = Fake::new();
    let first = fake.pod("a", "1");
    let rig = Rig::pods(&fake).synced().await;
    let last = fake.pod("a", "1");
    rig.agrees().await;
    rig.heard();
    tokio::time::sleep(Duration::from_secs(3)).await;
    fake.event("ADDED", pod("a", "1", first));
    rig.settled().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(rig.store(), [("a".into(), "1".into(), last)]);
    assert!(rig.heard().is_empty());
}
