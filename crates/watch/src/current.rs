use std::time::Duration;

use evenkeel_api::{Kind, Version};
use evenkeel_cache::Cache;
use tokio::time::Instant;
use tracing::warn;

use crate::{Driver, Stop, bounds};

const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Events that are on their way arrive within this time; after it the watch is asked how far it is.
const ON_ITS_WAY: Duration = Duration::from_millis(100);
/// How long a watch may take to say how far it is before the kind is listed again.
const CATCH_UP: Duration = Duration::from_secs(5);
/// Pause after a server that would not say how far it is.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Waits until the store of a driver's kind shows everything that was written before the call; `false` when `stop` came first.
///
/// What a new leader has to know before it decides anything: a standby's cache is kept warm by watches, and a watch can be late by any time
/// without saying so. On such a cache a leader would make again what the one before it made last (RS-1, DP-4 of the reliability page). The
/// version to reach is that of a consistent list of one object. A store that does not reach it by itself is read again when it is small, and
/// asked for a bookmark when it is not.
pub async fn wait_current(cache: &Cache, driver: &dyn Driver, stop: &Stop) -> bool {
    let mut stop = stop.clone();
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => false,
        () = current(cache, driver) => true,
    }
}

async fn current(cache: &Cache, driver: &dyn Driver) {
    let kind = driver.kind();
    let newest = loop {
        match driver.newest().await {
            Ok(version) => break version,
            Err(error) => {
                warn!(%kind, %error, "the server does not say how far it is; asking again");
                tokio::time::sleep(ASK_AGAIN).await;
            }
        }
    };
    let mut small = cache.read().any(kind).is_none_or(|store| store.count() <= bounds::PAGE);
    let mut patience = if small { Duration::ZERO } else { ON_ITS_WAY };
    while !reached(cache, kind, newest, patience).await {
        if small {
            driver.refill()
        } else {
            driver.catch_up()
        }
        // What did not help once is not tried again: a list always does, once the server answers.
        small = true;
        patience = CATCH_UP;
    }
}

/// Whether the store gets there within the time.
async fn reached(cache: &Cache, kind: Kind, version: Version, patience: Duration) -> bool {
    let since = Instant::now();
    loop {
        if cache.read().any(kind).is_some_and(|store| store.synced() && store.version() >= version) {
            return true;
        }
        if since.elapsed() >= patience {
            return false;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
