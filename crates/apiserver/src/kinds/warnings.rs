//! Warnings that go with a write (the strategies' `WarningsOnCreate` and `WarningsOnUpdate`).

use serde_json::Value;

use super::addresses::{cidr_warnings, ip_warning};
use super::amounts::fraction_warning;
use super::pod_warnings::{self, node_term};
use super::selectors::hostname_warning;
use super::{data, service};
use crate::go_value::quote;
use crate::json;
use crate::registry::Resource;

/// Kinds whose names become names of pods: only a create says so.
const NAMED: &[&str] = &["deployments", "replicasets", "replicationcontrollers", "jobs", "cronjobs"];

/// Warnings about an object; `old` for updates, `sub` for writes of a subresource.
pub(crate) fn warnings(r: &Resource, sub: Option<&str>, doc: &Value, old: Option<&Value>) -> Vec<String> {
    let mut out = Vec::new();
    if r.custom {
        return out;
    }
    match sub {
        None => {}
        Some("status") => {
            status(r, doc, &mut out);
            return out;
        }
        Some(_) => return out,
    }
    let name = json::text(doc, "metadata.name");
    if old.is_none() && NAMED.contains(&r.plural.as_str()) {
        out.extend(hostname_warning(name, "Pod names and hostnames"));
    }
    // Templates are looked at again only when the spec changed.
    let changed = old.is_none_or(|o| o["metadata"].get("generation") != doc["metadata"].get("generation"));
    match (r.group.as_str(), r.plural.as_str()) {
        ("", "pods") if old.is_none() => {
            out.extend(hostname_warning(name, "the Pod's hostname"));
            pod_warnings::pod("", doc, &mut out);
        }
        (_, "deployments" | "replicasets" | "statefulsets" | "daemonsets" | "replicationcontrollers") => {
            if changed {
                pod_warnings::pod("spec.template", &doc["spec"]["template"], &mut out);
            }
            if r.plural == "statefulsets" {
                stateful_set(doc, old.is_some(), &mut out);
            }
        }
        ("batch", "jobs") if changed => job("spec", &doc["spec"], &mut out),
        ("batch", "cronjobs") => {
            if changed {
                job("spec.jobTemplate.spec", &doc["spec"]["jobTemplate"]["spec"], &mut out);
            }
            if old.is_some() && json::text(doc, "spec.schedule").contains("TZ") {
                out.push("cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details".to_owned());
            }
        }
        ("", "podtemplates") if changed => pod_warnings::pod("template", &doc["template"], &mut out),
        ("", "services") => services(doc, &mut out),
        ("", "secrets") => out.extend(tls(doc)),
        ("", "nodes") => node(doc, &mut out),
        ("", "endpoints") => {
            for (i, s) in json::list(doc, "subsets").iter().enumerate() {
                for list in ["addresses", "notReadyAddresses"] {
                    addresses(&format!("subsets[{i}].{list}"), json::list(s, list), ".ip", &mut out);
                }
            }
        }
        ("", "persistentvolumeclaims") => {
            class_annotation(doc, &mut out);
            claim("spec", &doc["spec"], &mut out);
        }
        ("", "persistentvolumes") => volume(doc, &mut out),
        ("", "resourcequotas") if old.is_none() => quota(doc, &mut out),
        ("discovery.k8s.io", "endpointslices") => slice(doc, old.is_none(), &mut out),
        ("networking.k8s.io", "ingresses") if old.is_none() => {
            let class = "kubernetes.io/ingress.class";
            if doc["metadata"]["annotations"].get(class).is_some() && doc["spec"].get("ingressClassName").is_none() {
                out.push(format!("annotation {} is deprecated, please use 'spec.ingressClassName' instead", quote(class)));
            }
        }
        ("networking.k8s.io", "networkpolicies") => network_policy(doc, &mut out),
        ("resource.k8s.io", "resourceslices") => {
            let driver = json::text(doc, "spec.driver");
            if driver != driver.to_lowercase() {
                out.push(format!("spec.driver: driver names should be lowercase; {} contains uppercase characters", quote(driver)));
            }
        }
        _ => {}
    }
    out
}

