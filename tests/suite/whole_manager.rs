//! The whole manager in this process and in virtual time, behind a tap. Scenarios 20, 25, 26 and 31 of manager 16, the audit, and metrics that
//! need a server behind them.

use evenkeel_devcluster::api::PatchType;
use evenkeel_tests::recorded::virtual_time::in_virtual_time;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    managed::{SEC, manage, page_of, tap, until},
    process::value,
    tap::{Fate, Tap},
};

const PODS: &str = "/api/v1/namespaces/default/pods";
const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";

fn template(app: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "c", "image": "app:1"}]}})
}

fn set(name: &str, replicas: u32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template(name)}})
}

fn pods(tap: &Tap, app: &str) -> Vec<Value> {
    let list = tap.admin().get(&format!("{PODS}?labelSelector=app%3D{app}")).expect("pods are listed");
    list["items"].as_array().cloned().unwrap_or_default()
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// reliability D-6, F8: the audit runs in every manager, for every kind.
#[test]
fn a_deletion_that_no_watch_told_of_is_found_and_mended_by_leader_and_standby() {
    in_virtual_time(async {
        let (tap, clock) = tap();
        let leader = manage(&tap, clock, "leader");
        tap.admin().create(SETS, &set("web", 2)).expect("created");
        assert!(until(60 * SEC, || pods(&tap, "web").len() == 2).await);
        let standby = manage(&tap, clock, "standby");
        sleep(10 * SEC).await;

        let victim = pods(&tap, "web").remove(0);
        let lost = name(&victim).to_owned();
        // Whatever is said of its end, that it is going included.
        tap.lose(move |path, event| path.ends_with("/pods") && name(&event["object"]) == lost);
        let uid = victim["metadata"]["uid"].as_str().expect("stored").to_owned();
        tap.admin().delete_now(&format!("{PODS}/{}", name(&victim)), &uid).expect("deleted");
        sleep(540 * SEC).await;
        assert_eq!(pods(&tap, "web").len(), 1, "nobody can know before the first audit: the test would prove nothing");
        assert!(until(1200 * SEC, || pods(&tap, "web").len() == 2).await, "it is never mended");
        sleep(1200 * SEC).await;

        for manager in [&leader, &standby] {
            let (_, metrics) = page_of(manager, "/metrics").await;
            let of = |kind: &str, metric: &str| {
                let group = if kind == "pods" { "" } else { "apps" };
                let series = format!(
                    "informer_audit{metric}_total{{name=\"kube-controller-manager\",group=\"{group}\",version=\"v1\",resource=\"{kind}\"}}"
                );
                value(&metrics, &series).unwrap_or_else(|| panic!("{series} in {metrics}"))
            };
            assert_eq!(of("pods", "_differences"), 1.0);
            assert_eq!((of("deployments", "_differences"), of("replicasets", "_differences")), (0.0, 0.0));
            assert!(["deployments", "replicasets", "pods"].iter().all(|kind| (1.0..=6.0).contains(&of(kind, "s"))), "{metrics}");
        }
        for manager in [standby, leader] {
            assert!(manager.end().await.0.is_ok());
        }
    })
    .expect("a runtime");
}

/// manager 16.26 with the default of ten seconds.
#[test]
fn a_worker_that_is_stuck_at_shutdown_is_named_after_ten_seconds() {
    in_virtual_time(async {
        let (tap, clock) = tap();
        tap.rule(|asked| {
            (asked.is("POST", "/pods") || (asked.is("GET", "/pods") && asked.query.contains("fieldSelector"))).then_some(Fate::Silence)
        });
        let manager = manage(&tap, clock, "a");
        tap.admin().create(SETS, &set("web", 1)).expect("created");
        assert!(until(60 * SEC, || tap.count("POST", "/pods") > 0).await);
        let (result, took) = manager.end().await;
        let error = result.expect_err("it cannot have ended well");
        assert!(matches!(&error, evenkeel_manager::RunError::Stuck(names) if names == "replicaset-controller"), "{error}");
        assert!(took >= 10 * SEC && took <= 13 * SEC, "{took:?}");
        let lease =
            tap.admin().get("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-controller-manager").expect("it is there");
        assert_eq!(lease["spec"]["holderIdentity"], "a", "a request may be under way: nothing is released");
    })
    .expect("a runtime");
}

/// manager 16.25
#[test]
fn a_kind_that_cannot_be_listed_stops_only_the_loops_that_read_it() {
    in_virtual_time(async {
        let (tap, clock) = tap();
        tap.rule(|asked| asked.is("GET", "/replicationcontrollers").then_some(Fate::Refused(403)));
        let manager = manage(&tap, clock, "a");
        tap.admin().create(SETS, &set("web", 2)).expect("created");
        let rc = json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "old", "namespace": "default"},
            "spec": {"replicas": 1, "selector": {"app": "old"}, "template": template("old")}});
        tap.admin().create("/api/v1/namespaces/default/replicationcontrollers", &rc).expect("created");
        assert!(until(60 * SEC, || pods(&tap, "web").len() == 2).await, "others work");
        sleep(300 * SEC).await;
        assert_eq!(pods(&tap, "old").len(), 0, "no write before the caches are synced");
        let tries = tap.count("GET", "/replicationcontrollers");
        assert!((10..100).contains(&tries), "{tries} tries in five minutes");
        assert_eq!(page_of(&manager, "/healthz").await.0, 200, "a probe must not restart what works");
        let (code, text) = page_of(&manager, "/readyz").await;
        assert!(code == 500 && text.contains("[-]caches failed"), "{text}");
        let (_, metrics) = page_of(&manager, "/metrics").await;
        let running =
            |name: &str| value(&metrics, &format!("running_managed_controllers{{name=\"{name}\",manager=\"kube-controller-manager\"}}"));
        assert_eq!((running("replicaset-controller"), running("replicationcontroller-controller")), (Some(1.0), None));
        assert!(manager.end().await.0.is_ok());
    })
    .expect("a runtime");
}

