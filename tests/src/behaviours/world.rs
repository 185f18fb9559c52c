//! A world in one process: the local API server and the manager on it, on one thread and in tokio's time. With the paused clock of a
//! test a minute of waiting takes no time.

use std::sync::Arc;

use evenkeel_apiserver::{Clock, Options, Server};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::transport::{InProcess, Transport};

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
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.start.elapsed()).unwrap_or(SignedDuration::MAX);
        self.zero.checked_add(passed).unwrap_or(Timestamp::MAX)
    }
}

/// A server in this process.
pub struct World {
    /// The server.
    pub server: Arc<Server>,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
}

impl World {
    /// A fresh server whose uids and names come from `seed`.
    pub fn new(seed: u64) -> Self {
        let zero = "2026-06-01T08:00:00Z".parse().expect("a fixed time");
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(zero));
        let server = Server::new(Options::seeded(Arc::clone(&clock), seed));
        World { server, clock }
    }

    /// A new client.
    pub fn client(&self) -> Box<dyn Transport> {
        Box::new(InProcess::new(Arc::clone(&self.server)))
    }
}
