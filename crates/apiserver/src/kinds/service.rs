//! Services: what the server fills in and drops by itself (registry `service`: storage and strategy).

use serde_json::{Map, Value, json};

use super::errors::Errors;
use super::{Check, DEFAULT, Env, Rules, addresses, service_validation};
use crate::json;
use crate::meta;
use crate::status::Cause;

pub(crate) const SERVICE: Rules = Rules {
    name: meta::dns_label,
    create_on_update: true,
    on_update: &[Check::MetaUpdate, Check::Update, Check::Always],
    prepare_create: |doc, _| doc["status"] = json!({"loadBalancer": {}}),
    prepare_update: |doc, old, _| drop_dependent(doc, old),
    settle,
    validate: service_validation::validate,
    validate_update: service_validation::validate_update,
    validate_status: service_validation::status,
    ..DEFAULT
};

/// A name that points elsewhere; it has no addresses.
pub(crate) fn is_external(doc: &Value) -> bool {
    json::text(doc, "spec.type") == "ExternalName"
}

/// No address on purpose.
pub(crate) fn is_headless(doc: &Value) -> bool {
    let ips = json::list(doc, "spec.clusterIPs");
    ips.len() == 1 && ips[0] == "None"
}

/// Reached from outside the cluster.
pub(crate) fn is_exposed(doc: &Value) -> bool {
    match json::text(doc, "spec.type") {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => !json::list(doc, "spec.externalIPs").is_empty(),
        _ => false,
    }
}

/// Whether load balancers ask the nodes which of them have endpoints.
pub(crate) fn needs_health_check(doc: &Value) -> bool {
    json::text(doc, "spec.type") == "LoadBalancer" && json::text(doc, "spec.externalTrafficPolicy") == "Local"
}

/// Whether the type has ports on nodes.
pub(crate) fn has_node_ports(doc: &Value) -> bool {
    matches!(json::text(doc, "spec.type"), "NodePort" | "LoadBalancer")
}

/// Whether ports on nodes are handed out.
pub(crate) fn wants_node_ports(doc: &Value) -> bool {
    match json::text(doc, "spec.type") {
        "NodePort" => true,
        "LoadBalancer" => doc["spec"]["allocateLoadBalancerNodePorts"].as_bool() != Some(false),
        _ => false,
    }
}

fn is_unset(spec: &Map<String, Value>, k: &str) -> bool {
    match spec.get(k) {
        None | Some(Value::Null) => true,
        Some(Value::String(s)) => s.is_empty(),
        Some(Value::Array(l)) => l.is_empty(),
        Some(Value::Number(n)) => n.as_i64() == Some(0),
        _ => false,
    }
}

/// What comes before validation: what was handed out stays, addresses and families are brought together.
fn settle(doc: &mut Value, old: Option<&Value>, _: &Env<'_>) -> Result<(), Vec<Cause>> {
    json::object_mut(doc, "spec");
    if let Some(old) = old {
        keep(doc, old);
    }
    normalize(doc, old);
    families(doc, old)
}

/// What was handed out stays when the new document leaves it out.
fn keep(doc: &mut Value, old: &Value) {
    let was = &old["spec"];
    if !is_external(old) && !is_external(doc) {
        let spec = json::object_mut(doc, "spec");
        for k in ["clusterIP", "clusterIPs"] {
            if is_unset(spec, k)
                && let Some(v) = was.get(k)
            {
                spec.insert(k.into(), v.clone());
            }
        }
    }
    if wants_node_ports(old) && wants_node_ports(doc) {
        let ports = |d: &Value| -> Vec<i64> { json::list(d, "spec.ports").iter().filter_map(|p| json::int(p, "nodePort")).collect() };
        let new = ports(doc);
        let used: Vec<i64> = ports(old).into_iter().filter(|n| new.contains(n)).collect();
        let old_ports = json::list(was, "ports");
        for p in doc["spec"].get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            let same_name = old_ports.iter().rfind(|o| json::text(o, "name") == json::text(p, "name"));
            if json::int(p, "nodePort").unwrap_or(0) == 0
                && let Some(n) = same_name.and_then(|o| json::int(o, "nodePort")).filter(|n| !used.contains(n))
            {
                p["nodePort"] = n.into();
            }
        }
    }
    if needs_health_check(old) && needs_health_check(doc) {
        let spec = json::object_mut(doc, "spec");
        if is_unset(spec, "healthCheckNodePort")
            && let Some(n) = was.get("healthCheckNodePort")
        {
            spec.insert("healthCheckNodePort".into(), n.clone());
        }
    }
}

/// Old clients know one address, new ones a list.
fn normalize(doc: &mut Value, old: Option<&Value>) {
    let one = json::text(doc, "spec.clusterIP").to_owned();
    let spec = json::object_mut(doc, "spec");
    let Some(old) = old else {
        if !one.is_empty() && is_unset(spec, "clusterIPs") {
            spec.insert("clusterIPs".into(), json!([one]));
        }
        return;
    };
    let (was, list_was) = (json::text(old, "spec.clusterIP"), json::list(old, "spec.clusterIPs"));
    if !list_was.is_empty() && is_unset(spec, "clusterIPs") && one == was {
        spec.insert("clusterIPs".into(), list_was.to_vec().into());
    }
    let same_list = spec.get("clusterIPs").and_then(Value::as_array).map_or(&[][..], Vec::as_slice) == list_was;
    if one != was && same_list {
        if !was.is_empty() && one.is_empty() {
            spec.shift_remove("clusterIPs");
        } else {
            spec.insert("clusterIPs".into(), json!([one]));
        }
    }
}

