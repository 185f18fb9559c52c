//! Lists that are sets or maps, and resources within a resource: what must hold of them besides their schema
//! (apiextensions `schema/listtype`, `schema/objectmeta` validation).

use serde_json::{Map, Value};

use super::decode::embeds;
use crate::json;
use crate::kinds::{Errors, validate_embedded_meta};
use crate::meta;

/// Items of a set must differ, items of a map must differ in their keys.
pub(super) fn check(s: &Value, v: &Value, path: &str, e: &mut Errors) {
    match v {
        Value::Object(m) => {
            let properties = json::object(s, "properties");
            for (k, v) in m {
                let at = if path.is_empty() { k.clone() } else { format!("{path}.{k}") };
                match properties.and_then(|p| p.get(k)) {
                    Some(p) => check(p, v, &at, e),
                    None if s["additionalProperties"].is_object() => check(&s["additionalProperties"], v, &format!("{path}[{k}]"), e),
                    None => {}
                }
            }
        }
        Value::Array(l) => {
            match json::text(s, "x-kubernetes-list-type") {
                "set" => twice(l, path, e),
                "map" => {
                    if let Some(i) = l.iter().position(|x| !x.is_null() && !x.is_object()) {
                        e.invalid(&format!("{path}[{i}]"), &l[i], "must be an object for an array of list-type map");
                    } else {
                        let keys: Vec<Value> = l.iter().map(|x| keys_of(s, x)).collect();
                        twice(&keys, path, e);
                    }
                }
                _ => {}
            }
            for (i, v) in l.iter().enumerate() {
                check(&s["items"], v, &format!("{path}[{i}]"), e);
            }
        }
        _ => {}
    }
}

fn keys_of(s: &Value, item: &Value) -> Value {
    let mut keys: Vec<&str> = json::list(s, "x-kubernetes-list-map-keys").iter().filter_map(Value::as_str).collect();
    keys.sort_unstable();
    Value::Object(keys.into_iter().filter_map(|k| Some((k.to_owned(), item.get(k)?.clone()))).collect::<Map<_, _>>())
}

/// The second appearance of a value is told of, later ones are not.
fn twice(l: &[Value], path: &str, e: &mut Errors) {
    for (i, v) in l.iter().enumerate() {
        if l[..i].iter().filter(|x| *x == v).count() == 1 {
            e.duplicate(&format!("{path}[{i}]"), v);
        }
    }
}

/// The old item that an item of a list came from: only lists of type map tell.
pub(super) fn counterpart<'a>(s: &Value, item: &Value, old: Option<&'a Value>) -> Option<&'a Value> {
    if json::text(s, "x-kubernetes-list-type") != "map" {
        return None;
    }
    let want = keys_of(s, item);
    old?.as_array()?.iter().find(|o| keys_of(s, o) == want)
}

/// Resources within the resource must say what they are.
pub(super) fn embedded(s: &Value, v: &Value, path: &str, e: &mut Errors) {
    match v {
        Value::Object(m) => {
            let at = |k: &str| if path.is_empty() { k.to_owned() } else { format!("{path}.{k}") };
            if embeds(s) {
                resource(m, &at, e);
            }
            let properties = json::object(s, "properties");
            for (k, v) in m {
                match properties.and_then(|p| p.get(k)) {
                    Some(p) => embedded(p, v, &at(k), e),
                    None if s["additionalProperties"].is_object() => embedded(&s["additionalProperties"], v, &format!("{path}[{k}]"), e),
                    None => {}
                }
            }
        }
        Value::Array(l) => {
            for (i, v) in l.iter().enumerate() {
                embedded(&s["items"], v, &format!("{path}[{i}]"), e);
            }
        }
        _ => {}
    }
}

fn resource(m: &Map<String, Value>, at: &dyn Fn(&str) -> String, e: &mut Errors) {
    for k in ["apiVersion", "kind"] {
        match m.get(k) {
            None => e.required(&at(k), ""),
            Some(Value::String(t)) if t.is_empty() => e.invalid_text(&at(k), "", "must not be empty"),
            Some(Value::String(t)) if k == "apiVersion" && t.split('/').count() > 2 => {
                e.invalid_text(&at(k), t, &format!("unexpected GroupVersion string: {t}"));
            }
            Some(Value::String(t)) if k == "kind" => {
                let wrong = meta::dns1035_label(&t.to_lowercase());
                if !wrong.is_empty() {
                    e.invalid_text(&at(k), t, &format!("may have mixed case, but should otherwise match: {}", wrong.join(",")));
                }
            }
            Some(Value::String(_)) => {}
            Some(other) => e.invalid(&at(k), other, "must be a string"),
        }
    }
    if let Some(meta) = m.get("metadata") {
        validate_embedded_meta(meta, &at("metadata"), e);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_second_of_equal_items_is_told_of() {
        let s = json!({"type": "object", "properties": {
            "tags": {"type": "array", "x-kubernetes-list-type": "set"},
            "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["b", "a"]},
        }});
        let mut e = Errors::default();
        check(&s, &json!({"tags": ["x", "x", "x"], "parts": [{"a": 1, "b": 2}, {"a": 1, "b": 2, "c": 3}]}), "", &mut e);
        let got: Vec<String> = e.causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
        assert_eq!(got, ["tags[1]: Duplicate value: \"x\"", "parts[1]: Duplicate value: {\"a\":1,\"b\":2}"]);
    }
}
