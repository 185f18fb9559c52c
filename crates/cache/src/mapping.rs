use std::collections::{BTreeMap, BTreeSet};

use evenkeel_api::Kind;

/// Which resource an `apiVersion` and `kind` stand for, as far as the server could be asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mapping {
    kinds: BTreeMap<(Box<str>, Box<str>), Kind>,
    /// Group versions that could not be asked: what is missing of them may be there.
    pub unsure: BTreeSet<Box<str>>,
    /// Kinds whose first list is under way and worth waiting for: what depends on an object may not be known yet.
    pub awaited: BTreeSet<Kind>,
}

impl Mapping {
    /// Says that objects of this `apiVersion` and `kind` are those of a resource, whichever version of it is watched.
    pub fn add(&mut self, api_version: &str, kind: &str, resource: Kind) {
        self.kinds.entry((api_version.into(), kind.into())).or_insert(resource);
    }

    /// The resource; `None`: nobody serves it, or nobody can tell.
    pub fn resolve(&self, api_version: &str, kind: &str) -> Option<Kind> {
        self.kinds.get(&(api_version.into(), kind.into())).copied()
    }

    /// Every `apiVersion` and `kind`, and what they stand for.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &str, Kind)> {
        self.kinds.iter().map(|((api_version, kind), resource)| (&**api_version, &**kind, *resource))
    }

    /// Whether the server was never asked.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// The resource called `plural.group`.
    pub fn called(&self, group_resource: &str) -> Option<Kind> {
        self.kinds.values().find(|kind| kind.group_resource() == group_resource).copied()
    }
}
