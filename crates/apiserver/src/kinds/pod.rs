//! Pods and pod templates as objects.

use serde_json::{Value, json};

use super::errors::Errors;
use super::pod_spec::{self, Template};
use super::{DEFAULT, Env, Rules};
use crate::defaults::amounts;
use crate::json;
use crate::meta;
use crate::quantity::Quantity;

pub(crate) const POD: Rules = Rules {
    meta_again: 1,
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
    prepare_status: |doc, old, _| {
        // The QoS class is decided once.
        let was = old["status"].get("qosClass").cloned();
        let s = json::object_mut(doc, "status");
        if s.get("qosClass").and_then(Value::as_str).unwrap_or("").is_empty()
            && let Some(q) = was
        {
            s.insert("qosClass".into(), q);
        }
        derive_ips(doc);
    },
    validate: validate_pod,
    validate_update: validate_pod_update,
    validate_status: validate_pod_status,
    ..DEFAULT
};

pub(crate) const POD_TEMPLATE: Rules = Rules {
    validate: |doc, e, _| {
        pod_spec::template(
            &doc["template"],
            "template",
            Template { restart: &["Always", "OnFailure", "Never"], deadline: true, allow_ephemeral: false },
            e,
        );
    },
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

/// `podIP` is the first of `podIPs`, and the other way round.
fn derive_ips(doc: &mut Value) {
    let s = json::object_mut(doc, "status");
    let ip = s.get("podIP").and_then(Value::as_str).unwrap_or("").to_owned();
    let first = s.get("podIPs").and_then(|l| l[0]["ip"].as_str()).unwrap_or("").to_owned();
    if !ip.is_empty() && ip != first {
        s.insert("podIPs".into(), json!([{"ip": ip}]));
    } else if ip.is_empty() && !first.is_empty() {
        s.insert("podIP".into(), first.into());
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

fn validate_pod(doc: &Value, e: &mut Errors, _: &Env<'_>) {
    pod_spec::spec(&doc["spec"], "spec", e);
    if !json::list(doc, "spec.ephemeralContainers").is_empty() && json::text(doc, "metadata.resourceVersion").is_empty() {
        e.forbidden("spec.ephemeralContainers", "cannot be set on create");
    }
    let cost = json::text_at(doc, &["metadata", "annotations", DELETION_COST]);
    let has = doc["metadata"]["annotations"].get(DELETION_COST).is_some();
    let valid = cost.parse::<i32>().is_ok_and(|n| n.to_string() == cost);
    if has && !valid {
        e.invalid_text(&format!("metadata.annotations[{DELETION_COST}]"), cost, "must be a 32bit integer");
    }
}

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

const MUTABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

fn validate_pod_update(new: &Value, old: &Value, e: &mut Errors, _: &Env<'_>) {
    for which in ["containers", "initContainers"] {
        let (n, o) = (json::list(&new["spec"], which), json::list(&old["spec"], which));
        if n.len() != o.len() {
            e.forbidden(&format!("spec.{which}"), "pod updates may not add or remove containers");
            return;
        }
    }
    let (d, was) = (json::int(new, "spec.activeDeadlineSeconds"), json::int(old, "spec.activeDeadlineSeconds"));
    match (d, was) {
        (Some(n), _) if n < 0 => e.non_negative("spec.activeDeadlineSeconds", Some(n)),
        (Some(n), Some(o)) if n > o => {
            e.invalid("spec.activeDeadlineSeconds", &n.into(), &format!("must be less than or equal to previous value {o}"));
            return;
        }
        (None, Some(_)) => {
            e.invalid("spec.activeDeadlineSeconds", &Value::Null, "must not update from a positive integer to nil value");
        }
        _ => {}
    }
    tolerations_only_grow(new, old, e);
    let gates_new = json::list(new, "spec.schedulingGates");
    let gates_old = json::list(old, "spec.schedulingGates");
    for (i, g) in gates_new.iter().enumerate() {
        if !gates_old.contains(g) {
            e.forbidden(
                &format!("spec.schedulingGates[{i}].name"),
                &format!("only deletion is allowed, but found new scheduling gate '{}'", json::text(g, "name")),
            );
        }
    }
    let mut munged = new["spec"].clone();
    munge(&mut munged, &old["spec"]);
    if munged != old["spec"] {
        e.forbidden("spec", &format!("{MUTABLE}\n{}", difference(&munged, &old["spec"])));
    }
}

/// Takes over what may change.
fn munge(new: &mut Value, old: &Value) {
    for which in ["containers", "initContainers"] {
        let was = json::list(old, which).to_vec();
        for (c, o) in new.get_mut(which).and_then(Value::as_array_mut).into_iter().flatten().zip(was) {
            json::put(c, "image", o.get("image").cloned());
        }
    }
    for k in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        json::put(new, k, old.get(k).cloned());
    }
    let (n, o) = (json::int(new, "terminationGracePeriodSeconds"), json::int(old, "terminationGracePeriodSeconds"));
    if n == Some(1) && o.is_some_and(|o| o < 0) {
        json::put(new, "terminationGracePeriodSeconds", o.map(Value::from));
    }
    // A gated pod may still get node selectors.
    if !json::list(old, "schedulingGates").is_empty() {
        for k in ["nodeSelector", "affinity"] {
            json::put(new, k, old.get(k).cloned());
        }
    }
}

fn difference(new: &Value, old: &Value) -> String {
    let (Value::Object(n), Value::Object(o)) = (new, old) else { return String::new() };
    let mut keys: Vec<&String> = n.keys().chain(o.keys()).filter(|k| n.get(*k) != o.get(*k)).collect();
    keys.sort();
    keys.dedup();
    keys.iter()
        .map(|k| format!("- {k}: {}\n+ {k}: {}", o.get(*k).unwrap_or(&Value::Null), n.get(*k).unwrap_or(&Value::Null)))
        .collect::<Vec<_>>()
        .join("\n")
}

fn tolerations_only_grow(new: &Value, old: &Value, e: &mut Errors) {
    let (n, o) = (json::list(new, "spec.tolerations"), json::list(old, "spec.tolerations"));
    let bare = |t: &Value| {
        let mut t = t.clone();
        json::take(&mut t, "tolerationSeconds");
        t
    };
    for t in o {
        let kept = n.iter().any(|x| x == t || (json::text(t, "effect") == "NoExecute" && bare(x) == bare(t)));
        if !kept {
            e.forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds");
            return;
        }
    }
}

fn validate_pod_status(new: &Value, old: &Value, e: &mut Errors, _: &Env<'_>) {
    let nominated = json::text(new, "status.nominatedNodeName");
    if !nominated.is_empty() {
        e.names("status.nominatedNodeName", nominated, meta::dns_subdomain(nominated));
    }
    for (i, c) in json::list(new, "status.conditions").iter().enumerate() {
        let t = json::text(c, "type");
        e.names(&format!("status.conditions[{i}].Type"), t, meta::qualified_name(t));
    }
    if json::text(new, "status.qosClass") != json::text(old, "status.qosClass") {
        e.invalid_text("status.qosClass", json::text(new, "status.qosClass"), "field is immutable");
    }
}

/// What the other subresources may change.
pub(crate) fn validate_sub(sub: &str, new: &Value, old: &Value, e: &mut Errors) {
    if sub != "ephemeralcontainers" {
        return;
    }
    let (n, o) = (json::list(new, "spec.ephemeralContainers"), json::list(old, "spec.ephemeralContainers"));
    for (i, c) in n.iter().enumerate() {
        if json::text(c, "name").is_empty() {
            e.required(&format!("spec.ephemeralContainers[{i}].name"), "");
        }
        if json::text(c, "image").is_empty() {
            e.required(&format!("spec.ephemeralContainers[{i}].image"), "");
        }
        for k in ["ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resources"] {
            let set = c.get(k).is_some_and(|v| !(v.is_null() || v.as_object().is_some_and(serde_json::Map::is_empty)));
            if set {
                e.forbidden(&format!("spec.ephemeralContainers[{i}].{k}"), "cannot be set for an Ephemeral Container");
            }
        }
        let name = json::text(c, "name");
        let others = json::list(new, "spec.containers").iter().chain(json::list(new, "spec.initContainers"));
        if others.into_iter().any(|x| json::text(x, "name") == name) || n[..i].iter().any(|x| json::text(x, "name") == name) {
            e.duplicate(&format!("spec.ephemeralContainers[{i}].name"), &Value::from(name));
        }
    }
    for was in o {
        let name = json::text(was, "name");
        match n.iter().find(|c| json::text(c, "name") == name) {
            None => {
                e.forbidden("spec.ephemeralContainers", &format!("existing ephemeral containers {name:?} may not be removed\n"));
            }
            Some(now) if now != was => {
                e.forbidden("spec.ephemeralContainers", &format!("existing ephemeral containers {name:?} may not be changed\n"));
            }
            Some(_) => {}
        }
    }
}
