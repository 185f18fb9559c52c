//! An API server that holds one Lease in memory, candidates for it, and what can go wrong between them.
#![allow(dead_code, reason = "each test file uses its part")]

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use evenkeel_election::{
    Clock, ElectionConfig, ElectionEvent, ElectionMetrics, Elector, Ended, Handle, Hint, Lease, LeaseClient, LeaseError, State,
    Surroundings,
};
use futures::channel::mpsc;
use jiff::{SignedDuration, Timestamp};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

pub const SEC: Duration = Duration::from_secs(1);
pub const MS: Duration = Duration::from_millis(1);

/// One request that reached the server.
#[derive(Debug, Clone)]
pub struct Entry {
    pub at: Instant,
    pub who: String,
    pub verb: &'static str,
    pub ok: bool,
    /// Holder after the request.
    pub holder: String,
}

#[derive(Default)]
struct Inner {
    lease: Option<Value>,
    version: u64,
    log: Vec<Entry>,
    watchers: Vec<mpsc::UnboundedSender<Hint>>,
}

#[derive(Clone, Default)]
pub struct Server(Arc<Mutex<Inner>>);

impl Server {
    pub fn lease(&self) -> Option<Value> {
        self.0.lock().unwrap().lease.clone()
    }

    pub fn spec(&self, field: &str) -> Value {
        self.lease().map(|lease| lease["spec"][field].clone()).unwrap_or_default()
    }

    pub fn holder(&self) -> String {
        self.spec("holderIdentity").as_str().unwrap_or_default().to_owned()
    }

    pub fn log(&self) -> Vec<Entry> {
        self.0.lock().unwrap().log.clone()
    }

    /// Entries since `at`, as `verb` or `verb!` where refused.
    pub fn verbs_since(&self, at: Instant, who: &str) -> Vec<String> {
        let entries = self.log().into_iter().filter(|e| e.at >= at && e.who == who);
        entries.map(|e| if e.ok { e.verb.to_owned() } else { format!("{}!", e.verb) }).collect()
    }

    pub fn last_write(&self, who: &str) -> Instant {
        self.log().iter().rev().find(|e| e.who == who && e.ok && e.verb != "GET").expect("a write").at
    }

    /// Somebody else changes the Lease, or makes one.
    pub fn edit(&self, change: impl FnOnce(&mut Value)) {
        let mut inner = self.0.lock().unwrap();
        let mut lease =
            inner.lease.take().unwrap_or_else(|| json!({"kind": "Lease", "metadata": {"name": "kube-controller-manager"}, "spec": {}}));
        change(&mut lease);
        inner.store(lease);
    }

    pub fn delete(&self) {
        let mut inner = self.0.lock().unwrap();
        inner.lease = None;
        inner.version += 1;
        inner.tell(|| Hint::Look);
    }

    pub fn watch(&self) -> evenkeel_election::Hints {
        let (sender, receiver) = mpsc::unbounded();
        self.0.lock().unwrap().watchers.push(sender);
        Box::pin(receiver)
    }

    pub fn hint(&self, hint: &Hint) {
        self.0.lock().unwrap().tell(|| hint.clone());
    }

    fn serve(&self, who: &str, verb: &'static str, document: Option<&Value>) -> Result<Lease, LeaseError> {
        let mut inner = self.0.lock().unwrap();
        let answer = inner.serve(verb, document);
        let holder = inner.lease.as_ref().and_then(|lease| lease["spec"]["holderIdentity"].as_str()).unwrap_or_default().to_owned();
        inner.log.push(Entry { at: Instant::now(), who: who.to_owned(), verb, ok: answer.is_ok(), holder });
        answer
    }
}

impl Inner {
    fn store(&mut self, mut lease: Value) -> Lease {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.lease = Some(lease.clone());
        let lease = Lease::read(lease).expect("a lease");
        self.tell(|| Hint::Seen(lease.clone()));
        lease
    }

    fn tell(&mut self, hint: impl Fn() -> Hint) {
        self.watchers.retain(|watcher| watcher.unbounded_send(hint()).is_ok());
    }

