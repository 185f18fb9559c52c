use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{DecodeError, Key, Kind, Labels, Name, Pool, Uid, Version, replicas::Header};

/// The part of `metadata` that every cached object keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: Name,
    /// Name.
    pub name: Name,
    /// Uid: one life of this name.
    pub uid: Uid,
    /// Version of the last write that the server made known.
    pub version: Version,
    /// `metadata.generation`, 0 where the kind has none.
    pub generation: i64,
    /// When it was created (resolution: one second).
    pub created: Option<Timestamp>,
    /// `metadata.deletionTimestamp`: set while it is being deleted.
    pub deleting: Option<Timestamp>,
    /// Labels.
    pub labels: Arc<Labels>,
    /// Owner references, in the object's order.
    pub owners: Arc<[OwnerReference]>,
    /// `metadata.finalizers`, in the object's order.
    pub finalizers: Arc<[Name]>,
}

/// Finalizer of an object whose dependents are to go before it (garbage-collection A1).
pub const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of an object whose dependents are to stay (garbage-collection A1).
pub const ORPHAN: &str = "orphan";

impl Meta {
    /// Reads the header of any object.
    ///
    /// # Errors
    /// When the object lacks what every stored one has.
    pub fn read(json: &[u8]) -> Result<Self, DecodeError> {
        serde_json::from_slice::<Header<'_>>(json)?.metadata.slim(Pool::shared())
    }

    /// Whether it has this finalizer.
    pub fn held_by(&self, finalizer: &str) -> bool {
        self.finalizers.iter().any(|f| **f == *finalizer)
    }

    /// The controller reference: the owner reference with `controller: true`.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owners.iter().find(|o| o.controller)
    }

    /// Whether the object's controller reference names this uid.
    pub fn controlled_by(&self, uid: &Uid) -> bool {
        self.controller().is_some_and(|o| o.uid == *uid)
    }

    /// `namespace/name`.
    pub fn key(&self) -> Key {
        Key { namespace: self.namespace.clone(), name: self.name.clone() }
    }
}

/// One entry of `metadata.ownerReferences`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerReference {
    /// `apiVersion` of the owner.
    pub api_version: Name,
    /// Kind of the owner.
    pub kind: Name,
    /// Name of the owner.
    pub name: Name,
    /// Uid of the owner.
    pub uid: Uid,
    /// Whether this owner manages the object.
    pub controller: bool,
    /// Whether foreground deletion of the owner waits for the object.
    pub block_owner_deletion: bool,
}

impl OwnerReference {
    /// The reference on the wire.
    pub fn to_value(&self) -> Value {
        let mut value = json!({"apiVersion": &*self.api_version, "kind": &*self.kind, "name": &*self.name, "uid": self.uid.to_string()});
        if self.controller {
            value["controller"] = true.into();
        }
        if self.block_owner_deletion {
            value["blockOwnerDeletion"] = true.into();
        }
        value
    }

    /// The controller reference that a loop puts on what it makes: `controller` and `blockOwnerDeletion` true.
    pub fn controller_of(kind: Kind, name: &str, uid: &Uid) -> Value {
        json!({
            "apiVersion": kind.api_version(),
            "kind": kind.kind,
            "name": name,
            "uid": uid.to_string(),
            "controller": true,
            "blockOwnerDeletion": true,
        })
    }
}
