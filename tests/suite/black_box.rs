//! The real binary from outside: its port, its signals, its exit codes, its connections. Scenarios 3, 19, 20, 23 and 26 of manager 16.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use evenkeel_apiserver::WallClock;
use serde_json::{Value, json};

use crate::{
    process::{Process, cluster, free_port, page, scratch, until, value},
    tap::{Fate, Tap},
};

const SEC: Duration = Duration::from_secs(1);
const EVENTS: &str = "/api/v1/namespaces/kube-system/events";

/// The line of a log that says this.
fn line<'l>(log: &'l str, what: &str) -> &'l str {
    log.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("no {what:?} in {log}"))
}

/// manager 16.3, 16.19, 16.20, 16.23; `process_*` of manager 10.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leader_and_standby_as_health_checks_metrics_and_signals_show_them() {
    let cluster = cluster("leader-and-standby", false).await;
    let dir = scratch("leader-and-standby-logs");
    let start = |name: &str, port: u16| {
        let (port, identity) = (format!("--secure-port={port}"), format!("--leader-elect-identity={name}"));
        // An alias counts as the canonical name; ReplicaSets are left to somebody else.
        let args = [port.as_str(), identity.as_str(), "--controllers=deployment,replicationcontroller-controller"];
        Process::with_kubeconfig(cluster.kubeconfig(), dir.join(name), &args)
    };
    let (port, standby_port) = (free_port(), free_port());
    let mut leader = start("leader", port);
    assert!(until(20 * SEC, || leader.log().matches("starting workers").count() == 2).await, "{}", leader.log());
    let standby = start("standby", standby_port);
    assert!(until(20 * SEC, || standby.log().contains("campaigning")).await, "{}", standby.log());

    let health = "[+]leaderElection ok\n[+]deployment-controller ok\n[+]replicationcontroller-controller ok\nhealthz check passed\n";
    assert_eq!(page(port, "/healthz?verbose").await, (200, health.to_owned()));
    assert_eq!(page(standby_port, "/healthz?verbose").await, (200, "[+]leaderElection ok\nhealthz check passed\n".to_owned()));

    let (_, metrics) = page(port, "/metrics").await;
    let (_, standby_metrics) = page(standby_port, "/metrics").await;
    let status = "leader_election_master_status{name=\"kube-controller-manager\"}";
    assert_eq!((value(&metrics, status), value(&standby_metrics, status)), (Some(1.0), Some(0.0)));
    let queues: BTreeSet<&str> = metrics.lines().filter_map(|l| l.strip_prefix("workqueue_depth{name=\"")?.split('"').next()).collect();
    assert_eq!(queues, BTreeSet::from(["deployment", "replicationmanager"]));
    for metrics in [&metrics, &standby_metrics] {
        let process = |name: &str| value(metrics, &format!("process_{name}")).unwrap_or_else(|| panic!("no {name}: {metrics}"));
        assert!((1e6..2e8).contains(&process("resident_memory_bytes")));
        assert!(process("virtual_memory_bytes") >= process("resident_memory_bytes"));
        assert!(process("open_fds") >= 5.0 && process("max_fds") > process("open_fds"));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs_f64();
        assert!((now - 120.0..now + 2.0).contains(&process("start_time_seconds")));
    }
    // Counted in ticks of a hundredth of a second: less than a start may take, but not less than a start and some hundred answers.
    let mut spent = None;
    for _ in 0..500 {
        spent = value(&page(port, "/metrics").await.1, "process_cpu_seconds_total");
        if spent.is_none_or(|seconds| seconds > 0.0) {
            break;
        }
    }
    assert!(spent.is_some_and(|seconds| (0.01..60.0).contains(&seconds)), "{spent:?}");

    leader.terminate();
    let (code, _) = leader.end(10 * SEC).await;
    assert_eq!(code, Some(0), "{}", leader.log());
    assert!(line(&leader.log(), "stopped leading").contains("INFO"), "an end that was asked for is nothing to warn of");
    assert!(!leader.log().contains("WARN"), "{}", leader.log());
    assert!(until(Duration::from_millis(4400), || standby.log().contains("became leader")).await, "{}", standby.log());
    let events = cluster.admin("tests").get(EVENTS).expect("events are listed");
    let about: Vec<&Value> = events["items"].as_array().expect("a list").iter().map(|event| &event["involvedObject"]).collect();
    let lease =
        json!({"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "namespace": "kube-system", "name": "kube-controller-manager"});
    assert!(!about.is_empty() && about.iter().all(|a| **a == lease), "{about:?}");
    drop(standby);
    cluster.stop().await;
}

/// manager 16.26, with a shorter time than the default, which `whole_manager.rs` has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_stuck_at_shutdown_makes_the_exit_code_one() {
    let tap = Tap::new(Arc::new(WallClock));
    tap.rule(|asked| {
        (asked.is("POST", "/pods") || (asked.is("GET", "/pods") && asked.query.contains("fieldSelector"))).then_some(Fate::Silence)
    });
    let master = format!("--master=http://127.0.0.1:{}", tap.listen().await);
    let mut manager = Process::start(scratch("stuck").join("log"), &[&master, "--secure-port=0", "--controller-shutdown-timeout=2s"]);
    let set = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "web", "namespace": "default"}, "spec": {"replicas": 1,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "app:1"}]}}}});
    tap.admin().create("/apis/apps/v1/namespaces/default/replicasets", &set).expect("created");
    assert!(until(20 * SEC, || tap.count("POST", "/pods") > 0).await, "{}", manager.log());
    manager.terminate();
    let (code, took) = manager.end(15 * SEC).await;
    let log = manager.log();
    assert_eq!(code, Some(1), "{log}");
    assert!(took >= Duration::from_millis(1900), "{took:?}");
    assert!(line(&log, "controller shutdown timeout reached").contains("replicaset-controller"), "{log}");
}

/// reliability row 78
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lease_has_connections_of_its_own() {
    let tap = Tap::new(Arc::new(WallClock));
    let master = format!("--master=http://127.0.0.1:{}", tap.listen().await);
    let manager = Process::start(scratch("connections").join("log"), &[&master, "--secure-port=0"]);
    let renewals = || tap.count("PUT", "/leases/kube-controller-manager");
    assert!(until(20 * SEC, || renewals() >= 3).await, "{}", manager.log());
    let (lease, others): (Vec<_>, Vec<_>) = tap.asked().into_iter().partition(|asked| asked.path.contains("/leases"));
    let connections = |asked: &[crate::tap::Asked]| asked.iter().map(|a| a.connection).collect::<BTreeSet<_>>();
    let (lease, others) = (connections(&lease), connections(&others));
    assert!(lease.is_disjoint(&others), "{lease:?} {others:?}");
    assert!(others.len() >= 4, "a watch for each kind");
    assert!(lease.len() <= 3, "connections are kept: {lease:?}");
}
