//! Pods and pod templates as objects.

use serde_json::{Value, json};

use super::errors::Errors;
use super::pod_containers::image_blanks;
use super::pod_spec::{self, Pod};
use super::{Check, DEFAULT, Env, Rules, pod_security, pod_status, pod_update};
use crate::defaults::amounts;
use crate::json;
use crate::meta;
use crate::quantity::Quantity;

pub(crate) const POD: Rules = Rules {
    on_update: &[Check::MetaUpdate, Check::Meta, Check::Always, Check::Update],
    status_keeps_meta: &["ownerReferences"],
    prepare_create: |doc, env| {
        // A negative grace means the shortest.
        if json::int(doc, "spec.terminationGracePeriodSeconds").is_some_and(|g| g < 0) {
            doc["spec"]["terminationGracePeriodSeconds"] = 1.into();
        }
        let qos = qos_class(&doc["spec"]);
        doc["status"] = json!({"phase": "Pending", "qosClass": qos});
        if !json::list(doc, "spec.schedulingGates").is_empty() {
            doc["status"]["conditions"] = json!([{
                "type": "PodScheduled", "status": "False", "lastProbeTime": null, "lastTransitionTime": meta::seconds(env.now),
                "reason": "SchedulingGated", "message": "Scheduling is blocked due to non-empty scheduling gates",
            }]);
        }
        aliases(doc);
    },
    prepare_update: |doc, _, _| aliases(doc),
    prepare_status: pod_status::prepare,
    validate,
    validate_update: pod_update::validate,
    validate_status: pod_status::validate,
    ..DEFAULT
};

pub(crate) const POD_TEMPLATE: Rules = Rules {
    on_update: &[Check::MetaUpdate, Check::Always],
    validate: |doc, _, e, _| pod_spec::template("template", &doc["template"], e),
    ..DEFAULT
};

/// The two names of the service account are one field.
fn aliases(doc: &mut Value) {
    let spec = json::object_mut(doc, "spec");
    let get = |s: &serde_json::Map<String, Value>, k: &str| s.get(k).and_then(Value::as_str).unwrap_or("").to_owned();
    let name = get(spec, "serviceAccountName");
    let old = get(spec, "serviceAccount");
    let v = if name.is_empty() { old } else { name };
    if !v.is_empty() {
        spec.insert("serviceAccountName".into(), v.as_str().into());
        spec.insert("serviceAccount".into(), v.into());
    }
}

/// Guaranteed, Burstable or BestEffort.
pub(crate) fn qos_class(spec: &Value) -> &'static str {
    let all = json::list(spec, "containers").iter().chain(json::list(spec, "initContainers"));
    let (mut any, mut guaranteed) = (false, true);
    let mut totals: [[Quantity; 2]; 2] = [[Quantity::ZERO; 2]; 2];
    for c in all {
        let mut limited = 0;
        for (w, which) in ["requests", "limits"].into_iter().enumerate() {
            for (name, q) in amounts(c["resources"].get(which)) {
                let Some(i) = ["cpu", "memory"].iter().position(|n| *n == name) else { continue };
                if q > Quantity::ZERO {
                    any = true;
                    totals[w][i] = totals[w][i].plus(q);
                    if which == "limits" {
                        limited += 1;
                    }
                }
            }
        }
        guaranteed &= limited == 2;
    }
    match (any, guaranteed && totals[0] == totals[1]) {
        (false, _) => "BestEffort",
        (_, true) => "Guaranteed",
        _ => "Burstable",
    }
}

/// Metadata that means something for pods, and the spec.
pub(crate) fn meta_and_spec(doc: &Value, e: &mut Errors) {
    pod_spec::annotations("metadata.annotations", json::object(doc, "metadata.annotations"), &doc["spec"], e);
    let pod = Pod { path: "spec", spec: &doc["spec"], meta: Some(&doc["metadata"]) };
    pod_spec::spec(&pod, e);
    if json::text(doc, "spec.serviceAccountName").is_empty() {
        for (i, v) in json::list(doc, "spec.volumes").iter().enumerate() {
            for (j, s) in json::list(v, "projected.sources").iter().enumerate() {
                if s.get("serviceAccountToken").is_some_and(|t| !t.is_null()) {
                    let at = format!("spec.volumes[{i}].projected.sources[{j}].serviceAccountToken");
                    e.forbidden(&at, "must not be specified when serviceAccountName is not set");
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        for (i, c) in json::list(&doc["spec"], list).iter().enumerate() {
            image_blanks(&format!("spec.{list}[{i}]"), c, e);
        }
    }
}

fn validate(doc: &Value, old: Option<&Value>, e: &mut Errors, _: &Env<'_>) {
    meta_and_spec(doc, e);
    if old.is_some() {
        return;
    }
    if !json::list(doc, "spec.ephemeralContainers").is_empty() {
        e.forbidden("spec.ephemeralContainers", "cannot be set on create");
    }
    if !json::text(doc, "spec.nodeName").is_empty() && !json::list(doc, "spec.schedulingGates").is_empty() {
        e.forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared");
    }
    let pod = Pod { path: "spec", spec: &doc["spec"], meta: Some(&doc["metadata"]) };
    pod_security::seccomp_annotations(&pod, json::object(doc, "metadata.annotations"), e);
}
