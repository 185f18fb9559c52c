//! `bench gc`: how fast, and with how many requests, the garbage collector takes away what nobody owns any more, beside a client that knows
//! beforehand what is to go.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};

use super::Options;
use super::gc_worlds::{Case, MANY, World, garbage, make};
use super::idle::rounded;
use super::stage::{Contender, Stage, contenders};
use super::verdict::{Target, Verdict};
use crate::Failure;

/// The only loop that runs: nobody else reacts to what goes.
const COLLECTOR: &str = "--controllers=garbage-collector-controller";
/// How long a manager is left alone once it collects, before its work begins.
const REST: Duration = Duration::from_secs(2);
/// How long a manager that only watches is given to list everything.
const LISTED: Duration = Duration::from_secs(4);

/// Calls for each object, at most: one, and a few for the owners.
const CALLS: f64 = 1.1;
/// Calls for each object that is deleted in foreground by another's deletion: it has to be released as well.
const CALLS_TWICE: f64 = 2.1;
/// Time, in times of that which the client takes.
const RATIO: f64 = 1.3;
/// How often each case is measured: a machine that others use too is not as fast in one second as in the next.
const ROUNDS: u64 = 3;

/// Prints, for each case, objects, time, calls, CPU and memory of each manager, and the time that the client takes: those of the round whose
/// ratio is the middle one, and the ratios of all. In every round the client comes first, right before the managers.
pub fn run(options: &Options) -> Result<(), Failure> {
    let cases = chosen(&options.cases)?;
    let contenders = contenders(options)?;
    let stage = Stage::set(options)?;
    let mut verdict = Verdict::of("gc");
    for case in cases {
        let mut rounds: Vec<Vec<Value>> = vec![Vec::new(); contenders.len()];
        for round in 0..options.rounds.unwrap_or(ROUNDS).max(1) {
            let bound = bound(&stage, case, &format!("bound-{round}"), &contenders[0], options)?;
            for (number, contender) in contenders.iter().enumerate() {
                let mut figures = collected(&stage, case, contender, &format!("{number}-{round}"), options)?;
                figures["bound_seconds"] = rounded(bound).into();
                figures["ratio"] = rounded(figures["seconds"].as_f64().unwrap_or(f64::NAN) / bound).into();
                rounds[number].push(figures);
            }
        }
        for (number, rounds) in rounds.into_iter().enumerate() {
            let figures = middle(rounds);
            // What others have to reach is their affair.
            let targets = if number == 0 {
                vec![("calls_per_object", Target::AtMost(calls(case))), ("ratio", Target::AtMost(RATIO))]
            } else {
                vec![]
            };
            verdict.line(case.name(), &figures, &targets);
        }
    }
    verdict.result()
}

/// The round whose ratio is the middle one (the worse of two), with the ratios of all in ascending order.
fn middle(mut rounds: Vec<Value>) -> Value {
    let ratio = |figures: &Value| figures["ratio"].as_f64().unwrap_or(f64::NAN);
    rounds.sort_by(|a, b| ratio(a).total_cmp(&ratio(b)));
    let ratios: Vec<Value> = rounds.iter().map(|figures| figures["ratio"].clone()).collect();
    let mut figures = rounds.swap_remove(rounds.len() / 2);
    figures["ratios"] = ratios.into();
    figures
}

fn chosen(names: &[String]) -> Result<Vec<Case>, Failure> {
    if names.is_empty() {
        return Ok(Case::ALL.to_vec());
    }
    let all = || Case::ALL.map(Case::name).join(", ");
    let one = |name: &String| {
        Case::ALL
            .into_iter()
            .find(|case| case.name() == name)
            .ok_or_else(|| Failure::Usage(format!("no such case: {name}; there are {}", all())))
    };
    names.iter().map(one).collect()
}

fn calls(case: Case) -> f64 {
    match case {
        Case::Background | Case::Foreground | Case::Orphan | Case::Wide => CALLS,
        Case::Chain | Case::ChainForeground | Case::Rings => CALLS_TWICE,
    }
}

/// Seconds that the client takes for the same world. `watching`: beside a manager that sees it all and does nothing; it costs a server
/// something to tell what goes, and whoever collects has to be told.
fn bound(stage: &Stage, case: Case, whose: &str, watching: &Contender, options: &Options) -> Result<f64, Failure> {
    let namespace = namespace(case, whose);
    let world = make(stage, case, &namespace, options)?;
    let watching = stage.start_standby(watching, &[COLLECTOR, "--secure-port=0"])?;
    std::thread::sleep(LISTED);
    let done = stage.send(&format!("{namespace}-delete"), &world.bound, world.bound_connections, &world.ends)?;
    drop(watching);
    clear(stage, &world)?;
    seconds(&done)
}

