//! What the tables of types do not say: values of enumerations, which fields must be there, names of free-form values.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::{Map, Value};

/// A line of the table.
struct Fact {
    field: &'static str,
    what: &'static str,
    value: &'static str,
}

fn of_type(name: &str) -> &'static [Fact] {
    static FACTS: OnceLock<BTreeMap<&'static str, Vec<Fact>>> = OnceLock::new();
    let facts = FACTS.get_or_init(|| {
        let mut facts: BTreeMap<_, Vec<Fact>> = BTreeMap::new();
        for line in include_str!("../../tables/openapi.tsv").lines().filter(|line| !line.starts_with('#')) {
            if let [name, field, what, value] = line.split('\t').collect::<Vec<_>>()[..] {
                facts.entry(name).or_default().push(Fact { field, what, value });
            }
        }
        facts
    });
    facts.get(name).map(Vec::as_slice).unwrap_or_default()
}

/// The schema by which a free-form value of a field goes.
pub(super) fn free_form(name: &str, field: &str) -> Option<&'static str> {
    of_type(name).iter().find(|fact| fact.field == field && fact.what == "type").map(|fact| fact.value)
}

/// Writes what is known of a type into its schema.
pub(super) fn apply(name: &str, schema: &mut Map<String, Value>) {
    for fact in of_type(name).iter().filter(|fact| fact.what != "type") {
        let mut place = &mut *schema;
        if !fact.field.is_empty() {
            let property = place.get_mut("properties").and_then(|properties| properties.get_mut(fact.field));
            let Some(property) = property.and_then(Value::as_object_mut) else { continue };
            place = property;
        }
        let mut what = fact.what;
        if let Some(of_items) = what.strip_prefix("items.") {
            let Some(items) = place.get_mut("items").and_then(Value::as_object_mut) else { continue };
            (place, what) = (items, of_items);
        }
        match serde_json::from_str(fact.value) {
            Ok(Value::Null) | Err(_) => _ = place.remove(what),
            Ok(value) => _ = place.insert(what.to_owned(), value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn enumerations_and_required_fields_are_written_in() {
        let mut schema = json!({"required": ["apiGroup", "kind", "name"], "properties": {"kind": {"type": "string"}}});
        apply("io.k8s.api.rbac.v1.RoleRef", schema.as_object_mut().expect("an object"));
        assert_eq!(schema["required"], json!(["kind", "name"]));
        let mut schema = json!({"properties": {"type": {"type": "string"}}});
        apply("io.k8s.api.apps.v1.DeploymentStrategy", schema.as_object_mut().expect("an object"));
        assert_eq!(schema["properties"]["type"]["enum"], json!(["Recreate", "RollingUpdate"]));
    }

    #[test]
    fn every_line_of_the_table_can_be_read() {
        for line in include_str!("../../tables/openapi.tsv").lines().filter(|line| !line.starts_with('#')) {
            let columns: Vec<_> = line.split('\t').collect();
            assert_eq!(columns.len(), 4, "{line}");
            assert!(columns[2] == "type" || serde_json::from_str::<Value>(columns[3]).is_ok(), "{line}");
        }
    }
}