/// Families of the addresses; this cluster has IPv4 alone.
fn families(doc: &mut Value, old: Option<&Value>) -> Result<(), Vec<Cause>> {
    if is_external(doc) {
        return Ok(());
    }
    if json::text(doc, "spec.ipFamilyPolicy").is_empty() {
        let selectorless = json::object(doc, "spec.selector").is_none_or(Map::is_empty);
        let kept = old.map_or("", |o| json::text(o, "spec.ipFamilyPolicy"));
        let policy = match kept {
            "" if json::text(doc, "spec.clusterIP") == "None" && selectorless => "RequireDualStack",
            "" => "SingleStack",
            p => p,
        };
        doc["spec"]["ipFamilyPolicy"] = policy.into();
    }
    let mut e = Errors::default();
    service_validation::cluster_ips(doc, old, &mut e);
    refuse(e)?;
    let mut e = Errors::default();
    let policy = json::text(doc, "spec.ipFamilyPolicy").to_owned();
    let list = |doc: &Value, k: &str| json::list(&doc["spec"], k).to_vec();
    let (ips, mut families) = (list(doc, "clusterIPs"), list(doc, "ipFamilies"));
    if policy == "SingleStack" {
        for (n, what) in [(ips.len(), "cluster IPs"), (families.len(), "IP families")] {
            if n == 2 {
                let why = format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified");
                e.invalid_text("spec.ipFamilyPolicy", &policy, &why);
            }
        }
    }
    for (i, ip) in ips.iter().enumerate().take_while(|(_, ip)| *ip != "None") {
        if i < families.len() {
            continue;
        }
        if addresses::parse_ip(ip.as_str().unwrap_or("")).is_some_and(|a| a.is_ipv6()) {
            e.invalid(&format!("spec.clusterIPs[{i}]"), &ips.clone().into(), "IPv6 is not configured on this cluster");
        } else {
            families.push("IPv4".into());
        }
    }
    refuse(e)?;
    let mut e = Errors::default();
    if json::text(doc, "spec.clusterIP") == "None" && json::object(doc, "spec.selector").is_none_or(Map::is_empty) {
        // Nobody looks after the addresses of such a service: it may have any.
        if families.is_empty() {
            families.push("IPv4".into());
        }
        if families.len() < 2 && policy != "SingleStack" {
            families.push(if families[0] == "IPv4" { "IPv6" } else { "IPv4" }.into());
        }
    } else {
        if policy == "RequireDualStack" {
            e.invalid_text("spec.ipFamilyPolicy", &policy, "this cluster is not configured for dual-stack services");
        }
        for (i, f) in families.iter().enumerate().filter(|(_, f)| *f != "IPv4") {
            e.invalid(&format!("spec.ipFamilies[{i}]"), f, "not configured on this cluster");
        }
        refuse(e)?;
        if families.is_empty() {
            families.push("IPv4".into());
        }
    }
    doc["spec"]["ipFamilies"] = families.into();
    Ok(())
}

fn refuse(e: Errors) -> Result<(), Vec<Cause>> {
    if e.is_empty() { Ok(()) } else { Err(e.causes) }
}

/// Fields that only the old type has go with it, unless the writer changed them.
fn drop_dependent(doc: &mut Value, old: &Value) {
    let same = |doc: &Value, k: &str| doc["spec"].get(k) == old["spec"].get(k);
    let mut gone: Vec<&str> = Vec::new();
    if !is_external(old) && is_external(doc) {
        if same(doc, "clusterIP") && same(doc, "clusterIPs") {
            gone.extend(["clusterIP", "clusterIPs"]);
        }
        gone.extend(["ipFamilies", "ipFamilyPolicy"].into_iter().filter(|k| same(doc, k)));
    }
    if has_node_ports(old) && !has_node_ports(doc) {
        let ports = |d: &Value| -> Vec<i64> { json::list(d, "spec.ports").iter().filter_map(|p| json::int(p, "nodePort")).collect() };
        let was = ports(old);
        if ports(doc).iter().all(|n| was.contains(n)) {
            for p in doc["spec"].get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
                json::take(p, "nodePort");
            }
        }
    }
    let was_balanced = json::text(old, "spec.type") == "LoadBalancer" && json::text(doc, "spec.type") != "LoadBalancer";
    let given_up = |had: bool, k: &'static str| (had && same(doc, k)).then_some(k);
    gone.extend(given_up(needs_health_check(old) && !needs_health_check(doc), "healthCheckNodePort"));
    gone.extend(given_up(was_balanced, "allocateLoadBalancerNodePorts"));
    gone.extend(given_up(was_balanced, "loadBalancerClass"));
    gone.extend(given_up(is_exposed(old) && !is_exposed(doc), "externalTrafficPolicy"));
    if is_external(doc) {
        gone.push("internalTrafficPolicy");
    }
    for k in gone {
        json::take(&mut doc["spec"], k);
    }
    if json::text(doc, "spec.type") != "LoadBalancer" && doc.get("status").is_some() {
        doc["status"]["loadBalancer"] = json!({});
    }
}
