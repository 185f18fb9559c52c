//! What is wrong with an applied configuration by its schema: fields that it does not have, values of other types, keys twice.

use std::collections::BTreeSet;

use serde_json::Value;

use super::compare::{At, item_step};
use super::managed::{root_type, typed};
use crate::schema::{ListType, Ty};
use crate::write::Target;

/// Checks a configuration; the error is a text as structured-merge-diff writes it.
pub(crate) fn check(target: &Target, config: &Value) -> Result<(), String> {
    let ty = root_type(target);
    let mut found = Vec::new();
    walk(typed(target, &ty), config, "", &mut found);
    match found.len() {
        0 => Ok(()),
        1 => Err(found.remove(0)),
        _ => Err(format!("errors:\n{}", found.iter().map(|f| format!("  {f}")).collect::<Vec<_>>().join("\n"))),
    }
}

fn shown(v: &Value) -> String {
    match v {
        Value::String(_) => "string".to_owned(),
        Value::Bool(_) => "boolean".to_owned(),
        Value::Number(_) => "numeric".to_owned(),
        Value::Array(_) => "list".to_owned(),
        Value::Object(_) => "map".to_owned(),
        Value::Null => "null".to_owned(),
    }
}

fn walk(at: At<'_>, v: &Value, path: &str, found: &mut Vec<String>) {
    if v.is_null() {
        return;
    }
    let wrong = |found: &mut Vec<String>, want: &str| found.push(format!("{path}: expected {want}, got {}", shown_value(v)));
    match (at.ty, v) {
        (Ty::Struct(id), Value::Object(m)) => {
            let st = at.schema.get(*id);
            for (k, v) in m {
                match st.field(k) {
                    Some(f) => walk(at.field(f), v, &format!("{path}.{k}"), found),
                    None if st.open => {}
                    None => found.push(format!("{path}.{k}: field not declared in schema")),
                }
            }
        }
        (Ty::Map(t), Value::Object(m)) => {
            for (k, v) in m {
                walk(at.item(t), v, &format!("{path}.{k}"), found);
            }
        }
        (Ty::List(t), Value::Array(l)) => {
            let mut seen = BTreeSet::new();
            let keyed = at.field.is_some_and(|f| f.list_type != ListType::Atomic);
            for (i, v) in l.iter().enumerate() {
                let step = if keyed { item_step(at, v) } else { None };
                if let Some(step) = &step
                    && !seen.insert(step.clone())
                {
                    found.push(format!("{path}: duplicate entries for key {}", key_text(step)));
                }
                if keyed && step.is_none() {
                    let keys = at.field.map(|f| f.list_keys.iter().map(|k| k.to_string()).collect::<Vec<_>>().join(", "));
                    found.push(format!(
                        "{path}: element {i}: associative list with keys has an element that omits key field {:?} (and doesn't have default value)",
                        keys.unwrap_or_default()
                    ));
                    continue;
                }
                let at_item = step.as_deref().map_or_else(|| format!("[{i}]"), key_text);
                walk(at.item(t), v, &format!("{path}{at_item}"), found);
            }
        }
        (Ty::Struct(_) | Ty::Map(_), _) => wrong(found, "map"),
        (Ty::List(_), _) => wrong(found, "list"),
        (Ty::Bool, Value::Bool(_)) | (Ty::Raw, _) => {}
        (Ty::Bool, _) => wrong(found, "boolean"),
        (Ty::Int32 | Ty::Int64 | Ty::Float, Value::Number(_)) => {}
        (Ty::Int32 | Ty::Int64 | Ty::Float, _) => wrong(found, "numeric (int or float)"),
        (Ty::Quantity | Ty::IntOrString, Value::String(_) | Value::Number(_)) => {}
        (Ty::Str | Ty::Time | Ty::MicroTime | Ty::Duration | Ty::Bytes, Value::String(_)) => {}
        (Ty::Str | Ty::Time | Ty::MicroTime | Ty::Duration | Ty::Bytes, _) => wrong(found, "string"),
        _ => wrong(found, "scalar"),
    }
}

fn shown_value(v: &Value) -> String {
    match v {
        Value::Number(n) => n.to_string(),
        Value::Bool(b) => b.to_string(),
        other => shown(other),
    }
}

fn key_text(step: &str) -> String {
    let mut set = super::set::FieldSet::default();
    set.child(step).own = true;
    set.paths().pop().unwrap_or_default()
}
