//! What documents look like: types, fields and how their lists merge.
//!
//! Built-in types come from `tables/types.tsv` (made from the field tags and markers of the API types, 1.36), custom ones from
//! the schemas of CustomResourceDefinitions. Everything that walks a document walks these nodes.

pub mod decode;
mod go_names;
mod load;

pub(crate) use load::mark_walks;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

/// Index of a struct type within its [`Schema`].
pub type StructId = usize;

/// The type of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Ty {
    /// Text.
    Str,
    /// True or false.
    Bool,
    /// Whole number of 32 bits.
    Int32,
    /// Whole number of 64 bits.
    Int64,
    /// Number.
    Float,
    /// Amount such as `500m`, kept in canonical form.
    Quantity,
    /// Whole number or text.
    IntOrString,
    /// RFC 3339 in seconds.
    Time,
    /// RFC 3339 in microseconds.
    MicroTime,
    /// Span such as `1m30s`.
    Duration,
    /// Base64 text.
    Bytes,
    /// Anything.
    Raw,
    /// An object with known fields.
    Struct(StructId),
    /// A list.
    List(Box<Ty>),
    /// An object with free keys.
    Map(Box<Ty>),
}

/// How server-side apply merges a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListType {
    /// As a whole.
    #[default]
    Atomic,
    /// By value.
    Set,
    /// By the keys of the field.
    Map,
}

/// One field of a struct type.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Name on the wire.
    pub name: Arc<str>,
    /// Type.
    pub ty: Ty,
    /// Can be absent as opposed to empty.
    pub pointer: bool,
    /// Left out of the wire form when empty.
    pub omit_empty: bool,
    /// Left out of the wire form when it is the zero of its type.
    pub omit_zero: bool,
    /// How server-side apply merges it when it is a list.
    pub list_type: ListType,
    /// Keys of a list of type map.
    pub list_keys: Vec<Arc<str>>,
    /// A map or object that server-side apply takes as a whole.
    pub atomic: bool,
    /// Strategic merge: merge instead of replace.
    pub patch_merge: bool,
    /// Strategic merge: keep only the keys named by the patch.
    pub patch_retain_keys: bool,
    /// Strategic merge: key of list items.
    pub patch_key: Option<Arc<str>>,
    /// Default that the schema states.
    pub default: Option<Value>,
}

/// An object type with known fields.
#[derive(Debug, Clone)]
pub struct StructType {
    /// Name such as `apps/v1.DeploymentSpec`; empty for custom types.
    pub name: String,
    /// Fields in wire order.
    pub fields: Vec<Field>,
    /// Position of each field by name.
    pub index: BTreeMap<Arc<str>, usize>,
    /// Defaults below this type, itself included: a walk may skip the rest.
    pub has_defaults: bool,
    /// Which fields walks have to look at.
    pub walks: Walks,
    /// Defaults with a condition.
    pub hook: Option<crate::defaults::Hook>,
    /// Unknown fields stay.
    pub open: bool,
    /// Server-side apply takes it as a whole.
    pub atomic: bool,
}

/// The fields of a type that a walk has to look at, by position: of the forty fields of a pod's spec, few have anything to fill in.
#[derive(Debug, Clone, Default)]
pub struct Walks {
    /// Those with a default.
    pub defaults: Vec<usize>,
    /// Those with defaults below, and the type there.
    pub defaults_below: Vec<(usize, StructId)>,
    /// Those that the wire form always carries, or that have such fields below.
    pub zeros: Vec<usize>,
    /// Whether there are any of these, here or below.
    pub has_zeros: bool,
}

impl StructType {
    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.index.get(name).map(|i| &self.fields[*i])
    }
}

/// A set of struct types that refer to each other.
#[derive(Debug)]
pub struct Schema {
    /// All struct types.
    pub structs: Vec<StructType>,
    /// Roots by name.
    pub by_name: BTreeMap<String, StructId>,
}

impl Schema {
    /// The built-in types.
    pub fn builtin() -> &'static Schema {
        static BUILTIN: OnceLock<Schema> = OnceLock::new();
        BUILTIN.get_or_init(|| load::load(include_str!("../../tables/types.tsv"), include_str!("../../tables/defaults.tsv")))
    }

    /// A struct type by id.
    pub fn get(&self, id: StructId) -> &StructType {
        &self.structs[id]
    }

    /// A struct type by name.
    pub fn find(&self, name: &str) -> Option<StructId> {
        self.by_name.get(name).copied()
    }

    /// The type at a dotted path below a struct (`spec.template`); lists are entered without an index.
    pub fn at_path(&self, root: StructId, path: &str) -> Option<&Field> {
        let mut at = root;
        let mut found = None;
        for part in path.split('.') {
            let field = self.structs[at].field(part)?;
            found = Some(field);
            let mut ty = &field.ty;
            while let Ty::List(inner) | Ty::Map(inner) = ty {
                ty = inner;
            }
            if let Ty::Struct(id) = ty {
                at = *id;
            }
        }
        found
    }
}
