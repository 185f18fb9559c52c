//! Small kinds of small groups.

use serde_json::Value;

use super::apps::int_or_percent;
use super::errors::Errors;
use super::pod_spec;
use super::{DEFAULT, Env, Rules, internal};
use crate::json;
use crate::meta;

/// Kinds whose PUT must say which version it means.
pub(crate) const CONDITIONAL: Rules = Rules { unconditional_update: false, ..DEFAULT };

pub(crate) const RUNTIME_CLASS: Rules = Rules { unconditional_update: false, create_on_update: true, ..DEFAULT };

pub(crate) const LEASE: Rules = Rules {
    unconditional_update: false,
    create_on_update: true,
    validate: |doc, e, _| {
        if let Some(n) = json::int(doc, "spec.leaseDurationSeconds")
            && n <= 0
        {
            e.invalid("spec.leaseDurationSeconds", &n.into(), "must be greater than 0");
        }
        e.non_negative("spec.leaseTransitions", json::int(doc, "spec.leaseTransitions"));
    },
    ..DEFAULT
};

pub(crate) const POD_DISRUPTION_BUDGET: Rules = Rules {
    unconditional_update: false,
    validate: |doc, e, _| {
        let s = &doc["spec"];
        if s.get("minAvailable").is_some() && s.get("maxUnavailable").is_some() {
            e.invalid(
                "spec",
                &internal::form("policy/v1.PodDisruptionBudgetSpec", s),
                "minAvailable and maxUnavailable cannot be both set",
            );
        }
        for k in ["minAvailable", "maxUnavailable"] {
            if let Some(v) = s.get(k) {
                int_or_percent(v, &format!("spec.{k}"), e);
                super::apps::at_most_all(v, &format!("spec.{k}"), e);
            }
        }
        if let Some(sel) = s.get("selector") {
            pod_spec::label_selector(sel, "spec.selector", e);
        }
    },
    validate_status: |doc, _, e, _| {
        for k in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
            e.non_negative(&format!("status.{k}"), json::int(&doc["status"], k));
        }
        for (i, c) in json::list(doc, "status.conditions").iter().enumerate() {
            if json::text(c, "reason").is_empty() {
                e.required(&format!("status.conditions[{i}].reason"), "");
            }
        }
    },
    ..DEFAULT
};

pub(crate) const HORIZONTAL_POD_AUTOSCALER: Rules = Rules {
    validate: validate_hpa,
    validate_status: |doc, _, e, _| {
        for k in ["currentReplicas", "desiredReplicas"] {
            e.non_negative(&format!("status.{k}"), json::int(&doc["status"], k));
        }
    },
    ..DEFAULT
};

fn validate_hpa(doc: &Value, e: &mut Errors, _: &Env<'_>) {
    let s = &doc["spec"];
    let min = json::int(s, "minReplicas");
    if let Some(n) = min.filter(|n| *n < 1) {
        e.invalid("spec.minReplicas", &n.into(), "must be greater than or equal to 1");
    }
    let max = json::int(s, "maxReplicas").unwrap_or(0);
    if max < 1 {
        e.invalid("spec.maxReplicas", &max.into(), "must be greater than 0");
    }
    if min.is_some_and(|m| m > max) {
        e.invalid("spec.maxReplicas", &max.into(), "must be greater than or equal to `minReplicas`");
    }
    for k in ["kind", "name"] {
        let v = json::text(&s["scaleTargetRef"], k);
        if v.is_empty() {
            e.required(&format!("spec.scaleTargetRef.{k}"), "");
        } else {
            e.names(&format!("spec.scaleTargetRef.{k}"), v, meta::path_segment(v));
        }
    }
}

