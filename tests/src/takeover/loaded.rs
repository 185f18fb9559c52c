//! Handovers in one process: what kube-controller-manager left is loaded, evenkeel goes on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::recorded::{Handover, played};
use crate::behaviours::player::{PlayOptions, Player};
use crate::behaviours::story::Story;
use crate::behaviours::world::World;
use crate::recorded::Broken;
use crate::recorded::difference::difference;
use crate::recorded::report::Report;

/// How long the manager gets to find something to do.
const REST: Duration = Duration::from_secs(30);

/// Takes over at every recorded cut, each in a world of its own: nothing may be written at rest, and the story must end as recorded.
///
/// # Errors
/// When a handover belongs to no story.
pub async fn take_over(handovers: &[Handover], stories: &[Story], meant: &BTreeMap<String, String>) -> Result<Report, Broken> {
    let mut report = Report { played: Vec::new(), meant: meant.clone() };
    for (number, handover) in handovers.iter().enumerate() {
        let story = stories.iter().find(|story| story.id == handover.story);
        let story = story.ok_or_else(|| Broken(format!("no behaviour is called {}", handover.story)))?;
        let start = Instant::now();
        let outcome = one(handover, story, number as u64).await;
        report.played.push(played(&format!("{} after step {}", story.id, handover.after), outcome, start.elapsed()));
    }
    Ok(report)
}

async fn one(handover: &Handover, story: &Story, seed: u64) -> Result<(), Broken> {
    let mut world = World::new(seed, handover.begins());
    let clock = world.clock();
    let mut client = world.client();
    handover.load(client.as_mut(), &move || clock.time()).await?;
    let before = handover.versions(client.as_mut()).await?;
    world.start_manager();
    sleep(REST).await;
    if let Some(fault) = world.manager_fault().await {
        return Err(Broken(format!("the manager ended: {fault}")));
    }
    let after = handover.versions(client.as_mut()).await?;
    if let Some((written, now)) = after.iter().find(|(version, _)| !before.contains_key(*version)) {
        let (name, _) = written.split_once('@').unwrap_or((written, ""));
        let was = before.iter().find(|(version, _)| version.split_once('@').is_some_and(|(old, _)| old == name)).map(|(_, was)| was);
        let what = was.and_then(|was| difference(&unversioned(was), &unversioned(now)).map(|found| found.to_string()));
        return Err(Broken(format!("written at rest: {written}: {}", what.unwrap_or_else(|| format!("new: {}", now["message"])))));
    }
    if let Some(gone) = before.keys().find(|version| !after.contains_key(*version)) {
        return Err(Broken(format!("deleted at rest: {gone}")));
    }
    let options = PlayOptions { patience: 1.0, keep: true, verbose: false, now: Arc::new(move || clock.time()) };
    let mut player = Player::new(story, &options, client, &handover.namespace);
    player.masks().know_hashes(handover.hashes.iter().map(String::as_str));
    let outcome = player.play_steps(handover.after + 1, story.steps.len()).await;
    world.stop_manager().await;
    outcome
}

/// An object without what every write changes.
fn unversioned(item: &Value) -> Value {
    let mut item = item.clone();
    if let Some(metadata) = item["metadata"].as_object_mut() {
        metadata.shift_remove("resourceVersion");
        metadata.shift_remove("managedFields");
    }
    item
}
