//! Addresses and node ports of services: handing out, keeping, giving back (registry `service` allocators).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::PoisonError;

use serde_json::{Value, json};

use super::errors::Errors;
use super::service::{has_node_ports, is_external, needs_health_check, wants_node_ports};
use crate::json;
use crate::options::Chance;
use crate::registry::Resource;
use crate::server::Server;
use crate::status::ApiError;

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

/// Takes what the services in the store hold.
pub(crate) fn restore(server: &Server) {
    let (_, items) = server.store.list("/services", "");
    let mut used = server.allocated.lock().unwrap_or_else(PoisonError::into_inner);
    for s in items {
        let Ok(doc) = serde_json::from_slice::<Value>(&s.bytes) else { continue };
        used.ips.extend(ip_of(&doc));
        used.ports.extend(ports_of(&doc));
        used.ports.extend(health_of(&doc));
    }
}

/// What a write has taken. It goes back when the write does not come about; what the object gave up goes back when it does.
#[must_use]
pub(crate) struct Grant<'a> {
    server: &'a Server,
    taken: Parts,
    given_up: Parts,
    stands: bool,
}

#[derive(Default)]
struct Parts {
    ip: Option<u32>,
    ports: Vec<i64>,
}

impl Grant<'_> {
    /// The write came about.
    pub(crate) fn settle(mut self) {
        self.stands = true;
    }
}

impl Drop for Grant<'_> {
    fn drop(&mut self) {
        let mut used = self.server.allocated.lock().unwrap_or_else(PoisonError::into_inner);
        give_back(&mut used, if self.stands { &self.given_up } else { &self.taken });
        drop(used);
        if let Some(ip) = self.given_up.ip.filter(|_| self.stands) {
            super::own_objects::address_released(self.server, &Ipv4Addr::from(ip).to_string());
        }
    }
}

fn give_back(used: &mut Allocated, parts: &Parts) {
    if let Some(ip) = parts.ip {
        used.ips.remove(&ip);
    }
    for p in &parts.ports {
        used.ports.remove(p);
    }
}

/// Ports of one write (upstream `portallocator.PortAllocationOperation`).
struct Ports<'a> {
    used: &'a BTreeSet<i64>,
    taken: Vec<i64>,
    chance: &'a dyn Chance,
}

impl Ports<'_> {
    fn is_free(&self, n: i64) -> bool {
        !self.used.contains(&n) && !self.taken.contains(&n)
    }

    fn take(&mut self, n: i64) -> Result<(), String> {
        if !NODE_PORTS.contains(&n) {
            let (from, to) = (NODE_PORTS.start(), NODE_PORTS.end());
            return Err(format!("provided port is not in the valid range. The range of valid ports is {from}-{to}"));
        }
        if !self.is_free(n) {
            return Err("provided port is already allocated".to_owned());
        }
        self.taken.push(n);
        Ok(())
    }

    fn draw(&mut self) -> Option<i64> {
        let size = (NODE_PORTS.end() - NODE_PORTS.start() + 1).unsigned_abs();
        let start = self.chance.next_u64() % size;
        let n = (0..size).map(|k| NODE_PORTS.start() + ((start + k) % size) as i64).find(|n| self.is_free(*n))?;
        self.taken.push(n);
        Some(n)
    }
}

fn internal(message: String) -> ApiError {
    let mut e = ApiError::new(500, "InternalError", format!("Internal error occurred: {message}"));
    e.details = json!({"causes": [{"message": message}]});
    e
}