/// A namespace of this run: those of earlier ones may still be there on a server that lasts.
fn namespace(case: Case, whose: &str) -> String {
    format!("bench-gc-{}-{whose}-{}", case.name(), std::process::id())
}

fn seconds(done: &Value) -> Result<f64, Failure> {
    done["seconds_until_empty"].as_f64().ok_or_else(|| Failure::Machine(format!("figures without a time: {done}")))
}

fn collected(stage: &Stage, case: Case, contender: &Contender, whose: &str, options: &Options) -> Result<Value, Failure> {
    let namespace = namespace(case, whose);
    let world = make(stage, case, &namespace, options)?;
    let port = free_port()?;
    let mut manager = stage.start_with(
        contender,
        &[COLLECTOR, &format!("--secure-port={port}"), "--bind-address=127.0.0.1", "--authorization-always-allow-paths=/metrics"],
    )?;
    // Whoever takes garbage away has listed everything.
    let other = format!("{namespace}-ready");
    stage.call(&["create", "namespace", &other])?;
    stage.send(&other, &[garbage(&other)], 1, &[format!("/api/v1/namespaces/{other}/configmaps")])?;
    std::thread::sleep(REST);

    let (before, cpu) = (requests(stage, port)?, manager.cpu_seconds()?);
    let done = stage.send(&format!("{namespace}-delete"), &world.begin, MANY, &world.ends)?;
    let (cpu, peak) = (manager.cpu_seconds()? - cpu, manager.peak()?);
    // Its last answers may be under way.
    std::thread::sleep(REST);
    let after = requests(stage, port)?;
    manager.check()?;
    manager.stop();
    clear(stage, &world)?;

    let seconds = seconds(&done)?;
    let by_method: Vec<(&str, u64)> =
        METHODS.iter().zip(after.iter().zip(before)).map(|(method, (now, then))| (*method, now - then)).collect();
    let calls: u64 = by_method.iter().map(|(_, calls)| calls).sum();
    let methods: serde_json::Map<String, Value> =
        by_method.into_iter().map(|(method, calls)| (method.to_lowercase(), calls.into())).collect();
    Ok(json!({
        "manager": contender.name, "server": stage.server_name, "objects": world.objects, "seconds": rounded(seconds),
        "objects_per_second": (world.objects as f64 / seconds).round(), "calls": calls, "by_method": methods,
        "calls_per_object": rounded(calls as f64 / world.objects as f64), "cpu_seconds": rounded(cpu), "peak_bytes": peak,
    }))
}

/// Takes away what is meant to stay, once it was seen that it did.
fn clear(stage: &Stage, world: &World) -> Result<(), Failure> {
    let Some((list, wanted)) = &world.stays else { return Ok(()) };
    let found = stage.count(list)?;
    if found != *wanted {
        return Err(Failure::Verdict(format!("{list}: {found} are left of {wanted}")));
    }
    stage.call(&["delete", "--raw", list]).map(drop)
}

/// Methods of the collector's requests. A PUT is always the Lease.
const METHODS: [&str; 4] = ["DELETE", "PATCH", "GET", "POST"];

/// How many requests of each method a manager has sent, by its own metrics.
fn requests(stage: &Stage, port: u16) -> Result<[u64; 4], Failure> {
    let page = stage.page(port, "/metrics")?;
    Ok(METHODS.map(|method| {
        let label = format!("method=\"{method}\"");
        let counts = page.lines().filter(|line| line.starts_with("rest_client_requests_total{") && line.contains(&label));
        counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).map(|count| count as u64).sum()
    }))
}

/// A port that nobody listens on.
fn free_port() -> Result<u16, Failure> {
    let taken = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    taken.map(|address| address.port()).map_err(|error| Failure::Machine(format!("no free port: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_round_is_told_with_the_ratios_of_all() {
        let round = |ratio: f64, calls: u64| json!({"ratio": ratio, "calls": calls});
        let figures = middle(vec![round(1.9, 1), round(1.1, 2), round(1.2, 3)]);
        assert_eq!(figures, json!({"ratio": 1.2, "calls": 3, "ratios": [1.1, 1.2, 1.9]}));
        assert_eq!(middle(vec![round(1.5, 1), round(1.2, 2)])["ratio"], 1.5);
    }
}
