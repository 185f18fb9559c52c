//! Recorded behaviours in one process and in virtual time: the run that costs seconds.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::Broken;
use super::player::PlayOptions;
use super::run::{Report, run};
use super::story::Story;
use super::world::World;

/// The day on which the stories play; any would do.
pub fn zero() -> Timestamp {
    "2026-06-01T08:00:00Z".parse().expect("a fixed time")
}

/// Runs a future on one thread with the clock paused: time jumps to the next thing that is waited for.
pub fn in_virtual_time<T>(future: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    Ok(runtime.block_on(future))
}

/// Plays the stories, all side by side, against a fresh server and the manager.
///
/// # Errors
/// When the manager ends by itself.
pub async fn play(stories: &[Story], meant: &BTreeMap<String, String>, seed: u64, verbose: bool) -> Result<Report, Broken> {
    let mut world = World::new(seed, zero());
    world.start_manager();
    let clock = world.clock();
    let options = PlayOptions { patience: 1.0, keep: false, verbose, now: Arc::new(move || clock.time()) };
    let report = run(stories, &options, meant, stories.len(), seed, &|| world.client()).await;
    if let Some(fault) = world.manager_fault().await {
        return Err(Broken(format!("the manager ended: {fault}")));
    }
    world.stop_manager().await;
    Ok(report)
}