pub(crate) const PRIORITY_CLASS: Rules = Rules {
    validate: |doc, e, _| {
        let (name, value) = (json::text(doc, "metadata.name"), json::int(doc, "value").unwrap_or(0));
        if name.starts_with("system-") && !matches!(name, "system-node-critical" | "system-cluster-critical") {
            e.forbidden(
                "metadata.name",
                &format!("priority class names with 'system-' prefix are reserved for system use only. error: {name} is not a known system priority class"),
            );
        } else if !name.starts_with("system-") && value > 1_000_000_000 {
            e.forbidden("value", "maximum allowed value of a user defined priority is 1000000000");
        }
        let p = json::text(doc, "preemptionPolicy");
        if !p.is_empty() && !matches!(p, "Never" | "PreemptLowerPriority") {
            e.unsupported("preemptionPolicy", p, &["Never", "PreemptLowerPriority"]);
        }
    },
    validate_update: |new, old, e, _| {
        if new["value"] != old["value"] {
            e.forbidden("value", "may not be changed in an update.");
        }
        e.immutable("preemptionPolicy", new.get("preemptionPolicy"), old.get("preemptionPolicy"));
    },
    ..DEFAULT
};

pub(crate) const ROLE: Rules = Rules {
    name: meta::path_segment,
    create_on_update: true,
    validate: |doc, e, _| {
        for (i, r) in json::list(doc, "rules").iter().enumerate() {
            let at = format!("rules[{i}]");
            if json::list(r, "verbs").is_empty() {
                e.required(&format!("{at}.verbs"), "verbs must contain at least one value");
            }
            let urls = json::list(r, "nonResourceURLs");
            if !urls.is_empty() {
                if !json::text(doc, "metadata.namespace").is_empty() {
                    e.invalid(
                        &format!("{at}.nonResourceURLs"),
                        &Value::from(urls.to_vec()),
                        "namespaced rules cannot apply to non-resource URLs",
                    );
                }
                continue;
            }
            if json::list(r, "apiGroups").is_empty() {
                e.required(&format!("{at}.apiGroups"), "resource rules must supply at least one api group");
            }
            if json::list(r, "resources").is_empty() {
                e.required(&format!("{at}.resources"), "resource rules must supply at least one resource");
            }
        }
    },
    ..DEFAULT
};

pub(crate) const ROLE_BINDING: Rules = Rules {
    name: meta::path_segment,
    create_on_update: true,
    validate: |doc, e, _| {
        let r = &doc["roleRef"];
        if json::text(r, "apiGroup") != "rbac.authorization.k8s.io" {
            e.unsupported("roleRef.apiGroup", json::text(r, "apiGroup"), &["rbac.authorization.k8s.io"]);
        }
        let kind = json::text(r, "kind");
        let namespaced = !json::text(doc, "metadata.namespace").is_empty();
        if !(kind == "ClusterRole" || (namespaced && kind == "Role")) {
            let list: &[&str] = if namespaced { &["ClusterRole", "Role"] } else { &["ClusterRole"] };
            e.unsupported("roleRef.kind", kind, list);
        }
        if json::text(r, "name").is_empty() {
            e.required("roleRef.name", "");
        }
        for (i, s) in json::list(doc, "subjects").iter().enumerate() {
            subject(s, &format!("subjects[{i}]"), e);
        }
    },
    validate_update: |new, old, e, _| {
        if new["roleRef"] != old["roleRef"] {
            e.invalid("roleRef", &internal::form("rbac.authorization.k8s.io/v1.RoleRef", &new["roleRef"]), "cannot change roleRef");
        }
    },
    ..DEFAULT
};

fn subject(s: &Value, at: &str, e: &mut Errors) {
    if json::text(s, "name").is_empty() {
        e.required(&format!("{at}.name"), "");
    }
    match json::text(s, "kind") {
        "ServiceAccount" => {
            if json::text(s, "namespace").is_empty() {
                e.required(&format!("{at}.namespace"), "");
            }
            let name = json::text(s, "name");
            if !name.is_empty() {
                e.names(&format!("{at}.name"), name, meta::dns_subdomain(name));
            }
            if !json::text(s, "apiGroup").is_empty() {
                e.unsupported(&format!("{at}.apiGroup"), json::text(s, "apiGroup"), &[""]);
            }
        }
        "User" | "Group" => {
            if json::text(s, "apiGroup") != "rbac.authorization.k8s.io" {
                e.unsupported(&format!("{at}.apiGroup"), json::text(s, "apiGroup"), &["rbac.authorization.k8s.io"]);
            }
        }
        other => e.unsupported(&format!("{at}.kind"), other, &["Group", "ServiceAccount", "User"]),
    }
}
