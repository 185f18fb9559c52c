//! Small kinds of the core group.

use serde_json::{Value, json};

use super::errors::Errors;
use super::{DEFAULT, Env, Rules};
use crate::json;
use crate::meta;

/// Most bytes of a ConfigMap or Secret.
const DATA_LIMIT: usize = 1024 * 1024;

pub(crate) const CONFIG_MAP: Rules = Rules {
    meta_again: 2,
    validate: validate_config_map,
    validate_update: |new, old, e, _| {
        if old["immutable"].as_bool() == Some(true) {
            immutable_data(new, old, &["data", "binaryData"], e);
        }
    },
    ..DEFAULT
};

pub(crate) const SECRET: Rules = Rules {
    prepare_create: |doc, _| string_data(doc),
    prepare_update: |doc, old, _| {
        string_data(doc);
        if json::text(doc, "type").is_empty() {
            json::put(doc, "type", old.get("type").cloned());
        }
    },
    validate: validate_secret,
    validate_update: |new, old, e, _| {
        e.immutable("type", new.get("type"), old.get("type"));
        if old["immutable"].as_bool() == Some(true) {
            immutable_data(new, old, &["data"], e);
        }
    },
    ..DEFAULT
};

pub(crate) const NAMESPACE: Rules = Rules {
    name: meta::dns_label,
    keeps_status_on_create: false,
    prepare_create: |doc, _| {
        doc["status"] = json!({"phase": "Active"});
        let spec = json::object_mut(doc, "spec");
        let list = spec.entry("finalizers").or_insert_with(|| json!([]));
        if let Some(l) = list.as_array_mut()
            && !l.iter().any(|f| f == "kubernetes")
        {
            l.push("kubernetes".into());
        }
    },
    prepare_update: |doc, old, _| {
        let was = old["spec"].get("finalizers").cloned();
        json::object_mut(doc, "spec");
        json::put(&mut doc["spec"], "finalizers", was);
    },
    validate_status: |doc, _, e, _| {
        let phase = json::text(doc, "status.phase");
        let going = doc["metadata"].get("deletionTimestamp").is_some();
        if going && phase != "Terminating" {
            e.invalid_text("status.Phase", phase, "may only be 'Terminating' if `deletionTimestamp` is not empty");
        } else if !going && phase != "Active" {
            e.invalid_text("status.Phase", phase, "may only be 'Active' if `deletionTimestamp` is empty");
        }
    },
    ..DEFAULT
};

pub(crate) const NODE: Rules = Rules {
    keeps_status_on_create: true,
    prepare_create: |doc, _| {
        // Admission puts the taint on that the node's controller takes off.
        let spec = json::object_mut(doc, "spec");
        let taints = spec.entry("taints").or_insert_with(|| json!([]));
        if let Some(l) = taints.as_array_mut()
            && !l.iter().any(|t| t["key"] == "node.kubernetes.io/not-ready" && t["effect"] == "NoSchedule")
        {
            l.push(json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}));
        }
        pod_cidrs(doc);
    },
    prepare_update: |doc, _, _| pod_cidrs(doc),
    validate_status: |doc, _, e, _| {
        for list in ["capacity", "allocatable"] {
            for (k, v) in json::object(&doc["status"], list).into_iter().flatten() {
                if v.as_str().is_some_and(|s| s.starts_with('-')) {
                    e.invalid(&format!("status.{list}.{k}"), v, "must be greater than or equal to 0");
                }
            }
        }
    },
    validate: |doc, e, _| {
        for (i, t) in json::list(doc, "spec.taints").iter().enumerate() {
            let key = json::text(t, "key");
            e.names(&format!("spec.taints[{i}].key"), key, meta::qualified_name(key));
            let effect = json::text(t, "effect");
            if !matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
                e.unsupported(&format!("spec.taints[{i}].effect"), effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
            }
        }
    },
    validate_update: |new, old, e, _| {
        let (n, o) = (json::list(new, "spec.podCIDRs"), json::list(old, "spec.podCIDRs"));
        if !o.is_empty() && n != o {
            e.forbidden("spec.podCIDRs", "node updates may not change podCIDR except from \"\" to valid");
        }
        let (p, was) = (json::text(new, "spec.providerID"), json::text(old, "spec.providerID"));
        if !was.is_empty() && p != was {
            e.forbidden("spec.providerID", "node updates may not change providerID except from \"\" to valid");
        }
    },
    ..DEFAULT
};

