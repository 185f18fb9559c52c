//! Workloads: Deployment, ReplicaSet, ReplicationController, StatefulSet, DaemonSet, ControllerRevision.

use serde_json::{Value, json};

use super::errors::Errors;
use super::pod_spec::{self, Template};
use super::{DEFAULT, Env, Rules};
use crate::json;
use crate::selector::labels::LabelSelector;

/// The annotation of the old rollback (workloads 2.9).
const ROLLBACK: &str = "deprecated.deployment.rollback.to";

pub(crate) const DEPLOYMENT: Rules = Rules {
    status_keeps_meta: &["labels"],
    validate: validate_deployment,
    validate_update: |new, old, e, _| e.immutable("spec.selector", new["spec"].get("selector"), old["spec"].get("selector")),
    validate_status: validate_deployment_status,
    ..DEFAULT
};

pub(crate) const REPLICA_SET: Rules = Rules {
    validate: |doc, e, _| {
        e.non_negative("spec.replicas", json::int(doc, "spec.replicas"));
        e.non_negative("spec.minReadySeconds", json::int(doc, "spec.minReadySeconds"));
        selector_and_template(doc, Template { restart: &["Always"], deadline: false, allow_ephemeral: false }, "deployment", e);
    },
    validate_update: |new, old, e, _| e.immutable("spec.selector", new["spec"].get("selector"), old["spec"].get("selector")),
    validate_status: validate_set_status,
    ..DEFAULT
};

pub(crate) const REPLICATION_CONTROLLER: Rules =
    Rules { validate: validate_replication_controller, validate_status: validate_set_status, ..DEFAULT };

pub(crate) const STATEFUL_SET: Rules = Rules {
    validate: validate_stateful_set,
    validate_update: validate_stateful_set_update,
    validate_status: validate_stateful_set_status,
    ..DEFAULT
};

pub(crate) const DAEMON_SET: Rules = Rules {
    prepare_create: |doc, _| template_generation(doc, 1),
    prepare_update: |doc, old, _| {
        let was = json::text_at(old, &["metadata", "annotations", TEMPLATE_GENERATION]).parse().unwrap_or(1);
        let changed = doc["spec"].get("template") != old["spec"].get("template");
        template_generation(doc, if changed { was + 1 } else { was });
    },
    prepare_status: |doc, old, _| {
        // The annotation shows a counter that a status write cannot touch.
        let was = json::text_at(old, &["metadata", "annotations", TEMPLATE_GENERATION]).parse().unwrap_or(1);
        template_generation(doc, was);
    },
    update_first: true,
    validate: validate_daemon_set,
    validate_update: |new, old, e, _| e.immutable("spec.selector", new["spec"].get("selector"), old["spec"].get("selector")),
    validate_status: validate_daemon_set_status,
    ..DEFAULT
};

pub(crate) const CONTROLLER_REVISION: Rules = Rules {
    validate: |doc, e, _| {
        if doc.get("data").is_none_or(Value::is_null) {
            e.required("data", "data is mandatory");
        }
        e.non_negative("revision", json::int(doc, "revision"));
    },
    validate_update: |new, old, e, _| e.immutable("data", new.get("data"), old.get("data")),
    ..DEFAULT
};

const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn template_generation(doc: &mut Value, n: i64) {
    let meta = json::object_mut(doc, "metadata");
    let annotations = meta.entry("annotations").or_insert_with(|| json!({}));
    annotations[TEMPLATE_GENERATION] = n.to_string().into();
}

/// Selector present and not empty, template matching it and valid.
fn selector_and_template(doc: &Value, rules: Template, kind: &str, e: &mut Errors) {
    let spec = &doc["spec"];
    let labels = json::object(doc, "spec.template.metadata.labels");
    match spec.get("selector").filter(|s| !s.is_null()) {
        None if kind == "daemonset" => {}
        None => e.required("spec.selector", ""),
        Some(s) => {
            pod_spec::label_selector(s, "spec.selector", e);
            let empty = json::object(s, "matchLabels").is_none_or(|m| m.is_empty()) && json::list(s, "matchExpressions").is_empty();
            if empty {
                e.invalid("spec.selector", s, &format!("empty selector is invalid for {kind}"));
            }
        }
    }
    let selector = LabelSelector::from_value(spec.get("selector").filter(|s| !s.is_null()));
    if !selector.matches_map(labels) {
        let shown = labels.map_or(Value::Null, |l| Value::Object(l.clone()));
        e.invalid("spec.template.metadata.labels", &shown, "`selector` does not match template `labels`");
    }
    pod_spec::template(&spec["template"], "spec.template", rules, e);
}

