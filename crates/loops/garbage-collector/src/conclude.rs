use evenkeel_plan::{Event, Next, ObjectReference, Outcome, Report};
use jiff::{SignedDuration, Timestamp};

use crate::{
    interlock::Admission,
    plan::{Verdict, verdict},
    snapshot::{Met, Snapshot},
    standing::{Owner, Standing},
    telling,
};

/// When to look again at what will come by itself.
const SOON: SignedDuration = SignedDuration::from_millis(50);

/// The same, when it has not come for long.
const SELDOM: SignedDuration = SignedDuration::from_secs(5);

/// Most owners that an explanation names.
const NAMED: usize = 10;

pub(crate) fn conclude(snap: &Snapshot, outcome: &Outcome, now: Timestamp) -> Report {
    let Some(object) = &snap.object else { return Report::default() };
    let verdict = verdict(snap);
    let at = |time: Timestamp, wait: SignedDuration| Next::At(time.saturating_add(wait).unwrap_or(now));
    let next = match (&verdict, outcome.first_failure()) {
        // What is gone, too, is known when the cache shows it: that a path is not there says nothing about objects (A17.18).
        (_, Some(failure)) => Next::Retry(failure.message.clone()),
        (Verdict::Ask | Verdict::Confirm, None) => Next::Again,
        // As long again as it has taken: there may be very many who wait for the same answer.
        (Verdict::Wait, None) => {
            let taken = snap.asked_since.map_or(SOON, |since| now.duration_since(since));
            at(now, taken.clamp(SOON, SELDOM))
        }
        // Never given up: its kind may come.
        (Verdict::Undecided, None) if any(snap, Standing::Unknown) => Next::Retry("an owner's kind is not served".to_owned()),
        // It is never decided; only to say so is still to be done.
        (Verdict::Undecided, None) if telling::will_tell(snap, now) => Next::Retry("an owner would have to be in a namespace".to_owned()),
        // The cache will not tell when this owner goes, so it is asked about again, ever more rarely.
        (Verdict::Nothing | Verdict::LetGo, None) if any(snap, Standing::StaysUnwatched) => {
            Next::Retry("an owner is not watched".to_owned())
        }
        // The cache is about to show what was found in its place; but if that has changed back before it does, nothing is told.
        (Verdict::Nothing, None) if matches!(&snap.met, Some(Met::Found { meta, .. }) if meta.uid == object.meta.uid) => {
            Next::Retry("the cache has yet to show what was found".to_owned())
        }
        (Verdict::Orphan, None) => Next::Again,
        _ => Next::OnChange,
    };
    let about = || ObjectReference::to(object.kind, &object.meta);
    let over = match &snap.admission {
        Admission::Over(Some(text)) => Some(Event::warning(about(), "OverCollectionBudget", text.clone())),
        Admission::Held(Some(text)) => Some(Event::warning(about(), "CollectionHeld", text.clone())),
        _ => None,
    };
    let events = telling::events(snap, now).into_iter().chain(over).collect();
    Report { next, events, ..Report::default() }
}

fn any(snap: &Snapshot, standing: Standing) -> bool {
    snap.owners.iter().any(|o| o.standing == standing)
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
    let owners: Vec<String> = snap.owners.iter().take(NAMED).map(told).collect();
    (!owners.is_empty()).then(|| owners.join(", "))
}
