//! Causes of a 422, worded as the server words them (`field.Error`).

use serde_json::Value;

use crate::go_value;
use crate::status::Cause;

/// Collects causes.
#[derive(Debug, Default)]
pub(crate) struct Errors {
    pub(crate) causes: Vec<Cause>,
}

/// The value as a message shows it.
pub(crate) fn shown(v: &Value) -> String {
    match v {
        Value::String(s) => go_value::quote(s),
        v => go_value::json(v),
    }
}

impl Errors {
    pub(crate) fn is_empty(&self) -> bool {
        self.causes.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.causes.len()
    }

    fn add(&mut self, reason: &'static str, path: &str, message: String) {
        self.causes.push(Cause { reason, message, field: path.to_owned() });
    }

    pub(crate) fn required(&mut self, path: &str, detail: &str) {
        let m = if detail.is_empty() { "Required value".to_owned() } else { format!("Required value: {detail}") };
        self.add("FieldValueRequired", path, m);
    }

    pub(crate) fn invalid(&mut self, path: &str, value: &Value, detail: &str) {
        let colon = if detail.is_empty() { "" } else { ": " };
        self.add("FieldValueInvalid", path, format!("Invalid value: {}{colon}{detail}", shown(value)));
    }

    pub(crate) fn invalid_text(&mut self, path: &str, value: &str, detail: &str) {
        self.invalid(path, &Value::from(value), detail);
    }

    /// A refusal that does not show the value.
    pub(crate) fn invalid_hidden(&mut self, path: &str, detail: &str) {
        self.add("FieldValueInvalid", path, format!("Invalid value: {detail}"));
    }

    pub(crate) fn forbidden(&mut self, path: &str, detail: &str) {
        self.add("FieldValueForbidden", path, format!("Forbidden: {detail}"));
    }

    pub(crate) fn unsupported(&mut self, path: &str, value: &str, supported: &[&str]) {
        self.unsupported_value(path, &Value::from(value), supported);
    }

    pub(crate) fn unsupported_value(&mut self, path: &str, value: &Value, supported: &[&str]) {
        let list = supported.iter().map(|s| go_value::quote(s)).collect::<Vec<_>>().join(", ");
        self.add("FieldValueNotSupported", path, format!("Unsupported value: {}: supported values: {list}", shown(value)));
    }

    pub(crate) fn duplicate(&mut self, path: &str, value: &Value) {
        self.duplicate_because(path, value, "");
    }

    pub(crate) fn duplicate_because(&mut self, path: &str, value: &Value, detail: &str) {
        let colon = if detail.is_empty() { "" } else { ": " };
        self.add("FieldValueDuplicate", path, format!("Duplicate value: {}{colon}{detail}", shown(value)));
    }

    pub(crate) fn not_found(&mut self, path: &str, value: &str) {
        self.not_found_because(path, value, "");
    }

    pub(crate) fn not_found_because(&mut self, path: &str, value: &str, detail: &str) {
        let colon = if detail.is_empty() { "" } else { ": " };
        self.add("FieldValueNotFound", path, format!("Not found: {}{colon}{detail}", go_value::quote(value)));
    }

    pub(crate) fn too_long(&mut self, path: &str, max: usize) {
        self.add("FieldValueTooLong", path, format!("Too long: may not be more than {max} bytes"));
    }

    pub(crate) fn too_many(&mut self, path: &str, have: usize, max: usize) {
        let items = if max == 1 { "item" } else { "items" };
        self.add("FieldValueTooMany", path, format!("Too many: {have}: must have at most {max} {items}"));
    }

    /// One cause per text.
    pub(crate) fn names(&mut self, path: &str, value: &str, wrong: Vec<String>) {
        for w in wrong {
            self.invalid_text(path, value, &w);
        }
    }

    /// A name that may be empty, but not wrong.
    pub(crate) fn name_if_any(&mut self, path: &str, value: &str, rule: fn(&str) -> Vec<String>) {
        if !value.is_empty() {
            self.names(path, value, rule(value));
        }
    }

    /// A counter must not be negative.
    pub(crate) fn non_negative(&mut self, path: &str, value: Option<i64>) {
        if let Some(n) = value.filter(|n| *n < 0) {
            self.invalid(path, &n.into(), "must be greater than or equal to 0");
        }
    }

    /// Two texts must be the same; a missing one is empty.
    pub(crate) fn immutable_text(&mut self, path: &str, new: &Value, old: &Value, field: &str) {
        let (new, old) = (crate::json::text(new, field), crate::json::text(old, field));
        if new != old {
            self.invalid_text(path, new, "field is immutable");
        }
    }

    /// Two values must be the same.
    pub(crate) fn immutable(&mut self, path: &str, new: Option<&Value>, old: Option<&Value>) {
        if new != old {
            self.invalid(path, new.unwrap_or(&Value::Null), "field is immutable");
        }
    }

    /// One of a set of words; nothing at all is a different fault than something else.
    pub(crate) fn one_of(&mut self, path: &str, value: &str, words: &[&str]) {
        if value.is_empty() {
            self.required(path, "");
        } else if !words.contains(&value) {
            self.unsupported(path, value, words);
        }
    }
}
