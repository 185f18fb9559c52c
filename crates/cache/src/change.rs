use std::{any::Any, sync::Arc};

use evenkeel_api::{Key, Kind, Meta, Object};

use crate::{Cached, Header, store::BeforeAfter};

type Shared = Arc<dyn Any + Send + Sync>;

/// One step of a kind's log as listeners see it: an object came, changed, or went.
#[derive(Clone)]
pub struct Change {
    /// The kind that changed.
    pub kind: Kind,
    /// Namespace and name of the object.
    pub key: Key,
    old: Option<Shared>,
    new: Option<Shared>,
    header: fn(&Shared) -> Option<Header<'_>>,
}

impl Change {
    /// A change from one state to another; at least one of them is there.
    pub fn new<T: Object>(old: Option<Arc<T>>, new: Option<Arc<T>>) -> Self {
        let key = new.as_ref().or(old.as_ref()).map(|object| object.meta().key());
        Self {
            kind: T::resource(),
            key: key.unwrap_or_else(Key::everything),
            old: old.map(|o| o as Shared),
            new: new.map(|o| o as Shared),
            header: |shared| shared.downcast_ref::<T>().map(|object| Header::Full(object.meta())),
        }
    }

    /// The same for a kind that was found at run time.
    pub fn of_kind<T: Cached>(kind: Kind, old: Option<Arc<T>>, new: Option<Arc<T>>) -> Self {
        let key = new.as_ref().or(old.as_ref()).map(|object| object.key());
        Self {
            kind,
            key: key.unwrap_or_else(Key::everything),
            old: old.map(|o| o as Shared),
            new: new.map(|o| o as Shared),
            header: |shared| shared.downcast_ref::<T>().map(T::header),
        }
    }

    /// Before and after, when the change is about a `T`. A deletion's "before" is the last known state.
    pub fn of<T: Object>(&self) -> Option<BeforeAfter<T>> {
        let cast = |side: &Option<Shared>| side.clone().and_then(|s| s.downcast::<T>().ok());
        (std::ptr::eq(self.kind, T::resource())).then(|| (cast(&self.old), cast(&self.new)))
    }

    /// Header of the state before.
    pub fn old_meta(&self) -> Option<&Meta> {
        self.old_header().and_then(Header::meta)
    }

    /// What can be said of the state before.
    pub fn old_header(&self) -> Option<Header<'_>> {
        self.old.as_ref().and_then(self.header)
    }

    /// Header of the state after.
    pub fn new_meta(&self) -> Option<&Meta> {
        self.new_header().and_then(Header::meta)
    }

    /// What can be said of the state after.
    pub fn new_header(&self) -> Option<Header<'_>> {
        self.new.as_ref().and_then(self.header)
    }
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Change").field("kind", &self.kind.plural).field("old", &self.old_meta()).field("new", &self.new_meta()).finish()
    }
}
