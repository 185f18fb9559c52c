//! A scripted API server behind a `kube::Client`: records every request, and answers as the script says, by default as a server would.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::BoxError;

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Virtual time since the server's start.
    pub at: Duration,
}

impl Seen {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// `metadata.name` of the body.
    pub fn name(&self) -> String {
        self.json()["metadata"]["name"].as_str().unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    /// One parameter of the query.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.split('&').find_map(|p| p.strip_prefix(name)?.strip_prefix('='))
    }
}

/// What the server does with a request.
pub enum Reply {
    Json(u16, Value),
    Headed(u16, &'static str, &'static str, Value),
    Raw(u16, Bytes),
    /// The connection breaks.
    Reset,
    /// A head, and a body that never ends.
    Stalls,
    /// Nothing, ever.
    Never,
    After(Duration, Box<Reply>),
}

pub fn after(ms: u64, reply: Reply) -> Reply {
    Reply::After(Duration::from_millis(ms), Box::new(reply))
}

/// A `metav1.Status`.
pub fn status(code: u16, reason: &str, message: &str) -> Reply {
    Reply::Json(
        code,
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": code}),
    )
}

/// What the server has stored, by path.
pub struct Stored {
    pub objects: BTreeMap<String, Value>,
    pub version: u64,
}

impl Stored {
    pub fn put(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let meta = object["metadata"].as_object_mut().unwrap();
        meta.insert("resourceVersion".into(), self.version.to_string().into());
        meta.entry("uid").or_insert(format!("uid-{name}").into());
        self.objects.insert(path.to_owned(), object.clone());
        object
    }

    /// The answer of a server that works.
    pub fn answer(&mut self, seen: &Seen) -> Reply {
        let body = seen.json();
        let missing = || status(404, "NotFound", &format!("{} not found", seen.path));
        match seen.method.as_str() {
            "POST" => {
                let path = format!("{}/{}", seen.path, seen.name());
                if self.objects.contains_key(&path) {
                    return status(409, "AlreadyExists", &format!("pods \"{}\" already exists", seen.name()));
                }
                Reply::Json(201, self.put(&path, body))
            }
            "GET" if seen.query.is_empty() => self.objects.get(&seen.path).map_or_else(missing, |o| Reply::Json(200, o.clone())),
            "GET" => {
                let name = seen.parameter("fieldSelector").and_then(|s| s.strip_prefix("metadata.name%3D")).expect("lists are by name");
                let items: Vec<&Value> = self.objects.get(&format!("{}/{name}", seen.path)).into_iter().collect();
                Reply::Json(200, json!({"kind": "List", "metadata": {"resourceVersion": self.version.to_string()}, "items": items}))
            }
            "PUT" | "PATCH" => {
                let path = seen.path.trim_end_matches("/status").to_owned();
                let Some(old) = self.objects.get(&path) else { return missing() };
                let wanted = &body["metadata"]["resourceVersion"];
                if !wanted.is_null() && *wanted != old["metadata"]["resourceVersion"] {
                    return status(409, "Conflict", "the object has been modified");
                }
                let object = old.clone();
                Reply::Json(200, self.put(&path, object))
            }
            "DELETE" => {
                let Some(old) = self.objects.get(&seen.path) else { return missing() };
                if body["preconditions"]["uid"] != old["metadata"]["uid"] {
                    return status(409, "Conflict", "Precondition failed: UID in precondition");
                }
                self.objects.remove(&seen.path);
                self.version += 1;
                Reply::Json(200, json!({"kind": "Status", "status": "Success"}))
            }
            other => panic!("{other}"),
        }
    }
}

type Script = Box<dyn FnMut(&Seen, &mut Stored) -> Reply + Send>;

struct Inner {
    start: Instant,
    seen: Vec<Seen>,
    stored: Stored,
    script: Script,
    busy: usize,
    most_busy: usize,
}

#[derive(Clone)]
pub struct Server(Arc<Mutex<Inner>>);

impl Server {
    pub fn new(script: impl FnMut(&Seen, &mut Stored) -> Reply + Send + 'static) -> Self {
        let stored = Stored { objects: BTreeMap::new(), version: 100 };
        Self(Arc::new(Mutex::new(Inner {
            start: Instant::now(),
            seen: Vec::new(),
            stored,
            script: Box::new(script),
            busy: 0,
            most_busy: 0,
        })))
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.0.lock().unwrap().seen.clone()
    }

    /// `METHOD path?query` of each request, without what all writes carry.
    pub fn lines(&self) -> Vec<String> {
        let line = |s: &Seen| match s.parameter("fieldSelector") {
            Some(selector) => format!("{} {}?{selector}", s.method, s.path),
            None => format!("{} {}", s.method, s.path),
        };
        self.seen().iter().map(line).collect()
    }

    pub fn count(&self, method: &str) -> usize {
        self.seen().iter().filter(|s| s.method == method).count()
    }

    /// Most requests that were under way at once.
    pub fn most_busy(&self) -> usize {
        self.0.lock().unwrap().most_busy
    }

    pub fn store(&self, path: &str, object: Value) {
        self.0.lock().unwrap().stored.put(path, object);
    }

    pub fn forget(&self, path: &str) {
        self.0.lock().unwrap().stored.objects.remove(path).expect("it was there");
    }

    pub fn version(&self) -> u64 {
        self.0.lock().unwrap().stored.version
    }

    pub fn client(&self) -> kube::Client {
        let server = self.clone();
        kube::Client::new(tower::service_fn(move |request| server.clone().serve(request)), "default")
    }

    async fn serve(self, request: http::Request<Body>) -> Result<Response<UnsyncBoxBody<Bytes, BoxError>>, BoxError> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let _busy = Busy::new(&self);
        let mut reply = {
            let inner = &mut *self.0.lock().unwrap();
            let query = head.uri.query().unwrap_or_default().to_owned();
            let at = inner.start.elapsed();
            let seen = Seen { method: head.method, path: head.uri.path().to_owned(), query, headers: head.headers, body, at };
            inner.seen.push(seen.clone());
            (inner.script)(&seen, &mut inner.stored)
        };
        loop {
            let full =
                |code: u16, bytes: Bytes| Response::builder().status(code).body(Full::new(bytes).map_err(|e| match e {}).boxed_unsync());
            reply = match reply {
                Reply::Json(code, value) => return Ok(full(code, value.to_string().into())?),
                Reply::Headed(code, name, value, body) => {
                    let mut response = full(code, body.to_string().into())?;
                    response.headers_mut().insert(name, value.parse()?);
                    return Ok(response);
                }
                Reply::Raw(code, bytes) => return Ok(full(code, bytes)?),
                Reply::Reset => return Err("connection reset by peer".into()),
                Reply::Stalls => {
                    let body = StreamBody::new(futures::stream::pending::<Result<http_body::Frame<Bytes>, BoxError>>());
                    return Ok(Response::new(body.boxed_unsync()));
                }
                Reply::Never => std::future::pending().await,
                Reply::After(time, next) => {
                    tokio::time::sleep(time).await;
                    *next
                }
            };
        }
    }
}

struct Busy(Server);

impl Busy {
    fn new(server: &Server) -> Self {
        let mut inner = server.0.lock().unwrap();
        inner.busy += 1;
        inner.most_busy = inner.most_busy.max(inner.busy);
        Self(server.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().busy -= 1;
    }
}
