//! The local control plane with a data file, killed at any moment: nothing that it acknowledged is lost, nothing that it showed was untrue.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use evenkeel_tests::recorded::chance::mix;
use evenkeel_tests::transport::{Access, Https, Transport};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::process::{binary, scratch};

/// How often it is killed.
const KILLS: u64 = 50;
/// Shortest and longest life of a process, from its first answer on.
const LIFE_MS: (u64, u64) = (20, 250);
/// Names that one writer writes.
const NAMES: u64 = 6;
/// How long a resumed watch may take to show what a list shows.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is written: kinds that differ in how they come and go.
const COLLECTIONS: [(&str, &str); 5] = [
    ("/api/v1/namespaces/default/configmaps", r#"{"apiVersion": "v1", "kind": "ConfigMap"}"#),
    (
        "/api/v1/namespaces/default/services",
        r#"{"apiVersion": "v1", "kind": "Service", "spec": {"type": "NodePort", "ports": [{"port": 80}]}}"#,
    ),
    ("/api/v1/namespaces/default/pods", r#"{"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "c", "image": "i"}]}}"#),
    (
        "/apis/apps/v1/namespaces/default/deployments",
        r#"{"apiVersion": "apps/v1", "kind": "Deployment", "spec": {
        "selector": {"matchLabels": {"app": "a"}},
        "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}"#,
    ),
    ("/apis/example.com/v1/namespaces/default/boats", r#"{"apiVersion": "example.com/v1", "kind": "Boat"}"#),
];

/// What a name stands for: the version and the value that was written; no entry: nothing.
type State = BTreeMap<String, (u64, String)>;

/// What a writer knows.
#[derive(Default)]
struct Ledger {
    acknowledged: State,
    /// The write that was not answered: its name, and the value that it would have left.
    open: Option<(String, Option<String>)>,
    writes: u64,
}

struct Plane {
    child: Child,
}

impl Plane {
    fn start(data: &Path, kubeconfig: &Path, port: Option<&str>) -> Plane {
        let mut command = Command::new(binary().with_file_name("devcluster"));
        command.args(["--no-nodes", "--no-manager", "--compaction-interval=50ms", "--data"]).arg(data).arg("--kubeconfig").arg(kubeconfig);
        command.args(port.map(|port| ["--port", port]).into_iter().flatten());
        Plane::run(command.stderr(Stdio::inherit()))
    }

    fn run(command: &mut Command) -> Plane {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let first = BufReader::new(child.stdout.take().expect("piped")).lines().next();
        let first = first.and_then(Result::ok).unwrap_or_default();
        assert!(first.starts_with("API server"), "it did not start: {first}");
        Plane { child }
    }

    /// SIGKILL.
    fn kill(mut self) {
        self.child.kill().expect("it runs");
        let _ = self.child.wait();
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse().ok()).unwrap_or_else(|| panic!("no version: {object}"))
}

fn entry(object: &Value) -> (String, (u64, String)) {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    (text(&object["metadata"]["name"]), (version(object), text(&object["metadata"]["labels"]["value"])))
}

/// Everything of a collection that the writers wrote, and the version of the list; `None`: nobody answers.
async fn list(client: &mut Https, collection: &str) -> Option<(u64, State)> {
    let answer = client.call("GET", &format!("{collection}?labelSelector=value"), &[], None).await.ok()?;
    let list = answer.value();
    assert_eq!(answer.status.as_u16(), 200, "{list}");
    Some((version(&list), list["items"].as_array().into_iter().flatten().map(entry).collect()))
}

/// Writes until nobody answers any more.
async fn write(mut client: Https, collection: &str, template: &str, ledger: &Mutex<Ledger>, seed: u64) {
    let mut chance = seed;
    for n in 0.. {
        chance = mix(chance ^ n);
        let name = format!("n{}", chance % NAMES);
        let there = ledger.lock().expect("whole").acknowledged.contains_key(&name);
        let value = format!("v{:x}", mix(chance));
        let (method, path, wanted, body) = match (there, (chance >> 32) & 3) {
            (false, _) => {
                let mut object: Value = serde_json::from_str(template).expect("a template");
                object["metadata"] = json!({"name": name, "labels": {"value": value}});
                ("POST", collection.to_owned(), Some(value), object)
            }
            (true, 0) => (
                "DELETE",
                format!("{collection}/{name}"),
                None,
                json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}),
            ),
            (true, _) => ("PATCH", format!("{collection}/{name}"), Some(value.clone()), json!({"metadata": {"labels": {"value": value}}})),
        };
        ledger.lock().expect("whole").open = Some((name.clone(), wanted.clone()));
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let headers = [("Content-Type".to_owned(), Some(kind.to_owned()))];
        let Ok(answer) = client.call(method, &path, &headers, Some(Bytes::from(body.to_string()))).await else { return };
        let object = answer.value();
        assert!(answer.status.is_success(), "{method} {path}: {object}");
        let mut ledger = ledger.lock().expect("whole");
        ledger.open = None;
        ledger.writes += 1;
        match wanted {
            Some(value) => ledger.acknowledged.insert(name, (version(&object), value)),
            None => ledger.acknowledged.remove(&name),
        };
    }
}

/// What a watch has shown so far, over the lives of all processes.
#[derive(Default)]
struct Seen {
    state: State,
    last: u64,
    events: u64,
    expired: u64,
}

/// Follows a collection until nobody answers any more, from the last version that was seen.
async fn follow(mut client: Https, collection: String, seen: Arc<Mutex<Seen>>) {
    loop {
        let last = seen.lock().expect("whole").last;
        let path = format!("{collection}?watch=true&allowWatchBookmarks=true&labelSelector=value&resourceVersion={last}");
        let Ok(mut stream) = client.watch(&path, &[]).await else { return };
        let mut buffer = BytesMut::new();
        let expired = loop {
            let Some(Ok(piece)) = stream.body.next().await else { return };
            buffer.extend_from_slice(&piece);
            let mut expired = false;
            while let Some(end) = buffer.iter().position(|b| *b == b'\n') {
                let event: Value = serde_json::from_slice(&buffer.split_to(end + 1)).expect("whole lines");
                expired |= take(&event, &mut seen.lock().expect("whole"));
            }
            if expired {
                break true;
            }
        };
        if expired {
            let Some((rv, state)) = list(&mut client, &collection).await else { return };
            let mut seen = seen.lock().expect("whole");
            (seen.last, seen.state) = (rv, state);
            seen.expired += 1;
        }
    }
}

/// Takes an event; whether it says that the version is too old.
fn take(event: &Value, seen: &mut Seen) -> bool {
    let (kind, object) = (event["type"].as_str().unwrap_or_default(), &event["object"]);
    if kind == "ERROR" {
        assert_eq!(object["code"], 410, "{event}");
        return true;
    }
    let rv = version(object);
    assert!(if kind == "BOOKMARK" { rv >= seen.last } else { rv > seen.last }, "back from {} to {event}", seen.last);
    seen.last = rv;
    match kind {
        "BOOKMARK" => return false,
        "DELETED" => seen.state.remove(&entry(object).0),
        _ => seen.state.insert(entry(object).0, entry(object).1),
    };
    seen.events += 1;
    false
}

/// Holds a collection against what its writer knows; the ledger then says what is there.
fn check(ledger: &mut Ledger, found: &State, collection: &str) {
    let open = ledger.open.take();
    let names = ledger.acknowledged.keys().chain(found.keys()).chain(open.iter().map(|(name, _)| name));
    for name in names {
        let (known, is) = (ledger.acknowledged.get(name), found.get(name));
        let after_open = open.as_ref().filter(|(n, _)| n == name).is_some_and(|(_, value)| match (value, is) {
            (None, None) => true,
            (Some(value), Some((rv, found))) => found == value && known.is_none_or(|(before, _)| rv > before),
            _ => false,
        });
        assert!(known == is || after_open, "{collection}/{name}: acknowledged {known:?}, not answered {open:?}, found {is:?}");
    }
    ledger.acknowledged = found.clone();
}

/// A watch from long ago shows what came after, or says that it cannot. Whether it could; `None`: nothing came after.
async fn look_back(client: &mut Https, collection: &str, from: u64) -> Option<bool> {
    let path = format!("{collection}?watch=true&timeoutSeconds=1&resourceVersion={from}");
    let mut stream = client.watch(&path, &[]).await.expect("it answers");
    let mut text = BytesMut::new();
    let end = loop {
        if let Some(end) = text.iter().position(|b| *b == b'\n') {
            break end;
        }
        text.extend_from_slice(&stream.body.next().await?.expect("it goes on"));
    };
    let event: Value = serde_json::from_slice(&text[..end]).expect("a whole line");
    if event["type"] == "ERROR" {
        assert_eq!(event["object"]["code"], 410, "{event}");
        return Some(false);
    }
    assert!(version(&event["object"]) > from, "{from}: {event}");
    Some(true)
}

async fn define_boats(client: &mut Https) {
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "boats.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "boats", "singular": "boat", "kind": "Boat", "listKind": "BoatList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]},
    });
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let answer = client.call("POST", path, &[], Some(Bytes::from(definition.to_string()))).await.expect("it answers");
    assert_eq!(answer.status.as_u16(), 201, "{}", answer.value());
}

