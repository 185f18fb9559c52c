//! Rules of kinds: what a kind adds to the one way that all objects take. A kind without rules of its own needs no row here.

mod addresses;
mod admission_registration;
mod amounts;
mod autoscaler;
mod claims;
mod controllers;
mod cron_job;
mod cron_schedule;
mod daemon_set;
mod data;
mod device_allocation;
mod device_capacity;
mod device_claims;
mod device_slices;
mod devices;
mod difference;
mod endpoint_slice;
mod endpoints;
mod errors;
mod events;
pub(crate) mod features;
mod flow_control;
mod ingress;
mod internal;
mod job;
mod job_policies;
mod job_status;
mod metadata;
mod misc;
mod network_policy;
mod nodes;
pub(crate) mod own_objects;
mod pod;
mod pod_containers;
mod pod_mounts;
mod pod_probes;
mod pod_projections;
mod pod_resize;
mod pod_scheduling;
mod pod_security;
mod pod_spec;
mod pod_status;
mod pod_update;
mod pod_volumes;
mod pod_warnings;
mod quotas;
mod rbac;
mod selectors;
mod service;
mod service_addresses;
mod service_validation;
pub(crate) mod signing_request;
mod stateful_set;
mod storage;
mod volumes;
mod warnings;

use std::cell::RefCell;

use serde_json::Value;

pub(crate) use self::errors::{Errors, shown};
pub(crate) use self::metadata::{Flavour, validate_embedded_meta};
pub(crate) use self::service_addresses::{Allocated, allocate, release, reserve, restore};
pub(crate) use self::warnings::warnings;
use crate::registry::Resource;
use crate::request::UserInfo;
use crate::server::Server;
use crate::status::{ApiError, Cause};

/// What rules may look at besides the documents.
pub(crate) struct Env<'a> {
    pub(crate) server: &'a Server,
    pub(crate) now: jiff::Timestamp,
    pub(crate) namespace: &'a str,
    pub(crate) warnings: RefCell<Vec<String>>,
    pub(crate) user: &'a UserInfo,
    /// The resource as the path names it.
    pub(crate) served: &'a Resource,
    /// The verb of the write, as authorization names it.
    pub(crate) verb: &'static str,
}

/// Says what is wrong with a name.
pub(crate) type NameRule = fn(&str) -> Vec<String>;

/// One part of a validation. Which parts there are, and in which order, differs by kind, and shows in the order of the causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    /// Metadata as a whole.
    Meta,
    /// What must hold between the metadata of old and new.
    MetaUpdate,
    /// What must always hold ([`Rules::validate`]).
    Always,
    /// What must hold between old and new ([`Rules::validate_update`]).
    Update,
    /// What must hold of a new status ([`Rules::validate_status`]).
    Status,
}

