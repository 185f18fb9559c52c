//! Rules of metadata (apimachinery `ValidateObjectMeta`, `ValidateObjectMetaUpdate`).

use serde_json::Value;

use super::{Errors, rules};
use crate::json;
use crate::meta;
use crate::registry::Resource;

/// Most bytes of all annotations together.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

/// What must hold of metadata.
pub(crate) fn validate_meta(r: &Resource, doc: &Value, e: &mut Errors) {
    let name_rule = rules(r).name;
    let (name, prefix) = (json::text(doc, "metadata.name"), json::text(doc, "metadata.generateName"));
    if !prefix.is_empty() {
        // A prefix may end in what a name may not.
        let masked = prefix.strip_suffix('-').map_or(prefix.to_owned(), |p| format!("{p}a"));
        e.names("metadata.generateName", prefix, name_rule(&masked));
    }
    if name.is_empty() {
        e.required("metadata.name", "name or generateName is required");
    } else {
        e.names("metadata.name", name, name_rule(name));
    }
    validate_common(r, doc, e);
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

fn validate_common(r: &Resource, doc: &Value, e: &mut Errors) {
    let meta = &doc["metadata"];
    if let Some(g) = meta["generation"].as_i64() {
        e.non_negative("metadata.generation", Some(g));
    }
    validate_labels(json::object(doc, "metadata.labels"), "metadata.labels", e);
    validate_annotations(json::object(doc, "metadata.annotations"), "metadata.annotations", e);
    validate_owners(json::list(doc, "metadata.ownerReferences"), e);
    validate_finalizers(r, json::list(doc, "metadata.finalizers"), e);
}

/// Labels: qualified names and short values.
pub(crate) fn validate_labels(labels: Option<&serde_json::Map<String, Value>>, path: &str, e: &mut Errors) {
    for (k, v) in labels.into_iter().flatten() {
        e.names(path, k, meta::label_key(k));
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

fn validate_owners(owners: &[Value], e: &mut Errors) {
    let path = "metadata.ownerReferences";
    let mut controller: Option<&Value> = None;
    for o in owners {
        let get = |k: &str| json::text(o, k);
        let version = get("apiVersion");
        let (_, v) = version.split_once('/').unwrap_or(("", version));
        if v.is_empty() || v.contains('/') {
            e.invalid_text(&format!("{path}.apiVersion"), version, "version must not be empty");
        }
        if get("kind").is_empty() {
            e.invalid_text(&format!("{path}.kind"), "", "must not be empty");
        }
        if get("name").is_empty() {
            e.invalid_text(&format!("{path}.name"), "", "must not be empty");
        }
        if get("uid").is_empty() {
            e.invalid_text(&format!("{path}.uid"), "", "must not be empty");
        }
        if version == "v1" && get("kind") == "Event" {
            e.invalid(path, o, "/v1, Kind=Event is disallowed from being an owner");
        }
        if o["controller"].as_bool() == Some(true) {
            match controller {
                None => controller = Some(o),
                Some(first) => e.invalid(
                    path,
                    &Value::from(owners.to_vec()),
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

fn validate_finalizers(r: &Resource, list: &[Value], e: &mut Errors) {
    let path = "metadata.finalizers";
    let (mut orphan, mut foreground) = (false, false);
    for f in list {
        let f = f.as_str().unwrap_or("");
        e.names(path, f, meta::qualified_name(f));
        orphan |= f == "orphan";
        foreground |= f == "foregroundDeletion";
        let standard = matches!(f, "orphan" | "foregroundDeletion" | "kubernetes");
        if !f.contains('/') && !standard && !r.custom {
            e.invalid_text(path, f, "name is neither a standard finalizer name nor is it fully qualified");
        }
    }
    if orphan && foreground {
        e.invalid(path, &Value::from(list.to_vec()), "finalizer orphan and foregroundDeletion cannot be both set");
    }
}

/// What must hold between the metadata of old and new. The reference looks twice, and says everything twice.
pub(crate) fn validate_meta_update(r: &Resource, doc: &Value, old: &Value, e: &mut Errors) {
    let (new, was) = (&doc["metadata"], &old["metadata"]);
    // A finalizer cannot be added once deletion has begun.
    if was.get("deletionTimestamp").is_some() {
        let have: Vec<&str> = json::list(old, "metadata.finalizers").iter().filter_map(Value::as_str).collect();
        let mut added: Vec<&str> =
            json::list(doc, "metadata.finalizers").iter().filter_map(Value::as_str).filter(|f| !have.contains(f)).collect();
        added.sort_unstable();
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
    validate_common(r, doc, e);
}
