//! Progress and its deadline: workloads 2.12, and the scenarios of 2.18.

use evenkeel_plan::Next;
use serde_json::{Value, json};

use crate::world::{Cluster, Dep, T0, at, condition, conditions, deployment, reason, set, status};

/// A rollout of two pods in which nothing moves: counters in the status are what the sets say.
fn stuck(d: Dep) -> Cluster {
    let d = d.image("app:2").replicas(2).rolling(1, 0).with("/status/observedGeneration", 1);
    let d = ["replicas", "unavailableReplicas"]
        .into_iter()
        .fold(d, |d, f| d.with(&format!("/status/{f}"), if f == "replicas" { 3 } else { 1 }));
    let d = ["readyReplicas", "availableReplicas"].into_iter().fold(d, |d, f| d.with(&format!("/status/{f}"), 2));
    let d = d.with("/status/updatedReplicas", 1).with("/status/terminatingReplicas", 0).note("deployment.kubernetes.io/revision", "2");
    Cluster::new(available(d)).and(set("web", 1).full(2).sized_for(2, 3)).and(set("web", 2).size(1).sized_for(2, 3))
}

/// With the condition `Available` in front of what is there.
fn available(mut d: Dep) -> Dep {
    let mine = json!({"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable", "message": "Deployment has minimum availability.",
        "lastUpdateTime": "2026-01-01T00:00:05Z", "lastTransitionTime": "2026-01-01T00:00:05Z"});
    match d.0["status"]["conditions"].as_array_mut() {
        Some(list) => list.insert(0, mine),
        None => d = d.with("/status/conditions", json!([mine])),
    }
    d
}

/// workloads 2.18.12, the first half: the timer, then the verdict, with nothing happening outside.
#[test]
fn a_rollout_that_stands_still_times_out_by_itself() {
    let mut world = stuck(deployment("web").deadline(3).progressing("True", "ReplicaSetUpdated", T0));
    for second in [0, 2, 3] {
        world.now = T0 + second;
        let report = world.report();
        assert!(report.steps.is_empty(), "second {second}: not before the deadline has passed");
        assert_eq!(report.next, Next::At(at(T0 + 4)), "deadline and one second");
    }
    world.now = T0 + 4;
    let (_, report) = world.pass();
    let c = condition(status(&report), "Progressing").clone();
    assert_eq!(
        (&c["status"], &c["reason"], &c["message"]),
        (&json!("False"), &json!("ProgressDeadlineExceeded"), &json!("ReplicaSet \"web-2\" has timed out progressing."))
    );
    assert_eq!(c["lastTransitionTime"], at(T0 + 4).to_string());
    let (_, report) = world.pass();
    assert!(report.steps.is_empty());
    assert_eq!(report.next, Next::OnChange, "once is enough");
}

/// workloads 2.18.12, the second half; recorded story `deploy-deadline`.
#[test]
fn a_late_rollout_can_still_finish() {
    let mut world = Cluster::new(deployment("web").deadline(3));
    world.settle();
    world.now += 100;
    world.settle();
    assert_eq!(reason(world.deployment()), "ProgressDeadlineExceeded");
    world.ready_pods("");
    world.settle();
    assert_eq!(conditions(world.deployment()), ["Available=True/MinimumReplicasAvailable", "Progressing=True/NewReplicaSetAvailable"]);
}

/// workloads 2.12.3: the verdict stands until there is progress, even where somebody has turned the condition's status.
#[test]
fn a_rollout_that_timed_out_has_timed_out() {
    let world = stuck(deployment("web").progressing("True", "ProgressDeadlineExceeded", T0));
    let report = world.report();
    let c = condition(status(&report), "Progressing");
    assert_eq!((&c["status"], &c["reason"]), (&json!("False"), &json!("ProgressDeadlineExceeded")));
}

