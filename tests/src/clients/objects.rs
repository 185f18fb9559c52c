//! `Api`: typed and dynamic objects, patches, subresources.

use futures::AsyncBufReadExt;
use futures::TryStreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, EvictParams, GroupVersionKind, ListParams, LogParams, Patch, PatchParams, PostParams,
    ValidationDirective,
};
use kube::core::PartialObjectMetaExt;
use kube::discovery::{Discovery, Scope, pinned_kind};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::{Outcome, Stage, ensure, object, refusal, until};

fn config_map(name: &str, labels: Value) -> Result<ConfigMap, serde_json::Error> {
    object(json!({"metadata": {"name": name, "labels": labels}, "data": {"a": "1"}}))
}

pub(super) fn deployment(name: &str, replicas: u32) -> Result<Deployment, serde_json::Error> {
    object(json!({"metadata": {"name": name}, "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "main", "image": "app:1"}]}}}}))
}

pub(super) fn pod(name: &str) -> Result<Pod, serde_json::Error> {
    object(json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "main", "image": "app:1"}]}}))
}

pub(super) async fn an_object_is_created_replaced_and_deleted(stage: &Stage) -> Outcome {
    let api = stage.api::<ConfigMap>();
    let made = api.create(&PostParams::default(), &config_map("plain", json!({}))?).await?;
    let mut next = made.clone();
    next.data.get_or_insert_default().insert("a".into(), "2".into());
    let newer = api.replace("plain", &PostParams::default(), &next).await?;
    ensure(newer.resource_version() != made.resource_version() && newer.uid() == made.uid(), &newer.metadata)?;
    let status = refusal(api.replace("plain", &PostParams::default(), &next).await)?;
    ensure((status.code, status.reason.as_str()) == (409, "Conflict"), &status)?;
    let mut entry = api.entry("plain").await?.or_insert(ConfigMap::default);
    entry.get_mut().data.get_or_insert_default().insert("b".into(), "3".into());
    entry.commit(&PostParams::default()).await?;
    ensure(api.get("plain").await?.data.is_some_and(|data| data.len() == 2), "both keys are there")?;
    let wrong = DeleteParams {
        preconditions: Some(kube::api::Preconditions { uid: Some("other".into()), ..Default::default() }),
        ..Default::default()
    };
    ensure(refusal(api.delete("plain", &wrong).await)?.code == 409, "another uid")?;
    let gone = api.delete("plain", &DeleteParams::default()).await?;
    ensure(gone.right().is_some_and(|status| status.is_success()), "a Status of success")?;
    ensure(api.get_opt("plain").await?.is_none(), "it is gone")
}

pub(super) async fn refusals_come_as_statuses(stage: &Stage) -> Outcome {
    let api = stage.api::<ConfigMap>();
    let status = refusal(api.get("nobody").await)?;
    ensure(status.is_not_found() && status.message == "configmaps \"nobody\" not found", &status)?;
    let status = refusal(api.create(&PostParams::default(), &config_map("Not A Name", json!({}))?).await)?;
    let causes = status.details.as_ref().map_or(0, |details| details.causes.len());
    ensure(status.is_invalid() && causes == 1, &status)?;
    let status = refusal(api.list(&ListParams::default().labels("a in")).await)?;
    ensure(status.code == 400 && status.message.starts_with("unable to parse requirement"), &status)?;
    let strict = PostParams { dry_run: true, ..PostParams::default() };
    let dynamic: Api<DynamicObject> = Api::namespaced_with(stage.client.clone(), &stage.namespace, &ApiResource::erase::<ConfigMap>(&()));
    let unknown: DynamicObject = object(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "odd"}, "dada": {"a": "b"}}))?;
    dynamic.create(&strict, &unknown).await?;
    let patch = PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::apply("story") };
    let status = refusal(dynamic.patch("odd", &patch, &Patch::Apply(&unknown)).await)?;
    ensure(status.code >= 400 && status.message.contains("dada"), &status)
}

