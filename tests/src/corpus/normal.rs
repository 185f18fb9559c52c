//! The normal form of answers: alike exactly when the same things are the same.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use jiff::Timestamp;
use regex::Regex;
use serde_json::{Map, Value};

use super::conversation::{Conversation, Step};
use super::symbols::{Kind, Symbols, compare_numbers};
use crate::recorded::canonical::canonical;

/// Columns of tables whose cells are ages.
const AGES: [&str; 6] = ["Age", "Last Seen", "First Seen", "Duration", "Last Schedule", "Requestor Age"];

static AGE: LazyLock<Regex> = LazyLock::new(|| Regex::new("^(?:([0-9]+[smhdy])+|<invalid>)$").expect("a fixed pattern"));

/// Turns the answers of one conversation into their normal form, one after the other.
#[derive(Debug)]
pub struct Normaliser {
    /// Symbols and what they stand for.
    pub symbols: Symbols,
    managed_fields: bool,
    /// creationTimestamps by uid.
    created: BTreeMap<String, String>,
    /// Columns that hold ages, by watch: only the first table of a stream names its columns.
    aged: BTreeMap<Option<String>, BTreeSet<usize>>,
    /// What no answer may be, found on the way.
    faults: Vec<String>,
}

/// Where in an answer something stands: the last two steps of the way there.
#[derive(Debug, Clone, Copy, Default)]
struct Place<'a> {
    parent: Option<&'a str>,
    key: Option<&'a str>,
    inside: bool,
}

impl<'a> Place<'a> {
    fn at(self, key: &'a str) -> Place<'a> {
        Place { parent: self.key, key: Some(key), inside: true }
    }

    fn in_list(self) -> Place<'a> {
        Place { parent: self.key, key: None, inside: true }
    }
}

impl Normaliser {
    /// For a conversation in `namespace` that begins now.
    pub fn new(conversation: &Conversation, namespace: &str, now: Timestamp) -> Self {
        let asked: Vec<Step> = conversation.steps.iter().map(|step| Step { expect: None, ..step.clone() }).collect();
        let asked = canonical(&serde_json::to_value(asked).expect("steps were read from JSON"));
        Normaliser {
            symbols: Symbols::new(namespace, asked, now),
            managed_fields: conversation.managed_fields,
            created: BTreeMap::new(),
            aged: BTreeMap::new(),
            faults: Vec::new(),
        }
    }

    /// What was found since the last call that no answer may be.
    pub fn fault(&mut self) -> Option<String> {
        std::mem::take(&mut self.faults).into_iter().next()
    }

    /// The normal form of an answer; `stream` names the watch that it came from.
    pub fn body(&mut self, value: &Value, stream: Option<&str>) -> Value {
        self.symbols.find_generated(value);
        self.walk(value, Place::default(), stream)
    }

    fn walk(&mut self, value: &Value, place: Place<'_>, stream: Option<&str>) -> Value {
        match value {
            Value::Object(map) => Value::Object(self.object(map, place, stream)),
            Value::Array(items) if place.key == Some("clusterIPs") => items.iter().map(|item| self.address(item)).collect(),
            Value::Array(items) => items.iter().map(|item| self.walk(item, place.in_list(), stream)).collect(),
            Value::String(text) => match (place.parent, place.key) {
                (_, Some("clusterIP")) => self.address(value),
                (Some("metadata"), Some("continue")) if !text.is_empty() => "<continue>".into(),
                (Some("status"), Some("token")) => "<token>".into(),
                _ => self.symbols.text(text).into(),
            },
            Value::Number(_) if matches!(place.key, Some("nodePort" | "healthCheckNodePort")) => {
                let text = value.to_string();
                let allocated = value.as_u64().is_some_and(|port| (30_000..=32_767).contains(&port)) && !self.symbols.is_asked(&text);
                if allocated { self.symbols.symbol(Kind::Port, &text).into() } else { value.clone() }
            }
            other => other.clone(),
        }
    }

    fn object(&mut self, map: &Map<String, Value>, place: Place<'_>, stream: Option<&str>) -> Map<String, Value> {
        let kind = map.get("kind").and_then(Value::as_str).unwrap_or_default();
        let is_table = kind == "Table";
        let is_list = is_table || (map.contains_key("items") && kind.ends_with("List"));
        let map = if is_table { Cow::Owned(self.table(map, stream)) } else { Cow::Borrowed(map) };
        let mut keys: Vec<&String> = map.keys().collect();
        keys.sort();
        let mut out = Map::new();
        for key in keys {
            let item = &map[key];
            if place.key == Some("metadata") && key == "managedFields" {
                continue;
            }
            let here = place.at(key);
            if key == "metadata"
                && let Value::Object(metadata) = item
            {
                // A bookmark carries the version of the stream, not of an object.
                let bookmark = stream.is_some() && !place.inside && !is_something(metadata.get("uid"));
                let metadata = self.metadata(metadata, is_list || bookmark, &map);
                let mut walked = self.object(&metadata, here, stream);
                if let (true, Some(Value::Array(entries))) = (self.managed_fields, metadata.get("managedFields")) {
                    walked.insert("managedFields".into(), self.managed(entries, here, stream));
                }
                out.insert(key.clone(), Value::Object(walked));
            } else {
                let walked = self.walk(item, here, stream);
                out.insert(self.symbols.text(key), walked);
            }
        }
        out
    }

