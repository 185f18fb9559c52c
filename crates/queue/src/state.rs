//! The rules of the queue as plain data: no waiting, no locks, instants passed in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::{Level, doubled};
use crate::queue::QueueOptions;

/// One hand-out in this many goes to the other lane while both have keys, so that what merely exists is not starved by what keeps changing.
const OTHER_LANE_EVERY: u32 = 8;

/// Longest delay that is kept; longer ones are cut to it. Beyond any process's life, and safely added to an instant.
const FAR: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Why a key is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Something about it changed. Handed out first.
    Changed,
    /// It is merely there, as after a start or a change of leader.
    Existing,
}

struct Waiting {
    priority: Priority,
    /// Place in its lane.
    place: u64,
    since: Instant,
}

struct Busy {
    since: Instant,
    /// Lane it was handed out from; a retry goes back there.
    priority: Priority,
    /// It was added while held, at this time.
    again: Option<(Priority, Instant)>,
}

/// What became of an added key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Added {
    /// It was there already (perhaps promoted), or the queue is shut.
    Nothing,
    /// It waits now: one more key to hand out.
    Waits,
    /// A worker holds it; it is queued once when that worker is done.
    Remembered,
}

/// A key that was handed out.
pub(crate) struct Taken<K> {
    pub(crate) key: K,
    pub(crate) waited: Duration,
}

/// A key that a worker gave back.
pub(crate) struct Finished {
    pub(crate) worked: Duration,
    /// It waits again: one more key to hand out.
    pub(crate) again: bool,
}

/// Every key is in at most one of `waiting` and `busy`; `lanes` index `waiting`; `due` and `due_of` are two views of the delayed keys.
pub(crate) struct State<K> {
    base: Duration,
    cap: Duration,
    overall: Option<Level>,
    changed: BTreeMap<u64, K>,
    existing: BTreeMap<u64, K>,
    waiting: BTreeMap<K, Waiting>,
    busy: BTreeMap<K, Busy>,
    due: BTreeSet<(Instant, K)>,
    due_of: BTreeMap<K, (Instant, Priority)>,
    failures: BTreeMap<K, u32>,
    places: u64,
    /// Hand-outs in a row from the lane of changed keys while an existing one waited.
    passed_over: u32,
    shut: bool,
}

impl<K: Ord + Clone> State<K> {
    pub(crate) fn new(options: &QueueOptions) -> Self {
        Self {
            base: options.base,
            cap: options.cap,
            overall: options.overall.map(Level::full),
            changed: BTreeMap::new(),
            existing: BTreeMap::new(),
            waiting: BTreeMap::new(),
            busy: BTreeMap::new(),
            due: BTreeSet::new(),
            due_of: BTreeMap::new(),
            failures: BTreeMap::new(),
            places: 0,
            passed_over: 0,
            shut: false,
        }
    }

    pub(crate) fn add(&mut self, key: K, priority: Priority, now: Instant) -> Added {
        if self.shut { Added::Nothing } else { self.put(key, priority, now) }
    }

    fn put(&mut self, key: K, priority: Priority, now: Instant) -> Added {
        if let Some(waiting) = self.waiting.get_mut(&key) {
            if priority < waiting.priority {
                self.existing.remove(&waiting.place);
                waiting.priority = priority;
                waiting.place = self.places;
                self.changed.insert(self.places, key);
                self.places += 1;
            }
            return Added::Nothing;
        }
        if let Some(busy) = self.busy.get_mut(&key) {
            return match &mut busy.again {
                Some((again, _)) => {
                    *again = priority.min(*again);
                    Added::Nothing
                }
                again => {
                    *again = Some((priority, now));
                    Added::Remembered
                }
            };
        }
        self.wait(key, priority, now);
        Added::Waits
    }

    fn wait(&mut self, key: K, priority: Priority, since: Instant) {
        let lane = match priority {
            Priority::Changed => &mut self.changed,
            Priority::Existing => &mut self.existing,
        };
        lane.insert(self.places, key.clone());
        self.waiting.insert(key, Waiting { priority, place: self.places, since });
        self.places += 1;
    }

