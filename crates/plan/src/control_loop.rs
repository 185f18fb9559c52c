use evenkeel_api::{Key, Kind};
use evenkeel_cache::{Change, Stores};
use jiff::{SignedDuration, Timestamp};

use crate::{About, Outcome, Plan, Report};

/// A key that a change made worth looking at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trigger {
    /// The key.
    pub key: Key,
    /// How long to wait first; zero: at once.
    pub after: SignedDuration,
}

impl Trigger {
    /// Look at `key` at once.
    pub fn now(key: Key) -> Self {
        Self { key, after: SignedDuration::ZERO }
    }
}

/// One reconcile loop: look once, decide, act, say how it went.
///
/// [`ControlLoop::snapshot`], [`ControlLoop::plan`] and [`ControlLoop::conclude`] are plain functions: equal input, equal output, no IO and
/// no clock but `now`. The shell calls them in this order, carries out what they return, and never runs two passes of one key at once.
pub trait ControlLoop: Send + Sync + 'static {
    /// Everything one pass may look at.
    type Snapshot: Send + Sync + 'static;

    /// The loop's names.
    fn about(&self) -> &'static About;

    /// Whether a kind's changes concern it: those of `watches`, or of whatever the server has.
    fn hears(&self, kind: Kind) -> bool {
        self.about().watches.iter().any(|watched| std::ptr::eq(*watched, kind))
    }

    /// What a key is about, for people.
    fn subject(&self, key: &Key) -> String {
        format!("{} {key}", self.about().primary.kind)
    }

    /// Keys that a change of a watched kind makes worth looking at. Runs at ingestion: look-ups only.
    fn triggers(&self, change: &Change, stores: &Stores) -> Vec<Trigger>;

    /// Takes what one pass needs out of one read of the cache.
    fn snapshot(&self, stores: &Stores, key: &Key) -> Self::Snapshot;

    /// The writes that the snapshot calls for. Empty when all is as it should be.
    fn plan(&self, snap: &Self::Snapshot, now: Timestamp) -> Plan;

    /// What to report after the plan was carried out (or had nothing to do): status, events, whether to come back.
    ///
    /// `outcome` has one entry for every write of `plan`, in the same steps; after a failed step the later ones are [`crate::Done::Skipped`].
    fn conclude(&self, snap: &Self::Snapshot, plan: &Plan, outcome: &Outcome, now: Timestamp) -> Report;

    /// Why the plan is what it is, in one phrase for `evenkeel plan`, where there is anything to say. A phrase for an empty plan tells why
    /// there is nothing to do but the status: it is only shown beside a status write.
    fn explain(&self, _snap: &Self::Snapshot, _plan: &Plan) -> Option<String> {
        None
    }

    /// Keeps what the next look should know and the cache may not show yet, such as names that turned out to be taken.
    fn remember(&self, _snap: &Self::Snapshot, _plan: &Plan, _outcome: &Outcome, _now: Timestamp) {}

    /// Keys that the answers alone make worth looking at, before the cache shows what they tell. Runs after [`ControlLoop::remember`], where
    /// anything was written: look-ups only. The events that follow are told as ever, so nothing depends on it but time.
    fn answered(&self, _snap: &Self::Snapshot, _plan: &Plan, _outcome: &Outcome, _stores: &Stores) -> Vec<Trigger> {
        Vec::new()
    }

    /// What a new leader looks at whatever changes: all objects of the primary kind, or the one key of a loop whose passes are about the
    /// whole cluster.
    fn all(&self, stores: &Stores) -> Vec<Trigger> {
        stores.any(self.about().primary).map(|s| s.keys()).unwrap_or_default().into_iter().map(Trigger::now).collect()
    }
}
