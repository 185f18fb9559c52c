//! ConfigMaps and Secrets (core `ValidateConfigMap`, `ValidateSecret`).

use serde_json::Value;

use super::errors::Errors;
use super::{Check, DEFAULT, Rules};
use crate::json;
use crate::meta;

/// Most bytes of a ConfigMap or Secret.
const DATA_LIMIT: usize = 1024 * 1024;

const ACCOUNT: &str = "kubernetes.io/service-account.name";

/// What Go says about a text that is no JSON object.
fn not_json(text: &[u8], why: &serde_json::Error) -> String {
    match text.iter().find(|c| !c.is_ascii_whitespace()) {
        _ if why.is_eof() => "unexpected end of JSON input".to_owned(),
        Some(c) if !b"{[\"-0123456789tfn".contains(c) => {
            format!("invalid character {:?} looking for beginning of value", char::from(*c))
        }
        _ => why.to_string(),
    }
}

/// Types of secrets that need keys, and which.
const NEEDS: &[(&str, &[&str])] = &[
    ("kubernetes.io/dockerconfigjson", &[".dockerconfigjson"]),
    ("kubernetes.io/dockercfg", &[".dockercfg"]),
    ("kubernetes.io/ssh-auth", &["ssh-privatekey"]),
    ("kubernetes.io/tls", &["tls.crt", "tls.key"]),
];

pub(crate) const CONFIG_MAP: Rules = Rules {
    on_update: &[Check::MetaUpdate, Check::Update, Check::Meta, Check::Always],
    validate: |doc, _, e, _| config_map(doc, e),
    validate_update: |new, old, e, _| immutable(new, old, &["data", "binaryData"], e),
    ..DEFAULT
};

pub(crate) const SECRET: Rules = Rules {
    on_update: &[Check::MetaUpdate, Check::Update, Check::Meta, Check::Always],
    prepare_create: |doc, _| string_data(doc),
    prepare_update: |doc, old, _| {
        string_data(doc);
        if json::text(doc, "type").is_empty() {
            json::put(doc, "type", old.get("type").cloned());
        }
    },
    validate: |doc, _, e, _| secret(doc, e),
    validate_update: |new, old, e, _| {
        e.immutable("type", new.get("type"), old.get("type"));
        immutable(new, old, &["data"], e);
    },
    ..DEFAULT
};

fn base64_len(text: &str) -> usize {
    text.len() / 4 * 3 - text.bytes().rev().take(2).filter(|b| *b == b'=').count()
}

fn key(field: &str, k: &str, e: &mut Errors) {
    e.names(&format!("{field}[{k}]"), k, meta::config_key(k));
}

fn config_map(doc: &Value, e: &mut Errors) {
    let mut total = 0;
    let binary = json::object(doc, "binaryData");
    for (k, v) in json::object(doc, "data").into_iter().flatten() {
        key("data", k, e);
        if binary.is_some_and(|b| b.contains_key(k)) {
            e.invalid_text(&format!("data[{k}]"), k, "duplicate of key present in binaryData");
        }
        total += v.as_str().map_or(0, str::len);
    }
    for (k, v) in binary.into_iter().flatten() {
        key("binaryData", k, e);
        total += v.as_str().map_or(0, base64_len);
    }
    if total > DATA_LIMIT {
        e.too_long("[]", DATA_LIMIT);
    }
}

fn immutable(new: &Value, old: &Value, fields: &[&str], e: &mut Errors) {
    if old["immutable"].as_bool() != Some(true) {
        return;
    }
    if new["immutable"].as_bool() != Some(true) {
        e.forbidden("immutable", "field is immutable when `immutable` is set");
    }
    for f in fields {
        if new.get(*f) != old.get(*f) {
            e.forbidden(f, "field is immutable when `immutable` is set");
        }
    }
}

/// `stringData` is written into `data` and kept nowhere.
fn string_data(doc: &mut Value) {
    use base64::Engine as _;
    let Some(Value::Object(strings)) = json::take(doc, "stringData") else { return };
    let data = json::object_mut(doc, "data");
    for (k, v) in strings {
        let text = v.as_str().unwrap_or("");
        data.insert(k, base64::engine::general_purpose::STANDARD.encode(text).into());
    }
}

/// The bytes of a key of a secret.
pub(crate) fn bytes(doc: &Value, key: &str) -> Vec<u8> {
    use base64::Engine as _;
    let text = doc["data"].get(key).and_then(Value::as_str).unwrap_or("");
    base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default()
}

fn secret(doc: &Value, e: &mut Errors) {
    let mut total = 0;
    let data = json::object(doc, "data");
    for (k, v) in data.into_iter().flatten() {
        key("data", k, e);
        total += v.as_str().map_or(0, base64_len);
    }
    if total > DATA_LIMIT {
        e.too_long("data", DATA_LIMIT);
    }
    let has = |k: &str| data.is_some_and(|d| d.contains_key(k));
    let kind = json::text(doc, "type");
    for k in NEEDS.iter().filter(|(t, _)| *t == kind).flat_map(|(_, keys)| keys.iter()) {
        let at = format!("data[{k}]");
        if !has(k) || (kind == "kubernetes.io/ssh-auth" && bytes(doc, k).is_empty()) {
            e.required(&at, "");
        } else if kind.contains("docker")
            && let Err(why) = serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes(doc, k))
        {
            e.invalid_text(&at, "<secret contents redacted>", &not_json(&bytes(doc, k), &why));
        }
    }
    match kind {
        "kubernetes.io/service-account-token" if json::text_at(doc, &["metadata", "annotations", ACCOUNT]).is_empty() => {
            e.required(&format!("metadata.annotations[{ACCOUNT}]"), "");
        }
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            e.required("data[username]", "");
            e.required("data[password]", "");
        }
        _ => {}
    }
}
