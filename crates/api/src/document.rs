use std::sync::Arc;

use serde_json::Value;

/// A whole object as the server sent it, less `managedFields`: what a loop edits and sends back by PUT, so that fields that this program
/// does not know survive. (The server keeps the field managers of an update that sends none.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document(Arc<str>);

impl Document {
    /// Keeps `value` as text.
    pub fn new(mut value: Value) -> Self {
        if let Some(meta) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.shift_remove("managedFields");
        }
        Self(value.to_string().into())
    }

    /// The whole object, to be edited.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.0).expect("the text was printed from a value")
    }

    /// One part of the object by JSON pointer; `Null` where it is absent.
    pub fn part(&self, pointer: &str) -> Value {
        self.value().pointer_mut(pointer).map(Value::take).unwrap_or_default()
    }
}
