//! `Controller`: a small one, as its users write them. A `Gizmo` owns a ConfigMap that repeats its greeting; a finalizer counts the
//! Gizmos that went.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::events::v1::Event as Told;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::CustomResourceExt;
use kube::{Api, Client, CustomResource, Resource, ResourceExt};
use kube_runtime::controller::{Action, Controller};
use kube_runtime::events::{Event, EventType, Recorder, Reporter};
use kube_runtime::finalizer::{Event as Finalizing, finalizer};
use kube_runtime::wait::{await_condition, conditions};
use kube_runtime::watcher;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Outcome, PATIENCE, Stage, ensure, refusal, until};

/// What a Gizmo should say.
#[derive(CustomResource, Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[kube(group = "story.example.com", version = "v1", kind = "Gizmo", namespaced, status = "GizmoStatus", shortname = "gz")]
#[kube(printcolumn = r#"{"name": "Greeting", "type": "string", "jsonPath": ".spec.greeting"}"#)]
#[serde(rename_all = "camelCase")]
pub struct GizmoSpec {
    /// What it says.
    #[schemars(length(min = 1, max = 20))]
    greeting: String,
    /// How often.
    #[serde(default = "once")]
    times: u32,
}

fn once() -> u32 {
    1
}

/// What was done about it.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GizmoStatus {
    /// Generation that the ConfigMap repeats.
    observed_generation: i64,
}

const FINALIZER: &str = "story.example.com/counted";

struct Shared {
    client: Client,
    recorder: Recorder,
    gone: AtomicUsize,
}

type Failure = Box<kube_runtime::finalizer::Error<kube::Error>>;

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Unsettled(#[from] Failure);

async fn reconcile(gizmo: Arc<Gizmo>, shared: Arc<Shared>) -> Result<Action, Unsettled> {
    let api: Api<Gizmo> = Api::namespaced(shared.client.clone(), &gizmo.namespace().unwrap_or_default());
    let outcome = finalizer(&api, FINALIZER, gizmo, |event| async {
        match event {
            Finalizing::Apply(gizmo) => repeat(&shared, &gizmo).await,
            Finalizing::Cleanup(_) => {
                shared.gone.fetch_add(1, Ordering::Relaxed);
                Ok(Action::await_change())
            }
        }
    });
    Ok(outcome.await.map_err(Box::new)?)
}

async fn repeat(shared: &Shared, gizmo: &Gizmo) -> Result<Action, kube::Error> {
    let namespace = gizmo.namespace().unwrap_or_default();
    let maps: Api<ConfigMap> = Api::namespaced(shared.client.clone(), &namespace);
    let owner = gizmo.controller_owner_ref(&()).expect("it was read from the server");
    let name = gizmo.name_any();
    let text = gizmo.spec.greeting.repeat(gizmo.spec.times as usize);
    let wish =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "ownerReferences": [owner]}, "data": {"text": text}});
    maps.patch(&name, &PatchParams::apply("gizmos").force(), &Patch::Apply(wish)).await?;
    let seen = gizmo.metadata.generation.unwrap_or(0);
    if gizmo.status.as_ref().is_none_or(|status| status.observed_generation != seen) {
        let note = Event {
            type_: EventType::Normal,
            reason: "Repeated".into(),
            note: Some(format!("{name} says {text}")),
            action: "Repeating".into(),
            secondary: None,
        };
        shared.recorder.publish(&note, &gizmo.object_ref(&())).await?;
        let api: Api<Gizmo> = Api::namespaced(shared.client.clone(), &namespace);
        let status = json!({"status": {"observedGeneration": seen}});
        api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await?;
    }
    Ok(Action::await_change())
}

fn again(_: Arc<Gizmo>, _: &Unsettled, _: Arc<Shared>) -> Action {
    Action::requeue(Duration::from_millis(200))
}

