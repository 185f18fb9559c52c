//! Rows of nodes, namespaces, events, configuration, storage and access.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::human::{count, deleting, list, number, since, span, text, text_or, truth};

const CREATED: &str = "/metadata/creationTimestamp";
const NAME: &str = "/metadata/name";

pub(super) fn node(o: &Value, now: Timestamp) -> Vec<Value> {
    let ready = list(o, "/status/conditions").iter().rfind(|c| text(c, "/type") == "Ready");
    let mut status = match ready.map(|c| text(c, "/status")) {
        None => "Unknown",
        Some("True") => "Ready",
        Some(_) => "NotReady",
    }
    .to_owned();
    if truth(o, "/spec/unschedulable", false) {
        status += ",SchedulingDisabled";
    }
    let role = |(key, value): (&String, &Value)| match (key.strip_prefix("node-role.kubernetes.io/"), value.as_str()) {
        (Some(role), _) if !role.is_empty() => Some(role.to_owned()),
        (None, Some(role)) if key == "kubernetes.io/role" && !role.is_empty() => Some(role.to_owned()),
        _ => None,
    };
    let roles: BTreeSet<String> = o.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten().filter_map(role).collect();
    let roles = roles.into_iter().collect::<Vec<_>>().join(",");
    let address = |kind: &str| {
        let found = list(o, "/status/addresses").iter().find(|a| text(a, "/type") == kind);
        found.map_or("<none>", |a| text(a, "/address")).to_owned()
    };
    let mut kernel = text_or(o, "/status/nodeInfo/kernelVersion", "<unknown>").to_owned();
    let architecture = text(o, "/status/nodeInfo/architecture");
    if !architecture.is_empty() {
        kernel += &format!(" ({architecture})");
    }
    vec![
        text(o, NAME).into(),
        status.into(),
        if roles.is_empty() { "<none>".to_owned() } else { roles }.into(),
        since(o, CREATED, now).into(),
        text(o, "/status/nodeInfo/kubeletVersion").into(),
        address("InternalIP").into(),
        address("ExternalIP").into(),
        text_or(o, "/status/nodeInfo/osImage", "<unknown>").into(),
        kernel.into(),
        text_or(o, "/status/nodeInfo/containerRuntimeVersion", "<unknown>").into(),
    ]
}

pub(super) fn event(o: &Value, now: Timestamp) -> Vec<Value> {
    // events.k8s.io/v1 has other names for the same fields.
    let either = |a: &'static str, b: &'static str| if text(o, a).is_empty() { b } else { a };
    let first = since(o, either(either("/firstTimestamp", "/deprecatedFirstTimestamp"), "/eventTime"), now);
    let mut last = match text(o, either("/lastTimestamp", "/deprecatedLastTimestamp")) {
        "" => first.clone(),
        _ => since(o, either("/lastTimestamp", "/deprecatedLastTimestamp"), now),
    };
    let mut times = number(o, "/count").max(number(o, "/deprecatedCount"));
    if o.pointer("/series").is_some_and(Value::is_object) {
        last = since(o, "/series/lastObservedTime", now);
        times = number(o, "/series/count");
    } else if times == 0 {
        times = 1;
    }
    let involved = if o.get("regarding").is_some() { "/regarding" } else { "/involvedObject" };
    let at = |key: &str| text(o, &format!("{involved}{key}"));
    let object = match at("/name") {
        "" => at("/kind").to_lowercase(),
        name => format!("{}/{name}", at("/kind").to_lowercase()),
    };
    let component = text_or(
        o,
        either("/source/component", "/deprecatedSource/component"),
        text_or(o, "/reportingComponent", text(o, "/reportingController")),
    );
    let host = text_or(o, either("/source/host", "/deprecatedSource/host"), text(o, "/reportingInstance"));
    let source = if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") };
    vec![
        last.into(),
        text(o, "/type").into(),
        text(o, "/reason").into(),
        object.into(),
        at("/fieldPath").into(),
        source.into(),
        text_or(o, "/message", text(o, "/note")).trim().into(),
        first.into(),
        times.into(),
        text(o, NAME).into(),
    ]
}

pub(super) fn namespace(o: &Value, now: Timestamp) -> Vec<Value> {
    vec![text(o, NAME).into(), text(o, "/status/phase").into(), since(o, CREATED, now).into()]
}

pub(super) fn secret(o: &Value, now: Timestamp) -> Vec<Value> {
    vec![text(o, NAME).into(), text(o, "/type").into(), count(o, "/data").into(), since(o, CREATED, now).into()]
}

