//! Resource quotas: what an object costs, and whether the namespace can pay (ResourceQuota admission).

use std::collections::BTreeMap;

use serde_json::Value;

use super::documents;
use crate::defaults::amounts;
use crate::json;
use crate::kinds::Env;
use crate::quantity::Quantity;
use crate::registry::Resource;
use crate::server::Server;
use crate::status::ApiError;
use crate::write::{self, Target};

const LOG: &str = "/resourcequotas";

/// Usage to be written once the object is stored.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Charge {
    quotas: Vec<(String, Value)>,
}

impl Charge {
    /// Writes the usage.
    pub(crate) fn settle(self, server: &Server) {
        let Some(r) = server.registry.get("", "v1", "resourcequotas") else { return };
        for (key, doc) in self.quotas {
            write::commit(server, &r, &key, doc, false);
        }
    }
}

type Usage = BTreeMap<String, Quantity>;

/// Counted under a name of their own besides `count/...`.
const COUNTED: &[&str] =
    &["pods", "services", "replicationcontrollers", "secrets", "configmaps", "persistentvolumeclaims", "resourcequotas"];

/// What an object costs.
fn usage(r: &Resource, doc: &Value) -> Usage {
    let one = Quantity::from_int(1);
    let mut out = Usage::new();
    out.insert(format!("count/{}", r.qualified()), one);
    if r.group.is_empty() && COUNTED.contains(&r.plural.as_str()) {
        out.insert(r.plural.clone(), one);
    }
    match r.plural.as_str() {
        "pods" if r.group.is_empty() => {
            if matches!(json::text(doc, "status.phase"), "Failed" | "Succeeded") {
                return Usage::from([("count/pods".to_owned(), one)]);
            }
            for (name, q) in pod_amounts(doc, "requests") {
                if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
                    out.insert(name.clone(), q);
                }
                out.insert(format!("requests.{name}"), q);
            }
            for (name, q) in pod_amounts(doc, "limits") {
                out.insert(format!("limits.{name}"), q);
            }
        }
        "services" if r.group.is_empty() => {
            let ports = Quantity::from_int(json::list(doc, "spec.ports").len() as i64);
            match json::text(doc, "spec.type") {
                "NodePort" => {
                    out.insert("services.nodeports".into(), ports);
                }
                "LoadBalancer" => {
                    out.insert("services.loadbalancers".into(), one);
                    out.insert("services.nodeports".into(), ports);
                }
                _ => {}
            }
        }
        "persistentvolumeclaims" => {
            for (name, q) in amounts(doc["spec"]["resources"].get("requests")) {
                if name == "storage" {
                    out.insert("requests.storage".into(), q);
                    let class = json::text(doc, "spec.storageClassName");
                    if !class.is_empty() {
                        out.insert(format!("{class}.storageclass.storage.k8s.io/requests.storage"), q);
                        out.insert(format!("{class}.storageclass.storage.k8s.io/persistentvolumeclaims"), one);
                    }
                }
            }
        }
        "resourceclaims" if r.group == "resource.k8s.io" => {
            for (class, n) in devices_by_class(doc) {
                out.insert(format!("{class}.deviceclass.resource.k8s.io/devices"), Quantity::from_int(n));
            }
        }
        _ => {}
    }
    out
}

/// How many devices of each class a claim can get at most.
fn devices_by_class(claim: &Value) -> BTreeMap<&str, i64> {
    /// What a claim gets that wants all devices: as many as can be allocated to it.
    const ALL: i64 = 32;
    let mut out = BTreeMap::new();
    for request in json::list(claim, "spec.devices.requests") {
        let mut most = BTreeMap::new();
        for r in json::list(request, "firstAvailable").iter().chain(request.get("exactly")) {
            let n = if json::text(r, "allocationMode") == "All" { ALL } else { json::int(r, "count").unwrap_or(0) };
            let have = most.entry(json::text(r, "deviceClassName")).or_insert(0);
            *have = n.max(*have);
        }
        for (class, n) in most {
            *out.entry(class).or_insert(0) += n;
        }
    }
    out
}

/// What a pod asks for: the sum over its containers, or its dearest init container when that is more.
pub(crate) fn pod_amounts(doc: &Value, which: &str) -> Vec<(String, Quantity)> {
    let mut sum = Usage::new();
    let add = |sum: &mut Usage, c: &Value| {
        for (n, q) in amounts(c["resources"].get(which)) {
            let e = sum.entry(n).or_insert(Quantity::ZERO);
            *e = e.plus(q);
        }
    };
    let mut sidecars = Usage::new();
    let mut most = Usage::new();
    for c in json::list(doc, "spec.initContainers") {
        if json::text(c, "restartPolicy") == "Always" {
            add(&mut sidecars, c);
            continue;
        }
        let mut here = sidecars.clone();
        add(&mut here, c);
        for (n, q) in here {
            let e = most.entry(n).or_insert(Quantity::ZERO);
            *e = (*e).max(q);
        }
    }
    for c in json::list(doc, "spec.containers") {
        add(&mut sum, c);
    }
    for (n, q) in sidecars {
        let e = sum.entry(n).or_insert(Quantity::ZERO);
        *e = e.plus(q);
    }
    for (n, q) in most {
        let e = sum.entry(n).or_insert(Quantity::ZERO);
        *e = (*e).max(q);
    }
    for (n, q) in amounts(doc["spec"]["resources"].get(which)) {
        sum.insert(n, q);
    }
    sum.into_iter().collect()
}

