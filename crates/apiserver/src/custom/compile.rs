//! From a stated schema to the nodes that server-side apply walks.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::json;
use crate::schema::{Field, ListType, Schema, StructId, StructType, Ty};

/// Makes nodes of a stated schema.
pub(super) fn compile(stated: &Value) -> (Schema, StructId) {
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
    crate::schema::mark_walks(&mut structs);
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
            walks: Default::default(),
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
