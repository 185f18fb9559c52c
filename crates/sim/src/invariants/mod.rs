//! What must hold (reliability part 3), checked on the true history: committed writes and requests, never a manager's view.
//!
//! The checks go through the history once, revision by revision; [`Fold`] is the state of everything at one of them. Where the spec says
//! "since its last sync started" or "causal", what counts is the revision of each kind that the pass behind a write had declared
//! ([`Pass::seen`]): a spec that was changed after the snapshot was taken cannot be known to the pass, and one changed before must be.
//!
//! `replicasets.rs` has RS-1 to RS-3, `victims.rs` the ranking behind RS-3, `deployments.rs` DP-1 to DP-4, `scaling.rs` DP-5, `progress.rs`
//! DP-6, `requests.rs` what is asked of requests (RS-2, RS-5, LE-1, D-3), `converged.rs` RS-4; `collection.rs` has GC-1 to GC-6.

pub mod collection;
mod converged;
mod deployments;
mod progress;
mod replicasets;
mod requests;
mod scaling;
mod victims;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::Value;

pub use self::{converged::not_converged, requests::leader_moves};
use crate::history::{Actor, History, Pass, Written, controller, live, uid};

/// Longest that the decisions behind a write can be old, in milliseconds, where several loops stand behind it (DP-2). Two lost answers of the
/// same pass take 10 s and more.
const OLD: u64 = 15_000;

/// A spec value and the revision since which it is in force.
type Values = Vec<(u64, i64)>;

/// Something that took a pod of a set away, or made one ready.
#[derive(Debug, Clone)]
struct PodChange {
    rv: u64,
    at: u64,
    set: String,
    /// The pass that did it, if it was one.
    pass: Option<usize>,
}

/// What a pass that sized a set down went by.
#[derive(Debug, Clone, Copy)]
struct SizedDown {
    /// When.
    at: u64,
    /// Revision of Deployments.
    deployments: u64,
    /// Revision of pods that the oldest of the counters was made from.
    pods: u64,
}

/// The state of everything at one revision, and what led to it.
struct Fold<'h> {
    history: &'h History,
    /// Per link, the numbers of its passes.
    passes_of: BTreeMap<usize, Vec<usize>>,
    pods: BTreeMap<String, Arc<Value>>,
    /// Pods that did not begin in the set that has them, or were on the wire while their maker was paused.
    adopted: BTreeSet<String>,
    /// Pods that were on the wire while their maker was paused.
    made_late: BTreeSet<String>,
    /// Sets that were on the wire while their maker was paused.
    late_sets: BTreeSet<String>,
    sets: BTreeMap<String, Arc<Value>>,
    deployments: BTreeMap<String, Arc<Value>>,
    /// Sizes of each set.
    wanted: BTreeMap<String, Values>,
    /// The pass that gave each set its size, if it was one.
    sized_by: BTreeMap<String, Option<usize>>,
    /// `replicas + maxSurge` and `replicas - maxUnavailable` of each Deployment.
    most: BTreeMap<String, Values>,
    least: BTreeMap<String, Values>,
    /// When a set was last sized down, and what was known to whoever did it.
    sized_down: BTreeMap<String, SizedDown>,
    /// Per set: revisions of its counters, and the revision of pods that they were made from.
    counted: BTreeMap<String, Vec<(u64, u64)>>,
    lost: Vec<PodChange>,
    gained: Vec<PodChange>,
    violations: Vec<String>,
}

/// Everything in a history that must not be; empty: all is well.
pub fn check(history: &History) -> Vec<String> {
    let mut passes_of: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    history.passes.iter().enumerate().for_each(|(n, pass)| passes_of.entry(pass.link).or_default().push(n));
    let mut fold = Fold {
        history,
        passes_of,
        pods: BTreeMap::new(),
        adopted: BTreeSet::new(),
        made_late: BTreeSet::new(),
        late_sets: BTreeSet::new(),
        sets: BTreeMap::new(),
        deployments: BTreeMap::new(),
        wanted: BTreeMap::new(),
        sized_by: BTreeMap::new(),
        most: BTreeMap::new(),
        least: BTreeMap::new(),
        sized_down: BTreeMap::new(),
        counted: BTreeMap::new(),
        lost: Vec::new(),
        gained: Vec::new(),
        violations: Vec::new(),
    };
    for written in &history.writes {
        if !history.passes.is_empty() && written.actor.manager().is_some() && written.kind != "leases" && fold.pass(written).is_none() {
            fold.fail("D-1", written, "no pass has planned it".into());
        }
        match written.kind.as_str() {
            "pods" => fold.pod(written),
            "replicasets" => fold.set(written),
            "deployments" => fold.deployment(written),
            _ => {}
        }
    }
    fold.at_the_end();
    let mut violations = fold.violations;
    violations.extend(scaling::check(history));
    violations.extend(victims::check(history));
    violations.extend(progress::check(history));
    violations.extend(requests::check(history));
    violations
}

