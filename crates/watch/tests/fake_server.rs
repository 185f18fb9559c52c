//! A scripted API server for one or more kinds: a true list/watch model in JSON, and a script of lies and faults on top of it.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, channel::mpsc, future::BoxFuture};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use kube::client::Body;
use serde_json::{Value, json};

type Error = Box<dyn std::error::Error + Send + Sync>;
type Chunk = Result<Frame<Bytes>, Error>;
type Answer = Response<UnsyncBoxBody<Bytes, Error>>;

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum On {
    /// A list, any page.
    List,
    /// A watch that resumes.
    Watch,
    /// A streaming list.
    Stream,
}

/// How the server deals with `sendInitialEvents`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streaming {
    Served,
    /// Refused with this code.
    Refused(u16),
    /// Taken for a plain watch.
    Ignored,
}

/// An answer out of the script, in place of the true one.
pub enum Reply {
    /// The true answer, once.
    True,
    /// A status with `Retry-After`.
    Status(u16, &'static str, Option<u64>),
    /// A whole `Status` body.
    Body(u16, String),
    /// Good head, these chunks, and then the end of the body.
    Chunks(Vec<Bytes>),
    /// Good head, these chunks, and then a cut connection.
    Broken(Vec<Bytes>),
    /// Good head, these chunks, and then nothing for ever.
    Silent(Vec<Bytes>),
    /// No connection.
    NoConnection,
    /// A connection and no answer.
    NoAnswer,
}

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub on: On,
    pub path: String,
    pub query: BTreeMap<String, String>,
    pub at: tokio::time::Instant,
    pub accept: String,
}

impl Asked {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }
}

struct State {
    version: u64,
    /// Objects by path of the collection, then by namespace and name.
    objects: BTreeMap<String, BTreeMap<(String, String), Value>>,
    history: Vec<(u64, String, Value)>,
    compacted: u64,
    watchers: Vec<Watcher>,
    script: BTreeMap<On, VecDeque<Reply>>,
    asked: Vec<Asked>,
    streaming: Streaming,
    forbidden: Option<String>,
    /// Page tokens are refused.
    tokens_expire: bool,
    /// Tokens: the rest of a list, and its version.
    tokens: Vec<(Vec<Value>, u64)>,
}

#[derive(Clone)]
pub struct Fake(Arc<Mutex<State>>);

pub const PODS: &str = "/api/v1/pods";
pub const DEPLOYMENTS: &str = "/apis/apps/v1/deployments";

fn kind_of(path: &str) -> &'static str {
    match path {
        PODS => "Pod",
        DEPLOYMENTS => "Deployment",
        "/apis/apps/v1/replicasets" => "ReplicaSet",
        _ => "Unknown",
    }
}

