//! The new ReplicaSet: workloads 2.4, and its scenarios of 2.18.

use crate::world::{Cluster, condition, conditions, deployment, events, owner, reason, said, set, status};
use evenkeel_api::{Uid, Version};
use evenkeel_plan::{Answer, Done, Failure, FailureKind, Next, Report, Write};
use serde_json::{Value, json};

const REVISION: &str = "deployment.kubernetes.io/revision";

fn body(world: &Cluster) -> (String, Value) {
    let plan = world.plan();
    let Write::Create { key, body, controller, .. } = &plan.steps[0][0] else { panic!("{plan:?}") };
    assert_eq!(controller.as_ref().unwrap().to_string(), world.deployment()["metadata"]["uid"]);
    (key.name.to_string(), (**body).clone())
}

fn failed(kind: FailureKind, message: &str) -> Done {
    Done::Failed(Failure { kind, message: message.into() })
}

fn existed() -> Done {
    Done::Existed(Answer { uid: Uid::new("x"), version: Some(Version(9)), gone: false })
}

/// workloads 2.18.1; recorded story `deploy-create`.
#[test]
fn a_deployment_gets_its_first_set() {
    let mut world = Cluster::new(
        deployment("web")
            .replicas(20)
            .note("test", "should-copy-to-replica-set")
            .note("kubectl.kubernetes.io/last-applied-configuration", "{}")
            .note("deployment.kubernetes.io/desired-replicas", "77"),
    );
    let (name, made) = body(&world);
    let hash = name.strip_prefix("web-").unwrap().to_owned();
    assert!(hash.len() <= 10 && hash.bytes().all(|b| b"bcdfghjklmnpqrstvwxz2456789".contains(&b)));
    let labels = json!({"app": "web", "pod-template-hash": hash});
    assert_eq!(
        made,
        json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"labels": labels, "ownerReferences": [owner("web")],
                "annotations": {"test": "should-copy-to-replica-set", REVISION: "1",
                    "deployment.kubernetes.io/desired-replicas": "20", "deployment.kubernetes.io/max-replicas": "25"}},
            "spec": {"replicas": 20, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "app:1"}]}}},
        })
    );
    let (_, report) = world.pass();
    assert_eq!(events(&report), [format!("Normal ScalingReplicaSet: Scaled up replica set {name} from 0 to 20")]);
    let stored = world.deployment().clone();
    assert_eq!(stored["metadata"]["annotations"][REVISION], "1");
    assert_eq!(stored["metadata"]["annotations"]["deployment.kubernetes.io/desired-replicas"], "77", "annotations of the user stay");
    assert_eq!(conditions(&stored), ["Progressing=True/NewReplicaSetCreated", "Available=False/MinimumReplicasUnavailable"]);
    assert_eq!(condition(&stored, "Progressing")["message"], format!("Created new replica set {name:?}"));
    assert_eq!(stored["status"]["unavailableReplicas"], 20);
    assert_eq!(stored["status"].get("replicas"), None, "a counter of 0 is absent, as the server stores it");
    assert_eq!(world.log, [format!("create {name}"), "update web".into()], "one status write for all of it (S5)");
    world.settle_with(|w| w.ready_pods(""));
    assert_eq!(conditions(world.deployment()), ["Available=True/MinimumReplicasAvailable", "Progressing=True/NewReplicaSetAvailable"]);
    assert_eq!(condition(world.deployment(), "Progressing")["message"], format!("ReplicaSet {name:?} has successfully progressed."));
    assert_eq!(world.deployment()["status"]["observedGeneration"], 1);
}

/// Issue text: a field that nobody here knows goes from the Deployment to the set.
#[test]
fn unknown_fields_travel() {
    let mut world = Cluster::new(
        deployment("web")
            .with("/spec/template/spec/fromTheFuture", json!({"a": [1]}))
            .with("/spec/template/spec/containers/0/alsoNew", true)
            .with("/spec/selector/newKindOfSelector", "x")
            .with("/spec/newSpec", 1)
            .with("/status/newStatus", 2),
    );
    let (_, made) = body(&world);
    assert_eq!(made["spec"]["template"]["spec"]["fromTheFuture"], json!({"a": [1]}));
    assert_eq!(made["spec"]["template"]["spec"]["containers"][0]["alsoNew"], true);
    assert_eq!(made["spec"]["selector"]["newKindOfSelector"], "x");
    world.settle();
    assert_eq!(world.sets().len(), 1, "and the set is known again by them");
    assert_eq!(world.deployment()["status"]["newStatus"], 2, "a status write keeps what it does not know");
    let name = world.name_of("app:1");
    world.edit_set(&name, |s| s.with("/spec/alsoUnknown", 7));
    world.edit(|d| d.replicas(4));
    world.settle();
    assert_eq!((&world.set(&name)["spec"]["alsoUnknown"], &world.set(&name)["spec"]["replicas"]), (&json!(7), &json!(4)), "so does a size");
}

