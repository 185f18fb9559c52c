//! Rules of a pod's volumes (core `ValidateVolumes`). What a source must have and nothing else is a row of a table.

use std::collections::BTreeMap;

use serde_json::Value;

use super::errors::Errors;
use super::pod_projections;
use super::pod_spec::Pod;
use super::{claims, selectors};
use crate::json;
use crate::meta;
use crate::quantity::Quantity;

/// The volumes of a pod that can be mounted, by name.
pub(crate) type Volumes<'a> = BTreeMap<&'a str, &'a Value>;

/// Checks volumes and returns those that are fine.
pub(crate) fn volumes<'a>(pod: &Pod<'a>, e: &mut Errors) -> Volumes<'a> {
    let mut found = Volumes::new();
    let pod_name = pod.meta.map_or("", |m| json::text(m, "name"));
    let list = json::list(pod.spec, "volumes");
    // Claims that the pod itself makes.
    let made: Vec<String> = list
        .iter()
        .filter(|v| !pod_name.is_empty() && v.get("ephemeral").is_some())
        .map(|v| format!("{pod_name}-{}", json::text(v, "name")))
        .collect();
    for (i, v) in list.iter().enumerate() {
        let at = format!("{}[{i}]", pod.at("volumes"));
        let before = e.len();
        let name = json::text(v, "name");
        source(&at, v, pod, e);
        if name.is_empty() {
            e.required(&format!("{at}.name"), "");
        } else {
            e.names(&format!("{at}.name"), name, meta::dns_label(name));
        }
        if found.contains_key(name) {
            e.duplicate(&format!("{at}.name"), &name.into());
        }
        if e.len() == before {
            found.insert(name, v);
        }
        let claim = json::text(v, "persistentVolumeClaim.claimName");
        if made.iter().any(|m| m == claim) {
            let why = "must not reference a PVC that gets created for an ephemeral volume";
            e.invalid_text(&format!("{at}.persistentVolumeClaim.claimName"), claim, why);
        }
    }
    found
}

/// Sources in the order in which the reference looks at them (the first one found counts, the others are too many): the name on the wire,
/// the name in a refusal of a second one, the name in other refusals, and what must not be empty.
const SOURCES: &[(&str, &str, &str, &[&str])] = &[
    ("emptyDir", "emptyDir", "emptyDir", &[]),
    ("hostPath", "hostPath", "hostPath", &["path"]),
    ("gitRepo", "gitRepo", "gitRepo", &["repository"]),
    ("gcePersistentDisk", "gcePersistentDisk", "persistentDisk", &["pdName"]),
    ("awsElasticBlockStore", "awsElasticBlockStore", "awsElasticBlockStore", &["volumeID"]),
    ("secret", "secret", "secret", &["secretName"]),
    ("nfs", "nfs", "nfs", &["server", "path"]),
    ("iscsi", "iscsi", "iscsi", &["targetPortal", "iqn"]),
    ("glusterfs", "glusterfs", "glusterfs", &["endpoints", "path"]),
    ("flocker", "flocker", "flocker", &[]),
    ("persistentVolumeClaim", "persistentVolumeClaim", "persistentVolumeClaim", &["claimName"]),
    ("rbd", "rbd", "rbd", &["monitors", "image"]),
    ("cinder", "cinder", "cinder", &["volumeID"]),
    ("cephfs", "cephFS", "cephfs", &["monitors"]),
    ("quobyte", "quobyte", "quobyte", &["volume"]),
    ("downwardAPI", "downwarAPI", "downwardAPI", &[]),
    ("fc", "fc", "fc", &[]),
    ("flexVolume", "flexVolume", "flexVolume", &["driver"]),
    ("configMap", "configMap", "configMap", &["name"]),
    ("azureFile", "azureFile", "azureFile", &["secretName", "shareName"]),
    ("vsphereVolume", "vsphereVolume", "vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", "photonPersistentDisk", "photonPersistentDisk", &["pdID"]),
    ("portworxVolume", "portworxVolume", "portworxVolume", &["volumeID"]),
    ("azureDisk", "azureDisk", "azureDisk", &["diskName", "diskURI"]),
    ("storageos", "storageos", "storageos", &["volumeName"]),
    ("projected", "projected", "projected", &[]),
    ("scaleIO", "scaleIO", "scaleIO", &["gateway", "system", "volumeName"]),
    ("csi", "csi", "csi", &["driver"]),
    ("ephemeral", "ephemeral", "ephemeral", &["volumeClaimTemplate"]),
    ("image", "image", "image", &[]),
];

fn is_empty(v: Option<&Value>) -> bool {
    match v {
        None | Some(Value::Null) => true,
        Some(Value::String(s)) => s.is_empty(),
        Some(Value::Array(l)) => l.is_empty(),
        Some(_) => false,
    }
}

