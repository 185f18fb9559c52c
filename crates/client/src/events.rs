use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use evenkeel_api::{EVENTS, time_text};
use evenkeel_plan::Event;
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tracing::debug;

use crate::{
    Api, ClientMetrics, Clock, Fence,
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
        (Self(Arc::new(inner)), send_all(api.with_timeout(TIMEOUT), component, fence, parcels))
    }

    /// Records one event. Never waits: what does not fit is dropped and counted.
    pub fn record(&self, event: Event) {
        let inner = &self.0;
        let now = inner.clock.now();
        let name = self.name(&event, now);
        let what = inner.correlator.lock().unwrap_or_else(PoisonError::into_inner).correlate(&event, &name, now);
        let dropped = what == Correlated::Dropped
            || inner.queue.try_send(Message::Send(Box::new(Parcel { event, what, name, now }))).is_err();
        if dropped {
            inner.metrics.event_dropped();
        }
    }

    /// Waits until everything recorded so far was sent or given up.
    pub async fn flush(&self) {
        let (tell, done) = tokio::sync::oneshot::channel();
        if self.0.queue.send(Message::Flush(tell)).await.is_ok() {
            let _ = done.await;
        }
    }

    /// `<object>.<hex of nanoseconds>`; two events of one instant get names of their own.
    fn name(&self, event: &Event, now: Timestamp) -> String {
        let nanos = i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX);
        let last = self.0.last_name.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(nanos.max(last + 1))).unwrap_or(nanos);
        format!("{}.{:x}", event.about.name, nanos.max(last + 1))
    }

    /// `source.component` of its events.
    pub fn component(&self) -> &'static str {
        self.0.component
    }
}

async fn send_all(api: Api, component: &'static str, fence: Fence, mut parcels: mpsc::Receiver<Message>) {
    while let Some(message) = parcels.recv().await {
        match message {
            Message::Send(parcel) => send(&api, component, &fence, *parcel).await,
            Message::Flush(tell) => {
                let _ = tell.send(());
            }
        }
    }
}

async fn send(api: &Api, component: &'static str, fence: &Fence, parcel: Parcel) {
    let namespace = if parcel.event.about.namespace.is_empty() { "default" } else { &parcel.event.about.namespace };
    for attempt in 0..TRIES {
        if attempt > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        // An event says what a leader did; who leads no longer stays silent.
        if fence().is_none() {
            return;
        }
        let reply = match &parcel.what {
            Correlated::Repeat { message, count, name, .. } => {
                let patch = json!({"count": count, "lastTimestamp": time_text(parcel.now), "message": message});
                let body = Some(("application/strategic-merge-patch+json", bytes(&patch)));
                match api.call(Method::PATCH, &EVENTS.object_path(namespace, name, None), "", body).await {
                    Ok(reply) if reply.code == StatusCode::NOT_FOUND => create(api, component, namespace, &parcel).await,
                    other => other,
                }
            }
            _ => create(api, component, namespace, &parcel).await,
        };
        match reply {
            Ok(reply) if reply.code.is_success() => return,
            // The server has an opinion (a dying namespace, say): trying again would not change it.
            Ok(reply) => return debug!(code = reply.code.as_u16(), reason = parcel.event.reason, "event refused"),
            Err(error) => debug!(%error, reason = parcel.event.reason, "event not sent"),
        }
    }
}

async fn create(api: &Api, component: &str, namespace: &str, parcel: &Parcel) -> Result<crate::Reply, crate::CallError> {
    let about = &parcel.event.about;
    let (message, count, first) = match &parcel.what {
        Correlated::Repeat { message, count, first, .. } => (message, *count, *first),
        Correlated::Create { message } => (message, 1, parcel.now),
        Correlated::Dropped => (&parcel.event.message, 1, parcel.now),
    };
    let event = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": parcel.name, "namespace": namespace},
        "involvedObject": {"kind": about.kind.kind, "namespace": &*about.namespace, "name": &*about.name, "uid": about.uid.to_string(),
            "apiVersion": about.kind.api_version(), "resourceVersion": about.version.to_string()},
        "reason": parcel.event.reason, "message": message, "type": parcel.event.kind.as_str(),
        "source": {"component": component}, "reportingComponent": component, "reportingInstance": "",
        "firstTimestamp": time_text(first), "lastTimestamp": time_text(parcel.now), "count": count,
    });
    api.call(Method::POST, &EVENTS.collection_path(Some(namespace)), "", Some(("application/json", bytes(&event)))).await
}

fn bytes(value: &Value) -> Bytes {
    value.to_string().into()
}
