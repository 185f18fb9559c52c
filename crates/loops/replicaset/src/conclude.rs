use std::collections::BTreeSet;

use evenkeel_plan::{Done, Event, FailureKind, Next, ObjectReference, Outcome, Plan, Report, Write};
use jiff::Timestamp;
use serde_json::Value;

use crate::{SetKind, Snapshot, pods, snapshot::Course, status};

/// Most texts that one joined error quotes.
const QUOTED: usize = 5;

/// How the pods were managed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Managed {
    /// Nothing went wrong.
    Fine,
    /// Something was not done, and it is nobody's fault: a pod changed under a delete, a name was taken, we lead no longer. The next look
    /// decides anew.
    Unsettled,
    /// Something failed.
    Failed {
        /// Reason of the condition.
        reason: &'static str,
        /// Its message.
        message: String,
    },
}

/// What to report after the plan was carried out.
pub(crate) fn conclude<S: SetKind>(snap: &Snapshot<S>, plan: &Plan, outcome: &Outcome, now: Timestamp) -> Report {
    let Some(set) = &snap.set else { return Report::default() };
    let about = || ObjectReference::to(S::resource(), &set.meta);
    match snap.course() {
        Course::Gone => Report::default(),
        // Logged and told, but not retried: nothing gets better before the set changes (3.4.4).
        Course::Unusable(unusable) => {
            Report { events: vec![Event::warning(about(), unusable.reason, unusable.message)], ..Report::default() }
        }
        // No status: it would be counted without the pods that are just being adopted, and corrected at once.
        Course::Claim => Report { next: after_claims(snap, plan, outcome, now), ..Report::default() },
        Course::Dying | Course::Manage => {
            let managed = managed(snap, plan, outcome);
            let step: Vec<Write> = status::write(snap, &managed, now).into_iter().collect();
            Report {
                steps: if step.is_empty() { Vec::new() } else { vec![step] },
                events: events(plan, outcome, about),
                next: after_managing(snap, plan, outcome, now),
            }
        }
    }
}

/// Every write with how it went.
fn pairs<'p>(plan: &'p Plan, outcome: &'p Outcome) -> impl Iterator<Item = (&'p Write, &'p Done)> {
    plan.steps.iter().zip(&outcome.steps).flat_map(|(writes, done)| writes.iter().zip(done))
}

/// How bad it is that a write was not done.
enum Trouble {
    /// As good as done.
    None,
    /// To be tried again without a word.
    Quiet(String),
    /// To be told.
    Loud(String),
}

fn trouble(write: &Write, done: &Done) -> Trouble {
    let Some(failure) = done.failure() else { return Trouble::None };
    let text = failure.message.clone();
    match (write, failure.kind) {
        (_, FailureKind::Fenced) => Trouble::Quiet(text),
        // Every create would fail like this until the namespace is gone, and the set with it (B5: nothing is left waiting for them).
        (Write::Create { .. }, FailureKind::NamespaceTerminating) => Trouble::None,
        (Write::Create { .. }, FailureKind::AlreadyExists) => Trouble::Quiet(text),
        (Write::Create { .. }, _) => Trouble::Loud(as_if_unnamed(write, text)),
        (_, FailureKind::NotFound) => Trouble::None,
        // It is not the pod any more that was chosen.
        (_, FailureKind::Conflict) => Trouble::Quiet(format!("unable to delete pods: {text}")),
        _ => Trouble::Loud(format!("unable to delete pods: {text}")),
    }
}

/// What the server says of a pod before it has given it a name. Upstream leaves naming to the server, which does so after these checks, so
/// they quote the prefix; later ones (quota, validation) quote the name.
const BEFORE_NAMING: [&str; 4] = [
    "no PriorityClass with name",
    "the integer value of priority",
    "the string value of PreemptionPolicy",
    "error looking up service account",
];

/// A message as upstream would get it, whose pods have no name yet when they are refused this early: it does not change with each try.
fn as_if_unnamed(write: &Write, message: String) -> String {
    let Write::Create { key, body, .. } = write else { return message };
    let prefix = body.pointer("/metadata/generateName").and_then(serde_json::Value::as_str);
    match prefix {
        Some(prefix) if BEFORE_NAMING.iter().any(|early| message.contains(early)) => {
            message.replace(&format!("\"{}\"", key.name), &format!("\"{prefix}\""))
        }
        _ => message,
    }
}

/// How the pods were managed, for the condition.
pub(crate) fn managed<S: SetKind>(snap: &Snapshot<S>, plan: &Plan, outcome: &Outcome) -> Managed {
    let reason = if snap.missing() > 0 { "FailedCreate" } else { "FailedDelete" };
    let refusal = snap.set.as_ref().and_then(|set| pods::refusal(set));
    // What is being deleted makes no pods, so it has no failure to show.
    if let Some(refusal) = refusal.filter(|_| snap.course() == Course::Manage && snap.missing() > 0) {
        return Managed::Failed { reason, message: refusal.into() };
    }
    let mut managed = Managed::Fine;
    for (write, done) in pairs(plan, outcome) {
        match trouble(write, done) {
            Trouble::None => {}
            Trouble::Quiet(_) => managed = Managed::Unsettled,
            Trouble::Loud(message) => return Managed::Failed { reason, message },
        }
    }
    managed
}

