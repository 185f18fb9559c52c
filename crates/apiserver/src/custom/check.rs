//! Whether a custom object is as its schema says (kube-openapi `validation/validate`, apiextensions `apiserver/validation`).

use regex::Regex;
use serde_json::Value;

use super::formats;
use crate::json;
use crate::kinds::shown;
use crate::status::Cause;

/// What a check found. Of several alternatives that all failed the one with the most successful checks is told of, hence the count.
#[derive(Debug, Default)]
pub(super) struct Found {
    errors: Vec<(String, Cause)>,
    matches: usize,
}

impl Found {
    fn add(&mut self, text: String, cause: Cause) {
        // Equal texts are told once.
        if !self.errors.iter().any(|(t, _)| *t == text) {
            self.errors.push((text, cause));
        }
    }

    fn merge(&mut self, other: Found) {
        for (t, c) in other.errors {
            self.add(t, c);
        }
        self.matches += other.matches;
    }

    fn fits(&self) -> bool {
        self.errors.is_empty()
    }

    /// An error that names its field in its text.
    fn fail(&mut self, reason: &'static str, path: &str, value: &Value, text: String) {
        let cause = Cause::new(reason, field(path), format!("Invalid value: {}: {text}", shown(value)));
        self.add(text, cause);
    }

    fn invalid(&mut self, path: &str, value: &Value, text: String) {
        self.fail("FieldValueInvalid", path, value, text);
    }

    /// An error that belongs to no field in particular.
    fn general(&mut self, root: &str, text: String) {
        let cause = Cause::new("FieldValueInvalid", root, format!("Invalid value: \"\": {text}"));
        self.add(text, cause);
    }
}

/// The name of a field; the document itself has none.
fn field(path: &str) -> String {
    let path = path.trim_start_matches('.');
    if path.is_empty() { "<nil>".to_owned() } else { path.to_owned() }
}

/// Checks a document. `old`: what stood there before; what did not change is not complained of (ratcheting, KEP-4008).
/// `root`: where the document stands within its object, such as `status`.
pub(super) fn check(s: &Value, v: &Value, old: Option<&Value>, root: &str) -> Vec<Cause> {
    let general = if root.is_empty() { "<nil>" } else { root };
    let mut found = Checker { general }.node(s, v, "", old);
    if !root.is_empty() {
        for (_, c) in &mut found.errors {
            if c.field == "<nil>" {
                c.field = root.to_owned();
            } else if c.field != root {
                c.field = format!("{root}.{}", c.field);
            }
        }
    }
    found.errors.into_iter().map(|(_, c)| c).collect()
}

struct Checker<'a> {
    general: &'a str,
}

/// A number as the reference writes it in a text.
pub(super) fn number_text(n: &serde_json::Number) -> String {
    if let Some(i) = n.as_i64() {
        return i.to_string();
    }
    let f = n.as_f64().unwrap_or(0.0);
    if f.fract() == 0.0 && f.abs() < 1e6 {
        return format!("{f:.0}");
    }
    let exp = if f == 0.0 { 0 } else { f.abs().log10().floor() as i32 };
    if (-4..6).contains(&exp) {
        return f.to_string();
    }
    let text = format!("{f:e}");
    let (mantissa, e) = text.split_once('e').unwrap_or((&text, "0"));
    let e: i32 = e.parse().unwrap_or(0);
    format!("{mantissa}e{}{:02}", if e < 0 { '-' } else { '+' }, e.abs())
}

/// The types that a schema allows.
fn types(s: &Value) -> Vec<&str> {
    if s["x-kubernetes-int-or-string"] == true {
        return vec!["integer", "string"];
    }
    match json::text(s, "type") {
        "" => Vec::new(),
        t => vec![t],
    }
}

fn type_of(v: &Value) -> &'static str {
    match v {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::String(_) => "string",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Equal as the reference compares: numbers by value.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(a, b)| equal(a, b)),
        (Value::Object(x), Value::Object(y)) => x.len() == y.len() && x.iter().all(|(k, v)| y.get(k).is_some_and(|w| equal(v, w))),
        _ => a == b,
    }
}

