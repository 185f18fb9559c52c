//! What kube-controller-manager left at the cuts: writing it down, and loading it into a server.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::cut::KINDS;
use crate::behaviours::api_of;
use crate::behaviours::player::Player;
use crate::behaviours::story::Story;
use crate::recorded::Broken;
use crate::recorded::report::Played;
use crate::transport::Transport;

/// One story's cut, as another manager finds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Handover {
    /// The behaviour's id.
    pub story: String,
    /// The step after which it was cut.
    pub after: usize,
    /// The namespace in which it was played.
    pub namespace: String,
    /// When it was at rest.
    pub at: Timestamp,
    /// Template hashes in order of appearance.
    pub hashes: Vec<String>,
    /// What was there: owners before what they own, the older ones first.
    pub objects: Vec<Value>,
}

/// Reads handovers, one a line.
///
/// # Errors
/// When a line is none.
pub fn read_handovers(text: &str) -> Result<Vec<Handover>, Broken> {
    let read =
        |(at, line): (usize, &str)| serde_json::from_str(line).map_err(|error| Broken(format!("line {}: not a handover: {error}", at + 1)));
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(read).collect()
}

/// Takes down what is there now. `None`: something is about to go, and a loaded world could not show that.
///
/// # Errors
/// When the server does not list it.
pub async fn take_down(player: &mut Player<'_>, story: &Story, after: usize, now: Timestamp) -> Result<Option<Handover>, Broken> {
    let mut objects = Vec::new();
    for (kind, items) in player.objects(&KINDS).await? {
        let mut items = items;
        items.sort_by_key(|item| (text(item, "creationTimestamp"), text(item, "name")));
        for mut item in items {
            if !item["metadata"]["deletionTimestamp"].is_null() {
                return Ok(None);
            }
            if let Some(metadata) = item["metadata"].as_object_mut() {
                metadata.shift_remove("managedFields");
            }
            let (group, kind) = kind_of(&kind);
            item["apiVersion"] = group.into();
            item["kind"] = kind.into();
            objects.push(item);
        }
    }
    // An owner that is gone has no object that would stand for its uid.
    let orphaned = |item: &Value| owners(item).any(|uid| objects.iter().all(|object| text(object, "uid") != uid));
    if objects.iter().any(orphaned) {
        return Ok(None);
    }
    let hashes = player.masks().hashes().map(str::to_owned).collect();
    Ok(Some(Handover { story: story.id.clone(), after, namespace: player.namespace.clone(), at: now, hashes, objects }))
}

fn owners(item: &Value) -> impl Iterator<Item = &str> {
    item["metadata"]["ownerReferences"].as_array().into_iter().flatten().filter_map(|owner| owner["uid"].as_str())
}

fn kind_of(plural: &str) -> (&'static str, &'static str) {
    match plural {
        "deployments" => ("apps/v1", "Deployment"),
        "replicasets" => ("apps/v1", "ReplicaSet"),
        "replicationcontrollers" => ("v1", "ReplicationController"),
        "pods" => ("v1", "Pod"),
        _ => ("v1", "Event"),
    }
}

fn plural_of(kind: &str) -> &'static str {
    KINDS.into_iter().find(|plural| kind_of(plural).1 == kind).unwrap_or("events")
}

fn text(item: &Value, key: &str) -> String {
    item["metadata"][key].as_str().unwrap_or_default().to_owned()
}

impl Handover {
    /// When the first of its objects was made.
    pub fn begins(&self) -> Timestamp {
        let made = self.objects.iter().filter_map(|item| text(item, "creationTimestamp").parse().ok());
        made.min().unwrap_or(self.at).min(self.at)
    }

