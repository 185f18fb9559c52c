//! The interlock: counts what is collected, and warns, or holds it, when it is more than a kind's budget.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use evenkeel_api::{Key, Kind};
use evenkeel_cache::Stores;
use jiff::{SignedDuration, Timestamp};

use crate::{
    Snapshot,
    budget::{Budgets, NEW_LEADER},
    facts::Clock,
    plan::{Verdict, verdict},
    work::key_of,
};

/// How long a new leader takes what it finds to belong to a batch that the one before was holding.
const INHERITS: SignedDuration = SignedDuration::from_secs(60);

/// Whether a deletion may go on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Admission {
    /// Within the budget.
    #[default]
    Granted,
    /// Of a batch that was held and then released.
    Released,
    /// Over the budget, and goes on. For the first one of a batch: what to tell.
    Over(Option<String>),
    /// Held until its batch is released. For the first one: what to tell.
    Held(Option<String>),
}

/// Deletions of one kind that were more than its budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Its name, such as `configmaps-1`.
    pub id: String,
    /// Its kind.
    pub kind: Kind,
    /// Since when.
    pub since: Timestamp,
    /// Objects: of a held batch those that wait or still have to go, else those that went over the budget.
    pub objects: usize,
    /// Whether it is held, and not released yet.
    pub held: bool,
}

/// See the head of this file. Shared by the loop and whoever reports and releases batches.
pub struct Interlock {
    budgets: Budgets,
    holds: bool,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    leads_since: Option<Timestamp>,
    kinds: BTreeMap<Kind, Deletions>,
    /// The highest number that a batch of a kind has had, by `plural.group`.
    numbers: BTreeMap<String, u64>,
    /// Batches of the leader before, by `plural.group`, and whether they were released.
    inherited: BTreeMap<String, (String, bool)>,
}

#[derive(Default)]
struct Deletions {
    /// Deletions that the budget pays for, by second.
    seconds: VecDeque<(i64, usize)>,
    spent: usize,
    /// Objects whose deletion was granted and is under way.
    granted: BTreeSet<Key>,
    /// What goes over the budget without being held.
    over: Option<Counted>,
    /// Batches that are held, or released and not at their end.
    held: Vec<Members>,
}

struct Counted {
    id: String,
    since: Timestamp,
    objects: usize,
}

struct Members {
    id: String,
    since: Timestamp,
    keys: BTreeSet<Key>,
    released: bool,
}

impl Interlock {
    /// An interlock that warns, or holds what is too much.
    pub fn new(budgets: Budgets, holds: bool, clock: Clock) -> Self {
        Self { budgets, holds, clock, state: Mutex::default() }
    }

