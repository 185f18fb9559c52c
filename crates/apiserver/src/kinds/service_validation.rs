//! Rules of services (core `ValidateServiceCreate`, `ValidateServiceUpdate`).

use serde_json::{Value, json};

use super::errors::Errors;
use super::metadata::validate_labels;
use super::pod_containers::{port_number, port_or_name};
use super::service::{is_exposed, is_external, is_headless, needs_health_check};
use super::{Env, addresses, internal};
use crate::json;
use crate::meta;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const OLD_HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const MODE: &str = "service.kubernetes.io/topology-mode";
const RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

/// What must always hold.
pub(crate) fn validate(doc: &Value, old: Option<&Value>, e: &mut Errors, _: &Env<'_>) {
    let spec = &doc["spec"];
    let kind = json::text(spec, "type");
    let annotation = |k: &str| doc["metadata"]["annotations"].get(k).and_then(Value::as_str);
    if let (Some(mode), Some(hints)) = (annotation(MODE), annotation(OLD_HINTS))
        && mode != hints
    {
        let why = format!("must match annotations[{OLD_HINTS}] when both are specified");
        e.invalid_text(&format!("metadata.annotations[{MODE}]"), mode, &why);
    }
    let list = json::list(spec, "ports");
    if list.is_empty() && !is_headless(doc) && kind != "ExternalName" {
        e.required("spec.ports", "");
    }
    if matches!(kind, "LoadBalancer" | "NodePort") && is_headless(doc) {
        e.invalid_text("spec.clusterIPs[0]", "None", &format!("may not be set to 'None' for {kind} services"));
    }
    if kind == "ExternalName" {
        external(spec, e);
    }
    ports(list, e);
    validate_labels(json::object(spec, "selector"), "spec.selector", e);
    affinity(spec, e);
    cluster_ips(doc, old, e);
    let known =
        |k: &str| -> Vec<&str> { old.map(|o| json::list(&o["spec"], k).iter().filter_map(Value::as_str).collect()).unwrap_or_default() };
    for (i, ip) in json::list(spec, "externalIPs").iter().enumerate() {
        let (at, ip) = (format!("spec.externalIPs[{i}]"), ip.as_str().unwrap_or(""));
        if addresses::ip(&at, ip, &known("externalIPs"), e) {
            addresses::endpoint(&at, ip, e);
        }
    }
    e.one_of("spec.type", kind, TYPES);
    port_conflicts(list, kind, e);
    source_ranges(doc, old, annotation(RANGES), e);
    let allocate = spec.get("allocateLoadBalancerNodePorts").filter(|a| !a.is_null());
    if allocate.is_some() && kind != "LoadBalancer" {
        e.forbidden("spec.allocateLoadBalancerNodePorts", "may only be used when `type` is 'LoadBalancer'");
    }
    if allocate.is_none() && kind == "LoadBalancer" {
        e.required("allocateLoadBalancerNodePorts", "");
    }
    class(spec, e);
    traffic(doc, e);
}

fn external(spec: &Value, e: &mut Errors) {
    let why = "may not be set for ExternalName services";
    for k in ["clusterIPs", "ipFamilies"] {
        if !json::list(spec, k).is_empty() {
            e.forbidden(&format!("spec.{k}"), why);
        }
    }
    if spec.get("ipFamilyPolicy").is_some() {
        e.forbidden("spec.ipFamilyPolicy", why);
    }
    let name = json::text(spec, "externalName");
    let bare = name.strip_suffix('.').unwrap_or(name);
    if bare.is_empty() {
        e.required("spec.externalName", "");
    } else {
        e.names("spec.externalName", bare, meta::dns_subdomain(bare));
    }
}

fn ports(list: &[Value], e: &mut Errors) {
    let mut names = Vec::new();
    for (i, p) in list.iter().enumerate() {
        let at = format!("spec.ports[{i}]");
        let name = json::text(p, "name");
        if !name.is_empty() {
            e.names(&format!("{at}.name"), name, meta::dns_label(name));
            if names.contains(&name) {
                e.duplicate(&format!("{at}.name"), &name.into());
            }
            names.push(name);
        } else if list.len() > 1 {
            e.required(&format!("{at}.name"), "");
        }
        port_number(&format!("{at}.port"), json::int(p, "port").unwrap_or(0), e);
        e.one_of(&format!("{at}.protocol"), json::text(p, "protocol"), &["SCTP", "TCP", "UDP"]);
        port_or_name(&format!("{at}.targetPort"), &p["targetPort"], e);
        if let Some(a) = p.get("appProtocol").and_then(Value::as_str) {
            e.names(&format!("{at}.appProtocol"), a, meta::qualified_name(a));
        }
    }
}