fn source(at: &str, v: &Value, pod: &Pod<'_>, e: &mut Errors) {
    let mut any = false;
    for (wire, second, name, needs) in SOURCES {
        let Some(s) = v.get(*wire).filter(|s| !s.is_null()) else { continue };
        if any {
            e.forbidden(&format!("{at}.{second}"), "may not specify more than 1 volume type");
            continue;
        }
        any = true;
        let path = format!("{at}.{name}");
        for n in *needs {
            if is_empty(s.get(*n)) {
                e.required(&format!("{path}.{n}"), "");
            }
        }
        details(wire, &path, s, pod.meta.is_some(), e);
        if *wire == "ephemeral" {
            ephemeral_name(at, pod.meta.map_or("", |m| json::text(m, "name")), json::text(v, "name"), e);
        }
    }
    if !any {
        e.required(at, "must specify a volume type");
    }
}

/// A disk behind iSCSI (`validateISCSIVolumeSource`).
fn iscsi(path: &str, s: &Value, e: &mut Errors) {
    let shape = |name: &str| match name.get(..3) {
        Some("iqn") => iqn(name),
        Some("eui") => serial(name, 16),
        _ => serial(name, 32),
    };
    let mut check = |field: &str, name: &str| {
        let at = format!("{path}.{field}");
        if !["iqn", "eui", "naa"].iter().any(|p| name.starts_with(p)) {
            e.invalid_text(&at, name, "must be valid format starting with iqn, eui, or naa");
        } else if !shape(name) {
            e.invalid_text(&at, name, "must be valid format");
        }
    };
    if !json::text(s, "iqn").is_empty() {
        check("iqn", json::text(s, "iqn"));
    }
    if let Some(name) = s.get("initiatorName").and_then(Value::as_str) {
        check("initiatorname", name);
    }
    if let Some(n) = json::int(s, "lun").filter(|n| !(0..=255).contains(n)) {
        e.invalid(&format!("{path}.lun"), &n.into(), "must be between 0 and 255, inclusive");
    }
    let chap = |k: &str| s[k].as_bool() == Some(true);
    if (chap("chapAuthDiscovery") || chap("chapAuthSession")) && s.get("secretRef").is_none() {
        e.required(&format!("{path}.secretRef"), "");
    }
}

/// `iqn.yyyy-mm.naming-authority:unique name`
fn iqn(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("iqn.") else { return false };
    let date = |b: &[u8]| b.len() == 8 && b.iter().enumerate().all(|(i, c)| if i == 4 { *c == b'-' } else { i == 7 || c.is_ascii_digit() });
    let Some((head, unique)) = rest.split_once(':') else { return false };
    let (Some(d), Some(authority)) = (head.as_bytes().get(..8), head.get(8..)) else { return false };
    date(d)
        && d[7] == b'.'
        && !authority.is_empty()
        && authority.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'))
        && !unique.is_empty()
        && !unique.contains(|c: char| matches!(c, ',' | ';' | '*' | '&' | '$' | '|') || c.is_ascii_whitespace())
}

/// Three letters, any character, and that many letters and digits.
fn serial(name: &str, digits: usize) -> bool {
    let mut rest = name.chars().skip(4);
    name.chars().count() == 4 + digits && rest.all(|c| c.is_ascii_alphanumeric())
}

