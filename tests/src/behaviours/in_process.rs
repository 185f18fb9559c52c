//! Recorded behaviours in one process and in virtual time: the run that costs seconds.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::player::PlayOptions;
use super::run::run;
use super::story::Story;
use super::world::World;
use crate::recorded::Broken;
use crate::recorded::report::Report;
use crate::recorded::virtual_time::zero;

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
