//! All rules of the election, without IO, clock or chance: inputs carry the instant, the wall time and a draw; steps say what to request.
//!
//! The shell feeds [`Input`]s in the order in which they happen, executes at most one request at a time, and comes back at
//! [`Machine::wake_at`]. After each input it asks [`Machine::awaits_answer`]: if that turned false, a request still in flight is dropped, its
//! outcome unknown.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::{Span, Timestamp};
use tokio::time::Instant;

use crate::fence::Grant;
use crate::record::micros;
use crate::{Lease, LeaseError, Record, Timings};

pub use crate::step::{Input, Loss, Moment, Note, Release, Request, Step};

/// A standby's pause is the retry period times 1 to 1 + this (manager 5.4.1).
const JITTER: f64 = 1.2;

/// Attempts that hints ask for are at least this far apart, so that somebody who keeps writing the Lease cannot make us flood the server.
const HINT_SPACING: Duration = Duration::from_millis(200);

/// Own writes whose outcome is unknown, kept to recognise them. All build on one resourceVersion, so at most one of them can have happened.
const UNKNOWN_WRITES: usize = 64;

/// Pause between tries to release.
const RELEASE_PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Standby,
    Leading,
    Releasing { until: Instant },
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flight {
    None,
    Get,
    /// A write of the last of `sent`; `fast`: without a GET before it.
    Write {
        fast: bool,
    },
    ReleaseGet,
    ReleaseWrite,
}

#[derive(Debug)]
struct Observed {
    lease: Lease,
    /// When the record was seen to change; for our own records, when we sent them.
    at: Instant,
}

/// The signature of an own write: no other process writes both times of ours under our identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Own {
    acquired: Option<Timestamp>,
    renewed: Option<Timestamp>,
    sent_at: Instant,
}

/// One candidate's state.
#[derive(Debug)]
pub struct Machine {
    namespace: String,
    name: String,
    identity: String,
    timings: Timings,
    release: bool,
    phase: Phase,
    draining: bool,
    flight: Flight,
    observed: Option<Observed>,
    sent: VecDeque<Own>,
    term: u64,
    since: Instant,
    /// End of the fence while leading.
    until: Instant,
    next: Instant,
    asked_at: Option<Instant>,
    look: bool,
    /// Acquire time of the last record that somebody else wrote under our identity.
    twin: Option<Option<Timestamp>>,
}

impl Machine {
    /// A standby that will try at once. `now` by the local clock.
    pub fn new(config: &crate::ElectionConfig, now: Instant) -> Self {
        Self {
            namespace: config.namespace.clone(),
            name: config.name.clone(),
            identity: config.identity.clone(),
            timings: config.timings,
            release: config.release,
            phase: Phase::Standby,
            draining: false,
            flight: Flight::None,
            observed: None,
            sent: VecDeque::new(),
            term: 0,
            since: now,
            until: now,
            next: now,
            asked_at: None,
            look: false,
            twin: None,
        }
    }

    /// When to come back with [`Input::Wake`] if nothing else happens before. `None`: not at all.
    pub fn wake_at(&self) -> Option<Instant> {
        let next = (self.flight == Flight::None).then_some(self.next);
        match self.phase {
            Phase::Standby => next,
            Phase::Leading => Some(next.map_or(self.until, |next| next.min(self.until))),
            Phase::Releasing { until } => Some(next.map_or(until, |next| next.min(until))),
            Phase::Ended => None,
        }
    }

    /// Whether a request is in flight.
    pub fn awaits_answer(&self) -> bool {
        self.flight != Flight::None
    }

    /// Since when we lead, and which term it is; `None`: we do not.
    pub fn leading(&self) -> Option<(Instant, u64)> {
        (self.phase == Phase::Leading).then_some((self.since, self.term))
    }

    pub(crate) fn grant(&self) -> Option<Grant> {
        self.leading().map(|(_, term)| Grant { term, until: self.until })
    }

