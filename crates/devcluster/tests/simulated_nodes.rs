//! Simulated nodes against the API server in the same process, with tokio's clock paused: what pods go through, from creation to the end.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_apiserver::{Options, Server, WallClock};
use evenkeel_devcluster::api::{Api, PatchType, Refused};
use evenkeel_devcluster::nodes::{NodeOptions, run_nodes};
use serde_json::{Value, json};

/// Longest wait for anything; virtual, so it costs nothing.
const PATIENCE: Duration = Duration::from_secs(120);

struct World {
    api: Api,
}

impl World {
    async fn with_nodes(count: u32) -> Self {
        let server = Server::new(Options::seeded(Arc::new(WallClock), 7));
        tokio::spawn(run_nodes(Arc::clone(&server), NodeOptions { count, ..NodeOptions::default() }));
        let api = Api::new(server, "admin", "test");
        let world = Self { api };
        world.until("/api/v1/nodes", |list| list["items"].as_array().is_some_and(|nodes| nodes.len() == count as usize)).await;
        world
    }

    /// Asks again and again until `holds`.
    async fn until(&self, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let found = self.api.get(path).unwrap_or(Value::Null);
            if holds(&found) {
                return found;
            }
            assert!(tokio::time::Instant::now() < deadline, "{path} stayed {found:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn create(&self, name: &str, change: impl Fn(&mut Value)) -> Result<Value, Refused> {
        let mut pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "annotations": {}},
            "spec": {"containers": [{"name": "main", "image": "web:1"}]},
        });
        change(&mut pod);
        self.api.create("/api/v1/namespaces/default/pods", &pod)
    }

    async fn pod(&self, name: &str, holds: impl Fn(&Value) -> bool) -> Value {
        self.until(&format!("/api/v1/namespaces/default/pods/{name}"), holds).await
    }
}

fn phase(pod: &Value) -> &str {
    pod["status"]["phase"].as_str().unwrap_or_default()
}

fn ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

fn waiting(pod: &Value) -> &str {
    pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].as_str().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_bound_runs_becomes_ready_and_goes_when_it_is_deleted() {
    let world = World::with_nodes(3).await;
    world.create("web", |_| {}).expect("created");
    let pod = world.pod("web", ready).await;
    assert_eq!(phase(&pod), "Running");
    assert!(pod["spec"]["nodeName"].as_str().is_some_and(|node| node.starts_with("node-")));
    assert!(pod["status"]["podIP"].as_str().is_some_and(|ip| ip.starts_with("10.")), "{pod:#}");
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
    let path = "/api/v1/namespaces/default/pods/web";
    let evict = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web"}});
    world.api.create(&format!("{path}/eviction"), &evict).expect("deletes it gracefully");
    world.until(path, Value::is_null).await;
}

#[tokio::test(start_paused = true)]
async fn pods_are_spread_over_the_nodes_and_have_addresses_of_their_own() {
    let world = World::with_nodes(3).await;
    for i in 0..9 {
        world.create(&format!("web-{i}"), |_| {}).expect("created");
    }
    let all = |list: &Value| list["items"].as_array().is_some_and(|pods| pods.len() == 9 && pods.iter().all(ready));
    let list = world.until("/api/v1/namespaces/default/pods", all).await;
    let mut per_node = std::collections::BTreeMap::new();
    let mut addresses = std::collections::BTreeSet::new();
    for pod in list["items"].as_array().expect("a list") {
        *per_node.entry(pod["spec"]["nodeName"].as_str().expect("bound")).or_insert(0) += 1;
        addresses.insert(pod["status"]["podIP"].as_str().expect("has one"));
    }
    assert_eq!(per_node.values().copied().collect::<Vec<_>>(), [3, 3, 3]);
    assert_eq!(addresses.len(), 9);
}

