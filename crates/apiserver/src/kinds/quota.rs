//! Rules of resource quotas (core `ValidateResourceQuota`).

use serde_json::Value;

use super::{DEFAULT, Errors, Rules};
use crate::json;
use crate::meta;
use crate::quantity::Quantity;

pub(crate) const RESOURCE_QUOTA: Rules = Rules {
    validate: |doc, e, _| {
        amounts(doc, "spec.hard", e);
        scopes(&doc["spec"], e);
        selector(&doc["spec"], e);
    },
    validate_create: |doc, e, _| {
        amounts(doc, "status.hard", e);
        amounts(doc, "status.used", e);
    },
    validate_update: |new, old, e, _| {
        let set = |d: &Value| {
            let mut l: Vec<String> = json::list(d, "spec.scopes").iter().filter_map(Value::as_str).map(str::to_owned).collect();
            l.sort();
            l.dedup();
            l
        };
        if set(new) != set(old) {
            e.invalid("spec.scopes", &new["spec"].get("scopes").cloned().unwrap_or(Value::Null), "field is immutable");
        }
    },
    validate_status: |doc, _, e, _| {
        amounts(doc, "status.hard", e);
        amounts(doc, "status.used", e);
    },
    ..DEFAULT
};

/// Resources that a quota can name without a prefix.
const STANDARD: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];

/// Those that are counted in whole numbers.
const COUNTED: &[&str] = &[
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// Those that pods use.
const OF_PODS: &[&str] = &["pods", "cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];

const SCOPES: &[&str] = &[
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];

fn amounts(doc: &Value, path: &str, e: &mut Errors) {
    let mut list: Vec<(&String, &Value)> = json::object(doc, path).into_iter().flatten().collect();
    list.sort_by_key(|(k, _)| *k);
    for (k, v) in list {
        let at = format!("{path}[{k}]");
        e.names(&at, k, meta::qualified_name(k));
        if !k.contains('/') && !STANDARD.contains(&k.as_str()) {
            e.invalid_text(&at, k, "must be a standard resource for quota");
        }
        let Some(q) = v.as_str().and_then(|t| Quantity::parse(t).ok()) else { continue };
        if q.nanos() < 0 {
            e.invalid_text(&at, &q.to_string(), "must be greater than or equal to 0");
        }
        let extended = k.contains('/') && !k.contains("kubernetes.io/") && !k.starts_with("requests.") && !k.starts_with("count/");
        if (COUNTED.contains(&k.as_str()) || extended) && q.round_up_milli().nanos() % 1_000_000_000 != 0 {
            e.invalid_text(&at, &q.to_string(), "must be an integer");
        }
    }
}

/// Whether a scope says anything of a resource.
fn fits(scope: &str, resource: &str) -> bool {
    match scope {
        "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" | "CrossNamespacePodAffinity" => OF_PODS.contains(&resource),
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        _ => true,
    }
}

fn hard(spec: &Value) -> Vec<&str> {
    let mut list: Vec<&str> = json::object(spec, "hard").into_iter().flatten().map(|(k, _)| k.as_str()).collect();
    list.sort_unstable();
    list
}

fn conflicts(seen: &[&str], path: &str, shown: &Value, e: &mut Errors) {
    for (a, b) in [("BestEffort", "NotBestEffort"), ("NotTerminating", "Terminating")] {
        if seen.contains(&a) && seen.contains(&b) {
            e.invalid(path, shown, "conflicting scopes");
        }
    }
}

fn scopes(spec: &Value, e: &mut Errors) {
    let list: Vec<&str> = json::list(spec, "scopes").iter().filter_map(Value::as_str).collect();
    let shown = Value::from(list.clone());
    for scope in &list {
        if !SCOPES.contains(scope) {
            e.invalid("spec.scopes", &shown, "unsupported scope");
        }
        for k in hard(spec).into_iter().filter(|k| STANDARD.contains(k) && !fits(scope, k)) {
            let _ = k;
            e.invalid("spec.scopes", &shown, "unsupported scope applied to resource");
        }
    }
    conflicts(&list, "spec.scopes", &shown, e);
}

fn selector(spec: &Value, e: &mut Errors) {
    let path = "spec.scopeSelector.matchExpressions";
    let at = |k: &str| format!("{path}.{k}");
    let mut seen = Vec::new();
    for r in json::list(spec, "scopeSelector.matchExpressions") {
        let (scope, operator) = (json::text(r, "scopeName"), json::text(r, "operator"));
        if !SCOPES.contains(&scope) {
            e.invalid_text(&at("scopeName"), scope, "unsupported scope");
        }
        for _ in hard(spec).into_iter().filter(|k| STANDARD.contains(k) && !fits(scope, k)) {
            let shown = super::internal::form("v1.ScopeSelector", &spec["scopeSelector"]);
            e.invalid(path, &shown, "unsupported scope applied to resource");
        }
        let by_presence = matches!(scope, "BestEffort" | "NotBestEffort" | "Terminating" | "NotTerminating" | "CrossNamespacePodAffinity");
        if by_presence && operator != "Exists" {
            e.invalid_text(&at("operator"), operator, "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity");
        }
        let values = json::list(r, "values");
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                e.required(&at("values"), "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                e.invalid(&at("values"), &Value::from(values.to_vec()), why);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => e.invalid_text(&at("operator"), other, "not a valid selector operator"),
        }
        seen.push(scope);
    }
    conflicts(&seen, path, &spec.get("scopes").cloned().unwrap_or(Value::Null), e);
}
