use evenkeel_api::{FOREGROUND, Kind, Meta, ORPHAN, OwnerReference};
use evenkeel_plan::{PatchForm, Plan, Propagation, Target, Write};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    BATCH,
    interlock::Admission,
    snapshot::{Dependents, Held, Object, Snapshot},
    standing::{Owner, Standing},
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
            let leaves = |reference: &OwnerReference| snap.owners.iter().any(|o| o.reference == *reference && o.leaves());
            vec![vec![without_owners(object.kind, &object.meta, snap.form(object.kind), leaves)]]
        }
        Verdict::Delete { propagation, exactly } => {
            let target = if exactly { Target::exactly(object.kind, &object.meta) } else { Target::alive(object.kind, &object.meta) };
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
        /// Only in the version that the decision was made on.
        exactly: bool,
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
        Held::ByDependents { blocked: true } => return Verdict::Nothing,
        Held::ByDependents { blocked: false } => return if listed { Verdict::Release } else { Verdict::Nothing },
        Held::Not => {}
    }
    if object.meta.deleting.is_some() || snap.owners.is_empty() {
        return Verdict::Nothing;
    }
    let any = |wanted: fn(&Standing) -> bool| snap.owners.iter().any(|o| wanted(&o.standing));
    if any(|s| *s == Standing::Unknown || *s == Standing::OutOfScope) {
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
    if snap.confirms {
        return Verdict::Confirm;
    }
    let exactly = match &snap.met {
        None => true,
        // Other fields change faster than the cache follows: the uid alone is enough while the owners are the same (A10).
        Some(met) if met.uid == object.meta.uid && met.owners == object.meta.owners => false,
        Some(_) => return Verdict::Wait,
    };
    if let Admission::Held(_) = snap.admission {
        return Verdict::Held;
    }
    Verdict::Delete { propagation: propagation(snap, &object.meta), exactly }
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
    let mut looks: Vec<Write> = Vec::new();
    for owner in &snap.owners {
        let Standing::Ask(kind, key) = &owner.standing else { continue };
        let look = Write::Look { kind, key: key.clone() };
        if !looks.contains(&look) {
            looks.push(look);
        }
    }
    looks
}

/// So many dependents let go; once none is left, the owner is released.
fn orphan(snap: &Snapshot, object: &Object) -> Vec<Vec<Write>> {
    let Held::ByOrphans(dependents) = &snap.held else { return Vec::new() };
    let owns = |reference: &OwnerReference| reference.uid == object.meta.uid;
    let patches: Vec<Write> =
        dependents.iter().take(BATCH).map(|(kind, meta)| without_owners(kind, meta, snap.form(kind), owns)).collect();
    if patches.is_empty() { vec![vec![without_finalizer(object, ORPHAN)]] } else { vec![patches] }
}

/// Takes references away. Where a strategic patch cannot say which, since it tells them apart by uid alone, or is not taken at all, the
/// references that are left are written, in the version in which the cache has them: one that was added since is kept that way (A10, A17.4).
fn without_owners(kind: Kind, meta: &Meta, form: PatchForm, goes: impl Fn(&OwnerReference) -> bool) -> Write {
    let (gone, left): (Vec<_>, Vec<_>) = meta.owners.iter().partition(|owner| goes(owner));
    let twice = gone.iter().any(|owner| left.iter().any(|other| other.uid == owner.uid));
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
