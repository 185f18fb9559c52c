use std::borrow::Cow;

use serde::Deserialize;

use crate::{DecodeError, Kind, Meta, NODES, Object, Pool, wire::MetaWire};

/// Taint by which an administrator says that a node is down for good (KEP-2268).
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// A node as loops see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Header.
    pub meta: Meta,
    /// Condition `Ready` is `True`.
    pub ready: bool,
    /// It has the taint `node.kubernetes.io/out-of-service`, with any value and effect.
    pub out_of_service: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct NodeWire<'a> {
    #[serde(borrow)]
    metadata: MetaWire<'a>,
    #[serde(borrow)]
    spec: Option<SpecWire<'a>>,
    #[serde(borrow)]
    status: Option<StatusWire<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SpecWire<'a> {
    #[serde(borrow)]
    taints: Option<Vec<TaintWire<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct TaintWire<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct StatusWire<'a> {
    #[serde(borrow)]
    conditions: Option<Vec<ConditionWire<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ConditionWire<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
}

impl Object for Node {
    fn resource() -> Kind {
        &NODES
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn decode(json: &[u8]) -> Result<Self, DecodeError> {
        let wire: NodeWire<'_> = serde_json::from_slice(json)?;
        let conditions = wire.status.unwrap_or_default().conditions.unwrap_or_default();
        let taints = wire.spec.unwrap_or_default().taints.unwrap_or_default();
        Ok(Self {
            meta: wire.metadata.slim(Pool::shared())?,
            ready: conditions.iter().any(|c| c.kind == "Ready" && c.status == "True"),
            out_of_service: taints.iter().any(|t| t.key == OUT_OF_SERVICE),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_node_is_ready_or_out_of_service() {
        let node = |spec: Value, status: Value| {
            let metadata = json!({"name": "a", "uid": "u", "resourceVersion": "3"});
            let node = Node::decode(json!({"metadata": metadata, "spec": spec, "status": status}).to_string().as_bytes()).unwrap();
            (node.ready, node.out_of_service)
        };
        assert_eq!(node(Value::Null, Value::Null), (false, false));
        let taints = json!({"taints": [{"key": "other", "effect": "NoSchedule"}, {"key": OUT_OF_SERVICE, "effect": "NoExecute"}]});
        assert_eq!(node(taints, json!({"conditions": [{"type": "Ready", "status": "Unknown"}]})), (false, true));
        assert_eq!(node(json!({"taints": null}), json!({"conditions": [{"type": "Ready", "status": "True"}]})), (true, false));
    }
}
