//! The kinds that people own things by, and references, right and wrong ones.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{chance::Dice, history::uid};

/// A kind of object.
#[derive(Debug)]
pub(super) struct Sort {
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) kind: &'static str,
    pub(super) plural: &'static str,
    pub(super) namespaced: bool,
}

const fn sort(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str, namespaced: bool) -> Sort {
    Sort { group, version, kind, plural, namespaced }
}

/// Kinds of which people make objects. The last one's definition comes and goes.
pub(super) static SORTS: [Sort; 8] = [
    sort("", "v1", "ConfigMap", "configmaps", true),
    sort("", "v1", "Secret", "secrets", true),
    // Orphans what it owns unless told otherwise.
    sort("", "v1", "ReplicationController", "replicationcontrollers", true),
    sort("", "v1", "Pod", "pods", true),
    sort("storage.k8s.io", "v1", "StorageClass", "storageclasses", false),
    sort("example.com", "v1", "Widget", "widgets", true),
    sort("example.com", "v1", "Realm", "realms", false),
    sort(FLEETING, "v1", "Gadget", "gadgets", true),
];

/// The group whose definition comes and goes.
pub(super) const FLEETING: &str = "fleeting.io";

/// Namespaces that objects live in.
pub(super) const NAMESPACES: [&str; 2] = ["left", "right"];

impl Sort {
    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The path of its objects in a namespace.
    pub(super) fn path(&self, namespace: &str) -> String {
        let root = if self.group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{}/{}", self.group, self.version) };
        let place = if self.namespaced { format!("/namespaces/{namespace}") } else { String::new() };
        format!("{root}{place}/{}", self.plural)
    }

    /// A new object.
    pub(super) fn object(&self, name: &str, owners: &[Value], finalizers: &[&str]) -> Value {
        let mut object = json!({"apiVersion": self.api_version(), "kind": self.kind, "metadata": {"name": name}});
        if !owners.is_empty() {
            object["metadata"]["ownerReferences"] = owners.into();
        }
        if !finalizers.is_empty() {
            object["metadata"]["finalizers"] = finalizers.into();
        }
        let containers = json!([{"name": "c", "image": "i"}]);
        match self.kind {
            "StorageClass" => object["provisioner"] = "example.com/none".into(),
            "Pod" => object["spec"] = json!({"containers": containers}),
            "ReplicationController" => {
                let template = json!({"metadata": {"labels": {"app": name}}, "spec": {"containers": containers}});
                object["spec"] = json!({"replicas": 0, "selector": {"app": name}, "template": template});
            }
            _ => {}
        }
        object
    }
}

/// A definition of a custom kind, in all the versions that references name.
pub(super) fn definition(sort: &Sort) -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let version = |name: &str, served: bool, storage: bool| json!({"name": name, "served": served, "storage": storage, "schema": schema});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{}.{}", sort.plural, sort.group)},
        "spec": {
            "group": sort.group, "scope": if sort.namespaced { "Namespaced" } else { "Cluster" },
            "names": {"plural": sort.plural, "kind": sort.kind},
            "versions": [version("v1", true, true), version("v1beta1", true, false), version("v1alpha1", false, false)],
        },
    })
}

/// An object that is, or was, there.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) sort: &'static Sort,
    pub(super) object: Arc<Value>,
}

impl Known {
    pub(super) fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    pub(super) fn namespace(&self) -> &str {
        self.object["metadata"]["namespace"].as_str().unwrap_or_default()
    }

    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.sort.path(self.namespace()), self.name())
    }

    pub(super) fn uid(&self) -> &str {
        uid(&self.object)
    }

    pub(super) fn deleting(&self) -> bool {
        !self.object["metadata"]["deletionTimestamp"].is_null()
    }

    /// Finalizers, or owner references.
    pub(super) fn list(&self, field: &str) -> Vec<Value> {
        self.object["metadata"][field].as_array().cloned().unwrap_or_default()
    }

    /// A right reference to it.
    pub(super) fn reference(&self, dice: &mut Dice) -> Value {
        reference(&self.sort.api_version(), self.sort.kind, self.name(), self.uid(), dice)
    }

    /// Whether an object of this namespace can name it.
    fn reachable(&self, namespace: &str) -> bool {
        !self.sort.namespaced || self.namespace() == namespace
    }
}

fn reference(api_version: &str, kind: &str, name: &str, uid: &str, dice: &mut Dice) -> Value {
    let mut reference = json!({"apiVersion": api_version, "kind": kind, "name": name, "uid": uid});
    match dice.pick(0..10) {
        0..5 => reference["blockOwnerDeletion"] = true.into(),
        5..7 => reference["blockOwnerDeletion"] = false.into(),
        _ => {}
    }
    reference
}

