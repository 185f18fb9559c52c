//! Aggregated discovery: all groups, versions and resources in one document (KEP-3352).

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::legacy;
use crate::Server;
use crate::registry::{Resource, Subresource};

/// The `APIGroupDiscoveryList` of the core group (`/api`) or of all others (`/apis`).
pub(super) fn document(server: &Arc<Server>, version: &str, core: bool) -> Value {
    let served = server.registry().served();
    let groups = server.registry().group_versions();
    let items: Vec<Value> = groups
        .iter()
        .filter(|(group, _)| group.is_empty() == core)
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions.iter().map(|version| of_version(&served, group, version)).collect();
            let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {},
        "items": items,
    })
}

fn of_version(served: &[Arc<Resource>], group: &str, version: &str) -> Value {
    let mut resources: Vec<&Arc<Resource>> = served.iter().filter(|r| r.group == group && r.version == version).collect();
    resources.sort_by(|a, b| a.plural.cmp(&b.plural));
    let resources: Vec<Value> = resources.into_iter().map(|r| of_resource(r)).collect();
    json!({"version": version, "resources": resources, "freshness": "Current"})
}

fn of_resource(resource: &Resource) -> Value {
    let mut row = Map::new();
    row.insert("resource".into(), resource.plural.clone().into());
    row.insert("responseKind".into(), response_kind(resource, None, &resource.kind));
    row.insert("scope".into(), if resource.namespaced { "Namespaced" } else { "Cluster" }.into());
    row.insert("singularResource".into(), resource.singular.clone().into());
    row.insert("verbs".into(), legacy::verbs(resource).into());
    for (key, names) in [("shortNames", &resource.short_names), ("categories", &resource.categories)] {
        if !names.is_empty() {
            row.insert(key.into(), names.clone().into());
        }
    }
    let subresources: Vec<Value> = legacy::subresources(resource).into_iter().map(|sub| of_subresource(resource, sub)).collect();
    if !subresources.is_empty() {
        row.insert("subresources".into(), subresources.into());
    }
    Value::Object(row)
}

fn of_subresource(resource: &Resource, sub: &Subresource) -> Value {
    json!({
        "subresource": sub.name,
        "responseKind": response_kind(resource, sub.group_version.as_ref(), &sub.kind),
        "verbs": sub.verbs,
    })
}

/// Built-in kinds leave out the group and version when they are those of the document's place; custom ones say them.
fn response_kind(resource: &Resource, elsewhere: Option<&(String, String)>, kind: &str) -> Value {
    let (group, version) = match elsewhere {
        Some((group, version)) => (group.as_str(), version.as_str()),
        None if resource.custom => (resource.group.as_str(), resource.version.as_str()),
        None => ("", ""),
    };
    json!({"group": group, "version": version, "kind": kind})
}
