//! The network between managers and server: one link per process, and the way of each request.
//!
//! What goes wrong with requests is drawn in `weather.rs`, what goes wrong with watches in `streams.rs`.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use evenkeel_apiserver::{Body as Answer, Request as Question, Server, UserInfo};
use futures::task::AtomicWaker;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use kube::client::Body;
use serde_json::Value;
use tokio::{
    sync::{Notify, oneshot, watch},
    time::{Instant, sleep, sleep_until},
};

use crate::{
    Fault,
    bugs::Bug,
    history::{Actor, Asked, Restored, Shared, lock},
    streams::Stream,
    weather::{Fate, Weather, refusal},
};

/// How a request got there, and whether its answer gets back.
#[derive(Debug, Clone, Copy, Default)]
struct Way {
    late: bool,
    unheard: bool,
}

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
    /// The write at which the process is paused, and for how long.
    pause: Mutex<Option<(u64, Duration)>>,
}

impl Link {
    /// The process is no more: nothing of it reaches the server, and no answer reaches it.
    pub fn die(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.died.notify_one();
    }

    /// Lets the process die around its `n`-th write from now on.
    pub fn crash_at(&self, n: u64, how: Fault) {
        *lock(&self.crash) = Some((n, how));
    }

    /// Lets the process stand still from its `n`-th write from now on.
    pub fn pause_at(&self, n: u64, time: Duration) {
        *lock(&self.pause) = Some((n, time));
    }

    /// Whether this write is the last; `None`: no.
    fn crash_now(&self) -> Option<Fault> {
        count_down(&self.crash)
    }

    fn pause_now(&self) -> Option<Duration> {
        count_down(&self.pause)
    }
}

/// One write less; what is planned for this one, if it is the one.
fn count_down<T: Copy>(plan: &Mutex<Option<(u64, T)>>) -> Option<T> {
    let mut plan = lock(plan);
    let (left, what) = plan.as_mut()?;
    *left = left.saturating_sub(1);
    let what = *what;
    (*left == 0).then(|| *plan = None).map(|()| what)
}

/// The network.
pub struct Network {
    server: Mutex<Arc<Server>>,
    /// Every request that could change something, and when it came, where the server may be restored from a backup.
    kept: Mutex<Option<Vec<(Duration, Question)>>>,
    pub(crate) history: Shared,
    start: Instant,
    pub(crate) weather: Mutex<Weather>,
    pub(crate) streams: Mutex<Vec<Stream>>,
    pub(crate) opened: AtomicWaker,
    bug: Option<Bug>,
    links: Mutex<BTreeMap<usize, Arc<Link>>>,
    scope: &'static Scope,
    /// What discovery tells, by path and generation of the registry.
    told: Mutex<BTreeMap<(String, u64), Told>>,
}

/// An answer of discovery, to be given again.
struct Told {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Told {
    fn again(&self) -> evenkeel_apiserver::Response {
        let mut answer = evenkeel_apiserver::Response::json(self.status, &Value::Null);
        (answer.headers, answer.body) = (self.headers.clone(), Answer::Full(self.body.clone()));
        answer
    }
}

/// What a world is about.
pub struct Scope {
    /// Plurals of the kinds whose watches can be late each on its own, and whose requests are kept. No group matters: they are chosen so.
    pub kinds: &'static [&'static str],
    /// Group and plural of the resources that discovery tells of, besides custom ones; none: all that the server has. A manager that
    /// follows whatever is served has a small server that way.
    pub served: &'static [(&'static str, &'static str)],
}

/// Where workloads live.
pub(crate) static WORKLOADS: Scope = Scope { kinds: &["deployments", "replicasets", "replicationcontrollers", "pods"], served: &[] };

impl Network {
    /// A network before a server.
    pub fn new(server: Arc<Server>, history: Shared, seed: u64, bug: Option<Bug>, scope: &'static Scope) -> Arc<Self> {
        Arc::new(Self {
            server: Mutex::new(server),
            kept: Mutex::default(),
            history,
            start: Instant::now(),
            weather: Mutex::new(Weather::new(seed)),
            streams: Mutex::default(),
            opened: AtomicWaker::new(),
            bug,
            links: Mutex::default(),
            scope,
            told: Mutex::default(),
        })
    }