pub(super) async fn patches_of_each_type_do_what_they_say(stage: &Stage) -> Outcome {
    let api = stage.api::<Deployment>();
    api.create(&PostParams::default(), &deployment("patched", 0)?).await?;
    let names = |d: &Deployment| {
        let containers = d.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()).map(|spec| spec.containers.clone());
        let mut names: Vec<String> = containers.unwrap_or_default().into_iter().map(|c| c.name).collect();
        names.sort();
        names
    };
    let side = json!({"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "side:1"}]}}}});
    let plain = PatchParams::default();
    let seen = api.patch("patched", &plain, &Patch::Strategic(&side)).await?;
    ensure(names(&seen) == ["main", "side"], names(&seen))?;
    let seen = api.patch("patched", &plain, &Patch::Merge(&side)).await?;
    ensure(names(&seen) == ["side"], names(&seen))?;
    let operations = json!([{"op": "test", "path": "/spec/replicas", "value": 0}, {"op": "add", "path": "/spec/paused", "value": true}]);
    let seen = api.patch("patched", &plain, &Patch::Json::<()>(serde_json::from_value(operations)?)).await?;
    ensure(seen.spec.as_ref().and_then(|spec| spec.paused) == Some(true), &seen.spec)?;
    let failing = json!([{"op": "test", "path": "/spec/replicas", "value": 9}]);
    let status = refusal(api.patch("patched", &plain, &Patch::Json::<()>(serde_json::from_value(failing)?)).await)?;
    ensure(status.code == 422, &status)?;
    let dry = api.patch("patched", &PatchParams::default().dry_run(), &Patch::Merge(json!({"spec": {"paused": false}}))).await?;
    ensure(dry.spec.and_then(|spec| spec.paused) != Some(true), "a dry run answers what would be")?;
    ensure(api.get("patched").await?.spec.and_then(|spec| spec.paused) == Some(true), "a dry run changes nothing")
}

pub(super) async fn applying_tells_conflicts_and_takes_over_by_force(stage: &Stage) -> Outcome {
    let api = stage.api::<ConfigMap>();
    let wish = |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"a": value}});
    let made = api.patch("applied", &PatchParams::apply("one"), &Patch::Apply(wish("1"))).await?;
    let again = api.patch("applied", &PatchParams::apply("one"), &Patch::Apply(wish("1"))).await?;
    ensure(made.resource_version() == again.resource_version(), "applying the same changes nothing")?;
    let status = refusal(api.patch("applied", &PatchParams::apply("two"), &Patch::Apply(wish("2"))).await)?;
    ensure(status.is_conflict() && status.message.contains("\"one\"") && status.message.contains(".data.a"), &status)?;
    let forced = api.patch("applied", &PatchParams::apply("two").force(), &Patch::Apply(wish("2"))).await?;
    let owners: Vec<_> = forced.managed_fields().iter().filter_map(|entry| entry.manager.as_deref()).collect();
    ensure(owners == ["two"], &owners)
}

pub(super) async fn subresources_are_read_and_written(stage: &Stage) -> Outcome {
    let (api, pods) = (stage.api::<Deployment>(), stage.api::<Pod>());
    api.create(&PostParams::default(), &deployment("scaled", 1)?).await?;
    let scale = api.get_scale("scaled").await?;
    ensure(scale.spec.as_ref().and_then(|spec| spec.replicas) == Some(1), &scale.spec)?;
    until("the scale is replaced", async || {
        let mut scale = api.get_scale("scaled").await?;
        scale.spec.get_or_insert_default().replicas = Some(2);
        match api.replace_scale("scaled", &PostParams::default(), &scale).await {
            // The manager wrote in between.
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(false),
            outcome => outcome.map(|_| true),
        }
    })
    .await?;
    let seen = api.patch_scale("scaled", &PatchParams::default(), &Patch::Merge(json!({"spec": {"replicas": 3}}))).await?;
    ensure(seen.spec.and_then(|spec| spec.replicas) == Some(3), "the scale is patched")?;
    let available = |deployment: &Deployment| deployment.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0);
    until("three pods are available", async || Ok(available(&api.get_status("scaled").await?) == 3)).await?;
    let condition = json!({"status": {"conditions": [{"type": "Story", "status": "True"}]}, "spec": {"replicas": 9}});
    let seen = api.patch_status("scaled", &PatchParams::default(), &Patch::Merge(condition)).await?;
    ensure(seen.spec.and_then(|spec| spec.replicas) == Some(3), "the status is written alone")?;
    let first = pods.list(&ListParams::default().labels("app=scaled").limit(1)).await?.items.remove(0).name_any();
    let evicted = pods.evict(&first, &EvictParams::default()).await?;
    ensure(evicted.is_success(), &evicted)?;
    until("the evicted pod is replaced", async || {
        let list = pods.list(&ListParams::default().labels("app=scaled")).await?;
        Ok(list.items.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).count() == 3 && pods.get_opt(&first).await?.is_none())
    })
    .await?;
    api.delete("scaled", &DeleteParams::foreground()).await?;
    Ok(())
}

