//! What is served: one row per resource, built-in ones from `tables/resources.tsv`, custom ones added while the server runs.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

/// What a write must touch to raise `metadata.generation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// The kind has no generation.
    None,
    /// Changes of `spec`.
    Spec,
    /// Changes of `spec` or of the annotations (Deployment; workloads 1.4.1).
    SpecAndAnnotations,
    /// Changes of anything outside metadata and status.
    AllButMeta,
    /// Any change beside the metadata, or of the labels (EndpointSlice).
    LabelsAndAllButMeta,
    /// Set to 1 at creation and never raised.
    Always1,
}

/// A subresource of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subresource {
    /// Last path segment, such as `status`.
    pub name: String,
    /// Kind of its body, such as `Scale`.
    pub kind: String,
    /// Group of its body when not the parent's; `None`: the parent's.
    pub group_version: Option<(String, String)>,
    /// Verbs, sorted.
    pub verbs: Vec<String>,
}

/// One served resource in one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// API group; empty for the core.
    pub group: String,
    /// Version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Kind of lists.
    pub list_kind: String,
    /// Plural, lower case: the path segment.
    pub plural: String,
    /// Singular, lower case.
    pub singular: String,
    /// Short names.
    pub short_names: Vec<String>,
    /// Categories, such as `all`.
    pub categories: Vec<String>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Verbs, sorted; empty never.
    pub verbs: Vec<String>,
    /// Subresources in order of name.
    pub subresources: Vec<Subresource>,
    /// When generation grows.
    pub generation: Generation,
    /// Never stored: answers are computed.
    pub is_virtual: bool,
    /// Deletions take a grace period (pods).
    pub graceful: bool,
    /// Deletion without a propagation policy orphans (the old core/v1 API; workloads 1.4.7).
    pub orphans_by_default: bool,
    /// A deletion answers with the object, not with a Status.
    pub returns_deleted: bool,
    /// Part of discovery and served.
    pub served: bool,
    /// Group and version in which objects are stored, when another.
    pub hub: Option<(String, String)>,
    /// Comes from a CustomResourceDefinition.
    pub custom: bool,
    /// Its version is the preferred one of its group.
    pub storage_version: bool,
    /// Paths of fields that selectors may name, of a custom resource.
    pub selectable: Vec<String>,
}

impl Resource {
    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `pods` or `deployments.apps`, as messages name it.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `Pod` or `Deployment.apps`, as messages of validation name it.
    pub fn qualified_kind(&self) -> String {
        if self.group.is_empty() { self.kind.clone() } else { format!("{}.{}", self.kind, self.group) }
    }

    /// Whether it has the named subresource.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// Whether it has a status subresource.
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }

    /// Whether the verb is served.
    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }

    /// The store that holds its objects: `group/plural` of the stored form.
    pub fn storage_key(&self) -> String {
        match &self.hub {
            Some((g, _)) => format!("{g}/{}", self.plural),
            None => format!("{}/{}", self.group, self.plural),
        }
    }

    /// Name of the root type in `tables/types.tsv`, such as `apps/v1.Deployment`.
    pub fn schema_root(&self) -> String {
        format!("{}.{}", self.api_version(), self.kind)
    }
}

/// All resources. Cheap to read; grows and shrinks with CustomResourceDefinitions.
pub struct Registry {
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    list: Vec<Arc<Resource>>,
    index: BTreeMap<(String, String, String), Arc<Resource>>,
    generation: u64,
}

impl Inner {
    fn rebuild(&mut self) {
        self.index =
            self.list.iter().filter(|r| r.served).map(|r| ((r.group.clone(), r.version.clone(), r.plural.clone()), r.clone())).collect();
        self.generation += 1;
    }
}

/// The groups in the order in which a real server lists them, best first; others follow by name.
const GROUP_ORDER: &[&str] = &[
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
];

impl Registry {
    /// The built-in resources.
    pub fn builtin() -> Self {
        let list = parse(include_str!("../tables/resources.tsv")).into_iter().map(Arc::new).collect();
        let mut inner = Inner { list, ..Inner::default() };
        inner.rebuild();
        Registry { inner: RwLock::new(inner) }
    }

    /// The resource of a path.
    pub fn get(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        let inner = self.inner.read().expect("no writer of the registry panics");
        inner.index.get(&(group.to_owned(), version.to_owned(), plural.to_owned())).cloned()
    }

    /// The resource of a kind.
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<Arc<Resource>> {
        let inner = self.inner.read().expect("no writer of the registry panics");
        inner.list.iter().find(|r| r.served && r.group == group && r.version == version && r.kind == kind).cloned()
    }

    /// All served resources, in the order of the table, custom ones behind.
    pub fn served(&self) -> Vec<Arc<Resource>> {
        let inner = self.inner.read().expect("no writer of the registry panics");
        inner.list.iter().filter(|r| r.served).cloned().collect()
    }

    /// Served group-versions, preferred group and version first; the core is `("", "v1")`.
    pub fn group_versions(&self) -> Vec<(String, Vec<String>)> {
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for r in self.served() {
            let versions = groups.entry(r.group.clone()).or_default();
            if !versions.contains(&r.version) {
                versions.push(r.version.clone());
            }
        }
        for versions in groups.values_mut() {
            versions.sort_by(|a, b| version_rank(b).cmp(&version_rank(a)).then_with(|| a.cmp(b)));
        }
        let mut out: Vec<_> = groups.into_iter().collect();
        out.sort_by_key(|(g, _)| (GROUP_ORDER.iter().position(|o| o == g).unwrap_or(usize::MAX), g.clone()));
        out
    }