/// One event per pod made or given up, and per call that failed (workloads 3.6).
fn events(plan: &Plan, outcome: &Outcome, about: impl Fn() -> ObjectReference) -> Vec<Event> {
    let event = |(write, done): (&Write, &Done)| match (write, done) {
        (Write::Create { .. }, Done::Written(_) | Done::Existed(_)) => {
            Some(Event::normal(about(), "SuccessfulCreate", format!("Created pod: {}", write.name())))
        }
        (Write::Delete { .. }, Done::Written(_)) => {
            Some(Event::normal(about(), "SuccessfulDelete", format!("Deleted pod: {}", write.name())))
        }
        (_, Done::Failed(failure)) if matches!(trouble(write, done), Trouble::Loud(_)) => Some(match write {
            Write::Create { .. } => {
                Event::warning(about(), "FailedCreate", format!("Error creating: {}", as_if_unnamed(write, failure.message.clone())))
            }
            _ => Event::warning(about(), "FailedDelete", format!("Error deleting: {failure}")),
        }),
        _ => None,
    };
    pairs(plan, outcome).filter_map(event).collect()
}

/// When to come back after creates or deletes: soon after a failure, at once while there is more than one pass may do, else when the next
/// pod becomes available.
fn after_managing<S: SetKind>(snap: &Snapshot<S>, plan: &Plan, outcome: &Outcome, now: Timestamp) -> Next {
    let mut quiet = None;
    for (write, done) in pairs(plan, outcome) {
        match trouble(write, done) {
            Trouble::None => {}
            Trouble::Quiet(text) => quiet = quiet.or(Some(text)),
            Trouble::Loud(text) => return Next::Retry(text),
        }
    }
    if let Some(text) = quiet {
        return Next::Retry(text);
    }
    let more = snap.missing().max(snap.surplus()) > snap.options.burst || snap.claims_pending();
    if more && progressed(outcome) {
        return Next::At(now);
    }
    status::next_availability(snap, now).map_or(Next::OnChange, Next::At)
}

/// Whether the server did anything: then the cache will show it, and the next pass starts from something new.
fn progressed(outcome: &Outcome) -> bool {
    outcome.steps.iter().flatten().any(|done| done.answer().is_some())
}

/// When to come back after adoptions and releases. They are only a pass of their own here, so the next one follows at once, unless one
/// failed: then nothing is made or given up before it works (workloads 3.9.10).
fn after_claims<S: SetKind>(snap: &Snapshot<S>, plan: &Plan, outcome: &Outcome, now: Timestamp) -> Next {
    let mut errors = Vec::new();
    let mut gone = None;
    for (write, done) in pairs(plan, outcome) {
        let Some(failure) = done.failure() else { continue };
        match write {
            Write::ConfirmOwner { .. } => errors.extend(
                snap.claims
                    .adopt
                    .iter()
                    .take(snap.options.burst)
                    .map(|pod| format!("can't adopt Pod {} ({}): {failure}", pod.meta.key(), pod.meta.uid)),
            ),
            // Gone, or another life of the name: as good as released, and nothing to adopt. The watch will say so.
            _ if failure.kind == FailureKind::NotFound || (failure.kind == FailureKind::Invalid && is_release(write)) => {
                gone = Some(format!("pod {} is gone, and the watch has not said so yet", write.key()));
            }
            _ => errors.push(failure.message.clone()),
        }
    }
    if !errors.is_empty() {
        return Next::Retry(join(&errors));
    }
    // Nobody tells a set of the deletion of an orphan, so this is looked at again with the back-off.
    gone.map_or(Next::At(now), Next::Retry)
}

fn is_release(write: &Write) -> bool {
    matches!(write, Write::Patch { body, .. } if body.pointer("/metadata/ownerReferences/0/$patch").and_then(Value::as_str) == Some("delete"))
}

/// Several errors as one text: equal ones once, in brackets when there is more than one (workloads 1.6.4).
fn join(errors: &[String]) -> String {
    let mut seen = BTreeSet::new();
    let distinct: Vec<&str> = errors.iter().map(String::as_str).filter(|text| seen.insert(*text)).collect();
    match &distinct[..] {
        [one] => (*one).to_owned(),
        many if many.len() <= QUOTED => format!("[{}]", many.join(", ")),
        many => format!("[{}, and {} more]", many[..QUOTED].join(", "), many.len() - QUOTED),
    }
}
