use std::collections::BTreeSet;

use evenkeel_api::{FOREGROUND, Key, Kind, Meta, ORPHAN, OwnerReference, Uid, Version};
use evenkeel_plan::{PatchForm, Plan, Propagation, Target, Write};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    interlock::Admission,
    snapshot::{Dependents, Held, Met, Object, Snapshot},
    standing::{Owner, Standing, means},
};

/// What is done about one object. At most one of: asking who its owners are, letting go of references, deleting it, or, while it is being
/// deleted, what its deletion waits for.
pub(crate) fn plan(snap: &Snapshot, _now: Timestamp) -> Plan {
    let Some(object) = &snap.object else { return Plan::default() };
    let steps = match verdict(snap) {
        Verdict::Nothing | Verdict::Wait | Verdict::Undecided | Verdict::Held => Vec::new(),
        Verdict::Ask => vec![looks(snap)],
        Verdict::Confirm => vec![vec![Write::Look { kind: object.kind, key: object.meta.key() }]],
        Verdict::LetGo => {
            let (gone, left): (Vec<&Owner>, Vec<&Owner>) = snap.owners.iter().partition(|owner| owner.leaves());
            let [gone, left] = [gone, left].map(|owners| owners.into_iter().map(|owner| &owner.reference).collect());
            vec![vec![without_owners(object.kind, &object.meta, snap.form(object.kind), gone, left)]]
        }
        Verdict::Delete { propagation, version } => {
            let target = Target { version, ..Target::alive(object.kind, &object.meta) };
            vec![vec![Write::Delete { target, propagation: Some(propagation), grace: None }]]
        }
        Verdict::Orphan => orphan(snap, object),
        Verdict::Release => vec![vec![without_finalizer(object, FOREGROUND)]],
    };
    Plan { steps, wake_at: None }
}

/// The decision table of garbage-collection A6 and A7.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All is as it should be, or nothing to do until something changes.
    Nothing,
    /// Something is missing that will come by itself.
    Wait,
    /// A reference that nobody understands: never deleted, never changed.
    Undecided,
    /// Ask the server who the owners are.
    Ask,
    /// Look at the object itself: it was changed while we decided.
    Confirm,
    /// Take the references to owners away that are gone, or wait for it.
    LetGo,
    /// Delete it.
    Delete {
        /// How its own dependents go.
        propagation: Propagation,
        /// Only in this version; `None`: in whichever.
        version: Option<Version>,
    },
    /// It would be deleted, and is held by the interlock.
    Held,
    /// Take its dependents' references and then the finalizer `orphan` away.
    Orphan,
    /// Take the finalizer `foregroundDeletion` away.
    Release,
}

pub(crate) fn verdict(snap: &Snapshot) -> Verdict {
    let Some(object) = &snap.object else { return Verdict::Nothing };
    // Dependents that are not listed yet would be orphaned by nobody, or outlive an owner that should have waited (A17.6). Once
    // the lists are in, or have taken too long, everything is looked at again.
    let listed = snap.unlisted == 0;
    match &snap.held {
        Held::ByOrphans(_) => return if listed { Verdict::Orphan } else { Verdict::Nothing },
        Held::ByDependents { blocked: true, .. } => return Verdict::Nothing,
        Held::ByDependents { .. } if !listed => return Verdict::Nothing,
        Held::ByDependents { unjudged: true, .. } | Held::Released => return Verdict::Wait,
        Held::ByDependents { .. } => return Verdict::Release,
        Held::Not => {}
    }
    if object.meta.deleting.is_some() || snap.owners.is_empty() {
        return Verdict::Nothing;
    }
    let any = |wanted: fn(&Standing) -> bool| snap.owners.iter().any(|o| wanted(&o.standing));
    if snap.owners.iter().any(Owner::undecided) {
        return Verdict::Undecided;
    }
    if any(|s| matches!(s, Standing::Ask(..))) {
        return Verdict::Ask;
    }
    if any(|s| *s == Standing::Awaited) {
        return Verdict::Nothing;
    }
    if any(|s| *s == Standing::Asked) {
        return Verdict::Wait;
    }
    if any(|s| matches!(s, Standing::Stays | Standing::StaysUnwatched)) {
        return if snap.owners.iter().any(Owner::leaves) { Verdict::LetGo } else { Verdict::Nothing };
    }
    let version = match &snap.met {
        Some(Met::Another) => return Verdict::Confirm,
        // Other fields change faster than the cache follows: the uid alone is enough while what was decided on is the same (A10).
        Some(Met::Found { meta, fresh: true }) if same(meta, &object.meta) => None,
        Some(Met::Found { meta, fresh: false }) if same(meta, &object.meta) => Some(meta.version),
        // Its owners changed, or it is gone, or another life: the cache is about to tell, and then all is decided anew.
        Some(Met::Found { meta, .. }) if meta.version > object.meta.version => return Verdict::Nothing,
        Some(Met::Gone) => return Verdict::Nothing,
        _ => Some(object.meta.version),
    };
    if let Admission::Held(_) = snap.admission {
        return Verdict::Held;
    }
    Verdict::Delete { propagation: propagation(snap, &object.meta), version }
}

