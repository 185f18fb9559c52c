//! What a story may ask about them.

use std::cmp::Ordering;

use serde_json::Value;

use crate::recorded::Broken;
use crate::recorded::place::look_up;

/// Whether nothing stands there: no value, null, or an empty list or map.
pub fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(map)) => map.is_empty(),
        Some(_) => false,
    }
}

/// Whether an item fulfils `[path, relation, value]`.
///
/// # Errors
/// When the condition is none.
pub fn matches(item: &Value, condition: &Value) -> Result<bool, Broken> {
    let wrong = || Broken(format!("not a condition: {condition}"));
    let parts = condition.as_array().ok_or_else(wrong)?;
    let path = parts.first().and_then(Value::as_str).ok_or_else(wrong)?;
    let relation = parts.get(1).and_then(Value::as_str).ok_or_else(wrong)?;
    let found = if path.is_empty() { Some(item) } else { look_up(item, path) };
    match relation {
        "absent" => return Ok(is_empty(found)),
        "present" => return Ok(!is_empty(found)),
        _ => {}
    }
    let value = parts.get(2).ok_or_else(wrong)?;
    Ok(match relation {
        "count" => {
            let count = match found {
                Some(Value::Array(items)) => items.len(),
                Some(Value::Object(map)) => map.len(),
                _ => 0,
            };
            value.as_u64() == Some(count as u64)
        }
        "has" => has(found, value),
        "hasnot" => !has(found, value),
        "<" | "<=" | ">" | ">=" => {
            let (Some(a), Some(b)) = (found.map_or(Some(0), whole_number), whole_number(value)) else { return Ok(false) };
            matches!((relation, a.cmp(&b)), ("<" | "<=", Ordering::Less) | ("<=" | ">=", Ordering::Equal) | (">" | ">=", Ordering::Greater))
        }
        "==" => found.unwrap_or(&Value::Null) == value,
        "!=" => found.unwrap_or(&Value::Null) != value,
        "in" => value.as_array().is_some_and(|choices| choices.contains(found.unwrap_or(&Value::Null))),
        _ => return Err(wrong()),
    })
}

/// Whether a list has an entry with these fields.
pub fn has(found: Option<&Value>, fields: &Value) -> bool {
    let (Some(Value::Array(entries)), Some(fields)) = (found, fields.as_object()) else { return false };
    entries.iter().any(|entry| {
        entry.as_object().is_some_and(|entry| fields.iter().all(|(key, value)| entry.get(key).unwrap_or(&Value::Null) == value))
    })
}

fn whole_number(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|f| f as i64)),
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(yes) => Some(i64::from(*yes)),
        _ => None,
    }
}

/// How items are put in order: nothing, then numbers (those in strings too), then texts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SortKey {
    /// No value.
    Nothing,
    /// A whole number, written as one or as text.
    Number(i128),
    /// Any other text.
    Text(String),
}

impl SortKey {
    /// The key of a value.
    pub fn of(value: Option<&Value>) -> SortKey {
        let text = match value {
            None | Some(Value::Null) => return SortKey::Nothing,
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        let digits = text.strip_prefix('-').unwrap_or(&text);
        match text.parse() {
            Ok(number) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => SortKey::Number(number),
            _ => SortKey::Text(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn holds(item: &Value, condition: Value) -> bool {
        matches(item, &condition).expect("a condition")
    }

    #[test]
    fn every_relation_tells_apart_what_it_should() {
        let item = json!({"status": {"n": 3, "text": "5", "conditions": [{"type": "Ready", "status": "True"}], "none": []}});
        assert!(holds(&item, json!(["status.n", "==", 3])) && !holds(&item, json!(["status.n", "==", 4])));
        assert!(holds(&item, json!(["status.gone", "==", null])) && holds(&item, json!(["status.n", "!=", 4])));
        assert!(holds(&item, json!(["status.n", "<=", 3])) && !holds(&item, json!(["status.n", "<", 3])));
        assert!(holds(&item, json!(["status.text", ">", 4])) && holds(&item, json!(["status.gone", "<", 1])));
        assert!(holds(&item, json!(["status.conditions", "has", {"type": "Ready"}])));
        assert!(holds(&item, json!(["status.conditions", "hasnot", {"type": "Ready", "status": "False"}])));
        assert!(holds(&item, json!(["status.none", "absent"])) && holds(&item, json!(["status.conditions.0", "present"])));
        assert!(holds(&item, json!(["status", "count", 4])) && holds(&item, json!(["status.n", "in", [1, 3]])));
        assert!(matches(&item, &json!(["status.n", "near", 3])).is_err());
    }

    #[test]
    fn numbers_in_texts_are_sorted_as_numbers_and_before_texts() {
        let keys: Vec<SortKey> =
            [json!(null), json!("-3"), json!("9"), json!(10), json!("-"), json!("a")].iter().map(|v| SortKey::of(Some(v))).collect();
        assert!(keys.is_sorted(), "{keys:?}");
    }
}
