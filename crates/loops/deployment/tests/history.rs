//! Revisions, undo, rollback and clean-up: workloads 2.4, 2.9, 2.10, 2.15, and the scenarios of 2.18.

use crate::world::{Cluster, Dep, Set, deployment, events, said, set, status};
use evenkeel_plan::{Done, FailureKind, Next, Write};
use serde_json::json;

const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const ROLLBACK: &str = "deprecated.deployment.rollback.to";

fn complete(limit: i64) -> Dep {
    deployment("web").image("app:9").complete().history(limit)
}

/// A finished Deployment with these old sets, and `web-9` as the new one.
fn finished(limit: i64, old: Vec<Set>) -> Cluster {
    old.into_iter().fold(Cluster::new(complete(limit)).and(set("web", 9).full(1).sized_for(1, 2)), Cluster::and)
}

fn removed(world: &Cluster) -> Vec<String> {
    world
        .plan()
        .writes()
        .map(|w| {
            let Write::Delete { target, propagation: None, .. } = w else { panic!("{w:?}") };
            assert!(target.version.is_some(), "S16");
            w.name().to_string()
        })
        .collect()
}

/// The table of workloads 2.10 (2.18.32).
#[test]
fn old_sets_beyond_the_limit_go_by_revision() {
    let s = |n: u32, revision: &str| set("web", n).revision(revision).sized_for(1, 2);
    // Old sets with pods are what a paused Deployment or a stored status of before may have; here the new one stays out of it.
    assert_eq!(removed(&finished(1, vec![s(1, "1"), s(2, "2")])), ["web-1"]);
    assert_eq!(removed(&finished(1, vec![s(1, "2"), s(2, "1")])), ["web-2"]);
    assert_eq!(removed(&finished(1, vec![s(1, "1"), s(2, "").no_note(REVISION)])), ["web-2"]);
    assert_eq!(removed(&finished(2, vec![s(1, "3"), s(2, "1"), s(3, "4"), s(4, "2")])), ["web-2", "web-4"]);
    assert_eq!(removed(&finished(2, vec![s(1, "1"), s(2, "2")])), [""; 0]);
    assert_eq!(removed(&finished(0, vec![s(1, "1"), s(2, "2")])), ["web-1", "web-2"]);
    assert_eq!(removed(&finished(i64::from(i32::MAX), vec![s(1, "1"), s(2, "2")])), [""; 0]);
    // By age, then by name, where revisions are equal or no numbers.
    assert_eq!(removed(&finished(1, vec![s(1, "5"), s(2, "5").created(-1)])), ["web-2"]);
    assert_eq!(removed(&finished(1, vec![s(2, "5").created(1), s(1, "5")])), ["web-1"]);
    assert_eq!(removed(&finished(1, vec![s(1, "x"), s(2, "1")])), ["web-1"]);
    assert_eq!(removed(&finished(1, vec![s(1, "3"), s(2, "x")])), ["web-1"]);
}

/// The rows of that table with pods in them: only the first ones are looked at, and one that cannot go is not replaced (S18).
#[test]
fn a_set_that_is_not_idle_stays_and_is_not_replaced() {
    let paused = |limit: i64, old: Vec<Set>| {
        // Paused and full: the clean-up runs whatever sizes there are; one active set would be sized, several are shared.
        old.into_iter()
            .fold(Cluster::new(complete(limit).replicas(3).rolling(2, 0).paused()).and(set("web", 9).size(3).sized_for(3, 5)), Cluster::and)
    };
    let s = |n: u32, size: i64| set("web", n).size(size).sized_for(3, 5);
    let gone = |w: &Cluster| w.plan().writes().filter(|w| w.verb() == "delete").map(|w| w.name().to_string()).collect::<Vec<_>>();
    assert_eq!(gone(&paused(1, vec![s(1, 1), s(2, 0), s(3, 0)])), ["web-2"]);
    assert_eq!(gone(&paused(1, vec![s(1, 1), s(2, 1), s(3, 0)])), [""; 0]);
    let four = vec![s(1, 0), s(2, 0).with("/status/replicas", 1), s(3, 1).with("/status/replicas", 0), s(4, 1)];
    assert_eq!(gone(&paused(0, four)), ["web-1"]);
    assert_eq!(gone(&paused(0, vec![s(1, 0).with("/metadata/generation", 2)])), [""; 0], "its loop has not seen its size yet");
    assert_eq!(gone(&paused(0, vec![s(1, 0).deleting()])), [""; 0], "not deleted again");
    assert_eq!(gone(&paused(1, vec![s(1, 0).deleting(), s(2, 0), s(3, 0)])), ["web-2"], "nor does it count");
}

