//! Events (core `ValidateEventCreate`, `ValidateEventUpdate`): the old API asks for little, the new one for a lot.

use serde_json::Value;

use super::errors::Errors;
use super::metadata::{self, Flavour};
use super::{Check, DEFAULT, Env, Rules, internal};
use crate::json;
use crate::meta;

/// Longest reason, action and instance.
const WORD_LIMIT: usize = 128;
const NOTE_LIMIT: usize = 1024;

pub(crate) const EVENT: Rules = Rules {
    create_on_update: true,
    on_create: &[Check::Always],
    on_update: &[Check::Update],
    validate: |doc, _, e, env| create(doc, e, env),
    validate_update: update,
    ..DEFAULT
};

fn is_new_api(env: &Env<'_>) -> bool {
    env.served.group == "events.k8s.io"
}

fn is_set(doc: &Value, k: &str) -> bool {
    doc.get(k).is_some_and(|v| !v.is_null())
}

fn create(doc: &Value, e: &mut Errors, env: &Env<'_>) {
    common(doc, e, env);
    if !is_new_api(env) {
        return;
    }
    metadata::whole(env.served, meta::dns_subdomain, Flavour::Core, doc, e);
    series(doc, e);
    if !is_set(doc, "eventTime") {
        e.required("eventTime", "");
    }
    let kind = json::text(doc, "type");
    if !matches!(kind, "Normal" | "Warning") {
        e.invalid_text("type", "", &format!("has invalid value: {kind}"));
    }
    for k in ["firstTimestamp", "lastTimestamp"] {
        if is_set(doc, k) {
            e.invalid_text(k, "", "needs to be unset");
        }
    }
    if json::int(doc, "count").unwrap_or(0) != 0 {
        e.invalid_text("count", "", "needs to be unset");
    }
    if !json::text(doc, "source.component").is_empty() || !json::text(doc, "source.host").is_empty() {
        e.invalid_text("source", "", "needs to be unset");
    }
}

fn update(new: &Value, old: &Value, e: &mut Errors, env: &Env<'_>) {
    common(new, e, env);
    if !is_new_api(env) {
        return;
    }
    metadata::update(Flavour::Core, new, old, e);
    if new.get("series") != old.get("series") {
        series(new, e);
    }
    // The reason is looked at twice.
    const FIELDS: &[(&str, &str, &str)] = &[
        ("involvedObject", "involvedObject", "v1.ObjectReference"),
        ("reason", "reason", ""),
        ("message", "message", ""),
        ("source", "source", "v1.EventSource"),
        ("firstTimestamp", "firstTimestamp", ""),
        ("lastTimestamp", "lastTimestamp", ""),
        ("count", "count", ""),
        ("reason", "reason", ""),
        ("type", "type", ""),
        ("eventTime", "eventTime", ""),
        ("action", "action", ""),
        ("related", "related", "v1.ObjectReference"),
        ("reportingComponent", "reportingController", ""),
        ("reportingInstance", "reportingInstance", ""),
    ];
    for (wire, path, kind) in FIELDS {
        if new.get(*wire) != old.get(*wire) {
            let nothing = match *wire {
                "reason" | "message" | "type" | "action" | "reportingComponent" | "reportingInstance" => "".into(),
                "count" => 0.into(),
                _ => Value::Null,
            };
            let shown = new.get(*wire).map_or(nothing, |v| internal::form(kind, v));
            e.invalid(path, &shown, "field is immutable");
        }
    }
}

fn series(doc: &Value, e: &mut Errors) {
    let Some(s) = doc.get("series").filter(|s| !s.is_null()) else { return };
    if json::int(s, "count").unwrap_or(0) < 2 {
        e.invalid_text("series.count", "", "should be at least 2");
    }
    if !is_set(s, "lastObservedTime") {
        e.required("series.lastObservedTime", "");
    }
}

/// What both APIs ask for.
fn common(doc: &Value, e: &mut Errors, env: &Env<'_>) {
    let about = json::text(doc, "involvedObject.namespace");
    let here = json::text(doc, "metadata.namespace");
    let elsewhere = "does not match event.namespace";
    if !is_set(doc, "eventTime") {
        let fits = if about.is_empty() { here.is_empty() || here == "default" } else { about == here };
        if !fits {
            e.invalid_text("involvedObject.namespace", about, elsewhere);
        }
    } else {
        if about.is_empty() && here != "default" && here != "kube-system" {
            e.invalid_text("involvedObject.namespace", about, elsewhere);
        }
        let path = if is_new_api(env) { "reportingController" } else { "reportingComponent" };
        let controller = json::text(doc, "reportingComponent");
        if controller.is_empty() {
            e.required(path, "");
        }
        e.names(path, controller, meta::qualified_name(controller));
        for k in ["reportingInstance", "action", "reason"] {
            let v = json::text(doc, k);
            if v.is_empty() {
                e.required(k, "");
            }
            if v.len() > WORD_LIMIT {
                e.invalid_text(k, "", &format!("can have at most {WORD_LIMIT} characters"));
            }
        }
        if json::text(doc, "message").len() > NOTE_LIMIT {
            e.invalid_text("message", "", &format!("can have at most {NOTE_LIMIT} characters"));
        }
    }
    e.names("namespace", here, meta::dns_subdomain(here));
}
