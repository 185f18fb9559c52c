//! Classes of devices, and what the kinds of `resource.k8s.io` have in common: names, selectors, configuration, taints
//! (`pkg/apis/resource/validation`).

use serde_json::Value;

use super::errors::Errors;
use super::{Check, DEFAULT, Flavour, Rules, amounts, volumes};
use crate::custom::{BadSelector, device_selector};
use crate::json;
use crate::meta;

/// Most requests, constraints, configurations or selectors at one place.
pub(super) const MOST: usize = 32;
/// Longest expression of a selector.
const LONGEST_EXPRESSION: usize = 10 * 1024;
/// Longest name of a pool.
const LONGEST_POOL: usize = 253;
/// Longest name of an attribute or a capacity, behind its domain.
const LONGEST_ID: usize = 32;
/// Most bytes of parameters for a driver, and of what a driver tells about a device.
pub(super) const MOST_RAW: usize = 10 * 1024;
/// Most conditions of either kind that a device waits for.
const MOST_BINDING: usize = 4;

const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "None"];

pub(crate) const DEVICE_CLASS: Rules = Rules {
    name: meta::long_name,
    meta: Flavour::Named,
    on_update: &[Check::Meta, Check::MetaUpdate, Check::Always],
    validate: |doc, old, e, _| class(&doc["spec"], old.map(|o| &o["spec"]), e),
    ..DEFAULT
};

fn class(s: &Value, old: Option<&Value>, e: &mut Errors) {
    selectors("spec.selectors", s, e);
    let stored = old.is_some_and(|o| o.get("config") == s.get("config"));
    each("spec.config", json::list(s, "config"), MOST, e, |at, c, e| configuration(at, c, stored, e));
    if let Some(name) = s.get("extendedResourceName").and_then(Value::as_str).filter(|n| !amounts::is_extended(n)) {
        e.invalid_text("spec.extendedResourceName", name, "must be a valid extended resource name");
    }
}

/// Looks at every item, unless there are too many. Whether it did.
pub(super) fn each(path: &str, list: &[Value], most: usize, e: &mut Errors, mut check: impl FnMut(&str, &Value, &mut Errors)) -> bool {
    if list.len() > most {
        e.too_many(path, list.len(), most);
        return false;
    }
    for (i, v) in list.iter().enumerate() {
        check(&format!("{path}[{i}]"), v, e);
    }
    true
}

/// The same, and no two items may have one key.
pub(super) fn each_once(
    path: &str,
    list: &[Value],
    most: usize,
    e: &mut Errors,
    key: impl Fn(&Value) -> Value,
    check: impl FnMut(&str, &Value, &mut Errors),
) {
    if !each(path, list, most, e, check) {
        return;
    }
    let mut seen = Vec::with_capacity(list.len());
    for (i, v) in list.iter().enumerate() {
        let key = key(v);
        if seen.contains(&key) {
            e.duplicate(&format!("{path}[{i}]"), &key);
        } else {
            seen.push(key);
        }
    }
}

/// What a text field says, as a key.
pub(super) fn by(field: &'static str) -> impl Fn(&Value) -> Value {
    move |v| json::text(v, field).into()
}

/// Names of pools are made of one or more subdomains.
pub(super) fn pool_name(path: &str, name: &str, e: &mut Errors) {
    if name.is_empty() {
        return e.required(path, "");
    }
    if name.len() > LONGEST_POOL {
        e.too_long(path, LONGEST_POOL);
    }
    for part in name.split('/') {
        e.names(path, part, meta::dns_subdomain(part));
    }
}

/// The name of an attribute or a capacity, with or without the domain that it is of. More than one slash is let through, as the reference does.
pub(super) fn qualified_name(path: &str, name: &str, e: &mut Errors) {
    match name.split('/').collect::<Vec<_>>()[..] {
        [id] => identifier(path, id, e),
        [domain, id] => {
            match domain {
                "" => e.invalid_text(path, "", "the domain must not be empty"),
                domain => volumes::driver_name(path, domain, e),
            }
            match id {
                "" => e.invalid_text(path, "", "the name must not be empty"),
                id => identifier(path, id, e),
            }
        }
        _ => {}
    }
}

