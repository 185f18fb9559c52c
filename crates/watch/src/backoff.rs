use std::time::Duration;

use tokio::time::Instant;

/// Pauses between failures: 800 ms doubling, up to as much again by chance, never above 30 s, from the start after 2 min without failure
/// (manager 13.2 rule 3).
///
/// The doubling stops at 15 s, so that the longest pauses still differ by chance and many managers do not come back together.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
    last: Option<Instant>,
}

const FIRST: Duration = Duration::from_millis(800);
const LONGEST_BASE: Duration = Duration::from_secs(15);
const HEALTHY: Duration = Duration::from_secs(120);

impl Backoff {
    /// The next pause; `chance` is 64 random bits.
    pub fn next(&mut self, chance: u64) -> Duration {
        let now = Instant::now();
        if self.last.is_some_and(|last| now.duration_since(last) >= HEALTHY) {
            self.failures = 0;
        }
        let base = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST_BASE);
        self.failures = self.failures.saturating_add(1);
        let pause = base + base.mul_f64((chance >> 11) as f64 / (1_u64 << 53) as f64);
        self.last = Some(now + pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// manager 13.2 rule 3
    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_thirty_seconds_and_start_over_when_well() {
        let mut calm = Backoff::default();
        let pauses: Vec<u128> = (0..7).map(|_| calm.next(0).as_millis()).collect();
        assert_eq!(pauses, [800, 1_600, 3_200, 6_400, 12_800, 15_000, 15_000]);
        assert!(calm.next(u64::MAX) <= Duration::from_secs(30));
        tokio::time::advance(Duration::from_secs(30 + 119)).await;
        assert!(calm.next(0) >= LONGEST_BASE);
        tokio::time::advance(Duration::from_secs(15 + 120)).await;
        assert_eq!(calm.next(0), FIRST);
    }
}
