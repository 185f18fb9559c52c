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
mod tests {
    use super::*;

    fn pace(options: PaceOptions) -> (Pace, usize) {
        let pace = Pace::new(options);
        let identity = pace.join();
        (pace, identity)
    }

    /// Keeps as many requests in flight as are let through, for `requests` requests that take `ms` (given their number) each.
    async fn load(pace: &Pace, identity: usize, requests: u64, ms: impl Fn(u64) -> u64) {
        let one = async |n: u64| {
            let permit = pace.admit(identity).await;
            tokio::time::sleep(Duration::from_millis(ms(n))).await;
            permit.done("POST pods ", Ended::Done);
        };
        futures::future::join_all((0..requests).map(one)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_quick_server_gets_many_at_once_within_a_few_round_trips() {
        let (pace, id) = pace(PaceOptions::default());
        let start = Instant::now();
        load(&pace, id, 1000, |_| 5).await;
        assert_eq!(pace.limit(), 100);
        assert!(start.elapsed() < Duration::from_millis(100), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_becomes_slow_gets_fewer_at_once() {
        let (pace, id) = pace(PaceOptions::default());
        load(&pace, id, 1000, |_| 5).await;
        load(&pace, id, 500, |_| 400).await;
        assert!(pace.limit() <= 30, "{}", pace.limit());
    }

    #[tokio::test(start_paused = true)]
    async fn latency_that_fluctuates_between_2_and_20_ms_does_not_throttle() {
        let (pace, id) = pace(PaceOptions::default());
        let mut lowest = usize::MAX;
        for round in 0..50 {
            load(&pace, id, 200, |n| 2 + (n * 7 + round * 13) % 19).await;
            lowest = lowest.min(pace.limit());
        }
        assert!(lowest >= 16, "{lowest}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_slow_by_itself_is_accepted() {
        let (pace, id) = pace(PaceOptions::default());
        load(&pace, id, 1000, |_| 5).await;
        // As with webhooks of 300 ms: no latency is won by asking for less.
        load(&pace, id, 2000, |_| 300).await;
        let start = Instant::now();
        load(&pace, id, 2000, |_| 300).await;
        assert!(pace.limit() > 16, "{}", pace.limit());
        assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    }

    /// A server that works on four requests at a time, 30 ms each: more in flight only queue up.
    #[tokio::test(start_paused = true)]
    async fn a_saturated_server_is_kept_busy_without_a_long_queue() {
        let (pace, id) = pace(PaceOptions::default());
        let server = tokio::sync::Semaphore::new(4);
        let worst = Mutex::new(0);
        let one = async |n: u32| {
            let permit = pace.admit(id).await;
            let working = server.acquire().await.unwrap();
            tokio::time::sleep(Duration::from_millis(30)).await;
            drop(working);
            permit.done("POST pods ", Ended::Done);
            if n > 300 {
                let mut worst = worst.lock().unwrap();
                *worst = (*worst).max(pace.limit());
            }
        };
        let start = Instant::now();
        futures::future::join_all((0..1000).map(one)).await;
        assert!(*worst.lock().unwrap() < 40, "{worst:?}");
        // 1000 requests, four at a time, 30 ms: 7.5 s at best.
        assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn quick_gets_do_not_make_slow_creates_look_worse() {
        let (pace, id) = pace(PaceOptions::default());
        for n in 0..600 {
            let permit = pace.admit(id).await;
            let (kind, ms) = if n % 2 == 0 { ("GET pods ", 1) } else { ("POST pods ", 500) };
            tokio::time::sleep(Duration::from_millis(ms)).await;
            permit.done(kind, Ended::Done);
        }
        assert!(pace.limit() >= 8, "{}", pace.limit());
    }

    #[tokio::test(start_paused = true)]
    async fn time_outs_make_it_careful_and_quick_refusals_say_nothing() {
        let (pace, id) = pace(PaceOptions::default());
        for _ in 0..40 {
            pace.admit(id).await.done("POST pods ", Ended::Refused);
        }
        assert_eq!(pace.limit(), 8);
        for _ in 0..80 {
            let permit = pace.admit(id).await;
            tokio::time::sleep(Duration::from_secs(30)).await;
            permit.done("POST pods ", Ended::Silent);
        }
        assert_eq!(pace.limit(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_given_rate_is_kept() {
        let (pace, id) = pace(PaceOptions { qps: Some(20.0), burst: 30, ..Default::default() });
        let start = Instant::now();
        load(&pace, id, 130, |_| 0).await;
        let took = start.elapsed().as_secs_f64();
        assert!((4.9..5.2).contains(&took), "{took}");
    }

    #[tokio::test(start_paused = true)]
    async fn rates_that_make_no_sense_limit_nothing_and_tiny_ones_do_not_overflow() {
        for qps in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let (pace, id) = pace(PaceOptions { qps: Some(qps), burst: 0, ..Default::default() });
            let start = Instant::now();
            load(&pace, id, 100, |_| 0).await;
            assert_eq!(start.elapsed(), Duration::ZERO, "{qps}");
        }
        let (pace, id) = pace(PaceOptions { qps: Some(1e-300), burst: 0, ..Default::default() });
        load(&pace, id, 3, |_| 0).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_waiter_does_not_take_the_place_with_it() {
        let (pace, id) = pace(PaceOptions { min_in_flight: 1.0, max_in_flight: 1.0, ..Default::default() });
        let held = pace.admit(id).await;
        for _ in 0..100 {
            assert!(tokio::time::timeout(Duration::from_millis(5), pace.admit(id)).await.is_err());
        }
        assert!(pace.state().waiting[id].len() <= 1, "those who gave up are forgotten");
        held.done("", Ended::Refused);
        tokio::time::timeout(Duration::from_secs(1), pace.admit(id)).await.expect("the place is free");
        // Let in, but given up while everybody waits.
        pace.admit(id).await.done("", Ended::Busy(Duration::from_secs(9)));
        assert!(tokio::time::timeout(Duration::from_secs(1), pace.admit(id)).await.is_err());
        tokio::time::sleep(Duration::from_secs(9)).await;
        tokio::time::timeout(Duration::from_secs(1), pace.admit(id)).await.expect("the place is free");
        assert_eq!(pace.state().in_flight, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_on_its_way_to_someone_who_left_comes_back() {
        let (pace, id) = pace(PaceOptions { min_in_flight: 1.0, max_in_flight: 1.0, ..Default::default() });
        let held = pace.admit(id).await;
        let mut waiting = Box::pin(pace.admit(id));
        assert!(futures::poll!(&mut waiting).is_pending());
        held.done("", Ended::Refused);
        assert_eq!(pace.state().in_flight, 1, "the permit is on its way");
        drop(waiting);
        assert_eq!(pace.state().in_flight, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_holds_everybody_back_and_counts_once() {
        let (pace, id) = pace(PaceOptions::default());
        let other = pace.join();
        let permits = futures::future::join_all((0..8).map(|_| pace.admit(id))).await;
        let start = Instant::now();
        permits.into_iter().for_each(|p| p.done("", Ended::Busy(Duration::from_secs(3))));
        assert_eq!(pace.limit(), 4);
        pace.admit(other).await.done("", Ended::Refused);
        assert_eq!(start.elapsed(), Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn identities_take_turns_and_within_one_the_first_comes_first() {
        let (pace, busy) = pace(PaceOptions { min_in_flight: 1.0, max_in_flight: 1.0, ..Default::default() });
        let quiet = pace.join();
        let served = Mutex::new(Vec::new());
        let one = async |identity: usize, n: u32| {
            let permit = pace.admit(identity).await;
            served.lock().unwrap().push((identity, n));
            tokio::time::sleep(Duration::from_millis(1)).await;
            permit.done("", Ended::Done);
        };
        let many = futures::future::join_all((0..100).map(|n| one(busy, n)));
        futures::join!(many, one(quiet, 0));
        let served = served.into_inner().unwrap();
        assert!(served.iter().position(|s| *s == (quiet, 0)).unwrap() <= 2, "{served:?}");
        let own: Vec<u32> = served.iter().filter(|s| s.0 == busy).map(|s| s.1).collect();
        assert!(own.is_sorted());
    }

    #[test]
    fn kinds_of_requests_carry_no_names() {
        assert_eq!(kind_of("POST", "/api/v1/namespaces/a/pods"), "POST pods ");
        assert_eq!(kind_of("DELETE", "/api/v1/namespaces/a/pods/x"), "DELETE pods ");
        assert_eq!(kind_of("PUT", "/apis/apps/v1/namespaces/a/replicasets/x/status"), "PUT replicasets status");
        assert_eq!(kind_of("GET", "/api/v1/namespaces/a"), "GET namespaces ");
        assert_eq!(kind_of("PUT", "/api/v1/namespaces/a/status"), "PUT namespaces status");
        assert_eq!(kind_of("GET", "/healthz"), "GET  ");
        assert_eq!(kind_of("GET", ""), "GET  ");
    }
}
