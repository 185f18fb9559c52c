//! Rules of pod templates and pod specs (core `ValidatePodTemplateSpec`, `ValidatePodSpec`): those that workloads meet.

use std::collections::BTreeSet;

use serde_json::Value;

use super::errors::Errors;
use super::metadata::{validate_annotations, validate_labels};
use super::pod_volumes::volumes;
use crate::json;
use crate::meta;
use crate::quantity::Quantity;

/// What a template's owner asks of it.
#[derive(Clone, Copy)]
pub(crate) struct Template {
    /// Allowed restart policies.
    pub(crate) restart: &'static [&'static str],
    /// `activeDeadlineSeconds` may be set.
    pub(crate) deadline: bool,
    /// Ephemeral containers may be set.
    pub(crate) allow_ephemeral: bool,
}

/// A pod template.
pub(crate) fn template(t: &Value, path: &str, rules: Template, e: &mut Errors) {
    validate_labels(json::object(t, "metadata.labels"), &format!("{path}.labels"), e);
    validate_annotations(json::object(t, "metadata.annotations"), &format!("{path}.annotations"), e);
    spec(&t["spec"], &format!("{path}.spec"), e);
    if !rules.allow_ephemeral && !json::list(t, "spec.ephemeralContainers").is_empty() {
        e.forbidden(&format!("{path}.spec.ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }
    let restart = json::text(t, "spec.restartPolicy");
    if !restart.is_empty() && !rules.restart.contains(&restart) && matches!(restart, "Always" | "OnFailure" | "Never") {
        e.unsupported(&format!("{path}.spec.restartPolicy"), restart, rules.restart);
    }
    if !rules.deadline && json::int(t, "spec.activeDeadlineSeconds").is_some() {
        e.forbidden(&format!("{path}.spec.activeDeadlineSeconds"), &format!("activeDeadlineSeconds in {} is not Supported", "ReplicaSet"));
    }
}

/// A label selector in wire form.
pub(crate) fn label_selector(s: &Value, path: &str, e: &mut Errors) {
    validate_labels(json::object(s, "matchLabels"), &format!("{path}.matchLabels"), e);
    for (i, r) in json::list(s, "matchExpressions").iter().enumerate() {
        let at = format!("{path}.matchExpressions[{i}]");
        let n = json::list(r, "values").len();
        match json::text(r, "operator") {
            "In" | "NotIn" => {
                if n == 0 {
                    e.required(&format!("{at}.values"), "must be specified when `operator` is 'In' or 'NotIn'");
                }
            }
            "Exists" | "DoesNotExist" => {
                if n > 0 {
                    e.forbidden(&format!("{at}.values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
                }
            }
            other => e.invalid_text(&format!("{at}.operator"), other, "not a valid selector operator"),
        }
        let key = json::text(r, "key");
        e.names(&format!("{at}.key"), key, meta::qualified_name(key));
        for (j, v) in json::list(r, "values").iter().enumerate() {
            let v = v.as_str().unwrap_or("");
            e.names(&format!("{at}.values[{j}]"), v, meta::label_value(v));
        }
    }
}

/// A pod spec.
pub(crate) fn spec(s: &Value, path: &str, e: &mut Errors) {
    let volumes = volumes(s, path, e);
    containers(s, path, &volumes, e);
    init_containers(s, path, &volumes, e);
    match json::text(s, "restartPolicy") {
        "Always" | "OnFailure" | "Never" => {}
        "" => e.required(&format!("{path}.restartPolicy"), ""),
        other => e.unsupported(&format!("{path}.restartPolicy"), other, &["Always", "OnFailure", "Never"]),
    }
    match json::text(s, "dnsPolicy") {
        "ClusterFirstWithHostNet" | "ClusterFirst" | "Default" | "None" => {}
        "" => e.required(&format!("{path}.dnsPolicy"), ""),
        other => {
            e.unsupported(&format!("{path}.dnsPolicy"), other, &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]);
        }
    }
    validate_labels(json::object(s, "nodeSelector"), &format!("{path}.nodeSelector"), e);
    for k in ["serviceAccountName", "nodeName"] {
        let v = json::text(s, k);
        if !v.is_empty() {
            e.names(&format!("{path}.{k}"), v, meta::dns_subdomain(v));
        }
    }
    if let Some(n) = json::int(s, "activeDeadlineSeconds")
        && !(1..=i64::from(i32::MAX)).contains(&n)
    {
        e.invalid(&format!("{path}.activeDeadlineSeconds"), &n.into(), "must be between 1 and 2147483647, inclusive");
    }
    let hostname = json::text(s, "hostname");
    if !hostname.is_empty() {
        e.names(&format!("{path}.hostname"), hostname, meta::dns_label(hostname));
    }
    let subdomain = json::text(s, "subdomain");
    if !subdomain.is_empty() {
        e.names(&format!("{path}.subdomain"), subdomain, meta::dns_label(subdomain));
    }
    tolerations(json::list(s, "tolerations"), &format!("{path}.tolerations"), e);
    let class = json::text(s, "priorityClassName");
    if !class.is_empty() {
        e.names(&format!("{path}.priorityClassName"), class, meta::dns_subdomain(class));
    }
    for (i, c) in json::list(s, "topologySpreadConstraints").iter().enumerate() {
        let at = format!("{path}.topologySpreadConstraints[{i}]");
        let skew = json::int(c, "maxSkew").unwrap_or(0);
        if skew <= 0 {
            e.invalid(&format!("{at}.maxSkew"), &skew.into(), "must be greater than zero");
        }
        if json::text(c, "topologyKey").is_empty() {
            e.required(&format!("{at}.topologyKey"), "can not be empty");
        }
        let when = json::text(c, "whenUnsatisfiable");
        if !matches!(when, "DoNotSchedule" | "ScheduleAnyway") {
            e.unsupported(&format!("{at}.whenUnsatisfiable"), when, &["DoNotSchedule", "ScheduleAnyway"]);
        }
    }
    if let Some(g) = json::int(s, "terminationGracePeriodSeconds") {
        e.non_negative(&format!("{path}.terminationGracePeriodSeconds"), Some(g));
    }
    for (i, g) in json::list(s, "readinessGates").iter().enumerate() {
        let t = json::text(g, "conditionType");
        e.names(&format!("{path}.readinessGates[{i}].conditionType"), t, meta::qualified_name(t));
    }
    for (i, g) in json::list(s, "schedulingGates").iter().enumerate() {
        let t = json::text(g, "name");
        e.names(&format!("{path}.schedulingGates[{i}]"), t, meta::qualified_name(t));
    }
}

fn tolerations(list: &[Value], path: &str, e: &mut Errors) {
    for (i, t) in list.iter().enumerate() {
        let at = format!("{path}[{i}]");
        let (key, op, effect) = (json::text(t, "key"), json::text(t, "operator"), json::text(t, "effect"));
        if !key.is_empty() {
            e.names(&format!("{at}.key"), key, meta::qualified_name(key));
        }
        if key.is_empty() && op != "Exists" {
            e.invalid_text(
                &format!("{at}.operator"),
                op,
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            );
        }
        if t.get("tolerationSeconds").is_some() && effect != "NoExecute" {
            e.invalid_text(&format!("{at}.effect"), effect, "effect must be 'NoExecute' when `tolerationSeconds` is set");
        }
        match op {
            "Equal" | "" => {
                let v = json::text(t, "value");
                e.names(&format!("{at}.operator"), v, meta::label_value(v));
            }
            "Exists" => {
                let v = json::text(t, "value");
                if !v.is_empty() {
                    e.invalid(&format!("{at}.operator"), t, "value must be empty when `operator` is 'Exists'");
                }
            }
            other => e.unsupported(&format!("{at}.operator"), other, &["Equal", "Exists"]),
        }
        if !effect.is_empty() && !matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
            e.unsupported(&format!("{at}.effect"), effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
        }
    }
}

fn containers(s: &Value, path: &str, volumes: &BTreeSet<String>, e: &mut Errors) {
    let list = json::list(s, "containers");
    let path = format!("{path}.containers");
    if list.is_empty() {
        e.required(&path, "");
        return;
    }
    let mut names = BTreeSet::new();
    let host = s["hostNetwork"].as_bool().unwrap_or(false);
    for (i, c) in list.iter().enumerate() {
        container(c, &format!("{path}[{i}]"), volumes, host, &mut names, e);
        probes(c, &format!("{path}[{i}]"), e);
    }
}

fn init_containers(s: &Value, path: &str, volumes: &BTreeSet<String>, e: &mut Errors) {
    let mut names: BTreeSet<String> = json::list(s, "containers").iter().map(|c| json::text(c, "name").to_owned()).collect();
    let host = s["hostNetwork"].as_bool().unwrap_or(false);
    for (i, c) in json::list(s, "initContainers").iter().enumerate() {
        let at = format!("{path}.initContainers[{i}]");
        container(c, &at, volumes, host, &mut names, e);
        let sidecar = json::text(c, "restartPolicy") == "Always";
        if sidecar {
            probes(c, &at, e);
        } else {
            for k in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                if c.get(k).is_some() {
                    e.forbidden(&format!("{at}.{k}"), "may not be set for init containers without restartPolicy=Always");
                }
            }
        }
    }
}

/// One container, probes aside.
pub(crate) fn container(c: &Value, at: &str, volumes: &BTreeSet<String>, host: bool, names: &mut BTreeSet<String>, e: &mut Errors) {
    let name = json::text(c, "name");
    if name.is_empty() {
        e.required(&format!("{at}.name"), "");
    } else {
        e.names(&format!("{at}.name"), name, meta::dns_label(name));
    }
    if !name.is_empty() && !names.insert(name.to_owned()) {
        e.duplicate(&format!("{at}.name"), &Value::from(name));
    }
    let image = json::text(c, "image");
    if image.is_empty() {
        e.required(&format!("{at}.image"), "");
    } else if image != image.trim() {
        e.invalid_text(&format!("{at}.image"), image, "must not have leading or trailing whitespace");
    }
    ports(json::list(c, "ports"), &format!("{at}.ports"), host, e);
    env(json::list(c, "env"), &format!("{at}.env"), e);
    let mut paths = BTreeSet::new();
    for (i, m) in json::list(c, "volumeMounts").iter().enumerate() {
        let at = format!("{at}.volumeMounts[{i}]");
        let (name, path) = (json::text(m, "name"), json::text(m, "mountPath"));
        if name.is_empty() {
            e.required(&format!("{at}.name"), "");
        } else if !volumes.contains(name) {
            e.not_found(&format!("{at}.name"), name);
        }
        if path.is_empty() {
            e.required(&format!("{at}.mountPath"), "");
        } else if !paths.insert(path.to_owned()) {
            e.invalid_text(&format!("{at}.mountPath"), path, "must be unique");
        }
    }
    match json::text(c, "terminationMessagePolicy") {
        "File" | "FallbackToLogsOnError" => {}
        "" => e.required(&format!("{at}.terminationMessagePolicy"), ""),
        other => e.unsupported(&format!("{at}.terminationMessagePolicy"), other, &["FallbackToLogsOnError", "File"]),
    }
    match json::text(c, "imagePullPolicy") {
        "Always" | "IfNotPresent" | "Never" => {}
        "" => e.required(&format!("{at}.imagePullPolicy"), ""),
        other => e.unsupported(&format!("{at}.imagePullPolicy"), other, &["Always", "IfNotPresent", "Never"]),
    }
    resources(&c["resources"], &format!("{at}.resources"), e);
}

fn ports(list: &[Value], path: &str, host: bool, e: &mut Errors) {
    let mut names = BTreeSet::new();
    for (i, p) in list.iter().enumerate() {
        let at = format!("{path}[{i}]");
        let name = json::text(p, "name");
        if !name.is_empty() {
            let wrong = port_name(name);
            if wrong.is_empty() {
                if !names.insert(name.to_owned()) {
                    e.duplicate(&format!("{at}.name"), &Value::from(name));
                }
            } else {
                e.names(&format!("{at}.name"), name, wrong);
            }
        }
        let n = json::int(p, "containerPort").unwrap_or(0);
        if n == 0 {
            e.required(&format!("{at}.containerPort"), "");
        } else {
            port_number(n, &format!("{at}.containerPort"), e);
        }
        if let Some(h) = json::int(p, "hostPort").filter(|h| *h != 0) {
            port_number(h, &format!("{at}.hostPort"), e);
            if host && h != n {
                e.invalid(&format!("{at}.hostPort"), &h.into(), "must match `containerPort` when `hostNetwork` is true");
            }
        }
        match json::text(p, "protocol") {
            "TCP" | "UDP" | "SCTP" => {}
            "" => e.required(&format!("{at}.protocol"), ""),
            other => e.unsupported(&format!("{at}.protocol"), other, &["SCTP", "TCP", "UDP"]),
        }
    }
}

/// A port number.
pub(crate) fn port_number(n: i64, path: &str, e: &mut Errors) {
    if !(1..=65535).contains(&n) {
        e.invalid(path, &n.into(), "must be between 1 and 65535, inclusive");
    }
}

/// What is wrong with the name of a port.
pub(crate) fn port_name(s: &str) -> Vec<String> {
    let mut out = Vec::new();
    if s.len() > 15 {
        out.push("must be no more than 15 characters".to_owned());
    }
    if !s.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-') {
        out.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !s.bytes().any(|c| c.is_ascii_lowercase()) {
        out.push("must contain at least one letter (a-z)".to_owned());
    }
    if s.contains("--") {
        out.push("must not contain consecutive hyphens".to_owned());
    }
    if s.starts_with('-') || s.ends_with('-') {
        out.push("must not begin or end with a hyphen".to_owned());
    }
    out
}

fn env(list: &[Value], path: &str, e: &mut Errors) {
    for (i, v) in list.iter().enumerate() {
        let at = format!("{path}[{i}]");
        let name = json::text(v, "name");
        if name.is_empty() {
            e.required(&format!("{at}.name"), "");
        } else if name.chars().any(|c| !(' '..='~').contains(&c) || c == '=') {
            e.invalid_text(
                &format!("{at}.name"),
                name,
                "a valid environment variable name must consist only of printable ASCII characters other than '='",
            );
        }
        if let Some(from) = v.get("valueFrom").and_then(Value::as_object) {
            let at = format!("{at}.valueFrom");
            if !json::text(v, "value").is_empty() {
                e.invalid_text(&at, "", "may not be specified when `value` is not empty");
            }
            match from.len() {
                0 => e.invalid_text(
                    &at,
                    "",
                    "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
                ),
                1 => {}
                _ => e.invalid_text(&at, "", "may not have more than one field specified at a time"),
            }
        }
    }
}

/// Whether an amount of this resource may not exceed what is asked for.
fn overcommit(name: &str) -> bool {
    !name.contains('/') && !name.starts_with("hugepages-")
}

fn resources(r: &Value, path: &str, e: &mut Errors) {
    let get = |list: &Value, k: &str| list.get(k).and_then(Value::as_str).and_then(|s| Quantity::parse(s).ok());
    for which in ["limits", "requests"] {
        for (name, v) in r.get(which).and_then(Value::as_object).into_iter().flatten() {
            let at = format!("{path}.{which}[{name}]");
            if !name.contains('/') && !matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") && !name.starts_with("hugepages-") {
                e.invalid_text(&at, name, "must be a standard resource for containers");
                e.invalid_text(&at, name, "must be a standard resource type or fully qualified");
            }
            if let Some(q) = v.as_str().and_then(|s| Quantity::parse(s).ok())
                && q < Quantity::ZERO
            {
                e.invalid(&at, v, "must be greater than or equal to 0");
            }
        }
    }
    for (name, v) in r.get("requests").and_then(Value::as_object).into_iter().flatten() {
        let at = format!("{path}.requests");
        let (Some(want), limit) = (v.as_str().and_then(|s| Quantity::parse(s).ok()), get(&r["limits"], name)) else { continue };
        match limit {
            Some(l) if want > l => e.invalid(&at, v, &format!("must be less than or equal to {name} limit of {l}")),
            Some(l) if want != l && !overcommit(name) => {
                e.invalid(&at, v, &format!("must be equal to {name} limit of {l}"));
            }
            None if !overcommit(name) => e.required(&format!("{path}.limits"), "Limit must be set for non overcommitable resources"),
            _ => {}
        }
    }
}

fn probes(c: &Value, at: &str, e: &mut Errors) {
    for k in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(p) = c.get(k) else { continue };
        let at = format!("{at}.{k}");
        handler(p, &at, e);
        for f in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
            e.non_negative(&format!("{at}.{f}"), json::int(p, f));
        }
        if k != "readinessProbe"
            && let Some(n) = json::int(p, "successThreshold").filter(|n| *n != 1)
        {
            e.invalid(&format!("{at}.successThreshold"), &n.into(), "must be 1");
        }
    }
}

fn handler(p: &Value, at: &str, e: &mut Errors) {
    let kinds = ["exec", "httpGet", "tcpSocket", "grpc"];
    let have: Vec<&str> = kinds.into_iter().filter(|k| p.get(*k).is_some()).collect();
    for extra in have.iter().skip(1) {
        e.forbidden(&format!("{at}.{extra}"), "may not specify more than 1 handler type");
    }
    match have.first() {
        None => e.required(at, "must specify a handler type"),
        Some(&"exec") if json::list(p, "exec.command").is_empty() => e.required(&format!("{at}.exec.command"), ""),
        Some(&k @ ("httpGet" | "tcpSocket")) => match &p[k]["port"] {
            Value::String(s) => e.names(&format!("{at}.{k}.port"), s, port_name(s)),
            n => port_number(n.as_i64().unwrap_or(0), &format!("{at}.{k}.port"), e),
        },
        _ => {}
    }
}
