//! Waiting for what must be seen.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::recorded::Broken;

/// Looks again and again until `look` gives something, but not longer than `limit`. What it said last stands in the error.
///
/// # Errors
/// When the time is up.
pub async fn eventually<T>(limit: Duration, what: &str, mut look: impl AsyncFnMut() -> Result<T, Broken>) -> Result<T, Broken> {
    let start = Instant::now();
    loop {
        match look().await {
            Ok(seen) => return Ok(seen),
            Err(error) if start.elapsed() >= limit => {
                return Err(Broken(format!("{what}: not within {} s: {error}", limit.as_secs())));
            }
            Err(_) => sleep(Duration::from_millis(150)).await,
        }
    }
}

/// `Ok` when it holds, else what is wrong.
///
/// # Errors
/// When it does not hold.
pub fn ensure(holds: bool, wrong: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken(wrong())) }
}
