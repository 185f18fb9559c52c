//! Seeds of the simulation of collection (`evenkeel_sim::World::Collection`). That its checks can fail is proved in `bugs.rs`.

use std::collections::BTreeMap;

use evenkeel_sim::{Fault, World};

/// Seeds that every change is tried with.
const SEEDS: u64 = 500;

/// reliability GC-1 to GC-6
#[test]
fn five_hundred_seeds_hold_gc_1_to_gc_6_and_every_fault_strikes() {
    let mut faults: BTreeMap<Fault, u64> = BTreeMap::new();
    let mut failed = Vec::new();
    // Two threads, because that is what small machines have; worlds know nothing of each other.
    let reports: Vec<_> = std::thread::scope(|scope| {
        let run = |seeds: std::ops::Range<u64>| seeds.map(|seed| (seed, World::Collection.run(seed, None).0)).collect::<Vec<_>>();
        let halves: Vec<_> = [0..SEEDS / 2, SEEDS / 2..SEEDS].map(|half| scope.spawn(move || run(half))).into();
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    });
    for (seed, report) in reports {
        report.faults.iter().for_each(|(fault, n)| *faults.entry(*fault).or_default() += n);
        failed.extend(
            report
                .violations
                .iter()
                .map(|v| format!("seed {seed}: {v}\n  replay: cargo xtask sim --world collection --seeds {seed}..{} --history", seed + 1)),
        );
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    for fault in Fault::ALL.iter().filter(|fault| fault.strikes(World::Collection)) {
        assert!(faults.get(fault).is_some_and(|n| *n > 0), "{fault:?} never struck");
    }
}

/// reliability part 3, rig 1: "Check determinism by running each seed twice."
#[test]
fn a_seed_gives_the_same_history_bit_for_bit() {
    for seed in [1, 7, 42] {
        let (first, second) = (World::Collection.run(seed, None).0, World::Collection.run(seed, None).0);
        assert!(first.writes > 50);
        assert_eq!(first, second, "seed {seed}");
    }
}
