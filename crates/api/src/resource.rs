use std::{
    cmp::Ordering,
    collections::BTreeSet,
    fmt,
    hash::{Hash, Hasher},
    sync::{Mutex, PoisonError},
};

/// What the API server calls a resource: where it is served and what its objects are called.
///
/// Ordered by plural, group and version.
#[derive(Debug)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// API version, such as `v1`.
    pub version: &'static str,
    /// Plural, lower-case name in paths, such as `replicasets`.
    pub plural: &'static str,
    /// Kind of one object, such as `ReplicaSet`.
    pub kind: &'static str,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
}

/// A resource by reference: kinds are few and live as long as the process.
pub type Kind = &'static Resource;

impl Ord for Resource {
    // Everything that is about a kind is looked up by it, many times for each event: as a rule the first letters tell, or the address.
    fn cmp(&self, other: &Self) -> Ordering {
        let rest = |r: &Self| (r.group, r.version, r.kind, r.namespaced);
        if std::ptr::eq(self, other) { Ordering::Equal } else { self.plural.cmp(other.plural).then_with(|| rest(self).cmp(&rest(other))) }
    }
}

impl PartialOrd for Resource {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Resource {}

impl Hash for Resource {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.plural, self.group).hash(state);
    }
}

/// Resources that were found at run time: few, and for ever.
static FOUND: Mutex<BTreeSet<Kind>> = Mutex::new(BTreeSet::new());

/// What this program knows by itself.
static KNOWN: [Kind; 8] = [&PODS, &NODES, &REPLICATION_CONTROLLERS, &EVENTS, &NAMESPACES, &REPLICA_SETS, &DEPLOYMENTS, &LEASES];

impl Resource {
    /// The one reference to a resource that discovery tells of. Equal resources have the same one.
    pub fn found(group: &str, version: &str, plural: &str, kind: &str, namespaced: bool) -> Kind {
        let wanted = (group, version, plural, kind, namespaced);
        let same = |r: &Resource| (r.group, r.version, r.plural, r.kind, r.namespaced) == wanted;
        if let Some(known) = KNOWN.into_iter().find(|r| same(r)) {
            return known;
        }
        let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = found.iter().find(|r| same(r)) {
            return known;
        }
        let keep = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
        let resource = Resource { group: keep(group), version: keep(version), plural: keep(plural), kind: keep(kind), namespaced };
        let resource: Kind = Box::leak(Box::new(resource));
        found.insert(resource);
        resource
    }

    /// `group/version`, or `version` for the core group: the `apiVersion` of its objects.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `plural.group`, or the plural for the core group: the form of upstream's messages.
    pub fn group_resource(&self) -> String {
        self.to_string()
    }

    /// Path of the collection in `namespace`, or of the whole cluster where `None`.
    pub fn collection_path(&self, namespace: Option<&str>) -> String {
        self.path(namespace, &[])
    }

    /// Path of one object, with an optional subresource such as `status`.
    pub fn object_path(&self, namespace: &str, name: &str, subresource: Option<&str>) -> String {
        match subresource {
            Some(subresource) => self.path(Some(namespace), &[name, subresource]),
            None => self.path(Some(namespace), &[name]),
        }
    }

    fn path(&self, namespace: Option<&str>, below: &[&str]) -> String {
        let root: &[&str] = if self.group.is_empty() { &["api"] } else { &["apis", self.group] };
        let version = [self.version];
        let place = namespace.filter(|_| self.namespaced).map(|namespace| ["namespaces", namespace]);
        let plural = [self.plural];
        let parts = [root, &version, place.as_ref().map_or(&[], |p| p), &plural, below];
        let mut path = String::with_capacity(parts.iter().flat_map(|p| p.iter()).map(|part| part.len() + 1).sum());
        for part in parts.into_iter().flatten() {
            path.push('/');
            path.push_str(part);
        }
        path
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.plural)?;
        if self.group.is_empty() { Ok(()) } else { write!(f, ".{}", self.group) }
    }
}

const fn namespaced(group: &'static str, version: &'static str, plural: &'static str, kind: &'static str) -> Resource {
    Resource { group, version, plural, kind, namespaced: true }
}

/// `pods`.
pub static PODS: Resource = namespaced("", "v1", "pods", "Pod");
/// `replicationcontrollers`.
pub static REPLICATION_CONTROLLERS: Resource = namespaced("", "v1", "replicationcontrollers", "ReplicationController");
/// `events` of the core group, which the stock manager writes.
pub static EVENTS: Resource = namespaced("", "v1", "events", "Event");
/// `namespaces`.
pub static NAMESPACES: Resource = Resource { group: "", version: "v1", plural: "namespaces", kind: "Namespace", namespaced: false };
/// `nodes`.
pub static NODES: Resource = Resource { group: "", version: "v1", plural: "nodes", kind: "Node", namespaced: false };
/// `replicasets.apps`.
pub static REPLICA_SETS: Resource = namespaced("apps", "v1", "replicasets", "ReplicaSet");
/// `deployments.apps`.
pub static DEPLOYMENTS: Resource = namespaced("apps", "v1", "deployments", "Deployment");
/// `leases.coordination.k8s.io`.
pub static LEASES: Resource = namespaced("coordination.k8s.io", "v1", "leases", "Lease");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_twice_is_one_resource() {
        assert!(std::ptr::eq(Resource::found("apps", "v1", "deployments", "Deployment", true), &DEPLOYMENTS));
        let shelf = |version| Resource::found("example.com", version, "shelves", "Shelf", true);
        assert!(std::ptr::eq(shelf("v1"), shelf("v1")) && !std::ptr::eq(shelf("v1"), shelf("v2")));
        assert_eq!(shelf("v2").collection_path(Some("a")), "/apis/example.com/v2/namespaces/a/shelves");
    }

    #[test]
    fn paths_follow_the_groups() {
        assert_eq!(PODS.object_path("ns", "a", None), "/api/v1/namespaces/ns/pods/a");
        assert_eq!(REPLICA_SETS.object_path("ns", "a", Some("status")), "/apis/apps/v1/namespaces/ns/replicasets/a/status");
        assert_eq!(DEPLOYMENTS.collection_path(None), "/apis/apps/v1/deployments");
        assert_eq!(NAMESPACES.object_path("", "x", None), "/api/v1/namespaces/x");
    }
}
