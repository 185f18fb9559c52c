use std::collections::BTreeMap;

use evenkeel_api::Key;
use evenkeel_plan::{Done, FailureKind, Next, Outcome, Plan, Report, Write};
use jiff::Timestamp;

use crate::{
    PERIOD,
    memory::marks,
    snapshot::{Reason, Snapshot},
};

/// What became of one pod that was to be taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt<'a> {
    /// The pod.
    pub key: &'a Key,
    /// Why it was to go.
    pub reason: Reason,
    /// What went wrong; that it was gone already is none (garbage-collection B6.2).
    pub error: Option<&'a str>,
}

/// When to come back: at once while the run goes on, else when the next one is due. Failures wait for it too (garbage-collection B1).
pub(crate) fn conclude(_snap: &Snapshot, plan: &Plan, _outcome: &Outcome, now: Timestamp) -> Report {
    let goes_on = marks(plan) || plan.writes().any(|write| matches!(write, Write::Look { .. }));
    let next = if goes_on { Next::Again } else { Next::At(now.checked_add(PERIOD).unwrap_or(now)) };
    Report { next, ..Report::default() }
}

/// One attempt per pod: the delete, or the mark that failed.
pub(crate) fn attempts<'a>(snap: &'a Snapshot, plan: &'a Plan, outcome: &'a Outcome) -> Vec<Attempt<'a>> {
    let reasons: BTreeMap<_, _> = snap.doomed.iter().map(|d| (&d.pod.meta.uid, d.reason)).collect();
    let attempt = |(write, done): (&'a Write, &'a Done)| {
        let failure = done.failure().filter(|f| f.kind != FailureKind::Fenced);
        let target = match (write, done) {
            (Write::Delete { .. }, Done::Skipped) => return None,
            (Write::Delete { target, .. }, _) if failure.is_some() == done.failure().is_some() => target,
            (Write::Patch { target, .. }, _) if failure.is_some() => target,
            _ => return None,
        };
        let reason = *reasons.get(&target.uid)?;
        Some(Attempt { key: &target.key, reason, error: failure.map(|f| f.message.as_str()) })
    };
    plan.writes().zip(outcome.steps.iter().flatten()).filter_map(attempt).collect()
}

/// How many pods go for which reason.
pub(crate) fn explain(snap: &Snapshot) -> Option<String> {
    let mut counts: BTreeMap<Reason, usize> = BTreeMap::new();
    snap.doomed.iter().for_each(|d| *counts.entry(d.reason).or_default() += 1);
    let told: Vec<String> = counts.iter().map(|(reason, count)| format!("{count} {}", reason.as_str())).collect();
    (!told.is_empty()).then(|| told.join(", "))
}
