use std::collections::BTreeSet;

use evenkeel_api::{DEPLOYMENTS, Deployment, REPLICA_SETS, ReplicaSet, Uid, Version};
use evenkeel_plan::{
    Done, Failure, FailureKind, Outcome, Plan, Write,
    claim::{Claims, claim},
};

use crate::{Snapshot, snapshot::usable_selector};

/// Sets, in the version that the cache showed, that were not there to be adopted or released. Upstream goes on without them (workloads 1.6.4),
/// and so does the next pass, until the cache shows another version.
pub type PassedOver = BTreeSet<(Uid, Version)>;

/// The claims of a pass over usable candidates.
pub(crate) fn claims(snap: &Snapshot, deployment: &Deployment) -> Claims<ReplicaSet> {
    let candidates = snap.sets.iter().filter(|s| !snap.passed_over.contains(&(s.meta.uid.clone(), s.meta.version)));
    match usable_selector(deployment) {
        Some(selector) => claim(&deployment.meta, &selector, candidates.cloned()),
        None => Claims { claimed: Vec::new(), adopt: Vec::new(), release: Vec::new() },
    }
}

/// The claim's writes.
pub(crate) fn steps(claims: &Claims<ReplicaSet>, deployment: &Deployment) -> Vec<Vec<Write>> {
    claims.steps(&DEPLOYMENTS, &deployment.meta)
}

/// Whether a failed claim is no error: the object of an adoption is gone, or that of a release is gone or has another uid.
fn not_there(write: &Write, failure: &Failure) -> bool {
    let Write::Patch { body, .. } = write else { return false };
    let releasing = body["metadata"]["ownerReferences"][0].get("$patch").is_some();
    failure.kind == FailureKind::NotFound || (releasing && failure.kind == FailureKind::Invalid)
}

/// How the claim went.
#[derive(Debug, Default)]
pub(crate) struct Claimed {
    /// Texts of real errors, each once.
    pub(crate) errors: Vec<String>,
    /// Whether a set turned out not to be there, so that nothing will announce that it may be passed over.
    pub(crate) passed_over: bool,
}

/// Reads the outcome of [`steps`].
pub(crate) fn outcome(steps: &[Vec<Write>], outcome: &Outcome) -> Claimed {
    let mut out = Claimed::default();
    for (write, done) in steps.iter().flatten().zip(outcome.steps.iter().flatten()) {
        let Done::Failed(failure) = done else {
            out.passed_over |= *done == Done::AlreadyGone;
            continue;
        };
        if not_there(write, failure) {
            out.passed_over = true;
        } else if let Write::ConfirmOwner { .. } = write {
            // Every adoption is denied for the same reason.
            for denied in steps.iter().flatten().filter(|w| adopts(w)) {
                out.errors.push(format!("can't adopt {} {} ({}): {failure}", REPLICA_SETS.kind, denied.key(), uid(denied)));
            }
        } else {
            out.errors.push(failure.to_string());
        }
    }
    out
}

/// How many sets the claim adopts, and how many it releases.
pub(crate) fn numbers(steps: &[Vec<Write>]) -> (usize, usize) {
    let patches = steps.iter().flatten().filter(|w| matches!(w, Write::Patch { .. }));
    let (adopted, released): (Vec<&Write>, Vec<&Write>) = patches.partition(|w| adopts(w));
    (adopted.len(), released.len())
}

fn adopts(write: &Write) -> bool {
    matches!(write, Write::Patch { body, .. } if body["metadata"]["ownerReferences"][0].get("$patch").is_none())
}

fn uid(write: &Write) -> &str {
    match write {
        Write::Patch { body, .. } => body["metadata"]["uid"].as_str().unwrap_or_default(),
        _ => "",
    }
}

/// What later passes pass over: what did so far and still looks the same, and what this pass added.
pub(crate) fn passed_over(snap: &Snapshot, plan: &Plan, outcome: &Outcome) -> PassedOver {
    let mut out: PassedOver =
        snap.sets.iter().map(|s| (s.meta.uid.clone(), s.meta.version)).filter(|seen| snap.passed_over.contains(seen)).collect();
    for (write, done) in plan.writes().zip(outcome.steps.iter().flatten()) {
        let Write::Patch { target, .. } = write else { continue };
        let absent = *done == Done::AlreadyGone || done.failure().is_some_and(|f| not_there(write, f));
        if absent && let Some(set) = snap.sets.iter().find(|s| s.meta.uid == target.uid) {
            out.insert((set.meta.uid.clone(), set.meta.version));
        }
    }
    out
}
