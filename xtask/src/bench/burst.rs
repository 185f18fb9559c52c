//! `bench burst`: one Deployment of many pods at once. Nobody runs the pods: what is measured is the manager.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Options;
use super::idle::rounded;
use super::stage::{Contender, Stage, contenders};
use crate::Failure;
use crate::process::Running;

/// How many pods when nothing else is said.
const PODS: u64 = 10_000;
/// How long one phase may take before the bench gives up.
const LIMIT: Duration = Duration::from_secs(1200);
/// How long memory and CPU are given to come to rest.
const REST: Duration = Duration::from_secs(5);

/// Prints time and CPU seconds for the pods, and memory per pod, of each manager.
pub fn run(options: &Options) -> Result<(), Failure> {
    let pods = options.pods.unwrap_or(PODS);
    let contenders = contenders(options)?;
    let stage = Stage::set(options)?;
    for (number, contender) in contenders.iter().enumerate() {
        println!("{}", round(&stage, contender, pods, &format!("bench-burst-{number}"))?);
    }
    Ok(())
}

fn round(stage: &Stage, contender: &Contender, pods: u64, namespace: &str) -> Result<Value, Failure> {
    stage.call(&["create", "namespace", namespace])?;
    let list = format!("/api/v1/namespaces/{namespace}/pods");
    let mut manager = stage.start(contender)?;
    std::thread::sleep(REST);
    let (idle, cpu) = (manager.resident()?, manager.cpu_seconds()?);

    let start = Instant::now();
    stage.create("burst.json", &deployment(namespace, pods))?;
    wait(&mut manager, || Ok(stage.count(&list)? >= pods))?;
    let seconds = start.elapsed().as_secs_f64();
    // The status tells of all of them once the manager has nothing left to do.
    let told = |path: &str| stage.call(&["get", "deployment", "-n", namespace, "burst", "-o", path]);
    wait(&mut manager, || Ok(told("jsonpath={.status.replicas}")? == pods.to_string()))?;
    let until_told = start.elapsed().as_secs_f64();
    std::thread::sleep(REST);
    let (burst_cpu, after) = (manager.cpu_seconds()? - cpu, manager.resident()?);
    let found = stage.count(&list)?;

    // A fresh process shows what the pods themselves take: the burst's own memory is gone.
    manager.stop();
    let mut fresh = stage.start(contender)?;
    std::thread::sleep(2 * REST);
    fresh.check()?;
    let warm = fresh.resident()?;
    fresh.stop();
    // No manager runs now: nothing makes them anew, and nobody would take an orphan's finalizer away.
    for kind in ["deployments", "replicasets", "pods"] {
        stage.call(&["delete", kind, "-n", namespace, "--all", "--cascade=background", "--grace-period=0", "--force", "--wait=false"])?;
    }
    let per_pod = |resident: u64| resident.saturating_sub(idle) as f64 / pods as f64;
    Ok(json!({
        "bench": "burst", "manager": contender.name, "server": stage.server_name, "pods": pods, "pods_found": found,
        "seconds": rounded(seconds), "seconds_until_status": rounded(until_told), "cpu_seconds": rounded(burst_cpu),
        "pods_per_second": (pods as f64 / seconds).round(),
        "resident_idle_bytes": idle, "resident_after_burst_bytes": after, "resident_restarted_bytes": warm,
        "bytes_per_pod": per_pod(warm).round(), "bytes_per_pod_after_burst": per_pod(after).round(),
    }))
}

fn wait(manager: &mut Running, mut reached: impl FnMut() -> Result<bool, Failure>) -> Result<(), Failure> {
    let start = Instant::now();
    while !reached()? {
        manager.check()?;
        if start.elapsed() > LIMIT {
            return Err(Failure::Verdict(format!("not there after {} s", LIMIT.as_secs())));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn deployment(namespace: &str, pods: u64) -> Value {
    let labels = json!({"app": "burst"});
    let container =
        json!({"name": "main", "image": "registry.invalid/main:1", "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "burst", "namespace": namespace},
        "spec": {"replicas": pods, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}},
    })
}
