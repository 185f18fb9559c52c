use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

/// Bounds of the pace. Without a QPS there is no fixed rate: concurrency alone adapts.
#[derive(Debug, Clone, Copy)]
pub struct PaceOptions {
    /// `--kube-api-qps`, where it was given: most requests per second on average. Zero or less: no limit.
    pub qps: Option<f64>,
    /// `--kube-api-burst`: most requests at once on top of the average.
    pub burst: u32,
    /// Fewest requests in flight, however slow the server is.
    pub min_in_flight: f64,
    /// Most requests in flight, well below the 200 mutating requests that a server takes by default.
    pub max_in_flight: f64,
}

impl Default for PaceOptions {
    fn default() -> Self {
        Self { qps: None, burst: 30, min_in_flight: 2.0, max_in_flight: 100.0 }
    }
}

/// Requests in flight to begin with; it doubles with every round trip until the server slows down for the first time.
const START: f64 = 8.0;

/// Answers this quick never count as slow: other clients of such a server do not suffer, and scheduling noise alone can take this long.
const COMFORT: f64 = 0.050;

/// An answer that took this many times as long as the quickest recent one of its kind was waiting in a queue of the server.
const SLOW: f64 = 3.0;

/// Fewest answers that are judged together. Single slow answers say nothing; when most of them are slow, the server is.
const JUDGED: u32 = 16;

/// How long the quickest answer of a kind is remembered, at least; at most twice as long.
const MEMORY: Duration = Duration::from_secs(30);

/// Kinds of requests with a memory of their own (method, resource, subresource). There are far fewer; when they are more, all start anew.
const KINDS: usize = 256;

/// Lets requests through, as many at once as the server answers without slowing down.
///
/// Additive increase, multiplicative decrease. Each answer is compared with the quickest recent one of its kind (a GET from a cache says
/// nothing about a POST through webhooks); when most of a round were slow, fewer may be in flight, else one more per round. A 429 stops
/// everybody until its `Retry-After` is over and halves the number. Latency that does not fall when only the fewest are in flight is the
/// server's own, and accepted.
///
/// One pace serves all loops of the process, so a quiet loop lends its share. Those who wait are served first come, first served within
/// one identity, and in turns between identities: a loop with thousands of writes does not hold up another's single one.
///
/// The quickest answer is forgotten after a minute, so under a load that never lets up the number creeps towards `max_in_flight`; that is
/// the bound which protects the server.
#[derive(Debug, Clone)]
pub struct Pace(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    options: PaceOptions,
    limit: f64,
    in_flight: u32,
    /// One queue per identity. Bounded by the loops' workers times the writes of one step that each holds open.
    waiting: Vec<VecDeque<oneshot::Sender<Permit>>>,
    /// Identity served last.
    turn: usize,
    quickest: BTreeMap<String, Quickest>,
    round: Round,
    /// Nothing was slow yet.
    starting: bool,
    paused_until: Option<Instant>,
    tokens: f64,
    filled_at: Option<Instant>,
}

/// The quickest answer of one kind: a minimum over a sliding window, in two halves.
#[derive(Debug)]
struct Quickest {
    current: f64,
    previous: f64,
    since: Instant,
}

impl Quickest {
    fn observe(&mut self, took: f64, now: Instant) -> f64 {
        let age = now.duration_since(self.since);
        if age >= MEMORY {
            self.previous = if age < 2 * MEMORY { self.current } else { f64::INFINITY };
            self.current = f64::INFINITY;
            self.since = now;
        }
        self.current = self.current.min(took);
        self.current.min(self.previous)
    }
}

/// Answers judged together.
#[derive(Debug, Default)]
struct Round {
    answers: u32,
    slow: u32,
    /// Requests that left before this felt the load of before.
    since: Option<Instant>,
}

/// The right to have one request in flight.
#[derive(Debug)]
pub(crate) struct Permit {
    pace: Pace,
    from: Instant,
    settled: bool,
}

