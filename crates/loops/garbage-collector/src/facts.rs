//! What is known of owners besides what the cache shows: who is gone for good, and what a live read said a moment ago.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use evenkeel_api::{FOREGROUND, Key, Kind, Meta, Name, OwnerReference, Uid};
use evenkeel_cache::Stores;
use evenkeel_plan::{Done, FailureKind, Outcome, Plan, Propagation, Write};
use jiff::{SignedDuration, Timestamp};

use crate::{Snapshot, standing::Standing};

/// Most owners that are known to be gone. Those that were asked about longest ago are forgotten, and read again if anybody asks.
const GONE: usize = 10_000;

/// How long a live read says something about an owner that the cache does not show.
const FRESH: SignedDuration = SignedDuration::from_secs(2);

/// How long an owner that somebody asks for is left to that one.
const ASKED: SignedDuration = SignedDuration::from_secs(60);

/// One life of one name of one kind. Absence is a fact about all of these, never about a uid alone: anybody can write a uid into a reference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity {
    group: Name,
    kind: Name,
    key: Key,
    uid: Uid,
}

impl Identity {
    /// What a reference names, for a dependent in this namespace (empty: cluster-scoped owners).
    pub(crate) fn of(reference: &OwnerReference, namespace: &str) -> Self {
        let group = reference.api_version.split_once('/').map_or("", |(group, _)| group);
        Self {
            group: group.into(),
            kind: reference.kind.clone(),
            key: Key::new(namespace, reference.name.clone()),
            uid: reference.uid.clone(),
        }
    }

    /// An object that was there.
    pub(crate) fn was(kind: Kind, key: &Key, uid: &Uid) -> Self {
        Self { group: kind.group.into(), kind: kind.kind.into(), key: key.clone(), uid: uid.clone() }
    }
}

/// What a live read said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It is there, and stays.
    Stays,
    /// It waits for its dependents.
    Waits,
}

/// The time, for how old a fact is.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

#[derive(Debug, Default)]
struct Known {
    /// Gone owners, and when each was asked about last.
    gone: BTreeMap<Identity, u64>,
    by_age: BTreeMap<u64, Identity>,
    clock: u64,
    seen: BTreeMap<Identity, (Seen, Timestamp)>,
    asked: BTreeMap<Identity, Timestamp>,
    /// Objects whose deletion met another version, and what they were then found to be.
    met: BTreeMap<Key, Option<Meta>>,
    /// Kinds that take no strategic patch, as the server said.
    merge_only: BTreeSet<Kind>,
    /// How often the server had gone back in time when this was learnt.
    restores: u64,
}

/// See the head of this file.
pub(crate) struct Facts {
    known: Mutex<Known>,
    clock: Clock,
}

impl Facts {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { known: Mutex::default(), clock }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A server that was restored from a backup has objects again that were gone: nothing that was known of any is known now (GC-1).
    pub(crate) fn as_of(&self, stores: &Stores) {
        let mut known = self.known();
        if known.restores != stores.restores() {
            *known = Known { restores: stores.restores(), ..Known::default() };
        }
    }

    /// Somebody is there who was known to be gone.
    pub(crate) fn appeared(&self, kind: Kind, key: &Key, uid: &Uid) {
        let mut known = self.known();
        if known.gone.is_empty() {
            return;
        }
        if let Some(age) = known.gone.remove(&Identity::was(kind, key, uid)) {
            known.by_age.remove(&age);
        }
    }

    pub(crate) fn len(&self) -> usize {
        let known = self.known();
        known.gone.len() + known.seen.len()
    }

    /// Somebody is gone who had dependents.
    pub(crate) fn gone(&self, identity: Identity) {
        self.known().gone(identity);
    }

    /// Whether somebody is known to be gone.
    pub(crate) fn is_gone(&self, identity: &Identity) -> bool {
        let mut known = self.known();
        let there = known.gone.contains_key(identity);
        if there {
            known.gone(identity.clone());
        }
        there
    }

    /// What a live read said a moment ago.
    pub(crate) fn seen(&self, identity: &Identity) -> Option<Seen> {
        let now = (self.clock)();
        self.known().seen.get(identity).filter(|(_, at)| now.duration_since(*at) <= FRESH).map(|(seen, _)| *seen)
    }

