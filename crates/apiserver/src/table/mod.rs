//! Tables as `kubectl get` shows them.

use serde_json::Value;

use crate::registry::Resource;

/// Renders objects of one resource as a `meta.k8s.io/v1` Table (columns and rows; list metadata is set by the caller).
/// `include`: value of the query parameter `includeObject` (`None`, `Metadata`, `Object`).
pub fn render(_resource: &Resource, _objects: &[Value], _now: jiff::Timestamp, _include: &str) -> Value {
    serde_json::json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "columnDefinitions": [], "rows": []})
}
