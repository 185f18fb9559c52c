//! The runs: each prints one figure set.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::LoadError;
use super::connection::{Answered, Connection, Target};
use crate::transport::Access;

/// How long watches may take for what is still missing.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a run is about.
#[derive(Debug, Clone)]
pub struct Load {
    /// The server.
    pub access: Access,
    /// Namespace; made when it is not there.
    pub namespace: String,
    /// How many pods.
    pub pods: usize,
    /// How many connections send requests, one at a time each.
    pub connections: usize,
}

impl Load {
    fn pods_path(&self) -> String {
        format!("/api/v1/namespaces/{}/pods", self.namespace)
    }
}

pub(super) fn checked(answer: &Answered, what: &str) -> Result<(), LoadError> {
    if (200..300).contains(&answer.status) {
        return Ok(());
    }
    Err(LoadError::Refused { what: what.to_owned(), status: answer.status, body: answer.start.clone() })
}

async fn make_namespace(connection: &mut Connection, name: &str) -> Result<(), LoadError> {
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}).to_string();
    let answer = connection.ask("POST", "/api/v1/namespaces", "application/json", body.as_bytes()).await?;
    if answer.status == 409 { Ok(()) } else { checked(&answer, "POST /api/v1/namespaces") }
}

/// A small pod: one container with requests, one label.
fn pod(namespace: &str, number: usize) -> String {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("pod-{number:06}"), "namespace": namespace, "labels": {"app": "load"}},
        "spec": {"containers": [{
            "name": "main", "image": "registry.invalid/main:1", "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
        }]},
    })
    .to_string()
}

/// What was sent, and how long it took.
pub(super) struct Sent {
    /// When the first request left: the connections were open then.
    pub(super) start: Instant,
    /// From then until the last answer.
    pub(super) elapsed: Duration,
    /// The time of each request, sorted.
    pub(super) took: Vec<Duration>,
}

/// Sends `request(number)` for each number below `count` over so many connections.
pub(super) async fn send_all(
    target: &Target,
    count: usize,
    connections: usize,
    request: impl Fn(usize) -> Request + Send + Sync + 'static,
) -> Result<Sent, LoadError> {
    let open = connections.min(count).max(1);
    let mut connections = Vec::new();
    for _ in 0..open {
        connections.push(target.connect().await?);
    }
    let (next, request) = (Arc::new(AtomicUsize::new(0)), Arc::new(request));
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for mut connection in connections {
        let (next, request) = (Arc::clone(&next), Arc::clone(&request));
        tasks.spawn(async move {
            let mut took = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok::<_, LoadError>(took);
                }
                let Request { method, path, content_type, body } = request(number);
                let sent = Instant::now();
                let answer = connection.ask(method, &path, &content_type, body.as_bytes()).await?;
                took.push(sent.elapsed());
                checked(&answer, &format!("{method} {path}"))?;
            }
        });
    }
    let mut took = Vec::with_capacity(count);
    while let Some(done) = tasks.join_next().await {
        took.extend(done.map_err(std::io::Error::other)??);
    }
    let elapsed = start.elapsed();
    took.sort_unstable();
    Ok(Sent { start, elapsed, took })
}

/// A request that is about to be sent.
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) content_type: String,
    pub(super) body: String,
}

fn creates(load: &Load) -> impl Fn(usize) -> Request + Send + Sync + 'static {
    let (path, namespace) = (load.pods_path(), load.namespace.clone());
    move |number| Request { method: "POST", path: path.clone(), content_type: "application/json".to_owned(), body: pod(&namespace, number) }
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e5).round() / 100.0
}

/// Seconds, with five digits.
pub(super) fn rounded_seconds(time: Duration) -> f64 {
    milliseconds(time) / 1000.0
}

pub(super) fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).map_or(0.0, |t| milliseconds(*t))
}

fn figures(load: &Load, elapsed: Duration, took: &[Duration]) -> Value {
    json!({
        "pods": load.pods, "connections": load.connections, "seconds": rounded_seconds(elapsed),
        "per_second": (load.pods as f64 / elapsed.as_secs_f64()).round(),
        "p50_ms": percentile(took, 50), "p99_ms": percentile(took, 99),
    })
}

