//! Values of definitions as messages show them: the reference prints its internal types, by the names of their fields.

use serde_json::{Map, Value, json};

use crate::json;

/// A rule.
pub(super) fn rule(r: &Value) -> Value {
    let text = |k: &str| Value::from(json::text(r, k));
    let any = |k: &str| r.get(k).cloned().unwrap_or(Value::Null);
    json!({
        "Rule": text("rule"), "Message": text("message"), "MessageExpression": text("messageExpression"), "Reason": any("reason"),
        "FieldPath": text("fieldPath"), "OptionalOldSelf": any("optionalOldSelf"),
    })
}

/// Fields of a schema in order: name within the reference, name on the wire, and what an absent one looks like.
const SCHEMA: &[(&str, &str, &str)] = &[
    ("ID", "id", "\"\""),
    ("Schema", "$schema", "\"\""),
    ("Ref", "$ref", "null"),
    ("Description", "description", "\"\""),
    ("Type", "type", "\"\""),
    ("Nullable", "nullable", "false"),
    ("Format", "format", "\"\""),
    ("Title", "title", "\"\""),
    ("Default", "default", "null"),
    ("Maximum", "maximum", "null"),
    ("ExclusiveMaximum", "exclusiveMaximum", "false"),
    ("Minimum", "minimum", "null"),
    ("ExclusiveMinimum", "exclusiveMinimum", "false"),
    ("MaxLength", "maxLength", "null"),
    ("MinLength", "minLength", "null"),
    ("Pattern", "pattern", "\"\""),
    ("MaxItems", "maxItems", "null"),
    ("MinItems", "minItems", "null"),
    ("UniqueItems", "uniqueItems", "false"),
    ("MultipleOf", "multipleOf", "null"),
    ("Enum", "enum", "null"),
    ("MaxProperties", "maxProperties", "null"),
    ("MinProperties", "minProperties", "null"),
    ("Required", "required", "null"),
    ("Items", "items", "null"),
    ("AllOf", "allOf", "null"),
    ("OneOf", "oneOf", "null"),
    ("AnyOf", "anyOf", "null"),
    ("Not", "not", "null"),
    ("Properties", "properties", "null"),
    ("AdditionalProperties", "additionalProperties", "null"),
    ("PatternProperties", "patternProperties", "null"),
    ("Dependencies", "dependencies", "null"),
    ("AdditionalItems", "additionalItems", "null"),
    ("Definitions", "definitions", "null"),
    ("ExternalDocs", "externalDocs", "null"),
    ("Example", "example", "null"),
    ("XPreserveUnknownFields", "x-kubernetes-preserve-unknown-fields", "null"),
    ("XEmbeddedResource", "x-kubernetes-embedded-resource", "false"),
    ("XIntOrString", "x-kubernetes-int-or-string", "false"),
    ("XListMapKeys", "x-kubernetes-list-map-keys", "null"),
    ("XListType", "x-kubernetes-list-type", "null"),
    ("XMapType", "x-kubernetes-map-type", "null"),
    ("XValidations", "x-kubernetes-validations", "null"),
];

/// A schema.
pub(super) fn schema(s: &Value) -> Value {
    let below = |v: &Value| match v {
        Value::Array(l) => Value::Array(l.iter().map(schema).collect()),
        v => schema(v),
    };
    let mut out = Map::new();
    for (name, key, empty) in SCHEMA {
        let v = match s.get(*key).filter(|v| !v.is_null()) {
            None => serde_json::from_str(empty).unwrap_or(Value::Null),
            Some(v) => match *key {
                "allOf" | "oneOf" | "anyOf" | "not" => below(v),
                "items" => json!({"Schema": schema(v), "JSONSchemas": null}),
                "additionalProperties" => match v {
                    Value::Bool(b) => json!({"Allows": b, "Schema": null}),
                    v => json!({"Allows": true, "Schema": schema(v)}),
                },
                "properties" => {
                    let mut list: Vec<_> = v.as_object().into_iter().flatten().collect();
                    list.sort_by_key(|(k, _)| *k);
                    Value::Object(list.into_iter().map(|(k, v)| (k.clone(), schema(v))).collect())
                }
                "x-kubernetes-validations" => Value::Array(v.as_array().into_iter().flatten().map(rule).collect()),
                _ => v.clone(),
            },
        };
        out.insert((*name).to_owned(), v);
    }
    Value::Object(out)
}

/// A version. `Null` for what all versions have alike: it stands elsewhere.
pub(super) fn version(v: &Value) -> Value {
    let flag = |k: &str| v[k].as_bool().unwrap_or(false);
    let stated = &v["schema"];
    let subs = v.get("subresources").filter(|s| s.is_object()).map(|s| {
        let scale = s.get("scale").filter(|s| s.is_object()).map(|s| {
            json!({
                "SpecReplicasPath": json::text(s, "specReplicasPath"), "StatusReplicasPath": json::text(s, "statusReplicasPath"),
                "LabelSelectorPath": s.get("labelSelectorPath"),
            })
        });
        json!({"Status": s.get("status"), "Scale": scale})
    });
    let columns: Vec<Value> = json::list(v, "additionalPrinterColumns")
        .iter()
        .map(|c| {
            json!({
                "Name": json::text(c, "name"), "Type": json::text(c, "type"), "Format": json::text(c, "format"),
                "Description": json::text(c, "description"), "Priority": json::int(c, "priority").unwrap_or(0),
                "JSONPath": json::text(c, "jsonPath"),
            })
        })
        .collect();
    let selectable: Vec<Value> = json::list(v, "selectableFields").iter().map(|f| json!({"JSONPath": json::text(f, "jsonPath")})).collect();
    let or_null = |l: Vec<Value>| if l.is_empty() { Value::Null } else { Value::Array(l) };
    json!({
        "Name": json::text(v, "name"), "Served": flag("served"), "Storage": flag("storage"), "Deprecated": flag("deprecated"),
        "DeprecationWarning": v.get("deprecationWarning").cloned().unwrap_or(Value::Null),
        "Schema": if stated.is_object() { json!({"OpenAPIV3Schema": schema(&stated["openAPIV3Schema"])}) } else { Value::Null },
        "Subresources": subs, "AdditionalPrinterColumns": or_null(columns), "SelectableFields": or_null(selectable),
    })
}
