//! Three candidates with clocks of their own in a world that stops them, loses their answers and writes between their reads and writes.
//! Whatever happens, no two fences are open at one instant.

mod fake;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use evenkeel_election::{Clock, Fence};
use fake::{Candidate, Fault, MS, Options, SEC, Server, candidate, faults};
use jiff::SignedDuration;
use serde_json::json;
use tokio::time::{Instant, sleep};

const SEEDS: u64 = 60;

/// How long a world is hostile.
const HOSTILE_SECONDS: u64 = 240;

/// SplitMix64.
#[derive(Clone)]
struct Chance(Arc<Mutex<u64>>);

impl Chance {
    fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(seed)))
    }

    fn draw(&self) -> f64 {
        let mut state = self.0.lock().unwrap();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&self, n: u64) -> u64 {
        (self.draw() * n as f64) as u64
    }

    fn pick<T: Copy>(&self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

#[derive(Default)]
struct Counts(Mutex<BTreeMap<&'static str, u64>>);

impl Counts {
    fn add(&self, what: &'static str) {
        *self.0.lock().unwrap().entry(what).or_default() += 1;
    }
}

fn join(server: &Server, n: u64, life: u64, chance: &Chance, hostile_until: Instant, counts: &Arc<Counts>) -> (Candidate, Fence) {
    let draw = chance.clone();
    let fate = chance.clone();
    let world = server.clone();
    let counts = Arc::clone(counts);
    let faults = faults(move |verb| {
        let quick = Fault::Delay(MS * (1 + fate.below(20) as u32), MS * (1 + fate.below(20) as u32));
        if Instant::now() >= hostile_until {
            return quick;
        }
        let (name, fault) = match fate.below(100) {
            0..70 => return quick,
            70..78 => ("answer lost", Fault::AnswerLost),
            78..84 => ("request lost", Fault::LostOnTheWay),
            84..90 => ("refused", Fault::Refused),
            90..96 => ("slow", Fault::Delay(MS * fate.below(4000) as u32, MS * fate.below(4000) as u32)),
            _ if verb == "PUT" => {
                world.edit(|lease| lease["metadata"]["annotations"]["touched"] = json!(verb));
                ("conflict", quick)
            }
            _ => ("slow", Fault::Delay(MS, MS * fate.below(9000) as u32)),
        };
        counts.add(name);
        fault
    });
    let options = Options {
        clock: Clock::at_rate(chance.pick(&[0.8, 0.9, 1.0, 1.1, 1.2])),
        wall_off: SignedDuration::from_secs(chance.below(2000) as i64 - 1000),
        hints: chance.below(2) == 0,
        chance: Box::new(move || draw.draw()),
        faults,
        change: |_| {},
    };
    let candidate = candidate(server, &format!("candidate-{n}-{life}"), options);
    let fence = candidate.handle().fence();
    (candidate, fence)
}

async fn world(seed: u64, counts: &Arc<Counts>) {
    let chance = Chance::new(seed);
    let server = Server::default();
    let start = Instant::now();
    let hostile_until = start + SEC * HOSTILE_SECONDS as u32;
    let mut candidates = Vec::new();
    // Fences of processes that are gone are looked at too.
    let mut fences: Vec<(String, Fence)> = Vec::new();
    for n in 0..3 {
        let (candidate, fence) = join(&server, n, 0, &chance, hostile_until, counts);
        candidates.push(candidate);
        fences.push((format!("{n}"), fence));
    }
    let mut leader: Option<usize> = None;
    let mut checks = 0_u64;
    let mut lives = 0;
    while Instant::now() < hostile_until {
        sleep(MS * (1 + chance.below(20) as u32)).await;
        let open: Vec<_> = (0..fences.len()).filter(|n| fences[*n].1.check().is_ok()).collect();
        if open.len() > 1 {
            for entry in server.log().iter().rev().take(30).rev() {
                println!("{:?} {} {} {} -> {:?}", entry.at - start, entry.who, entry.verb, entry.ok, entry.holder);
            }
            panic!("seed {seed}: {:?} may write at {:?}", open.iter().map(|n| &fences[*n].0).collect::<Vec<_>>(), start.elapsed());
        }
        if let Some(now) = open.first() {
            if leader.is_some_and(|before| before != *now) {
                counts.add("leader changed");
            }
            leader = Some(*now);
        }
        checks += 1;
        if checks.is_multiple_of(50) {
            let n = chance.below(3) as usize;
            match chance.below(30) {
                0 => {
                    counts.add("stopped for a while");
                    candidates[n].power.stop_for(SEC * chance.below(40) as u32);
                }
                1 => {
                    counts.add("killed");
                    lives += 1;
                    candidates[n].task.abort();
                    let (candidate, fence) = join(&server, n as u64, lives, &chance, hostile_until, counts);
                    candidates[n] = candidate;
                    fences.push((format!("{n} of life {lives}"), fence));
                }
                2 => {
                    counts.add("asked to stop");
                    lives += 1;
                    let (next, fence) = join(&server, n as u64, lives, &chance, hostile_until, counts);
                    let old = std::mem::replace(&mut candidates[n], next);
                    fences.push((format!("{n} of life {lives}"), fence));
                    old.handle().drained();
                    tokio::spawn(async move { (old.task.await, old.handle) });
                }
                // Deleting a Lease that is held breaks what keeps leaders apart, whatever the implementation.
                3 if server.lease().is_some() && server.holder().is_empty() => {
                    counts.add("lease deleted");
                    server.delete();
                }
                _ => {}
            }
        }
    }
    sleep(60 * SEC).await;
    assert_eq!(candidates.iter().filter(|c| c.leads()).count(), 1, "seed {seed}: once all is well, one leads");
    assert_eq!(fences.iter().filter(|(_, fence)| fence.check().is_ok()).count(), 1, "seed {seed}");
    let held: Vec<_> = candidates.iter().flat_map(|c| c.events()).filter(|event| event.contains("unique")).collect();
    assert!(held.is_empty(), "seed {seed}: nobody shares an identity, yet {held:?}");
}

#[test]
fn no_two_fences_are_ever_open_at_one_instant() {
    let counts: Arc<Counts> = Arc::default();
    for seed in 0..SEEDS {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(world(seed, &counts));
    }
    let counts = counts.0.lock().unwrap();
    let all = [
        "answer lost",
        "request lost",
        "refused",
        "slow",
        "conflict",
        "leader changed",
        "stopped for a while",
        "killed",
        "asked to stop",
        "lease deleted",
    ];
    for what in all {
        assert!(counts.get(what).copied().unwrap_or(0) >= SEEDS / 10, "{what} was seldom seen: {counts:?}");
    }
}
