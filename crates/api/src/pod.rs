use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::{DecodeError, Kind, Meta, Name, Object, PODS, Pool, Text, wire::MetaWire};

/// Annotation by which users say which pods to give up first (workloads 1.5).
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// A pod as loops see it: only what they read. About 250 bytes with its name; label sets, owners and node names are shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Header.
    pub meta: Meta,
    /// `status.phase`.
    pub phase: Phase,
    /// Condition `Ready` is `True`.
    pub ready: bool,
    /// Condition `DisruptionTarget` is `True`.
    pub disrupted: bool,
    /// Failed with `status.reason` `Evicted`.
    pub evicted: bool,
    /// Being deleted without a grace period: only finalizers hold it.
    pub deleted_at_once: bool,
    /// `lastTransitionTime` of the condition `Ready`.
    pub ready_since: Option<Timestamp>,
    /// `spec.nodeName`, when it is assigned to one.
    pub node: Option<Name>,
    /// The pod deletion cost; 0 unless a canonical 32-bit decimal is given (workloads 3.7 rule 4).
    pub deletion_cost: i32,
    /// Most restarts of a regular container.
    pub restarts: i32,
    /// Most restarts of a restartable init container.
    pub sidecar_restarts: i32,
}

/// `status.phase` of a pod. Ordered by how soon a surplus pod in it goes (workloads 3.7 rule 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Not started, or no phase yet.
    Pending,
    /// The node does not answer, or a phase that we do not know.
    Unknown,
    /// At least one container runs.
    Running,
    /// All containers ended well.
    Succeeded,
    /// All containers ended, one badly.
    Failed,
}

