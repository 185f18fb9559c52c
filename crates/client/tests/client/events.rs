//! Events on the wire (manager 11).

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use evenkeel_api::{NAMESPACES, PODS, Uid, Version};
use evenkeel_client::{Api, ClientMetrics, Clock, Fence, Pace, PaceOptions, Recorder};
use evenkeel_plan::{Event, ObjectReference};
use jiff::{SignedDuration, Timestamp};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::Instant};

use crate::{
    server::{Reply, Seen, Server, Stored, status},
    world::leading,
};

/// The wall clock that goes with tokio's.
struct Virtual(Instant);

impl Clock for Virtual {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::try_from(self.0.elapsed()).unwrap()
    }
}

struct Desk {
    server: Server,
    recorder: Recorder,
    task: JoinHandle<()>,
    registry: Registry,
}

fn desk(fence: Fence, script: impl FnMut(&Seen, &mut Stored) -> Reply + Send + 'static) -> Desk {
    let server = Server::new(script);
    let mut registry = Registry::default();
    let metrics = ClientMetrics::register(&mut registry, "host");
    let api = Api::new(server.client(), "replicaset-controller", Pace::new(PaceOptions::default()), metrics.clone());
    let (recorder, task) = Recorder::new(api, "replicaset-controller", Arc::new(Virtual(Instant::now())), fence, metrics);
    Desk { server, recorder, task: tokio::spawn(task), registry }
}

fn working() -> Desk {
    desk(leading(), |seen, stored| stored.answer(seen))
}

impl Desk {
    fn dropped(&self) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let line = text.lines().find_map(|l| l.strip_prefix("evenkeel_events_dropped_total ")).unwrap();
        line.parse().unwrap()
    }
}

fn about(name: &str) -> ObjectReference {
    ObjectReference { kind: &PODS, namespace: "ns".into(), name: name.into(), uid: Uid::new("u-1"), version: Version(7) }
}

fn event(name: &str, message: &str) -> Event {
    Event::normal(about(name), "SuccessfulCreate", message)
}

const PATH: &str = "/api/v1/namespaces/ns/events";

