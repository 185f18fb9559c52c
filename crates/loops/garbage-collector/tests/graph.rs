//! The graph as people look at it (garbage-collection A15).

use evenkeel_api::Uid;
use evenkeel_garbage_collector::dot;
use evenkeel_plan::Propagation::Foreground;

use crate::world::{World, blocking, owner};

fn world() -> World {
    let mut world = World::new();
    world.create("Deployment", "d", &[]);
    world.create("ReplicaSet", "r", &[blocking("Deployment", "d")]);
    world.create("ClusterRole", "c", &[owner("ClusterRole", "other")]);
    world.create("ClusterRole", "other", &[]);
    world.create("Secret", "s", &[owner("Gizmo", "never")]);
    world.hold("ReplicaSet", "r", &["example.com/a", "example.com/b"]);
    world.run();
    world.delete("Deployment", "d", Foreground);
    world.run();
    world
}

#[test]
fn owners_what_they_own_and_what_holds_it_are_drawn() {
    let world = world();
    let expected = r#"strict digraph full {
  "uid-c" [label="clusterroles.rbac.authorization.k8s.io/c"];
  "uid-d" [label="deployments.apps/d\nnamespace n\nbeing deleted\nheld by foregroundDeletion"];
  "uid-never" [label="Gizmo/never\nnot there", style=dashed];
  "uid-other" [label="clusterroles.rbac.authorization.k8s.io/other"];
  "uid-r" [label="replicasets.apps/r\nnamespace n\nbeing deleted\nheld by example.com/a, example.com/b"];
  "uid-s" [label="secrets/s\nnamespace n"];
  "uid-c" -> "uid-other";
  "uid-r" -> "uid-d" [style=bold];
  "uid-s" -> "uid-never";
}
"#;
    assert_eq!(dot(&world.stores(), &[]), expected);
}

#[test]
fn of_some_objects_only_what_they_are_connected_with_is_drawn() {
    let mut world = world();
    world.create("ConfigMap", "below", &[owner("ReplicaSet", "r")]);
    world.watch();
    let drawn = |uids: &[&str]| {
        let uids: Vec<Uid> = uids.iter().map(|uid| Uid::new(uid)).collect();
        let text = dot(&world.stores(), &uids);
        (text.matches("label=").count(), text.matches("->").count())
    };
    assert_eq!(drawn(&[]), (7, 4));
    for one in ["uid-d", "uid-r", "uid-below"] {
        assert_eq!(drawn(&[one]), (3, 2), "{one}");
    }
    assert_eq!(drawn(&["uid-s", "uid-c"]), (4, 2));
    assert_eq!(drawn(&["uid-nobody"]), (0, 0));
}