/// workloads 2.4: expressions are copied, minReadySeconds too; the set of Recreate begins at its full size.
#[test]
fn selector_and_spec_are_copied() {
    let expressions = json!([{"key": "app", "operator": "In", "values": ["web"]}]);
    let world = Cluster::new(
        deployment("web")
            .replicas(3)
            .recreate()
            .with("/spec/minReadySeconds", 5)
            .with("/spec/selector", json!({"matchExpressions": expressions})),
    );
    let (name, made) = body(&world);
    let hash = name.strip_prefix("web-").unwrap();
    assert_eq!(made["spec"]["selector"], json!({"matchExpressions": expressions, "matchLabels": {"pod-template-hash": hash}}));
    assert_eq!((&made["spec"]["minReadySeconds"], &made["spec"]["replicas"]), (&json!(5), &json!(3)));
    assert_eq!(made["metadata"]["annotations"]["deployment.kubernetes.io/max-replicas"], "3", "no surge");
}

/// workloads 2.18.41 and 1.8.4.
#[test]
fn long_names_are_cut_before_the_hash() {
    let (name, made) = body(&Cluster::new(deployment(&"a".repeat(250))));
    let hash = made["metadata"]["labels"]["pod-template-hash"].as_str().unwrap();
    assert_eq!(name, format!("{}-{hash}", "a".repeat(252 - hash.len())));
    assert_eq!(name.len(), 253);
    let short = "a".repeat(252 - hash.len());
    assert!(body(&Cluster::new(deployment(&short))).0.starts_with(&format!("{short}-")), "one that fits is whole");
}

/// workloads 2.4: a set of no pods is made without a word.
#[test]
fn a_set_of_no_pods_is_no_scaling() {
    let mut world = Cluster::new(deployment("web").replicas(0));
    let (plan, report) = world.pass();
    assert_eq!((plan.writes().count(), events(&report)), (1, Vec::new()));
}

/// 2.19 S15: a cut must not leave a dot or hyphen in front of the hyphen.
#[test]
fn a_cut_name_stays_a_valid_one() {
    for bad in [".", "-", "..--"] {
        // Nine letters of hash leave 243; the bad part ends there.
        let long = format!("{}{bad}{}", "a".repeat(243 - bad.len()), "b".repeat(7));
        let (name, made) = body(&Cluster::new(deployment(&long).with("/metadata/name", long.as_str())));
        let hash = made["metadata"]["labels"]["pod-template-hash"].as_str().unwrap();
        let front = name.strip_suffix(&format!("-{hash}")).unwrap();
        assert!(!front.ends_with(['.', '-']), "{front}");
        assert!(name.len() <= 253);
    }
}

/// workloads 2.18.10; recorded story `deploy-collision`.
#[test]
fn a_taken_name_is_counted_and_another_one_found() {
    let mut world = Cluster::new(deployment("web"));
    world.settle_with(|w| w.ready_pods(""));
    let first = world.name_of("app:1");
    world.edit_set(&first, |s| s.image("app:edited"));
    let (_, report) = world.pass();
    assert_eq!(report.next, Next::Retry(format!("replicasets.apps {first:?} already exists")));
    assert!(report.events.is_empty());
    assert_eq!(world.deployment()["status"]["collisionCount"], 1);
    assert_eq!(world.deployment()["status"]["observedGeneration"], 1);
    world.settle_with(|w| w.ready_pods(""));
    let second = world.name_of("app:1");
    assert_ne!(first, second);
    assert_eq!(world.set(&second)["metadata"]["annotations"][REVISION], "2");
    assert_eq!(world.set(&second)["spec"]["replicas"], 1);
    assert_eq!(world.set(&first)["spec"]["replicas"], 0);
    assert_eq!(world.deployment()["status"]["collisionCount"], 1);
}

