//! DP-6: the progress deadline is told in time, also across a restart, never early, and never after completion.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::id;
use crate::history::{History, Written, condition};

/// When the world begins, by the server's wall clock.
const BEGINNING: i64 = 1_800_000_000_000;

/// What a report may be late by: the spec's two seconds, and one because conditions carry whole seconds, cut.
const LATE: i64 = 2_000 + 1_000;

/// From the last fault, or a change of leaders, until somebody leads whose caches are full: a lease to expire, and the longest pause of a
/// watch.
const RECOVERY: u64 = 45_000;

pub(super) fn check(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    let mut states: BTreeMap<&str, Vec<&Written>> = BTreeMap::new();
    history.writes.iter().filter(|w| w.kind == "deployments").for_each(|w| states.entry(id(w)).or_default().push(w));
    let end = history.writes.last().map_or(0, |w| w.at);
    for states in states.values() {
        for (n, w) in states.iter().enumerate() {
            let before = n.checked_sub(1).and_then(|n| states[n].new.as_deref());
            if let (Some(old), Some(new)) = (before.or(w.old.as_deref()), &w.new) {
                found.extend(told(history, w, old, new).map(|why| format!("DP-6: {} at {} ms: {why}", w.key, w.at)));
            }
            if let Some(new) = &w.new {
                let until = states.get(n + 1).map_or(end, |next| next.at);
                found.extend(untold(history, w, new, until).map(|why| format!("DP-6: {} at {} ms: {why}", w.key, w.at)));
            }
        }
    }
    found
}

fn reason(deployment: &Value) -> &str {
    condition(deployment, "Progressing").and_then(|c| c["reason"].as_str()).unwrap_or_default()
}

/// When the deadline passes, in milliseconds by the clock that wrote the condition.
fn due(deployment: &Value) -> Option<i64> {
    let progress = condition(deployment, "Progressing")?["lastUpdateTime"].as_str()?.parse::<Timestamp>().ok()?;
    Some(progress.as_millisecond() - BEGINNING + 1000 * deployment["spec"]["progressDeadlineSeconds"].as_i64()?)
}

/// A deadline that is told: not after completion, and not early, by the clock of whoever tells it. (Conditions carry the wall clock of their
/// writer; if the next leader's is minutes off, nobody can know.)
fn told(history: &History, w: &Written, old: &Value, new: &Value) -> Option<String> {
    if reason(new) != "ProgressDeadlineExceeded" || reason(old) == reason(new) {
        return None;
    }
    let generation = |d: &Value| d["status"]["observedGeneration"].as_i64();
    if reason(old) == "NewReplicaSetAvailable" && generation(old) == generation(new) {
        return Some("the deadline is told after completion".into());
    }
    let (link, _) = w.actor.manager()?;
    let (due, now) = (due(old)?, w.at as i64 + history.ahead_of(link));
    (now + 1 < due).then(|| format!("the deadline of {due} ms is told early"))
}

/// A deadline that is not told, or late: this state still waited for it when the next one came (or the world ended). What counts is the
/// later of the deadline, the end of faults, and the last change of leaders, because before nobody could be on time. Where wall clocks are
/// apart, it passes by the clock of whoever leads; such worlds are left to LV-1.
fn untold(history: &History, w: &Written, state: &Value, until: u64) -> Option<String> {
    let waits = matches!(reason(state), "ReplicaSetUpdated" | "NewReplicaSetCreated" | "FoundNewReplicaSet");
    let complete = |field: &str| state["status"][field].as_i64().unwrap_or(0) == state["spec"]["replicas"].as_i64().unwrap_or(1);
    let done = complete("updatedReplicas") && complete("replicas") && complete("availableReplicas");
    if !waits || done || state["spec"]["paused"] == true || history.ahead.iter().any(|ms| *ms != 0) {
        return None;
    }
    let due = due(state)?;
    let mut from = due.max((history.calm_at + RECOVERY) as i64);
    for taken in history.writes.iter().filter(|l| l.kind == "leases" && l.at <= until) {
        let holder = |l: &Option<std::sync::Arc<Value>>| l.as_ref().and_then(|l| l["spec"]["holderIdentity"].as_str().map(str::to_owned));
        // A restart in peace: handed over at once, and caches are filled within a second.
        if holder(&taken.old) != holder(&taken.new) && taken.at as i64 + 3_000 > from - LATE {
            from = from.max(taken.at as i64 + 3_000);
        }
    }
    (until as i64 > from + LATE && history.calm_at > 0 && w.at as i64 <= due)
        .then(|| format!("the deadline of {due} ms is not told by {until} ms"))
}
