//! Addresses and node ports of services: handing out, keeping, giving back (registry `service` allocators).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::PoisonError;

use serde_json::{Value, json};

use super::Env;
use super::errors::Errors;
use super::service::{is_external, needs_health_check, wants_node_ports};
use crate::json;
use crate::options::Chance;
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
    let unchanged = old.is_some_and(|o| !is_external(o) && json::text(o, "spec.clusterIP") == ip);
    if unchanged && !ip.is_empty() && ip != "None" {
        taken_ip = ip.parse::<Ipv4Addr>().ok().map(u32::from);
    } else if !is_external(doc) && ip.is_empty() {
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
            // Validation has said so.
            Err(_) => {}
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
    let mut taken = BTreeSet::new();
    node_ports(doc, old, &used, &mut taken, &**chance, &mut errors);
    if !errors.is_empty() {
        if let Some(old) = old {
            take(&mut used, old);
        }
        return Err(errors.causes);
    }
    used.ips.extend(taken_ip);
    used.ports.extend(taken);
    Ok(())
}

/// Ports on nodes: those that are named are taken, others drawn; the same port of two protocols gets the same one.
fn node_ports(doc: &mut Value, old: Option<&Value>, used: &Allocated, taken: &mut BTreeSet<i64>, chance: &dyn Chance, errors: &mut Errors) {
    let (wants, checks) = (wants_node_ports(doc), needs_health_check(doc));
    if !wants && !checks && json::text(doc, "spec.type") != "LoadBalancer" {
        return;
    }
    let n_ports = (NODE_PORTS.end() - NODE_PORTS.start() + 1).unsigned_abs();
    let draw = |taken: &BTreeSet<i64>| {
        let start = chance.next_u64() % n_ports;
        (0..n_ports).map(|k| NODE_PORTS.start() + ((start + k) % n_ports) as i64).find(|n| !used.ports.contains(n) && !taken.contains(n))
    };
    let node_port = |p: &Value| json::int(p, "nodePort").filter(|n| *n != 0);
    // What port got which node port; those that are named go first.
    let mut given: Vec<(Value, i64)> = Vec::new();
    if old.is_none() {
        given.extend(json::list(doc, "spec.ports").iter().filter_map(|p| Some((p["port"].clone(), node_port(p)?))));
    }
    for (i, p) in doc["spec"].get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten().enumerate() {
        let at = format!("spec.ports[{i}].nodePort");
        match node_port(p) {
            Some(n) if !NODE_PORTS.contains(&n) => {
                let (from, to) = (NODE_PORTS.start(), NODE_PORTS.end());
                let why = format!("provided port is not in the valid range. The range of valid ports is {from}-{to}");
                errors.invalid(&at, &n.into(), &why);
            }
            Some(n) if used.ports.contains(&n) && !taken.contains(&n) => {
                errors.invalid(&at, &n.into(), "provided port is already allocated");
            }
            Some(n) => {
                taken.insert(n);
            }
            None if wants => {
                let same = given.iter().find(|(port, _)| old.is_none() && *port == p["port"]).map(|(_, n)| *n);
                match same.or_else(|| draw(taken)) {
                    Some(n) => {
                        taken.insert(n);
                        given.push((p["port"].clone(), n));
                        p["nodePort"] = n.into();
                    }
                    None => errors.invalid(&at, &Value::from(0), "range is full"),
                }
            }
            None => {}
        }
        if !errors.is_empty() {
            return;
        }
    }
    if !checks {
        return;
    }
    match json::int(doc, "spec.healthCheckNodePort").filter(|n| *n != 0) {
        Some(n) => {
            taken.insert(n);
        }
        None => {
            if let Some(n) = draw(taken) {
                taken.insert(n);
                doc["spec"]["healthCheckNodePort"] = n.into();
            }
        }
    }
}

fn parts(doc: &Value) -> (Option<u32>, Vec<i64>) {
    let ip = json::text(doc, "spec.clusterIP").parse::<Ipv4Addr>().ok().map(u32::from);
    let ports = json::list(doc, "spec.ports").iter().filter_map(|p| json::int(p, "nodePort"));
    (ip, ports.chain(json::int(doc, "spec.healthCheckNodePort")).collect())
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
