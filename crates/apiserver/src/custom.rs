//! Custom resources: a definition becomes rows of the registry and a schema, and from then on its objects take the way of all others.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use serde_json::{Map, Value, json};

use crate::json;
use crate::kinds::{Env, Errors};
use crate::meta;
use crate::registry::{Generation, Resource, Subresource};
use crate::schema::{Field, ListType, Schema, StructId, StructType, Ty};
use crate::server::Server;
use crate::write;

/// A custom schema: compiled, and as its definition states it.
pub(crate) struct CustomSchema {
    pub(crate) schema: Arc<Schema>,
    pub(crate) root: StructId,
    pub(crate) stated: Value,
    /// `additionalPrinterColumns`.
    pub(crate) columns: Vec<Value>,
}

/// The status of a fresh definition.
pub(crate) fn first_status(doc: &mut Value) {
    let stored = json::list(doc, "spec.versions").iter().find(|v| v["storage"] == true).map(|v| v["name"].clone());
    doc["status"] = json!({
        "conditions": null, "acceptedNames": {"plural": "", "kind": ""},
        "storedVersions": stored.map_or(Value::Null, |s| json!([s])),
    });
}

/// Told of every commit of a definition.
pub(crate) fn committed(server: &Server, r: &Resource, doc: &Value, deleted: bool) {
    let (group, plural) = (json::text(doc, "spec.group").to_owned(), json::text(doc, "spec.names.plural").to_owned());
    if deleted {
        forget(server, &group, &plural);
        return;
    }
    let mut rows = Vec::new();
    let storage = json::list(doc, "spec.versions").iter().find(|v| v["storage"] == true).map(|v| json::text(v, "name").to_owned());
    for v in json::list(doc, "spec.versions") {
        let row = row(doc, v, storage.as_deref().unwrap_or(""));
        let stated = v["schema"]["openAPIV3Schema"].clone();
        let (schema, root) = compile(&stated);
        let columns = json::list(v, "additionalPrinterColumns").to_vec();
        server.custom.lock().unwrap_or_else(PoisonError::into_inner).insert(
            format!("{group}/{}/{plural}", row.version),
            Arc::new(CustomSchema { schema: Arc::new(schema), root, stated, columns }),
        );
        rows.push(row);
    }
    server.registry.insert(rows);
    if json::list(doc, "status.conditions").is_empty() {
        establish(server, r, doc.clone());
    }
}

/// What the reference's controllers find out a moment later.
fn establish(server: &Server, r: &Resource, mut doc: Value) {
    let now = meta::seconds(server.options.clock.now());
    doc["status"]["acceptedNames"] = doc["spec"]["names"].clone();
    let condition = |kind: &str, reason: &str, text: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now, "reason": reason, "message": text});
    doc["status"]["conditions"] = json!([
        condition("NamesAccepted", "NoConflicts", "no conflicts found"),
        condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    ]);
    let key = json::text(&doc, "metadata.name").to_owned();
    write::commit(server, r, &key, doc, false);
}

fn forget(server: &Server, group: &str, plural: &str) {
    let log = format!("{group}/{plural}");
    // Objects go with their definition.
    let rows: Vec<Arc<Resource>> =
        server.registry.served().into_iter().filter(|r| r.custom && r.group == group && r.plural == plural).collect();
    if let Some(r) = rows.iter().find(|r| r.hub.is_none()) {
        let (_, items) = server.store.list(&log, "");
        for s in items {
            if let Ok(doc) = serde_json::from_slice::<Value>(&s.bytes) {
                write::commit(server, r, &s.key, doc, true);
            }
        }
    }
    server.registry.remove(group, plural);
    let end = format!("/{plural}");
    let start = format!("{group}/");
    server.custom.lock().unwrap_or_else(PoisonError::into_inner).retain(|k, _| !(k.starts_with(&start) && k.ends_with(&end)));
}

