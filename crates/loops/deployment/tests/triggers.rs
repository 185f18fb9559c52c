//! What wakes the loop: workloads 2.1 and 2.8.5.

use std::sync::Arc;

use evenkeel_api::{Deployment, Object, Pod, ReplicaSet};
use evenkeel_cache::{Change, Stores};
use evenkeel_plan::ControlLoop;
use serde_json::json;

use crate::world::{Cluster, Dep, PodObject, Set, deployment, owner, pod, set};

fn read<T: Object>(value: &serde_json::Value) -> Option<Arc<T>> {
    Some(Arc::new(T::decode(value.to_string().as_bytes()).unwrap()))
}

fn keys(world: &Cluster, change: &Change) -> Vec<String> {
    let stores: Stores = world.stores();
    let triggers = world.looper.triggers(change, &stores);
    assert!(triggers.iter().all(|t| t.after.is_zero()));
    triggers.iter().map(|t| t.key.to_string()).collect()
}

fn of_set(world: &Cluster, old: Option<&Set>, new: Option<&Set>) -> Vec<String> {
    keys(world, &Change::new::<ReplicaSet>(old.and_then(|s| read(&s.0)), new.and_then(|s| read(&s.0))))
}

fn of_deployment(world: &Cluster, old: Option<&Dep>, new: Option<&Dep>) -> Vec<String> {
    keys(world, &Change::new::<Deployment>(old.and_then(|d| read(&d.0)), new.and_then(|d| read(&d.0))))
}

fn of_pod(world: &Cluster, old: Option<&PodObject>, new: Option<&PodObject>) -> Vec<String> {
    keys(world, &Change::new::<Pod>(old.and_then(|p| read(&p.0)), new.and_then(|p| read(&p.0))))
}

fn next(s: Set) -> Set {
    s.with("/metadata/resourceVersion", "999")
}

/// Two Deployments that select `app: web`, one that selects something else, one that selects everything, one whose selector is broken.
fn crowd() -> Cluster {
    let select = |name: &str, selector| deployment(name).with("/spec/selector", selector);
    Cluster::new(deployment("web"))
        .and_deployment(select("too", json!({"matchLabels": {"app": "web"}})))
        .and_deployment(deployment("other"))
        .and_deployment(select("all", json!({})))
        .and_deployment(select("broken", json!({"matchExpressions": [{"key": "app", "operator": "Near"}]})))
}

#[test]
fn every_change_of_a_deployment_wakes_it() {
    let world = crowd();
    let d = deployment("web");
    assert_eq!(of_deployment(&world, None, Some(&d)), ["default/web"]);
    assert_eq!(of_deployment(&world, Some(&d), Some(&d)), ["default/web"]);
    assert_eq!(of_deployment(&world, Some(&d), None), ["default/web"]);
}

#[test]
fn a_set_wakes_its_owner() {
    let world = crowd();
    let s = set("web", 1);
    assert_eq!(of_set(&world, None, Some(&s)), ["default/web"]);
    assert_eq!(of_set(&world, None, Some(&s.clone().deleting())), ["default/web"]);
    assert_eq!(of_set(&world, Some(&s), Some(&next(s.clone()))), ["default/web"]);
    assert_eq!(of_set(&world, Some(&s), None), ["default/web"]);
    assert_eq!(of_set(&world, Some(&s), Some(&s)), [""; 0], "the same version is no news");
}

#[test]
fn an_owner_that_is_not_that_one_is_not_woken() {
    let world = crowd();
    let mut elsewhere = owner("web");
    elsewhere["uid"] = "another-life".into();
    let mut kind = owner("web");
    kind["kind"] = "Rollout".into();
    for reference in [elsewhere, kind, owner("absent")] {
        let s = set("web", 1).owners(json!([reference]));
        assert_eq!(of_set(&world, None, Some(&s)), [""; 0]);
        assert_eq!(of_set(&world, Some(&s), Some(&next(s.clone()))), [""; 0]);
        assert_eq!(of_set(&world, Some(&s), None), [""; 0]);
    }
}

#[test]
fn an_orphan_wakes_whoever_may_adopt_it() {
    let world = crowd();
    let orphan = set("web", 1).orphan();
    assert_eq!(of_set(&world, None, Some(&orphan)), ["default/too", "default/web"]);
    assert_eq!(of_set(&world, None, Some(&orphan.clone().deleting())), [""; 0]);
    assert_eq!(of_set(&world, None, Some(&orphan.clone().with("/metadata/labels", json!({})))), [""; 0], "without labels nobody");
    assert_eq!(of_set(&world, None, Some(&orphan.clone().with("/metadata/namespace", "elsewhere"))), [""; 0]);
    assert_eq!(of_set(&world, Some(&orphan), None), [""; 0], "an orphan that goes is nobody's business");
    assert_eq!(of_set(&world, Some(&orphan), Some(&next(orphan.clone()))), [""; 0], "nor one whose labels stay");
    let relabelled = next(orphan.clone()).with("/metadata/labels", json!({"app": "other"}));
    assert_eq!(of_set(&world, Some(&orphan), Some(&relabelled)), ["default/other"]);
}