    fn serve(&mut self, verb: &str, document: Option<&Value>) -> Result<Lease, LeaseError> {
        match (verb, &self.lease) {
            ("GET", Some(lease)) => Ok(Lease::read(lease.clone()).expect("a lease")),
            ("POST", None) => Ok(self.store(document.expect("a body").clone())),
            ("POST", Some(_)) => Err(LeaseError::AlreadyExists),
            ("PUT", Some(lease)) => {
                let document = document.expect("a body");
                if document["metadata"]["resourceVersion"] == lease["metadata"]["resourceVersion"] {
                    Ok(self.store(document.clone()))
                } else {
                    Err(LeaseError::Conflict)
                }
            }
            _ => Err(LeaseError::NotFound),
        }
    }
}

/// What happens to one request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It takes this long to get there and the answer this long to come back.
    Delay(Duration, Duration),
    /// It never arrives; nobody says so.
    LostOnTheWay,
    /// It is done; the answer never arrives.
    AnswerLost,
    /// It fails at once.
    Refused,
    /// The server answers something that is no answer to it.
    Garbage,
}

pub type Faults = Arc<Mutex<Box<dyn FnMut(&'static str) -> Fault + Send>>>;

/// No faults; a millisecond each way.
pub fn healthy() -> Faults {
    faults(|_| Fault::Delay(MS, MS))
}

pub fn faults(choose: impl FnMut(&'static str) -> Fault + Send + 'static) -> Faults {
    Arc::new(Mutex::new(Box::new(choose)))
}

/// The same fault for every request, and how many there were.
pub fn always(fault: Fault) -> (Faults, Arc<Mutex<u32>>) {
    let tries = Arc::new(Mutex::new(0));
    let count = Arc::clone(&tries);
    let faults = faults(move |_| {
        *count.lock().unwrap() += 1;
        fault.clone()
    });
    (faults, tries)
}

pub struct Client {
    pub server: Server,
    pub who: String,
    pub faults: Faults,
}

impl Client {
    async fn request(&self, verb: &'static str, document: Option<&Value>) -> Result<Lease, LeaseError> {
        let fault = (self.faults.lock().unwrap())(verb);
        match fault {
            Fault::Delay(there, back) => {
                sleep(there).await;
                let answer = self.server.serve(&self.who, verb, document);
                sleep(back).await;
                answer
            }
            Fault::LostOnTheWay => std::future::pending().await,
            Fault::AnswerLost => {
                sleep(MS).await;
                let _ = self.server.serve(&self.who, verb, document);
                std::future::pending().await
            }
            Fault::Refused => Err(LeaseError::Other("connection refused".to_owned())),
            Fault::Garbage => Ok(Lease::read(
                json!({"metadata": {"resourceVersion": "x"}, "spec": {"holderIdentity": "garbage", "leaseDurationSeconds": -5}}),
            )
            .expect("read")),
        }
    }
}

impl LeaseClient for Client {
    async fn get(&self) -> Result<Lease, LeaseError> {
        self.request("GET", None).await
    }
    async fn create(&self, document: &Value) -> Result<Lease, LeaseError> {
        self.request("POST", Some(document)).await
    }
    async fn update(&self, document: &Value) -> Result<Lease, LeaseError> {
        self.request("PUT", Some(document)).await
    }
}

/// A process that can be stopped as by SIGSTOP: nothing inside runs until it goes on.
#[derive(Clone, Default)]
pub struct Power(Arc<Mutex<Option<Instant>>>);

impl Power {
    pub fn stop_for(&self, time: Duration) {
        *self.0.lock().unwrap() = Some(Instant::now() + time);
    }

    pub fn stopped(&self) -> bool {
        self.until().is_some()
    }

    fn until(&self) -> Option<Instant> {
        self.0.lock().unwrap().filter(|until| *until > Instant::now())
    }
}

pub struct Stoppable<F> {
    inner: Pin<Box<F>>,
    power: Power,
    nap: Option<Pin<Box<Sleep>>>,
}

impl<F: Future> Future for Stoppable<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if let Some(until) = self.power.until() {
            let mut nap = Box::pin(sleep_until(until));
            if nap.as_mut().poll(cx).is_pending() {
                self.nap = Some(nap);
                return Poll::Pending;
            }
        }
        self.inner.as_mut().poll(cx)
    }
}