fn port_conflicts(list: &[Value], kind: &str, e: &mut Errors) {
    let node_port = |p: &Value| json::int(p, "nodePort").filter(|n| *n != 0);
    if kind == "ClusterIP" {
        for (i, _) in list.iter().enumerate().filter(|(_, p)| node_port(p).is_some()) {
            e.forbidden(&format!("spec.ports[{i}].nodePort"), "may not be used when `type` is 'ClusterIP'");
        }
    }
    for (i, p) in list.iter().enumerate() {
        if let Some(n) = node_port(p)
            && list[..i].iter().any(|o| node_port(o) == Some(n) && o["protocol"] == p["protocol"])
        {
            e.duplicate(&format!("spec.ports[{i}].nodePort"), &n.into());
        }
    }
    for (i, p) in list.iter().enumerate() {
        if list[..i].iter().any(|o| o["port"] == p["port"] && o["protocol"] == p["protocol"]) {
            let key = json!({"protocol": p["protocol"], "port": p["port"]});
            e.duplicate(&format!("spec.ports[{i}]"), &internal::form("v1.ServicePort", &key));
        }
    }
}

fn affinity(spec: &Value, e: &mut Errors) {
    let path = "spec.sessionAffinityConfig";
    let config = spec.get("sessionAffinityConfig").filter(|c| !c.is_null());
    let kind = json::text(spec, "sessionAffinity");
    e.one_of("spec.sessionAffinity", kind, &["ClientIP", "None"]);
    match (kind, config) {
        ("ClientIP", config) => {
            let why = "when session affinity type is ClientIP";
            match config.map(|c| (c.get("clientIP").is_some(), json::int(c, "clientIP.timeoutSeconds"))) {
                None => e.required(path, why),
                Some((false, _)) => e.required(&format!("{path}.clientIP"), why),
                Some((true, None)) => e.required(&format!("{path}.clientIP.timeoutSeconds"), why),
                Some((true, Some(n))) => {
                    if !(1..=86400).contains(&n) {
                        let why = "must be greater than 0 and less than 86400";
                        e.invalid(&format!("{path}.clientIP.timeoutSeconds"), &n.into(), why);
                    }
                }
            }
        }
        ("None", Some(_)) => e.forbidden(path, "must not be set when session affinity is None"),
        _ => {}
    }
}

/// Addresses and families fit together.
pub(crate) fn cluster_ips(doc: &Value, old: Option<&Value>, e: &mut Errors) {
    if is_external(doc) {
        return;
    }
    let spec = &doc["spec"];
    let path = "spec.clusterIPs";
    let one = json::text(spec, "clusterIP");
    let list = json::list(spec, "clusterIPs");
    let ips: Vec<&str> = list.iter().map(|v| v.as_str().unwrap_or("")).collect();
    let shown = || if list.is_empty() { Value::Null } else { list.to_vec().into() };
    if one.is_empty() {
        if !ips.is_empty() {
            e.invalid(path, &shown(), "must be empty when `clusterIP` is not specified");
        }
    } else if ips.is_empty() {
        e.required(path, "");
    } else if ips[0] != one {
        e.invalid(path, &shown(), "first value must match `clusterIP`");
    }
    let families = json::list(spec, "ipFamilies");
    for (i, f) in families.iter().enumerate() {
        let at = format!("spec.ipFamilies[{i}]");
        if !(f == "IPv4" || f == "IPv6") {
            e.unsupported_value(&at, f, &["IPv4", "IPv6"]);
        }
        if families[..i].contains(f) {
            e.duplicate(&at, f);
        }
    }
    const POLICIES: &[&str] = &["PreferDualStack", "RequireDualStack", "SingleStack"];
    if let Some(p) = spec.get("ipFamilyPolicy").and_then(Value::as_str)
        && !POLICIES.contains(&p)
    {
        e.unsupported("spec.ipFamilyPolicy", p, POLICIES);
    }
    let known: Vec<&str> = old.map(|o| json::list(o, path).iter().filter_map(Value::as_str).collect()).unwrap_or_default();
    let mut wrong = false;
    for (i, ip) in ips.iter().enumerate() {
        if i == 0 && *ip == "None" {
            if ips.len() > 1 {
                wrong = true;
                e.invalid(path, &shown(), "'None' must be the first and only value");
            }
            continue;
        }
        wrong |= !addresses::ip(&format!("{path}[{i}]"), ip, &known, e);
    }
    if ips.len() > 2 {
        e.invalid(path, &shown(), "may only hold up to 2 values");
    }
    if wrong {
        return;
    }
    if ips.len() > 1 && !addresses::is_dual(&ips) {
        e.invalid(path, &shown(), "may specify no more than one IP for each IP family");
    }
    if is_headless(doc) {
        return;
    }
    for (i, (ip, f)) in ips.iter().zip(families).enumerate() {
        let v6 = addresses::parse_ip(ip).is_some_and(|a| a.is_ipv6());
        if (f == "IPv4" && v6) || (f == "IPv6" && !v6) {
            let f = f.as_str().unwrap_or("");
            let article = format!("expected an {f} value as indicated by `ipFamilies[{i}]`");
            e.invalid_text(&format!("{path}[{i}]"), ip, &article);
        }
    }
}

