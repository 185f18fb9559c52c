//! A run: many behaviours side by side, those that must be alone after them.

use std::collections::BTreeMap;

use futures::StreamExt;
use tokio::time::Instant;

use super::player::{PlayOptions, Player};
use super::story::Story;
use crate::recorded::chance::namespace_name;
use crate::recorded::report::{Played, Report};
use crate::transport::Transport;

/// How many are played at a time over a socket. In process, where waiting costs nothing, all of them are.
pub const JOBS: usize = 12;

/// Plays all of them, `jobs` at a time. `connect` gives a client for each; `seed` the names of the namespaces.
pub async fn run(
    stories: &[Story],
    options: &PlayOptions,
    meant: &BTreeMap<String, String>,
    jobs: usize,
    seed: u64,
    connect: &(dyn Fn() -> Box<dyn Transport> + Sync),
) -> Report {
    let mut together: Vec<(usize, &Story)> = stories.iter().enumerate().filter(|(_, story)| !story.alone).collect();
    together.sort_by_key(|(_, story)| std::cmp::Reverse(story.weight()));
    let play = |(number, story)| play_one(number, story, options, seed, connect);
    let mut played: Vec<(usize, Played)> = futures::stream::iter(together).map(play).buffer_unordered(jobs.max(1)).collect().await;
    for (number, story) in stories.iter().enumerate().filter(|(_, story)| story.alone) {
        played.push(play_one(number, story, options, seed, connect).await);
    }
    played.sort_by_key(|(number, _)| *number);
    Report { played: played.into_iter().map(|(_, played)| played).collect(), meant: meant.clone() }
}

async fn play_one(
    number: usize,
    story: &Story,
    options: &PlayOptions,
    seed: u64,
    connect: &(dyn Fn() -> Box<dyn Transport> + Sync),
) -> (usize, Played) {
    let start = Instant::now();
    let namespace = namespace_name(seed, number as u64);
    let mut player = Player::new(story, options, connect(), &namespace);
    let fault = player.play().await.err();
    (number, Played { id: story.id.clone(), fault, pictures: std::mem::take(&mut player.pictures), took: start.elapsed() })
}
