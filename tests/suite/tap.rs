//! An API server in this process behind a tap: every request can be seen, kept, refused or slowed down, and lines of watches can be lost or
//! held up. Managers reach it in virtual time without a socket, or over loopback in plain HTTP.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use evenkeel_apiserver::{Body, Clock, Options, Request, Server, UserInfo};
use evenkeel_devcluster::api::Api;
use futures::StreamExt;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpListener, sync::watch};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Number of the connection; 0 in process.
    pub connection: usize,
    pub method: String,
    pub path: String,
    pub query: String,
}

impl Asked {
    /// Whether it is of this method and its path ends so.
    pub fn is(&self, method: &str, end: &str) -> bool {
        self.method == method && self.path.ends_with(end)
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy)]
pub enum Fate {
    /// It is done and answered after a while.
    Late(Duration),
    /// Nothing is done, and nothing is said.
    Silence,
    /// It is refused.
    Refused(u16),
}

type Rule = Box<dyn Fn(&Asked) -> Option<Fate> + Send>;
type Loses = Box<dyn Fn(&str, &Value) -> bool + Send>;
type Changes = Box<dyn Fn(&Asked, &mut Value) + Send>;

struct Inner {
    server: Arc<Server>,
    asked: Mutex<Vec<Asked>>,
    rules: Mutex<Vec<Rule>>,
    loses: Mutex<Vec<Loses>>,
    changes: Mutex<Vec<Changes>>,
    /// End of the collection path whose watches are held up.
    held: watch::Sender<Option<&'static str>>,
    /// Requests under way by method and path, and the most that there were.
    busy: Mutex<BTreeMap<String, (usize, usize)>>,
}

/// A server and the tap before it. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Tap(Arc<Inner>);

