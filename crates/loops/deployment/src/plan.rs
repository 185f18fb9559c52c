use std::sync::Arc;

use evenkeel_api::{Deployment, REPLICA_SETS, ReplicaSet, Strategy, Template, Uid};
use evenkeel_plan::{Event, Plan, Target, Write};
use jiff::Timestamp;

use crate::{
    Snapshot, claiming, cleanup,
    conclude::bookkeeping,
    create::NewSet,
    edit::SetEdit,
    explain::Why,
    progress::complete,
    recreate, revision, rollback,
    rolling::{self, NewSize},
    scale::{self, Scale},
    sets::Sets,
    status::Working,
};

/// What one pass comes to, before anything is written.
#[derive(Debug)]
pub(crate) enum Pass<'s> {
    /// There is no such Deployment.
    Gone,
    /// Its selector is empty: it would select everything (workloads 2.2.2).
    SelectsAll(&'s Deployment),
    /// It cannot be worked on, and this is why.
    Broken(String),
    /// Owners first: the next pass goes on with what is ours then.
    Claim(Vec<Vec<Write>>),
    /// Everything else.
    Work(Box<Work<'s>>),
}

/// A pass over the sets that are ours.
#[derive(Debug)]
pub(crate) struct Work<'s> {
    /// What the pass looks at.
    pub(crate) snap: &'s Snapshot,
    /// The Deployment.
    pub(crate) deployment: &'s Deployment,
    /// Its template.
    pub(crate) template: Template,
    /// Its sets.
    pub(crate) sets: Sets,
    /// Whether the new set's revision can be published: its own annotations need no write (workloads 2.4.6).
    pub(crate) publishes: bool,
    /// The writes, in steps.
    pub(crate) acts: Vec<Vec<Act>>,
    /// What remains to be said when they are done.
    pub(crate) finish: Finish,
    /// What the writes come from.
    pub(crate) why: Why,
    /// Whether the first write is about nothing but what the new set lacks.
    pub(crate) notes_alone: bool,
    /// What the new set needs before anything else; merged with its sizing where that is part of the pass.
    notes: Option<SetEdit>,
}

/// One write, with what concluding wants to know about it.
#[derive(Debug)]
pub(crate) enum Act {
    /// Make the new set.
    Create(Box<NewSet>),
    /// Change a set.
    Edit(SetEdit),
    /// Remove an old set.
    Delete(Arc<ReplicaSet>),
    /// Write the Deployment itself, and say this when it has gone through (workloads 2.9).
    Rollback(Box<(Write, Event)>),
}

/// What the status says at the end of a pass in which nothing failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finish {
    /// Only what was noted on the way (pause, revision, a new set).
    Notes,
    /// That, and this error.
    Failed(String),
    /// Counters, without a judgement on progress (workloads 2.6).
    Counters,
    /// Counters and progress (workloads 2.12).
    Rollout,
}

/// Decides, in the order of workloads 2.2. Equal snapshots give equal decisions.
pub(crate) fn decide(snap: &Snapshot) -> Pass<'_> {
    let Some(deployment) = snap.deployment.as_deref() else { return Pass::Gone };
    match &deployment.selector {
        Ok(Some(selector)) if selector.is_empty() => return Pass::SelectsAll(deployment),
        Err(e) => return Pass::Broken(format!("deployment {} has invalid label selector: {e}", deployment.meta.key())),
        Ok(_) => {}
    }
    let claims = claiming::claims(snap, deployment);
    if !claims.adopt.is_empty() || !claims.release.is_empty() {
        return Pass::Claim(claiming::steps(&claims, deployment));
    }
    let template = deployment.template();
    let sets = Sets::classify(deployment, &template, claims.claimed);
    let notes = revision::notes(deployment, &sets);
    let publishes = sets.new.is_some() && notes.is_none();
    let (acts, finish, why) = (Vec::new(), Finish::Counters, Why::Settled);
    let mut work = Box::new(Work { snap, deployment, template, sets, publishes, acts, finish, why, notes_alone: false, notes });
    work.decide();
    Pass::Work(work)
}

impl Pass<'_> {
    /// The decision as writes.
    pub(crate) fn plan(self) -> Plan {
        let steps = match self {
            Pass::Gone | Pass::SelectsAll(_) | Pass::Broken(_) => Vec::new(),
            Pass::Claim(steps) => steps,
            Pass::Work(work) => work.acts.iter().map(|step| step.iter().map(|act| act.write(work.deployment)).collect()).collect(),
        };
        Plan { steps, wake_at: None }
    }
}

impl Act {
    fn write(&self, deployment: &Deployment) -> Write {
        match self {
            Act::Create(new) => new.write(deployment),
            Act::Edit(edit) => edit.write(),
            // A set that changed since is looked at again before it goes (S16).
            Act::Delete(set) => Write::Delete { target: Target::exactly(&REPLICA_SETS, &set.meta), propagation: None, grace: None },
            Act::Rollback(answer) => answer.0.clone(),
        }
    }
}

