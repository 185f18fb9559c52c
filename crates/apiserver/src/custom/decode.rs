//! From a custom object as sent to one as kept: defaults, pruning, metadata
//! (apiextensions `schema/defaulting`, `schema/pruning`, `schema/objectmeta`).

use serde_json::{Map, Value, json};

use crate::json;
use crate::schema::Schema;
use crate::schema::decode::{Findings, WrongType};

/// What every resource says of itself, whatever its schema says.
const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

fn flag(s: &Value, k: &str) -> bool {
    s.get(k).and_then(Value::as_bool) == Some(true)
}

/// `x-kubernetes-preserve-unknown-fields`.
pub(super) fn preserves(s: &Value) -> bool {
    flag(s, "x-kubernetes-preserve-unknown-fields")
}

/// `x-kubernetes-embedded-resource`.
pub(super) fn embeds(s: &Value) -> bool {
    flag(s, "x-kubernetes-embedded-resource")
}

/// Whether keys beyond `properties` are taken, and by which schema (`Null`: any value).
fn additional(s: &Value) -> Option<&Value> {
    match s.get("additionalProperties") {
        Some(a @ Value::Object(_)) => Some(a),
        Some(Value::Bool(true)) => Some(&Value::Null),
        _ => None,
    }
}

/// The schema of a key: its property's, else that of additional properties.
fn below<'a>(s: &'a Value, k: &str) -> Option<&'a Value> {
    s.get("properties").and_then(|p| p.get(k)).or_else(|| additional(s).filter(|a| a.is_object()))
}

fn default_of(s: &Value) -> Option<&Value> {
    s.get("default").filter(|d| !d.is_null())
}

/// Null where the schema wants something.
fn unwanted_null(v: &Value, s: &Value) -> bool {
    v.is_null() && s.is_object() && !flag(s, "nullable")
}

/// Decodes an object by a stated schema: defaults, then what nobody knows is dropped and reported, then nulls that mean nothing.
pub(super) fn decode(stated: &Value, mut doc: Value, findings: &mut Findings) -> Result<Value, WrongType> {
    defaults(stated, &mut doc);
    let meta = match doc.as_object_mut().and_then(|m| m.shift_remove("metadata")) {
        Some(m) if !m.is_null() => Some(metadata(m, "metadata", findings)?),
        _ => None,
    };
    if !findings.keep_unknown {
        let mut unknown = Vec::new();
        prune(stated, &mut doc, true, "", &mut unknown);
        unknown.sort();
        findings.unknown.extend(unknown);
        prune_nulls(stated, &mut doc);
    }
    embedded(stated, &mut doc, "", findings)?;
    let mut out = Map::with_capacity(doc.as_object().map_or(0, Map::len) + 1);
    if let Value::Object(m) = doc {
        for k in ["kind", "apiVersion"] {
            if let Some(v) = m.get(k) {
                out.insert(k.to_owned(), v.clone());
            }
        }
        out.insert("metadata".into(), meta.unwrap_or_else(|| json!({})));
        out.extend(m.into_iter().filter(|(k, _)| !META.contains(&k.as_str())));
    }
    Ok(Value::Object(out))
}

/// A stored object in the version of `stated`.
pub(super) fn shown(stated: &Value, mut doc: Value) -> Value {
    prune(stated, &mut doc, true, "", &mut Vec::new());
    doc
}

/// Metadata has a schema of its own.
fn metadata(value: Value, path: &str, findings: &mut Findings) -> Result<Value, WrongType> {
    let schema = Schema::builtin();
    let Some(root) = schema.find("meta/v1.ObjectMeta") else { return Ok(value) };
    let mut inner = Findings { keep_unknown: findings.keep_unknown, ..Findings::default() };
    let out = schema.decode(root, value, &mut inner)?;
    findings.unknown.extend(inner.unknown.into_iter().map(|p| format!("{path}.{p}")));
    Ok(out)
}

