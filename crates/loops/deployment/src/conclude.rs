use std::{cmp::Ordering, sync::Arc};

use evenkeel_api::{ConditionStatus, DEPLOYMENTS, Deployment, REPLICA_SETS, ReplicaSet};
use evenkeel_plan::{Done, Event, Failure, FailureKind, Next, ObjectReference, Outcome, Report};
use jiff::Timestamp;

use crate::{
    annotations::REVISION,
    claiming,
    create::NewSet,
    edit::SetEdit,
    plan::{Act, Finish, Pass, Work},
    progress,
    status::{Counted, PROGRESSING, Working, condition},
};

/// What to report after a pass.
pub(crate) fn conclude(pass: &Pass<'_>, outcome: &Outcome, now: Timestamp, terminating: bool) -> Report {
    match pass {
        Pass::Gone => Report::default(),
        Pass::SelectsAll(deployment) => selects_all(deployment),
        Pass::Broken(error) => retry(Vec::new(), vec![error.clone()]),
        Pass::Claim(steps) => {
            let claimed = claiming::outcome(steps, outcome);
            if !claimed.errors.is_empty() {
                retry(Vec::new(), claimed.errors)
            } else if claimed.passed_over {
                Report { next: Next::At(now), ..Report::default() }
            } else {
                Report::default()
            }
        }
        Pass::Work(work) => Conclusion::start(work, now).finish(outcome, terminating),
    }
}

/// The working copy with what a pass notes before it writes: pause and resume (workloads 2.5), and the new set's revision (2.4.6).
pub(crate) fn bookkeeping(work: &Work<'_>, now: Timestamp) -> Working {
    let deployment = work.deployment;
    let mut working = Working::of(deployment);
    if deployment.meta.deleting.is_none() {
        progress::note_pause(deployment, &mut working, now);
    }
    if let Some(new) = work.sets.new.as_ref().filter(|_| work.publishes) {
        working.revision = Some(new.annotations.get(REVISION).cloned().unwrap_or_default());
        if deployment.progress_deadline().is_some() && working.condition(PROGRESSING).is_none() {
            let message = format!("Found new replica set {:?}", &*new.meta.name);
            working.set(condition(PROGRESSING, ConditionStatus::True, "FoundNewReplicaSet", message, now));
        }
    }
    working
}

fn selects_all(deployment: &Deployment) -> Report {
    let mut working = Working::of(deployment);
    working.status.observed_generation = working.status.observed_generation.max(deployment.meta.generation);
    let message = "This deployment is selecting all pods. A non-empty selector is required.";
    Report {
        steps: working.write(deployment).map(|w| vec![w]).into_iter().collect(),
        events: vec![Event::warning(ObjectReference::to(&DEPLOYMENTS, &deployment.meta), "SelectingAll", message)],
        next: Next::OnChange,
    }
}

/// A report that asks for another try; equal texts are told once.
fn retry(events: Vec<Event>, errors: Vec<String>) -> Report {
    let mut told: Vec<String> = Vec::new();
    for error in errors {
        if !told.contains(&error) {
            told.push(error);
        }
    }
    let text = if told.len() == 1 { told.remove(0) } else { format!("[{}]", told.join(", ")) };
    Report { steps: Vec::new(), events, next: Next::Retry(text) }
}

/// A conclusion in the making.
struct Conclusion<'w> {
    work: &'w Work<'w>,
    deployment: &'w Deployment,
    now: Timestamp,
    working: Working,
    events: Vec<Event>,
    errors: Vec<String>,
    /// The new set, when it turned out to be there.
    new: Option<Arc<ReplicaSet>>,
    /// Name and size of the set that was made.
    made: Option<(String, i32)>,
    /// Whether nothing should be said or done about this pass.
    silent: bool,
    /// Whether the Deployment itself was (or may have been) written, so that the cached version is out of date.
    deployment_written: bool,
}

impl<'w> Conclusion<'w> {
    fn start(work: &'w Work<'w>, now: Timestamp) -> Self {
        Self {
            work,
            deployment: work.deployment,
            now,
            working: bookkeeping(work, now),
            events: Vec::new(),
            errors: Vec::new(),
            new: work.sets.new.clone(),
            made: None,
            silent: false,
            deployment_written: false,
        }
    }

    fn finish(mut self, outcome: &Outcome, terminating: bool) -> Report {
        for (act, done) in self.work.acts.iter().flatten().zip(outcome.steps.iter().flatten()) {
            match act {
                Act::Create(new) => self.created(new, done),
                Act::Edit(edit) => self.edited(edit, done),
                Act::Delete(_) => self.removed(done),
                Act::Rollback(answer) => {
                    self.deployment_written = true;
                    match done {
                        Done::Failed(failure) => self.errors.push(failure.to_string()),
                        _ => self.events.extend(done.answer().map(|_| answer.1.clone())),
                    }
                }
            }
        }
        if self.silent {
            return Report::default();
        }
        let mut judged = false;
        match &self.work.finish {
            Finish::Failed(error) => self.errors.push(error.clone()),
            Finish::Counters if self.errors.is_empty() => self.count(terminating, false),
            Finish::Rollout if self.errors.is_empty() => {
                self.count(terminating, true);
                judged = true;
            }
            _ => {}
        }
        let write = if self.deployment_written { None } else { self.working.write(self.deployment) };
        // A status that is written comes back as a change, and the pass after that one sets the timer.
        let recheck = (judged && write.is_none()).then(|| progress::recheck_at(self.deployment, &self.working)).flatten();
        let mut report = if self.errors.is_empty() {
            Report { steps: Vec::new(), events: self.events, next: recheck.map_or(Next::OnChange, Next::At) }
        } else {
            retry(self.events, self.errors)
        };
        report.steps.extend(write.map(|w| vec![w]));
        report
    }

