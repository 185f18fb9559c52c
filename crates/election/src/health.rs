use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::{Clock, Fence};

/// An elector turns at least this often while it can.
pub(crate) const BEAT: Duration = Duration::from_secs(1);

/// An elector that has not turned for this long is taken for hung. Reliability LE-3 allows 5 s.
const SILENCE: Duration = Duration::from_secs(4);

/// When the elector last turned, and in which state.
#[derive(Debug, Clone)]
pub(crate) struct Pulse(Arc<Mutex<Beat>>);

#[derive(Debug, Clone, Copy)]
struct Beat {
    at: Instant,
    leading: bool,
    ended: bool,
}

impl Pulse {
    pub(crate) fn new(clock: &Clock) -> Self {
        Self(Arc::new(Mutex::new(Beat { at: clock.now(), leading: false, ended: false })))
    }

    pub(crate) fn beat(&self, at: Instant, leading: bool) {
        let mut beat = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (beat.at, beat.leading) = (at, leading);
    }

    pub(crate) fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
    }

    fn get(&self) -> Beat {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The health check `leaderElection` (manager 5.6, reliability LE-3 and row 77). Cheap to clone.
///
/// It passes while we lead with an open fence, and while the elector is alive and trying, on a standby or after a loss. It fails within 5 s of
/// "neither leading nor able to try": a hung or ended elector. That includes upstream's rule, a leader whose last renewal is older than lease
/// duration + 20 s, because its fence has closed long before and a live elector has stepped down.
#[derive(Debug, Clone)]
pub struct Health {
    lease: Arc<str>,
    pulse: Pulse,
    fence: Fence,
    clock: Clock,
}

impl Health {
    /// Name of the check.
    pub const NAME: &'static str = "leaderElection";

    pub(crate) fn new(lease: &str, pulse: Pulse, fence: Fence, clock: Clock) -> Self {
        Self { lease: lease.into(), pulse, fence, clock }
    }

    /// Whether all is well, else why not.
    pub fn check(&self) -> Result<(), String> {
        if self.fence.check().is_ok() {
            return Ok(());
        }
        let beat = self.pulse.get();
        let silent = self.clock.now().saturating_duration_since(beat.at);
        if beat.ended {
            Err(format!("the campaign for lease {} has ended", self.lease))
        } else if silent < SILENCE {
            Ok(())
        } else if beat.leading {
            Err(format!("failed election to renew leadership on lease {}", self.lease))
        } else {
            Err(format!("the campaign for lease {} has been stuck for {} s", self.lease, silent.as_secs()))
        }
    }
}
