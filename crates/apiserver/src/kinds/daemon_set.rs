//! DaemonSets (apps `ValidateDaemonSetSpec`).

use serde_json::{Value, json};

use super::controllers::{always_running, collisions, counters};
use super::errors::Errors;
use super::selectors::{self, at_most_all, int_or_percent, is_zero};
use super::{Check, DEFAULT, Env, Rules, internal, pod_spec};
use crate::json;

pub(crate) const DAEMON_SET: Rules = Rules {
    on_update: &[Check::MetaUpdate, Check::Update, Check::Always],
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
    validate: |doc, _, e, _| validate(doc, e),
    validate_update: super::controllers::selector_is_immutable,
    validate_status: status,
    ..DEFAULT
};

const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn template_generation(doc: &mut Value, n: i64) {
    let meta = json::object_mut(doc, "metadata");
    let annotations = meta.entry("annotations").or_insert_with(|| json!({}));
    annotations[TEMPLATE_GENERATION] = n.to_string().into();
}

fn validate(doc: &Value, e: &mut Errors) {
    let spec = &doc["spec"];
    let selector = spec.get("selector").filter(|s| !s.is_null());
    if let Some(s) = selector {
        selectors::label_selector("spec.selector", s, e);
    }
    if selector.is_none_or(selectors::usable) {
        selectors::template_labels("spec.template", selector, &spec["template"], e);
    }
    if let Some(s) = selector.filter(|s| selectors::is_empty(s)) {
        e.invalid("spec.selector", &selectors::shown(Some(s)), "empty selector is invalid for daemonset");
    }
    pod_spec::template("spec.template", &spec["template"], e);
    always_running("DaemonSet", &spec["template"], e);
    e.non_negative("spec.minReadySeconds", json::int(doc, "spec.minReadySeconds"));
    strategy(&spec["updateStrategy"], e);
    e.non_negative("spec.revisionHistoryLimit", json::int(doc, "spec.revisionHistoryLimit"));
}

fn strategy(s: &Value, e: &mut Errors) {
    let path = "spec.updateStrategy.rollingUpdate";
    match json::text(s, "type") {
        "OnDelete" => {}
        "RollingUpdate" => match s.get("rollingUpdate").filter(|r| !r.is_null()) {
            None => e.required(path, ""),
            Some(r) => {
                let (unavailable, surge) = (&r["maxUnavailable"], &r["maxSurge"]);
                let (at_unavailable, at_surge) = (format!("{path}.maxUnavailable"), format!("{path}.maxSurge"));
                int_or_percent(&at_unavailable, unavailable, e);
                int_or_percent(&at_surge, surge, e);
                at_most_all(&at_unavailable, unavailable, e);
                at_most_all(&at_surge, surge, e);
                match (is_zero(unavailable), is_zero(surge)) {
                    (false, false) => e.invalid(&at_surge, surge, "may not be set when maxUnavailable is non-zero"),
                    (true, true) => e.required(&at_unavailable, "cannot be 0 when maxSurge is 0"),
                    _ => {}
                }
            }
        },
        _ => {
            let shown = internal::form("apps/v1.DaemonSetUpdateStrategy", s);
            e.unsupported_value("spec.updateStrategy", &shown, &["RollingUpdate", "OnDelete"]);
        }
    }
}

fn status(doc: &Value, old: &Value, e: &mut Errors, _: &Env<'_>) {
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
            "collisionCount",
        ],
        e,
    );
    collisions(&doc["status"], old, e);
}
