//! `bench idle --noise`: what very many objects that no loop cares about cost a manager that has to know of each.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Options;
use super::gc_worlds::{MANY, post};
use super::idle::rounded;
use super::stage::{Contender, Stage, WORKLOADS, contenders};
use super::verdict::{Target, Verdict};
use crate::Failure;
use crate::process::Running;

/// Namespaces that the objects are spread over.
const NAMESPACES: u64 = 100;
/// ConfigMaps in all.
const CONFIG_MAPS: u64 = 100_000;
/// Secrets in all.
const SECRETS: u64 = 20_000;
/// What is in each, in bytes.
const CONTENT: usize = 10_000;

/// Memory for each of them, at most, in bytes.
const BYTES: f64 = 120.0;

/// Every loop that evenkeel has.
const OTHERS: &str = "namespace-controller,pod-garbage-collector-controller,garbage-collector-controller";
/// A manager that has used less CPU than this for so long has read what there is.
const QUIET: (f64, Duration) = (0.05, Duration::from_secs(5));
/// How long that may take.
const LIMIT: Duration = Duration::from_secs(300);

/// Prints what each manager takes without the objects and with them.
pub fn run(options: &Options) -> Result<(), Failure> {
    let contenders = contenders(options)?;
    let stage = Stage::set(options)?;
    let without = contenders.iter().map(|contender| settled(&stage, contender)).collect::<Result<Vec<_>, _>>()?;
    let objects = make(&stage, options)?;
    let mut verdict = Verdict::of("idle --noise");
    for (number, (contender, without)) in contenders.iter().zip(without).enumerate() {
        let with = settled(&stage, contender)?;
        let each = with.resident.saturating_sub(without.resident) as f64 / objects as f64;
        let figures = json!({
            "manager": contender.name, "server": stage.server_name, "objects": objects, "content_bytes": CONTENT,
            "resident_without_bytes": without.resident, "resident_bytes": with.resident, "bytes_per_object": each.round(),
            "peak_without_bytes": without.peak, "peak_bytes": with.peak, "cpu_seconds": rounded(with.cpu),
        });
        let targets = if number == 0 { vec![("bytes_per_object", Target::AtMost(BYTES))] } else { vec![] };
        verdict.line("memory", &figures, &targets);
    }
    verdict.result()
}

/// What a manager has taken once it has read everything.
struct Settled {
    resident: u64,
    peak: u64,
    cpu: f64,
}

fn settled(stage: &Stage, contender: &Contender) -> Result<Settled, Failure> {
    let mut manager = stage.start_with(contender, &[&format!("--controllers={WORKLOADS},{OTHERS}"), "--secure-port=0"])?;
    quiet(&mut manager)?;
    Ok(Settled { resident: manager.resident()?, peak: manager.peak()?, cpu: manager.cpu_seconds()? })
}

fn quiet(manager: &mut Running) -> Result<(), Failure> {
    let start = Instant::now();
    let mut before = manager.cpu_seconds()?;
    loop {
        std::thread::sleep(QUIET.1);
        manager.check()?;
        let now = manager.cpu_seconds()?;
        if now - before <= QUIET.0 {
            return Ok(());
        }
        if start.elapsed() > LIMIT {
            return Err(Failure::Verdict(format!("the manager is still busy after {} s", LIMIT.as_secs())));
        }
        before = now;
    }
}

/// Makes the objects, and says how many.
fn make(stage: &Stage, options: &Options) -> Result<u64, Failure> {
    let (maps, secrets) = (options.scaled(CONFIG_MAPS / NAMESPACES), options.scaled(SECRETS / NAMESPACES));
    let content = "x".repeat(CONTENT);
    let object = |kind: &str, data: &str| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "of-no-concern-{n}"}, data: {"content": content}});
    let (map, secret) = (object("ConfigMap", "data"), object("Secret", "stringData"));
    let name = |n: u64| format!("bench-noise-{n:03}");
    let namespace = |n| {
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name(n)}});
        post("/api/v1/namespaces", &body, 1)
    };
    let objects = |n| -> [Value; 2] {
        let path = |kind: &str| format!("/api/v1/namespaces/{}/{kind}", name(n));
        [post(&path("configmaps"), &map, maps), post(&path("secrets"), &secret, secrets)]
    };
    stage.send("noise-namespaces", &(0..NAMESPACES).map(namespace).collect::<Vec<_>>(), MANY, &[])?;
    stage.send("noise", &(0..NAMESPACES).flat_map(objects).collect::<Vec<_>>(), MANY, &[])?;
    Ok(NAMESPACES * (maps + secrets))
}
