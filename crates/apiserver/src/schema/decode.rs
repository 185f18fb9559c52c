//! From a document as sent to a document as stored: what the schema does not know is dropped and reported, what is null or empty
//! is left out as the wire form leaves it out, amounts and times get their canonical form.

use serde_json::{Map, Number, Value};

use super::go_names::{bare, embedded, type_of};
use super::{Field, Schema, StructId, Ty};
use crate::go_text::{self, word};
use crate::go_time;
use crate::quantity::Quantity;

/// What was wrong with a document without making it useless.
#[derive(Debug, Default)]
pub struct Findings {
    /// Paths of fields that the schema does not know, in order of appearance.
    pub unknown: Vec<String>,
    /// Keep unknown fields instead of dropping them.
    pub keep_unknown: bool,
}

/// The document is not of the type: a text after the manner of the server's decoder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WrongType(pub String);

/// Where a walk is; a chain on the stack, so that it costs nothing until somebody asks.
#[derive(Clone, Copy)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    seg: Seg<'a>,
    /// The struct that the field is of.
    owner: &'a str,
}

#[derive(Clone, Copy)]
enum Seg<'a> {
    Root,
    Field(&'a str),
    Key(&'a str),
    Index(usize),
}

impl<'a> Path<'a> {
    /// The root.
    pub const ROOT: Path<'static> = Path { parent: None, seg: Seg::Root, owner: "" };

    /// A field of a struct below.
    fn field(&'a self, owner: &'a str, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), seg: Seg::Field(name), owner }
    }

    /// The value of a key below.
    fn key(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), seg: Seg::Key(name), owner: self.owner }
    }

    /// A list item below.
    fn index(&'a self, i: usize) -> Path<'a> {
        Path { parent: Some(self), seg: Seg::Index(i), owner: self.owner }
    }

    /// The innermost field, and the struct that it is of.
    fn at_field(&self) -> (&'a str, &'a str) {
        match (self.seg, self.parent) {
            (Seg::Field(name), _) => (self.owner, name),
            (_, Some(parent)) => parent.at_field(),
            (_, None) => ("", ""),
        }
    }

    /// The path as Go's decoder tells it: the innermost struct, then the fields from the root, without keys and positions.
    fn go(&self) -> String {
        let mut fields = Vec::new();
        let mut at = Some(self);
        while let Some(p) = at {
            if let Seg::Field(n) = p.seg {
                fields.push(n);
                fields.extend(embedded(bare(p.owner), n));
            }
            at = p.parent;
        }
        fields.push(bare(self.owner));
        fields.reverse();
        fields.join(".")
    }
}

impl std::fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(p) = self.parent {
            p.fmt(f)?;
            if matches!(self.seg, Seg::Field(_) | Seg::Key(_)) && !matches!(p.seg, Seg::Root) {
                f.write_str(".")?;
            }
        }
        match self.seg {
            Seg::Root => Ok(()),
            Seg::Field(n) | Seg::Key(n) => f.write_str(n),
            Seg::Index(i) => write!(f, "[{i}]"),
        }
    }
}

fn wrong<T>(v: &Value, path: &Path<'_>, want: &str) -> Result<T, WrongType> {
    let (owner, field) = path.at_field();
    let want = type_of(owner, field, want);
    Err(WrongType(format!("json: cannot unmarshal {} into Go struct field {} of type {want}", word(v), path.go())))
}

impl Schema {
    /// Decodes a document of the struct type `root`.
    pub fn decode(&self, root: StructId, doc: Value, findings: &mut Findings) -> Result<Value, WrongType> {
        match doc {
            Value::Object(map) => Ok(Value::Object(self.decode_struct(root, map, &Path::ROOT, findings)?)),
            other => wrong(&other, &Path::ROOT, "object"),
        }
    }

