//! What happens when the server says no, and when the set itself is wrong.

use evenkeel_api::{Object, PODS};
use evenkeel_plan::{ControlLoop, Done, FailureKind, Next, Outcome};
use evenkeel_replicaset::{Options, SetLoop};
use serde_json::{Value, json};

use crate::{both, world::*};

const QUOTA: &str = "pods \"web-x\" is forbidden: exceeded quota: few, requested: pods=1, used: pods=2, limited: pods=2";

fn conditions<S: Written>(world: &World) -> Value {
    world.status::<S>("web")["conditions"].clone()
}

both! {
    /// workloads 3.9.18, 3.5: one doomed step costs at most 15 calls and one condition.
    fn creates_start_slowly_and_stop_at_the_first_failure<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(100));
        world.refuse = quota(10, QUOTA);
        let pass = world.pass(&lp, "web");
        assert_eq!(pass.creates(), 100);
        assert_eq!(world.sent.iter().filter(|s| s.starts_with("create")).count(), 15);
        assert_eq!(world.pods().len(), 10);
        let failed = pass.events().iter().filter(|e| **e == format!("Warning FailedCreate: Error creating: {QUOTA}")).count();
        let made = pass.events().iter().filter(|e| e.starts_with("Normal SuccessfulCreate")).count();
        assert_eq!((failed, made), (5, 10), "one event per call");
        assert_eq!(conditions::<S>(&world), json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": QUOTA,
            "lastTransitionTime": "2026-01-01T12:00:00Z"}]));
        assert_eq!(pass.report.next, Next::Retry(QUOTA.into()));
    }

    /// workloads 3.9.27 and the recorded stories rs-quota, rc-quota.
    fn a_quota_shows_in_the_condition_until_the_set_fits_into_it<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(3));
        world.refuse = quota(2, QUOTA);
        world.settle(&lp, "web");
        world.now += SignedDuration::from_secs(60);
        world.settle(&lp, "web");
        assert_eq!((world.status::<S>("web")["replicas"].clone(), world.pods().len()), (json!(2), 2));
        assert_eq!(conditions::<S>(&world)[0]["lastTransitionTime"], "2026-01-01T12:00:00Z", "untouched by what fails again");
        let again = world.settle(&lp, "web");
        assert!(!again.last().unwrap().writes_status(), "nothing new to say");
        world.scale::<S>("web", 2);
        world.settle(&lp, "web");
        assert!(conditions::<S>(&world).is_null());
        assert_eq!(world.status::<S>("web")["replicas"], 2);
    }

    /// The recorded stories rs-limit-range, rc-limit-range.
    fn when_creates_work_again_the_condition_goes<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(2));
        world.refuse = no_creates(FailureKind::Forbidden, "forbidden: maximum memory usage");
        world.settle(&lp, "web");
        assert_eq!(conditions::<S>(&world)[0]["reason"], "FailedCreate");
        world.refuse = Box::new(|_| None);
        world.settle(&lp, "web");
        assert!(conditions::<S>(&world).is_null());
        assert_eq!(world.live_of("web").len(), 2);
    }

    /// workloads 3.9.28, 3.5, B5
    fn in_a_dying_namespace_nothing_is_said_and_nothing_retried<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(3));
        world.refuse = no_creates(FailureKind::NamespaceTerminating, "namespace ns is being terminated");
        let pass = world.pass(&lp, "web");
        assert!(pass.events().is_empty());
        assert_eq!(pass.report.next, Next::OnChange);
        assert_eq!(pass.status().get("conditions"), None);
        world.deliver();
        assert!(world.pass(&lp, "web").behind.is_none(), "nothing is waited for either");
    }

    /// workloads 3.6: the event quotes the server, the condition says what was being done.
    fn a_failed_delete_is_told_and_retried<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(0)).with_pods::<S>([pod("a").of("web"), pod("b").of("web")]);
        world.refuse = Box::new(|w| (&**w.name() == "a").then(|| failure(FailureKind::Other, "etcd is away")));
        let pass = world.pass(&lp, "web");
        assert_eq!(pass.events(), ["Warning FailedDelete: Error deleting: etcd is away", "Normal SuccessfulDelete: Deleted pod: b"], "others still ran");
        assert_eq!(pass.report.next, Next::Retry("unable to delete pods: etcd is away".into()));
        let condition = &pass.status()["conditions"][0];
        assert_eq!([&condition["reason"], &condition["message"]], ["FailedDelete", "unable to delete pods: etcd is away"]);
        world.refuse = Box::new(|_| None);
        world.settle(&lp, "web");
        assert!(world.pods().is_empty() && conditions::<S>(&world).is_null());
    }

    /// workloads 3.9.36
    fn a_pod_that_is_gone_already_is_no_failed_delete<S>() {
        for answer in [None, Some(failure(FailureKind::NotFound, "pods \"a\" not found"))] {
            let lp = SetLoop::<S>::default();
            let mut world = World::new().with::<S>(set("web").replicas(0)).with_pods::<S>([pod("a").of("web")]);
            world.server.remove(&PODS, "a");
            world.refuse = Box::new(move |w| answer.clone().filter(|_| w.verb() == "delete"));
            let pass = world.pass(&lp, "web");
            assert!(pass.events().is_empty(), "{:?}", pass.events());
            assert_eq!((pass.report.next.clone(), pass.status().get("conditions")), (Next::OnChange, None));
            world.settle(&lp, "web");
        }
    }

    /// workloads 3.9.37, 3.4.4
    fn an_invalid_selector_is_told_and_not_retried<S>() {
        let lp = SetLoop::<S>::default();
        let broken = if S::resource().kind == "ReplicaSet" {
            json!({"matchExpressions": [{"key": "a", "operator": "Near"}]})
        } else {
            json!({"app": 3})
        };
        let mut world = World::new().with::<S>(set("web").selector(broken)).with_pods::<S>([pod("a"), pod("b").of("web")]);
        let pass = world.pass(&lp, "web");
        assert!(pass.plan.is_empty() && !pass.writes_status());
        assert_eq!(pass.report.next, Next::OnChange);
        assert_eq!(pass.events().len(), 1, "once per pass");
        let start = format!("Warning InvalidSelector: error converting pod selector to selector for {} ns/web: ", S::resource().kind);
        assert!(pass.events()[0].starts_with(&start), "{:?}", pass.events());
    }

    /// B14
    fn an_empty_selector_adopts_nothing<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").selector(json!({}))).with_pods::<S>([pod("a"), pod("b").labels(json!({"x": "y"}))]);
        let pass = world.pass(&lp, "web");
        assert!(pass.plan.is_empty() && !pass.writes_status());
        assert_eq!(pass.events(), [format!("Warning SelectingAll: This {} is selecting all pods. A non-empty selector is required.", S::resource().kind)]);
        assert_eq!(pass.report.next, Next::OnChange);
    }

    /// An absent selector matches nothing (workloads 4): every pod made would be released and made again, without end.
    fn without_a_selector_nothing_is_made<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(3).selector(Value::Null)).with_pods::<S>([pod("a").of("web")]);
        let pass = world.pass(&lp, "web");
        assert!(pass.plan.is_empty() && pass.report.next == Next::OnChange);
        assert_eq!(pass.events().len(), 1);
    }

    /// A template that the selector does not match, which the server refuses, would make pods without end.
    fn a_template_that_the_selector_does_not_match_makes_nothing<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(3).at("/spec/template/metadata/labels", json!({"app": "db"})));
        let pass = world.pass(&lp, "web");
        assert!(pass.plan.is_empty() && pass.report.next == Next::OnChange);
        assert_eq!(pass.status()["conditions"][0]["reason"], "FailedCreate");
    }

    /// workloads 3.6.2: no call, no event, a condition; and only a change of the set can help.
    fn a_template_without_labels_makes_nothing<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(3).at("/spec/template/metadata", json!({})));
        let pass = world.pass(&lp, "web");
        assert!(pass.plan.is_empty() && pass.events().is_empty());
        let condition = &pass.status()["conditions"][0];
        assert_eq!([&condition["reason"], &condition["message"]], ["FailedCreate", "unable to create pods, no labels"]);
        assert_eq!(pass.report.next, Next::OnChange);
        world.deliver();
        assert!(world.pass(&lp, "web").quiet(), "said once");
        world.scale::<S>("web", 0);
        assert_eq!(world.pass(&lp, "web").status().get("conditions"), None, "nothing is missing any more");
    }

    /// A set on its way out makes no pods, so it has no failure to show, and an old one goes (as upstream has it).
    fn a_set_on_its_way_out_shows_no_failure<S>() {
        let lp = SetLoop::<S>::default();
        let failed = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "m", "lastTransitionTime": null}]);
        let mut world = World::new().with::<S>(set("web").replicas(3).deleting().at("/spec/template/metadata", json!({})));
        world.change_set::<S>("web", |v| v["status"] = json!({"replicas": 0, "conditions": failed}));
        world.settle(&lp, "web");
        assert!(conditions::<S>(&world).is_null());
    }

    /// Where nothing was done, there is no next round at once: the watch brings what the server knows already.
    fn a_burst_of_pods_that_are_gone_already_does_not_run_hot<S>() {
        let lp = SetLoop::<S>::new(Options { burst: 1, ..Options::default() });
        let mut world = World::new().with::<S>(set("web").replicas(0)).with_pods::<S>(["a", "b", "c"].map(|n| pod(n).of("web")));
        for name in ["a", "b", "c"] {
            world.server.remove(&PODS, name);
        }
        let pass = world.pass(&lp, "web");
        assert_eq!((pass.victims().len(), pass.report.next), (1, Next::OnChange));
    }

    /// B1: what settled nothing leaves the condition alone.
    fn a_pass_that_settles_nothing_leaves_the_condition_alone<S>() {
        let lp = SetLoop::<S>::default();
        let failed = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedDelete", "message": "m", "lastTransitionTime": null}]);
        let mut world = World::new().with::<S>(set("web").replicas(0)).with_pods::<S>([pod("a").of("web"), pod("b").of("web")]);
        world.change_set::<S>("web", |v| v["status"] = json!({"replicas": 0, "conditions": failed}));
        for kind in [FailureKind::Conflict, FailureKind::Fenced] {
            world.refuse = Box::new(move |w| (w.verb() == "delete").then(|| failure(kind, "later")));
            let pass = world.pass(&lp, "web");
            assert!(pass.events().is_empty());
            assert!(matches!(pass.report.next, Next::Retry(_)));
            world.deliver();
            assert_eq!(conditions::<S>(&world), failed);
        }
        world.refuse = Box::new(|_| None);
        world.add_pods::<S>([pod("orphan")]);
        let pass = world.pass(&lp, "web");
        assert!(pass.writes() == ["get web", "patch orphan"] && !pass.writes_status(), "nor does a pass of claims touch it");
        world.settle(&lp, "web");
        assert!(conditions::<S>(&world).is_null());
    }

    /// B1: what upstream's flapping looked like: part of the pods come, the rest is refused, again and again.
    fn the_condition_does_not_flap_while_creation_keeps_failing<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(50));
        world.refuse = quota(20, QUOTA);
        for _ in 0..10 {
            world.pass(&lp, "web");
            assert_eq!(conditions::<S>(&world)[0]["reason"], "FailedCreate");
            world.deliver();
        }
        assert_eq!(world.live_of("web").len(), 20);
    }

    /// B2: the text follows what is wrong now, the time of the transition stays, and no two passes running write it.
    fn a_changed_text_is_told_but_never_twice_running<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web"));
        let mut n = 0;
        world.refuse = Box::new(move |w| {
            n += usize::from(w.verb() == "create");
            (w.verb() == "create").then(|| failure(FailureKind::Forbidden, &format!("denied, ticket {n}")))
        });
        let wrote: Vec<bool> = (0..6)
            .map(|_| {
                let pass = world.pass(&lp, "web");
                world.deliver();
                world.now += SignedDuration::from_secs(10);
                pass.writes_status()
            })
            .collect();
        assert_eq!(wrote, [true, false, true, false, true, false]);
        let condition = &conditions::<S>(&world)[0];
        assert_eq!([&condition["message"], &condition["lastTransitionTime"]], ["denied, ticket 5", "2026-01-01T12:00:00Z"]);
    }

    /// B2: the same for deletes, from the very first pass over the set.
    fn a_changed_text_of_a_failed_delete_is_never_told_twice_running<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(0)).with_pods::<S>([pod("a").of("web")]);
        let mut n = 0;
        world.refuse = Box::new(move |w| {
            n += usize::from(w.verb() == "delete");
            (w.verb() == "delete").then(|| failure(FailureKind::Forbidden, &format!("denied, ticket {n}")))
        });
        let wrote: Vec<bool> = (0..4)
            .map(|_| {
                let pass = world.pass(&lp, "web");
                world.deliver();
                pass.writes_status()
            })
            .collect();
        assert_eq!(wrote, [true, false, true, false]);
    }

    /// B2: from one reason to the other; and one that somebody has turned off is turned on again.
    fn the_reason_follows_too<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(1));
        world.refuse = Box::new(|w| matches!(w.verb(), "create" | "delete").then(|| failure(FailureKind::Other, "no")));
        world.settle(&lp, "web");
        world.add_pods::<S>([pod("a").of("web"), pod("b").of("web")]);
        world.settle(&lp, "web");
        world.settle(&lp, "web");
        assert_eq!(conditions::<S>(&world)[0]["reason"], "FailedDelete");
        world.change_set::<S>("web", |v| v["status"]["conditions"][0]["reason"] = "Made".into());
        world.settle(&lp, "web");
        world.settle(&lp, "web");
        assert_eq!(conditions::<S>(&world)[0]["reason"], "FailedDelete");
        world.now += SignedDuration::from_secs(10);
        world.change_set::<S>("web", |v| v["status"]["conditions"][0]["status"] = "False".into());
        world.settle(&lp, "web");
        let condition = &conditions::<S>(&world)[0];
        assert_eq!([&condition["status"], &condition["lastTransitionTime"]], ["True", "2026-01-01T12:00:10Z"]);
        assert_eq!(conditions::<S>(&world).as_array().unwrap().len(), 1);
    }

    /// workloads 3.6.1: upstream's pods have no name yet when they are refused by the first checks of the server, so those texts quote the
    /// prefix; it does not change with each try. Later ones (quota) quote the name, here and there.
    fn a_refusal_from_before_naming_quotes_the_prefix<S>() {
        for (why, prefix) in [("error looking up service account ns/robot", true), ("no PriorityClass with name high", true), ("exceeded quota: few", false)] {
            let lp = SetLoop::<S>::default();
            let mut world = World::new().with::<S>(set("web"));
            let name = world.look(&lp, "web").writes().next().unwrap().name().to_string();
            world.refuse = Box::new(move |w| {
                let text = format!("pods {:?} is forbidden: {why}", &**w.name());
                (w.verb() == "create").then(|| failure(FailureKind::Forbidden, &text))
            });
            let pass = world.pass(&lp, "web");
            let text = format!("pods {:?} is forbidden: {why}", if prefix { "web-" } else { &name });
            assert_eq!(pass.events(), [format!("Warning FailedCreate: Error creating: {text}")]);
            assert_eq!(pass.status()["conditions"][0]["message"], text);
        }
    }

    /// B17: failures are retried for ever; how far apart is the shell's back-off.
    fn failures_are_never_given_up<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web"));
        world.refuse = no_creates(FailureKind::Other, "no");
        for _ in 0..40 {
            assert_eq!(world.pass(&lp, "web").report.next, Next::Retry("no".into()));
            world.deliver();
        }
    }

    /// While the cap is hit, a failure still means the back-off and not the next pass at once.
    fn a_failing_burst_does_not_run_hot<S>() {
        let lp = SetLoop::<S>::new(Options { burst: 5, ..Options::default() });
        let mut world = World::new().with::<S>(set("web").replicas(100));
        world.refuse = quota(3, QUOTA);
        assert_eq!(world.pass(&lp, "web").report.next, Next::Retry(QUOTA.into()));
    }

    /// An outcome that is shorter than its plan (we stopped leading halfway) panics nobody.
    fn an_outcome_cut_short_is_harmless<S>() {
        let lp = SetLoop::<S>::default();
        let world = World::new().with::<S>(set("web").replicas(3));
        let snap = lp.snapshot(&world.cache.read(), &owner(&lp, "web").key);
        let plan = lp.plan(&snap, noon());
        for steps in [vec![], vec![vec![]], vec![vec![Done::Skipped]]] {
            let outcome = Outcome { steps };
            assert!(lp.conclude(&snap, &plan, &outcome, noon()).events.is_empty());
            lp.remember(&snap, &plan, &outcome, noon());
        }
    }
}

/// A set that cannot be decoded never gets this far; one with nonsense in every field does, and is left alone or managed, without a panic.
#[test]
fn nonsense_in_the_spec_panics_nobody() {
    type S = evenkeel_api::ReplicaSet;
    for spec in [
        json!(null),
        json!([]),
        json!({"replicas": "many"}),
        json!({"selector": 3, "template": 4}),
        json!({"selector": {"matchLabels": {"a": "b"}}, "template": []}),
    ] {
        let value = json!({"metadata": {"name": "web", "namespace": "ns", "uid": "u", "resourceVersion": "9"}, "spec": spec, "status": 7});
        assert!(S::decode(value.to_string().as_bytes()).is_ok());
        let mut world = World::new();
        world.server.put(S::resource(), value);
        world.deliver();
        let pass = world.pass(&SetLoop::<S>::default(), "web");
        assert!(pass.plan.is_empty(), "{:?}", pass.plan);
    }
}
