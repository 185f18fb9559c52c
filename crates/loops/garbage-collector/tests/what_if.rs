//! What would follow if an object were deleted, and that it then does.

use evenkeel_api::Key;
use evenkeel_garbage_collector::what_if::{Fate, Tree, When, With, if_deleted};
use evenkeel_plan::Propagation::{self, Background, Foreground, Orphan};

use crate::world::{World, blocking, kind, owner};

/// What is said to follow; then the object is deleted, and it has to be so.
fn foretold(world: &mut World, kind_name: &'static str, name: &str, propagation: Propagation) -> Tree {
    world.run();
    let namespace = if kind(kind_name).namespaced { "n" } else { "" };
    let tree = if_deleted(&world.stores(), kind(kind_name), &Key::new(namespace, name), Some(propagation)).expect("it is there");
    world.delete(kind_name, name, propagation);
    world.run();
    for node in &tree.nodes {
        let there = world.names().contains(&&*node.key.name);
        assert_eq!(there, matches!(node.fate, Fate::Stays { .. }), "{}\n{}", node.key, tree.tell(true));
        if matches!(node.fate, Fate::Stays { deleting: false, .. }) {
            let keeps: Vec<String> = node.keeps.iter().map(|owner| owner.name.to_string()).collect();
            assert_eq!(world.owners_of(&node.key.name), keeps, "{}\n{}", node.key, tree.tell(true));
        }
    }
    tree
}

#[test]
fn each_object_has_a_line_below_its_owner() {
    let mut world = World::new();
    world.create("ConfigMap", "a", &[]);
    world.create("ConfigMap", "z", &[]);
    world.create("ReplicaSet", "b", &[blocking("ConfigMap", "a")]);
    world.create("Secret", "c", &[blocking("ReplicaSet", "b")]);
    world.create("Secret", "d", &[owner("ConfigMap", "a"), owner("ConfigMap", "z")]);
    world.create("Secret", "not-concerned", &[owner("ConfigMap", "z")]);
    let told = foretold(&mut world, "ConfigMap", "a", Background).tell(false);
    let expected = "\
configmaps/a goes
  replicasets.apps/b goes after its owner
    secrets/c goes after its owner
  secrets/d stays: owned by configmaps/z, loses its owner ConfigMap a
3 objects would go, 1 would stay
";
    assert_eq!(told, expected);
}

#[test]
fn in_foreground_what_blocks_goes_before_its_owner_and_the_rest_after() {
    let mut world = World::new();
    world.create("ConfigMap", "a", &[]);
    world.create("ReplicaSet", "b", &[blocking("ConfigMap", "a")]);
    world.create("Secret", "c", &[blocking("ReplicaSet", "b")]);
    let told = foretold(&mut world, "ConfigMap", "a", Foreground).tell(false);
    let expected = "\
configmaps/a goes, its dependents first
  replicasets.apps/b goes before its owner, its dependents first
    secrets/c goes before its owner
3 objects would go, 0 would stay
";
    assert_eq!(told, expected);
}

#[test]
fn what_is_orphaned_stays_with_all_below_it() {
    let mut world = World::new();
    world.create("ReplicaSet", "a", &[]);
    world.create("ConfigMap", "b", &[blocking("ReplicaSet", "a")]);
    world.create("Secret", "c", &[owner("ConfigMap", "b")]);
    let told = foretold(&mut world, "ReplicaSet", "a", Orphan).tell(false);
    let expected = "\
replicasets.apps/a goes, its dependents are let go
  configmaps/b stays: owned by nobody, loses its owner ReplicaSet a
    secrets/c stays: owned by configmaps/b
1 object would go, 2 would stay
";
    assert_eq!(told, expected);
}

#[test]
fn finalizers_and_who_waits_for_them_are_named() {
    let mut world = World::new();
    world.create("ConfigMap", "a", &[]);
    world.create("Secret", "blocks", &[blocking("ConfigMap", "a")]);
    world.create("Secret", "does-not", &[owner("ConfigMap", "a")]);
    world.create("Secret", "free", &[owner("ConfigMap", "a")]);
    world.hold("Secret", "blocks", &["example.com/h"]);
    world.hold("Secret", "does-not", &["example.com/h"]);
    let told = foretold(&mut world, "ConfigMap", "a", Foreground).tell(false);
    let expected = "\
configmaps/a stays, being deleted: waits for secrets/blocks
  secrets/blocks stays, being deleted: held by the finalizer example.com/h
  secrets/does-not stays, being deleted: held by the finalizer example.com/h
  secrets/free goes
1 object would go, 3 would stay, 3 of them being deleted
";
    assert_eq!(told, expected);
}

#[test]
fn rings_end_and_each_object_is_told_of_once() {
    let mut world = World::new();
    world.create("ConfigMap", "a", &[]);
    world.create("ConfigMap", "b", &[blocking("ConfigMap", "a")]);
    world.create("ConfigMap", "c", &[blocking("ConfigMap", "b")]);
    world.edit("ConfigMap", "a", |meta| meta["ownerReferences"] = [blocking("ConfigMap", "c")].as_slice().into());
    world.run();
    for propagation in [Foreground, Background] {
        let tree = if_deleted(&world.stores(), kind("ConfigMap"), &Key::new("n", "a"), Some(propagation)).expect("it is there");
        assert_eq!(tree.nodes.iter().map(|node| (&*node.key.name, node.depth)).collect::<Vec<_>>(), [("a", 0), ("b", 1), ("c", 2)]);
        assert!(tree.tell(false).ends_with("3 objects would go, 0 would stay\n"), "{}", tree.tell(false));
    }
    foretold(&mut world, "ConfigMap", "a", Foreground);
}

