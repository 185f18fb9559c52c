//! Flow schemas and priority levels (`pkg/apis/flowcontrol/validation`). They are kept and checked; nothing here queues by them.

use serde_json::{Value, json};

use super::errors::Errors;
use super::{ALL_META, Check, DEFAULT, Rules};
use crate::json;
use crate::meta;

pub(crate) const FLOW_SCHEMA: Rules = Rules {
    on_update: &[Check::Meta, Check::Always],
    status_keeps_meta: ALL_META,
    validate: |doc, _, e, _| flow_schema(json::text(doc, "metadata.name"), &doc["spec"], e),
    ..DEFAULT
};

pub(crate) const PRIORITY_LEVEL: Rules = Rules {
    on_update: &[Check::Meta, Check::Always],
    status_keeps_meta: ALL_META,
    validate: |doc, _, e, _| priority_level(json::text(doc, "metadata.name"), &doc["spec"], e),
    ..DEFAULT
};

const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
/// The largest precedence of a schema.
const MAX_PRECEDENCE: i64 = 10_000;
/// Most queues of a level.
const MAX_QUEUES: i64 = 10_000_000;

fn flow_schema(name: &str, s: &Value, e: &mut Errors) {
    let precedence = json::int(s, "matchingPrecedence").unwrap_or(0);
    let mut wrong = |why: &str| e.invalid("spec.matchingPrecedence", &precedence.into(), why);
    match precedence {
        ..=0 => wrong("must be a positive value"),
        1 if name != "exempt" => wrong("only the schema named 'exempt' may have matchingPrecedence 1"),
        n if n > MAX_PRECEDENCE => wrong(&format!("must not be greater than {MAX_PRECEDENCE}")),
        _ => {}
    }
    if let Some(m) = s.get("distinguisherMethod").filter(|m| !m.is_null())
        && !matches!(json::text(m, "type"), "ByNamespace" | "ByUser")
    {
        let shown = json!({"Type": json::text(m, "type")});
        e.unsupported_value("spec.distinguisherMethod.type", &shown, &["ByNamespace", "ByUser"]);
    }
    match json::text(s, "priorityLevelConfiguration.name") {
        "" => e.required("spec.priorityLevelConfiguration.name", "must reference a priority level"),
        level => e.names("spec.priorityLevelConfiguration.name", level, meta::dns_subdomain(level)),
    }
    for (i, r) in json::list(s, "rules").iter().enumerate() {
        rule(&format!("spec.rules[{i}]"), r, e);
    }
}