    /// Metadata with a symbol for its version: one of its own, or where it is `shared` by a list the same for all lists.
    fn metadata(&mut self, metadata: &Map<String, Value>, shared: bool, owner: &Map<String, Value>) -> Map<String, Value> {
        let mut out = metadata.clone();
        if let Some(version) = metadata.get("resourceVersion").and_then(Value::as_str).filter(|version| !matches!(*version, "" | "0")) {
            if !is_number(version) {
                self.faults.push(format!("resourceVersion '{version}' is not a decimal number"));
            } else if shared
                && let Some(newest) = newest_version(owner)
                && compare_numbers(newest, version) == Ordering::Greater
            {
                self.faults.push(format!("list resourceVersion {version} is older than its item's {newest}"));
            }
            let symbol = if shared { "<listRV>".to_owned() } else { self.symbols.symbol(Kind::Version, version) };
            out.insert("resourceVersion".into(), symbol.into());
        }
        let text = |key: &str| metadata.get(key).and_then(Value::as_str);
        if let (Some(uid), Some(created)) = (text("uid"), text("creationTimestamp")) {
            let first = self.created.entry(uid.to_owned()).or_insert_with(|| created.to_owned());
            if first != created {
                self.faults.push(format!("creationTimestamp of one uid went from {first} to {created}"));
            }
        }
        out
    }

    /// managedFields in an order of their own: the server's depends on whether two writes fell into one second.
    fn managed(&mut self, entries: &[Value], metadata: Place<'_>, stream: Option<&str>) -> Value {
        let place = metadata.at("managedFields").in_list();
        let mut walked: Vec<Value> = entries.iter().map(|entry| self.walk(entry, place, stream)).collect();
        walked.sort_by_cached_key(|entry| {
            ["operation", "manager", "apiVersion", "subresource"].map(|key| match entry.get(key) {
                None => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            })
        });
        Value::Array(walked)
    }

    fn address(&mut self, value: &Value) -> Value {
        let Some(text) = value.as_str().filter(|text| !matches!(*text, "" | "None") && !self.symbols.is_asked(text)) else {
            return value.clone();
        };
        let is_one = if text.contains(':') { text.parse::<Ipv6Addr>().is_ok() } else { text.parse::<Ipv4Addr>().is_ok() };
        if is_one { self.symbols.symbol(Kind::Address, text).into() } else { value.clone() }
    }

    fn table(&mut self, table: &Map<String, Value>, stream: Option<&str>) -> Map<String, Value> {
        let stream = stream.map(str::to_owned);
        if let Some(columns) = table.get("columnDefinitions").and_then(Value::as_array).filter(|columns| !columns.is_empty()) {
            let is_age = |column: &Value| column["name"].as_str().is_some_and(|name| AGES.contains(&name));
            let aged = columns.iter().enumerate().filter(|(_, column)| is_age(column)).map(|(at, _)| at);
            self.aged.insert(stream.clone(), aged.collect());
        }
        let mut out = table.clone();
        let Some(rows) = out.get_mut("rows") else { return out };
        if rows.is_null() {
            *rows = Value::Array(Vec::new());
        }
        let aged = self.aged.get(&stream).into_iter().flatten();
        let aged: Vec<usize> = aged.copied().collect();
        for row in rows.as_array_mut().into_iter().flatten() {
            let Some(cells) = row.get_mut("cells").and_then(Value::as_array_mut) else { continue };
            for at in &aged {
                if let Some(cell) = cells.get_mut(*at).filter(|cell| cell.as_str().is_some_and(|text| AGE.is_match(text))) {
                    *cell = "<age>".into();
                }
            }
        }
        out
    }
}

