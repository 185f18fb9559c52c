use std::time::Duration;

use evenkeel_api::Kind;
use evenkeel_cache::Cache;

use crate::Stop;

const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Waits until the first complete list of every kind is in; `false` when `stop` came first.
///
/// The start barrier: no loop begins before the kinds that it reads are synced (manager 13.2 rule 4).
pub async fn wait_synced(cache: &Cache, kinds: &[Kind], stop: &Stop) -> bool {
    let mut stop = stop.clone();
    loop {
        let synced = {
            let stores = cache.read();
            kinds.iter().all(|kind| stores.any(kind).is_some_and(|store| store.synced()))
        };
        if synced {
            return true;
        }
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return false,
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    }
}
