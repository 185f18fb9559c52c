//! Which schemas are structural (apiextensions `schema/validation.go`, `schema/complete.go`, `schema/defaulting/validation.go`).

use serde_json::{Map, Value, json};

use super::decode::{embeds, preserves};
use super::{check, decode, lists, rules};
use crate::json;
use crate::kinds::Errors;
use crate::status::Cause;

/// Where in a schema a node stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

fn flag(s: &Value, k: &str) -> bool {
    s.get(k).and_then(Value::as_bool) == Some(true)
}

fn int_or_string(s: &Value) -> bool {
    flag(s, "x-kubernetes-int-or-string")
}

fn schema<'a>(s: &'a Value, k: &str) -> Option<&'a Value> {
    s.get(k).filter(|v| v.is_object())
}

/// All that keeps a schema from being structural, in order of text.
pub(super) fn check(s: &Value, path: &str) -> Vec<Cause> {
    let mut e = Errors::default();
    invariants(s, Level::Root, path, &mut e);
    complete(s, Some(s), path, path, &mut e);
    let mut out = e.causes;
    out.sort_by_key(|c| format!("{}: {}", c.field, c.message));
    out
}

fn invariants(s: &Value, level: Level, path: &str, e: &mut Errors) {
    let at = |k: &str| format!("{path}.{k}");
    let kind = json::text(s, "type");
    match schema(s, "items") {
        Some(items) => invariants(items, Level::Item, &at("items"), e),
        None if kind == "array" => e.required(&at("items"), "must be specified"),
        None => {}
    }
    let properties = json::object(s, "properties");
    for (k, p) in properties.into_iter().flatten() {
        invariants(p, Level::Field, &format!("{path}.properties[{k}]"), e);
    }
    if let Some(a) = s.get("additionalProperties").filter(|a| !a.is_null()) {
        if level == Level::Root {
            e.forbidden(&at("additionalProperties"), "must not be used at the root");
        }
        if a.is_object() {
            invariants(a, Level::Field, &at("additionalProperties"), e);
        }
    }
    if int_or_string(s) && preserves(s) {
        e.invalid(&at("x-kubernetes-preserve-unknown-fields"), &true.into(), "must be false if x-kubernetes-int-or-string is true");
    }
    if int_or_string(s) && embeds(s) {
        e.invalid(&at("x-kubernetes-embedded-resource"), &true.into(), "must be false if x-kubernetes-int-or-string is true");
    }
    let either = json!([{"type": "integer"}, {"type": "string"}]);
    let skip_any = s.get("anyOf") == Some(&either);
    let skip_first = json::list(s, "allOf").first().is_some_and(|a| a.get("anyOf") == Some(&either));
    values(s, skip_any, skip_first, level, path, e);
    if embeds(s) && kind != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        if kind.is_empty() { e.required(&at("type"), why) } else { e.invalid_text(&at("type"), kind, why) }
    } else if kind.is_empty() && !int_or_string(s) && !preserves(s) {
        let place = match level {
            Level::Root => "at the root",
            Level::Item => "for specified array items",
            Level::Field => "for specified object fields",
        };
        e.required(&at("type"), &format!("must not be empty {place}"));
    }
    if embeds(s) && s.get("additionalProperties").is_some_and(|a| !a.is_null()) {
        e.forbidden(&at("additionalProperties"), "must not be used if x-kubernetes-embedded-resource is set");
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        e.invalid_text(&at("type"), kind, "must be object at the root");
    }
    let resource = level == Level::Root || embeds(s);
    for k in ["kind", "apiVersion"] {
        if let Some(p) = properties.and_then(|p| p.get(k)).filter(|_| resource)
            && json::text(p, "type") != "string"
        {
            e.invalid_text(&format!("{path}.properties[{k}].type"), json::text(p, "type"), "must be string");
        }
    }
    if let Some(meta) = properties.and_then(|p| p.get("metadata")) {
        metadata(meta, resource, level, &format!("{path}.properties[metadata]"), e);
    }
    if embeds(s) && !preserves(s) && properties.is_none_or(Map::is_empty) {
        let why = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        e.required(&at("properties"), why);
    }
}

/// The schema of metadata may say something of names, and nothing else.
fn metadata(s: &Value, resource: bool, level: Level, path: &str, e: &mut Errors) {
    if resource && json::text(s, "type") != "object" {
        e.invalid_text(&format!("{path}.type"), json::text(s, "type"), "must be object");
    }
    if level != Level::Root {
        return;
    }
    let names_only = json::object(s, "properties").is_none_or(|p| p.keys().all(|k| matches!(k.as_str(), "name" | "generateName")));
    let bare = s.as_object().is_none_or(|m| m.keys().all(|k| matches!(k.as_str(), "type" | "properties" | "default")));
    if !names_only || !bare {
        e.forbidden(path, "must not specify anything other than name and generateName, but metadata is implicitly specified");
    }
}

