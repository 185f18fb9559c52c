//! Quotas and limit ranges (core `ValidateResourceQuota`, `ValidateLimitRange`).

use std::collections::BTreeSet;

use serde_json::Value;

use super::amounts::{self, Place};
use super::errors::Errors;
use super::{Check, DEFAULT, Rules, internal};
use crate::json;
use crate::meta;
use crate::quantity::Quantity;

pub(crate) const RESOURCE_QUOTA: Rules = Rules {
    validate: |doc, old, e, _| {
        hard("spec.hard", doc["spec"].get("hard"), e);
        scopes(&doc["spec"], e);
        selector(&doc["spec"], e);
        if old.is_none() {
            for k in ["hard", "used"] {
                hard(&format!("status.{k}"), doc["status"].get(k), e);
            }
        }
    },
    validate_update: |new, old, e, _| {
        let set = |d: &Value| json::list(d, "spec.scopes").iter().map(|s| s.as_str().unwrap_or("").to_owned()).collect::<BTreeSet<_>>();
        if set(new) != set(old) {
            let shown = new["spec"].get("scopes").cloned().unwrap_or(Value::Null);
            e.invalid("spec.scopes", &shown, "field is immutable");
        }
    },
    validate_status: |doc, _, e, _| {
        for k in ["hard", "used"] {
            hard(&format!("status.{k}"), doc["status"].get(k), e);
        }
    },
    ..DEFAULT
};

fn hard(path: &str, list: Option<&Value>, e: &mut Errors) {
    for (k, v) in amounts::entries(list) {
        let at = format!("{path}[{k}]");
        amounts::name(&at, k, Place::Quota, e);
        amounts::value(&at, k, v, e);
    }
}

const PAIRS: [[&str; 2]; 2] = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];
const SCOPES: &[&str] = &[
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "VolumeAttributesClass",
    "CrossNamespacePodAffinity",
];
const COMPUTE: &[&str] = &["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];

/// Whether a scope can narrow down a resource.
fn fits(scope: &str, resource: &str) -> bool {
    match scope {
        "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" | "CrossNamespacePodAffinity" => {
            resource == "pods" || COMPUTE.contains(&resource)
        }
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        _ => true,
    }
}

/// Resources of a quota that the project itself defines.
fn limited(spec: &Value) -> Vec<&String> {
    let known = |k: &&String| {
        let mut e = Errors::default();
        amounts::name("", k, Place::Quota, &mut e);
        e.is_empty() && !k.contains('/')
    };
    amounts::entries(spec.get("hard")).into_iter().map(|(k, _)| k).filter(known).collect()
}

fn scopes(spec: &Value, e: &mut Errors) {
    let list: Vec<&str> = json::list(spec, "scopes").iter().filter_map(Value::as_str).collect();
    let path = "spec.scopes";
    let shown = Value::from(list.clone());
    for s in &list {
        if !SCOPES.contains(s) {
            e.invalid(path, &shown, "unsupported scope");
        }
        for _ in limited(spec).into_iter().filter(|k| !fits(s, k)) {
            e.invalid(path, &shown, "unsupported scope applied to resource");
        }
    }
    for _ in PAIRS.iter().filter(|p| p.iter().all(|s| list.contains(s))) {
        e.invalid(path, &shown, "conflicting scopes");
    }
}

fn selector(spec: &Value, e: &mut Errors) {
    let Some(s) = spec.get("scopeSelector").filter(|s| !s.is_null()) else { return };
    let path = "spec.scopeSelector.matchExpressions";
    let list = json::list(s, "matchExpressions");
    for r in list {
        let (scope, operator, values) = (json::text(r, "scopeName"), json::text(r, "operator"), json::list(r, "values"));
        if !SCOPES.contains(&scope) {
            e.invalid_text(&format!("{path}.scopeName"), scope, "unsupported scope");
        }
        for _ in limited(spec).into_iter().filter(|k| !fits(scope, k)) {
            e.invalid(path, &internal::form("v1.ScopeSelector", s), "unsupported scope applied to resource");
        }
        let at = format!("{path}.operator");
        let exists_only = matches!(scope, "BestEffort" | "NotBestEffort" | "Terminating" | "NotTerminating" | "CrossNamespacePodAffinity");
        if exists_only && operator != "Exists" {
            let why = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            e.invalid_text(&at, operator, why);
        }
        match operator {
            "In" | "NotIn" => {
                if values.is_empty() {
                    e.required(
                        &format!("{path}.values"),
                        "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
                    );
                }
            }
            "Exists" | "DoesNotExist" => {
                if !values.is_empty() {
                    let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                    e.invalid(&format!("{path}.values"), &values.to_vec().into(), why);
                }
            }
            other => e.invalid_text(&at, other, "not a valid selector operator"),
        }
    }
    let has = |s: &str| list.iter().any(|r| json::text(r, "scopeName") == s);
    for _ in PAIRS.iter().filter(|p| p.iter().all(|s| has(s))) {
        let shown = spec.get("scopes").cloned().unwrap_or(Value::Null);
        e.invalid(path, &shown, "conflicting scopes");
    }
}

pub(crate) const LIMIT_RANGE: Rules = Rules {
    create_on_update: true,
    on_update: &[Check::Meta, Check::Always],
    prepare_create: |doc, _| {
        if json::text(doc, "metadata.name").is_empty() {
            doc["metadata"]["name"] = "limits".into();
        }
    },
    validate: |doc, _, e, _| {
        let list = json::list(doc, "spec.limits");
        for (i, l) in list.iter().enumerate() {
            let at = format!("spec.limits[{i}]");
            let kind = json::text(l, "type");
            limit_type(&format!("{at}.type"), kind, e);
            if list[..i].iter().any(|o| json::text(o, "type") == kind) {
                e.duplicate(&format!("{at}.type"), &kind.into());
            }
            limit(&at, kind, l, e);
        }
    },
    ..DEFAULT
};

fn limit_type(path: &str, kind: &str, e: &mut Errors) {
    let before = e.len();
    e.names(path, kind, meta::qualified_name(kind));
    if e.len() == before && !kind.contains('/') && !matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim") {
        e.invalid_text(path, kind, "must be a standard limit type or fully qualified");
    }
}

