//! One loop's writer with everything around it.

use std::{sync::Arc, time::Duration};

use evenkeel_api::{Key, Object, PODS, Pod, REPLICA_SETS, ReplicaSet, Uid, Version};
use evenkeel_cache::{Cache, Entry, Owner, Wait};
use evenkeel_client::{Api, ClientMetrics, Fence, Pace, PaceOptions, Writer};
use evenkeel_plan::{Done, Failure, FailureKind, Outcome, PatchForm, Target, Write};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::server::{Reply, Seen, Server, Stored};

pub const PODS_PATH: &str = "/api/v1/namespaces/ns/pods";

pub struct World {
    pub server: Server,
    pub cache: Arc<Cache>,
    pub pace: Pace,
    pub api: Api,
    pub writer: Writer,
}

/// Leadership that is always confirmed for ten more seconds, as by a healthy lease.
pub fn leading() -> Fence {
    Arc::new(|| Some(Instant::now() + Duration::from_secs(60)))
}

pub fn world(script: impl FnMut(&Seen, &mut Stored) -> Reply + Send + 'static) -> World {
    world_with(PaceOptions::default(), leading(), script)
}

pub fn world_with(pace: PaceOptions, fence: Fence, script: impl FnMut(&Seen, &mut Stored) -> Reply + Send + 'static) -> World {
    let server = Server::new(script);
    let cache = Cache::new();
    cache.ingest(Entry::<Pod>::Replace { version: Version(1), objects: Vec::new() }).unwrap();
    cache.ingest(Entry::<ReplicaSet>::Replace { version: Version(1), objects: Vec::new() }).unwrap();
    let pace = Pace::new(pace);
    let api = Api::new(server.client(), "replicaset-controller", pace.clone(), ClientMetrics::unregistered("host"));
    let writer = Writer::new(api.clone(), cache.clone(), fence);
    World { server, cache, pace, api, writer }
}

impl World {
    pub async fn steps(&self, steps: &[Vec<Write>]) -> Outcome {
        self.writer.carry_out(&owner(), steps).await
    }

    pub async fn one(&self, write: Write) -> Done {
        self.steps(&[vec![write]]).await.steps.remove(0).remove(0)
    }

    pub fn behind(&self) -> Option<Wait> {
        self.cache.behind(&owner())
    }

    /// What the key waits for when it waits for the pods to reach what the server has.
    pub fn pods_at_the_servers_version(&self) -> Option<Wait> {
        Some(Wait::Reached { kind: &PODS, version: Version(self.server.version()) })
    }
}

pub fn owner() -> Owner {
    Owner { controller: "replicaset-controller", key: Key::new("ns", "web") }
}

/// A pod body that the owner with uid `controller` controls.
pub fn body(controller: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "web-", "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": controller, "controller": true}]},
        "spec": {"fromTheFuture": {"kept": [1, null]}}})
}

/// A stored pod that `controller` controls.
pub fn stored(name: &str, controller: &str) -> Value {
    let mut pod = body(controller);
    pod["metadata"]["name"] = name.into();
    pod
}

pub fn create(name: &str) -> Write {
    Write::Create { kind: &PODS, key: Key::new("ns", name), controller: Some(Uid::new("owner")), body: Arc::new(body("owner")) }
}

pub fn target(name: &str, version: Option<u64>) -> Target {
    Target { kind: &PODS, key: Key::new("ns", name), uid: Uid::new(&format!("uid-{name}")), version: version.map(Version) }
}

pub fn delete(name: &str) -> Write {
    Write::Delete { target: target(name, None), propagation: None, grace: None }
}

pub fn patch(name: &str) -> Write {
    Write::Patch {
        target: target(name, None),
        subresource: None,
        form: PatchForm::Strategic,
        body: json!({"metadata": {"uid": format!("uid-{name}"), "labels": {"a": "b"}}}),
    }
}

/// A status PUT of the ReplicaSet `web`.
pub fn put_status(version: u64) -> Write {
    let target = Target { kind: &REPLICA_SETS, key: Key::new("ns", "web"), uid: Uid::new("uid-web"), version: Some(Version(version)) };
    let body = json!({"metadata": {"name": "web", "namespace": "ns", "uid": "uid-web", "resourceVersion": version.to_string()}, "status": {"replicas": 3}});
    Write::Replace { target, subresource: Some("status"), body }
}

pub const SET_PATH: &str = "/apis/apps/v1/namespaces/ns/replicasets/web";

pub fn set() -> Value {
    json!({"kind": "ReplicaSet", "metadata": {"name": "web", "namespace": "ns"}})
}

/// A slim pod as the watch brings it.
pub fn pod(name: &str, version: u64, deleting: bool) -> Pod {
    let mut value =
        json!({"metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}"), "resourceVersion": version.to_string()}});
    if deleting {
        value["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    }
    Pod::decode(value.to_string().as_bytes()).unwrap()
}

#[track_caller]
pub fn failure(done: &Done) -> &Failure {
    done.failure().unwrap_or_else(|| panic!("{done:?}"))
}

#[track_caller]
pub fn assert_failed(done: &Done, kind: FailureKind, message: &str) {
    let failure = failure(done);
    assert_eq!((failure.kind, failure.message.as_str()), (kind, message));
}