/// workloads 2.4: an orphan that does not match, or a set of somebody else; recorded story `deploy-collision-stranger`.
#[test]
fn a_stranger_of_that_name_is_a_collision_too() {
    for owners in [json!([]), json!([owner("other")])] {
        let plain = Cluster::new(deployment("web"));
        let (name, _) = body(&plain);
        let stranger = set("web", 7).with("/metadata/name", name.as_str()).owners(owners).with("/metadata/labels", json!({"app": "stray"}));
        let mut world = plain.and(stranger);
        world.settle();
        assert_eq!(world.deployment()["status"]["collisionCount"], 1);
        assert_eq!(world.sets().len(), 2);
        assert_eq!(world.name_of("app:1").len(), name.len());
        assert_ne!(world.name_of("app:1"), name);
        assert_eq!(world.set_of("app:1")["metadata"]["annotations"][REVISION], "1");
    }
}

/// workloads 2.18.11: the set was made by us and the first look did not see it.
#[test]
fn an_earlier_create_of_ours_is_used() {
    let mut world = Cluster::new(deployment("web"));
    let early = world.snapshot();
    world.pass();
    let name = world.name_of("app:1");
    let now = crate::world::at(world.now);
    use evenkeel_plan::ControlLoop;
    // The cache still does not show it: wait for it, under the same name.
    let plan = world.looper.plan(&early, now);
    let outcome = evenkeel_plan::Outcome { steps: vec![vec![existed()]] };
    let report = world.looper.conclude(&early, &plan, &outcome, now);
    assert_eq!(report, Report { next: Next::Retry(format!("replicaset.apps {name:?} not found")), ..Report::default() });
    // The cache shows it by name only: it is the new set, without event or condition, and the collision count stays unset.
    let mut late = early.clone();
    late.namesake = world.stores().of::<evenkeel_api::ReplicaSet>().get("default", &name).cloned();
    let report = world.looper.conclude(&late, &plan, &outcome, now);
    assert_eq!(report.next, Next::OnChange);
    assert!(report.events.is_empty());
    let written = status(&report);
    assert_eq!(written["metadata"]["annotations"][REVISION], "1");
    assert_eq!(written["status"].get("collisionCount"), None);
    assert_eq!(conditions(written), ["Available=False/MinimumReplicasUnavailable"]);
    // One that the cache shows as somebody else's, while the server says that it is ours: the cache is behind.
    let stranger = set("web", 7).with("/metadata/name", name.as_str()).owners(json!([owner("other")]));
    late.namesake = Cluster::new(deployment("x")).and(stranger).stores().of::<evenkeel_api::ReplicaSet>().get("default", &name).cloned();
    let report = world.looper.conclude(&late, &plan, &outcome, now);
    assert!(matches!(report.next, Next::Retry(_)) && report.steps.is_empty());
    world.settle();
    assert_eq!(world.sets().len(), 1);
}

/// workloads 2.4: a name that is taken by something that the cache does not show is a reason to wait, not to count.
#[test]
fn a_name_taken_by_something_unseen_is_waited_for() {
    let world = Cluster::new(deployment("web"));
    let (name, _) = body(&world);
    let report = world.report_when_first(failed(FailureKind::AlreadyExists, "taken"));
    assert_eq!(report, Report { next: Next::Retry(format!("replicaset.apps {name:?} not found")), ..Report::default() });
}

/// 2.19 S21: a set that we were told to let go is never used as the new one.
#[test]
fn a_set_that_was_let_go_is_not_used_again() {
    let mut world = Cluster::new(deployment("web"));
    world.settle();
    let first = world.name_of("app:1");
    world.edit_set(&first, |s| s.with("/metadata/labels/app", "stray"));
    world.refusals.push(("patch", "web", FailureKind::Invalid, "refused"));
    world.pass();
    // Upstream goes on without it, hits its name, and takes it back. Here it is a collision.
    let (plan, report) = world.pass();
    assert_eq!(plan.writes().map(|w| (w.verb(), w.name().to_string())).collect::<Vec<_>>(), [("create", first.clone())]);
    assert_eq!(report.next, Next::Retry(format!("replicasets.apps {first:?} already exists")));
    assert_eq!(world.deployment()["status"]["collisionCount"], 1);
    world.settle();
    assert_eq!(world.sets().len(), 2);
}