/// Gives a service the addresses and ports that it needs and takes those that it names; before validation.
pub(crate) fn allocate<'a>(server: &'a Server, r: &Resource, doc: &mut Value, old: Option<&Value>) -> Result<Grant<'a>, ApiError> {
    let mut grant = Grant { server, taken: Parts::default(), given_up: Parts::default(), stands: false };
    if !(r.group.is_empty() && r.plural == "services") {
        return Ok(grant);
    }
    let mut used = server.allocated.lock().unwrap_or_else(PoisonError::into_inner);
    let chance = &*server.options.chance;
    let ip = address(server, &used, doc, old)?;
    let mut ports = Ports { used: &used.ports, taken: Vec::new(), chance };
    if has_node_ports(doc) {
        match old {
            None => first_ports(doc, &mut ports)?,
            Some(old) => changed_ports(doc, old, &mut ports)?,
        }
    }
    if needs_health_check(doc) && !old.is_some_and(needs_health_check) {
        health_port(doc, &mut ports)?;
    }
    let taken = ports.taken;
    used.ips.extend(ip);
    used.ports.extend(&taken);
    drop(used);
    grant.taken = Parts { ip, ports: taken };
    if let Some(old) = old {
        grant.given_up = given_up(doc, old);
    }
    Ok(grant)
}

/// The address that a service gets (`allocClusterIPs`, `updateClusterIPs`); one that changes is left for validation to refuse.
fn address(server: &Server, used: &Allocated, doc: &mut Value, old: Option<&Value>) -> Result<Option<u32>, ApiError> {
    let ip = json::text(doc, "spec.clusterIP").to_owned();
    if is_external(doc) || ip == "None" || old.is_some_and(|o| !is_external(o)) {
        return Ok(None);
    }
    let (network, last) = range(server);
    let list = doc["spec"]["clusterIPs"].clone();
    let refused = |list: &Value, why: &str| {
        let mut e = Errors::default();
        e.invalid("spec.clusterIPs", list, why);
        Err(ApiError::invalid("", "Service", json::text(doc, "metadata.name"), &e.causes))
    };
    if ip.is_empty() {
        // A few draws, then the first free one.
        let free = (0..64)
            .map(|_| network + 1 + (server.options.chance.next_u64() % u64::from(last - 1)) as u32)
            .find(|a| !used.ips.contains(a))
            .or_else(|| (network + 1..network + last).find(|a| !used.ips.contains(a)));
        let Some(a) = free else { return refused(&json!([]), "failed to allocate a serviceIP: range is full") };
        let text = Ipv4Addr::from(a).to_string();
        doc["spec"]["clusterIP"] = text.as_str().into();
        doc["spec"]["clusterIPs"] = json!([text]);
        return Ok(Some(a));
    }
    // What is no address is for validation.
    let Ok(a) = ip.parse::<Ipv4Addr>().map(u32::from) else { return Ok(None) };
    if a <= network || a >= network + last {
        return refused(&list, &format!("failed to allocate IP {ip}: the provided network does not match the current range"));
    }
    if used.ips.contains(&a) {
        return refused(&list, &format!("failed to allocate IP {ip}: provided IP is already allocated"));
    }
    Ok(Some(a))
}

fn port_refused(doc: &Value, i: usize, n: i64, why: &str) -> ApiError {
    let mut e = Errors::default();
    e.invalid(&format!("spec.ports[{i}].nodePort"), &n.into(), why);
    ApiError::invalid("", "Service", json::text(doc, "metadata.name"), &e.causes)
}

fn node_port(p: &Value) -> i64 {
    json::int(p, "nodePort").unwrap_or(0)
}

fn drawn(ports: &mut Ports<'_>) -> Result<i64, ApiError> {
    ports.draw().ok_or_else(|| internal("failed to allocate a nodePort: range is full".to_owned()))
}

