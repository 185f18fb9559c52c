//! Causes of a 422, worded as the server words them (`field.Error`).

use serde_json::Value;

use crate::json;
use crate::status::Cause;

/// Collects causes.
#[derive(Debug, Default)]
pub(crate) struct Errors {
    pub(crate) causes: Vec<Cause>,
}

/// The value as a message shows it.
fn shown(v: &Value) -> String {
    let text = v.to_string();
    // Texts are quoted, everything else is written as Go writes JSON.
    if v.is_string() { text } else { json::html_safe(&text) }
}

impl Errors {
    pub(crate) fn is_empty(&self) -> bool {
        self.causes.is_empty()
    }

    fn add(&mut self, reason: &'static str, path: &str, message: String) {
        self.causes.push(Cause { reason, message, field: path.to_owned() });
    }

    pub(crate) fn required(&mut self, path: &str, detail: &str) {
        let m = if detail.is_empty() { "Required value".to_owned() } else { format!("Required value: {detail}") };
        self.add("FieldValueRequired", path, m);
    }

    pub(crate) fn invalid(&mut self, path: &str, value: &Value, detail: &str) {
        self.add("FieldValueInvalid", path, format!("Invalid value: {}: {detail}", shown(value)));
    }

    pub(crate) fn invalid_text(&mut self, path: &str, value: &str, detail: &str) {
        self.invalid(path, &Value::from(value), detail);
    }

    pub(crate) fn forbidden(&mut self, path: &str, detail: &str) {
        self.add("FieldValueForbidden", path, format!("Forbidden: {detail}"));
    }

    pub(crate) fn unsupported(&mut self, path: &str, value: &str, supported: &[&str]) {
        let list = supported.iter().map(|s| format!("{s:?}")).collect::<Vec<_>>().join(", ");
        self.add("FieldValueNotSupported", path, format!("Unsupported value: {value:?}: supported values: {list}"));
    }

    pub(crate) fn duplicate(&mut self, path: &str, value: &Value) {
        self.add("FieldValueDuplicate", path, format!("Duplicate value: {}", shown(value)));
    }

    pub(crate) fn not_found(&mut self, path: &str, value: &str) {
        self.add("FieldValueNotFound", path, format!("Not found: {value:?}"));
    }

    pub(crate) fn too_long(&mut self, path: &str, max: usize) {
        self.add("FieldValueTooLong", path, format!("Too long: may not be more than {max} bytes"));
    }

    pub(crate) fn too_many(&mut self, path: &str, have: usize, max: usize) {
        self.add("FieldValueTooMany", path, format!("Too many: {have}: must have at most {max} items"));
    }

    /// One cause per text.
    pub(crate) fn names(&mut self, path: &str, value: &str, wrong: Vec<String>) {
        for w in wrong {
            self.invalid_text(path, value, &w);
        }
    }

    /// A counter must not be negative.
    pub(crate) fn non_negative(&mut self, path: &str, value: Option<i64>) {
        if let Some(n) = value.filter(|n| *n < 0) {
            self.invalid(path, &n.into(), "must be greater than or equal to 0");
        }
    }

    /// Two values must be the same.
    pub(crate) fn immutable(&mut self, path: &str, new: Option<&Value>, old: Option<&Value>) {
        if new != old {
            self.invalid(path, new.unwrap_or(&Value::Null), "field is immutable");
        }
    }
}
