//! Webhooks, admission policies and their bindings (`pkg/apis/admissionregistration/validation`). Expressions are read, and neither their
//! types nor their costs looked at: nothing here runs them (docs/parity.md).

use serde_json::{Value, json};

use super::errors::Errors;
use super::{ALL_META, Check, DEFAULT, Rules, selectors};
use crate::custom::expression_syntax;
use crate::json;
use crate::meta;

const WHOLE: Rules = Rules { unconditional_update: false, on_update: &[Check::Meta, Check::Always], ..DEFAULT };

pub(crate) const WEBHOOKS: Rules = Rules {
    validate: |doc, _, e, _| {
        let mut names = Vec::new();
        for (i, hook) in json::list(doc, "webhooks").iter().enumerate() {
            let at = format!("webhooks[{i}]");
            webhook(&at, hook, e);
            review_versions(&format!("{at}.admissionReviewVersions"), json::list(hook, "admissionReviewVersions"), e);
            unique(&format!("{at}.name"), json::text(hook, "name"), &mut names, e);
        }
    },
    ..WHOLE
};

pub(crate) const POLICY: Rules = Rules {
    validate: |doc, _, e, _| {
        let s = &doc["spec"];
        e.one_of("spec.failurePolicy", json::text(s, "failurePolicy"), FAILURE_POLICIES);
        if let Some(kind) = s.get("paramKind").filter(|k| !k.is_null()) {
            param_kind("spec.paramKind", kind, e);
        }
        match s.get("matchConstraints").filter(|m| !m.is_null()) {
            None => e.required("spec.matchConstraints", ""),
            Some(m) => {
                match_resources("spec.matchConstraints", m, e);
                if json::list(m, "resourceRules").is_empty() {
                    e.required("spec.matchConstraints.resourceRules", "");
                }
            }
        }
        match_conditions("spec.matchConditions", json::list(s, "matchConditions"), e);
    },
    ..WHOLE
};

pub(crate) const VALIDATING_POLICY: Rules = Rules {
    status_keeps_meta: ALL_META,
    validate: |doc, old, e, env| {
        (POLICY.validate)(doc, old, e, env);
        let s = &doc["spec"];
        let (validations, annotations) = (json::list(s, "validations"), json::list(s, "auditAnnotations"));
        if validations.is_empty() && annotations.is_empty() {
            let why = "validations or auditAnnotations must contain at least one item";
            e.required("spec.validations", why);
            e.required("spec.auditAnnotations", why);
        }
        for (i, v) in validations.iter().enumerate() {
            validation(&format!("spec.validations[{i}]"), v, e);
        }
        let mut keys = Vec::new();
        for (i, a) in annotations.iter().enumerate() {
            unique(&format!("spec.auditAnnotations[{i}].key"), json::text(a, "key"), &mut keys, e);
        }
    },
    ..WHOLE
};

pub(crate) const BINDING: Rules = Rules {
    validate: |doc, _, e, _| {
        let s = &doc["spec"];
        match json::text(s, "policyName") {
            "" => e.required("spec.policyName", ""),
            name => e.names("spec.policyName", name, meta::dns_subdomain(name)),
        }
        if let Some(r) = s.get("paramRef").filter(|r| !r.is_null()) {
            param_ref("spec.paramRef", r, e);
        }
        if let Some(m) = s.get("matchResources").filter(|m| !m.is_null()) {
            match_resources("spec.matchResources", m, e);
        }
    },
    ..WHOLE
};

pub(crate) const VALIDATING_BINDING: Rules = Rules {
    validate: |doc, old, e, env| {
        (BINDING.validate)(doc, old, e, env);
        actions("spec.validationActions", json::list(&doc["spec"], "validationActions"), e);
    },
    ..WHOLE
};

const FAILURE_POLICIES: &[&str] = &["Fail", "Ignore"];
const MATCH_POLICIES: &[&str] = &["Equivalent", "Exact"];
const SIDE_EFFECTS: &[&str] = &["None", "NoneOnDryRun"];
/// Most conditions of one hook or policy.
const MAX_CONDITIONS: usize = 64;

fn unique<'a>(path: &str, name: &'a str, seen: &mut Vec<&'a str>, e: &mut Errors) {
    if name.is_empty() {
        return;
    }
    if seen.contains(&name) {
        e.duplicate(path, &name.into());
    }
    seen.push(name);
}

