//! Whole documents, and where they are kept.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::descriptions::Descriptions;
use super::schemas::{Dialect, Schemas};
use super::{custom, gnostic, names, paths};
use crate::Server;
use crate::discovery::GIT_VERSION;
use crate::registry::Resource;

/// Documents of built-in groups that were asked for, by path: they are the same for every server of this process.
static BUILT_IN: Mutex<BTreeMap<String, Bytes>> = Mutex::new(BTreeMap::new());

/// The built-in document of that path, made when it is not there.
fn built_in(path: &str, make: impl FnOnce() -> Value) -> Bytes {
    // Made under the lock: of several clients that ask at once, one pays.
    let mut kept = BUILT_IN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(document) = kept.get(path) {
        return document.clone();
    }
    let document = encoded(&make());
    kept.insert(path.to_owned(), document.clone());
    document
}

fn encoded(document: &Value) -> Bytes {
    Bytes::from(document.to_string())
}

/// `/openapi/v3`: where each group and version has its document. The hash changes when the document does.
pub(super) fn index(server: &Arc<Server>) -> Bytes {
    let served = server.registry().served();
    let mut entries = Map::new();
    for (group, versions) in server.registry().group_versions() {
        for version in versions {
            let path = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
            let mut hash = Fnv::default();
            hash.write(env!("CARGO_PKG_VERSION"));
            for resource in served.iter().filter(|r| r.group == group && r.version == version) {
                hash.write(&format!("{resource:?}"));
                if let Some(schema) = defined_schema(server, resource) {
                    hash.write(&schema.to_string());
                }
            }
            entries.insert(path.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={}", hash.finish())}));
        }
    }
    encoded(&json!({"paths": entries}))
}

/// `/openapi/v3/PATH`; `None`: no such group or version.
pub(super) fn v3(server: &Arc<Server>, path: &str) -> Option<Bytes> {
    let segments: Vec<&str> = path.split('/').collect();
    let (group, version) = match segments.as_slice() {
        ["api", version] => ("", *version),
        ["apis", group, version] => (*group, *version),
        _ => return None,
    };
    let of_version = |r: &Arc<Resource>| r.group == group && r.version == version;
    let resources: Vec<Arc<Resource>> = server.registry().served().into_iter().filter(of_version).collect();
    if resources.is_empty() {
        return None;
    }
    let make = || {
        let descriptions = Descriptions::of_version(group, version);
        let mut schemas = Schemas::new(Dialect::V3, &descriptions);
        let mut at = Map::new();
        for resource in &resources {
            add_resource(server, &mut schemas, &mut at, Dialect::V3, resource);
        }
        json!({
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": GIT_VERSION},
            "paths": at,
            "components": {
                "schemas": schemas.finish(),
                "securitySchemes": {"BearerToken": {"type": "apiKey", "in": "header", "name": "authorization", "description": "Bearer Token authentication"}},
            },
        })
    };
    // Documents with custom resources are small, and change with their definitions.
    Some(if resources.iter().any(|r| r.custom) { encoded(&make()) } else { built_in(path, make) })
}

/// `/openapi/v2`: everything in one document.
pub(super) fn v2(server: &Arc<Server>) -> Bytes {
    encoded(&everything(server))
}

/// The same in the protobuf encoding; kept while no custom resources are served.
pub(super) fn v2_as_protobuf(server: &Arc<Server>) -> Bytes {
    if server.registry().served().iter().any(|resource| resource.custom) {
        return Bytes::from(gnostic::encode(&everything(server)));
    }
    let mut kept = BUILT_IN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    kept.entry("v2".to_owned()).or_insert_with(|| Bytes::from(gnostic::encode(&everything(server)))).clone()
}

fn everything(server: &Arc<Server>) -> Value {
    let (mut definitions, mut at) = (BTreeMap::new(), Map::new());
    let served = server.registry().served();
    for (group, versions) in server.registry().group_versions() {
        for version in versions {
            let descriptions = Descriptions::of_version(&group, &version);
            let mut schemas = Schemas::new(Dialect::V2, &descriptions);
            for resource in served.iter().filter(|r| r.group == group && r.version == version) {
                add_resource(server, &mut schemas, &mut at, Dialect::V2, resource);
            }
            definitions.extend(schemas.finish());
        }
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": GIT_VERSION},
        "paths": at,
        "definitions": definitions,
        "securityDefinitions": {"BearerToken": {"type": "apiKey", "in": "header", "name": "authorization", "description": "Bearer Token authentication"}},
        "security": [{"BearerToken": []}],
    })
}

fn add_resource(server: &Arc<Server>, schemas: &mut Schemas<'_>, at: &mut Map<String, Value>, dialect: Dialect, resource: &Resource) {
    let object = names::of_kind(resource, &resource.kind);
    if resource.custom {
        let defined = defined_schema(server, resource);
        let schema = custom::schema(schemas, dialect, resource, defined.as_ref());
        schemas.insert(object.clone(), schema);
    } else if schemas.add(&resource.schema_root()).is_none() {
        return;
    }
    schemas.mark_kind(&object, &resource.group, &resource.version, &resource.kind);
    if resource.has_verb("list") {
        schemas.add_list(resource, &object);
    }
    if resource.has_verb("delete")
        && let Some(options) = schemas.add("meta/v1.DeleteOptions")
    {
        schemas.mark_kind(&options, &resource.group, &resource.version, "DeleteOptions");
    }
    paths::add(at, schemas, dialect, resource);
}

/// `openAPIV3Schema` of a custom resource's version, read from its definition.
fn defined_schema(server: &Arc<Server>, resource: &Resource) -> Option<Value> {
    if !resource.custom {
        return None;
    }
    let name = format!("{}.{}", resource.plural, resource.group);
    let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
    let request = crate::Request {
        method: http::Method::GET,
        path,
        query: String::new(),
        headers: http::HeaderMap::new(),
        body: Bytes::new(),
        user: crate::UserInfo::admin(),
    };
    let definition = server.handle(&request).value();
    let versions = definition["spec"]["versions"].as_array()?;
    let version = versions.iter().find(|v| v["name"] == resource.version.as_str())?;
    version["schema"].get("openAPIV3Schema").cloned()
}

/// FNV-1a over 64 bits: a name for a content, no protection.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn write(&mut self, text: &str) {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Sixteen hexadecimal digits, doubled to the length that clients know.
    fn finish(&self) -> String {
        let second = self.0.rotate_left(32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!("{:016X}{second:016X}", self.0)
    }
}
