//! Worlds of owners and dependents: the garbage collector in a whole manager, before a small server that people, and the weather, are hard on.
//!
//! What must hold is in `invariants/collection.rs`. The server serves few kinds (`graph.rs`), so that a start costs little and very many worlds
//! can be lived through; among them one whose definition comes and goes, and in every fourth world one that cannot be listed from some time on,
//! until all that does not need it has been done.

pub(crate) mod bugs;
mod graph;
mod restore;
mod users;

use std::{sync::Arc, time::Duration};

use evenkeel_apiserver::{SeededChance, Server};
use tokio::time::{Instant, sleep};

use self::{
    graph::SORTS,
    users::{ACTING, Users},
};
use crate::{
    Bug, Fault, Report,
    chance::Dice,
    history::{Served, Shared, lock},
    invariants::collection::{Graph, check, left_over, may_come_late},
    network::{Network, Scope},
    process::{Clocks, Supervised, VirtualClock, supervise},
};

/// T of GC-2: after the last fault all that is to go must be gone within this time. A process that has just died is followed by another after
/// 4 s, that one leads once the Lease has run out after 15 s, and lists with pauses of up to 30 s; what it cannot decide it tries again after
/// pauses that double, so that the last is no longer than all before it together, and those are no longer than the faults were.
const COLLECT: Duration = Duration::from_secs(180);

/// T' of GC-5: the same while one kind cannot be listed. Nothing waits for it longer than 30 s (garbage-collection A3).
const COLLECT_WITHOUT: Duration = Duration::from_secs(120);

/// Each of so many worlds has its server restored from a backup (reliability F8).
const RESTORED: u64 = 8;

/// How long they go on, so that the restore is noticed by every kind. Older lists are refused for a minute, and a watch may be silent for as long
/// before that; where the restored server's versions have overtaken what a store had seen, only the audit tells, after thirteen minutes at most.
const NOTICED: Duration = Duration::from_secs(1_000);

/// How long it takes to judge all there is.
const JUDGED: Duration = Duration::from_secs(10);

/// And must then stay as it is for this long.
const STAY: Duration = Duration::from_secs(5);

/// What the server of these worlds serves, besides custom resources. Namespaces come last: they are part of others' paths.
static SCOPE: Scope = Scope {
    kinds: &[
        "configmaps",
        "secrets",
        "replicationcontrollers",
        "pods",
        "storageclasses",
        "widgets",
        "realms",
        "gadgets",
        "customresourcedefinitions",
        "namespaces",
    ],
    served: &[
        ("", "configmaps"),
        ("", "secrets"),
        ("", "replicationcontrollers"),
        ("", "pods"),
        ("", "namespaces"),
        ("storage.k8s.io", "storageclasses"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
    ],
};

const LOOPS: &str = "garbage-collector-controller";

/// Runs one seed.
pub fn run(seed: u64, bug: Option<Bug>) -> (Report, Shared) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime without IO needs nothing");
    runtime.block_on(live(seed, bug))
}

async fn live(seed: u64, bug: Option<Bug>) -> (Report, Shared) {
    let clock = VirtualClock { start: Instant::now(), ahead: 0 };
    let server = Server::new(restore::options(Arc::new(clock), Arc::new(SeededChance::new(seed))));
    let history = Shared::default();
    lock(&history).served = served(&server);
    lock(&history).broken = bug.is_some();
    observe(&server, &history, clock);
    let network = Network::new(server, history.clone(), seed, bug, &SCOPE);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(network.clone().pump());
    let mut dice = Dice::new(seed, 7);
    let restored = seed.is_multiple_of(RESTORED);
    if restored {
        network.back_up();
    }
    let broken = (!restored && dice.percent(25)).then(|| SORTS[dice.pick(0..SORTS.len() as u64) as usize].plural);
    let mut users = Users::new(network.clone(), seed);
    users.begin();
    tasks.spawn(supervise(Supervised { network: network.clone(), clock, clocks: Clocks::RIGHT, seed, manager: 0, loops: LOOPS, bug }));
    let end = Instant::now() + ACTING;
    tasks.spawn(weather(network.clone(), seed, end));
    users.act_until(end).await;
    lock(&network.weather).unlistable = broken;
    if let Some(link) = network.link(0).filter(|_| broken.is_some()) {
        // The next process has never seen the kind.
        link.die();
    }
    network.calm();
    if restored {
        let until = clock.start.elapsed().saturating_sub(dice.ms(15_000..30_000));
        restore::restore(&network, seed, clock, until, |server| observe(server, &history, clock));
    }
    users.settle();
    // What was late stays late: the last of it ends the faults.
    tokio::time::sleep_until(network.quiet_at()).await;

    let mut violations = Vec::new();
    if broken.is_some() {
        violations.extend(rest(&history, COLLECT_WITHOUT, broken).await);
        lock(&network.weather).unlistable = None;
    }
    let left = if restored {
        sleep(NOTICED).await;
        users.put_in_doubt();
        sleep(JUDGED).await;
        rest(&history, COLLECT, None).await
    } else {
        rest(&history, COLLECT, None).await
    };
    // What was decided before the end may still be on its way.
    sleep(Duration::from_secs(2)).await;
    let settled = lock(&history).writes.len();
    sleep(STAY).await;
    tasks.shutdown().await;

    let history_now = lock(&history);
    if left.is_empty() {
        let mut graph = Graph::new(&history_now);
        graph.follow(&history_now);
        let late = history_now.writes[settled..].iter().filter(|w| w.kind != "leases" && w.actor.manager().is_some());
        let late = late.filter(|w| !may_come_late(&graph, w));
        violations.extend(late.map(|w| format!("GC-2: a write after all was done: {} {} at {} ms", w.kind, w.key, w.at)));
    }
    violations.extend(left);
    violations.extend(check(&history_now));
    let report = Report { history_hash: history_now.hash(), writes: history_now.writes.len(), faults: network.faults(), violations };
    drop(history_now);
    (report, history)
}