impl Checker<'_> {
    /// A place whose old value is known to be the same is not complained of.
    fn node(&self, s: &Value, v: &Value, path: &str, old: Option<&Value>) -> Found {
        let found = self.plain(s, v, path, old);
        if !found.fits() && old.is_some_and(|o| equal(o, v)) {
            return Found { errors: Vec::new(), matches: found.matches };
        }
        found
    }

    fn plain(&self, s: &Value, v: &Value, path: &str, old: Option<&Value>) -> Found {
        let mut out = Found::default();
        let name = path.trim_start_matches('.');
        let types = types(s);
        let format = formats::supported(s);
        if v.is_null() {
            if !types.is_empty() && s["nullable"] != true {
                wrong_type(&mut out, path, &types.join(","), "null");
            } else {
                out.matches += 1;
            }
            self.of_list(s, v, path, name, &mut out);
            return out;
        }
        if !types.is_empty() || format.is_some() {
            type_check(&types, format, v, path, &mut out);
            out.matches += 1;
        }
        self.combined(s, v, path, old, &mut out);
        match v {
            Value::String(t) => {
                text_check(s, t, v, path, &mut out);
                out.matches += 1;
                if let Some(f) = format.filter(|f| !formats::fits(f, t)) {
                    let text = format!("{name} in body must be of type {f}: {v}");
                    out.fail("FieldValueTypeInvalid", path, v, text);
                }
            }
            Value::Number(n) => {
                self.number(s, n, v, path, &mut out);
                out.matches += 2;
            }
            Value::Array(l) => {
                self.list(s, l, path, old, &mut out);
                out.matches += 2;
            }
            _ => {}
        }
        self.of_list(s, v, path, name, &mut out);
        out.matches += 1;
        if let Value::Object(m) = v {
            self.object(s, m, path, old, &mut out);
            out.matches += 1;
        }
        out.matches += 1;
        out
    }

    fn of_list(&self, s: &Value, v: &Value, path: &str, name: &str, out: &mut Found) {
        let list = json::list(s, "enum");
        if list.is_empty() || list.iter().any(|x| equal(x, v)) {
            return;
        }
        let shown: Vec<String> = list.iter().map(|x| format!("{:?}", x.as_str().map_or_else(|| x.to_string(), str::to_owned))).collect();
        let cause =
            Cause::new("FieldValueNotSupported", field(path), format!("Unsupported value: {v}: supported values: {}", shown.join(", ")));
        out.add(format!("{name} in body should be one of {list:?}"), cause);
    }

    fn combined(&self, s: &Value, v: &Value, path: &str, old: Option<&Value>, out: &mut Found) {
        let shown = Value::from(path);
        let any = json::list(s, "anyOf");
        if !any.is_empty() {
            let mut best: Option<Found> = None;
            let mut fitting = None;
            for a in any {
                let found = self.plain(a, v, path, old);
                if found.fits() {
                    fitting = Some(found);
                    break;
                }
                if best.as_ref().is_none_or(|b| found.matches > b.matches) {
                    best = Some(found);
                }
            }
            match fitting {
                Some(f) => out.merge(f),
                None => {
                    out.general(self.general, format!("{shown} must validate at least one schema (anyOf)"));
                    out.merge(best.unwrap_or_default());
                }
            }
        }
        let one = json::list(s, "oneOf");
        if !one.is_empty() {
            let (mut best, mut first, mut n): (Option<Found>, Option<Found>, usize) = (None, None, 0);
            for a in one {
                let found = self.plain(a, v, path, old);
                if found.fits() {
                    n += 1;
                    best = None;
                    first.get_or_insert(found);
                } else if n == 0 && best.as_ref().is_none_or(|b| found.matches > b.matches) {
                    best = Some(found);
                }
            }
            if n == 1 {
                out.merge(first.unwrap_or_default());
            } else {
                let why = if n == 0 { "Found none valid".to_owned() } else { format!("Found {n} valid alternatives") };
                out.general(self.general, format!("{shown} must validate one and only one schema (oneOf). {why}"));
                out.merge(best.unwrap_or_default());
            }
        }
        let all = json::list(s, "allOf");
        if !all.is_empty() {
            let mut n = 0;
            for a in all {
                let found = self.plain(a, v, path, old);
                n += usize::from(found.fits());
                out.merge(found);
            }
            if n != all.len() {
                let why = if n == 0 { ". None validated" } else { "" };
                out.general(self.general, format!("{shown} must validate all the schemas (allOf){why}"));
            }
        }
        if let Some(not) = s.get("not").filter(|n| n.is_object())
            && self.plain(not, v, path, old).fits()
        {
            out.general(self.general, format!("{shown} must not validate the schema (not)"));
        }
        out.matches += 2;
    }

    fn number(&self, s: &Value, n: &serde_json::Number, v: &Value, path: &str, out: &mut Found) {
        let name = path.trim_start_matches('.');
        let kind = if s["x-kubernetes-int-or-string"] == true { "" } else { json::text(s, "type") };
        let format = match (kind, json::text(s, "format")) {
            ("integer", f @ ("int32" | "int64")) | ("number", f @ ("float" | "double")) => f,
            _ => "",
        };
        if let Some(text) = out_of_range(n, kind, format, "Checked", path) {
            out.general(self.general, text);
        }
        let (x, whole) = (n.as_f64().unwrap_or(0.0), n.as_i64());
        if let Some(Value::Number(m)) = s.get("multipleOf") {
            let f = m.as_f64().unwrap_or(1.0);
            // The factor for a whole number is made whole (`MultipleOfNativeType`).
            let fits = match whole {
                Some(_) if f < 1.0 => {
                    out.invalid(path, &0.into(), format!("factor MultipleOf declared for {name} must be positive: {}", f as i64));
                    true
                }
                Some(i) => i % (f as i64) == 0,
                _ if f < 1.0 => is_whole(1.0 / f * x),
                _ => is_whole(x / f),
            };
            if !fits {
                out.invalid(path, v, format!("{name} in body should be a multiple of {}", number_text(m)));
            }
        }
        // The bound is told as the kind of number that the value is.
        let told = |m: &serde_json::Number| match whole {
            Some(_) => (m.as_f64().unwrap_or(0.0) as i64).to_string(),
            None => number_text(m),
        };
        if let Some(Value::Number(m)) = s.get("minimum") {
            let (min, strict) = (m.as_f64().unwrap_or(0.0), s["exclusiveMinimum"] == true);
            if x < min || (strict && x <= min) {
                let word = if strict { "greater than" } else { "greater than or equal to" };
                out.invalid(path, v, format!("{name} in body should be {word} {}", told(m)));
            }
        }
        if let Some(Value::Number(m)) = s.get("maximum") {
            let (max, strict) = (m.as_f64().unwrap_or(0.0), s["exclusiveMaximum"] == true);
            if x > max || (strict && x >= max) {
                let word = if strict { "less than" } else { "less than or equal to" };
                out.invalid(path, v, format!("{name} in body should be {word} {}", told(m)));
            }
        }
    }

    fn list(&self, s: &Value, l: &[Value], path: &str, old: Option<&Value>, out: &mut Found) {
        let name = path.trim_start_matches('.');
        if let Some(items) = s.get("items").filter(|i| i.is_object()) {
            for (i, v) in l.iter().enumerate() {
                out.merge(self.node(items, v, &format!("{path}[{i}]"), super::lists::counterpart(s, v, old)));
            }
        }
        let n = l.len() as u64;
        if let Some(min) = s["minItems"].as_u64().filter(|m| n < *m) {
            out.invalid(path, &n.into(), format!("{name} in body should have at least {min} items"));
        }
        if let Some(max) = s["maxItems"].as_u64().filter(|m| n > *m) {
            let cause = Cause::new("FieldValueTooMany", field(path), format!("Too many: {n}: must have at most {max} items"));
            out.add(format!("{name} in body should have at most {max} items"), cause);
        }
    }

    fn object(&self, s: &Value, m: &serde_json::Map<String, Value>, path: &str, old: Option<&Value>, out: &mut Found) {
        let name = path.trim_start_matches('.');
        let n = m.len() as u64;
        if let Some(min) = s["minProperties"].as_u64().filter(|x| n < *x) {
            out.invalid(path, &n.into(), format!("{name} in body should have at least {min} properties"));
        }
        if let Some(max) = s["maxProperties"].as_u64().filter(|x| n > *x) {
            let cause = Cause::new("FieldValueTooMany", field(path), format!("Too many: {n}: must have at most {max} items"));
            out.add(format!("{name} in body should have at most {max} properties"), cause);
        }
        let before = |k: &str| old.and_then(|o| o.get(k));
        let properties = json::object(s, "properties");
        let has = |k: &str| properties.is_some_and(|p| p.contains_key(k));
        match s.get("additionalProperties") {
            Some(Value::Bool(false)) => {
                for k in m.keys().filter(|k| !has(k)) {
                    out.invalid(path, &Value::from(k.as_str()), format!("{name}.{k} in body is a forbidden property"));
                }
            }
            Some(a @ Value::Object(_)) => {
                for (k, v) in sorted(m).filter(|(k, _)| !has(k)) {
                    out.merge(self.node(a, v, &format!("{path}.{k}"), before(k)));
                }
            }
            _ => {}
        }
        for (k, p) in properties.into_iter().flat_map(sorted) {
            if let Some(v) = m.get(k) {
                let below = if path.is_empty() { k.clone() } else { format!("{path}.{k}") };
                // A change of version would not show, so the type is always looked at.
                let old = if path.is_empty() && matches!(k.as_str(), "kind" | "apiVersion") { None } else { before(k) };
                out.merge(self.node(p, v, &below, old));
            }
        }
        for k in json::list(s, "required").iter().filter_map(Value::as_str).filter(|k| !m.contains_key(*k)) {
            let at = format!("{path}.{k}");
            out.add(format!("{at} in body is required"), Cause::new("FieldValueRequired", field(&at), "Required value"));
        }
    }
}

