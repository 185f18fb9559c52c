use evenkeel_api::{Kind, Meta, Name, Uid, Version};
use jiff::Timestamp;

use crate::Write;

/// What a pass says in the end.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// Status writes, in steps as in a plan.
    pub steps: Vec<Vec<Write>>,
    /// Events to record.
    pub events: Vec<Event>,
    /// When to come back.
    pub next: Next,
}

/// When a key is looked at again (besides whenever something changes).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Next {
    /// When something changes.
    #[default]
    OnChange,
    /// At this time at the latest.
    At(Timestamp),
    /// At once: this pass was a part of one piece of work, whose failures so far still count.
    Again,
    /// After the key's back-off, because of this error; never given up.
    Retry(String),
}

/// An event about an object (manager 11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The object.
    pub about: ObjectReference,
    /// Normal or Warning.
    pub kind: EventType,
    /// Machine-readable reason.
    pub reason: &'static str,
    /// Text for people.
    pub message: String,
}

/// `type` of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventType {
    /// Something went as it should.
    Normal,
    /// Something did not.
    Warning,
}

impl EventType {
    /// The text on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// `involvedObject` of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectReference {
    /// Resource, for `kind` and `apiVersion`.
    pub kind: Kind,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: Name,
    /// Name.
    pub name: Name,
    /// Uid.
    pub uid: Uid,
    /// Version that the loop had seen.
    pub version: Version,
}

impl ObjectReference {
    /// The object as the cache showed it.
    pub fn to(kind: Kind, meta: &Meta) -> Self {
        Self { kind, namespace: meta.namespace.clone(), name: meta.name.clone(), uid: meta.uid.clone(), version: meta.version }
    }
}

impl Event {
    /// A Normal event.
    pub fn normal(about: ObjectReference, reason: &'static str, message: impl Into<String>) -> Self {
        Self { about, kind: EventType::Normal, reason, message: message.into() }
    }

    /// A Warning event.
    pub fn warning(about: ObjectReference, reason: &'static str, message: impl Into<String>) -> Self {
        Self { about, kind: EventType::Warning, reason, message: message.into() }
    }
}
