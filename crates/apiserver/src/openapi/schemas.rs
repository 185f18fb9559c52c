//! Schemas of types, in the dialect of OpenAPI v3 or v2, made from the tables of types.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::descriptions::Descriptions;
use super::{facts, names};
use crate::registry::Resource;
use crate::schema::{Field, ListType, Schema, StructId, Ty};

/// Which OpenAPI a document is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    V2,
    V3,
}

impl Dialect {
    fn reference(self, name: &str) -> String {
        match self {
            Dialect::V2 => format!("#/definitions/{name}"),
            Dialect::V3 => format!("#/components/schemas/{name}"),
        }
    }
}

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";

/// Schemas that were asked for so far, with everything they refer to.
pub(super) struct Schemas<'a> {
    dialect: Dialect,
    descriptions: &'a Descriptions,
    types: &'static Schema,
    done: BTreeMap<String, Value>,
    seen: BTreeSet<StructId>,
    /// The schema of a free-form value in the field at hand.
    free_form: Option<&'static str>,
}

impl<'a> Schemas<'a> {
    pub(super) fn new(dialect: Dialect, descriptions: &'a Descriptions) -> Self {
        Self { dialect, descriptions, types: Schema::builtin(), done: BTreeMap::new(), seen: BTreeSet::new(), free_form: None }
    }

    /// A reference to a schema by its OpenAPI name.
    pub(super) fn reference(&self, name: &str) -> Value {
        json!({"$ref": self.dialect.reference(name)})
    }

    /// All schemas by name.
    pub(super) fn finish(self) -> BTreeMap<String, Value> {
        self.done
    }

