use std::time::Duration;

use tokio::time::Instant;

/// A token bucket over all keys of a queue, for retries only (manager 12.5).
///
/// As in Go's `rate.Limiter`, a reservation always succeeds and may drive the bucket into debt: later retries wait longer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Tokens that come back per second; must be positive.
    pub per_second: f64,
    /// Most tokens it holds, and what it starts with.
    pub burst: u32,
}

impl Bucket {
    /// 10 retries a second after a burst of 100: what most queues have (manager 12.5).
    pub const DEFAULT: Self = Self { per_second: 10.0, burst: 100 };
}

/// The bucket's level at one instant.
#[derive(Debug)]
pub(crate) struct Level {
    bucket: Bucket,
    tokens: f64,
    at: Option<Instant>,
}

impl Level {
    pub(crate) fn full(bucket: Bucket) -> Self {
        Self { bucket, tokens: f64::from(bucket.burst), at: None }
    }

    /// Takes one token and says how long to wait for it.
    pub(crate) fn reserve(&mut self, now: Instant) -> Duration {
        if let Some(at) = self.at {
            let back = now.saturating_duration_since(at).as_secs_f64() * self.bucket.per_second;
            self.tokens = (self.tokens + back).min(f64::from(self.bucket.burst));
        }
        self.at = Some(now);
        self.tokens -= 1.0;
        // A bucket that never refills gives an infinite wait, which is no Duration: a day stands for it.
        const NEVER: Duration = Duration::from_secs(86_400);
        if self.tokens >= 0.0 {
            Duration::ZERO
        } else {
            Duration::try_from_secs_f64(-self.tokens / self.bucket.per_second).unwrap_or(NEVER)
        }
    }
}

/// `base` doubled `failures` times, at most `cap`.
pub(crate) fn doubled(base: Duration, failures: u32, cap: Duration) -> Duration {
    let base = u64::try_from(base.as_nanos()).unwrap_or(u64::MAX);
    let grown = if failures < 64 { u128::from(base) << failures } else { u128::MAX };
    match u64::try_from(grown) {
        Ok(nanos) if base > 0 => Duration::from_nanos(nanos).min(cap),
        _ if base == 0 => Duration::ZERO,
        _ => cap,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const CAP: Duration = Duration::from_secs(1000);

    /// manager 12.5, the default row.
    #[test]
    fn the_wait_doubles_from_five_milliseconds_to_a_thousand_seconds() {
        let waits: Vec<_> = (0..4).map(|n| doubled(5 * MS, n, CAP)).collect();
        assert_eq!(waits, [5 * MS, 10 * MS, 20 * MS, 40 * MS]);
        assert_eq!(doubled(5 * MS, 17, CAP), Duration::from_millis(5 << 17));
        for n in [18, 63, 64, u32::MAX] {
            assert_eq!(doubled(5 * MS, n, CAP), CAP, "{n}");
        }
    }

    #[test]
    fn odd_settings_neither_panic_nor_overflow() {
        assert_eq!(doubled(Duration::ZERO, 70, CAP), Duration::ZERO);
        assert_eq!(doubled(Duration::MAX, 3, CAP), CAP);
        let mut level = Level::full(Bucket { per_second: 0.0, burst: 0 });
        assert_eq!(level.reserve(Instant::now()), Duration::from_secs(86_400));
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_retries_are_free_and_ten_a_second_follow() {
        let mut level = Level::full(Bucket::DEFAULT);
        let now = Instant::now();
        assert!((0..100).all(|_| level.reserve(now) == Duration::ZERO));
        assert_eq!(level.reserve(now), 100 * MS);
        assert_eq!(level.reserve(now), 200 * MS);
        let later = now + Duration::from_secs(1);
        assert_eq!(level.reserve(later), Duration::ZERO, "eight tokens came back beyond the debt of two");
    }
}
