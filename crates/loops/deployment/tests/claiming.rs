//! Adoption and release: workloads 1.6 as this loop uses it, and the scenarios of 2.18.

use crate::world::{Cluster, at, deployment, owner, said, set, uid};
use evenkeel_plan::{Done, Failure, FailureKind, Next, Report, Write};
use serde_json::{Value, json};

fn failed(kind: FailureKind, message: &str) -> Done {
    Done::Failed(Failure { kind, message: message.into() })
}

/// workloads 2.18.5; recorded story `deploy-adopt`.
#[test]
fn an_adopted_set_takes_part_in_the_rollout() {
    let mut world = Cluster::new(deployment("web").image("app:2").replicas(3).rolling(1, 1)).and(set("web", 1).orphan().full(3));
    assert_eq!(said(&world, &world.plan()), [["confirm"], ["adopt web-1"]]);
    world.settle();
    assert_eq!(world.set("web-1")["spec"]["replicas"], 2, "its pods count as old ones");
    world.settle_with(|w| w.ready_pods(""));
    assert_eq!(world.set("web-1")["spec"]["replicas"], 0);
    assert_eq!(world.set_of("app:2")["spec"]["replicas"], 3);
    assert_eq!(world.set_of("app:2")["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "2");
    assert_eq!(world.set("web-1")["metadata"]["labels"], json!({"app": "web", "pod-template-hash": "h1"}), "labels stay as they were");
}

/// workloads 1.6.2: bodies of the patches, guarded by the uid.
#[test]
fn patches_touch_owner_references_only() {
    let world = Cluster::new(deployment("web").replicas(0))
        .and(set("web", 1).orphan())
        .and(set("web", 2).with("/metadata/labels", json!({"app": "stray"})));
    let plan = world.plan();
    let bodies: Vec<&Value> = plan.writes().filter_map(|w| if let Write::Patch { body, .. } = w { Some(body) } else { None }).collect();
    assert_eq!(
        bodies,
        [
            &json!({"metadata": {"uid": uid("web-2"), "ownerReferences": [{"$patch": "delete", "uid": uid("web")}]}}),
            &json!({"metadata": {"uid": uid("web-1"), "ownerReferences": [owner("web")]}}),
        ]
    );
    let versions = plan.writes().filter_map(|w| if let Write::Patch { target, .. } = w { Some(target.version) } else { None });
    assert!(versions.into_iter().all(|v| v.is_none()), "the uid is the guard");
}

/// workloads 2.18.23, both halves; recorded story `deploy-own-reference`.
#[test]
fn a_reference_that_does_not_control_is_made_to() {
    let foreign = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "x", "uid": "u-x", "controller": false});
    let mut world = Cluster::new(deployment("web")).and(set("web", 1).full(1).sized_for(1, 2).owners(json!([foreign.clone()])));
    world.settle();
    assert_eq!(world.set("web-1")["metadata"]["ownerReferences"], json!([foreign, owner("web")]));
    let mut mine = owner("web");
    mine["controller"] = false.into();
    let mut world = Cluster::new(deployment("web")).and(set("web", 1).full(1).sized_for(1, 2).owners(json!([mine])));
    world.settle();
    assert_eq!(world.set("web-1")["metadata"]["ownerReferences"], json!([owner("web")]));
}

/// workloads 1.6 rules 1, 5, 6 and 7; recorded story `deploy-foreign-set`.
#[test]
fn what_is_not_ours_is_left_alone() {
    let theirs = owner("other");
    let stranger = set("web", 3).orphan().with("/metadata/labels", json!({"app": "other"}));
    let world = Cluster::new(deployment("web").replicas(2))
        .and(set("web", 1).full(2).owners(json!([theirs])))
        .and(set("web", 2).orphan().deleting())
        .and(stranger);
    assert_eq!(said(&world, &world.plan()), [["create 2"]]);
    assert_eq!(world.snapshot().sets.len(), 1, "only the dying orphan is even looked at");
}

