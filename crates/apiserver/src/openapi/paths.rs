//! The `paths` of OpenAPI documents: what may be sent where. Clients read from them which kind a resource has and which query
//! parameters a server understands (`dryRun`, `fieldValidation`).

use serde_json::{Map, Value, json};

use super::names;
use super::schemas::{Dialect, Schemas};
use crate::registry::Resource;

/// Adds the paths of a resource to `paths`, and the schemas that they name to `schemas`.
pub(super) fn add(paths: &mut Map<String, Value>, schemas: &mut Schemas<'_>, dialect: Dialect, resource: &Resource) {
    let root = match resource.group.as_str() {
        "" => format!("/api/{}", resource.version),
        group => format!("/apis/{group}/{}", resource.version),
    };
    let place = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
    let collection = format!("{root}{place}/{}", resource.plural);
    let item = format!("{collection}/{{name}}");
    let own = Kind { group: &resource.group, version: &resource.version, kind: &resource.kind };
    let object = names::of_kind(resource, &resource.kind);
    let list = names::of_kind(resource, &resource.list_kind);
    let has = |verb: &str| resource.has_verb(verb);

    let write = Operations { dialect, schemas, kind: own, body: &object, custom: resource.custom };
    let mut at_collection = Map::new();
    if has("list") {
        at_collection.insert("get".into(), write.read("list", &list, LIST_PARAMETERS));
    }
    if has("create") {
        at_collection.insert("post".into(), write.write("post", WRITE_PARAMETERS));
    }
    if has("deletecollection") {
        at_collection.insert("delete".into(), write.delete("deletecollection"));
    }
    let mut at_item = Map::new();
    if has("get") {
        at_item.insert("get".into(), write.read("get", &object, &[]));
    }
    if has("update") {
        at_item.insert("put".into(), write.write("put", WRITE_PARAMETERS));
    }
    if has("patch") {
        at_item.insert("patch".into(), write.patch());
    }
    if has("delete") {
        at_item.insert("delete".into(), write.delete("delete"));
    }
    if resource.namespaced && has("list") {
        let all = json!({"get": write.read("list", &list, LIST_PARAMETERS)});
        paths.insert(format!("{root}/{}", resource.plural), all);
    }
    with_parameters(&mut at_collection, dialect, resource.namespaced, false);
    paths.insert(collection, Value::Object(at_collection));
    if !at_item.is_empty() {
        with_parameters(&mut at_item, dialect, resource.namespaced, true);
        paths.insert(item.clone(), Value::Object(at_item));
    }
    for sub in &resource.subresources {
        let (group, version) = match &sub.group_version {
            Some((group, version)) => (group.as_str(), version.as_str()),
            None => (resource.group.as_str(), resource.version.as_str()),
        };
        let table_name = if group.is_empty() { format!("{version}.{}", sub.kind) } else { format!("{group}/{version}.{}", sub.kind) };
        // A subresource of a kind that has no schema (proxy, exec, ...) is no place for documents.
        let body = match schemas.add(&table_name) {
            Some(name) => {
                schemas.mark_kind(&name, group, version, &sub.kind);
                name
            }
            None if sub.kind == resource.kind => object.clone(),
            None => continue,
        };
        let kind = Kind { group, version, kind: &sub.kind };
        let operations = Operations { dialect, schemas, kind, body: &body, custom: resource.custom };
        let mut at_sub = Map::new();
        for verb in &sub.verbs {
            let (method, operation) = match verb.as_str() {
                "get" => ("get", operations.read("get", &body, &[])),
                "create" => ("post", operations.write("post", WRITE_PARAMETERS)),
                "update" => ("put", operations.write("put", WRITE_PARAMETERS)),
                "patch" => ("patch", operations.patch()),
                _ => continue,
            };
            at_sub.insert(method.into(), operation);
        }
        with_parameters(&mut at_sub, dialect, resource.namespaced, true);
        paths.insert(format!("{item}/{}", sub.name), Value::Object(at_sub));
    }
}