fn status(r: &Resource, doc: &Value, out: &mut Vec<String>) {
    match r.plural.as_str() {
        "pods" => {
            for list in ["podIPs", "hostIPs"] {
                addresses(&format!("status.{list}"), json::list(&doc["status"], list), ".ip", out);
            }
        }
        "services" | "ingresses" => {
            let path = "status.loadBalancer.ingress";
            addresses(path, json::list(doc, path), "", out);
        }
        _ => {}
    }
}

fn addresses(path: &str, list: &[Value], field: &str, out: &mut Vec<String>) {
    for (i, a) in list.iter().enumerate() {
        let ip = json::text(a, "ip");
        if !ip.is_empty() {
            out.extend(ip_warning(&format!("{path}[{i}]{field}"), ip));
        }
    }
}

fn job(path: &str, spec: &Value, out: &mut Vec<String>) {
    let n = |k: &str| json::int(spec, k).unwrap_or(0);
    if json::text(spec, "completionMode") == "Indexed" && n("completions") > 100_000 && n("parallelism") > 10_000 {
        out.push(format!("{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"));
    }
    pod_warnings::pod(&format!("{path}.template"), &spec["template"], out);
}

fn stateful_set(doc: &Value, update: bool, out: &mut Vec<String>) {
    for (i, c) in json::list(doc, "spec.volumeClaimTemplates").iter().enumerate() {
        let tail = if update { ".Spec" } else { "" };
        claim(&format!("spec.volumeClaimTemplates[{i}]{tail}"), &c["spec"], out);
    }
    if json::int(doc, "spec.revisionHistoryLimit").is_some_and(|n| n < 0) {
        out.push("spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended".to_owned());
    }
}

/// Warnings about a claim's spec.
pub(crate) fn claim(path: &str, spec: &Value, out: &mut Vec<String>) {
    for list in ["requests", "limits"] {
        out.extend(fraction_warning(&format!("{path}.resources.{list}"), spec["resources"].get(list), "storage"));
    }
}

fn class_annotation(doc: &Value, out: &mut Vec<String>) {
    let class = "volume.beta.kubernetes.io/storage-class";
    if doc["metadata"]["annotations"].get(class).is_some() {
        out.push(format!("metadata.annotations[{class}]: deprecated since v1.8; use \"storageClassName\" attribute instead"));
    }
}

fn volume(doc: &Value, out: &mut Vec<String>) {
    class_annotation(doc, out);
    let options = "volume.beta.kubernetes.io/mount-options";
    if doc["metadata"]["annotations"].get(options).is_some() {
        out.push(format!("metadata.annotations[{options}]: deprecated since v1.31; use \"mountOptions\" attribute instead"));
    }
    let s = &doc["spec"];
    if json::text(s, "persistentVolumeReclaimPolicy") == "Recycle" {
        out.push("spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".to_owned());
    }
    for (i, t) in json::list(s, "nodeAffinity.required.nodeSelectorTerms").iter().enumerate() {
        node_term(&format!("spec.nodeAffinity.required.nodeSelectorTerms[{i}]"), t, false, out);
    }
    for (wire, name, words) in pod_warnings::OLD_VOLUMES {
        if *wire != "gitRepo" && *wire != "flocker" && *wire != "quobyte" && s.get(*wire).is_some() {
            out.push(format!("spec.{name}: {words}"));
        }
    }
}

fn quota(doc: &Value, out: &mut Vec<String>) {
    let hard = &doc["spec"]["hard"];
    let get = |k: &str| super::amounts::amount(hard.get(k));
    for name in ["cpu", "memory", "ephemeral-storage"] {
        let mut asked = format!("requests.{name}");
        if get(&asked).is_none() && name != "ephemeral-storage" {
            asked = name.to_owned();
        }
        let limit = format!("limits.{name}");
        if let (Some(r), Some(l)) = (get(&asked), get(&limit))
            && r > l
        {
            out.push(format!("ResourceQuota {asked} ({r}) should be less than {limit} ({l})"));
        }
    }
}

fn slice(doc: &Value, create: bool, out: &mut Vec<String>) {
    if create && json::text(doc, "addressType") == "FQDN" {
        out.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
    }
    let by = json::text_at(doc, &["metadata", "labels", "endpointslice.kubernetes.io/managed-by"]);
    if matches!(by, "endpointslice-controller.k8s.io" | "endpointslicemirroring-controller.k8s.io") {
        return;
    }
    for (i, p) in json::list(doc, "endpoints").iter().enumerate() {
        for (j, a) in json::list(p, "addresses").iter().enumerate() {
            out.extend(ip_warning(&format!("endpoints[{i}].addresses[{j}]"), a.as_str().unwrap_or("")));
        }
    }
}

