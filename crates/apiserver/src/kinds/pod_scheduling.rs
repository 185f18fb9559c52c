//! Where pods may go: tolerations, affinity, spreading (core `ValidateTolerations`, `validateAffinity`, `validateTopologySpreadConstraints`).

use serde_json::Value;

use super::errors::Errors;
use super::selectors::label_selector;
use crate::json;
use crate::meta;

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Tolerations.
pub(crate) fn tolerations(path: &str, list: &[Value], e: &mut Errors) {
    for (i, t) in list.iter().enumerate() {
        let at = format!("{path}[{i}]");
        let at_operator = format!("{at}.operator");
        let (key, operator, effect, value) =
            (json::text(t, "key"), json::text(t, "operator"), json::text(t, "effect"), json::text(t, "value"));
        e.name_if_any(&format!("{at}.key"), key, meta::qualified_name);
        if key.is_empty() && operator != "Exists" {
            let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            e.invalid_text(&at_operator, operator, why);
        }
        if t.get("tolerationSeconds").is_some_and(|s| !s.is_null()) && effect != "NoExecute" {
            e.invalid_text(&format!("{at}.effect"), effect, "effect must be 'NoExecute' when `tolerationSeconds` is set");
        }
        match operator {
            "Equal" | "" => {
                let wrong = meta::label_value(value);
                if !wrong.is_empty() {
                    e.invalid_text(&at_operator, value, &wrong.join(";"));
                }
            }
            "Exists" if !value.is_empty() => e.invalid_text(&at_operator, value, "value must be empty when `operator` is 'Exists'"),
            "Exists" => {}
            // Comparisons are not open yet (feature `TaintTolerationComparisonOperators`).
            "Lt" | "Gt" => e.unsupported(&at_operator, operator, &["Equal", "Exists", "Lt", "Gt"]),
            other => e.unsupported(&at_operator, other, &["Equal", "Exists"]),
        }
        if !effect.is_empty() && !EFFECTS.contains(&effect) {
            e.unsupported(&format!("{at}.effect"), effect, EFFECTS);
        }
    }
}

/// Taints of a node.
pub(crate) fn taints(path: &str, list: &[Value], e: &mut Errors) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (i, t) in list.iter().enumerate() {
        let at = format!("{path}[{i}]");
        let (key, value, effect) = (json::text(t, "key"), json::text(t, "value"), json::text(t, "effect"));
        e.names(&format!("{at}.key"), key, meta::qualified_name(key));
        let wrong = meta::label_value(value);
        if !wrong.is_empty() {
            e.invalid_text(&format!("{at}.value"), value, &wrong.join(";"));
        }
        e.one_of(&format!("{at}.effect"), effect, EFFECTS);
        if seen.contains(&(effect, key)) {
            e.duplicate_because(&at, &super::internal::form("v1.Taint", t), "taints must be unique by key and effect pair");
        } else {
            seen.push((effect, key));
        }
    }
}

/// Affinity of a pod to nodes and other pods.
pub(crate) fn affinity(path: &str, a: &Value, e: &mut Errors) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    if let Some(n) = a.get("nodeAffinity").filter(|n| !n.is_null()) {
        let at = format!("{path}.nodeAffinity");
        if let Some(r) = n.get(REQUIRED).filter(|r| !r.is_null()) {
            node_selector(&format!("{at}.{REQUIRED}"), r, e);
        }
        for (i, t) in json::list(n, PREFERRED).iter().enumerate() {
            let at = format!("{at}.{PREFERRED}[{i}]");
            weight(&at, t, e);
            node_term(&format!("{at}.preference"), &t["preference"], false, e);
        }
    }
    for k in ["podAffinity", "podAntiAffinity"] {
        let Some(p) = a.get(k).filter(|p| !p.is_null()) else { continue };
        for (i, t) in json::list(p, REQUIRED).iter().enumerate() {
            pod_term(&format!("{path}.{k}.{REQUIRED}[{i}]"), t, e);
        }
        for (i, t) in json::list(p, PREFERRED).iter().enumerate() {
            let at = format!("{path}.{k}.{PREFERRED}[{i}]");
            weight(&at, t, e);
            pod_term(&format!("{at}.podAffinityTerm"), &t["podAffinityTerm"], e);
        }
    }
}

fn weight(at: &str, t: &Value, e: &mut Errors) {
    let n = json::int(t, "weight").unwrap_or(0);
    if !(1..=100).contains(&n) {
        e.invalid(&format!("{at}.weight"), &n.into(), "must be in the range 1-100");
    }
}

/// A selector of nodes.
pub(crate) fn node_selector(path: &str, s: &Value, e: &mut Errors) {
    let terms = json::list(s, "nodeSelectorTerms");
    if terms.is_empty() {
        e.required(&format!("{path}.nodeSelectorTerms"), "must have at least one node selector term");
    }
    for (i, t) in terms.iter().enumerate() {
        node_term(&format!("{path}.nodeSelectorTerms[{i}]"), t, true, e);
    }
}