impl Fake {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            version: 100,
            objects: BTreeMap::new(),
            history: Vec::new(),
            compacted: 0,
            watchers: Vec::new(),
            script: BTreeMap::new(),
            asked: Vec::new(),
            streaming: Streaming::Served,
            forbidden: None,
            tokens_expire: false,
            tokens: Vec::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.clone(), "default")
    }

    pub fn version(&self) -> u64 {
        self.state().version
    }

    /// Sets the revision without an event: somebody else wrote, or (backwards) a backup came back.
    pub fn set_version(&self, version: u64) {
        self.state().version = version;
    }

    pub fn streaming(&self, how: Streaming) {
        self.state().streaming = how;
    }

    pub fn forbid(&self, path: Option<&str>) {
        self.state().forbidden = path.map(str::to_owned);
    }

    pub fn let_tokens_expire(&self) {
        self.state().tokens_expire = true;
    }

    /// A pod of a given uid, created or changed; gives its version.
    pub fn pod(&self, name: &str, uid: &str) -> u64 {
        self.put(
            PODS,
            json!({"metadata": {"name": name, "namespace": "ns", "uid": uid, "labels": {"app": name}}, "status": {"phase": "Running"}}),
        )
    }

    pub fn put(&self, path: &str, object: Value) -> u64 {
        self.write(path, object, true)
    }

    /// As [`Fake::put`], while watchers hear nothing of it.
    pub fn put_unheard(&self, path: &str, object: Value) -> u64 {
        self.write(path, object, false)
    }

    fn write(&self, path: &str, mut object: Value, heard: bool) -> u64 {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        object["metadata"]["resourceVersion"] = version.to_string().into();
        if object.get("kind").is_none() {
            object["kind"] = kind_of(path).into();
        }
        let old = state.objects.entry(path.to_owned()).or_default().insert(key(&object), object.clone());
        let event = json!({"type": if old.is_some() { "MODIFIED" } else { "ADDED" }, "object": object});
        state.emit(path, event, heard);
        version
    }

    pub fn delete(&self, path: &str, name: &str) -> u64 {
        self.remove(path, name, true)
    }

    /// As [`Fake::delete`], while watchers never hear of it (F8).
    pub fn delete_unheard(&self, path: &str, name: &str) -> u64 {
        self.remove(path, name, false)
    }

    fn remove(&self, path: &str, name: &str, heard: bool) -> u64 {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        let mut object = state.objects.get_mut(path).unwrap().remove(&("ns".to_owned(), name.to_owned())).unwrap();
        object["metadata"]["resourceVersion"] = version.to_string().into();
        state.emit(path, json!({"type": "DELETED", "object": object}), heard);
        version
    }

    /// A bookmark to every open watch.
    pub fn bookmark(&self) {
        let mut state = self.state();
        let version = state.version;
        state.watchers.retain(|watcher| watcher.tell(&bookmark(&watcher.path, version, false)));
    }

    /// Raw bytes to every open watch.
    pub fn send(&self, text: impl Into<Bytes>) {
        let text = text.into();
        self.state().watchers.retain(|watcher| watcher.to.unbounded_send(data(text.clone())).is_ok());
    }

    /// One event to every open watch, true or not.
    pub fn event(&self, kind: &str, object: Value) {
        self.send(line(&json!({"type": kind, "object": object})));
    }

    /// Ends all watches as a server does when their time is up.
    pub fn end_watches(&self) {
        self.state().watchers.clear();
    }

    /// Cuts all watches as a broken network does.
    pub fn cut_watches(&self) {
        for watcher in self.state().watchers.drain(..) {
            let _ = watcher.to.unbounded_send(Err("connection reset by peer".into()));
        }
    }

    /// Forgets all history: resuming from before now is answered with 410.
    pub fn compact(&self) {
        let mut state = self.state();
        state.history.clear();
        state.compacted = state.version;
    }

    /// Answers the next such request out of the script.
    pub fn then(&self, on: On, reply: Reply) -> &Self {
        self.state().script.entry(on).or_default().push_back(reply);
        self
    }

    /// All requests since the last call.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state().asked)
    }

    pub fn watchers(&self) -> usize {
        let mut state = self.state();
        state.watchers.retain(|watcher| !watcher.to.is_closed());
        state.watchers.len()
    }

    /// Name, uid and version of all objects of a kind.
    pub fn objects(&self, path: &str) -> Vec<(String, String, u64)> {
        let state = self.state();
        state.objects.get(path).into_iter().flatten().map(|(_, o)| identity(o)).collect()
    }

    fn answer(&self, request: &Request<Body>) -> Result<Answer, Error> {
        let query: BTreeMap<String, String> = request
            .uri()
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        let is = |name: &str| query.get(name).is_some_and(|v| v == "true");
        let on = match (is("watch"), is("sendInitialEvents")) {
            (true, true) => On::Stream,
            (true, false) => On::Watch,
            _ => On::List,
        };
        let path = request.uri().path().to_owned();
        let mut state = self.state();
        let accept = request.headers().get("accept").map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
        let metadata = accept.contains("as=PartialObjectMetadata");
        state.asked.push(Asked { on, path: path.clone(), query: query.clone(), at: tokio::time::Instant::now(), accept });
        match state.script.get_mut(&on).and_then(VecDeque::pop_front).unwrap_or(Reply::True) {
            Reply::True => {}
            Reply::Status(code, reason, after) => return Ok(status(code, reason, after)),
            Reply::Body(code, body) => return Ok(with_body(code, futures::stream::iter([data(body.into())]))),
            Reply::Chunks(chunks) => return Ok(with_body(200, futures::stream::iter(chunks.into_iter().map(data)))),
            Reply::Broken(chunks) => {
                let cut = futures::stream::iter([Err("connection reset by peer".into())]);
                return Ok(with_body(200, futures::stream::iter(chunks.into_iter().map(data)).chain(cut)));
            }
            Reply::Silent(chunks) => {
                return Ok(with_body(200, futures::stream::iter(chunks.into_iter().map(data)).chain(futures::stream::pending())));
            }
            Reply::NoConnection => return Err("connection refused".into()),
            Reply::NoAnswer => return Err("".into()),
        }
        if state.forbidden.as_deref() == Some(&*path) {
            return Ok(status(403, "Forbidden", None));
        }
        let from: u64 = query.get("resourceVersion").map_or(0, |v| v.parse().unwrap());
        if on == On::List {
            return Ok(state.list(&path, &query, metadata));
        }
        if on == On::Stream
            && let Streaming::Refused(code) = state.streaming
        {
            return Ok(status(code, "Invalid", None));
        }
        if from > state.version {
            return Ok(too_large());
        }
        let (to, events) = mpsc::unbounded();
        let watcher = Watcher { path, to, metadata };
        let tell = |value: &Value| assert!(watcher.tell(value));
        if on == On::Watch && from < state.compacted {
            tell(
                &json!({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}}),
            );
            return Ok(with_body(200, events));
        }
        let all: Vec<Value> = state.objects.get(&watcher.path).into_iter().flatten().map(|(_, o)| o.clone()).collect();
        if on == On::Stream && (state.streaming == Streaming::Served || from == 0) {
            all.iter().for_each(|o| tell(&json!({"type": "ADDED", "object": o})));
        }
        if on == On::Stream && state.streaming == Streaming::Served {
            tell(&bookmark(&watcher.path, state.version, true));
        } else if from > 0 {
            state.history.iter().filter(|(v, p, _)| *v > from && *p == watcher.path).for_each(|(_, _, event)| tell(event));
        }
        state.watchers.push(watcher);
        Ok(with_body(200, events))
    }
}