pub(super) async fn logs_stream(stage: &Stage) -> Outcome {
    let pods = stage.api::<Pod>();
    pods.create(&PostParams::default(), &pod("talker")?).await?;
    until("the pod runs", async || Ok(pods.get("talker").await?.status.and_then(|status| status.phase).as_deref() == Some("Running")))
        .await?;
    let lines: Vec<String> = pods.log_stream("talker", &LogParams::default()).await?.lines().try_collect().await?;
    ensure(lines.len() == 1 && !lines[0].is_empty(), &lines)?;
    let whole = pods.logs("talker", &LogParams { tail_lines: Some(1), container: Some("main".into()), ..LogParams::default() }).await?;
    ensure(whole.trim_end() == lines[0], &whole)?;
    let status = refusal(pods.logs("talker", &LogParams { container: Some("nobody".into()), ..LogParams::default() }).await)?;
    ensure(status.code == 400 && status.message.contains("nobody"), &status)
}

pub(super) async fn dynamic_objects_are_discovered_and_written(stage: &Stage) -> Outcome {
    let discovery = Discovery::new(stage.client.clone()).filter(&["apps", "policy"]).run_aggregated().await?;
    let (resource, capabilities) =
        discovery.resolve_gvk(&GroupVersionKind::gvk("apps", "v1", "ReplicaSet")).ok_or("ReplicaSets are discovered")?;
    ensure(resource.plural == "replicasets" && capabilities.scope == Scope::Namespaced, &resource)?;
    ensure(capabilities.subresources.iter().any(|(sub, _)| sub.plural.ends_with("scale")), &capabilities)?;
    let (resource, _) = pinned_kind(&stage.client, &GroupVersionKind::gvk("", "v1", "Secret")).await?;
    let api: Api<DynamicObject> = Api::namespaced_with(stage.client.clone(), &stage.namespace, &resource);
    let secret = DynamicObject::new("dynamic", &resource).data(json!({"stringData": {"user": "admin"}}));
    let made = api.create(&PostParams::default(), &secret).await?;
    ensure(made.data["data"]["user"] == "YWRtaW4=" && made.data.get("stringData").is_none(), &made.data)?;
    let patched = api.patch("dynamic", &PatchParams::default(), &Patch::Merge(json!({"immutable": true}))).await?;
    ensure(patched.data["immutable"] == true, &patched.data)?;
    let status = refusal(api.patch("dynamic", &PatchParams::default(), &Patch::Merge(json!({"data": {"user": "eA=="}}))).await)?;
    ensure(status.is_invalid() && status.message.contains("immutable"), &status)?;
    let groups = stage.client.list_api_groups().await?;
    ensure(groups.groups.iter().any(|group| group.name == "apps"), groups.groups.len())
}

pub(super) async fn metadata_comes_alone(stage: &Stage) -> Outcome {
    let api = stage.api::<ConfigMap>();
    api.create(&PostParams::default(), &config_map("thin", json!({"thin": "yes"}))?).await?;
    let meta = api.get_metadata("thin").await?;
    ensure(meta.metadata.labels.as_ref().is_some_and(|labels| labels["thin"] == "yes"), &meta.metadata)?;
    let list = api.list_metadata(&ListParams::default().labels("thin")).await?;
    ensure(list.items.len() == 1 && list.types.kind == "PartialObjectMetadataList", &list.types)?;
    let patch = kube::core::ObjectMeta { annotations: Some([("note".to_owned(), "x".to_owned())].into()), ..Default::default() };
    let patched =
        api.patch_metadata("thin", &PatchParams::apply("story"), &Patch::Apply(patch.into_request_partial::<ConfigMap>())).await?;
    ensure(patched.annotations().contains_key("note"), &patched.metadata)?;
    ensure(api.get("thin").await?.data.is_some(), "the rest is still there")
}

pub(super) async fn collections_are_paged_and_deleted(stage: &Stage) -> Outcome {
    let api = stage.api::<ConfigMap>();
    for number in 0..5 {
        api.create(&PostParams::default(), &config_map(&format!("page-{number}"), json!({"paged": "yes"}))?).await?;
    }
    let (mut pages, mut params) = (Vec::new(), ListParams::default().labels("paged=yes").limit(2));
    loop {
        let page = api.list(&params).await?;
        pages.push(page.items.len());
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    ensure(pages == [2, 2, 1], &pages)?;
    api.delete_collection(&DeleteParams::default(), &ListParams::default().labels("paged=yes")).await?;
    ensure(api.list(&ListParams::default().labels("paged=yes")).await?.items.is_empty(), "all are gone")
}
