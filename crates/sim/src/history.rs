//! The true history: every committed write in order, every request of a manager that reached the server, and what each manager was shown.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use evenkeel_apiserver::Commit;
use serde_json::Value;

/// Who wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actor {
    /// The server itself, while it starts.
    Server,
    /// A simulated person.
    User,
    /// The simulated scheduler and kubelets.
    Node,
    /// A manager: the number of its link (one per start of a process) and when it sent the request.
    Manager {
        /// Number of the link.
        link: usize,
        /// Virtual milliseconds.
        sent: u64,
    },
}

impl Actor {
    /// Link and time of sending, of a manager.
    pub fn manager(self) -> Option<(usize, u64)> {
        match self {
            Self::Manager { link, sent } => Some((link, sent)),
            _ => None,
        }
    }
}

/// One committed write.
#[derive(Debug, Clone)]
pub struct Written {
    /// Its revision.
    pub rv: u64,
    /// Virtual milliseconds since the start.
    pub at: u64,
    /// Who wrote.
    pub actor: Actor,
    /// Plural of the resource.
    pub kind: String,
    /// `namespace/name`.
    pub key: String,
    /// Before; `None`: created.
    pub old: Option<Arc<Value>>,
    /// After; `None`: deleted.
    pub new: Option<Arc<Value>>,
}

/// One request of a manager, other than a read, that reached the server.
#[derive(Debug, Clone)]
pub struct Asked {
    /// When it reached the server, in virtual milliseconds.
    pub at: u64,
    /// When it left.
    pub sent: u64,
    /// Number of the link.
    pub link: usize,
    /// HTTP method.
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// The body.
    pub body: Value,
    /// What the server answered, whether or not the answer arrived.
    pub code: u16,
}

/// Everything that happened.
#[derive(Debug, Default)]
pub struct History {
    /// Committed writes of all kinds but events, in order.
    pub writes: Vec<Written>,
    /// Requests in the order of their arrival.
    pub requests: Vec<Asked>,
    /// Per link and plural: when the link was shown which revision.
    pub shown: BTreeMap<(usize, String), Vec<(u64, u64)>>,
    /// Which manager each link belonged to.
    pub links: Vec<usize>,
    /// Since when there are no faults any more.
    pub calm_at: u64,
    /// Who writes at the moment.
    pub(crate) actor: Option<Actor>,
    hash: u64,
}

/// A history that server, network and checks share.
pub type Shared = Arc<Mutex<History>>;

/// The lock; a poisoned one is still good to read.
pub(crate) fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl History {
    /// Takes a committed write in.
    pub(crate) fn commit(&mut self, at: u64, commit: &Commit<'_>) {
        self.mix(&commit.rv.to_le_bytes());
        self.mix(&at.to_le_bytes());
        self.mix(commit.name.as_bytes());
        self.mix(commit.new.unwrap_or_default());
        if commit.resource.plural == "events" {
            return;
        }
        let value = |bytes: Option<&[u8]>| bytes.and_then(|b| serde_json::from_slice(b).ok()).map(Arc::new);
        let key = format!("{}/{}", commit.namespace, commit.name);
        let (actor, kind) = (self.actor.unwrap_or(Actor::Server), commit.resource.plural.clone());
        self.writes.push(Written { rv: commit.rv, at, actor, kind, key, old: value(commit.old), new: value(commit.new) });
    }

    fn mix(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.hash = self.hash.rotate_left(7) ^ bytes.len() as u64;
    }

    /// A number that stands for every byte committed, and when.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}

/// `metadata.uid`.
pub fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap_or_default()
}

/// uid of the owner that controls an object.
pub fn controller(object: &Value) -> Option<&str> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    owners.iter().find(|o| o["controller"] == true)?["uid"].as_str()
}

/// Neither terminal nor being deleted.
pub fn live(pod: &Value) -> bool {
    !terminal(pod) && pod["metadata"]["deletionTimestamp"].is_null()
}

/// Failed or succeeded.
pub fn terminal(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded"))
}

/// Ready by its condition.
pub fn ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|c| c["status"] == "True")
}

/// A condition of the status.
pub fn condition<'v>(object: &'v Value, kind: &str) -> Option<&'v Value> {
    object["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == kind)
}

/// `spec.replicas`.
pub fn replicas(object: &Value) -> i64 {
    object["spec"]["replicas"].as_i64().unwrap_or(1)
}

/// The pod template without the hash label, to be compared.
pub fn template(object: &Value) -> Value {
    let mut template = object["spec"]["template"].clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.shift_remove("pod-template-hash");
    }
    template
}
