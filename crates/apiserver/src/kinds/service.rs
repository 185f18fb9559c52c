//! Services: their rules, addresses and ports.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::PoisonError;

use serde_json::{Value, json};

use super::errors::Errors;
use super::pod_spec::{port_name, port_number};
use super::{DEFAULT, Env, Rules};
use crate::json;
use crate::meta;
use crate::registry::Resource;
use crate::server::Server;
use crate::status::Cause;

/// Addresses and ports in use.
#[derive(Debug, Default)]
pub(crate) struct Allocated {
    ips: BTreeSet<u32>,
    ports: BTreeSet<i64>,
}

/// Range of node ports.
const NODE_PORTS: std::ops::RangeInclusive<i64> = 30000..=32767;

pub(crate) const SERVICE: Rules = Rules {
    name: meta::dns_label,
    create_on_update: true,
    prepare_create: |doc, _| {
        doc["status"] = json!({"loadBalancer": {}});
        families(doc);
    },
    prepare_update: |doc, old, _| {
        keep_allocated(doc, old);
        families(doc);
    },
    validate: validate_service,
    validate_update: |new, old, e, _| {
        let (n, o) = (json::text(new, "spec.clusterIP"), json::text(old, "spec.clusterIP"));
        let external = |d: &Value| json::text(d, "spec.type") == "ExternalName";
        if !o.is_empty() && n != o && !external(new) && !external(old) {
            e.invalid("spec.clusterIPs[0]", &new["spec"]["clusterIPs"], "may not change once set");
        }
    },
    validate_status: |doc, _, e, _| {
        if json::text(doc, "spec.type") != "LoadBalancer" && !json::list(doc, "status.loadBalancer.ingress").is_empty() {
            e.forbidden("status.loadBalancer.ingress", "may only be used when `spec.type` is 'LoadBalancer'");
        }
    },
    ..DEFAULT
};

fn is_external(doc: &Value) -> bool {
    json::text(doc, "spec.type") == "ExternalName"
}

/// Family fields of a service that has addresses.
fn families(doc: &mut Value) {
    if is_external(doc) {
        let spec = json::object_mut(doc, "spec");
        for k in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
            spec.shift_remove(k);
        }
        return;
    }
    let spec = json::object_mut(doc, "spec");
    let one = spec.get("clusterIP").and_then(Value::as_str).unwrap_or("").to_owned();
    let many = spec.get("clusterIPs").and_then(Value::as_array).cloned().unwrap_or_default();
    if !one.is_empty() && many.is_empty() {
        spec.insert("clusterIPs".into(), json!([one]));
    } else if one.is_empty()
        && let Some(first) = many.first()
    {
        spec.insert("clusterIP".into(), first.clone());
    }
    if spec.get("ipFamilies").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        spec.insert("ipFamilies".into(), json!(["IPv4"]));
    }
    spec.entry("ipFamilyPolicy").or_insert_with(|| "SingleStack".into());
    let kind = spec.get("type").and_then(Value::as_str).unwrap_or("").to_owned();
    if kind == "ClusterIP" || kind.is_empty() {
        spec.shift_remove("allocateLoadBalancerNodePorts");
        spec.shift_remove("healthCheckNodePort");
        if spec.get("externalIPs").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            spec.shift_remove("externalTrafficPolicy");
        }
        for p in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            json::take(p, "nodePort");
        }
    }
    if kind == "NodePort" {
        spec.shift_remove("allocateLoadBalancerNodePorts");
    }
}

/// What was allocated stays when the new document leaves it out.
fn keep_allocated(doc: &mut Value, old: &Value) {
    if is_external(doc) || is_external(old) {
        return;
    }
    let spec = json::object_mut(doc, "spec");
    let was = &old["spec"];
    let none = |spec: &serde_json::Map<String, Value>, k: &str| match spec.get(k) {
        None | Some(Value::Null) => true,
        Some(Value::String(s)) => s.is_empty(),
        Some(Value::Array(l)) => l.is_empty(),
        _ => false,
    };
    // A changed clusterIP with the old list, or the other way round, means both.
    let (ip_same, list_same) = (spec.get("clusterIP") == was.get("clusterIP"), spec.get("clusterIPs") == was.get("clusterIPs"));
    if !ip_same && list_same && !none(spec, "clusterIP") {
        spec.insert("clusterIPs".into(), json!([spec["clusterIP"]]));
    }
    if none(spec, "clusterIP") && none(spec, "clusterIPs") {
        for k in ["clusterIP", "clusterIPs"] {
            if let Some(v) = was.get(k) {
                spec.insert(k.into(), v.clone());
            }
        }
    }
    for k in ["ipFamilies", "ipFamilyPolicy"] {
        if none(spec, k)
            && let Some(v) = was.get(k)
        {
            spec.insert(k.into(), v.clone());
        }
    }
    let kind = spec.get("type").and_then(Value::as_str).unwrap_or("").to_owned();
    if !matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        return;
    }
    let old_ports = json::list(was, "ports").to_vec();
    for p in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        let same = old_ports.iter().find(|o| o["port"] == p["port"] && o["protocol"] == p["protocol"]);
        if p.get("nodePort").is_none()
            && let Some(n) = same.and_then(|o| o.get("nodePort"))
        {
            p["nodePort"] = n.clone();
        }
    }
}

