//! Containers of a pod (core `validateContainers`, `validateInitContainers`, `validateEphemeralContainers`).

use serde_json::Value;

use super::amounts::{self, Place};
use super::errors::Errors;
use super::pod_probes::{self, Grace};
use super::pod_projections::{VARIABLE_FIELDS, amount_ref, field_ref};
use super::pod_spec::Pod;
use super::pod_volumes::{Volumes, no_backsteps};
use super::{internal, pod_mounts, pod_security};
use crate::json;
use crate::meta;

/// Fields that an ephemeral container cannot have, in the order of the type.
const NOT_EPHEMERAL: &[&str] = &[
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

/// What containers may refer to.
struct Around<'a> {
    volumes: &'a Volumes<'a>,
    claims: Vec<&'a str>,
    restart: &'a str,
    /// The users of containers are those of the node.
    host_users: bool,
    os: Option<&'a Value>,
    grace: Grace,
}

/// Names of the claims of a pod.
pub(crate) fn claim_names(spec: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = json::list(spec, "resourceClaims").iter().map(|c| json::text(c, "name")).filter(|n| !n.is_empty()).collect();
    names.sort_unstable();
    names
}

/// All containers of a pod.
pub(crate) fn all(pod: &Pod<'_>, volumes: &Volumes<'_>, e: &mut Errors) {
    let s = pod.spec;
    let around = Around {
        volumes,
        claims: claim_names(s),
        restart: json::text(s, "restartPolicy"),
        host_users: s["hostUsers"].as_bool() != Some(false),
        os: s.get("os").filter(|o| !o.is_null()),
        grace: json::int(s, "terminationGracePeriodSeconds"),
    };
    regular(pod, &around, e);
    init(pod, &around, e);
    ephemeral(pod, &around, e);
}

fn regular(pod: &Pod<'_>, around: &Around<'_>, e: &mut Errors) {
    let path = pod.at("containers");
    let list = json::list(pod.spec, "containers");
    if list.is_empty() {
        e.required(&path, "");
        return;
    }
    let mut names = Vec::new();
    for (i, c) in list.iter().enumerate() {
        let at = format!("{path}[{i}]");
        common(&at, c, around, e);
        let name = json::text(c, "name");
        if names.contains(&name) {
            e.duplicate(&format!("{at}.name"), &name.into());
        }
        names.push(name);
        pod_probes::lifecycle(&format!("{at}.lifecycle"), c.get("lifecycle"), around.grace, around.os, e);
        pod_probes::probes(&at, c, around.grace, e);
        restart_policy(&at, c, e);
    }
    host_ports(&path, list, e);
}

fn init(pod: &Pod<'_>, around: &Around<'_>, e: &mut Errors) {
    let path = pod.at("initContainers");
    let mut names: Vec<&str> = json::list(pod.spec, "containers").iter().map(|c| json::text(c, "name")).collect();
    for (i, c) in json::list(pod.spec, "initContainers").iter().enumerate() {
        let at = format!("{path}[{i}]");
        common(&at, c, around, e);
        restart_policy(&at, c, e);
        let name = json::text(c, "name");
        if names.contains(&name) {
            e.duplicate(&format!("{at}.name"), &name.into());
        } else if !name.is_empty() {
            names.push(name);
        }
        host_ports(&path, std::slice::from_ref(c), e);
        let sidecar = json::text(c, "restartPolicy") == "Always";
        if sidecar {
            pod_probes::lifecycle(&format!("{at}.lifecycle"), c.get("lifecycle"), around.grace, around.os, e);
            pod_probes::probes(&at, c, around.grace, e);
        } else {
            for k in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                if c.get(k).is_some_and(|v| !v.is_null()) {
                    e.forbidden(&format!("{at}.{k}"), "may not be set for init containers without restartPolicy=Always");
                }
            }
            for (j, p) in json::list(c, "resizePolicy").iter().enumerate() {
                if json::text(p, "restartPolicy") == "RestartContainer" {
                    let why = "must not be set to 'RestartContainer' for non-sidecar initContainers";
                    e.invalid_text(&format!("{at}.resizePolicy[{j}].restartPolicy"), "RestartContainer", why);
                }
            }
        }
    }
}