fn source_ranges(doc: &Value, old: Option<&Value>, annotation: Option<&str>, e: &mut Errors) {
    let balanced = json::text(doc, "spec.type") == "LoadBalancer";
    let list = json::list(doc, "spec.loadBalancerSourceRanges");
    if !list.is_empty() {
        let path = "spec.LoadBalancerSourceRanges";
        if !balanced {
            e.forbidden(path, "may only be used when `type` is 'LoadBalancer'");
        }
        let known: Vec<&str> = old
            .map(|o| json::list(o, "spec.loadBalancerSourceRanges").iter().filter_map(Value::as_str).map(str::trim).collect())
            .unwrap_or_default();
        for (i, r) in list.iter().enumerate() {
            addresses::cidr(&format!("{path}[{i}]"), r.as_str().unwrap_or("").trim(), &known, e);
        }
        return;
    }
    let Some(text) = annotation else { return };
    let path = format!("metadata.annotations[{RANGES}]");
    if !balanced {
        e.forbidden(&path, "may only be used when `type` is 'LoadBalancer'");
    }
    let changed = old.is_none_or(|o| json::text_at(o, &["metadata", "annotations", RANGES]) != text);
    if changed && !text.trim().is_empty() {
        for r in text.trim().split(',') {
            addresses::cidr(&path, r.trim(), &[], e);
        }
    }
}

fn class(spec: &Value, e: &mut Errors) {
    let path = "spec.loadBalancerClass";
    let Some(c) = spec.get("loadBalancerClass").and_then(Value::as_str) else { return };
    if json::text(spec, "type") == "LoadBalancer" {
        e.names(path, c, meta::qualified_name(c));
    } else {
        e.forbidden(path, "may only be used when `type` is 'LoadBalancer'");
    }
}

fn traffic(doc: &Value, e: &mut Errors) {
    let spec = &doc["spec"];
    let policy = json::text(spec, "externalTrafficPolicy");
    if is_exposed(doc) {
        e.one_of("spec.externalTrafficPolicy", policy, &["Cluster", "Local"]);
    } else if !policy.is_empty() {
        e.invalid_text("spec.externalTrafficPolicy", policy, "may only be set for externally-accessible services");
    }
    let check = json::int(spec, "healthCheckNodePort").unwrap_or(0);
    if needs_health_check(doc) {
        // None at all is no fault here: one is handed out.
        if check != 0 {
            port_number("spec.healthCheckNodePort", check, e);
        }
    } else if check != 0 {
        let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        e.invalid("spec.healthCheckNodePort", &check.into(), why);
    }
    match spec.get("internalTrafficPolicy").and_then(Value::as_str) {
        None => {
            if matches!(json::text(spec, "type"), "NodePort" | "LoadBalancer" | "ClusterIP") {
                e.required("spec.internalTrafficPolicy", "");
            }
        }
        Some(p) if !matches!(p, "Cluster" | "Local") => e.unsupported("spec.internalTrafficPolicy", p, &["Cluster", "Local"]),
        Some(_) => {}
    }
    const WAYS: &[&str] = &["PreferClose", "PreferSameZone", "PreferSameNode"];
    if let Some(d) = spec.get("trafficDistribution").and_then(Value::as_str)
        && !WAYS.contains(&d)
    {
        e.unsupported("spec.trafficDistribution", d, WAYS);
    }
}