    fn decode_struct(
        &self,
        id: StructId,
        map: Map<String, Value>,
        path: &Path<'_>,
        findings: &mut Findings,
    ) -> Result<Map<String, Value>, WrongType> {
        let st = &self.structs[id];
        let mut out = Map::with_capacity(map.len().max(4));
        // The few keys that are there are brought into the order of the fields, not the many fields looked up.
        let (mut known, mut unknown) = (Vec::with_capacity(map.len()), Vec::new());
        for (name, value) in map {
            match st.index.get(name.as_str()) {
                Some(at) => known.push((*at, name, value)),
                None => unknown.push((name, value)),
            }
        }
        known.sort_unstable_by_key(|(at, ..)| *at);
        for (at, name, value) in known {
            let field = &st.fields[at];
            if value.is_null() {
                continue;
            }
            let value = self.decode_value(&field.ty, value, &path.field(&st.name, &field.name), findings)?;
            if field.omit_empty && !field.pointer && is_empty(&field.ty, &value) {
                continue;
            }
            out.insert(name, value);
        }
        for (name, value) in unknown {
            if !st.open {
                findings.unknown.push(path.key(&name).to_string());
            }
            if st.open || findings.keep_unknown {
                out.insert(name, value);
            }
        }
        Ok(out)
    }

    fn decode_value(&self, ty: &Ty, value: Value, path: &Path<'_>, findings: &mut Findings) -> Result<Value, WrongType> {
        match (ty, value) {
            (Ty::Struct(id), Value::Object(map)) => Ok(Value::Object(self.decode_struct(*id, map, path, findings)?)),
            (Ty::List(item), Value::Array(list)) => {
                let mut out = Vec::with_capacity(list.len());
                for (i, v) in list.into_iter().enumerate() {
                    out.push(if v.is_null() { zero(item) } else { self.decode_value(item, v, &path.index(i), findings)? });
                }
                Ok(Value::Array(out))
            }
            (Ty::Map(item), Value::Object(map)) => {
                let mut out = Map::with_capacity(map.len());
                for (k, v) in map {
                    let v = if v.is_null() { zero(item) } else { self.decode_value(item, v, &path.key(&k), findings)? };
                    out.insert(k, if **item == Ty::Quantity { thousandths(v) } else { v });
                }
                Ok(Value::Object(out))
            }
            (Ty::Raw, v) => Ok(v),
            (ty @ (Ty::Struct(_) | Ty::List(_) | Ty::Map(_)), v) => wrong(&v, path, &self.go_type(ty)),
            (ty, v) => decode_scalar(ty, v, path),
        }
    }

    /// A type as Go names it.
    fn go_type(&self, ty: &Ty) -> String {
        match ty {
            Ty::Struct(id) => {
                let name = &self.structs[*id].name;
                name.rsplit('/').next().unwrap_or(name).to_owned()
            }
            Ty::List(t) => format!("[]{}", self.go_type(t)),
            Ty::Map(t) => format!("map[string]{}", self.go_type(t)),
            Ty::Str => "string".to_owned(),
            Ty::Bool => "bool".to_owned(),
            Ty::Int32 => "int32".to_owned(),
            Ty::Int64 => "int64".to_owned(),
            Ty::Float => "float64".to_owned(),
            Ty::Quantity => "resource.Quantity".to_owned(),
            Ty::IntOrString => "intstr.IntOrString".to_owned(),
            Ty::Time => "v1.Time".to_owned(),
            Ty::MicroTime => "v1.MicroTime".to_owned(),
            Ty::Duration => "v1.Duration".to_owned(),
            Ty::Bytes => "[]uint8".to_owned(),
            Ty::Raw => "interface {}".to_owned(),
        }
    }

    /// Adds the zero values that the wire form always carries.
    pub fn add_zeros(&self, root: StructId, doc: &mut Value) {
        if let Value::Object(map) = doc {
            self.add_zeros_struct(root, map);
        }
    }

