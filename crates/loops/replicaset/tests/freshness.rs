//! What stands where upstream has expectations and its read-your-writes barrier (workloads 3.2, 3.3): no look before the cache shows our own
//! writes, deletes included. No timer opens that gate, so B3 and B4 have nothing left to go wrong with.

use evenkeel_api::{Key, PODS, Uid, Version};
use evenkeel_cache::Wait;
use evenkeel_plan::{FailureKind, Next};
use evenkeel_replicaset::SetLoop;
use serde_json::json;

use crate::{both, world::*};

both! {
    /// workloads 3.9.20, 3.9.35: nothing is made twice, and nothing is written at all, while a create has not been seen.
    fn a_set_waits_until_its_creates_are_seen<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(3));
        world.pass(&lp, "web");
        let sent = world.sent.len();
        for _ in 0..4 {
            assert!(world.pass(&lp, "web").behind.is_some());
            world.deliver_next(1);
        }
        assert_eq!(world.sent.len(), sent, "no request while behind");
        let pass = world.pass(&lp, "web");
        assert!(pass.behind.is_none() && pass.plan.is_empty());
        assert_eq!(pass.status()["replicas"], 3);
    }

    /// B3: time alone never makes the count trusted.
    fn no_time_opens_the_gate<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(1));
        world.pass(&lp, "web");
        world.now += SignedDuration::from_hours(48);
        assert!(world.pass(&lp, "web").behind.is_some());
    }

    /// B4: whoever waits is named as soon as nothing is missing any more.
    fn whoever_waits_is_woken_by_what_it_waits_for<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(2));
        world.pass(&lp, "web");
        assert!(world.pass(&lp, "web").behind.is_some());
        let released: Vec<_> = (0..3).flat_map(|_| world.deliver_next(1)).collect();
        assert_eq!(released, [owner(&lp, "web")]);
    }

    /// workloads 3.9.35: a bookmark alone is enough.
    fn a_bookmark_alone_opens_the_gate<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(0));
        let owner = owner(&lp, "web");
        world.cache.wrote(&owner, Wait::Reached { kind: &PODS, version: Version(500) });
        assert!(world.pass(&lp, "web").behind.is_some());
        let ingested = world.cache.ingest(evenkeel_cache::Entry::<evenkeel_api::Pod>::Bookmark(Version(500))).unwrap();
        assert_eq!(ingested.released, [owner]);
        assert!(world.pass(&lp, "web").behind.is_none());
    }

    /// workloads 3.9.21: what was not made is not waited for.
    fn a_failed_create_leaves_nothing_to_wait_for<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(1));
        world.refuse = no_creates(FailureKind::Other, "no");
        world.pass(&lp, "web");
        world.refuse = Box::new(|_| None);
        world.deliver();
        assert_eq!(world.pass(&lp, "web").creates(), 1);
    }

    /// workloads 3.9.22, 3.2.5: what is seen after the gate was asked can only make us do less.
    fn a_pod_seen_between_the_gate_and_the_look_is_counted<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(1));
        assert!(world.cache.behind(&owner(&lp, "web")).is_none());
        world.add_pods::<S>([pod("a").of("web")]);
        assert!(world.look(&lp, "web").is_empty());
    }

    /// workloads 3.9.23, first half: the deletion timestamp is enough, and what comes later changes nothing.
    fn a_delete_is_seen_when_the_pod_is_going<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(1)).with_pods::<S>([pod("a").of("web").node("n"), pod("b").of("web").node("n").running()]);
        world.settle(&lp, "web");
        world.scale::<S>("web", 0);
        world.pass(&lp, "web");
        assert!(world.pass(&lp, "web").behind.is_some());
        world.deliver();
        assert!(world.pod("b")["metadata"].get("deletionTimestamp").is_some());
        world.settle(&lp, "web");
        world.remove(&PODS, "b");
        assert!(world.pass(&lp, "web").plan.is_empty());
    }

    /// workloads 3.9.23, second half: somebody else's deletion is not ours.
    fn the_end_of_an_unrelated_pod_opens_nothing<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(1))
            .with_pods::<S>([pod("a").of("web"), pod("b").of("web").running(), pod("z").labels(json!({"x": "y"}))]);
        world.pass(&lp, "web");
        world.server.remove(&PODS, "z");
        let mine = world.server.take_log();
        let (mine, theirs): (Vec<_>, Vec<_>) = mine.into_iter().partition(|s| s.object["metadata"]["name"] != "z");
        world.server.give_back(theirs);
        world.deliver();
        assert!(world.pass(&lp, "web").behind.is_some(), "our delete of a is not there yet");
        drop(mine);
    }

    /// workloads 3.9.24, B7: another life of the name starts clean, even when the end of the old one was never seen by itself.
    fn a_new_set_of_the_same_name_starts_clean<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(2));
        world.settle(&lp, "web");
        let old = world.pods();
        world.server.remove(S::resource(), "web");
        world.server.put(S::resource(), set("web").uid("uid-second").replicas(2).object::<S>());
        world.deliver();
        let pass = world.pass(&lp, "web");
        assert_eq!(pass.creates(), 2, "the pods of the old one are not its own");
        assert!(pass.plan.writes().all(|w| !old.contains(&w.name().to_string())), "other uid, other names");
        world.deliver();
        assert_eq!(world.live_of("web").len(), 4);
    }

    /// workloads 3.4.2: nothing is kept about a set that is gone.
    fn a_set_that_is_gone_leaves_nothing_behind<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(2));
        world.settle(&lp, "web");
        assert_eq!(lp.remembered(), 1);
        world.remove(S::resource(), "web");
        let pass = world.pass(&lp, "web");
        assert!(pass.quiet() && pass.report.next == Next::OnChange);
        assert_eq!(lp.remembered(), 0);
    }

    /// B6: a pod that somebody else made with our reference is not mistaken for ours.
    fn a_foreign_pod_with_our_reference_does_not_stand_for_one_of_ours<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(1));
        world.pass(&lp, "web");
        let ours = world.server.take_log();
        // The watch first brings a pod that was written before ours.
        let theirs = json!({"metadata": {"name": "theirs", "namespace": "ns", "uid": "t", "resourceVersion": "5", "labels": {"app": "web"},
            "ownerReferences": [{"apiVersion": "x", "kind": S::resource().kind, "name": "web", "uid": "uid-web", "controller": true}]}});
        let pod = <evenkeel_api::Pod as evenkeel_api::Object>::decode(theirs.to_string().as_bytes()).unwrap();
        world.cache.ingest(evenkeel_cache::Entry::Put(pod)).unwrap();
        assert!(world.pass(&lp, "web").behind.is_some());
        world.server.give_back(ours);
        world.deliver();
        assert_eq!(world.pass(&lp, "web").victims().len(), 1, "then both are counted");
    }

    /// B7, B8: what is awaited is this life of the pod, whatever becomes of its labels or its name.
    fn a_deletion_is_awaited_by_uid_whatever_happens_to_the_pod<S>() {
        let lp = SetLoop::<S>::default();
        let mut world = World::new().with::<S>(set("web").replicas(0)).with_pods::<S>([pod("a").of("web").node("n")]);
        world.settle(&lp, "web");
        let owner = owner(&lp, "web");
        let gone = |uid: &str| Wait::Gone { kind: &PODS, key: Key::new("ns", "a"), uid: Uid::new(uid) };
        world.cache.wrote(&owner, gone("uid-of-another-life"));
        assert!(world.cache.behind(&owner).is_none(), "another life of the name does not count");
        world.add_pods::<S>([pod("b").of("web").node("n")]);
        world.pass(&lp, "web");
        world.change(&PODS, "b", |v| v["metadata"]["labels"] = json!({"moved": "away"}));
        world.deliver();
        assert!(world.pass(&lp, "web").behind.is_none(), "going is going, also under other labels");
    }
}
