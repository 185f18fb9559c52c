//! Annotations by which Deployments and ReplicaSets keep accounts (workloads 1.5).

use std::collections::BTreeMap;

use evenkeel_api::ReplicaSet;

/// Decimal revision, from `1`.
pub(crate) const REVISION: &str = "deployment.kubernetes.io/revision";
/// Earlier revisions that a set served, comma-separated.
pub(crate) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// The Deployment's `spec.replicas` when the set was last sized.
pub(crate) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
/// The same and the surge of that moment.
pub(crate) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
/// Server-side rollback request.
pub(crate) const ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";

/// Never copied from Deployment to ReplicaSet nor back.
const SKIPPED: [&str; 6] =
    ["kubectl.kubernetes.io/last-applied-configuration", REVISION, REVISION_HISTORY, DESIRED_REPLICAS, MAX_REPLICAS, ROLLBACK_TO];

/// Whether an annotation stays where it is.
pub(crate) fn skipped(key: &str) -> bool {
    SKIPPED.contains(&key)
}

/// Those that travel between a Deployment and its sets.
pub(crate) fn travelling(annotations: &BTreeMap<String, String>) -> impl Iterator<Item = (&String, &String)> {
    annotations.iter().filter(|(k, _)| !skipped(k))
}

/// The revision of a set: 0 where there is none, `None` where it is no number.
pub(crate) fn revision(set: &ReplicaSet) -> Option<i64> {
    set.annotations.get(REVISION).map_or(Some(0), |text| text.parse().ok())
}

/// A size annotation: decimal digits up to 2³¹−1; everything else counts as absent.
pub(crate) fn size(set: &ReplicaSet, key: &str) -> Option<i32> {
    let text = set.annotations.get(key)?;
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
