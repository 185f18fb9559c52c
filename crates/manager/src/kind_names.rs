//! Names that people give to kinds, as kubectl takes them.

use std::collections::BTreeMap;

use evenkeel_api::Kind;
use evenkeel_cache::Stores;

/// kubectl's short names of what every server has.
const SHORT: [(&str, &str); 24] = [
    ("cj", "cronjobs.batch"),
    ("cm", "configmaps"),
    ("crd", "customresourcedefinitions.apiextensions.k8s.io"),
    ("crds", "customresourcedefinitions.apiextensions.k8s.io"),
    ("csr", "certificatesigningrequests.certificates.k8s.io"),
    ("deploy", "deployments.apps"),
    ("ds", "daemonsets.apps"),
    ("ep", "endpoints"),
    ("hpa", "horizontalpodautoscalers.autoscaling"),
    ("ing", "ingresses.networking.k8s.io"),
    ("limits", "limitranges"),
    ("netpol", "networkpolicies.networking.k8s.io"),
    ("no", "nodes"),
    ("ns", "namespaces"),
    ("pc", "priorityclasses.scheduling.k8s.io"),
    ("pdb", "poddisruptionbudgets.policy"),
    ("po", "pods"),
    ("pv", "persistentvolumes"),
    ("pvc", "persistentvolumeclaims"),
    ("quota", "resourcequotas"),
    ("rc", "replicationcontrollers"),
    ("rs", "replicasets.apps"),
    ("sts", "statefulsets.apps"),
    ("svc", "services"),
];

/// Whether a kind goes by a name: its kind, plural or short name, the first two also with `.group` or `.version.group`; in whichever case.
pub(crate) fn goes_by(kind: Kind, given: &str) -> bool {
    let given = given.to_lowercase();
    let full = kind.group_resource();
    if given == full || SHORT.iter().any(|(short, resource)| given == *short && full == *resource) {
        return true;
    }
    let rest = [kind.plural.to_owned(), kind.kind.to_lowercase()].into_iter().find_map(|name| {
        let rest = given.strip_prefix(&name)?;
        (rest.is_empty() || rest.starts_with('.')).then(|| rest.to_owned())
    });
    rest.is_some_and(|rest| rest.is_empty() || rest == format!(".{}", kind.group) || rest == format!(".{}.{}", kind.version, kind.group))
}

/// The one kind that goes by a name. Where several do, one without a group comes before all others.
///
/// # Errors
/// When there is none, or more than one.
pub(crate) fn find(stores: &Stores, given: &str) -> Result<Kind, String> {
    let served = stores.mapping().entries().map(|(.., kind)| kind).chain(stores.kinds().map(|(kind, _)| kind));
    let named: BTreeMap<String, Kind> = served.filter(|kind| goes_by(kind, given)).map(|kind| (kind.group_resource(), kind)).collect();
    let of_core = named.values().find(|kind| kind.group.is_empty());
    match named.values().next() {
        None => Err(format!("the server has no kind that is called {given:?}")),
        Some(only) if named.len() == 1 => Ok(only),
        Some(_) => of_core.copied().ok_or_else(|| {
            let all: Vec<&str> = named.keys().map(String::as_str).collect();
            format!("{given:?} may be {}: say which", all.join(" or "))
        }),
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_api::{DEPLOYMENTS, PODS, Resource};
    use evenkeel_cache::Mapping;

    use super::*;

    #[test]
    fn kinds_go_by_the_names_that_kubectl_takes() {
        for name in ["deployment", "Deployment", "deployments", "deploy", "deployments.apps", "deployment.apps", "deployments.v1.apps"] {
            assert!(goes_by(&DEPLOYMENTS, name), "{name}");
        }
        for name in ["deployments.", "deploymentss", "deployments.v2.apps", "apps", "", "rs", "deploy.apps"] {
            assert!(!goes_by(&DEPLOYMENTS, name), "{name}");
        }
        assert!(["pod", "po", "PODS"].iter().all(|name| goes_by(&PODS, name)));
    }

    #[test]
    fn a_name_that_means_several_kinds_has_to_be_told_apart() {
        let kinds = [
            &PODS,
            Resource::found("metrics.k8s.io", "v1", "pods", "PodMetrics", true),
            Resource::found("a.example.com", "v1", "shelves", "Shelf", true),
            Resource::found("b.example.com", "v1", "shelves", "Shelf", true),
        ];
        let mut mapping = Mapping::default();
        kinds.iter().for_each(|kind| mapping.add(&kind.api_version(), kind.kind, kind));
        let stores = Stores::default().with_mapping(mapping);
        assert_eq!(find(&stores, "pods").map(|kind| kind.group), Ok(""));
        assert_eq!(find(&stores, "shelves.b.example.com").map(|kind| kind.group), Ok("b.example.com"));
        assert_eq!(find(&stores, "shelf"), Err("\"shelf\" may be shelves.a.example.com or shelves.b.example.com: say which".to_owned()));
        assert!(find(&stores, "nothing").is_err_and(|error| error.contains("\"nothing\"")));
    }
}