    /// Counters and, in a rollout, the judgement on its progress.
    fn count(&mut self, terminating: bool, judge: bool) {
        let before = self.working.clone();
        let sets = Counted { old: &self.work.sets.old, new: self.new.as_deref(), made: self.made.as_ref().map(|m| m.1) };
        self.working.count(self.deployment, &sets, terminating, self.now);
        if judge {
            let name = self.made.as_ref().map(|m| m.0.as_str()).or(self.new.as_ref().map(|s| &*s.meta.name));
            progress::judge(self.deployment, &before, &mut self.working, name, self.now);
            progress::pass_on_failure(&sets, &mut self.working);
        }
    }

    /// Outcomes of the POST (workloads 2.4).
    fn created(&mut self, new: &NewSet, done: &Done) {
        match done {
            Done::Written(_) => {
                if new.replicas > 0 {
                    self.scaled(&new.name, 0, new.replicas);
                }
                self.working.revision = Some(new.revision.to_string());
                if self.deployment.progress_deadline().is_some() {
                    let message = format!("Created new replica set {:?}", new.name);
                    self.working.set(condition(PROGRESSING, ConditionStatus::True, "NewReplicaSetCreated", message, self.now));
                }
                self.made = Some((new.name.clone(), new.replicas));
            }
            Done::Existed(_) => self.existed(new),
            Done::Failed(failure) => self.not_created(new, failure),
            Done::AlreadyGone | Done::Skipped | Done::Found(_) | Done::Discovered(_) | Done::Counted(_) => {}
        }
    }

    /// The name is taken by a set that we control: by the one we look for, unless its template was changed since or it is one that we let go (S21).
    fn existed(&mut self, new: &NewSet) {
        let taken = format!("{} {:?} already exists", REPLICA_SETS.group_resource(), new.name);
        match &self.work.snap.namesake {
            None => self.errors.push(not_cached(new)),
            Some(set) if !set.meta.controlled_by(&self.deployment.meta.uid) => self.errors.push(taken),
            Some(set) if set.template().same_as(&self.work.template) && !self.passed_over(set) => {
                self.working.revision = Some(new.revision.to_string());
                self.new = Some(set.clone());
            }
            Some(_) => self.collided(taken),
        }
    }

    fn not_created(&mut self, new: &NewSet, failure: &Failure) {
        match failure.kind {
            // Nothing can be made in this namespace any more.
            FailureKind::NamespaceTerminating => self.silent = true,
            FailureKind::Fenced => self.errors.push(failure.to_string()),
            FailureKind::AlreadyExists if self.work.snap.namesake.is_none() => self.errors.push(not_cached(new)),
            FailureKind::AlreadyExists => self.collided(failure.to_string()),
            _ => {
                let message = format!("Failed to create new replica set {:?}: {failure}", new.name);
                if self.deployment.progress_deadline().is_some() {
                    self.working.set(condition(PROGRESSING, ConditionStatus::False, "ReplicaSetCreateError", message.as_str(), self.now));
                }
                self.events.push(Event::warning(self.about(), "ReplicaSetCreateError", message));
                self.errors.push(failure.to_string());
            }
        }
    }

    fn collided(&mut self, error: String) {
        let count = &mut self.working.status.collision_count;
        *count = Some(count.unwrap_or(0).saturating_add(1));
        self.errors.push(error);
    }

    fn edited(&mut self, edit: &SetEdit, done: &Done) {
        match done {
            Done::Failed(failure) => self.errors.push(failure.to_string()),
            _ => {
                if let (Some(_), Some(to)) = (done.answer(), edit.replicas) {
                    self.scaled(&edit.set.meta.name, edit.set.replicas, to);
                }
            }
        }
    }

    /// A set that changed meanwhile stays for now, and its change brings the next pass; one that is gone already is what we wanted.
    fn removed(&mut self, done: &Done) {
        if let Some(failure) = done.failure().filter(|f| !matches!(f.kind, FailureKind::Conflict | FailureKind::NotFound)) {
            self.errors.push(failure.to_string());
        }
    }

    fn scaled(&mut self, name: &str, from: i32, to: i32) {
        let direction = if from.cmp(&to) == Ordering::Less { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {name} from {from} to {to}");
        self.events.push(Event::normal(self.about(), "ScalingReplicaSet", message));
    }

    fn passed_over(&self, set: &ReplicaSet) -> bool {
        self.work.snap.passed_over.contains(&(set.meta.uid.clone(), set.meta.version))
    }

    fn about(&self) -> ObjectReference {
        ObjectReference::to(&DEPLOYMENTS, &self.deployment.meta)
    }
}

/// The text of a look-up that found nothing.
fn not_cached(new: &NewSet) -> String {
    format!("replicaset.apps {:?} not found", new.name)
}
