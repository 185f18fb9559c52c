use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    Condition, DEPLOYMENTS, DecodeError, Document, IntOrPercent, Kind, Meta, Object, Pool, Selector, SelectorError, Template,
    replicas::{Header, int},
    wire::{MetaWire, pairs},
};

/// A Deployment: what its loop reads, and the whole document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// Header.
    pub meta: Meta,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// `spec.replicas`; 1 where absent.
    pub replicas: i32,
    /// `spec.paused`.
    pub paused: bool,
    /// `spec.selector`, or why it cannot be used. Absent: `None`.
    pub selector: Result<Option<Selector>, SelectorError>,
    /// `spec.strategy`.
    pub strategy: Strategy,
    /// `spec.minReadySeconds`.
    pub min_ready_seconds: i32,
    /// `spec.progressDeadlineSeconds`; absent or 2³¹−1 means that none applies ([`Deployment::progress_deadline`]).
    pub progress_deadline_seconds: Option<i32>,
    /// `spec.revisionHistoryLimit`; absent or 2³¹−1 keeps all.
    pub revision_history_limit: Option<i32>,
    /// [`Template::fingerprint`] of `spec.template`.
    pub template_fingerprint: u64,
    /// `status`.
    pub status: DeploymentStatus,
    /// The whole object.
    pub document: Document,
}

/// How pods are replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strategy {
    /// All old pods go before the first new one comes.
    Recreate,
    /// Step by step within these bounds.
    RollingUpdate {
        /// `maxSurge`.
        max_surge: Option<IntOrPercent>,
        /// `maxUnavailable`.
        max_unavailable: Option<IntOrPercent>,
    },
    /// A type that this program does not know.
    Other(String),
}

/// `status` of a Deployment (workloads 2.11).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeploymentStatus {
    /// Generation that the status was made for.
    pub observed_generation: i64,
    /// Pods of all ReplicaSets.
    pub replicas: i32,
    /// Pods of the new ReplicaSet.
    pub updated_replicas: i32,
    /// Ready pods.
    pub ready_replicas: i32,
    /// Available pods.
    pub available_replicas: i32,
    /// Pods still missing.
    pub unavailable_replicas: i32,
    /// Pods that are going; absent where nobody counted.
    pub terminating_replicas: Option<i32>,
    /// Names that were taken so far; absent: none.
    pub collision_count: Option<i32>,
    /// Conditions, in the object's order.
    pub conditions: Vec<Condition>,
}

impl Deployment {
    /// The pod template as a raw value.
    pub fn template(&self) -> Template {
        Template::new(self.document.part("/spec/template"))
    }

    /// The progress deadline in seconds, where one applies (workloads 2.12).
    pub fn progress_deadline(&self) -> Option<i32> {
        self.progress_deadline_seconds.filter(|s| *s != i32::MAX)
    }
}

impl Object for Deployment {
    fn resource() -> Kind {
        &DEPLOYMENTS
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn decode(json: &[u8]) -> Result<Self, DecodeError> {
        let value: Value = serde_json::from_slice(json)?;
        let wire: MetaWire<'_> = serde_json::from_slice::<Header<'_>>(json)?.metadata;
        let spec = value.get("spec").unwrap_or(&Value::Null);
        let status = value.get("status").unwrap_or(&Value::Null);
        let strategy = spec.get("strategy").unwrap_or(&Value::Null);
        let rolling = strategy.get("rollingUpdate").unwrap_or(&Value::Null);
        Ok(Self {
            meta: wire.slim(Pool::shared())?,
            annotations: pairs(&wire.annotations).map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            replicas: int(spec, "replicas").unwrap_or(1),
            paused: spec.get("paused").and_then(Value::as_bool).unwrap_or(false),
            selector: match spec.get("selector") {
                None | Some(Value::Null) => Ok(None),
                Some(given) => Selector::read(given).map(Some),
            },
            strategy: match strategy.get("type").and_then(Value::as_str).unwrap_or("RollingUpdate") {
                "Recreate" => Strategy::Recreate,
                "RollingUpdate" => Strategy::RollingUpdate {
                    max_surge: IntOrPercent::read(rolling.get("maxSurge")),
                    max_unavailable: IntOrPercent::read(rolling.get("maxUnavailable")),
                },
                other => Strategy::Other(other.to_owned()),
            },
            min_ready_seconds: int(spec, "minReadySeconds").unwrap_or(0),
            progress_deadline_seconds: int(spec, "progressDeadlineSeconds"),
            revision_history_limit: int(spec, "revisionHistoryLimit"),
            template_fingerprint: Template::new(spec.get("template").cloned().unwrap_or_default()).fingerprint(),
            status: DeploymentStatus {
                observed_generation: status.get("observedGeneration").and_then(Value::as_i64).unwrap_or(0),
                replicas: int(status, "replicas").unwrap_or(0),
                updated_replicas: int(status, "updatedReplicas").unwrap_or(0),
                ready_replicas: int(status, "readyReplicas").unwrap_or(0),
                available_replicas: int(status, "availableReplicas").unwrap_or(0),
                unavailable_replicas: int(status, "unavailableReplicas").unwrap_or(0),
                terminating_replicas: int(status, "terminatingReplicas"),
                collision_count: int(status, "collisionCount"),
                conditions: Condition::read_all(status.get("conditions")),
            },
            document: Document::new(value),
        })
    }
}
