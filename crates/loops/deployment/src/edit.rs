use std::{collections::BTreeMap, sync::Arc};

use evenkeel_api::{Deployment, REPLICA_SETS, ReplicaSet};
use evenkeel_plan::{Target, Write};
use serde_json::{Map, Value};

use crate::{
    annotations::{DESIRED_REPLICAS, MAX_REPLICAS},
    bounds::Bounds,
};

/// One change of a ReplicaSet: all that a pass wants of it, in one PUT.
#[derive(Debug, Clone)]
pub(crate) struct SetEdit {
    /// The set as the cache showed it.
    pub(crate) set: Arc<ReplicaSet>,
    /// Annotations to add or overwrite.
    pub(crate) annotations: BTreeMap<String, String>,
    /// New `spec.minReadySeconds`.
    pub(crate) min_ready_seconds: Option<i32>,
    /// New `spec.replicas`.
    pub(crate) replicas: Option<i32>,
}

impl SetEdit {
    /// Sizing (workloads 2.6.3): nothing when the size is right, unless `forced`; forced, it also puts annotations right.
    pub(crate) fn resize(deployment: &Deployment, set: &Arc<ReplicaSet>, replicas: i32, forced: bool) -> Option<Self> {
        let annotations = size_notes(deployment);
        let sized = set.replicas != replicas;
        let stale = annotations.iter().any(|(k, v)| set.annotations.get(k) != Some(v));
        (sized || (forced && stale)).then(|| Self {
            set: set.clone(),
            annotations,
            min_ready_seconds: None,
            replicas: sized.then_some(replicas),
        })
    }

    /// Takes the wishes of `other`, which is about the same set, along.
    pub(crate) fn merge(&mut self, other: Self) {
        self.annotations.extend(other.annotations);
        self.min_ready_seconds = other.min_ready_seconds.or(self.min_ready_seconds);
        self.replicas = other.replicas.or(self.replicas);
    }

    /// The PUT, guarded by the version that the decision was made on.
    pub(crate) fn write(&self) -> Write {
        let mut body = self.set.document.value();
        name_kind(&mut body, &REPLICA_SETS);
        if !self.annotations.is_empty() {
            let annotations = object(object(&mut body, "metadata"), "annotations");
            for (key, value) in &self.annotations {
                annotations[key] = value.as_str().into();
            }
        }
        if let Some(seconds) = self.min_ready_seconds {
            number(object(&mut body, "spec"), "minReadySeconds", seconds.into());
        }
        if let Some(replicas) = self.replicas {
            object(&mut body, "spec")["replicas"] = replicas.into();
        }
        Write::Replace { target: Target::exactly(&REPLICA_SETS, &self.set.meta), subresource: None, body }
    }
}

/// The annotations that every sizing leaves.
pub(crate) fn size_notes(deployment: &Deployment) -> BTreeMap<String, String> {
    [
        (DESIRED_REPLICAS.to_owned(), deployment.replicas.to_string()),
        (MAX_REPLICAS.to_owned(), Bounds::of(deployment).max_replicas(deployment).to_string()),
    ]
    .into()
}

/// The object at `field`; anything else there is replaced by an empty one.
pub(crate) fn object<'v>(value: &'v mut Value, field: &str) -> &'v mut Value {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    if !value[field].is_object() {
        value[field] = Value::Object(Map::new());
    }
    &mut value[field]
}

/// Writes a number as the server stores it: 0 is absence.
pub(crate) fn number(value: &mut Value, field: &str, number: i64) {
    if number == 0 {
        if let Some(map) = value.as_object_mut() {
            map.shift_remove(field);
        }
    } else {
        value[field] = number.into();
    }
}

/// Items of a list come without their kind; a whole object to be sent names it.
pub(crate) fn name_kind(body: &mut Value, kind: evenkeel_api::Kind) {
    body["apiVersion"] = kind.api_version().into();
    body["kind"] = kind.kind.into();
}