    /// Whether nobody else asks for an owner right now; then it is ours to ask.
    pub(crate) fn claim(&self, identity: &Identity) -> bool {
        let now = (self.clock)();
        let mut known = self.known();
        if known.asked.get(identity).is_some_and(|at| now.duration_since(*at) <= ASKED) {
            return false;
        }
        known.asked.insert(identity.clone(), now);
        true
    }

    /// Whether the server refused strategic patches of a kind.
    pub(crate) fn merge_only(&self, kind: Kind) -> bool {
        self.known().merge_only.contains(&kind)
    }

    /// What an object was found to be after its deletion had met another version: `Some(None)` means that it has to be looked at.
    pub(crate) fn met(&self, key: &Key) -> Option<Option<Meta>> {
        self.known().met.get(key).cloned()
    }
}

impl Known {
    fn gone(&mut self, identity: Identity) {
        self.clock += 1;
        let now = self.clock;
        if let Some(before) = self.gone.insert(identity.clone(), now) {
            self.by_age.remove(&before);
        }
        self.by_age.insert(now, identity);
        while self.gone.len() > GONE {
            let Some((_, oldest)) = self.by_age.pop_first() else { break };
            self.gone.remove(&oldest);
        }
    }

    fn see(&mut self, identity: Identity, seen: Seen, now: Timestamp) {
        if self.seen.len() >= GONE {
            self.seen.retain(|_, (_, at)| now.duration_since(*at) <= FRESH);
        }
        self.seen.insert(identity, (seen, now));
    }
}

/// Keeps what a pass was told.
pub(crate) fn learn(facts: &Facts, snap: &Snapshot, plan: &Plan, outcome: &Outcome, now: Timestamp) {
    let mut known = facts.known();
    let Some(object) = &snap.object else {
        known.met.remove(&snap.key);
        return;
    };
    let answers: Vec<(&Write, &Done)> = plan.writes().zip(outcome.steps.iter().flatten()).collect();
    let mut conflict = false;
    for (write, done) in &answers {
        match (write, done) {
            (Write::Look { key, .. }, done) if snap.confirms && *key == object.meta.key() => {
                let met = if let Done::Found(meta) = done { Some((**meta).clone()) } else { None };
                known.met.insert(snap.key.clone(), met);
                conflict = true;
            }
            (Write::Look { kind, key }, done) => answered(&mut known, snap, kind, key, done, now),
            (Write::Delete { propagation: Some(Propagation::Foreground), target, .. }, Done::Written(_)) => {
                // The server's answer to our own delete is a live read of an owner that waits from now on.
                known.see(Identity::was(target.kind, &target.key, &target.uid), Seen::Waits, now);
            }
            (Write::Patch { target, .. }, Done::Failed(failure)) if failure.kind == FailureKind::NotAllowed => {
                known.merge_only.insert(target.kind);
            }
            (Write::Delete { .. }, Done::Failed(failure)) if failure.kind == FailureKind::Conflict => {
                known.met.insert(snap.key.clone(), None);
                conflict = true;
            }
            _ => {}
        }
    }
    if !conflict {
        known.met.remove(&snap.key);
    }
    // Whatever was not answered may be asked by somebody else.
    let ours: BTreeSet<Identity> = snap.owners.iter().filter(|o| matches!(o.standing, Standing::Ask(..))).map(|o| o.identity.clone()).collect();
    known.asked.retain(|identity, _| !ours.contains(identity));
}

fn answered(known: &mut Known, snap: &Snapshot, kind: Kind, key: &Key, done: &Done, now: Timestamp) {
    let asked = snap.owners.iter().filter(|o| matches!(&o.standing, Standing::Ask(k, at) if *k == kind && at == key));
    for owner in asked {
        match done {
            Done::AlreadyGone => known.gone(owner.identity.clone()),
            Done::Found(meta) if meta.uid != owner.reference.uid => known.gone(owner.identity.clone()),
            Done::Found(meta) => {
                let waits = meta.deleting.is_some() && meta.held_by(FOREGROUND);
                known.see(owner.identity.clone(), if waits { Seen::Waits } else { Seen::Stays }, now);
            }
            _ => {}
        }
    }
}
