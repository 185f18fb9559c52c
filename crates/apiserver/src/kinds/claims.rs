//! Claims of storage and the volumes that fulfil them (core `ValidatePersistentVolumeClaimSpec`, `ValidatePersistentVolumeClaimUpdate`).

use serde_json::{Value, json};

use super::amounts;
use super::errors::Errors;
use super::{Check, DEFAULT, Env, Rules, difference, internal, pod_scheduling, selectors};
use crate::json;
use crate::meta;
use crate::quantity::Quantity;

const MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

pub(crate) const PERSISTENT_VOLUME: Rules = Rules {
    on_update: &[Check::Meta, Check::Always, Check::Meta, Check::Always, Check::Update],
    prepare_create: |doc, env| {
        doc["status"] = json!({"phase": "Pending", "lastPhaseTransitionTime": meta::seconds(env.now)});
        add_finalizer(doc, "kubernetes.io/pv-protection");
    },
    prepare_status: |doc, old, env| {
        let (is, was) = (&doc["status"], &old["status"]);
        let (at, before) = (is.get("lastPhaseTransitionTime"), was.get("lastPhaseTransitionTime"));
        let at = match is.get("phase") == was.get("phase") {
            true if at.is_none() => before.cloned(),
            false if at.is_none() || at == before => Some(meta::seconds(env.now).into()),
            _ => return,
        };
        json::put(&mut doc["status"], "lastPhaseTransitionTime", at);
    },
    validate: |doc, _, e, _| volume(&doc["spec"], e),
    validate_update: volume_update,
    ..DEFAULT
};

pub(crate) const PERSISTENT_VOLUME_CLAIM: Rules = Rules {
    on_update: &[Check::MetaUpdate, Check::Meta, Check::Always, Check::Update],
    prepare_create: |doc, _| {
        doc["status"] = json!({"phase": "Pending"});
        add_finalizer(doc, "kubernetes.io/pvc-protection");
        data_sources(doc, None);
    },
    prepare_update: |doc, old, _| data_sources(doc, Some(old)),
    validate: |doc, _, e, _| spec("spec", &doc["spec"], e),
    validate_update: claim_update,
    validate_status: claim_status,
    ..DEFAULT
};

/// Protection of storage in use (admission plugin `StorageObjectInUseProtection`).
pub(super) fn add_finalizer(doc: &mut Value, f: &str) {
    let meta = json::object_mut(doc, "metadata");
    let list = meta.entry("finalizers").or_insert_with(|| json!([]));
    if let Some(l) = list.as_array_mut()
        && !l.iter().any(|x| x == f)
    {
        l.push(f.into());
    }
}

/// The old and the new way to say where data comes from; the old one takes claims and snapshots only.
fn data_sources(doc: &mut Value, old: Option<&Value>) {
    let in_use = old.is_some_and(|o| o["spec"].get("dataSource").is_some() || o["spec"].get("dataSourceRef").is_some());
    let spec = json::object_mut(doc, "spec");
    // Sources in other namespaces are not open yet (feature `CrossNamespaceVolumeDataSource`).
    let foreign = spec.get("dataSourceRef").is_some_and(|r| !json::text(r, "namespace").is_empty());
    if foreign && !in_use {
        spec.shift_remove("dataSourceRef");
    }
    if !in_use && !spec.contains_key("dataSourceRef") {
        let known = spec.get("dataSource").is_some_and(|d| {
            let (group, kind) = (json::text(d, "apiGroup"), json::text(d, "kind"));
            (group.is_empty() && kind == "PersistentVolumeClaim") || (group == "snapshot.storage.k8s.io" && kind == "VolumeSnapshot")
        });
        if !known {
            spec.shift_remove("dataSource");
        }
    }
    match (spec.get("dataSource").cloned(), spec.get("dataSourceRef").cloned()) {
        (Some(mut d), None) => {
            if d.get("apiGroup").is_none() {
                d["apiGroup"] = Value::Null;
            }
            spec.insert("dataSourceRef".into(), d);
        }
        (None, Some(r)) if json::text(&r, "namespace").is_empty() => {
            spec.insert("dataSource".into(), r);
        }
        _ => {}
    }
}

