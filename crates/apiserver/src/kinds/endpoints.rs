//! Endpoints (core `ValidateEndpoints`).

use serde_json::Value;

use super::errors::Errors;
use super::pod_containers::port_number;
use super::{Check, DEFAULT, Rules, addresses};
use crate::json;
use crate::meta;

pub(crate) const ENDPOINTS: Rules = Rules {
    create_on_update: true,
    on_update: &[Check::MetaUpdate, Check::Meta, Check::Always],
    validate: |doc, old, e, _| {
        // What was there already is let be.
        if old.is_none_or(|o| json::list(o, "subsets") != json::list(doc, "subsets")) {
            subsets(json::list(doc, "subsets"), e);
        }
    },
    ..DEFAULT
};

fn subsets(list: &[Value], e: &mut Errors) {
    for (i, s) in list.iter().enumerate() {
        let at = format!("subsets[{i}]");
        if json::list(s, "addresses").is_empty() && json::list(s, "notReadyAddresses").is_empty() {
            e.required(&at, "must specify `addresses` or `notReadyAddresses`");
        }
        for which in ["addresses", "notReadyAddresses"] {
            for (j, a) in json::list(s, which).iter().enumerate() {
                address(&format!("{at}.{which}[{j}]"), a, e);
            }
        }
        let ports = json::list(s, "ports");
        for (j, p) in ports.iter().enumerate() {
            let at = format!("{at}.ports[{j}]");
            let name = json::text(p, "name");
            if !name.is_empty() {
                e.names(&format!("{at}.name"), name, meta::dns_label(name));
            } else if ports.len() > 1 {
                e.required(&format!("{at}.name"), "");
            }
            port_number(&format!("{at}.port"), json::int(p, "port").unwrap_or(0), e);
            e.one_of(&format!("{at}.protocol"), json::text(p, "protocol"), &["SCTP", "TCP", "UDP"]);
            if let Some(a) = p.get("appProtocol").and_then(Value::as_str) {
                e.names(&format!("{at}.appProtocol"), a, meta::qualified_name(a));
            }
        }
    }
}

fn address(at: &str, a: &Value, e: &mut Errors) {
    let (path, ip) = (format!("{at}.ip"), json::text(a, "ip"));
    addresses::ip(&path, ip, &[], e);
    e.name_if_any(&format!("{at}.hostname"), json::text(a, "hostname"), meta::dns_label);
    if let Some(n) = a.get("nodeName").and_then(Value::as_str) {
        e.names(&format!("{at}.nodeName"), n, meta::dns_subdomain(n));
    }
    addresses::endpoint(&path, ip, e);
}
