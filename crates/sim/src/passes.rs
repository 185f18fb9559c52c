//! What goes around every loop of a simulated manager: notes what each pass looked at and wanted, and puts a bug in where one is asked for.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use evenkeel_api::{Key, Kind, Object, Pod, ReplicaSet};
use evenkeel_cache::{Change, Store, Stores};
use evenkeel_election::Clock;
use evenkeel_manager::Around;
use evenkeel_plan::{About, ControlLoop, Outcome, Plan, Report, Target, Trigger};
use jiff::Timestamp;

use crate::{
    bugs::{Bug, Facts, Memory},
    history::{Pass, Shared, lock},
    network::Network,
};

/// Stands around the loops of one process.
#[derive(Clone)]
pub(crate) struct Witness {
    pub(crate) history: Shared,
    pub(crate) network: Arc<Network>,
    pub(crate) link: usize,
    /// How many seconds the process's monotonic clock passes in one.
    pub(crate) rate: f64,
    pub(crate) bug: Option<Bug>,
    /// What a bug remembers as long as the process lives.
    pub(crate) memory: Arc<Memory>,
}

impl Around for Witness {
    fn around<L: ControlLoop>(&self, control_loop: L) -> impl ControlLoop {
        Witnessed { inner: control_loop, by: self.clone(), made: AtomicU64::new(0) }
    }

    fn steady(&self) -> Clock {
        if self.rate == 1.0 { Clock::steady() } else { Clock::at_rate(self.rate) }
    }
}

struct Witnessed<L> {
    inner: L,
    by: Witness,
    /// Names made for [`Bug::FreshnessGateOff`].
    made: AtomicU64,
}

/// A snapshot, the number of its pass, and what a bug wants to know about it.
struct Seen<S> {
    inner: S,
    pass: usize,
    facts: Facts,
}

impl<L: ControlLoop> ControlLoop for Witnessed<L> {
    type Snapshot = Seen<L::Snapshot>;

    fn about(&self) -> &'static About {
        self.inner.about()
    }

    fn hears(&self, kind: Kind) -> bool {
        self.inner.hears(kind)
    }

    fn subject(&self, key: &Key) -> String {
        self.inner.subject(key)
    }

    fn triggers(&self, change: &Change, stores: &Stores) -> Vec<Trigger> {
        let triggers = self.inner.triggers(change, stores);
        match self.by.bug {
            Some(bug) => bug.alter_triggers(change, triggers),
            None => triggers,
        }
    }

    fn snapshot(&self, stores: &Stores, key: &Key) -> Self::Snapshot {
        let mut inner = self.inner.snapshot(stores, key);
        let seen = stores.kinds().map(|(kind, store)| (kind.plural, store.version().0)).collect();
        if let Some(bug) = self.by.bug {
            bug.blind(&mut inner, stores, &self.by.memory);
        }
        let pass = Pass {
            link: self.by.link,
            controller: self.about().name,
            key: key.to_string(),
            began: self.by.network.now(),
            now: Timestamp::UNIX_EPOCH,
            seen,
            plan: Plan::default(),
            report: Vec::new(),
            restores: stores.restores(),
        };
        let sets = self.by.bug.is_some() && stores.any(ReplicaSet::resource()).is_some_and(|s| s.as_any().is::<Store<ReplicaSet>>());
        let facts = if sets { facts(stores, key) } else { Facts::default() };
        let mut history = lock(&self.by.history);
        history.passes.push(pass);
        Seen { inner, pass: history.passes.len() - 1, facts }
    }

    fn plan(&self, snap: &Self::Snapshot, now: Timestamp) -> Plan {
        let mut plan = self.inner.plan(&snap.inner, now);
        if let Some(bug) = self.by.bug {
            let fresh = || format!("{}-{}", self.by.link, self.made.fetch_add(1, Ordering::Relaxed));
            bug.alter_plan(self.about().name, &snap.facts, &fresh, &mut plan);
        }
        let mut history = lock(&self.by.history);
        let pass = &mut history.passes[snap.pass];
        (pass.now, pass.plan) = (now, plan.clone());
        plan
    }

    fn conclude(&self, snap: &Self::Snapshot, plan: &Plan, outcome: &Outcome, now: Timestamp) -> Report {
        let mut report = self.inner.conclude(&snap.inner, plan, outcome, now);
        if let Some(bug) = self.by.bug {
            bug.alter_report(&mut report);
        }
        lock(&self.by.history).passes[snap.pass].report = report.steps.iter().flatten().cloned().collect();
        report
    }

    fn remember(&self, snap: &Self::Snapshot, plan: &Plan, outcome: &Outcome, now: Timestamp) {
        self.inner.remember(&snap.inner, plan, outcome, now);
    }

    fn answered(&self, snap: &Self::Snapshot, plan: &Plan, outcome: &Outcome, stores: &Stores) -> Vec<Trigger> {
        self.inner.answered(&snap.inner, plan, outcome, stores)
    }

    fn all(&self, stores: &Stores) -> Vec<Trigger> {
        match self.by.bug {
            Some(Bug::NeverLooksAgain) => Vec::new(),
            _ => self.inner.all(stores),
        }
    }
}

/// What bugs work with: the pods of the set that the key names, and the sizes of all sets.
fn facts(stores: &Stores, key: &Key) -> Facts {
    let sets = stores.of::<ReplicaSet>();
    let pods = sets.get(&key.namespace, &key.name).map(|set| {
        let owned = stores.of::<Pod>().controlled_by(&set.meta.uid).filter(|p| p.active());
        let mut owned: Vec<_> = owned.map(|p| (p.ready, Target::exactly(Pod::resource(), p.meta()))).collect();
        // Ready ones first.
        owned.sort_by_key(|(ready, _)| !ready);
        owned.into_iter().map(|(_, target)| target).collect()
    });
    Facts { pods: pods.unwrap_or_default(), sizes: sets.iter().map(|s| (s.meta.uid.to_string(), i64::from(s.replicas))).collect() }
}