type Answer = http::Response<UnsyncBoxBody<Bytes, Infallible>>;

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tap {
    /// A fresh server.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let inner = Inner {
            server: Server::new(Options::seeded(clock, 1)),
            asked: Mutex::default(),
            rules: Mutex::default(),
            loses: Mutex::default(),
            changes: Mutex::default(),
            held: watch::Sender::new(None),
            busy: Mutex::default(),
        };
        Self(Arc::new(inner))
    }

    /// Somebody who stands beside the tap and may do everything.
    pub fn admin(&self) -> Api {
        Api::new(Arc::clone(&self.0.server), "admin", "tests")
    }

    /// From now on requests meet what `rule` says of them; the first rule that says something counts.
    pub fn rule(&self, rule: impl Fn(&Asked) -> Option<Fate> + Send + 'static) {
        lock(&self.0.rules).push(Box::new(rule));
    }

    /// From now on no watch shows events (path of the watch, event) of which `which` says so.
    pub fn lose(&self, which: impl Fn(&str, &Value) -> bool + Send + 'static) {
        lock(&self.0.loses).push(Box::new(which));
    }

    /// From now on whole answers are changed on their way.
    pub fn change(&self, change: impl Fn(&Asked, &mut Value) + Send + 'static) {
        lock(&self.0.changes).push(Box::new(change));
    }

    /// Holds up all watches of a collection, such as `/pods`; `None`: lets all go on.
    pub fn hold(&self, collection: Option<&'static str>) {
        self.0.held.send_replace(collection);
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.0.asked).clone()
    }

    /// How many requests of this method there were whose path ends so.
    pub fn count(&self, method: &str, end: &str) -> usize {
        lock(&self.0.asked).iter().filter(|asked| asked.is(method, end)).count()
    }

    /// The most requests of this method and path that were under way at once.
    pub fn most_at_once(&self, method: &str, path: &str) -> usize {
        lock(&self.0.busy).get(&format!("{method} {path}")).map_or(0, |(_, most)| *most)
    }

    /// A client in this process.
    pub fn client(&self) -> kube::Client {
        let tap = self.clone();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let tap = tap.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                let answer = tap.answer(0, parts, body).await;
                // The others have their turn after every request, as they would have with a socket between.
                tokio::task::yield_now().await;
                Ok::<_, tower::BoxError>(answer)
            }
        });
        kube::Client::new(service, "default")
    }

    /// Serves plain HTTP on a port of the loopback, which it says.
    pub async fn listen(&self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let tap = self.clone();
        tokio::spawn(async move {
            for connection in 1.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let tap = tap.clone();
                let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let tap = tap.clone();
                    async move {
                        let (parts, body) = request.into_parts();
                        let body = body.collect().await?.to_bytes();
                        Ok::<_, hyper::Error>(tap.answer(connection, parts, body).await)
                    }
                });
                let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                // A client that goes is no fault.
                tokio::spawn(async move { drop(serving.await) });
            }
        });
        port
    }

    async fn answer(&self, connection: usize, parts: http::request::Parts, body: Bytes) -> Answer {
        let asked = Asked {
            connection,
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
        };
        lock(&self.0.asked).push(asked.clone());
        let _under_way = UnderWay::new(self, format!("{} {}", asked.method, asked.path));
        let fate = lock(&self.0.rules).iter().find_map(|rule| rule(&asked));
        match fate {
            None => {}
            Some(Fate::Late(time)) => tokio::time::sleep(time).await,
            Some(Fate::Silence) => std::future::pending().await,
            Some(Fate::Refused(code)) => return refused(code),
        }
        let request = Request {
            method: parts.method,
            path: asked.path.clone(),
            query: asked.query.clone(),
            headers: parts.headers,
            body,
            user: UserInfo::admin(),
        };
        let answer = self.0.server.handle(&request);
        let body = match answer.body {
            Body::Full(bytes) => UnsyncBoxBody::new(Full::new(self.changed(&asked, bytes))),
            Body::Watch(lines) => {
                let (tap, path) = (self.clone(), asked.path);
                let lines = lines.filter_map(move |line| tap.clone().pass_on(path.clone(), line));
                UnsyncBoxBody::new(StreamBody::new(lines.map(|line| Ok(Frame::data(line)))))
            }
        };
        let mut response = http::Response::new(body);
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        response
    }

    fn changed(&self, asked: &Asked, bytes: Bytes) -> Bytes {
        let changes = lock(&self.0.changes);
        match serde_json::from_slice::<Value>(&bytes) {
            Ok(mut body) if !changes.is_empty() => {
                changes.iter().for_each(|change| change(asked, &mut body));
                body.to_string().into()
            }
            _ => bytes,
        }
    }

    /// A line of a watch, once it may go on, unless it is lost.
    async fn pass_on(self, path: String, line: Bytes) -> Option<Bytes> {
        let mut held = self.0.held.subscribe();
        held.wait_for(|collection| collection.is_none_or(|end| !path.ends_with(end))).await.ok()?;
        // What is there at once may come in one piece.
        let loses = lock(&self.0.loses);
        let lost = |line: &[u8]| serde_json::from_slice(line).is_ok_and(|event| loses.iter().any(|loses| loses(&path, &event)));
        let kept: Vec<u8> = line.split_inclusive(|byte| *byte == b'\n').filter(|line| !lost(line)).flatten().copied().collect();
        (!kept.is_empty()).then(|| kept.into())
    }
}

fn refused(code: u16) -> Answer {
    let status = serde_json::json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "not for you"});
    let mut response = http::Response::new(UnsyncBoxBody::new(Full::new(Bytes::from(status.to_string()))));
    *response.status_mut() = http::StatusCode::from_u16(code).expect("a code");
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

/// Counts a request while it is under way.
struct UnderWay(Tap, String);

impl UnderWay {
    fn new(tap: &Tap, what: String) -> Self {
        let mut busy = lock(&tap.0.busy);
        let (now, most) = busy.entry(what.clone()).or_default();
        *now += 1;
        *most = (*most).max(*now);
        drop(busy);
        Self(tap.clone(), what)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some((now, _)) = lock(&self.0.0.busy).get_mut(&self.1) {
            *now -= 1;
        }
    }
}