/// Values of preferences are not looked at.
fn node_term(path: &str, t: &Value, values: bool, e: &mut Errors) {
    for (i, r) in json::list(t, "matchExpressions").iter().enumerate() {
        let at = format!("{path}.matchExpressions[{i}]");
        let list = json::list(r, "values");
        match json::text(r, "operator") {
            "In" | "NotIn" if list.is_empty() => {
                e.required(&format!("{at}.values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !list.is_empty() => {
                e.forbidden(&format!("{at}.values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
            }
            "Gt" | "Lt" if list.len() != 1 => {
                e.required(&format!("{at}.values"), "must be specified single value when `operator` is 'Lt' or 'Gt'");
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => e.invalid_text(&format!("{at}.operator"), other, "not a valid selector operator"),
        }
        let key = json::text(r, "key");
        e.names(&format!("{at}.key"), key, meta::qualified_name(key));
        for (j, v) in list.iter().enumerate().filter(|_| values) {
            let v = v.as_str().unwrap_or("");
            e.names(&format!("{at}.values[{j}]"), v, meta::label_value(v));
        }
    }
    for (i, r) in json::list(t, "matchFields").iter().enumerate() {
        let at = format!("{path}.matchFields[{i}]");
        let list = json::list(r, "values");
        match json::text(r, "operator") {
            "In" | "NotIn" if list.len() != 1 => {
                let why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                e.required(&format!("{at}.values"), why);
            }
            "In" | "NotIn" => {}
            other => e.invalid_text(&format!("{at}.operator"), other, "not a valid selector operator"),
        }
        let key = json::text(r, "key");
        if key != "metadata.name" {
            e.invalid_text(&format!("{at}.key"), key, "not a valid field selector key");
            continue;
        }
        for (j, v) in list.iter().enumerate() {
            let v = v.as_str().unwrap_or("");
            e.names(&format!("{at}.values[{j}]"), v, meta::dns_subdomain(v));
        }
    }
}

fn pod_term(path: &str, t: &Value, e: &mut Errors) {
    for k in ["labelSelector", "namespaceSelector"] {
        if let Some(s) = t.get(k) {
            label_selector(&format!("{path}.{k}"), s, e);
        }
    }
    for n in json::list(t, "namespaces") {
        let n = n.as_str().unwrap_or("");
        e.names(&format!("{path}.namespace"), n, meta::dns_label(n));
    }
    label_keys(path, t, e);
    let key = json::text(t, "topologyKey");
    if key.is_empty() {
        e.required(&format!("{path}.topologyKey"), "can not be empty");
    }
    e.names(&format!("{path}.topologyKey"), key, meta::qualified_name(key));
}

/// Keys whose values are taken from the pod itself.
fn label_keys(path: &str, t: &Value, e: &mut Errors) {
    let selector = t.get("labelSelector").filter(|s| !s.is_null());
    for k in ["matchLabelKeys", "mismatchLabelKeys"] {
        let (list, at) = (json::list(t, k), format!("{path}.{k}"));
        if !list.is_empty() && selector.is_none() {
            e.forbidden(&at, "must not be specified when labelSelector is not set");
            continue;
        }
        for (i, key) in list.iter().enumerate() {
            let key = key.as_str().unwrap_or("");
            e.names(&format!("{at}[{i}]"), key, meta::qualified_name(key));
        }
    }
    let keys = json::list(t, "matchLabelKeys");
    if let Some(s) = selector {
        let mut seen: Vec<&str> = json::object(s, "matchLabels").into_iter().flatten().map(|(k, _)| k.as_str()).collect();
        for r in json::list(s, "matchExpressions") {
            let key = json::text(r, "key");
            if let Some(i) = keys.iter().rposition(|k| k == key)
                && seen.contains(&key)
            {
                e.invalid_text(&format!("{path}[{i}]"), key, "exists in both matchLabelKeys and labelSelector");
            }
            seen.push(key);
        }
    }
    let others = json::list(t, "mismatchLabelKeys");
    for (i, k) in keys.iter().enumerate().filter(|(_, k)| others.contains(k)) {
        e.invalid(&format!("{path}.matchLabelKeys[{i}]"), k, "exists in both matchLabelKeys and mismatchLabelKeys");
    }
}

/// How pods spread.
pub(crate) fn spread(path: &str, list: &[Value], e: &mut Errors) {
    const WHEN: &[&str] = &["DoNotSchedule", "ScheduleAnyway"];
    const POLICIES: &[&str] = &["Honor", "Ignore"];
    for (i, c) in list.iter().enumerate() {
        let at = format!("{path}[{i}]");
        let skew = json::int(c, "maxSkew").unwrap_or(0);
        if skew <= 0 {
            e.invalid(&format!("{at}.maxSkew"), &skew.into(), "must be greater than zero");
        }
        let (key, when) = (json::text(c, "topologyKey"), json::text(c, "whenUnsatisfiable"));
        if key.is_empty() {
            e.required(&format!("{at}.topologyKey"), "can not be empty");
        }
        if !WHEN.contains(&when) {
            e.unsupported(&format!("{at}.whenUnsatisfiable"), when, WHEN);
        }
        let same = |o: &Value| json::text(o, "topologyKey") == key && json::text(o, "whenUnsatisfiable") == when;
        if list[i + 1..].iter().any(same) {
            e.duplicate(&format!("{at}.{{topologyKey, whenUnsatisfiable}}"), &format!("{{{key}, {when}}}").into());
        }
        if let Some(n) = json::int(c, "minDomains") {
            let at = format!("{at}.minDomains");
            if n <= 0 {
                e.invalid(&at, &n.into(), "must be greater than zero");
            }
            if when != "DoNotSchedule" {
                e.invalid(&at, &n.into(), &format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}"));
            }
        }
        for k in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            if let Some(p) = c.get(k).and_then(Value::as_str)
                && !POLICIES.contains(&p)
            {
                e.unsupported(&format!("{at}.{k}"), p, POLICIES);
            }
        }
        label_keys(&at, c, e);
        if let Some(s) = c.get("labelSelector") {
            label_selector(&format!("{at}.labelSelector"), s, e);
        }
    }
}
