//! Rules of metadata (apimachinery `ValidateObjectMeta`, `ValidateObjectMetaUpdate`; core adds a rule for finalizers).

use serde_json::Value;

use super::{Errors, NameRule, internal};
use crate::json;
use crate::meta;
use crate::registry::Resource;

/// Most bytes of all annotations together.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

/// Which rules a kind has for metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// Those of the core: names of finalizers are known or qualified.
    Core,
    /// Those of the machinery alone.
    Machinery,
    /// Those of the core, but the prefix of a generated name is not looked at: what is wrong with it is wrong with the name.
    Named,
}

/// Metadata as a whole.
pub(crate) fn whole(r: &Resource, rule: NameRule, flavour: Flavour, doc: &Value, e: &mut Errors) {
    let (name, prefix) = (json::text(doc, "metadata.name"), json::text(doc, "metadata.generateName"));
    if !prefix.is_empty() && flavour != Flavour::Named {
        e.names("metadata.generateName", prefix, rule(&meta::mask_trailing_dash(prefix)));
    }
    if name.is_empty() {
        e.required("metadata.name", "name or generateName is required");
    } else {
        e.names("metadata.name", name, rule(name));
    }
    let namespace = json::text(doc, "metadata.namespace");
    if r.namespaced && namespace.is_empty() {
        e.required("metadata.namespace", "");
    } else if r.namespaced {
        e.names("metadata.namespace", namespace, meta::dns_label(namespace));
    }
    e.non_negative("metadata.generation", json::int(doc, "metadata.generation"));
    common(doc, e);
    finalizers(json::list(doc, "metadata.finalizers"), e);
    known_finalizers(flavour, doc, e);
}

/// What must hold of the metadata of a resource within another: any name that is a path segment.
pub(crate) fn validate_embedded_meta(m: &Value, path: &str, e: &mut Errors) {
    for k in ["name", "generateName"] {
        let name = json::text(m, k);
        e.names(&format!("{path}.{k}"), name, meta::path_segment(name));
    }
    validate_labels(json::object(m, "labels"), &format!("{path}.labels"), e);
    validate_annotations(json::object(m, "annotations"), &format!("{path}.annotations"), e);
}

/// What must hold of the metadata that objects are made with: labels and annotations, nothing else (core `ValidateTemplateObjectMeta`).
pub(crate) fn of_template(path: &str, m: &Value, e: &mut Errors) {
    validate_annotations(json::object(m, "annotations"), &format!("{path}.annotations"), e);
    validate_labels(json::object(m, "labels"), &format!("{path}.labels"), e);
    for k in m.as_object().into_iter().flat_map(|m| m.keys()).filter(|k| !matches!(k.as_str(), "annotations" | "labels")) {
        e.forbidden(&format!("{path}.{k}"), "cannot be set");
    }
}

fn common(doc: &Value, e: &mut Errors) {
    validate_labels(json::object(doc, "metadata.labels"), "metadata.labels", e);
    validate_annotations(json::object(doc, "metadata.annotations"), "metadata.annotations", e);
    owners(json::list(doc, "metadata.ownerReferences"), e);
}

/// What must hold between the metadata of old and new.
pub(crate) fn update(flavour: Flavour, doc: &Value, old: &Value, e: &mut Errors) {
    let (new, was) = (&doc["metadata"], &old["metadata"]);
    // A finalizer cannot be added once deletion has begun.
    if was.get("deletionTimestamp").is_some() {
        let have: Vec<&str> = json::list(old, "metadata.finalizers").iter().filter_map(Value::as_str).collect();
        let mut added: Vec<&str> =
            json::list(doc, "metadata.finalizers").iter().filter_map(Value::as_str).filter(|f| !have.contains(f)).collect();
        added.sort_unstable();
        added.dedup();
        if !added.is_empty() {
            e.forbidden(
                "metadata.finalizers",
                &format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    added.iter().map(|f| format!("{f:?}")).collect::<Vec<_>>().join(", ")
                ),
            );
        }
    }
    for k in ["name", "namespace", "uid", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        e.immutable(&format!("metadata.{k}"), new.get(k), was.get(k));
    }
    common(doc, e);
    known_finalizers(flavour, doc, e);
}