fn rule(at: &str, r: &Value, e: &mut Errors) {
    let subjects = json::list(r, "subjects");
    if subjects.is_empty() {
        e.required(&format!("{at}.subjects"), "subjects must contain at least one value");
    }
    for (i, s) in subjects.iter().enumerate() {
        subject(&format!("{at}.subjects[{i}]"), s, e);
    }
    let (resources, others) = (json::list(r, "resourceRules"), json::list(r, "nonResourceRules"));
    if resources.is_empty() && others.is_empty() {
        e.required(at, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    for (i, r) in resources.iter().enumerate() {
        resource_rule(&format!("{at}.resourceRules[{i}]"), r, e);
    }
    for (i, r) in others.iter().enumerate() {
        other_rule(&format!("{at}.nonResourceRules[{i}]"), r, e);
    }
}

/// Fields of a subject, by its kind.
const SUBJECTS: [(&str, &str); 3] = [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];

fn subject(at: &str, s: &Value, e: &mut Errors) {
    let kind = json::text(s, "kind");
    let Some((_, field)) = SUBJECTS.iter().find(|(k, _)| *k == kind) else {
        return e.unsupported(&format!("{at}.kind"), kind, &["Group", "ServiceAccount", "User"]);
    };
    let path = format!("{at}.{field}");
    match s.get(*field).filter(|v| !v.is_null()) {
        None => e.required(&path, &format!("{field} is required when subject kind is '{kind}'")),
        Some(v) => {
            match json::text(v, "name") {
                "" => e.required(&format!("{path}.name"), ""),
                name if kind == "ServiceAccount" && name != "*" => e.names(&format!("{path}.name"), name, meta::dns_subdomain(name)),
                _ => {}
            }
            match json::text(v, "namespace") {
                _ if kind != "ServiceAccount" => {}
                "" => e.required(&format!("{path}.namespace"), "must specify namespace for service account"),
                ns => e.names(&format!("{path}.namespace"), ns, meta::dns_label(ns)),
            }
        }
    }
    for (other, field) in SUBJECTS {
        if other != kind && s.get(field).is_some_and(|v| !v.is_null()) {
            e.forbidden(&format!("{at}.{field}"), &format!("{field} is forbidden when subject kind is not '{other}'"));
        }
    }
}

/// A list that is not empty, and holds nothing beside `*`. Whether its values are to be looked at.
fn several(path: &str, list: &[Value], none: &str, others: &str, e: &mut Errors) -> bool {
    let all = list.iter().any(|v| v == "*");
    if list.is_empty() {
        e.required(path, none);
    } else if all && list.len() > 1 {
        e.invalid(path, &json!(list), &format!("if '*' is present, must not specify other {others}"));
    }
    !all && !list.is_empty()
}

fn verbs(at: &str, r: &Value, e: &mut Errors) {
    let (path, list) = (format!("{at}.verbs"), json::list(r, "verbs"));
    if several(&path, list, "verbs must contain at least one value", "verbs", e)
        && !list.iter().all(|v| VERBS.contains(&v.as_str().unwrap_or("")))
    {
        e.unsupported_value(&path, &json!(list), VERBS);
    }
}

fn resource_rule(at: &str, r: &Value, e: &mut Errors) {
    verbs(at, r, e);
    let of = |k: &str| (format!("{at}.{k}"), json::list(r, k));
    let (path, groups) = of("apiGroups");
    several(&path, groups, "resource rules must supply at least one api group", "api groups", e);
    let (path, resources) = of("resources");
    several(&path, resources, "resource rules must supply at least one resource", "resources", e);
    let (path, namespaces) = of("namespaces");
    if namespaces.is_empty() && r["clusterScope"] == true {
        return;
    }
    let none = "resource rules that are not cluster scoped must supply at least one namespace";
    if several(&path, namespaces, none, "namespaces", e) {
        for (i, n) in namespaces.iter().enumerate() {
            let name = n.as_str().unwrap_or("");
            for why in meta::dns_label(name) {
                let why = format!("each member of this list must be '*' or a DNS-1123 label; {why}");
                e.invalid_text(&format!("{path}[{i}]"), name, &why);
            }
        }
    }
}

fn other_rule(at: &str, r: &Value, e: &mut Errors) {
    verbs(at, r, e);
    let (path, list) = (format!("{at}.nonResourceURLs"), json::list(r, "nonResourceURLs"));
    if several(&path, list, "nonResourceURLs must contain at least one value", "non-resource URLs", e) {
        for (i, u) in list.iter().enumerate() {
            let url = u.as_str().unwrap_or("");
            let why = match url {
                "" => "must not be empty",
                "/" => continue,
                _ if !url.starts_with('/') => "must start with slash",
                _ if url.contains(' ') => "must not contain white-space",
                _ if url.contains("//") => "must not contain double slash",
                _ if url.matches('*').count() > 1 || (url.contains('*') && !url.ends_with("/*")) => "wildcard can only do suffix matching",
                _ => continue,
            };
            e.invalid_text(&format!("{path}[{i}]"), url, why);
        }
    }
}

fn priority_level(name: &str, s: &Value, e: &mut Errors) {
    let kind = json::text(s, "type");
    if (name == "exempt") != (kind == "Exempt") {
        e.invalid_text("spec.type", kind, "must be 'Exempt' if and only if `name` is 'exempt'");
    }
    let (limited, exempt) = (s.get("limited").filter(|v| !v.is_null()), s.get("exempt").filter(|v| !v.is_null()));
    match kind {
        "Exempt" => {
            if limited.is_some() {
                e.forbidden("spec.limited", "must be nil if the type is not Limited");
            }
            if let Some(x) = exempt {
                shares("spec.exempt", x, e);
                lendable("spec.exempt", x, e);
            }
        }
        "Limited" => {
            if exempt.is_some() {
                e.forbidden("spec.exempt", "must be nil if the type is Limited");
            }
            match limited {
                None => e.required("spec.limited", "must not be empty when type is Limited"),
                Some(l) => {
                    shares("spec.limited", l, e);
                    limit_response("spec.limited.limitResponse", &l["limitResponse"], e);
                    lendable("spec.limited", l, e);
                    if let Some(n) = json::int(l, "borrowingLimitPercent").filter(|n| *n < 0) {
                        e.invalid("spec.limited.borrowingLimitPercent", &n.into(), "if specified, must be a non-negative integer");
                    }
                }
            }
        }
        other => e.unsupported("spec.type", other, &["Exempt", "Limited"]),
    }
}

fn shares(at: &str, v: &Value, e: &mut Errors) {
    if let Some(n) = json::int(v, "nominalConcurrencyShares").filter(|n| *n < 0) {
        e.invalid(&format!("{at}.nominalConcurrencyShares"), &n.into(), "must be a non-negative integer");
    }
}

fn lendable(at: &str, v: &Value, e: &mut Errors) {
    if let Some(n) = json::int(v, "lendablePercent").filter(|n| !(0..=100).contains(n)) {
        e.invalid(&format!("{at}.lendablePercent"), &n.into(), "must be between 0 and 100, inclusive");
    }
}

fn limit_response(at: &str, r: &Value, e: &mut Errors) {
    let queuing = r.get("queuing").filter(|q| !q.is_null());
    let path = format!("{at}.queuing");
    match (json::text(r, "type"), queuing) {
        ("Reject", Some(_)) => e.forbidden(&path, "must be nil if limited.limitResponse.type is not Limited"),
        ("Reject", None) => {}
        ("Queue", None) => e.required(&path, "must not be empty if limited.limitResponse.type is Limited"),
        ("Queue", Some(q)) => queues(&path, q, e),
        (other, _) => e.unsupported(&format!("{at}.type"), other, &["Queue", "Reject"]),
    }
}

fn queues(at: &str, q: &Value, e: &mut Errors) {
    let n = |k: &str| json::int(q, k).unwrap_or(0);
    let (length, queues, hand) = (n("queueLengthLimit"), n("queues"), n("handSize"));
    if length <= 0 {
        e.invalid(&format!("{at}.queueLengthLimit"), &length.into(), "must be positive");
    }
    if queues <= 0 {
        e.invalid(&format!("{at}.queues"), &queues.into(), "must be positive");
    } else if queues > MAX_QUEUES {
        e.invalid(&format!("{at}.queues"), &queues.into(), &format!("must not be greater than {MAX_QUEUES}"));
    }
    let path = format!("{at}.handSize");
    if hand <= 0 {
        e.invalid(&path, &hand.into(), "must be positive");
    } else if hand > queues {
        e.invalid(&path, &hand.into(), &format!("should not be greater than queues ({queues})"));
    }
}