    /// Puts fields into the order of their types, in which the reference encodes them.
    pub fn order(&self, root: StructId, doc: &mut Value) {
        let Value::Object(map) = doc else { return };
        let fields = &self.structs[root].fields;
        let place = |k: &str| fields.iter().position(|f| *f.name == *k).unwrap_or(fields.len());
        let mut entries: Vec<_> = std::mem::take(map).into_iter().collect();
        entries.sort_by_key(|(k, _)| place(k));
        map.extend(entries);
        for field in fields {
            if let (Some(inner), Some(v)) = (super::load::struct_of(&field.ty), map.get_mut(&*field.name)) {
                self.order_value(&field.ty, inner, v);
            }
        }
    }

    fn order_value(&self, ty: &Ty, inner: StructId, value: &mut Value) {
        match (ty, value) {
            (Ty::Struct(_), v) => self.order(inner, v),
            (Ty::List(t), Value::Array(list)) => list.iter_mut().for_each(|v| self.order_value(t, inner, v)),
            (Ty::Map(t), Value::Object(m)) => m.values_mut().for_each(|v| self.order_value(t, inner, v)),
            _ => {}
        }
    }

    fn add_zeros_struct(&self, id: StructId, map: &mut Map<String, Value>) {
        let st = &self.structs[id];
        for at in &st.walks.zeros {
            let field = &st.fields[*at];
            match map.get_mut(&*field.name) {
                // A list that is always written comes back from the store as none when it is empty.
                Some(v) if v.as_array().is_some_and(Vec::is_empty) && always_written(field) => *v = zero_of_field(field),
                Some(v) => {
                    if let Some(inner) = super::load::struct_of(&field.ty).filter(|id| self.structs[*id].walks.has_zeros) {
                        self.add_zeros_value(&field.ty, inner, v);
                    }
                }
                None if always_written(field) => {
                    let mut v = zero_of_field(field);
                    if let (Ty::Struct(inner), Value::Object(m)) = (&field.ty, &mut v) {
                        self.add_zeros_struct(*inner, m);
                    }
                    map.insert(field.name.to_string(), v);
                }
                None => {}
            }
        }
    }

    fn add_zeros_value(&self, ty: &Ty, inner: StructId, value: &mut Value) {
        match (ty, value) {
            (Ty::Struct(_), Value::Object(m)) => self.add_zeros_struct(inner, m),
            (Ty::List(t), Value::Array(list)) => list.iter_mut().for_each(|v| self.add_zeros_value(t, inner, v)),
            (Ty::Map(t), Value::Object(m)) => m.values_mut().for_each(|v| self.add_zeros_value(t, inner, v)),
            _ => {}
        }
    }
}

/// Whether the wire form carries the field even when nobody set it.
pub(super) fn always_written(field: &Field) -> bool {
    if field.pointer {
        return !field.omit_empty && !field.omit_zero;
    }
    match field.ty {
        // The encoder takes no object for empty.
        Ty::Struct(_) | Ty::Time | Ty::MicroTime | Ty::Quantity | Ty::IntOrString | Ty::Duration => !field.omit_zero,
        Ty::Raw => false,
        _ => !field.omit_empty && !field.omit_zero,
    }
}

fn zero_of_field(field: &Field) -> Value {
    if field.pointer {
        return Value::Null;
    }
    match field.ty {
        Ty::List(_) | Ty::Map(_) | Ty::Bytes => Value::Null,
        _ => zero(&field.ty),
    }
}

fn zero(ty: &Ty) -> Value {
    match ty {
        Ty::Str => Value::String(String::new()),
        Ty::Bool => Value::Bool(false),
        Ty::Int32 | Ty::Int64 | Ty::Float | Ty::IntOrString => Value::from(0),
        Ty::Quantity => Value::from("0"),
        Ty::Duration => Value::from("0s"),
        Ty::Time | Ty::MicroTime | Ty::Raw => Value::Null,
        Ty::Bytes => Value::from(""),
        Ty::Struct(_) => Value::Object(Map::new()),
        Ty::List(_) | Ty::Map(_) => Value::Null,
    }
}

