//! Custom resources: a definition becomes rows of the registry and a schema, and from then on its objects take the way of all others.
//!
//! `lifecycle` follows definitions, `definition` and `structural` say which may be, `decode` and `check` say what objects may be, `lists`
//! and `rules` what schemas cannot say, `compile` makes the nodes that server-side apply walks.

mod check;
mod compile;
mod decode;
mod definition;
mod device_cost;
mod device_selectors;
mod dump;
mod formats;
pub(crate) mod lifecycle;
mod lists;
mod open_api;
mod rule_functions;
mod rule_names;
mod rule_types;
mod rules;
mod structural;

use std::sync::{Arc, PoisonError};

use serde_json::Value;

pub(crate) use self::definition::DEFINITION;
pub(crate) use self::device_selectors::{BadSelector, device_selector};
pub(crate) use self::rules::expression_syntax;
use crate::json;
use crate::kinds::{ALL_META, DEFAULT, Env, Errors, Flavour, Rules};
use crate::registry::Resource;
use crate::schema::decode::{Findings, WrongType};
use crate::schema::{Schema, StructId};
use crate::server::Server;
use crate::status::Cause;

/// A version of a custom resource: its schema, compiled and as its definition states it, and what goes with it.
#[derive(Debug)]
pub(crate) struct CustomSchema {
    pub(crate) schema: Schema,
    pub(crate) root: StructId,
    pub(crate) stated: Value,
    /// `additionalPrinterColumns`.
    pub(crate) columns: Vec<Value>,
    /// What every call on a deprecated version is told.
    pub(crate) warning: Option<String>,
    /// `subresources.scale`.
    pub(crate) scale: Option<Value>,
    rules: Option<rules::Rules>,
}

impl CustomSchema {
    /// Decodes a document of this version: defaults, pruning, metadata.
    pub(crate) fn decode(&self, doc: Value, findings: &mut Findings) -> Result<Value, WrongType> {
        decode::decode(&self.stated, doc, findings)
    }
}

/// The schema of a version of a custom resource.
pub(crate) fn of(server: &Server, group: &str, version: &str, plural: &str) -> Option<Arc<CustomSchema>> {
    server.custom.lock().unwrap_or_else(PoisonError::into_inner).get(&format!("{group}/{version}/{plural}")).cloned()
}

/// The schema of a custom resource's row.
pub(crate) fn of_row(server: &Server, r: &Resource) -> Option<Arc<CustomSchema>> {
    if r.custom { of(server, &r.group, &r.version, &r.plural) } else { None }
}

/// A stored document as a version shows it: what was missing in the stored version is filled in, what this version does not know is gone.
pub(crate) fn from_storage(server: &Server, r: &Resource, mut doc: Value) -> Value {
    let stored = json::text(&doc, "apiVersion").rsplit_once('/').map_or("", |(_, v)| v).to_owned();
    if let Some(s) = of(server, &r.group, &stored, &r.plural) {
        decode::defaults(&s.stated, &mut doc);
    }
    if let Some(own) = of_row(server, r) {
        doc = decode::shown(&own.stated, doc);
    }
    crate::convert::set_type(&mut doc, r);
    doc
}

/// A document of a version in the version that is stored.
pub(crate) fn to_storage(server: &Server, r: &Resource, doc: &Value) -> Value {
    let Some((group, version)) = &r.hub else { return doc.clone() };
    let mut doc = match of(server, group, version, &r.plural) {
        Some(s) => decode::shown(&s.stated, doc.clone()),
        None => doc.clone(),
    };
    doc["apiVersion"] = format!("{group}/{version}").into();
    doc
}

/// Rules of custom objects (apiextensions `registry/customresource`).
pub(crate) const CUSTOM: Rules = Rules {
    unconditional_update: false,
    status_keeps_meta: ALL_META,
    meta: Flavour::Machinery,
    validate: |doc, old, e, env| validate(doc, old, false, e, env),
    validate_status: |doc, old, e, env| validate(doc, Some(old), true, e, env),
    ..DEFAULT
};

/// Kinds of errors after which rules are not asked: the object may not be what they expect.
const BLOCKING: &[&str] =
    &["FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"];