    /// Takes one input.
    pub fn on(&mut self, input: Input, moment: &Moment) -> Step {
        let mut step = Step::default();
        if self.phase == Phase::Leading && moment.now >= self.until {
            self.step_down(Loss::DeadlineMissed, moment, &mut step);
        }
        match (self.phase, input) {
            (Phase::Ended, _) => {}
            (_, Input::Abandon) => self.end(Release::Abandoned, &mut step),
            (Phase::Releasing { .. }, Input::Drain | Input::Drained | Input::Seen(_) | Input::Look) => {}
            (Phase::Releasing { until }, Input::Wake) => self.go_on_releasing(until, moment, &mut step),
            (Phase::Releasing { .. }, Input::Answer(answer)) => self.on_release_answer(answer, moment, &mut step),
            (_, Input::Drained) => self.begin_release(moment, &mut step),
            (Phase::Leading, Input::Drain) => self.draining = true,
            (Phase::Standby, Input::Drain) => self.begin_release(moment, &mut step),
            (_, Input::Wake) => {
                if self.flight == Flight::None && moment.now >= self.next {
                    self.attempt(moment, &mut step);
                }
            }
            (_, Input::Answer(answer)) => self.on_answer(answer, moment, &mut step),
            (_, Input::Seen(lease)) => self.on_seen(lease, moment),
            // A leader's next renewal finds out.
            (Phase::Leading, Input::Look) => {}
            (_, Input::Look) => self.look_soon(moment.now),
        }
        step
    }

    /// One attempt (manager 5.3).
    fn attempt(&mut self, moment: &Moment, step: &mut Step) {
        self.asked_at = Some(moment.now);
        self.look = false;
        match &self.observed {
            Some(seen) if self.own(&seen.lease.record).is_some() && moment.now < seen.at + self.validity(&seen.lease.record) => {
                let record = self.renewal(&seen.lease.record, moment);
                let document = seen.lease.with(&record);
                self.send(record, true, Request::Update(document), moment, step);
            }
            _ => self.get(step),
        }
    }

    fn get(&mut self, step: &mut Step) {
        self.flight = Flight::Get;
        step.request = Some(Request::Get);
    }

    fn on_answer(&mut self, answer: Result<Lease, LeaseError>, moment: &Moment, step: &mut Step) {
        match std::mem::replace(&mut self.flight, Flight::None) {
            Flight::None => {}
            Flight::Get => match answer {
                Ok(lease) => self.on_read(lease, moment, step),
                Err(LeaseError::NotFound) => {
                    let time = Some(self.unused_time(moment.wall));
                    let record = Record { acquire_time: time, transitions: 0, ..self.renewal_at(time) };
                    let document = Lease::fresh(&self.namespace, &self.name, &record);
                    self.send(record, false, Request::Create(document), moment, step);
                }
                Err(error) => self.failed(format!("reading the lease: {error}"), moment, step),
            },
            Flight::Write { fast } => match answer {
                Ok(lease) => self.on_written(lease, moment, step),
                // The rest of the same attempt: look, then decide (manager 5.3.1).
                Err(error) if fast => {
                    step.notes.push(Note::Failed(format!("renewing the lease: {error}")));
                    self.get(step);
                }
                Err(error) => self.failed(format!("writing the lease: {error}"), moment, step),
            },
            Flight::ReleaseGet | Flight::ReleaseWrite => {}
        }
    }

    /// Steps 3 to 5 of an attempt.
    fn on_read(&mut self, lease: Lease, moment: &Moment, step: &mut Step) {
        self.observe(lease, moment.now);
        let Some(seen) = &self.observed else { return };
        let found = seen.lease.record.clone();
        let expires = seen.at + self.validity(&found);
        let ours = self.own(&found).is_some();
        let lost = if found.holder.is_empty() || ours {
            None
        } else if found.holder == self.identity {
            Some(Loss::IdentityTaken)
        } else {
            Some(Loss::TakenBy(found.holder.clone()))
        };
        if lost == Some(Loss::IdentityTaken) && self.twin.replace(found.acquire_time) != Some(found.acquire_time) {
            step.notes.push(Note::IdentityTaken);
        }
        // Upstream goes on until its deadline. To write while another is the holder helps nobody, so we stop at once.
        if let (Phase::Leading, Some(lost)) = (self.phase, &lost) {
            self.step_down(lost.clone(), moment, step);
            if self.phase == Phase::Ended {
                return;
            }
        }
        if lost.is_some() && moment.now < expires {
            step.notes.push(Note::HeldBy(found.holder));
            return self.pause(moment);
        }
        let record = if ours {
            step.notes.push(Note::SlowPath);
            self.renewal(&found, moment)
        } else {
            let time = Some(self.unused_time(moment.wall));
            Record { acquire_time: time, transitions: found.transitions.saturating_add(1), ..self.renewal_at(time) }
        };
        let Some(seen) = &self.observed else { return };
        let document = seen.lease.with(&record);
        self.send(record, false, Request::Update(document), moment, step);
    }

