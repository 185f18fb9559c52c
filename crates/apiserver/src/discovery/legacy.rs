//! Discovery as it always was: a list of versions, a list of groups, a list of resources per group and version.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::Server;
use crate::registry::{Resource, Subresource};

/// Verbs of custom resources, in the order in which a real server lists them.
const CUSTOM_VERBS: [&str; 8] = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];

/// `/api`.
pub(super) fn core_versions(server: &Arc<Server>) -> Value {
    let address = match server.options().advertise {
        Some((ip, port)) => format!("{ip}:{port}"),
        None => "127.0.0.1:6443".to_owned(),
    };
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// `/apis`.
pub(super) fn groups(server: &Arc<Server>) -> Value {
    let groups = server.registry().group_versions();
    let groups: Vec<Value> = groups.iter().filter(|(name, _)| !name.is_empty()).map(|(name, versions)| describe(name, versions)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/GROUP`; `None`: no such group.
pub(super) fn group(server: &Arc<Server>, name: &str) -> Option<Value> {
    let groups = server.registry().group_versions();
    let (name, versions) = groups.iter().find(|(group, _)| group == name && !name.is_empty())?;
    let mut document = json!({"kind": "APIGroup", "apiVersion": "v1"});
    if let (Some(document), Value::Object(described)) = (document.as_object_mut(), describe(name, versions)) {
        document.extend(described);
    }
    Some(document)
}

fn describe(name: &str, versions: &[String]) -> Value {
    let version = |v: &String| json!({"groupVersion": format!("{name}/{v}"), "version": v});
    let all: Vec<Value> = versions.iter().map(version).collect();
    json!({"name": name, "versions": all, "preferredVersion": versions.first().map(version)})
}

/// `/api/v1` and `/apis/GROUP/VERSION`; `None`: no such version.
pub(super) fn resources(server: &Arc<Server>, group: &str, version: &str) -> Option<Value> {
    let mut of_version: Vec<Arc<Resource>> =
        server.registry().served().into_iter().filter(|r| r.group == group && r.version == version).collect();
    of_version.sort_by(|a, b| a.plural.cmp(&b.plural));
    if of_version.is_empty() {
        return None;
    }
    let mut list: Vec<Value> = Vec::new();
    for resource in of_version {
        list.push(resource_row(&resource));
        list.extend(subresources(&resource).into_iter().map(|sub| subresource_row(&resource, sub)));
    }
    let mut document = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": list});
    match group {
        // The oldest list of all says no apiVersion.
        "" => document.as_object_mut().map(|d| d.remove("apiVersion")),
        group => document.as_object_mut().map(|d| d.insert("groupVersion".into(), format!("{group}/{version}").into())),
    };
    Some(document)
}

/// Verbs in the order in which a real server lists them.
pub(super) fn verbs(resource: &Resource) -> Vec<String> {
    let mut verbs = resource.verbs.clone();
    if resource.custom {
        verbs.sort_by_key(|verb| CUSTOM_VERBS.iter().position(|v| v == verb));
    } else {
        verbs.sort();
    }
    verbs
}

/// Subresources in the order in which a real server lists them: by name, custom resources' status before their scale.
pub(super) fn subresources(resource: &Resource) -> Vec<&Subresource> {
    let mut subs: Vec<&Subresource> = resource.subresources.iter().collect();
    if resource.custom {
        subs.sort_by_key(|sub| sub.name != "status");
    }
    subs
}

fn resource_row(resource: &Resource) -> Value {
    let mut row = Map::new();
    row.insert("name".into(), resource.plural.clone().into());
    row.insert("singularName".into(), resource.singular.clone().into());
    row.insert("namespaced".into(), resource.namespaced.into());
    row.insert("kind".into(), resource.kind.clone().into());
    row.insert("verbs".into(), verbs(resource).into());
    for (key, names) in [("shortNames", &resource.short_names), ("categories", &resource.categories)] {
        if !names.is_empty() {
            row.insert(key.into(), names.clone().into());
        }
    }
    Value::Object(row)
}

fn subresource_row(resource: &Resource, sub: &Subresource) -> Value {
    let mut row = Map::new();
    row.insert("name".into(), format!("{}/{}", resource.plural, sub.name).into());
    row.insert("singularName".into(), "".into());
    row.insert("namespaced".into(), resource.namespaced.into());
    if let Some((group, version)) = &sub.group_version {
        row.insert("group".into(), group.clone().into());
        row.insert("version".into(), version.clone().into());
    }
    row.insert("kind".into(), sub.kind.clone().into());
    row.insert("verbs".into(), sub.verbs.clone().into());
    Value::Object(row)
}
