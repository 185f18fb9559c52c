//! What live reads tell: what a server serves, and what is left of a kind.

use std::collections::BTreeMap;

use evenkeel_api::{Kind, Name, Uid};

/// All that a server serves, as far as it could be asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Discovered {
    /// Every resource, in the version that its group prefers; no subresources.
    pub resources: Vec<Served>,
    /// Which resource an `apiVersion` and `kind` stand for, every served version counted.
    pub kinds: BTreeMap<(String, String), Kind>,
    /// Group versions that could not be asked, and why. Their resources are missing above.
    pub failed: BTreeMap<String, String>,
    /// What the server lists as a group version and is none. Not asked any further.
    pub malformed: Vec<String>,
}

/// One resource that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// The resource.
    pub kind: Kind,
    /// What can be done with it.
    pub verbs: Verbs,
}

/// Verbs of a resource, as far as loops ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verbs {
    /// `list`.
    pub list: bool,
    /// `watch`.
    pub watch: bool,
    /// `delete`.
    pub delete: bool,
    /// `deletecollection`.
    pub delete_collection: bool,
}

impl Discovered {
    /// One resource.
    pub fn find(&self, group: &str, plural: &str) -> Option<&Served> {
        self.resources.iter().find(|s| s.kind.group == group && s.kind.plural == plural)
    }
}

/// What is left of one kind in one place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Left {
    /// Number of objects.
    pub count: usize,
    /// Number of objects that each finalizer holds.
    pub finalizers: BTreeMap<String, usize>,
    /// The first objects, at most [`Left::NAMED`].
    pub first: Vec<(Name, Uid)>,
}

impl Left {
    /// Most objects that are named.
    pub const NAMED: usize = 500;

    /// Adds one object.
    pub fn add<'f>(&mut self, name: &str, uid: &str, finalizers: impl Iterator<Item = &'f str>) {
        self.count += 1;
        finalizers.for_each(|f| *self.finalizers.entry(f.to_owned()).or_default() += 1);
        if self.first.len() < Self::NAMED {
            self.first.push((name.into(), Uid::new(uid)));
        }
    }
}
