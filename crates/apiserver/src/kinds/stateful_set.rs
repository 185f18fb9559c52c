//! StatefulSets (apps `ValidateStatefulSetSpec`).

use serde_json::{Value, json};

use super::controllers::{always_running, at_most, collisions, counters};
use super::errors::Errors;
use super::selectors::{self, at_most_all, int_or_percent, is_zero};
use super::{Check, DEFAULT, Env, Rules, claims, internal, pod_spec};
use crate::json;
use crate::meta;

pub(crate) const STATEFUL_SET: Rules = Rules {
    name: meta::dns_label,
    on_status: &[Check::Status, Check::MetaUpdate],
    validate,
    validate_update,
    validate_status: |doc, old, e, _| {
        let s = &doc["status"];
        counters(
            s,
            &[
                "replicas",
                "readyReplicas",
                "currentReplicas",
                "updatedReplicas",
                "availableReplicas",
                "observedGeneration",
                "collisionCount",
            ],
            e,
        );
        for k in ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"] {
            at_most(s, k, "replicas", "cannot be greater than status.replicas", e);
        }
        at_most(s, "availableReplicas", "readyReplicas", "cannot be greater than status.readyReplicas", e);
        collisions(s, old, e);
    },
    ..DEFAULT
};

fn validate(doc: &Value, old: Option<&Value>, e: &mut Errors, _: &Env<'_>) {
    // What an update finds wrong in the old template it lets stay in the new one.
    let tolerant = old.is_some_and(|o| {
        let mut before = Errors::default();
        set_spec(&o["spec"], true, false, &mut before);
        !before.is_empty()
    });
    set_spec(&doc["spec"], old.is_some(), tolerant, e);
}

fn set_spec(spec: &Value, update: bool, tolerant: bool, e: &mut Errors) {
    match json::text(spec, "podManagementPolicy") {
        "" => e.required("spec.podManagementPolicy", ""),
        "OrderedReady" | "Parallel" => {}
        other => e.invalid_text("spec.podManagementPolicy", other, "must be 'OrderedReady' or 'Parallel'"),
    }
    strategy(&spec["updateStrategy"], e);
    for k in ["whenDeleted", "whenScaled"] {
        let v = json::text(&spec["persistentVolumeClaimRetentionPolicy"], k);
        if !matches!(v, "Retain" | "Delete") {
            e.unsupported(&format!("spec.persistentVolumeClaimRetentionPolicy.{k}"), v, &["Retain", "Delete"]);
        }
    }
    if !update {
        for (i, c) in json::list(spec, "volumeClaimTemplates").iter().enumerate() {
            claims::spec(&format!("spec.volumeClaimTemplates[{i}].spec"), &c["spec"], e);
        }
    }
    e.non_negative("spec.replicas", json::int(spec, "replicas"));
    e.non_negative("spec.minReadySeconds", json::int(spec, "minReadySeconds"));
    e.non_negative("spec.ordinals.start", json::int(spec, "ordinals.start"));
    if !update {
        e.name_if_any("spec.serviceName", json::text(spec, "serviceName"), meta::dns_label);
    }
    if super::controllers::selector(spec, "statefulset", "", e) {
        let selector = spec.get("selector").filter(|s| !s.is_null());
        let template = validated_template(spec);
        if selector.is_none_or(|s| !selectors::is_empty(s)) {
            selectors::template_labels("spec.template", selector, &template, e);
        }
        if !tolerant {
            pod_spec::template("spec.template", &template, e);
        }
        pod_spec::template_meta("spec.template", &template, e);
    }
    always_running("StatefulSet", &spec["template"], e);
}

/// The template as pods get it: the controller sets names, and volumes for the claims.
fn validated_template(spec: &Value) -> Value {
    let mut t = spec["template"].clone();
    let claims = json::list(spec, "volumeClaimTemplates");
    if t.get("spec").is_some_and(Value::is_object) {
        json::take(&mut t["spec"], "subdomain");
        json::take(&mut t["spec"], "hostname");
        if !claims.is_empty() {
            let names: Vec<&str> = claims.iter().map(|c| json::text(c, "metadata.name")).collect();
            let mut volumes: Vec<Value> = names.iter().map(|n| json!({"name": n, "persistentVolumeClaim": {"claimName": n}})).collect();
            volumes.extend(json::list(&t, "spec.volumes").iter().filter(|v| !names.contains(&json::text(v, "name"))).cloned());
            json::put(&mut t["spec"], "volumes", Some(volumes.into()));
        }
    }
    t
}

fn strategy(s: &Value, e: &mut Errors) {
    match json::text(s, "type") {
        "" => e.required("spec.updateStrategy", ""),
        "OnDelete" => {
            if let Some(r) = s.get("rollingUpdate").filter(|r| !r.is_null()) {
                let shown = internal::form("apps/v1.RollingUpdateStatefulSetStrategy", r);
                e.invalid("spec.updateStrategy.rollingUpdate", &shown, "only allowed for updateStrategy 'RollingUpdate'");
            }
        }
        "RollingUpdate" => {
            e.non_negative("spec.updateStrategy.rollingUpdate.partition", json::int(s, "rollingUpdate.partition"));
            let u = &s["rollingUpdate"]["maxUnavailable"];
            let path = "spec.updateStrategy.rollingUpdate.maxUnavailable";
            if !u.is_null() {
                int_or_percent(path, u, e);
                if is_zero(u) {
                    e.invalid(path, u, "cannot be 0");
                }
                at_most_all(path, u, e);
            }
        }
        _ => {
            let shown = internal::form("apps/v1.StatefulSetUpdateStrategy", s);
            e.invalid("spec.updateStrategy", &shown, "must be 'RollingUpdate' or 'OnDelete'");
        }
    }
}

fn validate_update(new: &Value, old: &Value, e: &mut Errors, _: &Env<'_>) {
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
