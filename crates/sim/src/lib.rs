//! Seeded worlds with faults that drive the real managers in virtual time.
//!
//! [`run_seed`] builds one world in one thread: the local API server's core, two whole managers (election included) over a network that
//! loses, delays, refuses and cuts (`network.rs`, `weather.rs`, `streams.rs`), nodes (`nodes.rs`) and people (`users.rs`). Everything random
//! comes from the seed and time is virtual, so a seed gives the same history bit for bit. What must hold is checked on the true history, the
//! committed writes in their order (`history.rs`, `invariants/`), never on what a manager believes; what a pass declared to have looked at
//! (`passes.rs`) only says which of these states it could know. That the checks bite is proved by managers that are broken on purpose
//! (`bugs.rs`). What never lives here: anything that a manager decides.
//!
//! There are two kinds of worlds: workloads (`world.rs`), and owners with their dependents (`collection/`).
//!
//! Start reading at `world.rs`, then `invariants/mod.rs`; a failing seed replays with `sim --seeds N..N+1 --verbose`.

use std::collections::BTreeMap;

pub mod bugs;
pub mod chance;
pub mod collection;
mod fault;
pub mod history;
pub mod invariants;
pub mod network;
pub mod nodes;
mod passes;
mod process;
mod streams;
pub mod users;
mod weather;
mod world;

pub use bugs::Bug;
pub use fault::Fault;

/// What one seed led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Stands for every byte that was committed, and when.
    pub history_hash: u64,
    /// Committed writes, without events.
    pub writes: usize,
    /// How often each fault struck.
    pub faults: BTreeMap<Fault, u64>,
    /// What did not hold; empty: all is well.
    pub violations: Vec<String>,
}

/// Kinds of worlds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum World {
    /// Deployments, sets and pods, and two managers that compete.
    Workloads,
    /// Owners and dependents of many kinds, and what collects them.
    Collection,
}

impl World {
    /// The world in which a bug shows.
    pub fn of(bug: Bug) -> Self {
        if bug.of_collection() { Self::Collection } else { Self::Workloads }
    }

    /// Runs the world of one seed, with managers that are broken on purpose where a bug is given, and hands its true history over, too.
    pub fn run(self, seed: u64, bug: Option<Bug>) -> (Report, history::Shared) {
        match self {
            Self::Workloads => world::run(seed, bug),
            Self::Collection => collection::run(seed, bug),
        }
    }
}

/// Runs the workloads of one seed.
pub fn run_seed(seed: u64) -> Report {
    run_with_history(seed).0
}

/// Runs the workloads of one seed and hands their true history over, too.
pub fn run_with_history(seed: u64) -> (Report, history::Shared) {
    World::Workloads.run(seed, None)
}