pub(super) fn config_map(o: &Value, now: Timestamp) -> Vec<Value> {
    vec![text(o, NAME).into(), (count(o, "/data") + count(o, "/binaryData")).into(), since(o, CREATED, now).into()]
}

/// Kinds of which only name and age are shown.
pub(super) fn name_and_age(o: &Value, now: Timestamp) -> Vec<Value> {
    vec![text(o, NAME).into(), since(o, CREATED, now).into()]
}

pub(super) fn lease(o: &Value, now: Timestamp) -> Vec<Value> {
    vec![text(o, NAME).into(), text(o, "/spec/holderIdentity").into(), since(o, CREATED, now).into()]
}

pub(super) fn resource_quota(o: &Value, now: Timestamp) -> Vec<Value> {
    let hard = o.pointer("/status/hard").and_then(Value::as_object);
    let mut names: Vec<&String> = hard.into_iter().flatten().map(|(name, _)| name).collect();
    names.sort();
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for name in names {
        let amount = |of: &str| o["status"][of][name.as_str()].as_str().unwrap_or("0").to_owned();
        let row = format!("{name}: {}/{}", amount("used"), amount("hard"));
        if name.starts_with("limits.") { limits.push(row) } else { requests.push(row) }
    }
    vec![text(o, NAME).into(), requests.join(", ").into(), limits.join(", ").into(), since(o, CREATED, now).into()]
}

pub(super) fn priority_class(o: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        text(o, NAME).into(),
        number(o, "/value").into(),
        truth(o, "/globalDefault", false).into(),
        since(o, CREATED, now).into(),
        text(o, "/preemptionPolicy").into(),
    ]
}

pub(super) fn runtime_class(o: &Value, now: Timestamp) -> Vec<Value> {
    vec![text(o, NAME).into(), text(o, "/handler").into(), since(o, CREATED, now).into()]
}

pub(super) fn component_status(o: &Value, _now: Timestamp) -> Vec<Value> {
    let healthy = list(o, "/conditions").iter().find(|c| text(c, "/type") == "Healthy");
    let status = match healthy.map(|c| text(c, "/status")) {
        None => "Unknown",
        Some("True") => "Healthy",
        Some(_) => "Unhealthy",
    };
    let said = |key: &str| healthy.map_or("", |c| text(c, key)).to_owned();
    vec![text(o, NAME).into(), status.into(), said("/message").into(), said("/error").into()]
}

pub(super) fn status(o: &Value, _now: Timestamp) -> Vec<Value> {
    vec![text(o, "/status").into(), text(o, "/reason").into(), text(o, "/message").into()]
}

pub(super) fn role_binding(o: &Value, now: Timestamp) -> Vec<Value> {
    let named = |kind: &str| {
        let subject = |s: &&Value| text(s, "/kind") == kind;
        let name = |s: &Value| match kind {
            "ServiceAccount" => format!("{}/{}", text(s, "/namespace"), text(s, "/name")),
            _ => text(s, "/name").to_owned(),
        };
        list(o, "/subjects").iter().filter(subject).map(name).collect::<Vec<_>>().join(", ")
    };
    vec![
        text(o, NAME).into(),
        format!("{}/{}", text(o, "/roleRef/kind"), text(o, "/roleRef/name")).into(),
        since(o, CREATED, now).into(),
        named("User").into(),
        named("Group").into(),
        named("ServiceAccount").into(),
    ]
}

pub(super) fn signing_request(o: &Value, now: Timestamp) -> Vec<Value> {
    let has = |kind: &str| list(o, "/status/conditions").iter().any(|c| text(c, "/type") == kind);
    let mut condition = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    }
    .to_owned();
    if has("Failed") {
        condition += ",Failed";
    }
    if !text(o, "/status/certificate").is_empty() {
        condition += ",Issued";
    }
    let duration = o.pointer("/spec/expirationSeconds").and_then(Value::as_i64).map_or("<none>".to_owned(), span);
    vec![
        text(o, NAME).into(),
        since(o, CREATED, now).into(),
        text_or(o, "/spec/signerName", "<none>").into(),
        text(o, "/spec/username").into(),
        duration.into(),
        condition.into(),
    ]
}

