use serde_json::Value;

use crate::{Condition, DecodeError, Document, Kind, Meta, NAMESPACES, Object, Pool, replicas::Header};

/// A namespace as its loop sees it, and the whole document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Header.
    pub meta: Meta,
    /// `status.phase` is `Terminating`.
    pub terminating: bool,
    /// `spec.finalizers`: who has to let go before the namespace can go.
    pub finalizers: Vec<String>,
    /// `status.conditions`, in the object's order.
    pub conditions: Vec<Condition>,
    /// The whole object.
    pub document: Document,
}

impl Object for Namespace {
    fn resource() -> Kind {
        &NAMESPACES
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn decode(json: &[u8]) -> Result<Self, DecodeError> {
        let head: Header<'_> = serde_json::from_slice(json)?;
        let value: Value = serde_json::from_slice(json)?;
        let finalizers = value.pointer("/spec/finalizers").and_then(Value::as_array);
        Ok(Self {
            meta: head.metadata.slim(Pool::shared())?,
            terminating: value.pointer("/status/phase").and_then(Value::as_str) == Some("Terminating"),
            finalizers: finalizers.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
            conditions: Condition::read_all(value.pointer("/status/conditions")),
            document: Document::new(value),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_namespace_tells_who_holds_it() {
        let value = json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": "3", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"finalizers": ["kubernetes", "example.com/other"]}, "status": {"phase": "Terminating", "later": 1}});
        let namespace = Namespace::decode(value.to_string().as_bytes()).unwrap();
        assert!(namespace.terminating && namespace.meta.deleting.is_some() && namespace.conditions.is_empty());
        assert_eq!(namespace.finalizers, ["kubernetes", "example.com/other"]);
        assert_eq!(namespace.document.value(), value);
        let bare = Namespace::decode(br#"{"metadata": {"name": "a", "uid": "u", "resourceVersion": "3"}}"#).unwrap();
        assert!(!bare.terminating && bare.finalizers.is_empty());
    }
}
