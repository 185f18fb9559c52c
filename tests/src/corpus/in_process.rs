//! Recorded conversations in one process and in virtual time: the run that costs seconds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_apiserver::{Options, Server};

use super::conversation::Conversation;
use super::player::PlayOptions;
use super::run::run;
use crate::recorded::report::Report;
use crate::recorded::virtual_time::{TokioClock, zero};
use crate::transport::InProcess;

/// As at the recording; what carries the tag `compaction` waits for one.
const COMPACTION: Duration = Duration::from_secs(10);

/// Plays the conversations, all side by side, against a fresh server.
pub async fn play(conversations: &[Conversation], meant: &BTreeMap<String, String>, seed: u64, verbose: bool) -> Report {
    let clock = TokioClock::starting_at(zero());
    let server = Server::new(Options { compaction_interval: Some(COMPACTION), ..Options::seeded(Arc::new(clock), seed) });
    let compacted = Arc::clone(&server);
    let compaction = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(COMPACTION);
        loop {
            ticks.tick().await;
            compacted.compact();
        }
    });
    let options = PlayOptions { now: Arc::new(move || clock.time()), keep: false, verbose };
    let report = run(conversations, &options, meant, conversations.len(), seed, &|| Box::new(InProcess::new(Arc::clone(&server)))).await;
    compaction.abort();
    report
}
