//! Who waits for whom in foreground deletion, and rings of those that wait for each other.

use std::collections::BTreeSet;

use evenkeel_api::{FOREGROUND, Kind, Meta, ORPHAN, Uid};
use evenkeel_cache::Stores;

use crate::{
    facts::Facts,
    standing::{kind_of, to},
};

/// Most references that are followed in search of a ring. Longer rings hang, as all do upstream.
const LONGEST: usize = 10_000;

/// Dependents that are looked at to see without much ado that an owner goes on waiting.
const FIRST: usize = 4;

/// Whether a dependent still holds an owner that waits. One that waits itself, in the end for this owner, never would let go: in a ring nobody
/// blocks anybody (garbage-collection A14; upstream hangs, A17.1).
pub(crate) fn blocked(stores: &Stores, facts: &Facts, kind: Kind, owner: &Meta) -> bool {
    // Asked after every dependent that goes, so it ends at the first that blocks, and looks for rings only where one is possible.
    let mut waited_for = None;
    holders(stores, facts, kind, owner)
        .any(|(_, dependent)| !waits(dependent) || !waited_for.get_or_insert_with(|| waiting_for(stores, owner)).contains(&dependent.uid))
}

/// Whether one of the first dependents holds an owner, and waits for nobody itself: no ring lets that owner go. More are not looked at, as this
/// is asked for every owner of all that goes.
pub(crate) fn surely_blocked(stores: &Stores, facts: &Facts, kind: Kind, owner: &Meta) -> bool {
    holders(stores, facts, kind, owner).take(FIRST).any(|(_, dependent)| !waits(dependent))
}

/// Whether an object waits for its dependents. One that is held by `orphan` as well, which no server stores, lets them go first.
pub(crate) fn waits(meta: &Meta) -> bool {
    meta.deleting.is_some() && meta.held_by(FOREGROUND) && !meta.held_by(ORPHAN)
}

/// Dependents that block an owner: by coordinates, so that nobody in another namespace can hold it up (A17.12).
pub(crate) fn blockers<'s>(stores: &'s Stores, kind: Kind, owner: &'s Meta) -> impl Iterator<Item = (Kind, &'s Meta)> {
    let key = owner.key();
    stores.dependents(&owner.uid).filter(move |(_, dependent)| to(dependent, kind, &key, &owner.uid).any(|r| r.block_owner_deletion))
}

/// The same without those that went already, by the answer to their release.
fn holders<'s>(stores: &'s Stores, facts: &'s Facts, kind: Kind, owner: &'s Meta) -> impl Iterator<Item = (Kind, &'s Meta)> {
    blockers(stores, kind, owner).filter(|(_, dependent)| !facts.released(dependent))
}

/// An object, and all that wait for it: its owners by references that block, and theirs.
fn waiting_for<'s>(stores: &'s Stores, object: &'s Meta) -> BTreeSet<&'s Uid> {
    let mut found = BTreeSet::from([&object.uid]);
    let mut open = vec![object];
    let mut followed = 0;
    while let Some(meta) = open.pop() {
        for reference in meta.owners.iter().filter(|r| r.block_owner_deletion) {
            followed += 1;
            if followed > LONGEST {
                return found;
            }
            let Some(kind) = kind_of(stores, reference) else { continue };
            let namespace = if kind.namespaced { &*meta.namespace } else { "" };
            let owner = stores.any(kind).and_then(|store| store.header(namespace, &reference.name)).and_then(|header| header.meta());
            if let Some(owner) = owner.filter(|o| o.uid == reference.uid && waits(o))
                && found.insert(&owner.uid)
            {
                open.push(owner);
            }
        }
    }
    found
}