fn webhook(at: &str, hook: &Value, e: &mut Errors) {
    let name = json::text(hook, "name");
    let wrong = meta::dns_subdomain(name);
    if name.is_empty() {
        e.required(&format!("{at}.name"), "");
    } else if !wrong.is_empty() {
        e.invalid_text(&format!("{at}.name"), name, &wrong.join(","));
    } else if name.split('.').count() < 3 {
        e.invalid_text(&format!("{at}.name"), name, "should be a domain with at least three segments separated by dots");
    }
    for (i, r) in json::list(hook, "rules").iter().enumerate() {
        rule(&format!("{at}.rules[{i}]"), r, e);
    }
    let choice = |k: &str, known: &[&str], e: &mut Errors| {
        if let Some(given) = hook.get(k).and_then(Value::as_str) {
            e.one_of(&format!("{at}.{k}"), given, known);
        }
    };
    choice("failurePolicy", FAILURE_POLICIES, e);
    choice("matchPolicy", MATCH_POLICIES, e);
    if hook.get("sideEffects").is_none_or(Value::is_null) {
        e.required(&format!("{at}.sideEffects"), &format!("must specify one of {}", SIDE_EFFECTS.join(", ")));
    }
    choice("sideEffects", SIDE_EFFECTS, e);
    if let Some(n) = json::int(hook, "timeoutSeconds").filter(|n| !(1..=30).contains(n)) {
        e.invalid(&format!("{at}.timeoutSeconds"), &n.into(), "the timeout value must be between 1 and 30 seconds");
    }
    for k in ["namespaceSelector", "objectSelector"] {
        if let Some(s) = hook.get(k).filter(|s| !s.is_null()) {
            selectors::label_selector(&format!("{at}.{k}"), s, e);
        }
    }
    choice("reinvocationPolicy", &["IfNeeded", "Never"], e);
    let client = &hook["clientConfig"];
    let given = |k: &str| client.get(k).filter(|v| !v.is_null());
    match (given("url"), given("service")) {
        (Some(url), None) => webhook_url(&format!("{at}.clientConfig.url"), url.as_str().unwrap_or(""), e),
        (None, Some(service)) => webhook_service(&format!("{at}.clientConfig.service"), service, e),
        _ => e.required(&format!("{at}.clientConfig"), "exactly one of url or service is required"),
    }
    match_conditions(&format!("{at}.matchConditions"), json::list(hook, "matchConditions"), e);
}

