//! Places in an answer.

use serde_json::Value;

/// The value at a dotted path such as `items.0.metadata.uid`.
pub fn look_up<'a>(value: &'a Value, dotted: &str) -> Option<&'a Value> {
    dotted.split('.').try_fold(value, |value, part| match value {
        Value::Object(map) => map.get(part),
        Value::Array(items) if !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) => items.get(part.parse::<usize>().ok()?),
        _ => None,
    })
}