/// The name of an attribute with its domain.
pub(super) fn fully_qualified_name(path: &str, name: &str, e: &mut Errors) {
    qualified_name(path, name, e);
    if !name.contains('/') {
        e.invalid_text(path, name, "a fully qualified name must be a domain and a name separated by a slash");
    }
}

fn identifier(path: &str, id: &str, e: &mut Errors) {
    if id.len() > LONGEST_ID {
        e.too_long(path, LONGEST_ID);
    }
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if !(id.bytes().all(word) && id.bytes().next().is_some_and(|b| !b.is_ascii_digit())) {
        let why = meta::regex_error(
            "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'",
            "[A-Za-z_][A-Za-z0-9_]*",
            &["my_name", "MY_NAME", "MyName"],
        );
        e.invalid_text(path, id, &why);
    }
}

/// A UUID in the one form that is normal.
pub(super) fn uuid(path: &str, id: &str, e: &mut Errors) {
    if let Some(why) = uuid_fault(id) {
        e.invalid_text(path, id, &format!("error validating uid: {why}"));
    } else if id.len() != 36 || id.bytes().any(|b| b.is_ascii_uppercase()) {
        let why = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters";
        e.invalid_text(path, id, why);
    }
}

/// Why a text is no UUID in any form (`google/uuid.Validate`).
fn uuid_fault(id: &str) -> Option<String> {
    const DASHES: [usize; 4] = [8, 13, 18, 23];
    let b = id.as_bytes();
    let dashed = match b.len() {
        32 => return (!b.iter().all(u8::is_ascii_hexdigit)).then(|| "invalid UUID format".to_owned()),
        36 => b,
        38 if b[0] == b'{' && b[37] == b'}' => &b[1..37],
        38 => return Some("invalid bracketed UUID format".to_owned()),
        45 if b[..9].eq_ignore_ascii_case(b"urn:uuid:") => &b[9..],
        45 => return Some(format!("invalid urn prefix: {}", crate::go_value::quote(&String::from_utf8_lossy(&b[..9])))),
        n => return Some(format!("invalid UUID length: {n}")),
    };
    let fits = |(i, c): (usize, &u8)| if DASHES.contains(&i) { *c == b'-' } else { c.is_ascii_hexdigit() };
    (!dashed.iter().enumerate().all(fits)).then(|| "invalid UUID format".to_owned())
}

/// Selectors in CEL; `holder` has them in its field `selectors`, which is at `path`.
pub(super) fn selectors(path: &str, holder: &Value, e: &mut Errors) {
    each(path, json::list(holder, "selectors"), MOST, e, |at, s, e| {
        let Some(cel) = s.get("cel").filter(|c| !c.is_null()) else { return e.required(&format!("{at}.cel"), "") };
        let (at, source) = (format!("{at}.cel.expression"), json::text(cel, "expression"));
        if source.len() > LONGEST_EXPRESSION {
            return e.too_long(&at, LONGEST_EXPRESSION);
        }
        match device_selector(source) {
            Ok(()) => {}
            Err(BadSelector::Invalid(why)) => e.invalid_text(&at, source, &why),
            Err(BadSelector::TooComplex) => e.forbidden(&at, "too complex, exceeds cost limit"),
        }
    });
}

/// Configuration for a driver. `stored`: it is as it was, so that its size does not matter.
pub(super) fn configuration(at: &str, c: &Value, stored: bool, e: &mut Errors) {
    let Some(opaque) = c.get("opaque").filter(|o| !o.is_null()) else { return e.required(&format!("{at}.opaque"), "") };
    volumes::driver_name(&format!("{at}.opaque.driver"), json::text(opaque, "driver"), e);
    raw_object(&format!("{at}.opaque.parameters"), &opaque["parameters"], stored, e);
}

/// An object that only a driver understands.
pub(super) fn raw_object(path: &str, v: &Value, stored: bool, e: &mut Errors) {
    match v {
        Value::Null => e.required(path, ""),
        v if !stored && v.to_string().len() > MOST_RAW => e.too_long(path, MOST_RAW),
        Value::Object(_) => {}
        _ => e.invalid_text(path, "<value omitted>", "must be a valid JSON object"),
    }
}