fn sorted(m: &serde_json::Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    let mut list: Vec<_> = m.iter().collect();
    list.sort_by_key(|(k, _)| *k);
    list.into_iter()
}

fn wrong_type(out: &mut Found, path: &str, want: &str, have: &str) {
    let text = format!("{} in body must be of type {want}: {have:?}", path.trim_start_matches('.'));
    out.fail("FieldValueTypeInvalid", path, &have.into(), text);
}

fn type_check(types: &[&str], format: Option<&str>, v: &Value, path: &str, out: &mut Found) {
    let have = type_of(v);
    let whole = v.as_f64().is_some_and(is_whole);
    let fits = types.contains(&have)
        || (have == "number" && whole && types.contains(&"integer"))
        || (have == "integer" && types.contains(&"number"));
    let textual = matches!(v, Value::String(_) | Value::Array(_));
    let numeric = types.iter().any(|t| matches!(*t, "number" | "integer"));
    match format {
        Some(f) if !textual && !fits => {
            let known = match have {
                "integer" => "int64",
                "number" => "double",
                _ => "",
            };
            if f == known {
                wrong_type(out, path, &types.join(","), have);
            } else {
                wrong_type(out, path, f, known);
            }
        }
        // A text with a format is the format's to check.
        Some(_) if textual && !numeric => out.matches += 1,
        _ if fits => out.matches += 1,
        _ => wrong_type(out, path, &types.join(","), have),
    }
}

