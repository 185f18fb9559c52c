//! What differs between two documents, and what one document names: as sets of fields, list by list as the types say
//! (structured-merge-diff `Compare` and `ToFieldSet`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::set::FieldSet;
use crate::schema::{Field, ListType, Schema, Ty};

/// How a value merges: its type, and for a list or map the field that says how.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) schema: &'a Schema,
    pub(crate) ty: &'a Ty,
    pub(crate) field: Option<&'a Field>,
}

impl<'a> At<'a> {
    pub(crate) fn field(self, f: &'a Field) -> At<'a> {
        At { schema: self.schema, ty: &f.ty, field: Some(f) }
    }

    /// The type of items, with no say of its own.
    pub(crate) fn item(self, ty: &'a Ty) -> At<'a> {
        At { schema: self.schema, ty, field: None }
    }

    pub(crate) fn is_atomic(self) -> bool {
        match self.ty {
            Ty::List(_) => self.field.is_none_or(|f| f.list_type == ListType::Atomic),
            Ty::Map(_) => self.field.is_some_and(|f| f.atomic),
            Ty::Struct(id) => self.field.is_some_and(|f| f.atomic) || self.schema.get(*id).atomic,
            _ => true,
        }
    }
}

/// What differs.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    pub(crate) added: FieldSet,
    pub(crate) modified: FieldSet,
    pub(crate) removed: FieldSet,
}

impl Comparison {
    pub(crate) fn is_same(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }
}

/// The step of a list item. `None`: the item lacks its keys.
pub(crate) fn item_step(at: At<'_>, item: &Value) -> Option<String> {
    let field = at.field?;
    match field.list_type {
        ListType::Atomic => None,
        ListType::Set => Some(format!("v:{item}")),
        ListType::Map => {
            let below = match at.ty {
                Ty::List(t) => match &**t {
                    Ty::Struct(id) => Some(at.schema.get(*id)),
                    _ => None,
                },
                _ => None,
            };
            let mut keys = BTreeMap::new();
            for k in &field.list_keys {
                let value = match item.get(&**k) {
                    Some(v) => v.clone(),
                    None => match below.and_then(|b| b.field(k)).and_then(|f| f.default.clone()) {
                        Some(d) => d,
                        // A key that is left out counts as null.
                        None => continue,
                    },
                };
                keys.insert(k.to_string(), value);
            }
            if keys.is_empty() {
                return None;
            }
            let m: Map<String, Value> = keys.into_iter().collect();
            Some(format!("k:{}", Value::Object(m)))
        }
    }
}

fn empty(v: Option<&Value>) -> bool {
    match v {
        None | Some(Value::Null) => true,
        Some(Value::Object(m)) => m.is_empty(),
        Some(Value::Array(l)) => l.is_empty(),
        _ => false,
    }
}

/// Compares two documents of one type.
pub(crate) fn compare(at: At<'_>, lhs: Option<&Value>, rhs: Option<&Value>) -> Comparison {
    let mut c = Comparison::default();
    walk(at, lhs, rhs, &mut c);
    // The document itself is no field.
    c.added.own = false;
    c.modified.own = false;
    c.removed.own = false;
    c
}

/// Puts what differs into `c`, which is empty.
fn walk(at: At<'_>, lhs: Option<&Value>, rhs: Option<&Value>, c: &mut Comparison) {
    match (lhs, rhs) {
        (None, None) => return,
        (None, Some(_)) => c.added.own = true,
        (Some(_), None) => c.removed.own = true,
        (Some(l), Some(r)) if l == r => return,
        _ => {}
    }
    let leaf = at.is_atomic() || (empty(lhs) && empty(rhs));
    let maps = |v: Option<&Value>| matches!(v, None | Some(Value::Null | Value::Object(_)));
    let lists = |v: Option<&Value>| matches!(v, None | Some(Value::Null | Value::Array(_)));
    match at.ty {
        Ty::Struct(_) | Ty::Map(_) if !leaf && maps(lhs) && maps(rhs) => {
            let none = Map::new();
            let (l, r) = (lhs.and_then(Value::as_object).unwrap_or(&none), rhs.and_then(Value::as_object).unwrap_or(&none));
            let mut each = |k: &str, was: Option<&Value>, is: Option<&Value>| {
                if was != is
                    && let Some(below) = map_child(at, k)
                {
                    step(&["f:", k].concat(), below, was, is, c);
                }
            };
            for (k, v) in l {
                each(k, Some(v), r.get(k));
            }
            for (k, v) in r.iter().filter(|(k, _)| !l.contains_key(*k)) {
                each(k, None, Some(v));
            }
        }
        Ty::List(item) if !leaf && lists(lhs) && lists(rhs) => {
            let (l, r) = (steps(at, lhs), steps(at, rhs));
            let keys: BTreeSet<&String> = l.keys().chain(r.keys()).collect();
            for k in keys {
                step(k, at.item(item), l.get(k).copied(), r.get(k).copied(), c);
            }
        }
        _ => {
            if lhs.is_some() && rhs.is_some() {
                c.modified.own = true;
            }
        }
    }
}

/// Compares what lies below a step; only where something differs, a place is made.
fn step(name: &str, at: At<'_>, lhs: Option<&Value>, rhs: Option<&Value>, c: &mut Comparison) {
    let mut below = Comparison::default();
    walk(at, lhs, rhs, &mut below);
    for (set, found) in [(&mut c.added, below.added), (&mut c.modified, below.modified), (&mut c.removed, below.removed)] {
        if found.own || !found.children.is_empty() {
            set.children.insert(name.to_owned(), found);
        }
    }
}

fn steps<'v>(at: At<'_>, list: Option<&'v Value>) -> BTreeMap<String, &'v Value> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(|v| Some((item_step(at, v)?, v))).collect()
}

pub(crate) fn map_child<'a>(at: At<'a>, key: &str) -> Option<At<'a>> {
    match at.ty {
        Ty::Struct(id) => at.schema.get(*id).field(key).map(|f| at.field(f)),
        Ty::Map(t) => Some(at.item(t)),
        _ => None,
    }
}

/// The fields that a document names.
pub(crate) fn fields_of(at: At<'_>, v: &Value) -> FieldSet {
    let mut out = FieldSet::default();
    name_fields(at, v, &mut out);
    out.trim();
    out.own = false;
    out
}

fn name_fields(at: At<'_>, v: &Value, out: &mut FieldSet) {
    if at.is_atomic() || v.is_null() {
        out.own = true;
        return;
    }
    match (at.ty, v) {
        (Ty::Struct(_) | Ty::Map(_), Value::Object(m)) => {
            for (k, v) in m {
                let Some(below) = map_child(at, k) else { continue };
                let child = out.child(&format!("f:{k}"));
                name_fields(below, v, child);
                let free = matches!(at.ty, Ty::Map(_));
                if free || v.is_null() || v.as_object().is_some_and(Map::is_empty) {
                    child.own = true;
                }
            }
        }
        (Ty::List(item), Value::Array(l)) => {
            for v in l {
                let Some(step) = item_step(at, v) else { continue };
                let child = out.child(&step);
                child.own = true;
                name_fields(at.item(item), v, child);
            }
        }
        _ => out.own = true,
    }
}
