//! What people are told about references that name nobody: once for an object and its owners, however often it is looked at.

use std::hash::{DefaultHasher, Hash, Hasher};

use evenkeel_api::Meta;
use evenkeel_plan::{Event, ObjectReference};
use jiff::{SignedDuration, Timestamp};

use crate::{
    snapshot::Snapshot,
    standing::{Owner, Standing},
};

/// Most events about misplaced owners of one object. More of them say nothing new.
const MOST: usize = 10;

/// How long an object has to be undecided before that is told: kinds come a moment after the first objects that name them.
const PATIENCE: SignedDuration = SignedDuration::from_secs(60);

/// Most characters of one part of a reference that are told: all that names and uids of objects can have.
const LONGEST: usize = 253;

/// What was told about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// A digest of its owner references: with others, all is told anew.
    owners: u64,
    /// When it was first seen with them.
    since: Timestamp,
    /// Places in its list of owners that are misplaced.
    misplaced: Vec<usize>,
    /// That nothing can be decided.
    undecided: bool,
}

impl Told {
    pub(crate) fn nothing(object: &Meta, now: Timestamp) -> Self {
        Self { owners: digest(object), since: now, misplaced: Vec::new(), undecided: false }
    }

    pub(crate) fn is_of(&self, object: &Meta) -> bool {
        self.owners == digest(object)
    }
}

fn digest(object: &Meta) -> u64 {
    let mut digest = DefaultHasher::new();
    object.owners.hash(&mut digest);
    digest.finish()
}

/// Owners that live where the object cannot mean, and were not told of.
fn misplaced(snap: &Snapshot) -> impl Iterator<Item = (usize, &Owner)> {
    let told = snap.told.as_ref().map(|told| &*told.misplaced).unwrap_or_default();
    let new = snap.owners.iter().enumerate().filter(|(place, owner)| owner.elsewhere.is_some() && !told.contains(place));
    new.take(MOST.saturating_sub(told.len()))
}

/// Owners because of which nothing is decided, and has not been for so long that it is time to say so.
fn stuck(snap: &Snapshot, now: Timestamp) -> Vec<&Owner> {
    let due = snap.told.as_ref().is_some_and(|told| !told.undecided && now.duration_since(told.since) >= PATIENCE);
    let told = snap.told.as_ref().map(|told| &*told.misplaced).unwrap_or_default();
    let untold = |(place, owner): &(usize, &Owner)| owner.undecided() && owner.elsewhere.is_none() && !told.contains(place);
    snap.owners.iter().enumerate().filter(|_| due).filter(untold).map(|(_, owner)| owner).collect()
}

/// Whether there is something that nobody has been told yet, only because it is too early.
pub(crate) fn will_tell(snap: &Snapshot, now: Timestamp) -> bool {
    let early = snap.told.as_ref().is_some_and(|told| now.duration_since(told.since) < PATIENCE);
    early && snap.owners.iter().any(|owner| owner.undecided() && owner.elsewhere.is_none())
}

/// What is to be remembered of what is told now; `None`: nothing was ever worth telling.
pub(crate) fn after(snap: &Snapshot, now: Timestamp) -> Option<Told> {
    let mut told = snap.told.clone()?;
    told.misplaced.extend(misplaced(snap).map(|(place, _)| place));
    told.undecided |= !stuck(snap, now).is_empty();
    let worth = !told.misplaced.is_empty() || snap.owners.iter().any(Owner::undecided);
    worth.then_some(told)
}

/// Warnings about references that name nobody.
pub(crate) fn events(snap: &Snapshot, now: Timestamp) -> Vec<Event> {
    let Some(object) = &snap.object else { return Vec::new() };
    let warning = |reason, text| Event::warning(ObjectReference::to(object.kind, &object.meta), reason, text);
    let absent = |owner: &Owner| warning("OwnerRefInvalidNamespace", absent_text(owner, &object.meta));
    let mut events: Vec<Event> = misplaced(snap).map(|(_, owner)| absent(owner)).collect();
    let stuck = stuck(snap, now);
    let (unknown, misscoped): (Vec<&Owner>, Vec<&Owner>) = stuck.into_iter().partition(|owner| owner.standing == Standing::Unknown);
    events.extend(misscoped.into_iter().take(MOST).map(absent));
    if let Some(first) = unknown.first() {
        events.push(warning("OwnerRefUnknownKind", unknown_text(first, unknown.len() - 1, &object.meta)));
    }
    events
}

fn named(owner: &Owner, object: &Meta) -> String {
    let r = &owner.reference;
    let [api_version, kind, name, uid] = [&*r.api_version, &*r.kind, &*r.name, &r.uid.to_string()].map(short);
    format!("ownerRef [{api_version}/{kind}, namespace: {}, name: {name}, uid: {uid}]", object.namespace)
}

/// Anybody may write whole books into a reference.
fn short(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

/// Upstream's words (garbage-collection A15).
fn absent_text(owner: &Owner, object: &Meta) -> String {
    format!("{} does not exist in namespace {:?}", named(owner, object), &*object.namespace)
}

/// Upstream says nothing of these (A17.8, A17.15).
fn unknown_text(owner: &Owner, more: usize, object: &Meta) -> String {
    let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
    format!("{}{more} names nothing that the server serves: as long as it stands, the object is not collected", named(owner, object))
}