    /// Whether a schema of that name is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.done.contains_key(name)
    }

    /// Adds a schema made elsewhere.
    pub(super) fn insert(&mut self, name: String, schema: Value) {
        self.done.insert(name, schema);
    }

    /// Adds the type of that name in the tables (`apps/v1.Deployment`) and returns its OpenAPI name.
    pub(super) fn add(&mut self, name: &str) -> Option<String> {
        let id = self.types.find(name)?;
        Some(self.add_struct(id))
    }

    /// Says that the schema is the one of a kind.
    pub(super) fn mark_kind(&mut self, name: &str, group: &str, version: &str, kind: &str) {
        let mark = json!({"group": group, "kind": kind, "version": version});
        if let Some(Value::Object(schema)) = self.done.get_mut(name) {
            let kinds = schema.entry("x-kubernetes-group-version-kind").or_insert_with(|| json!([]));
            if let Value::Array(kinds) = kinds
                && !kinds.contains(&mark)
            {
                kinds.push(mark);
            }
        }
    }

    /// Adds the list kind of a resource and returns its OpenAPI name.
    pub(super) fn add_list(&mut self, resource: &Resource, item: &str) -> String {
        let name = names::of_kind(resource, &resource.list_kind);
        self.add_list_meta();
        let items = self.referring(item, None, false);
        let mut metadata = self.referring(&format!("{META}.ListMeta"), Some("Standard list metadata."), true);
        if self.dialect == Dialect::V2 {
            metadata = json!({"$ref": self.dialect.reference(&format!("{META}.ListMeta")), "description": "Standard list metadata."});
        }
        let schema = json!({
            "description": format!("{} is a list of {}.", resource.list_kind, resource.plural),
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": {"type": "string", "description": self.meta("apiVersion")},
                "items": {"type": "array", "items": items, "description": format!("List of {}.", resource.plural)},
                "kind": {"type": "string", "description": self.meta("kind")},
                "metadata": metadata,
            },
        });
        self.done.insert(name.clone(), schema);
        self.mark_kind(&name, &resource.group, &resource.version, &resource.list_kind);
        name
    }

    /// What the documentation says of `apiVersion` and `kind`: the same for all kinds.
    pub(super) fn meta(&self, field: &str) -> String {
        self.descriptions.of_field(&format!("{META}.DeleteOptions"), field).unwrap_or_default().to_owned()
    }

    fn add_list_meta(&mut self) {
        let name = format!("{META}.ListMeta");
        if self.has(&name) {
            return;
        }
        self.done.insert(
            name,
            json!({
                "description": "ListMeta describes metadata that lists have.",
                "type": "object",
                "properties": {
                    "continue": {"type": "string", "description": "Set when there are more items: the token that asks for them."},
                    "remainingItemCount": {"type": "integer", "format": "int64", "description": "How many items follow those of this list."},
                    "resourceVersion": {"type": "string", "description": "The version that the list shows."},
                    "selfLink": {"type": "string", "description": "Deprecated: no longer set."},
                },
            }),
        );
    }

    fn add_struct(&mut self, id: StructId) -> String {
        let types = self.types;
        let ty = types.get(id);
        let name = names::of_type(&ty.name);
        if !self.seen.insert(id) {
            return name;
        }
        let mut properties = Map::new();
        let mut required: Vec<&str> = Vec::new();
        let mut fields: Vec<&Field> = ty.fields.iter().collect();
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        for field in fields {
            let description = self.descriptions.of_field(&name, &field.name).map(str::to_owned);
            self.free_form = facts::free_form(&name, &field.name);
            properties.insert(field.name.to_string(), self.property(field, description.as_deref()));
            if !field.omit_empty && !field.omit_zero {
                required.push(&field.name);
            }
        }
        let mut schema = Map::new();
        if let Some(description) = self.descriptions.of_type(&name) {
            schema.insert("description".into(), description.into());
        }
        schema.insert("type".into(), "object".into());
        if !required.is_empty() {
            schema.insert("required".into(), required.into());
        }
        if !properties.is_empty() {
            schema.insert("properties".into(), properties.into());
        }
        if ty.open {
            schema.insert("x-kubernetes-preserve-unknown-fields".into(), true.into());
        }
        facts::apply(&name, &mut schema);
        // An earlier mark of being atomic stays.
        if let Some(Value::Object(before)) = self.done.remove(&name) {
            schema.extend(before);
        }
        self.done.insert(name.clone(), Value::Object(schema));
        name
    }

    fn property(&mut self, field: &Field, description: Option<&str>) -> Value {
        let stated = !field.pointer && !field.omit_empty;
        let mut schema = self.of_type(&field.ty, description, !field.pointer, stated);
        let Value::Object(map) = &mut schema else { return schema };
        if let Some(default) = &field.default {
            map.insert("default".into(), default.clone());
        }
        match field.ty {
            Ty::List(_) => {
                let list_type = match field.list_type {
                    ListType::Atomic => "atomic",
                    ListType::Set => "set",
                    ListType::Map => "map",
                };
                map.insert("x-kubernetes-list-type".into(), list_type.into());
                if !field.list_keys.is_empty() {
                    let keys: Vec<Value> = field.list_keys.iter().map(|key| Value::from(key.as_ref())).collect();
                    map.insert("x-kubernetes-list-map-keys".into(), keys.into());
                }
            }
            Ty::Map(_) if field.atomic => {
                map.insert("x-kubernetes-map-type".into(), "atomic".into());
            }
            Ty::Struct(id) if field.atomic => self.mark_atomic(id),
            _ => {}
        }
        let Value::Object(map) = &mut schema else { return schema };
        if let Some(key) = &field.patch_key {
            map.insert("x-kubernetes-patch-merge-key".into(), key.as_ref().into());
        }
        let strategy: Vec<&str> = [(field.patch_merge, "merge"), (field.patch_retain_keys, "retainKeys")]
            .iter()
            .filter(|(is, _)| *is)
            .map(|(_, word)| *word)
            .collect();
        if !strategy.is_empty() {
            map.insert("x-kubernetes-patch-strategy".into(), strategy.join(",").into());
        }
        schema
    }

    /// Objects that server-side apply takes as a whole say so at their type.
    fn mark_atomic(&mut self, id: StructId) {
        let name = names::of_type(&self.types.get(id).name);
        let schema = self.done.entry(name).or_insert_with(|| json!({}));
        schema["x-kubernetes-map-type"] = "atomic".into();
    }

    /// The schema of a value. `whole`: it is a value, not a pointer to one; `stated`: a zero would be written out.
    fn of_type(&mut self, ty: &Ty, description: Option<&str>, whole: bool, stated: bool) -> Value {
        let plain = |kind: &str, format: Option<&str>, zero: Value| {
            let mut schema = Map::new();
            if let Some(description) = description {
                schema.insert("description".into(), description.into());
            }
            schema.insert("type".into(), kind.into());
            if let Some(format) = format {
                schema.insert("format".into(), format.into());
            }
            if stated && self.dialect == Dialect::V3 {
                schema.insert("default".into(), zero);
            }
            Value::Object(schema)
        };
        match ty {
            Ty::Str => plain("string", None, "".into()),
            Ty::Bool => plain("boolean", None, false.into()),
            Ty::Int32 => plain("integer", Some("int32"), 0.into()),
            Ty::Int64 => plain("integer", Some("int64"), 0.into()),
            Ty::Float => plain("number", Some("double"), 0.into()),
            Ty::Bytes => described(json!({"type": "string", "format": "byte"}), description),
            Ty::Raw => match self.free_form {
                Some(name) => self.free_form(name, description, whole),
                None => described(json!({"type": "object"}), description),
            },
            Ty::List(item) => {
                let items = self.of_type(item, None, false, false);
                described(json!({"type": "array", "items": items}), description)
            }
            Ty::Map(value) => {
                let values = self.of_type(value, None, false, false);
                described(json!({"type": "object", "additionalProperties": values}), description)
            }
            Ty::Struct(id) => {
                let name = self.add_struct(*id);
                self.referring(&name, description, whole)
            }
            Ty::Quantity => self.known(QUANTITY, description),
            Ty::IntOrString => self.known(INT_OR_STRING, description),
            Ty::Time => self.known(&format!("{META}.Time"), description),
            Ty::MicroTime => self.known(&format!("{META}.MicroTime"), description),
            Ty::Duration => self.known(&format!("{META}.Duration"), description),
        }
    }

    /// A value that is kept as it comes: an object, or anything at all.
    fn free_form(&mut self, name: &str, description: Option<&str>, whole: bool) -> Value {
        if !self.has(name) {
            let object = name.ends_with(".FieldsV1") || name.ends_with(".RawExtension");
            let schema = described(if object { json!({"type": "object"}) } else { json!({}) }, self.descriptions.of_type(name));
            self.done.insert(name.to_owned(), schema);
        }
        self.referring(name, description, whole)
    }

    /// A type that is written as text or number but has a name of its own.
    fn known(&mut self, name: &str, description: Option<&str>) -> Value {
        if !self.has(name) {
            let mut schema = match (name, self.dialect) {
                (QUANTITY, Dialect::V3) => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
                (INT_OR_STRING, Dialect::V3) => json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
                (INT_OR_STRING, Dialect::V2) => json!({"type": "string", "format": "int-or-string"}),
                (name, _) if name.ends_with("Time") => json!({"type": "string", "format": "date-time"}),
                _ => json!({"type": "string"}),
            };
            if let Some(text) = self.descriptions.of_type(name) {
                schema["description"] = text.into();
            }
            self.done.insert(name.to_owned(), schema);
        }
        self.referring(name, description, false)
    }

    /// A reference with what else is said at its place. OpenAPI v3 allows nothing beside a reference, so there it is wrapped.
    fn referring(&self, name: &str, description: Option<&str>, whole: bool) -> Value {
        let reference = self.reference(name);
        let schema = match self.dialect {
            Dialect::V2 => reference,
            Dialect::V3 if whole => json!({"allOf": [reference], "default": {}}),
            Dialect::V3 if description.is_some() => json!({"allOf": [reference]}),
            Dialect::V3 => reference,
        };
        described(schema, description)
    }
}

fn described(mut schema: Value, description: Option<&str>) -> Value {
    if let Some(description) = description {
        schema["description"] = description.into();
    }
    schema
}