impl Work<'_> {
    fn decide(&mut self) {
        let deployment = self.deployment;
        if deployment.meta.deleting.is_some() {
            // Only the status is kept up; what the set's annotations lack no longer matters (S9).
            self.why = Why::Deleting;
            return;
        }
        let request = rollback::requested(deployment);
        if deployment.paused {
            // What history no longer needs goes, and is not the set that gets the pods (recorded story `deploy-history-order`; upstream
            // sizes it first and deletes it then).
            let mut gone = if request.is_none() { cleanup::surplus_history(deployment, &self.sets, &[]) } else { Vec::new() };
            if self.sets.new.is_none() && gone.len() == self.sets.old.len() {
                // Somebody has to have the pods.
                gone.retain(|set| self.sets.old.last().is_some_and(|last| last.meta.uid != set.meta.uid));
            }
            self.sets.old.retain(|set| !gone.iter().any(|gone| gone.meta.uid == set.meta.uid));
            self.scale();
            self.why = Why::Paused;
            self.delete(gone);
        } else if let Some(revision) = request {
            self.roll_back(revision);
        } else if let Some(before) = scale::sized_before(deployment, &self.sets)
            && self.scale()
        {
            self.why = Why::Resized(before);
        } else {
            self.finish = Finish::Rollout;
            match &deployment.strategy {
                Strategy::Recreate => self.recreate(),
                Strategy::RollingUpdate { .. } => self.roll(),
                Strategy::Other(name) => self.finish = Finish::Failed(format!("unexpected deployment strategy type: {name}")),
            }
        }
        if let Some(notes) = self.notes.take() {
            self.acts.insert(0, vec![Act::Edit(notes)]);
            self.notes_alone = true;
        }
    }

    /// Sizes for a new `spec.replicas`. False: a rollout has to do it (S2).
    fn scale(&mut self) -> bool {
        match scale::scale(self.deployment, &self.sets) {
            Scale::InOrder(edits) => edits.into_iter().for_each(|e| self.edit(vec![e])),
            Scale::AtOnce(edits) => self.edit(edits),
            Scale::NotHere => return self.deployment.strategy != Strategy::Recreate,
        }
        true
    }

    fn roll(&mut self) {
        let deployment = self.deployment;
        let new = match self.sets.new.clone() {
            None => match self.create() {
                Some(replicas) => NewSize { replicas, available: 0 },
                None => return,
            },
            Some(set) => match rolling::grow(deployment, &self.sets, &set) {
                Err(error) => return self.finish = Finish::Failed(error),
                // One direction per pass: what shrinking may count on has changed.
                Ok(Some(edit)) => {
                    self.why = Why::NewSize;
                    return self.edit(vec![edit]);
                }
                Ok(None) => NewSize { replicas: set.replicas, available: set.status.available_replicas.min(set.replicas) },
            },
        };
        let shrink = rolling::shrink(deployment, &self.sets, new);
        let nothing_removed = shrink.edits.is_empty() || shrink.lagging;
        match self.why {
            Why::Settled if !shrink.edits.is_empty() => self.why = Why::OldSizes,
            Why::Settled if shrink.lagging => self.why = Why::Lagging,
            _ => {}
        }
        self.edit(shrink.edits);
        if nothing_removed && complete(deployment, &deployment.status) {
            self.clean_up();
        }
    }

    fn recreate(&mut self) {
        let deployment = self.deployment;
        let emptied = recreate::empty_old(deployment, &self.sets);
        if !emptied.is_empty() {
            self.why = Why::OldPodsFirst;
            return self.edit(emptied);
        }
        let running = recreate::running(&self.sets, &self.snap.running).count();
        if running > 0 {
            self.why = Why::OldPodsRun(running);
            return;
        }
        match self.sets.new.clone() {
            None if self.create().is_none() => return,
            None => {}
            Some(set) => {
                if let Some(edit) = SetEdit::resize(deployment, &set, deployment.replicas, false) {
                    self.why = Why::NewSize;
                    self.edit(vec![edit]);
                }
            }
        }
        if complete(deployment, &deployment.status) {
            self.clean_up();
        }
    }

    /// The present template is recorded first, completely; only then is the request looked at (workloads 2.9.1).
    fn roll_back(&mut self, requested: i64) {
        self.finish = Finish::Notes;
        if self.sets.new.is_none() {
            self.create();
        } else if self.publishes && bookkeeping(self, Timestamp::UNIX_EPOCH) == Working::of(self.deployment) {
            let answer = rollback::answer(self.deployment, &self.template, &self.sets, requested);
            self.acts.push(vec![Act::Rollback(Box::new(answer))]);
        }
        self.why = Why::RollBack(requested);
    }

    /// Plans the new set and tells its size; none where that fails.
    fn create(&mut self) -> Option<i32> {
        match NewSet::design(self.deployment, &self.template, &self.sets) {
            Ok(new) => {
                let replicas = new.replicas;
                self.acts.push(vec![Act::Create(Box::new(new))]);
                self.why = Why::NoNewSet;
                Some(replicas)
            }
            Err(error) => {
                self.finish = Finish::Failed(error);
                None
            }
        }
    }

    /// Adds a step of edits; what the new set needs anyway goes along with its sizing, so that every set is written once.
    fn edit(&mut self, mut edits: Vec<SetEdit>) {
        for edit in &mut edits {
            if let Some(notes) = self.notes.take_if(|n| n.set.meta.uid == edit.set.meta.uid) {
                edit.merge(notes);
            }
        }
        if !edits.is_empty() {
            self.acts.push(edits.into_iter().map(Act::Edit).collect());
        }
    }

    fn clean_up(&mut self) {
        let edited = |act: &Act| match act {
            Act::Edit(edit) => Some(edit.set.meta.uid.clone()),
            _ => None,
        };
        let written: Vec<Uid> = self.acts.iter().flatten().filter_map(edited).collect();
        self.delete(cleanup::surplus_history(self.deployment, &self.sets, &written));
    }

    fn delete(&mut self, gone: Vec<Arc<ReplicaSet>>) {
        if !gone.is_empty() {
            self.acts.push(gone.into_iter().map(Act::Delete).collect());
        }
    }
}
