//! One seed's world: server, two managers, nodes, people and weather, in one thread and in virtual time.

use std::{sync::Arc, time::Duration};

use evenkeel_apiserver::{Options as ServerOptions, Server};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use crate::{
    Bug, Fault, Report,
    chance::Dice,
    history::{Shared, lock, uid},
    invariants,
    network::{Network, WORKLOADS},
    nodes::{PodNews, run_nodes},
    process::{Clocks, Supervised, VirtualClock, supervise},
    users::{ACTING, Users},
};

/// Managers that campaign for the Lease.
const MANAGERS: usize = 2;

/// After faults stop, everything must have converged within this time (LV-1): a lease to expire, a back-off of up to 30 s for watches, and a
/// rollout with its deadline.
const CONVERGE: Duration = Duration::from_secs(180);

/// And must then stay as it is for this long.
const STAY: Duration = Duration::from_secs(20);

/// Longest that a wall clock is ahead of the server's, or behind it (F13).
const APART: i64 = 150;

/// Runs one seed.
pub fn run(seed: u64, bug: Option<Bug>) -> (Report, Shared) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime without IO needs nothing");
    runtime.block_on(live(seed, bug))
}

async fn live(seed: u64, bug: Option<Bug>) -> (Report, Shared) {
    let clock = VirtualClock { start: Instant::now(), ahead: 0 };
    let server = Server::new(ServerOptions { compaction_interval: None, ..ServerOptions::seeded(Arc::new(clock), seed) });
    let history = Shared::default();
    let (tell, news) = mpsc::unbounded_channel();
    observe(&server, &history, clock, tell);
    let network = Network::new(server, history.clone(), seed, bug, &WORKLOADS);
    let clocks = clocks(seed, bug);
    lock(&history).ahead = clocks.iter().map(|c| c.ahead * 1000).collect();
    lock(&history).broken = bug.is_some();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(network.clone().pump());
    tasks.spawn(run_nodes(network.clone(), news, seed, ACTING));
    for (manager, own) in clocks.into_iter().enumerate() {
        tasks.spawn(supervise(Supervised { network: network.clone(), clock, clocks: own, seed, manager, loops: LOOPS, bug }));
    }
    let end = Instant::now() + ACTING;
    let mut users = Users::new(network.clone(), seed);
    users.begin();
    tasks.spawn(weather(network.clone(), seed, end));
    users.act_until(end).await;
    network.calm();
    users.settle();
    // What was late stays late: the last of it ends the faults.
    tokio::time::sleep_until(network.quiet_at()).await;

    let mut left = Vec::new();
    let mut restarts = Dice::new(seed, 5);
    let mut restart_at = restarts.percent(50).then(|| Instant::now() + Duration::from_secs(45) + restarts.ms(0..15_000));
    // A deadline is judged by the clock of whoever leads.
    let limit = Instant::now() + CONVERGE + Duration::from_secs(2 * APART as u64);
    while Instant::now() < limit {
        sleep(Duration::from_secs(1)).await;
        if restart_at.take_if(|at| *at <= Instant::now()).is_some() {
            // In peace, too: whatever was to be told at some time is told by the next leader (DP-6).
            for link in (0..MANAGERS).filter_map(|m| network.link(m)) {
                link.stop.send_replace(true);
            }
        }
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
    faults.insert(Fault::ClocksApart, u64::from(clocks[0].ahead.abs_diff(clocks[1].ahead) >= 60));
    faults.insert(Fault::ClockRate, u64::from(clocks.iter().any(|c| c.rate != 1.0)));
    let report = Report { history_hash: history_now.hash(), writes: history_now.writes.len(), faults, violations };
    drop(history_now);
    (report, history)
}

fn observe(server: &Arc<Server>, history: &Shared, clock: VirtualClock, tell: mpsc::UnboundedSender<PodNews>) {
    let history = history.clone();
    server.observe(Box::new(move |commit| {
        let mut history = lock(&history);
        history.commit(clock.start.elapsed().as_millis() as u64, commit);
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

/// The loops of these worlds. Their nodes are no objects, so the pod garbage collector would find every pod orphaned.
const LOOPS: &str = "deployment,replicaset,replicationcontroller";

/// How the managers' clocks go in this seed.
fn clocks(seed: u64, bug: Option<Bug>) -> [Clocks; MANAGERS] {
    let mut dice = Dice::new(seed, 6);
    let apart = dice.percent(25);
    let rates = dice.percent(30);
    std::array::from_fn(|_| {
        let ahead = if apart { dice.pick(0..2 * APART as u64) as i64 - APART } else { 0 };
        // Within the tenth that LE-1 has room for, or twice as fast.
        let rate = match dice.pick(0..4) {
            0 => 2.0,
            _ => 0.92 + dice.pick(0..16) as f64 / 100.0,
        };
        Clocks { ahead, rate: bug.and_then(Bug::clock_rate).unwrap_or(if rates { rate } else { 1.0 }) }
    })
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
        let kind = WORKLOADS.kinds[dice.pick(0..WORKLOADS.kinds.len() as u64) as usize];
        match dice.pick(0..14) {
            10 => {
                network.lag(manager, dice.ms(3000..20_000), dice.ms(500..10_000));
                network.cut(|m, _| m == manager);
            }
            11 => network.black_hole(manager, dice.ms(2000..30_000)),
            12 | 13 => (0..MANAGERS).filter_map(|m| network.link(m)).for_each(|l| l.pause_at(dice.pick(1..6), dice.ms(16_000..25_000))),
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
