//! What the imagined server serves.

use std::sync::Arc;

use evenkeel_api::{Kind, Meta, Partial, Resource};
use evenkeel_garbage_collector::imagined::Server;
use evenkeel_plan::{Done, FailureKind, PatchForm, Write};

use super::failed;

/// Kind, group, watched version, plural, whether in namespaces, and another version that is served.
type Row = (&'static str, &'static str, &'static str, &'static str, bool, Option<&'static str>);

const KINDS: [Row; 11] = [
    ("ClusterRole", "rbac.authorization.k8s.io", "v1", "clusterroles", false, None),
    ("ConfigMap", "", "v1", "configmaps", true, None),
    ("CustomResourceDefinition", "apiextensions.k8s.io", "v1", "customresourcedefinitions", false, None),
    ("Deployment", "apps", "v1", "deployments", true, None),
    ("HorizontalPodAutoscaler", "autoscaling", "v2", "horizontalpodautoscalers", true, Some("v1")),
    ("Job", "batch", "v1", "jobs", true, None),
    ("ReplicaSet", "apps", "v1", "replicasets", true, None),
    ("ReplicationController", "", "v1", "replicationcontrollers", true, None),
    ("Secret", "", "v1", "secrets", true, None),
    // Custom ones.
    ("Gizmo", CUSTOM, "v1", "gizmos", true, Some("v1beta1")),
    ("Planet", CUSTOM, "v1", "planets", false, None),
];

/// The group of custom kinds, which are served once somebody says so.
const CUSTOM: &str = "example.com";

pub fn kind(name: &str) -> Kind {
    let (kind, group, version, plural, namespaced, _) = KINDS.into_iter().find(|k| k.0 == name).unwrap_or_else(|| panic!("no kind {name}"));
    Resource::found(group, version, plural, kind, namespaced)
}

/// What is served from the beginning.
pub fn served() -> Vec<Kind> {
    KINDS.into_iter().filter(|k| k.1 != CUSTOM).map(|k| kind(k.0)).collect()
}

/// Every `apiVersion` under which a kind is served.
pub fn versions(kind: Kind) -> Vec<String> {
    let other = KINDS.into_iter().find(|k| k.0 == kind.kind).and_then(|k| k.5);
    let named = |version: &str| if kind.group.is_empty() { version.to_owned() } else { format!("{}/{version}", kind.group) };
    [Some(kind.version), other].into_iter().flatten().map(named).collect()
}

/// An object as a list of headers shows it.
pub fn partial(meta: &Arc<Meta>) -> Partial {
    if meta.owners.is_empty() && meta.finalizers.is_empty() && meta.deleting.is_none() {
        return Partial::Plain { key: meta.key(), uid: meta.uid.clone(), version: meta.version };
    }
    Partial::Full(meta.clone())
}

/// What a real server refuses besides.
pub fn refused(server: &Server, write: &Write) -> Option<Done> {
    match write {
        Write::Patch { target, form: PatchForm::Strategic, .. } if target.kind.group == CUSTOM => Some(failed(FailureKind::NotAllowed)),
        // Another life of the name: to preconditions with a version that is a conflict like any other.
        Write::Delete { target, .. } if target.version.is_some() => {
            let stored = server.get(target.kind, &target.key)?;
            (stored.uid != target.uid).then(|| failed(FailureKind::Conflict))
        }
        _ => None,
    }
}
