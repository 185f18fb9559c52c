use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::Arc,
};

use evenkeel_client::{Clients, Clock, ConnectError, ConnectOptions, connect};
use evenkeel_watch::Chance;

/// What a manager is given instead of taking it from the machine.
#[derive(Clone)]
pub struct World {
    /// Transport to the API server for what the loops ask and write.
    pub client: kube::Client,
    /// Transport for lists and watches.
    pub watch_client: kube::Client,
    /// Transport for the Lease. Over a network it shares no connection with the others: what the loops do to theirs must not cost the
    /// leadership (reliability row 78).
    pub lease_client: kube::Client,
    /// Its `host:port`, for metrics.
    pub host: String,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub chance: Chance,
}

impl World {
    /// The world outside: a server named by `options`, and the machine's randomness.
    ///
    /// # Errors
    /// When there is no usable configuration; the message names the kubeconfig. Nothing is sent yet.
    pub async fn connect(options: &ConnectOptions, clock: Arc<dyn Clock>) -> Result<Self, ConnectError> {
        let Clients { requests: client, watches: watch_client, lease: lease_client, host } = connect(options).await?;
        // Every RandomState is keyed anew by the system: all that jitter and identities need.
        let chance: Chance = Arc::new(|| RandomState::new().build_hasher().finish());
        Ok(Self { client, watch_client, lease_client, host, clock, chance })
    }
}