fn pod_cidrs(doc: &mut Value) {
    let one = json::text(doc, "spec.podCIDR").to_owned();
    if !one.is_empty() && json::list(doc, "spec.podCIDRs").is_empty() {
        doc["spec"]["podCIDRs"] = json!([one]);
    }
}

pub(crate) const EVENT: Rules = Rules { create_on_update: true, validate: validate_event, ..DEFAULT };

pub(crate) const ENDPOINTS: Rules = Rules { create_on_update: true, validate: validate_endpoints, ..DEFAULT };

pub(crate) const LIMIT_RANGE: Rules = Rules {
    create_on_update: true,
    prepare_create: |doc, _| {
        if json::text(doc, "metadata.name").is_empty() {
            doc["metadata"]["name"] = "limits".into();
        }
    },
    ..DEFAULT
};

pub(crate) const PERSISTENT_VOLUME: Rules = Rules {
    prepare_create: |doc, env| {
        doc["status"] = json!({"phase": "Pending", "lastPhaseTransitionTime": meta::seconds(env.now)});
        add_finalizer(doc, "kubernetes.io/pv-protection");
    },
    ..DEFAULT
};

pub(crate) const PERSISTENT_VOLUME_CLAIM: Rules = Rules {
    prepare_create: |doc, _| {
        doc["status"] = json!({"phase": "Pending"});
        add_finalizer(doc, "kubernetes.io/pvc-protection");
        let spec = json::object_mut(doc, "spec");
        match (spec.get("dataSource").cloned(), spec.get("dataSourceRef").cloned()) {
            (Some(mut d), None) => {
                if d.get("apiGroup").is_none() {
                    d["apiGroup"] = Value::Null;
                }
                spec.insert("dataSourceRef".into(), d);
            }
            (None, Some(r)) if r.get("namespace").is_none() => {
                spec.insert("dataSource".into(), r);
            }
            _ => {}
        }
    },
    validate: |doc, e, _| {
        if json::list(doc, "spec.accessModes").is_empty() {
            e.required("spec.accessModes", "at least 1 access mode is required");
        }
        for m in json::list(doc, "spec.accessModes") {
            let m = m.as_str().unwrap_or("");
            if !matches!(m, "ReadWriteOnce" | "ReadOnlyMany" | "ReadWriteMany" | "ReadWriteOncePod") {
                e.unsupported("spec.accessModes", m, &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"]);
            }
        }
        if doc["spec"]["resources"]["requests"].get("storage").is_none() {
            e.required("spec.resources[storage]", "");
        }
    },
    validate_update: |new, old, e, _| {
        let bare = |v: &Value| {
            let mut s = v["spec"].clone();
            for k in ["resources", "volumeName", "volumeAttributesClassName"] {
                json::take(&mut s, k);
            }
            s
        };
        if bare(new) != bare(old) {
            e.forbidden(
                "spec",
                "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n",
            );
        }
    },
    ..DEFAULT
};

fn add_finalizer(doc: &mut Value, f: &str) {
    let meta = json::object_mut(doc, "metadata");
    let list = meta.entry("finalizers").or_insert_with(|| json!([]));
    if let Some(l) = list.as_array_mut()
        && !l.iter().any(|x| x == f)
    {
        l.push(f.into());
    }
}

fn config_key(path: &str, k: &str, e: &mut Errors) {
    let at = format!("{path}[{k}]");
    if k.len() > 253 {
        e.invalid_text(&at, k, "must be no more than 253 characters");
    }
    let ok = !k.is_empty() && k.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'));
    if !ok {
        e.invalid_text(
            &at,
            k,
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
        );
    } else if k == "." {
        e.invalid_text(&at, k, "must not be '.'");
    } else if k.starts_with("..") {
        e.invalid_text(&at, k, &format!("must not {}", if k == ".." { "be '..'" } else { "start with '..'" }));
    }
}

fn base64_len(text: &str) -> usize {
    text.len() / 4 * 3 - text.bytes().rev().take(2).filter(|b| *b == b'=').count()
}

fn validate_config_map(doc: &Value, e: &mut Errors, _: &Env<'_>) {
    let mut total = 0;
    let binary = json::object(doc, "binaryData");
    for (k, v) in json::object(doc, "data").into_iter().flatten() {
        config_key("data", k, e);
        if binary.is_some_and(|b| b.contains_key(k)) {
            e.invalid_text(&format!("data[{k}]"), k, "duplicate of key present in binaryData");
        }
        total += v.as_str().map_or(0, str::len);
    }
    for (k, v) in binary.into_iter().flatten() {
        config_key("binaryData", k, e);
        total += v.as_str().map_or(0, base64_len);
    }
    if total > DATA_LIMIT {
        e.too_long("[]", DATA_LIMIT);
    }
}

fn immutable_data(new: &Value, old: &Value, fields: &[&str], e: &mut Errors) {
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

fn validate_secret(doc: &Value, e: &mut Errors, _: &Env<'_>) {
    let mut total = 0;
    let data = json::object(doc, "data");
    for (k, v) in data.into_iter().flatten() {
        config_key("data", k, e);
        total += v.as_str().map_or(0, base64_len);
    }
    if total > DATA_LIMIT {
        e.too_long("data", DATA_LIMIT);
    }
    let need = |e: &mut Errors, keys: &[&str]| {
        for k in keys {
            if data.is_none_or(|d| !d.contains_key(*k)) {
                e.required(&format!("data[{k}]"), "");
            }
        }
    };
    match json::text(doc, "type") {
        "kubernetes.io/service-account-token"
            if json::text_at(doc, &["metadata", "annotations", "kubernetes.io/service-account.name"]).is_empty() =>
        {
            e.required("metadata.annotations[kubernetes.io/service-account.name]", "");
        }
        "kubernetes.io/dockerconfigjson" => need(e, &[".dockerconfigjson"]),
        "kubernetes.io/dockercfg" => need(e, &[".dockercfg"]),
        "kubernetes.io/tls" => need(e, &["tls.crt", "tls.key"]),
        "kubernetes.io/ssh-auth" => need(e, &["ssh-privatekey"]),
        "kubernetes.io/basic-auth" => {
            let has = |k: &str| data.is_some_and(|d| d.contains_key(k));
            if !has("username") && !has("password") {
                e.required("data[username]", "");
                e.required("data[password]", "");
            }
        }
        _ => {}
    }
}

fn validate_event(doc: &Value, e: &mut Errors, _: &Env<'_>) {
    let ns = json::text(doc, "involvedObject.namespace");
    let here = json::text(doc, "metadata.namespace");
    if ns.is_empty() {
        if here != "default" && here != "kube-system" {
            e.invalid_text("involvedObject.namespace", ns, "does not match event.namespace");
        }
    } else if ns != here {
        e.invalid_text("involvedObject.namespace", ns, "does not match event.namespace");
    }
}

fn validate_endpoints(doc: &Value, e: &mut Errors, _: &Env<'_>) {
    for (i, s) in json::list(doc, "subsets").iter().enumerate() {
        let (a, n) = (json::list(s, "addresses"), json::list(s, "notReadyAddresses"));
        if a.is_empty() && n.is_empty() {
            e.required(&format!("subsets[{i}]"), "must specify `addresses` or `notReadyAddresses`");
        }
        for (which, list) in [("addresses", a), ("notReadyAddresses", n)] {
            for (j, x) in list.iter().enumerate() {
                let ip = json::text(x, "ip");
                if ip.parse::<std::net::IpAddr>().is_err() {
                    e.invalid_text(
                        &format!("subsets[{i}].{which}[{j}].ip"),
                        ip,
                        "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                    );
                }
            }
        }
    }
}
