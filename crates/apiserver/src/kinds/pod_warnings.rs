//! Warnings about pods and pod templates (api `GetWarningsForPod`).

use serde_json::Value;

use super::addresses::ip_warning;
use super::amounts::fraction_warning;
use super::pod_spec::Pod;
use super::warnings::claim;
use crate::go_value::quote;
use crate::json;
use crate::meta;

/// Labels of nodes that have newer names.
const OLD_LABELS: &[(&str, &str)] = &[
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    ("failure-domain.beta.kubernetes.io/region", "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead"),
    ("failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"),
    ("beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    ("scheduler.alpha.kubernetes.io/preferAvoidPods", "deprecated since v1.22; use Taints and Tolerations instead"),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
];

const OLD_ANNOTATIONS: &[(&str, &str)] = &[
    ("scheduler.alpha.kubernetes.io/critical-pod", "non-functional in v1.16+; use the \"priorityClassName\" field instead"),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];

/// Sources of volumes that are on their way out: the name on the wire, in the warning, and what it says.
pub(crate) const OLD_VOLUMES: &[(&str, &str, &str)] = &[
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

fn old_label(key: &str) -> Option<&'static str> {
    OLD_LABELS.iter().find(|(k, _)| *k == key).map(|(_, w)| *w)
}

/// Warnings about a term of a node selector.
pub(crate) fn node_term(path: &str, t: &Value, values: bool, out: &mut Vec<String>) {
    for (i, r) in json::list(t, "matchExpressions").iter().enumerate() {
        let at = format!("{path}.matchExpressions[{i}]");
        let key = json::text(r, "key");
        if let Some(w) = old_label(key) {
            out.push(format!("{at}.key: {key} is {w}"));
        }
        for (j, v) in json::list(r, "values").iter().enumerate().filter(|_| values) {
            let v = v.as_str().unwrap_or("");
            out.extend(meta::label_value(v).into_iter().map(|w| format!("{at}.values[{j}]: {v} is invalid, {w}")));
        }
    }
}

/// Warnings about a pod (no path) or a template.
pub(crate) fn pod(path: &str, doc: &Value, out: &mut Vec<String>) {
    let at = |k: &str| if path.is_empty() { k.to_owned() } else { format!("{path}.{k}") };
    let (spec_path, spec) = (at("spec"), &doc["spec"]);
    let pod = Pod { path: &spec_path, spec, meta: None };
    let annotations = json::object(doc, "metadata.annotations");
    let annotated = |k: &str| annotations.is_some_and(|a| a.contains_key(k));
    placement(&pod, out);
    for (k, w) in OLD_ANNOTATIONS.iter().filter(|(k, _)| annotated(k)) {
        out.push(format!("{}[{k}]: {w}", at("metadata.annotations")));
    }
    volumes(&pod, out);
    lists(&pod, out);
    for name in ["memory", "ephemeral-storage"] {
        out.extend(fraction_warning(&pod.at("overhead"), spec.get("overhead"), name));
    }
    let seccomp = |v: &Value| v["securityContext"].get("seccompProfile").is_some();
    let words = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
    if !seccomp(spec) && annotated(SECCOMP_POD) {
        out.push(format!("{}[{SECCOMP_POD}]: {words}", at("metadata.annotations")));
    }
    for (c_path, c) in pod.containers() {
        let key = format!("{SECCOMP_CONTAINER}{}", json::text(c, "name"));
        if !seccomp(c) && annotated(&key) {
            out.push(format!("{}[{key}]: {words}", at("metadata.annotations")));
        }
        container(&c_path, c, out);
    }
    ports(&pod, out);
    if json::int(spec, "terminationGracePeriodSeconds").is_some_and(|n| n < 0) {
        let at = pod.at("terminationGracePeriodSeconds");
        out.push(format!("{at}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    pod_affinity(&pod, out);
    for (i, s) in json::list(spec, "dnsConfig.nameservers").iter().enumerate() {
        out.extend(ip_warning(&format!("{}[{i}]", pod.at("dnsConfig.nameservers")), s.as_str().unwrap_or("")));
    }
    for (i, a) in json::list(spec, "hostAliases").iter().enumerate() {
        out.extend(ip_warning(&format!("{}[{i}].ip", pod.at("hostAliases")), json::text(a, "ip")));
    }
}

fn placement(pod: &Pod<'_>, out: &mut Vec<String>) {
    for (k, _) in json::object(pod.spec, "nodeSelector").into_iter().flatten() {
        if let Some(w) = old_label(k) {
            out.push(format!("{}[{k}]: {w}", pod.at("nodeSelector")));
        }
    }
    let affinity = &pod.spec["affinity"]["nodeAffinity"];
    let (required, preferred) = ("requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution");
    for (i, t) in json::list(&affinity[required], "nodeSelectorTerms").iter().enumerate() {
        node_term(&format!("{}.{required}.nodeSelectorTerms[{i}]", pod.at("affinity.nodeAffinity")), t, false, out);
    }
    for (i, t) in json::list(affinity, preferred).iter().enumerate() {
        node_term(&format!("{}.{preferred}[{i}].preference", pod.at("affinity.nodeAffinity")), &t["preference"], true, out);
    }
    for (i, c) in json::list(pod.spec, "topologySpreadConstraints").iter().enumerate() {
        let at = format!("{}[{i}]", pod.at("topologySpreadConstraints"));
        let key = json::text(c, "topologyKey");
        if let Some(w) = old_label(key) {
            out.push(format!("{at}.topologyKey: {key} is {w}"));
        }
        if c.get("labelSelector").is_none_or(Value::is_null) {
            out.push(format!("{at}.labelSelector: {MATCHES_NONE}"));
        }
    }
}

const MATCHES_NONE: &str = "a null labelSelector results in matching no pod";

fn pod_affinity(pod: &Pod<'_>, out: &mut Vec<String>) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let a = &pod.spec["affinity"][kind];
        for (list, below) in [
            ("requiredDuringSchedulingIgnoredDuringExecution", ""),
            ("preferredDuringSchedulingIgnoredDuringExecution", ".podAffinityTerm"),
        ] {
            for (i, t) in json::list(a, list).iter().enumerate() {
                let term = if below.is_empty() { t } else { &t["podAffinityTerm"] };
                if term.get("labelSelector").is_none_or(Value::is_null) {
                    out.push(format!("{}.{list}[{i}]{below}.labelSelector: {MATCHES_NONE}", pod.at(&format!("affinity.{kind}"))));
                }
            }
        }
    }
}

fn volumes(pod: &Pod<'_>, out: &mut Vec<String>) {
    let list = json::list(pod.spec, "volumes");
    for (i, v) in list.iter().enumerate() {
        let at = format!("{}[{i}]", pod.at("volumes"));
        for (wire, name, words) in OLD_VOLUMES {
            // The template of an ephemeral volume stands between these in the reference.
            if *wire == "cephfs"
                && let Some(t) = v.get("ephemeral").and_then(|e| e.get("volumeClaimTemplate"))
            {
                claim(&format!("{at}.ephemeral.volumeClaimTemplate.spec"), &t["spec"], out);
            }
            if v.get(*wire).is_some() {
                out.push(format!("{at}.{name}: {words}"));
            }
        }
    }
    for v in list {
        overlaps(v, out);
    }
}

/// Paths that are given out twice, or below each other.
fn overlaps(v: &Value, out: &mut Vec<String>) {
    let name = quote(json::text(v, "name"));
    let paths = |s: &Value| -> Vec<String> { json::list(s, "items").iter().map(|i| json::text(i, "path").to_owned()).collect() };
    let mut warn = |what: &str, body: String| out.push(format!("volume {name} ({what}): overlapping paths: {body}"));
    for (wire, field, kind) in [("configMap", "name", "ConfigMap"), ("secret", "secretName", "Secret"), ("downwardAPI", "", "DownwardAPI")]
    {
        let Some(s) = v.get(wire) else { continue };
        let what = if field.is_empty() { kind.to_owned() } else { format!("{kind} {}", quote(json::text(s, field))) };
        let mut seen: Vec<String> = Vec::new();
        for p in paths(s) {
            let p = p.trim_end_matches('/').to_owned();
            for o in seen.iter().filter(|o| overlap(o, &p)) {
                warn(&what, format!("{} with {}", quote(&p), quote(o)));
            }
            seen.push(p);
        }
    }
    let mut seen: Vec<(String, String)> = Vec::new();
    for s in json::list(v, "projected.sources") {
        let get = |k: &str| s.get(k).filter(|x| !x.is_null());
        let named = |kind: &str, x: &Value| format!("{kind} {}", quote(json::text(x, "name")));
        let found: Vec<(String, String)> = if let Some(x) = get("configMap") {
            paths(x).into_iter().map(|p| (p, named("ConfigMap", x))).collect()
        } else if let Some(x) = get("secret") {
            paths(x).into_iter().map(|p| (p, named("Secret", x))).collect()
        } else if let Some(x) = get("downwardAPI") {
            paths(x).into_iter().map(|p| (p, "DownwardAPI".to_owned())).collect()
        } else if let Some(x) = get("serviceAccountToken") {
            vec![(json::text(x, "path").to_owned(), "ServiceAccountToken".to_owned())]
        } else {
            Vec::new()
        };
        for (p, source) in found {
            let p = p.trim_end_matches('/').to_owned();
            for (o, other) in seen.iter().filter(|(o, _)| overlap(o, &p)) {
                warn("Projected", format!("{} ({source}) with {} ({other})", quote(&p), quote(o)));
            }
            seen.push((p, source));
        }
    }
}

fn overlap(a: &str, b: &str) -> bool {
    let below = |a: &str, b: &str| b.strip_prefix(a).is_some_and(|rest| rest.starts_with('/'));
    !a.is_empty() && !b.is_empty() && (a == b || below(a, b) || below(b, a))
}

fn lists(pod: &Pod<'_>, out: &mut Vec<String>) {
    let twice = |list: &'static str, field: &'static str, out: &mut Vec<String>| {
        let all = json::list(pod.spec, list);
        for (i, x) in all.iter().enumerate() {
            let v = json::text(x, field);
            if all[..i].iter().any(|o| json::text(o, field) == v) {
                out.push(format!("{}[{i}].{field}: duplicate {field} {}", pod.at(list), quote(v)));
            }
        }
    };
    twice("hostAliases", "ip", out);
    twice("imagePullSecrets", "name", out);
    for (i, s) in json::list(pod.spec, "imagePullSecrets").iter().enumerate() {
        if json::text(s, "name").is_empty() {
            out.push(format!("{}[{i}].name: invalid empty name \"\"", pod.at("imagePullSecrets")));
        }
    }
}

fn container(path: &str, c: &Value, out: &mut Vec<String>) {
    for name in ["memory", "ephemeral-storage"] {
        for list in ["limits", "requests"] {
            out.extend(fraction_warning(&format!("{path}.resources.{list}"), c["resources"].get(list), name));
        }
    }
    let env = json::list(c, "env");
    for (i, v) in env.iter().enumerate() {
        let name = json::text(v, "name");
        if !env[..i].iter().any(|o| json::text(o, "name") == name) {
            continue;
        }
        // A later value may build on an earlier one.
        let (value, reference) = (json::text(v, "value"), format!("$({name})"));
        if v.get("valueFrom").is_some() || value == reference || !value.contains(&reference) {
            let words = format!("hides previous definition of {}, which may be dropped when using apply", quote(name));
            out.push(format!("{path}.env[{i}]: {words}"));
        }
    }
}

fn ports(pod: &Pod<'_>, out: &mut Vec<String>) {
    let all: Vec<(String, &Value)> = pod
        .containers()
        .into_iter()
        .flat_map(|(path, c)| json::list(c, "ports").iter().enumerate().map(move |(i, p)| (format!("{path}.ports[{i}]"), p)))
        .collect();
    for (n, (at, p)) in all.iter().enumerate() {
        let host = |p: &Value| (json::text(p, "hostIP").to_owned(), json::int(p, "hostPort").unwrap_or(0));
        let (ip, port) = host(p);
        if !ip.is_empty() && port == 0 {
            let field = |k: &str| json::text(p, k);
            let number = json::int(p, "containerPort").unwrap_or(0);
            let shown = format!("{{Name:{} HostPort:0 ContainerPort:{number} Protocol:{} HostIP:{ip}}}", field("name"), field("protocol"));
            out.push(format!("{at}: hostIP set without hostPort: {shown}"));
        }
        let same = |o: &Value| o["containerPort"] == p["containerPort"] && o["protocol"] == p["protocol"];
        for (other_at, o) in all[..n].iter().filter(|(_, o)| same(o)) {
            let (other_ip, other_port) = host(o);
            let what = if ip == other_ip && port == other_port {
                "duplicate"
            } else if port == 0 || other_port == 0 {
                "overlapping"
            } else if port == other_port && ip.is_empty() != other_ip.is_empty() {
                "dangerously ambiguous"
            } else {
                continue;
            };
            out.push(format!("{at}: {what} port definition with {other_at}"));
        }
    }
    for (n, (at, p)) in all.iter().enumerate() {
        let name = json::text(p, "name");
        if name.is_empty() {
            continue;
        }
        if let Some((other, _)) = all[..n].iter().find(|(_, o)| json::text(o, "name") == name) {
            out.push(format!(
                "{at}: duplicate port name {} with {other}, services and probes that select ports by name will use {other}",
                quote(name)
            ));
        }
    }
}
