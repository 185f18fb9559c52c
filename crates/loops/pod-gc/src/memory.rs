//! What the loop keeps between passes: how far the run is, and which nodes are missed. Forgetting it costs a quarantine.

use std::sync::{Mutex, PoisonError};

use evenkeel_plan::{Done, Outcome, Plan, Write};
use jiff::Timestamp;

use crate::{
    QUARANTINE,
    snapshot::{Recall, Snapshot, Stage},
};

#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Recall>);

impl Memory {
    pub(crate) fn recall(&self) -> Recall {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps what a pass has learnt, and moves the run on.
    pub(crate) fn remember(&self, snap: &Snapshot, plan: &Plan, outcome: &Outcome, now: Timestamp) {
        let mut recall = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Who is missed keeps the first deadline; who has come back in between begins anew, and who was asked for in vain does in the next run.
        let deadline = now.checked_add(QUARANTINE).unwrap_or(Timestamp::MAX);
        let fresh = (snap.stage == Stage::Start).then_some(deadline);
        recall.quarantine = snap.missing.iter().filter_map(|(name, at)| Some((name.clone(), at.or(fresh)?))).collect();
        recall.stage = match plan.writes().next() {
            Some(Write::Look { .. }) => {
                for (look, done) in plan.writes().zip(outcome.steps.iter().flatten()) {
                    // Found after all, or nobody can tell: it is missed anew, if it still is.
                    recall.quarantine.remove(look.name());
                    if *done == Done::AlreadyGone {
                        recall.gone.insert(look.name().clone());
                    }
                }
                Stage::Asked
            }
            Some(_) if marks(plan) => Stage::Marked,
            _ => {
                // A name is proven gone for one run: a new node may take it.
                let gone = std::mem::take(&mut recall.gone);
                recall.quarantine.retain(|name, _| !gone.contains(name));
                Stage::Start
            }
        };
    }
}

/// Whether a plan marks pods, so that their deletion is left.
pub(crate) fn marks(plan: &Plan) -> bool {
    plan.writes().any(|write| matches!(write, Write::Patch { .. }))
}
