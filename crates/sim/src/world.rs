//! One seed's world: server, two managers, nodes, people and weather, in one thread and in virtual time.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use evenkeel_apiserver::{Options as ServerOptions, Server};
use evenkeel_manager::{Options, World};
use jiff::{SignedDuration, Timestamp};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use crate::{
    Fault, Report,
    chance::Dice,
    history::{Shared, lock, uid},
    invariants,
    network::{KINDS, Network},
    nodes::{PodNews, run_nodes},
    users::{ACTING, Users},
};

/// Managers that campaign for the Lease.
const MANAGERS: usize = 2;

/// After faults stop, everything must have converged within this time (LV-1): a lease to expire, a back-off of up to 30 s for watches, and a
/// rollout with its deadline.
const CONVERGE: Duration = Duration::from_secs(180);

/// And must then stay as it is for this long.
const STAY: Duration = Duration::from_secs(20);

/// Wall time of the simulation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VirtualClock(Instant);

impl VirtualClock {
    fn time(&self) -> Timestamp {
        let start = Timestamp::from_second(1_800_000_000).expect("a date in 2027");
        start + SignedDuration::try_from(self.0.elapsed()).unwrap_or_default()
    }
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

/// Runs one seed.
pub fn run(seed: u64) -> (Report, Shared) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime without IO needs nothing");
    runtime.block_on(live(seed))
}

async fn live(seed: u64) -> (Report, Shared) {
    let clock = VirtualClock(Instant::now());
    let server = Server::new(ServerOptions { compaction_interval: None, ..ServerOptions::seeded(Arc::new(clock), seed) });
    let history = Shared::default();
    let (tell, news) = mpsc::unbounded_channel();
    observe(&server, &history, clock, tell);
    let network = Network::new(server, history.clone(), seed);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(network.clone().pump());
    tasks.spawn(run_nodes(network.clone(), news, seed, ACTING));
    for manager in 0..MANAGERS {
        tasks.spawn(supervise(network.clone(), clock, seed, manager));
    }
    let end = Instant::now() + ACTING;
    let mut users = Users::new(network.clone(), seed);
    users.begin();
    tasks.spawn(weather(network.clone(), seed, end));
    users.act_until(end).await;
    network.calm();
    users.settle();

    let mut left = Vec::new();
    let limit = Instant::now() + CONVERGE;
    while Instant::now() < limit {
        sleep(Duration::from_secs(1)).await;
        left = invariants::not_converged(&network.all("apps/deployments"), &network.all("apps/replicasets"), &network.all("/pods"));
        if left.is_empty() {
            break;
        }
    }
    // What was decided before convergence may still be on its way.
    sleep(Duration::from_secs(2)).await;
    let settled = lock(&history).writes.len();
    sleep(STAY).await;
    tasks.shutdown().await;

    let history_now = lock(&history);
    let mut violations: Vec<String> =
        left.into_iter().map(|what| format!("LV-1: not converged {} s after the last fault: {what}", CONVERGE.as_secs())).collect();
    if violations.is_empty() {
        let late = history_now.writes[settled..].iter().filter(|w| w.kind != "leases" && w.actor.manager().is_some());
        violations.extend(late.map(|w| format!("LV-1: a write after convergence: {} {} at {} ms", w.kind, w.key, w.at)));
    }
    violations.extend(invariants::check(&history_now));
    let mut faults = network.faults();
    faults.insert(Fault::LeaderMoved, invariants::leader_moves(&history_now));
    let report = Report { history_hash: history_now.hash(), writes: history_now.writes.len(), faults, violations };
    drop(history_now);
    (report, history)
}

fn observe(server: &Arc<Server>, history: &Shared, clock: VirtualClock, tell: mpsc::UnboundedSender<PodNews>) {
    let history = history.clone();
    server.observe(Box::new(move |commit| {
        let mut history = lock(&history);
        history.commit(clock.0.elapsed().as_millis() as u64, commit);
        if commit.resource.plural != "pods" {
            return;
        }
        let Some(written) = history.writes.last() else { return };
        let Some(new) = &written.new else { return };
        let ends = |pod: &serde_json::Value| !pod["metadata"]["deletionTimestamp"].is_null();
        let ending = ends(new) && written.old.as_ref().is_none_or(|old| !ends(old));
        if ending || written.old.is_none() {
            let broken = new["spec"]["containers"][0]["image"].as_str().is_some_and(|i| i.contains("bad"));
            // The nodes end only with the world.
            let _ = tell.send(PodNews { key: written.key.clone(), uid: uid(new).to_owned(), ends: ending, broken });
        }
    }));
}

/// Starts a manager, and starts it again whenever it has died or ended.
async fn supervise(network: Arc<Network>, clock: VirtualClock, seed: u64, manager: usize) {
    let mut dice = Dice::new(seed, 10 + manager as u64);
    loop {
        let (link, client) = network.connect(manager);
        let chance = Mutex::new(Dice::new(seed, 100 + link.id as u64));
        let world = World {
            lease_client: client.clone(),
            client,
            host: "sim".into(),
            clock: Arc::new(clock),
            chance: Arc::new(move || lock(&chance).next()),
        };
        let options = Options { identity: Some(format!("m{}-{}", manager, link.id)), secure_port: None, ..Options::default() };
        let mut process = tokio::task::JoinSet::new();
        process.spawn(evenkeel_manager::run(options, world, link.stop.subscribe()));
        tokio::select! {
            biased;
            () = link.died.notified() => {}
            _ = process.join_next() => {}
        }
        process.shutdown().await;
        network.cut_off(manager);
        sleep(dice.ms(200..4000)).await;
    }
}

/// One calamity after another.
async fn weather(network: Arc<Network>, seed: u64, end: Instant) {
    let mut dice = Dice::new(seed, 4);
    while Instant::now() < end {
        sleep(dice.ms(500..6000)).await;
        if Instant::now() >= end {
            return;
        }
        let manager = dice.pick(0..MANAGERS as u64) as usize;
        let kind = KINDS[dice.pick(0..KINDS.len() as u64) as usize];
        match dice.pick(0..10) {
            0 => network.cut(|m, k| m == manager && (k == kind || k == "pods")),
            1 | 2 => (0..MANAGERS).for_each(|m| network.freeze(m, kind, dice.ms(500..12_000))),
            3 => {
                network.cut(|m, _| m == manager);
                network.compact();
            }
            4..=6 => {
                let how = [Fault::CrashBefore, Fault::CrashAfterCommit, Fault::CrashAfterAnswer][dice.pick(0..3) as usize];
                (0..MANAGERS).filter_map(|m| network.link(m)).for_each(|l| l.crash_at(dice.pick(1..9), how));
            }
            7 => network.darken_lease(manager, dice.ms(4000..25_000)),
            8 => match dice.percent(50) {
                true => network.deny(dice.ms(2000..8000)),
                false => {
                    if let Some(link) = network.link(manager) {
                        network.struck(Fault::Terminated);
                        link.stop.send_replace(true);
                    }
                }
            },
            _ => network.storm(dice.ms(1500..6000)),
        }
    }
}