/// Whether the encoder takes the value for empty.
pub fn is_empty(ty: &Ty, value: &Value) -> bool {
    match (ty, value) {
        (Ty::Struct(_) | Ty::Quantity | Ty::IntOrString | Ty::Time | Ty::MicroTime | Ty::Duration, Value::Null) => true,
        (Ty::Struct(_) | Ty::Quantity | Ty::IntOrString | Ty::Time | Ty::MicroTime | Ty::Duration, _) => false,
        (_, Value::Null) => true,
        (_, Value::Bool(b)) => !b,
        (_, Value::Number(n)) => n.as_f64() == Some(0.0),
        (_, Value::String(s)) => s.is_empty(),
        (_, Value::Array(a)) => a.is_empty(),
        (_, Value::Object(m)) => m.is_empty(),
    }
}

const NO_QUANTITY: &str = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

fn decode_scalar(ty: &Ty, value: Value, path: &Path<'_>) -> Result<Value, WrongType> {
    match ty {
        Ty::Str => match value {
            Value::String(_) => Ok(value),
            v => wrong(&v, path, "string"),
        },
        Ty::Bool => match value {
            Value::Bool(_) => Ok(value),
            v => wrong(&v, path, "bool"),
        },
        Ty::Int32 => match &value {
            Value::Number(n) => match whole(n) {
                Some(i) if i32::try_from(i).is_ok() => Ok(Value::from(i)),
                _ => Err(WrongType(format!("json: cannot unmarshal number {n} into Go struct field {} of type int32", path.go()))),
            },
            v => wrong(v, path, "int32"),
        },
        Ty::Int64 => match &value {
            Value::Number(n) => match whole(n) {
                Some(i) => Ok(Value::from(i)),
                None => Err(WrongType(format!("json: cannot unmarshal number {n} into Go struct field {} of type int64", path.go()))),
            },
            v => wrong(v, path, "int64"),
        },
        Ty::Float => match value {
            Value::Number(_) => Ok(value),
            v => wrong(&v, path, "float64"),
        },
        Ty::IntOrString => match value {
            Value::String(_) => Ok(value),
            Value::Number(ref n) if whole(n).is_some_and(|i| i32::try_from(i).is_ok()) => Ok(value),
            v => wrong(&v, path, "int32"),
        },
        Ty::Quantity => {
            let text = match &value {
                Value::String(s) => s.clone(),
                Value::Number(n) => n.to_string(),
                _ => return Err(WrongType(NO_QUANTITY.to_owned())),
            };
            match Quantity::parse(text.trim()) {
                Ok(q) => Ok(Value::String(q.to_string())),
                Err(e) => Err(WrongType(e.to_string())),
            }
        }
        Ty::Time => match &value {
            Value::String(s) => go_time::seconds(s).map(|t| crate::meta::seconds(t).into()).map_err(WrongType),
            v => wrong(v, path, "string"),
        },
        Ty::MicroTime => match &value {
            Value::String(s) => go_time::micros(s).map(|t| crate::meta::micros(t).into()).map_err(WrongType),
            v => wrong(v, path, "string"),
        },
        Ty::Duration => match value {
            Value::String(_) => Ok(value),
            v => wrong(&v, path, "string"),
        },
        Ty::Bytes => match &value {
            Value::String(s) => go_text::base64(s).map(Value::String).map_err(WrongType),
            v => wrong(v, path, "[]uint8"),
        },
        Ty::Struct(_) | Ty::List(_) | Ty::Map(_) | Ty::Raw => Ok(value),
    }
}

/// An amount of a resource list, which is held in whole thousandths (SetDefaults_ResourceList).
fn thousandths(amount: Value) -> Value {
    match amount.as_str().map(Quantity::parse) {
        Some(Ok(q)) => Value::String(q.round_up_milli().to_string()),
        _ => amount,
    }
}

/// A number without a fraction; `2.0` counts.
fn whole(n: &Number) -> Option<i64> {
    n.as_i64().or_else(|| n.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9e18).map(|f| f as i64))
}
