use serde_json::{Value, json};

/// A Deployment in the making.
#[derive(Clone)]
pub struct Dep(pub Value);

/// A ReplicaSet in the making.
#[derive(Clone)]
pub struct Set(pub Value);

/// A pod in the making.
#[derive(Clone)]
pub struct PodObject(pub Value);

/// The uid that the words give an object of this name.
pub fn uid(name: &str) -> String {
    format!("uid-of-{name}")
}

/// A controller reference to a Deployment.
pub fn owner(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": uid(name), "controller": true, "blockOwnerDeletion": true})
}

fn template(app: &str, image: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "main", "image": image}]}})
}

/// A Deployment with the server's defaults and image `app:1`.
pub fn deployment(name: &str) -> Dep {
    Dep(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default", "uid": uid(name), "resourceVersion": "10", "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template(name, "app:1"),
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600},
    }))
}

impl Dep {
    /// Any field, by JSON pointer; its parent must be there.
    pub fn with(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        put(&mut self.0, pointer, value.into());
        self
    }

    pub fn replicas(self, n: i64) -> Self {
        self.with("/spec/replicas", n)
    }

    pub fn rolling(self, surge: impl Into<Value>, unavailable: impl Into<Value>) -> Self {
        self.with(
            "/spec/strategy",
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge.into(), "maxUnavailable": unavailable.into()}}),
        )
    }

    pub fn recreate(self) -> Self {
        self.with("/spec/strategy", json!({"type": "Recreate"}))
    }

    pub fn image(self, image: &str) -> Self {
        self.with("/spec/template/spec/containers/0/image", image)
    }

    pub fn paused(self) -> Self {
        self.with("/spec/paused", true)
    }

    pub fn deadline(self, seconds: impl Into<Value>) -> Self {
        self.with("/spec/progressDeadlineSeconds", seconds)
    }

    pub fn history(self, limit: impl Into<Value>) -> Self {
        self.with("/spec/revisionHistoryLimit", limit)
    }

    pub fn note(self, key: &str, value: &str) -> Self {
        let key = key.replace('/', "~1");
        self.with("/metadata/annotations", Value::Null).with(&format!("/metadata/annotations/{key}"), value)
    }

    pub fn deleting(self) -> Self {
        self.with("/metadata/deletionTimestamp", "2026-01-01T00:30:00Z")
    }

    pub fn status(self, status: Value) -> Self {
        self.with("/status", status)
    }

    /// The status of a finished rollout of all replicas.
    pub fn complete(self) -> Self {
        let n = self.0["spec"]["replicas"].clone();
        let name = self.0["metadata"]["name"].as_str().unwrap().to_owned();
        self.status(json!({"observedGeneration": 1, "replicas": n, "updatedReplicas": n, "readyReplicas": n, "availableReplicas": n,
            "terminatingReplicas": 0, "conditions": [
            {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable", "message": "Deployment has minimum availability.",
                "lastUpdateTime": "2026-01-01T00:00:05Z", "lastTransitionTime": "2026-01-01T00:00:05Z"},
            {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable",
                "message": format!("ReplicaSet \"{name}-1\" has successfully progressed."),
                "lastUpdateTime": "2026-01-01T00:00:05Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}))
            .note("deployment.kubernetes.io/revision", "1")
    }

    /// A condition `Progressing` last written at this second.
    pub fn progressing(self, status: &str, reason: &str, second: i64) -> Self {
        let time = super::at(second).to_string();
        let condition = json!({"type": "Progressing", "status": status, "reason": reason, "message": "m", "lastUpdateTime": time, "lastTransitionTime": time});
        self.with("/status/conditions", json!([condition]))
    }
}

/// The ReplicaSet `<app>-<n>`, controlled by the Deployment `<app>`, with image `app:<n>`, revision `<n>`, size 0, as old as its number is low.
pub fn set(app: &str, n: u32) -> Set {
    let name = format!("{app}-{n}");
    let hashed = json!({"app": app, "pod-template-hash": format!("h{n}")});
    let mut template = template(app, &format!("app:{n}"));
    template["metadata"]["labels"] = hashed.clone();
    Set(json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": name, "namespace": "default", "uid": uid(&name), "resourceVersion": (100 + n).to_string(), "generation": 1,
            "creationTimestamp": super::at(i64::from(n)).to_string(), "labels": hashed, "ownerReferences": [owner(app)],
            "annotations": {"deployment.kubernetes.io/revision": n.to_string()}},
        "spec": {"replicas": 0, "selector": {"matchLabels": hashed}, "template": template},
        "status": {"replicas": 0, "observedGeneration": 1, "terminatingReplicas": 0},
    }))
}

impl Set {
    /// Any field, by JSON pointer; its parent must be there.
    pub fn with(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        put(&mut self.0, pointer, value.into());
        self
    }

    /// Size, with as many pods of which none is available.
    pub fn size(self, n: i64) -> Self {
        self.with("/spec/replicas", n).with("/status/replicas", n).with("/status/fullyLabeledReplicas", n).available(0)
    }

    /// How many pods are ready and available.
    pub fn available(self, n: i64) -> Self {
        self.with("/status/readyReplicas", n).with("/status/availableReplicas", n)
    }

    /// Size, with all pods available.
    pub fn full(self, n: i64) -> Self {
        self.size(n).available(n)
    }

    /// The annotations of the last sizing.
    pub fn sized_for(self, desired: i64, max: i64) -> Self {
        self.note("deployment.kubernetes.io/desired-replicas", &desired.to_string())
            .note("deployment.kubernetes.io/max-replicas", &max.to_string())
    }

    pub fn note(self, key: &str, value: &str) -> Self {
        let key = key.replace('/', "~1");
        self.with(&format!("/metadata/annotations/{key}"), value)
    }

    pub fn no_note(mut self, key: &str) -> Self {
        self.0["metadata"]["annotations"].as_object_mut().unwrap().remove(key);
        self
    }

    pub fn revision(self, revision: &str) -> Self {
        self.note("deployment.kubernetes.io/revision", revision)
    }

    pub fn image(self, image: &str) -> Self {
        self.with("/spec/template/spec/containers/0/image", image)
    }

    pub fn owners(self, owners: Value) -> Self {
        self.with("/metadata/ownerReferences", owners)
    }

    pub fn orphan(self) -> Self {
        self.owners(json!([]))
    }

    pub fn created(self, second: i64) -> Self {
        self.with("/metadata/creationTimestamp", super::at(second).to_string())
    }

    pub fn deleting(self) -> Self {
        self.with("/metadata/deletionTimestamp", "2026-01-01T00:30:00Z")
    }
}

/// A running pod of a ReplicaSet.
pub fn pod(name: &str, set: &str) -> PodObject {
    PodObject(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": uid(name), "resourceVersion": "500",
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set, "uid": uid(set), "controller": true}]},
        "spec": {"nodeName": "n1"}, "status": {"phase": "Running"},
    }))
}

impl PodObject {
    pub fn phase(mut self, phase: &str) -> Self {
        self.0["status"]["phase"] = phase.into();
        self
    }

    pub fn deleting(mut self) -> Self {
        self.0["metadata"]["deletionTimestamp"] = "2026-01-01T00:30:00Z".into();
        self
    }
}

/// Sets a field; the object it is in is made where it is missing. `Null` makes an empty object unless one is there.
pub fn put(object: &mut Value, pointer: &str, value: Value) {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    if object.pointer(parent).is_none_or(Value::is_null) {
        put(object, parent, json!({}));
    }
    let field = field.replace("~1", "/");
    let place = &mut object.pointer_mut(parent).unwrap()[field];
    if !(value.is_null() && place.is_object()) {
        *place = if value.is_null() { json!({}) } else { value };
    }
}