/// What must hold between old and new.
pub(crate) fn validate_update(new: &Value, old: &Value, e: &mut Errors, _: &Env<'_>) {
    if !is_external(new) && !is_external(old) {
        let (a, b) = (is_headless(new), is_headless(old));
        if !(a && b) {
            lists(new, old, "clusterIPs", e);
        }
        if a == b && !a {
            lists(new, old, "ipFamilies", e);
        }
    }
    let class = |d: &'_ Value| d["spec"].get("loadBalancerClass").cloned();
    let balanced = |d: &Value| json::text(d, "spec.type") == "LoadBalancer";
    if balanced(old) && balanced(new) && class(old) != class(new) {
        e.invalid("spec.loadBalancerClass", &class(new).unwrap_or(Value::Null), "may not change once set");
    }
    super::service_validation::class(&new["spec"], e);
    let check = |d: &Value| json::int(d, "spec.healthCheckNodePort").unwrap_or(0);
    if needs_health_check(old) && needs_health_check(new) && check(new) != check(old) {
        e.forbidden("spec.healthCheckNodePort", "field is immutable");
    }
}

/// Lists of addresses or families may grow and lose their second entry; their first one stays.
fn lists(new: &Value, old: &Value, k: &str, e: &mut Errors) {
    let (n, o) = (json::list(&new["spec"], k), json::list(&old["spec"], k));
    let ips = json::list(new, "spec.clusterIPs");
    let show = |l: &[Value]| if l.is_empty() { Value::Null } else { l.to_vec().into() };
    let (first, what) = (format!("spec.{k}[0]"), if k == "clusterIPs" { "clusterIP" } else { "ipFamily" });
    let changed = !o.is_empty() && !n.is_empty() && n[0] != o[0];
    match n.len().cmp(&o.len()) {
        std::cmp::Ordering::Equal => {
            for (i, _) in o.iter().enumerate().filter(|(i, v)| n[*i] != **v) {
                let at = if k == "clusterIPs" { format!("spec.{k}[{i}]") } else { first.clone() };
                e.invalid(&at, &show(n), "may not change once set");
            }
        }
        std::cmp::Ordering::Less => {
            if ips.is_empty() {
                e.invalid(&first, &show(n), &format!("primary {what} can not be unset"));
            }
            if changed {
                e.invalid(&first, &show(ips), "may not change once set");
            }
            let policy = &new["spec"]["ipFamilyPolicy"];
            if n.len() == 1 && policy != "SingleStack" {
                let why = format!("must be set to 'SingleStack' when releasing the secondary {what}");
                e.invalid("spec.ipFamilyPolicy", policy, &why);
            }
        }
        std::cmp::Ordering::Greater if changed => e.invalid(&first, &show(ips), "may not change once set"),
        std::cmp::Ordering::Greater => {}
    }
}

/// A change of a service's status.
pub(crate) fn status(doc: &Value, old: &Value, e: &mut Errors, _: &Env<'_>) {
    let path = "status.loadBalancer.ingress";
    let list = json::list(doc, path);
    if json::text(doc, "spec.type") != "LoadBalancer" {
        if !list.is_empty() {
            e.forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'");
        }
        return;
    }
    let known: Vec<&str> = json::list(old, path).iter().map(|i| json::text(i, "ip")).filter(|s| !s.is_empty()).collect();
    for (i, ingress) in list.iter().enumerate() {
        let at = format!("{path}[{i}]");
        let (ip, host) = (json::text(ingress, "ip"), json::text(ingress, "hostname"));
        if !ip.is_empty() {
            addresses::ip(&format!("{at}.ip"), ip, &known, e);
        }
        match ingress.get("ipMode").and_then(Value::as_str) {
            None if !ip.is_empty() => e.required(&format!("{at}.ipMode"), "must be specified when `ip` is set"),
            None => {}
            Some(_) if ip.is_empty() => e.forbidden(&format!("{at}.ipMode"), "may not be specified when `ip` is not set"),
            Some("VIP" | "Proxy") => {}
            Some(other) => e.unsupported(&format!("{at}.ipMode"), other, &["Proxy", "VIP"]),
        }
        balancer_host(&format!("{at}.hostname"), host, e);
    }
}

/// The hostname of a load balancer.
pub(crate) fn balancer_host(path: &str, host: &str, e: &mut Errors) {
    if host.is_empty() {
        return;
    }
    e.names(path, host, meta::dns_subdomain(host));
    if addresses::parse_ip(host).is_some() {
        e.invalid_text(path, host, "must be a DNS name, not an IP address");
    }
}
