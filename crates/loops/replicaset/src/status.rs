use evenkeel_api::{Condition, ConditionStatus, ReplicaSetStatus, Replicated, time_text};
use evenkeel_plan::{Target, Write};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use crate::{SetKind, Snapshot, conclude::Managed};

/// The one condition that this loop writes.
const REPLICA_FAILURE: &str = "ReplicaFailure";

/// Writes of `terminatingReplicas` that did not stick before absence counts as 0 (B19).
const TERMINATING_TRIES: u8 = 3;

/// What happens to the condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConditionEdit {
    /// Nothing.
    Keep,
    /// It goes.
    Remove,
    /// It is put in the place of the old one.
    Set(Condition),
}

/// `status.terminatingReplicas` as it should be: absent for kinds without it and with the gate off.
pub(crate) fn terminating<S: SetKind>(snap: &Snapshot<S>) -> Option<i32> {
    (S::COUNTS_TERMINATING && snap.options.terminating_replicas).then(|| count(snap.terminating))
}

/// A count as a status has it. More than 2³¹−1 pods cannot be.
fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// The counters, from one view of the pods and one moment (workloads 3.8). Conditions are not looked at.
fn counted<S: SetKind>(snap: &Snapshot<S>, set: &Replicated, now: Timestamp) -> ReplicaSetStatus {
    let pods = &snap.claims.claimed;
    ReplicaSetStatus {
        replicas: count(pods.len()),
        fully_labeled_replicas: count(pods.iter().filter(|p| p.meta.labels.contains(&set.template_labels)).count()),
        ready_replicas: count(pods.iter().filter(|p| p.ready).count()),
        available_replicas: count(pods.iter().filter(|p| p.available(set.min_ready_seconds, now)).count()),
        terminating_replicas: terminating(snap),
        observed_generation: set.meta.generation,
        conditions: Vec::new(),
    }
}

/// When the next pod becomes available by the clock alone (workloads 3.4.10). Re-armed by every pass, because a key has one timer (B18).
pub(crate) fn next_availability<S: SetKind>(snap: &Snapshot<S>, now: Timestamp) -> Option<Timestamp> {
    let set = snap.set.as_ref().filter(|set| set.min_ready_seconds > 0)?;
    let min_ready = set.min_ready_seconds;
    let waiting = |pod: &&std::sync::Arc<evenkeel_api::Pod>| pod.ready && !pod.available(min_ready, now);
    let mut waiting = snap.claims.claimed.iter().filter(waiting).peekable();
    waiting.peek()?;
    // A ready pod that does not say since when: look again after a full round.
    let fallback = now.checked_add(SignedDuration::from_secs(min_ready.into())).ok();
    waiting.filter_map(|pod| pod.available_at(min_ready)).min().or(fallback)
}

fn failure(set: &Replicated) -> Option<&Condition> {
    set.status.conditions.iter().find(|c| c.kind == REPLICA_FAILURE)
}

/// What the way the pods were managed means for the condition.
///
/// B1: a pass that settled nothing leaves it alone. B2: a changed text is told, with the time of the transition kept; but never by two passes
/// running, because every write wakes the set at once, and a text that is new each time would otherwise turn failures into a hot loop. So
/// there is at most one such write per back-off.
fn edit(set: &Replicated, managed: &Managed, told_before: bool, now: Timestamp) -> ConditionEdit {
    let (reason, message) = match managed {
        Managed::Unsettled => return ConditionEdit::Keep,
        Managed::Fine => return if failure(set).is_some() { ConditionEdit::Remove } else { ConditionEdit::Keep },
        Managed::Failed { reason, message } => (*reason, message),
    };
    let known = failure(set).filter(|c| c.status == ConditionStatus::True);
    if known.is_some_and(|c| c.reason == reason && c.message == *message || told_before) {
        return ConditionEdit::Keep;
    }
    ConditionEdit::Set(Condition {
        kind: REPLICA_FAILURE.into(),
        status: ConditionStatus::True,
        reason: reason.into(),
        message: message.clone(),
        last_transition: known.map_or(Some(now), |c| c.last_transition),
        last_update: None,
    })
}