/// What the server looks at on every update before the kind does.
pub(crate) fn before_update(r: &Resource, doc: &Value, old: &Value, e: &mut Errors) {
    whole(r, meta::path_segment, Flavour::Machinery, doc, e);
    update(Flavour::Machinery, doc, old, e);
}

/// What the server looks at on every create after the kind has found nothing.
pub(crate) fn after_create(r: &Resource, doc: &Value, e: &mut Errors) {
    whole(r, meta::path_segment, Flavour::Machinery, doc, e);
}

/// Labels: qualified names and short values.
pub(crate) fn validate_labels(labels: Option<&serde_json::Map<String, Value>>, path: &str, e: &mut Errors) {
    for (k, v) in labels.into_iter().flatten() {
        e.names(path, k, meta::qualified_name(k));
        let v = v.as_str().unwrap_or("");
        e.names(path, v, meta::label_value(v));
    }
}

/// Annotations: qualified names, and all of them within a limit.
pub(crate) fn validate_annotations(map: Option<&serde_json::Map<String, Value>>, path: &str, e: &mut Errors) {
    let mut total = 0;
    for (k, v) in map.into_iter().flatten() {
        total += k.len() + v.as_str().map_or(0, str::len);
        e.names(path, k, meta::qualified_name(&k.to_lowercase()));
    }
    if total > ANNOTATIONS_LIMIT {
        e.too_long(path, ANNOTATIONS_LIMIT);
    }
}

fn owners(owners: &[Value], e: &mut Errors) {
    let path = "metadata.ownerReferences";
    let mut controller: Option<&Value> = None;
    for o in owners {
        let get = |k: &str| json::text(o, k);
        let version = get("apiVersion");
        let (_, v) = version.split_once('/').unwrap_or(("", version));
        if v.is_empty() || v.contains('/') {
            e.invalid_text(&format!("{path}.apiVersion"), version, "version must not be empty");
        }
        for k in ["kind", "name", "uid"] {
            if get(k).is_empty() {
                e.invalid_text(&format!("{path}.{k}"), "", "must not be empty");
            }
        }
        if version == "v1" && get("kind") == "Event" {
            e.invalid(path, &internal::form("meta/v1.OwnerReference", o), "/v1, Kind=Event is disallowed from being an owner");
        }
        if o["controller"].as_bool() == Some(true) {
            match controller {
                None => controller = Some(o),
                Some(first) => e.invalid(
                    path,
                    &internal::list("meta/v1.OwnerReference", owners),
                    &format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {}/{} and {}/{}",
                        json::text(first, "kind"),
                        json::text(first, "name"),
                        get("kind"),
                        get("name")
                    ),
                ),
            }
        }
    }
}

fn finalizers(list: &[Value], e: &mut Errors) {
    let path = "metadata.finalizers";
    let has = |name: &str| list.iter().any(|f| f == name);
    for f in list {
        let f = f.as_str().unwrap_or("");
        e.names(path, f, meta::qualified_name(f));
    }
    if has("orphan") && has("foregroundDeletion") {
        e.invalid(path, &Value::from(list.to_vec()), "finalizer orphan and foregroundDeletion cannot be both set");
    }
}

fn known_finalizers(flavour: Flavour, doc: &Value, e: &mut Errors) {
    if flavour == Flavour::Machinery {
        return;
    }
    for (i, f) in json::list(doc, "metadata.finalizers").iter().enumerate() {
        finalizer(&format!("metadata.finalizers[{i}]"), f.as_str().unwrap_or(""), e);
    }
}

/// A finalizer that is not qualified must be a known one.
pub(crate) fn finalizer(path: &str, f: &str, e: &mut Errors) {
    if !f.contains('/') && !matches!(f, "orphan" | "foregroundDeletion" | "kubernetes") {
        e.invalid_text(path, f, "name is neither a standard finalizer name nor is it fully qualified");
    }
}