impl Pod {
    /// Phase Succeeded or Failed.
    pub fn terminal(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    /// Neither terminal nor being deleted.
    pub fn active(&self) -> bool {
        !self.terminal() && self.meta.deleting.is_none()
    }

    /// Being deleted and not terminal.
    pub fn terminating(&self) -> bool {
        !self.terminal() && self.meta.deleting.is_some()
    }

    /// Ready for at least `min_ready` seconds at `now` (workloads 1.9).
    pub fn available(&self, min_ready: i32, now: Timestamp) -> bool {
        self.ready && (min_ready <= 0 || self.available_at(min_ready).is_some_and(|at| at <= now))
    }

    /// When a ready pod has been ready for `min_ready` seconds; `None` where there is nothing to wait for.
    pub fn available_at(&self, min_ready: i32) -> Option<Timestamp> {
        if !self.ready || min_ready <= 0 {
            return None;
        }
        self.ready_since?.checked_add(SignedDuration::from_secs(min_ready.into())).ok()
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PodWire<'a> {
    #[serde(borrow)]
    metadata: MetaWire<'a>,
    #[serde(borrow)]
    spec: Option<SpecWire<'a>>,
    #[serde(borrow)]
    status: Option<StatusWire<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct SpecWire<'a> {
    #[serde(borrow)]
    node_name: Option<Text<'a>>,
    #[serde(borrow)]
    init_containers: Option<Vec<InitWire<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct InitWire<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    restart_policy: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct StatusWire<'a> {
    #[serde(borrow)]
    phase: Option<Text<'a>>,
    #[serde(borrow)]
    reason: Option<Text<'a>>,
    #[serde(borrow)]
    conditions: Option<Vec<ConditionWire<'a>>>,
    #[serde(borrow)]
    container_statuses: Option<Vec<ContainerWire<'a>>>,
    #[serde(borrow)]
    init_container_statuses: Option<Vec<ContainerWire<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ConditionWire<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    status: Option<Text<'a>>,
    last_transition_time: Option<Timestamp>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ContainerWire<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    restart_count: Option<i32>,
}

impl Object for Pod {
    fn resource() -> Kind {
        &PODS
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn decode(json: &[u8]) -> Result<Self, DecodeError> {
        let wire: PodWire<'_> = serde_json::from_slice(json)?;
        let pool = Pool::shared();
        let meta = wire.metadata.slim(pool)?;
        let deleted_at_once = meta.deleting.is_some() && wire.metadata.deletion_grace_period_seconds == Some(0);
        let cost = wire.metadata.annotations.as_ref().and_then(|a| a.get(DELETION_COST)).and_then(Option::as_deref);
        let spec = wire.spec.unwrap_or_default();
        let status = wire.status.unwrap_or_default();
        let condition = |kind: &str| status.conditions.iter().flatten().find(|c| c.kind == kind);
        let holds = |condition: Option<&ConditionWire<'_>>| condition.is_some_and(|c| c.status.as_deref() == Some("True"));
        let ready = condition("Ready");
        let phase = match status.phase.as_deref().unwrap_or_default() {
            "" | "Pending" => Phase::Pending,
            "Running" => Phase::Running,
            "Succeeded" => Phase::Succeeded,
            "Failed" => Phase::Failed,
            _ => Phase::Unknown,
        };
        let sidecar =
            |name: &str| spec.init_containers.iter().flatten().any(|c| c.name == name && c.restart_policy.as_deref() == Some("Always"));
        Ok(Self {
            meta,
            phase,
            ready: holds(ready),
            disrupted: holds(condition("DisruptionTarget")),
            evicted: phase == Phase::Failed && status.reason.as_deref() == Some("Evicted"),
            deleted_at_once,
            ready_since: ready.and_then(|c| c.last_transition_time),
            node: spec.node_name.as_deref().filter(|n| !n.is_empty()).map(|n| pool.name(n)),
            deletion_cost: cost.map_or(0, deletion_cost),
            restarts: status.container_statuses.iter().flatten().filter_map(|c| c.restart_count).max().unwrap_or(0),
            sidecar_restarts: status
                .init_container_statuses
                .iter()
                .flatten()
                .filter(|c| sidecar(&c.name))
                .filter_map(|c| c.restart_count)
                .max()
                .unwrap_or(0),
        })
    }
}

/// Only canonical decimals count: `+5` and `007` are 0, as upstream has it.
fn deletion_cost(text: &str) -> i32 {
    text.parse::<i32>().ok().filter(|n| n.to_string() == text).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(extra: serde_json::Value) -> Result<Pod, DecodeError> {
        let mut v = json!({"metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "3", "labels": {"x": "1"}}});
        for (k, part) in extra.as_object().unwrap() {
            let slot = v.as_object_mut().unwrap().entry(k.clone()).or_insert_with(|| json!({}));
            for (k, x) in part.as_object().unwrap() {
                slot[k] = x.clone();
            }
        }
        Pod::decode(v.to_string().as_bytes())
    }

    #[test]
    fn a_pod_keeps_what_loops_read() {
        let p = pod(json!({"spec": {"nodeName": "n1", "initContainers": [{"name": "side", "restartPolicy": "Always"}, {"name": "once"}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                "containerStatuses": [{"name": "c", "restartCount": 2}, {"name": "d", "restartCount": 5}],
                "initContainerStatuses": [{"name": "side", "restartCount": 3}, {"name": "once", "restartCount": 9}]}}))
        .unwrap();
        assert!(p.ready && p.active() && p.phase == Phase::Running);
        assert_eq!((p.restarts, p.sidecar_restarts, p.node.as_deref()), (5, 3, Some("n1")));
        let at = p.ready_since.unwrap();
        assert!(p.available(0, at));
        assert!(!p.available(5, at + SignedDuration::from_secs(4)));
        assert!(p.available(5, at + SignedDuration::from_secs(5)));
    }

    #[test]
    fn a_pod_tells_how_it_was_given_up() {
        let gone = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0});
        let status = json!({"phase": "Failed", "reason": "Evicted", "conditions": [{"type": "DisruptionTarget", "status": "True"}]});
        let p = pod(json!({"metadata": gone, "status": status})).unwrap();
        assert!(p.deleted_at_once && p.evicted && p.disrupted && !p.ready);
        let p = pod(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30},
            "status": {"phase": "Running", "reason": "Evicted", "conditions": [{"type": "DisruptionTarget", "status": "False"}]}}))
        .unwrap();
        assert!(!p.deleted_at_once && !p.evicted && !p.disrupted);
    }

    #[test]
    fn deletion_costs_are_canonical_decimals() {
        for (text, cost) in [("5", 5), ("-5", -5), ("+5", 0), ("007", 0), ("x", 0), ("2147483648", 0), ("", 0)] {
            let p = pod(json!({"metadata": {"annotations": {DELETION_COST: text}}})).unwrap();
            assert_eq!(p.deletion_cost, cost, "{text}");
        }
    }

    #[test]
    fn nulls_are_absence_and_garbage_is_an_error() {
        assert!(pod(json!({"metadata": {"labels": null, "ownerReferences": null, "annotations": null}})).is_ok());
        assert!(pod(json!({"metadata": {"uid": ""}})).is_err());
        assert!(pod(json!({"metadata": {"resourceVersion": "x"}})).is_err());
        assert!(Pod::decode(b"{\"metadata\": 3}").is_err());
    }

    #[test]
    fn the_struct_stays_small() {
        assert!(size_of::<Pod>() <= 240, "{}", size_of::<Pod>());
    }
}
