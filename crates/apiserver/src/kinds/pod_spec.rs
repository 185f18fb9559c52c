//! Pod templates and pod specs (core `ValidatePodTemplateSpec`, `ValidatePodSpec`). What they are made of has files of its own.

use serde_json::Value;

use super::errors::Errors;
use super::metadata::{validate_annotations, validate_labels};
use super::{addresses, amounts, pod_containers, pod_scheduling, pod_security, pod_volumes};
use crate::json;
use crate::meta;

const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// Marks pods that a node made by itself.
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";

/// A pod spec in its surroundings.
#[derive(Clone, Copy)]
pub(crate) struct Pod<'a> {
    /// Where the spec stands.
    pub(crate) path: &'a str,
    pub(crate) spec: &'a Value,
    /// Metadata of the pod; nothing in a template.
    pub(crate) meta: Option<&'a Value>,
}

impl<'a> Pod<'a> {
    /// The path of a field.
    pub(crate) fn at(&self, field: &str) -> String {
        format!("{}.{field}", self.path)
    }

    pub(crate) fn flag(&self, field: &str) -> bool {
        self.spec[field].as_bool() == Some(true)
    }

    /// All containers with their paths, in the order in which the reference visits them.
    pub(crate) fn containers(&self) -> Vec<(String, &'a Value)> {
        let lists = ["initContainers", "containers", "ephemeralContainers"];
        let each = |l: &'static str| json::list(self.spec, l).iter().enumerate().map(move |(i, c)| (format!("{}.{l}[{i}]", self.path), c));
        lists.into_iter().flat_map(each).collect()
    }
}

