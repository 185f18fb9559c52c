use std::{collections::BTreeMap, ops::Deref, sync::Arc};

use serde_json::Value;

use crate::{
    Condition, DecodeError, Document, Kind, Labels, Meta, Object, Pool, REPLICA_SETS, REPLICATION_CONTROLLERS, Selector, SelectorError,
    Template,
    wire::{MetaWire, pairs},
};

/// What ReplicaSets and ReplicationControllers have in common: an entry that keeps the whole document beside what loops read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replicated {
    /// Header.
    pub meta: Meta,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// `spec.replicas`; 1 where absent.
    pub replicas: i32,
    /// `spec.minReadySeconds`.
    pub min_ready_seconds: i32,
    /// `spec.selector`, or why it cannot be used. An absent selector matches nothing: `None`.
    pub selector: Result<Option<Selector>, SelectorError>,
    /// [`Template::fingerprint`] of `spec.template`.
    pub template_fingerprint: u64,
    /// Labels of `spec.template`: what every pass compares with, so that it need not read the document for them.
    pub template_labels: Arc<Labels>,
    /// `status`.
    pub status: ReplicaSetStatus,
    /// The whole object.
    pub document: Document,
}

/// `status` of a ReplicaSet or ReplicationController (workloads 3.8).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReplicaSetStatus {
    /// Active pods.
    pub replicas: i32,
    /// Active pods that have all labels of the template.
    pub fully_labeled_replicas: i32,
    /// Ready pods.
    pub ready_replicas: i32,
    /// Pods ready for at least `minReadySeconds`.
    pub available_replicas: i32,
    /// Pods that are going; ReplicaSets only, absent where nobody counted.
    pub terminating_replicas: Option<i32>,
    /// Generation that the counters were made for.
    pub observed_generation: i64,
    /// Conditions, in the object's order.
    pub conditions: Vec<Condition>,
}

impl Replicated {
    /// The pod template as a raw value.
    pub fn template(&self) -> Template {
        Template::new(self.document.part("/spec/template"))
    }

    fn decode(json: &[u8], plain_selector: bool) -> Result<Self, DecodeError> {
        let value: Value = serde_json::from_slice(json)?;
        let wire: MetaWire<'_> = serde_json::from_slice::<Header<'_>>(json)?.metadata;
        let spec = value.get("spec").unwrap_or(&Value::Null);
        let selector = match spec.get("selector") {
            None | Some(Value::Null) => Ok(None),
            Some(given) if plain_selector => Selector::read_map(given).map(Some),
            Some(given) => Selector::read(given).map(Some),
        };
        let status = value.get("status").unwrap_or(&Value::Null);
        let template = Template::new(spec.get("template").cloned().unwrap_or_default());
        Ok(Self {
            meta: wire.slim(Pool::shared())?,
            annotations: pairs(&wire.annotations).map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            replicas: int(spec, "replicas").unwrap_or(1),
            min_ready_seconds: int(spec, "minReadySeconds").unwrap_or(0),
            selector,
            template_fingerprint: template.fingerprint(),
            template_labels: Pool::shared().labels(template.labels()),
            status: ReplicaSetStatus {
                replicas: int(status, "replicas").unwrap_or(0),
                fully_labeled_replicas: int(status, "fullyLabeledReplicas").unwrap_or(0),
                ready_replicas: int(status, "readyReplicas").unwrap_or(0),
                available_replicas: int(status, "availableReplicas").unwrap_or(0),
                terminating_replicas: int(status, "terminatingReplicas"),
                observed_generation: status.get("observedGeneration").and_then(Value::as_i64).unwrap_or(0),
                conditions: Condition::read_all(status.get("conditions")),
            },
            document: Document::new(value),
        })
    }
}

/// Just `metadata` of any object.
#[derive(serde::Deserialize)]
pub(crate) struct Header<'a> {
    #[serde(borrow, default)]
    pub(crate) metadata: MetaWire<'a>,
}

/// A 32-bit field; larger numbers saturate (a server refuses them anyway).
pub(crate) fn int(value: &Value, field: &str) -> Option<i32> {
    value.get(field)?.as_i64().map(|n| n.clamp(i32::MIN.into(), i32::MAX.into()) as i32)
}

macro_rules! replicated {
    ($name:ident, $resource:expr, $plain:expr, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(pub Replicated);

        impl Deref for $name {
            type Target = Replicated;
            fn deref(&self) -> &Replicated {
                &self.0
            }
        }

        impl Object for $name {
            fn resource() -> Kind {
                &$resource
            }
            fn decode(json: &[u8]) -> Result<Self, DecodeError> {
                Replicated::decode(json, $plain).map(Self)
            }
            fn meta(&self) -> &Meta {
                &self.0.meta
            }
        }
    };
}

replicated!(ReplicaSet, REPLICA_SETS, false, "A ReplicaSet.");
replicated!(ReplicationController, REPLICATION_CONTROLLERS, true, "A ReplicationController: its selector is a plain map.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_labels_of_the_template_are_at_hand() {
        let json = br#"{"metadata": {"name": "a", "uid": "u", "resourceVersion": "1"},
            "spec": {"template": {"metadata": {"labels": {"x": "1", "y": "2"}}}}}"#;
        let set = ReplicaSet::decode(json).unwrap();
        assert_eq!(*set.template_labels, Labels::new([("x", "1"), ("y", "2")]));
        let bare = br#"{"metadata": {"name": "a", "uid": "u", "resourceVersion": "1"}}"#;
        assert!(ReplicationController::decode(bare).unwrap().template_labels.is_empty());
    }
}
