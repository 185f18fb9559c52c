//! EndpointSlices (discovery `ValidateEndpointSlice`).

use serde_json::Value;

use super::errors::Errors;
use super::metadata::validate_labels;
use super::{Check, DEFAULT, Rules, addresses};
use crate::json;
use crate::meta;

const ADDRESSES_LIMIT: usize = 100;
const ENDPOINTS_LIMIT: usize = 1000;
const PORTS_LIMIT: usize = 20_000;
const HINTS_LIMIT: usize = 8;
const TOPOLOGY_LIMIT: usize = 16;

pub(crate) const ENDPOINT_SLICE: Rules = Rules {
    on_update: &[Check::Meta, Check::Always, Check::Update],
    validate: |doc, old, e, _| {
        let kind = json::text(doc, "addressType");
        e.one_of("addressType", kind, &["FQDN", "IPv4", "IPv6"]);
        ports(json::list(doc, "ports"), e);
        // What was there already is let be.
        if old.is_none_or(|o| json::list(o, "endpoints") != json::list(doc, "endpoints")) {
            endpoints(json::list(doc, "endpoints"), kind, e);
        }
    },
    validate_update: |new, old, e, _| e.immutable("addressType", new.get("addressType"), old.get("addressType")),
    ..DEFAULT
};

fn endpoints(list: &[Value], kind: &str, e: &mut Errors) {
    if list.len() > ENDPOINTS_LIMIT {
        e.too_many("endpoints", list.len(), ENDPOINTS_LIMIT);
    }
    for (i, p) in list.iter().enumerate() {
        let at = format!("endpoints[{i}]");
        let path = format!("{at}.addresses");
        let ips = json::list(p, "addresses");
        if ips.is_empty() {
            e.required(&path, "must contain at least 1 address");
        } else if ips.len() > ADDRESSES_LIMIT {
            e.too_many(&path, ips.len(), ADDRESSES_LIMIT);
        }
        for (j, a) in ips.iter().enumerate() {
            address(&path, j, a.as_str().unwrap_or(""), kind, e);
        }
        if let Some(n) = p.get("nodeName").and_then(Value::as_str) {
            e.names(&format!("{at}.nodeName"), n, meta::dns_subdomain(n));
        }
        let topology = json::object(p, "deprecatedTopology");
        let at_topology = format!("{at}.deprecatedTopology");
        if let Some(n) = topology.map(serde_json::Map::len).filter(|n| *n > TOPOLOGY_LIMIT) {
            e.too_many(&at_topology, n, TOPOLOGY_LIMIT);
        }
        validate_labels(topology, &at_topology, e);
        if let Some(h) = p.get("hostname").and_then(Value::as_str) {
            e.names(&format!("{at}.hostname"), h, meta::dns_label(h));
        }
        hints(&format!("{at}.hints"), &p["hints"], e);
    }
}

fn address(path: &str, j: usize, a: &str, kind: &str, e: &mut Errors) {
    let at = format!("{path}[{j}]");
    match kind {
        "IPv4" | "IPv6" => {
            let before = e.len();
            addresses::ip(&at, a, &[], e);
            if e.len() != before {
                return;
            }
            if kind == "IPv6"
                && let Ok(ip) = a.parse::<std::net::IpAddr>()
                && ip.to_string() != a
            {
                e.invalid_text(&at, a, &format!("must be in canonical form ({:?})", ip.to_string()));
                return;
            }
            // This refusal stands at the list, not at the entry.
            if addresses::parse_ip(a).is_some_and(|ip| ip.is_ipv4() != (kind == "IPv4")) {
                e.invalid_text(path, a, &format!("must be an {kind} address"));
            }
            addresses::endpoint(&at, a, e);
        }
        "FQDN" => full_name(&at, a, e),
        _ => {}
    }
}

/// A name with at least two labels (apimachinery `IsFullyQualifiedDomainName`).
fn full_name(path: &str, name: &str, e: &mut Errors) {
    if name.is_empty() {
        e.required(path, "");
        return;
    }
    let bare = name.strip_suffix('.').unwrap_or(name);
    let wrong = meta::dns_subdomain(bare);
    if !wrong.is_empty() {
        e.invalid_text(path, bare, &wrong.join(","));
    } else if !bare.contains('.') {
        e.invalid_text(path, bare, "should be a domain with at least two segments separated by dots");
    } else if let Some((label, wrong)) = bare.split('.').map(|l| (l, meta::dns_label(l))).find(|(_, w)| !w.is_empty()) {
        e.invalid_text(path, label, &wrong.join(","));
    }
}

fn ports(list: &[Value], e: &mut Errors) {
    if list.len() > PORTS_LIMIT {
        e.too_many("ports", list.len(), PORTS_LIMIT);
    }
    let mut names = Vec::new();
    for (i, p) in list.iter().enumerate() {
        let at = format!("ports[{i}]");
        let name = json::text(p, "name");
        e.name_if_any(&format!("{at}.name"), name, meta::dns_label);
        if names.contains(&name) {
            e.duplicate(&format!("{at}.name"), &name.into());
        }
        names.push(name);
        match p.get("protocol").and_then(Value::as_str) {
            None => e.required(&format!("{at}.protocol"), ""),
            Some("TCP" | "UDP" | "SCTP") => {}
            Some(other) => e.unsupported(&format!("{at}.protocol"), other, &["SCTP", "TCP", "UDP"]),
        }
        if let Some(a) = p.get("appProtocol").and_then(Value::as_str) {
            e.names(&format!("{at}.appProtocol"), a, meta::qualified_name(a));
        }
    }
}

fn hints(path: &str, h: &Value, e: &mut Errors) {
    for (k, rule) in [("forZones", meta::label_value as fn(&str) -> Vec<String>), ("forNodes", meta::dns_subdomain)] {
        let list = json::list(h, k);
        let at = format!("{path}.{k}");
        if list.len() > HINTS_LIMIT {
            e.too_many(&at, list.len(), HINTS_LIMIT);
        }
        for (i, n) in list.iter().enumerate() {
            let (at, name) = (format!("{at}[{i}].name"), json::text(n, "name"));
            if list[..i].iter().any(|o| json::text(o, "name") == name) {
                e.duplicate(&at, &name.into());
            }
            e.names(&at, name, rule(name));
        }
    }
}