/// workloads 2.18.37; recorded story `deploy-quota-sets`.
#[test]
fn a_set_that_may_not_be_made_shows_in_condition_and_event() {
    let mut world = Cluster::new(deployment("poor").replicas(2));
    let (name, _) = body(&world);
    let why = "replicasets.apps is forbidden: exceeded quota: few";
    world.refusals.push(("create", "poor", FailureKind::Forbidden, why));
    for _ in 0..3 {
        let (_, report) = world.pass();
        let message = format!("Failed to create new replica set {name:?}: {why}");
        assert_eq!(events(&report), [format!("Warning ReplicaSetCreateError: {message}")]);
        assert_eq!(report.next, Next::Retry(why.into()), "for ever (S6)");
        assert_eq!(conditions(world.deployment()), ["Progressing=False/ReplicaSetCreateError"]);
        assert_eq!(condition(world.deployment(), "Progressing")["message"], message);
        assert_eq!(world.deployment()["status"].get("observedGeneration"), None, "as upstream: counters wait for the set");
    }
    assert_eq!(world.log, ["update poor"], "said once");
    world.refusals.clear();
    world.settle_with(|w| w.ready_pods(""));
    assert_eq!(reason(world.deployment()), "NewReplicaSetAvailable");
    let mut careless = Cluster::new(deployment("poor").deadline(Value::Null));
    careless.edit(|mut d| {
        d.0["spec"].as_object_mut().unwrap().remove("progressDeadlineSeconds");
        d
    });
    let report = careless.report_when_first(failed(FailureKind::Forbidden, why));
    assert!(report.steps.is_empty(), "no deadline, no condition");
    assert_eq!(report.events.len(), 1);
}

/// workloads 2.18.39
#[test]
fn nothing_is_said_about_a_dying_namespace() {
    let world = Cluster::new(deployment("web").replicas(2));
    assert_eq!(world.report_when_first(failed(FailureKind::NamespaceTerminating, "is being terminated")), Report::default());
}

/// A lost Lease is no fault of the set.
#[test]
fn a_fenced_create_is_no_condition() {
    let world = Cluster::new(deployment("web").replicas(2));
    let report = world.report_when_first(failed(FailureKind::Fenced, "not leading"));
    assert_eq!(report, Report { next: Next::Retry("not leading".into()), ..Report::default() });
}

/// workloads 2.18.36 and 2.4.1; recorded story `deploy-annotations`.
#[test]
fn annotations_go_to_the_new_set_only_and_are_never_taken_back() {
    let mut world =
        Cluster::new(deployment("web").image("app:2").replicas(1)).and(set("web", 1)).and(set("web", 2).full(1).sized_for(1, 2));
    world.settle();
    world.edit(|d| {
        d.note("team", "red")
            .note("kubectl.kubernetes.io/last-applied-configuration", "{}")
            .note("deprecated.deployment.rollback.to", "odd")
    });
    let (plan, _) = world.pass();
    let bodies: Vec<&Write> = plan.writes().collect();
    let [Write::Replace { target, body, subresource: None }] = bodies[..] else { panic!() };
    assert_eq!((&*target.key.name, target.version.is_some()), ("web-2", true));
    assert_eq!(
        body["metadata"]["annotations"],
        json!({REVISION: "2", "team": "red", "deployment.kubernetes.io/desired-replicas": "1", "deployment.kubernetes.io/max-replicas": "2"})
    );
    world.settle();
    world.edit(|mut d| {
        d.0["metadata"]["annotations"].as_object_mut().unwrap().remove("team");
        d
    });
    world.settle();
    assert_eq!(world.set("web-2")["metadata"]["annotations"]["team"], "red");
    assert_eq!(world.set("web-1")["metadata"]["annotations"].get("team"), None);
    world.edit(|d| d.note("team", "blue"));
    world.settle();
    assert_eq!(world.set("web-2")["metadata"]["annotations"]["team"], "blue");
}

