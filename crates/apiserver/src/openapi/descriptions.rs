//! What the API's own documentation says of types and fields, from the schemas that k8s-openapi carries.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

/// Documentation of the types that some kinds reach, by the types' names in OpenAPI documents.
pub(crate) struct Descriptions(Map<String, Value>);

impl Descriptions {
    /// Of every kind of a group and version.
    pub(crate) fn of_version(group: &str, version: &str) -> Self {
        Self::collect(group, version, None)
    }

    /// Of one kind.
    pub(crate) fn of_kind(group: &str, version: &str, kind: &str) -> Self {
        Self::collect(group, version, Some(kind))
    }

    fn collect(group: &str, version: &str, kind: Option<&str>) -> Self {
        let mut generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
        // What every document refers to, whatever its kinds.
        generator.subschema_for::<k8s_openapi::apimachinery::pkg::apis::meta::v1::DeleteOptions>();
        generator.subschema_for::<k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta>();
        generate(&mut generator, group, version, kind);
        Self(generator.take_definitions(false))
    }

    /// Of a type, by its OpenAPI name.
    pub(crate) fn of_type(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.get("description")?.as_str()
    }

    /// Of a field of a type, by the type's OpenAPI name.
    pub(crate) fn of_field(&self, name: &str, field: &str) -> Option<&str> {
        self.0.get(name)?.get("properties")?.get(field)?.get("description")?.as_str()
    }
}

macro_rules! kinds {
    ($($group:literal, $version:literal, $($path:ident)::+: $($kind:ident),+;)+) => {
        /// Generates the schemas of a kind, or of all kinds of the version.
        fn generate(generator: &mut SchemaGenerator, group: &str, version: &str, kind: Option<&str>) {
            match (group, version) {
                $(($group, $version) => {
                    use $($path)::+ as types;
                    $(if kind.is_none_or(|kind| kind == stringify!($kind)) {
                        generator.subschema_for::<types::$kind>();
                    })+
                })+
                _ => {}
            }
        }
    };
}

kinds! {
    "", "v1", k8s_openapi::api::core::v1: Binding, ComponentStatus, ConfigMap, Endpoints, Event, LimitRange, Namespace, Node, PersistentVolumeClaim, PersistentVolume, Pod, PodTemplate, ReplicationController, ResourceQuota, Secret, ServiceAccount, Service;
    "apps", "v1", k8s_openapi::api::apps::v1: ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet;
    "batch", "v1", k8s_openapi::api::batch::v1: CronJob, Job;
    "autoscaling", "v1", k8s_openapi::api::autoscaling::v1: HorizontalPodAutoscaler, Scale;
    "autoscaling", "v2", k8s_openapi::api::autoscaling::v2: HorizontalPodAutoscaler;
    "policy", "v1", k8s_openapi::api::policy::v1: PodDisruptionBudget, Eviction;
    "networking.k8s.io", "v1", k8s_openapi::api::networking::v1: IngressClass, Ingress, IPAddress, NetworkPolicy, ServiceCIDR;
    "discovery.k8s.io", "v1", k8s_openapi::api::discovery::v1: EndpointSlice;
    "coordination.k8s.io", "v1", k8s_openapi::api::coordination::v1: Lease;
    "events.k8s.io", "v1", k8s_openapi::api::events::v1: Event;
    "rbac.authorization.k8s.io", "v1", k8s_openapi::api::rbac::v1: ClusterRoleBinding, ClusterRole, RoleBinding, Role;
    "storage.k8s.io", "v1", k8s_openapi::api::storage::v1: CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment, VolumeAttributesClass;
    "scheduling.k8s.io", "v1", k8s_openapi::api::scheduling::v1: PriorityClass;
    "node.k8s.io", "v1", k8s_openapi::api::node::v1: RuntimeClass;
    "certificates.k8s.io", "v1", k8s_openapi::api::certificates::v1: CertificateSigningRequest;
    "authentication.k8s.io", "v1", k8s_openapi::api::authentication::v1: SelfSubjectReview, TokenReview, TokenRequest;
    "authorization.k8s.io", "v1", k8s_openapi::api::authorization::v1: LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview;
    "admissionregistration.k8s.io", "v1", k8s_openapi::api::admissionregistration::v1: MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration;
    "flowcontrol.apiserver.k8s.io", "v1", k8s_openapi::api::flowcontrol::v1: FlowSchema, PriorityLevelConfiguration;
    "resource.k8s.io", "v1", k8s_openapi::api::resource::v1: DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice;
    "apiextensions.k8s.io", "v1", k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1: CustomResourceDefinition;
    "apiregistration.k8s.io", "v1", k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1: APIService;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_types_are_described_by_their_openapi_names() {
        let d = Descriptions::of_kind("apps", "v1", "Deployment");
        assert_eq!(d.of_type("io.k8s.api.apps.v1.Deployment"), Some("Deployment enables declarative updates for Pods and ReplicaSets."));
        assert!(d.of_field("io.k8s.api.core.v1.Container", "image").is_some_and(|text| text.starts_with("Container image name.")));
        assert!(d.of_field("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "name").is_some());
        assert_eq!(d.of_type("io.k8s.api.core.v1.Node"), None);
    }
}
