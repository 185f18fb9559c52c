use evenkeel_api::{Kind, PODS};
use evenkeel_plan::{FailureKind, Next, Outcome, Plan, Report};
use jiff::{SignedDuration, Timestamp};

use crate::{Snapshot, Stage, conditions, edit};

/// Seconds that others get to take their finalizers away (garbage-collection C4).
const FINALIZERS: i64 = 15;

/// While the chain goes on: the next pass. At its end: what was found, and when to look again.
pub(crate) fn conclude(snap: &Snapshot, plan: &Plan, outcome: &Outcome, now: Timestamp) -> Report {
    let Some(namespace) = snap.namespace.as_ref().filter(|_| snap.ours()) else { return Report::default() };
    if snap.progress.stage != Stage::Tell {
        // The mark of the phase is the one write of these passes that can fail and be tried again by itself.
        let next = match outcome.first_failure().filter(|_| !snap.marked()) {
            Some(failure) if failure.kind == FailureKind::NotFound => Next::OnChange,
            Some(failure) => Next::Retry(failure.message.clone()),
            None => Next::Again,
        };
        return Report { next, ..Report::default() };
    }
    let clean = snap.progress.clean();
    let edited = conditions::edited(namespace, &conditions::wanted(snap, now), now);
    let steps: Vec<_> = edited.map(|conditions| vec![edit::tell(namespace, conditions)]).into_iter().collect();
    let next = match outcome.first_failure() {
        // Gone, which is what was wanted.
        Some(failure) if failure.kind == FailureKind::NotFound => Next::OnChange,
        Some(failure) => Next::Retry(failure.message.clone()),
        // Told first; then released, on the version that telling makes (C7.3).
        None if clean && plan.is_empty() => Next::Again,
        None if clean => Next::OnChange,
        None => remaining(snap, now),
    };
    Report { steps, next, ..Report::default() }
}

/// When to look again at what is left (garbage-collection C2).
fn remaining(snap: &Snapshot, now: Timestamp) -> Next {
    let failures = conditions::failures(snap, now);
    if !failures.is_empty() {
        return Next::Retry(failures.join(", "));
    }
    let estimate = snap.progress.left.keys().map(|kind| estimate(snap, kind, now)).max().unwrap_or(0);
    Next::At(now.checked_add(SignedDuration::from_secs(estimate / 2 + 1)).unwrap_or(now))
}

/// Seconds that what is left of a kind may take; 0: it should be gone.
pub(crate) fn estimate(snap: &Snapshot, kind: Kind, now: Timestamp) -> i64 {
    let pods = std::ptr::eq(kind, &PODS);
    let running = if pods { grace(snap, now) } else { 0 };
    let held = snap.progress.left.get(kind).is_some_and(|left| !left.finalizers.is_empty());
    match running {
        0 if held => FINALIZERS,
        seconds => seconds,
    }
}

/// Seconds that pods still have; those that the cache does not show as going yet have at least one.
fn grace(snap: &Snapshot, now: Timestamp) -> i64 {
    let until = snap.grace.until.map_or(0, |until| {
        let left = until.duration_since(now);
        left.as_secs() + i64::from(left.subsec_nanos() > 0)
    });
    until.max(i64::from(snap.grace.unmarked))
}
