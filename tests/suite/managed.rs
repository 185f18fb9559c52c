//! A whole manager in this process and in virtual time, behind a tap.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use evenkeel_manager::{Options, RunError, World, run};
use evenkeel_tests::recorded::virtual_time::{TokioClock, zero};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::{
    process::{free_port, page},
    tap::Tap,
};

pub const SEC: Duration = Duration::from_secs(1);

/// A manager that runs.
pub struct Manager {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), RunError>>,
    port: u16,
}

/// A server behind a tap, and its clock.
pub fn tap() -> (Tap, TokioClock) {
    let clock = TokioClock::starting_at(zero());
    (Tap::new(Arc::new(clock)), clock)
}

/// Starts a manager with all loops, which campaigns under this identity.
pub fn manage(tap: &Tap, clock: TokioClock, identity: &str) -> Manager {
    manage_with(tap, clock, identity, Options::default())
}

/// [`manage`] with other flags.
pub fn manage_with(tap: &Tap, clock: TokioClock, identity: &str, options: Options) -> Manager {
    let port = free_port();
    let draws = AtomicU64::new(u64::from(port));
    let client = tap.client();
    let world = World {
        watch_client: client.clone(),
        lease_client: client.clone(),
        client,
        host: "in-process".to_owned(),
        clock: Arc::new(clock),
        chance: Arc::new(move || draws.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)),
    };
    let options = Options { secure_port: Some(port), identity: Some(identity.to_owned()), ..options };
    let (stop, stopped) = watch::channel(false);
    Manager { stop, task: tokio::spawn(run(options, world, stopped)), port }
}

impl Manager {
    /// Stops it; how it ended, and after how long.
    pub async fn end(self) -> (Result<(), RunError>, Duration) {
        let start = Instant::now();
        self.stop.send_replace(true);
        (self.task.await.expect("no panic"), start.elapsed())
    }

    /// Ends it as a killed process ends: with whatever is under way, and without a word.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// Waits in virtual time.
pub async fn until(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    while !holds() && Instant::now() < end {
        sleep(SEC / 10).await;
    }
    holds()
}

/// A page, read in real time: a socket knows no virtual one.
pub async fn page_of(manager: &Manager, path: &str) -> (u16, String) {
    tokio::time::resume();
    let page = page(manager.port, path).await;
    tokio::time::pause();
    page
}