    /// Adds resources or replaces those of the same group, version and plural.
    pub fn insert(&self, resources: Vec<Resource>) {
        let mut inner = self.inner.write().expect("no writer of the registry panics");
        for new in resources {
            inner.list.retain(|r| (&r.group, &r.version, &r.plural) != (&new.group, &new.version, &new.plural));
            inner.list.push(Arc::new(new));
        }
        inner.rebuild();
    }

    /// All versions of a resource, those that are not served too.
    pub fn all_of(&self, group: &str, plural: &str) -> Vec<Arc<Resource>> {
        let inner = self.inner.read().expect("no writer of the registry panics");
        inner.list.iter().filter(|r| r.group == group && r.plural == plural).cloned().collect()
    }

    /// Takes all versions of a custom resource away.
    pub fn remove(&self, group: &str, plural: &str) {
        let mut inner = self.inner.write().expect("no writer of the registry panics");
        inner.list.retain(|r| !(r.custom && r.group == group && r.plural == plural));
        inner.rebuild();
    }

    /// Grows with each change: for whoever caches documents made from the registry.
    pub fn generation(&self) -> u64 {
        self.inner.read().expect("no writer of the registry panics").generation
    }
}

/// Rank of a version name: GA before beta before alpha, higher numbers first; names that follow no scheme come last.
pub fn version_rank(v: &str) -> (u8, u32, u32) {
    let Some(rest) = v.strip_prefix('v') else { return (0, 0, 0) };
    let major_end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let Ok(major) = rest[..major_end].parse() else { return (0, 0, 0) };
    let tail = &rest[major_end..];
    if tail.is_empty() {
        return (3, major, 0);
    }
    for (word, rank) in [("beta", 2), ("alpha", 1)] {
        if let Some(minor) = tail.strip_prefix(word).and_then(|n| n.parse().ok()) {
            return (rank, major, minor);
        }
    }
    (0, 0, 0)
}

fn words(cell: &str, sep: char) -> Vec<String> {
    if cell == "-" { Vec::new() } else { cell.split(sep).filter(|w| !w.is_empty()).map(str::to_owned).collect() }
}

fn parse(table: &str) -> Vec<Resource> {
    table.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).map(parse_row).collect()
}

fn parse_row(line: &str) -> Resource {
    let c: Vec<&str> = line.split('\t').collect();
    assert_eq!(c.len(), 12, "resources.tsv: {line}");
    let plain = |s: &str| if s == "-" { String::new() } else { s.to_owned() };
    let (group, kind) = (plain(c[0]), c[2].to_owned());
    let flags = words(c[11], ',');
    let mut subresources: Vec<Subresource> = words(c[9], ' ')
        .iter()
        .map(|s| {
            let p: Vec<&str> = s.split(':').collect();
            let at = |i: usize| p.get(i).copied().unwrap_or("");
            let verbs = if at(3).is_empty() { "get,patch,update" } else { at(3) };
            Subresource {
                name: p[0].to_owned(),
                kind: if at(1).is_empty() { kind.clone() } else { at(1).to_owned() },
                group_version: at(2).split_once('/').map(|(g, v)| (g.to_owned(), v.to_owned())),
                verbs: words(verbs, ','),
            }
        })
        .collect();
    subresources.sort_by(|a, b| a.name.cmp(&b.name));
    let hub = flags.iter().find_map(|f| f.strip_prefix("hub=")).map(|h| match h.split_once('/') {
        Some((g, v)) => (g.to_owned(), v.to_owned()),
        None => (group.clone(), h.to_owned()),
    });
    let has = |f: &str| flags.iter().any(|x| x == f);
    Resource {
        version: c[1].to_owned(),
        list_kind: format!("{kind}List"),
        plural: c[3].to_owned(),
        singular: c[4].to_owned(),
        short_names: words(c[5], ','),
        categories: words(c[6], ','),
        namespaced: c[7] == "Namespaced",
        verbs: words(c[8], ','),
        subresources,
        generation: match c[10] {
            "spec" => Generation::Spec,
            "spec+annotations" => Generation::SpecAndAnnotations,
            "all" => Generation::AllButMeta,
            "labels+allbutmeta" => Generation::LabelsAndAllButMeta,
            "always1" => Generation::Always1,
            _ => Generation::None,
        },
        is_virtual: has("virtual"),
        graceful: has("graceful"),
        orphans_by_default: has("orphan"),
        returns_deleted: has("returns"),
        served: !has("off"),
        storage_version: hub.is_none(),
        hub,
        custom: false,
        selectable: Vec::new(),
        group,
        kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_workloads_with_their_subresources() {
        let reg = Registry::builtin();
        let d = reg.get("apps", "v1", "deployments").expect("deployments are served");
        assert_eq!(d.short_names, ["deploy"]);
        assert_eq!(d.subresource("scale").and_then(|s| s.group_version.clone()), Some(("autoscaling".into(), "v1".into())));
        assert_eq!(d.generation, Generation::SpecAndAnnotations);
        assert!(reg.get("storage.k8s.io", "v1beta1", "volumeattributesclasses").is_none(), "beta versions are off");
    }

    #[test]
    fn versions_rank_as_kubernetes_ranks_them() {
        let mut v = vec!["v1alpha3", "v2", "foo", "v1", "v1beta2", "v10", "v1beta1"];
        v.sort_by_key(|x| std::cmp::Reverse(version_rank(x)));
        assert_eq!(v, ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha3", "foo"]);
    }
}
