//! Bad input: a clear error, a non-zero exit where nothing can be done, no panic, no hot loop, others unaffected.

use std::{
    io::{Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use evenkeel_devcluster::cluster::{Cluster, ClusterOptions};
use serde_json::{Value, json};

/// The binary `evenkeel` of this build.
fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test runs from a file");
    let target = test.ancestors().nth(2).expect("tests are built into target/<profile>/deps");
    let path = target.join("evenkeel");
    assert!(path.is_file(), "{} is missing: build it with `cargo build --workspace --bins`", path.display());
    path
}

fn run(args: &[&str]) -> (Output, Duration) {
    let start = Instant::now();
    let output = Command::new(binary()).args(args).env_remove("KUBECONFIG").output().expect("the binary starts");
    (output, start.elapsed())
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("evenkeel-bad-input-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("the temporary folder can be written");
    dir
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

#[test]
fn a_server_that_does_not_answer_ends_the_start_after_ten_seconds() {
    // A port that was free a moment ago: nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound").port();
    fails_with(&[&format!("--master=http://127.0.0.1:{port}"), "--secure-port=0"], "failed to wait for apiserver being healthy");
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

async fn cluster(name: &str, manager: bool) -> Cluster {
    let options = ClusterOptions {
        port: Some(0),
        kubeconfig: Some(scratch(name).join("kubeconfig")),
        nodes: None,
        manager,
        ..ClusterOptions::default()
    };
    Cluster::start(options).await.expect("a control plane starts")
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

/// Starts the manager's binary with its log in a file; ended when dropped.
struct Process(std::process::Child, PathBuf);

impl Process {
    fn start(kubeconfig: &Path, log: PathBuf, args: &[&str]) -> Self {
        let file = std::fs::File::create(&log).expect("writable");
        let child = Command::new(binary())
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(args)
            .stderr(Stdio::from(file))
            .spawn()
            .expect("the binary starts");
        Self(child, log)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.1).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn until(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        if holds() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

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
    let one = Process::start(cluster.kubeconfig(), dir.join("one"), &args);
    assert!(until(Duration::from_secs(20), || one.log().contains("leading")).await, "{}", one.log());
    let two = Process::start(cluster.kubeconfig(), dir.join("two"), &args);
    let told = until(Duration::from_secs(30), || one.log().contains("unique") || two.log().contains("unique")).await;
    assert!(told, "one: {}\ntwo: {}", one.log(), two.log());
    assert!(!two.log().contains("panicked") && !one.log().contains("panicked"));
    drop((one, two));
    cluster.stop().await;
}

fn deployment(name: &str, replicas: i64, annotations: &Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": name}}, "strategy": {"rollingUpdate": {"maxSurge": "2147483647%", "maxUnavailable": "100%"}},
        "template": {"metadata": {"labels": {"app": name}, "annotations": annotations}, "spec": {"containers": [{"name": "c", "image": "app:1"}]}}}})
}

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn pods(cluster: &Cluster, app: &str) -> usize {
    let list = cluster.admin("tests").get(&format!("/api/v1/namespaces/default/pods?labelSelector=app%3D{app}")).expect("pods are listed");
    list["items"].as_array().map_or(0, Vec::len)
}

/// reliability S10: creation goes on at a bounded pace, and others are not slowed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absurd_replicas_do_not_slow_others_down() {
    let cluster = cluster("absurd", true).await;
    let admin = cluster.admin("tests");
    admin.create(DEPLOYMENTS, &deployment("absurd", i64::from(i32::MAX), &json!({}))).expect("2^31-1 is a legal number");
    assert!(until(Duration::from_secs(20), || pods(&cluster, "absurd") > 20).await, "creation goes on");
    admin.create(DEPLOYMENTS, &deployment("small", 3, &json!({}))).expect("created");
    let start = Instant::now();
    assert!(until(Duration::from_secs(10), || pods(&cluster, "small") == 3).await, "a small Deployment waits behind an absurd one");
    eprintln!("a Deployment of 3 beside one of 2^31-1 had its pods after {:?}", start.elapsed());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_with_a_quarter_mebibyte_of_annotations_rolls_out() {
    let cluster = cluster("annotations", true).await;
    let admin = cluster.admin("tests");
    admin
        .create(DEPLOYMENTS, &deployment("heavy", 2, &json!({"example.com/weight": "x".repeat(256 * 1024 - 100)})))
        .expect("within the server's limit");
    assert!(until(Duration::from_secs(10), || pods(&cluster, "heavy") == 2).await);
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
    let mut manager = Process::start(&kubeconfig, dir.join("log"), &["--secure-port=0"]);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(manager.0.try_wait().expect("it can be asked").is_none(), "it goes on trying: {}", manager.log());
    let asked = count.load(Ordering::Relaxed);
    assert!((3..150).contains(&asked), "{asked} requests in 6 s: {}", manager.log());
    assert!(!manager.log().contains("panicked"), "{}", manager.log());
}
