//! Two managers take turns on one server: all stories up to their cuts with the first, the rest with the second.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures::StreamExt;
use tokio::time::{Instant, sleep};

use super::cut::{KINDS, cut};
use super::recorded::{Handover, mark, played, take_down};
use crate::behaviours::player::{PlayOptions, Player};
use crate::behaviours::run::JOBS;
use crate::behaviours::story::Story;
use crate::recorded::Broken;
use crate::recorded::chance::namespace_name;
use crate::recorded::report::{Played, Report};
use crate::transport::Transport;

/// How long a manager that was just started gets to lead and to look at everything.
const SETTLE: Duration = Duration::from_secs(12);

/// What is decided by chance.
#[derive(Debug, Clone, Copy)]
pub struct Seeds {
    /// Where stories are cut.
    pub cuts: u64,
    /// What their namespaces are called: another one for every run on a server that is not fresh.
    pub names: u64,
}

/// A manager as a command line, with its log.
pub struct Manager {
    child: Child,
}

impl Manager {
    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(line: &[String]) -> Result<Manager, Broken> {
        let (program, args) = line.split_first().ok_or_else(|| Broken("an empty command".into()))?;
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| Broken(format!("cannot start {program}: {error}")))?;
        Ok(Manager { child })
    }

    /// Ends it: SIGTERM, and SIGKILL when it does not listen.
    pub async fn stop(mut self) {
        // std knows no signal but SIGKILL; `kill` is where POSIX is.
        _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < Duration::from_secs(10) {
            sleep(Duration::from_millis(50)).await;
        }
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Plays all stories that can be cut: the first part with `first`, the second with `second`. Between them nothing may be written.
///
/// # Errors
/// When a manager cannot be started.
pub async fn take_turns(
    stories: &[Story],
    options: &PlayOptions,
    seeds: Seeds,
    first: &[String],
    second: &[String],
    connect: &(dyn Fn() -> Box<dyn Transport> + Sync),
) -> Result<Report, Broken> {
    let manager = Manager::start(first)?;
    sleep(SETTLE).await;
    let mut halves = first_halves(stories, options, seeds, connect).await;
    let before = marks(&mut halves).await?;
    manager.stop().await;
    let manager = Manager::start(second)?;
    sleep(SETTLE).await;
    let after = marks(&mut halves).await?;
    for (half, (before, after)) in halves.iter_mut().zip(before.into_iter().zip(after)) {
        if half.outcome.is_ok() && before != after {
            let written = after.into_iter().find(|mark| !before.contains(mark)).unwrap_or_else(|| "something was deleted".into());
            half.outcome = Err(Broken(format!("written at rest after step {}: {written}", half.after)));
        }
    }
    let mut all: Vec<_> = futures::stream::iter(halves).map(|half| half.finish(options.keep)).buffer_unordered(JOBS).collect().await;
    manager.stop().await;
    all.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(Report { played: all, meant: BTreeMap::new() })
}

/// Plays the first parts beside whatever manager runs, and takes down what is there then.
///
/// # Errors
/// When the server does not list it.
pub async fn record(
    stories: &[Story],
    options: &PlayOptions,
    seeds: Seeds,
    now: &(dyn Fn() -> jiff::Timestamp + Sync),
    connect: &(dyn Fn() -> Box<dyn Transport> + Sync),
) -> Result<Vec<Handover>, Broken> {
    let mut handovers = Vec::new();
    let take = |(number, story)| async move {
        let after = cut(story, seeds.cuts)?;
        let mut player = Player::new(story, options, connect(), &namespace_name(seeds.names, number as u64));
        let first = async {
            player.begin().await?;
            player.play_steps(1, after).await?;
            take_down(&mut player, story, after, now()).await
        };
        let outcome = first.await;
        player.clean_up().await;
        Some(outcome)
    };
    let mut all = futures::stream::iter(stories.iter().enumerate()).map(take).buffer_unordered(JOBS);
    while let Some(outcome) = all.next().await {
        handovers.extend(outcome.transpose()?.flatten());
    }
    handovers.sort_by(|a: &Handover, b| a.story.cmp(&b.story));
    Ok(handovers)
}

/// A story played up to its cut.
struct Half<'a> {
    story: &'a Story,
    player: Player<'a>,
    after: usize,
    outcome: Result<(), Broken>,
}

impl Half<'_> {
    /// Plays the rest of it.
    async fn finish(mut self, keep: bool) -> Played {
        let start = Instant::now();
        if self.outcome.is_ok() {
            self.outcome = self.player.play_steps(self.after + 1, self.story.steps.len()).await;
        }
        if !keep {
            self.player.clean_up().await;
        }
        played(&self.story.id, self.outcome, start.elapsed())
    }
}

async fn first_halves<'a>(
    stories: &'a [Story],
    options: &'a PlayOptions,
    seeds: Seeds,
    connect: &(dyn Fn() -> Box<dyn Transport> + Sync),
) -> Vec<Half<'a>> {
    let parts = stories.iter().enumerate().filter_map(|(number, story)| Some((number, story, cut(story, seeds.cuts)?)));
    let play = |(number, story, after): (usize, &'a Story, usize)| async move {
        let mut player = Player::new(story, options, connect(), &namespace_name(seeds.names, number as u64));
        let first = async {
            player.begin().await?;
            player.play_steps(1, after).await
        };
        let outcome = first.await;
        Half { story, player, after, outcome }
    };
    futures::stream::iter(parts).map(play).buffer_unordered(JOBS).collect().await
}

async fn marks(halves: &mut [Half<'_>]) -> Result<Vec<Vec<String>>, Broken> {
    let mut all = Vec::new();
    for half in halves {
        let kinds = half.player.objects(&KINDS).await?;
        all.push(kinds.iter().flat_map(|(kind, items)| items.iter().filter_map(move |item| mark(kind, item))).collect());
    }
    Ok(all)
}