const WRITE_PARAMETERS: &[(&str, &str)] = &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const LIST_PARAMETERS: &[(&str, &str)] = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const DELETE_PARAMETERS: &[(&str, &str)] = &[("dryRun", "string"), ("gracePeriodSeconds", "integer"), ("propagationPolicy", "string")];
/// What a built-in resource can be patched with; custom ones do not know the strategic one.
const PATCH_TYPES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

struct Kind<'a> {
    group: &'a str,
    version: &'a str,
    kind: &'a str,
}

struct Operations<'a, 'b> {
    dialect: Dialect,
    schemas: &'a Schemas<'b>,
    kind: Kind<'a>,
    body: &'a str,
    custom: bool,
}

impl Operations<'_, '_> {
    fn read(&self, action: &str, answer: &str, query: &[(&str, &str)]) -> Value {
        self.operation(action, self.schemas.reference(answer), query, None)
    }

    fn write(&self, action: &str, query: &[(&str, &str)]) -> Value {
        let body = self.schemas.reference(self.body);
        self.operation(action, body.clone(), query, Some((&["*/*"], body)))
    }

    fn patch(&self) -> Value {
        let query: Vec<_> = WRITE_PARAMETERS.iter().copied().chain([("force", "boolean")]).collect();
        let types: Vec<&str> = PATCH_TYPES.into_iter().filter(|ty| !self.custom || !ty.contains("strategic")).collect();
        self.operation("patch", self.schemas.reference(self.body), &query, Some((&types, json!({"type": "object"}))))
    }

    fn delete(&self, action: &str) -> Value {
        let query: Vec<_> =
            DELETE_PARAMETERS.iter().chain(LIST_PARAMETERS.iter().filter(|_| action == "deletecollection")).copied().collect();
        self.operation(action, json!({"type": "object"}), &query, None)
    }

    fn operation(&self, action: &str, answer: Value, query: &[(&str, &str)], body: Option<(&[&str], Value)>) -> Value {
        let Kind { group, version, kind } = self.kind;
        let mut parameters: Vec<Value> = query.iter().map(|(name, ty)| parameter(self.dialect, name, "query", ty)).collect();
        let mut operation = json!({
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {"group": group, "kind": kind, "version": version},
        });
        match self.dialect {
            Dialect::V3 => {
                operation["responses"] = json!({"200": {"description": "OK", "content": {"application/json": {"schema": answer}}}});
                if let Some((types, schema)) = body {
                    let content: Map<String, Value> = types.iter().map(|ty| ((*ty).to_owned(), json!({"schema": schema}))).collect();
                    operation["requestBody"] = json!({"content": content});
                }
            }
            Dialect::V2 => {
                operation["responses"] = json!({"200": {"description": "OK", "schema": answer}});
                if let Some((types, schema)) = body {
                    operation["consumes"] = types.to_vec().into();
                    parameters.insert(0, json!({"name": "body", "in": "body", "required": true, "schema": schema}));
                }
            }
        }
        if !parameters.is_empty() {
            operation["parameters"] = parameters.into();
        }
        operation
    }
}

fn parameter(dialect: Dialect, name: &str, place: &str, ty: &str) -> Value {
    match dialect {
        Dialect::V3 => json!({"name": name, "in": place, "schema": {"type": ty, "uniqueItems": true}}),
        Dialect::V2 => json!({"name": name, "in": place, "type": ty, "uniqueItems": true}),
    }
}

fn with_parameters(path: &mut Map<String, Value>, dialect: Dialect, namespaced: bool, named: bool) {
    let mut parameters = Vec::new();
    for (name, is) in [("name", named), ("namespace", namespaced)] {
        if is {
            let mut parameter = parameter(dialect, name, "path", "string");
            parameter["required"] = true.into();
            parameters.push(parameter);
        }
    }
    if !parameters.is_empty() {
        path.insert("parameters".into(), parameters.into());
    }
}