pub(super) async fn a_controller_keeps_what_it_owns_and_cleans_up(stage: &Stage) -> Outcome {
    let definitions: Api<CustomResourceDefinition> = Api::all(stage.client.clone());
    definitions.patch(Gizmo::crd_name(), &PatchParams::apply("story").force(), &Patch::Apply(Gizmo::crd())).await?;
    let established = await_condition(definitions.clone(), Gizmo::crd_name(), conditions::is_crd_established());
    tokio::time::timeout(PATIENCE, established).await??;
    let (gizmos, maps) = (stage.api::<Gizmo>(), stage.api::<ConfigMap>());
    until("gizmos are served", async || Ok(gizmos.list(&ListParams::default()).await.is_ok())).await?;

    let reporter = Reporter { controller: "gizmos".into(), instance: Some("story".into()) };
    let recorder = Recorder::new(stage.client.clone(), reporter);
    let shared = Arc::new(Shared { client: stage.client.clone(), recorder, gone: AtomicUsize::new(0) });
    let controller = Controller::new(gizmos.clone(), watcher::Config::default())
        .owns(maps.clone(), watcher::Config::default())
        .run(reconcile, again, Arc::clone(&shared))
        .for_each(|_| futures::future::ready(()));
    let controller = tokio::spawn(controller);
    let outcome = live(stage, &gizmos, &maps, &shared).await;
    controller.abort();
    definitions.delete(Gizmo::crd_name(), &DeleteParams::default()).await?;
    outcome
}

/// The life of a Gizmo while its controller runs.
async fn live(stage: &Stage, gizmos: &Api<Gizmo>, maps: &Api<ConfigMap>, shared: &Shared) -> Outcome {
    let gizmo = |greeting: &str| Gizmo::new("hello", GizmoSpec { greeting: greeting.into(), times: 2 });
    let status = refusal(gizmos.create(&PostParams::default(), &gizmo("far too long a greeting")).await)?;
    ensure(status.is_invalid() && status.message.contains("spec.greeting"), &status)?;
    let made = gizmos.create(&PostParams::default(), &gizmo("hi ")).await?;
    let says = async |text: &str| {
        until(&format!("the map says {text:?}"), async || {
            Ok(maps.get_opt("hello").await?.and_then(|map| map.data).is_some_and(|data| data["text"] == text))
        })
        .await
    };
    says("hi hi ").await?;
    let owned = maps.get("hello").await?;
    let owner = owned.owner_references().first().map(|owner| owner.uid.clone());
    ensure(owner == made.uid(), owned.owner_references())?;
    gizmos.patch("hello", &PatchParams::default(), &Patch::Merge(json!({"spec": {"greeting": "ho ", "times": 1}}))).await?;
    says("ho ").await?;
    // Somebody else's hand is undone, and what was deleted comes back.
    maps.patch("hello", &PatchParams::default(), &Patch::Merge(json!({"data": {"text": "no"}}))).await?;
    says("ho ").await?;
    maps.delete("hello", &DeleteParams::default()).await?;
    says("ho ").await?;
    until("the status is written", async || Ok(gizmos.get("hello").await?.status.is_some_and(|status| status.observed_generation == 2)))
        .await?;
    let events: Api<Told> = Api::namespaced(stage.client.clone(), &stage.namespace);
    until("it is told", async || {
        let told = events.list(&ListParams::default()).await?;
        let ours = |event: &&Told| event.reason.as_deref() == Some("Repeated") && event.reporting_controller.as_deref() == Some("gizmos");
        // The recorder counts what is alike in one event.
        let twice = |event: &Told| event.series.as_ref().is_some_and(|series| series.count >= 2);
        Ok(told.items.iter().filter(ours).any(|event| event.note.as_deref() == Some("hello says hi hi ") && twice(event)))
    })
    .await?;
    gizmos.delete("hello", &DeleteParams::default()).await?;
    until("it is gone", async || Ok(gizmos.get_opt("hello").await?.is_none())).await?;
    ensure(shared.gone.load(Ordering::Relaxed) >= 1, "the finalizer has counted it")
}
