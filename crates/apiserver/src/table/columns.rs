//! Column definitions: those of built-in kinds from `tables/columns.tsv`, those of the others as a real server makes them up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::{Value, json};

use crate::openapi::{descriptions::Descriptions, names};
use crate::registry::Resource;

/// One column of the table.
struct Row {
    name: &'static str,
    kind: &'static str,
    format: &'static str,
    priority: u8,
    doc: &'static str,
}

/// Rows of `tables/columns.tsv` by kind.
fn rows() -> &'static BTreeMap<&'static str, Vec<Row>> {
    static ROWS: OnceLock<BTreeMap<&'static str, Vec<Row>>> = OnceLock::new();
    ROWS.get_or_init(|| {
        let mut kinds: BTreeMap<&'static str, Vec<Row>> = BTreeMap::new();
        let mut current = "";
        for line in include_str!("../../tables/columns.tsv").lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let Some(row) = line.strip_prefix('\t') else {
                current = line;
                continue;
            };
            let cells: Vec<&str> = row.split('\t').collect();
            let [name, kind, format, priority, doc] = cells.as_slice() else { panic!("columns.tsv: {line}") };
            let format = if *format == "-" { "" } else { format };
            kinds.entry(current).or_default().push(Row { name, kind, format, priority: u8::from(*priority == "1"), doc });
        }
        kinds
    })
}

/// Whether the kind has columns of its own.
pub(super) fn has(kind: &str) -> bool {
    rows().contains_key(kind)
}

/// Column definitions of a built-in kind; made once per kind.
pub(super) fn of_kind(resource: &Resource, kind: &str) -> Arc<Value> {
    static MADE: Mutex<BTreeMap<String, Arc<Value>>> = Mutex::new(BTreeMap::new());
    let key = format!("{}/{}.{kind}", resource.group, resource.version);
    let mut made = MADE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(columns) = made.get(&key) {
        return Arc::clone(columns);
    }
    let columns = Arc::new(match rows().get(kind) {
        Some(rows) => rows.iter().map(|row| definition(row, kind)).collect(),
        None => json!([
            column("Name", "string", "name", 0, &meta_doc("name")),
            column("Created At", "date", "", 0, &meta_doc("creationTimestamp")),
        ]),
    });
    made.insert(key, Arc::clone(&columns));
    columns
}

fn definition(row: &Row, kind: &str) -> Value {
    let doc = match row.doc.strip_prefix('@').and_then(|at| at.split_once('#')) {
        Some((ty, field)) => documented(ty, field, kind),
        None => row.doc.to_owned(),
    };
    column(row.name, row.kind, row.format, u64::from(row.priority), &doc)
}

/// What the documentation says of a field that a kind reaches; empty when there is no such field.
fn documented(ty: &str, field: &str, kind: &str) -> String {
    let (group_version, _) = ty.rsplit_once('.').unwrap_or(("", ty));
    let (group, version) = group_version.split_once('/').unwrap_or(("", group_version));
    let descriptions = Descriptions::of_kind(group, version, kind);
    let found = descriptions.of_field(&names::of_type(ty), field).map(str::to_owned);
    // Some columns show a type of another group (a Deployment's node selector is one of the core's).
    found.or_else(|| Descriptions::of_kind("", "v1", "Pod").of_field(&names::of_type(ty), field).map(str::to_owned)).unwrap_or_default()
}

/// What the documentation says of a field of `metadata`.
pub(super) fn meta_doc(field: &str) -> String {
    static DOCS: OnceLock<Descriptions> = OnceLock::new();
    let docs = DOCS.get_or_init(|| Descriptions::of_kind("", "", ""));
    docs.of_field("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", field).unwrap_or_default().to_owned()
}

/// One `TableColumnDefinition`.
pub(super) fn column(name: &str, kind: &str, format: &str, priority: u64, doc: &str) -> Value {
    json!({"name": name, "type": kind, "format": format, "description": doc, "priority": priority})
}
