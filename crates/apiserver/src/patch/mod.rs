//! Patches on documents: JSON patch, merge patch, strategic merge patch.

mod operations;
mod strategic;

pub use operations::apply_json;
pub use strategic::strategic;

use serde_json::Value;

/// Applies a merge patch (RFC 7386).
pub fn merge(doc: &mut Value, patch: &Value) {
    let Value::Object(p) = patch else {
        *doc = patch.clone();
        return;
    };
    if !doc.is_object() {
        *doc = Value::Object(serde_json::Map::new());
    }
    let m = doc.as_object_mut().expect("made an object above");
    for (k, v) in p {
        if v.is_null() {
            m.shift_remove(k);
        } else {
            merge(m.entry(k.clone()).or_insert(Value::Null), v);
        }
    }
}