/// workloads 2.4.2 and S14: a revision that is no number freezes the new set's annotations, and is what the Deployment shows.
#[test]
fn a_revision_that_is_no_number_freezes_annotations() {
    let mut world =
        Cluster::new(deployment("web").image("app:2").note("team", "red")).and(set("web", 2).full(1).revision("two").sized_for(1, 2));
    assert!(world.plan().is_empty());
    world.settle();
    assert_eq!(world.deployment()["metadata"]["annotations"][REVISION], "two");
    world.edit(|d| d.with("/spec/minReadySeconds", 3));
    world.settle();
    assert_eq!(world.set("web-2")["spec"]["minReadySeconds"], 3, "all but annotations");
    assert_eq!(world.set("web-2")["metadata"]["annotations"].get("team"), None);
    // An empty one is like none.
    let empty = Cluster::new(deployment("web").image("app:2")).and(set("web", 2).full(1).revision("").sized_for(1, 2));
    let plan = empty.plan();
    let Write::Replace { body, .. } = &plan.steps[0][0] else { panic!() };
    assert_eq!(body["metadata"]["annotations"][REVISION], "1");
    assert_eq!(body["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"], "", "it was there");
}

/// workloads 2.4.5 and 2.4.6: first the set, the Deployment's revision one pass later.
#[test]
fn a_set_is_put_right_before_its_revision_is_published() {
    let mut world = Cluster::new(deployment("web").image("app:2").with("/spec/minReadySeconds", 0))
        .and(set("web", 2).full(1).sized_for(1, 2).with("/spec/minReadySeconds", 9));
    let (plan, report) = world.pass();
    let Write::Replace { body, .. } = &plan.steps[0][0] else { panic!() };
    assert_eq!(body["spec"].get("minReadySeconds"), None, "0 is absence");
    assert_eq!(status(&report)["metadata"].get("annotations"), None);
    assert_eq!(reason(status(&report)), "NewReplicaSetAvailable");
    let (plan, report) = world.pass();
    assert!(plan.is_empty());
    assert_eq!(status(&report)["metadata"]["annotations"][REVISION], "2");
}

/// workloads 2.4.6: somebody begins to care about progress.
#[test]
fn a_set_that_was_there_before_progress_counted_is_found() {
    let mut world = Cluster::new(deployment("web").image("app:2").replicas(2)).and(set("web", 2).size(2).sized_for(2, 3));
    world.settle();
    assert_eq!(conditions(world.deployment()), ["Available=False/MinimumReplicasUnavailable", "Progressing=True/ReplicaSetUpdated"]);
    let mut idle = Cluster::new(deployment("web").image("app:2").replicas(2).status(json!({"replicas": 2, "updatedReplicas": 2})))
        .and(set("web", 2).size(2).sized_for(2, 3));
    idle.settle();
    assert_eq!(conditions(idle.deployment()), ["Progressing=True/FoundNewReplicaSet", "Available=False/MinimumReplicasUnavailable"]);
    assert_eq!(condition(idle.deployment(), "Progressing")["message"], "Found new replica set \"web-2\"");
}

/// Objects of a list come without their kind; what is sent names it.
#[test]
fn whole_objects_name_their_kind() {
    let mut d = deployment("web").replicas(3);
    let mut s = set("web", 1).full(1).sized_for(1, 2);
    for o in [&mut d.0, &mut s.0] {
        o.as_object_mut().unwrap().retain(|k, _| k != "apiVersion" && k != "kind");
    }
    let world = Cluster::new(d).and(s);
    let plan = world.plan();
    let Write::Replace { body, .. } = &plan.steps[0][0] else { panic!() };
    assert_eq!((&body["apiVersion"], &body["kind"]), (&json!("apps/v1"), &json!("ReplicaSet")));
    let report = world.report();
    assert_eq!((&status(&report)["apiVersion"], &status(&report)["kind"]), (&json!("apps/v1"), &json!("Deployment")));
    assert_eq!(said(&world, &plan), [["web-1 1→3"]]);
}

/// workloads 2.18.47: the world of these tests refuses a changed selector in any write, and here there is one that could tempt.
#[test]
fn selectors_are_never_changed() {
    let mut world = Cluster::new(deployment("web").image("app:2").replicas(2))
        .and(set("web", 1).full(2).sized_for(2, 3))
        .and(set("web", 2).sized_for(2, 3));
    let wider = json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]});
    world.edit(|d| d.with("/spec/selector", wider.clone()).note("deprecated.deployment.rollback.to", "1"));
    world.settle_with(|w| w.ready_pods(""));
    assert_eq!(world.deployment()["spec"]["selector"], wider);
    for n in [1, 2] {
        assert_eq!(
            world.set(&format!("web-{n}"))["spec"]["selector"],
            json!({"matchLabels": {"app": "web", "pod-template-hash": format!("h{n}")}})
        );
    }
    assert_eq!(world.set("web-1")["spec"]["replicas"], 2, "and the rollback went through");
}
