//! The shell around every loop: the same for all, and boring on purpose.

use std::{panic::AssertUnwindSafe, sync::Arc};

use evenkeel_api::Key;
use evenkeel_cache::{Cache, Owner};
use evenkeel_client::{Clock, Recorder, Writer};
use evenkeel_plan::{ControlLoop, FailureKind, Next, Outcome, Trigger, Write};
use evenkeel_queue::{Priority, Queue};
use futures::FutureExt;
use jiff::Timestamp;
use tokio::sync::watch;
use tracing::{Instrument, debug, debug_span, error};

use crate::metrics::PassMetrics;

/// One loop with everything that its passes need.
pub struct Shell<L: ControlLoop> {
    /// The loop.
    pub control_loop: Arc<L>,
    /// The watch cache.
    pub cache: Arc<Cache>,
    /// Keys to look at.
    pub queue: Queue<Key>,
    /// Carries plans out.
    pub writer: Writer,
    /// Records events.
    pub recorder: Recorder,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: PassMetrics,
}

/// What one pass leads to.
#[derive(Debug, PartialEq, Eq)]
enum After {
    /// The cache does not show our own writes yet; it wakes the key when it does.
    Parked,
    /// Nothing failed; look again at this time, if at all.
    Settled(Option<Timestamp>),
    /// The work goes on in another pass; what failed before is not forgotten.
    Again,
    /// Something failed.
    Failed(String),
}

/// Queues what a trigger names.
pub(crate) fn queue(queue: &Queue<Key>, trigger: Trigger, priority: Priority) {
    match std::time::Duration::try_from(trigger.after) {
        Ok(after) if !after.is_zero() => queue.add_after(trigger.key, after),
        _ => queue.add(trigger.key, priority),
    }
}

impl<L: ControlLoop> Shell<L> {
    /// Listens to the cache: changes become keys. Before the first lists are in, and for objects that merely exist, keys wait behind those
    /// that changed.
    pub fn listen(self: &Arc<Self>, leading: watch::Receiver<bool>) {
        let shell = self.clone();
        self.cache.listen(move |change, stores| {
            if !shell.control_loop.hears(change.kind) {
                return;
            }
            let changed = *leading.borrow() && stores.any(change.kind).is_some_and(|s| s.synced());
            let priority = if changed { Priority::Changed } else { Priority::Existing };
            shell.control_loop.triggers(change, stores).into_iter().for_each(|trigger| queue(&shell.queue, trigger, priority));
        });
    }

    /// Takes keys while `leading`, one after another; several workers may run this side by side. Ends when the queue is shut down, or at
    /// the first key boundary after leadership is gone.
    pub async fn work(self: Arc<Self>, mut leading: watch::Receiver<bool>) {
        loop {
            let key = tokio::select! {
                biased;
                _ = leading.wait_for(|leads| !*leads) => return,
                key = self.queue.next().boxed() => match key {
                    Some(key) => key,
                    None => return,
                },
            };
            self.one(&key).boxed().await;
            self.queue.done(&key);
        }
    }

    /// One pass and what follows from it. A panic costs this key a retry and nothing else (manager 4.12).
    async fn one(&self, key: &Key) {
        let about = self.control_loop.about();
        // What is told of a pass names its object itself; the span is for those who want to know all.
        let span = debug_span!("pass", controller = about.name, %key);
        let after = AssertUnwindSafe(self.pass(key).boxed()).catch_unwind().instrument(span).await.unwrap_or_else(|panic| {
            self.metrics.panicked();
            let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            After::Failed(format!("panic: {}", text.unwrap_or("no message")))
        });
        match after {
            After::Parked => {}
            After::Settled(wake_at) => {
                self.queue.forget(key);
                if let Some(at) = wake_at {
                    let wait = at.duration_since(self.clock.now());
                    self.queue.add_after(key.clone(), std::time::Duration::try_from(wait).unwrap_or_default());
                }
            }
            After::Again => self.queue.add(key.clone(), Priority::Changed),
            After::Failed(why) => {
                if why.starts_with("panic") {
                    error!(controller = about.name, %key, why, "pass failed");
                } else {
                    debug!(controller = about.name, %key, why, "pass failed, retrying");
                }
                self.queue.retry(key.clone());
            }
        }
    }

    async fn pass(&self, key: &Key) -> After {
        let owner = Owner { controller: self.control_loop.about().name, key: key.clone() };
        if let Some(wait) = self.cache.behind(&owner) {
            self.metrics.stale(wait.kind());
            return After::Parked;
        }
        let snap = self.control_loop.snapshot(&self.cache.read(), key);
        let plan = self.control_loop.plan(&snap, self.clock.now());
        let outcome = self.carry_out(&owner, &plan.steps).await;
        self.control_loop.remember(&snap, &plan, &outcome, self.clock.now());
        if !plan.is_empty() {
            let told = self.control_loop.answered(&snap, &plan, &outcome, &self.cache.read());
            told.into_iter().for_each(|trigger| queue(&self.queue, trigger, Priority::Changed));
        }
        if let Some(fenced) = outcome.failures().find(|f| f.kind == FailureKind::Fenced) {
            // Not a failure of the object: it gets no event and no condition, and the next leader looks at it anew.
            return After::Failed(fenced.message.clone());
        }
        let report = self.control_loop.conclude(&snap, &plan, &outcome, self.clock.now());
        let reported = self.carry_out(&owner, &report.steps).await;
        report.events.into_iter().for_each(|event| self.recorder.record(event));
        if let Some(failure) = reported.first_failure() {
            return After::Failed(failure.message.clone());
        }
        match report.next {
            Next::Retry(why) => After::Failed(why),
            Next::OnChange => After::Settled(plan.wake_at),
            Next::Again => After::Again,
            Next::At(at) => After::Settled(Some(plan.wake_at.map_or(at, |other| at.min(other)))),
        }
    }

    /// Most passes write nothing, or nothing more.
    async fn carry_out(&self, owner: &Owner, steps: &[Vec<Write>]) -> Outcome {
        if steps.is_empty() { Outcome::default() } else { self.writer.carry_out(owner, steps).boxed().await }
    }
}
