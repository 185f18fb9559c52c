use std::collections::BTreeSet;

use evenkeel_api::{FOREGROUND, Key, Kind, Meta, ORPHAN, OwnerReference};
use evenkeel_cache::{Change, Header, Stores};
use evenkeel_plan::{Done, Outcome, Plan, Propagation, Trigger, Write};

use crate::{
    facts::{Facts, Identity},
    ring::{surely_blocked, waits},
    snapshot::{Dependents, Object, Snapshot},
    standing::{dependents, kind_of, means, stays},
    work::key_of,
};

/// What a change makes worth looking at (garbage-collection A5).
pub(crate) fn triggers(change: &Change, stores: &Stores, facts: &Facts) -> Vec<Trigger> {
    facts.as_of(stores);
    let (old, new) = (change.old_header(), change.new_header());
    let mut out = Vec::new();
    let Some(new) = new else {
        if let Some(old) = old {
            gone(change, old, stores, facts, &mut out);
        }
        return out;
    };
    let before = old.filter(|old| old.uid() == new.uid());
    if before.is_none() {
        facts.appeared(change.kind, &change.key, new.uid());
        // Whoever names this owner in a place where it is not hears of it now (A5.2).
        let wrong =
            |dependent: &Meta| dependent.owners.iter().any(|r| r.uid == *new.uid() && !means(r, dependent, change.kind, &change.key));
        let misled = stores.dependents(new.uid()).filter(|(_, dependent)| dependent.deleting.is_none() && wrong(dependent));
        out.extend(misled.map(|(kind, dependent)| Trigger::now(key_of(kind, &dependent.key()))));
        if !out.is_empty() {
            facts.moved();
        }
    }
    let before = before.and_then(Header::meta);
    // Most writes change nothing that matters here (A17.10).
    if let (Some(old), Some(new)) = (before, new.meta())
        && (&old.owners, &old.finalizers, old.deleting) == (&new.owners, &new.finalizers, new.deleting)
    {
        return out;
    }
    if let Some(old) = before.filter(|old| old.owners.iter().any(|r| r.block_owner_deletion)) {
        // Owners that wait may have been released by an edit (A5.3).
        let still: BTreeSet<&OwnerReference> = new.owners().iter().collect();
        out.extend(
            old.owners.iter().filter(|r| r.block_owner_deletion && !still.contains(r)).filter_map(|r| waiting(stores, facts, old, r)),
        );
    }
    let Some(meta) = new.meta() else { return out };
    // Dependents before the owner: those that do not hold it are to be judged while it still waits (A5.3).
    if waits(meta) && !before.is_some_and(waits) {
        out.extend(stores.dependents(&meta.uid).map(|(kind, dependent)| Trigger::now(key_of(kind, &dependent.key()))));
    }
    out.extend(look_at(stores, change.kind, meta));
    out
}

/// What the answers to a pass's own writes make worth looking at at once: the next link of a chain need not wait for the event.
pub(crate) fn answered(snap: &Snapshot, plan: &Plan, outcome: &Outcome, stores: &Stores, facts: &Facts) -> Vec<Trigger> {
    let Some(Object { kind, meta }) = &snap.object else { return Vec::new() };
    let mut out = Vec::new();
    for (write, done) in plan.writes().zip(outcome.steps.iter().flatten()) {
        let Done::Written(answer) = done else { continue };
        match write {
            // It is gone, or waits: what it owns goes.
            Write::Delete { propagation, .. }
                if snap.dependents != Dependents::None && (answer.gone || *propagation == Some(Propagation::Foreground)) =>
            {
                let alive = dependents(stores, kind, meta).filter(|(_, dependent)| dependent.deleting.is_none());
                out.extend(alive.map(|(kind, dependent)| Trigger::now(key_of(kind, &dependent.key()))));
            }
            // It was released: its owners may be next.
            Write::Patch { .. } if answer.gone => {
                let blocking = meta.owners.iter().filter(|reference| reference.block_owner_deletion);
                out.extend(blocking.filter_map(|reference| waiting(stores, facts, meta, reference)));
            }
            _ => {}
        }
    }
    out
}

/// Everything that a new leader, or a kind that has just been listed, makes worth looking at.
pub(crate) fn all(stores: &Stores) -> Vec<Trigger> {
    let mut out = Vec::new();
    for (kind, store) in stores.kinds() {
        store.each(&mut |meta| out.extend(look_at(stores, kind, meta)));
    }
    out
}

/// Whether there is anything to decide about an object.
fn look_at(stores: &Stores, kind: Kind, meta: &Meta) -> Option<Trigger> {
    let wanted = match meta.deleting {
        Some(_) => meta.held_by(ORPHAN) || meta.held_by(FOREGROUND),
        // Until the server was asked what it serves nobody can be judged; then everything is looked at.
        None => !stores.mapping().is_empty() && !meta.owners.iter().all(|reference| stays(stores, meta, reference)),
    };
    wanted.then(|| Trigger::now(key_of(kind, &meta.key())))
}

/// An object went: what it owned is to be judged, and who waited for it may go.
fn gone(change: &Change, old: Header<'_>, stores: &Stores, facts: &Facts, out: &mut Vec<Trigger>) {
    let before = out.len();
    // Who is on the way out already is not judged again.
    let alive = stores.dependents(old.uid()).filter(|(_, dependent)| dependent.deleting.is_none());
    out.extend(alive.map(|(kind, dependent)| Trigger::now(key_of(kind, &dependent.key()))));
    if out.len() > before {
        facts.gone(Identity::was(change.kind, &change.key, old.uid()));
    }
    let Some(meta) = old.meta() else { return };
    out.extend(meta.owners.iter().filter(|r| r.block_owner_deletion).filter_map(|reference| waiting(stores, facts, meta, reference)));
}

/// The owner that a reference names, if it waits for its dependents. As long as one of them is sure to hold it nobody has to look: whatever
/// that one does next is told of, too.
fn waiting(stores: &Stores, facts: &Facts, meta: &Meta, reference: &OwnerReference) -> Option<Trigger> {
    let kind = kind_of(stores, reference)?;
    let namespace = if kind.namespaced { &*meta.namespace } else { "" };
    let owner = stores.any(kind)?.header(namespace, &reference.name)?;
    let waits =
        *owner.uid() == reference.uid && owner.meta().is_some_and(|owner| waits(owner) && !surely_blocked(stores, facts, kind, owner));
    waits.then(|| Trigger::now(key_of(kind, &Key::new(namespace, reference.name.clone()))))
}
