//! Classes: those that are taken when an object names none (`DefaultStorageClass`, `DefaultIngressClass`), and what a runtime class does to
//! pods (`RuntimeClass`).

use std::cmp::Reverse;

use serde_json::{Map, Value};

use crate::json;
use crate::kinds::Env;
use crate::status::ApiError;
use crate::write::Target;

const DEFAULT_STORAGE: &[&str] = &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
const DEFAULT_INGRESS: &[&str] = &["ingressclass.kubernetes.io/is-default-class"];

/// The newest class that an annotation marks as the default; of two of the same second the first by name.
fn default_class(env: &Env<'_>, log: &str, marks: &[&str]) -> Option<Value> {
    let (_, items) = env.server.store.list(log, "");
    let classes = items.iter().filter_map(|s| serde_json::from_slice::<Value>(&s.bytes).ok());
    let marked = |c: &Value| marks.iter().any(|m| c["metadata"]["annotations"][m] == "true");
    let order = |c: &Value| (Reverse(json::text(c, "metadata.creationTimestamp").to_owned()), json::text(c, "metadata.name").to_owned());
    classes.filter(marked).min_by_key(order).map(|c| c["metadata"]["name"].clone())
}

/// Gives a new claim or ingress the default class.
pub(crate) fn default_for(env: &Env<'_>, plural: &str, doc: &mut Value) {
    let (field, annotation, log, marks) = match plural {
        "persistentvolumeclaims" => {
            ("storageClassName", "volume.beta.kubernetes.io/storage-class", "storage.k8s.io/storageclasses", DEFAULT_STORAGE)
        }
        _ => ("ingressClassName", "kubernetes.io/ingress.class", "networking.k8s.io/ingressclasses", DEFAULT_INGRESS),
    };
    if doc["metadata"]["annotations"].get(annotation).is_some() || doc["spec"].get(field).is_some_and(|v| !v.is_null()) {
        return;
    }
    if let Some(name) = default_class(env, log, marks) {
        json::object_mut(doc, "spec").insert(field.to_owned(), name);
    }
}

/// What the runtime class of a new pod adds to it, and whether it may have the overhead that it names.
pub(crate) fn runtime(env: &Env<'_>, target: &Target, doc: &mut Value) -> Result<(), ApiError> {
    let pod_name = json::text(doc, "metadata.name").to_owned();
    let refused = |why: String| ApiError::forbidden(&target.served, &pod_name, why);
    let class = match doc["spec"].get("runtimeClassName").and_then(Value::as_str) {
        None => None,
        Some(name) => {
            let found = env.server.store.get("node.k8s.io/runtimeclasses", name);
            let found = found.and_then(|s| serde_json::from_slice::<Value>(&s.bytes).ok());
            Some(found.ok_or_else(|| refused(format!("pod rejected: RuntimeClass {name:?} not found")))?)
        }
    };
    let has = |v: Option<&Value>| v.is_some_and(|v| v.as_object().is_some_and(|m| !m.is_empty()));
    let given = doc["spec"].get("overhead").cloned();
    let fixed = class.as_ref().and_then(|c| c.get("overhead")).filter(|o| !o.is_null());
    match fixed {
        Some(o) => {
            let fixed = o.get("podFixed").cloned();
            if has(given.as_ref()) && given != fixed {
                return Err(refused("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".to_owned()));
            }
            json::put(&mut doc["spec"], "overhead", fixed);
        }
        None if given.is_some() => {
            return Err(refused("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead".to_owned()));
        }
        None => {}
    }
    let Some(scheduling) = class.as_ref().and_then(|c| c.get("scheduling")).filter(|s| !s.is_null()) else { return Ok(()) };
    if let Some(wanted) = json::object(scheduling, "nodeSelector") {
        let spec = json::object_mut(doc, "spec");
        let selector = spec.entry("nodeSelector").or_insert_with(|| Value::Object(Map::new()));
        for (k, v) in wanted {
            if let Some(have) = selector.get(k).filter(|have| *have != v) {
                let (v, have) = (v.as_str().unwrap_or(""), have.as_str().unwrap_or(""));
                return Err(refused(format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{k}] = {v}; pod.spec.nodeSelector[{k}] = {have}"
                )));
            }
            selector[k] = v.clone();
        }
    }
    let all: Vec<Value> = json::list(doc, "spec.tolerations").iter().chain(json::list(scheduling, "tolerations")).cloned().collect();
    let merged = merge_tolerations(&all);
    if !merged.is_empty() {
        doc["spec"]["tolerations"] = merged.into();
    }
    Ok(())
}

/// Drops what another toleration covers (`tolerations.MergeTolerations`).
fn merge_tolerations(all: &[Value]) -> Vec<Value> {
    let mut merged: Vec<Value> = Vec::new();
    for (i, t) in all.iter().enumerate() {
        let covered = merged.iter().any(|m| covers(m, t)) || all[i + 1..].iter().any(|later| later != t && covers(later, t));
        if !covered {
            merged.push(t.clone());
        }
    }
    merged
}

/// Whether one toleration covers all that another does.
fn covers(one: &Value, other: &Value) -> bool {
    let text = |t: &Value, k: &str| json::text(t, k).to_owned();
    let (key, operator, effect) = (text(one, "key"), text(one, "operator"), text(one, "effect"));
    if one == other {
        return true;
    }
    if text(other, "key") != key && !(key.is_empty() && operator == "Exists") {
        return false;
    }
    if text(other, "effect") != effect && !effect.is_empty() {
        return false;
    }
    if effect == "NoExecute"
        && let Some(limit) = json::int(one, "tolerationSeconds")
        && json::int(other, "tolerationSeconds").is_none_or(|s| s > limit)
    {
        return false;
    }
    match operator.as_str() {
        "" | "Equal" => matches!(text(other, "operator").as_str(), "" | "Equal") && one["value"] == other["value"],
        "Exists" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tolerations_cover_each_other() {
        let all = json!([
            {"key": "a", "operator": "Equal", "value": "1", "effect": "NoExecute"},
            {"key": "b", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5},
            {"key": "a", "operator": "Exists"},
            {"key": "b", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 9},
        ]);
        let merged = merge_tolerations(all.as_array().expect("a list"));
        assert_eq!(Value::from(merged), json!([all[2], all[3]]));
    }
}