/// manager 16.31; with the metric of manager 10.2.
#[test]
fn a_set_whose_creates_are_not_seen_yet_writes_nothing_and_counts_the_skip() {
    in_virtual_time(async {
        let (tap, clock) = tap();
        let manager = manage(&tap, clock, "a");
        sleep(5 * SEC).await;
        tap.hold(Some("/pods"));
        tap.admin().create(SETS, &set("web", 3)).expect("created");
        assert!(until(60 * SEC, || pods(&tap, "web").len() == 3).await);
        for n in 0..10 {
            let label = json!({"metadata": {"labels": {"n": n.to_string()}}});
            tap.admin().patch(&format!("{SETS}/web"), PatchType::Strategic, &label).expect("patched");
            sleep(3 * SEC).await;
        }
        assert_eq!(tap.count("POST", "/pods"), 3, "what is not seen is not made again");
        tap.hold(None);
        let status = || tap.admin().get(&format!("{SETS}/web")).map(|set| set["status"]["replicas"].clone()).unwrap_or_default();
        assert!(until(10 * SEC, || status() == 3).await, "it goes on once the cache has caught up");
        assert_eq!(tap.count("POST", "/pods"), 3);
        let (_, metrics) = page_of(&manager, "/metrics").await;
        let skips = value(&metrics, "replicaset_controller_stale_sync_skips_total{group=\"\",resource=\"pods\"}");
        assert!(skips.is_some_and(|n| n >= 1.0), "{metrics}");
        assert!(manager.end().await.0.is_ok());
    })
    .expect("a runtime");
}

/// manager 10.2, workloads 3.7
#[test]
fn a_scale_down_shows_the_age_ratios_of_what_it_chose() {
    in_virtual_time(async {
        let (tap, clock) = tap();
        let manager = manage(&tap, clock, "a");
        tap.admin().create(SETS, &set("web", 3)).expect("created");
        assert!(until(60 * SEC, || pods(&tap, "web").len() == 3).await);
        for pod in pods(&tap, "web") {
            let ready = json!({"status": {"phase": "Running", "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": pod["metadata"]["creationTimestamp"]}]}});
            tap.admin().patch(&format!("{PODS}/{}/status", name(&pod)), PatchType::Strategic, &ready).expect("patched");
        }
        sleep(100 * SEC).await;
        let series = |metrics: &str, end: &str| value(metrics, &format!("replicaset_controller_sorting_deletion_age_ratio_{end}"));
        let (_, before) = page_of(&manager, "/metrics").await;
        assert_eq!(series(&before, "count"), Some(0.0));
        tap.admin().patch(&format!("{SETS}/web"), PatchType::Strategic, &json!({"spec": {"replicas": 1}})).expect("patched");
        assert!(until(60 * SEC, || tap.count("DELETE", "") == 2).await);
        sleep(SEC).await;
        let (_, after) = page_of(&manager, "/metrics").await;
        assert_eq!((series(&after, "count"), series(&after, "sum")), (Some(2.0), Some(2.0)), "three pods of one age: {after}");
        assert_eq!(series(&after, "bucket{le=\"0.5\"}"), Some(0.0));
        assert_eq!(series(&after, "bucket{le=\"1.0\"}"), Some(2.0));
        assert_eq!(series(&after, "bucket{le=\"8.0\"}"), Some(2.0));
        assert!(manager.end().await.0.is_ok());
    })
    .expect("a runtime");
}
