//! A server that is restored from a backup (reliability F8).
//!
//! The server has nothing but its clock and its chance besides what it is asked, so a second one to which the same is done at the same times is
//! the first one's past, byte for byte.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use evenkeel_apiserver::{Chance, Clock, Options, SeededChance, Server};
use jiff::Timestamp;

use crate::{
    history::lock,
    network::Network,
    process::{VirtualClock, at},
};

/// How servers of these worlds are set up.
pub(super) fn options(clock: Arc<dyn Clock>, chance: Arc<dyn Chance>) -> Options {
    Options { compaction_interval: None, chance, ..Options::seeded(clock, 0) }
}

/// Restores the server of a network as it was `until` so long after the beginning.
pub(super) fn restore(network: &Network, seed: u64, clock: VirtualClock, until: Duration, observe: impl FnOnce(&Arc<Server>)) {
    let set = Arc::new(Mutex::new(Some(Duration::ZERO)));
    let chance = Arc::new(Twice { first: SeededChance::new(seed), then: SeededChance::new(!seed), over: AtomicBool::new(false) });
    let server = Server::new(options(Arc::new(Replayed { set: set.clone(), then: clock }), chance.clone()));
    network.restore(until, server.clone(), |time| *lock(&set) = time);
    // What is made from now on is not what was made then.
    chance.over.store(true, Ordering::Relaxed);
    observe(&server);
}

/// The time of a request that is done again, and later the present.
struct Replayed {
    set: Arc<Mutex<Option<Duration>>>,
    then: VirtualClock,
}

impl Clock for Replayed {
    fn now(&self) -> Timestamp {
        lock(&self.set).map_or_else(|| Clock::now(&self.then), at)
    }
}

/// The same chances again, and then others.
struct Twice {
    first: SeededChance,
    then: SeededChance,
    over: AtomicBool,
}

impl Chance for Twice {
    fn next_u64(&self) -> u64 {
        if self.over.load(Ordering::Relaxed) { self.then.next_u64() } else { self.first.next_u64() }
    }
}