fn ephemeral(pod: &Pod<'_>, around: &Around<'_>, e: &mut Errors) {
    let others: Vec<&str> =
        ["containers", "initContainers"].iter().flat_map(|l| json::list(pod.spec, l)).map(|c| json::text(c, "name")).collect();
    let mut names = others.clone();
    for (i, c) in json::list(pod.spec, "ephemeralContainers").iter().enumerate() {
        let at = format!("{}[{i}]", pod.at("ephemeralContainers"));
        common(&at, c, around, e);
        image_blanks(&at, c, e);
        let name = json::text(c, "name");
        if names.contains(&name) {
            e.duplicate(&format!("{at}.name"), &name.into());
        } else {
            names.push(name);
        }
        let target = json::text(c, "targetContainerName");
        if !target.is_empty() && !others.contains(&target) {
            e.not_found(&format!("{at}.targetContainerName"), target);
        }
        for k in NOT_EPHEMERAL {
            let set = c.get(*k).is_some_and(|v| !(v.is_null() || v.as_object().is_some_and(serde_json::Map::is_empty)));
            if set {
                e.forbidden(&format!("{at}.{k}"), "cannot be set for an Ephemeral Container");
            }
        }
        for (j, m) in json::list(c, "volumeMounts").iter().enumerate() {
            for k in ["subPath", "subPathExpr"] {
                if !json::text(m, k).is_empty() {
                    e.forbidden(&format!("{at}.volumeMounts[{j}].{k}"), "cannot be set for an Ephemeral Container");
                }
            }
        }
    }
}

/// Blanks around an image are a fault in a pod (a template may have them).
pub(crate) fn image_blanks(at: &str, c: &Value, e: &mut Errors) {
    let image = json::text(c, "image");
    if image != image.trim() {
        e.invalid_text(&format!("{at}.image"), image, "must not have leading or trailing whitespace");
    }
}

/// What every container must fulfil.
fn common(at: &str, c: &Value, around: &Around<'_>, e: &mut Errors) {
    let name = json::text(c, "name");
    if name.is_empty() {
        e.required(&format!("{at}.name"), "");
    } else {
        e.names(&format!("{at}.name"), name, meta::dns_label(name));
    }
    if json::text(c, "image").is_empty() {
        e.required(&format!("{at}.image"), "");
    }
    let policy = json::text(c, "terminationMessagePolicy");
    e.one_of(&format!("{at}.terminationMessagePolicy"), policy, &["File", "FallbackToLogsOnError"]);
    ports(&format!("{at}.ports"), json::list(c, "ports"), e);
    variables(&format!("{at}.env"), json::list(c, "env"), e);
    variable_sources(&format!("{at}.envFrom"), json::list(c, "envFrom"), e);
    pod_mounts::mounts(&format!("{at}.volumeMounts"), c, around.volumes, e);
    pod_mounts::devices(&format!("{at}.volumeDevices"), c, around.volumes, e);
    e.one_of(&format!("{at}.imagePullPolicy"), json::text(c, "imagePullPolicy"), &["Always", "IfNotPresent", "Never"]);
    amounts::requirements(&format!("{at}.resources"), &c["resources"], Place::Container, &around.claims, e);
    resize_policy(&format!("{at}.resizePolicy"), json::list(c, "resizePolicy"), around.restart, e);
    pod_security::context(&format!("{at}.securityContext"), c.get("securityContext"), around.host_users, e);
}

fn ports(path: &str, list: &[Value], e: &mut Errors) {
    let mut names = Vec::new();
    for (i, p) in list.iter().enumerate() {
        let at = format!("{path}[{i}]");
        let name = json::text(p, "name");
        let wrong = if name.is_empty() { Vec::new() } else { meta::port_name(name) };
        if !wrong.is_empty() {
            e.names(&format!("{at}.name"), name, wrong);
        } else if !name.is_empty() && names.contains(&name) {
            e.duplicate(&format!("{at}.name"), &name.into());
        } else if !name.is_empty() {
            names.push(name);
        }
        let n = json::int(p, "containerPort").unwrap_or(0);
        if n == 0 {
            e.required(&format!("{at}.containerPort"), "");
        } else {
            port_number(&format!("{at}.containerPort"), n, e);
        }
        if let Some(h) = json::int(p, "hostPort").filter(|h| *h != 0) {
            port_number(&format!("{at}.hostPort"), h, e);
        }
        e.one_of(&format!("{at}.protocol"), json::text(p, "protocol"), &["SCTP", "TCP", "UDP"]);
    }
}