    /// Whether what is too much is held.
    pub fn holds(&self) -> bool {
        self.holds
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// We lead from now on. `held` and `released`: names of the batches that the leader before was holding, and that people have released.
    pub fn lead(&self, held: &[String], released: &[String]) {
        let mut state = self.state();
        *state = State { leads_since: Some((self.clock)()), ..State::default() };
        for id in held.iter().chain(released) {
            let Some((resource, number)) = parts(id) else { continue };
            let highest = state.numbers.entry(resource.to_owned()).or_default();
            *highest = number.max(*highest);
        }
        for id in held.iter().filter(|_| self.holds) {
            if let Some((resource, _)) = parts(id) {
                state.inherited.insert(resource.to_owned(), (id.clone(), released.contains(id)));
            }
        }
    }

    /// Lets batches go. Whether any of them was held.
    pub fn release(&self, ids: &[String]) -> bool {
        let mut state = self.state();
        let mut any = false;
        for (_, released) in state.inherited.values_mut().filter(|(id, released)| !released && ids.contains(id)) {
            (*released, any) = (true, true);
        }
        for batch in state.kinds.values_mut().flat_map(|d| &mut d.held).filter(|b| !b.released && ids.contains(&b.id)) {
            (batch.released, any) = (true, true);
        }
        any
    }

    /// All batches that are not at their end.
    pub fn batches(&self) -> Vec<Batch> {
        let state = self.state();
        let of = |(kind, deletions): (&Kind, &Deletions)| {
            let held = deletions.held.iter().map(|b| (b.id.clone(), b.since, b.keys.len(), !b.released));
            let over = deletions.over.iter().map(|b| (b.id.clone(), b.since, b.objects, false));
            let batch = |(id, since, objects, held)| Batch { id, kind, since, objects, held };
            held.chain(over).map(batch).collect::<Vec<_>>()
        };
        state.kinds.iter().flat_map(of).collect()
    }

    /// Names of batches that the next leader has to know of: those that are not at their end, and for a while those that the leader before
    /// left to us.
    pub fn names(&self) -> BTreeSet<String> {
        let state = self.state();
        let own = state.kinds.values().flat_map(|d| &d.held).map(|b| b.id.clone());
        let inherits = state.leads_since.is_some_and(|since| (self.clock)().duration_since(since) < INHERITS);
        own.chain(state.inherited.values().filter(|_| inherits).map(|(id, _)| id.clone())).collect()
    }

    /// Whether what a snapshot calls for may be done.
    pub(crate) fn admit(&self, stores: &Stores, snap: &Snapshot) -> Admission {
        let kind = match (&snap.object, verdict(snap)) {
            (Some(object), Verdict::Delete { .. }) => object.kind,
            _ => {
                self.leave(&snap.key);
                return Admission::Granted;
            }
        };
        let now = (self.clock)();
        let resource = kind.group_resource();
        let budget = self.budgets.of(&resource);
        let mut state = self.state();
        if self.holds && state.leads_since.is_none() {
            // What the leader before was holding is not known yet; everything is looked at again once it is.
            return Admission::Held(None);
        }
        let new_leader = state.leads_since.is_some_and(|since| now.duration_since(since) < NEW_LEADER);
        let inherits = state.leads_since.is_some_and(|since| now.duration_since(since) < INHERITS);
        let inherited = state.inherited.get(&resource).filter(|_| inherits).cloned();
        let State { kinds, numbers, .. } = &mut *state;
        let deletions = kinds.entry(kind).or_default();
        if let Some(batch) = deletions.held.iter().find(|b| b.keys.contains(&snap.key)) {
            return if batch.released { Admission::Released } else { Admission::Held(None) };
        }
        if let Some((id, released)) = inherited {
            let first = deletions.join(&id, now, released, &snap.key);
            let told = || format!("still holding {id}; `evenkeel gc release {id}` lets it go");
            return if released { Admission::Released } else { Admission::Held(first.then(told)) };
        }
        deletions.forget(now, budget.window);
        let count = stores.any(kind).map_or(0, |store| store.count());
        let limit = budget.limit(count + deletions.spent, new_leader);
        deletions.granted.remove(&snap.key);
        let spent = deletions.spent + deletions.granted.len();
        if spent < limit {
            if spent < limit / 2 {
                deletions.over = None;
            }
            deletions.granted.insert(snap.key.clone());
            return Admission::Granted;
        }
        let mut id = || {
            let number = numbers.entry(resource.clone()).or_default();
            *number += 1;
            format!("{resource}-{number}")
        };
        let why = |what: String| format!("{spent} {kind} collected, over the budget of {limit} within {:#}: {what}", budget.window);
        if self.holds {
            let open = deletions.held.iter().find(|b| !b.released).map(|b| b.id.clone());
            let told = open.is_none();
            let id = open.unwrap_or_else(id);
            let text = told.then(|| why(format!("the rest is held as {id} until `evenkeel gc release {id}`")));
            deletions.join(&id, now, false, &snap.key);
            return Admission::Held(text);
        }
        let text = deletions.over.is_none().then(|| why("going on".to_owned()));
        let over = deletions.over.get_or_insert_with(|| Counted { id: id(), since: now, objects: 0 });
        over.objects += 1;
        Admission::Over(text)
    }

    /// An object was deleted, or its deletion failed; and what had been said of that.
    pub(crate) fn spend(&self, kind: Kind, key: &Key, deleted: bool, admission: &Admission) {
        let now = (self.clock)();
        let mut state = self.state();
        let deletions = state.kinds.entry(kind).or_default();
        deletions.granted.remove(key);
        if !deleted {
            return;
        }
        deletions.leave(key);
        if *admission != Admission::Released {
            let second = now.as_second();
            deletions.spent += 1;
            match deletions.seconds.back_mut() {
                Some((last, count)) if *last >= second => *count += 1,
                _ => deletions.seconds.push_back((second, 1)),
            }
        }
    }

    /// An object no longer has to be deleted.
    fn leave(&self, key: &Key) {
        self.state().kinds.values_mut().for_each(|deletions| deletions.leave(key));
    }

    /// An object went, by whomever.
    pub(crate) fn went(&self, kind: Kind, object: &Key) {
        let mut state = self.state();
        if let Some(deletions) = state.kinds.get_mut(kind).filter(|d| !d.held.is_empty()) {
            deletions.leave(&key_of(kind, object));
        }
    }
}

impl Deletions {
    /// Takes an object out of its batch.
    fn leave(&mut self, key: &Key) {
        if !self.held.is_empty() {
            self.held.retain_mut(|batch| {
                batch.keys.remove(key);
                !batch.keys.is_empty()
            });
        }
    }

    /// Adds to a batch; whether it is the first.
    fn join(&mut self, id: &str, now: Timestamp, released: bool, key: &Key) -> bool {
        if let Some(batch) = self.held.iter_mut().find(|b| b.id == id) {
            batch.keys.insert(key.clone());
            return false;
        }
        self.held.push(Members { id: id.to_owned(), since: now, keys: BTreeSet::from([key.clone()]), released });
        true
    }

    /// Forgets what the window has passed.
    fn forget(&mut self, now: Timestamp, window: SignedDuration) {
        let first = now.as_second() - window.as_secs();
        while let Some((_, count)) = self.seconds.pop_front_if(|(second, _)| *second <= first) {
            self.spent -= count;
        }
    }
}

/// Resource and number of a batch's name.
fn parts(id: &str) -> Option<(&str, u64)> {
    let (resource, number) = id.rsplit_once('-')?;
    Some((resource, number.parse().ok()?))
}