/// Waits until nothing is left to collect; what still is after so long.
async fn rest(history: &Shared, time: Duration, unlistable: Option<&str>) -> Vec<String> {
    let limit = Instant::now() + time;
    let mut graph = Graph::new(&lock(history));
    loop {
        sleep(Duration::from_secs(1)).await;
        graph.follow(&lock(history));
        let left = left_over(&graph, unlistable);
        if left.is_empty() || Instant::now() >= limit {
            return left.into_iter().map(|what| format!("{what} {} s after the last fault", time.as_secs())).collect();
        }
    }
}

fn served(server: &Arc<Server>) -> Vec<Served> {
    let mut all: Vec<Served> = Vec::new();
    for r in server.registry().served().iter().filter(|r| SCOPE.served.contains(&(&r.group, &r.plural))) {
        match all.iter_mut().find(|s| s.group == r.group && s.plural == r.plural) {
            Some(known) => known.versions.push(r.version.clone()),
            None => all.push(Served {
                group: r.group.clone(),
                kind: r.kind.clone(),
                plural: r.plural.clone(),
                namespaced: r.namespaced,
                versions: vec![r.version.clone()],
            }),
        }
    }
    all
}

fn observe(server: &Arc<Server>, history: &Shared, clock: VirtualClock) {
    let history = history.clone();
    server.observe(Box::new(move |commit| lock(&history).commit(clock.start.elapsed().as_millis() as u64, commit)));
}

/// One calamity after another.
async fn weather(network: Arc<Network>, seed: u64, end: Instant) {
    let mut dice = Dice::new(seed, 4);
    while Instant::now() < end {
        sleep(dice.ms(300..5000)).await;
        if Instant::now() >= end {
            return;
        }
        let kind = SCOPE.kinds[dice.pick(0..SCOPE.kinds.len() as u64) as usize];
        match dice.pick(0..15) {
            0 => network.cut(|_, k| k == kind || k == "pods"),
            1..=3 => network.freeze(0, kind, dice.ms(500..12_000)),
            4 => {
                network.cut(|_, _| true);
                network.compact();
            }
            5..=7 => {
                let how = [Fault::CrashBefore, Fault::CrashAfterCommit, Fault::CrashAfterAnswer][dice.pick(0..3) as usize];
                if let Some(link) = network.link(0) {
                    link.crash_at(dice.pick(1..9), how);
                }
            }
            8 => {
                if let Some(link) = network.link(0) {
                    network.struck(Fault::Terminated);
                    link.stop.send_replace(true);
                }
            }
            9 => {
                network.lag(0, dice.ms(3000..20_000), dice.ms(500..10_000));
                network.cut(|_, _| true);
            }
            10 => network.black_hole(0, dice.ms(1000..8000)),
            11 | 12 => {
                lock(&network.weather).unlistable = Some(kind);
                network.cut(|_, k| k == kind);
                sleep(dice.ms(1000..15_000)).await;
                lock(&network.weather).unlistable = None;
            }
            _ => network.storm(dice.ms(1500..6000)),
        }
    }
}
