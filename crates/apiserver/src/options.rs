//! What a server is given: time, chance, and the few settings that shape answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::registry::Resource;

/// Wall clock. Timeouts of watches use tokio's clock instead, so that a paused test clock rules them.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> jiff::Timestamp;
}

/// Chance: uids, generated names, allocated addresses.
pub trait Chance: Send + Sync {
    /// The next 64 random bits.
    fn next_u64(&self) -> u64;
}

/// The machine's own clock, for servers that run for real.
#[derive(Debug, Default, Clone, Copy)]
pub struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }
}

/// Splitmix64 from a seed: the same seed gives the same uids and names.
#[derive(Debug)]
pub struct SeededChance(AtomicU64);

impl SeededChance {
    /// Chance that starts at `seed`.
    pub fn new(seed: u64) -> Self {
        SeededChance(AtomicU64::new(seed))
    }
}

impl Chance for SeededChance {
    fn next_u64(&self) -> u64 {
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// One committed write, as the observer sees it.
pub struct Commit<'a> {
    /// The revision that the write got; strictly growing.
    pub rv: u64,
    /// The resource in its storage version.
    pub resource: &'a Resource,
    /// Namespace; empty for cluster-scoped objects.
    pub namespace: &'a str,
    /// Name.
    pub name: &'a str,
    /// Encoded object before the write; `None`: created.
    pub old: Option<&'a [u8]>,
    /// Encoded object after the write; `None`: deleted.
    pub new: Option<&'a [u8]>,
}

/// Called for each committed write, in order, while the store is locked: it must not call the server.
pub type Observer = Box<dyn FnMut(&Commit<'_>) + Send>;

/// Settings of a server.
#[derive(Clone)]
pub struct Options {
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub chance: Arc<dyn Chance>,
    /// How often whoever runs the server should call [`crate::Server::compact`]; `None`: never.
    pub compaction_interval: Option<Duration>,
    /// IPv4 range of Service addresses: network and prefix length.
    pub service_cidr: (std::net::Ipv4Addr, u8),
    /// How often an idle watch that allows bookmarks gets one.
    pub bookmark_interval: Duration,
    /// Keep fields that the schema does not know (a real server drops them): for tests that send fields from the future.
    pub keep_unknown_fields: bool,
    /// Most events kept for watches per resource; older ones are forgotten and watches from them answered with 410.
    pub history_limit: usize,
    /// Most bytes that versions which are no longer current may take, per resource.
    pub history_bytes: usize,
    /// Whether requests of users outside `system:masters` are checked against RBAC.
    pub authorize: bool,
    /// Address that the `kubernetes` Service's endpoints name, when somebody serves one.
    pub advertise: Option<(std::net::Ipv4Addr, u16)>,
}

impl Options {
    /// Options for a deterministic server: chance from `seed`, the given clock.
    pub fn seeded(clock: Arc<dyn Clock>, seed: u64) -> Self {
        Options {
            clock,
            chance: Arc::new(SeededChance::new(seed)),
            compaction_interval: Some(Duration::from_secs(300)),
            service_cidr: (std::net::Ipv4Addr::new(10, 96, 0, 0), 16),
            bookmark_interval: Duration::from_secs(60),
            keep_unknown_fields: false,
            history_limit: 200_000,
            history_bytes: 256 << 20,
            authorize: true,
            advertise: None,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::seeded(Arc::new(WallClock), 1)
    }
}