/// Length and pattern: the first that does not fit is told.
fn text_check(s: &Value, t: &str, v: &Value, path: &str, out: &mut Found) {
    let name = path.trim_start_matches('.');
    let n = t.chars().count() as u64;
    if let Some(max) = s["maxLength"].as_u64().filter(|m| n > *m) {
        let cause = Cause::new("FieldValueTooLong", field(path), format!("Too long: may not be more than {max} bytes"));
        out.add(format!("{name} in body should be at most {max} chars long"), cause);
    } else if let Some(min) = s["minLength"].as_u64().filter(|m| n < *m) {
        out.invalid(path, v, format!("{name} in body should be at least {min} chars long"));
    } else if let Some(p) = s["pattern"].as_str().filter(|p| !p.is_empty()) {
        let fits = Regex::new(p).is_ok_and(|r| r.is_match(t));
        if !fits {
            out.invalid(path, v, format!("{name} in body should match '{p}'"));
        }
    }
}

/// Whole as the reference's float arithmetic sees it (swag `IsFloat64AJSONInteger`).
fn is_whole(f: f64) -> bool {
    const EPSILON: f64 = 1e-9;
    if !f.is_finite() || f.abs() > 9_007_199_254_740_991.0 {
        return false;
    }
    let d = (f - f.round()).abs();
    d == 0.0 || d < EPSILON * f.abs().max(f.round().abs()).min(f64::MAX)
}

