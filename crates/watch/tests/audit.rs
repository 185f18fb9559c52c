//! The slow comparison with the server (reliability D-6).

use std::{sync::Arc, time::Duration};

use evenkeel_api::{Key, Uid};
use evenkeel_cache::{Owner, Wait};
use evenkeel_watch::{Audit, AuditReport, ListWatch, WatchError};
use serde_json::json;

use crate::{
    fake_server::{Fake, On, PODS, Reply},
    rig::Rig,
};

fn audit(rig: &Rig) -> Audit {
    Audit::new(rig.feed.clone(), rig.driver.clone())
}

fn keys(report: &AuditReport) -> Vec<String> {
    report.differences.iter().map(ToString::to_string).collect()
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_right_passes_with_one_list_of_metadata() {
    let fake = Fake::new();
    for n in 0..1_100 {
        fake.pod(&format!("p{n}"), &n.to_string());
    }
    let rig = Rig::pods(&fake).synced().await;
    fake.asked();
    let report = audit(&rig).once(&rig.cache).await.unwrap();
    assert_eq!((report.objects, report.differences.len(), report.version.0), (1_100, 0, fake.version()));
    let asked = fake.asked();
    assert_eq!(asked.len(), 3);
    assert!(
        asked.iter().all(|a| a.on == On::List && a.accept.contains("as=PartialObjectMetadataList") && a.get("resourceVersion").is_none())
    );
    assert_eq!((rig.metrics().audits.get(), rig.metrics().differences.get()), (1, 0));
}

/// F8: a deletion, a creation, a change and a second life that no watch told of
#[tokio::test(start_paused = true)]
async fn what_no_watch_told_of_is_found_counted_and_mended() {
    let fake = Fake::new();
    for name in ["changed", "gone", "same", "twice"] {
        fake.pod(name, name);
    }
    let rig = Rig::pods(&fake).synced().await;
    let object = |name: &str, uid: &str| json!({"metadata": {"name": name, "namespace": "ns", "uid": uid}});
    fake.delete_unheard(PODS, "gone");
    fake.put_unheard(PODS, object("changed", "changed"));
    fake.put_unheard(PODS, object("new", "new"));
    fake.delete_unheard(PODS, "twice");
    fake.put_unheard(PODS, object("twice", "second-life"));
    fake.bookmark();
    rig.settled().await;
    let report = audit(&rig).once(&rig.cache).await.unwrap();
    assert_eq!(keys(&report), ["ns/changed", "ns/gone", "ns/new", "ns/twice"]);
    assert_eq!(rig.metrics().differences.get(), 4);
    assert_eq!(rig.cache.read().restores(), 1, "what is known besides is doubted");
    rig.agrees_within(Duration::from_millis(100)).await;
    assert!(audit(&rig).once(&rig.cache).await.unwrap().differences.is_empty());
}

/// The same for a kind of which headers alone are kept: of most objects no version is known, so it is compared whether they are such.
#[tokio::test(start_paused = true)]
async fn kinds_that_are_kept_by_their_headers_are_compared_too() {
    let fake = Fake::new();
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "o"}]);
    let plain = |name: &str, uid: &str| json!({"metadata": {"name": name, "namespace": "ns", "uid": uid}});
    let owned = |name: &str| json!({"metadata": {"name": name, "namespace": "ns", "uid": name, "ownerReferences": owner}});
    for name in ["adopted", "gone", "labelled", "same", "twice"] {
        fake.put(PODS, plain(name, name));
    }
    for name in ["edited", "lost", "orphaned", "owned"] {
        fake.put(PODS, owned(name));
    }
    let rig = Rig::with(&fake, |feed| Arc::new(ListWatch::headers(feed, &evenkeel_api::PODS))).synced().await;
    assert!(audit(&rig).once(&rig.cache).await.unwrap().differences.is_empty());
    fake.put_unheard(PODS, owned("adopted"));
    fake.delete_unheard(PODS, "gone");
    fake.put_unheard(PODS, json!({"metadata": {"name": "labelled", "namespace": "ns", "uid": "labelled", "labels": {"a": "b"}}}));
    fake.delete_unheard(PODS, "twice");
    fake.put_unheard(PODS, plain("twice", "second-life"));
    let mut edited = owned("edited");
    edited["metadata"]["finalizers"] = json!(["example.com/h"]);
    fake.put_unheard(PODS, edited);
    fake.delete_unheard(PODS, "lost");
    fake.put_unheard(PODS, plain("orphaned", "orphaned"));
    fake.put_unheard(PODS, plain("new", "new"));
    fake.bookmark();
    rig.settled().await;
    let report = audit(&rig).once(&rig.cache).await.unwrap();
    assert_eq!(keys(&report), ["ns/adopted", "ns/edited", "ns/gone", "ns/lost", "ns/new", "ns/orphaned", "ns/twice"]);
    rig.settled().await;
    assert!(audit(&rig).once(&rig.cache).await.unwrap().differences.is_empty(), "a new list has mended it");
    assert_eq!((report.objects, rig.metrics().differences.get()), (8, 7));
    // What is served no more is not compared.
    rig.cache.unregister(&evenkeel_api::PODS);
    assert_eq!(audit(&rig).once(&rig.cache).await.unwrap(), AuditReport::default());
}

