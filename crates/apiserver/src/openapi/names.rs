//! Names of types in OpenAPI documents.

use crate::registry::Resource;

/// The reverse-domain package of a group and version, such as `io.k8s.api.apps.v1`.
fn package(group: &str, version: &str) -> String {
    match group {
        "" => format!("io.k8s.api.core.{version}"),
        "meta" => format!("io.k8s.apimachinery.pkg.apis.meta.{version}"),
        "apiextensions.k8s.io" => format!("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.{version}"),
        "apiregistration.k8s.io" => format!("io.k8s.kube-aggregator.pkg.apis.apiregistration.{version}"),
        "internal.apiserver.k8s.io" => format!("io.k8s.api.apiserverinternal.{version}"),
        group => format!("io.k8s.api.{}.{version}", group.split('.').next().unwrap_or(group)),
    }
}

/// The OpenAPI name of a type of the schema tables: `io.k8s.api.apps.v1.Deployment` for `apps/v1.Deployment`.
pub(crate) fn of_type(name: &str) -> String {
    let (group_version, kind) = name.rsplit_once('.').unwrap_or(("", name));
    let (group, version) = group_version.split_once('/').unwrap_or(("", group_version));
    format!("{}.{kind}", package(group, version))
}

/// The OpenAPI name of a kind: custom kinds have their group's domain turned round.
pub(crate) fn of_kind(resource: &Resource, kind: &str) -> String {
    if !resource.custom {
        return format!("{}.{kind}", package(&resource.group, &resource.version));
    }
    let mut domain: Vec<&str> = resource.group.split('.').collect();
    domain.reverse();
    format!("{}.{}.{kind}", domain.join("."), resource.version)
}

#[cfg(test)]
mod tests {
    use super::of_type;

    #[test]
    fn types_are_named_by_their_go_packages() {
        assert_eq!(of_type("v1.Pod"), "io.k8s.api.core.v1.Pod");
        assert_eq!(of_type("meta/v1.ObjectMeta"), "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
        assert_eq!(of_type("rbac.authorization.k8s.io/v1.Role"), "io.k8s.api.rbac.v1.Role");
        assert_eq!(
            of_type("apiextensions.k8s.io/v1.JSONSchemaProps"),
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
        );
    }
}
