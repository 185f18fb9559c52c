//! Who owns which fields: `metadata.managedFields` of every write.

use serde_json::{Map, Value, json};

use super::compare::{At, Comparison, compare};
use super::set::FieldSet;
use crate::json;
use crate::kinds;
use crate::schema::Ty;
use crate::write::Target;
use crate::{convert, meta};

/// Most entries of updates; older ones become one (`capManagersManager`).
const UPDATE_ENTRIES: usize = 10;
const ANCIENT: &str = "ancient-changes";

/// How a write owns fields.
#[derive(Clone, Copy)]
pub(crate) enum Op<'a> {
    /// What the write changed.
    Update,
    /// As worked out by server-side apply.
    Apply(&'a [Entry]),
}

/// One manager's fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) manager: String,
    pub(crate) apply: bool,
    pub(crate) api_version: String,
    pub(crate) subresource: String,
    pub(crate) time: String,
    pub(crate) fields: FieldSet,
}

impl Entry {
    /// Whether two entries are of one manager (appliers are the same in every version).
    pub(crate) fn is_of(&self, other: &Entry) -> bool {
        self.manager == other.manager
            && self.apply == other.apply
            && self.subresource == other.subresource
            && (self.apply || self.api_version == other.api_version)
    }
}

/// Reads `metadata.managedFields`.
pub(crate) fn entries(doc: &Value) -> Vec<Entry> {
    json::list(doc, "metadata.managedFields")
        .iter()
        .map(|e| Entry {
            manager: json::text(e, "manager").to_owned(),
            apply: json::text(e, "operation") == "Apply",
            api_version: json::text(e, "apiVersion").to_owned(),
            subresource: json::text(e, "subresource").to_owned(),
            time: json::text(e, "time").to_owned(),
            fields: FieldSet::from_value(&e["fieldsV1"]),
        })
        .collect()
}

fn entry_value(e: &Entry) -> Value {
    let mut m = Map::new();
    m.insert("manager".into(), e.manager.as_str().into());
    m.insert("operation".into(), if e.apply { "Apply" } else { "Update" }.into());
    m.insert("apiVersion".into(), e.api_version.as_str().into());
    if !e.time.is_empty() {
        m.insert("time".into(), e.time.as_str().into());
    }
    m.insert("fieldsType".into(), "FieldsV1".into());
    m.insert("fieldsV1".into(), e.fields.to_value());
    if !e.subresource.is_empty() {
        m.insert("subresource".into(), e.subresource.as_str().into());
    }
    Value::Object(m)
}

/// Writes entries, appliers first, older before newer.
pub(crate) fn value(mut list: Vec<Entry>) -> Option<Value> {
    list.retain(|e| !e.fields.is_empty());
    if list.is_empty() {
        return None;
    }
    list.sort_by(|a, b| {
        (!a.apply, &a.time, &a.manager, &a.api_version, &a.subresource).cmp(&(
            !b.apply,
            &b.time,
            &b.manager,
            &b.api_version,
            &b.subresource,
        ))
    });
    Some(list.iter().map(entry_value).collect())
}

/// Fields of metadata that nobody owns (`stripMetaManager`).
const UNOWNED: &[&[&str]] = &[
    &["f:apiVersion"],
    &["f:kind"],
    &["f:metadata", "f:name"],
    &["f:metadata", "f:namespace"],
    &["f:metadata", "f:creationTimestamp"],
    &["f:metadata", "f:selfLink"],
    &["f:metadata", "f:uid"],
    &["f:metadata", "f:clusterName"],
    &["f:metadata", "f:generation"],
    &["f:metadata", "f:managedFields"],
    &["f:metadata", "f:resourceVersion"],
];

/// Takes out what nobody owns, and what a write of this path cannot own.
pub(crate) fn strip(target: &Target, sub: Option<&str>, set: &mut FieldSet) {
    for path in UNOWNED {
        set.cut(path);
    }
    set.disown(&["f:metadata"]);
    for path in kinds::reset_fields(&target.stored, sub) {
        let steps: Vec<String> = path.split('.').map(|p| format!("f:{p}")).collect();
        let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        set.cut(&steps);
    }
    set.trim();
}

/// The document as its served version shows it, and the place where a walk of it begins.
pub(crate) fn typed<'a>(target: &'a Target, ty: &'a Ty) -> At<'a> {
    At { schema: target.served_schema.schema(), ty, field: None }
}

/// The root type of a target.
pub(crate) fn root_type(target: &Target) -> Ty {
    Ty::Struct(target.served_schema.root())
}

