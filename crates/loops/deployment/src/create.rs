use std::{collections::BTreeMap, sync::Arc};

use evenkeel_api::{DEPLOYMENTS, Deployment, Key, OwnerReference, POD_TEMPLATE_HASH, REPLICA_SETS, Strategy, Template};
use evenkeel_plan::Write;
use serde_json::{Value, json};

use crate::{
    annotations::{self, REVISION},
    bounds::growth_surge,
    edit::{number, object, size_notes},
    revision,
    sets::{Sets, clamp, sum},
};

/// Longest name of a ReplicaSet.
const MAX_NAME: usize = 253;

/// A ReplicaSet to be made (workloads 2.4, Create).
#[derive(Debug, Clone)]
pub(crate) struct NewSet {
    /// Its name.
    pub(crate) name: String,
    /// `spec.replicas`.
    pub(crate) replicas: i32,
    /// Its revision.
    pub(crate) revision: i64,
    body: Arc<Value>,
}

impl NewSet {
    /// The set for the present template, at the size that is allowed at once. An unusable maxSurge is an error.
    pub(crate) fn design(deployment: &Deployment, template: &Template, sets: &Sets) -> Result<Self, String> {
        let replicas = match &deployment.strategy {
            Strategy::RollingUpdate { .. } => grown(deployment, sum(sets.all().map(|s| s.replicas)), 0)?,
            Strategy::Recreate => deployment.replicas,
            Strategy::Other(name) => return Err(format!("deployment type {name} isn't supported")),
        };
        let hash = template.hash(deployment.status.collision_count);
        let revision = revision::next_revision(sets);
        let mut notes: BTreeMap<String, String> =
            annotations::travelling(&deployment.annotations).map(|(k, v)| (k.clone(), v.clone())).collect();
        notes.insert(REVISION.into(), revision.to_string());
        notes.extend(size_notes(deployment));
        let hashed = template.with_hash(Some(&hash));
        let mut selector = deployment.document.part("/spec/selector");
        if !selector.is_object() {
            selector = json!({});
        }
        object(&mut selector, "matchLabels")[POD_TEMPLATE_HASH] = hash.as_str().into();
        let mut body = json!({
            "apiVersion": REPLICA_SETS.api_version(),
            "kind": REPLICA_SETS.kind,
            "metadata": {
                "labels": hashed["metadata"]["labels"],
                "annotations": notes,
                "ownerReferences": [OwnerReference::controller_of(&DEPLOYMENTS, &deployment.meta.name, &deployment.meta.uid)],
            },
            "spec": { "replicas": replicas, "selector": selector, "template": hashed },
        });
        number(&mut body["spec"], "minReadySeconds", deployment.min_ready_seconds.into());
        Ok(Self { name: set_name(deployment, &hash), replicas, revision, body: Arc::new(body) })
    }

    /// The POST.
    pub(crate) fn write(&self, deployment: &Deployment) -> Write {
        Write::Create {
            kind: &REPLICA_SETS,
            key: Key::new(deployment.meta.namespace.clone(), self.name.as_str()),
            controller: Some(deployment.meta.uid.clone()),
            body: self.body.clone(),
        }
    }
}

/// `<deployment>-<hash>` within 253 characters; the hash is never cut. Dots and hyphens at the cut would make an invalid name (workloads 1.8.4, S15).
pub(crate) fn set_name(deployment: &Deployment, hash: &str) -> String {
    let (name, budget) = (&*deployment.meta.name, MAX_NAME.saturating_sub(1 + hash.len()));
    if name.len() <= budget {
        return format!("{name}-{hash}");
    }
    format!("{}-{hash}", name[..name.floor_char_boundary(budget)].trim_end_matches(['.', '-']))
}

/// How large a new set of size `now` may be when all sets together have `total` (workloads 2.7.1).
pub(crate) fn grown(deployment: &Deployment, total: i64, now: i32) -> Result<i32, String> {
    let surge = growth_surge(deployment).map_err(|e| e.to_string())?;
    let room = i64::from(deployment.replicas) + i64::from(surge) - total;
    if room <= 0 {
        return Ok(now);
    }
    Ok(clamp(i64::from(now) + room.min(i64::from(deployment.replicas) - i64::from(now))))
}