/// One of these; `None`: there is none.
pub(super) fn any<'k>(of: &[&'k Known], dice: &mut Dice) -> Option<&'k Known> {
    of.get(dice.pick(0..of.len().max(1) as u64) as usize).copied()
}

/// A reference that an object of this namespace (empty: cluster-scoped) could carry: a right one more often than not. `past` are objects
/// that were there, once.
pub(super) fn some_reference(namespace: &str, present: &[Known], past: &[Known], dice: &mut Dice) -> Option<Value> {
    let all: Vec<&Known> = present.iter().collect();
    let right: Vec<&Known> = present.iter().filter(|k| k.reachable(namespace)).collect();
    let other = |dice: &mut Dice| SORTS[dice.pick(0..SORTS.len() as u64) as usize].kind_of();
    let nobody = |dice: &mut Dice| format!("0badf00d-0000-4000-8000-{:012x}", dice.pick(0..4));
    let version = |k: &Known, version: &str| match k.sort.group {
        "" => version.to_owned(),
        group => format!("{group}/{version}"),
    };
    let custom: Vec<&Known> = right.iter().filter(|k| k.sort.group.contains('.') && !k.sort.group.ends_with(".k8s.io")).copied().collect();
    let of = |k: &Known, dice: &mut Dice| k.reference(dice);
    Some(match dice.pick(0..100) {
        0..52 => of(any(&right, dice)?, dice),
        // Dead by now, perhaps.
        52..61 => of(any(&past.iter().filter(|k| k.reachable(namespace)).collect::<Vec<_>>(), dice)?, dice),
        // Never there.
        61..66 => {
            let (api_version, kind) = other(dice);
            reference(&api_version, kind, "nobody", &nobody(dice), dice)
        }
        // Another kind's uid and name.
        66..72 => {
            let k = any(&all, dice)?;
            let (api_version, kind) = other(dice);
            reference(&api_version, kind, k.name(), k.uid(), dice)
        }
        // Of whatever namespace: for a cluster-scoped object, one that it cannot name.
        72..79 => of(any(&all, dice)?, dice),
        // Another name.
        79..83 => {
            let k = any(&right, dice)?;
            reference(&k.sort.api_version(), k.sort.kind, "somebody", k.uid(), dice)
        }
        // Another's uid.
        83..87 => {
            let (k, l) = (any(&right, dice)?, any(&all, dice)?);
            reference(&k.sort.api_version(), k.sort.kind, k.name(), l.uid(), dice)
        }
        // A kind that nobody serves, with a uid that is there, or is not.
        87..90 => {
            let (api_version, kind) = [("v1", "Nothing"), ("nowhere.io/v1", "Thing"), ("apps/v1", "Deployment")][dice.pick(0..3) as usize];
            match (dice.percent(50), any(&all, dice)) {
                (true, Some(k)) => reference(api_version, kind, k.name(), k.uid(), dice),
                _ => reference(api_version, kind, "nobody", &nobody(dice), dice),
            }
        }
        // A version that is not served, of an owner or of nobody.
        90..94 => match any(&custom, dice) {
            Some(k) => reference(&version(k, "v1alpha1"), k.sort.kind, k.name(), k.uid(), dice),
            None => reference("example.com/v1alpha1", "Widget", "nobody", &nobody(dice), dice),
        },
        // A version that is served and not preferred.
        94..98 => {
            let k = any(&custom, dice)?;
            reference(&version(k, "v1beta1"), k.sort.kind, k.name(), k.uid(), dice)
        }
        // The kind's name in another group.
        _ => {
            let k = any(&right, dice)?;
            reference("example.com/v1", k.sort.kind, k.name(), k.uid(), dice)
        }
    })
}

impl Sort {
    fn kind_of(&self) -> (String, &'static str) {
        (self.api_version(), self.kind)
    }
}

/// None, one, or many owners.
pub(super) fn owners(namespace: &str, present: &[Known], past: &[Known], dice: &mut Dice) -> Vec<Value> {
    let count = match dice.pick(0..20) {
        0..5 => 0,
        5..14 => 1,
        14..18 => 2,
        18 => 3,
        _ => dice.pick(4..12),
    };
    let mut owners: Vec<Value> = (0..count).filter_map(|_| some_reference(namespace, present, past, dice)).collect();
    // The same uid again, under another name.
    if dice.percent(6)
        && let Some(mut twin) = owners.first().cloned()
    {
        twin["name"] = "twin".into();
        owners.push(twin);
    }
    owners
}
