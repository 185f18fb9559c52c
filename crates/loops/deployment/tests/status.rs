//! The status: workloads 2.11 and 2.2.2, and the scenarios of 2.18.

use evenkeel_api::Version;
use evenkeel_deployment::DeploymentLoop;
use evenkeel_plan::{Next, Report, Write};
use serde_json::{Value, json};

use crate::world::{Cluster, T0, at, condition, conditions, deployment, events, set, status};

/// workloads 2.18.21; recorded story `deploy-spec-only`.
#[test]
fn a_new_generation_is_taken_note_of() {
    let mut world = Cluster::new(deployment("web").complete()).and(set("web", 1).full(1).sized_for(1, 2)).live();
    world.settle();
    let before = world.deployment()["status"].clone();
    world.edit(|d| d.history(3));
    let (plan, _) = world.pass();
    assert!(plan.is_empty());
    let after = &world.deployment()["status"];
    assert_eq!(after["observedGeneration"], 2);
    assert_eq!(after["conditions"], before["conditions"]);
}

/// workloads 2.18.22; recorded story `deploy-min-ready`.
#[test]
fn ready_is_not_yet_available() {
    let mut world = Cluster::new(deployment("web").replicas(10).deadline(7200).with("/spec/minReadySeconds", 3600));
    world.settle();
    let counters = |w: &Cluster| {
        let s = &w.deployment()["status"];
        let n = |f: &str| s.get(f).and_then(Value::as_i64).unwrap_or(0);
        (
            n("replicas"),
            n("updatedReplicas"),
            n("readyReplicas"),
            n("availableReplicas"),
            n("unavailableReplicas"),
            s["terminatingReplicas"].clone(),
        )
    };
    assert_eq!(counters(&world), (10, 10, 0, 0, 10, json!(0)));
    assert_eq!(condition(world.deployment(), "Available")["reason"], "MinimumReplicasUnavailable");
    let unavailable = condition(world.deployment(), "Available").clone();
    let name = world.name_of("app:1");
    world.edit_set(&name, |s| s.with("/status/readyReplicas", 10));
    world.pass();
    assert_eq!(counters(&world), (10, 10, 10, 0, 10, json!(0)));
    assert_eq!(*condition(world.deployment(), "Available"), unavailable, "left as it is, times included");
    world.edit(|d| d.with("/spec/minReadySeconds", 1));
    world.pass();
    assert_eq!(world.set(&name)["spec"]["minReadySeconds"], 1);
    world.edit_set(&name, |s| s.available(10).with("/status/observedGeneration", 2));
    world.pass();
    world.pass();
    assert_eq!(counters(&world), (10, 10, 10, 10, 0, json!(0)));
    assert_eq!(condition(world.deployment(), "Available")["reason"], "MinimumReplicasAvailable");
}

/// workloads 2.18.31
#[test]
fn pods_on_their_way_out_are_summed_where_everybody_counts_them() {
    let silent = |n: u32, seen: i64| {
        let mut s = set("web", n).with("/status/observedGeneration", seen);
        s.0["status"].as_object_mut().unwrap().remove("terminatingReplicas");
        s
    };
    let counting = |n: u32, going: i64| set("web", n).with("/status/terminatingReplicas", going);
    let world = |two: crate::world::Set| {
        Cluster::new(deployment("web").image("app:3").status(json!({"terminatingReplicas": 9})))
            .and(counting(1, 4))
            .and(two)
            .and(counting(3, 2))
    };
    let total = |w: &Cluster| status(&w.report())["status"].get("terminatingReplicas").cloned();
    assert_eq!(total(&world(counting(2, 5))), Some(json!(11)));
    assert_eq!(total(&world(silent(2, 1))), None, "one that was seen but not counted leaves the sum unknown");
    assert_eq!(total(&world(silent(2, 0))), Some(json!(6)), "one that was never seen has none");
    let mut off = world(counting(2, 5));
    off.looper = DeploymentLoop::new(false);
    assert_eq!(total(&off), None, "gate off: gone even if it was there");
}

