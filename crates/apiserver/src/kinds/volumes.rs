//! What drivers of volumes write: attachments, drivers of a node, free room, classes of attributes (`pkg/apis/storage/validation`).

use serde_json::{Value, json};

use super::claims::add_finalizer;
use super::errors::Errors;
use super::{ALL_META, Check, DEFAULT, Rules, internal, selectors, storage};
use crate::json;
use crate::meta;

/// Longest id that a driver may give a node.
const MAX_NODE_ID: usize = 192;

pub(crate) const VOLUME_ATTACHMENT: Rules = Rules {
    unconditional_update: false,
    on_update: &[Check::Meta, Check::Always, Check::Update],
    status_keeps_meta: ALL_META,
    validate: |doc, _, e, _| attachment(&doc["spec"], e),
    validate_update: |new, old, e, _| {
        if new["spec"] != old["spec"] {
            let shown = internal::form("storage.k8s.io/v1.VolumeAttachmentSpec", &new["spec"]);
            e.invalid("spec", &shown, "field is immutable");
        }
    },
    ..DEFAULT
};

fn attachment(s: &Value, e: &mut Errors) {
    driver_name("spec.attacher", json::text(s, "attacher"), e);
    let source = &s["source"];
    let given = |k: &str| source.get(k).filter(|v| !v.is_null());
    let one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (given("inlineVolumeSpec"), given("persistentVolumeName")) {
        (None, None) => e.required("spec.source", one),
        (Some(_), Some(_)) => e.forbidden("spec.source", one),
        (None, Some(name)) if name == "" => {
            e.required("spec.source.persistentVolumeName", "must specify non empty persistentVolumeName");
        }
        _ => {}
    }
    let node = json::text(s, "nodeName");
    e.names("spec.nodeName", node, meta::dns_subdomain(node));
    if let Some(name) = given("persistentVolumeName").and_then(Value::as_str) {
        e.names("spec.source.persistentVolumeName", name, meta::dns_subdomain(name));
    }
}

/// `ValidateCSIDriverName`; drivers of devices have such names too.
pub(super) fn driver_name(path: &str, name: &str, e: &mut Errors) {
    if name.is_empty() {
        return e.required(path, "");
    }
    if name.len() > 63 {
        e.too_long(path, 63);
    }
    e.names(path, name, meta::dns_subdomain(&name.to_lowercase()));
}

pub(crate) const CSI_NODE: Rules = Rules {
    unconditional_update: false,
    on_update: &[Check::Meta, Check::Always, Check::Update],
    validate: |doc, _, e, _| {
        let mut names = Vec::new();
        for (i, d) in json::list(&doc["spec"], "drivers").iter().enumerate() {
            csi_node_driver(&format!("spec.drivers[{i}]"), d, &mut names, e);
        }
    },
    validate_update: |new, old, e, _| {
        let but_count = |d: &Value| {
            let mut d = d.clone();
            json::take(&mut d, "allocatable");
            d
        };
        for was in json::list(&old["spec"], "drivers") {
            for is in json::list(&new["spec"], "drivers").iter().filter(|d| d["name"] == was["name"]) {
                let (is, was) = (but_count(is), but_count(was));
                if is != was {
                    e.invalid("spec.drivers", &internal::form("storage.k8s.io/v1.CSINodeDriver", &is), "field is immutable");
                }
            }
        }
    },
    ..DEFAULT
};

fn csi_node_driver<'a>(at: &str, d: &'a Value, names: &mut Vec<&'a str>, e: &mut Errors) {
    let name = json::text(d, "name");
    driver_name(&format!("{at}.name"), name, e);
    let id = json::text(d, "nodeID");
    if id.is_empty() {
        e.required(&format!("{at}.nodeID"), "");
    }
    if id.len() > MAX_NODE_ID {
        e.invalid_text(&format!("{at}.nodeID"), id, &format!("must be {MAX_NODE_ID} characters or less"));
    }
    e.non_negative(&format!("{at}.allocatable.count"), json::int(d, "allocatable.count"));
    if names.contains(&name) {
        e.duplicate(&format!("{at}.name"), &name.into());
    }
    names.push(name);
    let keys = json::list(d, "topologyKeys");
    for (i, k) in keys.iter().enumerate() {
        let key = k.as_str().unwrap_or("");
        if key.is_empty() {
            e.required(at, "");
        }
        if keys[..i].contains(k) {
            e.duplicate(at, k);
        }
        e.names(at, key, meta::qualified_name(key));
    }
}

pub(crate) const CSI_STORAGE_CAPACITY: Rules = Rules {
    unconditional_update: false,
    on_update: &[Check::Meta, Check::Always, Check::MetaUpdate, Check::Update],
    validate: |doc, _, e, _| {
        if let Some(s) = doc.get("nodeTopology").filter(|s| !s.is_null()) {
            selectors::label_selector("nodeTopology", s, e);
        }
        let class = json::text(doc, "storageClassName");
        e.names("storageClassName", class, meta::dns_subdomain(class));
        if let Some(amount) = doc.get("capacity").and_then(Value::as_str).filter(|a| a.starts_with('-')) {
            e.invalid_text("capacity", amount, "must be greater than or equal to 0");
        }
    },
    validate_update: |new, old, e, _| {
        if new.get("nodeTopology") != old.get("nodeTopology") {
            e.invalid("nodeTopology", &selectors::shown(new.get("nodeTopology")), "field is immutable");
        }
        e.immutable_text("storageClassName", new, old, "storageClassName");
    },
    ..DEFAULT
};

pub(crate) const VOLUME_ATTRIBUTES_CLASS: Rules = Rules {
    prepare_create: |doc, _| add_finalizer(doc, "kubernetes.io/vac-protection"),
    on_update: &[Check::MetaUpdate, Check::Update, Check::Meta, Check::Always],
    validate: |doc, _, e, _| {
        storage::provisioner("driverName", doc, e);
        storage::parameters(doc, e);
        if json::object(doc, "parameters").is_none_or(serde_json::Map::is_empty) {
            e.required("parameters", "must contain at least one key/value pair");
        }
    },
    validate_update: |new, old, e, _| {
        for k in ["driverName", "parameters"] {
            if new.get(k).unwrap_or(&json!("")) != old.get(k).unwrap_or(&json!("")) {
                e.forbidden(k, &format!("updates to {k} are forbidden."));
            }
        }
    },
    ..DEFAULT
};
