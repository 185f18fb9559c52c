//! Deployment, ReplicaSet, ReplicationController, ControllerRevision (apps `ValidateDeploymentSpec` and its kin).

use serde_json::Value;

use super::errors::Errors;
use super::selectors::{self, at_most_all, int_or_percent, is_zero};
use super::{Check, DEFAULT, Env, Flavour, Rules, internal, pod_spec};
use crate::json;
use crate::meta;

/// The annotation of the old rollback (workloads 2.9).
const ROLLBACK: &str = "deprecated.deployment.rollback.to";

pub(crate) const DEPLOYMENT: Rules = Rules {
    status_keeps_meta: &["labels"],
    validate: |doc, _, e, _| deployment(doc, e),
    validate_update: selector_is_immutable,
    validate_status: deployment_status,
    ..DEFAULT
};

pub(crate) const REPLICA_SET: Rules = Rules {
    validate: |doc, _, e, _| {
        e.non_negative("spec.replicas", json::int(doc, "spec.replicas"));
        e.non_negative("spec.minReadySeconds", json::int(doc, "spec.minReadySeconds"));
        selector_and_template(doc, e);
    },
    validate_update: selector_is_immutable,
    validate_status: |doc, _, e, _| set_status(doc, e),
    ..DEFAULT
};

pub(crate) const REPLICATION_CONTROLLER: Rules = Rules {
    name: meta::long_name,
    meta: Flavour::Named,
    on_update: &[Check::MetaUpdate, Check::Always],
    validate: |doc, _, e, _| replication_controller(doc, e),
    validate_status: |doc, _, e, _| set_status(doc, e),
    ..DEFAULT
};

pub(crate) const CONTROLLER_REVISION: Rules = Rules {
    on_update: &[Check::MetaUpdate, Check::Meta, Check::Always, Check::Update],
    validate: |doc, old, e, _| {
        e.non_negative("revision", json::int(doc, "revision"));
        match doc.get("data") {
            _ if old.is_some() => {}
            None | Some(Value::Null) => e.required("data", "data is mandatory"),
            Some(Value::Object(_)) => {}
            Some(_) => e.required("data", "data must be a valid JSON object"),
        }
    },
    validate_update: |new, old, e, _| e.immutable("data", new.get("data"), old.get("data")),
    ..DEFAULT
};

pub(crate) fn selector_is_immutable(new: &Value, old: &Value, e: &mut Errors, _: &Env<'_>) {
    selectors::immutable("spec.selector", new["spec"].get("selector"), old["spec"].get("selector"), e);
}

/// Selector present and not empty. Whether it can be matched against a template.
pub(crate) fn selector(spec: &Value, kind: &str, unusable: &str, e: &mut Errors) -> bool {
    let selector = spec.get("selector").filter(|s| !s.is_null());
    match selector {
        None => e.required("spec.selector", ""),
        Some(s) => {
            selectors::label_selector("spec.selector", s, e);
            if selectors::is_empty(s) {
                e.invalid("spec.selector", &selectors::shown(Some(s)), &format!("empty selector is invalid for {kind}"));
            }
        }
    }
    let usable = selector.is_none_or(selectors::usable);
    if !usable {
        e.invalid("spec.selector", &selectors::shown(selector), unusable);
    }
    usable
}

fn selector_and_template(doc: &Value, e: &mut Errors) {
    let spec = &doc["spec"];
    if !selector(spec, "deployment", "invalid label selector", e) {
        return;
    }
    let selector = spec.get("selector").filter(|s| !s.is_null());
    let template = &spec["template"];
    if selector.is_none_or(|s| !selectors::is_empty(s)) {
        selectors::template_labels("spec.template", selector, template, e);
    }
    pod_spec::template("spec.template", template, e);
    always_running("ReplicaSet", template, e);
}

/// Pods of a controller run for ever.
pub(crate) fn always_running(kind: &str, template: &Value, e: &mut Errors) {
    let restart = json::text(template, "spec.restartPolicy");
    if restart != "Always" {
        e.unsupported("spec.template.spec.restartPolicy", restart, &["Always"]);
    }
    if json::int(template, "spec.activeDeadlineSeconds").is_some() {
        e.forbidden("spec.template.spec.activeDeadlineSeconds", &format!("activeDeadlineSeconds in {kind} is not Supported"));
    }
}

