//! The plain cycle: fill, follow, resume, refill.

use std::{sync::Arc, time::Duration};

use evenkeel_api::{DEPLOYMENTS as DEPLOYMENT_KIND, Deployment, Key, PODS as POD_KIND, Pod, Version};
use evenkeel_cache::{Cache, Owner, Wait};
use evenkeel_watch::{Driver, ListWatch, bounds, wait_current, wait_synced};
use serde_json::json;
use tokio::{sync::watch, time::Instant};

use crate::{
    fake_server::{DEPLOYMENTS, Fake, On, PODS, Reply, Streaming},
    rig::Rig,
};

#[tokio::test(start_paused = true)]
async fn a_store_fills_from_a_streaming_list_and_follows_the_same_stream() {
    let fake = Fake::new();
    fake.pod("a", "1");
    fake.pod("b", "2");
    let rig = Rig::pods(&fake).synced().await;
    rig.agrees().await;
    assert_eq!(rig.version(), fake.version());
    fake.pod("c", "3");
    fake.pod("a", "1");
    fake.delete(PODS, "b");
    rig.agrees().await;
    assert_eq!(rig.version(), fake.version());
    assert_eq!(rig.heard(), ["+1", "+2", "+3", "1@104", "-2"]);
    let asked = fake.asked();
    let [only] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!((only.get("watch"), only.get("allowWatchBookmarks")), (Some("true"), Some("true")));
    assert_eq!((only.get("resourceVersionMatch"), only.get("resourceVersion")), (Some("NotOlderThan"), None));
    let seconds: u64 = only.get("timeoutSeconds").unwrap().parse().unwrap();
    assert!(bounds::WATCH_SECONDS.contains(&seconds));
    assert_eq!(rig.driver.trouble(), None);
    assert_eq!((rig.metrics().lists.get(), rig.metrics().store_version.get()), (1, fake.version() as i64));
}

/// manager 16.27, first part
#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_normally_resumes_from_the_last_version_without_a_list() {
    let fake = Fake::new();
    fake.pod("a", "1");
    let rig = Rig::pods(&fake).synced().await;
    for round in 0..5 {
        tokio::time::sleep(Duration::from_secs(200)).await;
        let last = fake.pod("a", "1");
        rig.settled().await;
        fake.asked();
        fake.end_watches();
        fake.pod(&format!("late-{round}"), "2");
        rig.agrees_within(Duration::from_millis(100)).await;
        let asked = fake.asked();
        assert_eq!(asked.iter().map(|a| a.on).collect::<Vec<_>>(), [On::Watch]);
        assert_eq!(asked[0].get("resourceVersion"), Some(&*last.to_string()));
    }
    assert_eq!((rig.metrics().lists.get(), rig.metrics().watches.get()), (1, 5));
}

/// manager 16.27, second part; reliability 1, row 67
#[tokio::test(start_paused = true)]
async fn after_410_there_is_one_refill_and_vanished_objects_are_told_as_deletions() {
    for as_event in [true, false] {
        let fake = Fake::new();
        fake.pod("stays", "1");
        fake.pod("goes", "2");
        let rig = Rig::pods(&fake).synced().await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        rig.heard();
        fake.asked();
        fake.end_watches();
        fake.delete(PODS, "goes");
        fake.compact();
        if !as_event {
            fake.then(On::Watch, Reply::Status(410, "Gone", None));
        }
        rig.agrees_within(Duration::from_millis(100)).await;
        assert_eq!(rig.heard(), ["-2"]);
        assert_eq!(fake.asked().iter().map(|a| a.on).collect::<Vec<_>>(), [On::Watch, On::Stream]);
        assert_eq!(rig.metrics().lists.get(), 2);
    }
}

