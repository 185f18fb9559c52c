//! Nodes and namespaces (core `ValidateNode`, `ValidateNodeUpdate`, `ValidateNamespace`).

use serde_json::{Value, json};

use super::errors::Errors;
use super::metadata::{self, Flavour};
use super::{Check, DEFAULT, Env, Rules, addresses, amounts, internal, pod_scheduling};
use crate::json;
use crate::meta;

pub(crate) const NAMESPACE: Rules = Rules {
    name: meta::dns_label,
    on_update: &[Check::Meta, Check::Always, Check::MetaUpdate],
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
    validate: |doc, _, e, _| {
        for f in json::list(doc, "spec.finalizers") {
            finalizer("spec.finalizers", f, e);
        }
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

fn finalizer(path: &str, f: &Value, e: &mut Errors) {
    let f = f.as_str().unwrap_or("");
    e.names(path, f, meta::qualified_name(f));
    metadata::finalizer(path, f, e);
}

/// The finalizers of a namespace.
pub(crate) fn finalize(doc: &Value, old: &Value, e: &mut Errors) {
    metadata::update(Flavour::Core, doc, old, e);
    for (i, f) in json::list(doc, "spec.finalizers").iter().enumerate() {
        finalizer(&format!("spec.finalizers[{i}]"), f, e);
    }
}

pub(crate) const NODE: Rules = Rules {
    on_update: &[Check::Meta, Check::Always, Check::MetaUpdate, Check::Update],
    on_status: &[Check::MetaUpdate, Check::Update],
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
    validate: |doc, _, e, _| node(doc, e),
    validate_update: node_update,
    ..DEFAULT
};

/// The first of the networks has a name of its own, and is the newer of the two when they differ.
fn pod_cidrs(doc: &mut Value) {
    let one = json::text(doc, "spec.podCIDR").to_owned();
    let first = json::list(doc, "spec.podCIDRs").first().and_then(Value::as_str).unwrap_or("").to_owned();
    if !one.is_empty() && one != first {
        doc["spec"]["podCIDRs"] = json!([one]);
    } else if one.is_empty() && !first.is_empty() {
        doc["spec"]["podCIDR"] = first.into();
    }
}

fn node(doc: &Value, e: &mut Errors) {
    pod_scheduling::taints("metadata.taints", json::list(doc, "spec.taints"), e);
    resources(doc, e);
    features(doc, e);
    let list: Vec<&str> = json::list(doc, "spec.podCIDRs").iter().filter_map(Value::as_str).collect();
    for (i, c) in list.iter().enumerate() {
        addresses::cidr(&format!("spec.podCIDRs[{i}]"), c, &[], e);
    }
    if list.len() > 1 {
        let v4 = |v4: bool| list.iter().any(|c| addresses::parse_cidr(c).is_some_and(|(ip, _)| ip.is_ipv4() == v4));
        if list.len() > 2 || !(v4(true) && v4(false)) {
            let why = "may specify no more than one CIDR for each IP family";
            e.invalid("spec.podCIDRs", &list.clone().into(), why);
        }
    }
}

fn resources(doc: &Value, e: &mut Errors) {
    for list in ["capacity", "allocatable"] {
        for (k, v) in amounts::entries(doc["status"].get(list)) {
            amounts::value(&format!("status.{list}.{k}"), k, v, e);
        }
    }
}

fn features(doc: &Value, e: &mut Errors) {
    let list: Vec<&str> = json::list(doc, "status.declaredFeatures").iter().filter_map(Value::as_str).collect();
    let at = |i: usize| format!("status.declaredFeatures[{i}]");
    for (i, f) in list.iter().enumerate() {
        let mut parts = f.split('/');
        let first = parts.next().unwrap_or("");
        let alnum = |s: &str| s.chars().all(|c| c.is_ascii_alphanumeric());
        let fine = first.starts_with(|c: char| c.is_ascii_uppercase())
            && alnum(first)
            && parts.all(|p| p.starts_with(|c: char| c.is_ascii_alphabetic()) && alnum(p));
        if !fine {
            let why = format!(
                "invalid feature name {f:?}: must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
            );
            e.invalid_text(&at(i), f, &why);
        }
        match list.get(i + 1) {
            Some(next) if next == f => e.duplicate(&at(i + 1), &(*next).into()),
            Some(next) if f > next => e.invalid_text(&at(i + 1), next, "list must be sorted alphabetically"),
            _ => {}
        }
    }
}

fn node_update(new: &Value, old: &Value, e: &mut Errors, _: &Env<'_>) {
    resources(new, e);
    features(new, e);
    let list = json::list(new, "status.addresses");
    for (i, a) in list.iter().enumerate() {
        if list[..i].contains(a) {
            e.duplicate(&format!("status.addresses[{i}]"), &internal::form("v1.NodeAddress", a));
        }
    }
    let (n, o) = (json::list(new, "spec.podCIDRs"), json::list(old, "spec.podCIDRs"));
    let changed = if o.is_empty() {
        0
    } else if n.len() != o.len() {
        1
    } else {
        n.iter().zip(o).filter(|(a, b)| a != b).count()
    };
    for _ in 0..changed {
        e.forbidden("spec.podCIDRs", "node updates may not change podCIDR except from \"\" to valid");
    }
    let (p, was) = (json::text(new, "spec.providerID"), json::text(old, "spec.providerID"));
    if !was.is_empty() && p != was {
        e.forbidden("spec.providerID", "node updates may not change providerID except from \"\" to valid");
    }
    pod_scheduling::taints("metadata.taints", json::list(new, "spec.taints"), e);
    if json::text(new, "spec.externalID") != json::text(old, "spec.externalID") {
        e.forbidden("spec.externalID", "may not be updated");
    }
}
