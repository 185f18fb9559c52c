//! Seeded worlds with faults that drive the real managers in virtual time.
//!
//! [`run_seed`] builds one world in one thread: the local API server's core, two whole managers (election included) over a network that
//! loses, delays, refuses and cuts (`network.rs`), nodes (`nodes.rs`) and people (`users.rs`). Everything random comes from the seed and time
//! is virtual, so a seed gives the same history bit for bit. What must hold is checked on the true history, the committed writes in their
//! order (`history.rs`, `invariants.rs`), never on what a manager believes. What never lives here: anything that a manager decides.
//!
//! Start reading at `world.rs`; a failing seed replays with `sim --seeds N..N+1 --verbose`.

use std::collections::BTreeMap;

pub mod chance;
pub mod history;
pub mod invariants;
pub mod network;
pub mod nodes;
pub mod users;
mod world;

/// A kind of fault (reliability part 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// F1, F2: a manager dies before its k-th write leaves.
    CrashBefore,
    /// F1, F2: a manager dies after its k-th write is committed, before the answer.
    CrashAfterCommit,
    /// F1, F2: a manager dies after the answer to its k-th write.
    CrashAfterAnswer,
    /// F14: a manager is told to end.
    Terminated,
    /// F3, F7: one kind's events come late.
    WatchLate,
    /// F6: watches are cut.
    WatchCut,
    /// F5, F6: a watch cannot be resumed (410).
    Expired,
    /// F10: the write is committed, the answer lost.
    AnswerLostCommitted,
    /// F10: the write is lost.
    AnswerLostNotCommitted,
    /// F10: 409.
    Conflict,
    /// F10: 429.
    TooMany,
    /// F10: 500.
    InternalError,
    /// F10: 503.
    Unavailable,
    /// F12: creations are denied.
    Denied,
    /// F13: a manager does not get at the Lease.
    LeaseTrouble,
    /// F13: leadership moved.
    LeaderMoved,
    /// F15: a pod failed.
    PodFailed,
    /// F15: a pod was deleted by somebody else.
    PodDeleted,
    /// F16: a pod's labels were changed.
    Relabelled,
}

impl Fault {
    /// All kinds.
    pub const ALL: [Self; 19] = [
        Self::CrashBefore,
        Self::CrashAfterCommit,
        Self::CrashAfterAnswer,
        Self::Terminated,
        Self::WatchLate,
        Self::WatchCut,
        Self::Expired,
        Self::AnswerLostCommitted,
        Self::AnswerLostNotCommitted,
        Self::Conflict,
        Self::TooMany,
        Self::InternalError,
        Self::Unavailable,
        Self::Denied,
        Self::LeaseTrouble,
        Self::LeaderMoved,
        Self::PodFailed,
        Self::PodDeleted,
        Self::Relabelled,
    ];
}

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

/// Runs the world of one seed.
pub fn run_seed(seed: u64) -> Report {
    world::run(seed).0
}

/// Runs the world of one seed and hands its true history over, too.
pub fn run_with_history(seed: u64) -> (Report, history::Shared) {
    world::run(seed)
}
