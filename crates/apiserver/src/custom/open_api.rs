//! What else a definition's schema may not say (apiextensions `ValidateCustomResourceDefinitionOpenAPISchema`).

use serde_json::Value;

use super::{dump, rule_types, rules};
use crate::json;
use crate::kinds::Errors;

/// Types that a schema may name.
const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];
/// Reasons that a rule may give.
const REASONS: &[&str] = &["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// What a walk carries down.
#[derive(Clone, Default)]
pub(super) struct Place {
    /// Why defaults are forbidden here.
    no_defaults: Option<String>,
    in_meta: bool,
    /// The first ancestor whose items have no counterpart in the old object.
    uncorrelated: Option<String>,
    /// Rules are compiled: the schema is structural.
    pub(super) structural: bool,
}

/// Checks a schema and everything below. Errors of rules come after all others.
pub(super) fn check(s: &Value, path: &str, root: bool, place: &Place) -> Errors {
    let (mut e, mut of_rules) = (Errors::default(), Errors::default());
    walk(s, path, root, place, &mut e, &mut of_rules);
    e.causes.append(&mut of_rules.causes);
    e
}

fn states(s: &Value, k: &str) -> bool {
    s.get(k).is_some_and(|v| !v.is_null())
}

fn walk(s: &Value, path: &str, root: bool, place: &Place, out: &mut Errors, of_rules: &mut Errors) {
    let at = |k: &str| format!("{path}.{k}");
    let mut e = Errors::default();
    standard(s, path, place, &mut e);
    if s["uniqueItems"] == true {
        e.forbidden(&at("uniqueItems"), "uniqueItems cannot be set to true since the runtime complexity becomes quadratic");
    }
    if let Some(a) = s.get("additionalProperties").filter(|a| !a.is_null()) {
        if json::object(s, "properties").is_some_and(|p| !p.is_empty()) && *a != Value::Bool(true) {
            e.forbidden(&at("additionalProperties"), "additionalProperties and properties are mutual exclusive");
        }
        let mut below = place.clone();
        if place.in_meta {
            below.no_defaults = Some("inside additionalProperties applying to object metadata".into());
        }
        if a.is_object() {
            walk(a, &at("additionalProperties"), false, &below, &mut e, of_rules);
        }
    }
    for (k, p) in json::object(s, "properties").into_iter().flatten() {
        let mut below = place.clone();
        let meta = matches!(k.as_str(), "metadata" | "kind" | "apiVersion");
        if meta && (root || super::decode::embeds(s)) {
            below.in_meta = true;
            if root {
                below.no_defaults = Some(format!("in top-level {k}"));
            }
        }
        walk(p, &format!("{path}.properties[{k}]"), false, &below, &mut e, of_rules);
    }
    let plain = Place { structural: false, ..place.clone() };
    if let Some(n) = s.get("not").filter(|n| n.is_object()) {
        walk(n, &at("not"), false, &plain, &mut e, of_rules);
    }
    for k in ["allOf", "oneOf", "anyOf"] {
        for (i, n) in json::list(s, k).iter().enumerate() {
            walk(n, &format!("{path}.{k}[{i}]"), false, &plain, &mut e, of_rules);
        }
    }
    if let Some(items) = s.get("items").filter(|i| i.is_object()) {
        let mut below = place.clone();
        if json::text(s, "x-kubernetes-list-type") != "map" {
            below.uncorrelated.get_or_insert_with(|| path.to_owned());
        }
        walk(items, &at("items"), false, &below, &mut e, of_rules);
    }
    extensions(s, path, &mut e);
    keyed_lists(s, path, &mut e);
    rule_texts(s, path, &mut e);
    if e.is_empty() && place.structural {
        rule_programs(s, path, root, place, of_rules);
    }
    out.causes.append(&mut e.causes);
}

fn standard(s: &Value, path: &str, place: &Place, e: &mut Errors) {
    let at = |k: &str| format!("{path}.{k}");
    let kind = json::text(s, "type");
    if !kind.is_empty() && !TYPES.contains(&kind) {
        e.unsupported(&at("type"), kind, TYPES);
    }
    if let (Some(why), true) = (&place.no_defaults, states(s, "default")) {
        e.forbidden(&at("default"), &format!("must not be set {why}"));
    }
    for k in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
        if states(s, k) {
            e.forbidden(&at(k), &format!("{k} is not supported"));
        }
    }
    if kind == "null" {
        e.forbidden(&at("type"), "type cannot be set to null, use nullable as an alternative");
    }
    if s.get("items").is_some_and(Value::is_array) {
        e.forbidden(&at("items"), "items must be a schema object and not an array");
    }
    if place.in_meta && super::decode::embeds(s) {
        e.forbidden(&at("x-kubernetes-embedded-resource"), "must not be used inside of resource meta");
    }
}