/// workloads 1.4.4 and 1.4.5
fn validate_deployment(doc: &Value, e: &mut Errors, _: &Env<'_>) {
    let spec = &doc["spec"];
    e.non_negative("spec.replicas", json::int(doc, "spec.replicas"));
    selector_and_template(doc, Template { restart: &["Always"], deadline: false, allow_ephemeral: false }, "deployment", e);
    validate_strategy(&spec["strategy"], e);
    let ready = json::int(doc, "spec.minReadySeconds").unwrap_or(0);
    e.non_negative("spec.minReadySeconds", Some(ready));
    e.non_negative("spec.revisionHistoryLimit", json::int(doc, "spec.revisionHistoryLimit"));
    if let Some(deadline) = json::int(doc, "spec.progressDeadlineSeconds") {
        e.non_negative("spec.progressDeadlineSeconds", Some(deadline));
        if deadline <= ready {
            e.invalid("spec.progressDeadlineSeconds", &deadline.into(), "must be greater than minReadySeconds");
        }
    }
    let to = json::text_at(doc, &["metadata", "annotations", ROLLBACK]);
    if !to.is_empty() && to.parse::<i64>().is_err() {
        e.invalid_text(&format!("metadata.annotations[{ROLLBACK}]"), to, "must be a number");
    }
}

fn validate_strategy(s: &Value, e: &mut Errors) {
    match json::text(s, "type") {
        "Recreate" => {
            if s.get("rollingUpdate").is_some_and(|r| !r.is_null()) {
                e.forbidden("spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'");
            }
        }
        "RollingUpdate" => match s.get("rollingUpdate").filter(|r| !r.is_null()) {
            None => e.required("spec.strategy.rollingUpdate", "this should be defaulted and never be nil"),
            Some(r) => rolling_update(r, "spec.strategy.rollingUpdate", "may not be 0 when `maxSurge` is 0", e),
        },
        other => e.unsupported("spec.strategy.type", other, &["Recreate", "RollingUpdate"]),
    }
}

/// `maxUnavailable` and `maxSurge` of a rolling update.
fn rolling_update(r: &Value, path: &str, both_zero: &str, e: &mut Errors) {
    let (u, s) = (&r["maxUnavailable"], &r["maxSurge"]);
    int_or_percent(u, &format!("{path}.maxUnavailable"), e);
    int_or_percent(s, &format!("{path}.maxSurge"), e);
    if is_zero(u) && is_zero(s) {
        e.invalid(&format!("{path}.maxUnavailable"), u, both_zero);
    }
    at_most_all(u, &format!("{path}.maxUnavailable"), e);
}

fn is_zero(v: &Value) -> bool {
    v.as_i64() == Some(0) || v.as_str().and_then(percent) == Some(0)
}

/// The number of a percentage.
pub(crate) fn percent(text: &str) -> Option<i64> {
    let digits = text.strip_suffix('%')?;
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().unwrap_or(i64::MAX))
}

/// A number that is not negative, or a percentage.
pub(crate) fn int_or_percent(v: &Value, path: &str, e: &mut Errors) {
    match v {
        Value::String(s) if percent(s).is_none() => e.invalid_text(
            path,
            s,
            "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
        ),
        Value::Number(_) => e.non_negative(path, v.as_i64()),
        _ => {}
    }
}

/// A percentage must not exceed 100.
pub(crate) fn at_most_all(v: &Value, path: &str, e: &mut Errors) {
    if let Some(p) = v.as_str().and_then(percent)
        && p > 100
    {
        e.invalid(path, v, "must not be greater than 100%");
    }
}

fn counters(status: &Value, names: &[&str], e: &mut Errors) {
    for n in names {
        e.non_negative(&format!("status.{n}"), json::int(status, n));
    }
}

