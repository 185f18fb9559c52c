//! Bad input: a clear error, a non-zero exit where nothing can be done, no panic, no hot loop, others unaffected.

use std::{
    io::{Read, Write},
    net::TcpListener,
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use evenkeel_apiserver::WallClock;
use evenkeel_devcluster::api::{Api, PatchType};
use serde_json::{Value, json};

use crate::{
    process::{Process, binary, cluster, free_port, scratch, until},
    tap::{Fate, Tap},
};

fn run(args: &[&str]) -> (Output, Duration) {
    let start = Instant::now();
    let output = Command::new(binary()).args(args).env_remove("KUBECONFIG").output().expect("the binary starts");
    (output, start.elapsed())
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn fails_with(args: &[&str], wanted: &str) -> String {
    let (output, took) = run(args);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(wanted), "wanted {wanted:?} in {text}");
    assert!(!text.contains("panicked"), "{text}");
    assert!(took < Duration::from_secs(20), "{took:?}");
    text
}

#[test]
fn an_unreadable_kubeconfig_is_named() {
    fails_with(&["--kubeconfig=/nonexistent/kubeconfig"], "/nonexistent/kubeconfig");
    let garbage = scratch("garbage").join("kubeconfig");
    for content in ["{{{{", "clusters: 7", "", "\u{0}\u{1}"] {
        std::fs::write(&garbage, content).expect("writable");
        fails_with(&["--kubeconfig", garbage.to_str().expect("UTF-8")], garbage.to_str().expect("UTF-8"));
    }
}

/// Certificates and tokens are read when the connection is set up: the message names the kubeconfig that asked for them.
#[test]
fn credentials_that_cannot_be_used_name_the_kubeconfig() {
    let file = scratch("credentials").join("kubeconfig");
    for user in [
        json!({"tokenFile": "/no/such/token"}),
        json!({"client-certificate-data": "aGVsbG8=", "client-key-data": "aGVsbG8="}),
        json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/no/such/plugin", "interactiveMode": "Never"}}),
    ] {
        let text = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}], "users": [{"name": "u", "user": user}]});
        std::fs::write(&file, text.to_string()).expect("writable");
        fails_with(&["--kubeconfig", file.to_str().expect("UTF-8"), "--secure-port=0"], file.to_str().expect("UTF-8"));
        fails_with(&["plan", "--kubeconfig", file.to_str().expect("UTF-8")], file.to_str().expect("UTF-8"));
    }
}

/// manager 16.24
#[test]
fn a_server_that_is_not_there_ends_the_start_after_ten_seconds() {
    fails_with(&[&format!("--master=http://127.0.0.1:{}", free_port()), "--secure-port=0"], "failed to wait for apiserver being healthy");
}

/// manager 16.24, reliability F11: connections come about, and then nothing comes.
#[test]
fn a_server_that_says_nothing_ends_the_start_after_ten_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    fails_with(&[&format!("--master=http://127.0.0.1:{port}"), "--secure-port=0"], "failed to wait for apiserver being healthy: no answer");
}

/// manager 16.2
#[test]
fn unknown_flags_and_controllers_are_errors() {
    assert!(fails_with(&["--no-such-flag=1"], "--no-such-flag").contains("Usage"));
    let text = fails_with(&["--controllers=nope"], "\"nope\" is not in the list of known controllers");
    assert!(!text.contains("Usage"));
    fails_with(&["surprise"], "surprise");
    fails_with(&["plan", "nonsense"], "KIND/NAME");
}