    /// Loads it into the empty namespace of a fresh server: names, labels, owners, status and times as they were, uids new but
    /// consistent. `now` tells the server's time, which goes as tokio's does.
    ///
    /// # Errors
    /// When the server refuses an object.
    pub async fn load(&self, wire: &mut dyn Transport, now: &(dyn Fn() -> Timestamp + Sync)) -> Result<(), Broken> {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}});
        send(wire, "POST", "/api/v1/namespaces", &namespace).await?;
        let mut uids: Vec<(String, String)> = Vec::new();
        // By age, so that every object gets the creationTimestamp that it had; owners come first among those of one second.
        let mut objects: Vec<&Value> = self.objects.iter().collect();
        objects.sort_by_key(|item| text(item, "creationTimestamp"));
        let mut statuses = Vec::new();
        for item in objects {
            if let Ok(made) = text(item, "creationTimestamp").parse::<Timestamp>() {
                wait_until(made, now).await;
            }
            let mut object = renamed(item, &uids);
            let status = object.as_object_mut().and_then(|object| object.shift_remove("status"));
            if let Some(metadata) = object["metadata"].as_object_mut() {
                for key in ["uid", "resourceVersion", "generation", "creationTimestamp", "selfLink"] {
                    metadata.shift_remove(key);
                }
            }
            let plural = plural_of(item["kind"].as_str().unwrap_or_default());
            let api = api_of(plural).expect("every kind of a handover is known");
            let list = format!("{api}/namespaces/{}/{plural}", self.namespace);
            let made = send(wire, "POST", &list, &object).await?;
            uids.push((text(item, "uid"), text(&made, "uid")));
            if let Some(status) = status {
                let current = item["metadata"]["generation"] == status["observedGeneration"];
                statuses.push((format!("{list}/{}/status", text(item, "name")), status, current, made["metadata"]["generation"].as_u64()));
            }
        }
        // An owner that was made later than what it owns (it adopted it) had no uid yet.
        for item in &self.objects {
            if owners(item).next().is_some() {
                let plural = plural_of(item["kind"].as_str().unwrap_or_default());
                let api = api_of(plural).expect("every kind of a handover is known");
                let path = format!("{api}/namespaces/{}/{plural}/{}", self.namespace, text(item, "name"));
                let owners = renamed(&item["metadata"]["ownerReferences"], &uids);
                send(wire, "PATCH", &path, &json!({"metadata": {"ownerReferences": owners}})).await?;
            }
        }
        for (path, mut status, current, generation) in statuses {
            if !status["observedGeneration"].is_null() {
                let generation = generation.unwrap_or(1);
                status["observedGeneration"] = if current { generation } else { generation.saturating_sub(1) }.into();
            }
            send(wire, "PATCH", &path, &json!({"status": renamed(&status, &uids)})).await?;
        }
        wait_until(self.at, now).await;
        Ok(())
    }

    /// Everything in the namespace, by name and version: who writes anything changes it.
    ///
    /// # Errors
    /// When the server does not list it.
    pub async fn versions(&self, wire: &mut dyn Transport) -> Result<BTreeMap<String, Value>, Broken> {
        let mut all = BTreeMap::new();
        for plural in KINDS {
            let api = api_of(plural).expect("every kind of a handover is known");
            let path = format!("{api}/namespaces/{}/{plural}", self.namespace);
            let list = wire.call("GET", &path, &[], None).await.map_err(|error| Broken(error.to_string()))?.value();
            let items = list["items"].as_array().ok_or_else(|| Broken(format!("no list at {path}")))?;
            all.extend(items.iter().filter_map(|item| Some((mark(plural, item)?, item.clone()))));
        }
        Ok(all)
    }
}

/// Name and version of an object. `None` for events about failed creates: every manager tries again when it starts, and says so again.
pub fn mark(plural: &str, item: &Value) -> Option<String> {
    let again = plural == "events" && item["reason"] == "FailedCreate";
    (!again).then(|| format!("{plural}/{}@{}", text(item, "name"), text(item, "resourceVersion")))
}

async fn wait_until(time: Timestamp, now: &(dyn Fn() -> Timestamp + Sync)) {
    if let Ok(left) = std::time::Duration::try_from(time.duration_since(now())) {
        tokio::time::sleep(left).await;
    }
}

/// A value with the uids of the loaded objects in place of the recorded ones, in texts too (events name them).
fn renamed(value: &Value, uids: &[(String, String)]) -> Value {
    match value {
        Value::String(text) => match uids.iter().find(|(old, _)| old == text) {
            Some((_, new)) => new.as_str().into(),
            None => value.clone(),
        },
        Value::Array(items) => items.iter().map(|item| renamed(item, uids)).collect(),
        Value::Object(map) => Value::Object(map.iter().map(|(key, item)| (key.clone(), renamed(item, uids))).collect()),
        other => other.clone(),
    }
}

async fn send(wire: &mut dyn Transport, method: &str, path: &str, body: &Value) -> Result<Value, Broken> {
    let headers = match method {
        "PATCH" => vec![("Content-Type".to_owned(), Some("application/merge-patch+json".to_owned()))],
        _ => Vec::new(),
    };
    let answer = wire.call(method, path, &headers, Some(Bytes::from(body.to_string()))).await.map_err(|error| Broken(error.to_string()))?;
    if !answer.status.is_success() {
        return Err(Broken(format!("{method} {path} got {}: {}", answer.status.as_u16(), String::from_utf8_lossy(&answer.body))));
    }
    Ok(answer.value())
}

/// How one handover went, for a report.
pub fn played(id: &str, outcome: Result<(), Broken>, took: std::time::Duration) -> Played {
    Played { id: id.to_owned(), fault: outcome.err(), pictures: Vec::new(), took }
}
