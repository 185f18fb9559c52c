//! What an owner is to a dependent (garbage-collection A8).

use evenkeel_api::{Key, Kind, Meta, OwnerReference, Uid};
use evenkeel_cache::{Header, Stores};

use crate::{
    facts::{Facts, Identity, Seen},
    ring::waits,
};

/// Longest name or uid of an owner that is asked for, in bytes. Those of objects have at most 253, and what is known of owners is kept.
const LONGEST: usize = 1_024;

/// One owner reference, judged.
#[derive(Debug, Clone)]
pub struct Owner {
    /// What the object says.
    pub reference: OwnerReference,
    /// What is known.
    pub standing: Standing,
    /// Where the owner lives, when that is no place that the reference could mean.
    pub elsewhere: Option<Key>,
    pub(crate) identity: Identity,
    /// Whether it waits for its dependents, as the cache shows it or an answer said.
    pub(crate) waits: bool,
}

impl Owner {
    /// Whether it holds its dependent no longer.
    pub(crate) fn leaves(&self) -> bool {
        matches!(self.standing, Standing::Gone | Standing::Waits)
    }

    /// Whether nothing may be decided because of it.
    pub(crate) fn undecided(&self) -> bool {
        matches!(self.standing, Standing::Unknown | Standing::OutOfScope)
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
    /// The server has been asked, or will be before the rest of this object's owners.
    Asked,
    /// Its kind is being listed for the first time; all there is will be looked at after that.
    Awaited,
    /// Nobody serves its kind in this version, or not yet, or nobody can tell: nothing may be decided (A8.2).
    Unknown,
    /// A cluster-scoped object names an owner in a namespace: never resolved (A12).
    OutOfScope,
}

/// Judges one reference of an object.
pub(crate) fn judge(stores: &Stores, facts: &Facts, object: &Meta, reference: &OwnerReference) -> Owner {
    let owner = |standing, identity| Owner { reference: reference.clone(), standing, elsewhere: None, identity, waits: false };
    let Some(kind) = stores.mapping().resolve(&reference.api_version, &reference.kind) else {
        // Who is gone stays gone, also when nobody serves its kind any more (A11).
        let known = ["", &*object.namespace].map(|namespace| Identity::of(reference, &reference.api_version, namespace));
        let gone = known.iter().any(|identity| facts.is_gone(identity));
        let [identity, _] = known;
        return owner(if gone { Standing::Gone } else { Standing::Unknown }, identity);
    };
    let namespace = if kind.namespaced { &*object.namespace } else { "" };
    let identity = Identity::of(reference, &kind.api_version(), namespace);
    if kind.namespaced && object.namespace.is_empty() {
        return owner(Standing::OutOfScope, identity);
    }
    if facts.is_gone(&identity) {
        return owner(Standing::Gone, identity);
    }
    let cached = stores.any(kind).and_then(|store| store.header(namespace, &reference.name)).filter(|h| *h.uid() == reference.uid);
    let seen = facts.seen(&identity);
    let shown = cached.and_then(Header::meta);
    // An answer may be ahead of the cache.
    let ahead = matches!((shown, seen), (Some(owner), Some(Seen::Waits(Some(version)))) if owner.version < version);
    let waits = ahead || shown.is_some_and(waits);
    let standing = match (cached, seen) {
        (Some(_), _) if !waits => Standing::Stays,
        (_, Some(Seen::Waits(_))) => Standing::Waits,
        // The cache does not show it, or shows that it waits: as it was before it changed its mind, or as it has been since that read.
        (_, Some(Seen::Stays)) => Standing::StaysUnwatched,
        (None, None) if stores.mapping().awaited.contains(kind) => Standing::Awaited,
        (_, None) if can_be_asked_for(reference) => Standing::Ask(kind, Key::new(namespace, reference.name.clone())),
        (_, None) => Standing::Unknown,
    };
    Owner { waits, ..owner(standing, identity) }
}

/// Whether a reference's words can stand in a request. Servers take any text for a name; upstream keeps what names such an owner, too.
fn can_be_asked_for(reference: &OwnerReference) -> bool {
    let name = &*reference.name;
    let odd = matches!(name, "" | "." | "..") || name.contains(['/', '%']);
    !odd && !reference.uid.is_empty() && name.len() <= LONGEST && reference.uid.to_string().len() <= LONGEST
}

/// Whether the cache alone says that an owner stays: the question at ingestion, where nothing else may be asked.
pub(crate) fn stays(stores: &Stores, object: &Meta, reference: &OwnerReference) -> bool {
    let Some(kind) = stores.mapping().resolve(&reference.api_version, &reference.kind) else { return false };
    if kind.namespaced && object.namespace.is_empty() {
        return false;
    }
    let namespace = if kind.namespaced { &*object.namespace } else { "" };
    let cached = stores.any(kind).and_then(|store| store.header(namespace, &reference.name));
    match cached.filter(|h| *h.uid() == reference.uid) {
        Some(owner) => !owner.meta().is_some_and(waits),
        // Everything is looked at once the list is in.
        None => stores.mapping().awaited.contains(kind),
    }
}

/// Whether a reference of an object with an owner's uid means this owner, in whatever version of its kind: a uid alone is written by anybody.
pub(crate) fn means(reference: &OwnerReference, object: &Meta, kind: Kind, owner: &Key) -> bool {
    let group = reference.api_version.split_once('/').map_or("", |(group, _)| group);
    reference.name == owner.name
        && (group, &*reference.kind) == (kind.group, kind.kind)
        && (!kind.namespaced || object.namespace == owner.namespace)
}

/// The kind that a reference is about, in whatever version: nothing is decided by a version that nobody serves, and yet whoever names an owner in
/// one is among those that the owner waits for.
pub(crate) fn kind_of(stores: &Stores, reference: &OwnerReference) -> Option<Kind> {
    let group = reference.api_version.split_once('/').map_or("", |(group, _)| group);
    let served = stores.mapping().resolve(&reference.api_version, &reference.kind);
    served.or_else(|| stores.kinds().map(|(kind, _)| kind).find(|kind| (kind.group, kind.kind) == (group, &*reference.kind)))
}

/// References of an object to this owner.
pub(crate) fn to<'o>(object: &'o Meta, kind: Kind, owner: &'o Key, uid: &'o Uid) -> impl Iterator<Item = &'o OwnerReference> {
    object.owners.iter().filter(move |reference| reference.uid == *uid && means(reference, object, kind, owner))
}

/// All that names this owner: by coordinates, as a uid alone is written by anybody.
pub(crate) fn dependents<'s>(stores: &'s Stores, kind: Kind, owner: &'s Meta) -> impl Iterator<Item = (Kind, &'s Meta)> {
    let key = owner.key();
    stores.dependents(&owner.uid).filter(move |(_, dependent)| to(dependent, kind, &key, &owner.uid).next().is_some())
}

/// An object with the owner's uid in a namespace that the dependent cannot mean. Every namespace is looked into.
pub(crate) fn elsewhere(stores: &Stores, reference: &OwnerReference, object: &Meta) -> Option<Key> {
    let kind = stores.mapping().resolve(&reference.api_version, &reference.kind)?;
    stores.any(kind)?.anywhere(&reference.name, &reference.uid).filter(|key| key.namespace != object.namespace)
}
