//! What holds whatever the pods look like.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_api::{Name, PODS, Pod as Entry, ReplicaSet};
use evenkeel_plan::ControlLoop;
use evenkeel_replicaset::{Options, Ranking, SetLoop, choose_victims};
use proptest::prelude::*;
use serde_json::json;

use crate::{ranking::entry, world::*};

type S = ReplicaSet;

/// A pod with everything that the ranking looks at, from few values, so that ties are common.
fn any_pod(name: String) -> impl Strategy<Value = Pod> {
    let age = || prop_oneof![Just(None), prop::sample::select(vec![-5_i64, 0, 1, 3, 10, 11, 3000, 18000, 28000, 2_600_000]).prop_map(Some)];
    let node = prop::sample::select(vec!["", "A", "B"]);
    let phase = prop::sample::select(vec!["", "Pending", "Unknown", "Running"]);
    (any::<u16>(), node, phase, any::<bool>(), age(), age(), -1..2_i32, 0..2_i32).prop_map(
        move |(uid, node, phase, ready, since, created, cost, restarts)| {
            let at = |age: Option<i64>| age.map_or(json!(null), |s| seconds_before(noon(), s).to_string().into());
            let mut p = pod(&name).uid(&format!("{uid:05}-{name}")).phase(phase).cost(&cost.to_string()).restarts(restarts);
            if !node.is_empty() {
                p = p.node(node);
            }
            let status = if ready { "True" } else { "False" };
            p.at("/status/conditions", json!([{"type": "Ready", "status": status, "lastTransitionTime": at(since)}]))
                .at("/metadata/creationTimestamp", at(created))
        },
    )
}