fn at_most(status: &Value, small: &str, big: &str, text: &str, e: &mut Errors) {
    let (s, b) = (json::int(status, small).unwrap_or(0), json::int(status, big).unwrap_or(0));
    if s > b {
        e.invalid(&format!("status.{small}"), &s.into(), text);
    }
}

/// workloads 1.4.3
fn validate_deployment_status(doc: &Value, old: &Value, e: &mut Errors, _: &Env<'_>) {
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
        ],
        e,
    );
    e.non_negative("status.collisionCount", json::int(s, "collisionCount"));
    let over = "cannot be greater than status.replicas";
    at_most(s, "updatedReplicas", "replicas", over, e);
    at_most(s, "readyReplicas", "replicas", over, e);
    at_most(s, "availableReplicas", "replicas", over, e);
    at_most(s, "availableReplicas", "readyReplicas", "cannot be greater than readyReplicas", e);
    collisions(s, old, e);
}

/// The count of collisions never shrinks.
fn collisions(s: &Value, old: &Value, e: &mut Errors) {
    if let Some(was) = json::int(old, "status.collisionCount") {
        match json::int(s, "collisionCount") {
            None => e.invalid("status.collisionCount", &Value::from(0), "cannot be decremented"),
            Some(now) if now < was => e.invalid("status.collisionCount", &now.into(), "cannot be decremented"),
            Some(_) => {}
        }
    }
}

fn validate_set_status(doc: &Value, _: &Value, e: &mut Errors, _: &Env<'_>) {
    let s = &doc["status"];
    counters(
        s,
        &["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration", "terminatingReplicas"],
        e,
    );
    let over = "cannot be greater than status.replicas";
    at_most(s, "fullyLabeledReplicas", "replicas", over, e);
    at_most(s, "readyReplicas", "replicas", over, e);
    at_most(s, "availableReplicas", "replicas", over, e);
    at_most(s, "availableReplicas", "readyReplicas", "cannot be greater than readyReplicas", e);
}

fn validate_replication_controller(doc: &Value, e: &mut Errors, _: &Env<'_>) {
    let spec = &doc["spec"];
    e.non_negative("spec.minReadySeconds", json::int(doc, "spec.minReadySeconds"));
    let selector = spec.get("selector").and_then(Value::as_object).filter(|m| !m.is_empty());
    if selector.is_none() {
        e.required("spec.selector", "");
    }
    e.non_negative("spec.replicas", json::int(doc, "spec.replicas"));
    match spec.get("template").filter(|t| !t.is_null()) {
        None => e.required("spec.template", ""),
        Some(t) => {
            let labels = json::object(t, "metadata.labels");
            if selector.is_some() && !LabelSelector::from_map(spec.get("selector")).matches_map(labels) {
                let shown = labels.map_or(Value::Null, |l| Value::Object(l.clone()));
                e.invalid("spec.template.metadata.labels", &shown, "`selector` does not match template `labels`");
            }
            pod_spec::template(t, "spec.template", Template { restart: &["Always"], deadline: false, allow_ephemeral: false }, e);
        }
    }
}