/// Metadata of resources within the resource.
fn embedded(s: &Value, v: &mut Value, path: &str, findings: &mut Findings) -> Result<(), WrongType> {
    match v {
        Value::Object(m) => {
            if embeds(s) {
                for k in ["apiVersion", "kind"] {
                    if m.get(k).is_some_and(|v| !v.is_string()) {
                        return Err(WrongType(format!("{}: Invalid value: must be a string", at(path, k))));
                    }
                }
                if let Some(meta) = m.get_mut("metadata").filter(|v| !v.is_null()) {
                    *meta = metadata(meta.take(), &at(path, "metadata"), findings)?;
                }
            }
            for (k, v) in m.iter_mut() {
                if let Some(b) = below(s, k) {
                    embedded(b, v, &at(path, k), findings)?;
                }
            }
        }
        Value::Array(l) => {
            let items = s.get("items").unwrap_or(&Value::Null);
            for (i, v) in l.iter_mut().enumerate() {
                embedded(items, v, &format!("{path}[{i}]"), findings)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn at(path: &str, k: &str) -> String {
    if path.is_empty() { k.to_owned() } else { format!("{path}.{k}") }
}

/// Fills in what the schema gives where nothing, or a null that is not allowed, stands (`defaulting.Default`).
pub(super) fn defaults(s: &Value, v: &mut Value) {
    match v {
        Value::Object(m) => {
            for (k, p) in json::object(s, "properties").into_iter().flatten() {
                let Some(d) = default_of(p) else { continue };
                if m.get(k).is_none_or(|v| unwanted_null(v, p)) {
                    m.insert(k.clone(), d.clone());
                }
            }
            for (k, v) in m.iter_mut() {
                if let Some(p) = s.get("properties").and_then(|p| p.get(k)) {
                    defaults(p, v);
                } else if let Some(a) = additional(s) {
                    if unwanted_null(v, a) {
                        *v = a.get("default").cloned().unwrap_or(Value::Null);
                    }
                    defaults(a, v);
                }
            }
        }
        Value::Array(l) => {
            let items = s.get("items").unwrap_or(&Value::Null);
            for v in l {
                if unwanted_null(v, items) {
                    *v = items.get("default").cloned().unwrap_or(Value::Null);
                }
                defaults(items, v);
            }
        }
        _ => {}
    }
}

/// Drops nulls that the schema neither allows nor replaces (`PruneNonNullableNullsWithoutDefaults`).
fn prune_nulls(s: &Value, v: &mut Value) {
    match v {
        Value::Object(m) => {
            m.retain(|k, v| below(s, k).is_none_or(|b| !(unwanted_null(v, b) && default_of(b).is_none())));
            for (k, v) in m.iter_mut() {
                prune_nulls(below(s, k).unwrap_or(&Value::Null), v);
            }
        }
        Value::Array(l) => {
            let items = s.get("items").unwrap_or(&Value::Null);
            l.iter_mut().for_each(|v| prune_nulls(items, v));
        }
        _ => {}
    }
}

/// Drops what the schema does not know and names it. `resource`: the place says kind, apiVersion and metadata whatever the schema says.
pub(super) fn prune(s: &Value, v: &mut Value, resource: bool, path: &str, unknown: &mut Vec<String>) {
    let resource = resource || embeds(s);
    if preserves(s) {
        return prune_below(s, v, resource, path, unknown);
    }
    match v {
        Value::Object(m) => {
            m.retain(|k, v| {
                if resource && META.contains(&k.as_str()) {
                    return true;
                }
                if let Some(p) = s.get("properties").and_then(|p| p.get(k)) {
                    prune(p, v, false, &at(path, k), unknown);
                } else if let Some(a) = additional(s) {
                    // A schema-less value below additional properties is pruned as one without any field.
                    prune(a, v, false, &at(path, k), unknown);
                } else {
                    unknown.push(at(path, k));
                    return false;
                }
                true
            });
        }
        Value::Array(l) => {
            let items = s.get("items").unwrap_or(&Value::Null);
            for (i, v) in l.iter_mut().enumerate() {
                prune(items, v, false, &format!("{path}[{i}]"), unknown);
            }
        }
        _ => {}
    }
}

/// Within what keeps everything, the parts that have a schema are pruned still.
fn prune_below(s: &Value, v: &mut Value, resource: bool, path: &str, unknown: &mut Vec<String>) {
    match v {
        Value::Object(m) => {
            for (k, v) in m.iter_mut() {
                if resource && META.contains(&k.as_str()) {
                    continue;
                }
                if let Some(p) = s.get("properties").and_then(|p| p.get(k)) {
                    prune(p, v, false, &at(path, k), unknown);
                } else if let Some(a) = additional(s) {
                    prune(a, v, false, &at(path, k), unknown);
                }
            }
        }
        Value::Array(l) => {
            if let Some(items) = s.get("items") {
                for (i, v) in l.iter_mut().enumerate() {
                    prune_below(items, v, embeds(items), &format!("{path}[{i}]"), unknown);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(schema: Value, doc: Value) -> (Value, Vec<String>) {
        let mut f = Findings::default();
        let doc = decode(&schema, doc, &mut f).expect("well-typed metadata");
        (doc, f.unknown)
    }

    #[test]
    fn what_no_schema_knows_is_dropped_and_named_in_order() {
        let s = json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"in": {"type": "object"}}},
                "map": {"type": "object", "additionalProperties": {"type": "string"}},
            }},
        }});
        let (doc, unknown) = decoded(
            s,
            json!({"kind": "W", "apiVersion": "g/v1", "metadata": {"name": "x", "nam": 1}, "z": 1, "spec": {
                "list": [{"a": "1", "b": 2}], "free": {"x": {"y": 1}, "in": {"gone": 1}}, "map": {"k": "v"}, "other": 1,
            }}),
        );
        assert_eq!(unknown, ["metadata.nam", "spec.free.in.gone", "spec.list[0].b", "spec.other", "z"]);
        assert_eq!(doc["spec"], json!({"list": [{"a": "1"}], "free": {"x": {"y": 1}, "in": {}}, "map": {"k": "v"}}));
    }

    #[test]
    fn nulls_become_defaults_stay_where_allowed_and_go_elsewhere() {
        let s = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "mode": {"type": "string", "default": "fast"},
            "nothing": {"type": "string", "nullable": true},
            "gone": {"type": "string"},
        }}}});
        let (doc, _) = decoded(s, json!({"metadata": {}, "spec": {"mode": null, "nothing": null, "gone": null}}));
        assert_eq!(doc["spec"], json!({"mode": "fast", "nothing": null}));
    }
}
