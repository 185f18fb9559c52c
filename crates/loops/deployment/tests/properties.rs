//! What holds for all Deployments: they come to rest, keep their bounds, and share sizes exactly.

use evenkeel_plan::{FailureKind, Write};
use proptest::{prelude::*, test_runner::Config};

use crate::world::{Cluster, Dep, cases, deployment, set};

/// What may happen between two passes.
#[derive(Debug, Clone)]
enum Happening {
    /// One ReplicaSet is followed, the others lag.
    Follow(u8),
    /// All are.
    FollowAll,
    /// Pods of one image become ready.
    Ready(u8),
    /// Nothing.
    Nothing,
    /// Writes to sets fail once.
    Fail,
    /// The loop starts anew.
    Restart,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        (0..4_u8).prop_map(Happening::Follow),
        Just(Happening::FollowAll),
        (1..4_u8).prop_map(Happening::Ready),
        Just(Happening::Nothing),
        Just(Happening::Fail),
        Just(Happening::Restart),
    ]
}

fn bound() -> impl Strategy<Value = serde_json::Value> {
    prop_oneof![(0..5_i64).prop_map(Into::into), (0..=100_u8).prop_map(|p| format!("{p}%").into())]
}

fn happen(world: &mut Cluster, what: &Happening) {
    world.refusals.clear();
    match what {
        Happening::Follow(n) => {
            let names: Vec<String> = world.sets().iter().map(|s| s["metadata"]["name"].as_str().unwrap().to_owned()).collect();
            if !names.is_empty() {
                world.follow_one(&names[usize::from(*n) % names.len()]);
            }
        }
        Happening::FollowAll => world.follow(),
        Happening::Ready(n) => world.ready_one_by_one(&format!("app:{n}")),
        Happening::Nothing => {}
        Happening::Fail => world.refusals.push(("update", "web-", FailureKind::Other, "no")),
        Happening::Restart => world.looper = Default::default(),
    }
}

fn totals(world: &Cluster) -> (i64, i64) {
    let wanted = world.sets().iter().map(|s| s["spec"]["replicas"].as_i64().unwrap()).sum();
    (wanted, world.truly_available())
}

fn at_rest(world: &mut Cluster) {
    world.refusals.clear();
    world.settle_with(|w| w.ready_pods(""));
    assert!(world.plan().is_empty());
    assert!(world.report().steps.is_empty());
}

proptest! {
    #![proptest_config(Config { cases: cases(96), failure_persistence: None, ..Config::default() })]

    /// workloads 2.7, invariants: at no step too many pods are wanted or too few available, whatever lags behind.
    #[test]
    fn a_rollout_keeps_its_bounds_and_comes_to_rest(
        replicas in 1..9_i64, surge in bound(), unavailable in bound(),
        first in prop::collection::vec(happening(), 0..10), second in prop::collection::vec(happening(), 0..25),
    ) {
        let mut world = Cluster::new(deployment("web").replicas(replicas).rolling(surge, unavailable));
        world.settle_with(|w| w.ready_pods(""));
        let max = |w: &Cluster| w.set_of("app:1")["metadata"]["annotations"]["deployment.kubernetes.io/max-replicas"].as_str().unwrap().parse::<i64>().unwrap();
        let most = max(&world);
        let resolved = world.deployment()["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"].clone();
        let percent = |p: &str| p.trim_end_matches('%').parse::<i64>().unwrap() * replicas / 100;
        let missing = resolved.as_i64().unwrap_or_else(|| percent(resolved.as_str().unwrap()));
        let missing = if missing == 0 && most == replicas { 1 } else { missing.min(replicas) };
        for (image, happenings) in [("app:2", &first), ("app:3", &second)] {
            world.edit(|d| d.image(image));
            for what in happenings {
                world.pass();
                happen(&mut world, what);
                let (wanted, available) = totals(&world);
                prop_assert!(wanted <= most, "{wanted} wanted of {most}");
                prop_assert!(available >= replicas - missing, "{available} available of {}", replicas - missing);
            }
        }
        at_rest(&mut world);
        prop_assert_eq!(&world.set_of("app:3")["spec"]["replicas"], &serde_json::json!(replicas));
        prop_assert_eq!(totals(&world).0, replicas);
    }

    /// Anything goes: sizes, pauses, strategies and templates change, writes fail, the loop restarts. In the end all is as it was wanted.
    #[test]
    fn whatever_users_do_it_comes_to_rest_as_wanted(
        edits in prop::collection::vec((0..6_u8, 0..7_i64, prop::collection::vec(happening(), 0..5)), 1..8), recreate in any::<bool>(),
    ) {
        let mut world = Cluster::new(if recreate { deployment("web").recreate() } else { deployment("web").rolling(1, 1) });
        for (what, n, happenings) in &edits {
            let change = |d: Dep| match what {
                0 => d.replicas(*n),
                1 => d.image(&format!("app:{}", n % 3 + 1)),
                2 => d.with("/spec/paused", n % 2 == 0),
                3 => if n % 2 == 0 { d.recreate() } else { d.rolling(n % 3, 1) },
                4 => d.history(*n),
                _ => d.note("note", &n.to_string()),
            };
            world.edit(change);
            for what in happenings {
                world.pass();
                happen(&mut world, what);
            }
        }
        world.edit(|d| d.with("/spec/paused", false));
        at_rest(&mut world);
        let d = world.deployment().clone();
        let image = d["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
        prop_assert_eq!(&world.set_of(&image)["spec"]["replicas"], &d["spec"]["replicas"]);
        prop_assert_eq!(totals(&world).0, d["spec"]["replicas"].as_i64().unwrap());
        prop_assert_eq!(crate::world::reason(&d), "NewReplicaSetAvailable");
        prop_assert_eq!(&d["status"]["observedGeneration"], &d["metadata"]["generation"]);
    }

    /// workloads 2.6.2.3: the shares add up to exactly what is allowed, and none is negative.
    #[test]
    fn shares_add_up(
        sizes in prop::collection::vec(1..200_i64, 2..6), noted in prop::collection::vec(0..400_i64, 6), to in 0..500_i64, surge in 0..9_i64, new in any::<bool>(),
    ) {
        let image = if new { sizes.len() } else { 99 };
        let mut world = Cluster::new(deployment("web").image(&format!("app:{image}")).replicas(to).rolling(surge, 1).paused());
        for (n, size) in sizes.iter().enumerate() {
            world = world.and(set("web", n as u32 + 1).size(*size).sized_for(to + 1, noted[n]));
        }
        let plan = world.plan();
        let after: Vec<i64> = plan.writes().filter_map(|w| if let Write::Replace { body, .. } = w { body["spec"]["replicas"].as_i64() } else { None }).collect();
        prop_assert_eq!(after.len(), sizes.len(), "every active set is written");
        prop_assert!(after.iter().all(|n| *n >= 0));
        let allowed = if to == 0 { 0 } else { to + surge };
        let total: i64 = after.iter().sum();
        // The largest takes what is left over, but not below 0: then what the others were to lose by their own notes is too much.
        prop_assert!(total == allowed || (after[0] == 0 && total > allowed), "{total} of {allowed}: {after:?}");
    }
}