/// A taint of a device.
pub(super) fn taint(at: &str, t: &Value, e: &mut Errors) {
    let (key, value) = (json::text(t, "key"), json::text(t, "value"));
    e.names(&format!("{at}.key"), key, meta::qualified_name(key));
    e.names(&format!("{at}.value"), value, meta::label_value(value));
    e.one_of(&format!("{at}.effect"), json::text(t, "effect"), EFFECTS);
}

/// What a request puts up with.
pub(super) fn toleration(at: &str, t: &Value, e: &mut Errors) {
    e.name_if_any(&format!("{at}.key"), json::text(t, "key"), meta::qualified_name);
    let (value, path) = (json::text(t, "value"), format!("{at}.value"));
    match json::text(t, "operator") {
        "Exists" if !value.is_empty() => e.invalid_text(&path, value, "must be empty for operator `Exists`"),
        "Exists" => {}
        "Equal" => e.names(&path, value, meta::label_value(value)),
        other => e.one_of(&format!("{at}.operator"), other, &["Equal", "Exists"]),
    }
    let effect = json::text(t, "effect");
    if !effect.is_empty() {
        e.one_of(&format!("{at}.effect"), effect, EFFECTS);
    }
}

/// The conditions that a device waits for once it was chosen, and those that say that it is none.
pub(super) fn binding(at: &str, v: &Value, e: &mut Errors) {
    const GOOD: &str = "bindingConditions";
    const BAD: &str = "bindingFailureConditions";
    let (good, bad) = (json::list(v, GOOD), json::list(v, BAD));
    let (at_good, at_bad) = (format!("{at}.{GOOD}"), format!("{at}.{BAD}"));
    for (path, list) in [(&at_good, good), (&at_bad, bad)] {
        each(path, list, MOST_BINDING, e, |at, c, e| {
            let name = c.as_str().unwrap_or("");
            e.names(at, name, meta::qualified_name(name));
        });
    }
    for (i, c) in good.iter().enumerate().filter(|(i, c)| good[..*i].contains(c)) {
        e.duplicate(&format!("{at_good}[{i}]"), c);
    }
    for (i, c) in bad.iter().enumerate() {
        if bad[..i].contains(c) {
            e.duplicate(&format!("{at_bad}[{i}]"), c);
        }
        if good.contains(c) {
            e.invalid(&format!("{at_bad}[{i}]"), c, "bindingFailureConditions must not overlap with bindingConditions");
        }
    }
    if good.is_empty() && !bad.is_empty() {
        e.invalid(&at_good, &Value::Null, "bindingConditions are required to use bindingFailureConditions");
    }
    if bad.is_empty() && !good.is_empty() {
        e.invalid(&at_bad, &Value::Null, "bindingFailureConditions are required to use bindingConditions");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const C_IDENTIFIER: &str = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')";

    fn told(check: impl FnOnce(&mut Errors)) -> Vec<String> {
        let mut e = Errors::default();
        check(&mut e);
        e.causes.into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
    }

    #[test]
    fn a_class_selects_by_expressions_and_configures_by_objects() {
        for (spec, want) in [
            (json!({"selectors": [{"cel": {"expression": "device.driver == 'x.example.com'"}}]}), vec![]),
            (json!({"selectors": [{}]}), vec!["spec.selectors[0].cel: Required value".to_owned()]),
            (
                json!({"selectors": [{"cel": {"expression": "a".repeat(10 * 1024 + 1)}}]}),
                vec!["spec.selectors[0].cel.expression: Too long: may not be more than 10240 bytes".to_owned()],
            ),
            (json!({"selectors": vec![json!({}); 33]}), vec!["spec.selectors: Too many: 33: must have at most 32 items".to_owned()]),
            (json!({"config": [{}]}), vec!["spec.config[0].opaque: Required value".to_owned()]),
            (
                json!({"config": [{"opaque": {"driver": "", "parameters": null}}]}),
                vec![
                    "spec.config[0].opaque.driver: Required value".to_owned(),
                    "spec.config[0].opaque.parameters: Required value".to_owned(),
                ],
            ),
            (
                json!({"config": [{"opaque": {"driver": "x.example.com", "parameters": 5}}]}),
                vec!["spec.config[0].opaque.parameters: Invalid value: \"<value omitted>\": must be a valid JSON object".to_owned()],
            ),
            (
                json!({"extendedResourceName": "cpu"}),
                vec!["spec.extendedResourceName: Invalid value: \"cpu\": must be a valid extended resource name".to_owned()],
            ),
            (json!({"extendedResourceName": "example.com/gpu"}), vec![]),
        ] {
            assert_eq!(told(|e| class(&spec, None, e)), want, "{spec}");
        }
    }

    #[test]
    fn parameters_that_were_there_before_may_be_large() {
        let s = json!({"config": [{"opaque": {"driver": "x.example.com", "parameters": {"a": "a".repeat(MOST_RAW)}}}]});
        assert_eq!(told(|e| class(&s, None, e)), ["spec.config[0].opaque.parameters: Too long: may not be more than 10240 bytes"]);
        assert!(told(|e| class(&s, Some(&s), e)).is_empty());
    }

    #[test]
    fn names_of_attributes_have_a_domain_or_none() {
        for (name, want) in [
            ("memory", vec![]),
            ("dra.example.com/memory", vec![]),
            ("a/b/c", vec![]),
            ("/memory", vec!["n: Invalid value: \"\": the domain must not be empty".to_owned()]),
            ("dra.example.com/", vec!["n: Invalid value: \"\": the name must not be empty".to_owned()]),
            ("1a", vec![format!("n: Invalid value: \"1a\": {C_IDENTIFIER}")]),
        ] {
            assert_eq!(told(|e| qualified_name("n", name, e)), want, "{name}");
        }
        assert_eq!(
            told(|e| fully_qualified_name("n", "memory", e)),
            ["n: Invalid value: \"memory\": a fully qualified name must be a domain and a name separated by a slash"]
        );
    }

    #[test]
    fn ids_of_shares_are_uuids_in_lower_case() {
        for (id, want) in [
            ("f1a2b3c4-0000-4000-8000-000000000001", vec![]),
            ("x", vec!["u: Invalid value: \"x\": error validating uid: invalid UUID length: 1"]),
            (
                "f1a2b3c4-0000-4000-8000_000000000001",
                vec!["u: Invalid value: \"f1a2b3c4-0000-4000-8000_000000000001\": error validating uid: invalid UUID format"],
            ),
            (
                "F1A2B3C4-0000-4000-8000-000000000001",
                vec![
                    "u: Invalid value: \"F1A2B3C4-0000-4000-8000-000000000001\": uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters",
                ],
            ),
        ] {
            assert_eq!(told(|e| uuid("u", id, e)), want, "{id}");
        }
    }

    #[test]
    fn taints_and_tolerations_name_known_effects() {
        assert_eq!(
            told(|e| taint("t", &json!({"key": "a", "effect": "Never"}), e)),
            ["t.effect: Unsupported value: \"Never\": supported values: \"NoExecute\", \"NoSchedule\", \"None\""]
        );
        for (t, want) in [
            (json!({"operator": "Exists"}), vec![]),
            (json!({"operator": "Exists", "value": "x"}), vec!["t.value: Invalid value: \"x\": must be empty for operator `Exists`"]),
            (json!({"operator": "Lt"}), vec!["t.operator: Unsupported value: \"Lt\": supported values: \"Equal\", \"Exists\""]),
            (json!({"operator": "Equal", "effect": "NoExecute"}), vec![]),
        ] {
            assert_eq!(told(|e| toleration("t", &t, e)), want, "{t}");
        }
    }

    #[test]
    fn conditions_of_binding_come_in_both_kinds_or_not_at_all() {
        for (v, want) in [
            (json!({}), vec![]),
            (json!({"bindingConditions": ["a"], "bindingFailureConditions": ["b"]}), vec![]),
            (
                json!({"bindingConditions": ["a"]}),
                vec!["d.bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use bindingConditions"],
            ),
            (
                json!({"bindingConditions": ["a", "a"], "bindingFailureConditions": ["a"]}),
                vec![
                    "d.bindingConditions[1]: Duplicate value: \"a\"",
                    "d.bindingFailureConditions[0]: Invalid value: \"a\": bindingFailureConditions must not overlap with bindingConditions",
                ],
            ),
        ] {
            assert_eq!(told(|e| binding("d", &v, e)), want, "{v}");
        }
    }
}
