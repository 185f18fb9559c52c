//! Tables as `kubectl get` shows them (KEP-555, server-side printing).
//!
//! The columns of built-in kinds are rows of `tables/columns.tsv`; their cells are made by one function per kind, gathered in [`cells_of`].

mod cluster;
mod columns;
mod custom;
mod human;
mod network;
mod pod;
mod policy;
mod workloads;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::registry::Resource;

/// Makes the cells of one object.
type Cells = fn(&Value, Timestamp) -> Vec<Value>;

/// Renders objects of one resource as a `meta.k8s.io/v1` Table (columns and rows; list metadata is set by the caller).
/// `include`: value of the query parameter `includeObject` (`None`, `Metadata`, `Object`).
pub fn render(resource: &Resource, objects: &[Value], now: Timestamp, include: &str) -> Value {
    render_with(resource, None, objects, now, include)
}

/// As [`render`]; `printed` are the `additionalPrinterColumns` of a custom resource's version.
pub fn render_with(resource: &Resource, printed: Option<&[Value]>, objects: &[Value], now: Timestamp, include: &str) -> Value {
    let printed = printed.unwrap_or_default();
    // A scale subresource answers with another kind than its resource's.
    let kind = objects.first().and_then(|o| o["kind"].as_str()).filter(|kind| *kind == "Scale").unwrap_or(&resource.kind);
    let definitions = match resource.custom && kind != "Scale" {
        true => custom::columns(printed),
        false => (*columns::of_kind(resource, kind)).clone(),
    };
    let mut objects: Vec<&Value> = objects.iter().collect();
    if kind == "FlowSchema" {
        // They are shown in the order in which they are matched.
        objects.sort_by_key(|object| (object["spec"]["matchingPrecedence"].as_i64(), human::text(object, "/metadata/name").to_owned()));
    }
    let rows: Vec<Value> = objects
        .into_iter()
        .map(|object| {
            let cells = match (resource.custom && kind != "Scale", cells_of(kind)) {
                (true, _) => custom::cells(object, printed, now),
                (false, Some(cells)) if columns::has(kind) => cells(object, now),
                (false, _) => vec![human::text(object, "/metadata/name").into(), human::text(object, "/metadata/creationTimestamp").into()],
            };
            let mut row = Map::new();
            row.insert("cells".into(), cells.into());
            if kind == "Pod"
                && let Some(conditions) = pod::row_conditions(object)
            {
                row.insert("conditions".into(), conditions);
            }
            row.insert("object".into(), included(object, include));
            Value::Object(row)
        })
        .collect();
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "columnDefinitions": definitions, "rows": rows})
}

fn included(object: &Value, include: &str) -> Value {
    match include {
        "None" => Value::Null,
        "Object" => object.clone(),
        _ => json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata(object)}),
    }
}

/// Metadata as a row carries it. A real server takes it from its internal form of the object, in which a DaemonSet's template generation
/// is a field and not yet an annotation.
fn metadata(object: &Value) -> Value {
    const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";
    let mut metadata = object["metadata"].clone();
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut)
        && annotations.remove(TEMPLATE_GENERATION).is_some()
        && annotations.is_empty()
        && let Some(metadata) = metadata.as_object_mut()
    {
        metadata.remove("annotations");
    }
    metadata
}