/// Whether a pass that ended like this writes the condition.
pub(crate) fn tells_failure<S: SetKind>(snap: &Snapshot<S>, managed: &Managed) -> bool {
    let Some(set) = &snap.set else { return false };
    matches!(edit(set, managed, snap.recall.failure_told, Timestamp::UNIX_EPOCH), ConditionEdit::Set(_))
}

/// The write of the status, where it differs from what is stored. One PUT, held to the version that was seen: after a conflict the watch
/// brings the other writer's version and the next pass counts again, instead of writing over it (B15).
pub(crate) fn write<S: SetKind>(snap: &Snapshot<S>, managed: &Managed, now: Timestamp) -> Option<Write> {
    let set = snap.set.as_ref()?;
    let counted = counted(snap, set, now);
    let edit = edit(set, managed, snap.recall.failure_told, now);
    if edit == ConditionEdit::Keep && same(&counted, &set.status, snap.recall.terminating_lost) {
        return None;
    }
    let mut body = set.document.value();
    apply(&mut body, &counted, edit);
    let kind = S::resource();
    if let Some(object) = body.as_object_mut() {
        // Objects in lists come without them.
        object.insert("apiVersion".into(), kind.api_version().into());
        object.insert("kind".into(), kind.kind.into());
    }
    Some(Write::Replace { target: Target::exactly(kind, &set.meta), subresource: Some("status"), body })
}

/// Whether counters and generation are as stored. Where a server drops `terminatingReplicas` again and again (its gate is off), absence
/// counts as 0 (B19).
fn same(counted: &ReplicaSetStatus, stored: &ReplicaSetStatus, terminating_lost: u8) -> bool {
    let dropped = stored.terminating_replicas.is_none() && counted.terminating_replicas == Some(0) && terminating_lost >= TERMINATING_TRIES;
    let seen = |status: &ReplicaSetStatus| {
        (status.replicas, status.fully_labeled_replicas, status.ready_replicas, status.available_replicas, status.observed_generation)
    };
    seen(counted) == seen(stored) && (dropped || counted.terminating_replicas == stored.terminating_replicas)
}

/// Edits `status` of a whole object; what this program does not know stays.
fn apply(body: &mut Value, counted: &ReplicaSetStatus, edit: ConditionEdit) {
    if !body["status"].is_object() {
        body["status"] = Value::Object(Map::new());
    }
    let Some(status) = body["status"].as_object_mut() else { return };
    // `replicas` is always there (workloads 3.8), the others only when they are something.
    status.insert("replicas".into(), counted.replicas.into());
    for (field, n) in [
        ("fullyLabeledReplicas", counted.fully_labeled_replicas),
        ("readyReplicas", counted.ready_replicas),
        ("availableReplicas", counted.available_replicas),
    ] {
        put(status, field, (n != 0).then(|| n.into()));
    }
    put(status, "terminatingReplicas", counted.terminating_replicas.map(Value::from));
    put(status, "observedGeneration", (counted.observed_generation != 0).then(|| counted.observed_generation.into()));
    if edit == ConditionEdit::Keep {
        return;
    }
    let mut conditions = match status.shift_remove("conditions") {
        Some(Value::Array(conditions)) => conditions,
        _ => Vec::new(),
    };
    conditions.retain(|c| c.get("type").and_then(Value::as_str) != Some(REPLICA_FAILURE));
    if let ConditionEdit::Set(condition) = edit {
        let mut value = condition.to_value();
        // The field is always there, as null where nobody knows.
        value["lastTransitionTime"] = condition.last_transition.map_or(Value::Null, |at| time_text(at).into());
        conditions.push(value);
    }
    if !conditions.is_empty() {
        status.insert("conditions".into(), conditions.into());
    }
}

fn put(status: &mut Map<String, Value>, field: &str, value: Option<Value>) {
    match value {
        Some(value) => status.insert(field.into(), value),
        None => status.shift_remove(field),
    };
}
