//! What is known of owners besides what the cache shows: who is gone for good, and what a live read said a moment ago.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use evenkeel_api::{Key, Kind, Meta, Name, OwnerReference, Uid, Version};
use evenkeel_cache::Stores;
use evenkeel_plan::{Done, FailureKind, Outcome, Plan, Propagation, Write};
use jiff::{SignedDuration, Timestamp};

use crate::{
    Snapshot,
    plan::{Verdict, verdict},
    recent::Recent,
    ring::waits,
    snapshot::{Dependents, Met},
    standing::{Owner, Standing},
    telling::{self, Told},
};

/// Most owners that are known to be gone, and most of everything else that is remembered. Who was asked about longest ago is forgotten, and
/// read again if anybody asks.
const MOST: usize = 10_000;

/// How long a live read says something about an owner that the cache does not show.
const FRESH: SignedDuration = SignedDuration::from_secs(2);

/// How long after a look at an object its uid alone may guard a delete.
const LOOKED: SignedDuration = SignedDuration::from_secs(1);

/// How long an owner that somebody asks for is left to that one.
const ASKED: SignedDuration = SignedDuration::from_secs(60);

/// How long an owner that others hold waits at most for those to be looked at who do not block it. They go in any case where this is enough;
/// upstream does not wait at all.
const JUDGED: SignedDuration = SignedDuration::from_secs(60);

/// How long an object that went when it was released counts as gone although the cache shows it. Then it is released once more, in case that the
/// server has it again.
const RELEASED: SignedDuration = SignedDuration::from_secs(10);

/// How long nobody asks for an owner again after the server could not tell.
const FAILED: SignedDuration = SignedDuration::from_secs(1);

/// One life of one name of one kind, in the version that is watched, or that a reference names where none is. Absence is a fact about all of
/// these, never about a uid alone: anybody can write a uid into a reference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity {
    api_version: Name,
    kind: Name,
    key: Key,
    uid: Uid,
}

impl Identity {
    /// What a reference names, in a namespace (empty: in the cluster).
    pub(crate) fn of(reference: &OwnerReference, api_version: &str, namespace: &str) -> Self {
        Self {
            api_version: api_version.into(),
            kind: reference.kind.clone(),
            key: Key::new(namespace, reference.name.clone()),
            uid: reference.uid.clone(),
        }
    }

    /// An object that was there.
    pub(crate) fn was(kind: Kind, key: &Key, uid: &Uid) -> Self {
        Self { api_version: kind.api_version().into(), kind: kind.kind.into(), key: key.clone(), uid: uid.clone() }
    }
}

/// What a live read said, or the answer to our own write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It is there, and stays.
    Stays,
    /// It waits for its dependents, as of this version.
    Waits(Option<Version>),
}

/// An owner that somebody asks for.
#[derive(Debug, Clone, Copy)]
struct Question {
    since: Timestamp,
    until: Timestamp,
}

impl Question {
    fn asked(now: Timestamp) -> Self {
        Self { since: now, until: now.saturating_add(ASKED).unwrap_or(now) }
    }
}

/// The time, for how old a fact is.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

#[derive(Debug)]
struct Known {
    /// Owners that are gone, and whether they went before our eyes.
    gone: Recent<Identity, bool>,
    /// What a live read said, and since when it counts.
    seen: Recent<Identity, (Seen, Timestamp)>,
    asked: Recent<Identity, Question>,
    /// Where owners live that are not where they are said to be.
    misplaced: Recent<Identity, (Option<Key>, Timestamp)>,
    /// Objects whose deletion met another version, and when that was known.
    met: Recent<Key, (Met, Timestamp)>,
    /// Dependents that were looked at and done with while an owner waited: the uids of both.
    judged: Recent<(Uid, Uid), ()>,
    /// Since when an owner that nobody blocks has waited for the others to be looked at.
    unjudged: Recent<Uid, Timestamp>,
    /// Objects that went when we released them, and which the cache may show for a moment still.
    released: Recent<Uid, Timestamp>,
    /// Objects that were told about, by uid.
    told: Recent<Uid, Told>,
    /// Kinds that take no strategic patch, as the server said.
    merge_only: BTreeSet<Kind>,
    /// How often the server had gone back in time when this was learnt.
    restores: u64,
}

impl Known {
    fn as_of(restores: u64) -> Self {
        Self {
            gone: Recent::new(MOST),
            seen: Recent::new(MOST),
            asked: Recent::new(MOST),
            misplaced: Recent::new(MOST),
            met: Recent::new(MOST),
            judged: Recent::new(MOST),
            unjudged: Recent::new(MOST),
            released: Recent::new(MOST),
            told: Recent::new(MOST),
            merge_only: BTreeSet::new(),
            restores,
        }
    }
}

/// See the head of this file.
pub(crate) struct Facts {
    known: Mutex<Known>,
    clock: Clock,
}

impl Facts {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { known: Mutex::new(Known::as_of(0)), clock }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// A server that was restored from a backup has objects again that were gone: nothing that was known of any is known now (GC-1).
    pub(crate) fn as_of(&self, stores: &Stores) {
        let mut known = self.known();
        if known.restores != stores.restores() {
            *known = Known::as_of(stores.restores());
        }
    }

