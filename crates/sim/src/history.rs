//! The true history: every committed write in order, every request of a manager that reached the server, and what each manager was shown.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use evenkeel_apiserver::Commit;
use evenkeel_plan::{Plan, Write};
use jiff::Timestamp;
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
    /// Whether it went through the status subresource.
    pub status: bool,
    /// API group of the resource; empty: the core.
    pub group: String,
    /// Plural of the resource.
    pub kind: String,
    /// `namespace/name`.
    pub key: String,
    /// Before; `None`: created.
    pub old: Option<Arc<Value>>,
    /// After; `None`: deleted.
    pub new: Option<Arc<Value>>,
}

/// One request of a manager that reached the server. Of reads only those of one object are kept.
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
    /// It was under way when the manager was paused, and arrived when the pause was over (F13).
    pub late: bool,
    /// The answer never reaches the manager.
    pub unheard: bool,
}

/// One pass of a loop: what it declared to have looked at, and what it wanted.
#[derive(Debug, Clone)]
pub struct Pass {
    /// Number of the link.
    pub link: usize,
    /// Canonical name of the loop.
    pub controller: &'static str,
    /// `namespace/name` of its key.
    pub key: String,
    /// When it looked, in virtual milliseconds.
    pub began: u64,
    /// What the manager's wall clock showed when it planned.
    pub now: Timestamp,
    /// Per plural: the revision that its snapshot was taken at.
    pub seen: BTreeMap<&'static str, u64>,
    /// Its plan, as it was carried out.
    pub plan: Plan,
    /// The status writes that it ended with.
    pub report: Vec<Write>,
    /// How often its process had seen the server go back in time.
    pub restores: u64,
}

/// A resource, and the versions of it that are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// API group; empty: the core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Plural.
    pub plural: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Versions.
    pub versions: Vec<String>,
}

/// The server was restored from a backup (F8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// Number of writes before that, those that were lost by it among them.
    pub before: usize,
    /// The revision that the server went back to.
    pub revision: u64,
    /// When, in virtual milliseconds.
    pub at: u64,
    /// The newest link at that time.
    pub link: usize,
}

impl Pass {
    /// The revision of a kind that the pass looked at; 0: it did not.
    pub fn saw(&self, kind: &str) -> u64 {
        self.seen.get(kind).copied().unwrap_or(0)
    }

    /// Whether the pass wanted this write.
    pub fn wants(&self, kind: &str, key: &str, status: bool) -> bool {
        let is = |write: &Write| {
            let to_status = matches!(write, Write::Replace { subresource: Some("status"), .. });
            write.changes() && to_status == status && write.kind().plural == kind && write.key().to_string() == key
        };
        self.plan.writes().chain(&self.report).any(is)
    }
}

/// Everything that happened.
#[derive(Debug, Default)]
pub struct History {
    /// Committed writes of all kinds but events, in order.
    pub writes: Vec<Written>,
    /// Passes in the order in which they began.
    pub passes: Vec<Pass>,
    /// Requests in the order of their arrival.
    pub requests: Vec<Asked>,
    /// Per link and plural: when the link was shown which revision.
    pub shown: BTreeMap<(usize, String), Vec<(u64, u64)>>,
    /// Which manager each link belonged to.
    pub links: Vec<usize>,
    /// By how many milliseconds each manager's wall clock is ahead of the server's; none: by nothing.
    pub ahead: Vec<i64>,
    /// Whether something was broken on purpose (`bugs.rs`), so that plans are not what loops decided.
    pub broken: bool,
    /// What is served from the beginning.
    pub served: Vec<Served>,
    /// When the server went back in time.
    pub restored: Option<Restored>,
    /// Since when there are no faults any more.
    pub calm_at: u64,
    /// Who writes at the moment, and the path of the request.
    pub(crate) actor: Option<(Actor, String)>,
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
        let status = self.actor.as_ref().is_some_and(|(_, path)| path.ends_with("/status"));
        // What a request brings about besides (the last object of a kind goes, and with it the definition) is the server's doing.
        let actor = match &self.actor {
            Some((actor, path)) if actor.manager().is_none() || names(path, &commit.resource.plural, commit.name) => *actor,
            _ => Actor::Server,
        };
        let (group, kind) = (commit.resource.group.clone(), commit.resource.plural.clone());
        self.writes.push(Written { rv: commit.rv, at, actor, status, group, kind, key, old: value(commit.old), new: value(commit.new) });
    }

    fn mix(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.hash = self.hash.rotate_left(7) ^ bytes.len() as u64;
    }

    /// The objects of a kind as they were at a revision, by `namespace/name`.
    pub fn as_of(&self, kind: &str, rv: u64) -> BTreeMap<&str, &Arc<Value>> {
        let mut objects = BTreeMap::new();
        for w in self.writes.iter().take_while(|w| w.rv <= rv).filter(|w| w.kind == kind) {
            match &w.new {
                Some(new) => objects.insert(w.key.as_str(), new),
                None => objects.remove(w.key.as_str()),
            };
        }
        objects
    }

    /// By how many milliseconds the wall clock of a link's manager is ahead of the server's.
    pub fn ahead_of(&self, link: usize) -> i64 {
        self.links.get(link).and_then(|manager| self.ahead.get(*manager)).copied().unwrap_or(0)
    }

    /// A number that stands for every byte committed, and when.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}

/// Whether a path names an object, or all of its kind.
fn names(path: &str, plural: &str, name: &str) -> bool {
    let mut rest = path.split('/').skip_while(|part| *part != plural);
    rest.next().is_some() && rest.next().is_none_or(|part| part == name)
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