/// workloads 2.10: only a complete rollout cleans up, as the stored status has it.
#[test]
fn only_a_complete_rollout_cleans_up() {
    let old = || vec![set("web", 1).sized_for(1, 2)];
    assert_eq!(removed(&finished(0, old())), ["web-1"]);
    for (field, n) in [("updatedReplicas", 0), ("replicas", 2), ("availableReplicas", 0), ("observedGeneration", 0)] {
        let world = old()
            .into_iter()
            .fold(Cluster::new(complete(0).with(&format!("/status/{field}"), n)).and(set("web", 9).full(1).sized_for(1, 2)), Cluster::and);
        assert!(world.plan().is_empty(), "{field}");
    }
    let mut absent = complete(0);
    absent.0["spec"].as_object_mut().unwrap().remove("revisionHistoryLimit");
    let world = Cluster::new(absent).and(set("web", 9).full(1).sized_for(1, 2)).and(set("web", 1));
    assert!(world.plan().is_empty());
}

/// 2.19 S16: one that changed meanwhile is looked at again; one that is gone is what we wanted; anything else is an error.
#[test]
fn a_removal_that_comes_too_late_is_no_error() {
    let world = finished(0, vec![set("web", 1).sized_for(1, 2)]);
    let failed = |kind| Done::Failed(evenkeel_plan::Failure { kind, message: "m".into() });
    for done in [failed(FailureKind::Conflict), failed(FailureKind::NotFound), Done::AlreadyGone] {
        assert_eq!(world.report_when_first(done).next, Next::OnChange);
    }
    let report = world.report_when_first(failed(FailureKind::Forbidden));
    assert_eq!(report.next, Next::Retry("m".into()));
}

/// workloads 2.18.33; recorded story `deploy-undo`.
#[test]
fn a_template_that_comes_back_gets_its_set_back() {
    let mut world = Cluster::new(deployment("web").replicas(2));
    let roll = |world: &mut Cluster, image: &str| {
        world.edit(|d| d.image(image));
        world.settle_with(|w| w.ready_pods(""));
    };
    roll(&mut world, "app:1");
    roll(&mut world, "app:2");
    let first = world.name_of("app:1");
    roll(&mut world, "app:1");
    let note = |w: &Cluster, image: &str, key: &str| w.set_of(image)["metadata"]["annotations"][key].clone();
    assert_eq!((note(&world, "app:1", REVISION), note(&world, "app:1", HISTORY)), (json!("3"), json!("1")));
    assert_eq!(world.deployment()["metadata"]["annotations"][REVISION], "3");
    assert_eq!(world.sets().len(), 2);
    assert_eq!(world.name_of("app:1"), first);
    roll(&mut world, "app:2");
    roll(&mut world, "app:1");
    assert_eq!((note(&world, "app:1", REVISION), note(&world, "app:1", HISTORY)), (json!("5"), json!("1,3")));
    assert_eq!((note(&world, "app:2", REVISION), note(&world, "app:2", HISTORY)), (json!("4"), json!("2")));
}

/// workloads 2.4.3 and the recorded story `deploy-history-text`: 2000 characters, cut at the beginning.
#[test]
fn the_memory_of_revisions_is_cut_at_its_beginning() {
    let remembered = |history: &str, old: &str| {
        let world = Cluster::new(deployment("web").image("app:1"))
            .and(set("web", 1).full(1).sized_for(1, 2).revision(old).note(HISTORY, history))
            .and(set("web", 2).revision("9000000000000"));
        let plan = world.plan();
        let Write::Replace { body, .. } = &plan.steps[0][0] else { panic!() };
        assert_eq!(body["metadata"]["annotations"][REVISION], "9000000000001");
        body["metadata"]["annotations"][HISTORY].as_str().unwrap().to_owned()
    };
    assert_eq!(remembered("", "7"), "7");
    assert_eq!(remembered(",5", "7"), "7");
    assert_eq!(remembered("1,2", "7"), "1,2,7");
    let fits = format!("1,{}", "x".repeat(1996));
    assert_eq!(remembered(&fits, "7"), format!("{fits},7"), "2000 exactly");
    let more = format!("1,{}", "x".repeat(1997));
    assert_eq!(remembered(&more, "7"), format!("{},7", "x".repeat(1997)), "the first goes");
    let several = format!("1,22,333,{}", "x".repeat(1991));
    assert_eq!(remembered(&several, "44"), format!("333,{},44", "x".repeat(1991)));
    let exactly = format!("1,22,{}", "x".repeat(1995));
    assert_eq!(remembered(&exactly, "7"), format!("22,{},7", "x".repeat(1995)), "2000 once the first has gone");
    let huge = "x".repeat(1999);
    assert_eq!(remembered(&huge, "7"), "7", "the old ones all go");
}

