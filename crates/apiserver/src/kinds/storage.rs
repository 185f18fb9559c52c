//! Classes of storage, CSI drivers and runtime classes (`ValidateStorageClass`, `ValidateCSIDriver`, `ValidateRuntimeClass`).

use serde_json::{Value, json};

use super::amounts::{self, Place};
use super::errors::Errors;
use super::{Check, DEFAULT, Rules, metadata, pod_scheduling};
use crate::json;
use crate::meta;

/// Most parameters of a class, and most bytes of them.
const MAX_PARAMETERS: usize = 512;
const MAX_PARAMETER_BYTES: usize = 256 * 1024;

pub(crate) const STORAGE_CLASS: Rules = Rules {
    on_update: &[Check::Meta, Check::Always, Check::MetaUpdate, Check::Update],
    validate: |doc, _, e, _| storage_class(doc, e),
    validate_update: |new, old, e, _| {
        for k in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
            e.immutable(k, new.get(k), old.get(k));
        }
    },
    ..DEFAULT
};

/// The name of whoever makes the volumes (`validateProvisioner`).
pub(super) fn provisioner(field: &str, doc: &Value, e: &mut Errors) {
    match json::text(doc, field) {
        "" => e.required(field, ""),
        name => {
            let lower = name.to_lowercase();
            e.names(field, &lower, meta::qualified_name(&lower));
        }
    }
}

/// What a class hands to its driver (`validateParameters`).
pub(super) fn parameters(doc: &Value, e: &mut Errors) {
    let Some(all) = json::object(doc, "parameters") else { return };
    if all.len() > MAX_PARAMETERS {
        return e.too_long("parameters", MAX_PARAMETERS);
    }
    if all.contains_key("") {
        e.invalid_text("parameters", "", "field can not be empty.");
    }
    let size: usize = all.iter().map(|(k, v)| k.len() + v.as_str().map_or(0, str::len)).sum();
    if size > MAX_PARAMETER_BYTES {
        e.too_long("parameters", MAX_PARAMETER_BYTES);
    }
}

fn storage_class(doc: &Value, e: &mut Errors) {
    provisioner("provisioner", doc, e);
    parameters(doc, e);
    let policy = json::text(doc, "reclaimPolicy");
    if !policy.is_empty() {
        e.one_of("reclaimPolicy", policy, &["Delete", "Retain"]);
    }
    match doc.get("volumeBindingMode").and_then(Value::as_str) {
        None => e.required("volumeBindingMode", ""),
        Some("Immediate" | "WaitForFirstConsumer") => {}
        Some(other) => e.unsupported("volumeBindingMode", other, &["Immediate", "WaitForFirstConsumer"]),
    }
    for (i, t) in json::list(doc, "allowedTopologies").iter().enumerate() {
        let mut seen = Vec::new();
        for (j, r) in json::list(t, "matchLabelExpressions").iter().enumerate() {
            let at = format!("allowedTopologies[{i}].matchLabelExpressions[{j}]");
            let key = json::text(r, "key");
            let values = json::list(r, "values");
            if values.is_empty() {
                e.required(&format!("{at}.values"), "");
            }
            for (k, v) in values.iter().enumerate() {
                if values[..k].contains(v) {
                    e.duplicate(&format!("{at}.values[{k}]"), v);
                }
            }
            e.names(&format!("{at}.key"), key, meta::qualified_name(key));
            if seen.contains(&key) {
                e.duplicate(&format!("{at}.key"), &key.into());
            }
            seen.push(key);
        }
    }
}

pub(crate) const CSI_DRIVER: Rules = Rules {
    unconditional_update: false,
    on_update: &[Check::MetaUpdate, Check::Always, Check::Update],
    validate: |doc, _, e, _| csi_driver(&doc["spec"], e),
    validate_update: |new, old, e, _| {
        for (field, k) in [("attachedRequired", "attachRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")] {
            e.immutable(&format!("spec.{field}"), new["spec"].get(k), old["spec"].get(k));
        }
    },
    ..DEFAULT
};

fn csi_driver(s: &Value, e: &mut Errors) {
    e.one_of("spec.fsGroupPolicy", json::text(s, "fsGroupPolicy"), &["File", "None", "ReadWriteOnceWithFSType"]);
    let mut audiences = Vec::new();
    for (i, r) in json::list(s, "tokenRequests").iter().enumerate() {
        let at = format!("spec.tokenRequests[{i}]");
        let audience = json::text(r, "audience");
        if audiences.contains(&audience) {
            e.duplicate(&format!("{at}.audience"), &audience.into());
            continue;
        }
        audiences.push(audience);
        let Some(n) = json::int(r, "expirationSeconds") else { continue };
        let at = format!("{at}.expirationSeconds");
        if n < 600 {
            e.invalid(&at, &n.into(), "may not specify a duration less than 10 minutes");
        }
        if n > 1 << 32 {
            e.invalid(&at, &n.into(), "may not specify a duration larger than 2^32 seconds");
        }
    }
    for m in json::list(s, "volumeLifecycleModes") {
        let mode = m.as_str().unwrap_or("");
        if !matches!(mode, "Persistent" | "Ephemeral") {
            e.unsupported("spec.volumeLifecycleModes", mode, &["Persistent", "Ephemeral"]);
        }
    }
    if let Some(n) = json::int(s, "nodeAllocatableUpdatePeriodSeconds").filter(|n| *n < 10) {
        e.invalid("spec.nodeAllocatableUpdatePeriodSeconds", &n.into(), "must be greater than or equal to 10 seconds");
    }
    if let Some(b) = s.get("serviceAccountTokenInSecrets").filter(|b| !b.is_null() && audiences.is_empty()) {
        e.invalid("spec.serviceAccountTokenInSecrets", b, "serviceAccountTokenInSecrets is set but no tokenRequests are specified");
    }
}

pub(crate) const RUNTIME_CLASS: Rules = Rules {
    unconditional_update: false,
    create_on_update: true,
    on_update: &[Check::Meta, Check::Always, Check::MetaUpdate, Check::Update],
    validate: |doc, _, e, _| runtime_class(doc, e),
    validate_update: |new, old, e, _| e.immutable("handler", new.get("handler"), old.get("handler")),
    ..DEFAULT
};

fn runtime_class(doc: &Value, e: &mut Errors) {
    match json::text(doc, "handler") {
        "" => e.required("handler", ""),
        h => e.names("handler", h, meta::dns_label(h)),
    }
    if let Some(fixed) = doc["overhead"].get("podFixed") {
        amounts::requirements("overhead", &json!({"limits": fixed}), Place::Container, &[], e);
    }
    let s = &doc["scheduling"];
    metadata::validate_labels(json::object(s, "nodeSelector"), "scheduling.nodeSelector", e);
    let list = json::list(s, "tolerations");
    pod_scheduling::tolerations("scheduling.tolerations", list, e);
    let key = |t: &Value| ["key", "operator", "value", "effect"].map(|k| json::text(t, k).to_owned());
    for (i, t) in list.iter().enumerate() {
        if list[..i].iter().any(|o| key(o) == key(t)) {
            e.duplicate(&format!("scheduling.tolerations[{i}]"), t);
        }
    }
}
