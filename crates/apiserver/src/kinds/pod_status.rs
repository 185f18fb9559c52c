//! The status of a pod (core `ValidatePodStatusUpdate`).

use serde_json::{Value, json};

use super::errors::Errors;
use super::{Env, addresses, internal};
use crate::json;
use crate::meta;

/// Before validation of a status update.
pub(crate) fn prepare(doc: &mut Value, old: &Value, _: &Env<'_>) {
    // The QoS class is decided once.
    let was = old["status"].get("qosClass").cloned();
    let s = json::object_mut(doc, "status");
    if s.get("qosClass").and_then(Value::as_str).unwrap_or("").is_empty()
        && let Some(q) = was
    {
        s.insert("qosClass".into(), q);
    }
    derive_ips(doc);
}

/// `podIP` is the first of `podIPs`, and the other way round.
fn derive_ips(doc: &mut Value) {
    let s = json::object_mut(doc, "status");
    let ip = s.get("podIP").and_then(Value::as_str).unwrap_or("").to_owned();
    let first = s.get("podIPs").and_then(|l| l[0]["ip"].as_str()).unwrap_or("").to_owned();
    if !ip.is_empty() && ip != first {
        s.insert("podIPs".into(), json!([{"ip": ip}]));
    } else if ip.is_empty() && !first.is_empty() {
        s.insert("podIP".into(), first.into());
    }
}

/// A change of a pod's status.
pub(crate) fn validate(new: &Value, old: &Value, e: &mut Errors, _: &Env<'_>) {
    for (i, c) in json::list(new, "status.conditions").iter().enumerate() {
        let (at, kind) = (format!("status.conditions[{i}]"), json::text(c, "type"));
        if let Some(n) = json::int(c, "observedGeneration").filter(|n| *n < 0) {
            e.invalid(&format!("{at}.observedGeneration"), &n.into(), "must be a non-negative integer");
        }
        if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
            e.names(&format!("{at}.Type"), kind, meta::qualified_name(kind));
        }
    }
    let (nominated, was) = (json::text(new, "status.nominatedNodeName"), json::text(old, "status.nominatedNodeName"));
    if nominated != was && !nominated.is_empty() {
        e.names("status.nominatedNodeName", nominated, meta::dns_subdomain(nominated));
        if !json::text(old, "spec.nodeName").is_empty() {
            e.forbidden("status.nominatedNodeName", "may not be set on pods that are already bound to a node");
        }
    }
    if let Some(n) = json::int(new, "status.observedGeneration").filter(|n| *n < 0) {
        e.invalid("status.observedGeneration", &n.into(), "must be a non-negative integer");
    }
    let qos = json::text(new, "status.qosClass");
    if qos != json::text(old, "status.qosClass") {
        e.invalid_text("status.qosClass", qos, "field is immutable");
    }
    for (statuses, containers) in [("containerStatuses", "containers"), ("initContainerStatuses", "initContainers")] {
        restarts(new, old, statuses, containers, e);
    }
    restarts(new, old, "ephemeralContainerStatuses", "", e);
    claims(new, e);
    ips(new, old, e);
}

/// What has ended for good does not begin again.
fn restarts(new: &Value, old: &Value, statuses: &str, containers: &str, e: &mut Errors) {
    let spec = &old["spec"];
    for (i, was) in json::list(&old["status"], statuses).iter().enumerate() {
        let Some(end) = was["state"].get("terminated").filter(|t| !t.is_null()) else { continue };
        let name = json::text(was, "name");
        let failed = json::int(end, "exitCode").unwrap_or(0) != 0;
        let container = (!containers.is_empty()).then(|| json::list(spec, containers).iter().find(|c| c["name"] == was["name"])).flatten();
        let own = container.and_then(|c| c.get("restartPolicy")).and_then(Value::as_str);
        let policy = own.unwrap_or_else(|| json::text(spec, "restartPolicy"));
        let again = !containers.is_empty() && (policy == "Always" || (policy == "OnFailure" && failed));
        if again {
            continue;
        }
        let begun = |s: &&Value| json::text(s, "name") == name && s["state"].get("terminated").is_none_or(Value::is_null);
        if json::list(&new["status"], statuses).iter().any(|s| begun(&s)) {
            e.forbidden(&format!("status.{statuses}[{i}].state"), "may not be transitioned to non-terminated state");
        }
    }
}

fn claims(new: &Value, e: &mut Errors) {
    let mut seen = Vec::new();
    for (i, c) in json::list(new, "status.resourceClaimStatuses").iter().enumerate() {
        let at = format!("status.resourceClaimStatuses[{i}]");
        let name = json::text(c, "name");
        if !json::list(new, "spec.resourceClaims").iter().any(|x| json::text(x, "name") == name) {
            e.invalid_text(&format!("{at}.name"), name, "must match the name of an entry in `spec.resourceClaims`");
        }
        if seen.contains(&name) {
            e.duplicate(&format!("{at}.name"), &name.into());
        }
        seen.push(name);
        if let Some(n) = c.get("resourceClaimName").and_then(Value::as_str) {
            e.names(&format!("{at}.resourceClaimName"), n, meta::dns_subdomain(n));
        }
    }
}

fn texts<'a>(doc: &'a Value, list: &str) -> Vec<&'a str> {
    json::list(&doc["status"], list).iter().map(|p| json::text(p, "ip")).collect()
}

fn ips(new: &Value, old: &Value, e: &mut Errors) {
    for (list, kind) in [("podIPs", "v1.PodIP"), ("hostIPs", "v1.HostIP")] {
        let (now, was) = (texts(new, list), texts(old, list));
        if list == "hostIPs"
            && let Some(first) = now.first()
            && *first != json::text(new, "status.hostIP")
        {
            e.invalid_text("status.hostIPs[0].ip", first, "must be equal to `hostIP`");
        }
        for (i, ip) in now.iter().enumerate() {
            addresses::ip(&format!("status.{list}[{i}]"), ip, &was, e);
        }
        if now.len() > 1 && (now.len() > 2 || !addresses::is_dual(&now)) {
            let shown = internal::list(kind, json::list(&new["status"], list));
            e.invalid(&format!("status.{list}"), &shown, "may specify no more than one IP for each IP family");
        }
    }
}
