//! Between the stored version of a document and the one that was asked for.

use serde_json::{Map, Value, json};

use crate::json;
use crate::registry::Resource;
use crate::server::Server;
use crate::store::Stored;

/// The stored document as this resource shows it.
pub(crate) fn served(server: &Server, r: &Resource, stored: &Stored) -> Value {
    let doc: Value = serde_json::from_slice(&stored.bytes).expect("the store holds what this server encoded");
    if r.custom {
        return crate::custom::from_storage(server, r, doc);
    }
    from_hub(r, doc)
}

/// A document of the stored version as this resource shows it.
pub(crate) fn from_hub(r: &Resource, doc: Value) -> Value {
    let mut doc = match (r.group.as_str(), r.version.as_str(), r.plural.as_str()) {
        ("events.k8s.io", _, "events") => event_from_core(doc),
        ("autoscaling", "v1", "horizontalpodautoscalers") => hpa_to_v1(doc),
        _ => doc,
    };
    if r.hub.is_some() || r.custom {
        set_type(&mut doc, r);
    }
    doc
}

/// A document of this resource in the stored version; `stored` is that version's resource.
pub(crate) fn to_hub(r: &Resource, stored: &Resource, doc: Value) -> Value {
    let mut doc = match (r.group.as_str(), r.version.as_str(), r.plural.as_str()) {
        ("events.k8s.io", _, "events") => event_to_core(doc),
        ("autoscaling", "v1", "horizontalpodautoscalers") => hpa_from_v1(doc),
        _ => doc,
    };
    set_type(&mut doc, stored);
    doc
}

/// Puts kind and apiVersion in front.
pub(crate) fn set_type(doc: &mut Value, r: &Resource) {
    let Value::Object(old) = std::mem::replace(doc, Value::Null) else { return };
    let mut m = Map::with_capacity(old.len() + 2);
    m.insert("kind".into(), r.kind.as_str().into());
    m.insert("apiVersion".into(), r.api_version().into());
    for (k, v) in old {
        if k != "kind" && k != "apiVersion" {
            m.insert(k, v);
        }
    }
    *doc = Value::Object(m);
}

fn rename(doc: &mut Value, pairs: &[(&str, &str)]) {
    for (from, to) in pairs {
        if let Some(v) = json::take(doc, from) {
            json::put(doc, to, Some(v));
        }
    }
}

const EVENT_NAMES: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
];

fn event_from_core(mut doc: Value) -> Value {
    rename(&mut doc, EVENT_NAMES);
    for k in ["reportingController", "reportingInstance"] {
        if doc.get(k).and_then(Value::as_str) == Some("") {
            json::take(&mut doc, k);
        }
    }
    doc
}

fn event_to_core(mut doc: Value) -> Value {
    let back: Vec<(&str, &str)> = EVENT_NAMES.iter().map(|(a, b)| (*b, *a)).collect();
    rename(&mut doc, &back);
    doc
}

fn hpa_to_v1(mut doc: Value) -> Value {
    let Some(metrics) = doc["spec"].as_object_mut().and_then(|s| s.shift_remove("metrics")) else { return doc };
    for m in metrics.as_array().into_iter().flatten() {
        if m["type"] == "Resource" && m["resource"]["name"] == "cpu" {
            let u = m["resource"]["target"]["averageUtilization"].clone();
            if !u.is_null() {
                doc["spec"]["targetCPUUtilizationPercentage"] = u;
            }
        }
    }
    if let Some(current) = doc["status"].as_object_mut().and_then(|s| s.shift_remove("currentMetrics")) {
        for m in current.as_array().into_iter().flatten() {
            if m["type"] == "Resource" && m["resource"]["name"] == "cpu" {
                let u = m["resource"]["current"]["averageUtilization"].clone();
                if !u.is_null() {
                    doc["status"]["currentCPUUtilizationPercentage"] = u;
                }
            }
        }
        if doc["status"].get("currentReplicas").is_none() {
            doc["status"]["currentReplicas"] = 0.into();
        }
    }
    doc
}

fn hpa_from_v1(mut doc: Value) -> Value {
    if let Some(u) = doc["spec"].as_object_mut().and_then(|s| s.shift_remove("targetCPUUtilizationPercentage")) {
        doc["spec"]["metrics"] =
            json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": u}}}]);
    }
    doc
}

/// The empty document that a bookmark carries: some kinds count from 0 inside the reference, so that 0 shows.
pub(crate) fn empty_form(r: &Resource, mut doc: Value) -> Value {
    json::take(&mut doc, "metadata");
    match r.plural.as_str() {
        "replicasets" | "replicationcontrollers" | "deployments" | "statefulsets" if !r.custom => {
            doc["spec"]["replicas"] = 0.into();
        }
        _ => {}
    }
    doc
}
