//! One manager's processes: each is started anew when it has died or ended. And the clocks that they go by.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use evenkeel_manager::{Options, World, controllers::Selection, run_around};
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep};

use crate::{Bug, bugs::Memory, chance::Dice, history::lock, network::Network, passes::Witness};

/// Wall time of the simulation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VirtualClock {
    pub(crate) start: Instant,
    /// Seconds by which it is ahead of the server's clock.
    pub(crate) ahead: i64,
}

/// How one manager's clocks go, all its life.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Clocks {
    /// Seconds of the wall clock ahead of the server's.
    pub(crate) ahead: i64,
    /// Seconds of the monotonic clock per second.
    pub(crate) rate: f64,
}

impl Clocks {
    /// As they should go.
    pub(crate) const RIGHT: Self = Self { ahead: 0, rate: 1.0 };
}

impl VirtualClock {
    fn time(&self) -> Timestamp {
        at(self.start.elapsed()) + SignedDuration::from_secs(self.ahead)
    }
}

/// Wall time so long after the beginning.
pub(crate) fn at(elapsed: Duration) -> Timestamp {
    let start = Timestamp::from_second(1_800_000_000).expect("a date in 2027");
    start + SignedDuration::try_from(elapsed).unwrap_or_default()
}

impl evenkeel_apiserver::Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.time()
    }
}

impl evenkeel_client::Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.time()
    }
}

/// One manager.
pub(crate) struct Supervised {
    pub(crate) network: Arc<Network>,
    /// The server's clock.
    pub(crate) clock: VirtualClock,
    pub(crate) clocks: Clocks,
    pub(crate) seed: u64,
    /// Its number.
    pub(crate) manager: usize,
    /// Its loops, as `--controllers` takes them.
    pub(crate) loops: &'static str,
    pub(crate) bug: Option<Bug>,
}

/// Starts a manager, and starts it again whenever it has died or ended.
pub(crate) async fn supervise(it: Supervised) {
    let Supervised { network, clock, clocks, seed, manager, loops, bug } = it;
    let mut dice = Dice::new(seed, 10 + manager as u64);
    loop {
        let (link, client) = network.connect(manager);
        let chance = Mutex::new(Dice::new(seed, 100 + link.id as u64));
        let clock = Arc::new(VirtualClock { ahead: clocks.ahead, ..clock });
        let memory = Arc::<Memory>::default();
        let around = Witness { history: network.history.clone(), network: network.clone(), link: link.id, rate: clocks.rate, bug, memory };
        let (watch_client, lease_client) = (client.clone(), client.clone());
        let world = World { client, watch_client, lease_client, host: "sim".into(), clock, chance: Arc::new(move || lock(&chance).next()) };
        let controllers = Selection::parse(loops).expect("names of controllers");
        let options = Options { identity: Some(format!("m{}-{}", manager, link.id)), secure_port: None, controllers, ..Options::default() };
        let mut process = tokio::task::JoinSet::new();
        process.spawn(run_around(options, world, link.stop.subscribe(), around));
        tokio::select! {
            biased;
            () = link.died.notified() => {}
            _ = process.join_next() => {}
        }
        process.shutdown().await;
        // What it had spawned does not outlive it.
        link.die();
        network.cut_off(manager);
        sleep(dice.ms(200..4000)).await;
    }
}
