//! Ingresses and their classes (networking `ValidateIngressSpec`).

use serde_json::Value;

use super::errors::Errors;
use super::pod_containers::port_number;
use super::service_validation::balancer_host;
use super::{Check, DEFAULT, Rules, addresses, selectors};
use crate::json;
use crate::meta;

const CLASS: &str = "kubernetes.io/ingress.class";
const CONTROLLER_LIMIT: usize = 250;

pub(crate) const INGRESS: Rules = Rules {
    on_update: &[Check::MetaUpdate, Check::Meta, Check::Always],
    validate: |doc, old, e, _| {
        spec(&doc["spec"], e);
        let (class, named) = (doc["metadata"]["annotations"].get(CLASS).and_then(Value::as_str), doc["spec"]["ingressClassName"].as_str());
        if let (Some(a), Some(n), None) = (class, named, old)
            && a != n
        {
            e.invalid_text(&format!("annotations.{CLASS}"), a, "must match `ingressClassName` when both are specified");
        }
    },
    validate_status: |doc, old, e, _| {
        let path = "status.loadBalancer.ingress";
        let known: Vec<&str> = json::list(old, path).iter().map(|i| json::text(i, "ip")).filter(|s| !s.is_empty()).collect();
        for (i, ingress) in json::list(doc, path).iter().enumerate() {
            let ip = json::text(ingress, "ip");
            if !ip.is_empty() {
                addresses::ip(&format!("{path}[{i}].ip"), ip, &known, e);
            }
            balancer_host(&format!("{path}[{i}].hostname"), json::text(ingress, "hostname"), e);
        }
    },
    ..DEFAULT
};

pub(crate) const INGRESS_CLASS: Rules = Rules {
    on_update: &[Check::MetaUpdate, Check::Update, Check::Meta, Check::Always],
    validate: |doc, _, e, _| {
        let controller = json::text(doc, "spec.controller");
        if controller.len() > CONTROLLER_LIMIT {
            e.too_long("spec.controller", CONTROLLER_LIMIT);
        }
        selectors::domain_prefixed_path("spec.controller", controller, e);
        if let Some(p) = doc["spec"].get("parameters").filter(|p| !p.is_null()) {
            parameters(p, e);
        }
    },
    validate_update: |new, old, e, _| e.immutable_text("spec.controller", new, old, "spec.controller"),
    ..DEFAULT
};

fn parameters(p: &Value, e: &mut Errors) {
    let path = "spec.parameters";
    local_reference(path, p, e);
    let scope = json::text(p, "scope");
    let namespace = p.get("namespace").and_then(Value::as_str);
    let at = format!("{path}.namespace");
    if p.get("scope").is_none() {
        e.required(&format!("{path}.scope"), "");
    }
    match (scope, namespace) {
        ("Namespace", None) => e.required(&at, "`parameters.scope` is set to 'Namespace'"),
        ("Namespace", Some(n)) => e.names(&at, n, meta::dns_label(n)),
        ("Cluster", Some(_)) => e.forbidden(&at, "`parameters.scope` is set to 'Cluster'"),
        ("Cluster", None) => {}
        (other, _) => e.unsupported(&format!("{path}.scope"), other, &["Cluster", "Namespace"]),
    }
}

/// A reference by kind and name.
fn local_reference(path: &str, r: &Value, e: &mut Errors) {
    if let Some(g) = r.get("apiGroup").and_then(Value::as_str) {
        e.names(&format!("{path}.apiGroup"), g, meta::dns_subdomain(g));
    }
    for k in ["kind", "name"] {
        let v = json::text(r, k);
        if v.is_empty() {
            e.required(&format!("{path}.{k}"), "");
        } else {
            e.names(&format!("{path}.{k}"), v, meta::path_segment(v));
        }
    }
}

