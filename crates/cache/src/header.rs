use evenkeel_api::{
    Deployment, Meta, Namespace, Node, Object, OwnerReference, Partial, Pod, ReplicaSet, ReplicationController, Uid, Watched,
};

use crate::{AnyStore, BeforeAfter, Entry, Headers, Refused, Store};

/// An object as far as ownership is concerned, whatever its kind.
#[derive(Debug, Clone, Copy)]
pub enum Header<'a> {
    /// Nobody owns, holds or deletes it.
    Plain(&'a Uid),
    /// There is more to say.
    Full(&'a Meta),
}

impl<'a> Header<'a> {
    /// Its uid.
    pub fn uid(self) -> &'a Uid {
        match self {
            Self::Plain(uid) => uid,
            Self::Full(meta) => &meta.uid,
        }
    }

    /// Its whole header, where it is kept.
    pub fn meta(self) -> Option<&'a Meta> {
        match self {
            Self::Plain(_) => None,
            Self::Full(meta) => Some(meta),
        }
    }

    /// Whether it is being deleted.
    pub fn deleting(self) -> bool {
        self.meta().is_some_and(|m| m.deleting.is_some())
    }

    /// Its owner references.
    pub fn owners(self) -> &'a [OwnerReference] {
        self.meta().map_or(&[], |m| &m.owners)
    }

    /// Whether it has this finalizer.
    pub fn held_by(self, finalizer: &str) -> bool {
        self.meta().is_some_and(|m| m.held_by(finalizer))
    }
}

/// The fold of one kind's log.
pub trait Fold<T>: AnyStore + Default {
    /// Folds one entry in and tells what changed, in order. Deletions carry the last known object.
    ///
    /// # Errors
    /// When the entry would take the store back in time.
    fn fold(&mut self, entry: Entry<T>) -> Result<Vec<BeforeAfter<T>>, Refused>;
}

/// What the cache keeps, and in which kind of store.
pub trait Cached: Watched {
    /// The store of one kind of these.
    type Store: Fold<Self>;
    /// Its header.
    fn header(&self) -> Header<'_>;
}

impl<T: Object> Fold<T> for Store<T> {
    fn fold(&mut self, entry: Entry<T>) -> Result<Vec<BeforeAfter<T>>, Refused> {
        self.apply(entry)
    }
}

/// Kinds of which loops read more than the header.
macro_rules! kept_whole {
    ($($kind:ty),*) => {
        $(impl Cached for $kind {
            type Store = Store<$kind>;
            fn header(&self) -> Header<'_> {
                Header::Full(self.meta())
            }
        })*
    };
}

kept_whole!(Deployment, Namespace, Node, Pod, ReplicaSet, ReplicationController);

impl Cached for Partial {
    type Store = Headers;
    fn header(&self) -> Header<'_> {
        match self {
            Self::Plain { uid, .. } => Header::Plain(uid),
            Self::Full(meta) => Header::Full(meta),
        }
    }
}