pub struct Options {
    pub chance: Box<dyn Fn() -> f64 + Send + Sync>,
    pub clock: Clock,
    /// What the wall clock is wrong by.
    pub wall_off: SignedDuration,
    pub hints: bool,
    pub faults: Faults,
    pub change: fn(&mut ElectionConfig),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            chance: Box::new(|| 0.5),
            clock: Clock::steady(),
            wall_off: SignedDuration::ZERO,
            hints: false,
            faults: healthy(),
            change: |_| {},
        }
    }
}

pub struct Candidate {
    pub handle: Option<Handle>,
    pub task: JoinHandle<Ended>,
    pub events: Arc<Mutex<Vec<String>>>,
    pub registry: Registry,
    pub power: Power,
}

pub fn candidate(server: &Server, identity: &str, options: Options) -> Candidate {
    let mut config = ElectionConfig::new(identity);
    (options.change)(&mut config);
    let mut registry = Registry::default();
    let events: Arc<Mutex<Vec<String>>> = Arc::default();
    let start = Instant::now();
    let epoch: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let surroundings = Surroundings {
        clock: options.clock,
        wall: Box::new(move || epoch + options.wall_off + SignedDuration::try_from(start.elapsed()).unwrap()),
        chance: options.chance,
        hints: options.hints.then(|| server.watch()),
        on_event: Box::new({
            let events = Arc::clone(&events);
            move |event: &ElectionEvent| events.lock().unwrap().push(event.to_string())
        }),
        metrics: ElectionMetrics::register(&mut registry),
    };
    let client = Client { server: server.clone(), who: identity.to_owned(), faults: options.faults };
    let (elector, handle) = Elector::new(config, client, surroundings).expect("a valid configuration");
    let power = Power::default();
    let task = tokio::spawn(Stoppable { inner: Box::pin(elector.run()), power: power.clone(), nap: None });
    Candidate { handle: Some(handle), task, events, registry, power }
}

/// A candidate with everything as it is by default.
pub fn plain(server: &Server, identity: &str) -> Candidate {
    candidate(server, identity, Options::default())
}

/// A candidate that watches the Lease.
pub fn watching(server: &Server, identity: &str) -> Candidate {
    candidate(server, identity, Options { hints: true, ..Options::default() })
}

/// A candidate that meets these faults.
pub fn with_faults(server: &Server, identity: &str, faults: Faults) -> Candidate {
    candidate(server, identity, Options { faults, ..Options::default() })
}

/// A server whose Lease plain candidate `a` holds.
pub async fn led_by_a() -> (Server, Candidate) {
    let server = Server::default();
    let a = plain(&server, "a");
    a.lead().await;
    (server, a)
}

impl Candidate {
    pub fn handle(&self) -> &Handle {
        self.handle.as_ref().expect("not dropped")
    }

    pub fn state(&self) -> State {
        *self.handle().state().borrow()
    }

    pub fn leads(&self) -> bool {
        matches!(self.state(), State::Leading { .. })
    }

    pub fn may_write(&self) -> bool {
        self.handle().fence().check().is_ok()
    }

    /// Waits for leadership; says when it came.
    pub async fn lead(&self) -> Instant {
        self.until(|state| matches!(state, State::Leading { .. })).await
    }

    pub async fn until(&self, wanted: impl FnMut(&State) -> bool) -> Instant {
        let mut state = self.handle().state();
        tokio::time::timeout(1000 * SEC, state.wait_for(wanted)).await.expect("in time").expect("alive");
        Instant::now()
    }

    pub fn events(&self) -> Vec<String> {
        self.events.lock().unwrap().clone()
    }

    pub fn metric(&self, series: &str) -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok()).unwrap_or(f64::NAN)
    }

    pub fn slow_paths(&self) -> f64 {
        self.metric("leader_election_slowpath_total{name=\"kube-controller-manager\"}")
    }

    pub fn master_status(&self) -> f64 {
        self.metric("leader_election_master_status{name=\"kube-controller-manager\"}")
    }
}
