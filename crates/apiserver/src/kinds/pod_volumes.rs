//! Rules of a pod's volumes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::errors::Errors;
use crate::json;
use crate::meta;

/// Checks volumes and returns their names.
pub(crate) fn volumes(s: &Value, path: &str, e: &mut Errors) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (i, v) in json::list(s, "volumes").iter().enumerate() {
        let at = format!("{path}.volumes[{i}]");
        let name = json::text(v, "name");
        let sources: Vec<&String> =
            v.as_object().into_iter().flatten().filter(|(k, v)| *k != "name" && !v.is_null()).map(|(k, _)| k).collect();
        let order = source_order(&sources);
        for extra in order.iter().skip(1) {
            e.forbidden(&format!("{at}.{extra}"), "may not specify more than 1 volume type");
        }
        if sources.is_empty() {
            e.required(&at, "must specify a volume type");
        }
        for k in ["configMap", "secret"] {
            let field = if k == "secret" { "secretName" } else { "name" };
            if let Some(src) = v.get(k)
                && json::text(src, field).is_empty()
                && order.first().is_some_and(|f| f.as_str() == k)
            {
                e.required(&format!("{at}.{k}.{field}"), "");
            }
        }
        if let Some(h) = v.get("hostPath")
            && json::text(h, "path").is_empty()
        {
            e.required(&format!("{at}.hostPath.path"), "");
        }
        if name.is_empty() {
            e.required(&format!("{at}.name"), "");
        } else {
            e.names(&format!("{at}.name"), name, meta::dns_label(name));
            if !names.insert(name.to_owned()) {
                e.duplicate(&format!("{at}.name"), &Value::from(name));
            }
        }
    }
    names
}

/// The order in which the reference looks at the kinds of volumes: the first one found counts, the others are too many.
const SOURCES: &[&str] = &[
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

fn source_order(have: &[&String]) -> Vec<String> {
    SOURCES.iter().filter(|s| have.iter().any(|h| h.as_str() == **s)).map(|s| (*s).to_owned()).collect()
}
