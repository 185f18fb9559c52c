//! The true history of pods: every change, as a watch tells it, so that what must hold at every moment can be checked afterwards.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::task::JoinHandle;

use super::kubectl::{Kubectl, name};
use super::wait::eventually;
use crate::recorded::Broken;

/// Pods by name.
pub type Pods = BTreeMap<String, Value>;

/// A watch that takes down what happens.
pub struct History {
    kubectl: Kubectl,
    first: Pods,
    events: Arc<Mutex<Vec<Value>>>,
    reader: JoinHandle<()>,
    _watch: Child,
}

/// What happened: the pods after every change, with the change.
pub struct Told {
    /// The pods before the first change.
    pub first: Pods,
    /// `{"type", "object"}` in order.
    pub events: Vec<Value>,
}

impl History {
    /// Begins to take down what happens to the pods of a namespace.
    ///
    /// # Errors
    /// When they cannot be listed or watched.
    pub async fn begin(kubectl: &Kubectl) -> Result<History, Broken> {
        let path = format!("/api/v1/namespaces/{}/pods", kubectl.namespace);
        let list = raw(kubectl, &path).await?;
        let version = list["metadata"]["resourceVersion"].as_str().unwrap_or("0").to_owned();
        let first = by_name(&list);
        let watched = format!("{path}?watch=true&resourceVersion={version}&timeoutSeconds=900");
        let mut command = kubectl.command(&["get", "--raw", &watched]);
        let mut watch =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(|error| Broken(format!("cannot watch: {error}")))?;
        let mut lines = BufReader::new(watch.stdout.take().expect("it was piped")).lines();
        let events: Arc<Mutex<Vec<Value>>> = Arc::default();
        let taken = Arc::clone(&events);
        let reader = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Ok(event) = serde_json::from_str(&line) {
                    taken.lock().unwrap_or_else(PoisonError::into_inner).push(event);
                }
            }
        });
        Ok(History { kubectl: kubectl.clone(), first, events, reader, _watch: watch })
    }

    /// Ends it, once it has told everything that a list shows.
    ///
    /// # Errors
    /// When the watch broke off or lags behind.
    pub async fn end(self) -> Result<Told, Broken> {
        let path = format!("/api/v1/namespaces/{}/pods", self.kubectl.namespace);
        let told = eventually(Duration::from_secs(20), "the watch tells what the list shows", async || {
            let there = by_name(&raw(&self.kubectl, &path).await?);
            let told = Told { first: self.first.clone(), events: self.events.lock().unwrap_or_else(PoisonError::into_inner).clone() };
            let last = told.moments().last().map_or_else(|| self.first.clone(), |(_, pods)| pods);
            let versions =
                |pods: &Pods| pods.iter().map(|(name, pod)| (name.clone(), pod["metadata"]["resourceVersion"].clone())).collect::<Vec<_>>();
            if versions(&last) == versions(&there) {
                Ok(told)
            } else {
                Err(Broken(format!("{} pods told, {} there", last.len(), there.len())))
            }
        });
        let told = told.await;
        self.reader.abort();
        told
    }
}

impl Told {
    /// Each change and the pods after it.
    pub fn moments(&self) -> impl Iterator<Item = (&Value, Pods)> {
        self.events.iter().scan(self.first.clone(), |pods, event| {
            let pod = &event["object"];
            match event["type"].as_str() {
                Some("DELETED") => _ = pods.remove(name(pod)),
                Some("ADDED" | "MODIFIED") => _ = pods.insert(name(pod).to_owned(), pod.clone()),
                _ => {}
            }
            Some((event, pods.clone()))
        })
    }
}

async fn raw(kubectl: &Kubectl, path: &str) -> Result<Value, Broken> {
    let text = kubectl.run(&["get", "--raw", path]).await?;
    serde_json::from_str(&text).map_err(|error| Broken(format!("{path}: {error}")))
}

fn by_name(list: &Value) -> Pods {
    list["items"].as_array().into_iter().flatten().map(|pod| (name(pod).to_owned(), pod.clone())).collect()
}

/// Whether a pod counts: it is not being deleted, and has not ended.
pub fn is_live(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_null() && !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

/// Whether a pod has these labels.
pub fn has_label(pod: &Value, key: &str, value: &str) -> bool {
    pod["metadata"]["labels"][key] == value
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_moment_of_a_history_can_be_seen() {
        let pod = |name: &str| json!({"metadata": {"name": name}});
        let told = Told {
            first: Pods::from([("a".to_owned(), pod("a"))]),
            events: vec![json!({"type": "ADDED", "object": pod("b")}), json!({"type": "DELETED", "object": pod("a")})],
        };
        let counts: Vec<usize> = told.moments().map(|(_, pods)| pods.len()).collect();
        assert_eq!(counts, [2, 1]);
    }
}