/// workloads 2.11, counter by counter, and a new set made in the same pass counted with its size.
#[test]
fn counters_are_sums_over_all_sets() {
    let world = Cluster::new(deployment("web").image("app:2").replicas(6).rolling(2, 2))
        .and(set("web", 1).size(4).available(3).with("/status/readyReplicas", 4).sized_for(6, 8))
        .and(set("web", 2).size(3).available(1).with("/status/readyReplicas", 2).sized_for(6, 8));
    let report = world.report();
    let s = &status(&report)["status"];
    let n = |f: &str| s[f].as_i64().unwrap();
    assert_eq!(
        (n("replicas"), n("updatedReplicas"), n("readyReplicas"), n("availableReplicas"), n("unavailableReplicas")),
        (7, 3, 6, 4, 3)
    );
    let more = Cluster::new(deployment("web").image("app:2").replicas(1)).and(set("web", 2).size(1).sized_for(1, 2).available(3));
    assert_eq!(status(&more.report())["status"].get("unavailableReplicas"), None, "never negative");
    let making = Cluster::new(deployment("web").image("app:2").replicas(6).rolling(2, 2)).and(set("web", 1).full(6));
    let s = status(&making.report())["status"].clone();
    assert_eq!((&s["replicas"], s.get("updatedReplicas"), &s["unavailableReplicas"]), (&json!(6), None, &json!(2)));
}

/// workloads 2.11: how many must be available.
#[test]
fn availability_is_judged_by_the_bound() {
    let says = |replicas: i64, unavailable: i64, available: i64| {
        let world = Cluster::new(deployment("web").replicas(replicas).rolling(1, unavailable))
            .and(set("web", 1).size(replicas).available(available).sized_for(replicas, replicas + 1));
        let report = world.report();
        let c = condition(status(&report), "Available").clone();
        (c["status"].as_str().unwrap().to_owned(), c["message"].as_str().unwrap().to_owned())
    };
    let yes = ("True".to_owned(), "Deployment has minimum availability.".to_owned());
    let no = ("False".to_owned(), "Deployment does not have minimum availability.".to_owned());
    assert_eq!(says(10, 2, 8), yes);
    assert_eq!(says(10, 2, 7), no);
    assert_eq!(says(2, 50, 0), yes);
    assert_eq!(says(0, 1, 0), yes);
}

/// workloads 2.11, condition set rule.
#[test]
fn conditions_change_by_status_and_reason_only() {
    let with = |holds: &str, reason: &str| {
        let old = json!([
            {"type": "Available", "status": holds, "reason": reason, "message": "old words", "lastUpdateTime": "2026-01-01T00:00:01Z", "lastTransitionTime": "2026-01-01T00:00:01Z", "extra": "kept"},
            {"type": "Theirs", "status": "True", "reason": "x", "message": "y"}]);
        let d = deployment("web").deadline(i64::from(i32::MAX)).status(json!({"conditions": old}));
        let report = Cluster::new(d).and(set("web", 1).full(1).sized_for(1, 2)).report();
        status(&report)["status"]["conditions"].clone()
    };
    let same = with("True", "MinimumReplicasAvailable");
    assert_eq!(
        (&same[0]["message"], &same[0]["lastUpdateTime"], &same[0]["extra"]),
        (&json!("old words"), &json!("2026-01-01T00:00:01Z"), &json!("kept"))
    );
    assert_eq!(
        same[1],
        json!({"type": "Theirs", "status": "True", "reason": "x", "message": "y"}),
        "others' conditions stay as they were sent"
    );
    let other_reason = with("True", "Because");
    assert_eq!(other_reason[0]["type"], "Theirs", "a changed one goes to the end");
    assert_eq!(
        (&other_reason[1]["lastTransitionTime"], &other_reason[1]["lastUpdateTime"]),
        (&json!("2026-01-01T00:00:01Z"), &json!(at(T0).to_string()))
    );
    let other_status = with("False", "MinimumReplicasAvailable");
    assert_eq!(other_status[1]["lastTransitionTime"], at(T0).to_string());
}