/// Who makes the cells of a kind.
fn cells_of(kind: &str) -> Option<Cells> {
    Some(match kind {
        "Pod" => pod::cells,
        "Deployment" => workloads::deployment,
        "ReplicaSet" => workloads::replica_set,
        "ReplicationController" => workloads::replication_controller,
        "StatefulSet" => workloads::stateful_set,
        "DaemonSet" => workloads::daemon_set,
        "Job" => workloads::job,
        "CronJob" => workloads::cron_job,
        "PodTemplate" => workloads::pod_template,
        "ControllerRevision" => workloads::controller_revision,
        "PodDisruptionBudget" => workloads::disruption_budget,
        "HorizontalPodAutoscaler" => workloads::autoscaler,
        "Scale" => workloads::scale,
        "Service" => network::service,
        "Ingress" => network::ingress,
        "IngressClass" => network::ingress_class,
        "NetworkPolicy" => network::network_policy,
        "Endpoints" => network::endpoints,
        "EndpointSlice" => network::endpoint_slice,
        "ServiceCIDR" => network::service_cidr,
        "IPAddress" => network::ip_address,
        "Node" => cluster::node,
        "Namespace" => cluster::namespace,
        "Event" => cluster::event,
        "Secret" => cluster::secret,
        "ConfigMap" => cluster::config_map,
        "ServiceAccount" | "DeviceClass" | "ResourceClaimTemplate" => cluster::name_and_age,
        "Lease" => cluster::lease,
        "ResourceQuota" => cluster::resource_quota,
        "PriorityClass" => cluster::priority_class,
        "RuntimeClass" => cluster::runtime_class,
        "ComponentStatus" => cluster::component_status,
        "Status" => cluster::status,
        "RoleBinding" | "ClusterRoleBinding" => cluster::role_binding,
        "CertificateSigningRequest" => cluster::signing_request,
        "PersistentVolume" => cluster::volume,
        "PersistentVolumeClaim" => cluster::claim,
        "StorageClass" => cluster::storage_class,
        "VolumeAttributesClass" => cluster::volume_attributes_class,
        "VolumeAttachment" => cluster::volume_attachment,
        "CSINode" => cluster::csi_node,
        "CSIDriver" => cluster::csi_driver,
        "APIService" => cluster::api_service,
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => policy::webhooks,
        "ValidatingAdmissionPolicy" => policy::validating_policy,
        "MutatingAdmissionPolicy" => policy::mutating_policy,
        "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding" => policy::policy_binding,
        "FlowSchema" => policy::flow_schema,
        "PriorityLevelConfiguration" => policy::priority_level,
        "ResourceClaim" => policy::resource_claim,
        "ResourceSlice" => policy::resource_slice,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    #[test]
    fn every_kind_has_as_many_cells_as_columns() {
        for resource in Registry::builtin().served() {
            let object = json!({"metadata": {"name": "x"}});
            let table = render(&resource, &[object], Timestamp::UNIX_EPOCH, "Metadata");
            let columns = table["columnDefinitions"].as_array().map(Vec::len);
            let cells = table["rows"][0]["cells"].as_array().map(Vec::len);
            // 1.36 makes three cells of an IPAddress for its two columns.
            let surplus = usize::from(resource.kind == "IPAddress");
            assert_eq!(columns.map(|n| n + surplus), cells, "{}", resource.qualified());
            assert_eq!(table["columnDefinitions"][0]["name"].is_string(), cells_of(&resource.kind).is_some() || cells == Some(2));
        }
    }

    #[test]
    fn columns_of_fields_carry_their_documentation() {
        let registry = Registry::builtin();
        let deployments = registry.get("apps", "v1", "deployments").expect("served");
        let table = render(&deployments, &[], Timestamp::UNIX_EPOCH, "Metadata");
        let undocumented: Vec<&Value> =
            table["columnDefinitions"].as_array().expect("a list").iter().filter(|c| c["description"] == "").collect();
        assert!(undocumented.is_empty(), "{undocumented:?}");
    }

    #[test]
    fn kinds_without_columns_of_their_own_show_when_they_were_made() {
        let registry = Registry::builtin();
        let roles = registry.get("rbac.authorization.k8s.io", "v1", "clusterroles").expect("served");
        let object = json!({"metadata": {"name": "view", "creationTimestamp": "2020-01-01T00:00:00Z"}});
        let table = render(&roles, &[object], Timestamp::UNIX_EPOCH, "None");
        assert_eq!(table["columnDefinitions"][1]["name"], "Created At");
        assert_eq!(table["rows"][0], json!({"cells": ["view", "2020-01-01T00:00:00Z"], "object": null}));
    }
}