/// What a source must fulfil besides.
fn details(wire: &str, path: &str, s: &Value, is_pod: bool, e: &mut Errors) {
    match wire {
        "emptyDir" => {
            let size = s.get("sizeLimit").and_then(Value::as_str).and_then(|t| Quantity::parse(t).ok());
            if size.is_some_and(|q| q < Quantity::ZERO) {
                e.forbidden(&format!("{path}.sizeLimit"), "SizeLimit field must be a valid resource quantity");
            }
        }
        "hostPath" if json::text(s, "path").is_empty() => {}
        "iscsi" => iscsi(path, s, e),
        "hostPath" => {
            no_backsteps(&format!("{path}.path"), json::text(s, "path"), e);
            const TYPES: &[&str] = &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
            let kind = json::text(s, "type");
            if !TYPES.contains(&kind) {
                e.unsupported(&format!("{path}.type"), kind, TYPES);
            }
        }
        "gitRepo" => descending_path(&format!("{path}.directory"), json::text(s, "directory"), e),
        "gcePersistentDisk" | "awsElasticBlockStore" => {
            if let Some(n) = json::int(s, "partition").filter(|n| !(0..=255).contains(n)) {
                e.invalid(&format!("{path}.partition"), &n.into(), "must be between 1 and 255, inclusive");
            }
        }
        "secret" | "configMap" => {
            file_mode(&format!("{path}.defaultMode"), s.get("defaultMode"), e);
            for (i, item) in json::list(s, "items").iter().enumerate() {
                key_to_path(&format!("{path}.items[{i}]"), item, e);
            }
        }
        "nfs" => {
            let p = json::text(s, "path");
            if !p.starts_with('/') {
                e.invalid_text(&format!("{path}.path"), p, "must be an absolute path");
            }
        }
        "flocker" => {
            let (name, uuid) = (json::text(s, "datasetName"), json::text(s, "datasetUUID"));
            if name.is_empty() && uuid.is_empty() {
                e.required(path, "one of datasetName and datasetUUID is required");
            } else if !name.is_empty() && !uuid.is_empty() {
                e.invalid_text(path, "resource", "datasetName and datasetUUID can not be specified simultaneously");
            }
            if name.contains('/') {
                e.invalid_text(&format!("{path}.datasetName"), name, "must not contain '/'");
            }
        }
        "quobyte" if json::text(s, "registry").is_empty() => {
            e.required(&format!("{path}.registry"), "must be a host:port pair or multiple pairs separated by commas");
        }
        "fc" => {
            let (names, ids) = (is_empty(s.get("targetWWNs")), is_empty(s.get("wwids")));
            if names && ids {
                e.required(&format!("{path}.targetWWNs"), "must specify either targetWWNs or wwids, but not both");
            } else if !names && !ids {
                e.invalid(&format!("{path}.targetWWNs"), &s["targetWWNs"], "targetWWNs and wwids can not be specified simultaneously");
            }
            if !names && json::int(s, "lun").is_none() {
                e.required(&format!("{path}.lun"), "lun is required if targetWWNs is specified");
            }
        }
        "downwardAPI" => {
            file_mode(&format!("{path}.defaultMode"), s.get("defaultMode"), e);
            for f in json::list(s, "items") {
                pod_projections::downward_file(path, f, e);
            }
        }
        "projected" => pod_projections::projected(path, s, e),
        "storageos" => e.name_if_any(&format!("{path}.volumeName"), json::text(s, "volumeName"), meta::dns_label),
        "csi" => {
            let driver = json::text(s, "driver");
            if driver.len() > 63 {
                e.too_long(&format!("{path}.driver"), 63);
            }
            e.names(&format!("{path}.driver"), driver, meta::dns_subdomain(&driver.to_lowercase()));
            if let Some(r) = s.get("nodePublishSecretRef").filter(|r| !r.is_null()) {
                let name = json::text(r, "name");
                if name.is_empty() {
                    e.required(&format!("{path}.nodePublishSecretRef.name"), "");
                } else {
                    e.names(&format!("{path}.name"), name, meta::dns_subdomain(name));
                }
            }
        }
        "ephemeral" => {
            if let Some(t) = s.get("volumeClaimTemplate").filter(|t| !t.is_null()) {
                claim_template(&format!("{path}.volumeClaimTemplate"), t, e);
            }
        }
        "image" => {
            // In a template, a controller may still fill it in.
            if is_pod && json::text(s, "reference").is_empty() {
                e.required(&format!("{path}.reference"), "");
            }
            e.one_of(&format!("{path}.pullPolicy"), json::text(s, "pullPolicy"), &["Always", "IfNotPresent", "Never"]);
        }
        _ => {}
    }
}

fn ephemeral_name(at: &str, pod_name: &str, name: &str, e: &mut Errors) {
    if pod_name.is_empty() || name.is_empty() {
        return;
    }
    let claim = format!("{pod_name}-{name}");
    for w in meta::dns_subdomain(&claim) {
        e.invalid_text(&format!("{at}.name"), name, &format!("PVC name {claim:?}: {w}"));
    }
}

fn claim_template(path: &str, t: &Value, e: &mut Errors) {
    super::metadata::of_template(&format!("{path}.metadata"), &t["metadata"], e);
    claims::spec(&format!("{path}.spec"), &t["spec"], e);
}

/// A mode of files.
pub(crate) fn file_mode(path: &str, mode: Option<&Value>, e: &mut Errors) {
    if let Some(n) = mode.and_then(Value::as_i64).filter(|n| !(0..=0o777).contains(n)) {
        e.invalid(path, &n.into(), "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

/// A key and where it goes.
pub(crate) fn key_to_path(path: &str, item: &Value, e: &mut Errors) {
    for k in ["key", "path"] {
        if json::text(item, k).is_empty() {
            e.required(&format!("{path}.{k}"), "");
        }
    }
    local_path(&format!("{path}.path"), json::text(item, "path"), e);
    file_mode(&format!("{path}.mode"), item.get("mode"), e);
}

/// A path that does not start at the root and does not lead upwards.
pub(crate) fn descending_path(path: &str, p: &str, e: &mut Errors) {
    if p.starts_with('/') {
        e.invalid_text(path, p, "must be a relative path");
    }
    no_backsteps(path, p, e);
}

/// A path that does not lead upwards.
pub(crate) fn no_backsteps(path: &str, p: &str, e: &mut Errors) {
    if p.split('/').any(|part| part == "..") {
        e.invalid_text(path, p, "must not contain '..'");
    }
}

/// A descending path that does not start with dots that nodes keep for themselves.
pub(crate) fn local_path(path: &str, p: &str, e: &mut Errors) {
    descending_path(path, p, e);
    if p.starts_with("..") && !p.starts_with("../") {
        e.invalid_text(path, p, "must not start with '..'");
    }
}

/// A label selector of a source.
pub(crate) fn source_selector(path: &str, s: Option<&Value>, e: &mut Errors) {
    if let Some(s) = s {
        selectors::label_selector(path, s, e);
    }
}