fn is_something(value: Option<&Value>) -> bool {
    value.is_some_and(|value| !value.is_null() && value != "")
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// The newest version among the items of a list or the objects in the rows of a table.
fn newest_version(list: &Map<String, Value>) -> Option<&str> {
    let full = |key: &str| list.get(key).and_then(Value::as_array).filter(|items| !items.is_empty());
    let items = full("items").or_else(|| full("rows")).into_iter().flatten();
    let objects = items.map(|item| item.get("object").filter(|object| object.is_object()).unwrap_or(item));
    let versions = objects.filter_map(|object| object.get("metadata")?.get("resourceVersion")?.as_str());
    versions.filter(|version| is_number(version)).max_by(|a, b| compare_numbers(a, b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn normaliser(managed_fields: bool, asked: &Value) -> Normaliser {
        let line = json!({"id": "a", "managedFields": managed_fields, "steps": [{"path": "/api", "body": asked}]});
        let conversation: Conversation = serde_json::from_value(line).expect("a conversation");
        Normaliser::new(&conversation, "c-bcdfghjklm", "2026-06-01T08:00:00Z".parse().expect("a time"))
    }

    #[test]
    fn objects_have_versions_of_their_own_and_lists_share_one() {
        let mut normal = normaliser(false, &json!(null));
        let list = json!({"kind": "PodList", "metadata": {"resourceVersion": "9", "continue": "abc"},
            "items": [{"metadata": {"resourceVersion": "7", "managedFields": []}}, {"metadata": {"resourceVersion": "5"}}]});
        let wanted = json!({"kind": "PodList", "metadata": {"resourceVersion": "<listRV>", "continue": "<continue>"},
            "items": [{"metadata": {"resourceVersion": "<rv1>"}}, {"metadata": {"resourceVersion": "<rv2>"}}]});
        assert_eq!(normal.body(&list, None), wanted);
        assert_eq!((normal.fault(), normal.symbols.version_order()), (None, Some(vec![2, 1])));
    }

    #[test]
    fn versions_and_times_that_cannot_be_are_faults() {
        let mut normal = normaliser(false, &json!(null));
        normal.body(
            &json!({"kind": "PodList", "metadata": {"resourceVersion": "6"}, "items": [{"metadata": {"resourceVersion": "7"}}]}),
            None,
        );
        assert_eq!(normal.fault().as_deref(), Some("list resourceVersion 6 is older than its item's 7"));
        normal.body(&json!({"metadata": {"resourceVersion": "x"}}), None);
        assert!(normal.fault().is_some_and(|fault| fault.contains("not a decimal number")));
        for created in ["2026-06-01T08:00:00Z", "2026-06-01T08:00:01Z"] {
            normal.body(&json!({"metadata": {"uid": "u", "creationTimestamp": created}}), None);
        }
        assert!(normal.fault().is_some_and(|fault| fault.contains("creationTimestamp")));
        assert_eq!(normal.fault(), None);
    }

    #[test]
    fn addresses_ports_and_tokens_are_chances_unless_they_were_asked_for() {
        let mut normal = normaliser(false, &json!({"ip": "10.96.0.1", "port": 30001}));
        let service = json!({"spec": {"clusterIP": "10.96.3.4", "clusterIPs": ["10.96.3.4", "10.96.0.1", "fd00::1", "None"],
            "ports": [{"nodePort": 30001}, {"nodePort": 30002}, {"port": 30003}]}, "status": {"token": "t"}});
        let wanted = json!({"spec": {"clusterIP": "<ip1>", "clusterIPs": ["<ip1>", "10.96.0.1", "<ip2>", "None"],
            "ports": [{"nodePort": 30001}, {"nodePort": "<port1>"}, {"port": 30003}]}, "status": {"token": "<token>"}});
        assert_eq!(normal.body(&service, None), wanted);
    }

    #[test]
    fn ages_in_tables_are_masked_and_a_stream_remembers_its_columns() {
        let mut normal = normaliser(false, &json!(null));
        let table = |columns: Value| json!({"kind": "Table", "columnDefinitions": columns, "rows": [{"cells": ["5m", "5m3s"]}]});
        let wanted = json!([{"cells": ["5m", "<age>"]}]);
        assert_eq!(normal.body(&table(json!([{"name": "Name"}, {"name": "Age"}])), Some("w"))["rows"], wanted);
        assert_eq!(normal.body(&table(json!(null)), Some("w"))["rows"], wanted);
        assert_eq!(normal.body(&table(json!(null)), None)["rows"], json!([{"cells": ["5m", "5m3s"]}]));
    }

    #[test]
    fn a_bookmark_has_the_version_of_the_stream() {
        let mut normal = normaliser(false, &json!(null));
        let bookmark = json!({"kind": "Pod", "metadata": {"resourceVersion": "7", "creationTimestamp": null}});
        assert_eq!(normal.body(&bookmark, Some("w"))["metadata"]["resourceVersion"], "<listRV>");
        assert_eq!(normal.body(&bookmark, None)["metadata"]["resourceVersion"], "<rv1>");
    }

    #[test]
    fn field_ownership_is_left_out_unless_it_is_compared() {
        let object =
            json!({"metadata": {"managedFields": [{"manager": "b", "operation": "Update"}, {"manager": "a", "operation": "Apply"}]}});
        assert_eq!(normaliser(false, &json!(null)).body(&object, None), json!({"metadata": {}}));
        let managed = normaliser(true, &json!(null)).body(&object, None);
        assert_eq!(managed["metadata"]["managedFields"][0]["manager"], "a");
    }
}
