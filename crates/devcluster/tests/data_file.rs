//! `cargo dev --data FILE` as a person meets it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use evenkeel_devcluster::cluster::{Cluster, ClusterOptions};
use evenkeel_devcluster::nodes::NodeOptions;
use serde_json::{Value, json};

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("evenkeel-dev-data-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("made");
    folder
}

fn command(folder: &Path, data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_devcluster"));
    command.arg("--data").arg(data).arg("--kubeconfig").arg(folder.join("kubeconfig"));
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn refused(folder: &Path, data: &Path, wanted: &str) {
    let output = command(folder, data).args(["--no-nodes", "--no-manager", "--port", "0"]).output().expect("runs");
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: ") && said.contains(wanted) && said.contains(&*data.to_string_lossy()), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

fn started(command: &mut Command) -> (Child, Vec<String>) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let said = lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    std::thread::spawn(move || lines.for_each(drop));
    (child, said)
}

#[test]
fn a_file_that_cannot_be_used_is_an_error_in_a_sentence() {
    let folder = folder("refused");
    let text = folder.join("text");
    std::fs::write(&text, "not a data file").expect("written");
    refused(&folder, &text, "is no data file of a local API server");
    refused(&folder, &text.join("below"), "cannot use");
    refused(&folder, &folder, "cannot use");

    let data = folder.join("data");
    let (mut first, _) = started(command(&folder, &data).args(["--no-nodes", "--no-manager", "--port", "0"]));
    let other = folder.join("other");
    std::fs::create_dir_all(&other).expect("made");
    refused(&other, &data, "is in use by another process");
    first.kill().expect("it runs");
    first.wait().expect("ended");

    let whole = std::fs::read(&data).expect("there");
    let cut = folder.join("cut");
    std::fs::write(&cut, &whole[..whole.len() / 2]).expect("written");
    refused(&folder, &cut, "is damaged");
}

#[test]
fn a_kubeconfig_of_the_first_start_works_after_a_kill() {
    let folder = folder("kubeconfig");
    let data = folder.join("data");
    let (mut first, said) = started(command(&folder, &data).args(["--no-nodes", "--no-manager", "--port", "0"]));
    assert!(said.iter().any(|line| line.starts_with("Data ") && line.ends_with(&*data.to_string_lossy())), "{said:?}");
    let written = std::fs::read_to_string(folder.join("kubeconfig")).expect("written");
    first.kill().expect("it runs");
    first.wait().expect("ended");
    let (mut second, _) = started(command(&folder, &data).args(["--no-nodes", "--no-manager"]));
    // Address, authority and token.
    assert_eq!(std::fs::read_to_string(folder.join("kubeconfig")).expect("written"), written);
    second.kill().expect("it runs");
    second.wait().expect("ended");
}

#[cfg(unix)]
#[test]
fn the_file_holds_secrets_and_is_its_owners_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder("mode");
    let data = folder.join("data");
    let (mut child, _) = started(command(&folder, &data).args(["--no-nodes", "--no-manager", "--port", "0"]));
    child.kill().expect("it runs");
    child.wait().expect("ended");
    assert_eq!(std::fs::metadata(&data).expect("there").permissions().mode() & 0o777, 0o600);
}

async fn cluster(folder: &Path, manager: bool) -> Cluster {
    let options = ClusterOptions {
        port: Some(0),
        kubeconfig: Some(folder.join("kubeconfig")),
        data: Some(folder.join("data")),
        nodes: Some(NodeOptions::default()),
        manager,
        ..ClusterOptions::default()
    };
    Cluster::start(options).await.expect("it starts")
}

async fn until(mut holds: impl FnMut() -> bool, what: &str) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < std::time::Duration::from_secs(20), "not in time: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simulated_nodes_take_up_their_pods_again() {
    let folder = folder("nodes");
    let pods = "/api/v1/namespaces/default/pods";
    let pod = |name: &str| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let phase = |cluster: &Cluster, name: &str| {
        cluster.admin("test").get(&format!("{pods}/{name}")).unwrap_or(Value::Null)["status"]["phase"].clone()
    };
    let first = cluster(&folder, false).await;
    first.admin("test").create(pods, &pod("a")).expect("created");
    until(|| phase(&first, "a") == "Running", "the pod runs").await;
    let before = first.admin("test").get(&format!("{pods}/a")).expect("there");
    let namespaces = first.admin("test").get("/api/v1/namespaces").expect("a list");
    first.stop().await;

    let second = cluster(&folder, false).await;
    let api = second.admin("test");
    assert_eq!(api.get("/api/v1/namespaces").expect("a list")["items"], namespaces["items"]);
    assert_eq!(api.get("/api/v1/nodes").expect("a list")["items"].as_array().map(Vec::len), Some(3));
    // A new pod gets another address, and the old one is still somebody's: it can be told to end.
    api.create(pods, &pod("b")).expect("created");
    until(|| phase(&second, "b") == "Running", "a new pod runs").await;
    let (old, new) = (api.get(&format!("{pods}/a")).expect("there"), api.get(&format!("{pods}/b")).expect("there"));
    assert_eq!((&old["status"]["podIP"], &old["metadata"]["uid"]), (&before["status"]["podIP"], &before["metadata"]["uid"]));
    assert_ne!(old["status"]["podIP"], new["status"]["podIP"]);
    let services = api.get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes").expect("there");
    assert_eq!(services["ports"][0]["port"], second.port(), "the address of the server is brought up to date");
    second.stop().await;
}

#[test]
fn a_demo_that_has_converged_converges_again() {
    let folder = folder("demo");
    let data = folder.join("data");
    for _ in 0..2 {
        let output = command(&folder, &data).args(["--demo", "guestbook", "--once", "--port", "0"]).output().expect("runs");
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
}