/// A pod template.
pub(crate) fn template(path: &str, t: &Value, e: &mut Errors) {
    template_meta(path, t, e);
    let at = format!("{path}.spec");
    let pod = Pod { path: &at, spec: &t["spec"], meta: None };
    spec(&pod, e);
    pod_security::seccomp_annotations(&pod, json::object(t, "metadata.annotations"), e);
    if !json::list(t, "spec.ephemeralContainers").is_empty() {
        e.forbidden(&pod.at("ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }
}

/// Labels and annotations of a template.
pub(crate) fn template_meta(path: &str, t: &Value, e: &mut Errors) {
    validate_labels(json::object(t, "metadata.labels"), &format!("{path}.labels"), e);
    let at = format!("{path}.annotations");
    let map = json::object(t, "metadata.annotations");
    validate_annotations(map, &at, e);
    annotations(&at, map, &t["spec"], e);
}

/// Annotations that mean something for pods.
pub(crate) fn annotations(path: &str, map: Option<&serde_json::Map<String, Value>>, spec: &Value, e: &mut Errors) {
    let Some(map) = map else { return };
    let get = |k: &str| map.get(k).and_then(Value::as_str);
    if let Some(v) = get(MIRROR)
        && json::text(spec, "nodeName").is_empty()
    {
        e.invalid_text(&format!("{path}[{MIRROR}]"), v, "must set spec.nodeName if mirror pod annotation is set");
    }
    if let Some(cost) = get(DELETION_COST) {
        // The canonical form of a number, and nothing else.
        let fine = cost.parse::<i32>().is_ok() && !cost.starts_with('+') && (cost == "0" || !cost.starts_with('0'));
        if !fine {
            e.invalid_text(&format!("{path}[{DELETION_COST}]"), cost, "must be a 32bit integer");
        }
    }
    let mut keys: Vec<&String> = map.keys().filter(|k| *k == SECCOMP_POD || k.starts_with(SECCOMP_CONTAINER)).collect();
    keys.sort_unstable_by_key(|k| (*k != SECCOMP_POD, *k));
    for k in keys {
        let (at, p) = (format!("{path}.{k}"), get(k).unwrap_or(""));
        match p.strip_prefix("localhost/") {
            Some(local) => pod_volumes::descending_path(&at, local, e),
            None if matches!(p, "runtime/default" | "docker/default" | "unconfined") => {}
            None => e.invalid_text(&at, p, "must be a valid seccomp profile"),
        }
    }
}

/// A pod spec.
pub(crate) fn spec(pod: &Pod<'_>, e: &mut Errors) {
    let s = pod.spec;
    let text = |k: &str| json::text(s, k);
    if json::int(s, "terminationGracePeriodSeconds").is_none() {
        e.required(&pod.at("terminationGracePeriodSeconds"), "");
    }
    let volumes = pod_volumes::volumes(pod, e);
    resource_claims(pod, e);
    pod_containers::all(pod, &volumes, e);
    pod_resources(pod, e);
    host_ports(pod, e);
    e.one_of(&pod.at("restartPolicy"), text("restartPolicy"), &["Always", "OnFailure", "Never"]);
    e.one_of(&pod.at("dnsPolicy"), text("dnsPolicy"), &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]);
    validate_labels(json::object(s, "nodeSelector"), &pod.at("nodeSelector"), e);
    pod_security::pod_context(pod, e);
    pod_scheduling::affinity(&pod.at("affinity"), &s["affinity"], e);
    dns_config(&pod.at("dnsConfig"), s.get("dnsConfig"), text("dnsPolicy"), e);
    for (i, g) in json::list(s, "readinessGates").iter().enumerate() {
        let t = json::text(g, "conditionType");
        e.names(&format!("{}[{i}].conditionType", pod.at("readinessGates")), t, meta::qualified_name(t));
    }
    scheduling_gates(&pod.at("schedulingGates"), json::list(s, "schedulingGates"), e);
    pod_scheduling::spread(&pod.at("topologySpreadConstraints"), json::list(s, "topologySpreadConstraints"), e);
    pod_security::host_processes(pod, e);
    pod_security::host_users(pod, e);
    hostname_override(pod, e);
    for k in ["serviceAccountName", "nodeName"] {
        e.name_if_any(&pod.at(k), text(k), meta::dns_subdomain);
    }
    if let Some(n) = json::int(s, "activeDeadlineSeconds")
        && !(1..=i64::from(i32::MAX)).contains(&n)
    {
        e.invalid(&pod.at("activeDeadlineSeconds"), &n.into(), "must be between 1 and 2147483647, inclusive");
    }
    for k in ["hostname", "subdomain"] {
        e.name_if_any(&pod.at(k), text(k), meta::dns_label);
    }
    pod_scheduling::tolerations(&pod.at("tolerations"), json::list(s, "tolerations"), e);
    for (i, a) in json::list(s, "hostAliases").iter().enumerate() {
        let at = format!("{}[{i}]", pod.at("hostAliases"));
        addresses::ip(&format!("{at}.ip"), json::text(a, "ip"), &[], e);
        for (j, h) in json::list(a, "hostnames").iter().enumerate() {
            let h = h.as_str().unwrap_or("");
            e.names(&format!("{at}.hostnames[{j}]"), h, meta::dns_subdomain(h));
        }
    }
    e.name_if_any(&pod.at("priorityClassName"), text("priorityClassName"), meta::dns_subdomain);
    if let Some(n) = s.get("runtimeClassName").and_then(Value::as_str) {
        e.names(&pod.at("runtimeClassName"), n, meta::dns_subdomain(n));
    }
    if s.get("preemptionPolicy").is_some() {
        e.one_of(&pod.at("preemptionPolicy"), text("preemptionPolicy"), &["PreemptLowerPriority", "Never"]);
    }
    if let Some(o) = s.get("overhead") {
        let limits = serde_json::json!({"limits": o});
        amounts::requirements(&pod.at("overhead"), &limits, amounts::Place::Container, &[], e);
    }
    pod_security::operating_system(pod, e);
    pod_containers::file_references(pod, e);
}

/// Gates that keep a pod from being scheduled.
pub(crate) fn scheduling_gates(path: &str, list: &[Value], e: &mut Errors) {
    let mut seen = Vec::new();
    for (i, g) in list.iter().enumerate() {
        let (at, name) = (format!("{path}[{i}]"), json::text(g, "name"));
        e.names(&at, name, meta::qualified_name(name));
        if seen.contains(&name) {
            e.duplicate(&at, &name.into());
        }
        seen.push(name);
    }
}

fn resource_claims(pod: &Pod<'_>, e: &mut Errors) {
    let mut seen = Vec::new();
    for (i, c) in json::list(pod.spec, "resourceClaims").iter().enumerate() {
        let at = format!("{}[{i}]", pod.at("resourceClaims"));
        let name = json::text(c, "name");
        if name.is_empty() {
            e.required(&format!("{at}.name"), "");
        } else if seen.contains(&name) {
            e.duplicate(&format!("{at}.name"), &name.into());
        } else {
            e.names(&format!("{at}.name"), name, meta::dns_label(name));
            seen.push(name);
        }
        let get = |k: &str| c.get(k).and_then(Value::as_str);
        let (claim, template) = (get("resourceClaimName"), get("resourceClaimTemplateName"));
        let shown = || super::internal::form("v1.PodResourceClaim", c);
        match (claim, template) {
            (Some(_), Some(_)) => {
                e.invalid(&at, &shown(), "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified");
            }
            (None, None) => e.invalid(&at, &shown(), "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"),
            _ => {}
        }
        for (k, v) in [("resourceClaimName", claim), ("resourceClaimTemplateName", template)] {
            if let Some(v) = v {
                e.names(&format!("{at}.{k}"), v, meta::dns_subdomain(v));
            }
        }
    }
}

/// Amounts of the pod as a whole.
fn pod_resources(pod: &Pod<'_>, e: &mut Errors) {
    let Some(r) = pod.spec.get("resources").filter(|r| !r.is_null()) else { return };
    let path = pod.at("resources");
    if json::text(pod.spec, "os.name") == "windows" {
        e.forbidden(&path, "may not be set for a windows pod");
        return;
    }
    if r.get("claims").is_some() {
        e.forbidden(&format!("{path}.claims"), "claims may not be set for Resources at pod-level");
    }
    let claims = pod_containers::claim_names(pod.spec);
    amounts::requirements(&path, r, amounts::Place::Pod, &claims, e);
    let containers = json::list(pod.spec, "containers");
    for (k, v) in amounts::entries(r.get("requests")) {
        let Some(want) = amounts::amount(Some(v)) else { continue };
        let asked = containers.iter().filter_map(|c| amounts::amount(c["resources"]["requests"].get(k)));
        let sum = asked.fold(crate::quantity::Quantity::ZERO, |a, b| a.plus(b));
        if sum > want {
            let why = format!("must be greater than or equal to aggregate container requests of {sum}");
            e.invalid(&format!("{path}.requests[{k}]"), v, &why);
        }
    }
    for (i, c) in containers.iter().enumerate() {
        for (k, v) in amounts::entries(c["resources"].get("limits")) {
            if let (Some(l), Some(all)) = (amounts::amount(Some(v)), amounts::amount(r["limits"].get(k)))
                && l > all
            {
                let at = format!("{path}.containers[{i}][{k}].limits");
                e.invalid(&at, v, &format!("must be less than or equal to pod limits of {all}"));
            }
        }
    }
}

fn host_ports(pod: &Pod<'_>, e: &mut Errors) {
    if !pod.flag("hostNetwork") {
        return;
    }
    for (i, c) in json::list(pod.spec, "containers").iter().enumerate() {
        for (j, p) in json::list(c, "ports").iter().enumerate() {
            let (h, n) = (json::int(p, "hostPort").unwrap_or(0), json::int(p, "containerPort").unwrap_or(0));
            if (pod.meta.is_some() || h != 0) && h != n {
                let at = format!("{}.containers[{i}].ports[{j}].hostPort", pod.path);
                e.invalid(&at, &h.into(), "must match `containerPort` when `hostNetwork` is true");
            }
        }
    }
}

fn hostname_override(pod: &Pod<'_>, e: &mut Errors) {
    let Some(name) = pod.spec.get("hostnameOverride").and_then(Value::as_str) else { return };
    let path = pod.at("hostnameOverride");
    if pod.flag("setHostnameAsFQDN") {
        e.forbidden(&path, "may not be specified when setHostnameAsFQDN is true");
    }
    if pod.flag("hostNetwork") {
        e.forbidden(&path, "may not be specified when hostNetwork is true");
    }
    if name.len() > 64 {
        e.too_long(&path, 64);
    }
    e.names(&path, name, meta::dns_subdomain(name));
}

fn dns_config(path: &str, config: Option<&Value>, policy: &str, e: &mut Errors) {
    let config = config.filter(|c| !c.is_null());
    if policy == "None" {
        match config {
            None => {
                e.required(path, "must provide `dnsConfig` when `dnsPolicy` is None");
                return;
            }
            Some(c) if json::list(c, "nameservers").is_empty() => {
                e.required(&format!("{path}.nameservers"), "must provide at least one DNS nameserver when `dnsPolicy` is None");
                return;
            }
            Some(_) => {}
        }
    }
    let Some(c) = config else { return };
    let (servers, searches) = (json::list(c, "nameservers"), json::list(c, "searches"));
    if servers.len() > 3 {
        e.invalid(&format!("{path}.nameservers"), &servers.to_vec().into(), "must not have more than 3 nameservers");
    }
    for (i, s) in servers.iter().enumerate() {
        addresses::ip(&format!("{path}.nameservers[{i}]"), s.as_str().unwrap_or(""), &[], e);
    }
    let shown = || Value::from(searches.to_vec());
    if searches.len() > 32 {
        e.invalid(&format!("{path}.searches"), &shown(), "must not have more than 32 search paths");
    }
    let total: usize = searches.iter().map(|s| s.as_str().map_or(0, str::len)).sum::<usize>() + searches.len().saturating_sub(1);
    if total > 2048 {
        let why = "must not have more than 2048 characters (including spaces) in the search list";
        e.invalid(&format!("{path}.searches"), &shown(), why);
    }
    for (i, s) in searches.iter().enumerate() {
        let s = s.as_str().unwrap_or("");
        let bare = s.strip_suffix('.').unwrap_or(s);
        if s != "." {
            e.names(&format!("{path}.searches[{i}]"), bare, meta::dns_subdomain_with_underscore(bare));
        }
    }
    for (i, o) in json::list(c, "options").iter().enumerate() {
        if json::text(o, "name").is_empty() {
            e.required(&format!("{path}.options[{i}]"), "must not be empty");
        }
    }
}
