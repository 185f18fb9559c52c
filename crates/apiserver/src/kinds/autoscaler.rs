//! HorizontalPodAutoscalers (autoscaling `validateHorizontalPodAutoscalerSpec`).

use serde_json::Value;

use super::amounts;
use super::errors::Errors;
use super::{Check, DEFAULT, Rules};
use crate::json;
use crate::meta;
use crate::quantity::Quantity;

const MAX_WINDOW: i64 = 3600;
const MAX_PERIOD: i64 = 1800;
const SOURCES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];

pub(crate) const HORIZONTAL_POD_AUTOSCALER: Rules = Rules {
    on_update: &[Check::MetaUpdate, Check::Always],
    validate: |doc, old, e, _| validate(doc, old, e),
    validate_status: |doc, _, e, _| {
        for k in ["currentReplicas", "desiredReplicas"] {
            e.non_negative(&format!("status.{k}"), json::int(&doc["status"], k));
        }
    },
    ..DEFAULT
};

fn validate(doc: &Value, old: Option<&Value>, e: &mut Errors) {
    let s = &doc["spec"];
    let (min, max) = (json::int(s, "minReplicas"), json::int(s, "maxReplicas").unwrap_or(0));
    let zero_before = old.is_some_and(|o| json::int(o, "spec.minReplicas") == Some(0));
    let lowest = i64::from(!zero_before);
    if let Some(n) = min.filter(|n| *n < lowest) {
        e.invalid("spec.minReplicas", &n.into(), &format!("must be greater than or equal to {lowest}"));
    }
    if max == 0 {
        e.required("spec.maxReplicas", "must be set and greater than 0");
    } else if max < 0 {
        e.invalid("spec.maxReplicas", &max.into(), "must be greater than or equal to 1");
    }
    if min.is_some_and(|m| m > max) {
        e.invalid("spec.maxReplicas", &max.into(), "must be greater than or equal to `minReplicas`");
    }
    let target = &s["scaleTargetRef"];
    let same = old.is_some_and(|o| {
        let was = &o["spec"]["scaleTargetRef"];
        was.get("apiVersion") == target.get("apiVersion") && was.get("kind") == target.get("kind")
    });
    let version = match json::text(target, "kind") {
        _ if same => Version::Any,
        "ReplicationController" => Version::Parsed,
        _ => Version::WithGroup,
    };
    reference("spec.scaleTargetRef", target, version, e);
    let list = json::list(s, "metrics");
    for (i, m) in list.iter().enumerate() {
        metric(&format!("spec.metrics[{i}]"), m, e);
    }
    if min == Some(0) && !list.iter().any(|m| matches!(json::text(m, "type"), "Object" | "External")) {
        e.forbidden("spec.metrics", "must specify at least one Object or External metric to support scaling to zero replicas");
    }
    for k in ["scaleUp", "scaleDown"] {
        if let Some(r) = s["behavior"].get(k).filter(|r| !r.is_null()) {
            scaling_rules(&format!("spec.behavior.{k}"), r, e);
        }
    }
}

/// What an apiVersion must be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Any,
    Parsed,
    WithGroup,
}

fn reference(path: &str, r: &Value, version: Version, e: &mut Errors) {
    for k in ["kind", "name"] {
        let v = json::text(r, k);
        if v.is_empty() {
            e.required(&format!("{path}.{k}"), "");
        } else {
            e.names(&format!("{path}.{k}"), v, meta::path_segment(v));
        }
    }
    let v = json::text(r, "apiVersion");
    let slashes = v.matches('/').count();
    let why = if version == Version::Any {
        None
    } else if slashes > 1 {
        Some(format!("unexpected GroupVersion string: {v}"))
    } else if version == Version::WithGroup && v.split_once('/').is_none_or(|(g, _)| g.is_empty()) {
        Some("apiVersion must specify API group".to_owned())
    } else {
        None
    };
    if let Some(w) = why {
        e.invalid_text(&format!("{path}.apiVersion"), v, &w);
    }
}

fn metric(path: &str, m: &Value, e: &mut Errors) {
    let kind = json::text(m, "type");
    let at_type = format!("{path}.type");
    if kind.is_empty() {
        e.required(&at_type, "must specify a metric source type");
    }
    if !SOURCES.contains(&kind) {
        e.unsupported(&at_type, kind, SOURCES);
    }
    let present: Vec<&str> = ["object", "external", "pods", "resource", "containerResource"]
        .into_iter()
        .filter(|k| m.get(*k).is_some_and(|v| !v.is_null()))
        .collect();
    if let Some(first) = present.first() {
        source(&format!("{path}.{first}"), first, &m[*first], e);
    }
    let expected = match kind {
        "Object" => "object",
        "Pods" => "pods",
        "Resource" => "resource",
        "External" => "external",
        "ContainerResource" => "containerResource",
        other => {
            e.unsupported(&at_type, other, SOURCES);
            ""
        }
    };
    if !expected.is_empty() && !present.contains(&expected) {
        e.required(&format!("{path}.{expected}"), "must populate information for the given metric source");
    }
    if present.len() != 1 {
        let mut others: Vec<&&str> = present.iter().filter(|k| **k != expected).collect();
        others.sort_unstable();
        for k in others {
            e.forbidden(&format!("{path}.{k}"), "must populate the given metric source only");
        }
    }
}

