//! `sim --seeds A..B [--verbose] [--history]`: runs seeds and says which fail, why, and how to replay them; with `--history` also all that
//! happened.

use std::{collections::BTreeMap, process::ExitCode};

use evenkeel_sim::{Fault, history::History, run_with_history};

const USAGE: &str = "usage: sim --seeds A..B [--verbose] [--history]";

fn main() -> ExitCode {
    let (mut seeds, mut verbose, mut history) = (None, false, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--verbose" => verbose = true,
            "--history" => history = true,
            "--seeds" => seeds = args.next().and_then(|text| range(&text)),
            _ => seeds = None,
        }
    }
    let Some(seeds) = seeds else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let (mut passed, mut failed) = (0, 0);
    let mut faults: BTreeMap<Fault, u64> = Fault::ALL.iter().copied().map(|f| (f, 0)).collect();
    for seed in seeds {
        let (report, happened) = run_with_history(seed);
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
            println!("  replay: cargo xtask sim --seeds {seed}..{} --verbose", seed + 1);
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
        let meta = new.map(|o| [&o["metadata"]["deletionTimestamp"], &o["metadata"]["labels"], &o["metadata"]["annotations"]]);
        let spec = new.map(|o| [&o["spec"]["replicas"], &o["spec"]["paused"], &o["spec"]["holderIdentity"]]);
        let status = new.map(|o| &o["status"]);
        lines.push((w.at, format!("rv {} {} {} by {:?}: {meta:?} {spec:?} {status:?}", w.rv, w.kind, w.key, w.actor)));
    }
    for p in &history.passes {
        let writes: Vec<String> = p.plan.writes().chain(&p.report).map(|w| format!("{} {}", w.verb(), w.key())).collect();
        lines.push((p.began, format!("pass of link {} over {} {}: saw {:?}, {writes:?}", p.link, p.controller, p.key, p.seen)));
    }
    lines.sort_by_key(|(at, _)| *at);
    lines.iter().for_each(|(at, line)| println!("{at:>7} {line}"));
}

fn range(text: &str) -> Option<std::ops::Range<u64>> {
    let (from, to) = text.split_once("..")?;
    Some(from.parse().ok()?..to.parse().ok()?)
}
