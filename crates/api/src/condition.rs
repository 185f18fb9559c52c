use jiff::{Timestamp, fmt::temporal::DateTimePrinter};
use serde_json::{Map, Value};

/// `True`, `False` or `Unknown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody can tell.
    Unknown,
}

impl ConditionStatus {
    /// The text on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "True" => Self::True,
            "False" => Self::False,
            _ => Self::Unknown,
        }
    }
}

/// One status condition of a workload. Times have a resolution of one second on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// `type`, such as `Available`.
    pub kind: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Machine-readable reason.
    pub reason: String,
    /// Text for people.
    pub message: String,
    /// When `status` last changed.
    pub last_transition: Option<Timestamp>,
    /// When the condition was last written; only Deployments have it.
    pub last_update: Option<Timestamp>,
}

impl Condition {
    /// Reads one entry of `status.conditions`; an entry that is no object reads as an empty one.
    pub fn read(value: &Value) -> Self {
        let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let time = |field: &str| value.get(field).and_then(Value::as_str).and_then(|t| t.parse().ok());
        Self {
            kind: text("type"),
            status: ConditionStatus::parse(&text("status")),
            reason: text("reason"),
            message: text("message"),
            last_transition: time("lastTransitionTime"),
            last_update: time("lastUpdateTime"),
        }
    }

    /// Reads a list of conditions; anything but a list is an empty one.
    pub fn read_all(value: Option<&Value>) -> Vec<Self> {
        value.and_then(Value::as_array).into_iter().flatten().map(Self::read).collect()
    }

    /// The condition on the wire. Absent times are left out.
    pub fn to_value(&self) -> Value {
        let mut out = Map::new();
        out.insert("type".into(), self.kind.as_str().into());
        out.insert("status".into(), self.status.as_str().into());
        if let Some(at) = self.last_update {
            out.insert("lastUpdateTime".into(), time_text(at).into());
        }
        if let Some(at) = self.last_transition {
            out.insert("lastTransitionTime".into(), time_text(at).into());
        }
        if !self.reason.is_empty() {
            out.insert("reason".into(), self.reason.as_str().into());
        }
        if !self.message.is_empty() {
            out.insert("message".into(), self.message.as_str().into());
        }
        Value::Object(out)
    }
}

/// A time as `metav1.Time` writes it: RFC 3339 in UTC, whole seconds (fractions are cut off).
pub fn time_text(at: Timestamp) -> String {
    let whole = Timestamp::from_second(at.as_second() - i64::from(at.subsec_nanosecond() < 0)).unwrap_or(at);
    let mut out = String::with_capacity(20);
    DateTimePrinter::new().precision(Some(0)).print_timestamp(&whole, &mut out).expect("writing to a String cannot fail");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_seconds() {
        let at: Timestamp = "2026-01-02T03:04:05.987654Z".parse().unwrap();
        assert_eq!(time_text(at), "2026-01-02T03:04:05Z");
    }

    #[test]
    fn what_is_read_is_written() {
        let value = serde_json::json!({"type": "Available", "status": "True", "lastUpdateTime": "2026-01-02T03:04:05Z",
            "lastTransitionTime": "2026-01-02T03:04:04Z", "reason": "R", "message": "M"});
        assert_eq!(Condition::read(&value).to_value(), value);
    }
}
