//! The chain of passes that empties a namespace: from what a pass was told to what the next one does.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evenkeel_api::{Kind, Name, PODS, Uid};
use evenkeel_plan::{Discovered, Done, Failure, FailureKind, Left, Outcome, Plan, Served, Write};
use jiff::Timestamp;

use crate::{Snapshot, conditions};

/// What is done about the objects of a scope, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// Collections are deleted.
    Collections,
    /// Where that cannot be done: objects are listed,
    Items,
    /// and deleted one by one.
    Singles,
    /// What is left is counted.
    Count,
}

/// Which objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Pods alone: nothing else is touched while one is left (garbage-collection C4.3).
    Pods,
    /// All else.
    Rest,
}

/// How far a namespace is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Stage {
    /// What the server serves is asked for.
    #[default]
    Discover,
    /// Content is deleted.
    Delete(Scope, Act),
    /// What was found is told, and the namespace is released if nothing was.
    Tell,
}

/// All that is known of one round.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// What comes next.
    pub stage: Stage,
    /// What the server serves.
    pub found: Arc<Discovered>,
    /// Why that could not be asked at all.
    pub blind: Option<String>,
    /// Kinds without deletion of collections.
    pub singly: BTreeSet<Kind>,
    /// Kinds that cannot be listed.
    pub unlisted: BTreeSet<Kind>,
    /// Objects to delete one by one.
    pub items: Vec<(Kind, Name, Uid)>,
    /// What went wrong, per kind; the first of several failures.
    pub errors: BTreeMap<Kind, String>,
    /// What was counted, where anything was.
    pub left: BTreeMap<Kind, Left>,
}

impl Progress {
    /// Kinds of a scope.
    pub(crate) fn scope(&self, scope: Scope) -> impl Iterator<Item = &Served> {
        let pods = scope == Scope::Pods;
        let deletable = self.found.resources.iter().filter(|s| s.kind.namespaced && s.verbs.delete);
        deletable.filter(move |s| std::ptr::eq(s.kind, &PODS) == pods)
    }

    /// Nothing is left, and nothing is unknown.
    pub(crate) fn clean(&self) -> bool {
        let complete = self.blind.is_none() && self.found.failed.is_empty() && self.found.malformed.is_empty();
        complete && self.errors.is_empty() && self.left.is_empty()
    }

    fn fail(&mut self, kind: Kind, failure: &Failure) {
        self.errors.entry(kind).or_insert_with(|| failure.message.clone());
    }
}

/// What is known after a pass.
pub(crate) fn advance(snap: &Snapshot, plan: &Plan, outcome: &Outcome, now: Timestamp) -> Progress {
    let mut next = snap.progress.clone();
    if !snap.ours() {
        return Progress::default();
    }
    let answers: Vec<(&Write, &Done)> = plan.writes().zip(outcome.steps.iter().flatten()).collect();
    // Not sent, because we lead no longer: whoever leads next begins anew.
    if answers.iter().any(|(_, done)| done.failure().is_some_and(|f| f.kind == FailureKind::Fenced)) {
        return Progress::default();
    }
    match snap.progress.stage {
        // The phase had to be put right first.
        Stage::Discover if !snap.marked() => {}
        Stage::Discover => discovered(&mut next, &answers),
        Stage::Delete(scope, act) => {
            answers.iter().for_each(|(write, done)| learn(&mut next, act, write, done));
            if act == Act::Singles {
                next.items.clear();
            }
            next.stage = following(&next, scope, act);
        }
        // Once told, a clean namespace is released; all else is looked at anew.
        Stage::Tell => {
            let told = snap.namespace.as_ref().is_some_and(|n| !conditions::differ(n, &conditions::wanted(snap, now)));
            let released = answers.iter().all(|(_, done)| done.failure().is_none());
            if !(next.clean() && (!told || released)) {
                return Progress::default();
            }
        }
    }
    next
}

fn discovered(next: &mut Progress, answers: &[(&Write, &Done)]) {
    match answers.first() {
        Some((_, Done::Discovered(found))) => next.found = found.clone(),
        Some((_, Done::Failed(failure))) => next.blind = Some(failure.message.clone()),
        _ => next.blind = Some("the server was not asked".to_owned()),
    }
    // Without the core group nobody can tell whether pods are left, and all else has to wait for them (C7.2).
    next.stage = Stage::Delete(Scope::Pods, Act::Collections);
    if !next.scope(Scope::Pods).any(|pods| pods.verbs.list) {
        next.blind.get_or_insert_with(|| "the server does not say that pods can be listed".to_owned());
        next.stage = Stage::Tell;
    }
}

fn learn(next: &mut Progress, act: Act, write: &Write, done: &Done) {
    let kind = write.kind();
    let unsupported = |failure: &Failure| matches!(failure.kind, FailureKind::NotFound | FailureKind::NotAllowed);
    match (act, done) {
        (Act::Collections, Done::Failed(failure)) if unsupported(failure) => drop(next.singly.insert(kind)),
        // Pods are another matter: only a list without any lets the others go (C7.2).
        (Act::Items | Act::Count, Done::Failed(failure)) if unsupported(failure) && !std::ptr::eq(kind, &PODS) => {
            next.unlisted.insert(kind);
        }
        (Act::Singles, Done::Failed(failure)) if unsupported(failure) => {}
        (_, Done::Failed(failure)) => next.fail(kind, failure),
        (Act::Items, Done::Counted(left)) => next.items.extend(left.first.iter().map(|(name, uid)| (kind, name.clone(), uid.clone()))),
        (Act::Count, Done::Counted(left)) if left.count > 0 => drop(next.left.insert(kind, left.clone())),
        _ => {}
    }
}

fn following(next: &Progress, scope: Scope, act: Act) -> Stage {
    match (act, scope) {
        (Act::Collections, _) => Stage::Delete(scope, Act::Items),
        (Act::Items, _) => Stage::Delete(scope, Act::Singles),
        (Act::Singles, _) => Stage::Delete(scope, Act::Count),
        // Only a list that shows no pods lets the others go (C7.2).
        (Act::Count, Scope::Pods) if next.errors.is_empty() && next.left.is_empty() => Stage::Delete(Scope::Rest, Act::Collections),
        (Act::Count, _) => Stage::Tell,
    }
}