    fn server(&self) -> Arc<Server> {
        lock(&self.server).clone()
    }

    /// From now on (before the first request) all is kept that it takes to be restored.
    pub(crate) fn back_up(&self) {
        *lock(&self.kept) = Some(Vec::new());
    }

    /// The server is as it was at some time (F8): a new one, to which all is done that was done until then. Watches break.
    pub(crate) fn restore(&self, until: Duration, server: Arc<Server>, mut set_clock: impl FnMut(Option<Duration>)) {
        for (at, question) in lock(&self.kept).take().unwrap_or_default().iter().take_while(|(at, _)| *at <= until) {
            set_clock(Some(*at));
            server.handle(question);
        }
        set_clock(None);
        {
            let mut history = lock(&self.history);
            let (before, link) = (history.writes.len(), history.links.len() - 1);
            history.restored = Some(Restored { before, revision: server.revision(), at: self.now(), link });
        }
        *lock(&self.server) = server;
        lock(&self.told).clear();
        self.cut(|_, _| true);
        self.struck(Fault::Restored);
    }

    /// Kinds of this world.
    pub fn kinds(&self) -> &'static [&'static str] {
        self.scope.kinds
    }

    /// The kind of this world that a path is about; all else is called after the Lease.
    fn kind_of(&self, path: &str) -> &'static str {
        self.scope.kinds.iter().copied().find(|k| path.split('/').any(|part| part == *k)).unwrap_or("leases")
    }

    fn about_kinds(&self, path: &str) -> bool {
        self.kind_of(path) != "leases"
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
        let (dead, died, stop) = (AtomicBool::new(false), Notify::new(), watch::Sender::new(false));
        let link = Arc::new(Link { id, manager, dead, died, stop, crash: Mutex::default(), pause: Mutex::default() });
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
        lock(&self.weather).struck(fault);
    }

    /// How often each fault has struck.
    pub fn faults(&self) -> BTreeMap<Fault, u64> {
        lock(&self.weather).faults.clone()
    }

    /// No more faults from now on.
    pub fn calm(&self) {
        lock(&self.weather).calm();
        lock(&self.streams).retain(|s| !s.hollow);
        for link in lock(&self.links).values() {
            *lock(&link.crash) = None;
            *lock(&link.pause) = None;
        }
        lock(&self.history).calm_at = self.now();
    }

    /// When everything that is on its way to a watch will have arrived.
    pub fn quiet_at(&self) -> Instant {
        lock(&self.streams).iter().map(|s| s.last).max().unwrap_or_else(Instant::now)
    }

    /// A manager's connections lead nowhere for a while, and break in the end.
    pub fn black_hole(self: &Arc<Self>, manager: usize, time: Duration) {
        lock(&self.weather).hole.insert(manager, Instant::now() + time);
        lock(&self.streams).iter_mut().filter(|s| s.manager == manager).for_each(|s| s.hollow = true);
        let network = self.clone();
        tokio::spawn(async move {
            sleep(time).await;
            lock(&network.streams).retain(|s| s.manager != manager || !s.hollow);
        });
    }

    /// A manager that lists comes to a server which is where this one was `back` ago.
    pub fn lag(&self, manager: usize, time: Duration, back: Duration) {
        let then = self.now().saturating_sub(back.as_millis() as u64);
        let history = lock(&self.history);
        let seen = history.writes.partition_point(|w| w.at <= then).checked_sub(1).map(|n| history.writes[n].rv);
        if let Some(revision) = seen {
            lock(&self.weather).lag.insert(manager, (Instant::now() + time, revision));
        }
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
        let seconds = self.server().options().clock.now().as_second();
        jiff::Timestamp::from_second(seconds).map(|t| t.to_string()).unwrap_or_default()
    }

    /// Forgets the server's history, so that watches cannot be resumed from old versions.
    pub fn compact(&self) {
        self.server().compact();
        self.server().compact();
    }

    async fn call(self: Arc<Self>, link: Arc<Link>, request: Request<Body>) -> Result<Reply, BoxError> {
        let (parts, body) = request.into_parts();
        let mut body = body.collect().await?.to_bytes();
        if let Some(bug) = self.bug {
            bug.alter_request(&parts.method, &mut body);
        }
        let sent = self.now();
        self.until(&link, |w| w.paused.get(&link.manager).copied()).await;
        if self.until(&link, |w| w.hole.get(&link.manager).copied()).await {
            self.struck(Fault::BlackHole);
            return lost(false).await;
        }
        let (path, query) = (parts.uri.path().to_owned(), parts.uri.query().unwrap_or_default().to_owned());
        let (there, back, fate) = lock(&self.weather).journey(link.manager, &parts.method, &path);
        let write = parts.method != Method::GET && self.about_kinds(&path);
        let crash = if write { link.crash_now() } else { None };
        if crash == Some(Fault::CrashBefore) {
            self.struck(Fault::CrashBefore);
            link.die();
        }
        if let Some(time) = if write { link.pause_now() } else { None } {
            lock(&self.weather).paused.insert(link.manager, Instant::now() + time);
        }
        sleep(there).await;
        if link.dead.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        if let Fate::Lost { committed: false, silent } = fate {
            return lost(silent).await;
        }
        let question = Question { method: parts.method, path, query, headers: parts.headers, body, user: UserInfo::admin() };
        let unheard = matches!(fate, Fate::Lost { .. }) || crash == Some(Fault::CrashAfterCommit);
        let paused = lock(&self.weather).paused.get(&link.manager).copied().filter(|until| write && *until > Instant::now());
        let mut answer = match fate {
            Fate::Refused(code, reason) => {
                let answer = refusal(code, reason);
                self.note(&link, &question, sent, Way::default(), &answer);
                answer
            }
            _ => match paused {
                Some(_) => self.arrive_late(&link, &question, sent).await?,
                None => self.arrive(&link, &question, sent, Way { late: false, unheard }),
            },
        };
        if answer.status == StatusCode::GONE {
            self.struck(Fault::Expired);
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
        self.until(&link, |w| w.paused.get(&link.manager).copied()).await;
        if link.dead.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        if crash == Some(Fault::CrashAfterAnswer) {
            self.struck(Fault::CrashAfterAnswer);
            link.die();
        }
        if let (Some(bug), Answer::Full(bytes)) = (self.bug, &mut answer.body) {
            bug.alter_answer(&question.method, &question.path, bytes);
        }
        let body = match answer.body {
            Answer::Full(bytes) => Full::new(bytes).map_err(|never| match never {}).boxed_unsync(),
            Answer::Watch(lines) => self.open(&link, self.kind_of(&question.path), lines),
        };
        let mut response = Response::new(body);
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }

    /// What discovery says: of what the server has, what this world has. Asked very often, so that each answer is made once.
    fn discovery(&self, question: &Question) -> Option<evenkeel_apiserver::Response> {
        (!self.scope.served.is_empty() && matches!(&*question.path, "/api" | "/apis")).then_some(())?;
        let known = (question.path.clone(), self.server().registry().generation());
        let mut answer = match lock(&self.told).get(&known) {
            Some(told) => return Some(told.again()),
            None => self.server().handle(question),
        };
        let Answer::Full(body) = &mut answer.body else { return Some(answer) };
        let mut list = serde_json::from_slice::<Value>(body).unwrap_or_default();
        for group in list["items"].as_array_mut().into_iter().flatten() {
            let name = group["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            // Custom groups have a dot and nothing of Kubernetes.
            let custom = name.contains('.') && !name.ends_with(".k8s.io");
            for version in group["versions"].as_array_mut().into_iter().flatten() {
                if let Some(resources) = version["resources"].as_array_mut() {
                    resources
                        .retain(|r| custom || self.scope.served.iter().any(|(group, plural)| *group == name && r["resource"] == *plural));
                }
            }
        }
        let told = Told { status: answer.status, headers: answer.headers.clone(), body: list.to_string().into() };
        *body = told.body.clone();
        lock(&self.told).insert(known, told);
        Some(answer)
    }

    /// Waits while something holds a manager up; whether it did.
    async fn until(&self, link: &Link, what: impl Fn(&Weather) -> Option<Instant>) -> bool {
        let mut held = false;
        loop {
            let until = what(&lock(&self.weather)).filter(|until| *until > Instant::now());
            let Some(until) = until else { break };
            held = true;
            // In small steps, because peace ends it.
            sleep_until(until.min(Instant::now() + Duration::from_millis(250))).await;
        }
        if held && link.dead.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        held
    }

    /// A request reaches the server.
    fn arrive(&self, link: &Link, question: &Question, sent: u64, way: Way) -> evenkeel_apiserver::Response {
        let actor = Actor::Manager { link: link.id, sent };
        let kind = self.kind_of(&question.path);
        let answer = match question.method == Method::GET && kind != "leases" {
            true => self.behind(link, kind, question).unwrap_or_else(|| self.ask(question, actor)),
            false => self.discovery(question).unwrap_or_else(|| self.ask(question, actor)),
        };
        self.note(link, question, sent, way, &answer);
        answer
    }

    /// Keeps a request for the checks; of reads only those of one object matter to them.
    fn note(&self, link: &Link, question: &Question, sent: u64, way: Way, answer: &evenkeel_apiserver::Response) {
        let kind = self.kind_of(&question.path);
        if question.method != Method::GET || (kind != "leases" && !question.path.ends_with(kind)) {
            let asked = Asked {
                at: self.now(),
                sent,
                link: link.id,
                method: question.method.to_string(),
                path: question.path.clone(),
                body: serde_json::from_slice(&question.body).unwrap_or_default(),
                code: answer.status.as_u16(),
                late: way.late,
                unheard: way.unheard,
            };
            lock(&self.history).requests.push(asked);
        }
    }

    /// A write that was under way when its manager was paused: it arrives when the pause is over, whether or not the manager still wants it.
    async fn arrive_late(
        self: &Arc<Self>,
        link: &Arc<Link>,
        question: &Question,
        sent: u64,
    ) -> Result<evenkeel_apiserver::Response, BoxError> {
        let (tell, answer) = oneshot::channel();
        let (network, link, question) = (self.clone(), link.clone(), question.clone());
        tokio::spawn(async move {
            network.until(&link, |w| w.paused.get(&link.manager).copied()).await;
            network.struck(Fault::LeaderPaused);
            // Whoever asked may have given up.
            let _ = tell.send(network.arrive(&link, &question, sent, Way { late: true, unheard: false }));
        });
        Ok(answer.await?)
    }

    pub(crate) fn ask(&self, question: &Question, actor: Actor) -> evenkeel_apiserver::Response {
        if let Some(kept) = lock(&self.kept).as_mut().filter(|_| question.method != Method::GET) {
            kept.push((self.start.elapsed(), question.clone()));
        }
        lock(&self.history).actor = Some((actor, question.path.clone()));
        let answer = self.server().handle(question);
        lock(&self.history).actor = None;
        answer
    }

    /// A request of somebody who stands next to the server: a person, a kubelet.
    pub fn act(&self, actor: Actor, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
        let form = if method == Method::PATCH { "application/strategic-merge-patch+json" } else { "application/json" };
        self.act_in(actor, method, path, form, body)
    }

    /// A merge patch of a person: any kind takes it.
    pub fn merge(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        self.act_in(Actor::User, Method::PATCH, path, "application/merge-patch+json", body)
    }

    fn act_in(&self, actor: Actor, method: Method, path: &str, form: &'static str, body: &Value) -> (StatusCode, Value) {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(form));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let bytes = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let question = Question { method, path: path.to_owned(), query: String::new(), headers, body: bytes, user: UserInfo::admin() };
        let answer = self.ask(&question, actor);
        (answer.status, answer.value())
    }

    /// All objects of a resource (`apps/deployments`, `/pods`).
    pub fn all(&self, resource: &str) -> Vec<Value> {
        self.server().dump(resource).1.iter().filter_map(|b| serde_json::from_slice(b).ok()).collect()
    }
}

async fn lost(silent: bool) -> Result<Reply, BoxError> {
    if silent {
        std::future::pending::<()>().await;
    }
    Err("connection reset by peer".into())
}
