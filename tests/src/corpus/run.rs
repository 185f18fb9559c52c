//! A run: many conversations side by side.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use tokio::time::Instant;

use super::conversation::Conversation;
use super::player::{PlayOptions, Player};
use crate::recorded::Broken;
use crate::recorded::chance::namespace_name;
use crate::recorded::report::{Played, Report};
use crate::transport::Transport;

/// How many are played at a time over a socket. In process, where waiting costs nothing, all of them are.
pub const JOBS: usize = 8;
/// After this many conversations in a row for each job without any answer the server counts as gone.
const SILENT: usize = 3;

/// Plays all of them, `jobs` at a time. `connect` gives a client for each; `seed` the names of the namespaces.
pub async fn run(
    conversations: &[Conversation],
    options: &PlayOptions,
    meant: &BTreeMap<String, String>,
    jobs: usize,
    seed: u64,
    connect: &(dyn Fn() -> Box<dyn Transport> + Sync),
) -> Report {
    let mut slow_first: Vec<(usize, &Conversation)> = conversations.iter().enumerate().collect();
    slow_first.sort_by_key(|(_, conversation)| std::cmp::Reverse(conversation.weight()));
    let silent = AtomicUsize::new(0);
    let play = |(number, conversation)| play_one(number, conversation, options, SILENT * jobs, &silent, seed, connect);
    let mut played: Vec<(usize, Played)> = futures::stream::iter(slow_first).map(play).buffer_unordered(jobs.max(1)).collect().await;
    played.sort_by_key(|(number, _)| *number);
    Report { played: played.into_iter().map(|(_, played)| played).collect(), meant: meant.clone() }
}

async fn play_one(
    number: usize,
    conversation: &Conversation,
    options: &PlayOptions,
    most_silent: usize,
    silent: &AtomicUsize,
    seed: u64,
    connect: &(dyn Fn() -> Box<dyn Transport> + Sync),
) -> (usize, Played) {
    let start = Instant::now();
    let mut player = Player::new(conversation, options, connect(), &namespace_name(seed, number as u64));
    let fault = if silent.load(Ordering::Relaxed) >= most_silent {
        Some(Broken("not played: the server has stopped answering".into()))
    } else {
        let fault = player.play().await.err();
        let in_a_row = if player.answered { 0 } else { silent.load(Ordering::Relaxed) + 1 };
        silent.store(in_a_row, Ordering::Relaxed);
        fault
    };
    (number, Played { id: conversation.id.clone(), fault, pictures: std::mem::take(&mut player.log), took: start.elapsed() })
}