fn any_pods(range: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Pod>> {
    range.prop_flat_map(|n| (0..n).map(|at| any_pod(format!("p{at:02}"))).collect::<Vec<_>>())
}

/// The rules of workloads 3.7 one by one, as upstream compares two pods: whether `a` goes before `b`.
fn goes_first(a: &Entry, b: &Entry, related: &BTreeMap<Name, u32>) -> bool {
    let rank = |p: &Entry| p.node.as_ref().and_then(|n| related.get(n)).copied().unwrap_or(0);
    let log = |at: Timestamp| {
        let age = noon().duration_since(at).as_nanos();
        if age > 0 { (age as f64).log2() as i64 } else { -1 }
    };
    let times = |x: Option<Timestamp>, y: Option<Timestamp>| match (x, y) {
        (None, y) => y.is_some(),
        (_, None) => false,
        (Some(x), Some(y)) if log(x) != log(y) => log(x) < log(y),
        _ => a.meta.uid < b.meta.uid,
    };
    if a.node.is_some() != b.node.is_some() {
        return a.node.is_none();
    }
    if a.phase != b.phase {
        return a.phase < b.phase;
    }
    if a.ready != b.ready {
        return !a.ready;
    }
    if a.deletion_cost != b.deletion_cost {
        return a.deletion_cost < b.deletion_cost;
    }
    if rank(a) != rank(b) {
        return rank(a) > rank(b);
    }
    if a.ready && a.ready_since != b.ready_since {
        return times(a.ready_since, b.ready_since);
    }
    if a.restarts != b.restarts {
        return a.restarts > b.restarts;
    }
    a.meta.created != b.meta.created && times(a.meta.created, b.meta.created)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(256), failure_persistence: None, ..ProptestConfig::default() })]

    /// reliability RS-3: no two neighbours in our order stand the wrong way round by upstream's comparison; and where that comparison has one
    /// answer, it is ours.
    #[test]
    fn the_order_is_upstreams(pods in any_pods(2..12), related in 0..3_u32) {
        let pods: Vec<_> = pods.into_iter().map(entry).collect();
        let related = BTreeMap::from([(Name::from("A"), related), (Name::from("B"), 1)]);
        let ranking = Ranking { related_on_node: &related, deletion_cost: true, now: noon() };
        let all = choose_victims(&pods, pods.len() - 1, ranking);
        for pair in all.windows(2) {
            prop_assert!(!goes_first(&pair[1], &pair[0], &related), "{:?}", pair);
        }
        let last = pods.iter().find(|p| !all.contains(p)).unwrap();
        prop_assert!(!goes_first(last, all.last().unwrap(), &related));
        // Who beats everybody is the first to go.
        if let Some(first) = pods.iter().find(|p| pods.iter().all(|q| p == &q || goes_first(p, q, &related))) {
            prop_assert_eq!(&all[0], first);
        }
    }

    /// The order in which candidates come changes nothing, and fewer victims are a beginning of more.
    #[test]
    fn the_order_of_the_candidates_does_not_matter((pods, shuffled) in any_pods(2..12).prop_flat_map(|p| (Just(p.clone()), Just(p).prop_shuffle())), count in 1..11_usize) {
        let related = BTreeMap::new();
        let ranking = Ranking { related_on_node: &related, deletion_cost: true, now: noon() };
        let (pods, shuffled): (Vec<_>, Vec<_>) = (pods.into_iter().map(entry).collect(), shuffled.into_iter().map(entry).collect());
        let count = count.min(pods.len() - 1);
        let victims = choose_victims(&pods, count, ranking);
        prop_assert_eq!(&victims, &choose_victims(&shuffled, count, ranking));
        prop_assert_eq!(&victims[..], &choose_victims(&pods, pods.len() - 1, ranking)[..count]);
        prop_assert_eq!(victims.iter().map(|p| p.meta.uid.clone()).collect::<BTreeSet<_>>().len(), count);
    }

    /// Equal look, equal plan; and what is carried out leaves nothing to do.
    #[test]
    fn plans_are_repeatable_and_come_to_rest(pods in any_pods(0..8), replicas in 0..9_i64, burst in 1..5_usize, owned in any::<[bool; 8]>()) {
        let lp = SetLoop::<S>::new(Options { burst, ..Options::default() });
        let pods = pods.into_iter().enumerate().map(|(at, p)| if owned[at] { p.of("web") } else { p });
        let mut world = World::new().with::<S>(set("web").replicas(replicas)).with_pods::<S>(pods);
        let again = world.look(&lp, "web");
        prop_assert_eq!(world.look(&lp, "web"), again.clone());
        prop_assert!(again.writes().filter(|w| w.changes()).count() <= burst);
        world.settle(&lp, "web");
        prop_assert_eq!(world.live_of("web").len() as i64, replicas);
        prop_assert!(world.pass(&lp, "web").quiet());
        prop_assert_eq!(world.status::<S>("web")["replicas"].as_i64(), Some(replicas));
        prop_assert_eq!(world.server.distinct_uids(&PODS), world.pods().len());
    }

    /// reliability RS-1, RS-2: with a watch that is late by chance, a server that refuses by chance, and leaders that forget everything by
    /// chance, there are never more living pods than the most that was asked for, nobody else's pod goes, and in the end the count is right.
    #[test]
    fn live_pods_never_exceed_what_was_asked_for(
        steps in prop::collection::vec((0..8_u8, 0..4_usize), 1..60),
        burst in 1..4_usize,
    ) {
        let options = Options { burst, ..Options::default() };
        let mut lp = SetLoop::<S>::new(options);
        let mut world = World::new().with::<S>(set("web").replicas(3)).with_pods::<S>([pod("stranger").labels(json!({"x": "y"}))]);
        let mut most = 3;
        for (what, n) in steps {
            match what {
                0 | 1 => drop(world.deliver_next(n + 1)),
                2 => {
                    most = most.max(n);
                    world.change(lp.about().primary, "web", |v| v["spec"]["replicas"] = n.into());
                }
                3 => world.refuse = quota(n, "no"),
                4 => world.refuse = Box::new(|_| None),
                5 => {
                    if let Some(name) = world.live_of("web").get(n).cloned() {
                        world.server.remove(&PODS, &name);
                    }
                }
                6 => lp = SetLoop::<S>::new(options),
                _ => {
                    let seen = world.cache.read().of::<S>().get("ns", "web").unwrap().replicas;
                    let pass = world.pass(&lp, "web");
                    if pass.creates() > 0 {
                        prop_assert!(world.live_of("web").len() as i64 <= i64::from(seen));
                    }
                    let cached = world.cache.read().of::<Entry>().iter().filter(|p| p.meta.controller().is_some() && p.active()).count();
                    prop_assert!(pass.victims().len() as i64 <= (cached as i64 - i64::from(seen)).max(0));
                    prop_assert!(!pass.victims().contains(&"stranger".to_owned()));
                }
            }
            prop_assert!(world.live_of("web").len() <= most, "{} > {}", world.live_of("web").len(), most);
        }
        world.refuse = Box::new(|_| None);
        world.settle(&lp, "web");
        let want = world.server.get(lp.about().primary, "web").unwrap()["spec"]["replicas"].as_u64().unwrap();
        prop_assert_eq!(world.live_of("web").len() as u64, want);
        prop_assert!(world.pods().contains(&"stranger".to_owned()));
    }
}
