//! What each answer of the server means to a loop.

use evenkeel_api::{NAMESPACES, PODS, Version};
use evenkeel_cache::Wait;
use evenkeel_plan::{Done, FailureKind, PatchForm, Target, Write};
use serde_json::{Value, json};

use crate::{
    server::{Reply, status},
    world::{PODS_PATH, SET_PATH, World, assert_failed, create, delete, failure, patch, put_status, set, stored, target, world},
};

/// A server that works, but for the answers to `method`, which break off after it has acted or before.
fn broken(method: &'static str, acts: bool) -> World {
    world(move |seen, stored| {
        if seen.method != method {
            return stored.answer(seen);
        }
        if acts {
            stored.answer(seen);
        }
        Reply::Reset
    })
}

fn pod_path(name: &str) -> String {
    format!("{PODS_PATH}/{name}")
}

#[tokio::test(start_paused = true)]
async fn a_taken_name_with_our_controller_is_our_own_earlier_create() {
    let world = world(|seen, stored| stored.answer(seen));
    world.server.store(&pod_path("web-a"), stored("web-a", "owner"));
    let done = world.one(create("web-a")).await;
    assert!(matches!(&done, Done::Existed(a) if a.uid.to_string() == "uid-web-a"), "{done:?}");
    assert_eq!(world.behind(), world.pods_at_the_servers_version());
}

#[tokio::test(start_paused = true)]
async fn a_taken_name_with_another_controller_or_none_is_a_failure_in_the_servers_words() {
    for mut object in [stored("web-a", "somebody-else"), stored("web-a", "owner")] {
        if object["metadata"]["ownerReferences"][0]["uid"] == "owner" {
            object["metadata"]["ownerReferences"][0]["controller"] = false.into();
        }
        let world = world(|seen, stored| stored.answer(seen));
        world.server.store(&pod_path("web-a"), object);
        let done = world.one(create("web-a")).await;
        assert_failed(&done, FailureKind::AlreadyExists, "pods \"web-a\" already exists");
        assert_eq!(world.behind(), world.pods_at_the_servers_version());
    }
}

