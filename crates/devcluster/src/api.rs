//! A client in the same process: requests go to [`Server::handle`] as those of any other client do, only without a socket.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use evenkeel_apiserver::{Body, Request, Server, UserInfo, WatchStream};
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Why the server refused a request.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// HTTP status.
    pub code: StatusCode,
    /// `reason` of the `Status`, such as `NotFound`.
    pub reason: String,
    /// `message` of the `Status`.
    pub message: String,
}

impl Refused {
    /// Whether what was asked for is not there (any more).
    pub fn not_found(&self) -> bool {
        self.code == StatusCode::NOT_FOUND
    }
}

/// How a patch is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchType {
    /// Lists merge by their keys.
    Strategic,
    /// Server-side apply; the field manager goes into the query.
    Apply,
}

/// One client: who it is and how it calls itself.
#[derive(Clone)]
pub struct Api {
    server: Arc<Server>,
    user: UserInfo,
    agent: &'static str,
}

impl Api {
    /// A client that may do everything. `user` is its user name; `agent` its User-Agent, and so its name in `managedFields`.
    pub fn new(server: Arc<Server>, user: &str, agent: &'static str) -> Self {
        let groups = vec!["system:masters".to_owned(), "system:authenticated".to_owned()];
        let user = UserInfo { name: user.to_owned(), groups, ..UserInfo::default() };
        Self { server, user, agent }
    }

    /// Reads one object or list. `path` may carry a query.
    ///
    /// # Errors
    /// [`Refused`], as for all requests.
    pub fn get(&self, path: &str) -> Result<Value, Refused> {
        self.send(Method::GET, path, None, Bytes::new())
    }

    /// Creates `object` in the collection `path`.
    ///
    /// # Errors
    /// See [`Api::get`].
    pub fn create(&self, path: &str, object: &Value) -> Result<Value, Refused> {
        self.send(Method::POST, path, Some("application/json"), encoded(object))
    }

    /// Patches the object at `path`.
    ///
    /// # Errors
    /// See [`Api::get`].
    pub fn patch(&self, path: &str, kind: PatchType, patch: &Value) -> Result<Value, Refused> {
        let content_type = match kind {
            PatchType::Strategic => "application/strategic-merge-patch+json",
            PatchType::Apply => "application/apply-patch+yaml",
        };
        self.send(Method::PATCH, path, Some(content_type), encoded(patch))
    }

    /// Deletes the object at `path` at once, if it still is the one with this uid.
    ///
    /// # Errors
    /// See [`Api::get`].
    pub fn delete_now(&self, path: &str, uid: &str) -> Result<Value, Refused> {
        let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0, "preconditions": {"uid": uid}});
        self.delete(path, &options)
    }

    /// Deletes the object at `path` as these `DeleteOptions` say.
    ///
    /// # Errors
    /// See [`Api::get`].
    pub fn delete(&self, path: &str, options: &Value) -> Result<Value, Refused> {
        self.send(Method::DELETE, path, Some("application/json"), encoded(options))
    }

    /// Opens a watch; `path` carries the query, `watch=true` included.
    ///
    /// # Errors
    /// See [`Api::get`].
    pub fn watch(&self, path: &str) -> Result<Watch, Refused> {
        let response = self.server.handle(&self.request(Method::GET, path, None, Bytes::new()));
        match response.body {
            Body::Watch(stream) => Ok(Watch { stream }),
            Body::Full(bytes) => Err(refused(response.status, &bytes)),
        }
    }

    /// Waits until the answers so far are kept by the server, where it has a data file: before, they are not for showing.
    pub async fn settled(&self) {
        // A server that cannot keep its state ends.
        let _ = self.server.settled().await;
    }

    fn send(&self, method: Method, path: &str, content_type: Option<&'static str>, body: Bytes) -> Result<Value, Refused> {
        let response = self.server.handle(&self.request(method, path, content_type, body));
        let Body::Full(bytes) = response.body else {
            return Err(refused(StatusCode::BAD_REQUEST, b"a watch was not asked for"));
        };
        if !response.status.is_success() {
            return Err(refused(response.status, &bytes));
        }
        serde_json::from_slice(&bytes).map_err(|_| refused(response.status, &bytes))
    }

    fn request(&self, method: Method, path: &str, content_type: Option<&'static str>, body: Bytes) -> Request {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(self.agent));
        if let Some(content_type) = content_type {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        Request { method, path: path.to_owned(), query: query.to_owned(), headers, body, user: self.user.clone() }
    }
}