/// Whether the scopes of a quota take an object in.
fn in_scope(quota: &Value, r: &Resource, doc: &Value) -> bool {
    let mut scopes: Vec<(String, String, Vec<String>)> = json::list(quota, "spec.scopes")
        .iter()
        .filter_map(Value::as_str)
        .map(|s| (s.to_owned(), "Exists".to_owned(), Vec::new()))
        .collect();
    for e in json::list(quota, "spec.scopeSelector.matchExpressions") {
        let values = json::list(e, "values").iter().filter_map(Value::as_str).map(str::to_owned).collect();
        scopes.push((json::text(e, "scopeName").to_owned(), json::text(e, "operator").to_owned(), values));
    }
    if scopes.is_empty() {
        return true;
    }
    if r.plural != "pods" {
        return false;
    }
    scopes.iter().all(|(name, op, values)| match name.as_str() {
        "Terminating" => json::int(doc, "spec.activeDeadlineSeconds").is_some(),
        "NotTerminating" => json::int(doc, "spec.activeDeadlineSeconds").is_none(),
        "BestEffort" => json::text(doc, "status.qosClass") == "BestEffort",
        "NotBestEffort" => json::text(doc, "status.qosClass") != "BestEffort",
        "PriorityClass" => {
            let class = json::text(doc, "spec.priorityClassName");
            match op.as_str() {
                "In" => values.iter().any(|v| v == class),
                "NotIn" => values.iter().all(|v| v != class),
                "DoesNotExist" => class.is_empty(),
                _ => !class.is_empty(),
            }
        }
        _ => false,
    })
}

fn text(list: &Usage) -> String {
    list.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",")
}

/// The names that every container must give when a quota limits them.
fn unspecified(doc: &Value, limited: &[String]) -> Option<String> {
    let mut missing: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for c in json::list(doc, "spec.containers").iter().chain(json::list(doc, "spec.initContainers")) {
        for name in limited {
            let (which, plain) = match name.split_once('.') {
                Some((w @ ("requests" | "limits"), p)) => (w, p),
                _ if matches!(name.as_str(), "cpu" | "memory") => ("requests", name.as_str()),
                _ => continue,
            };
            if matches!(plain, "cpu" | "memory") && c["resources"][which].get(plain).is_none() {
                missing.entry(name.clone()).or_default().push(json::text(c, "name").to_owned());
            }
        }
    }
    if missing.is_empty() {
        return None;
    }
    let list: Vec<String> = missing.iter().map(|(k, v)| format!("{k} for: {}", v.join(","))).collect();
    Some(format!("must specify {}", list.join("; ")))
}

/// Refuses what the quotas of the namespace do not allow. Updates cost nothing new.
pub(crate) fn check(env: &Env<'_>, target: &Target, doc: &Value, old: Option<&Value>) -> Result<Charge, ApiError> {
    let r = &target.stored;
    if old.is_some() || env.namespace.is_empty() || env.server.store.count(LOG) == 0 {
        return Ok(Charge::default());
    }
    let name = json::text(doc, "metadata.name");
    let refuse = |why: String| ApiError::forbidden(&target.served, name, why);
    let cost = usage(r, doc);
    let mut charge = Charge::default();
    for (key, mut quota) in documents(env, LOG) {
        if !in_scope(&quota, r, doc) {
            continue;
        }
        let who = json::text(&quota, "metadata.name").to_owned();
        let hard: Usage = amounts(quota["status"].get("hard")).into_iter().collect();
        let names: Vec<String> = hard.keys().cloned().collect();
        if r.plural == "pods"
            && r.group.is_empty()
            && let Some(why) = unspecified(doc, &names)
        {
            return Err(refuse(format!("failed quota: {who}: {why}")));
        }
        let asked: Usage = cost.iter().filter(|(k, _)| hard.contains_key(*k)).map(|(k, v)| (k.clone(), *v)).collect();
        if asked.is_empty() {
            continue;
        }
        let used: Usage = amounts(quota["status"].get("used")).into_iter().collect();
        let unknown: Vec<&str> = asked.keys().filter(|k| !used.contains_key(*k)).map(String::as_str).collect();
        if !unknown.is_empty() {
            return Err(refuse(format!("status unknown for quota: {who}, resources: {}", unknown.join(","))));
        }
        let over: Vec<&String> =
            asked.iter().filter(|(k, v)| used[*k].plus(**v) > hard[*k] && **v > Quantity::ZERO).map(|(k, _)| k).collect();
        if !over.is_empty() {
            let pick = |m: &Usage| text(&m.iter().filter(|(k, _)| over.contains(k)).map(|(k, v)| (k.clone(), *v)).collect());
            return Err(refuse(format!(
                "exceeded quota: {who}, requested: {}, used: {}, limited: {}",
                pick(&asked),
                pick(&used),
                pick(&hard)
            )));
        }
        for (k, v) in &asked {
            quota["status"]["used"][k] = used[k].plus(*v).to_string().into();
        }
        charge.quotas.push((key.to_string(), quota));
    }
    Ok(charge)
}
