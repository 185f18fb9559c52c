//! Errors as the wire shows them: `Status` documents.

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::registry::Resource;
use crate::request::Response;

/// One reason of a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Machine-readable reason, such as `FieldValueInvalid`.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// Path of the field; empty: none.
    pub field: String,
}

/// A refusal: what the `Status` document of the answer says.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// HTTP status.
    pub code: u16,
    /// `reason` of the Status; empty: none.
    pub reason: &'static str,
    /// `message` of the Status.
    pub message: String,
    /// `details` of the Status; `Null`: none.
    pub details: Value,
    /// Seconds for `Retry-After`.
    pub retry_after: Option<u32>,
    /// `metadata.continue` of the Status, after an expired continue token.
    pub continue_token: Option<String>,
    /// Texts of `Warning` headers that go with the refusal.
    pub warnings: Vec<String>,
}

impl ApiError {
    /// A refusal without details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        ApiError {
            code,
            reason,
            message: message.into(),
            details: Value::Null,
            retry_after: None,
            continue_token: None,
            warnings: Vec::new(),
        }
    }

    fn on(mut self, r: &Resource, name: &str) -> Self {
        self.details = details(&r.group, &r.plural, name);
        self
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 404 of an object.
    pub fn not_found(r: &Resource, name: &str) -> Self {
        let text = format!("{} {} not found", r.qualified(), crate::go_text::quoted_text(name));
        Self::new(404, "NotFound", text).on(r, name)
    }

    /// 404 of a path.
    pub fn no_such_path() -> Self {
        let mut e = Self::new(404, "NotFound", "the server could not find the requested resource");
        e.details = json!({});
        e
    }

    /// 409 of a create.
    pub fn already_exists(r: &Resource, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{} \"{name}\" already exists", r.qualified())).on(r, name)
    }

    /// 409 of an update.
    pub fn conflict(r: &Resource, name: &str, why: impl std::fmt::Display) -> Self {
        Self::new(409, "Conflict", format!("Operation cannot be fulfilled on {} \"{name}\": {why}", r.qualified())).on(r, name)
    }

    /// 403.
    pub fn forbidden(r: &Resource, name: &str, why: impl std::fmt::Display) -> Self {
        let message = if name.is_empty() {
            format!("{} is forbidden: {why}", r.qualified())
        } else {
            format!("{} \"{name}\" is forbidden: {why}", r.qualified())
        };
        Self::new(403, "Forbidden", message).on(r, name)
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        let mut e = Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
        e.details = json!({});
        e
    }

    /// 410.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 422 with the causes of a validation.
    pub fn invalid(group: &str, kind: &str, name: &str, causes: &[Cause]) -> Self {
        let list = match causes {
            [] => String::new(),
            [one] => format!("{}: {}", one.field, one.message),
            many => {
                // The server lists equal texts once.
                let mut seen = Vec::new();
                for c in many {
                    let text = format!("{}: {}", c.field, c.message);
                    if !seen.contains(&text) {
                        seen.push(text);
                    }
                }
                if seen.len() == 1 { seen.remove(0) } else { format!("[{}]", seen.join(", ")) }
            }
        };
        let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let mut e = Self::new(422, "Invalid", format!("{qualified} \"{name}\" is invalid: {list}"));
        e.details = details(group, kind, name);
        e.details["causes"] = Value::Array(causes.iter().map(Cause::to_value).collect());
        e
    }

    /// Adds causes to the details.
    pub fn with_causes(mut self, causes: &[Cause]) -> Self {
        if self.details.is_null() {
            self.details = json!({});
        }
        self.details["causes"] = Value::Array(causes.iter().map(Cause::to_value).collect());
        self
    }

    /// The Status document.
    pub fn to_value(&self) -> Value {
        let mut m = Map::new();
        m.insert("kind".into(), "Status".into());
        m.insert("apiVersion".into(), "v1".into());
        m.insert(
            "metadata".into(),
            match &self.continue_token {
                Some(t) => json!({"continue": t}),
                None => json!({}),
            },
        );
        m.insert("status".into(), "Failure".into());
        m.insert("message".into(), self.message.clone().into());
        if !self.reason.is_empty() {
            m.insert("reason".into(), self.reason.into());
        }
        let mut details = self.details.clone();
        if let Some(s) = self.retry_after {
            if details.is_null() {
                details = json!({});
            }
            details["retryAfterSeconds"] = s.into();
        }
        if !details.is_null() {
            m.insert("details".into(), details);
        }
        m.insert("code".into(), self.code.into());
        Value::Object(m)
    }

    /// The whole answer.
    pub fn to_response(&self) -> Response {
        let code = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut r = Response::json(code, &self.to_value());
        if let Some(s) = self.retry_after {
            r.headers.insert(http::header::RETRY_AFTER, s.into());
        }
        r
    }
}

impl Cause {
    /// A cause.
    pub fn new(reason: &'static str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Cause { reason, message: message.into(), field: field.into() }
    }

    fn to_value(&self) -> Value {
        let mut m = Map::new();
        if !self.reason.is_empty() {
            m.insert("reason".into(), self.reason.into());
        }
        m.insert("message".into(), self.message.clone().into());
        if !self.field.is_empty() {
            m.insert("field".into(), self.field.clone().into());
        }
        Value::Object(m)
    }
}

/// `details` that name an object. `kind` is the plural for most answers, the kind for 422.
pub fn details(group: &str, kind: &str, name: &str) -> Value {
    let mut m = Map::new();
    if !name.is_empty() {
        m.insert("name".into(), name.into());
    }
    if !group.is_empty() {
        m.insert("group".into(), group.into());
    }
    if !kind.is_empty() {
        m.insert("kind".into(), kind.into());
    }
    Value::Object(m)
}