/// F8: a restore that nobody noticed took a deletion back, and the store shows the object as it is.
#[tokio::test(start_paused = true)]
async fn who_waits_for_what_was_undone_is_told() {
    let fake = Fake::new();
    fake.pod("a", "1");
    let rig = Rig::pods(&fake).synced().await;
    let owner = Owner { controller: "replicaset-controller", key: Key::new("ns", "web") };
    rig.cache.wrote(&owner, Wait::Gone { kind: &evenkeel_api::PODS, key: Key::new("ns", "a"), uid: Uid::new("1") });
    assert!(rig.cache.behind(&owner).is_some());
    fake.put_unheard(PODS, json!({"metadata": {"name": "b", "namespace": "ns", "uid": "2"}}));
    fake.bookmark();
    rig.settled().await;
    assert_eq!(keys(&audit(&rig).once(&rig.cache).await.unwrap()), ["ns/b"]);
    assert!(rig.cache.behind(&owner).is_some(), "a store that was wrong says nothing");
    rig.settled().await;
    assert!(audit(&rig).once(&rig.cache).await.unwrap().differences.is_empty());
    assert_eq!(*rig.released.lock().unwrap(), std::slice::from_ref(&owner));
    assert!(rig.cache.behind(&owner).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_merely_late_is_no_difference() {
    let fake = Fake::new();
    fake.pod("a", "1");
    let rig = Rig::pods(&fake).synced().await;
    let audit = audit(&rig);
    let (version, gone) = (fake.version() + 1, fake.version() + 2);
    fake.put_unheard(PODS, json!({"metadata": {"name": "b", "namespace": "ns", "uid": "2"}}));
    fake.delete_unheard(PODS, "a");
    let late = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        let meta = |name: &str, uid: &str, version: u64| json!({"kind": "Pod", "metadata": {"name": name, "namespace": "ns", "uid": uid, "resourceVersion": version.to_string()}});
        fake.event("ADDED", meta("b", "2", version));
        fake.event("DELETED", meta("a", "1", gone));
    };
    let (report, ()) = tokio::join!(audit.once(&rig.cache), late);
    assert!(report.unwrap().differences.is_empty());
    assert_eq!(rig.metrics().lists.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn objects_that_come_and_go_while_they_are_compared_are_no_difference() {
    let fake = Fake::new();
    for n in 0..700 {
        fake.pod(&format!("p{n}"), &n.to_string());
    }
    let rig = Rig::pods(&fake).synced().await;
    let audit = audit(&rig);
    let churn = async {
        for n in 0..600_u32 {
            fake.pod(&format!("q{n}"), &format!("q{n}"));
            fake.pod(&format!("p{}", n % 50), &(n % 50).to_string());
            fake.delete(PODS, &format!("p{}", n + 100));
            tokio::time::sleep(Duration::from_micros(50)).await;
        }
    };
    let compare = async {
        for _ in 0..10 {
            assert!(audit.once(&rig.cache).await.unwrap().differences.is_empty());
        }
    };
    tokio::join!(compare, churn);
    rig.agrees().await;
}

#[tokio::test(start_paused = true)]
async fn audits_come_at_their_pace_and_a_failed_one_waits_for_the_next() {
    let fake = Fake::new();
    fake.pod("a", "1");
    let rig = Rig::pods(&fake).synced().await;
    fake.asked();
    fake.then(On::List, Reply::Status(500, "InternalError", None));
    let (audit, cache, stop) = (Arc::new(audit(&rig)), rig.cache.clone(), rig.stop.subscribe());
    let task = tokio::spawn(async move { audit.run(cache, stop).await });
    tokio::time::sleep(Duration::from_secs(599)).await;
    assert!(fake.asked().iter().all(|a| a.on != On::List));
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let lists: Vec<_> = fake.asked().into_iter().filter(|a| a.on == On::List).collect();
    assert!((5..=7).contains(&lists.len()), "{}", lists.len());
    assert!(lists.windows(2).all(|w| w[1].at - w[0].at >= Duration::from_secs(600)));
    assert_eq!(rig.metrics().audits.get(), lists.len() as u64 - 1);
    rig.stop.send(true).unwrap();
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_went_back_is_left_to_the_driver() {
    let fake = Fake::new();
    fake.pod("a", "1");
    fake.pod("b", "2");
    let rig = Rig::pods(&fake).synced().await;
    fake.set_version(20);
    fake.asked();
    assert!(matches!(audit(&rig).once(&rig.cache).await, Err(WatchError::Backwards { .. })));
    rig.settled().await;
    assert!(fake.asked().iter().any(|a| a.on == On::Stream));
    assert_eq!(rig.store().len(), 2);
    let empty = evenkeel_cache::Cache::new();
    assert_eq!(audit(&rig).once(&empty).await.unwrap(), AuditReport::default());
    assert_eq!(rig.driver.kind().plural, "pods");
    assert_eq!(Key::new("ns", "a").to_string(), "ns/a");
}
