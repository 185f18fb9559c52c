//! Virtual time: one thread, and a clock that jumps to the next thing that is waited for. A minute of waiting takes no time.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// The day on which everything in virtual time plays; any would do.
pub fn zero() -> Timestamp {
    "2026-06-01T08:00:00Z".parse().expect("a fixed time")
}

/// Runs a future on one thread with the clock paused: time jumps to the next thing that is waited for.
pub fn in_virtual_time<T>(future: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    Ok(runtime.block_on(future))
}

/// Wall clock that goes as tokio's clock does.
#[derive(Debug, Clone, Copy)]
pub struct TokioClock {
    zero: Timestamp,
    start: Instant,
}

impl TokioClock {
    /// A clock that shows `zero` now.
    pub fn starting_at(zero: Timestamp) -> Self {
        TokioClock { zero, start: Instant::now() }
    }

    /// The time now.
    pub fn time(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.start.elapsed()).unwrap_or(SignedDuration::MAX);
        self.zero.checked_add(passed).unwrap_or(Timestamp::MAX)
    }
}

impl evenkeel_apiserver::Clock for TokioClock {
    fn now(&self) -> Timestamp {
        self.time()
    }
}

impl evenkeel_client::Clock for TokioClock {
    fn now(&self) -> Timestamp {
        self.time()
    }
}