impl<'h> Fold<'h> {
    fn fail(&mut self, rule: &str, written: &Written, text: String) {
        let Written { rv, at, actor, key, .. } = written;
        self.violations.push(format!("{rule}: {key} at rv {rv}, {at} ms, by {actor:?}: {text}"));
    }

    /// The pass behind a manager's write: the last one of its process that wanted it and had begun when the write left.
    fn pass(&self, w: &Written) -> Option<(usize, &'h Pass)> {
        let (link, sent) = w.actor.manager()?;
        let passes = self.passes_of.get(&link)?;
        let begun = passes.partition_point(|n| self.history.passes[*n].began <= sent);
        let n = passes[..begun].iter().rev().find(|n| self.history.passes[**n].wants(&w.kind, &w.key, w.status))?;
        Some((*n, &self.history.passes[*n]))
    }

    /// The revision of `kind` that the pass behind a write declared; in histories made by hand, what was shown before it left.
    fn saw(&self, w: &Written, kind: &str) -> u64 {
        match self.pass(w) {
            Some((_, pass)) => pass.saw(kind),
            None => self.shown(w.actor, kind, 0),
        }
    }

    /// The revision of `kind` that a process had been shown `before` milliseconds before it sent a write.
    fn shown(&self, actor: Actor, kind: &str, before: u64) -> u64 {
        let Some((link, sent)) = actor.manager() else { return u64::MAX };
        let Some(shown) = self.history.shown.get(&(link, kind.to_owned())) else { return 0 };
        let known = shown.partition_point(|(at, _)| *at + before <= sent);
        known.checked_sub(1).map_or(0, |last| shown[last].1)
    }

    /// Values in force at revision `from` or later.
    fn since(values: Option<&Values>, from: u64) -> impl Iterator<Item = i64> {
        let values = values.map(Vec::as_slice).unwrap_or_default();
        let first = values.partition_point(|(rv, _)| *rv <= from).saturating_sub(1);
        values[first..].iter().map(|(_, value)| *value)
    }

    /// The value in force at a revision.
    fn at(values: Option<&Values>, rv: u64) -> Option<i64> {
        values?.iter().rev().find(|(since, _)| *since <= rv).map(|(_, value)| *value)
    }

    fn owned<'a>(&'a self, set: &'a str) -> impl Iterator<Item = &'a Arc<Value>> {
        self.pods.values().filter(move |p| controller(p) == Some(set))
    }

    fn live_of(&self, set: &str) -> i64 {
        self.owned(set).filter(|p| live(p)).count() as i64
    }

    fn sets_of<'a>(&'a self, deployment: &'a str) -> impl Iterator<Item = &'a Arc<Value>> {
        self.sets.values().filter(move |s| controller(s) == Some(deployment))
    }
}

fn annotation<'v>(object: &'v Value, name: &str) -> Option<&'v str> {
    object["metadata"]["annotations"][format!("deployment.kubernetes.io/{name}").as_str()].as_str()
}

/// Whether a Deployment rolls.
fn rolls(deployment: &Value) -> bool {
    deployment["spec"]["strategy"]["type"] == "RollingUpdate"
}

/// Most pods that a Deployment may want, and fewest that must be available (workloads 1.10).
fn bounds(deployment: &Value) -> (i64, i64) {
    let wanted = crate::history::replicas(deployment);
    if !rolls(deployment) {
        return (wanted, 0);
    }
    let rolling = &deployment["spec"]["strategy"]["rollingUpdate"];
    let resolve = |value: &Value, up: bool| match value.as_str().and_then(|t| t.strip_suffix('%')?.parse::<i64>().ok()) {
        Some(percent) => (wanted * percent + if up { 99 } else { 0 }) / 100,
        None => value.as_i64().unwrap_or(0),
    };
    let (surge, gone) = (resolve(&rolling["maxSurge"], true), resolve(&rolling["maxUnavailable"], false));
    let gone = if surge == 0 && gone == 0 { 1 } else { gone.min(wanted) };
    (wanted + surge, wanted - gone)
}

/// Where an object that is written is found, before or after.
fn id(w: &Written) -> &str {
    uid(w.new.as_ref().or(w.old.as_ref()).expect("a write has a state before or after"))
}
