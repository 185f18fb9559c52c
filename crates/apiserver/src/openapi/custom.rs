//! Schemas of custom resources: their definition's own, with what every object has.

use serde_json::{Value, json};

use super::schemas::{Dialect, Schemas};
use crate::registry::Resource;

/// The schema of a custom kind. `defined`: `openAPIV3Schema` of its definition, when there is one.
pub(super) fn schema(schemas: &mut Schemas<'_>, dialect: Dialect, resource: &Resource, defined: Option<&Value>) -> Value {
    let metadata = schemas.add("meta/v1.ObjectMeta").unwrap_or_default();
    let (api_version, kind) = (schemas.meta("apiVersion"), schemas.meta("kind"));
    let reference = schemas.reference(&metadata);
    let mut schema = match (dialect, defined) {
        (_, Some(Value::Object(defined))) => Value::Object(defined.clone()),
        _ => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
    };
    let properties = &mut schema["properties"];
    if !properties.is_object() {
        *properties = json!({});
    }
    properties["apiVersion"] = json!({"type": "string", "description": api_version});
    properties["kind"] = json!({"type": "string", "description": kind});
    let described = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
    properties["metadata"] = match dialect {
        Dialect::V3 => json!({"allOf": [reference], "description": described}),
        Dialect::V2 => json!({"$ref": reference["$ref"], "description": described}),
    };
    schema["x-kubernetes-group-version-kind"] = json!([{"group": resource.group, "kind": resource.kind, "version": resource.version}]);
    schema
}
