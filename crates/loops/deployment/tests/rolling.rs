//! Rolling updates: workloads 2.7, and its scenarios of 2.18.

use crate::world::{Cluster, conditions, deployment, events, reason, said, set, sizes};
use evenkeel_plan::{FailureKind, Next};
use serde_json::json;

/// Bounds of workloads 2.7 that hold at every look of an unscaled rollout.
fn assert_bounds(world: &Cluster, most: i64, fewest: i64) {
    let total: i64 = world.sets().iter().map(|s| s["spec"]["replicas"].as_i64().unwrap()).sum();
    let available: i64 = world.sets().iter().map(|s| s["status"]["availableReplicas"].as_i64().unwrap_or(0)).sum();
    assert!(total <= most, "{total} pods wanted, {most} allowed");
    assert!(available >= fewest, "{available} pods available, {fewest} needed");
}

fn rolled_out(replicas: i64, surge: impl Into<serde_json::Value>, unavailable: impl Into<serde_json::Value>) -> Cluster {
    let mut world = Cluster::new(deployment("web").replicas(replicas).rolling(surge, unavailable));
    world.settle_with(|w| w.ready_pods(""));
    assert_eq!(reason(world.deployment()), "NewReplicaSetAvailable");
    world
}

/// Sizes (old, new) after every pass that changed one.
fn trace(world: &mut Cluster, ready: bool) -> Vec<(i64, i64)> {
    world.edit(|d| d.image("app:2"));
    let mut steps = Vec::new();
    world.settle_with(|w| {
        let new = |w: &Cluster| {
            w.sets()
                .iter()
                .find(|s| s["spec"]["template"]["spec"]["containers"][0]["image"] == "app:2")
                .map_or(0, |s| s["spec"]["replicas"].as_i64().unwrap())
        };
        let now = (w.set_of("app:1")["spec"]["replicas"].as_i64().unwrap(), new(w));
        if steps.last() != Some(&now) {
            steps.push(now);
        }
        if ready {
            w.ready_pods("");
        }
    });
    steps
}

