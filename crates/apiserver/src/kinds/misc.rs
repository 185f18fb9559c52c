//! Small kinds of small groups: leases, budgets, priorities, service accounts.

use serde_json::Value;

use super::errors::Errors;
use super::metadata::Flavour;
use super::selectors::{self, at_most_all, int_or_percent};
use super::{ALL_META, Check, DEFAULT, Rules, addresses, internal};
use crate::json;
use crate::meta;

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

pub(crate) const SERVICE_CIDR: Rules = Rules {
    on_update: &[Check::MetaUpdate, Check::Update],
    status_keeps_meta: ALL_META,
    validate: |doc, _, e, _| cidrs(&doc["spec"], e),
    validate_update: |new, old, e, _| {
        let (is, was) = (json::list(&new["spec"], "cidrs"), json::list(&old["spec"], "cidrs"));
        if is.len() != was.len() && (was.len(), is.len()) != (1, 2) {
            let shown = if is.is_empty() { Value::Null } else { Value::from(is.to_vec()) };
            return e.invalid("spec.cidrs", &shown, "field is immutable");
        }
        for (i, (is, was)) in is.iter().zip(was).enumerate() {
            e.immutable(&format!("spec.cidrs[{i}]"), Some(is), Some(was));
        }
        if is.len() > was.len() {
            cidrs(&new["spec"], e);
        }
    },
    ..DEFAULT
};

/// One network, or one of each family.
fn cidrs(spec: &Value, e: &mut Errors) {
    let list = json::list(spec, "cidrs");
    match list.len() {
        0 => return e.required("spec.cidrs", "at least one CIDR required"),
        1 | 2 => {}
        _ => return e.invalid("spec.cidrs", &serde_json::json!({"CIDRs": list}), "may only hold up to 2 values"),
    }
    let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
    for (i, c) in list.iter().enumerate() {
        addresses::cidr(&format!("spec.cidrs[{i}]"), &text(c), &[], e);
    }
    let family = |v: &Value| addresses::parse_cidr(&text(v)).map(|(ip, _)| ip.is_ipv4());
    if let [a, b] = list
        && family(a).is_some()
        && family(a) == family(b)
    {
        let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        e.invalid("spec.cidrs", &Value::from(list.to_vec()), why);
    }
}

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