/// workloads 2.4.3: what cannot fit at all is not appended.
#[test]
fn a_revision_never_outgrows_the_memory() {
    let world = Cluster::new(deployment("web").image("app:1"))
        .and(set("web", 1).full(1).sized_for(1, 2).revision(&format!("{:0>2001}", "7")).note(HISTORY, "5"))
        .and(set("web", 2).revision("9"));
    let plan = world.plan();
    let Write::Replace { body, .. } = &plan.steps[0][0] else { panic!() };
    assert_eq!(body["metadata"]["annotations"][HISTORY], "5");
}

/// workloads 2.18.34; recorded story `deploy-revision-gap`.
#[test]
fn a_revision_is_never_lowered() {
    let mut world = Cluster::new(deployment("web").image("app:3").complete())
        .and(set("web", 1))
        .and(set("web", 3).full(1).sized_for(1, 2).revision("8"));
    world.settle();
    assert_eq!(world.set("web-3")["metadata"]["annotations"][REVISION], "8");
    assert_eq!(world.deployment()["metadata"]["annotations"][REVISION], "8");
    world.edit_set("web-1", |s| s.revision("x"));
    world.settle();
    assert_eq!(world.set("web-3")["metadata"]["annotations"][REVISION], "8", "one that is no number is passed over");
    world.edit_set("web-1", |s| s.revision("8"));
    world.settle();
    assert_eq!(world.set("web-3")["metadata"]["annotations"][REVISION], "9", "but it is the highest");
    let top = Cluster::new(deployment("web").image("app:3"))
        .and(set("web", 1).revision("9223372036854775807"))
        .and(set("web", 3).full(1).sized_for(1, 2));
    let _ = top.plan();
}

/// Three revisions, as three rollouts left them.
fn three(rollback: &str) -> Cluster {
    Cluster::new(
        deployment("web")
            .image("app:3")
            .complete()
            .note(REVISION, "3")
            .note("who", "me")
            .note("kubectl.kubernetes.io/last-applied-configuration", "{}")
            .note(ROLLBACK, rollback),
    )
    .and(set("web", 1).note("who", "first").note("only", "here"))
    .and(set("web", 2).note("who", "second"))
    .and(set("web", 3).full(1).sized_for(1, 2).note("who", "me"))
}

/// workloads 2.18.35; recorded stories `deploy-rollback-last` and `deploy-rollback-named`.
#[test]
fn a_rollback_request_restores_template_and_annotations_in_one_write() {
    for (asked, number, who) in [("0", 2, "second"), ("1", 1, "first"), ("+2", 2, "second")] {
        let mut world = three(asked);
        let (plan, report) = world.pass();
        assert_eq!(world.log, ["update web"], "no set is written, and no status");
        let Write::Replace { target, subresource: None, .. } = &plan.steps[0][0] else { panic!() };
        assert!(target.version.is_some());
        assert_eq!(events(&report), [format!("Normal DeploymentRollback: Rolled back deployment \"web\" to revision {number}")]);
        assert_eq!(report.next, Next::OnChange);
        let d = world.deployment();
        assert_eq!(
            d["spec"]["template"],
            json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": format!("app:{number}")}]}})
        );
        let mut notes = json!({REVISION: "3", "who": who, "kubectl.kubernetes.io/last-applied-configuration": "{}"});
        if number == 1 {
            notes["only"] = "here".into();
        }
        assert_eq!(d["metadata"]["annotations"], notes);
        world.follow();
        world.settle_with(|w| w.ready_pods(""));
        assert_eq!(world.set(&format!("web-{number}"))["spec"]["replicas"], 1);
        assert_eq!(world.set(&format!("web-{number}"))["metadata"]["annotations"][REVISION], "4");
        assert_eq!(world.sets().len(), 3);
    }
}

