//! Pausing: workloads 2.5, and its scenarios of 2.18.

use crate::world::{Cluster, at, condition, conditions, deployment, reason, said, set, status};
use serde_json::{Value, json};

/// workloads 2.18.6; recorded story `deploy-born-paused`.
#[test]
fn a_deployment_that_is_born_paused_makes_nothing() {
    let mut world = Cluster::new(deployment("web").replicas(3).paused());
    world.settle();
    assert!(world.sets().is_empty());
    assert_eq!(world.deployment()["status"]["observedGeneration"], 1);
    assert_eq!(conditions(world.deployment()), ["Progressing=Unknown/DeploymentPaused", "Available=False/MinimumReplicasUnavailable"]);
    world.edit(|d| d.with("/spec/paused", false));
    world.settle_with(|w| w.ready_pods(""));
    assert_eq!(world.set_of("app:1")["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "1");
    assert_eq!(conditions(world.deployment()), ["Available=True/MinimumReplicasAvailable", "Progressing=True/NewReplicaSetAvailable"]);
}

/// workloads 2.18.7; recorded story `deploy-pause-midway`.
#[test]
fn a_template_that_changes_while_paused_is_not_rolled_out() {
    let mut world = Cluster::new(deployment("web").replicas(3).complete()).and(set("web", 1).full(3).sized_for(3, 4));
    world.edit(|d| d.paused());
    world.settle();
    let template = world.set("web-1")["spec"]["template"].clone();
    world.edit(|d| d.image("app:2"));
    world.settle();
    assert_eq!(world.sets().len(), 1);
    assert_eq!(world.set("web-1")["spec"]["template"], template);
    assert_eq!(world.deployment()["status"].get("updatedReplicas"), None, "it is an old one now");
    assert_eq!(world.deployment()["status"]["observedGeneration"], 3);
    world.edit(|d| d.replicas(6));
    world.settle();
    assert_eq!(world.set("web-1")["spec"]["replicas"], 6, "and follows sizes");
    world.edit(|d| d.with("/spec/paused", false));
    world.settle_with(|w| w.ready_pods(""));
    assert_eq!(world.set_of("app:2")["spec"]["replicas"], 6);
    assert_eq!(world.set("web-1")["spec"]["replicas"], 0);
}

/// workloads 2.18.9
#[test]
fn pause_and_resume_show_in_the_condition_and_restart_the_clock() {
    let old = || set("web", 1).full(1).sized_for(1, 2);
    let paused = Cluster::new(deployment("web").complete().paused()).and(old());
    let report = paused.report();
    let progressing = condition(status(&report), "Progressing");
    assert_eq!(
        (&progressing["status"], &progressing["reason"], &progressing["message"]),
        (&json!("Unknown"), &json!("DeploymentPaused"), &json!("Deployment is paused"))
    );
    assert_eq!(progressing["lastTransitionTime"], at(crate::world::T0).to_string());
    assert_eq!(report.next, evenkeel_plan::Next::OnChange, "no timer while paused");
    // Again paused: nothing to say. (A condition that is as it should be stays as it is.)
    let again = Cluster::new(deployment("web").complete().paused().progressing("Unknown", "DeploymentPaused", 60)).and(old());
    assert_eq!(condition(status(&again.report()), "Progressing")["lastUpdateTime"], at(60).to_string(), "only Available is news");
    let resumed = Cluster::new(deployment("web").image("app:2").complete().progressing("Unknown", "DeploymentPaused", 60))
        .and(old())
        .and(set("web", 2).size(1).sized_for(1, 2));
    let report = resumed.report();
    let progressing = condition(status(&report), "Progressing");
    assert_eq!(
        (&progressing["status"], &progressing["reason"], &progressing["message"]),
        (&json!("Unknown"), &json!("DeploymentResumed"), &json!("Deployment is resumed"))
    );
    assert_eq!(progressing["lastUpdateTime"], at(crate::world::T0).to_string(), "the clock starts anew");
    assert_eq!(progressing["lastTransitionTime"], at(60).to_string(), "its status was Unknown before");
    for d in [deployment("web").paused(), deployment("web")] {
        let late = Cluster::new(d.image("app:2").complete().progressing("False", "ProgressDeadlineExceeded", 60))
            .and(old())
            .and(set("web", 2).size(1).sized_for(1, 2));
        assert_eq!(reason(status(&late.report())), "ProgressDeadlineExceeded", "a report of no progress stays");
    }
}

/// workloads 2.18.9 with S5: the recorded story `deploy-pause-idle`, one status write a pass.
#[test]
fn one_status_write_tells_the_pause_and_the_counters() {
    let mut world = Cluster::new(deployment("web").complete()).and(set("web", 1).full(1).sized_for(1, 2)).live();
    world.edit(|d| d.paused());
    world.pass();
    assert_eq!(world.log, ["update web"]);
    assert_eq!(reason(world.deployment()), "DeploymentPaused");
    assert_eq!(world.deployment()["status"]["observedGeneration"], 2);
    world.edit(|d| d.with("/spec/paused", false));
    world.pass();
    assert_eq!(reason(world.deployment()), "NewReplicaSetAvailable", "resumed and complete: said together");
    world.settle();
    assert_eq!(world.log.len(), 2);
}

/// The recorded story `deploy-pause-no-deadline`.
#[test]
fn without_a_deadline_a_pause_leaves_no_condition() {
    for none in [json!(i32::MAX), Value::Null] {
        let mut world = Cluster::new(deployment("web").paused().with("/spec/progressDeadlineSeconds", none))
            .and(set("web", 1).full(1).sized_for(1, 2))
            .live();
        if world.deployment()["spec"]["progressDeadlineSeconds"].is_object() {
            world.edit(|mut d| {
                d.0["spec"].as_object_mut().unwrap().remove("progressDeadlineSeconds");
                d
            });
        }
        world.settle();
        assert_eq!(conditions(world.deployment()), ["Available=True/MinimumReplicasAvailable"]);
    }
}

/// workloads 2.6: history is cleaned up while paused, and a rollback request waits.
#[test]
fn a_paused_deployment_cleans_up_and_rolls_nothing_back() {
    let world = |d: crate::world::Dep| {
        Cluster::new(d.image("app:3").replicas(1).paused().history(1))
            .and(set("web", 1))
            .and(set("web", 2))
            .and(set("web", 3).full(1).sized_for(1, 2))
    };
    let plain = world(deployment("web"));
    assert_eq!(said(&plain, &plain.plan()), [["delete web-1"]]);
    let asked = world(deployment("web").note("deprecated.deployment.rollback.to", "1"));
    assert!(asked.plan().is_empty());
}

/// A set that the pass itself sizes is not removed by it: upstream could delete the very set that it scaled up.
#[test]
fn a_set_that_is_sized_is_not_removed() {
    let world = Cluster::new(deployment("web").image("app:9").replicas(2).paused().history(0)).and(set("web", 1)).and(set("web", 2));
    assert_eq!(said(&world, &world.plan()), [["web-2 0→2"], ["delete web-1"]]);
}