/// manager 16.33
#[tokio::test(start_paused = true)]
async fn the_same_event_five_times_is_one_post_and_patches_with_the_count() {
    let desk = working();
    for _ in 0..5 {
        desk.recorder.record(event("a", "Created pod: x"));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    desk.recorder.flush().await;
    let seen = desk.server.seen();
    let made = seen[0].json();
    assert_eq!((seen[0].method.as_str(), seen[0].path.as_str()), ("POST", PATH));
    assert_eq!(
        (&made["count"], &made["firstTimestamp"], &made["lastTimestamp"]),
        (&1.into(), &"2027-01-15T08:00:00Z".into(), &"2027-01-15T08:00:00Z".into())
    );
    assert_eq!(made["involvedObject"]["resourceVersion"], "7");
    assert_eq!(
        (&made["source"]["component"], &made["reportingComponent"]),
        (&"replicaset-controller".into(), &"replicaset-controller".into())
    );
    let name = made["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("a.") && name[2..].bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
    for (n, patch) in seen[1..].iter().enumerate() {
        assert_eq!((patch.method.as_str(), patch.path.as_str()), ("PATCH", format!("{PATH}/{name}").as_str()));
        assert_eq!(patch.json()["count"], n + 2);
        assert_eq!(patch.json()["lastTimestamp"], format!("2027-01-15T08:00:0{}Z", n + 1));
    }
    assert_eq!(seen.len(), 5);
}

/// manager 11.2
#[tokio::test(start_paused = true)]
async fn a_repeat_of_an_event_that_has_expired_is_made_again_and_later_ones_find_it() {
    let desk = working();
    desk.recorder.record(event("a", "m"));
    desk.recorder.flush().await;
    let name = desk.server.seen()[0].name();
    desk.server.forget(&format!("{PATH}/{name}"));
    desk.recorder.record(event("a", "m"));
    desk.recorder.record(event("a", "m"));
    desk.recorder.flush().await;
    let seen = desk.server.seen();
    let methods: Vec<&str> = seen.iter().map(|s| s.method.as_str()).collect();
    assert_eq!(methods, ["POST", "PATCH", "POST", "PATCH"]);
    assert_eq!((seen[2].name(), &seen[2].json()["count"]), (name, &2.into()));
    assert_eq!(seen[3].json()["count"], 3);
}

/// manager 11.2
#[tokio::test(start_paused = true)]
async fn an_event_that_the_server_refuses_is_not_tried_again() {
    let desk = desk(leading(), |_, _| status(403, "Forbidden", "namespace is being terminated"));
    desk.recorder.record(event("a", "m"));
    desk.recorder.flush().await;
    assert_eq!((desk.server.seen().len(), desk.dropped()), (1, 1));
}

/// manager 11.2
#[tokio::test(start_paused = true)]
async fn an_event_is_tried_twelve_times_ten_seconds_apart_while_there_is_no_answer() {
    let desk = desk(leading(), |_, _| Reply::Reset);
    desk.recorder.record(event("a", "m"));
    desk.recorder.flush().await;
    let seen = desk.server.seen();
    assert_eq!(seen.iter().map(|s| s.at.as_secs()).collect::<Vec<_>>(), (0..12).map(|n| 10 * n).collect::<Vec<_>>());
    assert!(seen.iter().all(|s| s.name() == seen[0].name()), "under one name, so that it cannot double");
    assert_eq!(desk.dropped(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_had_arrived_after_all_is_done() {
    let mut first = true;
    let desk = desk(leading(), move |seen, stored| {
        let reply = stored.answer(seen);
        if std::mem::take(&mut first) { Reply::Reset } else { reply }
    });
    desk.recorder.record(event("a", "m"));
    desk.recorder.flush().await;
    assert_eq!((desk.server.count("POST"), desk.dropped()), (2, 0));
}

/// manager 11.2
#[tokio::test(start_paused = true)]
async fn a_thousand_events_wait_and_more_are_dropped_and_counted() {
    let desk = desk(leading(), |seen, stored| stored.answer(seen));
    // The sender has not run yet: nothing was awaited.
    for n in 0..1007 {
        desk.recorder.record(event(&format!("a-{n}"), "m"));
    }
    assert_eq!(desk.dropped(), 7);
    desk.recorder.flush().await;
    assert_eq!(desk.server.seen().len(), 1000);
}

#[tokio::test(start_paused = true)]
async fn events_of_one_instant_have_names_of_their_own() {
    let desk = working();
    for n in 0..20 {
        desk.recorder.record(event("a", &format!("m{}", n % 5)));
    }
    desk.recorder.flush().await;
    let names: std::collections::BTreeSet<String> = desk.server.seen().iter().filter(|s| s.method == "POST").map(Seen::name).collect();
    assert_eq!(names.len(), 5);
}

/// manager 11.1
#[tokio::test(start_paused = true)]
async fn events_of_cluster_scoped_objects_go_to_default() {
    let desk = working();
    let about = ObjectReference { kind: &NAMESPACES, namespace: "".into(), ..about("x") };
    desk.recorder.record(Event::warning(about, "Odd", "m"));
    desk.recorder.flush().await;
    let seen = &desk.server.seen()[0];
    assert_eq!(seen.path, "/api/v1/namespaces/default/events");
    let made = seen.json();
    assert_eq!(
        (&made["metadata"]["namespace"], &made["involvedObject"].get("namespace"), &made["type"]),
        (&"default".into(), &None, &"Warning".into())
    );
}

/// manager 11.1: as upstream's `omitempty` has it; the Lease is spoken of before it was read.
#[tokio::test(start_paused = true)]
async fn what_is_not_known_of_the_object_is_left_out() {
    let desk = working();
    desk.recorder.record(Event::normal(ObjectReference { uid: Uid::new(""), version: Version::default(), ..about("a") }, "R", "m"));
    desk.recorder.record(event("b", "m"));
    desk.recorder.flush().await;
    let involved: Vec<Value> = desk.server.seen().iter().map(|seen| seen.json()["involvedObject"].clone()).collect();
    assert_eq!(involved[0], json!({"kind": "Pod", "apiVersion": "v1", "namespace": "ns", "name": "a"}));
    assert_eq!(
        involved[1],
        json!({"kind": "Pod", "apiVersion": "v1", "namespace": "ns", "name": "b", "uid": "u-1", "resourceVersion": "7"})
    );
}

/// manager 11.1
#[tokio::test(start_paused = true)]
async fn a_name_that_would_make_the_events_name_invalid_gives_way_to_the_uid() {
    let desk = working();
    for name in [&"a".repeat(253), "system:node", "Upper", "dot..dot"] {
        desk.recorder.record(event(name, "m"));
    }
    desk.recorder.flush().await;
    assert!(desk.server.seen().iter().all(|s| s.name().starts_with("u-1.")), "{:?}", desk.server.seen());
}

#[tokio::test(start_paused = true)]
async fn events_are_not_sent_without_leadership() {
    let ends = Instant::now() + Duration::from_secs(5);
    for fence in [Arc::new(|| None) as Fence, Arc::new(move || Some(ends))] {
        let desk = desk(fence, |_, _| Reply::Reset);
        tokio::time::sleep(Duration::from_secs(6)).await;
        desk.recorder.record(event("a", "m"));
        desk.recorder.flush().await;
        assert_eq!((desk.server.seen().len(), desk.dropped()), (0, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn tries_end_with_leadership() {
    let leads = Arc::new(Mutex::new(true));
    let asked = leads.clone();
    let fence: Fence = Arc::new(move || asked.lock().unwrap().then(|| Instant::now() + Duration::from_secs(10)));
    let desk = desk(fence, |_, _| Reply::Reset);
    desk.recorder.record(event("a", "m"));
    tokio::time::sleep(Duration::from_secs(25)).await;
    *leads.lock().unwrap() = false;
    desk.recorder.flush().await;
    assert_eq!(desk.server.seen().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn flush_waits_for_all_that_was_recorded_and_the_task_ends_with_its_recorder() {
    let desk = desk(leading(), |seen, stored| crate::server::after(500, stored.answer(seen)));
    for n in 0..10 {
        desk.recorder.record(event(&format!("a-{n}"), "m"));
    }
    let start = Instant::now();
    desk.recorder.flush().await;
    assert_eq!((desk.server.seen().len(), start.elapsed()), (10, Duration::from_secs(5)));
    assert_eq!(desk.recorder.component(), "replicaset-controller");
    drop(desk.recorder);
    desk.task.await.unwrap();
}