#[test]
fn a_set_that_changes_hands_wakes_both() {
    let world = crowd();
    let s = set("web", 1);
    let taken = next(s.clone()).owners(json!([owner("other")]));
    assert_eq!(of_set(&world, Some(&s), Some(&taken)), ["default/other", "default/web"]);
    let free = next(s.clone()).orphan();
    assert_eq!(of_set(&world, Some(&s), Some(&free)), ["default/too", "default/web"], "the old owner, and all that match");
    let adopted = next(set("web", 1));
    assert_eq!(of_set(&world, Some(&set("web", 1).orphan()), Some(&adopted)), ["default/web"]);
    let stray = set("web", 1).orphan().with("/metadata/labels", json!({"app": "x"}));
    assert_eq!(of_set(&world, Some(&s), Some(&next(stray))), ["default/web"]);
}

/// workloads 2.18.30 and S3: the last running old pod, whatever ended pods are left.
#[test]
fn the_last_old_pod_of_a_recreate_wakes_it() {
    let world = || Cluster::new(deployment("web").image("app:3").recreate()).and(set("web", 1)).and(set("web", 2)).and(set("web", 3));
    let gone = pod("a", "web-1");
    assert_eq!(of_pod(&world(), Some(&gone), None), ["default/web"]);
    assert_eq!(
        of_pod(&world().and_pod(pod("b", "web-2").phase("Failed")).and_pod(pod("c", "web-1").phase("Succeeded")), Some(&gone), None),
        ["default/web"]
    );
    assert_eq!(of_pod(&world().and_pod(pod("b", "web-3")), Some(&gone), None), ["default/web"], "new pods are no reason to wait");
    assert_eq!(of_pod(&world().and_pod(pod("b", "web-2")), Some(&gone), None), [""; 0], "one of another old set still runs");
    assert_eq!(of_pod(&world().and_pod(pod("b", "web-1").deleting()), Some(&gone), None), [""; 0]);
    assert_eq!(of_pod(&world(), Some(&pod("a", "web-3")), None), [""; 0], "a pod of the new set");
    let twin = world().and(set("web", 4).image("app:3"));
    assert_eq!(of_pod(&twin, Some(&pod("a", "web-4")), None), ["default/web"], "of two with the template the younger is old");
    let unborn = Cluster::new(deployment("web").image("app:9").recreate()).and(set("web", 1));
    assert_eq!(of_pod(&unborn, Some(&gone), None), ["default/web"]);
}

#[test]
fn other_pods_and_other_changes_of_pods_wake_nobody() {
    let world = Cluster::new(deployment("web").image("app:3").recreate()).and(set("web", 1));
    let p = pod("a", "web-1");
    assert_eq!(of_pod(&world, None, Some(&p)), [""; 0]);
    assert_eq!(of_pod(&world, Some(&p), Some(&p.clone().phase("Failed"))), [""; 0]);
    let rolling = Cluster::new(deployment("web").image("app:3")).and(set("web", 1));
    assert_eq!(of_pod(&rolling, Some(&p), None), [""; 0], "only Recreate");
    for (field, value) in [("kind", "DaemonSet"), ("uid", "another"), ("name", "web-9")] {
        let mut foreign = pod("a", "web-1");
        foreign.0["metadata"]["ownerReferences"][0][field] = value.into();
        assert_eq!(of_pod(&world, Some(&foreign), None), [""; 0], "{field}");
    }
    let mut free = pod("a", "web-1");
    free.0["metadata"]["ownerReferences"] = json!([]);
    assert_eq!(of_pod(&world, Some(&free), None), [""; 0]);
    let ownerless = Cluster::new(deployment("web").recreate()).and(set("web", 1).orphan());
    assert_eq!(of_pod(&ownerless, Some(&p), None), [""; 0]);
}

/// workloads 1.1
#[test]
fn the_loop_goes_by_the_names_of_the_stock_manager() {
    let about = &evenkeel_deployment::ABOUT;
    assert_eq!(
        [about.name, about.alias, about.client, about.event_component, about.queue],
        ["deployment-controller", "deployment", "deployment-controller", "deployment-controller", "deployment"]
    );
    assert_eq!(about.primary.kind, "Deployment");
    assert_eq!(about.watches.iter().map(|k| k.kind).collect::<Vec<_>>(), ["Deployment", "ReplicaSet", "Pod"]);
    assert_eq!(evenkeel_deployment::DeploymentLoop::default().about(), about);
}