fn validate_service(doc: &Value, e: &mut Errors, _: &Env<'_>) {
    let spec = &doc["spec"];
    let kind = json::text(spec, "type");
    let headless = json::text(spec, "clusterIP") == "None";
    let ports = json::list(spec, "ports");
    if ports.is_empty() && !headless && kind != "ExternalName" {
        e.required("spec.ports", "");
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            e.invalid_text("spec.clusterIPs[0]", "None", &format!("may not be set to 'None' for {kind} services"));
        }
        "ExternalName" => {
            let name = json::text(spec, "externalName");
            let bare = name.strip_suffix('.').unwrap_or(name);
            if bare.is_empty() {
                e.required("spec.externalName", "");
            } else {
                e.names("spec.externalName", bare, meta::dns_subdomain(bare));
            }
        }
        "ClusterIP" | "LoadBalancer" | "NodePort" => {}
        other => e.unsupported("spec.type", other, &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]),
    }
    let mut names = BTreeSet::new();
    for (i, p) in ports.iter().enumerate() {
        let at = format!("spec.ports[{i}]");
        let name = json::text(p, "name");
        if name.is_empty() {
            if ports.len() > 1 {
                e.required(&format!("{at}.name"), "");
            }
        } else {
            e.names(&format!("{at}.name"), name, meta::dns_label(name));
            if !names.insert(name.to_owned()) {
                e.duplicate(&format!("{at}.name"), &Value::from(name));
            }
        }
        port_number(json::int(p, "port").unwrap_or(0), &format!("{at}.port"), e);
        match json::text(p, "protocol") {
            "TCP" | "UDP" | "SCTP" => {}
            "" => e.required(&format!("{at}.protocol"), ""),
            other => e.unsupported(&format!("{at}.protocol"), other, &["SCTP", "TCP", "UDP"]),
        }
        match &p["targetPort"] {
            Value::Number(n) => port_number(n.as_i64().unwrap_or(0), &format!("{at}.targetPort"), e),
            Value::String(s) => e.names(&format!("{at}.targetPort"), s, port_name(s)),
            _ => {}
        }
    }
    for (i, p) in ports.iter().enumerate() {
        let same = |o: &&Value| o["port"] == p["port"] && o["protocol"] == p["protocol"];
        if ports[..i].iter().any(|o| same(&o)) {
            let key =
                json!({"Name": "", "Protocol": p["protocol"], "AppProtocol": null, "Port": p["port"], "TargetPort": 0, "NodePort": 0});
            e.duplicate(&format!("spec.ports[{i}]"), &key);
        }
        if let Some(n) = json::int(p, "nodePort").filter(|n| *n != 0) {
            if kind == "ClusterIP" {
                e.forbidden(&format!("spec.ports[{i}].nodePort"), "may not be used when `type` is 'ClusterIP'");
            }
            if ports[..i].iter().any(|o| json::int(o, "nodePort") == Some(n) && o["protocol"] == p["protocol"]) {
                e.duplicate(&format!("spec.ports[{i}].nodePort"), &n.into());
            }
        }
    }
    super::metadata::validate_labels(json::object(spec, "selector"), "spec.selector", e);
    match json::text(spec, "sessionAffinity") {
        "ClientIP" | "None" => {}
        "" => e.required("spec.sessionAffinity", ""),
        other => e.unsupported("spec.sessionAffinity", other, &["ClientIP", "None"]),
    }
    for (i, ip) in json::list(spec, "externalIPs").iter().enumerate() {
        let ip = ip.as_str().unwrap_or("");
        if ip.parse::<std::net::IpAddr>().is_err() {
            e.invalid_text(&format!("spec.externalIPs[{i}]"), ip, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
        }
    }
}

fn range(server: &Server) -> (u32, u32) {
    let (network, prefix) = server.options.service_cidr;
    let size = 1u64 << (32 - u32::from(prefix.min(30)));
    (u32::from(network), u32::try_from(size - 1).unwrap_or(u32::MAX))
}

/// Takes an address for good.
pub(crate) fn reserve(server: &Server, ip: &str) {
    if let Ok(ip) = ip.parse::<Ipv4Addr>() {
        server.allocated.lock().unwrap_or_else(PoisonError::into_inner).ips.insert(ip.into());
    }
}