fn webhook_url(path: &str, url: &str, e: &mut Errors) {
    const FORM: &str = "; desired format: https://host[/path]";
    let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
    if scheme != "https" {
        e.invalid_text(path, scheme, &format!("'https' is the only allowed URL scheme{FORM}"));
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = rest.strip_prefix("//").map_or("", |r| r.split('/').next().unwrap_or(""));
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    if host.is_empty() {
        e.invalid_text(path, "", &format!("host must be specified{FORM}"));
    }
    if let Some(user) = user {
        e.invalid_text(path, user, "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        e.invalid_text(path, fragment, "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        e.invalid_text(path, query, "query parameters are not permitted in the URL");
    }
}

fn webhook_service(at: &str, service: &Value, e: &mut Errors) {
    // The reference hands name and namespace over in the wrong order, so that each is missed in the other's place.
    if json::text(service, "namespace").is_empty() {
        e.required(&format!("{at}.name"), "");
    }
    if json::text(service, "name").is_empty() {
        e.required(&format!("{at}.namespace"), "");
    }
    if let Some(n) = json::int(service, "port").filter(|n| !(1..=65_535).contains(n)) {
        e.invalid(&format!("{at}.port"), &n.into(), "port is not valid: must be between 1 and 65535, inclusive");
    }
    let at = format!("{at}.path");
    let path = json::text(service, "path");
    match path {
        "" | "/" => return,
        "//" => return e.invalid_text(&at, path, "segment[0] may not be empty"),
        _ if !path.starts_with('/') => e.invalid_text(&at, path, "must start with a '/'"),
        _ => {}
    }
    let mut behind = path.chars();
    behind.next();
    let steps = behind.as_str();
    for (i, step) in steps.strip_suffix('/').unwrap_or(steps).split('/').enumerate() {
        if step.is_empty() {
            e.invalid_text(&at, path, &format!("segment[{i}] may not be empty"));
            continue;
        }
        for wrong in meta::dns_subdomain(step) {
            e.invalid_text(&at, path, &format!("segment[{i}]: {wrong}"));
        }
    }
}

fn review_versions(path: &str, versions: &[Value], e: &mut Errors) {
    const KNOWN: [&str; 2] = ["v1", "v1beta1"];
    if versions.is_empty() {
        return e.required(path, &format!("must specify one of {}", KNOWN.join(", ")));
    }
    for (i, v) in versions.iter().enumerate() {
        let text = v.as_str().unwrap_or("");
        if versions[..i].contains(v) {
            e.invalid(&format!("{path}[{i}]"), v, "duplicate version");
            continue;
        }
        e.names(&format!("{path}[{i}]"), text, meta::dns1035_label(text));
    }
    if !versions.iter().any(|v| KNOWN.contains(&v.as_str().unwrap_or(""))) {
        e.invalid(path, &json!(versions), &format!("must include at least one of {}", KNOWN.join(", ")));
    }
}

/// Operations, groups, versions and resources (`validateRuleWithOperations`).
fn rule(at: &str, r: &Value, e: &mut Errors) {
    let list = |k: &str| json::list(r, k);
    let all = |values: &[Value]| values.iter().any(|v| v == "*");
    let alone = |k: &str, what: &str, e: &mut Errors| {
        let values = list(k);
        if values.is_empty() {
            e.required(&format!("{at}.{k}"), "");
        }
        if values.len() > 1 && all(values) {
            e.invalid(&format!("{at}.{k}"), &json!(values), &format!("if '*' is present, must not specify other {what}"));
        }
    };
    alone("operations", "operations", e);
    for (i, o) in list("operations").iter().enumerate() {
        e.one_of(&format!("{at}.operations[{i}]"), o.as_str().unwrap_or(""), &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"]);
    }
    alone("apiGroups", "API groups", e);
    alone("apiVersions", "API versions", e);
    for (i, _) in list("apiVersions").iter().enumerate().filter(|(_, v)| *v == "") {
        e.required(&format!("{at}.apiVersions[{i}]"), "");
    }
    resources(&format!("{at}.resources"), list("resources"), e);
    if let Some(scope) = r.get("scope").and_then(Value::as_str) {
        e.one_of(&format!("{at}.scope"), scope, &["*", "Cluster", "Namespaced"]);
    }
}

fn resources(path: &str, list: &[Value], e: &mut Errors) {
    if list.is_empty() {
        e.required(path, "");
    }
    let (mut any_sub, mut of_any, mut whole) = (Vec::new(), Vec::new(), false);
    for (i, r) in list.iter().enumerate() {
        let at = format!("{path}[{i}]");
        let text = r.as_str().unwrap_or("");
        if text.is_empty() {
            e.required(&at, "");
            continue;
        }
        let Some((resource, sub)) = text.split_once('/') else {
            whole = text != "*";
            continue;
        };
        if any_sub.contains(&resource) {
            e.invalid_text(&at, text, &format!("if '{resource}/*' is present, must not specify {text}"));
        }
        if of_any.contains(&sub) {
            e.invalid_text(&at, text, &format!("if '*/{sub}' is present, must not specify {text}"));
        }
        if sub == "*" {
            any_sub.push(resource);
        }
        if resource == "*" {
            of_any.push(sub);
        }
    }
    if list.len() > 1 && list.iter().any(|r| r == "*/*") {
        e.invalid(path, &json!(list), "if '*/*' is present, must not specify other resources");
    }
    if whole && list.iter().any(|r| r == "*") {
        e.invalid(path, &json!(list), "if '*' is present, must not specify other resources without subresources");
    }
}

fn match_resources(at: &str, m: &Value, e: &mut Errors) {
    e.one_of(&format!("{at}.matchPolicy"), json::text(m, "matchPolicy"), MATCH_POLICIES);
    for k in ["namespaceSelector", "objectSelector"] {
        selectors::label_selector(&format!("{at}.{k}"), &m[k], e);
    }
    for k in ["resourceRules", "excludeResourceRules"] {
        for (i, r) in json::list(m, k).iter().enumerate() {
            let at = format!("{at}.{k}[{i}]");
            let mut names = Vec::new();
            for (j, n) in json::list(r, "resourceNames").iter().enumerate() {
                let name = n.as_str().unwrap_or("");
                let at = format!("{at}.resourceNames[{j}]");
                e.names(&at, name, meta::path_segment(name));
                unique(&at, name, &mut names, e);
            }
            rule(&at, r, e);
        }
    }
}

fn match_conditions(path: &str, list: &[Value], e: &mut Errors) {
    if list.len() > MAX_CONDITIONS {
        e.too_many(path, list.len(), MAX_CONDITIONS);
    }
    let mut names = Vec::new();
    for (i, c) in list.iter().enumerate() {
        let at = format!("{path}[{i}]");
        match json::text(c, "expression").trim() {
            "" => e.required(&format!("{at}.expression"), ""),
            source => expression(&format!("{at}.expression"), source, e),
        }
        let name = json::text(c, "name");
        match name {
            "" => e.required(&format!("{at}.name"), ""),
            _ => e.names(&format!("{at}.name"), name, meta::qualified_name(name)),
        }
        unique(&format!("{at}.name"), name, &mut names, e);
    }
}

/// An expression that can be read.
fn expression(path: &str, source: &str, e: &mut Errors) {
    if let Err(why) = expression_syntax(source) {
        e.invalid_text(path, source, &format!("compilation failed: {why}"));
    }
}

fn validation(at: &str, v: &Value, e: &mut Errors) {
    let source = json::text(v, "expression");
    if source.trim().is_empty() {
        e.required(&format!("{at}.expression"), "expression is not specified");
    } else {
        expression(&format!("{at}.expression"), source, e);
    }
    for k in ["messageExpression", "message"] {
        let text = json::text(v, k);
        if !text.is_empty() && text.trim().is_empty() {
            e.invalid_text(&format!("{at}.{k}"), text, "must be non-empty if specified");
        } else if k == "messageExpression" && !text.is_empty() {
            expression(&format!("{at}.{k}"), text, e);
        } else if k == "message" && text.trim().contains(['\n', '\r']) {
            e.invalid_text(&format!("{at}.message"), text, "must not contain line breaks");
        }
    }
    if let Some(reason) = v.get("reason").and_then(Value::as_str) {
        e.one_of(&format!("{at}.reason"), reason, &["Forbidden", "Invalid", "RequestEntityTooLarge"]);
    }
}

fn param_kind(at: &str, kind: &Value, e: &mut Errors) {
    let given = json::text(kind, "apiVersion");
    let path = format!("{at}.apiVersion");
    let parts: Vec<&str> = if given == "/" { Vec::new() } else { given.split('/').collect() };
    let (group, version) = match &parts[..] {
        [version] => ("", *version),
        [group, version] => (*group, *version),
        _ => ("", ""),
    };
    if given.is_empty() {
        e.required(&path, "");
    } else if parts.len() > 2 {
        e.invalid_text(&path, given, &format!("unexpected GroupVersion string: {given}"));
    } else {
        let wrong = meta::dns_subdomain(group);
        if !group.is_empty() && !wrong.is_empty() {
            e.invalid_text(&path, group, &wrong.join(","));
        }
        let wrong = meta::dns1035_label(version);
        if version.is_empty() {
            e.invalid_text(&path, given, "version must be specified");
        } else if !wrong.is_empty() {
            e.invalid_text(&path, version, &wrong.join(","));
        }
    }
    let name = json::text(kind, "kind");
    let wrong = meta::dns1035_label(&name.to_lowercase());
    if name.is_empty() {
        e.required(&format!("{at}.kind"), "");
    } else if !wrong.is_empty() {
        let why = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
        e.invalid_text(&format!("{at}.kind"), name, &why);
    }
}

fn param_ref(at: &str, r: &Value, e: &mut Errors) {
    let name = json::text(r, "name");
    let selector = r.get("selector").filter(|s| !s.is_null());
    let exclusive = "name and selector are mutually exclusive";
    if !name.is_empty() {
        e.names(&format!("{at}.name"), name, meta::path_segment(name));
        if selector.is_some() {
            e.forbidden(&format!("{at}.name"), exclusive);
        }
    }
    if let Some(s) = selector {
        selectors::label_selector(&format!("{at}.selector"), s, e);
        if !name.is_empty() {
            e.forbidden(&format!("{at}.selector"), exclusive);
        }
    }
    if name.is_empty() && selector.is_none() {
        e.required(at, "one of name or selector must be specified");
    }
    match json::text(r, "parameterNotFoundAction") {
        "" => e.required(&format!("{at}.parameterNotFoundAction"), ""),
        action => e.one_of(&format!("{at}.parameterNotFoundAction"), action, &["Deny", "Allow"]),
    }
}

fn actions(path: &str, list: &[Value], e: &mut Errors) {
    let mut seen = Vec::new();
    for (i, a) in list.iter().enumerate() {
        let text = a.as_str().unwrap_or("");
        e.one_of(&format!("{path}[{i}]"), text, &["Audit", "Deny", "Warn"]);
        unique(&format!("{path}[{i}]"), text, &mut seen, e);
    }
    if seen.contains(&"Deny") && seen.contains(&"Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers \
                   serves no purpose)";
        e.invalid(path, &json!(list), why);
    }
    if list.is_empty() {
        e.required(path, "at least one validation action is required");
    }
}
