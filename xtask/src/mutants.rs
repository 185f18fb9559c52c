//! `cargo xtask mutants`: how many mutants of the loop crates the tests catch. Long; not part of `cargo xtask test`.

use std::process::Command;

use serde_json::Value;

use crate::{Failure, program, workspace};

/// The version that is installed when there is none.
const VERSION: &str = "27.1.0";
/// The loop crates: pure decisions, where every change should be noticed.
const PACKAGES: [&str; 5] =
    ["evenkeel-deployment", "evenkeel-replicaset", "evenkeel-garbage-collector", "evenkeel-namespace", "evenkeel-pod-gc"];
/// Share of the viable mutants that must be caught, in percent.
const WANTED: f64 = 90.0;

/// What makes each of the many builds and test runs short. The code is not optimised, because each build serves for one run; properties are tried
/// with fewer cases and do not look for the smallest failing one, so what is caught here is caught by `cargo xtask test` as well.
const QUICK: [(&str, &str); 6] = [
    ("CARGO_INCREMENTAL", "1"),
    ("CARGO_PROFILE_DEV_OPT_LEVEL", "0"),
    ("CARGO_PROFILE_DEV_DEBUG", "0"),
    ("PROPTEST_CASES", "4"),
    ("PROPTEST_MAX_SHRINK_ITERS", "0"),
    ("RUST_BACKTRACE", "0"),
];

/// What the tests spend most time in, and no mutant changes: built once, and optimised.
const OPTIMISED: [&str; 3] = ["evenkeel-api", "evenkeel-cache", "evenkeel-plan"];

/// Runs cargo-mutants over the loop crates, each with its own tests; flags are handed on (`--file`, `--shard 1/4`, …). Prints the figure and
/// the survivors.
pub fn run(args: &[String]) -> Result<(), Failure> {
    let tool = find()?;
    let out = workspace::target().join("mutants");
    let file = out.join("mutants.out/outcomes.json");
    // A run that does not get to its first mutant must not be told with the figure of the one before.
    let _ = std::fs::remove_file(&file);
    let mut command = Command::new(tool);
    command.current_dir(workspace::root()).arg("mutants").arg("--output").arg(&out);
    // No target folder is shared: copies of a package at two places are one to cargo, so jobs side by side would run each other's tests.
    command.env_remove("CARGO_TARGET_DIR").envs(QUICK);
    // A mutant that hangs must not hold up the others; the loops' tests take a second or two.
    command.args(["--minimum-test-timeout=20", "--baseline=run"]);
    for package in PACKAGES {
        command.args(["--package", package]);
    }
    for package in OPTIMISED {
        command.arg(format!("--cargo-arg=--config=profile.dev.package.{package}.opt-level=2"));
    }
    command.args(args);
    // Missed mutants are no failure of the run: the figure below is the verdict. A run that was cut short has one, too; with `--shuffle` it
    // is that of a fair sample.
    let status = command.status().map_err(|error| Failure::Machine(format!("cannot run {}: {error}", program::shown(&command))))?;
    let text = std::fs::read_to_string(&file).map_err(|error| Failure::Machine(format!("{status}, and no {}: {error}", file.display())))?;
    let outcomes: Value = serde_json::from_str(&text).map_err(|error| Failure::Machine(format!("{}: {error}", file.display())))?;
    let count = |what: &str| outcomes[what].as_u64().unwrap_or(0);
    let caught = count("caught") + count("timeout");
    let viable = caught + count("missed");
    let share = if viable == 0 { 0.0 } else { 100.0 * caught as f64 / viable as f64 };
    for outcome in outcomes["outcomes"].as_array().into_iter().flatten().filter(|outcome| outcome["summary"] == "MissedMutant") {
        println!("survivor: {}", outcome["scenario"]["Mutant"]["name"].as_str().unwrap_or("?"));
    }
    println!("{caught} of {viable} viable mutants caught: {share:.1} % ({} could not be built)", count("unviable"));
    if !matches!(status.code(), Some(0 | 2 | 3)) {
        return Err(Failure::Machine(format!("{}: {status}; the figure is that of what was tried", program::shown(&command))));
    }
    if share >= WANTED { Ok(()) } else { Err(Failure::Verdict(format!("less than {WANTED} %"))) }
}

fn find() -> Result<std::path::PathBuf, Failure> {
    let version = |tool: &str| program::output(Command::new(tool).args(["mutants", "--version"])).is_ok();
    if version("cargo-mutants") {
        return Ok("cargo-mutants".into());
    }
    let tools = workspace::target().join("tools");
    let tool = tools.join("bin/cargo-mutants");
    if !tool.exists() {
        eprintln!("Installing cargo-mutants {VERSION} from crates.io, into {}", tools.display());
        program::run(program::cargo(&["install", "--locked", "--version", VERSION, "cargo-mutants", "--root"]).arg(&tools))?;
    }
    Ok(tool)
}