fn row(doc: &Value, v: &Value, storage: &str) -> Resource {
    let names = &doc["spec"]["names"];
    let texts = |k: &str| json::list(names, k).iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let group = json::text(doc, "spec.group").to_owned();
    let version = json::text(v, "name").to_owned();
    let kind = json::text(names, "kind").to_owned();
    let sub = |name: &str, kind: &str, gv: Option<(&str, &str)>| Subresource {
        name: name.to_owned(),
        kind: kind.to_owned(),
        group_version: gv.map(|(g, v)| (g.to_owned(), v.to_owned())),
        verbs: ["get", "patch", "update"].map(str::to_owned).to_vec(),
    };
    let mut subresources = Vec::new();
    let subs = &v["subresources"];
    if json::text(subs, "scale.specReplicasPath") == ".spec.replicas" {
        subresources.push(sub("scale", "Scale", Some(("autoscaling", "v1"))));
    }
    if subs.get("status").is_some() {
        subresources.push(sub("status", &kind, None));
    }
    Resource {
        list_kind: json::text(names, "listKind").to_owned(),
        plural: json::text(names, "plural").to_owned(),
        singular: json::text(names, "singular").to_owned(),
        short_names: texts("shortNames"),
        categories: texts("categories"),
        namespaced: json::text(doc, "spec.scope") == "Namespaced",
        verbs: ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"].map(str::to_owned).to_vec(),
        subresources,
        generation: Generation::AllButMeta,
        is_virtual: false,
        graceful: false,
        orphans_by_default: false,
        returns_deleted: false,
        served: v["served"].as_bool().unwrap_or(false),
        hub: (version != storage).then(|| (group.clone(), storage.to_owned())),
        custom: true,
        storage_version: version == storage,
        group,
        version,
        kind,
    }
}

/// Makes nodes of a stated schema.
fn compile(stated: &Value) -> (Schema, StructId) {
    let mut c = Compiler { structs: Vec::new(), imported: BTreeMap::new() };
    let meta_id = Schema::builtin().find("meta/v1.ObjectMeta").map(|id| c.import(id));
    let root = match c.ty(stated) {
        Ty::Struct(id) => id,
        // No schema, or one that keeps everything.
        _ => c.object(&Map::new(), true),
    };
    let mut fields = vec![plain("kind", Ty::Str), plain("apiVersion", Ty::Str)];
    if let Some(id) = meta_id {
        fields.push(plain("metadata", Ty::Struct(id)));
    }
    fields.extend(c.structs[root].fields.drain(..).filter(|f| !matches!(&*f.name, "kind" | "apiVersion" | "metadata")));
    c.structs[root].fields = fields;
    c.structs[root].index = c.structs[root].fields.iter().enumerate().map(|(i, f)| (f.name.clone(), i)).collect();
    let mut structs = c.structs;
    crate::schema::mark_defaults(&mut structs);
    (Schema { structs, by_name: BTreeMap::new() }, root)
}

struct Compiler {
    structs: Vec<StructType>,
    imported: BTreeMap<StructId, StructId>,
}

fn plain(name: &str, ty: Ty) -> Field {
    Field {
        name: Arc::from(name),
        ty,
        // What a custom object says is kept as said: no zero values come or go.
        pointer: true,
        omit_empty: true,
        omit_zero: false,
        list_type: ListType::Atomic,
        list_keys: Vec::new(),
        atomic: false,
        patch_merge: false,
        patch_retain_keys: false,
        patch_key: None,
        default: None,
    }
}

impl Compiler {
    /// Copies a built-in type with all that it refers to.
    fn import(&mut self, id: StructId) -> StructId {
        if let Some(have) = self.imported.get(&id) {
            return *have;
        }
        let new = self.structs.len();
        self.imported.insert(id, new);
        self.structs.push(Schema::builtin().get(id).clone());
        for i in 0..self.structs[new].fields.len() {
            let ty = self.structs[new].fields[i].ty.clone();
            let ty = self.import_ty(ty);
            self.structs[new].fields[i].ty = ty;
        }
        new
    }

    fn import_ty(&mut self, ty: Ty) -> Ty {
        match ty {
            Ty::Struct(id) => Ty::Struct(self.import(id)),
            Ty::List(t) => Ty::List(Box::new(self.import_ty(*t))),
            Ty::Map(t) => Ty::Map(Box::new(self.import_ty(*t))),
            other => other,
        }
    }

    fn ty(&mut self, s: &Value) -> Ty {
        let flag = |k: &str| s[k].as_bool() == Some(true);
        if flag("x-kubernetes-int-or-string") {
            return Ty::IntOrString;
        }
        match json::text(s, "type") {
            "string" => Ty::Str,
            "boolean" => Ty::Bool,
            "integer" => Ty::Int64,
            "number" => Ty::Float,
            "array" => Ty::List(Box::new(self.ty(&s["items"]))),
            "object" => {
                let open = flag("x-kubernetes-preserve-unknown-fields");
                match (s.get("properties").and_then(Value::as_object), s.get("additionalProperties")) {
                    (Some(p), _) => Ty::Struct(self.object(p, open)),
                    (None, Some(a)) if a.is_object() => Ty::Map(Box::new(self.ty(a))),
                    (None, Some(a)) if a.as_bool() == Some(true) => Ty::Raw,
                    _ if open => Ty::Raw,
                    _ => Ty::Struct(self.object(&Map::new(), false)),
                }
            }
            _ => Ty::Raw,
        }
    }

