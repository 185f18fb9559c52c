//! EndpointSlices, Ingresses, NetworkPolicies.

use serde_json::Value;

use super::pod_spec;
use super::{DEFAULT, Rules};
use crate::json;
use crate::meta;

pub(crate) const ENDPOINT_SLICE: Rules = Rules {
    validate: |doc, e, _| {
        let kind = json::text(doc, "addressType");
        if kind.is_empty() {
            e.required("addressType", "");
        } else if !matches!(kind, "IPv4" | "IPv6" | "FQDN") {
            e.unsupported("addressType", kind, &["FQDN", "IPv4", "IPv6"]);
        }
        for (i, p) in json::list(doc, "endpoints").iter().enumerate() {
            let list = json::list(p, "addresses");
            if list.is_empty() {
                e.required(&format!("endpoints[{i}].addresses"), "must contain at least 1 address");
            }
            if list.len() > 100 {
                e.too_many(&format!("endpoints[{i}].addresses"), list.len(), 100);
            }
            for (j, a) in list.iter().enumerate() {
                let a = a.as_str().unwrap_or("");
                let at = format!("endpoints[{i}].addresses[{j}]");
                match kind {
                    "IPv4" | "IPv6" if a.parse::<std::net::IpAddr>().is_err() => {
                        e.invalid_text(&at, a, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
                    }
                    "IPv4" if a.parse::<std::net::Ipv4Addr>().is_err() => e.invalid_text(&at, a, "must be an IPv4 address"),
                    "IPv6" if a.parse::<std::net::Ipv6Addr>().is_err() => e.invalid_text(&at, a, "must be an IPv6 address"),
                    "FQDN" => e.names(&at, a, meta::dns_subdomain(a)),
                    _ => {}
                }
            }
        }
        if json::list(doc, "endpoints").len() > 1000 {
            e.too_many("endpoints", json::list(doc, "endpoints").len(), 1000);
        }
        if json::list(doc, "ports").len() > 20000 {
            e.too_many("ports", json::list(doc, "ports").len(), 20000);
        }
        let mut names = std::collections::BTreeSet::new();
        for (i, p) in json::list(doc, "ports").iter().enumerate() {
            let name = json::text(p, "name");
            if !name.is_empty() {
                e.names(&format!("ports[{i}].name"), name, meta::dns_label(name));
            }
            if !names.insert(name) {
                e.duplicate(&format!("ports[{i}].name"), &Value::from(name));
            }
            let protocol = json::text(p, "protocol");
            if !matches!(protocol, "TCP" | "UDP" | "SCTP") {
                e.unsupported(&format!("ports[{i}].protocol"), protocol, &["SCTP", "TCP", "UDP"]);
            }
        }
    },
    update_first: true,
    validate_update: |new, old, e, _| e.immutable("addressType", new.get("addressType"), old.get("addressType")),
    ..DEFAULT
};

pub(crate) const INGRESS: Rules = Rules {
    validate: |doc, e, _| {
        let s = &doc["spec"];
        if json::list(s, "rules").is_empty() && s.get("defaultBackend").is_none() {
            e.invalid("spec", &Value::Null, "either `defaultBackend` or `rules` must be specified");
        }
        for (i, r) in json::list(s, "rules").iter().enumerate() {
            for (j, p) in json::list(r, "http.paths").iter().enumerate() {
                let at = format!("spec.rules[{i}].http.paths[{j}]");
                let kind = json::text(p, "pathType");
                match kind {
                    "" => e.required(&format!("{at}.pathType"), "pathType must be specified"),
                    "Exact" | "Prefix" | "ImplementationSpecific" => {
                        let path = json::text(p, "path");
                        if kind != "ImplementationSpecific" && !path.starts_with('/') {
                            e.invalid_text(&format!("{at}.path"), path, "must be an absolute path");
                        }
                    }
                    other => e.unsupported(&format!("{at}.pathType"), other, &["Exact", "ImplementationSpecific", "Prefix"]),
                }
                backend(&p["backend"], &format!("{at}.backend"), e);
            }
        }
        if let Some(b) = s.get("defaultBackend") {
            backend(b, "spec.defaultBackend", e);
        }
    },
    ..DEFAULT
};

fn backend(b: &Value, at: &str, e: &mut super::Errors) {
    let (resource, service) = (b.get("resource").is_some(), b.get("service").is_some());
    if resource && service {
        e.invalid_text(at, "", "cannot set both resource and service backends");
    } else if !resource && !service {
        e.required(at, "");
    } else if service {
        let s = &b["service"];
        let name = json::text(s, "name");
        if name.is_empty() {
            e.required(&format!("{at}.service.name"), "");
        } else {
            e.names(&format!("{at}.service.name"), name, meta::dns1035_label(name));
        }
        let (n, p) = (json::text(s, "port.name"), json::int(s, "port.number").unwrap_or(0));
        if n.is_empty() && p == 0 {
            e.required(at, "port name or number is required");
        } else if !n.is_empty() && p != 0 {
            e.invalid_text(at, "", "cannot set both port name & port number");
        } else if p != 0 {
            pod_spec::port_number(p, &format!("{at}.service.port.number"), e);
        }
    }
}

pub(crate) const NETWORK_POLICY: Rules = Rules {
    validate: |doc, e, _| {
        if let Some(s) = doc["spec"].get("podSelector") {
            pod_spec::label_selector(s, "spec.podSelector", e);
        }
        for t in json::list(doc, "spec.policyTypes") {
            let t = t.as_str().unwrap_or("");
            if !matches!(t, "Ingress" | "Egress") {
                e.unsupported("spec.policyTypes", t, &["Egress", "Ingress"]);
            }
        }
    },
    ..DEFAULT
};