/// Issue 6.5: killed at any moment, nothing acknowledged is lost. All rounds use the first process's token, authority and port.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_lose_nothing_that_was_acknowledged() {
    let folder = scratch("killed");
    let (data, kubeconfig): (PathBuf, PathBuf) = (folder.join("data"), folder.join("kubeconfig"));
    let mut first = Some(Plane::start(&data, &kubeconfig, Some("0")));
    let access = Access::read(&kubeconfig).expect("written");
    define_boats(&mut access.client().expect("an address")).await;
    let ledgers: Vec<Mutex<Ledger>> = COLLECTIONS.iter().map(|_| Mutex::default()).collect();
    let ledgers = Arc::new(ledgers);
    let seen: Vec<Arc<Mutex<Seen>>> = COLLECTIONS.iter().map(|_| Arc::default()).collect();
    let (mut highest, mut origin, mut looked_back) = (0, Vec::new(), [0, 0]);
    for round in 0..=KILLS {
        let plane = first.take().unwrap_or_else(|| Plane::start(&data, &folder.join("another-kubeconfig"), None));
        let mut client = access.client().expect("an address");
        let mut watches: Vec<JoinHandle<()>> = Vec::new();
        for ((collection, _), (ledger, seen)) in COLLECTIONS.iter().zip(ledgers.iter().zip(&seen)) {
            let (rv, found) = list(&mut client, collection).await.expect("it answers");
            assert!(rv >= highest, "the revision went back from {highest} to {rv}");
            let shown = seen.lock().expect("whole").last;
            assert!(shown <= rv, "a watch had shown {shown}, the revision is {rv}");
            highest = rv;
            check(&mut ledger.lock().expect("whole"), &found, collection);
            if seen.lock().expect("whole").last == 0 {
                let mut seen = seen.lock().expect("whole");
                (seen.last, seen.state) = (rv, found.clone());
            }
            watches.push(tokio::spawn(follow(client.another(), (*collection).to_owned(), Arc::clone(seen))));
            let start = Instant::now();
            while seen.lock().expect("whole").state != found {
                let state = seen.lock().expect("whole").state.clone();
                assert!(start.elapsed() < PATIENCE, "{collection}: the resumed watch shows {state:?}, the list {found:?}");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        origin.push(highest);
        if let Some(from) = round.checked_sub(2) {
            let shown = look_back(&mut client, COLLECTIONS[round as usize % COLLECTIONS.len()].0, origin[from as usize]).await;
            if let Some(shown) = shown {
                looked_back[usize::from(shown)] += 1;
            }
        }
        if round == KILLS {
            break;
        }
        let writers: Vec<JoinHandle<()>> = (0..COLLECTIONS.len())
            .map(|i| {
                let (client, ledgers) = (client.another(), Arc::clone(&ledgers));
                tokio::spawn(
                    async move { write(client, COLLECTIONS[i].0, COLLECTIONS[i].1, &ledgers[i], mix(round * 16 + i as u64)).await },
                )
            })
            .collect();
        let (short, long) = LIFE_MS;
        tokio::time::sleep(Duration::from_millis(short + mix(round) % (long - short))).await;
        plane.kill();
        for task in writers.into_iter().chain(watches) {
            task.await.expect("no writer found anything wrong");
        }
        for ledger in ledgers.iter() {
            highest = ledger.lock().expect("whole").acknowledged.values().map(|(rv, _)| *rv).fold(highest, u64::max);
        }
        highest = seen.iter().map(|seen| seen.lock().expect("whole").last).fold(highest, u64::max);
    }
    let writes: u64 = ledgers.iter().map(|ledger| ledger.lock().expect("whole").writes).sum();
    let (events, expired) = seen.iter().map(|s| s.lock().expect("whole")).fold((0, 0), |(e, x), s| (e + s.events, x + s.expired));
    let [too_old, shown] = looked_back;
    println!("{KILLS} kills, {writes} acknowledged writes, {events} events seen, {expired} watches told to begin anew");
    println!("watches from long ago: {shown} shown what came after, {too_old} told that it is too old");
    assert!(writes > 10 * KILLS && events > 10 * KILLS, "{writes} writes, {events} events: they prove little");
    let _ = std::fs::remove_dir_all(&folder);
}

/// Issue 6.5: what cannot be kept is not acknowledged, and the process ends with a reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_ends_it_and_loses_nothing_that_was_acknowledged() {
    let folder = scratch("full");
    let (data, kubeconfig) = (folder.join("data"), folder.join("kubeconfig"));
    // The size of its files is limited instead of the disk; a signal that is ignored becomes an error of the write.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 8192; exec \"$0\" \"$@\""]).arg(binary().with_file_name("devcluster"));
    limited.args(["--no-nodes", "--no-manager", "--port", "0", "--data"]).arg(&data).arg("--kubeconfig").arg(&kubeconfig);
    let log = folder.join("log");
    let mut plane = Plane::run(limited.stderr(std::fs::File::create(&log).expect("made")));
    let access = Access::read(&kubeconfig).expect("written");
    let mut client = access.client().expect("an address");
    let maps = "/api/v1/namespaces/default/configmaps";
    let mut acknowledged = BTreeMap::new();
    for n in 0..2_000 {
        let name = format!("map-{n:04}");
        let map = json!({"metadata": {"name": name, "labels": {"value": "full"}}, "data": {"filler": "x".repeat(20_000)}});
        match client.call("POST", maps, &[], Some(Bytes::from(map.to_string()))).await {
            Ok(answer) if answer.status.is_success() => acknowledged.insert(name, version(&answer.value())),
            Ok(answer) => {
                assert_eq!(answer.status.as_u16(), 500, "{}", answer.value());
                break;
            }
            Err(_) => break,
        };
    }
    let start = Instant::now();
    let status = loop {
        if let Some(status) = plane.child.try_wait().expect("ours") {
            break status;
        }
        assert!(start.elapsed() < PATIENCE, "it goes on without keeping anything");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let said = std::fs::read_to_string(&log).expect("there");
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("error: the state can no longer be kept: cannot use"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    assert!((10..2_000).contains(&acknowledged.len()), "{} were acknowledged", acknowledged.len());

    let plane = Plane::start(&data, &kubeconfig, None);
    let (_, found) = list(&mut access.client().expect("an address"), maps).await.expect("it answers");
    for (name, rv) in &acknowledged {
        assert_eq!(found.get(name).map(|(rv, _)| rv), Some(rv), "{name}");
    }
    plane.kill();
    let _ = std::fs::remove_dir_all(&folder);
}