/// Gives a service the addresses and ports that it needs and takes those that it names.
pub(crate) fn allocate(env: &Env<'_>, r: &Resource, doc: &mut Value, old: Option<&Value>) -> Result<(), Vec<Cause>> {
    if !(r.group.is_empty() && r.plural == "services") {
        return Ok(());
    }
    let mut errors = Errors::default();
    let server = env.server;
    let chance = &server.options.chance;
    let mut used = server.allocated.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(old) = old {
        give_back(&mut used, old);
    }
    let (network, last) = range(server);
    let ip = json::text(doc, "spec.clusterIP").to_owned();
    let mut taken_ip = None;
    if !is_external(doc) && ip.is_empty() {
        // A few draws, then the first free one.
        let free = (0..64)
            .map(|_| network + 1 + (chance.next_u64() % u64::from(last - 1)) as u32)
            .find(|a| !used.ips.contains(a))
            .or_else(|| (network + 1..network + last).find(|a| !used.ips.contains(a)));
        match free {
            Some(a) => {
                taken_ip = Some(a);
                let text = Ipv4Addr::from(a).to_string();
                doc["spec"]["clusterIP"] = text.as_str().into();
                doc["spec"]["clusterIPs"] = json!([text]);
            }
            None => errors.invalid("spec.clusterIPs", &json!([]), "failed to allocate a serviceIP: range is full"),
        }
    } else if !is_external(doc) && ip != "None" {
        let list = doc["spec"]["clusterIPs"].clone();
        match ip.parse::<Ipv4Addr>().map(u32::from) {
            Err(_) => {
                errors.invalid_text("spec.clusterIPs[0]", &ip, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
            }
            Ok(a) if a <= network || a >= network + last => {
                errors.invalid(
                    "spec.clusterIPs",
                    &list,
                    &format!("failed to allocate IP {ip}: the provided network does not match the current range"),
                );
            }
            Ok(a) if used.ips.contains(&a) => {
                errors.invalid("spec.clusterIPs", &list, &format!("failed to allocate IP {ip}: provided IP is already allocated"));
            }
            Ok(a) => taken_ip = Some(a),
        }
    }
    let kind = json::text(doc, "spec.type").to_owned();
    let wants = kind == "NodePort" || (kind == "LoadBalancer" && doc["spec"]["allocateLoadBalancerNodePorts"].as_bool() != Some(false));
    let mut taken_ports = BTreeSet::new();
    for (i, p) in doc["spec"].get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten().enumerate() {
        match json::int(p, "nodePort").filter(|n| *n != 0) {
            Some(n) if !NODE_PORTS.contains(&n) => {
                errors.invalid(
                    &format!("spec.ports[{i}].nodePort"),
                    &n.into(),
                    &format!(
                        "provided port is not in the valid range. The range of valid ports is {}-{}",
                        NODE_PORTS.start(),
                        NODE_PORTS.end()
                    ),
                );
            }
            Some(n) if used.ports.contains(&n) && !taken_ports.contains(&n) => {
                errors.invalid(&format!("spec.ports[{i}].nodePort"), &n.into(), "provided port is already allocated");
            }
            Some(n) => {
                taken_ports.insert(n);
            }
            None if wants => {
                let n_ports = (NODE_PORTS.end() - NODE_PORTS.start() + 1).unsigned_abs();
                let start = chance.next_u64() % n_ports;
                let free = (0..n_ports)
                    .map(|k| NODE_PORTS.start() + ((start + k) % n_ports) as i64)
                    .find(|n| !used.ports.contains(n) && !taken_ports.contains(n));
                match free {
                    Some(n) => {
                        taken_ports.insert(n);
                        p["nodePort"] = n.into();
                    }
                    None => errors.invalid(&format!("spec.ports[{i}].nodePort"), &Value::from(0), "range is full"),
                }
            }
            None => {}
        }
    }
    if !errors.is_empty() {
        if let Some(old) = old {
            take(&mut used, old);
        }
        return Err(errors.causes);
    }
    used.ips.extend(taken_ip);
    used.ports.extend(taken_ports);
    Ok(())
}

fn parts(doc: &Value) -> (Option<u32>, Vec<i64>) {
    let ip = json::text(doc, "spec.clusterIP").parse::<Ipv4Addr>().ok().map(u32::from);
    let ports = json::list(doc, "spec.ports").iter().filter_map(|p| json::int(p, "nodePort")).collect();
    (ip, ports)
}

fn take(used: &mut Allocated, doc: &Value) {
    let (ip, ports) = parts(doc);
    used.ips.extend(ip);
    used.ports.extend(ports);
}

fn give_back(used: &mut Allocated, doc: &Value) {
    let (ip, ports) = parts(doc);
    if let Some(ip) = ip {
        used.ips.remove(&ip);
    }
    for p in ports {
        used.ports.remove(&p);
    }
}

/// Gives back what an object held; `old` keeps what it has (a change that was tried only).
pub(crate) fn release(server: &Server, r: &Resource, doc: &Value, old: Option<&Value>) {
    if r.group.is_empty() && r.plural == "services" {
        let mut used = server.allocated.lock().unwrap_or_else(PoisonError::into_inner);
        give_back(&mut used, doc);
        if let Some(old) = old {
            take(&mut used, old);
        }
    }
}
