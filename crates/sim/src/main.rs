//! `sim --seeds A..B [--world collection] [--verbose] [--history]`: runs seeds and says which fail, why, and how to replay them; with `--history` also all that
//! happened.

use std::{collections::BTreeMap, process::ExitCode};

use evenkeel_sim::{Fault, World, history::History};
use serde_json::Value;

const USAGE: &str = "usage: sim --seeds A..B [--world workloads|collection] [--verbose] [--history]";

fn main() -> ExitCode {
    let (mut seeds, mut verbose, mut history, mut world) = (None, false, false, World::Workloads);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--verbose" => verbose = true,
            "--history" => history = true,
            "--world" => match args.next().as_deref() {
                Some("workloads") => world = World::Workloads,
                Some("collection") => world = World::Collection,
                _ => {
                    eprintln!("{USAGE}");
                    return ExitCode::from(2);
                }
            },
            "--seeds" => seeds = args.next().and_then(|text| range(&text)),
            _ => seeds = None,
        }
    }
    let Some(seeds) = seeds else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let (mut passed, mut failed) = (0, 0);
    let mut faults: BTreeMap<Fault, u64> = Fault::ALL.iter().copied().filter(|f| f.strikes(world)).map(|f| (f, 0)).collect();
    for seed in seeds {
        let (report, happened) = world.run(seed, None);
        if history {
            tell(&happened.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        }
        report.faults.iter().for_each(|(fault, n)| *faults.entry(*fault).or_default() += n);
        if report.violations.is_empty() {
            passed += 1;
        } else {
            failed += 1;
            let shown = if verbose { usize::MAX } else { 1 };
            let list: Vec<&str> = report.violations.iter().take(shown).map(String::as_str).collect();
            println!("seed {seed}: {} violations: {}", report.violations.len(), list.join("\n  "));
            let which = if world == World::Collection { " --world collection" } else { "" };
            println!("  replay: cargo xtask sim --seeds {seed}..{}{which} --verbose --history", seed + 1);
        }
        if verbose {
            println!("seed {seed}: hash {:016x}, {} writes, faults {:?}", report.history_hash, report.writes, report.faults);
        }
    }
    for (fault, n) in &faults {
        println!("{n:>7} {fault:?}");
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Writes and passes in the order of time.
fn tell(history: &History) {
    let mut lines: Vec<(u64, String)> = Vec::new();
    for w in &history.writes {
        let new = w.new.as_deref();
        let meta = |field: &str| new.map_or(&Value::Null, |o| &o["metadata"][field]);
        let fields = ["uid", "deletionTimestamp", "finalizers", "ownerReferences", "labels", "annotations"];
        let meta: Vec<String> =
            fields.iter().map(|f| (f, meta(f))).filter(|(_, v)| !v.is_null()).map(|(f, v)| format!("{f} {v}")).collect();
        let spec = new.map(|o| [&o["spec"]["replicas"], &o["spec"]["paused"], &o["spec"]["holderIdentity"]]);
        let status = new.map(|o| &o["status"]);
        lines.push((
            w.at,
            format!(
                "rv {} {} {} by {:?}: {}{} {spec:?} {status:?}",
                w.rv,
                w.kind,
                w.key,
                w.actor,
                if new.is_none() { "gone " } else { "" },
                meta.join(" ")
            ),
        ));
    }
    for p in &history.passes {
        let writes: Vec<String> = p.plan.writes().chain(&p.report).map(|w| format!("{} {}", w.verb(), w.key())).collect();
        lines.push((
            p.began,
            format!("pass of link {} (restores: {}) over {} {}: saw {:?}, {writes:?}", p.link, p.restores, p.controller, p.key, p.seen),
        ));
    }
    if let Some(restored) = history.restored {
        lines.push((restored.at, format!("the server goes back to rv {}", restored.revision)));
    }
    for r in history.requests.iter().filter(|r| !r.path.contains("/leases") && !r.path.contains("/events")) {
        let heard = if r.unheard { ", unheard" } else { "" };
        lines.push((r.sent, format!("link {} sends {} {}: {} at {}{heard}", r.link, r.method, r.path, r.code, r.at)));
    }
    lines.sort_by_key(|(at, _)| *at);
    lines.iter().for_each(|(at, line)| println!("{at:>7} {line}"));
}

fn range(text: &str) -> Option<std::ops::Range<u64>> {
    let (from, to) = text.split_once("..")?;
    Some(from.parse().ok()?..to.parse().ok()?)
}
