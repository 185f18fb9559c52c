//! Demos: manifests that are applied through the API, and the wait until they have converged.

mod progress;
mod screen;

use std::time::Duration;

use clap::ValueEnum;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use crate::api::{Api, Change, Follow, PatchType, Refused};
use progress::Progress;
use screen::Screen;

/// Namespace that demos go to.
const NAMESPACE: &str = "default";

/// A demo that `--demo` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Demo {
    /// A web frontend, a leading and two following stores: three Deployments with Services, and an Ingress.
    Guestbook,
}

impl Demo {
    /// Its manifests: file name and text.
    pub fn manifests(self) -> &'static [(&'static str, &'static str)] {
        macro_rules! guestbook {
            ($($file:literal),*) => {
                &[$(($file, include_str!(concat!("../../../../tests/manifests/guestbook/", $file)))),*]
            };
        }
        match self {
            Demo::Guestbook => guestbook![
                "frontend-deployment.yaml",
                "frontend-service.yaml",
                "redis-leader-deployment.yaml",
                "redis-leader-service.yaml",
                "redis-follower-deployment.yaml",
                "redis-follower-service.yaml",
                "ingress.yaml"
            ],
        }
    }
}

/// Why a demo did not converge.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A manifest of the demo is broken.
    #[error("the demo's manifest {file} cannot be read: {message}")]
    Manifest {
        /// File name.
        file: &'static str,
        /// What is wrong.
        message: String,
    },
    /// The server refused a manifest.
    #[error("{file} was refused: {source}")]
    Apply {
        /// File name.
        file: &'static str,
        /// What the server said.
        source: Refused,
    },
    /// The server refused to show the Deployments.
    #[error("the demo cannot be followed: {0}")]
    Follow(#[from] Refused),
    /// Time is up.
    #[error("the demo did not converge within {} s: {reason}", .limit.as_secs())]
    TimedOut {
        /// The time that it had.
        limit: Duration,
        /// What was still missing.
        reason: String,
    },
}

/// Applies a demo and shows its Deployments until all are complete. `live`: redraw lines in place.
///
/// # Errors
/// [`DemoError::TimedOut`] after `limit` (`None`: it may take as long as it takes).
pub async fn run_demo(demo: Demo, api: Api, limit: Option<Duration>, live: bool) -> Result<(), DemoError> {
    let started = Instant::now();
    let mut progress = Progress::default();
    for (file, text) in demo.manifests() {
        let object = apply(&api, file, text)?;
        if object["kind"] == "Deployment" {
            progress.expect(object["metadata"]["name"].as_str().unwrap_or_default());
            progress.deployment(&object, false);
        }
    }
    let mut screen = Screen::new(live);
    screen.line(&format!("Applied {} objects of the demo; waiting for its Deployments:", demo.manifests().len()));
    let mut deployments = Follow::new(api.clone(), &format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments"));
    let mut pods = Follow::new(api.clone(), &format!("/api/v1/namespaces/{NAMESPACE}/pods"));
    let deadline = limit.map(|limit| started + limit);
    loop {
        api.settled().await;
        screen.show(&progress.lines(started.elapsed()));
        if progress.complete() {
            screen.line(&format!("All Deployments are complete after {:.1} s.", started.elapsed().as_secs_f64()));
            return Ok(());
        }
        let far = Instant::now() + Duration::from_secs(86_400);
        tokio::select! {
            change = deployments.next() => each(change?, |object, gone| progress.deployment(object, gone)),
            change = pods.next() => each(change?, |object, gone| progress.pod(object, gone)),
            () = sleep_until(deadline.unwrap_or(far)) => {
                if let Some(limit) = limit {
                    return Err(DemoError::TimedOut { limit, reason: progress.missing() });
                }
            }
        }
    }
}

fn each(change: Change, mut take: impl FnMut(&Value, bool)) {
    match change {
        Change::All(objects) => objects.iter().for_each(|object| take(object, false)),
        Change::Set(object) => take(&object, false),
        Change::Gone(object) => take(&object, true),
    }
}

/// Applies one manifest (server-side apply) and returns the object.
fn apply(api: &Api, file: &'static str, text: &str) -> Result<Value, DemoError> {
    let broken = |message: &str| DemoError::Manifest { file, message: message.to_owned() };
    let object: Value = serde_saphyr::from_str(text).map_err(|error| broken(&error.to_string()))?;
    let field = |value: &Value| value.as_str().map(str::to_owned);
    let (Some(version), Some(kind), Some(name)) =
        (field(&object["apiVersion"]), field(&object["kind"]), field(&object["metadata"]["name"]))
    else {
        return Err(broken("apiVersion, kind or name is missing"));
    };
    let plural = match kind.as_str() {
        "Deployment" => "deployments",
        "Service" => "services",
        "Ingress" => "ingresses",
        _ => return Err(broken("its kind is none that demos use")),
    };
    let root = if version.contains('/') { "/apis" } else { "/api" };
    let path = format!("{root}/{version}/namespaces/{NAMESPACE}/{plural}/{name}?fieldManager=devcluster&force=true");
    api.patch(&path, PatchType::Apply, &object).map_err(|source| DemoError::Apply { file, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_manifest_of_a_demo_is_one_object_of_a_known_kind() {
        for (file, text) in Demo::Guestbook.manifests() {
            let object: Value = serde_saphyr::from_str(text).expect(file);
            assert!(object["metadata"]["name"].is_string(), "{file}");
            assert!(matches!(object["kind"].as_str(), Some("Deployment" | "Service" | "Ingress")), "{file}");
        }
    }
}
