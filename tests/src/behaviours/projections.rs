//! What of an object is looked at, by kind.

use serde_json::{Map, Value, json};

use super::conditions::is_empty;
use crate::recorded::canonical::canonical;

/// What of an object of this kind (plural) is compared.
pub fn projection(kind: &str, item: &Value) -> Value {
    match kind {
        "pods" => pod(item),
        "endpoints" | "endpointslices" => endpoints(item),
        "replicasets" | "replicationcontrollers" | "jobs" => with_template(item),
        "deployments" => deployment(item),
        "statefulsets" | "daemonsets" | "cronjobs" | "services" => without_template(item),
        _ => plain(item),
    }
}

/// These keys of a map, where they hold something.
fn only(value: &Value, keys: &[&str]) -> Map<String, Value> {
    let there = keys.iter().filter_map(|key| value.get(key).map(|found| (key, found))).filter(|(_, found)| !is_empty(Some(found)));
    there.map(|(key, found)| ((*key).to_owned(), found.clone())).collect()
}

fn metadata(item: &Value) -> Value {
    let meta = &item["metadata"];
    let mut out = only(meta, &["name", "labels", "annotations", "finalizers"]);
    if !is_empty(meta.get("deletionTimestamp")) {
        out.insert("deletionTimestamp".into(), "<time>".into());
        out.extend(only(meta, &["deletionGracePeriodSeconds"]));
    }
    let owner = |owner: &Value| Value::Object(only(owner, &["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"]));
    let owners: Vec<Value> = entries(&meta["ownerReferences"]).iter().map(owner).collect();
    if !owners.is_empty() {
        out.insert("ownerReferences".into(), owners.into());
    }
    Value::Object(out)
}

