//! What a loop keeps between passes: a few bytes per set, dropped with the set. Losing it costs a write, never a pod.

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use evenkeel_api::{Key, Meta, Uid};
use evenkeel_plan::{Done, FailureKind, Outcome, Plan, names::Serials};

use crate::{Recall, SetKind, Snapshot, conclude, pods, snapshot::Course, status};

/// One entry per set that has something to remember.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<BTreeMap<Key, Entry>>);

#[derive(Debug)]
struct Entry {
    /// The life of the name that this is about: another set of the same name starts clean (workloads 3.9.24).
    uid: Uid,
    serials: Serials,
    recall: Recall,
}

impl Memory {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<Key, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries().len()
    }

    pub(crate) fn forget(&self, key: &Key) {
        self.entries().remove(key);
    }

    pub(crate) fn recall(&self, key: &Key, uid: &Uid) -> Recall {
        let mut entries = self.entries();
        if entries.get(key).is_some_and(|entry| entry.uid != *uid) {
            entries.remove(key);
        }
        entries.get(key).map(|entry| entry.recall).unwrap_or_default()
    }

    /// The next `count` names of a set that are not `taken`. `owned` names the pods that it has.
    ///
    /// Serials are found again from names when a set is new to this process, and when a name that was thought free turns out to be taken
    /// (another leader was here): so a set that grows for long does not hash all its names on every pass.
    pub(crate) fn names<'n>(
        &self,
        set: &Meta,
        count: usize,
        owned: impl Iterator<Item = &'n str> + Clone,
        taken: impl Fn(&str) -> bool,
    ) -> Vec<(u64, String)> {
        let (base, uid) = (pods::base(&set.name), &set.uid);
        let mut entries = self.entries();
        let serials = &mut entry(&mut entries, &set.key(), uid).serials;
        if *serials == Serials::default() {
            serials.recognise(&base, uid, owned.clone());
        }
        let surprised = Cell::new(false);
        let next = |serials: &Serials| {
            serials.next(&base, uid, count, |name| {
                let taken = taken(name);
                surprised.set(surprised.get() || taken);
                taken
            })
        };
        let names = next(serials);
        if !surprised.get() {
            return names;
        }
        serials.recognise(&base, uid, owned);
        next(serials)
    }
}

fn entry<'m>(entries: &'m mut BTreeMap<Key, Entry>, key: &Key, uid: &Uid) -> &'m mut Entry {
    let fresh = || Entry { uid: uid.clone(), serials: Serials::default(), recall: Recall::default() };
    let entry = entries.entry(key.clone()).or_insert_with(fresh);
    if entry.uid != *uid {
        *entry = fresh();
    }
    entry
}

/// Keeps what a pass has learnt.
pub(crate) fn remember<S: SetKind>(memory: &Memory, snap: &Snapshot<S>, plan: &Plan, outcome: &Outcome) {
    let Some(set) = &snap.set else { return };
    // Only a pass that manages learns about names and tells failures; a pass of claims writes no status at all.
    let recall = match snap.course() {
        Course::Gone | Course::Unusable(_) => return,
        Course::Claim => Recall { claimed: outcome.all_done() && !outcome.steps.is_empty(), ..snap.recall },
        Course::Dying => Recall { failure_told: false, ..next_recall(snap) },
        Course::Manage => {
            let managed = conclude::managed(snap, plan, outcome);
            Recall { failure_told: status::tells_failure(snap, &managed), ..next_recall(snap) }
        }
    };
    let used: Vec<u64> = if snap.course() == Course::Manage { used_serials(snap, outcome) } else { Vec::new() };
    let mut entries = memory.entries();
    let key = set.meta.key();
    if used.is_empty() && recall == Recall::default() && !entries.contains_key(&key) {
        return;
    }
    let entry = entry(&mut entries, &key, &set.meta.uid);
    used.into_iter().for_each(|serial| entry.serials.mark(serial));
    entry.recall = recall;
}

/// Serials whose names are taken now: by pods that we made, or by somebody else's.
fn used_serials<S>(snap: &Snapshot<S>, outcome: &Outcome) -> Vec<u64> {
    let done = outcome.steps.iter().flatten();
    snap.names.iter().zip(done).filter(|(_, done)| taken(done)).map(|((serial, _), _)| *serial).collect()
}

fn taken(done: &Done) -> bool {
    match done {
        Done::Written(_) | Done::Existed(_) => true,
        Done::Failed(failure) => failure.kind == FailureKind::AlreadyExists,
        Done::AlreadyGone | Done::Skipped | Done::Found(_) | Done::Discovered(_) | Done::Counted(_) => false,
    }
}

fn next_recall<S: SetKind>(snap: &Snapshot<S>) -> Recall {
    let lost = match &snap.set {
        Some(set) if status::terminating(snap) == Some(0) && set.status.terminating_replicas.is_none() => {
            snap.recall.terminating_lost.saturating_add(1)
        }
        _ => 0,
    };
    Recall { terminating_lost: lost, claimed: false, ..snap.recall }
}