fn values(s: &Value, skip_any: bool, skip_first: bool, level: Level, path: &str, e: &mut Errors) {
    if !skip_any {
        for (i, n) in json::list(s, "anyOf").iter().enumerate() {
            nested(n, false, level, &format!("{path}.anyOf[{i}]"), e);
        }
    }
    for (i, n) in json::list(s, "allOf").iter().enumerate() {
        nested(n, skip_first && i == 0, level, &format!("{path}.allOf[{i}]"), e);
    }
    for (i, n) in json::list(s, "oneOf").iter().enumerate() {
        nested(n, false, level, &format!("{path}.oneOf[{i}]"), e);
    }
    if let Some(n) = schema(s, "not") {
        nested(n, false, level, &format!("{path}.not"), e);
    }
    let pattern = json::text(s, "pattern");
    if !pattern.is_empty()
        && let Err(why) = regex::Regex::new(pattern)
    {
        let why = go_regex_error(pattern, &why.to_string());
        e.invalid_text(
            &format!("{path}.pattern"),
            pattern,
            &format!("must be a valid regular expression, but isn't: error parsing regexp: {why}"),
        );
    }
}

/// What a schema below `allOf` and the like must leave to the one above.
fn nested(s: &Value, skip_any: bool, level: Level, path: &str, e: &mut Errors) {
    let at = |k: &str| format!("{path}.{k}");
    values(s, skip_any, false, level, path, e);
    if let Some(items) = schema(s, "items") {
        nested(items, false, level, &at("items"), e);
    }
    for (k, p) in json::object(s, "properties").into_iter().flatten() {
        nested(p, false, Level::Field, &format!("{path}.properties[{k}]"), e);
    }
    if !json::text(s, "type").is_empty() {
        e.forbidden(&at("type"), "must be empty to be structural");
    }
    let states = |k: &str| s.get(k).is_some_and(|v| !v.is_null());
    for (k, must) in [("additionalProperties", "undefined"), ("default", "undefined")] {
        if states(k) {
            e.forbidden(&at(k), &format!("must be {must} to be structural"));
        }
    }
    for k in ["title", "description"] {
        if !json::text(s, k).is_empty() {
            e.forbidden(&at(k), "must be empty to be structural");
        }
    }
    for k in ["nullable", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource", "x-kubernetes-int-or-string"] {
        if flag(s, k) {
            e.forbidden(&at(k), "must be false to be structural");
        }
    }
    for (k, must) in [
        ("x-kubernetes-list-map-keys", "empty"),
        ("x-kubernetes-list-type", "undefined"),
        ("x-kubernetes-map-type", "undefined"),
        ("x-kubernetes-validations", "empty"),
    ] {
        if states(k) {
            e.forbidden(&at(k), &format!("must be {must} to be structural"));
        }
    }
    if json::object(s, "properties").is_some_and(|p| p.contains_key("metadata")) {
        e.forbidden(&format!("{path}.properties[metadata]"), "must not be specified in a nested context");
    }
}

/// What is restricted must be there.
fn complete(v: &Value, s: Option<&Value>, s_path: &str, v_path: &str, e: &mut Errors) {
    if let Some(n) = schema(v, "not") {
        complete_nested(n, s, s_path, &format!("{v_path}.not"), e);
    }
    for k in ["allOf", "anyOf", "oneOf"] {
        for (i, n) in json::list(v, k).iter().enumerate() {
            complete_nested(n, s, s_path, &format!("{v_path}.{k}[{i}]"), e);
        }
    }
}

fn complete_nested(v: &Value, s: Option<&Value>, s_path: &str, v_path: &str, e: &mut Errors) {
    let Some(s) = s else { return e.required(s_path, &format!("because it is defined in {v_path}")) };
    complete(v, Some(s), s_path, v_path, e);
    if let Some(items) = schema(v, "items") {
        complete_nested(items, schema(s, "items"), &format!("{s_path}.items"), &format!("{v_path}.items"), e);
    }
    for (k, p) in json::object(v, "properties").into_iter().flatten() {
        let (sp, vp) = (format!("{s_path}.properties[{k}]"), format!("{v_path}.properties[{k}]"));
        complete_nested(p, s.get("properties").and_then(|x| x.get(k)), &sp, &vp, e);
    }
}

