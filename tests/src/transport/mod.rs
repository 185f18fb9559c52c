//! How a story's requests reach a server: over TLS as from any other client, or in process.

mod access;
mod https;
mod in_process;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

pub use access::Access;
pub use https::{Https, Trust, Url};
pub use in_process::InProcess;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// The address is none, or the trust anchors are unreadable: nothing can be reached with these settings.
    #[error("cannot reach a server with these settings: {0}")]
    Settings(String),
    /// The server could not be reached, or broke off. The request may have been carried out.
    #[error("no answer: {0}")]
    Broken(String),
    /// The server took too long.
    #[error("no answer in {0} s")]
    Late(u64),
}

/// One answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; `Null` when it is none.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// An answer whose body comes bit by bit.
pub struct Stream {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The body, cut anywhere.
    pub body: BoxStream<'static, Result<Bytes, NoAnswer>>,
}

/// Request headers in the order in which they are set. A later one replaces an earlier one of that name (whatever its case);
/// `None` takes it out.
pub type Headers<'a> = &'a [(String, Option<String>)];

/// One client of a server.
pub trait Transport: Send {
    /// Sends a request once and reads the whole answer. `path` carries the query.
    fn call<'a>(
        &'a mut self,
        method: &'a str,
        path: &'a str,
        headers: Headers<'a>,
        body: Option<Bytes>,
    ) -> BoxFuture<'a, Result<Answer, NoAnswer>>;

    /// Sends a GET on a connection of its own and gives the answer as soon as its head is there.
    fn watch<'a>(&'a mut self, path: &'a str, headers: Headers<'a>) -> BoxFuture<'a, Result<Stream, NoAnswer>>;
}

/// The headers of a request: what every request has, then those of the step.
fn header_map(token: Option<&str>, has_body: bool, headers: Headers<'_>) -> Result<HeaderMap, NoAnswer> {
    let wrong = |text: &str| NoAnswer::Settings(format!("not a header: {text}"));
    let mut map = HeaderMap::new();
    let mut set = |name: &str, value: Option<&str>| {
        let name = http::HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong(name))?;
        match value {
            Some(value) => map.insert(name, http::HeaderValue::from_str(value).map_err(|_| wrong(value))?),
            None => map.remove(name),
        };
        Ok(())
    };
    set("User-Agent", Some("evenkeel-tests"))?;
    set("Accept", Some("application/json"))?;
    if has_body {
        set("Content-Type", Some("application/json"))?;
    }
    if let Some(token) = token.filter(|token| !token.is_empty()) {
        set("Authorization", Some(&format!("Bearer {token}")))?;
    }
    for (name, value) in headers {
        set(name, value.as_deref())?;
    }
    Ok(map)
}
