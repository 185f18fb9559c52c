//! Tables of custom resources: the columns that their definitions ask for (`additionalPrinterColumns`).

use jiff::Timestamp;
use serde_json::Value;

use super::columns::{column, meta_doc};
use super::human::{number, since, text};

/// Column definitions: the name, then what the definition asks for, else the age.
pub(super) fn columns(asked: &[Value]) -> Value {
    let mut columns = vec![column("Name", "string", "name", 0, &meta_doc("name"))];
    if asked.is_empty() {
        columns.push(column("Age", "date", "", 0, &meta_doc("creationTimestamp")));
    }
    columns.extend(asked.iter().map(|c| {
        let path = text(c, "/jsonPath");
        let made_up = format!("Custom resource definition column (in JSONPath format): {path}");
        let doc = match text(c, "/description") {
            "" => &made_up,
            said => said,
        };
        let priority = u64::try_from(number(c, "/priority")).unwrap_or(0);
        column(text(c, "/name"), text(c, "/type"), text(c, "/format"), priority, doc)
    }));
    Value::Array(columns)
}

/// Cells of one object.
pub(super) fn cells(object: &Value, asked: &[Value], now: Timestamp) -> Vec<Value> {
    let mut cells = vec![text(object, "/metadata/name").into()];
    if asked.is_empty() {
        cells.push(since(object, "/metadata/creationTimestamp", now).into());
    }
    cells.extend(asked.iter().map(|c| {
        let found = find(object, text(c, "/jsonPath"));
        // Only the first of several values is shown.
        let Some(first) = found.first().filter(|v| !v.is_null() || text(c, "/type") == "string") else { return Value::Null };
        match text(c, "/type") {
            "integer" => first.as_i64().or_else(|| first.as_f64().map(|f| f as i64)).map_or(Value::Null, Value::from),
            "number" if first.is_number() => (*first).clone(),
            "boolean" if first.is_boolean() => (*first).clone(),
            "date" => match first.as_str() {
                Some(time) if time.parse::<Timestamp>().is_ok() => since(&serde_json::json!({ "t": time }), "/t", now).into(),
                Some(_) => "<invalid>".into(),
                None => Value::Null,
            },
            "string" => shown(first).into(),
            _ => Value::Null,
        }
    }));
    cells
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        other => other.to_string(),
    }
}

/// Values at a JSONPath of the kind that printer columns use: names, indexes, `[*]`, `[?(@.key=="value")]`.
fn find<'a>(object: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut found = vec![object];
    let mut rest = path.trim().trim_start_matches('{').trim_end_matches('}').trim_start_matches('$');
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let Some(end) = closing(inner) else { return Vec::new() };
            found = subscript(found, inner[..end].trim());
            rest = &inner[end + 1..];
        } else {
            let name = rest.trim_start_matches('.');
            let end = name_end(name);
            if end == 0 {
                return Vec::new();
            }
            let key = name[..end].replace("\\.", ".");
            found = if key == "*" { every(found) } else { found.into_iter().filter_map(|value| value.get(&key)).collect() };
            rest = &name[end..];
        }
    }
    found
}

/// Where a name ends: at a dot or bracket; a dot behind a backslash belongs to it.
fn name_end(name: &str) -> usize {
    let mut escaped = false;
    for (at, c) in name.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '.' | '[' => return at,
            _ => {}
        }
    }
    name.len()
}

/// Where the bracket closes; brackets within quotes do not count.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, ']') => return Some(at),
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    None
}

fn every(found: Vec<&Value>) -> Vec<&Value> {
    found.into_iter().flat_map(children).collect()
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(entries) => entries.values().collect(),
        _ => Vec::new(),
    }
}

fn subscript<'a>(found: Vec<&'a Value>, inner: &str) -> Vec<&'a Value> {
    if inner == "*" {
        return every(found);
    }
    if let Some(filter) = inner.strip_prefix("?(").and_then(|filter| filter.strip_suffix(')')) {
        return every(found).into_iter().filter(|item| holds(item, filter)).collect();
    }
    if let Some(key) = unquoted(inner) {
        return found.into_iter().filter_map(|value| value.get(key)).collect();
    }
    let Ok(index) = inner.parse::<i64>() else { return Vec::new() };
    let at = |value: &'a Value| {
        let items = value.as_array()?;
        let index = if index < 0 { index + items.len() as i64 } else { index };
        items.get(usize::try_from(index).ok()?)
    };
    found.into_iter().filter_map(at).collect()
}

fn unquoted(text: &str) -> Option<&str> {
    let inner = |q: char| text.strip_prefix(q).and_then(|t| t.strip_suffix(q));
    inner('\'').or_else(|| inner('"'))
}

/// Whether a filter such as `@.type=="Ready"` holds for an item.
fn holds(item: &Value, filter: &str) -> bool {
    for (operator, equal) in [("==", true), ("!=", false)] {
        if let Some((path, wanted)) = filter.split_once(operator) {
            let path = path.trim().trim_start_matches('@');
            let wanted = wanted.trim();
            let found = find(item, path);
            let matches = found.first().is_some_and(|value| match unquoted(wanted) {
                Some(text) => value.as_str() == Some(text),
                None => shown(value) == wanted,
            });
            return matches == equal;
        }
    }
    !find(item, filter.trim().trim_start_matches('@')).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn printer_columns_find_names_indexes_and_filtered_items() {
        let o = json!({
            "metadata": {"labels": {"a.b/c": "x"}},
            "spec": {"list": [{"n": 1}, {"n": 2}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Done", "status": "False"}]},
        });
        assert_eq!(find(&o, ".spec.list[1].n"), [&json!(2)]);
        assert_eq!(find(&o, ".spec.list[-1].n"), [&json!(2)]);
        assert_eq!(find(&o, ".spec.list[*].n"), [&json!(1), &json!(2)]);
        assert_eq!(find(&o, r#".status.conditions[?(@.type=="Ready")].status"#), [&json!("True")]);
        assert_eq!(find(&o, ".status.conditions[?(@.type=='Done')].status"), [&json!("False")]);
        assert_eq!(find(&o, r".metadata.labels.a\.b/c"), [&json!("x")]);
        assert_eq!(find(&o, ".metadata.labels['a.b/c']"), [&json!("x")]);
        assert!(find(&o, ".spec.absent").is_empty());
        assert!(find(&o, ".spec.list[").is_empty());
    }

    #[test]
    fn cells_have_the_type_of_their_column() {
        let asked = [
            json!({"name": "Size", "type": "integer", "jsonPath": ".spec.size"}),
            json!({"name": "Color", "type": "string", "jsonPath": ".spec.color"}),
            json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}),
        ];
        let o = json!({"metadata": {"name": "w", "creationTimestamp": "1970-01-01T00:00:00Z"}, "spec": {"size": 3}});
        let now = Timestamp::from_second(60).expect("valid");
        assert_eq!(cells(&o, &asked, now), [json!("w"), json!(3), Value::Null, json!("60s")]);
        assert_eq!(cells(&o, &[], now), [json!("w"), json!("60s")]);
    }
}