fn limit(at: &str, kind: &str, l: &Value, e: &mut Errors) {
    let place = if matches!(kind, "Pod" | "Container") { Place::Container } else { Place::Any };
    let mut keys: BTreeSet<&String> = BTreeSet::new();
    let mut names = |k: &str, e: &mut Errors| {
        for (name, _) in amounts::entries(l.get(k)) {
            amounts::name(&format!("{at}.{k}[{name}]"), name, place, e);
            keys.insert(name);
        }
    };
    names("max", e);
    names("min", e);
    let of_pod = kind == "Pod";
    for k in ["default", "defaultRequest"] {
        if !of_pod {
            names(k, e);
        } else if json::object(l, k).is_some_and(|m| !m.is_empty()) {
            e.forbidden(&format!("{at}.{k}"), "may not be specified when `type` is 'Pod'");
        }
    }
    if kind == "PersistentVolumeClaim" && l["min"].get("storage").is_none() && l["max"].get("storage").is_none() {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        e.required(&format!("{at}.limits"), why);
    }
    names("maxLimitRequestRatio", e);
    for k in keys {
        order(at, k, of_pod, l, e);
    }
}

/// Amounts of one resource must not contradict each other.
fn order(at: &str, k: &str, of_pod: bool, l: &Value, e: &mut Errors) {
    let get = |list: &str| amounts::amount(l[list].get(k));
    let (min, max, ratio) = (get("min"), get("max"), get("maxLimitRequestRatio"));
    let (default, request) = if of_pod { (None, None) } else { (get("default"), get("defaultRequest")) };
    let mut over = |a: Option<Quantity>, b: Option<Quantity>, list: &str, shown: Option<Quantity>, words: [&str; 2]| {
        if let (Some(a), Some(b), Some(shown)) = (a, b, shown)
            && a > b
        {
            let why = format!("{} value {a} is greater than {} value {b}", words[0], words[1]);
            e.invalid_text(&format!("{at}.{list}[{k}]"), &shown.to_string(), &why);
        }
    };
    over(min, max, "min", min, ["min", "max"]);
    over(min, request, "defaultRequest", request, ["min", "default request"]);
    over(request, max, "defaultRequest", request, ["default request", "max"]);
    over(request, default, "defaultRequest", request, ["default request", "default limit"]);
    over(min, default, "default", min, ["min", "default"]);
    over(default, max, "default", max, ["default", "max"]);
    let path = format!("{at}.maxLimitRequestRatio[{k}]");
    if let Some(r) = ratio {
        let shown = r.to_string();
        if r < Quantity::from_int(1) {
            e.invalid_text(&path, &shown, &format!("ratio {r} is less than 1"));
        }
        if let (Some(min), Some(max)) = (min, max) {
            let number = |q: Quantity| q.nanos() as f64 / 1e9;
            let most = number(max) / number(min);
            if number(r) > most {
                e.invalid_text(&path, &shown, &format!("ratio {r} is greater than max/min = {most:.6}"));
            }
        }
    }
    if let (Some(d), Some(r)) = (default, request)
        && !amounts::overcommit(k)
        && d != r
    {
        let why = format!("default value {d} must equal to defaultRequest value {r} in {k}");
        e.invalid_text(&format!("{at}.defaultRequest[{k}]"), &r.to_string(), &why);
    }
}
