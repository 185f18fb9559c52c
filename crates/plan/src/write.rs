use std::sync::{Arc, LazyLock};

use evenkeel_api::{Key, Kind, Meta, Name, Resource, Uid, Version};
use jiff::Timestamp;
use serde_json::Value;

/// Ordered steps. Writes within a step may run side by side; a step starts when the one before has succeeded as a whole.
///
/// Creates of one step begin with 1, 2, 4, 8 at a time and open up once those have succeeded; after a failure no more are sent. So a step
/// whose creates all fail costs at most 15 calls (workloads 3.5).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// The steps; empty steps are passed over.
    pub steps: Vec<Vec<Write>>,
    /// When to look again even if nothing changes.
    pub wake_at: Option<Timestamp>,
}

impl Plan {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.steps.iter().all(Vec::is_empty)
    }

    /// All writes in order.
    pub fn writes(&self) -> impl Iterator<Item = &Write> {
        self.steps.iter().flatten()
    }
}

/// The object that a write is about: this life of this name, and for some writes this version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Resource.
    pub kind: Kind,
    /// Namespace and name.
    pub key: Key,
    /// Uid that it must have.
    pub uid: Uid,
    /// Version that it must have, where somebody else's write in between would make ours wrong.
    pub version: Option<Version>,
}

impl Target {
    /// An object in exactly the state that the cache showed.
    pub fn exactly(kind: Kind, meta: &Meta) -> Self {
        Self { kind, key: meta.key(), uid: meta.uid.clone(), version: Some(meta.version) }
    }

    /// This life of an object, whatever was written to it since.
    pub fn alive(kind: Kind, meta: &Meta) -> Self {
        Self { version: None, ..Self::exactly(kind, meta) }
    }
}

/// One request that a plan asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// POST an object under a name that we chose, so that the same decision taken twice collides instead of doubling.
    Create {
        /// Resource.
        kind: Kind,
        /// Namespace and name.
        key: Key,
        /// Uid of the owner that the new object has as controller: after an unknown outcome, or when the name turns out to be taken, an
        /// object of that name which this owner controls is ours.
        controller: Option<Uid>,
        /// The object; `metadata.name` and `metadata.namespace` are filled in from `key`. Shared by all creates of a step.
        body: Arc<Value>,
    },
    /// PUT a whole object, edited from the one that the cache holds. The target's version guards it.
    Replace {
        /// What is replaced.
        target: Target,
        /// `status` and the like.
        subresource: Option<&'static str>,
        /// The whole object.
        body: Value,
    },
    /// PATCH. Its body carries the uid, which guards it, and the version where a race would hurt.
    Patch {
        /// What is patched.
        target: Target,
        /// `status` and the like.
        subresource: Option<&'static str>,
        /// How the server reads it.
        form: PatchForm,
        /// The patch.
        body: Value,
    },
    /// DELETE with the target's uid, and version where given, as preconditions.
    Delete {
        /// What goes.
        target: Target,
        /// How its dependents go; `None`: the server's default.
        propagation: Option<Propagation>,
        /// Seconds that a pod may take to end; `None`: what the pod says. Zero: nobody is asked any more.
        grace: Option<u32>,
    },
    /// A live read that must find the owner alive, with the target's uid, before the steps behind it may run (workloads 1.6.1).
    ConfirmOwner {
        /// The owner.
        target: Target,
    },
    /// A live read that tells whether anything goes by this name, whatever its uid.
    Look {
        /// Resource.
        kind: Kind,
        /// Namespace and name.
        key: Key,
    },
    /// DELETE of all objects of one kind in one namespace.
    DeleteCollection {
        /// Resource.
        kind: Kind,
        /// The namespace ([`Key::of_namespace`]).
        place: Key,
        /// How dependents of the objects go.
        propagation: Propagation,
    },
    /// A live list that tells what is left of one kind in one namespace.
    Count {
        /// Resource.
        kind: Kind,
        /// The namespace ([`Key::of_namespace`]).
        place: Key,
    },
    /// A live read of all that the server serves.
    Discover,
}

/// What [`Write::Discover`] is about, for texts.
static APIS: Resource = Resource { group: "", version: "", plural: "apis", kind: "APIGroupDiscoveryList", namespaced: false };
static EVERYTHING: LazyLock<Key> = LazyLock::new(Key::everything);

/// Content type of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PatchForm {
    /// Lists merge by their keys; custom resources do not take it.
    #[default]
    Strategic,
    /// JSON merge patch (RFC 7396): lists are replaced.
    Merge,
}

/// `propagationPolicy` of a delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Dependents go later.
    Background,
    /// Dependents go first.
    Foreground,
    /// Dependents stay.
    Orphan,
}

impl Propagation {
    /// The text on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Background => "Background",
            Self::Foreground => "Foreground",
            Self::Orphan => "Orphan",
        }
    }
}

impl Write {
    /// Resource that it is about.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Create { kind, .. } | Self::Look { kind, .. } | Self::DeleteCollection { kind, .. } | Self::Count { kind, .. } => kind,
            Self::Discover => &APIS,
            Self::Replace { target, .. } | Self::Patch { target, .. } | Self::Delete { target, .. } | Self::ConfirmOwner { target } => {
                target.kind
            }
        }
    }

    /// Object that it is about.
    pub fn key(&self) -> &Key {
        match self {
            Self::Create { key, .. } | Self::Look { key, .. } => key,
            Self::DeleteCollection { place, .. } | Self::Count { place, .. } => place,
            Self::Discover => &EVERYTHING,
            Self::Replace { target, .. } | Self::Patch { target, .. } | Self::Delete { target, .. } | Self::ConfirmOwner { target } => {
                &target.key
            }
        }
    }

    /// Name of the object.
    pub fn name(&self) -> &Name {
        &self.key().name
    }

    /// One word for logs and `evenkeel plan`.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Replace { .. } => "update",
            Self::Patch { .. } => "patch",
            Self::Delete { .. } => "delete",
            Self::DeleteCollection { .. } => "deletecollection",
            Self::Count { .. } => "list",
            Self::ConfirmOwner { .. } | Self::Look { .. } | Self::Discover => "get",
        }
    }

    /// Whether it changes anything on the server.
    pub fn changes(&self) -> bool {
        !matches!(self, Self::ConfirmOwner { .. } | Self::Look { .. } | Self::Count { .. } | Self::Discover)
    }
}