#[tokio::test(start_paused = true)]
async fn a_replace_of_an_old_version_is_a_conflict() {
    let world = world(|seen, stored| stored.answer(seen));
    world.server.store(SET_PATH, set());
    assert_failed(&world.one(put_status(7)).await, FailureKind::Conflict, "the object has been modified");
    assert_eq!(world.server.count("GET"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_meets_another_life_finds_its_object_gone() {
    let world = world(|seen, stored| stored.answer(seen));
    let mut other = stored("a", "owner");
    other["metadata"]["uid"] = "another-life".into();
    world.server.store(&pod_path("a"), other);
    assert_eq!(world.one(delete("a")).await, Done::AlreadyGone);
    assert_eq!(world.behind(), world.pods_at_the_servers_version());
}

#[tokio::test(start_paused = true)]
async fn a_delete_refused_for_another_reason_is_a_conflict() {
    let world = world(|seen, stored| match seen.method.as_str() {
        "DELETE" => status(409, "Conflict", "the system is ensuring all content is removed"),
        _ => stored.answer(seen),
    });
    world.server.store(&pod_path("a"), stored("a", "owner"));
    assert_failed(&world.one(delete("a")).await, FailureKind::Conflict, "the system is ensuring all content is removed");
}

#[tokio::test(start_paused = true)]
async fn a_delete_of_one_version_that_meets_another_is_a_conflict() {
    let world = world(|_, _| status(409, "Conflict", "the ResourceVersion in the precondition"));
    let write = Write::Delete { target: target("a", Some(7)), propagation: None, grace: None };
    assert_failed(&world.one(write).await, FailureKind::Conflict, "the ResourceVersion in the precondition");
    assert_eq!(world.server.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_delete_answered_404_is_gone_and_the_key_waits_until_the_cache_says_so() {
    let world = world(|seen, stored| stored.answer(seen));
    world.cache.ingest(evenkeel_cache::Entry::Put(crate::world::pod("a", 5, false))).unwrap();
    assert_eq!(world.one(delete("a")).await, Done::AlreadyGone);
    assert!(matches!(world.behind(), Some(Wait::Gone { .. })));
    // But not on the word of a proxy: the deletion that the key would wait for might never come.
    let proxy = crate::world::world(|_, _| Reply::Raw(404, "no such backend".into()));
    assert_eq!(failure(&proxy.one(delete("a")).await).kind, FailureKind::NotFound);
    assert_eq!(proxy.behind(), None);
}

/// The delete was carried out, or not, and nobody said so.
#[tokio::test(start_paused = true)]
async fn an_unknown_delete_is_resolved_by_a_list() {
    let acted = broken("DELETE", true);
    acted.server.store(&pod_path("a"), stored("a", "owner"));
    assert_eq!(acted.one(delete("a")).await, Done::AlreadyGone);
    assert_eq!(acted.server.lines(), [format!("DELETE {PODS_PATH}/a"), format!("GET {PODS_PATH}?metadata.name%3Da")]);
    assert_eq!(acted.behind(), acted.pods_at_the_servers_version());

    let not = broken("DELETE", false);
    not.server.store(&pod_path("a"), stored("a", "owner"));
    assert_failed(&not.one(delete("a")).await, FailureKind::Other, "ServiceError: connection reset by peer");
    assert_eq!(not.behind(), not.pods_at_the_servers_version());

    let going = broken("DELETE", false);
    let mut pod = stored("a", "owner");
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    going.server.store(&pod_path("a"), pod);
    assert!(matches!(going.one(delete("a")).await, Done::Written(_)));

    let other = broken("DELETE", false);
    let mut pod = stored("a", "owner");
    pod["metadata"]["uid"] = "another-life".into();
    other.server.store(&pod_path("a"), pod);
    assert_eq!(other.one(delete("a")).await, Done::AlreadyGone);
}

#[tokio::test(start_paused = true)]
async fn a_delete_answered_200_with_garbage_is_unknown_and_does_not_wait_for_ever() {
    let world = world(|seen, stored| if seen.method == "DELETE" { Reply::Raw(200, "<html>welcome".into()) } else { stored.answer(seen) });
    world.server.store(&pod_path("a"), stored("a", "owner"));
    assert_eq!(failure(&world.one(delete("a")).await).kind, FailureKind::Other);
    assert_eq!(world.behind(), world.pods_at_the_servers_version());
}

#[tokio::test(start_paused = true)]
async fn an_unknown_replace_is_resolved_by_a_list() {
    let waits = |w: &World| Some(Wait::Reached { kind: &evenkeel_api::REPLICA_SETS, version: evenkeel_api::Version(w.server.version()) });
    let acted = broken("PUT", true);
    acted.server.store(SET_PATH, set());
    let version = acted.server.version();
    assert_eq!(failure(&acted.one(put_status(version)).await).kind, FailureKind::Conflict);
    assert_eq!((acted.server.count("PUT"), acted.behind()), (1, waits(&acted)));

    let not = broken("PUT", false);
    not.server.store(SET_PATH, set());
    let version = not.server.version();
    assert_eq!(failure(&not.one(put_status(version)).await).kind, FailureKind::Other);
    assert_eq!((not.server.count("PUT"), not.behind()), (1, waits(&not)));

    let gone = broken("PUT", false);
    assert_eq!(failure(&gone.one(put_status(7)).await).kind, FailureKind::NotFound);
    assert_eq!((gone.server.count("PUT"), gone.behind()), (1, waits(&gone)));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_patch_is_resolved_by_a_list() {
    for acts in [true, false] {
        let world = broken("PATCH", acts);
        world.server.store(&pod_path("a"), stored("a", "owner"));
        assert_eq!(failure(&world.one(patch("a")).await).kind, FailureKind::Other);
        assert_eq!((world.server.count("PATCH"), world.behind()), (1, world.pods_at_the_servers_version()));
    }
    let gone = broken("PATCH", false);
    assert_eq!(failure(&gone.one(patch("a")).await).kind, FailureKind::NotFound);
    let other = broken("PATCH", false);
    let mut pod = stored("a", "owner");
    pod["metadata"]["uid"] = "another-life".into();
    other.server.store(&pod_path("a"), pod);
    assert_eq!(failure(&other.one(patch("a")).await).kind, FailureKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_dying_namespace_is_told_from_its_cause() {
    let world = world(|_, _| {
        let causes = json!([{"reason": "Other"}, {"reason": "NamespaceTerminating", "field": "metadata.namespace"}]);
        Reply::Json(
            403,
            json!({"kind": "Status", "reason": "Forbidden", "message": "because it is being terminated", "details": {"causes": causes}}),
        )
    });
    assert_failed(&world.one(create("a")).await, FailureKind::NamespaceTerminating, "because it is being terminated");
}

#[tokio::test(start_paused = true)]
async fn refusals_have_a_kind_and_keep_the_servers_words() {
    let cases = [
        (401, "Unauthorized", FailureKind::Forbidden),
        (403, "Forbidden", FailureKind::Forbidden),
        (400, "BadRequest", FailureKind::Invalid),
        (422, "Invalid", FailureKind::Invalid),
        (404, "NotFound", FailureKind::NotFound),
        (409, "Conflict", FailureKind::Conflict),
        (405, "MethodNotAllowed", FailureKind::NotAllowed),
        (413, "RequestEntityTooLarge", FailureKind::Other),
    ];
    for (code, reason, kind) in cases {
        let world = world(move |_, _| status(code, reason, &format!("exceeded: {reason}")));
        assert_failed(&world.one(create("a")).await, kind, &format!("exceeded: {reason}"));
        assert_failed(&world.one(patch("a")).await, kind, &format!("exceeded: {reason}"));
        assert_eq!((world.server.seen().len(), world.behind()), (2, None), "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_without_a_readable_reason_says_so() {
    let world = world(|_, _| Reply::Raw(403, "<html>".into()));
    assert_failed(&world.one(create("a")).await, FailureKind::Forbidden, "the server answered 403 without a readable reason");
}

/// The kinds of waits that deletions leave name this life only.
#[tokio::test(start_paused = true)]
async fn a_delete_that_was_carried_out_tells_its_uid() {
    let world = world(|seen, stored| stored.answer(seen));
    world.server.store(&pod_path("a"), stored("a", "owner"));
    let done = world.one(delete("a")).await;
    assert!(matches!(&done, Done::Written(a) if a.uid.to_string() == "uid-a"), "{done:?}");
    assert_eq!(world.behind(), None, "the cache never had it, so nothing is missing");
    assert_eq!(target("a", None).kind, &PODS);
}

/// What a server's words say about the object: `ShouldDeleteDuringUpdate` and `finalizeDelete` in the API server's registry.
#[tokio::test(start_paused = true)]
async fn an_answer_tells_whether_the_object_went() {
    let going = |rest: Value| {
        let mut meta =
            json!({"name": "a", "namespace": "ns", "uid": "uid-a", "resourceVersion": "9", "deletionTimestamp": "2026-01-01T00:00:00Z"});
        meta.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta})
    };
    let success =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": {"name": "a", "uid": "uid-a"}});
    let exactly = || Write::Delete { target: target("a", Some(7)), propagation: None, grace: None };
    let namespace = || {
        let target = Target { kind: &NAMESPACES, ..target("a", None) };
        Write::Patch { target, subresource: None, form: PatchForm::Merge, body: json!({}) }
    };
    let mut called_status = going(json!({}));
    called_status["kind"] = "Status".into();
    for (what, write, answer, gone, version) in [
        ("a deletion that left nothing", exactly(), success.clone(), true, None),
        ("the same, of what may have been on its way out before", delete("a"), success, false, None),
        ("a deletion that waits", exactly(), going(json!({"finalizers": ["foregroundDeletion"]})), false, Some(9)),
        ("a kind whose objects come back when they went", exactly(), going(json!({})), false, Some(9)),
        ("a kind of that name", exactly(), called_status, false, Some(9)),
        ("a release", patch("a"), going(json!({})), true, Some(9)),
        ("a release of one of two", patch("a"), going(json!({"finalizers": ["example.com/h"]})), false, Some(9)),
        ("a release without grace", patch("a"), going(json!({"finalizers": [], "deletionGracePeriodSeconds": 0})), true, Some(9)),
        ("a release in the time of grace", patch("a"), going(json!({"deletionGracePeriodSeconds": 30})), false, Some(9)),
        ("an object that stays", patch("a"), going(json!({"deletionTimestamp": null})), false, Some(9)),
        ("a namespace, which has finalizers of its own", namespace(), going(json!({})), false, Some(9)),
    ] {
        let world = world(move |_, _| Reply::Json(200, answer.clone()));
        let Done::Written(told) = world.one(write).await else { panic!("{what}") };
        assert_eq!((told.gone, told.version), (gone, version.map(Version)), "{what}");
    }
}
