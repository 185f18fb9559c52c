//! Removing what a behaviour made: a real server outlives the story.

use bytes::Bytes;
use serde_json::{Value, json};

use super::api_of;
use super::player::Player;
use crate::recorded::Broken;

/// Managers of workloads first, so that nobody makes new pods meanwhile.
const KINDS: [&str; 9] =
    ["cronjobs", "jobs", "deployments", "replicasets", "replicationcontrollers", "pods", "configmaps", "secrets", "services"];

impl Player<'_> {
    /// Removes everything; what cannot be removed stays, and is no fault of the story.
    pub async fn clean_up(&mut self) {
        _ = self.remove_all().await;
    }

    async fn remove_all(&mut self) -> Result<(), Broken> {
        let mut namespaces = vec![self.namespace.clone()];
        namespaces.extend(
            self.made
                .iter()
                .filter_map(|path| path.strip_prefix("/api/v1/namespaces/"))
                .filter(|name| !name.contains('/'))
                .map(str::to_owned),
        );
        for namespace in &namespaces {
            for plural in KINDS {
                let api = api_of(plural).expect("every kind of the list is known");
                let path = format!("{api}/namespaces/{namespace}/{plural}");
                self.free(&path).await?;
                if !matches!(plural, "services" | "secrets") {
                    self.call("DELETE", &format!("{path}?propagationPolicy=Background&gracePeriodSeconds=0")).await?;
                }
            }
        }
        let made = self.made.clone();
        for path in made.iter().filter(|path| path.contains("/customresourcedefinitions/")) {
            if let Some((plural, group)) = path.rsplit('/').next().and_then(|name| name.split_once('.')) {
                self.free(&format!("/apis/{group}/v1/{plural}")).await?;
            }
        }
        for path in made.iter().rev().cloned().chain([format!("/api/v1/namespaces/{}", self.namespace)]) {
            self.call("DELETE", &format!("{path}?propagationPolicy=Background")).await?;
        }
        for path in &made {
            let answer = self.call("GET", path).await?;
            let item = if answer.status == 200 { answer.value() } else { continue };
            if has_entries(&item["metadata"]["finalizers"]) && !path.contains("/customresourcedefinitions/") {
                self.drop_finalizers(path).await?;
            }
            let foreign = |finalizer: &&Value| **finalizer != "kubernetes";
            let own = |finalizer: &&Value| **finalizer == "kubernetes";
            let finalizers = item["spec"]["finalizers"].as_array().cloned().unwrap_or_default();
            if path.starts_with("/api/v1/namespaces/") && finalizers.iter().any(|f| foreign(&f)) {
                let kept: Vec<&Value> = finalizers.iter().filter(own).collect();
                let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": item["metadata"]["name"]}, "spec": {"finalizers": kept}});
                let body = Some(Bytes::from(body.to_string()));
                self.wire.call("PUT", &format!("{path}/finalize"), &[], body).await.map_err(|e| Broken(e.to_string()))?;
            }
        }
        Ok(())
    }

    /// Removes the finalizers of everything in a list (of all namespaces, where the path names none).
    async fn free(&mut self, path: &str) -> Result<(), Broken> {
        let listed = self.call("GET", path).await?.value();
        for item in listed["items"].as_array().into_iter().flatten() {
            let meta = &item["metadata"];
            if !has_entries(&meta["finalizers"]) {
                continue;
            }
            let name = meta["name"].as_str().unwrap_or_default();
            let at = match (meta["namespace"].as_str(), path.rsplit_once('/')) {
                (Some(namespace), Some((api, plural))) if !path.contains("/namespaces/") => {
                    format!("{api}/namespaces/{namespace}/{plural}/{name}")
                }
                _ => format!("{path}/{name}"),
            };
            self.drop_finalizers(&at).await?;
        }
        Ok(())
    }

    async fn drop_finalizers(&mut self, path: &str) -> Result<(), Broken> {
        let headers = [("Content-Type".to_owned(), Some("application/merge-patch+json".to_owned()))];
        let body = Some(Bytes::from_static(br#"{"metadata":{"finalizers":null}}"#));
        self.wire.call("PATCH", path, &headers, body).await.map(|_| ()).map_err(|error| Broken(error.to_string()))
    }
}

fn has_entries(value: &Value) -> bool {
    value.as_array().is_some_and(|entries| !entries.is_empty())
}
