//! What a namespace says of its deletion (garbage-collection C5).

use std::collections::BTreeMap;

use evenkeel_api::{Condition, ConditionStatus, Kind, Namespace, time_text};
use evenkeel_plan::Left;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{Snapshot, conclude::estimate};

/// One condition as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    kind: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
}

/// Type, and reason and message while all is well. In the order in which they are added.
const WELL: [(&str, &str, &str); 5] = [
    ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered"),
    ("NamespaceDeletionGroupVersionParsingFailure", "ParsedGroupVersions", "All legacy kube types successfully parsed"),
    ("NamespaceDeletionContentFailure", "ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
    ("NamespaceContentRemaining", "ContentRemoved", "All content successfully removed"),
    ("NamespaceFinalizersRemaining", "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
];

/// All five conditions.
pub(crate) fn wanted(snap: &Snapshot, now: Timestamp) -> [Wanted; 5] {
    let trouble = [discovery(snap), versions(snap), content(snap, now), remaining(snap), finalizers(snap)];
    let mut trouble = trouble.into_iter();
    WELL.map(|(kind, reason, message)| match trouble.next().flatten() {
        Some((reason, message)) => Wanted { kind, holds: true, reason, message },
        None => Wanted { kind, holds: false, reason, message: message.to_owned() },
    })
}

/// Reason and message of a condition that holds.
type Trouble = Option<(&'static str, String)>;

fn discovery(snap: &Snapshot) -> Trouble {
    if let Some(why) = &snap.progress.blind {
        return Some(("DiscoveryFailed", why.clone()));
    }
    let failed = &snap.progress.found.failed;
    let groups: Vec<String> = failed.iter().map(|(group, why)| format!("{group}: {why}")).collect();
    (!groups.is_empty()).then(|| {
        let all = "unable to retrieve the complete list of server APIs";
        ("DiscoveryFailed", format!("Discovery failed for some groups, {} failing: {all}: {}", groups.len(), groups.join(", ")))
    })
}

fn versions(snap: &Snapshot) -> Trouble {
    let malformed: Vec<String> =
        snap.progress.found.malformed.iter().map(|text| format!("unexpected GroupVersion string: {text}")).collect();
    (!malformed.is_empty()).then(|| ("GroupVersionParsingFailed", malformed.join(", ")))
}

/// Why to try again: what should have gone and did not, and what cannot be discovered.
pub(crate) fn failures(snap: &Snapshot, now: Timestamp) -> Vec<String> {
    let unknown = discovery(snap).into_iter().chain(versions(snap)).map(|(_, message)| message);
    undeleted(snap, now).into_iter().chain(unknown).collect()
}

fn undeleted(snap: &Snapshot, now: Timestamp) -> Vec<String> {
    let mut failures: Vec<String> = snap.progress.errors.values().cloned().collect();
    let stuck = |kind: &&Kind| estimate(snap, kind, now) == 0;
    failures.extend(snap.progress.left.keys().filter(stuck).map(|kind| {
        let namespace = snap.namespace.as_ref().map(|n| &*n.meta.name).unwrap_or_default();
        let (group, version, plural) = (kind.group, kind.version, kind.plural);
        format!("unexpected items still remain in namespace: {namespace} for gvr: {group}/{version}, Resource={plural}")
    }));
    failures.sort();
    failures
}

fn content(snap: &Snapshot, now: Timestamp) -> Trouble {
    let failures = undeleted(snap, now);
    let (count, all) = (failures.len(), failures.join(", "));
    (count > 0).then(|| ("ContentDeletionFailed", format!("Failed to delete all resource types, {count} remaining: {all}")))
}

/// Upstream leaves pods out while they are what everything waits for (C7.1).
fn remaining(snap: &Snapshot) -> Trouble {
    let line = |(kind, left): (&Kind, &Left)| format!("{}.{} has {} resource instances", kind.plural, kind.group, left.count);
    let mut lines: Vec<String> = snap.progress.left.iter().map(line).collect();
    lines.sort();
    (!lines.is_empty()).then(|| ("SomeResourcesRemain", format!("Some resources are remaining: {}", lines.join(", "))))
}

fn finalizers(snap: &Snapshot) -> Trouble {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let each = snap.progress.left.values().flat_map(|left| &left.finalizers);
    each.for_each(|(finalizer, count)| *counts.entry(finalizer).or_default() += count);
    let lines: Vec<String> = counts.iter().map(|(finalizer, count)| format!("{finalizer} in {count} resource instances")).collect();
    let all = "Some content in the namespace has finalizers remaining";
    (!lines.is_empty()).then(|| ("SomeFinalizersRemain", format!("{all}: {}", lines.join(", "))))
}

/// Whether the namespace says something else.
pub(crate) fn differ(namespace: &Namespace, wanted: &[Wanted; 5]) -> bool {
    let status = |w: &Wanted| if w.holds { ConditionStatus::True } else { ConditionStatus::False };
    let same = |w: &Wanted, c: &Condition| c.status == status(w) && c.reason == w.reason && c.message == w.message;
    !wanted.iter().all(|w| namespace.conditions.iter().any(|c| c.kind == w.kind && same(w, c)))
}

/// All conditions as they should be, where any differs. Those of other types stay, and the time stays where only the words change.
pub(crate) fn edited(namespace: &Namespace, wanted: &[Wanted; 5], now: Timestamp) -> Option<Vec<Value>> {
    if !differ(namespace, wanted) {
        return None;
    }
    let mut conditions: Vec<Value> = namespace.document.part("/status/conditions").as_array().cloned().unwrap_or_default();
    for w in wanted {
        let status = if w.holds { "True" } else { "False" };
        let fresh =
            json!({"type": w.kind, "status": status, "lastTransitionTime": time_text(now), "reason": w.reason, "message": w.message});
        match conditions.iter_mut().find(|c| c["type"] == w.kind) {
            None => conditions.push(fresh),
            Some(known) => {
                let since = known.get("lastTransitionTime").filter(|_| known["status"] == status).cloned();
                *known = fresh;
                if let Some(since) = since {
                    known["lastTransitionTime"] = since;
                }
            }
        }
    }
    Some(conditions)
}

/// Whether the namespace says of itself that all is gone.
pub(crate) fn told(snap: &Snapshot, namespace: &Namespace) -> bool {
    // A clean namespace's conditions do not depend on the time.
    !differ(namespace, &wanted(snap, Timestamp::UNIX_EPOCH))
}