/// workloads 2.12.5: timing out stops nothing; recorded story `deploy-deadline-rollout`.
#[test]
fn a_rollout_that_timed_out_goes_on_when_it_can() {
    let mut world = stuck(deployment("web").progressing("False", "ProgressDeadlineExceeded", 60));
    world.edit_set("web-2", |s| s.available(1));
    let (plan, report) = world.pass();
    assert!(!plan.is_empty());
    let c = condition(status(&report), "Progressing");
    assert_eq!(
        (&c["status"], &c["reason"], &c["message"]),
        (&json!("True"), &json!("ReplicaSetUpdated"), &json!("ReplicaSet \"web-2\" is progressing."))
    );
    assert_eq!(c["lastTransitionTime"], at(T0).to_string());
}

/// workloads 2.12.3: every step forward is written, because it restarts the clock.
#[test]
fn progress_restarts_the_clock() {
    type Step = fn(crate::world::Set) -> crate::world::Set;
    let changes: [(&str, Step); 3] = [
        ("updated", |s| s.with("/status/replicas", 2)),
        ("ready", |s| s.with("/status/readyReplicas", 1)),
        ("available", |s| s.available(1)),
    ];
    for (what, change) in changes {
        let mut world = stuck(deployment("web").progressing("True", "ReplicaSetUpdated", 60));
        world.edit_set("web-2", change);
        let report = world.report();
        let c = condition(status(&report), "Progressing");
        assert_eq!(c["lastUpdateTime"], at(T0).to_string(), "{what}");
        assert_eq!(c["lastTransitionTime"], at(60).to_string(), "{what}: it was True before");
        assert_eq!(conditions(status(&report)).last().unwrap(), "Progressing=True/ReplicaSetUpdated", "{what}: moved to the end");
    }
    let mut fewer_old = stuck(deployment("web").progressing("True", "ReplicaSetUpdated", T0 - 9));
    fewer_old.edit_set("web-1", |s| s.with("/status/replicas", 1));
    assert_eq!(condition(status(&fewer_old.report()), "Progressing")["lastUpdateTime"], at(T0).to_string(), "fewer old pods are progress");
    let mut fewer_new = stuck(deployment("web").progressing("True", "ReplicaSetUpdated", T0 - 9));
    fewer_new.edit_set("web-2", |s| s.with("/status/replicas", 0));
    let c = condition(status(&fewer_new.report()), "Progressing")["lastUpdateTime"].clone();
    assert_eq!(c, at(T0 - 9).to_string(), "fewer pods are none where no old one went");
    let mut worse = stuck(deployment("web").progressing("True", "ReplicaSetUpdated", T0 - 9));
    worse.edit_set("web-1", |s| s.available(1).with("/status/replicas", 3));
    assert_eq!(
        condition(status(&worse.report()), "Progressing")["lastUpdateTime"],
        at(T0 - 9).to_string(),
        "more old pods and fewer ready ones are not"
    );
}

/// workloads 2.18.13
#[test]
fn without_a_deadline_there_is_no_progress_condition() {
    let mut absent = deployment("web").progressing("True", "ReplicaSetUpdated", 60);
    absent.0["spec"].as_object_mut().unwrap().remove("progressDeadlineSeconds");
    for d in [absent, deployment("web").deadline(i64::from(i32::MAX)).progressing("False", "ProgressDeadlineExceeded", 60)] {
        let mut world = stuck(d);
        let report = world.report();
        assert_eq!(conditions(status(&report)), ["Available=True/MinimumReplicasAvailable"]);
        world.pass();
        let (_, report) = world.pass();
        assert_eq!((report.next, report.steps.len()), (Next::OnChange, 0), "no timer");
    }
    let mut fresh = Cluster::new(deployment("web").deadline(Value::from(i32::MAX)));
    fresh.settle_with(|w| w.ready_pods(""));
    assert_eq!(conditions(fresh.deployment()), ["Available=True/MinimumReplicasAvailable"]);
}

