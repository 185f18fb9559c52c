//! Requests for certificates (registry `certificates/certificates`): who asks is what the server knows, not what the request says.

use serde_json::{Value, json};

use super::{DEFAULT, Env, Rules};
use crate::json;
use crate::meta;

pub(crate) const SIGNING_REQUEST: Rules = Rules {
    prepare_create: |doc, env| {
        let spec = json::object_mut(doc, "spec");
        for field in ["username", "uid", "groups", "extra"] {
            spec.remove(field);
        }
        let texts = [("username", &env.user.name), ("uid", &env.user.uid)];
        for (field, value) in texts.into_iter().filter(|(_, value)| !value.is_empty()) {
            spec.insert(field.into(), value.as_str().into());
        }
        if !env.user.groups.is_empty() {
            spec.insert("groups".into(), json!(env.user.groups));
        }
    },
    prepare_update: |doc, old, _| doc["spec"] = old["spec"].clone(),
    prepare_status: |doc, old, env| {
        doc["spec"] = old["spec"].clone();
        stamp(doc, old, env);
    },
    validate: |doc, _, e, _| {
        if json::list(doc, "spec.usages").is_empty() {
            e.required("spec.usages", "usages is required");
        }
        if json::text(doc, "spec.signerName").is_empty() {
            e.required("spec.signerName", "");
        }
    },
    ..DEFAULT
};

/// Fills in the times of conditions (`populateConditionTimestamps`).
pub(crate) fn stamp(doc: &mut Value, old: &Value, env: &Env<'_>) {
    let now = meta::seconds(env.now);
    let was = json::list(old, "status.conditions").to_vec();
    for condition in doc["status"].get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        if condition["lastUpdateTime"].is_null() {
            condition["lastUpdateTime"] = now.as_str().into();
        }
        if condition["lastTransitionTime"].is_null() {
            let before = was.iter().find(|c| c["type"] == condition["type"] && c["status"] == condition["status"]);
            let since = before.map(|c| c["lastTransitionTime"].clone()).filter(|time| !time.is_null());
            condition["lastTransitionTime"] = since.unwrap_or_else(|| now.as_str().into());
        }
    }
}
