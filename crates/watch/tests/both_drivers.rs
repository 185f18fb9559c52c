//! Both drivers make the same store out of the same history (the differential check).

use std::{sync::Arc, time::Duration};

use evenkeel_api::{Deployment, Object, Pod};
use evenkeel_watch::{Driver, Feed, ListWatch, RuntimeWatcher};
use serde_json::{Value, json};

use crate::{
    fake_server::{DEPLOYMENTS, Fake, On, PODS, Reply, Streaming},
    rig::{Rig, chance},
};

type Make = Box<dyn FnOnce(Feed) -> Arc<dyn Driver>>;

fn drivers<T: Object + evenkeel_cache::Cached>() -> Vec<(&'static str, Make)> {
    vec![
        ("ours", Box::new(|feed| Arc::new(ListWatch::<T>::new(feed)))),
        ("the library's", Box::new(|feed| Arc::new(RuntimeWatcher::<T>::new(feed)))),
        (
            "the library's, streaming",
            Box::new(|feed| {
                let config = kube_runtime::watcher::Config::default().streaming_lists();
                Arc::new(RuntimeWatcher::<T>::with_config(feed, config))
            }),
        ),
    ]
}

fn pod(name: &str, uid: &str, phase: &str, app: &str) -> Value {
    json!({"apiVersion": "v1", "metadata": {"name": name, "namespace": "ns", "uid": uid, "labels": {"app": app, "é": "\"{"},
        "creationTimestamp": "2026-01-01T00:00:00Z", "annotations": {"controller.kubernetes.io/pod-deletion-cost": "5"},
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": app, "uid": format!("owner-{app}"), "controller": true}],
        "managedFields": [{"manager": "x"}]},
        "spec": {"nodeName": "n1", "future": {"unknown": [1, 2.5, null]}}, "status": {"phase": phase}})
}

/// One history, told to a driver from the start; gives all objects as decoded, and the label and owner look-ups.
async fn tell<T: Object + evenkeel_cache::Cached>(
    make: Make,
    path: &'static str,
    object: fn(&str, &str, &str, &str) -> Value,
    seed: u64,
) -> (Fake, Vec<Arc<T>>, Vec<usize>) {
    let fake = Fake::new();
    let draw = chance(seed);
    let any = |most: u64| draw() % most;
    for n in 0..5 {
        fake.put(path, object(&format!("p{n}"), &format!("first-{n}"), "Pending", "web"));
    }
    let rig = Rig::with(&fake, make).synced().await;
    let mut lives = 0;
    for step in 0..120 {
        let name = format!("p{}", any(12));
        let uid = fake.objects(path).into_iter().find(|(n, ..)| *n == name).map(|(_, uid, _)| uid);
        match (any(10), uid) {
            (0..=5, Some(uid)) => drop(fake.put(
                path,
                object(
                    &name,
                    &uid,
                    ["Running", "Failed"][usize::try_from(any(2)).unwrap()],
                    ["web", "db"][usize::try_from(any(2)).unwrap()],
                ),
            )),
            (0..=5, None) => {
                lives += 1;
                fake.put(path, object(&name, &format!("life-{lives}"), "Pending", "web"));
            }
            (6..=7, Some(_)) => drop(fake.delete(path, &name)),
            (8, _) if step % 3 == 0 => {
                // Time passes unseen: history is lost while the watch is down.
                fake.end_watches();
                if let Some((gone, ..)) = fake.objects(path).first() {
                    fake.delete(path, gone);
                    lives += 1;
                    fake.put(path, object(gone, &format!("life-{lives}"), "Running", "db"));
                }
                fake.compact();
            }
            (8, _) => fake.cut_watches(),
            (9, _) if step % 2 == 0 => drop(fake.then(On::Watch, Reply::Status(429, "TooManyRequests", Some(1)))),
            (9, _) => fake.bookmark(),
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(1 + any(2_000))).await;
    }
    // Long enough for any pause; an end with an event, so that both have moved to the end of history.
    tokio::time::sleep(Duration::from_secs(400)).await;
    fake.put(path, object("last", "last", "Running", "web"));
    tokio::time::sleep(Duration::from_secs(400)).await;
    let objects: Vec<Arc<T>> = rig.cache.read().of::<T>().iter().cloned().collect();
    let selector = |app: &str| evenkeel_api::Selector::read(&json!({"matchLabels": {"app": app}})).unwrap();
    let looked = ["web", "db"].iter().map(|app| rig.cache.read().of::<T>().matching("ns", &selector(app)).len()).collect();
    assert_eq!(rig.version(), fake.version());
    rig.stop.send(true).unwrap();
    (fake, objects, looked)
}

