//! NetworkPolicies (networking `ValidateNetworkPolicySpec`).

use serde_json::Value;

use super::errors::Errors;
use super::pod_containers::port_number;
use super::{Check, DEFAULT, Rules, addresses, selectors};
use crate::json;
use crate::meta;

pub(crate) const NETWORK_POLICY: Rules = Rules {
    on_update: &[Check::MetaUpdate, Check::Always],
    validate: |doc, old, e, _| spec(&doc["spec"], old.map(|o| &o["spec"]), e),
    ..DEFAULT
};

/// Rules and peers of both directions.
const WAYS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

fn spec(s: &Value, old: Option<&Value>, e: &mut Errors) {
    selectors::label_selector("spec.podSelector", &s["podSelector"], e);
    let known: Vec<&str> = old.map(cidrs).unwrap_or_default();
    for (way, peers) in WAYS {
        for (i, r) in json::list(s, way).iter().enumerate() {
            let at = format!("spec.{way}[{i}]");
            for (j, p) in json::list(r, "ports").iter().enumerate() {
                port(&format!("{at}.ports[{j}]"), p, e);
            }
            for (j, p) in json::list(r, peers).iter().enumerate() {
                peer(&format!("{at}.{peers}[{j}]"), p, &known, e);
            }
        }
    }
    let types = json::list(s, "policyTypes");
    if types.len() > 2 {
        e.invalid("spec.policyTypes", &types.to_vec().into(), "may not specify more than two policyTypes");
    }
    for (i, t) in types.iter().enumerate().filter(|(_, t)| !(**t == "Ingress" || **t == "Egress")) {
        e.unsupported_value(&format!("spec.policyTypes[{i}]"), t, &["Ingress", "Egress"]);
    }
}

fn cidrs(s: &Value) -> Vec<&str> {
    WAYS.iter()
        .flat_map(|(way, peers)| json::list(s, way).iter().flat_map(move |r| json::list(r, peers)))
        .flat_map(|p| {
            std::iter::once(json::text(p, "ipBlock.cidr")).chain(json::list(p, "ipBlock.except").iter().filter_map(Value::as_str))
        })
        .filter(|c| !c.is_empty())
        .collect()
}

fn port(at: &str, p: &Value, e: &mut Errors) {
    if let Some(protocol) = p.get("protocol").and_then(Value::as_str)
        && !matches!(protocol, "TCP" | "UDP" | "SCTP")
    {
        e.unsupported(&format!("{at}.protocol"), protocol, &["TCP", "UDP", "SCTP"]);
    }
    let end = json::int(p, "endPort");
    let (at_port, at_end) = (format!("{at}.port"), format!("{at}.endPort"));
    match p.get("port").filter(|v| !v.is_null()) {
        Some(Value::String(name)) => {
            if let Some(n) = end {
                e.invalid(&at_end, &n.into(), "may not be specified when `port` is non-numeric");
            }
            e.names(&at_port, name, meta::port_name(name));
        }
        Some(v) => {
            let n = v.as_i64().unwrap_or(0);
            port_number(&at_port, n, e);
            if let Some(end) = end {
                if end < n {
                    e.invalid(&at_end, &n.into(), "must be greater than or equal to `port`");
                }
                port_number(&at_end, end, e);
            }
        }
        None => {
            if let Some(n) = end {
                e.invalid(&at_end, &n.into(), "may not be specified when `port` is not specified");
            }
        }
    }
}

fn peer(at: &str, p: &Value, known: &[&str], e: &mut Errors) {
    let mut n = 0;
    for k in ["podSelector", "namespaceSelector"] {
        if let Some(s) = p.get(k).filter(|s| !s.is_null()) {
            n += 1;
            selectors::label_selector(&format!("{at}.{k}"), s, e);
        }
    }
    let block = p.get("ipBlock").filter(|b| !b.is_null());
    if let Some(b) = block {
        n += 1;
        ip_block(&format!("{at}.ipBlock"), b, known, e);
    }
    if n == 0 {
        e.required(at, "must specify a peer");
    } else if n > 1 && block.is_some() {
        e.forbidden(at, "may not specify both ipBlock and another peer");
    }
}

fn ip_block(at: &str, b: &Value, known: &[&str], e: &mut Errors) {
    let cidr = json::text(b, "cidr");
    let path = format!("{at}.cidr");
    if cidr.is_empty() {
        e.required(&path, "");
        return;
    }
    addresses::cidr(&path, cidr, known, e);
    let Some(whole) = addresses::parse_cidr(cidr) else { return };
    for (i, x) in json::list(b, "except").iter().enumerate() {
        let (path, x) = (format!("{at}.except[{i}]"), x.as_str().unwrap_or(""));
        addresses::cidr(&path, x, known, e);
        let Some(part) = addresses::parse_cidr(x) else { continue };
        if !addresses::contains(whole, addresses::network(part.0, part.1)) || whole.1 >= part.1 {
            e.invalid_text(&path, x, "must be a strict subset of `cidr`");
        }
    }
}