fn network_policy(doc: &Value, out: &mut Vec<String>) {
    for (way, peers) in [("ingress", "from"), ("egress", "to")] {
        for (i, r) in json::list(&doc["spec"], way).iter().enumerate() {
            for (j, p) in json::list(r, peers).iter().enumerate() {
                let at = format!("spec.{way}[{i}].{peers}[{j}].ipBlock");
                out.extend(cidr_warnings(&format!("{at}.cidr"), json::text(p, "ipBlock.cidr")));
                for (k, x) in json::list(p, "ipBlock.except").iter().enumerate() {
                    out.extend(cidr_warnings(&format!("{at}.except[{k}]"), x.as_str().unwrap_or("")));
                }
            }
        }
    }
}

fn node(doc: &Value, out: &mut Vec<String>) {
    if doc["spec"].get("configSource").is_some() {
        out.push("spec.configSource: the feature is removed".to_owned());
    }
    if !json::text(doc, "spec.externalID").is_empty() {
        out.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
    }
    for (i, c) in json::list(doc, "spec.podCIDRs").iter().enumerate() {
        out.extend(cidr_warnings(&format!("spec.podCIDRs[{i}]"), c.as_str().unwrap_or("")));
    }
}

fn services(doc: &Value, out: &mut Vec<String>) {
    let spec = &doc["spec"];
    let headless = json::text(spec, "type") == "ClusterIP" && json::text(spec, "clusterIP") == "None";
    let hints = "service.kubernetes.io/topology-aware-hints";
    if doc["metadata"]["annotations"].get(hints).is_some() {
        out.push(format!("annotation {hints} is deprecated, please use service.kubernetes.io/topology-mode instead"));
    }
    let list = |k: &str| json::list(spec, k).iter().map(|v| v.as_str().unwrap_or("")).collect::<Vec<_>>();
    if !matches!(json::text(spec, "clusterIP"), "" | "None") {
        for (i, ip) in list("clusterIPs").iter().enumerate() {
            out.extend(ip_warning(&format!("spec.clusterIPs[{i}]"), ip));
        }
    }
    let external = list("externalIPs");
    let balancer = json::text(spec, "loadBalancerIP");
    if headless {
        let mut ignored = |set: bool, what: &str| {
            if set {
                out.push(format!("spec.{what} is ignored for headless services"));
            }
        };
        ignored(!balancer.is_empty(), "loadBalancerIP");
        ignored(!external.is_empty(), "externalIPs");
        ignored(json::text(spec, "sessionAffinity") != "None", "SessionAffinity");
    }
    for (i, ip) in external.iter().enumerate() {
        out.extend(ip_warning(&format!("spec.externalIPs[{i}]"), ip));
    }
    if !external.is_empty() && !headless && !service::is_external(doc) {
        out.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned());
    }
    if !balancer.is_empty() {
        out.extend(ip_warning("spec.loadBalancerIP", balancer));
    }
    for (i, c) in list("loadBalancerSourceRanges").iter().enumerate() {
        out.extend(cidr_warnings(&format!("spec.loadBalancerSourceRanges[{i}]"), c));
    }
    if service::is_external(doc) && !external.is_empty() {
        out.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if !service::is_external(doc) && !json::text(spec, "externalName").is_empty() {
        out.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if json::text(spec, "trafficDistribution") == "PreferClose" {
        out.push("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".to_owned());
    }
}

/// Whether a secret for TLS holds what it says.
fn tls(doc: &Value) -> Option<String> {
    if json::text(doc, "type") != "kubernetes.io/tls" {
        return None;
    }
    let pem = |k: &str| String::from_utf8_lossy(&data::bytes(doc, k)).contains("-----BEGIN ");
    match (pem("tls.crt"), pem("tls.key")) {
        (false, _) => Some("tls: failed to find any PEM data in certificate input".to_owned()),
        (true, false) => Some("tls: failed to find any PEM data in key input".to_owned()),
        _ => None,
    }
}