/// A port number.
pub(crate) fn port_number(path: &str, n: i64, e: &mut Errors) {
    if !(1..=65535).contains(&n) {
        e.invalid(path, &n.into(), "must be between 1 and 65535, inclusive");
    }
}

/// A port by number or name.
pub(crate) fn port_or_name(path: &str, v: &Value, e: &mut Errors) {
    match v {
        Value::String(s) => e.names(path, s, meta::port_name(s)),
        n => port_number(path, n.as_i64().unwrap_or(0), e),
    }
}

fn host_ports(path: &str, list: &[Value], e: &mut Errors) {
    let mut seen = Vec::new();
    for (i, c) in list.iter().enumerate() {
        for (j, p) in json::list(c, "ports").iter().enumerate() {
            let Some(h) = json::int(p, "hostPort").filter(|h| *h != 0) else { continue };
            let key = format!("{}/{}/{h}", json::text(p, "protocol"), json::text(p, "hostIP"));
            if seen.contains(&key) {
                e.duplicate(&format!("{path}[{i}].ports[{j}].hostPort"), &key.as_str().into());
            }
            seen.push(key);
        }
    }
}

fn variables(path: &str, list: &[Value], e: &mut Errors) {
    for (i, v) in list.iter().enumerate() {
        let at = format!("{path}[{i}]");
        let name = json::text(v, "name");
        if name.is_empty() {
            e.required(&format!("{at}.name"), "");
        } else {
            e.names(&format!("{at}.name"), name, meta::variable_name(name));
        }
        let Some(from) = v.get("valueFrom").filter(|f| !f.is_null()) else { continue };
        let at = format!("{at}.valueFrom");
        let get = |k: &str| from.get(k).filter(|r| !r.is_null());
        let mut n = 0;
        if let Some(r) = get("fieldRef") {
            n += 1;
            field_ref(&format!("{at}.fieldRef"), r, VARIABLE_FIELDS, e);
        }
        if let Some(r) = get("resourceFieldRef") {
            n += 1;
            amount_ref(&format!("{at}.resourceFieldRef"), r, false, e);
        }
        for k in ["configMapKeyRef", "secretKeyRef"] {
            if let Some(r) = get(k) {
                n += 1;
                key_ref(&format!("{at}.{k}"), r, e);
            }
        }
        if let Some(r) = get("fileKeyRef") {
            n += 1;
            file_ref(&format!("{at}.fileKeyRef"), r, e);
        }
        if n == 0 {
            let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
            e.invalid_text(&at, "", why);
        } else if !json::text(v, "value").is_empty() {
            e.invalid_text(&at, "", "may not be specified when `value` is not empty");
        } else if n > 1 {
            e.invalid_text(&at, "", "may not have more than one field specified at a time");
        }
    }
}

fn key_ref(path: &str, r: &Value, e: &mut Errors) {
    let (name, key) = (json::text(r, "name"), json::text(r, "key"));
    e.names(&format!("{path}.name"), name, meta::dns_subdomain(name));
    if key.is_empty() {
        e.required(&format!("{path}.key"), "");
    } else {
        e.names(&format!("{path}.key"), key, meta::config_key(key));
    }
}

fn file_ref(path: &str, r: &Value, e: &mut Errors) {
    let (key, volume, file) = (json::text(r, "key"), json::text(r, "volumeName"), json::text(r, "path"));
    if key.is_empty() {
        e.required(&format!("{path}.key"), "");
    } else {
        e.names(&format!("{path}.key"), key, meta::variable_name(key));
    }
    if volume.is_empty() {
        e.required(&format!("{path}.volumeName"), "");
    } else {
        e.names(&format!("{path}.volumeName"), volume, meta::dns_label(volume));
    }
    if file.is_empty() {
        e.required(&format!("{path}.path"), "");
    } else {
        no_backsteps(&format!("{path}.path"), file, e);
    }
}

