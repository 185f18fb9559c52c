//! What `evenkeel plan` says of a pass: one phrase a situation.

use evenkeel_plan::{ControlLoop, Plan};
use evenkeel_replicaset::{Options, SetLoop};
use serde_json::json;

use crate::{both, world::*};

fn why<S: Written>(lp: &SetLoop<S>, world: &World) -> Option<String> {
    lp.explain(&lp.snapshot(&world.cache.read(), &owner::<S>(lp, "web").key), &Plan::default())
}

both! {
    /// workloads 3.4
    fn a_phrase_tells_what_is_missing_or_too_many<S>() {
        let lp = SetLoop::<S>::new(Options { burst: 2, ..Options::default() });
        let world = |replicas: i64, pods: usize| {
            let pods = (0..pods).map(|n| pod(&format!("p{n}")).of("web"));
            World::new().with::<S>(set("web").replicas(replicas)).with_pods::<S>(pods)
        };
        for (replicas, pods, phrase) in [
            (5, 3, "2 of 5 pods missing"),
            (5, 2, "3 of 5 pods missing, 2 at a time"),
            (3, 3, "3 of 3 pods: status only"),
            (0, 0, "0 of 0 pods: status only"),
            (2, 3, "1 pod too many"),
            (1, 3, "2 pods too many"),
            (0, 3, "3 pods too many, 2 at a time"),
        ] {
            assert_eq!(why(&lp, &world(replicas, pods)).as_deref(), Some(phrase));
        }
        assert_eq!(why(&lp, &World::new()), None, "nothing to say of what is gone");
    }

    /// workloads 1.6, 3.4.4, 3.6.1
    fn a_phrase_tells_what_comes_before_counting<S>() {
        let lp = SetLoop::<S>::default();
        let claims = World::new().with::<S>(set("web").replicas(1))
            .with_pods::<S>([pod("a"), pod("b"), pod("c").of("web").labels(json!({"app": "x"}))]);
        assert_eq!(why(&lp, &claims).unwrap(), "2 pods to adopt, 1 pod to release");
        let dying = World::new().with::<S>(set("web").replicas(2).deleting());
        assert_eq!(why(&lp, &dying).unwrap(), "being deleted: status only");
        let unlabelled = World::new().with::<S>(set("web").replicas(2).at("/spec/template/metadata/labels", json!({})));
        assert_eq!(why(&lp, &unlabelled).unwrap(), "2 of 2 pods missing: unable to create pods, no labels");
        let everything = World::new().with::<S>(set("web").selector(json!({})));
        assert!(why(&lp, &everything).unwrap().contains("A non-empty selector is required."), "{:?}", why(&lp, &everything));
    }
}