#[test]
fn owners_that_nobody_can_judge_keep_what_they_own() {
    let mut world = World::new();
    let mut alien = owner("ConfigMap", "x");
    alien["apiVersion"] = "example.com/v1".into();
    alien["kind"] = "Alien".into();
    world.create("ConfigMap", "a", &[]);
    world.create("Secret", "b", &[owner("ConfigMap", "a"), alien]);
    world.create("Secret", "c", &[owner("ConfigMap", "a"), owner("ReplicaSet", "r")]);
    world.create("ReplicaSet", "r", &[]);
    world.create("ClusterRole", "d", &[owner("ConfigMap", "a")]);
    world.run();
    world.unlist("ReplicaSet");
    let told = if_deleted(&world.stores(), kind("ConfigMap"), &Key::new("n", "a"), None).expect("it is there").tell(false);
    let expected = "\
configmaps/a goes
  clusterroles.rbac.authorization.k8s.io/d stays: its owner configmaps/a would have to be in a namespace
  secrets/b stays: its owner example.com/v1 Alien x is of a kind that nobody serves
  secrets/c stays: nobody can tell here whether its owner replicasets.apps/r is there
1 object would go, 3 would stay
";
    assert_eq!(told, expected);
}

#[test]
fn many_that_fare_alike_share_a_line_with_all_below_them() {
    let mut world = World::new();
    world.create("ConfigMap", "a", &[]);
    for number in 0..30 {
        world.create("ReplicaSet", &format!("set-{number:02}"), &[owner("ConfigMap", "a")]);
        for pod in 0..2 {
            world.create("Secret", &format!("of-{number:02}-{pod}"), &[owner("ReplicaSet", &format!("set-{number:02}"))]);
        }
    }
    world.hold("Secret", "of-07-0", &["example.com/h"]);
    let tree = foretold(&mut world, "ConfigMap", "a", Background);
    let expected = "\
configmaps/a goes
  29 objects such as replicasets.apps/set-00: each goes after its owner, and all 58 below them
  replicasets.apps/set-07 goes after its owner
    secrets/of-07-0 stays, being deleted: held by the finalizer example.com/h
    secrets/of-07-1 goes after its owner
90 objects would go, 1 would stay, 1 of them being deleted
";
    assert_eq!(tree.tell(false), expected);
    assert_eq!(tree.tell(true).lines().count(), 92);
}

/// garbage-collection A1: what a DELETE that does not say means, and whom it would concern.
#[test]
fn without_a_word_dependents_go_as_the_server_has_it() {
    let mut world = World::new();
    world.create("ConfigMap", "a", &[]);
    world.create("ConfigMap", "held", &[]);
    world.hold("ConfigMap", "held", &["orphan"]);
    world.create("Secret", "b", &[owner("ConfigMap", "held")]);
    world.run();
    let asked = |name: &str| if_deleted(&world.stores(), kind("ConfigMap"), &Key::new("n", name), None);
    assert_eq!(asked("a").map(|tree| tree.propagation), Some(Background));
    assert!(asked("held").is_some_and(|tree| tree.propagation == Orphan && tree.tell(false).contains("secrets/b stays: owned by nobody")));
    assert!(asked("nobody").is_none());
}

/// What is on its way when somebody asks goes on its way.
#[test]
fn what_is_being_deleted_already_is_told_of_as_that() {
    let mut world = World::new();
    world.create("ConfigMap", "a", &[]);
    world.create("ConfigMap", "b", &[blocking("ConfigMap", "a")]);
    world.create("Secret", "c", &[blocking("ConfigMap", "b")]);
    world.hold("Secret", "c", &["example.com/h"]);
    world.run();
    world.delete("ConfigMap", "b", Foreground);
    world.run();
    let tree = if_deleted(&world.stores(), kind("ConfigMap"), &Key::new("n", "a"), Some(Background)).expect("it is there");
    assert_eq!(tree.nodes[0].fate, Fate::Goes { when: When::ByItself, with: With::Nothing });
    assert!(tree.tell(false).contains("configmaps/b stays, being deleted: waits for secrets/c"), "{}", tree.tell(false));
}

/// An owner that waits for nobody goes at once unless its dependent is looked at before: nobody can tell.
#[test]
fn what_depends_on_the_order_of_passes_is_said_to() {
    let mut world = World::new();
    world.create("ConfigMap", "a", &[]);
    world.create("ReplicaSet", "b", &[owner("ConfigMap", "a")]);
    world.create("Secret", "c", &[owner("ConfigMap", "a"), owner("ReplicaSet", "b")]);
    world.hold("ReplicaSet", "b", &["example.com/h"]);
    world.run();
    let tree = if_deleted(&world.stores(), kind("ConfigMap"), &Key::new("n", "a"), Some(Foreground)).expect("it is there");
    assert_eq!((&*tree.nodes[2].key.name, &tree.nodes[2].fate), ("c", &Fate::Open), "{}", tree.tell(false));
    assert!(
        tree.tell(false).ends_with("1 object would go, 1 would stay, 1 of them being deleted, 1 would do either\n"),
        "{}",
        tree.tell(false)
    );
}
