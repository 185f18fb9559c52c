//! What Go calls the types and fields that messages of its decoder tell, where that is not what the wire form shows.

use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Names of types, by struct and field (`tables/named.tsv`).
fn named() -> &'static BTreeMap<(&'static str, &'static str), &'static str> {
    static NAMED: OnceLock<BTreeMap<(&'static str, &'static str), &'static str>> = OnceLock::new();
    NAMED.get_or_init(|| {
        let rows = include_str!("../../tables/named.tsv").lines().filter(|l| !l.starts_with('#') && !l.is_empty());
        rows.flat_map(|l| {
            let (owner, fields) = l.split_once('\t').unwrap_or_else(|| panic!("named.tsv: {l}"));
            fields.split(' ').map(move |f| f.split_once('=').unwrap_or_else(|| panic!("named.tsv: {l}"))).map(move |(f, n)| ((owner, f), n))
        })
        .collect()
    })
}

/// The type of a field, or of what is below it, given what it is made of.
pub(super) fn type_of(owner: &str, field: &str, made_of: &str) -> String {
    match (named().get(&(owner, field)), made_of) {
        (Some(name), "string") => (*name).to_owned(),
        (Some(name), "[]string") => format!("[]{name}"),
        (Some(name), made_of) if made_of.starts_with("map[") => (*name).to_owned(),
        _ => made_of.to_owned(),
    }
}

/// The name of a struct within its package: `PodSpec` of `core/v1.PodSpec`.
pub(super) fn bare(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// Fields of a volume's spec that say something else than where it is.
const NO_SOURCES: &[&str] = &[
    "capacity",
    "accessModes",
    "claimRef",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "mountOptions",
    "volumeMode",
    "nodeAffinity",
    "volumeAttributesClassName",
];

/// Structs that name an object beside them.
const REFERENCES: &[&str] = &[
    "ConfigMapEnvSource",
    "ConfigMapKeySelector",
    "ConfigMapProjection",
    "ConfigMapVolumeSource",
    "SecretEnvSource",
    "SecretKeySelector",
    "SecretProjection",
];

/// The structs of their own in which a field stands within the Go type, from the outside.
pub(super) fn embedded(owner: &str, field: &str) -> Option<&'static str> {
    match (owner, field) {
        ("Volume", f) if f != "name" => Some("VolumeSource"),
        ("PersistentVolumeSpec", f) if !NO_SOURCES.contains(&f) => Some("PersistentVolumeSource"),
        ("Probe" | "LifecycleHandler", "exec" | "httpGet" | "tcpSocket" | "grpc") => Some("ProbeHandler"),
        ("EphemeralContainer", f) if f != "targetContainerName" => Some("EphemeralContainerCommon"),
        ("IngressRule", "http") => Some("IngressRuleValue"),
        ("RuleWithOperations", f) if f != "operations" => Some("Rule"),
        ("NamedRuleWithOperations", "operations") => Some("RuleWithOperations"),
        ("NamedRuleWithOperations", f) if f != "resourceNames" => Some("RuleWithOperations.Rule"),
        (_, "opaque") => Some("DeviceConfiguration"),
        (owner, "name") if REFERENCES.contains(&owner) => Some("LocalObjectReference"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Schema;

    #[test]
    fn every_row_names_a_type_and_fields_that_exist() {
        let schema = Schema::builtin();
        for (owner, field) in named().keys() {
            let st = schema.get(schema.find(owner).unwrap_or_else(|| panic!("{owner}")));
            assert!(st.field(field).is_some(), "{owner} {field}");
        }
    }

    /// Answers of kube-apiserver 1.36.2.
    #[test]
    fn types_are_told_by_their_names() {
        assert_eq!(type_of("storage.k8s.io/v1.StorageClass", "reclaimPolicy", "string"), "v1.PersistentVolumeReclaimPolicy");
        assert_eq!(type_of("v1.PersistentVolumeSpec", "accessModes", "string"), "v1.PersistentVolumeAccessMode");
        assert_eq!(type_of("storage.k8s.io/v1.StorageClass", "provisioner", "string"), "string");
        assert_eq!(embedded("PersistentVolumeSpec", "nfs"), Some("PersistentVolumeSource"));
    }
}
