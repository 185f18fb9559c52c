use std::fmt;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::health::Pulse;
use crate::{Clock, Fence, Health};

/// Where a candidate stands. What to do with it: run loops exactly while it is [`State::Leading`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Somebody else leads, or nobody.
    Standby,
    /// We lead.
    Leading {
        /// Since when, by the local clock.
        since: Instant,
        /// Counts the times that this process became leader, from 1. A watcher that sees another number than before has missed a loss.
        term: u64,
    },
    /// The campaign is over: we asked it to end, or [`crate::OnLoss::End`] did.
    Stopped,
}

/// What becomes an event on the Lease (manager 5.4): type Normal, reason `LeaderElection`, component `kube-controller-manager`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ElectionEvent {
    /// We lead.
    BecameLeader {
        /// Who we are.
        identity: String,
    },
    /// We lead no longer.
    StoppedLeading {
        /// Who we are.
        identity: String,
        /// Why, for the log.
        why: String,
    },
    /// Somebody else renews the Lease under our identity. We stand by: two processes that both believe to be its holder must not both write.
    IdentityTaken {
        /// Who we both claim to be.
        identity: String,
    },
}

impl ElectionEvent {
    /// `reason` of the event.
    pub const REASON: &'static str = "LeaderElection";
}

impl fmt::Display for ElectionEvent {
    /// `message` of the event, in upstream's words where it has them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BecameLeader { identity } => write!(f, "{identity} became leader"),
            Self::StoppedLeading { identity, .. } => write!(f, "{identity} stopped leading"),
            Self::IdentityTaken { identity } => write!(f, "another process renews this lease as {identity}; identities must be unique"),
        }
    }
}

/// How far the process is with stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    No,
    Draining,
    Drained,
}

/// The rest of the process's view of an [`crate::Elector`]. Dropping it ends the elector without release, since nobody can tell any more
/// whether workers still write.
#[derive(Debug)]
pub struct Handle {
    pub(crate) state: watch::Receiver<State>,
    pub(crate) fence: Fence,
    pub(crate) health: Health,
    pub(crate) stop: watch::Sender<Stop>,
    /// Keeps `state` alive where there is no elector.
    pub(crate) _always: Option<watch::Sender<State>>,
}

impl Handle {
    /// For a process without election: it leads from now on, and its fence is always open.
    pub fn without_election(clock: Clock) -> Self {
        let (sender, state) = watch::channel(State::Leading { since: clock.now(), term: 1 });
        let fence = Fence::open(clock);
        let health = Health::new("", Pulse::new(&clock), fence.clone(), clock);
        Self { state, fence, health, stop: watch::Sender::new(Stop::No), _always: Some(sender) }
    }

    /// Follows the state. This is the start barrier: loops start when it becomes [`State::Leading`] and stop when it no longer is.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// The fence that all writes of loops pass.
    pub fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// The check `leaderElection`.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// The process begins to stop: a standby ends its campaign; a leader goes on renewing, so that its workers can finish, but will not
    /// stand by again if it loses the Lease.
    pub fn drain(&self) {
        self.stop.send_if_modified(|stop| {
            *stop < Stop::Draining && {
                *stop = Stop::Draining;
                true
            }
        });
    }

    /// All workers have ended: closes the fence, releases the Lease if the live record still names us, and ends the elector.
    pub fn drained(&self) {
        self.stop.send_replace(Stop::Drained);
    }
}
