//! The network between managers and server, with everything that goes wrong on it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use evenkeel_apiserver::{Body as Answer, Request as Question, Server, UserInfo, WatchStream};
use futures::task::AtomicWaker;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

use crate::{
    Fault,
    chance::Dice,
    history::{Actor, Asked, Shared, lock},
};

type BoxError = tower::BoxError;
type Reply = Response<UnsyncBoxBody<Bytes, BoxError>>;

/// One start of one manager: its way to the server, until it dies.
pub struct Link {
    /// Number, over all managers.
    pub id: usize,
    /// Manager that it belongs to.
    pub manager: usize,
    dead: AtomicBool,
    /// Told when the process dies.
    pub died: Notify,
    /// Asks the process to end in order.
    pub stop: watch::Sender<bool>,
    /// The write at which the process dies, and how.
    crash: Mutex<Option<(u64, Fault)>>,
}

impl Link {
    fn die(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.died.notify_one();
    }

    /// Lets the process die around its `n`-th write from now on.
    pub fn crash_at(&self, n: u64, how: Fault) {
        *lock(&self.crash) = Some((n, how));
    }

    /// Whether this write is the last; `None`: no.
    fn crash_now(&self) -> Option<Fault> {
        let mut crash = lock(&self.crash);
        let (left, how) = crash.as_mut()?;
        *left = left.saturating_sub(1);
        (*left == 0).then_some(*how).inspect(|_| *crash = None)
    }
}

/// What is wrong at the moment.
struct Weather {
    dice: Dice,
    calm: bool,
    storm_until: Option<Instant>,
    denied_until: Option<Instant>,
    lease_dark: BTreeMap<usize, Instant>,
    frozen: BTreeMap<(usize, &'static str), Instant>,
    faults: BTreeMap<Fault, u64>,
}

/// An open watch.
struct Stream {
    manager: usize,
    kind: &'static str,
    lines: WatchStream,
    to: mpsc::UnboundedSender<(Instant, Bytes)>,
    last: Instant,
}

/// The network.
pub struct Network {
    server: Arc<Server>,
    history: Shared,
    start: Instant,
    weather: Mutex<Weather>,
    streams: Mutex<Vec<Stream>>,
    opened: AtomicWaker,
    links: Mutex<BTreeMap<usize, Arc<Link>>>,
}

/// What becomes of a request.
enum Fate {
    Pass,
    Lost { committed: bool, silent: bool },
    Refused(u16, &'static str),
}

/// Kinds whose watches can be late each on its own.
pub const KINDS: [&str; 4] = ["deployments", "replicasets", "replicationcontrollers", "pods"];

fn kind_of(path: &str) -> &'static str {
    KINDS.into_iter().find(|k| path.split('/').any(|part| part == *k)).unwrap_or("leases")
}

impl Network {
    /// A network before a server.
    pub fn new(server: Arc<Server>, history: Shared, seed: u64) -> Arc<Self> {
        let weather = Weather {
            dice: Dice::new(seed, 1),
            calm: false,
            storm_until: None,
            denied_until: None,
            lease_dark: BTreeMap::new(),
            frozen: BTreeMap::new(),
            faults: BTreeMap::new(),
        };
        Arc::new(Self {
            server,
            history,
            start: Instant::now(),
            weather: Mutex::new(weather),
            streams: Mutex::default(),
            opened: AtomicWaker::new(),
            links: Mutex::default(),
        })
    }