    /// A write of ours has succeeded.
    fn on_written(&mut self, lease: Lease, moment: &Moment, step: &mut Step) {
        let Some(own) = self.own(&lease.record) else {
            return self.failed("the server answered a write with another record than ours".to_owned(), moment, step);
        };
        // Whatever else we had sent built on an older version, so it can no longer happen.
        self.sent.clear();
        self.sent.push_back(own);
        self.observed = Some(Observed { lease, at: own.sent_at });
        self.twin = None;
        let until = own.sent_at + self.timings.renew_deadline;
        if moment.now >= until {
            return self.failed("the lease was written, but too late to lead".to_owned(), moment, step);
        }
        self.until = until;
        self.next = moment.now + self.timings.retry_period;
        if self.phase == Phase::Standby {
            self.phase = Phase::Leading;
            self.term += 1;
            self.since = moment.now;
            step.notes.push(Note::BecameLeader);
        }
        if std::mem::take(&mut self.look) {
            self.look_soon(moment.now);
        }
    }

    fn failed(&mut self, why: String, moment: &Moment, step: &mut Step) {
        step.notes.push(Note::Failed(why));
        self.flight = Flight::None;
        self.pause(moment);
    }

    /// Sets the time of the next attempt after one that failed.
    fn pause(&mut self, moment: &Moment) {
        let retry = self.timings.retry_period;
        self.next = moment.now + retry;
        if self.phase == Phase::Standby {
            self.next = moment.now + retry.mul_f64(1.0 + JITTER * moment.chance);
            if let Some(expires) = self.expiry_attempt(moment)
                && expires > moment.now
            {
                self.next = self.next.min(expires);
            }
        }
        if std::mem::take(&mut self.look) {
            self.look_soon(moment.now);
        }
    }

    fn step_down(&mut self, why: Loss, moment: &Moment, step: &mut Step) {
        self.phase = Phase::Standby;
        self.flight = Flight::None;
        step.notes.push(Note::StoppedLeading(why));
        self.pause(moment);
        if self.draining {
            self.end(Release::NotOurs, step);
        }
    }

    /// A watch showed the Lease. It may be late, so what a GET or an own write has shown since is never taken back.
    fn on_seen(&mut self, lease: Lease, moment: &Moment) {
        if self.observed.as_ref().is_some_and(|seen| lease.older_than(&seen.lease)) {
            return;
        }
        let changed = self.observe(lease, moment.now);
        let Some(seen) = &self.observed else { return };
        let holder = &seen.lease.record.holder;
        let leading = self.phase == Phase::Leading;
        if changed && (holder.is_empty() || (leading && *holder != self.identity)) {
            self.look_soon(moment.now);
        }
        if changed
            && !leading
            && let Some(expires) = self.expiry_attempt(moment)
        {
            self.next = self.next.min(expires);
        }
    }

    /// When to try for a Lease whose holder does not renew it any more. Upstream finds out with its next poll. Candidates that watch have all
    /// seen the same change, so they come a little apart.
    fn expiry_attempt(&self, moment: &Moment) -> Option<Instant> {
        let seen = self.observed.as_ref().filter(|seen| !seen.lease.record.holder.is_empty())?;
        Some(seen.at + self.validity(&seen.lease.record) + self.timings.retry_period.mul_f64(moment.chance / 4.0))
    }

    /// Moves the next attempt forward, but keeps attempts apart.
    fn look_soon(&mut self, now: Instant) {
        self.look = true;
        if self.flight == Flight::None {
            self.next = self.next.min(self.asked_at.map_or(now, |asked| now.max(asked + HINT_SPACING)));
        }
    }

    /// Notes what the Lease says now. True if the record has changed.
    fn observe(&mut self, lease: Lease, now: Instant) -> bool {
        match &mut self.observed {
            Some(seen) if seen.lease.record == lease.record => {
                seen.lease = lease;
                false
            }
            _ => {
                // An own write whose answer was lost counts from when it was sent.
                let at = self.own(&lease.record).map_or(now, |own| own.sent_at);
                self.observed = Some(Observed { lease, at });
                true
            }
        }
    }