/// Defaults must fit their own schema.
pub(super) fn defaults(s: &Value, path: &str, root: bool, e: &mut Errors) {
    if let Some(d) = s.get("default").filter(|d| !d.is_null()) {
        let at = format!("{path}.default");
        let (mut pruned, mut unknown) = (d.clone(), Vec::new());
        decode::prune(s, &mut pruned, embeds(s), "", &mut unknown);
        if pruned != *d {
            e.invalid(&at, d, "must not have unknown fields");
        }
        let mut found = Errors::default();
        lists::embedded(s, d, &at, &mut found);
        if found.is_empty() {
            found.causes = check::check(s, d, None, &at);
        }
        if found.is_empty()
            && let Some(r) = rules::Rules::of(s)
        {
            r.check(s, d, None, (&at, root), &mut found, &mut Vec::new());
        }
        e.causes.append(&mut found.causes);
    }
    if let Some(items) = schema(s, "items") {
        defaults(items, &format!("{path}.items"), embeds(items), e);
    }
    for (k, p) in json::object(s, "properties").into_iter().flatten() {
        if (root || embeds(s)) && matches!(k.as_str(), "metadata" | "apiVersion" | "kind") {
            continue;
        }
        defaults(p, &format!("{path}.properties[{k}]"), embeds(p), e);
    }
}

/// What no structural schema can be made of.
pub(super) fn unsupported(s: &Value) -> Option<String> {
    if s.get("items").is_some_and(Value::is_array) {
        return Some("OpenAPIV3Schema 'items' must be a schema, but is an array".into());
    }
    if s.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        return Some("internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined".into());
    }
    for (key, name) in [
        ("id", "id"),
        ("$schema", "schema"),
        ("$ref", "$ref"),
        ("patternProperties", "patternProperties"),
        ("dependencies", "dependencies"),
        ("additionalItems", "additionalItems"),
        ("definitions", "definitions"),
    ] {
        if s.get(key).is_some_and(|v| !v.is_null()) {
            return Some(format!("OpenAPIV3Schema '{name}' is not supported"));
        }
    }
    let mut found = None;
    super::each_below(s, &mut |_, below| {
        if found.is_none() {
            found = unsupported(below);
        }
    });
    found
}

/// What is wrong with a pattern: text of the crate, text of Go (`regexp/syntax`), and what it shows: `*` all, `>` from the fault on, `-` the fault.
const REGEX_ERRORS: &[(&str, &str, char)] = &[
    ("unclosed group", "missing closing )", '*'),
    ("unopened group", "unexpected )", '*'),
    ("unclosed character class", "missing closing ]", '>'),
    ("repetition operator missing expression", "missing argument to repetition operator", '-'),
    ("unrecognized escape sequence", "invalid escape sequence", '-'),
    ("backreferences are not supported", "invalid escape sequence", '-'),
    ("incomplete escape sequence", "trailing backslash at end of expression", ' '),
    ("invalid character class range", "invalid character class range", '-'),
    ("invalid repetition count range", "invalid repeat count", '-'),
    ("look-around", "invalid or unsupported Perl syntax", '-'),
    ("unrecognized flag", "invalid or unsupported Perl syntax", '-'),
    ("unclosed capture group name", "invalid named capture", '*'),
    ("Unicode property not found", "invalid character class range", '-'),
];

/// The error of the regex crate in the words of Go.
fn go_regex_error(pattern: &str, told: &str) -> String {
    let lines: Vec<&str> = told.lines().collect();
    let last = lines.last().unwrap_or(&"").trim_start_matches("error: ");
    let Some((_, text, what)) = REGEX_ERRORS.iter().find(|(own, _, _)| last.contains(own)) else { return last.to_owned() };
    // The line below the pattern marks the fault; both are indented alike.
    const MARGIN: usize = 4;
    let marks = lines.iter().find(|l| l.trim_start().starts_with('^')).map_or("", |l| l.get(MARGIN..).unwrap_or(""));
    let start = marks.find('^').unwrap_or(0);
    let rest: String = pattern.chars().skip(start).collect();
    let shown = match what {
        '*' => pattern.to_owned(),
        '>' => rest,
        '-' => rest.chars().take(marks.trim().len()).collect(),
        _ => String::new(),
    };
    format!("{text}: `{shown}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(s: Value) -> Vec<String> {
        check(&s, "s").into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
    }

    /// Answers of kube-apiserver 1.36.2.
    #[test]
    fn schemas_that_are_not_structural_are_refused() {
        assert_eq!(
            told(json!({"type": "object", "properties": {"a": {}}})),
            ["s.properties[a].type: Required value: must not be empty for specified object fields"]
        );
        assert_eq!(told(json!({"type": "string"})), ["s.type: Invalid value: \"string\": must be object at the root"]);
        assert_eq!(
            told(json!({"type": "object", "properties": {"l": {"type": "array"}}})),
            ["s.properties[l].items: Required value: must be specified"]
        );
        assert_eq!(
            told(json!({"type": "object", "anyOf": [{"type": "object", "properties": {"a": {"minimum": 1}}}]})),
            [
                "s.anyOf[0].type: Forbidden: must be empty to be structural",
                "s.properties[a]: Required value: because it is defined in s.anyOf[0].properties[a]"
            ]
        );
        assert!(told(json!({"type": "object", "properties": {"p": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}}})).is_empty());
    }
}