fn entries(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn containers(spec: &Value) -> Value {
    let all = entries(&spec["initContainers"]).iter().chain(entries(&spec["containers"]));
    all.map(|container| Value::Object(only(container, &["name", "image", "env"]))).collect()
}

fn template(template: &Value) -> Value {
    let spec = &template["spec"];
    let mut out = Map::new();
    out.insert("metadata".into(), Value::Object(only(&template["metadata"], &["labels", "annotations", "finalizers"])));
    out.insert("containers".into(), containers(spec));
    out.extend(only(spec, &["restartPolicy", "nodeSelector", "tolerations", "schedulingGates", "subdomain"]));
    Value::Object(out)
}

/// The status, conditions by type. `observedGeneration` says whether it is current: how often a spec was written is no one's business.
fn status(item: &Value) -> Map<String, Value> {
    let mut status = item["status"].as_object().cloned().unwrap_or_default();
    if let Some(observed) = status.get_mut("observedGeneration") {
        *observed = if item["metadata"].get("generation") == Some(observed) { "current" } else { "behind" }.into();
    }
    if let Some(Value::Array(conditions)) = status.get_mut("conditions") {
        conditions.sort_by(|a, b| a["type"].as_str().unwrap_or_default().cmp(b["type"].as_str().unwrap_or_default()));
    }
    status
}

fn pod(item: &Value) -> Value {
    let spec = &item["spec"];
    let mut out = Map::new();
    out.insert("containers".into(), containers(spec));
    let bound = !is_empty(spec.get("nodeName")) && spec["nodeName"] != "";
    out.extend(only(
        spec,
        &["nodeName", "hostname", "subdomain", "nodeSelector", if bound { "tolerations" } else { "" }, "schedulingGates"],
    ));
    let status = Value::Object(status(item));
    let mut seen = only(&status, &["phase", "reason", "message"]);
    let condition = |condition: &Value| Value::Object(only(condition, &["type", "status", "reason", "message"]));
    seen.insert("conditions".into(), entries(&status["conditions"]).iter().map(condition).collect());
    json!({"metadata": metadata(item), "spec": out, "status": seen})
}

/// Kinds whose spec no manager writes.
fn without_template(item: &Value) -> Value {
    json!({"metadata": metadata(item), "spec": only(&item["spec"], &["replicas", "paused", "suspend"]), "status": status(item)})
}

/// While a rollout is under way, how many of its steps were seen apart decides which of two reasons its Progressing condition has.
fn deployment(item: &Value) -> Value {
    let mut out = without_template(item);
    if let Some(Value::Array(conditions)) = out["status"].get_mut("conditions") {
        for condition in
            conditions.iter_mut().filter(|c| matches!(c["reason"].as_str(), Some("NewReplicaSetCreated" | "ReplicaSetUpdated")))
        {
            condition["reason"] = "<underway>".into();
            condition["message"] = "<underway>".into();
        }
    }
    out
}

fn with_template(item: &Value) -> Value {
    let mut spec = item["spec"].as_object().cloned().unwrap_or_default();
    let found = spec.shift_remove("template");
    let mut out = json!({"metadata": metadata(item), "spec": spec, "status": status(item)});
    if let Some(found) = found {
        out["template"] = template(&found);
    }
    out
}

/// Addresses have no order in an EndpointSlice or subset: they are compared as sets. An empty list, null and nothing are the same.
fn endpoints(item: &Value) -> Value {
    let mut out = Map::from_iter([("metadata".to_owned(), metadata(item))]);
    for (key, value) in item.as_object().into_iter().flatten() {
        let nothing = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        if matches!(key.as_str(), "metadata" | "kind" | "apiVersion") || nothing {
            continue;
        }
        let value = match (key.as_str(), value) {
            ("endpoints" | "ports" | "subsets", Value::Array(items)) => sorted(items.iter().map(with_sets).collect()),
            _ => value.clone(),
        };
        out.insert(key.clone(), value);
    }
    Value::Object(out)
}

fn with_sets(entry: &Value) -> Value {
    let Some(map) = entry.as_object() else { return entry.clone() };
    let as_set = |(key, value): (&String, &Value)| match (key.as_str(), value) {
        ("addresses" | "notReadyAddresses" | "ports", Value::Array(items)) => (key.clone(), sorted(items.clone())),
        _ => (key.clone(), value.clone()),
    };
    Value::Object(map.iter().map(as_set).collect())
}

/// A list in the order of its entries' texts.
pub(super) fn sorted(mut items: Vec<Value>) -> Value {
    items.sort_by_cached_key(canonical);
    Value::Array(items)
}

fn plain(item: &Value) -> Value {
    let mut out = Map::from_iter([("metadata".to_owned(), metadata(item))]);
    for (key, value) in item.as_object().into_iter().flatten() {
        if !matches!(key.as_str(), "metadata" | "kind" | "apiVersion" | "status") {
            out.insert(key.clone(), value.clone());
        }
    }
    if !is_empty(item.get("status")) {
        out.insert("status".into(), Value::Object(status(item)));
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_seen_by_what_a_manager_decides_about_it() {
        let seen = projection(
            "pods",
            &json!({"metadata": {"name": "a", "uid": "u", "labels": {}}, "spec": {"containers": [{"name": "c", "image": "i", "ports": []}], "dnsPolicy": "x"},
            "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True", "lastProbeTime": null}]}}),
        );
        let wanted = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "i"}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        assert_eq!(seen, wanted);
    }

    #[test]
    fn an_observed_generation_is_current_or_behind() {
        let seen = |generation: u64| {
            projection("replicasets", &json!({"metadata": {"generation": 3}, "status": {"observedGeneration": generation}}))
        };
        assert_eq!(seen(3)["status"]["observedGeneration"], "current");
        assert_eq!(seen(2)["status"]["observedGeneration"], "behind");
    }

    #[test]
    fn a_rollout_under_way_has_one_reason() {
        let seen = projection(
            "deployments",
            &json!({"status": {"conditions": [{"type": "Progressing", "reason": "ReplicaSetUpdated", "message": "m"}]}}),
        );
        assert_eq!(seen["status"]["conditions"][0]["message"], "<underway>");
    }
}