/// workloads 2.18.38; recorded story `deploy-quota-pods`.
#[test]
fn a_failure_of_a_set_shows_until_the_set_drops_it() {
    let failing = |s: crate::world::Set, reason: &str| {
        s.with("/status/conditions", json!([{"type": "Other", "status": "True"}, {"type": "ReplicaFailure", "status": "True", "reason": reason, "message": format!("of {reason}"), "lastTransitionTime": "2026-01-01T00:10:00Z"}]))
    };
    let world = |old, new| Cluster::new(deployment("web").image("app:2").replicas(2)).and(old).and(new);
    let plain = || (set("web", 1).sized_for(2, 3), set("web", 2).size(2).sized_for(2, 3));
    let both = world(failing(plain().0, "FailedDelete"), failing(plain().1, "FailedCreate"));
    let report = both.report();
    assert_eq!(
        *condition(status(&report), "ReplicaFailure"),
        json!({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "of FailedCreate",
        "lastUpdateTime": "2026-01-01T00:10:00Z", "lastTransitionTime": "2026-01-01T00:10:00Z"})
    );
    let old_only = world(failing(plain().0, "FailedDelete"), plain().1);
    assert_eq!(condition(status(&old_only.report()), "ReplicaFailure")["reason"], "FailedDelete");
    let mut cured = world(failing(plain().0, "FailedDelete"), plain().1);
    cured.pass();
    assert_eq!(condition(cured.deployment(), "ReplicaFailure")["reason"], "FailedDelete");
    cured.edit_set("web-1", |s| s.with("/status/conditions", json!([])));
    cured.pass();
    assert_eq!(*condition(cured.deployment(), "ReplicaFailure"), Value::Null);
    let mut paused = world(failing(plain().0, "FailedDelete"), plain().1);
    paused.edit(|d| d.paused());
    assert_eq!(*condition(status(&paused.report()), "ReplicaFailure"), Value::Null, "not while paused (workloads 2.6)");
}

/// workloads 2.18.44
#[test]
fn a_deployment_that_selects_everything_is_only_warned() {
    let mut world = Cluster::new(deployment("web").with("/spec/selector", json!({})).with("/metadata/generation", 3))
        .and(set("web", 1).full(1))
        .and(set("web", 2).orphan());
    assert!(world.snapshot().sets.is_empty());
    let (plan, report) = world.pass();
    assert!(plan.is_empty());
    assert_eq!(events(&report), ["Warning SelectingAll: This deployment is selecting all pods. A non-empty selector is required."]);
    assert_eq!(world.deployment()["status"]["observedGeneration"], 3);
    let (_, report) = world.pass();
    assert!(report.steps.is_empty());
    assert_eq!(report.next, Next::OnChange);
}

/// workloads 2.18.45, first half, and 2.13: nothing to do, nothing written.
#[test]
fn a_deployment_at_rest_is_not_written() {
    for d in [deployment("web"), deployment("web").recreate(), deployment("web").replicas(0), deployment("web").paused()] {
        let mut world = Cluster::new(d);
        world.settle_with(|w| w.ready_pods(""));
        world.log.clear();
        world.looper = DeploymentLoop::default();
        for _ in 0..3 {
            let (plan, report) = world.pass();
            assert!(plan.is_empty());
            assert_eq!(report, Report::default(), "no write, no event, no timer");
        }
        assert!(world.log.is_empty());
    }
}

/// A Deployment that is gone, or was never seen, is no work.
#[test]
fn nobody_is_no_work() {
    let mut world = Cluster::new(deployment("web")).and(set("web", 1));
    world.key = evenkeel_api::Key::new("default", "gone");
    assert!(world.plan().is_empty());
    assert_eq!(world.report(), Report::default());
}

/// workloads 2.13: what a status write looks like.
#[test]
fn a_status_write_is_the_whole_object_at_its_version() {
    let world = Cluster::new(
        deployment("web").with("/metadata/labels", json!({"a": "b"})).with("/metadata/managedFields", json!([{"manager": "x"}])),
    )
    .and(set("web", 1).full(1).sized_for(1, 2));
    let report = world.report();
    let [Write::Replace { target, subresource: Some("status"), body }] = &report.steps.concat()[..] else { panic!() };
    assert_eq!((target.version, target.uid.to_string()), (Some(Version(10)), crate::world::uid("web")));
    assert_eq!(body["metadata"]["labels"], json!({"a": "b"}));
    assert_eq!(body["metadata"].get("managedFields"), None);
    assert_eq!(body["spec"], world.deployment()["spec"]);
    assert_eq!(conditions(body), ["Available=True/MinimumReplicasAvailable", "Progressing=True/NewReplicaSetAvailable"]);
}