/// workloads 2.18.35: requests that cannot be met are taken away, with a warning.
#[test]
fn a_rollback_request_that_cannot_be_met_is_taken_away() {
    let unchanged = "DeploymentRollbackTemplateUnchanged: The rollback revision contains the same template as current deployment \"web\"";
    let unknown = "DeploymentRollbackRevisionNotFound: Unable to find the revision to rollback to.";
    for (asked, message) in [("3", unchanged), ("7", unknown), ("-1", unknown)] {
        let mut world = three(asked);
        let template = world.deployment()["spec"]["template"].clone();
        let (_, report) = world.pass();
        assert_eq!(events(&report), [format!("Warning {message}")]);
        assert_eq!(world.log, ["update web"]);
        assert_eq!(
            world.deployment()["metadata"]["annotations"],
            json!({REVISION: "3", "who": "me", "kubectl.kubernetes.io/last-applied-configuration": "{}"})
        );
        assert_eq!(world.deployment()["spec"]["template"], template);
        world.settle();
        assert_eq!(world.events.len(), 1);
    }
    let mut first = Cluster::new(deployment("web").complete().note(ROLLBACK, "0")).and(set("web", 1).full(1).sized_for(1, 2));
    let (_, report) = first.pass();
    assert_eq!(events(&report), ["Warning DeploymentRollbackRevisionNotFound: Unable to find last revision."]);
}

/// workloads 2.9: what is no number is no request, and stays.
#[test]
fn an_odd_rollback_annotation_is_no_request() {
    for odd in ["", "x", "1.5", "99999999999999999999"] {
        let mut world = three(odd);
        world.settle();
        assert_eq!(world.deployment()["metadata"]["annotations"][ROLLBACK], odd);
        assert!(world.events.is_empty());
    }
}

/// workloads 2.9.1: the present template is recorded first, so that there is a way back.
#[test]
fn the_present_template_is_recorded_before_a_rollback() {
    let mut world = three("1");
    world.edit(|d| d.image("app:4"));
    let (plan, report) = world.pass();
    assert_eq!(plan.writes().map(Write::verb).collect::<Vec<_>>(), ["create"]);
    assert_eq!(status(&report)["metadata"]["annotations"][REVISION], "4");
    assert_eq!(status(&report)["status"]["observedGeneration"], 1, "counters are the rollout's business");
    world.follow();
    world.settle_with(|w| w.ready_pods(""));
    assert_eq!(world.set_of("app:4")["metadata"]["annotations"][REVISION], "4");
    assert_eq!(world.set("web-1")["metadata"]["annotations"][REVISION], "5");
    assert_eq!(world.set("web-1")["spec"]["replicas"], 1);
    // A present set that lacks something is put right first, too; and so is the Deployment's own revision.
    let mut world = three("1");
    world.edit_set("web-3", |s| s.note("who", "old"));
    assert_eq!(said(&world, &world.plan()), [["web-3 note"]]);
    world.settle();
    assert_eq!(world.set("web-1")["spec"]["replicas"], 1);
    let behind = three("1").plan();
    assert_eq!(behind.writes().count(), 1);
    let mut world = three("1");
    world.edit(|d| d.note(REVISION, "2"));
    let (plan, report) = world.pass();
    assert!(plan.is_empty());
    assert_eq!(status(&report)["metadata"]["annotations"][REVISION], "3");
}

/// 409 on that write: nothing is said, and it is tried again.
#[test]
fn a_rollback_that_fails_tells_nothing() {
    let world = three("1");
    let failed = Done::Failed(evenkeel_plan::Failure { kind: FailureKind::Conflict, message: "m".into() });
    let report = world.report_when_first(failed);
    assert!(report.events.is_empty() && report.steps.is_empty());
    assert_eq!(report.next, Next::Retry("m".into()));
}

/// workloads 2.15.2: a restart is a template change; recorded story `deploy-restart`.
#[test]
fn a_restart_makes_a_new_set() {
    let mut world = Cluster::new(deployment("web"));
    world.settle_with(|w| w.ready_pods(""));
    for n in 2..4 {
        world.edit(|d| {
            d.with("/spec/template/metadata/annotations", json!({"kubectl.kubernetes.io/restartedAt": format!("2026-01-0{n}T00:00:00Z")}))
        });
        world.settle_with(|w| w.ready_pods(""));
        assert_eq!(world.sets().len(), n);
        assert_eq!(world.deployment()["metadata"]["annotations"][REVISION], n.to_string());
    }
}

/// A dead relation between revisions that are no numbers must not upset the sorting.
#[test]
fn any_mix_of_revisions_can_be_sorted() {
    let revisions = ["9", "x", "3", "", "-1", "7", "y", "1", "5", "z", "2", "8", "x", "4", "6", "0", "q", "3", "11", "10", "w", "12"];
    let old = revisions.iter().enumerate().map(|(n, r)| set("web", n as u32 + 10).revision(r).created(((n * 7) % 22) as i64)).collect();
    let mut world = finished(2, old);
    world.edit_set("web-9", |s| s.revision("99"));
    assert_eq!(removed(&world).len(), 20);
}
