//! The garbage collector's interlock towards people: what is over a budget is logged and counted, and what is held stands in an annotation on
//! the manager's Lease, beside the one in which people release it. So a batch survives a change of leader and needs no object of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use evenkeel_api::LEASES;
use evenkeel_client::Api;
use evenkeel_election::State;
use evenkeel_garbage_collector::{Batch, Interlock};
use evenkeel_watch::Stop;
use http::{Method, StatusCode};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tracing::{info, warn};

/// Annotation in which a leader says what it holds: names of batches, in order.
pub const HELD: &str = "evenkeel/gc-held";
/// Annotation in which people say what may go: names of batches.
pub const RELEASED: &str = "evenkeel/gc-released";

/// How often batches are looked at, and the Lease read while any is held.
const EVERY: Duration = Duration::from_secs(1);

/// How old the numbers in [`HELD`] may get: each write is one of the Lease, which the election has to take in.
const COUNTED: Duration = Duration::from_secs(10);

/// Most names that are kept in [`RELEASED`]; those released first are forgotten.
const NAMES: usize = 50;

const MERGE_PATCH: &str = "application/merge-patch+json";

/// The manager's Lease, as far as the interlock is concerned.
#[derive(Clone)]
pub struct LeaseNotes {
    api: Api,
    path: String,
}

/// What the two annotations say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notes {
    /// What is held, and how many objects each batch had when that was written.
    pub held: BTreeMap<String, usize>,
    /// What was released.
    pub released: Vec<String>,
}

impl LeaseNotes {
    /// Notes on the Lease of this name.
    pub fn new(api: Api, namespace: &str, name: &str) -> Self {
        Self { api, path: LEASES.object_path(namespace, name, None) }
    }