    /// The own write that this record comes from.
    fn own(&self, record: &Record) -> Option<Own> {
        if record.holder != self.identity {
            return None;
        }
        self.sent.iter().find(|own| own.acquired == record.acquire_time && own.renewed == record.renew_time).copied()
    }

    /// How long a record is valid after it was seen to change. A holder that names no duration gets ours.
    fn validity(&self, record: &Record) -> Duration {
        let named = record.duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).filter(|seconds| *seconds > 0);
        named.map_or(self.timings.lease_duration, Duration::from_secs)
    }

    fn renewal(&self, found: &Record, moment: &Moment) -> Record {
        Record { acquire_time: found.acquire_time, transitions: found.transitions, ..self.renewal_at(Some(self.unused_time(moment.wall))) }
    }

    fn renewal_at(&self, renew_time: Option<Timestamp>) -> Record {
        Record {
            holder: self.identity.clone(),
            duration_seconds: i32::try_from(self.timings.lease_duration.as_secs()).ok(),
            renew_time,
            ..Record::default()
        }
    }

    /// A renew time that no own write has used, so that each can be recognised.
    fn unused_time(&self, wall: Timestamp) -> Timestamp {
        let mut time = micros(wall);
        while self.sent.iter().any(|own| own.renewed == Some(time)) {
            match time.checked_add(Span::new().microseconds(1)) {
                Ok(later) => time = later,
                Err(_) => break,
            }
        }
        time
    }

    fn send(&mut self, record: Record, fast: bool, request: Request, moment: &Moment, step: &mut Step) {
        if self.sent.len() >= UNKNOWN_WRITES {
            self.sent.pop_front();
        }
        self.sent.push_back(Own { acquired: record.acquire_time, renewed: record.renew_time, sent_at: moment.now });
        self.flight = Flight::Write { fast };
        step.request = Some(request);
    }

    fn begin_release(&mut self, moment: &Moment, step: &mut Step) {
        let led = self.phase == Phase::Leading;
        self.phase = Phase::Standby;
        self.flight = Flight::None;
        if led {
            step.notes.push(Note::StoppedLeading(Loss::Asked));
        }
        // Without a write of ours the Lease cannot be ours.
        if !self.release || self.sent.is_empty() {
            return self.end(Release::NotOurs, step);
        }
        self.phase = Phase::Releasing { until: moment.now + self.timings.renew_deadline };
        self.flight = Flight::ReleaseGet;
        step.request = Some(Request::Get);
    }

    fn go_on_releasing(&mut self, until: Instant, moment: &Moment, step: &mut Step) {
        if moment.now >= until {
            self.end(Release::Failed("no answer within the renew deadline".to_owned()), step);
        } else if self.flight == Flight::None && moment.now >= self.next {
            self.flight = Flight::ReleaseGet;
            step.request = Some(Request::Get);
        }
    }

    /// Only what the live record says counts: after a missed deadline somebody else may hold the Lease (upstream can clear theirs).
    fn on_release_answer(&mut self, answer: Result<Lease, LeaseError>, moment: &Moment, step: &mut Step) {
        match (std::mem::replace(&mut self.flight, Flight::None), answer) {
            (Flight::ReleaseGet, Ok(lease)) if self.own(&lease.record).is_some() => {
                let time = Some(micros(moment.wall));
                let record = Record {
                    holder: String::new(),
                    duration_seconds: Some(1),
                    acquire_time: time,
                    renew_time: time,
                    transitions: lease.record.transitions,
                    ..Record::default()
                };
                self.flight = Flight::ReleaseWrite;
                step.request = Some(Request::Update(lease.with(&record)));
            }
            (Flight::ReleaseGet, Ok(_) | Err(LeaseError::NotFound)) => self.end(Release::NotOurs, step),
            (Flight::ReleaseWrite, Ok(_)) => self.end(Release::Released, step),
            (Flight::None, _) => {}
            (_, Ok(_)) => {}
            (_, Err(error)) => {
                step.notes.push(Note::Failed(format!("releasing the lease: {error}")));
                self.next = moment.now + RELEASE_PAUSE;
            }
        }
    }

    fn end(&mut self, release: Release, step: &mut Step) {
        if self.phase == Phase::Leading {
            step.notes.push(Note::StoppedLeading(Loss::Asked));
        }
        self.phase = Phase::Ended;
        self.flight = Flight::None;
        step.notes.push(Note::Ended(release));
    }
}
