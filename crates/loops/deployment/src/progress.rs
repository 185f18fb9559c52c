use evenkeel_api::{Condition, ConditionStatus, Deployment, DeploymentStatus};
use jiff::{SignedDuration, Timestamp};

use crate::status::{Counted, PROGRESSING, REPLICA_FAILURE, Working, condition};

/// The rollout finished.
const AVAILABLE_REASON: &str = "NewReplicaSetAvailable";
/// No progress for too long.
const TIMED_OUT_REASON: &str = "ProgressDeadlineExceeded";
/// The Deployment is paused.
const PAUSED_REASON: &str = "DeploymentPaused";

/// Everything that is wanted is updated and available, and nothing else is left (workloads 2.12).
pub(crate) fn complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    [status.updated_replicas, status.replicas, status.available_replicas].iter().all(|n| *n == deployment.replicas)
        && status.observed_generation >= deployment.meta.generation
}

/// Whether the status tells that there was no progress for too long.
pub(crate) fn told_timeout(deployment: &Deployment) -> bool {
    Working::of(deployment).condition(PROGRESSING).is_some_and(|c| c.reason == TIMED_OUT_REASON)
}

/// Pausing stops the clock of the deadline, resuming starts it anew (workloads 2.5).
pub(crate) fn note_pause(deployment: &Deployment, working: &mut Working, now: Timestamp) {
    let reason = working.condition(PROGRESSING).map(|c| c.reason.as_str());
    if deployment.progress_deadline().is_none() || reason == Some(TIMED_OUT_REASON) {
        return;
    }
    match (deployment.paused, reason == Some(PAUSED_REASON)) {
        (true, false) => working.set(condition(PROGRESSING, ConditionStatus::Unknown, PAUSED_REASON, "Deployment is paused", now)),
        (false, true) => working.set(condition(PROGRESSING, ConditionStatus::Unknown, "DeploymentResumed", "Deployment is resumed", now)),
        _ => {}
    }
}

/// Judges the rollout (workloads 2.12.1-4). `before` is the status with what this pass has noted so far, `working` has the new counters.
pub(crate) fn judge(deployment: &Deployment, before: &Working, working: &mut Working, new_name: Option<&str>, now: Timestamp) {
    let subject = || match new_name {
        Some(name) => format!("ReplicaSet {name:?}"),
        None => format!("Deployment {:?}", &*deployment.meta.name),
    };
    let current = before.condition(PROGRESSING);
    match deployment.progress_deadline() {
        None => working.remove(PROGRESSING),
        Some(_) if finished_before(current, &working.status) => {}
        Some(deadline) => {
            if complete(deployment, &working.status) {
                let message = format!("{} has successfully progressed.", subject());
                working.set(condition(PROGRESSING, ConditionStatus::True, AVAILABLE_REASON, message, now));
            } else if progressed(&before.status, &working.status) {
                // Rewritten even where status and reason stay: lastUpdateTime is the clock of the deadline.
                let mut made =
                    condition(PROGRESSING, ConditionStatus::True, "ReplicaSetUpdated", format!("{} is progressing.", subject()), now);
                if let Some(true_before) = current.filter(|c| c.status == ConditionStatus::True) {
                    made.last_transition = true_before.last_transition;
                }
                working.remove(PROGRESSING);
                working.set(made);
            } else if current.is_some_and(|c| timed_out(c, deadline, now)) {
                let message = format!("{} has timed out progressing.", subject());
                working.set(condition(PROGRESSING, ConditionStatus::False, TIMED_OUT_REASON, message, now));
            }
        }
    }
}

/// Takes a set's `ReplicaFailure` over, the new set's first; none: removes it (workloads 2.12.4).
pub(crate) fn pass_on_failure(sets: &Counted<'_>, working: &mut Working) {
    let failure = |conditions: &[Condition]| conditions.iter().find(|c| c.kind == REPLICA_FAILURE).cloned();
    match sets.new.into_iter().chain(sets.all()).find_map(|s| failure(&s.status.conditions)) {
        Some(found) => working.set(Condition { last_update: found.last_transition, ..found }),
        None => working.remove(REPLICA_FAILURE),
    }
}

/// A finished rollout is not judged again when pods fail later.
fn finished_before(current: Option<&Condition>, status: &DeploymentStatus) -> bool {
    status.replicas == status.updated_replicas && current.is_some_and(|c| c.reason == AVAILABLE_REASON)
}

fn progressed(before: &DeploymentStatus, now: &DeploymentStatus) -> bool {
    let old = |s: &DeploymentStatus| i64::from(s.replicas) - i64::from(s.updated_replicas);
    now.updated_replicas > before.updated_replicas
        || old(now) < old(before)
        || now.ready_replicas > before.ready_replicas
        || now.available_replicas > before.available_replicas
}

fn timed_out(current: &Condition, deadline: i32, now: Timestamp) -> bool {
    match current.reason.as_str() {
        AVAILABLE_REASON => false,
        TIMED_OUT_REASON => true,
        _ => current.last_update.is_none_or(|at| due(at, deadline).is_some_and(|due| due < now)),
    }
}

fn due(since: Timestamp, deadline: i32) -> Option<Timestamp> {
    since.checked_add(SignedDuration::from_secs(deadline.into())).ok()
}

/// When to look whether the rollout has timed out, where it still can (workloads 2.12.6, S19). One second late, because lastUpdateTime is cut to
/// whole seconds.
pub(crate) fn recheck_at(deployment: &Deployment, working: &Working) -> Option<Timestamp> {
    let deadline = deployment.progress_deadline()?;
    let current = working.condition(PROGRESSING)?;
    if matches!(current.reason.as_str(), AVAILABLE_REASON | TIMED_OUT_REASON) || complete(deployment, &working.status) {
        return None;
    }
    due(current.last_update?, deadline)?.checked_add(SignedDuration::from_secs(1)).ok()
}