fn source(path: &str, kind: &str, s: &Value, e: &mut Errors) {
    let (at_value, at_average) = (format!("{path}.target.value"), format!("{path}.target.averageValue"));
    let set = |k: &str| s["target"].get(k).is_some_and(|v| !v.is_null());
    match kind {
        "object" => {
            reference(&format!("{path}.describedObject"), &s["describedObject"], Version::Parsed, e);
            identifier(path, s, e);
            target(path, s, e);
            if !set("value") && !set("averageValue") {
                e.required(&at_average, "must set either a target value or averageValue");
            }
        }
        "external" => {
            identifier(path, s, e);
            target(path, s, e);
            match (set("value"), set("averageValue")) {
                (false, false) => e.required(&at_average, "must set either a target value for metric or a per-pod target"),
                (true, true) => e.forbidden(&at_value, "may not set both a target value for metric and a per-pod target"),
                _ => {}
            }
        }
        "pods" => {
            identifier(path, s, e);
            target(path, s, e);
            if !set("averageValue") {
                e.required(&at_average, "must specify a positive target averageValue");
            }
        }
        _ => {
            let name = json::text(s, "name");
            if name.is_empty() {
                e.required(&format!("{path}.name"), "must specify a resource name");
            } else if kind == "containerResource" {
                amounts::name(&format!("{path}.name"), name, amounts::Place::Container, e);
            }
            if kind == "containerResource" {
                let c = json::text(s, "container");
                if c.is_empty() {
                    e.required(&format!("{path}.container"), "must specify a container");
                } else {
                    e.names(&format!("{path}.container"), c, meta::dns_label(c));
                }
            }
            target(path, s, e);
            match (set("averageUtilization"), set("averageValue")) {
                (false, false) => {
                    let at = format!("{path}.target.averageUtilization");
                    e.required(&at, "must set either a target raw value or a target utilization");
                }
                (true, true) => e.forbidden(&at_average, "may not set both a target raw value and a target utilization"),
                _ => {}
            }
        }
    }
}

fn identifier(path: &str, s: &Value, e: &mut Errors) {
    let (at, name) = (format!("{path}.metric.name"), json::text(s, "metric.name"));
    if name.is_empty() {
        e.required(&at, "must specify a metric name");
    } else {
        e.names(&at, name, meta::path_segment(name));
    }
}

fn target(path: &str, s: &Value, e: &mut Errors) {
    let t = &s["target"];
    let kind = json::text(t, "type");
    let at = format!("{path}.target");
    if kind.is_empty() {
        e.required(&format!("{at}.type"), "must specify a metric target type");
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        e.invalid_text(&format!("{at}.type"), kind, "must be either Utilization, Value, or AverageValue");
    }
    for k in ["value", "averageValue"] {
        if amounts::amount(t.get(k)).is_some_and(|q| q <= Quantity::ZERO) {
            e.invalid(&format!("{at}.{k}"), &t[k], "must be positive");
        }
    }
    if let Some(n) = json::int(t, "averageUtilization").filter(|n| *n < 1) {
        e.invalid(&format!("{at}.averageUtilization"), &n.into(), "must be greater than 0");
    }
}

fn scaling_rules(path: &str, r: &Value, e: &mut Errors) {
    let at = format!("{path}.stabilizationWindowSeconds");
    if let Some(n) = json::int(r, "stabilizationWindowSeconds") {
        if n < 0 {
            e.invalid(&at, &n.into(), "must be greater than or equal to zero");
        } else if n > MAX_WINDOW {
            e.invalid(&at, &n.into(), &format!("must be less than or equal to {MAX_WINDOW}"));
        }
    }
    const SELECT: &[&str] = &["Disabled", "Max", "Min"];
    if let Some(p) = r.get("selectPolicy").and_then(Value::as_str)
        && !SELECT.contains(&p)
    {
        e.unsupported(&format!("{path}.selectPolicy"), p, SELECT);
    }
    let policies = json::list(r, "policies");
    if policies.is_empty() {
        e.required(&format!("{path}.policies"), "must specify at least one Policy");
    }
    for (i, p) in policies.iter().enumerate() {
        let at = format!("{path}.policies[{i}]");
        let kind = json::text(p, "type");
        if !matches!(kind, "Pods" | "Percent") {
            e.unsupported(&format!("{at}.type"), kind, &["Percent", "Pods"]);
        }
        for k in ["value", "periodSeconds"] {
            let n = json::int(p, k).unwrap_or(0);
            if n <= 0 {
                e.invalid(&format!("{at}.{k}"), &n.into(), "must be greater than zero");
            }
            if k == "periodSeconds" && n > MAX_PERIOD {
                e.invalid(&format!("{at}.{k}"), &n.into(), &format!("must be less than or equal to {MAX_PERIOD}"));
            }
        }
    }
    if amounts::amount(r.get("tolerance")).is_some_and(|q| q < Quantity::ZERO) {
        e.invalid(&format!("{path}.tolerance"), &r["tolerance"], "must be greater than or equal to 0");
    }
}
