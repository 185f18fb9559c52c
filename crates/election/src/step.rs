//! What goes into the machine and what comes out of it.

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use crate::{Lease, LeaseError};

/// When an input happens, and what chance says.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// By the local monotonic clock.
    pub now: Instant,
    /// Wall time, only to be written to the Lease.
    pub wall: Timestamp,
    /// A draw from [0, 1).
    pub chance: f64,
}

/// What happens to the machine.
#[derive(Debug)]
pub enum Input {
    /// The time of [`Machine::wake_at`] has come (earlier does no harm).
    Wake,
    /// The answer to the request in flight.
    Answer(Result<Lease, LeaseError>),
    /// A watch showed the Lease.
    Seen(Lease),
    /// A watch showed that the Lease is gone, or that changes may have been missed.
    Look,
    /// The process begins to stop.
    Drain,
    /// All workers have ended.
    Drained,
    /// Nobody can tell whether workers have ended: end, without release.
    Abandon,
}

/// One request about the Lease.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// GET.
    Get,
    /// POST this document.
    Create(Value),
    /// PUT this document.
    Update(Value),
}

/// What the outside should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// We lead.
    BecameLeader,
    /// We lead no longer.
    StoppedLeading(Loss),
    /// A renewal needs the slow path (counter `leader_election_slowpath_total`).
    SlowPath,
    /// The Lease is renewed under our identity, but not by us. Told once per such holder.
    IdentityTaken,
    /// Somebody else holds the Lease; for the log.
    HeldBy(String),
    /// A request failed; for the log.
    Failed(String),
    /// The campaign is over.
    Ended(Release),
}

/// Why a leader leads no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// No renewal succeeded within the deadline.
    DeadlineMissed,
    /// Somebody else holds the Lease.
    TakenBy(String),
    /// Somebody else holds it under our identity.
    IdentityTaken,
    /// We were asked to stop.
    Asked,
}

/// What became of the Lease at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Release {
    /// It has no holder now.
    Released,
    /// It was not ours, or releasing is switched off.
    NotOurs,
    /// It could not be released; others wait until it expires.
    Failed(String),
    /// We were told to leave it as it is.
    Abandoned,
}

/// What one input leads to.
#[derive(Debug, Default)]
pub struct Step {
    /// To be sent now.
    pub request: Option<Request>,
    /// In order.
    pub notes: Vec<Note>,
}