/// workloads 1.4.4 and 1.4.5
fn deployment(doc: &Value, e: &mut Errors) {
    let spec = &doc["spec"];
    e.non_negative("spec.replicas", json::int(doc, "spec.replicas"));
    selector_and_template(doc, e);
    strategy(&spec["strategy"], e);
    let ready = json::int(doc, "spec.minReadySeconds").unwrap_or(0);
    e.non_negative("spec.minReadySeconds", Some(ready));
    e.non_negative("spec.revisionHistoryLimit", json::int(doc, "spec.revisionHistoryLimit"));
    if let Some(to) = json::text_at(doc, &["metadata", "annotations", ROLLBACK]).parse::<i64>().ok().filter(|n| *n < 0) {
        e.non_negative("spec.rollback.version", Some(to));
    }
    if let Some(deadline) = json::int(doc, "spec.progressDeadlineSeconds") {
        e.non_negative("spec.progressDeadlineSeconds", Some(deadline));
        if deadline <= ready {
            e.invalid("spec.progressDeadlineSeconds", &deadline.into(), "must be greater than minReadySeconds");
        }
    }
}

fn strategy(s: &Value, e: &mut Errors) {
    match json::text(s, "type") {
        "Recreate" => {
            if s.get("rollingUpdate").is_some_and(|r| !r.is_null()) {
                e.forbidden("spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'");
            }
        }
        "RollingUpdate" => match s.get("rollingUpdate").filter(|r| !r.is_null()) {
            None => e.required("spec.strategy.rollingUpdate", "this should be defaulted and never be nil"),
            Some(r) => rolling_update(r, e),
        },
        _ => {
            let shown = internal::form("apps/v1.DeploymentStrategy", s);
            e.unsupported_value("spec.strategy", &shown, &["Recreate", "RollingUpdate"]);
        }
    }
}

fn rolling_update(r: &Value, e: &mut Errors) {
    let (u, s) = (&r["maxUnavailable"], &r["maxSurge"]);
    let path = "spec.strategy.rollingUpdate.maxUnavailable";
    int_or_percent(path, u, e);
    int_or_percent("spec.strategy.rollingUpdate.maxSurge", s, e);
    if is_zero(u) && is_zero(s) {
        e.invalid(path, u, "may not be 0 when `maxSurge` is 0");
    }
    at_most_all(path, u, e);
}

/// Counters must not be negative.
pub(crate) fn counters(status: &Value, names: &[&str], e: &mut Errors) {
    for n in names {
        e.non_negative(&format!("status.{n}"), json::int(status, n));
    }
}

/// One counter must not exceed another.
pub(crate) fn at_most(status: &Value, small: &str, big: &str, text: &str, e: &mut Errors) {
    let (s, b) = (json::int(status, small).unwrap_or(0), json::int(status, big).unwrap_or(0));
    if s > b {
        e.invalid(&format!("status.{small}"), &s.into(), text);
    }
}

const OVER: &str = "cannot be greater than status.replicas";

/// workloads 1.4.3
fn deployment_status(doc: &Value, old: &Value, e: &mut Errors, _: &Env<'_>) {
    let s = &doc["status"];
    counters(
        s,
        &[
            "observedGeneration",
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
            "terminatingReplicas",
            "collisionCount",
        ],
        e,
    );
    for k in ["updatedReplicas", "readyReplicas", "availableReplicas"] {
        at_most(s, k, "replicas", OVER, e);
    }
    at_most(s, "availableReplicas", "readyReplicas", "cannot be greater than readyReplicas", e);
    collisions(s, old, e);
}

/// The count of collisions never shrinks.
pub(crate) fn collisions(s: &Value, old: &Value, e: &mut Errors) {
    let Some(was) = json::int(old, "status.collisionCount") else { return };
    let now = json::int(s, "collisionCount");
    if now.is_none_or(|n| n < was) {
        e.invalid("status.collisionCount", &now.unwrap_or(0).into(), "cannot be decremented");
    }
}

fn set_status(doc: &Value, e: &mut Errors) {
    let s = &doc["status"];
    counters(
        s,
        &["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration", "terminatingReplicas"],
        e,
    );
    for k in ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"] {
        at_most(s, k, "replicas", OVER, e);
    }
    at_most(s, "availableReplicas", "readyReplicas", "cannot be greater than readyReplicas", e);
}

fn replication_controller(doc: &Value, e: &mut Errors) {
    let spec = &doc["spec"];
    e.non_negative("spec.minReadySeconds", json::int(doc, "spec.minReadySeconds"));
    let selector = json::object(spec, "selector").filter(|m| !m.is_empty());
    if selector.is_none() {
        e.required("spec.selector", "");
    }
    match json::int(doc, "spec.replicas") {
        None => e.required("spec.replicas", ""),
        n => e.non_negative("spec.replicas", n),
    }
    let Some(t) = spec.get("template").filter(|t| !t.is_null()) else {
        e.required("spec.template", "");
        return;
    };
    let labels = json::object(t, "metadata.labels");
    if selector.is_some_and(|s| !s.iter().all(|(k, v)| labels.and_then(|l| l.get(k)) == Some(v))) {
        e.invalid("spec.template.metadata.labels", &internal::texts(labels), "`selector` does not match template `labels`");
    }
    pod_spec::template("spec.template", t, e);
    always_running("ReplicationController", t, e);
}
