//! Objects as messages show them that come from inside the reference: its unversioned types have their own names and leave nothing out.

use serde_json::{Map, Value};

use crate::schema::{Field, Schema, StructId, Ty};

/// The inside form of a value of a built-in type.
pub(crate) fn form(type_name: &str, v: &Value) -> Value {
    let schema = Schema::builtin();
    match (schema.find(type_name), v) {
        (Some(id), Value::Object(m)) => object(schema, id, m),
        _ => v.clone(),
    }
}

/// Types of the meta group look the same inside and outside.
fn keeps_names(schema: &Schema, id: StructId) -> bool {
    schema.get(id).name.starts_with("meta/")
}

fn object(schema: &Schema, id: StructId, m: &Map<String, Value>) -> Value {
    let mut out = Map::new();
    for f in &schema.get(id).fields {
        let v = m.get(&*f.name).filter(|v| !v.is_null());
        // Metadata is embedded: its fields stand among the others.
        if &*f.name == "metadata" {
            for (k, v) in v.and_then(Value::as_object).into_iter().flatten() {
                out.insert(k.clone(), v.clone());
            }
            continue;
        }
        out.insert(capital(&f.name), field(schema, f, v));
    }
    Value::Object(out)
}

fn capital(name: &str) -> String {
    let mut c = name.chars();
    c.next().map_or(String::new(), |first| first.to_uppercase().collect::<String>() + c.as_str())
}

fn field(schema: &Schema, f: &Field, v: Option<&Value>) -> Value {
    match v {
        Some(v) => value(schema, &f.ty, v),
        None if f.pointer => Value::Null,
        None => match &f.ty {
            Ty::Struct(id) if !keeps_names(schema, *id) => object(schema, *id, &Map::new()),
            Ty::Struct(_) => Value::Object(Map::new()),
            Ty::Str | Ty::Bytes => Value::from(""),
            Ty::Bool => Value::from(false),
            Ty::Int32 | Ty::Int64 | Ty::Float | Ty::IntOrString => Value::from(0),
            Ty::Quantity => Value::from("0"),
            _ => Value::Null,
        },
    }
}

fn value(schema: &Schema, ty: &Ty, v: &Value) -> Value {
    match (ty, v) {
        (Ty::Struct(id), Value::Object(m)) if !keeps_names(schema, *id) => object(schema, *id, m),
        (Ty::List(t), Value::Array(l)) => l.iter().map(|v| value(schema, t, v)).collect(),
        (Ty::Map(t), Value::Object(m)) => Value::Object(m.iter().map(|(k, v)| (k.clone(), value(schema, t, v))).collect()),
        _ => v.clone(),
    }
}
