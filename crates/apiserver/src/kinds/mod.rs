//! Rules of kinds: what a kind adds to the one way that all objects take. A kind without rules of its own needs no row here.

mod apps;
mod batch;
mod core;
mod errors;
mod internal;
mod metadata;
mod misc;
mod networking;
mod pod;
mod pod_spec;
mod pod_volumes;
mod quota;
mod service;
mod warnings;

use std::cell::RefCell;

use serde_json::Value;

pub(crate) use self::errors::Errors;
pub(crate) use self::metadata::{validate_embedded_meta, validate_meta, validate_meta_update};
pub(crate) use self::service::{Allocated, allocate, release, reserve};
pub(crate) use self::warnings::warnings;
use crate::registry::Resource;
use crate::request::UserInfo;
use crate::server::Server;
use crate::status::ApiError;

/// What rules may look at besides the documents.
pub(crate) struct Env<'a> {
    pub(crate) server: &'a Server,
    pub(crate) now: jiff::Timestamp,
    pub(crate) namespace: &'a str,
    pub(crate) warnings: RefCell<Vec<String>>,
    pub(crate) user: &'a UserInfo,
}

/// Says what is wrong with a name.
pub(crate) type NameRule = fn(&str) -> Vec<String>;

/// Rules of a kind.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    /// What names must look like.
    pub(crate) name: NameRule,
    /// A PUT may come without a resourceVersion.
    pub(crate) unconditional_update: bool,
    /// A PUT of a missing object creates it.
    pub(crate) create_on_update: bool,
    /// How often an update checks the whole metadata once more: the reference repeats what it finds.
    pub(crate) meta_again: u8,
    /// What must hold between old and new is checked first.
    pub(crate) update_first: bool,
    /// A create may bring a status.
    pub(crate) keeps_status_on_create: bool,
    /// Metadata that a write of the status cannot touch.
    pub(crate) status_keeps_meta: &'static [&'static str],
    /// Before validation of a create.
    pub(crate) prepare_create: fn(&mut Value, &Env<'_>),
    /// Before validation of an update.
    pub(crate) prepare_update: fn(&mut Value, &Value, &Env<'_>),
    /// Before validation of a status update.
    pub(crate) prepare_status: fn(&mut Value, &Value, &Env<'_>),
    /// What must hold of a new object besides.
    pub(crate) validate_create: fn(&Value, &mut Errors, &Env<'_>),
    /// What must always hold.
    pub(crate) validate: fn(&Value, &mut Errors, &Env<'_>),
    /// What must hold between old and new.
    pub(crate) validate_update: fn(&Value, &Value, &mut Errors, &Env<'_>),
    /// What must hold of a new status.
    pub(crate) validate_status: fn(&Value, &Value, &mut Errors, &Env<'_>),
}

/// Rules of kinds that have none of their own.
pub(crate) const DEFAULT: Rules = Rules {
    name: crate::meta::dns_subdomain,
    unconditional_update: true,
    create_on_update: false,
    meta_again: 0,
    update_first: false,
    keeps_status_on_create: false,
    status_keeps_meta: &[],
    prepare_create: |_, _| {},
    prepare_update: |_, _, _| {},
    prepare_status: |_, _, _| {},
    validate_create: |_, _, _| {},
    validate: |_, _, _| {},
    validate_update: |_, _, _, _| {},
    validate_status: |_, _, _, _| {},
};

/// The rules of a resource.
pub(crate) fn rules(r: &Resource) -> &'static Rules {
    if r.custom {
        return &crate::custom::CUSTOM;
    }
    match (r.group.as_str(), r.plural.as_str()) {
        ("", "pods") => &pod::POD,
        ("", "podtemplates") => &pod::POD_TEMPLATE,
        ("", "replicationcontrollers") => &apps::REPLICATION_CONTROLLER,
        ("apps", "deployments") => &apps::DEPLOYMENT,
        ("apps", "replicasets") => &apps::REPLICA_SET,
        ("apps", "statefulsets") => &apps::STATEFUL_SET,
        ("apps", "daemonsets") => &apps::DAEMON_SET,
        ("apps", "controllerrevisions") => &apps::CONTROLLER_REVISION,
        ("batch", "jobs") => &batch::JOB,
        ("batch", "cronjobs") => &batch::CRON_JOB,
        ("", "services") => &service::SERVICE,
        ("", "configmaps") => &core::CONFIG_MAP,
        ("", "secrets") => &core::SECRET,
        ("", "namespaces") => &core::NAMESPACE,
        ("", "nodes") => &core::NODE,
        ("", "events") => &core::EVENT,
        ("", "endpoints") => &core::ENDPOINTS,
        ("", "limitranges") => &core::LIMIT_RANGE,
        ("", "resourcequotas") => &quota::RESOURCE_QUOTA,
        ("", "persistentvolumes") => &core::PERSISTENT_VOLUME,
        ("", "persistentvolumeclaims") => &core::PERSISTENT_VOLUME_CLAIM,
        ("policy", "poddisruptionbudgets") => &misc::POD_DISRUPTION_BUDGET,
        ("coordination.k8s.io", "leases") => &misc::LEASE,
        ("autoscaling", "horizontalpodautoscalers") => &misc::HORIZONTAL_POD_AUTOSCALER,
        ("scheduling.k8s.io", "priorityclasses") => &misc::PRIORITY_CLASS,
        ("rbac.authorization.k8s.io", "roles" | "clusterroles") => &misc::ROLE,
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => &misc::ROLE_BINDING,
        ("storage.k8s.io", "csidrivers" | "csinodes" | "csistoragecapacities" | "volumeattachments") => &misc::CONDITIONAL,
        ("node.k8s.io", "runtimeclasses") => &misc::RUNTIME_CLASS,
        ("admissionregistration.k8s.io", _) => &misc::CONDITIONAL,
        ("apiextensions.k8s.io", _) => &crate::custom::DEFINITION,
        ("discovery.k8s.io", "endpointslices") => &networking::ENDPOINT_SLICE,
        ("networking.k8s.io", "ingresses") => &networking::INGRESS,
        ("networking.k8s.io", "networkpolicies") => &networking::NETWORK_POLICY,
        _ => &DEFAULT,
    }
}

/// Fields that a write of a path cannot own (the reference's reset fields).
pub(crate) fn reset_fields(r: &Resource, sub: Option<&str>) -> &'static [&'static str] {
    if !r.has_status() {
        return &[];
    }
    match sub {
        None => &["status"],
        Some("status") => match (r.group.as_str(), r.plural.as_str()) {
            ("apps", "deployments") => &["spec", "metadata.labels"],
            ("", "pods") => &["spec", "metadata.deletionTimestamp", "metadata.ownerReferences"],
            _ if r.custom => &["spec", "metadata"],
            _ => &["spec"],
        },
        Some(_) => &[],
    }
}

/// What must hold when a subresource other than status changes an object.
pub(crate) fn validate_sub(r: &Resource, sub: &str, doc: &Value, old: &Value, e: &mut Errors) {
    if r.plural == "pods" {
        pod::validate_sub(sub, doc, old, e);
    }
}

/// Refuses deletions that are never allowed.
pub(crate) fn may_delete(r: &Resource, _old: &Value, name: &str) -> Result<(), ApiError> {
    let why = match (r.group.as_str(), r.plural.as_str(), name) {
        ("", "namespaces", "default" | "kube-system" | "kube-public") => "this namespace may not be deleted",
        ("scheduling.k8s.io", "priorityclasses", n) if n.starts_with("system-") => "this is a system priority class and cannot be deleted",
        _ => return Ok(()),
    };
    Err(ApiError::forbidden(r, name, why))
}

/// Drops owner references with a uid that was seen before; the warning that says so.
pub(crate) fn dedup_owners(doc: &mut Value) -> Option<String> {
    let list = doc.get_mut("metadata")?.get_mut("ownerReferences")?.as_array_mut()?;
    let (mut seen, mut twice) = (Vec::new(), Vec::new());
    list.retain(|o| {
        let uid = o["uid"].as_str().unwrap_or("").to_owned();
        if seen.contains(&uid) {
            if !twice.contains(&uid) {
                twice.push(uid);
            }
            return false;
        }
        seen.push(uid);
        true
    });
    (!twice.is_empty()).then(|| {
        format!(
            ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            twice.join(", ")
        )
    })
}

/// Told of every commit.
pub(crate) fn committed(server: &Server, r: &Resource, doc: &Value, deleted: bool) {
    if r.plural == "customresourcedefinitions" {
        crate::custom::lifecycle::committed(server, r, doc, deleted);
    }
    if r.custom && deleted {
        crate::custom::lifecycle::object_gone(server, r);
    }
    if r.group == "rbac.authorization.k8s.io" {
        crate::rbac::forget(server);
    }
}
