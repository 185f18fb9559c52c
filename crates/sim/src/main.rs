//! `sim --seeds A..B [--verbose]`: runs seeds and says which fail, why, and how to replay them.

use std::{collections::BTreeMap, process::ExitCode};

use evenkeel_sim::{Fault, run_seed};

const USAGE: &str = "usage: sim --seeds A..B [--verbose]";

fn main() -> ExitCode {
    let (mut seeds, mut verbose) = (None, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--verbose" => verbose = true,
            "--seeds" => seeds = args.next().and_then(|text| range(&text)),
            _ => seeds = None,
        }
    }
    let Some(seeds) = seeds else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let (mut passed, mut failed) = (0, 0);
    let mut faults: BTreeMap<Fault, u64> = Fault::ALL.into_iter().map(|f| (f, 0)).collect();
    for seed in seeds {
        let report = run_seed(seed);
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

fn range(text: &str) -> Option<std::ops::Range<u64>> {
    let (from, to) = text.split_once("..")?;
    Some(from.parse().ok()?..to.parse().ok()?)
}
