use evenkeel_api::{Key, NODES, Name, PODS, Pod, time_text};
use evenkeel_plan::{PatchForm, Plan, Target, Write};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    BATCH,
    snapshot::{Doomed, Reason, Snapshot, Stage},
};

/// The one step of the run that is due: ask for nodes, mark pods as failed (and delete those that have ended anyway), or delete.
///
/// One pod must not wait for another, so nothing here depends on a step before: what a pass has done shows in the next snapshot.
pub(crate) fn plan(snap: &Snapshot, now: Timestamp) -> Plan {
    let step: Vec<Write> = match due(snap, now) {
        Due::Ask(nodes) => nodes.into_iter().map(|name| Write::Look { kind: &NODES, key: Key::new("", name) }).collect(),
        Due::Mark => snap.doomed.iter().map(|d| if d.pod.terminal() { delete(&d.pod) } else { mark(d, now) }).collect(),
        Due::Delete => snap.doomed.iter().filter(|d| d.pod.terminal()).map(|d| delete(&d.pod)).collect(),
    };
    Plan { steps: if step.is_empty() { Vec::new() } else { vec![step] }, wake_at: None }
}

/// What a run has to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Ask for these nodes.
    Ask(Vec<Name>),
    /// Mark pods.
    Mark,
    /// Delete pods; then the run is over.
    Delete,
}

pub(crate) fn due(snap: &Snapshot, now: Timestamp) -> Due {
    if snap.stage == Stage::Start {
        let expired = snap.missing.iter().filter(|(_, at)| at.is_some_and(|at| at <= now)).map(|(name, _)| name.clone());
        let expired: Vec<Name> = expired.take(BATCH).collect();
        if !expired.is_empty() {
            return Due::Ask(expired);
        }
    }
    if snap.stage < Stage::Marked && snap.doomed.iter().any(|d| !d.pod.terminal()) { Due::Mark } else { Due::Delete }
}

/// The uid guards it: upstream's delete takes whoever goes by the name (garbage-collection B6.1).
fn delete(pod: &Pod) -> Write {
    Write::Delete { target: Target::alive(&PODS, &pod.meta), propagation: None, grace: Some(0) }
}

/// Status alone, so that oddities of the spec (names that occur twice) do not matter (garbage-collection B4).
fn mark(doomed: &Doomed, now: Timestamp) -> Write {
    let pod = &doomed.pod;
    let mut status = json!({"phase": "Failed", "observedGeneration": pod.meta.generation});
    if doomed.reason == Reason::Orphaned {
        status["conditions"] = json!([disruption(pod, now)]);
    }
    let body = json!({"metadata": {"uid": pod.meta.uid.to_string()}, "status": status});
    Write::Patch { target: Target::alive(&PODS, &pod.meta), subresource: Some("status"), form: PatchForm::Strategic, body }
}

fn disruption(pod: &Pod, now: Timestamp) -> Value {
    let mut condition = json!({
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "DeletionByPodGC",
        "message": "PodGC: node no longer exists",
        "observedGeneration": pod.meta.generation,
    });
    if !pod.disrupted {
        condition["lastTransitionTime"] = time_text(now).into();
    }
    condition
}