#[tokio::test(start_paused = true)]
async fn both_drivers_make_the_same_store_of_the_same_history_of_pods() {
    for seed in 0..12 {
        let mut first: Option<(Vec<Arc<Pod>>, Vec<usize>)> = None;
        for (who, make) in drivers::<Pod>() {
            let (fake, objects, looked) = tell::<Pod>(make, PODS, pod, seed).await;
            let seen: Vec<_> = objects.iter().map(|p| (p.meta.name.to_string(), p.meta.uid.to_string(), p.meta.version.0)).collect();
            assert_eq!(seen, fake.objects(PODS), "{who}, seed {seed}");
            match &first {
                None => first = Some((objects, looked)),
                Some(first) => assert_eq!(*first, (objects, looked), "{who}, seed {seed}"),
            }
        }
    }
}

/// Whole documents, unknown fields included.
#[tokio::test(start_paused = true)]
async fn both_drivers_keep_the_same_documents() {
    fn deployment(name: &str, uid: &str, phase: &str, app: &str) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "ns", "uid": uid, "labels": {"app": app},
            "managedFields": [{"manager": "x"}]},
            "spec": {"zFuture": {"b": 1, "a": [2.5, null, "é"]}, "selector": {"matchLabels": {"app": app}}, "template": {"metadata": {"labels": {"app": phase}}}}})
    }
    // Items of a list carry no kind and version of their own; events do. Which one an object came by last is up to the driver.
    fn known(deployment: &Deployment) -> (Value, Deployment) {
        let mut value = deployment.document.value();
        let fields = value.as_object_mut().unwrap();
        fields.shift_remove("kind");
        fields.shift_remove("apiVersion");
        (value, Deployment { document: evenkeel_api::Document::new(Value::Null), ..deployment.clone() })
    }
    let mut first: Option<Vec<(Value, Deployment)>> = None;
    for (who, make) in drivers::<Deployment>() {
        let (_, objects, _) = tell::<Deployment>(make, DEPLOYMENTS, deployment, 5).await;
        assert!(objects.iter().all(|d| d.document.part("/spec/zFuture/a/0") == json!(2.5)));
        let objects: Vec<_> = objects.iter().map(|d| known(d)).collect();
        match &first {
            None => first = Some(objects),
            Some(first) => assert_eq!(*first, objects, "{who}"),
        }
    }
}

/// The second driver passes over bad objects as well, refuses none of the good ones, and can be asked for a list.
#[tokio::test(start_paused = true)]
async fn the_librarys_driver_passes_over_bad_objects_and_refills_when_asked() {
    let fake = Fake::new();
    fake.streaming(Streaming::Refused(400));
    fake.pod("a", "1");
    fake.put(PODS, json!({"metadata": {"name": "bad", "namespace": "ns", "uid": "2"}, "status": {"phase": 3}}));
    let rig = Rig::with(&fake, |feed| Arc::new(RuntimeWatcher::<Pod>::new(feed))).synced().await;
    assert_eq!(rig.store().len(), 1);
    fake.put(PODS, json!({"metadata": {"name": "a", "namespace": "ns", "uid": "1"}, "status": {"phase": 3}}));
    fake.pod("b", "3");
    rig.settled().await;
    assert_eq!((rig.store().len(), rig.metrics().bad_objects.get()), (2, 2));
    fake.delete(PODS, "bad");
    fake.delete(PODS, "a");
    rig.agrees().await;
    fake.delete_unheard(PODS, "b");
    rig.driver.refill();
    rig.agrees().await;
    assert_eq!(rig.heard(), ["+1", "+3", "-1", "-3"]);
    fake.then(On::List, Reply::NoConnection);
    rig.driver.refill();
    rig.settled().await;
    assert!(rig.driver.trouble().is_some());
    fake.pod("c", "4");
    rig.agrees().await;
    assert_eq!(rig.driver.trouble(), None);
}