    /// Remembers to add `key` after `delay`, unless that is planned for earlier already. True if it is now the earliest of all.
    pub(crate) fn delay(&mut self, key: K, priority: Priority, delay: Duration, now: Instant) -> bool {
        if self.shut {
            return false;
        }
        let at = now + delay.min(FAR);
        if let Some((before, lane)) = self.due_of.get_mut(&key) {
            *lane = priority.min(*lane);
            if *before <= at {
                return false;
            }
            self.due.remove(&(*before, key.clone()));
            *before = at;
        } else {
            self.due_of.insert(key.clone(), (at, priority));
        }
        self.due.insert((at, key));
        self.earliest() == Some(at)
    }

    /// When the next delayed key is due.
    pub(crate) fn earliest(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Adds one delayed key that is due, if there is one.
    pub(crate) fn add_due(&mut self, now: Instant) -> Option<Added> {
        if self.earliest()? > now {
            return None;
        }
        let (at, key) = self.due.pop_first()?;
        let (_, priority) = self.due_of.remove(&key)?;
        // It waits since it was due, however late somebody looked.
        Some(self.put(key, priority, at))
    }

    /// How long `key` waits after one more failure, and the lane it goes to.
    pub(crate) fn fail(&mut self, key: &K, now: Instant) -> (Duration, Priority) {
        let failures = self.failures.entry(key.clone()).or_default();
        let own = doubled(self.base, *failures, self.cap);
        *failures = failures.saturating_add(1);
        let shared = self.overall.as_mut().map_or(Duration::ZERO, |level| level.reserve(now));
        (own.max(shared), self.busy.get(key).map_or(Priority::Changed, |busy| busy.priority))
    }

    pub(crate) fn forget(&mut self, key: &K) {
        self.failures.remove(key);
    }

    pub(crate) fn failures(&self, key: &K) -> u32 {
        self.failures.get(key).copied().unwrap_or_default()
    }

    /// Hands the next key out.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Taken<K>> {
        let other = !self.existing.is_empty() && (self.changed.is_empty() || self.passed_over + 1 >= OTHER_LANE_EVERY);
        let (_, key) = if other { self.existing.pop_first() } else { self.changed.pop_first() }?;
        self.passed_over = if other || self.existing.is_empty() { 0 } else { self.passed_over + 1 };
        let waiting = self.waiting.remove(&key)?;
        // The pass looks at everything now, and says itself when to look again: a look planned for later would be spurious (manager 17.7).
        if let Some((at, _)) = self.due_of.remove(&key) {
            self.due.remove(&(at, key.clone()));
        }
        self.busy.insert(key.clone(), Busy { since: now, priority: waiting.priority, again: None });
        Some(Taken { key, waited: now.saturating_duration_since(waiting.since) })
    }

    /// Takes a key back. `None` if nobody held it.
    pub(crate) fn finish(&mut self, key: &K, now: Instant) -> Option<Finished> {
        let (key, busy) = self.busy.remove_entry(key)?;
        if let Some((priority, since)) = busy.again {
            self.wait(key, priority, since);
        }
        Some(Finished { worked: now.saturating_duration_since(busy.since), again: busy.again.is_some() })
    }

    /// No more keys come in. Delayed ones are dropped; waiting ones too with `drop_waiting`. Returns how many accepted adds were dropped.
    pub(crate) fn shut(&mut self, drop_waiting: bool) -> usize {
        self.shut = true;
        self.due.clear();
        self.due_of.clear();
        if !drop_waiting {
            return 0;
        }
        self.changed.clear();
        self.existing.clear();
        let again = self.busy.values_mut().filter_map(|busy| busy.again.take()).count();
        let dropped = self.waiting.len() + again;
        self.waiting.clear();
        dropped
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.shut
    }

    /// Keys that wait to be handed out.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Accepted adds that were not handed out yet.
    pub(crate) fn depth(&self) -> usize {
        self.waiting.len() + self.busy.values().filter(|busy| busy.again.is_some()).count()
    }

    /// Sum and maximum of the time that held keys have been held.
    pub(crate) fn in_progress(&self, now: Instant) -> (Duration, Duration) {
        self.busy
            .values()
            .map(|busy| now.saturating_duration_since(busy.since))
            .fold((Duration::ZERO, Duration::ZERO), |(sum, max), age| (sum + age, max.max(age)))
    }
}