/// Whether two states of an object call for the same. A finalizer that was added says how its own dependents are to go.
fn same(a: &Meta, b: &Meta) -> bool {
    (&a.uid, &a.owners, &a.finalizers, a.deleting) == (&b.uid, &b.owners, &b.finalizers, b.deleting)
}

/// How the object's own dependents go.
fn propagation(snap: &Snapshot, meta: &Meta) -> Propagation {
    let waits = snap.owners.iter().any(|o| o.standing == Standing::Waits);
    match snap.dependents {
        // What all waits for others already need not be waited for: it closes a ring (A14).
        Dependents::Some if waits => Propagation::Foreground,
        _ if meta.held_by(ORPHAN) => Propagation::Orphan,
        _ if meta.held_by(FOREGROUND) => Propagation::Foreground,
        _ => Propagation::Background,
    }
}

/// One read for each owner.
fn looks(snap: &Snapshot) -> Vec<Write> {
    let places =
        snap.owners.iter().filter_map(|owner| if let Standing::Ask(kind, key) = &owner.standing { Some((*kind, key)) } else { None });
    let places: BTreeSet<(Kind, &Key)> = places.collect();
    places.into_iter().map(|(kind, key)| Write::Look { kind, key: key.clone() }).collect()
}

/// So many dependents let go; once none is left, the owner is released.
fn orphan(snap: &Snapshot, object: &Object) -> Vec<Vec<Write>> {
    let Held::ByOrphans(dependents) = &snap.held else { return Vec::new() };
    let owner = object.meta.key();
    let orphaned = |(kind, meta): &(Kind, Meta)| {
        let of_owner = |reference: &&OwnerReference| reference.uid == object.meta.uid && means(reference, meta, object.kind, &owner);
        let (gone, left) = meta.owners.iter().partition(of_owner);
        without_owners(kind, meta, snap.form(kind), gone, left)
    };
    let patches: Vec<Write> = dependents.iter().map(orphaned).collect();
    if patches.is_empty() { vec![vec![without_finalizer(object, ORPHAN)]] } else { vec![patches] }
}

/// Takes references away. Where a strategic patch cannot say which, since it tells them apart by uid alone, or is not taken at all, the
/// references that are left are written, in the version in which the cache has them: one that was added since is kept that way (A10, A17.4).
fn without_owners(kind: Kind, meta: &Meta, form: PatchForm, gone: Vec<&OwnerReference>, left: Vec<&OwnerReference>) -> Write {
    let kept: BTreeSet<&Uid> = left.iter().map(|owner| &owner.uid).collect();
    let twice = gone.iter().any(|owner| kept.contains(&owner.uid));
    if form == PatchForm::Merge || twice {
        return merge(kind, meta, "ownerReferences", left.into_iter().map(OwnerReference::to_value).collect());
    }
    let gone: Vec<Value> = gone.into_iter().map(|owner| json!({"$patch": "delete", "uid": owner.uid.to_string()})).collect();
    let body = json!({"metadata": {"uid": meta.uid.to_string(), "ownerReferences": gone}});
    Write::Patch { target: Target::alive(kind, meta), subresource: None, form: PatchForm::Strategic, body }
}

fn without_finalizer(object: &Object, finalizer: &str) -> Write {
    let left: Vec<Value> = object.meta.finalizers.iter().filter(|f| ***f != *finalizer).map(|f| (&**f).into()).collect();
    merge(object.kind, &object.meta, "finalizers", left)
}

fn merge(kind: Kind, meta: &Meta, field: &str, left: Vec<Value>) -> Write {
    let left = if left.is_empty() { Value::Null } else { left.into() };
    let body = json!({"metadata": {"uid": meta.uid.to_string(), "resourceVersion": meta.version.to_string(), field: left}});
    Write::Patch { target: Target::exactly(kind, meta), subresource: None, form: PatchForm::Merge, body }
}
