//! Reads `tables/types.tsv` and `tables/defaults.tsv`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::decode::always_written;
use super::{Field, ListType, Schema, StructId, StructType, Ty, Walks};
use crate::defaults;

/// Both tables are part of the program: a malformed row is a bug that every test meets, so it panics.
pub(super) fn load(types: &str, defaults_table: &str) -> Schema {
    let mut by_name = BTreeMap::new();
    for (id, line) in types.lines().filter(|l| !l.starts_with(['#', '\t']) && !l.is_empty()).enumerate() {
        by_name.insert(line.split('\t').next().unwrap_or(line).to_owned(), id);
    }
    let mut structs: Vec<StructType> = Vec::with_capacity(by_name.len());
    for line in types.lines().filter(|l| !l.starts_with('#') && !l.is_empty()) {
        match line.strip_prefix('\t') {
            None => {
                let (name, atomic) = line.split_once('\t').map_or((line, false), |(n, mark)| (n, mark == "atomic"));
                structs.push(StructType {
                    name: name.to_owned(),
                    fields: Vec::new(),
                    index: BTreeMap::new(),
                    has_defaults: false,
                    walks: Walks::default(),
                    hook: defaults::hook(name),
                    open: false,
                    atomic,
                });
            }
            Some(row) => {
                let owner = structs.last_mut().expect("a field follows its type");
                let field = parse_field(row, &by_name);
                owner.index.insert(field.name.clone(), owner.fields.len());
                owner.fields.push(field);
            }
        }
    }
    for line in defaults_table.lines().filter(|l| !l.starts_with('#') && !l.is_empty()) {
        let c: Vec<&str> = line.split('\t').collect();
        let id = *by_name.get(c[0]).unwrap_or_else(|| panic!("defaults.tsv: {line}"));
        let at = *structs[id].index.get(c[1]).unwrap_or_else(|| panic!("defaults.tsv: {line}"));
        structs[id].fields[at].default = Some(serde_json::from_str(c[2]).unwrap_or_else(|_| panic!("defaults.tsv: {line}")));
    }
    mark_walks(&mut structs);
    Schema { structs, by_name }
}

/// Marks every type that has something to fill in, of its own or below, and which of its fields.
pub(crate) fn mark_walks(structs: &mut [StructType]) {
    // A quantity gets its canonical form while being decoded, so it needs no walk.
    let has_defaults = spread(structs, |s| s.hook.is_some() || s.fields.iter().any(|f| f.default.is_some()));
    let has_zeros = spread(structs, |s| s.fields.iter().any(always_written));
    for (i, s) in structs.iter_mut().enumerate() {
        (s.has_defaults, s.walks.has_zeros) = (has_defaults[i], has_zeros[i]);
        let fields = || s.fields.iter().enumerate();
        s.walks.defaults = fields().filter(|(_, f)| f.default.is_some()).map(|(at, _)| at).collect();
        s.walks.defaults_below = fields().filter_map(|(at, f)| Some((at, listed_struct(&f.ty).filter(|id| has_defaults[*id])?))).collect();
        s.walks.zeros =
            fields().filter(|(_, f)| always_written(f) || struct_of(&f.ty).is_some_and(|id| has_zeros[id])).map(|(at, _)| at).collect();
    }
}

/// What holds of a type itself or of one below it.
fn spread(structs: &[StructType], own: impl Fn(&StructType) -> bool) -> Vec<bool> {
    let mut holds: Vec<bool> = structs.iter().map(own).collect();
    loop {
        let mut changed = false;
        for (i, s) in structs.iter().enumerate() {
            if !holds[i] && s.fields.iter().any(|f| struct_of(&f.ty).is_some_and(|id| holds[id])) {
                holds[i] = true;
                changed = true;
            }
        }
        if !changed {
            return holds;
        }
    }
}

/// The struct below lists (maps of structs carry no defaults in any built-in type).
fn listed_struct(ty: &Ty) -> Option<StructId> {
    match ty {
        Ty::Struct(id) => Some(*id),
        Ty::List(t) => listed_struct(t),
        _ => None,
    }
}

/// The struct at the bottom of lists and maps.
pub(super) fn struct_of(ty: &Ty) -> Option<StructId> {
    match ty {
        Ty::Struct(id) => Some(*id),
        Ty::List(t) | Ty::Map(t) => struct_of(t),
        _ => None,
    }
}

fn parse_type(text: &str, names: &BTreeMap<String, StructId>) -> Ty {
    if let Some(rest) = text.strip_prefix("[]") {
        return Ty::List(Box::new(parse_type(rest, names)));
    }
    if let Some(rest) = text.strip_prefix("{}") {
        return Ty::Map(Box::new(parse_type(rest, names)));
    }
    match text.trim_start_matches('*') {
        "string" => Ty::Str,
        "bool" => Ty::Bool,
        "int32" => Ty::Int32,
        "int64" | "byte" => Ty::Int64,
        "float" => Ty::Float,
        "quantity" => Ty::Quantity,
        "intstr" => Ty::IntOrString,
        "time" => Ty::Time,
        "microtime" => Ty::MicroTime,
        "duration" => Ty::Duration,
        "bytes" => Ty::Bytes,
        "raw" => Ty::Raw,
        other if other.starts_with("[]") || other.starts_with("{}") => parse_type(other, names),
        other => Ty::Struct(*names.get(other).unwrap_or_else(|| panic!("types.tsv: unknown type {other}"))),
    }
}

fn parse_field(row: &str, names: &BTreeMap<String, StructId>) -> Field {
    let c: Vec<&str> = row.splitn(4, '\t').collect();
    assert_eq!(c.len(), 4, "types.tsv: {row}");
    let mut field = Field {
        name: Arc::from(c[0]),
        ty: parse_type(c[1], names),
        pointer: c[1].starts_with('*'),
        omit_empty: c[2].contains('o'),
        omit_zero: c[2].contains('z'),
        list_type: ListType::Atomic,
        list_keys: Vec::new(),
        atomic: false,
        patch_merge: false,
        patch_retain_keys: false,
        patch_key: None,
        default: None,
    };
    let mut marks = c[3];
    if let Some(at) = marks.find("def=") {
        let value: serde_json::Value = serde_json::from_str(&marks[at + 4..]).unwrap_or_else(|_| panic!("types.tsv: {row}"));
        // A default that the wire form leaves out is none.
        if field.pointer || !field.omit_empty || !super::decode::is_empty(&field.ty, &value) {
            field.default = Some(value);
        }
        marks = marks[..at].trim_end();
    }
    for mark in marks.split(' ') {
        match mark.split_once('=') {
            Some(("list", "set")) => field.list_type = ListType::Set,
            Some(("list", kind)) if kind.starts_with("map:") => {
                field.list_type = ListType::Map;
                field.list_keys = kind[4..].split(',').map(Arc::from).collect();
            }
            Some(("map" | "struct", "atomic")) => field.atomic = true,
            Some(("ps", strategy)) => {
                field.patch_merge = strategy.split(',').any(|s| s == "merge");
                field.patch_retain_keys = strategy.split(',').any(|s| s == "retainKeys");
            }
            Some(("pk", key)) => field.patch_key = Some(Arc::from(key)),
            _ => {}
        }
    }
    field
}
