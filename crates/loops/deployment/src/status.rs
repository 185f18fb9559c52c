use evenkeel_api::{Condition, ConditionStatus, DEPLOYMENTS, Deployment, DeploymentStatus, ReplicaSet};
use evenkeel_plan::{Target, Write};
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    annotations::REVISION,
    bounds::Bounds,
    edit::{name_kind, number, object},
    sets::{clamp, sum},
};

/// Condition types of a Deployment.
pub(crate) const AVAILABLE: &str = "Available";
/// Whether the rollout gets on.
pub(crate) const PROGRESSING: &str = "Progressing";
/// Whether pods cannot be made.
pub(crate) const REPLICA_FAILURE: &str = "ReplicaFailure";

/// The status that a pass arrives at, and the revision annotation that travels with it: the cached ones, edited.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Working {
    /// `status`.
    pub(crate) status: DeploymentStatus,
    /// Revision annotation, where there is one.
    pub(crate) revision: Option<String>,
}

impl Working {
    /// As the cache shows it.
    pub(crate) fn of(deployment: &Deployment) -> Self {
        Self { status: deployment.status.clone(), revision: deployment.annotations.get(REVISION).cloned() }
    }

    /// The condition of a type.
    pub(crate) fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|c| c.kind == kind)
    }

    /// Sets a condition. One that is there with the same status and reason stays entirely as it is; a changed one moves to the end, and keeps its
    /// transition time where only the reason changed (workloads 2.11).
    pub(crate) fn set(&mut self, mut condition: Condition) {
        if let Some(current) = self.condition(&condition.kind).filter(|c| c.status == condition.status) {
            if current.reason == condition.reason {
                return;
            }
            condition.last_transition = current.last_transition;
        }
        self.remove(&condition.kind);
        self.status.conditions.push(condition);
    }

    /// Removes a condition.
    pub(crate) fn remove(&mut self, kind: &str) {
        self.status.conditions.retain(|c| c.kind != kind);
    }

    /// Counters of all sets (workloads 2.11). A set made in this pass has its size and nothing else yet.
    pub(crate) fn count(&mut self, deployment: &Deployment, sets: &Counted<'_>, terminating: bool, now: Timestamp) {
        let total = |field: fn(&ReplicaSet) -> i32| sum(sets.all().map(field));
        let wanted = total(|s| s.replicas) + i64::from(sets.made.unwrap_or(0));
        let available = total(|s| s.status.available_replicas);
        let status = &mut self.status;
        status.observed_generation = deployment.meta.generation;
        status.replicas = clamp(total(|s| s.status.replicas));
        status.updated_replicas = sets.new.map_or(0, |s| s.status.replicas);
        status.ready_replicas = clamp(total(|s| s.status.ready_replicas));
        status.available_replicas = clamp(available);
        status.unavailable_replicas = clamp((wanted - available).max(0));
        status.terminating_replicas = if terminating { terminating_total(sets) } else { None };
        let (holds, reason, message) = if available >= Bounds::of(deployment).min_available(deployment) {
            (ConditionStatus::True, "MinimumReplicasAvailable", "Deployment has minimum availability.")
        } else {
            (ConditionStatus::False, "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
        };
        self.set(condition(AVAILABLE, holds, reason, message, now));
    }

    /// The PUT that makes it so; none where the cache shows it already.
    pub(crate) fn write(&self, deployment: &Deployment) -> Option<Write> {
        let before = Self::of(deployment);
        if *self == before {
            return None;
        }
        let mut body = deployment.document.value();
        name_kind(&mut body, &DEPLOYMENTS);
        if self.revision != before.revision
            && let Some(revision) = &self.revision
        {
            object(object(&mut body, "metadata"), "annotations")[REVISION] = revision.as_str().into();
        }
        let conditions = self.conditions_value(&body);
        let (now, status) = (&self.status, object(&mut body, "status"));
        number(status, "observedGeneration", now.observed_generation);
        number(status, "replicas", now.replicas.into());
        number(status, "updatedReplicas", now.updated_replicas.into());
        number(status, "readyReplicas", now.ready_replicas.into());
        number(status, "availableReplicas", now.available_replicas.into());
        number(status, "unavailableReplicas", now.unavailable_replicas.into());
        optional(status, "terminatingReplicas", now.terminating_replicas);
        optional(status, "collisionCount", now.collision_count);
        status["conditions"] = conditions;
        Some(Write::Replace { target: Target::exactly(&DEPLOYMENTS, &deployment.meta), subresource: Some("status"), body })
    }

    /// Conditions on the wire; those that did not change stay as the server sent them.
    fn conditions_value(&self, body: &Value) -> Value {
        let sent = body["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let value = |c: &Condition| sent.iter().find(|raw| Condition::read(raw) == *c).cloned().unwrap_or_else(|| c.to_value());
        self.status.conditions.iter().map(value).collect()
    }
}

/// The sets that counters are made of.
#[derive(Debug)]
pub(crate) struct Counted<'s> {
    /// Old sets.
    pub(crate) old: &'s [std::sync::Arc<ReplicaSet>],
    /// The new set.
    pub(crate) new: Option<&'s ReplicaSet>,
    /// Size of the new set that was made in this pass.
    pub(crate) made: Option<i32>,
}

impl Counted<'_> {
    /// Old sets, then the new one.
    pub(crate) fn all(&self) -> impl Iterator<Item = &ReplicaSet> {
        self.old.iter().map(|s| &**s).chain(self.new)
    }
}

/// Pods on their way out. A set that its loop has seen but not counted leaves the total unknown; one never seen does not.
fn terminating_total(sets: &Counted<'_>) -> Option<i32> {
    let mut total = 0;
    for set in sets.all() {
        match set.status.terminating_replicas {
            Some(count) => total += i64::from(count),
            None if set.status.observed_generation == 0 => {}
            None => return None,
        }
    }
    Some(clamp(total))
}

/// A condition as of now.
pub(crate) fn condition(kind: &str, status: ConditionStatus, reason: &str, message: impl Into<String>, now: Timestamp) -> Condition {
    Condition {
        kind: kind.to_owned(),
        status,
        reason: reason.to_owned(),
        message: message.into(),
        last_transition: Some(now),
        last_update: Some(now),
    }
}

/// Writes a counter whose 0 differs from its absence.
fn optional(value: &mut Value, field: &str, count: Option<i32>) {
    match count {
        Some(count) => value[field] = count.into(),
        None => number(value, field, 0),
    }
}