/// manager 16.4, 16.6, 16.8: all complaints together, and exit code 1 where the stock manager panics.
#[test]
fn flags_that_cannot_be_are_errors() {
    fails_with(&["--leader-elect-resource-lock=endpoints"], "resourceLock value must be \"leases\"");
    let text = fails_with(
        &["--leader-elect-renew-deadline=15s", "--leader-elect-lease-duration=15s", "--concurrent-job-syncs=0"],
        "renew-deadline",
    );
    assert!(text.contains("concurrent-job-syncs") && !text.contains("Usage"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_ca_is_said_to_be_one() {
    let (one, other) = (cluster("ca-one", false).await, cluster("ca-other", false).await);
    let theirs = std::fs::read_to_string(other.kubeconfig()).expect("readable");
    let mixed = theirs.replace(&format!("{}", other.port()), &format!("{}", one.port()));
    let path = scratch("ca-mixed").join("kubeconfig");
    std::fs::write(&path, mixed).expect("writable");
    let text =
        tokio::task::spawn_blocking(move || fails_with(&["--kubeconfig", path.to_str().expect("UTF-8"), "--secure-port=0"], "certificate"))
            .await
            .expect("no panic");
    assert!(text.contains("failed to wait for apiserver being healthy"), "{text}");
    one.stop().await;
    other.stop().await;
}

/// With manager 16.5: no port is opened, and the process elects all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_managers_with_one_identity_never_both_lead() {
    let cluster = cluster("identity", false).await;
    let dir = scratch("identity-logs");
    let args = [
        "--secure-port=0",
        "--leader-elect-identity=same",
        "--leader-elect-lease-duration=4s",
        "--leader-elect-renew-deadline=3s",
        "--leader-elect-retry-period=500ms",
    ];
    let one = Process::with_kubeconfig(cluster.kubeconfig(), dir.join("one"), &args);
    assert!(until(Duration::from_secs(20), || one.log().contains("leading")).await, "{}", one.log());
    let two = Process::with_kubeconfig(cluster.kubeconfig(), dir.join("two"), &args);
    let told = until(Duration::from_secs(30), || two.log().contains("unique")).await;
    assert!(told, "one: {}\ntwo: {}", one.log(), two.log());
    // Longer than the lease lasts: the second goes on standing by as long as the first renews.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(!two.log().contains("became leader"), "{}", two.log());
    assert!(!one.log().contains("stopped leading"), "{}", one.log());
    assert!(!two.log().contains("panicked") && !one.log().contains("panicked"));
    assert!(!one.log().contains("serving health"), "{}", one.log());
    drop((one, two));
    cluster.stop().await;
}

fn deployment(name: &str, replicas: i64, annotations: &Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": name}}, "strategy": {"rollingUpdate": {"maxSurge": "2147483647%", "maxUnavailable": "100%"}},
        "template": {"metadata": {"labels": {"app": name}, "annotations": annotations}, "spec": {"containers": [{"name": "c", "image": "app:1"}]}}}})
}

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";

fn pods(admin: &Api, app: &str) -> usize {
    let list = admin.get(&format!("/api/v1/namespaces/default/pods?labelSelector=app%3D{app}")).expect("pods are listed");
    list["items"].as_array().map_or(0, Vec::len)
}

/// reliability S10: creation goes on at a bounded pace with bounded memory, and others are not slowed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absurd_replicas_do_not_slow_others_down() {
    let tap = Tap::new(Arc::new(WallClock));
    // As long as a server with a disk takes: without it nothing would ever be under way beside something else.
    tap.rule(|asked| asked.is("POST", "/pods").then_some(Fate::Late(Duration::from_millis(20))));
    let master = format!("--master=http://127.0.0.1:{}", tap.listen().await);
    let manager = Process::start(scratch("absurd").join("log"), &[&master, "--secure-port=0"]);
    let idle = {
        until(Duration::from_secs(20), || manager.log().contains("starting workers")).await.then(|| manager.resident()).expect("it leads")
    };
    tap.admin().create(DEPLOYMENTS, &deployment("absurd", i64::from(i32::MAX), &json!({}))).expect("2^31-1 is a legal number");
    let made = || tap.count("POST", "/pods");
    assert!(until(Duration::from_secs(20), || made() > 200).await, "creation goes on: {}", manager.log());
    tap.admin().create(DEPLOYMENTS, &deployment("small", 3, &json!({}))).expect("created");
    let start = Instant::now();
    assert!(until(Duration::from_secs(10), || pods(&tap.admin(), "small") == 3).await, "a small Deployment waits behind an absurd one");
    eprintln!("a Deployment of 3 beside one of 2^31-1 had its pods after {:?}", start.elapsed());
    let (before, since) = (made(), Instant::now());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let rate = (made() - before) as f64 / since.elapsed().as_secs_f64();
    assert!(rate > 10.0, "creation stands still: {rate} a second");
    let most = tap.most_at_once("POST", "/api/v1/namespaces/default/pods");
    assert!((1..=100).contains(&most), "{most} creates at once");
    let grown = manager.resident().saturating_sub(idle);
    assert!(grown < (32 << 20) + 4096 * made() as u64, "{grown} bytes more for {} pods", made());
    assert!(!manager.log().contains("panicked"), "{}", manager.log());
}

