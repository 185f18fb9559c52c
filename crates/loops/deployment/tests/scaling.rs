//! Scaling: workloads 2.6, and its scenarios of 2.18.

use crate::world::{Cluster, Set, conditions, deployment, events, said, set, sizes, status};

const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// One golden vector: sizes are (new; old newest to oldest), `-1` for "no new set".
struct Vector {
    case: &'static str,
    to: i64,
    surge: i64,
    /// desired-replicas and max-replicas before.
    noted: (i64, i64),
    before: (i64, &'static [i64]),
    after: (i64, &'static [i64]),
}

fn grid(v: &Vector) -> (Cluster, Vec<String>) {
    let newest = v.before.1.len() as u32 + 1;
    let noted = |s: Set| s.sized_for(v.noted.0, v.noted.1);
    let mut world = Cluster::new(deployment("web").image(&format!("app:{newest}")).replicas(v.to).rolling(v.surge, 1).paused());
    let mut names = Vec::new();
    if v.before.0 >= 0 {
        world = world.and(noted(set("web", newest)).size(v.before.0));
        names.push(format!("web-{newest}"));
    }
    for (n, size) in v.before.1.iter().enumerate() {
        let number = newest - 1 - n as u32;
        world = world.and(noted(set("web", number)).size(*size));
        names.push(format!("web-{number}"));
    }
    (world, names)
}

/// The table of workloads 2.6.
#[test]
fn sizes_are_shared_in_proportion() {
    let vectors = [
        Vector { case: "10 to 12, one set", to: 12, surge: 0, noted: (10, 10), before: (10, &[]), after: (12, &[]) },
        Vector { case: "10 to 5, one set", to: 5, surge: 0, noted: (10, 10), before: (10, &[]), after: (5, &[]) },
        Vector { case: "5 to 10", to: 10, surge: 0, noted: (5, 5), before: (2, &[3]), after: (4, &[6]) },
        Vector { case: "5 to 3", to: 3, surge: 0, noted: (5, 5), before: (2, &[3]), after: (1, &[2]) },
        Vector { case: "9 to 4", to: 4, surge: 0, noted: (9, 9), before: (8, &[1]), after: (4, &[0]) },
        Vector { case: "7 to 10", to: 10, surge: 0, noted: (7, 7), before: (2, &[3, 2]), after: (3, &[4, 3]) },
        Vector { case: "13 to 8", to: 8, surge: 0, noted: (13, 13), before: (2, &[8, 3]), after: (1, &[5, 2]) },
        Vector { case: "3 to 4", to: 4, surge: 0, noted: (3, 3), before: (1, &[1, 1]), after: (2, &[1, 1]) },
        Vector { case: "3 to 2", to: 2, surge: 0, noted: (3, 3), before: (1, &[1, 1]), after: (1, &[1, 0]) },
        Vector { case: "4 to 5, no new set", to: 5, surge: 0, noted: (4, 4), before: (-1, &[2, 2]), after: (-1, &[3, 2]) },
        Vector { case: "6 to 0", to: 0, surge: 0, noted: (6, 6), before: (3, &[2, 1]), after: (0, &[0, 0]) },
        Vector { case: "6 to 0, whatever the surge", to: 0, surge: 2, noted: (6, 8), before: (3, &[2, 1]), after: (0, &[0, 0]) },
        Vector { case: "0 to 6, none active", to: 6, surge: 0, noted: (6, 6), before: (0, &[0, 0]), after: (6, &[0, 0]) },
        Vector { case: "10 to 20, surge 2", to: 20, surge: 2, noted: (10, 12), before: (6, &[6]), after: (11, &[11]) },
        Vector { case: "10 to 50, surge 3 to 6", to: 50, surge: 6, noted: (10, 13), before: (5, &[8]), after: (22, &[34]) },
        Vector { case: "10 to 14 and template change", to: 14, surge: 0, noted: (10, 10), before: (-1, &[7, 3]), after: (-1, &[10, 4]) },
        Vector { case: "10 to 30, surge 3, stuck", to: 30, surge: 3, noted: (10, 13), before: (5, &[8]), after: (13, &[20]) },
        Vector { case: "100 to 120, surge 20, stuck", to: 120, surge: 20, noted: (100, 120), before: (20, &[100]), after: (23, &[117]) },
        Vector { case: "full-size but not available, nothing to add", to: 2, surge: 1, noted: (2, 3), before: (2, &[1]), after: (2, &[1]) },
        Vector {
            case: "beyond 46,000 (S11)",
            to: 300_000,
            surge: 0,
            noted: (150_000, 150_000),
            before: (50_000, &[100_000]),
            after: (100_000, &[200_000]),
        },
    ];
    for v in &vectors {
        let (mut world, names) = grid(v);
        let got: Vec<(String, i64)> = sizes(&world, &world.plan());
        let want: Vec<i64> = [v.after.0].into_iter().filter(|n| *n >= 0).chain(v.after.1.iter().copied()).collect();
        let got: Vec<i64> = names.iter().map(|name| got.iter().find(|(n, _)| n == name).unwrap().1).collect();
        assert_eq!(got, want, "{}", v.case);
        if v.to < 1000 {
            world.settle();
            assert!(world.plan().is_empty(), "{}: at rest", v.case);
        }
    }
}

/// The vector "3 to 5 resumed after a failed write": annotations of those that were written say 5 already.
#[test]
fn sharing_resumes_where_it_was_interrupted() {
    let world = Cluster::new(deployment("web").image("app:3").replicas(5).rolling(0, 1))
        .and(set("web", 3).size(2).sized_for(5, 5))
        .and(set("web", 2).size(1).sized_for(3, 3))
        .and(set("web", 1).size(1).sized_for(5, 5));
    assert_eq!(said(&world, &world.plan()), [["web-2 1→2"]]);
}

/// workloads 2.6.2.3.5: largest first, one write after the other, none once one has failed.
#[test]
fn shares_are_written_in_order_until_one_fails() {
    let mut world = Cluster::new(deployment("web").image("app:3").replicas(10).rolling(0, 1))
        .and(set("web", 3).size(2).sized_for(7, 7))
        .and(set("web", 2).size(3).sized_for(7, 7))
        .and(set("web", 1).size(2).sized_for(7, 7));
    assert_eq!(said(&world, &world.plan()), [["web-2 3→4"], ["web-3 2→3"], ["web-1 2→3"]]);
    world.refusals.push(("update", "web-3", evenkeel_plan::FailureKind::Other, "no"));
    let (_, report) = world.pass();
    assert_eq!(events(&report), ["Normal ScalingReplicaSet: Scaled up replica set web-2 from 3 to 4"]);
    assert_eq!(report.next, evenkeel_plan::Next::Retry("no".into()));
    assert_eq!(status(&report)["status"].get("observedGeneration"), None, "counters wait until all are written");
    assert_eq!(world.set("web-1")["spec"]["replicas"], 2);
    world.refusals.clear();
    world.pass();
    assert_eq!(world.set("web-1")["spec"]["replicas"], 3, "and the rest follows");
    assert_eq!(world.set("web-2")["spec"]["replicas"], 4);
}

/// workloads 2.6.2.3.2: older ones give first.
#[test]
fn among_equals_the_oldest_gives_and_the_newest_takes() {
    let world = |to: i64| {
        Cluster::new(deployment("web").image("app:3").replicas(to).rolling(0, 1))
            .and(set("web", 3).size(1).sized_for(3, 3))
            .and(set("web", 2).size(1).sized_for(3, 3))
            .and(set("web", 1).size(1).sized_for(3, 3))
    };
    assert_eq!(said(&world(4), &world(4).plan()).concat()[0], "web-3 1→2");
    assert_eq!(said(&world(2), &world(2).plan()).concat()[0], "web-1 1→0");
}

/// workloads 2.6.2.3.2: with nothing to add or take, the order is that of the list: old ones from the newest, then the new one.
#[test]
fn with_nothing_to_share_only_annotations_are_written_in_list_order() {
    let world = Cluster::new(deployment("web").image("app:4").replicas(6).rolling(0, 1).paused())
        .and(set("web", 4).size(2).sized_for(5, 5))
        .and(set("web", 3).size(1).sized_for(5, 5))
        .and(set("web", 2).size(2).sized_for(5, 5))
        .and(set("web", 1).size(1).sized_for(5, 5));
    assert_eq!(said(&world, &world.plan()), [["web-3 note"], ["web-2 note"], ["web-1 note"], ["web-4 note"]]);
}

/// No set grows beyond its 32 bits, and what it cannot take is left for the others (S11).
#[test]
fn a_share_ends_where_the_field_ends() {
    let most = i64::from(i32::MAX);
    let world = Cluster::new(deployment("web").image("app:2").replicas(most).rolling(most, 0).paused())
        .and(set("web", 1).size(2_000_000_000).sized_for(1, 1_000_000_000))
        .and(set("web", 2).size(100_000_000).sized_for(1, 2_100_000_000));
    assert_eq!(said(&world, &world.plan()), [[format!("web-1 2000000000→{most}")], ["web-2 100000000→204522252".to_owned()]]);
}

/// workloads 2.6.2.3.3 and the recorded story `deploy-share-odd-notes`: what is no number counts as missing; then `status.replicas` is the base.
#[test]
fn odd_annotations_are_no_base_and_are_written_anew() {
    for odd in ["", "x", "-5", "+5", "5.0", "4294967296", "2147483648", "0"] {
        let world =
            Cluster::new(deployment("web").image("app:2").replicas(9).rolling(0, 1).paused().status(serde_json::json!({"replicas": 6})))
                .and(set("web", 2).size(2).sized_for(6, 6).note(MAX, odd).note(DESIRED, odd))
                .and(set("web", 1).size(4).sized_for(6, 6));
        let plan = world.plan();
        assert_eq!(said(&world, &plan), [["web-1 4→6"], ["web-2 2→3"]], "{odd:?}");
        for write in plan.writes() {
            let evenkeel_plan::Write::Replace { body, .. } = write else { panic!() };
            assert_eq!(body["metadata"]["annotations"][DESIRED], "9");
            assert_eq!(body["metadata"]["annotations"][MAX], "9");
        }
    }
    // Without pods to count by, nothing is shared; the largest takes all that is to be added.
    let world = Cluster::new(deployment("web").image("app:2").replicas(9).rolling(0, 1).paused())
        .and(set("web", 2).size(2).sized_for(6, 6).no_note(MAX))
        .and(set("web", 1).size(4).sized_for(6, 6).no_note(MAX));
    assert_eq!(said(&world, &world.plan()), [["web-1 4→7"], ["web-2 note"]]);
}

/// An annotation that is no number never makes a scaling event (workloads 2.6.1).
#[test]
fn only_a_number_makes_a_scaling_event() {
    let world = |noted: &str| {
        let note = |s: Set| s.note(DESIRED, noted).note(MAX, "3");
        Cluster::new(deployment("web").image("app:2").replicas(3).rolling(1, 0))
            .and(note(set("web", 2)).size(1))
            .and(note(set("web", 1)).full(2))
    };
    assert_eq!(said(&world("2"), &world("2").plan()), [["web-1 2→3"], ["web-2 note"]], "shared: 4 of 4 allowed");
    assert_eq!(said(&world("two"), &world("two").plan()), [["web-2 1→2"]], "rolled");
    assert_eq!(said(&world("0002"), &world("0002").plan()), said(&world("2"), &world("2").plan()), "zeros in front are decimal too");
    let inactive = Cluster::new(deployment("web").image("app:2").replicas(1).complete())
        .and(set("web", 2).full(1).sized_for(1, 2))
        .and(set("web", 1).sized_for(7, 9));
    assert!(inactive.plan().is_empty(), "sets without pods do not count");
}

/// workloads 2.18.8
#[test]
fn scaling_works_while_paused() {
    let mut world = Cluster::new(deployment("web").complete()).and(set("web", 1).full(1).sized_for(1, 2));
    world.edit(|d| d.paused().replicas(10));
    world.settle();
    assert_eq!(world.set("web-1")["spec"]["replicas"], 10);
    assert_eq!(world.set("web-1")["metadata"]["annotations"][DESIRED], "10");
    assert_eq!(world.set("web-1")["metadata"]["annotations"][MAX], "13");
}

/// workloads 2.18.16: replicas and image in one update, in the middle of a stuck rollout.
#[test]
fn size_and_template_change_together() {
    for to in [20, 5] {
        let mut world = Cluster::new(deployment("web").image("app:2").replicas(10).rolling(3, 2))
            .and(set("web", 1).sized_for(10, 13).size(8))
            .and(set("web", 2).sized_for(10, 13).size(5));
        world.follow();
        world.ready_pods("app:1");
        assert!(world.plan().is_empty(), "stuck");
        world.edit(|d| d.replicas(to).image("app:3"));
        world.settle_with(|w| w.ready_pods("app:3"));
        let newest = world.set_of("app:3");
        assert_eq!(newest["spec"]["replicas"], to);
        assert_eq!(world.set("web-1")["spec"]["replicas"], 0);
        assert_eq!(world.set("web-2")["spec"]["replicas"], 0);
        for s in world.sets() {
            assert_eq!(s["metadata"]["annotations"][DESIRED], to.to_string());
        }
        assert_eq!(world.deployment()["status"]["availableReplicas"], to);
    }
}

/// workloads 2.18.17
#[test]
fn a_stuck_rollout_is_scaled_in_proportion() {
    let world = Cluster::new(deployment("web").image("app:2").replicas(30).rolling(3, 2))
        .and(set("web", 1).size(8).available(8).sized_for(10, 13))
        .and(set("web", 2).size(5).sized_for(10, 13));
    assert_eq!(said(&world, &world.plan()), [["web-1 8→20"], ["web-2 5→13"]]);
}

/// workloads 2.18.18
#[test]
fn sharing_counts_the_surge_but_not_pods_on_their_way_out() {
    let mut world = Cluster::new(deployment("web").replicas(100).rolling(20, 0)).and(set("web", 1).sized_for(100, 120).size(100));
    world.graceful = true;
    world.follow();
    world.ready_pods("");
    world.settle();
    // Fifteen pods are told to go; they have a node and take their time.
    let going = |w: &mut Cluster, set: &str, n: usize| {
        let uid = w.set(set)["metadata"]["uid"].clone();
        let mine =
            w.pods.iter_mut().filter(|p| p["metadata"]["ownerReferences"][0]["uid"] == uid && p["metadata"]["deletionTimestamp"].is_null());
        mine.take(n).for_each(|p| p["metadata"]["deletionTimestamp"] = "2026-01-01T01:00:00Z".into());
        w.follow();
        w.ready_pods("app:1");
    };
    going(&mut world, "web-1", 15);
    world.settle();
    assert_eq!(world.deployment()["status"]["terminatingReplicas"], 15);
    world.edit(|d| d.image("app:2"));
    world.settle();
    let second = world.name_of("app:2");
    let at = |w: &Cluster, n: &str| w.set(n)["spec"]["replicas"].as_i64().unwrap();
    assert_eq!((at(&world, "web-1"), at(&world, &second)), (100, 20), "new pods come at once");
    going(&mut world, &second, 1);
    world.settle();
    assert_eq!(world.deployment()["status"]["terminatingReplicas"], 16);
    assert_eq!(world.set(&second)["status"]["replicas"], 20, "replaced at once");
    world.edit(|d| d.replicas(120));
    world.settle();
    assert_eq!((at(&world, "web-1"), at(&world, &second)), (117, 23));
    for (set, revision) in [("web-1", "1"), (&*second, "2")] {
        let notes = world.set(set)["metadata"]["annotations"].clone();
        assert_eq!(notes, serde_json::json!({DESIRED: "120", MAX: "140", "deployment.kubernetes.io/revision": revision}));
    }
}

/// workloads 2.18.19
#[test]
fn the_set_follows_spec_replicas() {
    let mut world = Cluster::new(deployment("web")).and(set("web", 1).full(1).sized_for(1, 2));
    world.settle();
    for n in [3, 0, 0, 2] {
        world.edit(|d| d.replicas(n));
        world.settle();
        world.ready_pods("");
        world.settle();
        assert_eq!(world.set("web-1")["spec"]["replicas"], n);
        assert_eq!(world.set("web-1")["metadata"]["annotations"][DESIRED], n.to_string());
    }
    assert_eq!(
        world.events,
        ["up replica set web-1 from 1 to 3", "down replica set web-1 from 3 to 0", "up replica set web-1 from 0 to 2"]
            .map(|e| format!("Normal ScalingReplicaSet: Scaled {e}"))
    );
}

/// workloads 2.18.43, both halves; recorded story `deploy-share-adopted`.
#[test]
fn an_adopted_set_is_emptied_at_once_when_the_new_one_is_full_and_available() {
    let world = |available: i64| {
        Cluster::new(deployment("web").image("app:2").replicas(3).rolling(1, 0).paused())
            .and(set("web", 2).size(3).available(available).sized_for(3, 4))
            .and(set("web", 1).size(1).sized_for(1, 2))
    };
    assert_eq!(said(&world(3), &world(3).plan()), [["web-1 1→0"]]);
    assert_eq!(said(&world(2), &world(2).plan()), [["web-1 note"]], "its size stays");
    let unnoted = Cluster::new(deployment("web").image("app:2").replicas(3).rolling(1, 0).paused())
        .and(set("web", 2).full(3).sized_for(4, 5))
        .and(set("web", 1).size(1).sized_for(3, 4));
    assert_eq!(said(&unnoted, &unnoted.plan()), [["web-2 note"]], "the new one must have been sized for this");
}

/// 2.19 S1: upstream would never roll out again.
#[test]
fn an_out_of_date_annotation_alone_does_not_hold_rollouts_up() {
    let mut world = Cluster::new(deployment("web").image("app:2").replicas(3)).and(set("web", 1).full(3).sized_for(7, 9));
    assert_eq!(said(&world, &world.plan()), [["web-1 note"]]);
    world.follow();
    world.ready_pods("");
    world.settle_with(|w| w.ready_pods(""));
    assert_eq!(world.set_of("app:2")["spec"]["replicas"], 3);
    assert!(events(&world.report()).is_empty());
}

/// The recorded story `deploy-strategy-midway` and S12: maxSurge alone never refreshes an annotation.
#[test]
fn a_new_surge_alone_writes_nothing() {
    for paused in [false, true] {
        let d = deployment("web").replicas(3).rolling(2, 0).complete();
        let mut world = Cluster::new(if paused { d.paused() } else { d }).and(set("web", 1).full(3).sized_for(3, 4));
        world.settle();
        assert!(world.log.iter().all(|w| w != "update web-1"), "{:?}", world.log);
    }
}

/// 2.19 S2: upstream waits for ever.
#[test]
fn a_recreate_with_two_active_sets_and_a_new_size_goes_on() {
    let mut world = Cluster::new(deployment("web").image("app:2").replicas(6).recreate())
        .and(set("web", 1).size(2).sized_for(4, 5))
        .and(set("web", 2).size(2).sized_for(4, 5));
    assert_eq!(said(&world, &world.plan()), [["web-1 2→0"]]);
    world.settle_with(|w| w.ready_pods(""));
    assert_eq!(world.set("web-2")["spec"]["replicas"], 6);
    assert_eq!(world.set("web-2")["metadata"]["annotations"][DESIRED], "6");
    assert_eq!(conditions(world.deployment()).last().unwrap(), "Progressing=True/NewReplicaSetAvailable");
    let paused = Cluster::new(deployment("web").image("app:2").replicas(6).recreate().paused())
        .and(set("web", 1).size(2).sized_for(4, 5))
        .and(set("web", 2).size(2).sized_for(4, 5));
    assert!(paused.plan().is_empty(), "a paused one does not roll");
}

/// The largest numbers there are neither overflow nor panic (S11).
#[test]
fn absurd_sizes_are_carried_through() {
    let most = i64::from(i32::MAX);
    let world = Cluster::new(deployment("web").image("app:2").replicas(most).rolling("100%", "100%"))
        .and(set("web", 2).size(most).sized_for(most - 1, 1))
        .and(set("web", 1).size(most - 1).available(most - 1).sized_for(most - 1, 1));
    let total: i64 = sizes(&world, &world.plan()).iter().map(|(_, n)| n).sum();
    assert_eq!(total, 2 * most);
    let report = world.report();
    assert_eq!(status(&report)["status"]["replicas"], most, "sums are cut off at the ends of 32 bits");
    let first = Cluster::new(deployment("web").replicas(most).rolling("1000000%", 0));
    assert_eq!(said(&first, &first.plan()), [[format!("create {most}")]]);
    let evenkeel_plan::Write::Create { body, .. } = &first.plan().steps[0][0] else { panic!() };
    assert_eq!(body["metadata"]["annotations"][MAX], most.to_string());
}

/// workloads 2.6.3: annotations alone make no event.
#[test]
fn an_annotation_write_is_no_event() {
    let world = Cluster::new(deployment("web").image("app:2").replicas(2).rolling(1, 1).paused())
        .and(set("web", 2).size(2))
        .and(set("web", 1).size(1));
    assert_eq!(said(&world, &world.plan()).concat().iter().filter(|w| w.ends_with("note")).count(), 2);
    assert_eq!(events(&world.report()), [""; 0]);
}