fn validate(doc: &Value, old: Option<&Value>, status: bool, e: &mut Errors, env: &Env<'_>) {
    let (group, version) = json::text(doc, "apiVersion").split_once('/').unwrap_or(("", ""));
    let Some(r) = env.server.registry.by_kind(group, version, json::text(doc, "kind")) else { return };
    let Some(own) = of_row(env.server, &r) else { return };
    let s = &own.stated;
    if !status {
        e.causes.extend(check::check(s, doc, old, ""));
    } else if let Some(v) = doc.get("status") {
        let below = s.get("properties").and_then(|p| p.get("status")).unwrap_or(&Value::Null);
        e.causes.extend(check::check(below, v, old.and_then(|o| o.get("status")), "status"));
    }
    if let Some(scale) = &own.scale {
        if !status {
            replicas(doc, json::text(scale, "specReplicasPath"), e);
        }
        replicas(doc, json::text(scale, "statusReplicasPath"), e);
        let path = json::text(scale, "labelSelectorPath");
        if let Some(v) = (!path.is_empty()).then(|| json::at(doc, path.trim_start_matches('.'))).flatten()
            && !v.is_string()
        {
            e.invalid_text(path, "", &format!("{path} accessor error: {} is of the type {}, expected string", go_text(v), go_type(v)));
        }
    }
    if !status {
        lists::embedded(s, doc, "", e);
    }
    let clean = |o: &Value| {
        let mut found = Errors::default();
        lists::check(s, o, "", &mut found);
        found.is_empty()
    };
    if old.is_none_or(clean) {
        lists::check(s, doc, "", e);
    }
    if let Some(rules) = &own.rules {
        if e.causes.iter().any(|c| BLOCKING.contains(&c.reason)) {
            e.causes.push(Cause::new(
                "FieldValueInvalid",
                "<nil>",
                "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
            ));
        } else {
            rules.check(s, doc, old, ("", true), e, &mut env.warnings.borrow_mut());
        }
    }
    if !status {
        finalizers(doc, old, env);
    }
}

/// What the scale subresource reads must be a count.
fn replicas(doc: &Value, path: &str, e: &mut Errors) {
    let Some(v) = accessible(doc, path, e) else { return };
    match v.as_i64() {
        Some(n) if n < 0 => e.invalid(path, v, "should be a non-negative integer"),
        Some(n) if n > i64::from(i32::MAX) => e.invalid(path, v, &format!("should be less than or equal to {}", i32::MAX)),
        Some(_) => {}
        None => e.invalid(path, &0.into(), &format!("{path} accessor error: {} is of the type {}, expected int64", go_text(v), go_type(v))),
    }
}

/// The value at a path. What stands on the way must be an object (`unstructured.NestedFieldNoCopy`).
fn accessible<'a>(doc: &'a Value, path: &str, e: &mut Errors) -> Option<&'a Value> {
    let mut at = doc;
    let mut walked = String::new();
    for name in path.trim_start_matches('.').split('.') {
        walked.push('.');
        walked.push_str(name);
        match at {
            Value::Null => return None,
            Value::Object(m) => at = m.get(name)?,
            v => {
                let text =
                    format!("{walked} accessor error: {} is of the type {}, expected map[string]interface{{}}", go_text(v), go_type(v));
                e.invalid(path, &0.into(), &text);
                return None;
            }
        }
    }
    Some(at)
}

fn go_type(v: &Value) -> &'static str {
    match v {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

fn go_text(v: &Value) -> String {
    match v {
        Value::Null => "<nil>".to_owned(),
        Value::String(t) => t.clone(),
        Value::Number(n) => check::number_text(n),
        other => other.to_string(),
    }
}

/// Finalizers without a domain are warned of.
fn finalizers(doc: &Value, old: Option<&Value>, env: &Env<'_>) {
    let names =
        |d: &Value| -> Vec<String> { json::list(d, "metadata.finalizers").iter().filter_map(Value::as_str).map(str::to_owned).collect() };
    let before = old.map(names).unwrap_or_default();
    let mut new: Vec<String> = names(doc).into_iter().filter(|f| !before.contains(f)).collect();
    new.sort();
    new.dedup();
    let mut warnings = env.warnings.borrow_mut();
    for f in new {
        warnings.extend(crate::meta::qualified_name(&f).into_iter().map(|w| format!("metadata.finalizers: {f:?}: {w}")));
        if !f.contains('/') && !matches!(f.as_str(), "orphan" | "foregroundDeletion" | "kubernetes") {
            let path = if f.contains('.') { " including a path (/)" } else { "" };
            warnings.push(format!(
                "metadata.finalizers: {f:?}: prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers"
            ));
        }
    }
}

/// Numbers without a fraction are stored as integers, as Go writes them.
pub(crate) fn whole_numbers(v: &mut Value) {
    const EXACT: f64 = 1e15;
    match v {
        Value::Number(n) => {
            if let Some(f) = n.as_f64().filter(|f| n.is_f64() && f.fract() == 0.0 && f.abs() < EXACT) {
                *v = Value::from(f as i64);
            }
        }
        Value::Array(l) => l.iter_mut().for_each(whole_numbers),
        Value::Object(m) => m.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

/// Calls `f` with every schema right below a schema, and its path from there.
fn each_below(s: &Value, f: &mut dyn FnMut(&str, &Value)) {
    for (k, p) in json::object(s, "properties").into_iter().flatten() {
        f(&format!("properties[{k}]"), p);
    }
    for k in ["items", "additionalProperties", "not"] {
        if let Some(p) = s.get(k).filter(|p| p.is_object()) {
            f(k, p);
        }
    }
    for k in ["allOf", "anyOf", "oneOf"] {
        for (i, p) in json::list(s, k).iter().enumerate() {
            f(&format!("{k}[{i}]"), p);
        }
    }
}