/// Short forms of access modes, as `kubectl get pv` shows them.
fn access_modes(o: &Value, pointer: &str) -> String {
    let all: Vec<&str> = list(o, pointer).iter().filter_map(Value::as_str).collect();
    let short = [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    short.iter().filter(|(long, _)| all.contains(long)).map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

fn phase(o: &Value) -> &str {
    if deleting(o) { "Terminating" } else { text(o, "/status/phase") }
}

pub(super) fn volume(o: &Value, now: Timestamp) -> Vec<Value> {
    let claim = match o.pointer("/spec/claimRef") {
        Some(claim) => format!("{}/{}", text(claim, "/namespace"), text(claim, "/name")),
        None => String::new(),
    };
    vec![
        text(o, NAME).into(),
        text_or(o, "/spec/capacity/storage", "0").into(),
        access_modes(o, "/spec/accessModes").into(),
        text(o, "/spec/persistentVolumeReclaimPolicy").into(),
        phase(o).into(),
        claim.into(),
        text(o, "/spec/storageClassName").into(),
        text_or(o, "/spec/volumeAttributesClassName", "<unset>").into(),
        text(o, "/status/reason").into(),
        since(o, CREATED, now).into(),
        text_or(o, "/spec/volumeMode", "<unset>").into(),
    ]
}

pub(super) fn claim(o: &Value, now: Timestamp) -> Vec<Value> {
    let bound = !text(o, "/spec/volumeName").is_empty();
    let (capacity, modes) = match bound {
        true => (text_or(o, "/status/capacity/storage", "0"), access_modes(o, "/status/accessModes")),
        false => ("", String::new()),
    };
    vec![
        text(o, NAME).into(),
        phase(o).into(),
        text(o, "/spec/volumeName").into(),
        capacity.into(),
        modes.into(),
        text(o, "/spec/storageClassName").into(),
        text_or(o, "/spec/volumeAttributesClassName", "<unset>").into(),
        since(o, CREATED, now).into(),
        text_or(o, "/spec/volumeMode", "<unset>").into(),
    ]
}

pub(super) fn storage_class(o: &Value, now: Timestamp) -> Vec<Value> {
    let annotations = &o["metadata"]["annotations"];
    let default = ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
    let default = default.iter().any(|key| annotations[*key] == "true");
    let name = text(o, NAME);
    vec![
        if default { format!("{name} (default)") } else { name.to_owned() }.into(),
        text(o, "/provisioner").into(),
        text_or(o, "/reclaimPolicy", "Delete").into(),
        text_or(o, "/volumeBindingMode", "Immediate").into(),
        truth(o, "/allowVolumeExpansion", false).into(),
        since(o, CREATED, now).into(),
    ]
}

pub(super) fn volume_attributes_class(o: &Value, now: Timestamp) -> Vec<Value> {
    vec![text(o, NAME).into(), text(o, "/driverName").into(), since(o, CREATED, now).into()]
}

pub(super) fn volume_attachment(o: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        text(o, NAME).into(),
        text(o, "/spec/attacher").into(),
        text(o, "/spec/source/persistentVolumeName").into(),
        text(o, "/spec/nodeName").into(),
        truth(o, "/status/attached", false).into(),
        since(o, CREATED, now).into(),
    ]
}

pub(super) fn csi_node(o: &Value, now: Timestamp) -> Vec<Value> {
    vec![text(o, NAME).into(), count(o, "/spec/drivers").into(), since(o, CREATED, now).into()]
}

pub(super) fn csi_driver(o: &Value, now: Timestamp) -> Vec<Value> {
    let modes: Vec<&str> = list(o, "/spec/volumeLifecycleModes").iter().filter_map(Value::as_str).collect();
    let tokens = match o.pointer("/spec/tokenRequests") {
        Some(Value::Array(tokens)) => tokens.iter().map(|t| text(t, "/audience")).collect::<Vec<_>>().join(","),
        _ => "<unset>".to_owned(),
    };
    vec![
        text(o, NAME).into(),
        truth(o, "/spec/attachRequired", true).into(),
        truth(o, "/spec/podInfoOnMount", false).into(),
        truth(o, "/spec/storageCapacity", false).into(),
        tokens.into(),
        truth(o, "/spec/requiresRepublish", false).into(),
        if modes.is_empty() { "<none>".to_owned() } else { modes.join(",") }.into(),
        since(o, CREATED, now).into(),
    ]
}

pub(super) fn api_service(o: &Value, now: Timestamp) -> Vec<Value> {
    let service = match o.pointer("/spec/service").filter(|service| service.is_object()) {
        None => "Local".to_owned(),
        Some(service) => format!("{}/{}", text(service, "/namespace"), text(service, "/name")),
    };
    let available = list(o, "/status/conditions").iter().find(|c| text(c, "/type") == "Available");
    let available = match available.map(|c| (text(c, "/status"), text(c, "/reason"))) {
        None => "Unknown".to_owned(),
        Some((status @ "True", _) | (status, "")) => status.to_owned(),
        Some((status, reason)) => format!("{status} ({reason})"),
    };
    vec![text(o, NAME).into(), service.into(), available.into(), since(o, CREATED, now).into()]
}
