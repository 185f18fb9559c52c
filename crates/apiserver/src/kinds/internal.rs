//! Objects as messages show them that come from inside the reference: its unversioned types have their own names (`tables/internal.tsv`)
//! and leave nothing out.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::{Map, Value};

use crate::schema::{Field, Schema, StructId, Ty};

/// One field of an unversioned type.
enum Part {
    /// The field of that name on the wire.
    Wire(String),
    /// The field of that name one object up.
    Above(String),
    /// A field that the wire form does not have.
    Constant(Value),
    /// Embedded metadata: its fields stand among the others.
    Meta,
}

type Table = BTreeMap<String, Vec<(String, Part)>>;

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        include_str!("../../tables/internal.tsv")
            .lines()
            .filter(|l| !l.starts_with('#') && !l.is_empty())
            .map(|l| {
                let (name, fields) = l.split_once('\t').unwrap_or_else(|| panic!("internal.tsv: {l}"));
                (name.to_owned(), fields.split(' ').filter_map(read_part).collect())
            })
            .collect()
    })
}

fn read_part(text: &str) -> Option<(String, Part)> {
    let at = |mark: char| text.split_once(mark);
    if text == "@meta" {
        return Some((String::new(), Part::Meta));
    }
    if let Some((n, w)) = at('=') {
        return Some((n.to_owned(), Part::Wire(w.to_owned())));
    }
    if let Some((n, w)) = at('^') {
        return Some((n.to_owned(), Part::Above(w.to_owned())));
    }
    at(':').map(|(n, v)| (n.to_owned(), Part::Constant(serde_json::from_str(v).unwrap_or_else(|_| panic!("internal.tsv: {text}")))))
}

/// An object one level up: its type and value.
type Above<'a> = Option<(StructId, &'a Map<String, Value>)>;

/// The inside form of a value of a built-in type.
pub(crate) fn form(type_name: &str, v: &Value) -> Value {
    let schema = Schema::builtin();
    match schema.find(type_name) {
        Some(id) => value(schema, &Ty::Struct(id), v, None),
        None => v.clone(),
    }
}

/// The inside form of some fields of a value: those of an embedded type.
pub(crate) fn part(type_name: &str, v: &Value, wire_names: &[&str]) -> Value {
    let mut whole = form(type_name, v);
    let kept: Vec<&String> = table()
        .get(type_name)
        .into_iter()
        .flatten()
        .filter_map(|(go, p)| matches!(p, Part::Wire(w) if wire_names.contains(&w.as_str())).then_some(go))
        .collect();
    if let Some(m) = whole.as_object_mut() {
        m.retain(|k, _| kept.contains(&k));
    }
    whole
}

/// The inside form of a list of a built-in type.
pub(crate) fn list(type_name: &str, list: &[Value]) -> Value {
    list.iter().map(|v| form(type_name, v)).collect()
}

/// A map of texts in the order in which the reference writes maps; nothing when there is none.
pub(crate) fn texts(map: Option<&Map<String, Value>>) -> Value {
    map.map_or(Value::Null, |m| sorted(m, |v| v.clone()))
}

fn sorted(m: &Map<String, Value>, f: impl Fn(&Value) -> Value) -> Value {
    let mut keys: Vec<&String> = m.keys().collect();
    keys.sort_unstable();
    Value::Object(keys.into_iter().map(|k| (k.clone(), f(&m[k]))).collect())
}

/// Types of the meta group look the same inside and outside.
fn keeps_names(schema: &Schema, id: StructId) -> bool {
    schema.get(id).name.starts_with("meta/")
}

/// What an object of the meta group looks like: fields in the order of the type, empty ones left out.
fn outside(schema: &Schema, id: StructId, m: &Map<String, Value>) -> Map<String, Value> {
    let fields = schema.get(id).fields.iter();
    fields.filter_map(|f| Some((f.name.to_string(), value(schema, &f.ty, m.get(&*f.name)?, None)))).collect()
}

