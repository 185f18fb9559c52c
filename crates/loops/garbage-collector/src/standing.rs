//! What an owner is to a dependent (garbage-collection A8).

use evenkeel_api::{FOREGROUND, Key, Kind, Meta, OwnerReference};
use evenkeel_cache::Stores;

use crate::facts::{Facts, Identity, Seen};

/// One owner reference, judged.
#[derive(Debug, Clone)]
pub struct Owner {
    /// What the object says.
    pub reference: OwnerReference,
    /// What is known.
    pub standing: Standing,
    /// Where another object with the owner's uid lives, when it is in no place that the reference could mean.
    pub elsewhere: Option<Key>,
    pub(crate) identity: Identity,
}

impl Owner {
    /// Whether it holds its dependent no longer.
    pub(crate) fn leaves(&self) -> bool {
        matches!(self.standing, Standing::Gone | Standing::Waits)
    }
}

/// What an owner is to its dependent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is there and stays: the dependent stays too.
    Stays,
    /// The same, by a live read: the cache does not show it, so nobody will be told when it goes.
    StaysUnwatched,
    /// It waits for its dependents to go before it: the dependent goes.
    Waits,
    /// It is gone.
    Gone,
    /// Only the server can tell; this is where to look.
    Ask(Kind, Key),
    /// Somebody else is asking the server.
    Asked,
    /// Its kind is being listed for the first time; all there is will be looked at after that.
    Awaited,
    /// Nobody serves its kind, or not yet, or nobody can tell: nothing may be decided (A8.2).
    Unknown,
    /// A cluster-scoped object names an owner in a namespace: never resolved (A12).
    OutOfScope,
}

/// Judges one reference of an object.
pub(crate) fn judge(stores: &Stores, facts: &Facts, object: &Meta, reference: &OwnerReference) -> Owner {
    let in_namespace = Identity::of(reference, &object.namespace);
    let in_cluster = Identity::of(reference, "");
    let owner = |standing, identity: Identity, elsewhere| Owner { reference: reference.clone(), standing, elsewhere, identity };
    // Who is gone stays gone, also when nobody serves its kind any more (A11).
    if let Some(gone) = [&in_cluster, &in_namespace].into_iter().find(|identity| facts.is_gone(identity)) {
        return owner(Standing::Gone, gone.clone(), elsewhere(stores, reference, object));
    }
    let Some(kind) = stores.mapping().resolve(&reference.api_version, &reference.kind) else {
        return owner(Standing::Unknown, in_namespace, None);
    };
    if kind.namespaced && object.namespace.is_empty() {
        return owner(Standing::OutOfScope, in_namespace, elsewhere(stores, reference, object));
    }
    let identity = if kind.namespaced { in_namespace } else { in_cluster };
    let namespace = if kind.namespaced { &*object.namespace } else { "" };
    let cached = stores.any(kind).and_then(|store| store.header(namespace, &reference.name)).filter(|h| *h.uid() == reference.uid);
    let waits = cached.is_some_and(|h| h.deleting() && h.held_by(FOREGROUND));
    let standing = match (cached, facts.seen(&identity)) {
        (Some(_), _) if !waits => Standing::Stays,
        (_, Some(Seen::Waits)) => Standing::Waits,
        (None, Some(Seen::Stays)) => Standing::StaysUnwatched,
        // It waited when the cache heard of it last, and was found to have changed its mind.
        (Some(_), Some(Seen::Stays)) => Standing::Stays,
        (None, None) if stores.mapping().awaited.contains(kind) => Standing::Awaited,
        (_, None) if facts.claim(&identity) => Standing::Ask(kind, Key::new(namespace, reference.name.clone())),
        (_, None) => Standing::Asked,
    };
    owner(standing, identity, None)
}

/// Whether the cache alone says that an owner stays: the question at ingestion, where nothing else may be asked.
pub(crate) fn stays(stores: &Stores, object: &Meta, reference: &OwnerReference) -> bool {
    let Some(kind) = stores.mapping().resolve(&reference.api_version, &reference.kind) else { return false };
    let namespace = if kind.namespaced { &*object.namespace } else { "" };
    let cached = stores.any(kind).and_then(|store| store.header(namespace, &reference.name));
    match cached.filter(|h| *h.uid() == reference.uid) {
        Some(owner) => !(owner.deleting() && owner.held_by(FOREGROUND)),
        // Everything is looked at once the list is in.
        None => stores.mapping().awaited.contains(kind),
    }
}

/// An object with the owner's uid in a namespace that the dependent cannot mean.
fn elsewhere(stores: &Stores, reference: &OwnerReference, object: &Meta) -> Option<Key> {
    let kind = stores.mapping().resolve(&reference.api_version, &reference.kind)?;
    stores.any(kind)?.anywhere(&reference.name, &reference.uid).filter(|key| key.namespace != object.namespace)
}