/// Lets a change take fields from everybody else: what was changed or removed is theirs no more.
pub(crate) fn take_away(list: &mut [Entry], except: Option<usize>, c: &Comparison) {
    for (i, e) in list.iter_mut().enumerate() {
        if Some(i) == except {
            continue;
        }
        e.fields = e.fields.minus(&c.modified).minus(&c.added).minus(&c.removed);
    }
}

/// Whether the entries that a client sent can be read; else those that are there stay (`DecodeManagedFields`).
fn decodable(doc: &Value) -> bool {
    let list = json::list(doc, "metadata.managedFields");
    // One empty entry asks for all to be cleared.
    if let [only] = list
        && only.as_object().is_none_or(Map::is_empty)
    {
        return true;
    }
    list.iter().all(|e| {
        matches!(json::text(e, "operation"), "Apply" | "Update")
            && !json::text(e, "apiVersion").is_empty()
            && json::text(e, "fieldsType") == "FieldsV1"
    })
}

/// The entries after an update. `doc` is the new document before admission, `old` the stored one.
pub(crate) fn updated(
    target: &Target,
    old: Option<&Value>,
    doc: &Value,
    sub: Option<&str>,
    manager: &str,
    now: jiff::Timestamp,
) -> Vec<Entry> {
    let sent = if decodable(doc) { entries(doc) } else { Vec::new() };
    let mut list = match (sent, old) {
        // An empty entry clears the list; no entries mean those that are there.
        (new, _) if new.len() == 1 && new[0].fields.is_empty() && new[0].manager.is_empty() => Vec::new(),
        (new, _) if !new.is_empty() => new,
        (_, Some(old)) => entries(old),
        _ => Vec::new(),
    };
    // An object whose owners were cleared is not tracked until somebody applies.
    if old.is_some() && list.is_empty() {
        return list;
    }
    let schema = &target.served_schema;
    let mut new = convert::from_hub(&target.served, doc.clone());
    schema.schema().add_zeros(schema.root(), &mut new);
    let before = match old {
        Some(o) => convert::from_hub(&target.served, o.clone()),
        None => {
            let mut zero = json!({"kind": target.served.kind, "apiVersion": target.served.api_version()});
            schema.schema().add_zeros(schema.root(), &mut zero);
            zero
        }
    };
    let ty = root_type(target);
    let mut c = compare(typed(target, &ty), Some(&before), Some(&new));
    for set in [&mut c.added, &mut c.modified, &mut c.removed] {
        strip(target, sub, set);
    }
    take_away(&mut list, None, &c);
    let took = c.modified.union(&c.added);
    if !took.is_empty() {
        let mut entry = Entry {
            manager: manager.to_owned(),
            apply: false,
            api_version: target.served.api_version(),
            subresource: sub.unwrap_or("").to_owned(),
            time: meta::seconds(now),
            fields: took,
        };
        match list.iter_mut().find(|e| e.is_of(&entry)) {
            Some(have) => {
                entry.fields.add(&have.fields);
                *have = entry;
            }
            None => list.push(entry),
        }
    }
    list.retain(|e| !e.fields.is_empty());
    cap(list)
}

/// Older updates become one entry when there are too many.
fn cap(list: Vec<Entry>) -> Vec<Entry> {
    let (mut updates, mut out): (Vec<Entry>, Vec<Entry>) = list.into_iter().partition(|e| !e.apply);
    updates.sort_by(|a, b| (&a.time, &a.manager).cmp(&(&b.time, &b.manager)));
    while updates.len() > UPDATE_ENTRIES {
        let a = updates.remove(0);
        let mut merged = a.clone();
        merged.manager = ANCIENT.to_owned();
        merged.subresource.clear();
        let Some(i) = updates.iter().position(|b| b.api_version == a.api_version) else {
            out.push(a);
            continue;
        };
        let b = updates.remove(i);
        merged.fields.add(&b.fields);
        merged.time = b.time;
        updates.insert(0, merged);
    }
    out.extend(updates);
    out
}

/// Whether two documents have the same owners, times aside.
pub(crate) fn same_but_times(a: &Value, b: &Value) -> bool {
    let bare = |v: &Value| {
        let mut list = entries(v);
        list.iter_mut().for_each(|e| e.time.clear());
        list.sort_by(|x, y| {
            (&x.manager, x.apply, &x.subresource, &x.api_version).cmp(&(&y.manager, y.apply, &y.subresource, &y.api_version))
        });
        list
    };
    a["metadata"].get("managedFields") == b["metadata"].get("managedFields") || bare(a) == bare(b)
}

/// Puts entries into a document.
pub(crate) fn put(doc: &mut Value, list: Vec<Entry>) {
    let v = value(list);
    json::object_mut(doc, "metadata");
    json::put(&mut doc["metadata"], "managedFields", v);
}