fn validate_stateful_set(doc: &Value, e: &mut Errors, _: &Env<'_>) {
    let spec = &doc["spec"];
    match json::text(spec, "podManagementPolicy") {
        "" => e.required("spec.podManagementPolicy", ""),
        "OrderedReady" | "Parallel" => {}
        other => e.invalid_text("spec.podManagementPolicy", other, "must be 'OrderedReady' or 'Parallel'"),
    }
    let s = &spec["updateStrategy"];
    match json::text(s, "type") {
        "" => e.required("spec.updateStrategy", ""),
        "OnDelete" => {
            if s.get("rollingUpdate").is_some_and(|r| !r.is_null()) {
                e.invalid("spec.updateStrategy.rollingUpdate", &s["rollingUpdate"], "only allowed for updateStrategy 'RollingUpdate'");
            }
        }
        "RollingUpdate" => {
            e.non_negative("spec.updateStrategy.rollingUpdate.partition", json::int(s, "rollingUpdate.partition"));
            let u = &s["rollingUpdate"]["maxUnavailable"];
            if !u.is_null() {
                int_or_percent(u, "spec.updateStrategy.rollingUpdate.maxUnavailable", e);
                if is_zero(u) {
                    e.invalid("spec.updateStrategy.rollingUpdate.maxUnavailable", u, "cannot be 0");
                }
                at_most_all(u, "spec.updateStrategy.rollingUpdate.maxUnavailable", e);
            }
        }
        _ => e.invalid("spec.updateStrategy", s, "must be 'RollingUpdate' or 'OnDelete'"),
    }
    let p = &spec["persistentVolumeClaimRetentionPolicy"];
    for k in ["whenDeleted", "whenScaled"] {
        let v = json::text(p, k);
        if !matches!(v, "Retain" | "Delete") {
            e.unsupported(&format!("spec.persistentVolumeClaimRetentionPolicy.{k}"), v, &["Delete", "Retain"]);
        }
    }
    e.non_negative("spec.replicas", json::int(doc, "spec.replicas"));
    e.non_negative("spec.minReadySeconds", json::int(doc, "spec.minReadySeconds"));
    e.non_negative("spec.ordinals.start", json::int(doc, "spec.ordinals.start"));
    selector_and_template(doc, Template { restart: &["Always"], deadline: false, allow_ephemeral: false }, "statefulset", e);
}

fn validate_stateful_set_update(new: &Value, old: &Value, e: &mut Errors, _: &Env<'_>) {
    const MAY: &[&str] = &[
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    let rest = |v: &Value| {
        let mut s = v["spec"].clone();
        for k in MAY {
            json::take(&mut s, k);
        }
        s
    };
    if rest(new) != rest(old) {
        e.forbidden(
            "spec",
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        );
    }
}

fn validate_stateful_set_status(doc: &Value, old: &Value, e: &mut Errors, _: &Env<'_>) {
    let s = &doc["status"];
    counters(s, &["replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas", "observedGeneration"], e);
    e.non_negative("status.collisionCount", json::int(s, "collisionCount"));
    let over = "cannot be greater than status.replicas";
    for k in ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"] {
        at_most(s, k, "replicas", over, e);
    }
    at_most(s, "availableReplicas", "readyReplicas", "cannot be greater than status.readyReplicas", e);
    collisions(s, old, e);
}

fn validate_daemon_set(doc: &Value, e: &mut Errors, _: &Env<'_>) {
    selector_and_template(doc, Template { restart: &["Always"], deadline: false, allow_ephemeral: false }, "daemonset", e);
    e.non_negative("spec.minReadySeconds", json::int(doc, "spec.minReadySeconds"));
    let s = &doc["spec"]["updateStrategy"];
    match json::text(s, "type") {
        "OnDelete" => {}
        "RollingUpdate" => match s.get("rollingUpdate").filter(|r| !r.is_null()) {
            None => e.required("spec.updateStrategy.rollingUpdate", ""),
            Some(r) => {
                let (u, m) = (&r["maxUnavailable"], &r["maxSurge"]);
                let path = "spec.updateStrategy.rollingUpdate";
                int_or_percent(u, &format!("{path}.maxUnavailable"), e);
                at_most_all(u, &format!("{path}.maxUnavailable"), e);
                int_or_percent(m, &format!("{path}.maxSurge"), e);
                at_most_all(m, &format!("{path}.maxSurge"), e);
                match (is_zero(u), is_zero(m)) {
                    (false, false) => e.invalid(&format!("{path}.maxSurge"), m, "may not be set when maxUnavailable is non-zero"),
                    (true, true) => e.required(&format!("{path}.maxUnavailable"), "cannot be 0 when maxSurge is 0"),
                    _ => {}
                }
            }
        },
        other => e.unsupported("spec.updateStrategy.type", other, &["OnDelete", "RollingUpdate"]),
    }
    e.non_negative("spec.revisionHistoryLimit", json::int(doc, "spec.revisionHistoryLimit"));
}

fn validate_daemon_set_status(doc: &Value, old: &Value, e: &mut Errors, _: &Env<'_>) {
    counters(
        &doc["status"],
        &[
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
        ],
        e,
    );
    e.non_negative("status.collisionCount", json::int(doc, "status.collisionCount"));
    collisions(&doc["status"], old, e);
}