    /// Somebody is there who was known to be gone.
    pub(crate) fn appeared(&self, kind: Kind, key: &Key, uid: &Uid) {
        let mut known = self.known();
        if !known.gone.is_empty() {
            known.gone.remove(&Identity::was(kind, key, uid));
        }
    }

    /// An owner came that others name: where owners live has to be looked up again.
    pub(crate) fn moved(&self) {
        self.known().misplaced = Recent::new(MOST);
    }

    pub(crate) fn len(&self) -> usize {
        let known = self.known();
        [
            known.gone.len(),
            known.seen.len(),
            known.asked.len(),
            known.misplaced.len(),
            known.met.len(),
            known.told.len(),
            known.judged.len(),
            known.unjudged.len(),
            known.released.len(),
        ]
        .into_iter()
        .sum()
    }

    /// Somebody is gone who had dependents.
    pub(crate) fn gone(&self, identity: Identity) {
        self.known().gone.insert(identity, true);
    }

    /// Whether somebody is known to be gone.
    pub(crate) fn is_gone(&self, identity: &Identity) -> bool {
        self.known().gone.touch(identity).is_some()
    }

    /// Where an owner lives that is not where it is said to be: looked up where that is not known, or not any more.
    pub(crate) fn misplaced(&self, identity: &Identity, look: impl FnOnce() -> Option<Key>) -> Option<Key> {
        let now = self.now();
        {
            let known = self.known();
            if known.gone.get(identity) == Some(&true) {
                return None;
            }
            if let Some((place, at)) = known.misplaced.get(identity)
                && now.duration_since(*at) <= FRESH
            {
                return place.clone();
            }
        }
        let place = look();
        self.known().misplaced.insert(identity.clone(), (place.clone(), now));
        place
    }

    /// What a live read said a moment ago.
    pub(crate) fn seen(&self, identity: &Identity) -> Option<Seen> {
        let now = self.now();
        self.known().seen.get(identity).filter(|(_, at)| now.duration_since(*at) <= FRESH).map(|(seen, _)| *seen)
    }

    /// Whether nobody asks for an owner; then it is ours to ask.
    ///
    /// # Errors
    /// Since when somebody has been asking.
    pub(crate) fn claim(&self, identity: &Identity) -> Result<(), Timestamp> {
        let now = self.now();
        let mut known = self.known();
        if let Some(question) = known.asked.get(identity).filter(|q| now < q.until) {
            return Err(question.since);
        }
        known.asked.insert(identity.clone(), Question::asked(now));
        Ok(())
    }

    /// An object that is about to be deleted so that it waits for its dependents: the answer will say that it does, and whoever wants to know
    /// before, because the event came first, waits for that answer.
    pub(crate) fn announce(&self, snap: &Snapshot) {
        if let (Some(object), Verdict::Delete { propagation: Propagation::Foreground, .. }) = (&snap.object, verdict(snap)) {
            let now = self.now();
            let identity = Identity::was(object.kind, &object.meta.key(), &object.meta.uid);
            self.known().asked.insert(identity, Question::asked(now));
        }
    }

    /// Whether an object went when we released it.
    pub(crate) fn released(&self, object: &Meta) -> bool {
        if object.deleting.is_none() {
            return false;
        }
        let known = self.known();
        !known.released.is_empty() && known.released.get(&object.uid).is_some_and(|at| self.now().duration_since(*at) <= RELEASED)
    }

    /// Whether the server refused strategic patches of a kind.
    pub(crate) fn merge_only(&self, kind: Kind) -> bool {
        self.known().merge_only.contains(&kind)
    }

    /// What the deletion of an object met.
    pub(crate) fn met(&self, key: &Key) -> Option<Met> {
        let now = self.now();
        let known = self.known();
        let (met, at) = known.met.get(key)?;
        Some(match met {
            Met::Found { meta, .. } => Met::Found { meta: meta.clone(), fresh: now.duration_since(*at) <= LOOKED },
            other => other.clone(),
        })
    }

    /// Whether an owner has to wait until one of these dependents, by uid, has been looked at.
    pub(crate) fn waits_for<'d>(&self, owner: &Uid, mut dependents: impl Iterator<Item = &'d Uid>) -> bool {
        let now = self.now();
        let mut known = self.known();
        if dependents.all(|dependent| known.judged.get(&(owner.clone(), dependent.clone())).is_some()) {
            known.unjudged.remove(owner);
            return false;
        }
        if let Some(since) = known.unjudged.get(owner) {
            return now.duration_since(*since) < JUDGED;
        }
        known.unjudged.insert(owner.clone(), now);
        true
    }

    /// What was told about an object with these owners.
    pub(crate) fn told(&self, object: &Meta) -> Told {
        self.known().told.get(&object.uid).filter(|told| told.is_of(object)).cloned().unwrap_or_else(|| Told::nothing(object, self.now()))
    }
}

