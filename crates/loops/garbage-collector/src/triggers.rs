use evenkeel_api::{FOREGROUND, Kind, Meta, ORPHAN, OwnerReference};
use evenkeel_cache::{Change, Header, Stores};
use evenkeel_plan::Trigger;

use crate::{
    facts::{Facts, Identity},
    standing::stays,
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
    if old.is_none_or(|old| old.uid() != new.uid()) {
        facts.appeared(change.kind, &change.key, new.uid());
    }
    let before = old.and_then(Header::meta);
    // Owners that wait may have been released by an edit (A5.3).
    for reference in old.map(Header::owners).unwrap_or_default().iter().filter(|r| r.block_owner_deletion) {
        let still = new.owners().iter().any(|r| r.uid == reference.uid && r.block_owner_deletion);
        if !still && let Some(meta) = before {
            out.extend(waiting(stores, meta, reference));
        }
    }
    let Some(meta) = new.meta() else { return out };
    if let Some(trigger) = look_at(stores, change.kind, meta) {
        out.push(trigger);
    }
    let waits = |meta: &Meta| meta.deleting.is_some() && meta.held_by(FOREGROUND);
    if waits(meta) && !before.is_some_and(waits) {
        out.extend(stores.dependents(&meta.uid).map(|(kind, dependent)| Trigger::now(key_of(kind, &dependent.key()))));
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
    out.extend(stores.dependents(old.uid()).map(|(kind, dependent)| Trigger::now(key_of(kind, &dependent.key()))));
    if out.len() > before {
        facts.gone(Identity::was(change.kind, &change.key, old.uid()));
    }
    let Some(meta) = old.meta() else { return };
    out.extend(meta.owners.iter().filter_map(|reference| waiting(stores, meta, reference)));
}

/// The owner that a reference names, if it waits for its dependents.
fn waiting(stores: &Stores, meta: &Meta, reference: &OwnerReference) -> Option<Trigger> {
    let kind = stores.mapping().resolve(&reference.api_version, &reference.kind)?;
    let namespace = if kind.namespaced { &*meta.namespace } else { "" };
    let owner = stores.any(kind)?.header(namespace, &reference.name)?;
    let waits = *owner.uid() == reference.uid && owner.deleting() && owner.held_by(FOREGROUND);
    waits.then(|| Trigger::now(key_of(kind, &evenkeel_api::Key::new(namespace, reference.name.clone()))))
}
