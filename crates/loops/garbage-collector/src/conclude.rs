use evenkeel_plan::{Event, FailureKind, Next, ObjectReference, Outcome, Plan, Report};
use jiff::{SignedDuration, Timestamp};

use crate::{
    interlock::Admission,
    plan::{Verdict, verdict},
    snapshot::Snapshot,
    standing::{Owner, Standing},
};

/// When to look again at what will come by itself.
const SOON: SignedDuration = SignedDuration::from_millis(50);

pub(crate) fn conclude(snap: &Snapshot, plan: &Plan, outcome: &Outcome, now: Timestamp) -> Report {
    let Some(object) = &snap.object else { return Report::default() };
    let verdict = verdict(snap);
    // Gone already, or another life: what was wanted, or nobody's business.
    let failure = outcome.failures().find(|f| f.kind != FailureKind::NotFound);
    let next = match (&verdict, failure) {
        (_, Some(failure)) => Next::Retry(failure.message.clone()),
        (Verdict::Ask | Verdict::Confirm, None) => Next::Again,
        (Verdict::Wait, None) => Next::At(now.checked_add(SOON).unwrap_or(now)),
        // Never given up: its kind may come.
        (Verdict::Undecided, None) if undecided(snap, Standing::Unknown) => Next::Retry("an owner's kind is not served".to_owned()),
        // The cache will not tell when this owner goes, so it is asked about again, ever more rarely.
        (Verdict::Nothing | Verdict::LetGo, None) if undecided(snap, Standing::StaysUnwatched) => {
            Next::Retry("an owner is not watched".to_owned())
        }
        // Dependents that were gone already have to leave the cache first.
        (Verdict::Orphan, None) if !outcome.all_done() => Next::At(now.checked_add(SOON).unwrap_or(now)),
        (Verdict::Orphan, None) if plan.writes().count() > 0 => Next::Again,
        _ => Next::OnChange,
    };
    let about = || ObjectReference::to(object.kind, &object.meta);
    let misplaced = snap.owners.iter().filter(|o| o.elsewhere.is_some());
    let over = match &snap.admission {
        Admission::Over(Some(text)) => Some(Event::warning(about(), "OverCollectionBudget", text.clone())),
        Admission::Held(Some(text)) => Some(Event::warning(about(), "CollectionHeld", text.clone())),
        _ => None,
    };
    let events = misplaced.map(|owner| Event::warning(about(), "OwnerRefInvalidNamespace", misplaced_text(owner, snap))).chain(over).collect();
    Report { next, events, ..Report::default() }
}

fn undecided(snap: &Snapshot, standing: Standing) -> bool {
    snap.owners.iter().any(|o| o.standing == standing)
}

/// Upstream's words (garbage-collection A15).
fn misplaced_text(owner: &Owner, snap: &Snapshot) -> String {
    let namespace = snap.object.as_ref().map(|o| &*o.meta.namespace).unwrap_or_default();
    let r = &owner.reference;
    format!(
        "ownerRef [{}/{}, namespace: {namespace}, name: {}, uid: {}] does not exist in namespace {namespace:?}",
        r.api_version, r.kind, r.name, r.uid
    )
}

/// Why it goes, or stays.
pub(crate) fn explain(snap: &Snapshot) -> Option<String> {
    snap.object.as_ref()?;
    let told = |owner: &Owner| {
        let what = match &owner.standing {
            Standing::Stays | Standing::StaysUnwatched => "stays",
            Standing::Waits => "waits for it to go",
            Standing::Gone => "is gone",
            Standing::Ask(..) | Standing::Asked | Standing::Awaited => "has to be asked for",
            Standing::Unknown => "is of a kind that nobody serves",
            Standing::OutOfScope => "would have to be in a namespace",
        };
        format!("owner {} {} {what}", owner.reference.kind, owner.reference.name)
    };
    let owners: Vec<String> = snap.owners.iter().map(told).collect();
    (!owners.is_empty()).then(|| owners.join(", "))
}
