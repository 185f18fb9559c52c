use std::time::Duration;

use evenkeel_api::Text;
use serde::Deserialize;

/// What a server says went wrong: the parts of `metav1.Status` that a driver acts on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// HTTP code.
    pub code: u16,
    /// `reason`, such as `Expired`.
    pub reason: String,
    /// `message`, cut at 512 characters.
    pub message: String,
    /// A cause says that the asked version is beyond what the server has.
    pub version_too_large: bool,
    /// `details.retryAfterSeconds`, or the header.
    pub retry_after: Option<Duration>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct StatusWire<'a> {
    code: Option<i64>,
    #[serde(borrow)]
    reason: Option<Text<'a>>,
    #[serde(borrow)]
    message: Option<Text<'a>>,
    #[serde(borrow)]
    details: Option<DetailsWire<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct DetailsWire<'a> {
    #[serde(borrow)]
    causes: Option<Vec<CauseWire<'a>>>,
    retry_after_seconds: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CauseWire<'a> {
    #[serde(borrow)]
    reason: Option<Text<'a>>,
    #[serde(borrow)]
    message: Option<Text<'a>>,
}

/// What servers before 1.17 say instead of the cause.
const TOO_LARGE: &str = "Too large resource version";

impl Status {
    /// Reads a `Status` object; anything else gives a status with only `code` and the start of the body as message.
    pub fn read(body: &[u8], code: u16) -> Self {
        let Ok(wire) = serde_json::from_slice::<StatusWire<'_>>(body) else {
            return Self { code, message: short(&String::from_utf8_lossy(body)), ..Self::default() };
        };
        let details = wire.details.unwrap_or_default();
        let message = wire.message.as_deref().unwrap_or_default();
        Self {
            code: wire.code.and_then(|c| u16::try_from(c).ok()).filter(|c| *c != 0).unwrap_or(code),
            version_too_large: message.starts_with(TOO_LARGE)
                || details
                    .causes
                    .iter()
                    .flatten()
                    .any(|c| c.reason.as_deref() == Some("ResourceVersionTooLarge") || c.message.as_deref() == Some(TOO_LARGE)),
            retry_after: details.retry_after_seconds.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0).map(Duration::from_secs),
            reason: wire.reason.as_deref().unwrap_or_default().to_owned(),
            message: short(message),
        }
    }

    /// The asked version is older than what the server keeps.
    pub fn expired(&self) -> bool {
        self.code == 410 || matches!(self.reason.as_str(), "Expired" | "Gone")
    }
}

fn short(text: &str) -> String {
    text.chars().take(512).collect()
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.code, self.reason, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_what_to_do() {
        let s = Status::read(
            br#"{"kind":"Status","code":504,"reason":"Timeout","message":"Timeout: Too large resource version: 9, current: 3",
            "details":{"causes":[{"reason":"ResourceVersionTooLarge","message":"Too large resource version"}],"retryAfterSeconds":1}}"#,
            504,
        );
        assert!(s.version_too_large && s.retry_after == Some(Duration::from_secs(1)) && !s.expired());
        assert!(Status::read(br#"{"reason":"Expired","code":410}"#, 0).expired());
        assert_eq!(Status::read(b"<html>nope", 502), Status { code: 502, message: "<html>nope".into(), ..Status::default() });
        assert_eq!(Status::read(br#"{"code":-1}"#, 500).code, 500);
    }
}