fn access_modes(path: &str, s: &Value, empty: &str, e: &mut Errors) {
    let at = format!("{path}.accessModes");
    let list = json::list(s, "accessModes");
    if list.is_empty() {
        e.required(&at, empty);
    }
    for m in list.iter().filter(|m| !MODES.contains(&m.as_str().unwrap_or(""))) {
        e.unsupported_value(&at, m, MODES);
    }
    let one_pod = |m: &&Value| **m == "ReadWriteOncePod";
    let known = |m: &&Value| MODES.contains(&m.as_str().unwrap_or(""));
    if list.iter().any(|m| one_pod(&m)) && list.iter().any(|m| known(&m) && !one_pod(&m)) {
        e.forbidden(&at, "may not use ReadWriteOncePod with other access modes");
    }
}

/// The spec of a claim.
pub(crate) fn spec(path: &str, s: &Value, e: &mut Errors) {
    let at = |k: &str| format!("{path}.{k}");
    if json::list(s, "accessModes").is_empty() {
        e.required(&at("accessModes"), "at least 1 access mode is required");
    }
    if let Some(sel) = s.get("selector") {
        selectors::label_selector(&at("selector"), sel, e);
    }
    if !json::list(s, "accessModes").is_empty() {
        access_modes(path, s, "", e);
    }
    let storage = at("resources[storage]");
    match s["resources"]["requests"].get("storage") {
        None => e.required(&storage, ""),
        Some(v) if amounts::amount(Some(v)).is_some_and(|q| q <= Quantity::ZERO) => {
            e.invalid(&storage, v, "must be greater than zero");
        }
        Some(_) => {}
    }
    e.name_if_any(&at("storageClassName"), json::text(s, "storageClassName"), meta::dns_subdomain);
    volume_mode(&at("volumeMode"), s, e);
    for k in ["dataSource", "dataSourceRef"] {
        if let Some(d) = s.get(k).filter(|d| !d.is_null()) {
            data_source(&at(k), d, e);
        }
    }
    if let (Some(d), Some(r)) = (s.get("dataSource"), s.get("dataSourceRef")) {
        // The reference shows a path here, which has nothing to show.
        let shown = json!({});
        if !json::text(r, "namespace").is_empty() {
            e.invalid(path, &shown, "may not be specified when dataSourceRef.namespace is specified");
        } else if ["kind", "name", "apiGroup"].iter().any(|k| d.get(*k).filter(|v| !v.is_null()) != r.get(*k).filter(|v| !v.is_null())) {
            e.invalid(path, &shown, "must match dataSourceRef");
        }
    }
    e.name_if_any(&at("volumeAttributesClassName"), json::text(s, "volumeAttributesClassName"), meta::dns_subdomain);
}

fn volume_mode(path: &str, s: &Value, e: &mut Errors) {
    if let Some(m) = s.get("volumeMode").and_then(Value::as_str)
        && !matches!(m, "Block" | "Filesystem")
    {
        e.unsupported(path, m, &["Block", "Filesystem"]);
    }
}