/// workloads 2.18.2
#[test]
fn a_rollout_keeps_its_bounds_at_every_look() {
    let mut world = rolled_out(20, "25%", "25%");
    world.edit(|d| d.image("app:2"));
    world.settle_with(|w| {
        assert_bounds(w, 25, 15);
        w.ready_pods("");
        assert_bounds(w, 25, 15);
    });
    assert_eq!(world.set_of("app:1")["spec"]["replicas"], 0);
    assert_eq!(world.set_of("app:2")["spec"]["replicas"], 20);
    assert_eq!(world.set_of("app:2")["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "2");
    assert_eq!(world.deployment()["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "2");
    assert_eq!(conditions(world.deployment()), ["Available=True/MinimumReplicasAvailable", "Progressing=True/NewReplicaSetAvailable"]);
}

/// The traces of workloads 2.7. Creating and shrinking may share a pass, so (10,3) (8,3) is one step when both happen.
#[test]
fn sizes_go_through_the_known_steps() {
    assert_eq!(trace(&mut rolled_out(10, 3, 2), true), [(8, 3), (8, 5), (3, 5), (3, 10), (0, 10)]);
    assert_eq!(trace(&mut rolled_out(10, 3, 2), false), [(8, 3), (8, 5)]);
    assert_eq!(trace(&mut rolled_out(4, "25%", "25%"), true), [(3, 1), (3, 2), (1, 2), (1, 4), (0, 4)]);
    assert_eq!(trace(&mut rolled_out(2, 0, "1%"), true), [(1, 0), (1, 1), (0, 1), (0, 2)]);
}

/// Unit vectors of workloads 2.7 for growing.
#[test]
fn the_new_set_grows_into_the_room_there_is() {
    for (replicas, surge, old, new, want) in
        [(10, 0, 10, 0, 0), (10, 2, 10, 0, 2), (10, 2, 5, 0, 7), (10, 2, 10, 2, 2), (10, 2, 2, 11, 10), (10, 2, 1, 8, 10)]
    {
        let world = Cluster::new(deployment("web").image("app:2").replicas(replicas).rolling(surge, 0))
            .and(set("web", 1).size(old).available(0))
            .and(set("web", 2).size(new));
        let got = sizes(&world, &world.plan()).into_iter().find(|(n, _)| n == "web-2").unwrap().1;
        assert_eq!(got, want, "replicas {replicas}, surge {surge}, old {old}, new {new}");
    }
}

/// Unit vectors of workloads 2.7 for shrinking.
#[test]
fn old_sets_shrink_as_far_as_pods_may_be_missing() {
    let cases =
        [(10, 0, 10, 10, 0, 0, 9), (10, 2, 10, 10, 0, 0, 8), (10, 2, 10, 8, 0, 0, 8), (10, 2, 10, 9, 0, 0, 8), (10, 2, 8, 8, 2, 0, 8)];
    for (replicas, unavailable, old, old_available, new, new_available, want) in cases {
        let world = Cluster::new(deployment("web").image("app:2").replicas(replicas).rolling(0, unavailable))
            .and(set("web", 1).size(old).available(old_available))
            .and(set("web", 2).size(new).available(new_available));
        let got = sizes(&world, &world.plan()).into_iter().find(|(n, _)| n == "web-1").unwrap().1;
        assert_eq!(got, want, "{:?}", (replicas, unavailable, old, old_available, new, new_available));
    }
}

/// The table of workloads 1.10, read off the annotation (surge) and off the first shrink (unavailable).
#[test]
fn percentages_are_rounded_for_the_user() {
    let absent = || serde_json::Value::Null;
    let cases = [
        (json!("39%"), json!("39%"), 10, 4, 3),
        (absent(), json!("39%"), 10, 0, 3),
        (json!("39%"), absent(), 10, 4, 0),
        (absent(), absent(), 10, 0, 1),
        (json!("25%"), json!("25%"), 10, 3, 2),
        (json!("25%"), json!("25%"), 4, 1, 1),
        (json!("25%"), json!("25%"), 1, 1, 0),
        (json!(0), json!("1%"), 2, 0, 1),
        (json!("1%"), json!("25%"), 2, 1, 0),
        (json!("0%"), json!("0%"), 3, 0, 1),
        (json!(0), json!(50), 3, 0, 3),
    ];
    for (surge, unavailable, replicas, want_surge, want_unavailable) in cases {
        let world = Cluster::new(deployment("web").image("app:2").replicas(replicas).rolling(surge.clone(), unavailable.clone()))
            .and(set("web", 1).full(replicas));
        let plan = world.plan();
        let evenkeel_plan::Write::Create { body, .. } = &plan.steps[0][0] else { panic!() };
        let max: i64 = body["metadata"]["annotations"]["deployment.kubernetes.io/max-replicas"].as_str().unwrap().parse().unwrap();
        assert_eq!(max - replicas, want_surge, "surge of {surge} at {replicas}");
        let old = sizes(&world, &plan).into_iter().find(|(n, _)| n == "web-1").unwrap().1;
        assert_eq!(replicas - old, want_unavailable, "unavailable of {unavailable} at {replicas}");
    }
    let nothing = Cluster::new(deployment("web").replicas(0).rolling("0%", "0%"));
    assert_eq!(said(&nothing, &nothing.plan()), [["create 0"]]);
}

/// workloads 1.10: an unusable maxSurge is an error where the new set is sized, and counts as 0 elsewhere.
#[test]
fn a_surge_that_is_no_percentage_stops_growing() {
    let world = Cluster::new(deployment("web").replicas(3).rolling("many", "50%"));
    assert!(world.plan().is_empty());
    assert!(matches!(world.report().next, Next::Retry(text) if text.contains("not a percentage")));
    let full = Cluster::new(deployment("web").replicas(3).rolling("many", "50%").complete()).and(set("web", 1).full(3).sized_for(3, 3));
    assert!(full.plan().is_empty());
    assert_eq!(full.report(), evenkeel_plan::Report::default());
    let growing = Cluster::new(deployment("web").replicas(3).rolling("many", "50%")).and(set("web", 1).full(2).sized_for(3, 3));
    assert!(growing.plan().is_empty());
    assert!(matches!(growing.report().next, Next::Retry(_)));
}

/// workloads 2.18.3
#[test]
fn a_rollover_replaces_a_stuck_rollout() {
    let mut world = rolled_out(10, 3, 2);
    world.edit(|d| d.image("bad:1"));
    world.settle_with(|w| assert_bounds(w, 13, 8));
    let (first, stuck) = (world.name_of("app:1"), world.name_of("bad:1"));
    assert_eq!((&world.set(&first)["spec"]["replicas"], &world.set(&stuck)["spec"]["replicas"]), (&json!(8), &json!(5)));
    world.edit(|d| d.image("app:3"));
    let mut first_shrunk = None;
    world.settle_with(|w| {
        assert_bounds(w, 13, 8);
        let sized = |n: &str| w.set(n)["spec"]["replicas"].as_i64().unwrap();
        if first_shrunk.is_none() && (sized(&first), sized(&stuck)) != (8, 5) {
            first_shrunk = Some((sized(&first), sized(&stuck)));
        }
        w.ready_pods("app:3");
    });
    assert_eq!(first_shrunk, Some((8, 0)), "pods that do not work go first");
    assert_eq!(world.set_of("app:3")["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "3");
    assert_eq!(world.set_of("app:3")["spec"]["replicas"], 10);
    assert_eq!(world.set(&first)["spec"]["replicas"], 0);
    assert_eq!(world.set(&stuck)["spec"]["replicas"], 0);
}

/// workloads 2.18.4; recorded story `deploy-rollover-no-room`.
#[test]
fn the_newest_set_begins_empty_when_the_room_is_used_up() {
    let mut world = rolled_out(1, 1, 0);
    world.edit(|d| d.image("bad:1"));
    world.settle();
    let (first, bad) = (world.name_of("app:1"), world.name_of("bad:1"));
    world.edit(|d| d.image("app:3"));
    assert_eq!(said(&world, &world.plan()), [vec!["create 0".to_owned()], vec![format!("{bad} 1→0")]]);
    world.events.clear();
    world.settle();
    let newest = world.name_of("app:3");
    assert_eq!(
        world.events,
        [
            format!("Normal ScalingReplicaSet: Scaled down replica set {bad} from 1 to 0"),
            format!("Normal ScalingReplicaSet: Scaled up replica set {newest} from 0 to 1"),
        ]
    );
    assert_eq!(world.set(&first)["spec"]["replicas"], 1, "still the only one that works");
    world.settle_with(|w| w.ready_pods("app:3"));
    assert_eq!(world.set(&first)["spec"]["replicas"], 0);
}

/// workloads 2.18.46, and the MUST of 2.7.2.1.
#[test]
fn counters_that_lag_behind_a_shrink_are_not_counted_on() {
    let world = |old_available: i64| {
        Cluster::new(deployment("web").image("app:2").replicas(10).rolling(3, 2))
            .and(set("web", 1).size(8).available(old_available).sized_for(10, 13))
            .and(set("web", 2).size(5).available(3).sized_for(10, 13))
    };
    assert!(world(10).plan().is_empty());
    assert_eq!(world(10).report().next, Next::OnChange, "the set's status resumes the rollout");
    assert_eq!(said(&world(8), &world(8).plan()), [["web-1 8→5"]]);
    // An older set with sick pods has been looked at before: that much is done, and no more.
    let mixed = world(10).and(set("web", 0).size(2).available(0).created(-5));
    let plan = mixed.plan();
    assert_eq!(said(&mixed, &plan), [["web-0 2→0"]]);
    // Sick pods use the budget up before the lagging set has its turn: upstream would empty that one and leave 2 of 4.
    let late = Cluster::new(deployment("web").image("app:3").replicas(6).rolling(2, 2))
        .and(set("web", 1).size(4).available(0).sized_for(6, 8))
        .and(set("web", 2).size(2).available(4).sized_for(6, 8))
        .and(set("web", 3).full(2).sized_for(6, 8));
    assert_eq!(said(&late, &late.plan()), [["web-1 4→0"]]);
    // The new set may lag, too, after it was sized down.
    let new = Cluster::new(deployment("web").image("app:2").replicas(6).rolling(0, 1))
        .and(set("web", 1).full(2).sized_for(6, 6))
        .and(set("web", 2).size(4).available(9).sized_for(6, 6));
    assert_eq!(said(&new, &new.plan()), [["web-1 2→1"]]);
}

/// workloads 2.7.2: sick pods within the budget, then healthy ones beyond the minimum, oldest set first; one write per set.
#[test]
fn sick_pods_go_first_and_oldest_sets_first() {
    let full = Cluster::new(deployment("web").image("app:3").replicas(10).rolling(5, 5))
        .and(set("web", 1).size(4).available(2))
        .and(set("web", 2).size(4).available(4))
        .and(set("web", 3).size(10).available(5));
    // Budget 18 - 5 - 5 = 8: two sick; allowance 11 - 5 = 6.
    assert_eq!(said(&full, &full.plan()), [["web-1 4→0", "web-2 4→0"]]);
    let tight = Cluster::new(deployment("web").image("app:3").replicas(10).rolling(5, 0))
        .and(set("web", 1).size(4).available(1))
        .and(set("web", 2).size(4).available(4))
        .and(set("web", 3).size(7).available(7));
    // No growth left: 15 of 15. Budget 5: 3 sick of web-1; allowance 12 - 10 = 2: the last of web-1, one of web-2.
    assert_eq!(said(&tight, &tight.plan()), [["web-1 4→0", "web-2 4→3"]]);
    let poor = Cluster::new(deployment("web").image("app:3").replicas(10).rolling(1, 0))
        .and(set("web", 1).size(6).available(0))
        .and(set("web", 3).size(5).available(5));
    assert_eq!(said(&poor, &poor.plan()), [["web-1 6→5"]], "the budget bounds sick ones too");
    let both = Cluster::new(deployment("web").image("app:3").replicas(10).rolling(1, 0))
        .and(set("web", 1).size(3).available(0))
        .and(set("web", 2).size(3).available(0))
        .and(set("web", 3).size(5).available(5));
    assert_eq!(said(&both, &both.plan()), [["web-1 3→2"]], "one budget for all sets");
}

/// 2.19 S4: upstream swallows it.
#[test]
fn a_failed_shrink_is_an_error_and_what_was_done_is_told() {
    let mut world = Cluster::new(deployment("web").image("app:3").replicas(4).rolling(4, 4))
        .and(set("web", 1).full(2))
        .and(set("web", 2).full(2))
        .and(set("web", 3).full(4));
    world.refusals.push(("update", "web-2", FailureKind::Other, "etcdserver: request timed out"));
    let (_, report) = world.pass();
    assert_eq!(report.next, Next::Retry("etcdserver: request timed out".into()));
    assert_eq!(events(&report), ["Normal ScalingReplicaSet: Scaled down replica set web-1 from 2 to 0"]);
    world.refusals.clear();
    world.settle_with(|w| w.ready_pods(""));
    assert_eq!(world.set("web-2")["spec"]["replicas"], 0);
}

/// workloads 2.18.40
#[test]
fn a_conflict_tells_nothing_and_is_tried_again() {
    let mut world = Cluster::new(deployment("web").image("app:2").replicas(3))
        .and(set("web", 1).full(3).sized_for(3, 4))
        .and(set("web", 2).size(0).sized_for(3, 4));
    world.refusals.push((
        "update",
        "web-2",
        FailureKind::Conflict,
        "the object has been modified; please apply your changes to the latest version",
    ));
    let (_, report) = world.pass();
    assert!(report.events.is_empty());
    assert!(matches!(report.next, Next::Retry(_)));
    world.refusals.clear();
    world.settle_with(|w| w.ready_pods(""));
    assert_eq!(world.set("web-2")["spec"]["replicas"], 3);
}

/// workloads 2.18.42; recorded story `deploy-twins`.
#[test]
fn of_two_sets_with_the_template_the_elder_is_new() {
    let world = Cluster::new(deployment("web").image("app:2").replicas(2).rolling(1, 1))
        .and(set("web", 2).full(2).created(9).sized_for(2, 3))
        .and(set("web", 3).image("app:2").full(1).created(8).sized_for(2, 3));
    assert_eq!(said(&world, &world.plan()), [["web-2 2→0"]]);
    let mut world = world;
    world.follow();
    world.settle_with(|w| w.ready_pods(""));
    assert_eq!(world.set("web-3")["spec"]["replicas"], 2);
    assert_eq!(world.set("web-2")["spec"]["replicas"], 0);
    // Of equal age: by name.
    let twins = Cluster::new(deployment("web").image("app:2").replicas(2).rolling(1, 1))
        .and(set("web", 2).full(2).created(9).revision("1").sized_for(2, 3))
        .and(set("web", 3).image("app:2").revision("1").full(2).created(9).sized_for(2, 3));
    assert_eq!(said(&twins, &twins.plan()), [["web-2 note"], ["web-3 2→0"]]);
}

/// workloads 2.18.45, second half: a loop that starts in the middle goes on to the same end.
#[test]
fn a_rollout_survives_a_restart_at_every_step() {
    for passes in 0..12 {
        let mut world = rolled_out(6, 2, 1);
        world.edit(|d| d.image("app:2"));
        for _ in 0..passes {
            world.pass();
            world.follow();
            world.ready_pods("");
        }
        world.looper = Default::default();
        world.settle_with(|w| {
            assert_bounds(w, 8, 5);
            w.ready_pods("");
        });
        assert_eq!(world.set_of("app:2")["spec"]["replicas"], 6);
        assert_eq!(world.set_of("app:1")["spec"]["replicas"], 0);
    }
}

/// Halfway back: the first template again (recorded story `deploy-back-midway`), revision 3 in one write with the size.
#[test]
fn going_back_in_the_middle_raises_the_revision_with_the_size() {
    let mut world = rolled_out(4, 1, 1);
    world.edit(|d| d.image("app:2"));
    world.pass();
    world.follow();
    world.pass();
    world.follow();
    let first = world.name_of("app:1");
    assert_eq!(world.set(&first)["spec"]["replicas"], 3);
    world.edit(|d| d.image("app:1"));
    world.log.clear();
    world.pass();
    assert_eq!(world.log.iter().filter(|l| **l == format!("update {first}")).count(), 1, "one write for revision and size");
    assert_eq!(world.set(&first)["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "3", "and both are in it");
    world.settle_with(|w| w.ready_pods("app:1"));
    let notes = &world.set(&first)["metadata"]["annotations"];
    assert_eq!(notes["deployment.kubernetes.io/revision"], "3");
    assert_eq!(notes["deployment.kubernetes.io/revision-history"], "1");
    assert_eq!(world.set(&first)["spec"]["replicas"], 4);
    assert_eq!(world.deployment()["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "3");
}