/// Files that variables come from lie in volumes that are empty at first.
pub(crate) fn file_references(pod: &Pod<'_>, e: &mut Errors) {
    let volumes = json::list(pod.spec, "volumes");
    for (path, c) in pod.containers() {
        for (i, v) in json::list(c, "env").iter().enumerate() {
            let Some(r) = v.get("valueFrom").and_then(|f| f.get("fileKeyRef")).filter(|r| !r.is_null()) else { continue };
            let name = json::text(r, "volumeName");
            let at = format!("{path}.env[{i}].valueFrom.fileKeyRef.volumeName");
            match volumes.iter().find(|v| json::text(v, "name") == name) {
                None => e.not_found(&at, name),
                Some(v) if v.get("emptyDir").is_none() => e.invalid_text(&at, name, "referenced volume must be of type emptyDir"),
                Some(_) => {}
            }
        }
    }
}

fn variable_sources(path: &str, list: &[Value], e: &mut Errors) {
    for (i, v) in list.iter().enumerate() {
        let at = format!("{path}[{i}]");
        e.name_if_any(&format!("{at}.prefix"), json::text(v, "prefix"), meta::variable_name);
        let mut n = 0;
        for k in ["configMapRef", "secretRef"] {
            let Some(r) = v.get(k).filter(|r| !r.is_null()) else { continue };
            n += 1;
            let name = json::text(r, "name");
            if name.is_empty() {
                e.required(&format!("{at}.{k}.name"), "");
            } else {
                e.names(&format!("{at}.{k}.name"), name, meta::dns_subdomain(&meta::mask_trailing_dash(name)));
            }
        }
        if n == 0 {
            e.invalid_text(path, "", "must specify one of: `configMapRef` or `secretRef`");
        } else if n > 1 {
            e.invalid_text(path, "", "may not have more than one field specified at a time");
        }
    }
}

fn resize_policy(path: &str, list: &[Value], restart: &str, e: &mut Errors) {
    let mut seen = Vec::new();
    for (i, p) in list.iter().enumerate() {
        let (name, policy) = (json::text(p, "resourceName"), json::text(p, "restartPolicy"));
        if seen.contains(&name) {
            e.duplicate(&format!("{path}[{i}]"), &name.into());
        }
        seen.push(name);
        e.one_of(path, name, &["cpu", "memory"]);
        e.one_of(path, policy, &["NotRequired", "RestartContainer"]);
        if restart == "Never" && policy != "NotRequired" {
            e.invalid_text(path, policy, "must be 'NotRequired' when pod `restartPolicy` is 'Never'");
        }
    }
}

fn restart_policy(at: &str, c: &Value, e: &mut Errors) {
    let rules = json::list(c, "restartPolicyRules");
    match c.get("restartPolicy").and_then(Value::as_str) {
        None => {
            if !rules.is_empty() {
                e.required(&format!("{at}.restartPolicy"), "must specify restartPolicy when restart rules are used");
            }
        }
        Some(p) if !matches!(p, "Always" | "Never" | "OnFailure") => {
            e.unsupported(&format!("{at}.restartPolicy"), p, &["Always", "Never", "OnFailure"]);
        }
        Some(_) => {}
    }
    if rules.len() > 20 {
        e.too_many(&format!("{at}.restartPolicyRules"), rules.len(), 20);
    }
    for (i, r) in rules.iter().enumerate() {
        let at = format!("{at}.restartPolicyRules[{i}]");
        let action = json::text(r, "action");
        if !ACTIONS.contains(&action) {
            e.unsupported(&format!("{at}.action"), action, ACTIONS);
        }
        let Some(codes) = r.get("exitCodes").filter(|c| !c.is_null()) else {
            e.required(&format!("{at}.exitCodes"), "must be specified");
            continue;
        };
        let operator = json::text(codes, "operator");
        if !matches!(operator, "In" | "NotIn") {
            e.unsupported(&format!("{at}.exitCodes.operator"), operator, &["In", "NotIn"]);
        }
        let n = json::list(codes, "values").len();
        if n > 255 {
            e.too_many(&format!("{at}.exitCodes.values"), n, 255);
        }
    }
}

/// What a restart rule may do.
const ACTIONS: &[&str] = &["Restart", "RestartAllContainers"];

/// A container as messages show it.
pub(crate) fn shown(c: &Value) -> Value {
    internal::form("v1.EphemeralContainer", c)
}
