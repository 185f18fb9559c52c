//! Own writes are seen before the next decision (reliability D-2, manager 14).

use evenkeel_api::{Key, Object, Pod, REPLICA_SETS, ReplicaSet, Uid, Version};
use evenkeel_cache::{Entry, Wait};
use evenkeel_plan::{Done, Target, Write};
use serde_json::json;

use crate::world::{PODS_PATH, SET_PATH, World, create, delete, owner, patch, pod, put_status, set, stored, world};

fn working() -> World {
    world(|seen, stored| stored.answer(seen))
}

fn pods(world: &World, entry: Entry<Pod>) -> bool {
    world.cache.ingest(entry).unwrap().released == [owner()]
}

#[tokio::test(start_paused = true)]
async fn a_create_is_waited_for_until_the_pods_have_reached_it() {
    let world = working();
    let Done::Written(answer) = world.one(create("web-a")).await else { panic!() };
    let version = answer.version.unwrap();
    assert!(!pods(&world, Entry::Bookmark(Version(version.0 - 1))));
    assert_eq!(world.behind(), world.pods_at_the_servers_version());
    assert!(pods(&world, Entry::Put(pod("web-a", version.0, false))));
    assert_eq!(world.behind(), None);
}

#[tokio::test(start_paused = true)]
async fn a_patch_is_waited_for() {
    let world = working();
    world.server.store(&format!("{PODS_PATH}/a"), stored("a", "owner"));
    assert!(matches!(world.one(patch("a")).await, Done::Written(_)));
    assert_eq!(world.behind(), world.pods_at_the_servers_version());
    assert!(pods(&world, Entry::Bookmark(Version(world.server.version()))));
    assert_eq!(world.behind(), None);
}

#[tokio::test(start_paused = true)]
async fn a_status_put_is_waited_for_in_its_own_kind() {
    let world = working();
    world.server.store(SET_PATH, set());
    assert!(matches!(world.one(put_status(world.server.version())).await, Done::Written(_)));
    let version = Version(world.server.version());
    assert_eq!(world.behind(), Some(Wait::Reached { kind: &REPLICA_SETS, version }));
    assert!(!pods(&world, Entry::Bookmark(version)), "news of another kind release nobody");
    let seen = json!({"metadata": {"name": "web", "namespace": "ns", "uid": "uid-web", "resourceVersion": version.to_string()}});
    assert_eq!(world.cache.ingest(Entry::Put(ReplicaSet::decode(seen.to_string().as_bytes()).unwrap())).unwrap().released, [owner()]);
    assert_eq!(world.behind(), None);
}

#[tokio::test(start_paused = true)]
async fn a_delete_is_waited_for_until_it_is_gone() {
    let world = working();
    pods(&world, Entry::Put(pod("a", 50, false)));
    world.server.store(&format!("{PODS_PATH}/a"), stored("a", "owner"));
    assert!(matches!(world.one(delete("a")).await, Done::Written(_)));
    assert!(matches!(world.behind(), Some(Wait::Gone { .. })));
    assert!(!pods(&world, Entry::Put(pod("other", 60, false))));
    assert!(matches!(world.behind(), Some(Wait::Gone { .. })));
    assert!(pods(&world, Entry::Delete(pod("a", 200, false))));
    assert_eq!(world.behind(), None);
}

#[tokio::test(start_paused = true)]
async fn a_delete_is_waited_for_until_the_deletion_timestamp_is_seen() {
    let world = working();
    pods(&world, Entry::Put(pod("a", 50, false)));
    world.server.store(&format!("{PODS_PATH}/a"), stored("a", "owner"));
    world.one(delete("a")).await;
    assert!(world.behind().is_some());
    assert!(pods(&world, Entry::Put(pod("a", 200, true))));
    assert_eq!(world.behind(), None);
}

#[tokio::test(start_paused = true)]
async fn failures_and_reads_are_not_waited_for() {
    let world = working();
    world.server.store(SET_PATH, set());
    let target = Target { kind: &REPLICA_SETS, key: Key::new("ns", "web"), uid: Uid::new("uid-web"), version: None };
    assert!(matches!(world.one(Write::ConfirmOwner { target }).await, Done::Written(_)));
    world.one(put_status(3)).await;
    world.one(patch("nobody")).await;
    assert_eq!(world.behind(), None);
}

#[tokio::test(start_paused = true)]
async fn of_a_step_of_creates_the_last_is_waited_for() {
    let world = working();
    let outcome = world.steps(&[(0..30).map(|n| create(&format!("web-{n}"))).collect()]).await;
    let newest = outcome.steps[0].iter().filter_map(|d| d.answer()?.version).max().unwrap();
    assert!(world.behind().is_some());
    assert!(!pods(&world, Entry::Bookmark(Version(newest.0 - 1))));
    assert!(pods(&world, Entry::Bookmark(newest)));
}