    /// Virtual milliseconds since the start.
    pub fn now(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    /// A new process of a manager, and its client.
    pub fn connect(self: &Arc<Self>, manager: usize) -> (Arc<Link>, kube::Client) {
        let id = {
            let mut history = lock(&self.history);
            history.links.push(manager);
            history.links.len() - 1
        };
        let (dead, died, crash, stop) = (AtomicBool::new(false), Notify::new(), Mutex::default(), watch::Sender::new(false));
        let link = Arc::new(Link { id, manager, dead, died, stop, crash });
        lock(&self.links).insert(manager, link.clone());
        let (network, to) = (self.clone(), link.clone());
        let service = tower::service_fn(move |request| network.clone().call(to.clone(), request));
        (link, kube::Client::new(service, "default"))
    }

    /// The process of a manager that runs now.
    pub fn link(&self, manager: usize) -> Option<Arc<Link>> {
        lock(&self.links).get(&manager).cloned()
    }

    /// Counts a fault that struck.
    pub fn struck(&self, fault: Fault) {
        *lock(&self.weather).faults.entry(fault).or_default() += 1;
    }

    /// How often each fault has struck.
    pub fn faults(&self) -> BTreeMap<Fault, u64> {
        lock(&self.weather).faults.clone()
    }

    /// No more faults from now on.
    pub fn calm(&self) {
        let mut weather = lock(&self.weather);
        weather.calm = true;
        (weather.storm_until, weather.denied_until) = (None, None);
        weather.lease_dark.clear();
        weather.frozen.clear();
        drop(weather);
        lock(&self.links).values().for_each(|l| *lock(&l.crash) = None);
        lock(&self.history).calm_at = self.now();
    }

    /// Many requests fail for a while.
    pub fn storm(&self, time: Duration) {
        lock(&self.weather).storm_until = Some(Instant::now() + time);
    }

    /// Creations of pods are denied for a while.
    pub fn deny(&self, time: Duration) {
        lock(&self.weather).denied_until = Some(Instant::now() + time);
    }

    /// A manager does not get at the Lease for a while.
    pub fn darken_lease(&self, manager: usize, time: Duration) {
        lock(&self.weather).lease_dark.insert(manager, Instant::now() + time);
    }

    /// A manager learns nothing of a kind for a while.
    pub fn freeze(&self, manager: usize, kind: &'static str, time: Duration) {
        lock(&self.weather).frozen.insert((manager, kind), Instant::now() + time);
    }

    /// Cuts watches; what was under way is lost.
    pub fn cut(&self, which: impl Fn(usize, &str) -> bool) {
        let mut cut = 0;
        lock(&self.streams).retain(|s| {
            !which(s.manager, s.kind) || {
                cut += 1;
                false
            }
        });
        if cut > 0 {
            self.struck(Fault::WatchCut);
        }
    }

    /// Closes the watches of a process that is no more.
    pub fn cut_off(&self, manager: usize) {
        lock(&self.streams).retain(|s| s.manager != manager);
    }

    /// Wall time as objects carry it.
    pub fn stamp(&self) -> String {
        let seconds = self.server.options().clock.now().as_second();
        jiff::Timestamp::from_second(seconds).map(|t| t.to_string()).unwrap_or_default()
    }

    /// Forgets the server's history, so that watches cannot be resumed from old versions.
    pub fn compact(&self) {
        self.server.compact();
        self.server.compact();
    }

    /// Moves lines from the server to the watches, in one task, so that the order of wake-ups never shows.
    pub async fn pump(self: Arc<Self>) {
        std::future::poll_fn(|cx| self.pump_once(cx)).await
    }

    fn pump_once(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.opened.register(cx.waker());
        lock(&self.streams).retain_mut(|s| {
            loop {
                if s.to.is_closed() {
                    return false;
                }
                match s.lines.as_mut().poll_next(cx) {
                    Poll::Pending => return true,
                    Poll::Ready(None) => return false,
                    Poll::Ready(Some(line)) => {
                        let mut weather = lock(&self.weather);
                        let mut at = Instant::now() + weather.dice.ms(1..15);
                        if let Some(until) = weather.frozen.get(&(s.manager, s.kind)).filter(|until| **until > at) {
                            at = *until;
                            *weather.faults.entry(Fault::WatchLate).or_default() += 1;
                        }
                        s.last = s.last.max(at);
                        // A watch that was cut meanwhile takes no more.
                        let _ = s.to.send((s.last, line));
                    }
                }
            }
        });
        Poll::Pending
    }

    fn fate(&self, link: &Link, method: &Method, path: &str) -> (Duration, Duration, Fate) {
        let mut w = lock(&self.weather);
        let w = &mut *w;
        let (there, back) = (w.dice.ms(1..20), w.dice.ms(1..20));
        let now = Instant::now();
        let is = |until: Option<Instant>| until.is_some_and(|u| u > now);
        if w.calm {
            return (there, back, Fate::Pass);
        }
        let mut strike = |fault| *w.faults.entry(fault).or_default() += 1;
        if path.contains("/leases") && is(w.lease_dark.get(&link.manager).copied()) {
            strike(Fault::LeaseTrouble);
            return (there, back, Fate::Lost { committed: false, silent: w.dice.percent(50) });
        }
        if *method == Method::POST && path.ends_with("/pods") && is(w.denied_until) {
            strike(Fault::Denied);
            return (there, back, Fate::Refused(403, "Forbidden"));
        }
        if !w.dice.percent(if is(w.storm_until) { 35 } else { 3 }) {
            return (there, back, Fate::Pass);
        }
        let silent = w.dice.percent(30);
        let fate = match w.dice.pick(0..7) {
            0 | 1 if *method != Method::GET => (Fault::AnswerLostCommitted, Fate::Lost { committed: true, silent }),
            2 if *method != Method::GET => (Fault::AnswerLostNotCommitted, Fate::Lost { committed: false, silent }),
            3 if [Method::PUT, Method::PATCH].contains(method) => (Fault::Conflict, Fate::Refused(409, "Conflict")),
            4 => (Fault::TooMany, Fate::Refused(429, "TooManyRequests")),
            5 => (Fault::InternalError, Fate::Refused(500, "InternalError")),
            6 => (Fault::Unavailable, Fate::Refused(503, "ServiceUnavailable")),
            _ => return (there, back, Fate::Pass),
        };
        strike(fate.0);
        (there, back, fate.1)
    }

    async fn call(self: Arc<Self>, link: Arc<Link>, request: Request<Body>) -> Result<Reply, BoxError> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let sent = self.now();
        let (path, query) = (parts.uri.path().to_owned(), parts.uri.query().unwrap_or_default().to_owned());
        let (there, back, fate) = self.fate(&link, &parts.method, &path);
        let write = parts.method != Method::GET && KINDS.contains(&kind_of(&path));
        let crash = if write { link.crash_now() } else { None };
        if crash == Some(Fault::CrashBefore) {
            self.struck(Fault::CrashBefore);
            link.die();
        }
        sleep(there).await;
        if link.dead.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        if let Fate::Lost { committed: false, silent } = fate {
            return lost(silent).await;
        }
        let question = Question { method: parts.method, path, query, headers: parts.headers, body, user: UserInfo::admin() };
        let answer = match fate {
            Fate::Refused(code, reason) => refusal(code, reason),
            _ => self.ask(&question, Actor::Manager { link: link.id, sent }),
        };
        if answer.status == StatusCode::GONE {
            self.struck(Fault::Expired);
        }
        if question.method != Method::GET {
            let asked = Asked {
                at: self.now(),
                sent,
                link: link.id,
                method: question.method.to_string(),
                path: question.path.clone(),
                body: serde_json::from_slice(&question.body).unwrap_or_default(),
                code: answer.status.as_u16(),
            };
            lock(&self.history).requests.push(asked);
        }
        if crash == Some(Fault::CrashAfterCommit) {
            self.struck(Fault::CrashAfterCommit);
            link.die();
            return std::future::pending().await;
        }
        if let Fate::Lost { silent, .. } = fate {
            return lost(silent).await;
        }
        sleep(back).await;
        if link.dead.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        if crash == Some(Fault::CrashAfterAnswer) {
            self.struck(Fault::CrashAfterAnswer);
            link.die();
        }
        let body = match answer.body {
            Answer::Full(bytes) => Full::new(bytes).map_err(|never| match never {}).boxed_unsync(),
            Answer::Watch(lines) => self.open(&link, kind_of(&question.path), lines),
        };
        let mut response = Response::new(body);
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }

    fn open(self: &Arc<Self>, link: &Arc<Link>, kind: &'static str, lines: WatchStream) -> UnsyncBoxBody<Bytes, BoxError> {
        let (to, from) = mpsc::unbounded_channel::<(Instant, Bytes)>();
        lock(&self.streams).push(Stream { manager: link.manager, kind, lines, to, last: Instant::now() });
        self.opened.wake();
        let (network, link) = (self.clone(), link.clone());
        let lines = futures::stream::unfold(from, move |mut from| {
            let (network, link) = (network.clone(), link.clone());
            async move {
                let (at, line) = from.recv().await?;
                sleep_until(at).await;
                network.show(link.id, kind, &line);
                Some((Ok::<_, BoxError>(http_body::Frame::data(line)), from))
            }
        });
        StreamBody::new(lines).boxed_unsync()
    }

    /// Notes what a manager gets to know.
    fn show(&self, link: usize, kind: &str, line: &[u8]) {
        let Ok(event) = serde_json::from_slice::<Value>(line) else { return };
        if event["object"]["code"] == 410 {
            self.struck(Fault::Expired);
        }
        let version: Option<u64> = event["object"]["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse().ok());
        // Initial events come in the order of names: only what is newer than all before says how far the manager is.
        if let Some(version) = version {
            let mut history = lock(&self.history);
            let shown = history.shown.entry((link, kind.to_owned())).or_default();
            let version = shown.last().map_or(version, |(_, last): &(u64, u64)| version.max(*last));
            shown.push((self.now(), version));
        }
    }

    fn ask(&self, question: &Question, actor: Actor) -> evenkeel_apiserver::Response {
        lock(&self.history).actor = Some(actor);
        let answer = self.server.handle(question);
        lock(&self.history).actor = None;
        answer
    }

    /// A request of somebody who stands next to the server: a person, a kubelet.
    pub fn act(&self, actor: Actor, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
        let mut headers = HeaderMap::new();
        let kind = if method == Method::PATCH { "application/strategic-merge-patch+json" } else { "application/json" };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let bytes = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let question = Question { method, path: path.to_owned(), query: String::new(), headers, body: bytes, user: UserInfo::admin() };
        let answer = self.ask(&question, actor);
        (answer.status, answer.value())
    }

    /// All objects of a resource (`apps/deployments`, `/pods`).
    pub fn all(&self, resource: &str) -> Vec<Value> {
        self.server.dump(resource).1.iter().filter_map(|b| serde_json::from_slice(b).ok()).collect()
    }
}

async fn lost(silent: bool) -> Result<Reply, BoxError> {
    if silent {
        std::future::pending::<()>().await;
    }
    Err("connection reset by peer".into())
}

fn refusal(code: u16, reason: &str) -> evenkeel_apiserver::Response {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": format!("simulated {code}")});
    let code = StatusCode::from_u16(code).expect("a code from the table above");
    let mut response = evenkeel_apiserver::Response::json(code, &status);
    if code == StatusCode::TOO_MANY_REQUESTS {
        response.headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
