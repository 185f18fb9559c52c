use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

/// Bounds of the pace. Without a QPS there is no fixed rate: concurrency alone adapts.
#[derive(Debug, Clone, Copy)]
pub struct PaceOptions {
    /// `--kube-api-qps`, where it was given: most writes per second on average.
    pub qps: Option<f64>,
    /// `--kube-api-burst`: most writes at once on top of the average.
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

/// Lets requests through: first come, first served, as many at once as the server answers without slowing down.
///
/// Additive increase, multiplicative decrease: each answer that took less than twice the best recent latency raises the limit by one per
/// round trip; a slower one, or a 429, lowers it. One pace serves all loops of the process, so a quiet loop lends its share.
#[derive(Debug, Clone)]
pub struct Pace(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    options: PaceOptions,
    limit: f64,
    in_flight: u32,
    /// Bounded by the loops' workers times the writes of one step that each holds open.
    waiting: VecDeque<oneshot::Sender<Permit>>,
    best: f64,
    lowered_at: Option<Instant>,
    paused_until: Option<Instant>,
    tokens: f64,
    filled_at: Option<Instant>,
}

/// The right to have one request in flight.
#[derive(Debug)]
pub(crate) struct Permit {
    pace: Pace,
    from: Instant,
    settled: bool,
}

impl Pace {
    /// A fresh pace.
    pub fn new(options: PaceOptions) -> Self {
        Self(Arc::new(Mutex::new(State {
            limit: 8.0_f64.clamp(options.min_in_flight, options.max_in_flight),
            in_flight: 0,
            waiting: VecDeque::new(),
            best: f64::INFINITY,
            lowered_at: None,
            paused_until: None,
            tokens: f64::from(options.burst),
            filled_at: None,
            options,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests that may be in flight at once right now.
    pub fn limit(&self) -> usize {
        (self.state().limit as usize).max(1)
    }

    /// Waits for a turn.
    pub(crate) async fn admit(&self) -> Permit {
        let turn = {
            let mut state = self.state();
            if f64::from(state.in_flight) < state.limit.floor().max(1.0) && state.waiting.is_empty() {
                state.in_flight += 1;
                None
            } else {
                let (tell, turn) = oneshot::channel();
                state.waiting.push_back(tell);
                Some(turn)
            }
        };
        // A permit travels through the channel, so that one whose receiver is gone gives its place back. Dropped while waiting below, too.
        let mut permit = match turn {
            None => Permit::new(self),
            Some(turn) => turn.await.expect("waiters are let in or dropped, and the queue lives as long as the pace"),
        };
        while let Some(until) = self.not_before() {
            tokio::time::sleep_until(until).await;
        }
        permit.from = Instant::now();
        permit
    }

    /// When the next request may leave, if not now; takes a token if it may.
    fn not_before(&self) -> Option<Instant> {
        let mut state = self.state();
        let now = Instant::now();
        if let Some(until) = state.paused_until {
            if until > now {
                return Some(until);
            }
            state.paused_until = None;
        }
        let qps = state.options.qps?;
        let since = state.filled_at.map_or(0.0, |at| now.duration_since(at).as_secs_f64());
        state.tokens = (state.tokens + since * qps).min(f64::from(state.options.burst.max(1)));
        state.filled_at = Some(now);
        if state.tokens >= 1.0 {
            state.tokens -= 1.0;
            return None;
        }
        Some(now + Duration::from_secs_f64((1.0 - state.tokens) / qps))
    }

    /// The server asked everybody to wait.
    pub(crate) fn pause(&self, time: Duration) {
        let mut state = self.state();
        let until = Instant::now() + time;
        state.paused_until = Some(state.paused_until.map_or(until, |have| have.max(until)));
        state.limit = (state.limit / 2.0).max(state.options.min_in_flight);
    }
}

/// Answers this quick never count as slow: below it scheduling noise is larger than the server's own time.
const NOISE: f64 = 0.010;

impl Permit {
    fn new(pace: &Pace) -> Self {
        Self { pace: pace.clone(), from: Instant::now(), settled: false }
    }

    /// The request was answered (or failed for good).
    pub(crate) fn done(mut self, answered: bool) {
        self.settled = true;
        let now = Instant::now();
        let took = now.duration_since(self.from).as_secs_f64();
        let pace = self.pace.clone();
        let mut state = pace.state();
        if answered {
            // The best latency fades by 1 % per answer, so that a server that has become slower for good is accepted.
            state.best = (state.best * 1.01).min(took);
            if took > (2.0 * state.best).max(NOISE) {
                let cooled = state.lowered_at.is_none_or(|at| now.duration_since(at).as_secs_f64() > took);
                if cooled {
                    state.limit = (state.limit * 0.8).max(state.options.min_in_flight);
                    state.lowered_at = Some(now);
                }
            } else if f64::from(state.in_flight) >= state.limit - 1.0 {
                state.limit = (state.limit + 1.0 / state.limit).min(state.options.max_in_flight);
            }
        }
        state.leave(&pace);
    }
}

impl State {
    fn leave(&mut self, pace: &Pace) {
        self.in_flight -= 1;
        while f64::from(self.in_flight) < self.limit.floor().max(1.0) {
            let Some(next) = self.waiting.pop_front() else { return };
            match next.send(Permit::new(pace)) {
                Ok(()) => self.in_flight += 1,
                // Nobody waits any more, and the lock is held: this one must not give back what was not counted.
                Err(mut permit) => permit.settled = true,
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.settled {
            self.pace.state().leave(&self.pace);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_slow_server_gets_fewer_requests_at_once_and_a_quick_one_more() {
        let pace = Pace::new(PaceOptions::default());
        let round = async |ms: u64| {
            let permits: Vec<Permit> = futures::future::join_all((0..pace.limit()).map(|_| pace.admit())).await;
            tokio::time::sleep(Duration::from_millis(ms)).await;
            permits.into_iter().for_each(|p| p.done(true));
        };
        for _ in 0..20 {
            round(5).await;
        }
        let quick = pace.limit();
        assert!(quick > 15, "{quick}");
        for _ in 0..20 {
            round(200).await;
        }
        assert!(pace.limit() < quick / 2, "{}", pace.limit());
    }

    #[tokio::test(start_paused = true)]
    async fn a_given_rate_is_kept() {
        let pace = Pace::new(PaceOptions { qps: Some(20.0), burst: 30, ..Default::default() });
        let start = Instant::now();
        for _ in 0..130 {
            pace.admit().await.done(true);
        }
        let took = start.elapsed().as_secs_f64();
        assert!((4.9..5.2).contains(&took), "{took}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_waiter_does_not_take_the_place_with_it() {
        let pace = Pace::new(PaceOptions { min_in_flight: 1.0, max_in_flight: 1.0, ..Default::default() });
        let held = pace.admit().await;
        let waiting = tokio::time::timeout(Duration::from_millis(5), pace.admit()).await;
        assert!(waiting.is_err());
        held.done(true);
        tokio::time::timeout(Duration::from_secs(1), pace.admit()).await.expect("the place is free");
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_holds_everybody_back() {
        let pace = Pace::new(PaceOptions::default());
        pace.pause(Duration::from_secs(3));
        let start = Instant::now();
        pace.admit().await.done(true);
        assert_eq!(start.elapsed(), Duration::from_secs(3));
    }
}