/// One open watch.
struct Watcher {
    path: String,
    to: mpsc::UnboundedSender<Chunk>,
    /// Of metadata alone.
    metadata: bool,
}

const METADATA: &str = "PartialObjectMetadata";

impl Watcher {
    /// Whether anybody still hears it.
    fn tell(&self, event: &Value) -> bool {
        let mut event = event.clone();
        if self.metadata && event["object"]["kind"] != "Status" {
            event["object"]["kind"] = METADATA.into();
        }
        self.to.unbounded_send(data(line(&event))).is_ok()
    }
}

impl State {
    fn emit(&mut self, path: &str, event: Value, heard: bool) {
        if heard {
            self.history.push((self.version, path.to_owned(), event.clone()));
            self.watchers.retain(|watcher| watcher.path != path || watcher.tell(&event));
        }
    }

    fn list(&mut self, path: &str, query: &BTreeMap<String, String>, metadata: bool) -> Answer {
        let limit: usize = query.get("limit").map_or(usize::MAX, |l| l.parse().unwrap());
        let (mut items, version) = match query.get("continue") {
            Some(_) if self.tokens_expire => return status(410, "Expired", None),
            Some(token) => self.tokens[token.parse::<usize>().unwrap()].clone(),
            None => {
                if query.get("resourceVersion").is_some_and(|v| v.parse::<u64>().unwrap() > self.version) {
                    return too_large();
                }
                (self.objects.get(path).into_iter().flatten().map(|(_, o)| o.clone()).collect(), self.version)
            }
        };
        let rest = items.split_off(limit.min(items.len()));
        let mut meta = json!({"resourceVersion": version.to_string()});
        if !rest.is_empty() {
            self.tokens.push((rest, version));
            meta["continue"] = (self.tokens.len() - 1).to_string().into();
        }
        for item in &mut items {
            item.as_object_mut().unwrap().remove("kind");
        }
        let kind = if metadata { METADATA } else { kind_of(path) };
        let body = json!({"kind": format!("{kind}List"), "apiVersion": "v1", "metadata": meta, "items": items}).to_string();
        // In small chunks, as they come off a network.
        let chunks: Vec<Chunk> = body.as_bytes().chunks(1_000).map(|c| data(Bytes::copy_from_slice(c))).collect();
        with_body(200, futures::stream::iter(chunks))
    }
}

fn key(object: &Value) -> (String, String) {
    let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}

pub fn identity(object: &Value) -> (String, String, u64) {
    let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
    (text("name"), text("uid"), text("resourceVersion").parse().unwrap_or(0))
}

pub fn bookmark(path: &str, version: u64, end: bool) -> Value {
    let mut meta = json!({"resourceVersion": version.to_string()});
    if end {
        meta["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    json!({"type": "BOOKMARK", "object": {"kind": kind_of(path), "apiVersion": "v1", "metadata": meta}})
}

pub fn line(value: &Value) -> Bytes {
    format!("{value}\n").into()
}

fn data(bytes: Bytes) -> Chunk {
    Ok(Frame::data(bytes))
}

fn with_body(code: u16, chunks: impl futures::Stream<Item = Chunk> + Send + 'static) -> Answer {
    Response::builder().status(code).body(StreamBody::new(chunks).boxed_unsync()).unwrap()
}

fn status(code: u16, reason: &str, after: Option<u64>) -> Answer {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": format!("scripted {reason}")});
    let mut answer = with_body(code, futures::stream::iter([data(body.to_string().into())]));
    if let Some(after) = after {
        answer.headers_mut().insert("retry-after", after.into());
    }
    answer
}

fn too_large() -> Answer {
    let body = json!({"kind": "Status", "code": 504, "reason": "Timeout", "message": "Timeout: Too large resource version: 999, current: 1",
        "details": {"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}], "retryAfterSeconds": 1}});
    with_body(504, futures::stream::iter([data(body.to_string().into())]))
}

impl tower::Service<Request<Body>> for Fake {
    type Response = Answer;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Answer, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.answer(&request);
        Box::pin(async move {
            match answer {
                Err(e) if e.to_string().is_empty() => {
                    let never: Result<Infallible, Error> = futures::future::pending().await;
                    Err(never.unwrap_err())
                }
                other => {
                    // A round trip, so that a driver without pauses would still show in virtual time.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    other
                }
            }
        })
    }
}