/// F6
#[tokio::test(start_paused = true)]
async fn a_410_in_the_middle_of_a_watch_refills_once() {
    let fake = Fake::new();
    fake.pod("a", "1");
    let rig = Rig::pods(&fake).synced().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    fake.delete_unheard(PODS, "a");
    fake.put_unheard(PODS, json!({"metadata": {"name": "b", "namespace": "ns", "uid": "2"}}));
    fake.event("ERROR", json!({"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}));
    rig.agrees_within(Duration::from_millis(100)).await;
    assert_eq!(rig.heard(), ["+1", "-1", "+2"]);
    assert_eq!(rig.metrics().lists.get(), 2);
}

/// manager 16.28
#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_the_streaming_list_is_listed_and_watched_in_the_same_cycle() {
    for code in [400, 422] {
        let fake = Fake::new();
        fake.streaming(Streaming::Refused(code));
        for n in 0..3 {
            fake.pod(&format!("p{n}"), &n.to_string());
        }
        let since = Instant::now();
        let rig = Rig::pods(&fake).synced().await;
        rig.agrees().await;
        assert!(since.elapsed() < Duration::from_millis(800), "no pause");
        assert_eq!(fake.asked().iter().map(|a| a.on).collect::<Vec<_>>(), [On::Stream, On::List, On::Watch]);
        fake.pod("live", "9");
        rig.agrees_within(Duration::from_millis(100)).await;
        assert_eq!(rig.metrics().paged.get(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_a_streaming_list_for_a_plain_watch_is_found_out() {
    // By silence after the last object, by a plain bookmark, and by an end of the stream.
    for how in 0..3 {
        let fake = Fake::new();
        fake.streaming(Streaming::Ignored);
        fake.pod("a", "1");
        let rig = Rig::pods(&fake);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!rig.cache.read().of::<Pod>().synced());
        match how {
            0 => tokio::time::sleep(bounds::STREAM_SILENCE).await,
            1 => fake.bookmark(),
            _ => fake.end_watches(),
        }
        let rig = rig.synced().await;
        rig.agrees_within(Duration::from_millis(100)).await;
        // It is not asked again for a while.
        fake.asked();
        rig.driver.refill();
        rig.settled().await;
        assert_eq!(fake.asked().iter().map(|a| a.on).collect::<Vec<_>>(), [On::List, On::Watch], "{how}");
    }
}

/// manager 16.29
#[tokio::test(start_paused = true)]
async fn an_idle_kind_advances_by_bookmarks_and_needs_no_list_after_a_compaction() {
    let fake = Fake::new();
    fake.pod("a", "1");
    let rig = Rig::pods(&fake).synced().await;
    rig.heard();
    for minute in 1..=10 {
        tokio::time::sleep(Duration::from_secs(60)).await;
        fake.set_version(1_000 * minute);
        fake.bookmark();
        rig.settled().await;
        assert_eq!(rig.version(), 1_000 * minute);
    }
    fake.compact();
    fake.asked();
    fake.end_watches();
    rig.settled().await;
    let asked = fake.asked();
    assert_eq!(asked.iter().map(|a| a.on).collect::<Vec<_>>(), [On::Watch]);
    assert_eq!(asked[0].get("resourceVersion"), Some("10000"));
    assert!(rig.heard().is_empty());
    assert_eq!(fake.watchers(), 1);
}

/// manager 16.25; F19
#[tokio::test(start_paused = true)]
async fn a_kind_that_may_not_be_listed_holds_up_no_other_and_says_why() {
    let fake = Fake::new();
    fake.pod("a", "1");
    fake.put(DEPLOYMENTS, json!({"metadata": {"name": "d", "namespace": "ns", "uid": "9"}}));
    fake.forbid(Some(DEPLOYMENTS));
    let rig = Rig::pods(&fake);
    let deployments = Arc::new(ListWatch::<Deployment>::new(rig.feed.clone()));
    let (stop, stopped) = watch::channel(false);
    let (running, into) = (deployments.clone(), rig.cache.clone());
    let task = tokio::spawn(async move { running.run(into, stopped).await });
    let rig = rig.synced().await;
    rig.agrees().await;
    let (both, stopping) = ([&POD_KIND, &DEPLOYMENT_KIND], stop.subscribe());
    assert!(tokio::time::timeout(Duration::from_secs(100), wait_synced(&rig.cache, &both, &stopping)).await.is_err());
    let trouble = deployments.trouble().expect("trouble");
    assert!(trouble.failures > 2 && trouble.last.contains("403"), "{trouble:?}");
    assert_eq!(rig.driver.trouble(), None);
    // With pauses: two requests a try, of tries 0.8 s, 1.6 s … apart.
    let tries = fake.asked().iter().filter(|a| a.path == DEPLOYMENTS).count();
    assert!((6..=24).contains(&tries), "{tries}");
    fake.forbid(None);
    assert!(wait_synced(&rig.cache, &[&DEPLOYMENT_KIND], &stop.subscribe()).await);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(deployments.trouble(), None);
    // A watch that is forbidden later leaves the other kind alone too.
    fake.forbid(Some(DEPLOYMENTS));
    fake.end_watches();
    tokio::time::sleep(Duration::from_secs(10)).await;
    fake.pod("b", "2");
    rig.agrees_within(Duration::from_millis(100)).await;
    assert!(deployments.trouble().is_some());
    drop(stop);
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_busy_or_absent_server_is_watched_again_without_a_list_and_not_before_it_wants() {
    let fake = Fake::new();
    fake.pod("a", "1");
    let rig = Rig::pods(&fake).synced().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    fake.asked();
    fake.then(On::Watch, Reply::Status(429, "TooManyRequests", Some(20)))
        .then(On::Watch, Reply::NoConnection)
        .then(On::Watch, Reply::Status(503, "ServiceUnavailable", None));
    fake.cut_watches();
    fake.pod("b", "2");
    rig.agrees().await;
    let asked = fake.asked();
    assert_eq!(asked.iter().map(|a| a.on).collect::<Vec<_>>(), [On::Watch; 4]);
    assert!(asked[1].at - asked[0].at >= Duration::from_secs(20));
    assert!(asked[2].at - asked[1].at >= Duration::from_millis(800));
    assert!(asked[3].at - asked[2].at >= Duration::from_millis(1_600));
    assert_eq!(rig.metrics().lists.get(), 1);
    assert_eq!(rig.driver.trouble(), None);
}

#[tokio::test(start_paused = true)]
async fn a_first_list_obeys_retry_after_too() {
    let fake = Fake::new();
    fake.pod("a", "1");
    fake.then(On::Stream, Reply::Status(429, "TooManyRequests", Some(45)));
    let rig = Rig::pods(&fake).synced().await;
    rig.agrees().await;
    let asked = fake.asked();
    assert_eq!(asked.iter().map(|a| a.on).collect::<Vec<_>>(), [On::Stream; 2]);
    assert!(asked[1].at - asked[0].at >= Duration::from_secs(45));
}

/// F3: one watch frozen, others live
#[tokio::test(start_paused = true)]
async fn a_watch_that_is_silent_beyond_its_time_is_cut_and_resumed() {
    let fake = Fake::new();
    fake.pod("a", "1");
    let rig = Rig::pods(&fake).synced().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    fake.asked();
    fake.then(On::Watch, Reply::Silent(vec![]));
    fake.end_watches();
    rig.settled().await;
    let silent = fake.asked().pop().unwrap();
    fake.pod("b", "2");
    let seconds: u64 = silent.get("timeoutSeconds").unwrap().parse().unwrap();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    assert!(fake.asked().is_empty());
    tokio::time::sleep(bounds::WATCH_SLACK + Duration::from_secs(2)).await;
    rig.agrees_within(Duration::from_millis(100)).await;
    assert_eq!(fake.asked().iter().map(|a| a.on).collect::<Vec<_>>(), [On::Watch]);
    assert_eq!(rig.metrics().lists.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn lists_that_stall_and_servers_that_never_answer_are_given_up() {
    let fake = Fake::new();
    fake.streaming(Streaming::Refused(400));
    fake.pod("a", "1");
    fake.then(On::List, Reply::Silent(vec![r#"{"kind":"PodList","metadata":{"resourceVersion":"3"},"items":[{"met"#.into()]))
        .then(On::List, Reply::Broken(vec![r#"{"kind":"PodList","metadata":{"resourceVersion":"3"},"items":["#.into()]))
        .then(On::List, Reply::NoAnswer);
    let since = Instant::now();
    let rig = Rig::pods(&fake).synced().await;
    rig.agrees().await;
    assert_eq!(rig.heard(), ["+1"]);
    let waited = since.elapsed();
    assert!(waited > Duration::from_secs(120) && waited < Duration::from_secs(140), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn long_lists_come_in_pages_and_an_expired_page_token_costs_one_more_list() {
    for expire in [false, true] {
        let fake = Fake::new();
        fake.streaming(Streaming::Refused(400));
        for n in 0..1_201 {
            fake.pod(&format!("p{n}"), &n.to_string());
        }
        if expire {
            fake.let_tokens_expire();
        }
        let rig = Rig::pods(&fake).synced().await;
        rig.agrees().await;
        assert_eq!(rig.store().len(), 1_201);
        let lists: Vec<_> = fake.asked().into_iter().filter(|a| a.on == On::List).collect();
        let limits: Vec<_> = lists.iter().map(|a| a.get("limit")).collect();
        if expire {
            assert_eq!(limits, [Some("500"), Some("500"), None]);
        } else {
            assert_eq!(limits, [Some("500"); 3]);
            assert!(lists[1].get("continue").is_some() && lists[1].get("resourceVersionMatch").is_none());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refill_can_be_asked_for_at_any_time() {
    let fake = Fake::new();
    fake.pod("a", "1");
    let rig = Rig::pods(&fake).synced().await;
    fake.delete_unheard(PODS, "a");
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!(rig.store().len(), 1);
    rig.driver.refill();
    rig.agrees_within(Duration::from_millis(100)).await;
    assert_eq!(rig.metrics().lists.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn stop_ends_a_driver_wherever_it_is() {
    for on in [None, Some(Reply::NoAnswer), Some(Reply::Silent(vec![])), Some(Reply::NoConnection)] {
        let fake = Fake::new();
        if let Some(reply) = on {
            fake.then(On::Stream, reply);
        }
        let rig = Rig::pods(&fake);
        rig.settled().await;
        let since = Instant::now();
        rig.stop.send(true).unwrap();
        rig.task.await.unwrap();
        assert!(since.elapsed() < Duration::from_millis(10));
        rig.cache.read().of::<Pod>();
    }
    let (gone, stop) = watch::channel(false);
    drop(gone);
    let feed = evenkeel_watch::Feed::new(Fake::new().client(), crate::rig::chance(1));
    ListWatch::<Pod>::new(feed).run(Cache::new(), stop.clone()).await;
    assert!(!wait_synced(&Cache::new(), &[&POD_KIND], &stop).await);
}

#[tokio::test(start_paused = true)]
async fn owners_are_told_when_the_cache_shows_their_writes() {
    let fake = Fake::new();
    fake.pod("a", "1");
    let rig = Rig::pods(&fake).synced().await;
    let owner = |name: &str| Owner { controller: "replicaset-controller", key: Key::new("ns", name) };
    rig.cache.wrote(&owner("web"), Wait::Reached { kind: &POD_KIND, version: Version(fake.version() + 1) });
    rig.cache.wrote(&owner("idle"), Wait::Reached { kind: &POD_KIND, version: Version(fake.version() + 50) });
    assert!(["web", "idle"].iter().all(|name| rig.cache.behind(&owner(name)).is_some()), "both want to look");
    assert!(rig.released.lock().unwrap().is_empty());
    fake.pod("b", "2");
    rig.settled().await;
    assert_eq!(std::mem::take(&mut *rig.released.lock().unwrap()), [owner("web")]);
    fake.set_version(fake.version() + 100);
    fake.bookmark();
    rig.settled().await;
    assert_eq!(*rig.released.lock().unwrap(), [owner("idle")]);
}

/// reliability 1, row 74: nothing is left of label sets and owners that are gone
#[tokio::test(start_paused = true)]
async fn indexes_are_empty_when_the_objects_are_gone() {
    let fake = Fake::new();
    let rig = Rig::pods(&fake).synced().await;
    for n in 0..200 {
        let name = format!("p{n}");
        fake.put(PODS, json!({"metadata": {"name": name, "namespace": "ns", "uid": n.to_string(), "labels": {"hash": name},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": format!("o{n}"), "controller": true}]}}));
        if n % 2 == 0 {
            fake.delete(PODS, &name);
        }
    }
    rig.agrees().await;
    fake.end_watches();
    for n in (1..200).step_by(2) {
        fake.delete_unheard(PODS, &format!("p{n}"));
    }
    fake.compact();
    rig.agrees().await;
    let shown = format!("{:?}", rig.cache.read().of::<Pod>());
    for empty in ["objects: {}", "by_owner: {}", "namespaces: {}"] {
        assert!(shown.contains(empty), "{shown}");
    }
}

/// RS-1, DP-4: what a late watch holds back is seen before a new leader decides; the question itself may fail, and be stopped.
#[tokio::test(start_paused = true)]
async fn a_late_watch_is_caught_up_with_before_anything_is_decided() {
    let fake = Fake::new();
    fake.pod("a", "1");
    let rig = Rig::pods(&fake).synced().await;
    fake.put_unheard(PODS, json!({"metadata": {"name": "b", "namespace": "default", "uid": "2"}}));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(rig.version() < fake.version(), "the watch is late");
    fake.then(On::List, Reply::Status(500, "InternalError", None));
    let (end, ended) = watch::channel(false);
    assert!(wait_current(&rig.cache, &*rig.driver, &ended).await);
    assert_eq!(rig.version(), fake.version());
    assert_eq!(rig.store(), fake.objects(PODS));
    // A list that is only not older than the store could come from a cache that is as late as the watch.
    let again = fake.asked().into_iter().rfind(|a| a.on == On::Stream).expect("a new list");
    assert_eq!(again.get("resourceVersion"), None);
    end.send(true).unwrap();
    assert!(!wait_current(&rig.cache, &*rig.driver, &ended).await, "told to stop");
}
