use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::Arc,
};

use evenkeel_client::{Clock, ConnectError, ConnectOptions, client_for, load};
use evenkeel_watch::Chance;

/// What a manager is given instead of taking it from the machine.
#[derive(Clone)]
pub struct World {
    /// Transport to the API server.
    pub client: kube::Client,
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
    /// When there is no usable configuration. Nothing is sent yet.
    pub async fn connect(options: &ConnectOptions, clock: Arc<dyn Clock>) -> Result<Self, ConnectError> {
        let config = load(options).await?;
        let host = config.cluster_url.authority().map(ToString::to_string).unwrap_or_default();
        let client = client_for(config)?;
        // Every RandomState is keyed anew by the system: all that jitter and identities need.
        let chance: Chance = Arc::new(|| RandomState::new().build_hasher().finish());
        Ok(Self { client, host, clock, chance })
    }
}