fn encoded(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

fn refused(code: StatusCode, body: &[u8]) -> Refused {
    let status: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let text = |key: &str| status[key].as_str().map(str::to_owned);
    Refused {
        code,
        reason: text("reason").unwrap_or_default(),
        message: text("message").unwrap_or_else(|| String::from_utf8_lossy(body).into_owned()),
    }
}

/// An open watch.
pub struct Watch {
    stream: WatchStream,
}

impl Watch {
    /// The next event, `{"type", "object"}`; `None` when the server ended the watch.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            let line = self.stream.next().await?;
            if let Ok(event) = serde_json::from_slice(&line) {
                return Some(event);
            }
        }
    }
}

/// What changed in a followed collection.
#[derive(Debug, PartialEq)]
pub enum Change {
    /// Everything that is there: at the start, and whenever the history was lost. What is not in it is gone.
    All(Vec<Value>),
    /// One object, new or changed.
    Set(Value),
    /// One object that is gone, as it was last.
    Gone(Value),
}

/// A collection followed by list and watch.
pub struct Follow {
    api: Api,
    collection: String,
    watch: Option<Watch>,
    version: String,
    not_before: Option<Instant>,
}

/// How long a follower waits before it asks again after a watch that was refused or went wrong.
const PAUSE: Duration = Duration::from_millis(500);

impl Follow {
    /// Follows the collection at `path` (without a query).
    pub fn new(api: Api, path: &str) -> Self {
        Self { api, collection: path.to_owned(), watch: None, version: String::new(), not_before: None }
    }

    /// The next change. Cancelling it loses nothing.
    ///
    /// # Errors
    /// [`Refused`] when the list is refused: there is nothing to follow.
    pub async fn next(&mut self) -> Result<Change, Refused> {
        loop {
            let Some(watch) = &mut self.watch else {
                if let Some(at) = self.not_before {
                    tokio::time::sleep_until(at).await;
                    self.not_before = None;
                }
                if self.version.is_empty() {
                    return self.list();
                }
                let query = format!("watch=true&allowWatchBookmarks=true&resourceVersion={}", self.version);
                match self.api.watch(&format!("{}?{query}", self.collection)) {
                    Ok(watch) => self.watch = Some(watch),
                    Err(_) => self.start_over(),
                }
                continue;
            };
            let Some(mut event) = watch.next().await else {
                self.watch = None;
                continue;
            };
            let object = event["object"].take();
            match event["type"].as_str() {
                Some("ERROR") | None => self.start_over(),
                Some(kind) => {
                    if let Some(version) = object["metadata"]["resourceVersion"].as_str() {
                        self.version = version.to_owned();
                    }
                    match kind {
                        "ADDED" | "MODIFIED" => return Ok(Change::Set(object)),
                        "DELETED" => return Ok(Change::Gone(object)),
                        _ => {}
                    }
                }
            }
        }
    }

    /// The history is lost, or there is no watch to be had: list again, but not at once.
    fn start_over(&mut self) {
        self.watch = None;
        self.version.clear();
        self.not_before = Some(Instant::now() + PAUSE);
    }

    fn list(&mut self) -> Result<Change, Refused> {
        let mut list = self.api.get(&self.collection)?;
        self.version = list["metadata"]["resourceVersion"].as_str().unwrap_or("0").to_owned();
        match list["items"].take() {
            Value::Array(items) => Ok(Change::All(items)),
            _ => Ok(Change::All(Vec::new())),
        }
    }
}