    /// Reads both annotations; without a Lease there are none.
    ///
    /// # Errors
    /// When the Lease cannot be read; in words.
    pub async fn read(&self) -> Result<Notes, String> {
        let reply = self.api.call(Method::GET, &self.path, "", None).await.map_err(|e| e.to_string())?;
        if reply.code == StatusCode::NOT_FOUND {
            return Ok(Notes::default());
        }
        if !reply.code.is_success() {
            return Err(reply.status().message);
        }
        let lease = reply.json().ok_or("the server answered with something that is no object")?;
        let note = |name: &str| lease["metadata"]["annotations"][name].as_str().unwrap_or_default().to_owned();
        let words = |text: &str| text.split(',').filter(|w| !w.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        let counted = |word: String| match word.split_once('=') {
            Some((id, count)) => (id.to_owned(), count.parse().unwrap_or(0)),
            None => (word, 0),
        };
        Ok(Notes { held: words(&note(HELD)).into_iter().map(counted).collect(), released: words(&note(RELEASED)) })
    }

    /// Adds a name to what is released.
    ///
    /// # Errors
    /// When no leader holds a batch of this name, or the Lease cannot be read or written.
    pub async fn release(&self, id: &str) -> Result<usize, String> {
        let Notes { held, mut released } = self.read().await?;
        let Some(objects) = held.get(id) else {
            let names: Vec<&str> = held.keys().map(String::as_str).collect();
            return Err(if names.is_empty() {
                format!("{id:?} is not held; nothing is")
            } else {
                format!("{id:?} is not held; held: {}", names.join(", "))
            });
        };
        if !released.iter().any(|r| r == id) {
            released.push(id.to_owned());
            let first = released.len().saturating_sub(NAMES);
            self.write(RELEASED, &released[first..].join(",")).await?;
        }
        Ok(*objects)
    }

    async fn write(&self, note: &str, text: &str) -> Result<(), String> {
        let text = if text.is_empty() { Value::Null } else { text.into() };
        let body = Bytes::from(json!({"metadata": {"annotations": {note: text}}}).to_string());
        let reply = self.api.call(Method::PATCH, &self.path, "", Some((MERGE_PATCH, body))).await.map_err(|e| e.to_string())?;
        if reply.code.is_success() { Ok(()) } else { Err(reply.status().message) }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Resource {
    group: String,
    resource: String,
}

/// What [`HELD`] says, and since when; nothing is known of it at first.
#[derive(Default)]
struct Written {
    names: BTreeSet<String>,
    at: Option<Instant>,
}

/// Reports what an interlock finds, and carries releases to it.
pub(crate) struct Reporter {
    pub(crate) interlock: Arc<Interlock>,
    /// `None` without election: then nothing is held.
    pub(crate) notes: Option<LeaseNotes>,
    /// Has everything looked at again.
    pub(crate) again: Box<dyn Fn() + Send + Sync>,
    over: Family<Resource, Gauge>,
    held: Family<Resource, Gauge>,
}

impl Reporter {
    pub(crate) fn new(
        interlock: Arc<Interlock>,
        notes: Option<LeaseNotes>,
        registry: &mut Registry,
        again: Box<dyn Fn() + Send + Sync>,
    ) -> Self {
        let (over, held) = (Family::default(), Family::default());
        registry.register(
            "evenkeel_garbagecollector_over_budget_objects",
            "Number of objects of a kind in the present batch that were collected although the kind's budget was spent",
            Family::clone(&over),
        );
        registry.register(
            "evenkeel_garbagecollector_held_objects",
            "Number of objects of a kind that are held until their batch is released",
            Family::clone(&held),
        );
        Self { interlock, notes, again, over, held }
    }

    /// Reports while we lead, until `stop`.
    pub(crate) async fn run(self, mut state: watch::Receiver<State>, mut stop: Stop) {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => {}
            () = async {
                loop {
                    let Ok(term) = state.wait_for(|s| matches!(s, State::Leading { .. })).await.map(|s| *s) else { return };
                    self.lead(&mut state, term).await;
                }
            } => {}
        }
    }

    async fn lead(&self, state: &mut watch::Receiver<State>, term: State) {
        let mut known = BTreeSet::new();
        let mut written = Written::default();
        let over = async {
            // Which batches were left to us decides what may be collected: the interlock holds everything until it knows.
            self.inherit().await;
            loop {
                self.look(&mut known, &mut written).await;
                sleep(EVERY).await;
            }
        };
        tokio::select! {
            biased;
            _ = state.wait_for(|s| *s != term) => {}
            () = over => {}
        }
    }

    async fn inherit(&self) {
        let mut notes = Notes::default();
        while let Some(lease) = self.notes.as_ref().filter(|_| self.interlock.holds()) {
            match lease.read().await {
                Ok(read) => {
                    notes = read;
                    break;
                }
                Err(error) => warn!(error, "what the leader before was holding cannot be read; nothing is collected until then"),
            }
            sleep(EVERY).await;
        }
        self.interlock.lead(&notes.held.into_keys().collect::<Vec<_>>(), &notes.released);
        (self.again)();
    }

    /// Tells what is new, and lets go what was released.
    async fn look(&self, known: &mut BTreeSet<String>, written: &mut Written) {
        let batches = self.interlock.batches();
        for Batch { id, kind, objects, held, .. } in batches.iter().filter(|b| known.insert(b.id.clone())) {
            if *held {
                warn!(%kind, objects, batch = id, "over the collection budget: held until `evenkeel gc release {id}`");
            } else {
                warn!(%kind, objects, batch = id, "over the collection budget: going on");
            }
        }
        for (gauges, held) in [(&self.over, false), (&self.held, true)] {
            gauges.clear();
            for batch in batches.iter().filter(|b| b.held == held) {
                let labels = Resource { group: batch.kind.group.to_owned(), resource: batch.kind.plural.to_owned() };
                gauges.get_or_create(&labels).inc_by(i64::try_from(batch.objects).unwrap_or(i64::MAX));
            }
        }
        let Some(lease) = self.notes.as_ref().filter(|_| self.interlock.holds()) else { return };
        let objects = |id: &str| batches.iter().find(|b| b.id == id).map_or(0, |b| b.objects);
        let names = self.interlock.names();
        if written.names != names || written.at.is_none_or(|at| at.elapsed() > COUNTED && !names.is_empty()) {
            let text: Vec<String> = names.iter().map(|id| format!("{id}={}", objects(id))).collect();
            match lease.write(HELD, &text.join(",")).await {
                Ok(()) => *written = Written { names, at: Some(Instant::now()) },
                Err(error) => warn!(error, "what is held cannot be written to the lease"),
            }
        }
        if batches.iter().any(|b| b.held) {
            match lease.read().await {
                Ok(notes) if self.interlock.release(&notes.released) => {
                    info!(batches = notes.released.join(","), "released");
                    (self.again)();
                }
                Ok(_) => {}
                Err(error) => warn!(error, "what was released cannot be read"),
            }
        }
    }
}