fn extensions(s: &Value, path: &str, e: &mut Errors) {
    let at = |k: &str| format!("{path}.{k}");
    let kind = json::text(s, "type");
    if s.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        e.invalid(&at("x-kubernetes-preserve-unknown-fields"), &false.into(), "must be true or undefined");
    }
    let typed = |e: &mut Errors, want: &str, by: &str| {
        let why = format!("must be {want} if {by} is specified");
        if kind.is_empty() { e.required(&at("type"), &why) } else { e.invalid_text(&at("type"), kind, &why) }
    };
    if let Some(t) = s["x-kubernetes-map-type"].as_str() {
        if kind != "object" {
            typed(e, "object", "x-kubernetes-map-type");
        }
        if !matches!(t, "atomic" | "granular") {
            e.unsupported(&at("x-kubernetes-map-type"), t, &["atomic", "granular"]);
        }
    }
    let Some(t) = s["x-kubernetes-list-type"].as_str() else { return };
    if kind != "array" {
        typed(e, "array", "x-kubernetes-list-type");
    } else if t == "set" {
        let items = &s["items"];
        let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
        let of_items = items.get("x-kubernetes-list-type").cloned().unwrap_or(Value::Null);
        match json::text(items, "type") {
            "array" if !matches!(json::text(items, "x-kubernetes-list-type"), "" | "atomic") => {
                e.invalid(&at("items.x-kubernetes-list-type"), &of_items, why);
            }
            "object" if json::text(items, "x-kubernetes-map-type") != "atomic" => {
                e.invalid(&at("items.x-kubernetes-map-type"), &of_items, why);
            }
            _ => {}
        }
    }
    if !matches!(t, "atomic" | "set" | "map") {
        e.unsupported(&at("x-kubernetes-list-type"), t, &["atomic", "set", "map"]);
    }
}

/// Lists that are maps need keys, and keys must be there.
fn keyed_lists(s: &Value, path: &str, e: &mut Errors) {
    let at = |k: &str| format!("{path}.{k}");
    let keys: Vec<&str> = json::list(s, "x-kubernetes-list-map-keys").iter().filter_map(Value::as_str).collect();
    let list_type = s["x-kubernetes-list-type"].as_str();
    if !keys.is_empty() && list_type != Some("map") {
        let why = "must be map if x-kubernetes-list-map-keys is non-empty";
        match list_type {
            None => e.required(&at("x-kubernetes-list-type"), why),
            Some(t) => e.invalid_text(&at("x-kubernetes-list-type"), t, why),
        }
    }
    let items = s.get("items").filter(|i| i.is_object());
    if list_type == Some("map") {
        if keys.is_empty() {
            e.required(&at("x-kubernetes-list-map-keys"), "must not be empty if x-kubernetes-list-type is map");
        }
        match items {
            None => e.required(&at("items"), "must have a schema if x-kubernetes-list-type is map"),
            Some(i) if json::text(i, "type") != "object" => {
                e.invalid_text(&at("items.type"), json::text(i, "type"), "must be object if parent array's x-kubernetes-list-type is map");
            }
            Some(i) => {
                let shown = Value::from(keys.clone());
                for (n, k) in keys.iter().enumerate() {
                    match i["properties"].get(k) {
                        Some(p) if matches!(json::text(p, "type"), "array" | "object") => e.invalid_text(
                            &format!("{path}.items.properties[{k}].type"),
                            json::text(i, "type"),
                            "must be a scalar type if parent array's x-kubernetes-list-type is map",
                        ),
                        Some(_) => {}
                        None => e.invalid(&at("x-kubernetes-list-map-keys"), &shown, "entries must all be names of item properties"),
                    }
                    if keys[..n].contains(k) {
                        e.invalid(&at("x-kubernetes-list-map-keys"), &shown, "must not contain duplicate entries");
                    }
                }
            }
        }
    }
    let (Some(items), Some(t @ ("set" | "map"))) = (items, list_type) else { return };
    if items["nullable"] == true {
        e.forbidden(&at("items.nullable"), &format!("cannot be nullable when x-kubernetes-list-type is {t}"));
    }
    if t == "map" {
        let required = json::list(items, "required");
        for k in keys {
            let Some(p) = items["properties"].get(k) else { continue };
            let of = |what: &str| format!("{path}.items.properties[{k}].{what}");
            if !required.iter().any(|r| r == k) && !states(p, "default") {
                e.required(
                    &of("default"),
                    "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
                );
            }
            if p["nullable"] == true {
                e.forbidden(&of("nullable"), "this property is in x-kubernetes-list-map-keys, so it cannot be nullable");
            }
        }
    }
}