    fn object(&mut self, properties: &Map<String, Value>, open: bool) -> StructId {
        let id = self.structs.len();
        self.structs.push(StructType {
            name: String::new(),
            fields: Vec::new(),
            index: BTreeMap::new(),
            has_defaults: false,
            hook: None,
            open,
            atomic: false,
        });
        let mut fields = Vec::with_capacity(properties.len());
        for (name, p) in properties {
            let mut f = plain(name, self.ty(p));
            f.default = p.get("default").filter(|d| !d.is_null()).cloned();
            f.atomic = json::text(p, "x-kubernetes-map-type") == "atomic";
            match json::text(p, "x-kubernetes-list-type") {
                "set" => f.list_type = ListType::Set,
                "map" => {
                    f.list_type = ListType::Map;
                    f.list_keys = json::list(p, "x-kubernetes-list-map-keys").iter().filter_map(Value::as_str).map(Arc::from).collect();
                }
                _ => {}
            }
            fields.push(f);
        }
        self.structs[id].index = fields.iter().enumerate().map(|(i, f)| (f.name.clone(), i)).collect();
        self.structs[id].fields = fields;
        id
    }
}

/// The schema of a custom object, by what its document says of itself.
pub(crate) fn of(server: &Server, group: &str, version: &str, plural: &str) -> Option<Arc<CustomSchema>> {
    server.custom.lock().unwrap_or_else(PoisonError::into_inner).get(&format!("{group}/{version}/{plural}")).cloned()
}

/// Checks a custom object against the rules of its schema: required, enum, bounds.
pub(crate) fn validate(doc: &Value, e: &mut Errors, env: &Env<'_>) {
    let (group, version) = json::text(doc, "apiVersion").split_once('/').unwrap_or(("", ""));
    let Some(r) = env.server.registry.by_kind(group, version, json::text(doc, "kind")) else { return };
    let Some(schema) = of(env.server, group, version, &r.plural) else { return };
    check(&schema.stated, doc, "", e);
}

fn check(s: &Value, v: &Value, path: &str, e: &mut Errors) {
    let at = |k: &str| if path.is_empty() { k.to_owned() } else { format!("{path}.{k}") };
    match v {
        Value::Object(m) => {
            for k in json::list(s, "required").iter().filter_map(Value::as_str) {
                if !m.contains_key(k) {
                    e.required(&at(k), "");
                }
            }
            for (k, v) in m {
                if path.is_empty() && matches!(k.as_str(), "metadata" | "kind" | "apiVersion") {
                    continue;
                }
                match s["properties"].get(k) {
                    Some(p) => check(p, v, &at(k), e),
                    None if s["additionalProperties"].is_object() => check(&s["additionalProperties"], v, &at(k), e),
                    None => {}
                }
            }
        }
        Value::Array(l) => {
            for (i, v) in l.iter().enumerate() {
                check(&s["items"], v, &format!("{path}[{i}]"), e);
            }
        }
        Value::String(t) => {
            let n = t.chars().count() as u64;
            if s["maxLength"].as_u64().is_some_and(|max| n > max) {
                e.too_long(path, s["maxLength"].as_u64().unwrap_or(0) as usize);
            }
            if let Some(min) = s["minLength"].as_u64().filter(|min| n < *min) {
                e.invalid(path, v, &format!("{path} in body should be at least {min} chars long"));
            }
        }
        Value::Number(n) => {
            let x = n.as_f64().unwrap_or(0.0);
            if let Some(min) = s["minimum"].as_f64().filter(|m| x < *m) {
                e.invalid(path, v, &format!("{path} in body should be greater than or equal to {min}"));
            }
            if let Some(max) = s["maximum"].as_f64().filter(|m| x > *m) {
                e.invalid(path, v, &format!("{path} in body should be less than or equal to {max}"));
            }
        }
        _ => {}
    }
    let list = json::list(s, "enum");
    if !list.is_empty() && !list.contains(v) {
        let texts: Vec<String> = list.iter().map(|x| x.as_str().map_or_else(|| x.to_string(), str::to_owned)).collect();
        let refs: Vec<&str> = texts.iter().map(String::as_str).collect();
        e.unsupported(path, v.as_str().unwrap_or(&v.to_string()), &refs);
    }
}
