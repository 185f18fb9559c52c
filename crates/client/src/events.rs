use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use evenkeel_api::{EVENTS, Version, time_text};
use evenkeel_plan::{Event, ObjectReference};
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tracing::debug;

use crate::{
    Api, CallError, ClientMetrics, Clock, Fence, Reply,
    api::{Ask, JSON},
    correlate::{Correlated, Correlator},
};

/// Events that wait to be sent, per recorder; more are dropped and counted (manager 11.2).
const BUFFER: usize = 1000;
/// How often one event is tried, and the pause between tries.
const TRIES: u32 = 12;
const PAUSE: Duration = Duration::from_secs(10);
/// An event is worth little: it does not hold a place for long.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Records events of one component: correlates them at once, sends them one after another in the background.
#[derive(Clone)]
pub struct Recorder(Arc<Inner>);

struct Inner {
    component: &'static str,
    clock: Arc<dyn Clock>,
    correlator: Mutex<Correlator>,
    last_name: AtomicI64,
    metrics: ClientMetrics,
    queue: mpsc::Sender<Message>,
}

enum Message {
    Send(Box<Parcel>),
    Flush(tokio::sync::oneshot::Sender<()>),
}

struct Parcel {
    event: Event,
    what: Correlated,
    name: String,
    now: Timestamp,
}

impl Recorder {
    /// A recorder and the task that sends for it; the task ends when the last recorder is gone.
    pub fn new(
        api: Api,
        component: &'static str,
        clock: Arc<dyn Clock>,
        fence: Fence,
        metrics: ClientMetrics,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, parcels) = mpsc::channel(BUFFER);
        let inner = Inner { component, clock, correlator: Mutex::default(), last_name: AtomicI64::new(0), metrics, queue };
        let sender = Sender { api: api.with_timeout(TIMEOUT), component, fence, metrics: inner.metrics.clone() };
        (Self(Arc::new(inner)), sender.send_all(parcels))
    }

    /// Records one event. Never waits: what does not fit is dropped and counted.
    pub fn record(&self, event: Event) {
        let inner = &self.0;
        let now = inner.clock.now();
        let name = self.name(&event, now);
        let what = inner.correlator.lock().unwrap_or_else(PoisonError::into_inner).correlate(&event, &name, now);
        let dropped =
            what == Correlated::Dropped || inner.queue.try_send(Message::Send(Box::new(Parcel { event, what, name, now }))).is_err();
        if dropped {
            inner.metrics.event_dropped();
        }
    }

    /// Waits until everything recorded so far was sent or given up. While the server is away that can take long: bound it.
    pub async fn flush(&self) {
        let (tell, done) = tokio::sync::oneshot::channel();
        if self.0.queue.send(Message::Flush(tell)).await.is_ok() {
            let _ = done.await;
        }
    }

    /// `<object>.<hex of nanoseconds>`; two events of one instant get names of their own. The uid stands in for a name that would make the
    /// event's name invalid (manager 11.1).
    fn name(&self, event: &Event, now: Timestamp) -> String {
        let nanos = i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX);
        let step = |last: i64| nanos.max(last.saturating_add(1));
        let last = self.0.last_name.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(step(last))).unwrap_or(nanos);
        let number = format!("{:x}", step(last));
        let object = &*event.about.name;
        match object.len() + 1 + number.len() <= MAX_NAME && is_subdomain(object) {
            true => format!("{object}.{number}"),
            false => format!("{}.{number}", event.about.uid),
        }
    }

    /// `source.component` of its events.
    pub fn component(&self) -> &'static str {
        self.0.component
    }
}

/// Longest name of an object.
const MAX_NAME: usize = 253;

/// Whether a text is a DNS subdomain, as names of events must be.
fn is_subdomain(text: &str) -> bool {
    let label = |l: &str| {
        l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    text.split('.').all(label)
}

/// Sends for one recorder.
struct Sender {
    api: Api,
    component: &'static str,
    fence: Fence,
    metrics: ClientMetrics,
}

impl Sender {
    async fn send_all(self, mut parcels: mpsc::Receiver<Message>) {
        while let Some(message) = parcels.recv().await {
            match message {
                Message::Send(parcel) => {
                    if !self.send(*parcel).await {
                        self.metrics.event_dropped();
                    }
                }
                Message::Flush(tell) => {
                    let _ = tell.send(());
                }
            }
        }
    }

    /// Whether the server has it. An event that may have arrived is sent again under the same name, so that it cannot double.
    async fn send(&self, parcel: Parcel) -> bool {
        let reason = parcel.event.reason;
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            match self.once(&parcel).await {
                Ok(reply) if reply.code.is_success() => return true,
                Ok(reply) if attempt > 0 && reply.code == StatusCode::CONFLICT => return true,
                // The server has an opinion (a dying namespace, say): trying again would not change it.
                Ok(reply) => {
                    debug!(code = reply.code.as_u16(), reason, "event refused");
                    return false;
                }
                // An event says what a leader did; who leads no longer stays silent.
                Err(CallError::Fenced) => return false,
                Err(error) => debug!(%error, reason, "event not sent"),
            }
        }
        false
    }

    async fn once(&self, parcel: &Parcel) -> Result<Reply, CallError> {
        let about = &parcel.event.about;
        let namespace = if about.namespace.is_empty() { "default" } else { &about.namespace };
        let (name, message, count, first) = match &parcel.what {
            Correlated::Repeat { message, count, first, name } => (name, message, *count, *first),
            Correlated::Create { message } => (&parcel.name, message, 1, parcel.now),
            Correlated::Dropped => (&parcel.name, &parcel.event.message, 1, parcel.now),
        };
        if matches!(parcel.what, Correlated::Repeat { .. }) {
            let patch = json!({"count": count, "lastTimestamp": time_text(parcel.now), "message": message});
            let path = EVENTS.object_path(namespace, name, None);
            let ask = Ask { method: Method::PATCH, path: &path, query: "", accept: JSON };
            let reply = self.api.send(ask, &|| Some(("application/strategic-merge-patch+json", bytes(&patch))), Some(&self.fence)).await?;
            // It has expired, or never arrived: made again under the name that later repeats know.
            if reply.code != StatusCode::NOT_FOUND {
                return Ok(reply);
            }
        }
        let event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": involved(about),
            "reason": parcel.event.reason, "message": message, "type": parcel.event.kind.as_str(),
            "source": {"component": self.component}, "reportingComponent": self.component, "reportingInstance": "",
            "firstTimestamp": time_text(first), "lastTimestamp": time_text(parcel.now), "count": count,
        });
        let path = EVENTS.collection_path(Some(namespace));
        self.api
            .send(
                Ask { method: Method::POST, path: &path, query: "", accept: JSON },
                &|| Some(("application/json", bytes(&event))),
                Some(&self.fence),
            )
            .await
    }
}

/// `involvedObject`. What is not known of the object (the Lease before it was read, a cluster-scoped object's namespace) is left out, as
/// upstream leaves empty fields out.
fn involved(about: &ObjectReference) -> Value {
    let mut object = json!({"kind": about.kind.kind, "apiVersion": about.kind.api_version(), "name": &*about.name});
    if !about.namespace.is_empty() {
        object["namespace"] = (&*about.namespace).into();
    }
    if !about.uid.is_empty() {
        object["uid"] = about.uid.to_string().into();
    }
    if about.version != Version::default() {
        object["resourceVersion"] = about.version.to_string().into();
    }
    object
}

fn bytes(value: &Value) -> Bytes {
    value.to_string().into()
}