fn rule_texts(s: &Value, path: &str, e: &mut Errors) {
    let breaks = |t: &str| t.contains(['\n', '\r']);
    for (i, r) in json::list(s, "x-kubernetes-validations").iter().enumerate() {
        let at = |k: &str| format!("{path}.x-kubernetes-validations[{i}].{k}");
        let get = |k: &str| json::text(r, k);
        let (rule, message) = (get("rule").trim(), get("message").trim());
        if rule.is_empty() {
            e.required(&at("rule"), "rule is not specified");
        } else if !get("message").is_empty() && message.is_empty() {
            e.invalid_text(&at("message"), get("message"), "must be non-empty if specified");
        } else if breaks(message) {
            e.invalid_text(&at("message"), get("message"), "must not contain line breaks");
        } else if breaks(rule) && message.is_empty() {
            e.required(&at("message"), "message must be specified if rule contains line breaks");
        }
        if !get("messageExpression").is_empty() && get("messageExpression").trim().is_empty() {
            e.required(&at("messageExpression"), "messageExpression must be non-empty if specified");
        }
        if let Some(reason) = r["reason"].as_str().filter(|r| !REASONS.contains(r)) {
            e.unsupported(&at("reason"), reason, REASONS);
        }
        let within = get("fieldPath");
        if !within.is_empty() && within.trim().is_empty() {
            e.invalid_text(&at("fieldPath"), within, "must be non-empty if specified");
        }
        if breaks(within) {
            e.invalid_text(&at("fieldPath"), within, "must not contain line breaks");
        }
        if !within.is_empty() && field_path(s, within, true).is_err() {
            e.invalid_text(&at("fieldPath"), within, "must be a valid path");
        }
    }
}

fn rule_programs(s: &Value, path: &str, root: bool, place: &Place, e: &mut Errors) {
    for (i, r) in json::list(s, "x-kubernetes-validations").iter().enumerate() {
        let at = |k: &str| format!("{path}.x-kubernetes-validations[{i}].{k}");
        let source = json::text(r, "rule");
        let resource = root || super::decode::embeds(s);
        let program = match rules::compile(source).and_then(|p| rule_types::check(s, resource, source, &p).map(|()| p)) {
            Ok(p) => p,
            Err(why) => {
                e.invalid(&at("rule"), &dump::rule(r), &format!("compilation failed: {why}"));
                continue;
            }
        };
        if !rule_types::makes(s, resource, source, &program, false) {
            e.invalid(&at("rule"), &dump::rule(r), "cel expression must evaluate to a bool");
            continue;
        }
        let message = json::text(r, "messageExpression");
        if !message.is_empty() {
            match rules::compile(message).and_then(|p| rule_types::check(s, resource, message, &p).map(|()| p)) {
                Err(why) => e.invalid(&at("messageExpression"), &dump::rule(r), &format!("messageExpression compilation failed: {why}")),
                Ok(p) if !rule_types::makes(s, resource, message, &p, true) => {
                    e.invalid(&at("messageExpression"), &dump::rule(r), "messageExpression must evaluate to a string");
                }
                Ok(_) => {}
            }
        }
        if program.references().has_variable("oldSelf") {
            if let Some(within) = &place.uncorrelated {
                let why = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {within}");
                e.invalid_text(&at("rule"), source, &why);
            }
        } else if let Some(o) = r.get("optionalOldSelf").filter(|o| !o.is_null()) {
            e.invalid(&at("optionalOldSelf"), o, "may not be set if oldSelf is not used in rule");
        }
    }
}

/// The schema at a path of fields such as `.spec.a['b']`, and the path as messages write it (`cel.ValidFieldPath`).
pub(super) fn field_path<'a>(s: &'a Value, path: &str, brackets: bool) -> Result<(String, &'a Value), String> {
    let (mut at, mut out, mut rest) = (s, String::new(), path);
    while !rest.is_empty() {
        let name;
        if let Some(r) = rest.strip_prefix('[') {
            if !brackets {
                return Err("array notation is not allowed".into());
            }
            let r = r
                .strip_prefix('\'')
                .ok_or_else(|| format!("expected single quoted string but got {}", r.split(']').next().unwrap_or("")))?;
            let (quoted, r) = r.split_once("']").ok_or("unexpected end of JSON path")?;
            name = quoted.replace("\\'", "'").replace("\\\\", "\\");
            rest = r;
        } else if let Some(r) = rest.strip_prefix('.') {
            if r.is_empty() {
                return Err("unexpected end of JSON path".into());
            }
            let end = r.find(['.', '[', ']']).unwrap_or(r.len());
            name = r[..end].to_owned();
            rest = &r[end..];
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            return Err(format!("expected [ or . but got: {}", &rest[..end]));
        }
        let none = || "does not refer to a valid field".to_owned();
        if at.get("properties").is_some_and(Value::is_object) {
            at = at["properties"].get(&name).ok_or_else(none)?;
            out = if out.is_empty() { name } else { format!("{out}.{name}") };
        } else if at.get("additionalProperties").is_some_and(|a| !a.is_null()) {
            at = &at["additionalProperties"];
            out = format!("{out}[{name}]");
        } else {
            return Err(none());
        }
    }
    Ok((out, at))
}
