//! Small kinds of small groups: leases, budgets, priorities, service accounts.

use serde_json::Value;

use super::errors::Errors;
use super::metadata::Flavour;
use super::selectors::{self, at_most_all, int_or_percent};
use super::{Check, DEFAULT, Rules, internal};
use crate::json;
use crate::meta;

/// Kinds whose PUT must say which version it means.
pub(crate) const CONDITIONAL: Rules = Rules { unconditional_update: false, ..DEFAULT };

pub(crate) const SERVICE_ACCOUNT: Rules = Rules { on_update: &[Check::MetaUpdate, Check::Meta], ..DEFAULT };

pub(crate) const LEASE: Rules = Rules {
    meta: Flavour::Machinery,
    unconditional_update: false,
    create_on_update: true,
    on_update: &[Check::MetaUpdate, Check::Always],
    validate: |doc, _, e, _| {
        let s = &doc["spec"];
        if let Some(n) = json::int(s, "leaseDurationSeconds").filter(|n| *n <= 0) {
            e.invalid("spec.leaseDurationSeconds", &n.into(), "must be greater than 0");
        }
        e.non_negative("spec.leaseTransitions", json::int(s, "leaseTransitions"));
        let strategy = s.get("strategy").and_then(Value::as_str);
        if let Some(v) = strategy {
            if v.contains('/') {
                e.names("spec.strategy.strategy", v, meta::qualified_name(v));
            } else if v != "OldestEmulationVersion" {
                e.unsupported("spec.strategy.strategy", v, &["OldestEmulationVersion"]);
            }
        }
        if !json::text(s, "preferredHolder").is_empty() && strategy.unwrap_or("").is_empty() {
            e.forbidden("spec.preferredHolder", "may only be specified if `strategy` is defined");
        }
    },
    ..DEFAULT
};

pub(crate) const POD_DISRUPTION_BUDGET: Rules = Rules {
    unconditional_update: false,
    on_create: &[Check::Always],
    on_update: &[Check::Always],
    on_status: &[Check::Status],
    validate: |doc, _, e, _| {
        let s = &doc["spec"];
        let amounts = ["minAvailable", "maxUnavailable"];
        if amounts.iter().all(|k| s.get(*k).is_some()) {
            let shown = internal::form("policy/v1.PodDisruptionBudgetSpec", s);
            e.invalid("spec", &shown, "minAvailable and maxUnavailable cannot be both set");
        }
        for k in amounts {
            if let Some(v) = s.get(k) {
                int_or_percent(&format!("spec.{k}"), v, e);
                at_most_all(&format!("spec.{k}"), v, e);
            }
        }
        if let Some(sel) = s.get("selector") {
            selectors::label_selector("spec.selector", sel, e);
        }
        const POLICIES: &[&str] = &["AlwaysAllow", "IfHealthyBudget"];
        if let Some(p) = s.get("unhealthyPodEvictionPolicy").and_then(Value::as_str)
            && !POLICIES.contains(&p)
        {
            e.unsupported("spec.unhealthyPodEvictionPolicy", p, POLICIES);
        }
    },
    validate_status: |doc, _, e, _| {
        conditions("status.conditions", json::list(doc, "status.conditions"), e);
        for k in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
            e.non_negative(&format!("status.{k}"), json::int(&doc["status"], k));
        }
    },
    ..DEFAULT
};

/// Conditions of the common form (apimachinery `ValidateConditions`).
pub(crate) fn conditions(path: &str, list: &[Value], e: &mut Errors) {
    const STATUSES: &[&str] = &["False", "True", "Unknown"];
    for (i, c) in list.iter().enumerate() {
        let at = format!("{path}[{i}]");
        let (kind, reason) = (json::text(c, "type"), json::text(c, "reason"));
        if list[..i].iter().any(|o| json::text(o, "type") == kind) {
            e.duplicate(&format!("{at}.type"), &kind.into());
        }
        e.names(&format!("{at}.type"), kind, meta::qualified_name(kind));
        let status = json::text(c, "status");
        if !STATUSES.contains(&status) {
            e.unsupported(&format!("{at}.status"), status, STATUSES);
        }
        if let Some(n) = json::int(c, "observedGeneration").filter(|n| *n < 0) {
            e.invalid(&format!("{at}.observedGeneration"), &n.into(), "must be greater than or equal to zero");
        }
        if json::text(c, "lastTransitionTime").is_empty() {
            e.required(&format!("{at}.lastTransitionTime"), "");
        }
        let at_reason = format!("{at}.reason");
        if reason.is_empty() {
            e.required(&at_reason, "");
        } else {
            e.names(&at_reason, reason, reason_rule(reason));
            if reason.len() > 1024 {
                e.too_long(&at_reason, 1024);
            }
        }
        if json::text(c, "message").len() > 32 * 1024 {
            e.too_long(&format!("{at}.message"), 32 * 1024);
        }
    }
}

fn reason_rule(r: &str) -> Vec<String> {
    let b = r.as_bytes();
    let inner = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b',' | b':');
    let last = b.last().is_some_and(|c| c.is_ascii_alphanumeric() || *c == b'_');
    let fine = b.first().is_some_and(u8::is_ascii_alphabetic) && b.iter().all(|c| inner(*c)) && last;
    if fine {
        return Vec::new();
    }
    vec![meta::regex_error(
        "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'",
        "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?",
        &["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"],
    )]
}

/// Highest value that is not the system's.
const HIGHEST_PRIORITY: i64 = 1_000_000_000;

/// Classes of the system and their values.
const SYSTEM: &[(&str, i64)] = &[("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

pub(crate) const PRIORITY_CLASS: Rules = Rules {
    on_update: &[Check::MetaUpdate, Check::Update],
    validate: |doc, _, e, _| {
        let (name, value) = (json::text(doc, "metadata.name"), json::int(doc, "value").unwrap_or(0));
        if name.starts_with("system-") {
            let wrong = match SYSTEM.iter().find(|(n, _)| *n == name) {
                None => Some(format!("{name} is not a known system priority class")),
                Some((_, v)) if *v != value => Some(format!("value of {name} PriorityClass must be {v}")),
                Some(_) if doc["globalDefault"].as_bool() == Some(true) => {
                    Some(format!("globalDefault of {name} PriorityClass must be false"))
                }
                Some(_) => None,
            };
            if let Some(w) = wrong {
                let why = format!("priority class names with 'system-' prefix are reserved for system use only. error: {w}");
                e.forbidden("metadata.name", &why);
            }
        } else if value > HIGHEST_PRIORITY {
            e.forbidden("value", &format!("maximum allowed value of a user defined priority is {HIGHEST_PRIORITY}"));
        }
        if doc.get("preemptionPolicy").is_some() {
            e.one_of("preemptionPolicy", json::text(doc, "preemptionPolicy"), &["PreemptLowerPriority", "Never"]);
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
