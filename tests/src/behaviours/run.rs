//! A run: many behaviours side by side, those that must be alone after them, and what is printed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use futures::StreamExt;
use tokio::time::Instant;

use super::Broken;
use super::player::{PlayOptions, Player};
use super::story::Story;
use crate::transport::Transport;

/// How many are played at a time over a socket. In process, where waiting costs nothing, all of them are.
pub const JOBS: usize = 12;

/// What came out of one behaviour.
#[derive(Debug)]
pub struct Played {
    /// Its name.
    pub id: String,
    /// What is not as recorded.
    pub fault: Option<Broken>,
    /// What was seen at each look, for whoever wants to see all of it.
    pub pictures: Vec<(usize, serde_json::Value)>,
    /// How long it took.
    pub took: Duration,
}

/// What came out of a run, in the order of the file.
#[derive(Debug, Default)]
pub struct Report {
    /// What was played.
    pub played: Vec<Played>,
    /// Differences that are meant, with their reasons.
    pub meant: BTreeMap<String, String>,
}

impl Report {
    /// Behaviours that failed and were not meant to.
    pub fn failed(&self) -> impl Iterator<Item = &Played> {
        self.played.iter().filter(|played| played.fault.is_some() && !self.meant.contains_key(&played.id))
    }

    /// How many passed.
    pub fn passed(&self) -> usize {
        self.played.iter().filter(|played| played.fault.is_none()).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for played in &self.played {
            if let Some(fault) = &played.fault {
                let word = if self.meant.contains_key(&played.id) { "MEANT" } else { "FAIL" };
                writeln!(f, "{word} {}: {fault}", played.id)?;
            }
        }
        let failed = self.failed().count();
        if !self.meant.is_empty() {
            writeln!(f, "{} differ as meant", self.played.len() - self.passed() - failed)?;
        }
        write!(f, "{} passed, {failed} failed", self.passed())
    }
}

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

/// A name that no word of a story contains.
pub fn namespace_name(seed: u64, number: u64) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut bits = super::alter::mix(seed ^ super::alter::mix(number));
    let mut name = "b-".to_owned();
    for _ in 0..10 {
        name.push(LETTERS[(bits % LETTERS.len() as u64) as usize] as char);
        bits /= LETTERS.len() as u64;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_meant_differences_apart() {
        let played = |id: &str, fault: bool| Played {
            id: id.into(),
            fault: fault.then(|| Broken("differs".into())),
            pictures: Vec::new(),
            took: Duration::ZERO,
        };
        let report = Report {
            played: vec![played("a", false), played("b", true), played("c", true)],
            meant: BTreeMap::from([("b".to_owned(), "why".to_owned())]),
        };
        assert_eq!(report.to_string(), "MEANT b: differs\nFAIL c: differs\n1 differ as meant\n1 passed, 1 failed");
    }
}