/// Ports on nodes of a new service: the same port of two protocols gets the same one (`initNodePorts`).
fn first_ports(doc: &mut Value, ports: &mut Ports<'_>) -> Result<(), ApiError> {
    let mut given: Vec<(i64, i64)> = Vec::new();
    for i in 0..json::list(doc, "spec.ports").len() {
        let all = json::list(doc, "spec.ports");
        let (port, n) = (json::int(&all[i], "port").unwrap_or(0), node_port(&all[i]));
        if n == 0 && !wants_node_ports(doc) {
            continue;
        }
        let has = given.iter().find(|(p, _)| *p == port).map(|(_, n)| *n);
        let got = match has {
            None => {
                let asked = all.iter().find(|p| json::int(p, "port").unwrap_or(0) == port && node_port(p) != 0).map(node_port);
                let got = match asked {
                    Some(n) => ports.take(n).map(|()| n).map_err(|why| port_refused(doc, i, n, &why))?,
                    None => drawn(ports)?,
                };
                given.push((port, got));
                got
            }
            Some(has) if n == 0 || n == has => has,
            Some(_) => ports.take(n).map(|()| n).map_err(|why| port_refused(doc, i, n, &why))?,
        };
        doc["spec"]["ports"][i]["nodePort"] = got.into();
    }
    Ok(())
}

/// Ports on nodes of a changed service (`updateNodePorts`).
fn changed_ports(doc: &mut Value, old: &Value, ports: &mut Ports<'_>) -> Result<(), ApiError> {
    let was: Vec<i64> = json::list(old, "spec.ports").iter().map(node_port).collect();
    let mut seen = Vec::new();
    for i in 0..json::list(doc, "spec.ports").len() {
        let p = &doc["spec"]["ports"][i];
        let (mut n, protocol) = (node_port(p), json::text(p, "protocol").to_owned());
        if n == 0 {
            if !wants_node_ports(doc) {
                continue;
            }
            n = drawn(ports)?;
            doc["spec"]["ports"][i]["nodePort"] = n.into();
        } else if !was.contains(&n) && !ports.taken.contains(&n) {
            ports.take(n).map_err(|why| port_refused(doc, i, n, &why))?;
        }
        if seen.contains(&(protocol.clone(), n)) {
            return Err(ApiError::new(500, "", format!("duplicate nodePort: {{{protocol} {n}}}")));
        }
        seen.push((protocol, n));
    }
    Ok(())
}

fn health_port(doc: &mut Value, ports: &mut Ports<'_>) -> Result<(), ApiError> {
    match json::int(doc, "spec.healthCheckNodePort").filter(|n| *n != 0) {
        Some(n) => ports.take(n).map_err(|why| internal(format!("failed to allocate requested HealthCheck NodePort {n}: {why}"))),
        None => {
            let n = ports.draw().ok_or_else(|| internal("failed to allocate a HealthCheck NodePort 0: range is full".to_owned()))?;
            doc["spec"]["healthCheckNodePort"] = n.into();
            Ok(())
        }
    }
}

fn ip_of(doc: &Value) -> Option<u32> {
    json::text(doc, "spec.clusterIP").parse::<Ipv4Addr>().ok().map(u32::from)
}

fn ports_of(doc: &Value) -> Vec<i64> {
    if !has_node_ports(doc) {
        return Vec::new();
    }
    json::list(doc, "spec.ports").iter().map(node_port).filter(|n| *n != 0).collect()
}

fn health_of(doc: &Value) -> Option<i64> {
    json::int(doc, "spec.healthCheckNodePort").filter(|_| needs_health_check(doc))
}

/// What a changed service no longer needs.
fn given_up(doc: &Value, old: &Value) -> Parts {
    let now = ports_of(doc);
    let mut ports = ports_of(old);
    ports.retain(|n| !now.contains(n));
    ports.extend(health_of(old).filter(|_| !needs_health_check(doc)));
    Parts { ip: ip_of(old).filter(|_| is_external(doc) && !is_external(old)), ports }
}

/// Gives back what a deleted object held.
pub(crate) fn release(server: &Server, r: &Resource, doc: &Value) {
    if r.group.is_empty() && r.plural == "services" {
        let mut ports = ports_of(doc);
        ports.extend(health_of(doc));
        let held = Parts { ip: ip_of(doc), ports };
        give_back(&mut server.allocated.lock().unwrap_or_else(PoisonError::into_inner), &held);
    }
}
