//! Who waits for whom in foreground deletion, and rings of those that wait for each other.

use std::collections::BTreeSet;

use evenkeel_api::{FOREGROUND, Kind, Meta, Uid};
use evenkeel_cache::Stores;

/// Most objects that are followed in search of a ring. Longer rings hang, as all do upstream.
const LONGEST: usize = 10_000;

/// Whether a dependent still holds an owner that waits. One that waits itself, in the end for this owner, never would let go: in a ring nobody
/// blocks anybody (garbage-collection A14; upstream hangs, A17.1).
pub(crate) fn blocked(stores: &Stores, kind: Kind, owner: &Meta) -> bool {
    blockers(stores, kind, owner).any(|(kind, dependent)| !(waits(dependent) && leads_to(stores, kind, dependent, &owner.uid)))
}

fn waits(meta: &Meta) -> bool {
    meta.deleting.is_some() && meta.held_by(FOREGROUND)
}

/// Dependents that block an owner: by coordinates, so that nobody in another namespace can hold it up (A17.12).
pub(crate) fn blockers<'s>(stores: &'s Stores, kind: Kind, owner: &'s Meta) -> impl Iterator<Item = (Kind, &'s Meta)> {
    stores.dependents(&owner.uid).filter(move |(_, dependent)| {
        let reachable = !kind.namespaced || dependent.namespace == owner.namespace;
        let means = |r: &&evenkeel_api::OwnerReference| r.uid == owner.uid && *r.kind == *kind.kind && r.name == owner.name;
        reachable && dependent.owners.iter().filter(means).any(|r| r.block_owner_deletion)
    })
}

/// Whether something waits, through others that wait, for an object of this uid.
fn leads_to(stores: &Stores, kind: Kind, from: &Meta, to: &Uid) -> bool {
    let mut open: Vec<(Kind, &Meta)> = vec![(kind, from)];
    let mut known: BTreeSet<&Uid> = BTreeSet::from([&from.uid]);
    while let Some((kind, meta)) = open.pop() {
        if meta.uid == *to {
            return true;
        }
        for (kind, next) in blockers(stores, kind, meta).filter(|(_, d)| waits(d)) {
            if known.len() < LONGEST && known.insert(&next.uid) {
                open.push((kind, next));
            }
        }
    }
    false
}