/// Creates the pods.
///
/// # Errors
/// See [`LoadError`], as for all runs.
pub async fn create(load: &Load) -> Result<Value, LoadError> {
    let target = Target::new(&load.access)?;
    make_namespace(&mut target.connect().await?, &load.namespace).await?;
    let Sent { elapsed, took, .. } = send_all(&target, load.pods, load.connections, creates(load)).await?;
    Ok(figures(load, elapsed, &took))
}

/// Writes the status that a kubelet would, once for each pod.
///
/// # Errors
/// See [`create`].
pub async fn touch(load: &Load) -> Result<Value, LoadError> {
    let target = Target::new(&load.access)?;
    let path = load.pods_path();
    let status = json!({"status": {
        "phase": "Running", "podIP": "10.128.0.1", "podIPs": [{"ip": "10.128.0.1"}], "hostIP": "192.168.0.11",
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    }})
    .to_string();
    let request = move |number| Request {
        method: "PATCH",
        path: format!("{path}/pod-{number:06}/status"),
        content_type: "application/strategic-merge-patch+json".to_owned(),
        body: status.clone(),
    };
    let Sent { elapsed, took, .. } = send_all(&target, load.pods, load.connections, request).await?;
    Ok(figures(load, elapsed, &took))
}

/// Creates the pods while `watchers` watch them, until each has seen all.
///
/// # Errors
/// See [`create`].
pub async fn deliver(load: &Load, watchers: usize) -> Result<Value, LoadError> {
    let target = Target::new(&load.access)?;
    make_namespace(&mut target.connect().await?, &load.namespace).await?;
    let seen = Arc::new(AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..watchers {
        let path = format!("{}?watch=true", load.pods_path());
        let (status, mut lines) = target.connect().await?.watch(&path).await?;
        if status != 200 {
            return Err(LoadError::Refused { what: format!("GET {path}"), status, body: String::new() });
        }
        let (seen, pods) = (Arc::clone(&seen), load.pods);
        tasks.spawn(async move {
            let mut mine = 0;
            while mine < pods {
                let n = lines.next().await?;
                mine += n;
                seen.fetch_add(n, Ordering::Relaxed);
            }
            Ok::<_, LoadError>(Instant::now())
        });
    }
    let start = Instant::now();
    let Sent { elapsed, took, .. } = send_all(&target, load.pods, load.connections, creates(load)).await?;
    let all = async {
        let mut last = start;
        while let Some(done) = tasks.join_next().await {
            last = last.max(done.map_err(std::io::Error::other)??);
        }
        Ok::<_, LoadError>(last)
    };
    let Ok(last) = tokio::time::timeout(PATIENCE, all).await else {
        let missing = watchers * load.pods - seen.load(Ordering::Relaxed);
        return Err(LoadError::Late(format!("{missing} deliveries were missing {} s after the last create", PATIENCE.as_secs())));
    };
    let seconds = last?.duration_since(start).as_secs_f64();
    let mut line = figures(load, elapsed, &took);
    line["watchers"] = watchers.into();
    line["deliveries"] = seen.load(Ordering::Relaxed).into();
    line["deliveries_per_second"] = (seen.load(Ordering::Relaxed) as f64 / seconds).round().into();
    Ok(line)
}

/// Lists the pods `times` times, one after the other.
///
/// # Errors
/// See [`create`].
pub async fn list(load: &Load, times: usize) -> Result<Value, LoadError> {
    let target = Target::new(&load.access)?;
    let mut connection = target.connect().await?;
    let (mut took, mut length) = (Vec::new(), 0);
    for _ in 0..times.max(1) {
        let sent = Instant::now();
        let answer = connection.ask("GET", &load.pods_path(), "", b"").await?;
        took.push(sent.elapsed());
        checked(&answer, "GET")?;
        length = answer.length;
    }
    took.sort_unstable();
    Ok(json!({
        "pods": load.pods, "bytes": length, "times": times,
        "min_ms": percentile(&took, 0), "median_ms": percentile(&took, 50), "max_ms": percentile(&took, 100),
    }))
}
