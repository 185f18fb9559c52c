//! Fields behind feature gates that are off in 1.36: dropped on writes unless the old object has them (`dropDisabledFields`).

use serde_json::Value;

use crate::registry::Resource;

/// A field: plural of the kind (or `pod`: the spec of a pod, wherever it is), path (`*`: every item, or every value of a map), gate.
const OFF: &[(&str, &str, &str)] = &[
    ("pod", "containers.*.lifecycle.stopSignal", "ContainerStopSignals"),
    ("pod", "initContainers.*.lifecycle.stopSignal", "ContainerStopSignals"),
    ("pod", "volumes.*.projected.sources.*.clusterTrustBundle", "ClusterTrustBundleProjection"),
    ("pod", "volumes.*.projected.sources.*.podCertificate", "PodCertificateRequest"),
    ("pod", "schedulingGroup", "GenericWorkload"),
    ("statefulsets", "spec.updateStrategy.rollingUpdate.maxUnavailable", "MaxUnavailableStatefulSet"),
    ("nodes", "spec.configSource", "DynamicKubeletConfig"),
    ("leases", "spec.strategy", "CoordinatedLeaderElection"),
    ("leases", "spec.preferredHolder", "CoordinatedLeaderElection"),
    ("csidrivers", "spec.preventPodSchedulingIfMissing", "VolumeLimitScaling"),
    ("resourceslices", "spec.devices.*.attributes.*.ints", "DRAListTypeAttributes"),
    ("resourceslices", "spec.devices.*.attributes.*.bools", "DRAListTypeAttributes"),
    ("resourceslices", "spec.devices.*.attributes.*.strings", "DRAListTypeAttributes"),
    ("resourceslices", "spec.devices.*.attributes.*.versions", "DRAListTypeAttributes"),
    ("resourceslices", "spec.devices.*.nodeAllocatableResourceMappings", "DRANodeAllocatableResources"),
];

/// Objects that go when the field was all they had.
const EMPTY_GOES: &[&str] = &["lifecycle"];

/// Where a kind has the spec of a pod.
pub(crate) fn pod_spec_path(r: &Resource) -> Option<&'static str> {
    Some(match (r.group.as_str(), r.plural.as_str()) {
        ("", "pods") => "spec",
        ("", "podtemplates") => "template.spec",
        ("", "replicationcontrollers") | ("apps", "deployments" | "replicasets" | "statefulsets" | "daemonsets") | ("batch", "jobs") => {
            "spec.template.spec"
        }
        ("batch", "cronjobs") => "spec.jobTemplate.spec.template.spec",
        _ => return None,
    })
}

/// Drops what a disabled gate hides.
pub(crate) fn drop_disabled(r: &Resource, doc: &mut Value, old: Option<&Value>) {
    if r.custom {
        return;
    }
    let pod = pod_spec_path(r);
    for (kind, field, _) in OFF {
        let path = match pod {
            Some(at) if *kind == "pod" => format!("{at}.{field}"),
            _ if *kind == r.plural => (*field).to_owned(),
            _ => continue,
        };
        let path: Vec<&str> = path.split('.').collect();
        if !old.is_some_and(|o| has(o, &path)) {
            remove(doc, &path);
        }
    }
}

fn has(v: &Value, path: &[&str]) -> bool {
    match path {
        [] => !v.is_null(),
        ["*", rest @ ..] => match v {
            Value::Array(l) => l.iter().any(|v| has(v, rest)),
            Value::Object(m) => m.values().any(|v| has(v, rest)),
            _ => false,
        },
        [k, rest @ ..] => v.get(k).is_some_and(|v| has(v, rest)),
    }
}

fn remove(v: &mut Value, path: &[&str]) {
    match path {
        [] => {}
        ["*", rest @ ..] => match v {
            Value::Array(l) => l.iter_mut().for_each(|v| remove(v, rest)),
            Value::Object(m) => m.values_mut().for_each(|v| remove(v, rest)),
            _ => {}
        },
        [k] => {
            if let Some(m) = v.as_object_mut() {
                m.shift_remove(*k);
            }
        }
        [k, rest @ ..] => {
            let Some(m) = v.as_object_mut() else { return };
            let Some(inner) = m.get_mut(*k) else { return };
            remove(inner, rest);
            if EMPTY_GOES.contains(k) && inner.as_object().is_some_and(serde_json::Map::is_empty) {
                m.shift_remove(*k);
            }
        }
    }
}
