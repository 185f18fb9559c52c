//! Claims that grow (`PersistentVolumeClaimResize`) and pods that are resized on their node (`PodResize`).

use serde_json::{Value, json};

use super::quota::pod_amounts;
use crate::json;
use crate::kinds::Env;
use crate::quantity::Quantity;
use crate::status::ApiError;
use crate::write::Target;

/// Refuses a change of a claim or of a pod that asks for more than there can be.
pub(crate) fn check(env: &Env<'_>, target: &Target, sub: Option<&str>, doc: &Value, old: &Value) -> Result<(), ApiError> {
    if !target.stored.group.is_empty() {
        return Ok(());
    }
    match (target.stored.plural.as_str(), sub) {
        ("persistentvolumeclaims", None) => claim(env, target, doc, old),
        ("pods", Some("resize")) => pod(env, target, doc, old),
        _ => Ok(()),
    }
}

fn quantity(v: &Value) -> Quantity {
    v.as_str().and_then(|s| Quantity::parse(s).ok()).unwrap_or(Quantity::ZERO)
}

fn claim(env: &Env<'_>, target: &Target, doc: &Value, old: &Value) -> Result<(), ApiError> {
    let size = |d: &Value| quantity(&d["spec"]["resources"]["requests"]["storage"]);
    if size(doc) <= size(old) {
        return Ok(());
    }
    let refused = |why: &str| Err(ApiError::forbidden(&target.served, json::text(doc, "metadata.name"), why));
    if json::text(old, "status.phase") != "Bound" {
        return refused("Only bound persistent volume claims can be expanded");
    }
    let class = |d: &Value| {
        let named = d["metadata"]["annotations"].get("volume.beta.kubernetes.io/storage-class").and_then(Value::as_str);
        named.unwrap_or_else(|| json::text(d, "spec.storageClassName")).to_owned()
    };
    let (name, was) = (class(doc), class(old));
    let grows = !name.is_empty() && name == was && {
        let found = env.server.store.get("storage.k8s.io/storageclasses", &name);
        let found = found.and_then(|s| serde_json::from_slice::<Value>(&s.bytes).ok());
        found.is_some_and(|c| c["allowVolumeExpansion"].as_bool() == Some(true))
    };
    if grows {
        return Ok(());
    }
    refused("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize")
}

fn pod(env: &Env<'_>, target: &Target, doc: &Value, old: &Value) -> Result<(), ApiError> {
    let node_name = json::text(doc, "spec.nodeName");
    if node_name.is_empty() || old["metadata"]["generation"] == doc["metadata"]["generation"] {
        return Ok(());
    }
    let refused = |why: String, reason: &str| {
        let mut e = ApiError::forbidden(&target.served, json::text(doc, "metadata.name"), why);
        if !reason.is_empty() && e.details.is_object() {
            e.details["causes"] = json!([{"reason": reason}]);
        }
        Err(e)
    };
    let node = env.server.store.get("/nodes", node_name).and_then(|s| serde_json::from_slice::<Value>(&s.bytes).ok());
    let Some(node) = node else { return refused(format!("node {node_name:?} not found"), "") };
    if let Some(os) = node["metadata"]["labels"].get("kubernetes.io/os").and_then(Value::as_str)
        && os != "linux"
    {
        let why = format!("pod resize is only supported on linux nodes, node {node_name:?} is {os:?}");
        return refused(why, "UnsupportedPlatform");
    }
    let room = |k: &str| quantity(&node["status"]["allocatable"][k]);
    let asked = pod_amounts(doc, "requests");
    let asked = |k: &str| asked.iter().find(|(n, _)| n == k).map_or(Quantity::ZERO, |(_, q)| *q);
    let mut lacks = Vec::new();
    for (k, unit) in [("cpu", 1_000_000), ("memory", 1_000_000_000)] {
        if asked(k) > room(k) {
            let show = |q: Quantity| q.nanos() / unit;
            lacks.push(format!("{k}, requested: {}, allocatable: {}", show(asked(k)), show(room(k))));
        }
    }
    if lacks.is_empty() {
        return Ok(());
    }
    refused(format!("node didn't have enough allocatable resources: {}", lacks.join("; ")), "NodeCapacity")
}