/// reliability S7, row 5: pods of others are neither counted, adopted, changed nor deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_selector_that_matches_foreign_pods_leaves_them_alone() {
    let cluster = cluster("foreign", true).await;
    let admin = cluster.admin("tests");
    let foreign = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "foreign", "namespace": "default", "labels": {"app": "x"},
        "ownerReferences": [{"apiVersion": "example.com/v1", "kind": "Robot", "name": "r", "uid": "7c0c9a3e-0000-4000-8000-000000000001", "controller": true}]},
        "spec": {"containers": [{"name": "c", "image": "app:1"}]}});
    let foreign = admin.create("/api/v1/namespaces/default/pods", &foreign).expect("created");
    let set = |name: &str, replicas: u32| {
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name, "namespace": "default"}, "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "x"}},
            "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "app:1"}]}}}})
    };
    for (name, replicas) in [("one", 3), ("two", 1)] {
        admin.create(SETS, &set(name, replicas)).expect("created");
    }
    let owned = |name: &str| {
        let list = admin.get("/api/v1/namespaces/default/pods").expect("pods are listed");
        list["items"].as_array().map_or(0, |pods| pods.iter().filter(|pod| pod["metadata"]["ownerReferences"][0]["name"] == name).count())
    };
    assert!(until(Duration::from_secs(10), || (owned("one"), owned("two")) == (3, 1)).await, "{} and {}", owned("one"), owned("two"));
    admin.patch(&format!("{SETS}/one"), PatchType::Strategic, &json!({"spec": {"replicas": 0}})).expect("patched");
    assert!(until(Duration::from_secs(10), || owned("one") == 0).await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((owned("two"), owned("r")), (1, 1));
    assert_eq!(admin.get("/api/v1/namespaces/default/pods/foreign").expect("it is there"), foreign, "nobody touched it");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_with_a_quarter_mebibyte_of_annotations_rolls_out() {
    let cluster = cluster("annotations", true).await;
    let admin = cluster.admin("tests");
    admin
        .create(DEPLOYMENTS, &deployment("heavy", 2, &json!({"example.com/weight": "x".repeat(256 * 1024 - 100)})))
        .expect("within the server's limit");
    assert!(until(Duration::from_secs(10), || pods(&admin, "heavy") == 2).await);
    cluster.stop().await;
}

/// A server that is healthy and otherwise talks nonsense; counts requests.
fn garbage_server() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten().take(5_000) {
            let counted = counted.clone();
            std::thread::spawn(move || {
                let mut stream = stream;
                let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
                let mut buffer = [0_u8; 16384];
                while let Ok(read) = stream.read(&mut buffer) {
                    if read == 0 {
                        return;
                    }
                    counted.fetch_add(1, Ordering::Relaxed);
                    let body = if buffer.starts_with(b"GET /healthz") { "ok" } else { "\u{fffd}]]{\"kind\":7,,,\n\n{\"items\":" };
                    let answer =
                        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_answers_garbage_is_asked_at_a_bounded_pace() {
    let (port, count) = garbage_server();
    let dir = scratch("garbage-server");
    let kubeconfig = dir.join("kubeconfig");
    let text = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": format!("http://127.0.0.1:{port}")}}], "users": [{"name": "u", "user": {}}]});
    std::fs::write(&kubeconfig, text.to_string()).expect("writable");
    let mut manager = Process::with_kubeconfig(&kubeconfig, dir.join("log"), &["--secure-port=0"]);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(manager.ended().is_none(), "it goes on trying: {}", manager.log());
    let asked = count.load(Ordering::Relaxed);
    assert!((3..150).contains(&asked), "{asked} requests in 6 s: {}", manager.log());
    assert!(!manager.log().contains("panicked"), "{}", manager.log());
}