/// Rules of a kind.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    /// What names must look like.
    pub(crate) name: NameRule,
    /// Which rules of metadata hold.
    pub(crate) meta: Flavour,
    /// A PUT may come without a resourceVersion.
    pub(crate) unconditional_update: bool,
    /// A PUT of a missing object creates it.
    pub(crate) create_on_update: bool,
    /// Validation of a create.
    pub(crate) on_create: &'static [Check],
    /// Validation of an update.
    pub(crate) on_update: &'static [Check],
    /// Validation of a change of the status.
    pub(crate) on_status: &'static [Check],
    /// A create may bring a status.
    pub(crate) keeps_status_on_create: bool,
    /// Metadata that a write of the status cannot touch.
    pub(crate) status_keeps_meta: &'static [&'static str],
    /// What comes before everything else; it may end the write.
    pub(crate) settle: Settle,
    /// Before validation of a create.
    pub(crate) prepare_create: fn(&mut Value, &Env<'_>),
    /// Before validation of an update.
    pub(crate) prepare_update: fn(&mut Value, &Value, &Env<'_>),
    /// Before validation of a status update.
    pub(crate) prepare_status: fn(&mut Value, &Value, &Env<'_>),
    /// What must always hold; the second document is the old one of an update.
    pub(crate) validate: fn(&Value, Option<&Value>, &mut Errors, &Env<'_>),
    /// What must hold between old and new.
    pub(crate) validate_update: fn(&Value, &Value, &mut Errors, &Env<'_>),
    /// What must hold of a new status.
    pub(crate) validate_status: fn(&Value, &Value, &mut Errors, &Env<'_>),
}

/// Brings a document in order, given the old one of an update, or ends the write.
pub(crate) type Settle = fn(&mut Value, Option<&Value>, &Env<'_>) -> Result<(), Vec<Cause>>;

/// Metadata that writers can change, for kinds of whose metadata a write of the status touches nothing.
pub(crate) const ALL_META: &[&str] = &["labels", "annotations", "finalizers", "ownerReferences", "generateName"];

/// Rules of kinds that have none of their own.
pub(crate) const DEFAULT: Rules = Rules {
    name: crate::meta::dns_subdomain,
    meta: Flavour::Core,
    unconditional_update: true,
    create_on_update: false,
    on_create: &[Check::Meta, Check::Always],
    on_update: &[Check::MetaUpdate, Check::Always, Check::Update],
    on_status: &[Check::MetaUpdate, Check::Status],
    keeps_status_on_create: false,
    status_keeps_meta: &[],
    settle: |_, _, _| Ok(()),
    prepare_create: |_, _| {},
    prepare_update: |_, _, _| {},
    prepare_status: |_, _, _| {},
    validate: |_, _, _, _| {},
    validate_update: |_, _, _, _| {},
    validate_status: |_, _, _, _| {},
};

impl Rules {
    fn run(&self, checks: &[Check], doc: &Value, old: Option<&Value>, e: &mut Errors, env: &Env<'_>) {
        let was = old.unwrap_or(&Value::Null);
        for c in checks {
            match c {
                Check::Meta => metadata::whole(env.served, self.name, self.meta, doc, e),
                Check::MetaUpdate => metadata::update(self.meta, doc, was, e),
                Check::Always => (self.validate)(doc, old, e, env),
                Check::Update => (self.validate_update)(doc, was, e, env),
                Check::Status => (self.validate_status)(doc, was, e, env),
            }
        }
    }

    /// What is wrong with a new object.
    pub(crate) fn check_create(&self, doc: &Value, e: &mut Errors, env: &Env<'_>) {
        self.run(self.on_create, doc, None, e, env);
        if e.is_empty() {
            metadata::after_create(env.served, doc, e);
        }
    }

    /// What is wrong with a change of an object or of its status.
    pub(crate) fn check_update(&self, sub: Option<&str>, doc: &Value, old: &Value, e: &mut Errors, env: &Env<'_>) {
        metadata::before_update(env.served, doc, old, e);
        match sub {
            None => self.run(self.on_update, doc, Some(old), e, env),
            Some("status") => self.run(self.on_status, doc, Some(old), e, env),
            // The scale of a custom object is checked by its parent's rules.
            Some("scale") if env.served.custom => (self.validate)(doc, Some(old), e, env),
            Some(s) => validate_sub(env.served, s, doc, old, e, env),
        }
    }
}

/// The rules of a resource.
pub(crate) fn rules(r: &Resource) -> &'static Rules {
    if r.custom {
        return &crate::custom::CUSTOM;
    }
    match (r.group.as_str(), r.plural.as_str()) {
        ("", "pods") => &pod::POD,
        ("", "podtemplates") => &pod::POD_TEMPLATE,
        ("", "replicationcontrollers") => &controllers::REPLICATION_CONTROLLER,
        ("apps", "deployments") => &controllers::DEPLOYMENT,
        ("apps", "replicasets") => &controllers::REPLICA_SET,
        ("apps", "statefulsets") => &stateful_set::STATEFUL_SET,
        ("apps", "daemonsets") => &daemon_set::DAEMON_SET,
        ("apps", "controllerrevisions") => &controllers::CONTROLLER_REVISION,
        ("batch", "jobs") => &job::JOB,
        ("batch", "cronjobs") => &cron_job::CRON_JOB,
        ("", "services") => &service::SERVICE,
        ("", "serviceaccounts") => &misc::SERVICE_ACCOUNT,
        ("", "configmaps") => &data::CONFIG_MAP,
        ("", "secrets") => &data::SECRET,
        ("", "namespaces") => &nodes::NAMESPACE,
        ("", "nodes") => &nodes::NODE,
        ("", "events") => &events::EVENT,
        ("", "endpoints") => &endpoints::ENDPOINTS,
        ("", "limitranges") => &quotas::LIMIT_RANGE,
        ("", "resourcequotas") => &quotas::RESOURCE_QUOTA,
        ("", "persistentvolumes") => &claims::PERSISTENT_VOLUME,
        ("", "persistentvolumeclaims") => &claims::PERSISTENT_VOLUME_CLAIM,
        ("policy", "poddisruptionbudgets") => &misc::POD_DISRUPTION_BUDGET,
        ("coordination.k8s.io", "leases") => &misc::LEASE,
        ("autoscaling", "horizontalpodautoscalers") => &autoscaler::HORIZONTAL_POD_AUTOSCALER,
        ("scheduling.k8s.io", "priorityclasses") => &misc::PRIORITY_CLASS,
        ("rbac.authorization.k8s.io", "roles" | "clusterroles") => &rbac::ROLE,
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => &rbac::ROLE_BINDING,
        ("storage.k8s.io", "storageclasses") => &storage::STORAGE_CLASS,
        ("storage.k8s.io", "csidrivers") => &storage::CSI_DRIVER,
        ("storage.k8s.io", "csinodes") => &volumes::CSI_NODE,
        ("storage.k8s.io", "csistoragecapacities") => &volumes::CSI_STORAGE_CAPACITY,
        ("storage.k8s.io", "volumeattachments") => &volumes::VOLUME_ATTACHMENT,
        ("storage.k8s.io", "volumeattributesclasses") => &volumes::VOLUME_ATTRIBUTES_CLASS,
        ("node.k8s.io", "runtimeclasses") => &storage::RUNTIME_CLASS,
        ("admissionregistration.k8s.io", plural) => match plural {
            "validatingwebhookconfigurations" | "mutatingwebhookconfigurations" => &admission_registration::WEBHOOKS,
            "validatingadmissionpolicies" => &admission_registration::VALIDATING_POLICY,
            "validatingadmissionpolicybindings" => &admission_registration::VALIDATING_BINDING,
            "mutatingadmissionpolicies" => &admission_registration::POLICY,
            _ => &admission_registration::BINDING,
        },
        ("flowcontrol.apiserver.k8s.io", "flowschemas") => &flow_control::FLOW_SCHEMA,
        ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations") => &flow_control::PRIORITY_LEVEL,
        ("resource.k8s.io", "deviceclasses") => &devices::DEVICE_CLASS,
        ("resource.k8s.io", "resourceclaims") => &device_claims::RESOURCE_CLAIM,
        ("resource.k8s.io", "resourceclaimtemplates") => &device_claims::RESOURCE_CLAIM_TEMPLATE,
        ("resource.k8s.io", "resourceslices") => &device_slices::RESOURCE_SLICE,
        ("networking.k8s.io", "servicecidrs") => &misc::SERVICE_CIDR,
        ("apiextensions.k8s.io", _) => &crate::custom::DEFINITION,
        ("certificates.k8s.io", "certificatesigningrequests") => &signing_request::SIGNING_REQUEST,
        ("discovery.k8s.io", "endpointslices") => &endpoint_slice::ENDPOINT_SLICE,
        ("networking.k8s.io", "ingresses") => &ingress::INGRESS,
        ("networking.k8s.io", "ingressclasses") => &ingress::INGRESS_CLASS,
        ("networking.k8s.io", "networkpolicies") => &network_policy::NETWORK_POLICY,
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
            _ if rules(r).status_keeps_meta == ALL_META => &["spec", "metadata"],
            _ => &["spec"],
        },
        Some(_) => &[],
    }
}

/// What must hold when a subresource other than status changes an object.
fn validate_sub(r: &Resource, sub: &str, doc: &Value, old: &Value, e: &mut Errors, env: &Env<'_>) {
    match (r.plural.as_str(), sub) {
        ("pods", "ephemeralcontainers") => pod_update::ephemeral_containers(doc, old, e, env),
        ("pods", "resize") => pod_resize::resize(doc, old, e, env),
        ("namespaces", "finalize") => nodes::finalize(doc, old, e),
        _ => metadata::update(Flavour::Core, doc, old, e),
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
    match (r.group.as_str(), r.plural.as_str()) {
        (_, "customresourcedefinitions") => {
            crate::custom::lifecycle::committed(server, r, doc, deleted);
            own_objects::group_changed(server, crate::json::text(doc, "spec.group"));
        }
        ("", "services") => own_objects::service(server, doc, deleted),
        ("apiregistration.k8s.io", "apiservices") if !deleted => own_objects::api_service(server, r, doc),
        ("flowcontrol.apiserver.k8s.io", "flowschemas") if !deleted => own_objects::flow_schema(server, r, doc),
        _ => {}
    }
    if r.custom && deleted {
        crate::custom::lifecycle::object_gone(server, r);
    }
    if r.group == "rbac.authorization.k8s.io" {
        crate::rbac::forget(server);
    }
}