#[tokio::test(start_paused = true)]
async fn images_that_cannot_be_pulled_keep_a_pod_from_starting() {
    let world = World::with_nodes(1).await;
    world.create("web", |pod| pod["spec"]["containers"][0]["image"] = json!("registry.invalid/web:1")).expect("created");
    let pod = world.pod("web", |pod| waiting(pod) == "ImagePullBackOff").await;
    assert_eq!(phase(&pod), "Pending");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(!ready(&world.pod("web", |_| true).await));
}

#[tokio::test(start_paused = true)]
async fn a_pod_with_a_failing_readiness_probe_runs_but_never_becomes_ready() {
    let world = World::with_nodes(1).await;
    let probe = json!({"exec": {"command": ["false"]}});
    world.create("web", |pod| pod["spec"]["containers"][0]["readinessProbe"] = probe.clone()).expect("created");
    world.pod("web", |pod| phase(pod) == "Running").await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(!ready(&world.pod("web", |_| true).await));
}

#[tokio::test(start_paused = true)]
async fn pods_that_are_not_restarted_end_as_their_command_says() {
    let world = World::with_nodes(1).await;
    for (name, command, end) in [("good", json!(["sleep", "1"]), "Succeeded"), ("bad", json!(["sh", "-c", "exit 3"]), "Failed")] {
        world
            .create(name, |pod| {
                pod["spec"]["restartPolicy"] = json!("Never");
                pod["spec"]["containers"][0]["command"] = command.clone();
            })
            .expect("created");
        world.pod(name, |pod| phase(pod) == end).await;
    }
    let bad = world.pod("bad", |_| true).await;
    assert_eq!(bad["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 3);
}

#[tokio::test(start_paused = true)]
async fn a_container_that_fails_is_run_again_after_a_growing_wait() {
    let world = World::with_nodes(1).await;
    world
        .create("job", |pod| {
            pod["spec"]["restartPolicy"] = json!("OnFailure");
            pod["spec"]["containers"][0]["command"] = json!(["sh", "-c", "sleep 1; exit 1"]);
        })
        .expect("created");
    world.pod("job", |pod| waiting(pod) == "CrashLoopBackOff").await;
    let pod = world.pod("job", |pod| pod["status"]["containerStatuses"][0]["restartCount"].as_i64() >= Some(2)).await;
    assert_eq!(pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_pod_waits_while_no_node_takes_it_and_is_bound_as_soon_as_one_does() {
    let world = World::with_nodes(1).await;
    let cordon = |on: bool| world.api.patch("/api/v1/nodes/node-1", PatchType::Strategic, &json!({"spec": {"unschedulable": on}}));
    cordon(true).expect("cordoned");
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.create("web", |_| {}).expect("created");
    let unschedulable = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|c| c["type"] == "PodScheduled" && c["reason"] == "Unschedulable")
    };
    world.pod("web", unschedulable).await;
    cordon(false).expect("uncordoned");
    world.pod("web", ready).await;
}

#[tokio::test(start_paused = true)]
async fn readiness_gates_are_waited_for() {
    let world = World::with_nodes(1).await;
    world.create("web", |pod| pod["spec"]["readinessGates"] = json!([{"conditionType": "example.com/lb"}])).expect("created");
    world.pod("web", |pod| phase(pod) == "Running").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!ready(&world.pod("web", |_| true).await));
    let open = json!({"status": {"conditions": [{"type": "example.com/lb", "status": "True"}]}});
    world.api.patch("/api/v1/namespaces/default/pods/web/status", PatchType::Strategic, &open).expect("patched");
    world.pod("web", ready).await;
}

#[tokio::test(start_paused = true)]
async fn nodes_show_that_they_live_by_renewing_their_leases() {
    let world = World::with_nodes(1).await;
    let path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node-1";
    let version = |lease: &Value| lease["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    let first = version(&world.until(path, |lease| lease["spec"]["holderIdentity"] == "node-1").await);
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_ne!(version(&world.api.get(path).expect("there")), first);
}