fn spec(s: &Value, e: &mut Errors) {
    let rules = json::list(s, "rules");
    let default = s.get("defaultBackend").filter(|b| !b.is_null());
    if rules.is_empty() && default.is_none() {
        e.invalid("spec", &Value::Null, "either `defaultBackend` or `rules` must be specified");
    }
    if let Some(b) = default {
        backend("spec.defaultBackend", b, e);
    }
    for (i, r) in rules.iter().enumerate() {
        let at = format!("spec.rules[{i}]");
        host(&format!("{at}.host"), json::text(r, "host"), true, e);
        let Some(http) = r.get("http").filter(|h| !h.is_null()) else { continue };
        let paths = json::list(http, "paths");
        if paths.is_empty() {
            e.required(&format!("{at}.http.paths"), "");
        }
        for (j, p) in paths.iter().enumerate() {
            http_path(&format!("{at}.http.paths[{j}]"), p, e);
        }
    }
    for (i, t) in json::list(s, "tls").iter().enumerate() {
        for (j, h) in json::list(t, "hosts").iter().enumerate() {
            tls_host(&format!("spec.tls[{i}].hosts[{j}]"), h.as_str().unwrap_or(""), e);
        }
        e.name_if_any(&format!("spec.tls[{i}].secretName"), json::text(t, "secretName"), meta::dns_subdomain);
    }
    if let Some(c) = s.get("ingressClassName").and_then(Value::as_str) {
        e.names("spec.ingressClassName", c, meta::dns_subdomain(c));
    }
}

fn host(path: &str, h: &str, no_address: bool, e: &mut Errors) {
    if h.is_empty() {
        return;
    }
    if no_address && addresses::parse_ip(h).is_some() {
        e.invalid_text(path, h, "must be a DNS name, not an IP address");
    }
    e.names(path, h, if h.contains('*') { meta::wildcard_subdomain(h) } else { meta::dns_subdomain(h) });
}

fn tls_host(path: &str, h: &str, e: &mut Errors) {
    if h.is_empty() {
        e.names(path, h, meta::dns_subdomain(h));
    } else {
        host(path, h, false, e);
    }
}

fn http_path(at: &str, p: &Value, e: &mut Errors) {
    let (at_path, path) = (format!("{at}.path"), json::text(p, "path"));
    let Some(kind) = p.get("pathType").and_then(Value::as_str) else {
        e.required(&format!("{at}.pathType"), "pathType must be specified");
        return;
    };
    match kind {
        "Exact" | "Prefix" => {
            if !path.starts_with('/') {
                e.invalid_text(&at_path, path, "must be an absolute path");
            }
            for s in ["//", "/./", "/../", "%2f", "%2F"].into_iter().filter(|s| path.contains(s)) {
                e.invalid_text(&at_path, path, &format!("must not contain '{s}'"));
            }
            for s in ["/..", "/."].into_iter().filter(|s| path.ends_with(s)) {
                e.invalid_text(&at_path, path, &format!("cannot end with '{s}'"));
            }
        }
        "ImplementationSpecific" => {
            if !path.is_empty() && !path.starts_with('/') {
                e.invalid_text(&at_path, path, "must be an absolute path");
            }
        }
        other => e.unsupported(&format!("{at}.pathType"), other, &["Exact", "ImplementationSpecific", "Prefix"]),
    }
    backend(&format!("{at}.backend"), &p["backend"], e);
}

fn backend(at: &str, b: &Value, e: &mut Errors) {
    let get = |k: &str| b.get(k).filter(|v| !v.is_null());
    match (get("resource"), get("service")) {
        (Some(_), Some(_)) => e.invalid_text(at, "", "cannot set both resource and service backends"),
        (None, None) => e.invalid_text(at, "", "resource or service backend is required"),
        (Some(r), None) => local_reference(&format!("{at}.resource"), r, e),
        (None, Some(s)) => {
            let name = json::text(s, "name");
            if name.is_empty() {
                e.required(&format!("{at}.service.name"), "");
            } else {
                e.names(&format!("{at}.service.name"), name, meta::dns_label(name));
            }
            let (port, n) = (json::text(s, "port.name"), json::int(s, "port.number").unwrap_or(0));
            match (port.is_empty(), n) {
                (false, 0) => e.names(&format!("{at}.service.port.name"), port, meta::port_name(port)),
                (false, _) => e.invalid_text(at, "", "cannot set both port name & port number"),
                (true, 0) => e.required(at, "port name or number is required"),
                (true, n) => port_number(&format!("{at}.service.port.number"), n, e),
            }
        }
    }
}
