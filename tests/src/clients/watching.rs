//! Watches: `Api::watch`, `watcher`, `reflector`, `await_condition`.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt};
use kube_runtime::reflector::ObjectRef;
use kube_runtime::wait::{await_condition, conditions};
use kube_runtime::{WatchStreamExt, reflector, watcher};
use serde_json::json;

use super::objects::{deployment, pod};
use super::{Outcome, PATIENCE, Stage, ensure, object, refusal, until};

async fn create(api: &Api<ConfigMap>, name: &str, group: &str) -> Result<ConfigMap, Box<dyn std::error::Error + Send + Sync>> {
    let map: ConfigMap = object(json!({"metadata": {"name": name, "labels": {"watched": group}}}))?;
    Ok(api.create(&PostParams::default(), &map).await?)
}

pub(super) async fn a_plain_watch_resumes_and_ends_in_time(stage: &Stage) -> Outcome {
    let api = stage.api::<ConfigMap>();
    let version = api.list(&ListParams::default()).await?.metadata.resource_version.unwrap_or_default();
    let made = create(&api, "plain-1", "plain").await?;
    create(&api, "plain-2", "plain").await?;
    api.delete("plain-1", &DeleteParams::default()).await?;
    let names = async |version: &str| -> Result<Vec<String>, kube::Error> {
        let params = WatchParams::default().labels("watched=plain").timeout(1);
        let events: Vec<_> = api.watch(&params, version).await?.try_collect().await?;
        Ok(events
            .iter()
            .map(|event| match event {
                WatchEvent::Added(map) => format!("+{}", map.name_any()),
                WatchEvent::Modified(map) => format!("={}", map.name_any()),
                WatchEvent::Deleted(map) => format!("-{}", map.name_any()),
                WatchEvent::Bookmark(_) => "bookmark".into(),
                WatchEvent::Error(status) => status.message.clone(),
            })
            // The last bookmark comes shortly before the end, or not.
            .filter(|name| name != "bookmark")
            .collect())
    };
    let all = names(&version).await?;
    ensure(all == ["+plain-1", "+plain-2", "-plain-1"], &all)?;
    let rest = names(&made.resource_version().unwrap_or_default()).await?;
    ensure(rest == ["+plain-2", "-plain-1"], &rest)
}

pub(super) async fn a_plain_watch_from_the_past_is_told_410(stage: &Stage) -> Outcome {
    let api = stage.api::<ConfigMap>();
    let made = create(&api, "past", "past").await?;
    let version = made.resource_version().unwrap_or_default();
    until("the past is forgotten", async || {
        api.patch("past", &PatchParams::default(), &Patch::Merge(json!({"data": {"a": "b"}}))).await?;
        let events: Vec<_> = api.watch(&WatchParams::default().timeout(1), &version).await?.take(1).try_collect().await?;
        Ok(matches!(&events[..], [WatchEvent::Error(status)] if status.code == 410 && status.reason == "Expired"))
    })
    .await?;
    let outdated = ListParams::default().at(&version).matching(kube::api::VersionMatch::Exact);
    let status = refusal(api.list(&outdated).await)?;
    ensure(status.code == 410, &status)
}

/// The first events of a watcher, as words.
async fn told(api: Api<ConfigMap>, config: watcher::Config, most: usize) -> Result<Vec<String>, Box<dyn std::error::Error + Send + Sync>> {
    let later = api.clone();
    let mut stream = std::pin::pin!(watcher(api, config));
    let mut words = Vec::new();
    while words.len() < most {
        let event = tokio::time::timeout(PATIENCE, stream.try_next()).await.map_err(|_| format!("nothing comes after {words:?}"))??;
        let word = match event.ok_or("the watcher ended")? {
            watcher::Event::Init => "init".to_owned(),
            watcher::Event::InitApply(map) => format!("first {}", map.name_any()),
            watcher::Event::InitDone => {
                later
                    .patch(
                        "w-1",
                        &PatchParams::default(),
                        &Patch::Merge(json!({"data": {"at": format!("{:?}", std::time::Instant::now())}})),
                    )
                    .await?;
                later.delete("w-3", &DeleteParams::default()).await?;
                "done".to_owned()
            }
            watcher::Event::Apply(map) => format!("apply {}", map.name_any()),
            watcher::Event::Delete(map) => format!("delete {}", map.name_any()),
        };
        words.push(word);
    }
    Ok(words)
}

const TOLD: [&str; 7] = ["init", "first w-1", "first w-2", "first w-3", "done", "apply w-1", "delete w-3"];

pub(super) async fn a_watcher_lists_in_pages_and_follows(stage: &Stage) -> Outcome {
    let api = stage.api::<ConfigMap>();
    for name in ["w-1", "w-2", "w-3"] {
        create(&api, name, "w").await?;
    }
    let words = told(api, watcher::Config::default().labels("watched=w").page_size(2), TOLD.len()).await?;
    ensure(words == TOLD, &words)
}

pub(super) async fn a_watcher_takes_the_list_from_the_stream(stage: &Stage) -> Outcome {
    let api = stage.api::<ConfigMap>();
    create(&api, "w-3", "w").await?;
    let mut words = told(api, watcher::Config::default().labels("watched=w").streaming_lists(), TOLD.len()).await?;
    words[1..4].sort();
    ensure(words == TOLD, &words)
}

pub(super) async fn a_reflector_keeps_a_copy(stage: &Stage) -> Outcome {
    let api = stage.api::<ConfigMap>();
    create(&api, "mirror-1", "mirror").await?;
    let (store, writer) = reflector::store::<ConfigMap>();
    let stream = reflector(writer, watcher(api.clone(), watcher::Config::default().labels("watched=mirror"))).default_backoff();
    let follower = tokio::spawn(stream.for_each(|_| futures::future::ready(())));
    store.wait_until_ready().await?;
    create(&api, "mirror-2", "mirror").await?;
    api.patch("mirror-1", &PatchParams::default(), &Patch::Merge(json!({"data": {"seen": "yes"}}))).await?;
    let key = ObjectRef::<ConfigMap>::new("mirror-1").within(&stage.namespace);
    until("the copy is up to date", async || {
        let first = store.get(&key).is_some_and(|map| map.data.as_ref().is_some_and(|data| data["seen"] == "yes"));
        Ok(first && store.len() == 2)
    })
    .await?;
    api.delete("mirror-2", &DeleteParams::default()).await?;
    until("the copy forgets", async || Ok(store.len() == 1)).await?;
    follower.abort();
    Ok(())
}

pub(super) async fn conditions_are_awaited(stage: &Stage) -> Outcome {
    let (pods, deployments) = (stage.api::<Pod>(), stage.api::<Deployment>());
    let made = pods.create(&PostParams::default(), &pod("awaited")?).await?;
    deployments.create(&PostParams::default(), &deployment("awaited", 2)?).await?;
    let limit = |what| tokio::time::timeout(PATIENCE, what);
    limit(await_condition(pods.clone(), "awaited", conditions::is_pod_running())).await??;
    tokio::time::timeout(PATIENCE, await_condition(deployments, "awaited", conditions::is_deployment_completed())).await??;
    pods.delete("awaited", &DeleteParams::default().grace_period(0)).await?;
    let uid = made.uid().unwrap_or_default();
    tokio::time::timeout(PATIENCE, await_condition(pods, "awaited", conditions::is_deleted(&uid))).await??;
    tokio::time::sleep(Duration::ZERO).await;
    Ok(())
}