fn out_of_range(n: &serde_json::Number, kind: &str, format: &str, what: &str, path: &str) -> Option<String> {
    let fits = match (kind, format) {
        ("integer", "int32") => n.as_i64().or_else(|| whole_of(n)).is_some_and(|i| i32::try_from(i).is_ok()),
        ("integer", _) => n.as_i64().or_else(|| whole_of(n)).is_some(),
        (_, "float") => n.as_f64().is_some_and(|f| f.abs() <= f64::from(f32::MAX)),
        _ => true,
    };
    if fits {
        return None;
    }
    let kind = if kind.is_empty() { "number" } else { kind };
    Some(match format {
        "" => format!("{what} value must be of type {kind} (default format) in {path}"),
        f => format!("{what} value must be of type {kind} with format {f} in {path}"),
    })
}

fn whole_of(n: &serde_json::Number) -> Option<i64> {
    n.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9e18).map(|f| f as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(s: Value, v: Value) -> Vec<String> {
        check(&s, &v, None, "").into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
    }

    fn spec(s: Value, v: Value) -> Vec<String> {
        told(json!({"type": "object", "properties": {"a": s}}), json!({"a": v}))
    }

    /// Answers of kube-apiserver 1.36.2.
    #[test]
    fn values_are_refused_in_the_words_of_the_reference() {
        for (s, v, want) in [
            (json!({"type": "integer"}), json!("3"), "a: Invalid value: \"string\": a in body must be of type integer: \"string\""),
            (json!({"type": "integer", "minimum": 1}), json!(0), "a: Invalid value: 0: a in body should be greater than or equal to 1"),
            (json!({"type": "number", "maximum": 1.5}), json!(2.5), "a: Invalid value: 2.5: a in body should be less than or equal to 1.5"),
            (json!({"type": "integer", "multipleOf": 5}), json!(7), "a: Invalid value: 7: a in body should be a multiple of 5"),
            (json!({"type": "string", "minLength": 3}), json!("ab"), "a: Invalid value: \"ab\": a in body should be at least 3 chars long"),
            (json!({"type": "string", "maxLength": 1}), json!("ab"), "a: Too long: may not be more than 1 bytes"),
            (json!({"type": "string", "pattern": "^x"}), json!("ab"), "a: Invalid value: \"ab\": a in body should match '^x'"),
            (json!({"type": "array", "maxItems": 1}), json!([1, 2]), "a: Too many: 2: must have at most 1 items"),
            (json!({"type": "array", "minItems": 3}), json!([1, 2]), "a: Invalid value: 2: a in body should have at least 3 items"),
            (json!({"type": "string", "enum": ["x", "y"]}), json!("z"), "a: Unsupported value: \"z\": supported values: \"x\", \"y\""),
            (json!({"type": "object", "required": ["b"]}), json!({}), "a.b: Required value"),
            (json!({"type": "string"}), json!(null), "a: Invalid value: \"null\": a in body must be of type string: \"null\""),
        ] {
            assert_eq!(spec(s.clone(), v), [want], "{s}");
        }
    }

    #[test]
    fn the_alternative_that_came_closest_is_told() {
        let got = spec(json!({"type": "integer", "anyOf": [{"minimum": 10}, {"maximum": 3}]}), json!(5));
        assert_eq!(got[0], "<nil>: Invalid value: \"\": \"a\" must validate at least one schema (anyOf)");
        assert_eq!(got.len(), 2);
    }

    #[test]
    fn what_did_not_change_is_not_complained_of() {
        let s = json!({"type": "object", "properties": {"a": {"type": "integer", "maximum": 3}, "b": {"type": "integer", "maximum": 3}}});
        let (old, new) = (json!({"a": 9, "b": 1}), json!({"a": 9, "b": 7}));
        let got = check(&s, &new, Some(&old), "");
        assert_eq!(got.iter().map(|c| c.field.as_str()).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn numbers_are_written_as_the_reference_writes_them() {
        for (n, want) in [(json!(10.0), "10"), (json!(1.5), "1.5"), (json!(1e6), "1e+06"), (json!(0.00001), "1e-05"), (json!(7), "7")] {
            let Value::Number(n) = n else { continue };
            assert_eq!(number_text(&n), want);
        }
    }
}
