//! What comes in and what goes out, free of any transport.

use std::pin::Pin;

use bytes::Bytes;
use futures::Stream;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::Value;

use crate::list_body::ListBody;
use crate::pretty;
use crate::store::Stored;

/// One request, already authenticated by whoever carried it here.
#[derive(Debug, Clone)]
pub struct Request {
    /// HTTP method.
    pub method: Method,
    /// Percent-decoded path without the query.
    pub path: String,
    /// Raw query, without the question mark.
    pub query: String,
    /// Request headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// Who asks.
    pub user: UserInfo,
}

/// Who asks: what authentication found out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserInfo {
    /// User name, such as `admin` or `system:serviceaccount:kube-system:deployment-controller`.
    pub name: String,
    /// User uid; may be empty.
    pub uid: String,
    /// Groups, `system:authenticated` included.
    pub groups: Vec<String>,
}

impl UserInfo {
    /// The all-powerful user of the local control plane.
    pub fn admin() -> Self {
        UserInfo { name: "admin".into(), uid: "admin".into(), groups: vec!["system:masters".into(), "system:authenticated".into()] }
    }

    /// Whoever shows no token.
    pub fn anonymous() -> Self {
        UserInfo { name: "system:anonymous".into(), uid: String::new(), groups: vec!["system:unauthenticated".into()] }
    }
}

/// Lines of a watch, one JSON document and a newline per item. Ends when the watch does.
pub type WatchStream = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// The body of an answer.
pub enum Body {
    /// Everything at once.
    Full(Bytes),
    /// A watch: one item per event.
    Watch(WatchStream),
}

/// One answer.
pub struct Response {
    /// HTTP status.
    pub status: StatusCode,
    /// Response headers (`Content-Type`, `Warning`, `Retry-After`, ...).
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
    /// A long list, still to be put together, in the place of the body: for the edge.
    pub(crate) list: Option<ListBody>,
}

impl Response {
    /// An answer.
    pub(crate) fn new(status: StatusCode, headers: HeaderMap, body: Body) -> Self {
        Response { status, headers, body, list: None }
    }

    /// A list in JSON, put together while it is sent.
    pub(crate) fn list(list: ListBody) -> Self {
        Response { list: Some(list), ..Self::json_bytes(StatusCode::OK, Bytes::new()) }
    }

    /// The answer with its whole body.
    pub(crate) fn whole(mut self) -> Self {
        if let Some(list) = self.list.take() {
            self.body = Body::Full(list.whole());
        }
        self
    }

    /// A JSON answer from encoded bytes.
    pub fn json_bytes(status: StatusCode, bytes: Bytes) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Response::new(status, headers, Body::Full(bytes))
    }

    /// A JSON answer, ended by a newline as Go's encoder does it.
    pub fn json(status: StatusCode, value: &Value) -> Self {
        let mut bytes = serde_json::to_vec(value).expect("a document of strings, numbers and maps always encodes");
        bytes.push(b'\n');
        Self::json_bytes(status, Bytes::from(bytes))
    }

    /// An object as it is stored.
    pub(crate) fn stored(status: StatusCode, stored: &Stored) -> Self {
        Self::json_bytes(status, [&stored.bytes[..], b"\n"].concat().into())
    }

    /// A plain text answer.
    pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        Response::new(status, headers, Body::Full(text.into()))
    }

    /// Writes a JSON body for people: indented by two spaces, as Go's encoder does it. Other bodies stay as they are.
    pub(crate) fn indent(&mut self) {
        if let Body::Full(bytes) = &mut self.body
            && let Some(text) = pretty::indented(bytes)
        {
            *bytes = text.into();
        }
    }

    /// The body when it is whole; `None` for a watch.
    pub fn bytes(&self) -> Option<&Bytes> {
        match &self.body {
            Body::Full(b) => Some(b),
            Body::Watch(_) => None,
        }
    }

    /// The body as a JSON document; `Null` when it is none.
    pub fn value(&self) -> Value {
        self.bytes().and_then(|b| serde_json::from_slice(b).ok()).unwrap_or(Value::Null)
    }
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = match &self.body {
            Body::Full(b) => String::from_utf8_lossy(b).into_owned(),
            Body::Watch(_) => "<watch>".to_owned(),
        };
        f.debug_struct("Response").field("status", &self.status).field("body", &body).finish()
    }
}