fn object(schema: &Schema, id: StructId, m: &Map<String, Value>, above: Above<'_>) -> Value {
    let st = schema.get(id);
    let mut out = Map::new();
    let here = Some((id, m));
    let put = |out: &mut Map<String, Value>, name: &str, f: &Field, from: &Map<String, Value>| {
        let v = from.get(&*f.name).filter(|v| !v.is_null());
        out.insert(name.to_owned(), field(schema, f, v, here));
    };
    match table().get(&st.name) {
        Some(parts) => {
            for (name, part) in parts {
                match part {
                    Part::Meta => metadata(schema, st.field("metadata"), m, &mut out),
                    Part::Constant(v) => {
                        out.insert(name.clone(), v.clone());
                    }
                    Part::Wire(wire) => {
                        if let Some(f) = st.field(wire) {
                            put(&mut out, name, f, m);
                        }
                    }
                    Part::Above(wire) => {
                        if let Some((owner, from)) = above
                            && let Some(f) = schema.get(owner).field(wire)
                        {
                            put(&mut out, name, f, from);
                        }
                    }
                }
            }
        }
        None => {
            for f in &st.fields {
                match &*f.name {
                    "metadata" => metadata(schema, Some(f), m, &mut out),
                    // The type is embedded, and empty inside.
                    "kind" | "apiVersion" if st.field("metadata").is_some() => {}
                    name => put(&mut out, &capital(name), f, m),
                }
            }
        }
    }
    Value::Object(out)
}

fn metadata(schema: &Schema, f: Option<&Field>, m: &Map<String, Value>, out: &mut Map<String, Value>) {
    if let (Some(Field { ty: Ty::Struct(id), .. }), Some(Value::Object(meta))) = (f, m.get("metadata")) {
        out.extend(outside(schema, *id, meta));
    }
}

fn capital(name: &str) -> String {
    let mut c = name.chars();
    c.next().map_or(String::new(), |first| first.to_uppercase().collect::<String>() + c.as_str())
}

fn field(schema: &Schema, f: &Field, v: Option<&Value>, above: Above<'_>) -> Value {
    match v {
        Some(v) => value(schema, &f.ty, v, above),
        None if f.pointer => Value::Null,
        None => match &f.ty {
            Ty::Struct(id) if !keeps_names(schema, *id) => object(schema, *id, &Map::new(), above),
            Ty::Struct(_) => Value::Object(Map::new()),
            Ty::Str => Value::from(""),
            Ty::Bool => Value::from(false),
            Ty::Int32 | Ty::Int64 | Ty::Float | Ty::IntOrString => Value::from(0),
            Ty::Quantity => Value::from("0"),
            _ => Value::Null,
        },
    }
}

fn value(schema: &Schema, ty: &Ty, v: &Value, above: Above<'_>) -> Value {
    match (ty, v) {
        (Ty::Struct(id), Value::Object(m)) if keeps_names(schema, *id) => Value::Object(outside(schema, *id, m)),
        (Ty::Struct(id), Value::Object(m)) => object(schema, *id, m, above),
        (Ty::List(t), Value::Array(l)) => l.iter().map(|v| value(schema, t, v, above)).collect(),
        (Ty::Map(t), Value::Object(m)) => sorted(m, |v| value(schema, t, v, above)),
        _ => v.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_row_of_the_table_names_a_type_and_fields_that_exist() {
        let schema = Schema::builtin();
        for (name, parts) in table() {
            let st = schema.get(schema.find(name).unwrap_or_else(|| panic!("{name}")));
            for (go, part) in parts {
                if let Part::Wire(w) = part {
                    assert!(st.field(w).is_some(), "{name} {go}={w}");
                }
            }
        }
    }

    #[test]
    fn host_flags_stand_in_the_security_context() {
        let v = form("v1.PodSpec", &json!({"hostNetwork": true, "securityContext": {"runAsUser": 1}}));
        assert_eq!(v["SecurityContext"]["HostNetwork"], true);
        assert_eq!(v["SecurityContext"]["HostPID"], false);
        assert_eq!(v["SecurityContext"]["RunAsUser"], 1);
        assert_eq!(v["DNSPolicy"], "");
        assert!(v.get("HostNetwork").is_none());
    }

    #[test]
    fn embedded_sources_are_flat_and_maps_sorted() {
        let v = form("v1.Volume", &json!({"name": "a", "secret": {"secretName": "s"}}));
        assert_eq!(v["Secret"]["SecretName"], "s");
        assert_eq!(v["HostPath"], Value::Null);
        let s = form("meta/v1.LabelSelector", &json!({"matchLabels": {"b": "1", "a": "2"}}));
        assert_eq!(s.to_string(), r#"{"matchLabels":{"a":"2","b":"1"}}"#);
    }
}