/// How a request ended, as far as the pace looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was done: its latency counts.
    Done,
    /// It was refused for reasons of its own: quick or slow, that says nothing.
    Refused,
    /// No answer; after a long wait that counts as a slow one.
    Silent,
    /// 429: everybody waits this long.
    Busy(Duration),
}

impl Pace {
    /// A fresh pace.
    pub fn new(options: PaceOptions) -> Self {
        let options = PaceOptions {
            qps: options.qps.filter(|q| *q > 0.0 && q.is_finite()),
            min_in_flight: options.min_in_flight.max(1.0),
            max_in_flight: options.max_in_flight.max(options.min_in_flight).max(1.0),
            ..options
        };
        Self(Arc::new(Mutex::new(State {
            limit: START.clamp(options.min_in_flight, options.max_in_flight),
            in_flight: 0,
            waiting: Vec::new(),
            turn: 0,
            quickest: BTreeMap::new(),
            round: Round::default(),
            starting: true,
            paused_until: None,
            tokens: f64::from(options.burst.max(1)),
            filled_at: None,
            options,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests that may be in flight at once right now.
    pub fn limit(&self) -> usize {
        self.state().slots() as usize
    }

    /// A place in the turns for one more identity.
    pub(crate) fn join(&self) -> usize {
        let mut state = self.state();
        state.waiting.push(VecDeque::new());
        state.waiting.len() - 1
    }

    /// Waits for a turn of `identity`. Dropping the future gives up the place.
    pub(crate) async fn admit(&self, identity: usize) -> Permit {
        let turn = {
            let mut state = self.state();
            if state.in_flight < state.slots() && state.waiting.iter().all(VecDeque::is_empty) {
                state.in_flight += 1;
                None
            } else {
                let (tell, turn) = oneshot::channel();
                let queue = &mut state.waiting[identity];
                // Those who gave up while nothing moves do not pile up.
                while queue.back().is_some_and(oneshot::Sender::is_closed) {
                    queue.pop_back();
                }
                queue.push_back(tell);
                Some(turn)
            }
        };
        // A permit travels through the channel, so that one whose receiver is gone gives its place back. Dropped while waiting below, too.
        let mut permit = match turn {
            None => Permit::new(self),
            Some(turn) => turn.await.expect("waiters are let in or dropped, and the queue lives as long as the pace"),
        };
        let mut next = self.reserve();
        while let Some(at) = next {
            tokio::time::sleep_until(at).await;
            next = self.paused();
        }
        permit.from = Instant::now();
        permit
    }

    /// Takes the next token of the rate; when it comes, if not now.
    fn reserve(&self) -> Option<Instant> {
        let mut state = self.state();
        let now = Instant::now();
        let wait = state.options.qps.and_then(|qps| {
            let since = state.filled_at.map_or(0.0, |at| now.duration_since(at).as_secs_f64());
            state.tokens = (state.tokens + since * qps).min(f64::from(state.options.burst.max(1))) - 1.0;
            state.filled_at = Some(now);
            // Every one waits for a token of its own, in the order of arrival, instead of all for the next.
            let seconds = (-state.tokens).max(0.0) / qps;
            (seconds > 0.0).then(|| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).min(MAX_WAIT))
        });
        drop(state);
        let paused = self.paused();
        wait.map(|w| now + w).max(paused)
    }

    /// Until when everybody waits, if at all.
    fn paused(&self) -> Option<Instant> {
        let mut state = self.state();
        if state.paused_until.is_some_and(|until| until <= Instant::now()) {
            state.paused_until = None;
        }
        state.paused_until
    }
}

/// A rate below one request an hour is one an hour.
const MAX_WAIT: Duration = Duration::from_secs(3600);

impl Permit {
    fn new(pace: &Pace) -> Self {
        Self { pace: pace.clone(), from: Instant::now(), settled: false }
    }

    /// The request, one of `kind`, is over.
    pub(crate) fn done(mut self, kind: &str, ended: Ended) {
        self.settled = true;
        let pace = self.pace.clone();
        let mut state = pace.state();
        state.learn(kind, ended, self.from, Instant::now());
        state.leave(&pace);
    }
}

impl State {
    fn slots(&self) -> u32 {
        (self.limit as u32).max(1)
    }

    fn learn(&mut self, kind: &str, ended: Ended, from: Instant, now: Instant) {
        let took = now.duration_since(from).as_secs_f64();
        let slow = match ended {
            Ended::Refused => return,
            Ended::Busy(time) => return self.pause(time, now),
            Ended::Silent => took > COMFORT,
            Ended::Done => took > SLOW * self.quickest(kind, took, now) && took > COMFORT,
        };
        if ended == Ended::Silent && !slow {
            return;
        }
        if !slow && f64::from(self.in_flight) >= self.limit - 1.0 {
            let more = if self.starting { 1.0 } else { 1.0 / self.limit };
            self.limit = (self.limit + more).min(self.options.max_in_flight);
        }
        if self.round.since.is_some_and(|since| from < since) {
            return;
        }
        self.round.answers += 1;
        self.round.slow += u32::from(slow);
        if self.round.answers < self.slots().max(JUDGED) {
            return;
        }
        if self.round.slow * 2 <= self.round.answers {
            self.round = Round { since: self.round.since, ..Round::default() };
            return;
        }
        if self.limit <= self.options.min_in_flight {
            // So few cannot have made it slow.
            self.quickest.clear();
        }
        self.lower(if self.starting { 0.5 } else { 0.8 }, now);
    }

    fn quickest(&mut self, kind: &str, took: f64, now: Instant) -> f64 {
        if let Some(known) = self.quickest.get_mut(kind) {
            return known.observe(took, now);
        }
        if self.quickest.len() >= KINDS {
            self.quickest.clear();
        }
        self.quickest.insert(kind.to_owned(), Quickest { current: took, previous: f64::INFINITY, since: now });
        took
    }

    fn lower(&mut self, factor: f64, now: Instant) {
        self.limit = (self.limit * factor).max(self.options.min_in_flight);
        self.starting = false;
        self.round = Round { since: Some(now), ..Round::default() };
    }

    /// The server asked everybody to wait. Of all the requests that it refuses at one time only the first makes the number smaller.
    fn pause(&mut self, time: Duration, now: Instant) {
        if self.paused_until.is_none_or(|until| until <= now) {
            self.lower(0.5, now);
        }
        self.paused_until = self.paused_until.max(Some(now + time));
    }

    fn leave(&mut self, pace: &Pace) {
        self.in_flight -= 1;
        while self.in_flight < self.slots() {
            let Some(next) = self.next() else { return };
            match next.send(Permit::new(pace)) {
                Ok(()) => self.in_flight += 1,
                // Nobody waits any more, and the lock is held: this one must not give back what was not counted.
                Err(mut permit) => permit.settled = true,
            }
        }
    }

    /// Who is let in next: identities in turns.
    fn next(&mut self) -> Option<oneshot::Sender<Permit>> {
        let identities = self.waiting.len();
        let (turn, next) = (1..=identities).map(|n| (self.turn + n) % identities).find_map(|i| Some((i, self.waiting[i].pop_front()?)))?;
        self.turn = turn;
        Some(next)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.settled {
            self.pace.state().leave(&self.pace);
        }
    }
}

/// Kind of a request for [`Permit::done`]: method, resource and subresource, without names.
pub(crate) fn kind_of(method: &str, path: &str) -> String {
    let mut parts = path.trim_start_matches('/').split('/');
    let root = parts.next().unwrap_or_default();
    let mut rest: Vec<&str> = parts.skip(if root == "apis" { 2 } else { 1 }).collect();
    if rest.len() > 2 && rest[0] == "namespaces" && !matches!(rest[2], "status" | "finalize") {
        rest.drain(..2);
    }
    format!("{method} {} {}", rest.first().unwrap_or(&""), rest.get(2).unwrap_or(&""))
}

#[cfg(test)]
mod tests;
