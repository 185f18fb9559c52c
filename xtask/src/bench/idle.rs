//! `bench idle`: what a manager costs on a cluster with nothing to do.

use std::time::Duration;

use serde_json::json;

use super::Options;
use super::stage::{Stage, contenders};
use crate::Failure;

/// How long the manager gets to settle before it is watched.
const SETTLE: Duration = Duration::from_secs(10);
/// How long it is watched when nothing else is said, in seconds.
const WATCHED: u64 = 30;

/// Prints resident memory and CPU of each manager.
pub fn run(options: &Options) -> Result<(), Failure> {
    let contenders = contenders(options)?;
    let stage = Stage::set(options)?;
    let watched = options.seconds.unwrap_or(WATCHED);
    for contender in &contenders {
        let mut manager = stage.start(contender)?;
        std::thread::sleep(SETTLE);
        let before = manager.cpu_seconds()?;
        std::thread::sleep(Duration::from_secs(watched));
        manager.check()?;
        let line = json!({
            "bench": "idle", "manager": contender.name, "server": stage.server_name, "watched_seconds": watched,
            "resident_bytes": manager.resident()?, "cpu_seconds": rounded(manager.cpu_seconds()? - before),
        });
        println!("{line}");
    }
    Ok(())
}

/// Three digits are what the clock ticks give.
pub fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}