fn data_source(path: &str, d: &Value, e: &mut Errors) {
    for k in ["name", "kind"] {
        if json::text(d, k).is_empty() {
            e.required(&format!("{path}.{k}"), "");
        }
    }
    let (group, kind) = (json::text(d, "apiGroup"), json::text(d, "kind"));
    if group.is_empty() && kind != "PersistentVolumeClaim" {
        e.invalid_text(path, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup");
    }
    e.name_if_any(&format!("{path}.apiGroup"), group, meta::dns_subdomain);
    e.name_if_any(&format!("{path}.namespace"), json::text(d, "namespace"), meta::dns_label);
}

fn claim_update(new: &Value, old: &Value, e: &mut Errors, _: &Env<'_>) {
    let (mut n, mut o) = (new["spec"].clone(), old["spec"].clone());
    let bound = json::text(new, "status.phase") == "Bound";
    if json::text(&o, "volumeName").is_empty() {
        json::put(&mut o, "volumeName", n.get("volumeName").cloned());
    }
    let class = |d: &Value| d["metadata"]["annotations"].get(CLASS_ANNOTATION).and_then(Value::as_str).map(str::to_owned);
    let (class_new, class_old) = (class(new), class(old));
    let (name_new, name_old) = (n.get("storageClassName").cloned(), o.get("storageClassName").cloned());
    // A class may move from the annotation to the field, and be set late.
    let moved = class_old.is_some()
        && name_old.is_none()
        && name_new.as_ref().and_then(Value::as_str) == class_old.as_deref()
        && (class_new.is_none() || class_new == class_old);
    if moved {
        json::take(&mut n, "storageClassName");
    } else {
        if class_new != class_old {
            let at = format!("metadata.annotations.{CLASS_ANNOTATION}");
            e.invalid_text(&at, class_new.as_deref().unwrap_or(""), "field is immutable");
        }
        let late = name_new.is_some()
            && name_old.is_none()
            && class_old.as_deref().is_none_or(|c| name_new.as_ref().and_then(Value::as_str) == Some(c));
        if late {
            json::take(&mut n, "storageClassName");
        }
    }
    let size = |s: &Value| s["resources"]["requests"].get("storage").cloned();
    if bound {
        if n["resources"].get("requests").is_some() {
            let was = size(&o);
            json::put(&mut n["resources"]["requests"], "storage", was);
        }
        json::put(&mut n, "volumeAttributesClassName", o.get("volumeAttributesClassName").cloned());
    }
    if n != o {
        let show = |s: &Value| internal::form("v1.PersistentVolumeClaimSpec", s);
        let d = difference::unified(&show(&o), &show(&n));
        e.forbidden(
            "spec",
            &format!("spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{d}"),
        );
    }
    let amount = |v: Option<Value>| amounts::amount(v.as_ref()).unwrap_or(Quantity::ZERO);
    let now = amount(size(&new["spec"]));
    if now < amount(size(&old["spec"])) && now <= amount(old["status"]["capacity"].get("storage").cloned()) {
        e.forbidden("spec.resources.requests.storage", "field can not be less than status.capacity");
    }
    e.immutable("volumeMode", new["spec"].get("volumeMode"), old["spec"].get("volumeMode"));
    let attributes = new["spec"].get("volumeAttributesClassName");
    if attributes != old["spec"].get("volumeAttributesClassName") && old["status"].get("currentVolumeAttributesClassName").is_some() {
        let what = match attributes.and_then(Value::as_str) {
            None => "nil",
            Some("") => "empty string",
            Some(_) => return,
        };
        let why = format!("update to {what} is forbidden when status.currentVolumeAttributesClassName is not nil");
        e.forbidden("spec.volumeAttributesClassName", &why);
    }
}

/// An amount that is no amount: shown as a whole number.
fn basic_amount(path: &str, v: &Value, e: &mut Errors) -> bool {
    let n = amounts::amount(Some(v)).map_or(0, Quantity::whole_up);
    let negative = i64::try_from(n).ok().filter(|n| *n < 0);
    if let Some(n) = negative {
        e.invalid(path, &n.into(), "must be a valid resource quantity");
    }
    negative.is_none()
}

fn claim_status(new: &Value, _: &Value, e: &mut Errors, _: &Env<'_>) {
    let s = &new["status"];
    if json::list(new, "spec.accessModes").is_empty() {
        e.required("Spec.accessModes", "");
    }
    for (k, v) in amounts::entries(s.get("capacity")) {
        basic_amount(&format!("status.capacity[{k}]"), v, e);
    }
    const RESIZES: &[&str] =
        &["ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible", "NodeResizePending"];
    for (k, v) in amounts::entries(s.get("allocatedResourceStatuses")) {
        let at = "status.allocatedResourceStatuses";
        claimed_name(at, k, e);
        if !RESIZES.contains(&v.as_str().unwrap_or("")) {
            let mut sorted = RESIZES.to_vec();
            sorted.sort_unstable();
            e.unsupported(at, k, &sorted);
        }
    }
    for (k, v) in amounts::entries(s.get("allocatedResources")) {
        if claimed_name("status.allocatedResources", k, e) {
            let at = format!("status.allocatedResources[{k}]");
            if basic_amount(&at, v, e) {
                amounts::value(&at, "storage", v, e);
            }
        }
    }
}

fn claimed_name(path: &str, name: &str, e: &mut Errors) -> bool {
    let before = e.len();
    e.names(path, name, meta::qualified_name(name));
    if e.len() == before && amounts::is_native(name) && name != "storage" {
        e.unsupported(path, name, &["storage"]);
    }
    e.len() == before
}

/// What a source of a volume must have, in the order in which the reference looks.
const SOURCES: &[(&str, &str, &[&str])] = &[
    ("hostPath", "hostPath", &["path"]),
    ("gcePersistentDisk", "persistentDisk", &["pdName"]),
    ("awsElasticBlockStore", "awsElasticBlockStore", &["volumeID"]),
    ("glusterfs", "glusterfs", &["endpoints", "path"]),
    ("flocker", "flocker", &[]),
    ("nfs", "nfs", &["server", "path"]),
    ("rbd", "rbd", &["monitors", "image"]),
    ("quobyte", "quobyte", &["registry", "volume"]),
    ("cephfs", "cephfs", &["monitors"]),
    ("iscsi", "iscsi", &["targetPortal", "iqn"]),
    ("cinder", "cinder", &["volumeID"]),
    ("fc", "fc", &[]),
    ("flexVolume", "flexVolume", &["driver"]),
    ("azureFile", "azureFile", &["secretName", "shareName"]),
    ("vsphereVolume", "vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", "photonPersistentDisk", &["pdID"]),
    ("portworxVolume", "portworxVolume", &["volumeID"]),
    ("azureDisk", "azureDisk", &["diskName", "diskURI"]),
    ("scaleIO", "scaleIO", &["gateway", "system", "volumeName"]),
    ("local", "local", &["path"]),
    ("storageos", "storageos", &["volumeName"]),
    ("csi", "csi", &["driver", "volumeHandle"]),
];

fn volume(s: &Value, e: &mut Errors) {
    access_modes("spec", s, "", e);
    let capacity = json::object(s, "capacity");
    if capacity.is_none_or(serde_json::Map::is_empty) {
        e.required("spec.capacity", "");
    }
    if capacity.is_none_or(|c| c.len() != 1 || !c.contains_key("storage")) {
        e.unsupported_value("spec.capacity", &internal::texts(capacity), &["storage"]);
    }
    for (k, v) in amounts::entries(s.get("capacity")) {
        let at = format!("spec.capacity[{k}]");
        basic_amount(&at, v, e);
        if amounts::amount(Some(v)).is_some_and(|q| q <= Quantity::ZERO) {
            e.invalid(&at, v, "must be greater than zero");
        }
    }
    const POLICIES: &[&str] = &["Delete", "Recycle", "Retain"];
    let policy = json::text(s, "persistentVolumeReclaimPolicy");
    if !policy.is_empty() && !POLICIES.contains(&policy) {
        e.unsupported("spec.persistentVolumeReclaimPolicy", policy, POLICIES);
    }
    let affinity = s.get("nodeAffinity").filter(|a| !a.is_null());
    if let Some(a) = affinity {
        match a.get("required").filter(|r| !r.is_null()) {
            None => e.required("spec.nodeAffinity.required", "must specify required node constraints"),
            Some(r) => pod_scheduling::node_selector("spec.nodeAffinity.required", r, e),
        }
    }
    let mut any = false;
    for (wire, name, needs) in SOURCES {
        let Some(source) = s.get(*wire).filter(|v| !v.is_null()) else { continue };
        if any {
            e.forbidden(&format!("spec.{wire}"), "may not specify more than 1 volume type");
            continue;
        }
        any = true;
        for n in needs.iter().filter(|n| source.get(**n).is_none_or(|v| v == "" || v == &json!([]))) {
            e.required(&format!("spec.{name}.{n}"), "");
        }
        if *wire == "nfs" && !json::text(source, "path").starts_with('/') {
            e.invalid_text("spec.nfs.path", json::text(source, "path"), "must be an absolute path");
        }
        if matches!(*wire, "hostPath" | "local") {
            super::pod_volumes::no_backsteps(&format!("spec.{wire}.path"), json::text(source, "path"), e);
        }
        if *wire == "local" && affinity.is_none() {
            e.required("spec.nodeAffinity", "Local volume requires node affinity");
        }
    }
    if !any {
        e.required("spec", "must specify a volume type");
    }
    if policy == "Recycle" && s["hostPath"]["path"] == "/" {
        e.forbidden("spec.persistentVolumeReclaimPolicy", "may not be 'recycle' for a hostPath mount of '/'");
    }
    e.name_if_any("spec.storageClassName", json::text(s, "storageClassName"), meta::dns_subdomain);
    volume_mode("spec.volumeMode", s, e);
    if let Some(c) = s.get("volumeAttributesClassName").and_then(Value::as_str) {
        if c.is_empty() {
            e.required("spec.volumeAttributesClassName", "an empty string is disallowed");
        } else {
            e.names("spec.volumeAttributesClassName", c, meta::dns_subdomain(c));
        }
        if s.get("csi").is_none() {
            e.required("spec.csi", "has to be specified when using volumeAttributesClassName");
        }
    }
}

fn volume_update(new: &Value, old: &Value, e: &mut Errors, _: &Env<'_>) {
    let sources = |d: &Value| {
        let mut out = json!({});
        for (wire, _, _) in SOURCES {
            json::put(&mut out, wire, d["spec"].get(*wire).cloned());
        }
        out
    };
    let (mut n, o) = (sources(new), sources(old));
    if o["csi"].is_object() && n["csi"].is_object() && o["csi"].get("controllerExpandSecretRef").is_none() {
        json::take(&mut n["csi"], "controllerExpandSecretRef");
    }
    if n != o {
        let show = |s: &Value| internal::part("v1.PersistentVolumeSpec", s, &SOURCES.iter().map(|s| s.0).collect::<Vec<_>>());
        let d = difference::unified(&show(&o), &show(&n));
        e.forbidden("spec.persistentvolumesource", &format!("spec.persistentvolumesource is immutable after creation\n{d}"));
    }
    e.immutable("volumeMode", new["spec"].get("volumeMode"), old["spec"].get("volumeMode"));
    volume_affinity(new["spec"].get("nodeAffinity"), old["spec"].get("nodeAffinity"), e);
    let class = |d: &Value| d["spec"].get("volumeAttributesClassName").is_some();
    if class(old) && !class(new) {
        e.forbidden("spec.volumeAttributesClassName", "update from non-nil value to nil is forbidden");
    }
}

/// Labels that may be replaced by what they are called today.
const RENAMED_LABELS: &[(&str, &str)] = &[
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
];

/// The nodes of a volume stay, once they are named (`validatePvNodeAffinity`).
fn volume_affinity(new: Option<&Value>, old: Option<&Value>, e: &mut Errors) {
    let Some(old) = old.filter(|o| !o.is_null()) else { return };
    let mut masked = old.clone();
    for (i, t) in masked["required"]["nodeSelectorTerms"].as_array_mut().into_iter().flatten().enumerate() {
        for list in ["matchExpressions", "matchFields"] {
            for (j, r) in t.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().enumerate() {
                let now = new.map_or("", |n| json::text(&n["required"]["nodeSelectorTerms"][i][list][j], "key"));
                if RENAMED_LABELS.contains(&(json::text(r, "key"), now)) {
                    r["key"] = now.into();
                }
            }
        }
    }
    if new != Some(&masked) {
        let shown = new.map_or(Value::Null, |n| internal::form("v1.VolumeNodeAffinity", n));
        e.invalid("nodeAffinity", &shown, "field is immutable, except for updating from beta label to GA");
    }
}
