use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::Clock;

/// We do not lead, or cannot know that we still do: nothing may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the leader: the write was not sent")]
pub struct Fenced;

/// A term of leadership and until when, by the local clock, it is safe to write in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) term: u64,
    pub(crate) until: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Closed,
    Until(Grant),
    /// No election: always open.
    Open,
}

/// What every write must pass before it leaves (design: "monotonic now < last renew + renew deadline"). Cheap to clone and to ask.
///
/// It is open while we lead and the last successful renewal was *sent* less than one renew deadline ago. It closes by the clock alone, so it
/// holds even when the process was stopped and the elector has not run since.
#[derive(Debug, Clone)]
pub struct Fence {
    gate: Arc<Mutex<Gate>>,
    clock: Clock,
    term: Option<u64>,
}

impl Fence {
    pub(crate) fn closed(clock: Clock) -> Self {
        Self { gate: Arc::new(Mutex::new(Gate::Closed)), clock, term: None }
    }

    /// A fence that is always open, for a process without election.
    pub fn open(clock: Clock) -> Self {
        Self { gate: Arc::new(Mutex::new(Gate::Open)), clock, term: None }
    }

    /// This fence for the present term only: once that is lost it stays closed, even if we lead again later. Work that was begun in one
    /// term should not go on in the next.
    pub fn for_this_term(&self) -> Self {
        let term = match self.gate() {
            Gate::Until(grant) => Some(grant.term),
            Gate::Open => None,
            // No term ever has this number.
            Gate::Closed => Some(0),
        };
        Self { term: self.term.or(term), ..self.clone() }
    }

    /// Whether a write may be sent now.
    pub fn check(&self) -> Result<(), Fenced> {
        match self.gate() {
            Gate::Open => Ok(()),
            Gate::Until(grant) if self.term.is_none_or(|term| term == grant.term) && self.clock.now() < grant.until => Ok(()),
            Gate::Until(_) | Gate::Closed => Err(Fenced),
        }
    }

    /// When it closes unless another renewal succeeds, in the executor's time: a request in flight must have ended by then, or soon after.
    /// `None`: it never closes, or it is closed (see [`Fence::check`]).
    pub fn deadline(&self) -> Option<Instant> {
        match self.gate() {
            Gate::Until(grant) if self.term.is_none_or(|term| term == grant.term) => Some(self.clock.executor_time(grant.until)),
            _ => None,
        }
    }

    pub(crate) fn set(&self, grant: Option<Grant>) {
        *self.gate.lock().unwrap_or_else(PoisonError::into_inner) = grant.map_or(Gate::Closed, Gate::Until);
    }

    fn gate(&self) -> Gate {
        *self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    const SEC: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn it_closes_by_the_clock_alone() {
        let clock = Clock::steady();
        let fence = Fence::closed(clock);
        assert_eq!(fence.check(), Err(Fenced));
        assert_eq!(fence.deadline(), None);
        fence.set(Some(Grant { term: 1, until: clock.now() + SEC }));
        assert_eq!(fence.deadline(), Some(Instant::now() + SEC));
        advance(SEC - Duration::from_nanos(1)).await;
        assert_eq!(fence.check(), Ok(()));
        advance(Duration::from_nanos(1)).await;
        assert_eq!(fence.check(), Err(Fenced));
    }

    #[tokio::test(start_paused = true)]
    async fn work_of_one_term_does_not_go_on_in_the_next() {
        let clock = Clock::steady();
        let fence = Fence::closed(clock);
        let before = fence.for_this_term();
        fence.set(Some(Grant { term: 1, until: clock.now() + SEC }));
        let first = fence.for_this_term();
        assert_eq!((before.check(), first.check()), (Err(Fenced), Ok(())));
        fence.set(Some(Grant { term: 2, until: clock.now() + SEC }));
        assert_eq!((before.check(), first.check(), fence.check()), (Err(Fenced), Err(Fenced), Ok(())));
        assert_eq!((first.for_this_term().check(), first.deadline()), (Err(Fenced), None));
    }

    #[tokio::test(start_paused = true)]
    async fn without_election_it_is_always_open() {
        let fence = Fence::open(Clock::steady()).for_this_term();
        advance(SEC * 1_000_000).await;
        assert_eq!((fence.check(), fence.deadline()), (Ok(()), None));
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_is_told_in_the_executors_time() {
        let clock = Clock::at_rate(2.0);
        let fence = Fence::closed(clock);
        fence.set(Some(Grant { term: 1, until: clock.now() + 10 * SEC }));
        assert_eq!(fence.deadline(), Some(Instant::now() + 5 * SEC));
        advance(5 * SEC).await;
        assert_eq!(fence.check(), Err(Fenced));
    }
}