/// Keeps what a pass was told.
pub(crate) fn learn(facts: &Facts, snap: &Snapshot, plan: &Plan, outcome: &Outcome, now: Timestamp) {
    let mut known = facts.known();
    // What was asked before the server went back, and answered after, says nothing of what is there now.
    if known.restores != snap.restores {
        return;
    }
    let Some(object) = &snap.object else {
        known.met.remove(&snap.key);
        return;
    };
    if snap.owners.iter().any(|owner| owner.waits) && done_with(snap, plan, outcome) {
        for owner in snap.owners.iter().filter(|owner| owner.waits) {
            known.judged.insert((owner.reference.uid.clone(), object.meta.uid.clone()), ());
        }
    }
    let mut asked: BTreeMap<(Kind, &Key), Vec<&Owner>> = BTreeMap::new();
    for owner in &snap.owners {
        if let Standing::Ask(kind, key) = &owner.standing {
            asked.entry((*kind, key)).or_default().push(owner);
        }
    }
    let mut conflict = false;
    for (write, done) in plan.writes().zip(outcome.steps.iter().flatten()) {
        match (write, done) {
            (Write::Look { .. }, done) if snap.met.is_some() && asked.is_empty() => {
                let met = match done {
                    Done::Found(meta) => Met::Found { meta: meta.clone(), fresh: true },
                    Done::AlreadyGone => Met::Gone,
                    _ => Met::Another,
                };
                known.met.insert(snap.key.clone(), (met, now));
                conflict = true;
            }
            (Write::Look { kind, key }, done) => {
                asked.remove(&(*kind, key)).into_iter().flatten().for_each(|owner| answered(&mut known, owner, done, now));
            }
            // The server's answers to our own writes are live reads.
            (Write::Delete { target, .. }, Done::Written(answer)) if answer.gone && snap.dependents != Dependents::None => {
                known.gone.insert(Identity::was(target.kind, &target.key, &target.uid), true);
            }
            (Write::Delete { propagation: Some(Propagation::Foreground), target, .. }, Done::Written(answer)) if !answer.gone => {
                known.seen.insert(Identity::was(target.kind, &target.key, &target.uid), (Seen::Waits(answer.version), now));
            }
            (Write::Patch { target, .. }, Done::Written(answer)) if answer.gone => known.released.insert(target.uid.clone(), now),
            (Write::Patch { target, .. }, Done::Failed(failure)) if failure.kind == FailureKind::NotAllowed => {
                known.merge_only.insert(target.kind);
            }
            (Write::Delete { .. }, Done::Failed(failure)) if failure.kind == FailureKind::Conflict => {
                known.met.insert(snap.key.clone(), (Met::Another, now));
                conflict = true;
            }
            _ => {}
        }
    }
    // What the cache has yet to show is waited for.
    let awaited = plan.is_empty() && matches!(snap.met, Some(Met::Found { .. }));
    if !conflict && !awaited {
        known.met.remove(&snap.key);
    }
    // The answer is there, whatever it was: whoever still wants to know asks.
    let announced = plan.writes().any(|write| matches!(write, Write::Delete { propagation: Some(Propagation::Foreground), .. }));
    if announced {
        known.asked.remove(&Identity::was(object.kind, &object.meta.key(), &object.meta.uid));
    }
    // Who was not asked for after all may be asked for by somebody else.
    asked.into_values().flatten().for_each(|owner| known.asked.remove(&owner.identity));
    match telling::after(snap, now) {
        Some(told) => known.told.insert(object.meta.uid.clone(), told),
        None => known.told.remove(&object.meta.uid),
    }
}

/// Whether a pass has decided about an object, rather than found out what to decide by. What fails is tried again, and nobody waits for that.
fn done_with(snap: &Snapshot, plan: &Plan, outcome: &Outcome) -> bool {
    let failed = outcome.failures().any(|failure| failure.kind != FailureKind::Conflict);
    let conflict = outcome.failures().any(|failure| failure.kind == FailureKind::Conflict) || (snap.met.is_some() && plan.is_empty());
    let open = |owner: &Owner| owner.standing == Standing::Awaited || (owner.waits && owner.standing == Standing::StaysUnwatched);
    let finds_out = matches!(verdict(snap), Verdict::Ask | Verdict::Wait | Verdict::Confirm) || snap.owners.iter().any(open);
    failed || !(conflict || finds_out)
}

fn answered(known: &mut Known, owner: &Owner, done: &Done, now: Timestamp) {
    // It left later than that, and the rest of the plan may have taken long.
    let asked_at = known.asked.get(&owner.identity).map_or(now, |question| question.since);
    known.asked.remove(&owner.identity);
    match done {
        Done::AlreadyGone => known.gone.insert(owner.identity.clone(), false),
        Done::Found(meta) if meta.uid != owner.reference.uid => known.gone.insert(owner.identity.clone(), false),
        Done::Found(meta) => {
            let seen = if waits(meta) { Seen::Waits(Some(meta.version)) } else { Seen::Stays };
            known.seen.insert(owner.identity.clone(), (seen, asked_at));
        }
        _ => known.asked.insert(owner.identity.clone(), Question { since: now, until: now.saturating_add(FAILED).unwrap_or(now) }),
    }
}
