use std::time::Duration;

use tokio::time::Instant;

/// The local monotonic clock. Every process has its own; a simulation can make it run fast or slow (reliability F13).
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
    rate: f64,
}

impl Clock {
    /// The clock of this process.
    pub fn steady() -> Self {
        Self::at_rate(1.0)
    }

    /// A clock that passes `rate` seconds in each second, from now on. For simulations.
    ///
    /// # Panics
    /// If the rate is not a positive number.
    pub fn at_rate(rate: f64) -> Self {
        assert!(rate.is_finite() && rate > 0.0, "a clock runs forward");
        Self { origin: Instant::now(), rate }
    }

    /// What this clock shows.
    pub fn now(&self) -> Instant {
        let now = Instant::now();
        if self.rate == 1.0 { now } else { self.origin + now.saturating_duration_since(self.origin).mul_f64(self.rate) }
    }

    /// The executor's time at which this clock shows `local`.
    pub fn executor_time(&self, local: Instant) -> Instant {
        if self.rate == 1.0 { local } else { self.origin + local.saturating_duration_since(self.origin).div_f64(self.rate) }
    }

    /// Waits until this clock shows `local`.
    pub async fn sleep_until(&self, local: Instant) {
        tokio::time::sleep_until(self.executor_time(local)).await;
        // Fractions of a nanosecond are lost on the way there and back.
        while self.now() < local {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
