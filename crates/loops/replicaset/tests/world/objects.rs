use evenkeel_api::{Kind, OwnerReference, ReplicaSet, ReplicationController, Uid};
use evenkeel_replicaset::SetKind;
use serde_json::{Value, json};

use super::Timestamp;

/// How the two kinds are written.
pub trait Written: SetKind {
    /// `spec.selector` that matches these labels.
    fn selector(labels: &Value) -> Value;
}

impl Written for ReplicaSet {
    fn selector(labels: &Value) -> Value {
        json!({"matchLabels": labels})
    }
}

impl Written for ReplicationController {
    fn selector(labels: &Value) -> Value {
        labels.clone()
    }
}

/// A set that selects and makes pods with the label `app: <name>`; one replica.
#[derive(Debug, Clone)]
pub struct Set {
    pub name: String,
    pub labels: Value,
    pub value: Value,
}

pub fn set(name: &str) -> Set {
    let labels = json!({"app": name});
    let value = json!({
        "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}"), "generation": 1},
        "spec": {"replicas": 1, "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "app:1"}]}}},
    });
    Set { name: name.into(), labels, value }
}

impl Set {
    pub fn at(mut self, pointer: &str, value: Value) -> Self {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        self.value.pointer_mut(parent).unwrap()[field] = value;
        self
    }
    pub fn replicas(self, n: i64) -> Self {
        self.at("/spec/replicas", n.into())
    }
    pub fn min_ready(self, seconds: i64) -> Self {
        self.at("/spec/minReadySeconds", seconds.into())
    }
    pub fn uid(self, uid: &str) -> Self {
        self.at("/metadata/uid", uid.into())
    }
    /// Selects and makes pods with these labels.
    pub fn labels(mut self, labels: Value) -> Self {
        self.labels = labels.clone();
        self.at("/spec/template/metadata/labels", labels)
    }
    pub fn selector(self, selector: Value) -> Self {
        self.at("/spec/selector", selector)
    }
    pub fn deleting(self) -> Self {
        self.at("/metadata/deletionTimestamp", "2026-01-01T00:00:00Z".into())
    }
    pub fn controlled_by(self, kind: Kind, name: &str, uid: &str) -> Self {
        self.at("/metadata/ownerReferences", json!([OwnerReference::controller_of(kind, name, &Uid::new(uid))]))
    }
    /// The object of a kind.
    pub fn object<S: Written>(self) -> Value {
        let mut value = self.value;
        if value["spec"].get("selector").is_none() {
            value["spec"]["selector"] = S::selector(&self.labels);
        }
        value
    }
}

/// A pending pod with the label `app: web`.
#[derive(Debug, Clone)]
pub struct Pod(pub Value, pub Option<String>);

pub fn pod(name: &str) -> Pod {
    let value = json!({
        "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}"), "labels": {"app": "web"},
            "creationTimestamp": "2026-01-01T11:00:00Z"},
        "spec": {"containers": [{"name": "main", "image": "lone:1"}]},
        "status": {"phase": "Pending"},
    });
    Pod(value, None)
}

impl Pod {
    pub fn at(mut self, pointer: &str, value: Value) -> Self {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        self.0.pointer_mut(parent).unwrap()[field] = value;
        self
    }
    /// Controlled by this set, which is of the kind that the world is asked for.
    pub fn of(mut self, set: &str) -> Self {
        self.1 = Some(set.into());
        self
    }
    pub fn owners(self, owners: Value) -> Self {
        self.at("/metadata/ownerReferences", owners)
    }
    pub fn labels(self, labels: Value) -> Self {
        self.at("/metadata/labels", labels)
    }
    pub fn uid(self, uid: &str) -> Self {
        self.at("/metadata/uid", uid.into())
    }
    pub fn phase(self, phase: &str) -> Self {
        self.at("/status/phase", phase.into())
    }
    pub fn running(self) -> Self {
        self.phase("Running")
    }
    /// Running, and ready since then.
    pub fn ready_since(self, at: Timestamp) -> Self {
        self.running().at("/status/conditions", json!([{"type": "Ready", "status": "True", "lastTransitionTime": at.to_string()}]))
    }
    /// Running and ready, nobody knows since when.
    pub fn ready_sometime(self) -> Self {
        self.running().at("/status/conditions", json!([{"type": "Ready", "status": "True", "lastTransitionTime": null}]))
    }
    pub fn created(self, at: Timestamp) -> Self {
        self.at("/metadata/creationTimestamp", at.to_string().into())
    }
    pub fn node(self, node: &str) -> Self {
        self.at("/spec/nodeName", node.into())
    }
    pub fn cost(self, cost: &str) -> Self {
        self.at("/metadata/annotations", json!({"controller.kubernetes.io/pod-deletion-cost": cost}))
    }
    pub fn restarts(self, n: i32) -> Self {
        self.at("/status/containerStatuses", json!([{"name": "main", "restartCount": n}]))
    }
    pub fn deleting(self) -> Self {
        self.at("/metadata/deletionTimestamp", "2026-01-01T11:59:00Z".into())
    }
}
