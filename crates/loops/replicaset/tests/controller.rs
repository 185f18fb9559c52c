//! What is different for ReplicationControllers (workloads 4). What is alike is tested for both kinds in the other files.

use evenkeel_api::{Object, ReplicationController};
use evenkeel_plan::Next;
use evenkeel_replicaset::SetLoop;
use serde_json::{Value, json};

use crate::world::*;

type C = ReplicationController;

/// The recorded story rc-selector: the selector is a plain map, and may change.
#[test]
fn the_selector_of_a_controller_may_change_under_its_pods() {
    let lp = SetLoop::<C>::default();
    let labels = json!({"name": "old", "gen": "1"});
    let mut world = World::new().with::<C>(set("old").labels(labels).selector(json!({"name": "old"})).replicas(2));
    world.settle(&lp, "old");
    let first = world.pods();
    world.change_set::<C>("old", |v| {
        v["spec"]["selector"] = json!({"name": "old", "gen": "2"});
        v["spec"]["template"]["metadata"]["labels"] = json!({"name": "old", "gen": "2"});
    });
    world.settle(&lp, "old");
    assert!(first.iter().all(|name| world.owners_of(name).is_empty()), "let go");
    assert_eq!((world.live_of("old").len(), world.pods().len()), (2, 4));
    for name in &first {
        world.change_pod(name, |v| v["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T12:00:00Z"}]}));
    }
    world.change_set::<C>("old", |v| v["spec"]["selector"] = json!({"name": "old"}));
    world.settle(&lp, "old");
    assert_eq!(world.pods(), first, "all match again: the ones that are not ready go");
    let status = world.status::<C>("old");
    assert_eq!((&status["readyReplicas"], status.get("fullyLabeledReplicas")), (&json!(2), None));
}

/// workloads 4: an absent template is an empty one.
#[test]
fn without_a_template_nothing_can_be_made() {
    let lp = SetLoop::<C>::default();
    let mut world = World::new().with::<C>(set("web").replicas(2).at("/spec/template", Value::Null));
    let pass = world.pass(&lp, "web");
    assert!(pass.plan.is_empty() && pass.events().is_empty());
    let condition = &pass.status()["conditions"][0];
    assert_eq!(
        [&condition["type"], &condition["reason"], &condition["message"]],
        ["ReplicaFailure", "FailedCreate", "unable to create pods, no labels"]
    );
    assert_eq!(pass.report.next, Next::OnChange);
}

/// workloads 4, kind resolution: a ReplicaSet of the same name is somebody else.
#[test]
fn a_replica_set_of_the_same_name_is_somebody_else() {
    let lp = SetLoop::<C>::default();
    let mut world = World::new()
        .with::<evenkeel_api::ReplicaSet>(set("web").uid("uid-rs"))
        .with::<C>(set("web").replicas(2))
        .with_pods::<evenkeel_api::ReplicaSet>([pod("theirs").of("web")]);
    world.settle(&lp, "web");
    assert_eq!(world.pods().len(), 3);
    assert_eq!(world.pod("theirs")["metadata"]["ownerReferences"][0]["kind"], "ReplicaSet");
    assert_eq!(C::resource().kind, "ReplicationController");
}