/// workloads 2.18.14, and S19: no timer that spins.
#[test]
fn a_finished_rollout_is_not_judged_again() {
    let mut world = Cluster::new(deployment("web").replicas(2).complete()).and(set("web", 1).full(2).sized_for(2, 3));
    world.now = T0 + 100_000;
    assert_eq!(reason(world.deployment()), "NewReplicaSetAvailable");
    let before = condition(world.deployment(), "Progressing").clone();
    world.edit_set("web-1", |s| s.available(0));
    let (_, report) = world.pass();
    assert_eq!(condition(status(&report), "Available")["status"], "False");
    assert_eq!(*condition(status(&report), "Progressing"), before);
    let (_, report) = world.pass();
    assert_eq!((report.next, report.steps.len()), (Next::OnChange, 0));
    world.edit_set("web-1", |s| s.available(1));
    let (_, report) = world.pass();
    assert_eq!(*condition(status(&report), "Progressing"), before, "a pod that comes back is no progress of a rollout");
    // A pod more or less while the rest is busy: not finished, but nothing that could time out either.
    let mut extra = Cluster::new(deployment("web").replicas(2).complete().with("/status/replicas", 3))
        .and(set("web", 1).full(2).sized_for(2, 3))
        .and(set("web", 0).with("/status/replicas", 1).created(-1));
    extra.now = T0 + 100_000;
    extra.pass();
    assert_eq!(reason(extra.deployment()), "NewReplicaSetAvailable", "however long ago that was");
    let (_, report) = extra.pass();
    assert_eq!((report.next, report.steps.len()), (Next::OnChange, 0));
}

/// workloads 2.12.6: the timer waits for the written status to come back.
#[test]
fn a_timer_is_set_when_the_status_is_at_rest() {
    let mut world = Cluster::new(deployment("web").replicas(2));
    let (_, report) = world.pass();
    assert_eq!(report.next, Next::OnChange);
    let (_, report) = world.pass();
    assert_eq!(report.next, Next::At(at(T0 + 600 + 1)));
    world.settle_with(|w| w.ready_pods(""));
    assert_eq!(world.report().next, Next::OnChange, "complete: no timer");
    let paused = stuck(deployment("web").paused().progressing("Unknown", "DeploymentPaused", 60));
    assert_eq!(paused.report().next, Next::OnChange);
    let resumed = stuck(deployment("web").progressing("Unknown", "DeploymentResumed", 3500));
    assert_eq!(resumed.report().next, Next::At(at(3500 + 601)));
}

/// workloads 2.12, Complete: the words name the set, and the Deployment where there is none.
#[test]
fn messages_name_the_set_or_the_deployment() {
    let world = Cluster::new(
        deployment("web").recreate().image("app:2").replicas(1).progressing("True", "ReplicaSetUpdated", 60).with("/status/replicas", 2),
    )
    .and(set("web", 1).with("/status/replicas", 1));
    let c = condition(status(&world.report()), "Progressing").clone();
    assert_eq!(c["message"], "Deployment \"web\" is progressing.");
    let late = Cluster::new(
        deployment("web").recreate().image("app:2").replicas(1).progressing("True", "ReplicaSetUpdated", 60).with("/status/replicas", 1),
    )
    .and(set("web", 1).with("/status/replicas", 1));
    let c = condition(status(&late.report()), "Progressing").clone();
    assert_eq!(c["message"], "Deployment \"web\" has timed out progressing.");
    let none =
        Cluster::new(deployment("web").recreate().image("app:2").replicas(0).with("/status/observedGeneration", 0)).and(set("web", 2));
    assert_eq!(condition(status(&none.report()), "Progressing")["message"], "ReplicaSet \"web-2\" has successfully progressed.");
}

/// Times without a beginning, or beyond the end of the calendar, neither panic nor spin.
#[test]
fn odd_times_are_survived() {
    let mut never = stuck(deployment("web").progressing("True", "ReplicaSetUpdated", 60));
    never.edit(|mut d| {
        d.0["status"]["conditions"][1].as_object_mut().unwrap().remove("lastUpdateTime");
        d
    });
    assert_eq!(reason(status(&never.report())), "ProgressDeadlineExceeded");
    let mut far = stuck(deployment("web").deadline(i64::from(i32::MAX) - 1).progressing("True", "ReplicaSetUpdated", 60));
    far.edit(|mut d| {
        d.0["status"]["conditions"][1]["lastUpdateTime"] = "9999-12-30T00:00:00Z".into();
        d
    });
    let report = far.report();
    assert_eq!(report.next, Next::OnChange);
}