/// workloads 2.18.24; recorded story `deploy-release`.
#[test]
fn a_set_whose_labels_leave_is_let_go_and_taken_back() {
    let mut world = Cluster::new(deployment("web").replicas(2));
    world.settle_with(|w| w.ready_pods(""));
    let first = world.name_of("app:1");
    world.edit_set(&first, |s| s.with("/metadata/labels/app", "stray"));
    let (plan, report) = world.pass();
    assert_eq!(plan.writes().map(|w| w.verb()).collect::<Vec<_>>(), ["patch"]);
    assert_eq!(report, Report::default(), "the next pass goes on when the cache shows it");
    assert_eq!(world.set(&first)["metadata"]["ownerReferences"], json!([]));
    world.settle_with(|w| w.ready_pods(""));
    assert_eq!(world.deployment()["status"]["collisionCount"], 1);
    let second = world.sets().iter().map(|s| s["metadata"]["name"].as_str().unwrap().to_owned()).find(|n| *n != first).unwrap();
    assert_eq!(world.set(&second)["spec"]["replicas"], 2);
    assert_eq!(world.set(&second)["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "1");
    world.edit_set(&first, |s| s.with("/metadata/labels/app", "web"));
    world.settle_with(|w| w.ready_pods(""));
    assert_eq!(world.set(&first)["metadata"]["ownerReferences"], json!([owner("web")]));
    assert_eq!(world.set(&first)["spec"]["replicas"], 2, "the oldest set with the template is the new one");
    assert_eq!(world.set(&second)["spec"]["replicas"], 0);
    assert_eq!(world.sets().len(), 2);
}

/// workloads 2.18.25: a live look finds the owner going, or gone and made again.
#[test]
fn nothing_is_adopted_by_an_owner_that_is_gone() {
    let mut world = Cluster::new(deployment("web")).and(set("web", 1).orphan().full(1)).and(set("web", 2).orphan());
    world.refusals.push(("get", "web", FailureKind::OwnerGone, "default/web has just been deleted at T"));
    let (_, report) = world.pass();
    assert!(world.log.is_empty(), "no patch is sent");
    let denied = |name: &str| format!("can't adopt ReplicaSet default/{name} ({}): default/web has just been deleted at T", uid(name));
    assert_eq!(report.next, Next::Retry(format!("[{}, {}]", denied("web-1"), denied("web-2"))));
    assert!(report.steps.is_empty() && report.events.is_empty());
    let one = Cluster::new(deployment("web")).and(set("web", 1).orphan());
    let Next::Retry(text) = one.report_when_first(failed(FailureKind::OwnerGone, "x")).next else { panic!() };
    assert_eq!(text, format!("can't adopt ReplicaSet default/web-1 ({}): x", uid("web-1")));
    let gone = Cluster::new(deployment("web")).and(set("web", 1).orphan());
    assert!(
        matches!(gone.report_when_first(failed(FailureKind::NotFound, "x")).next, Next::Retry(_)),
        "an owner that is not there denies too"
    );
}

/// workloads 1.6.1: one look at the owner however many orphans, none without.
#[test]
fn the_owner_is_looked_at_once_and_only_for_adoptions() {
    let world = Cluster::new(deployment("web")).and(set("web", 1).orphan()).and(set("web", 2).orphan()).and(set("web", 3).orphan());
    assert_eq!(said(&world, &world.plan()), [vec!["confirm"], vec!["adopt web-1", "adopt web-2", "adopt web-3"]]);
    let releasing = Cluster::new(deployment("web")).and(set("web", 1).with("/metadata/labels", json!({})));
    assert_eq!(said(&releasing, &releasing.plan()), [["release web-1"]]);
}

/// workloads 1.6.4: one failing claim does not keep the others from being tried; equal texts are told once.
#[test]
fn all_claims_are_tried_before_the_pass_fails() {
    let mut world = Cluster::new(deployment("web"))
        .and(set("web", 1).with("/metadata/labels", json!({})))
        .and(set("web", 2).with("/metadata/labels", json!({})))
        .and(set("web", 3).orphan());
    assert_eq!(said(&world, &world.plan()), [vec!["confirm"], vec!["release web-1", "release web-2", "adopt web-3"]]);
    world.refusals.push(("patch", "web-1", FailureKind::Forbidden, "no"));
    world.refusals.push(("patch", "web-2", FailureKind::Forbidden, "no"));
    let (_, report) = world.pass();
    assert_eq!(world.log, ["patch web-3"]);
    assert_eq!(report.next, Next::Retry("no".into()));
    world.refusals[1].3 = "never";
    let (_, report) = world.pass();
    assert_eq!(report.next, Next::Retry("[no, never]".into()));
}

/// workloads 1.6.4: a set that is not there to be released (404, 422) or adopted (404) is passed over until it looks different.
#[test]
fn a_set_that_is_not_there_is_passed_over() {
    for (kind, orphan) in [(FailureKind::NotFound, false), (FailureKind::Invalid, false), (FailureKind::NotFound, true)] {
        let old = set("web", 1).full(2);
        let old = if orphan { old.orphan() } else { old.with("/metadata/labels", json!({"app": "stray"})) };
        let mut world = Cluster::new(deployment("web").image("app:2").replicas(2)).and(old);
        world.refusals.push(("patch", "web-1", kind, "not there"));
        let (_, report) = world.pass();
        assert_eq!(report.next, Next::At(at(world.now - 1)), "on at once: nothing else would wake us");
        assert_eq!(said(&world, &world.plan()), [["create 2"]]);
        world.edit_set("web-1", |s| s.note("x", "y"));
        assert_eq!(world.plan().writes().last().unwrap().verb(), "patch", "it looks different: tried again");
        world.pass();
        world.refusals.clear();
        world.edit_set("web-1", |s| s.note("x", "z"));
        world.settle();
        assert!(world.log.contains(&"patch web-1".to_owned()));
    }
    let gone = Cluster::new(deployment("web")).and(set("web", 1).with("/metadata/labels", json!({})));
    assert_eq!(gone.report_when_first(Done::AlreadyGone).next, Next::At(at(gone.now)), "nor of one that the server no longer has");
    let mut world = Cluster::new(deployment("web").image("app:2")).and(set("web", 1).orphan());
    world.refusals.push(("patch", "web-1", FailureKind::Invalid, "refused"));
    let (_, report) = world.pass();
    assert_eq!(report.next, Next::Retry("refused".into()), "an adoption that is refused is an error");
    assert_eq!(world.plan().writes().last().unwrap().verb(), "patch", "and is tried again");
}

/// workloads 2.18.26; recorded story `deploy-dying`.
#[test]
fn a_deployment_on_its_way_out_only_keeps_its_status_up() {
    let world = Cluster::new(deployment("web").replicas(4).image("app:2").note("a", "b").history(0).deleting())
        .and(set("web", 1).full(2).sized_for(2, 3))
        .and(set("web", 2).size(0).sized_for(2, 3))
        .and(set("web", 3))
        .and(set("web", 4).orphan())
        .and(set("web", 5).with("/metadata/labels", json!({})).full(9));
    assert!(world.plan().is_empty(), "no adoption, release, size, annotation (S9) or removal");
    let report = world.report();
    let status = &crate::world::status(&report)["status"];
    assert_eq!((&status["availableReplicas"], &status["replicas"]), (&json!(2), &json!(2)));
    assert_eq!(
        crate::world::conditions(crate::world::status(&report)),
        ["Available=False/MinimumReplicasUnavailable"],
        "progress is not judged"
    );
    let none = Cluster::new(deployment("web").replicas(4).deleting());
    assert!(none.plan().is_empty(), "and nothing is made");
}

/// workloads 2.18.15; recorded story `deploy-overlap`.
#[test]
fn two_deployments_with_one_selector_keep_to_their_own_sets() {
    let mut world = Cluster::new(deployment("web").replicas(2)).and_deployment(
        deployment("too").with("/spec/selector", json!({"matchLabels": {"app": "web"}})).with("/spec/template/metadata/labels/app", "web"),
    );
    world.settle();
    world.key = evenkeel_api::Key::new("default", "too");
    world.settle();
    let names: Vec<String> = world.sets().iter().map(|s| s["metadata"]["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names.len(), 2);
    assert!(names[0].starts_with("too-") && names[1].starts_with("web-"));
    world.edit(|d| d.replicas(5));
    world.settle();
    assert_eq!(world.set(&names[0])["spec"]["replicas"], 5);
    assert_eq!(world.set(&names[1])["spec"]["replicas"], 2);
}

/// workloads 2.2.3: a selector that cannot be used is an error, and nothing is touched.
#[test]
fn a_broken_selector_stops_the_pass() {
    let broken = json!({"matchExpressions": [{"key": "a", "operator": "Near", "values": ["x"]}]});
    let world = Cluster::new(deployment("web").with("/spec/selector", broken)).and(set("web", 1));
    assert!(world.plan().is_empty());
    let Next::Retry(text) = world.report().next else { panic!() };
    assert!(text.starts_with("deployment default/web has invalid label selector: "), "{text}");
}

/// An absent selector matches nothing: what we control no longer belongs to us.
#[test]
fn an_absent_selector_matches_nothing() {
    let mut absent = deployment("web");
    absent.0["spec"].as_object_mut().unwrap().remove("selector");
    let world = Cluster::new(absent).and(set("web", 1)).and(set("web", 2).orphan());
    assert_eq!(said(&world, &world.plan()), [["release web-1"]]);
}
