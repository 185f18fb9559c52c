use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use evenkeel_api::{Key, Kind, Uid, Version};

use crate::Stores;

/// Who waits: a loop and its key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// Canonical name of the loop.
    pub controller: &'static str,
    /// Key of the work.
    pub key: Key,
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.controller, self.key)
    }
}

/// What a cache must show before its owner looks again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// The kind has reached the version of our write.
    Reached {
        /// Kind that was written.
        kind: Kind,
        /// Version that the server answered with.
        version: Version,
    },
    /// The object is gone, or known to be going.
    Gone {
        /// Kind of the deleted object.
        kind: Kind,
        /// Its namespace and name.
        key: Key,
        /// Its uid: another life of the name does not count.
        uid: Uid,
    },
}

impl Wait {
    /// The kind that it is about.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Reached { kind, .. } | Self::Gone { kind, .. } => kind,
        }
    }

    /// Whether the stores show it.
    pub fn covered(&self, stores: &Stores) -> bool {
        match self {
            Self::Reached { kind, version } => stores.any(kind).is_none_or(|s| s.version() >= *version),
            Self::Gone { kind, key, uid } => {
                stores.any(kind).is_none_or(|s| s.header(&key.namespace, &key.name).is_none_or(|m| m.uid != *uid || m.deleting.is_some()))
            }
        }
    }
}

/// Own writes that the cache has not shown yet, per owner. Bounded by the writes of one pass per key.
#[derive(Debug, Default)]
pub(crate) struct Freshness {
    waits: BTreeMap<Owner, BTreeSet<Wait>>,
    by_kind: BTreeMap<Kind, BTreeSet<Owner>>,
}

impl Freshness {
    pub(crate) fn add(&mut self, owner: &Owner, wait: Wait) {
        self.by_kind.entry(wait.kind()).or_default().insert(owner.clone());
        let waits = self.waits.entry(owner.clone()).or_default();
        if let Wait::Reached { kind, version } = &wait {
            // Of several writes to one kind only the last counts.
            if waits.iter().any(|w| matches!(w, Wait::Reached { kind: k, version: v } if k == kind && v >= version)) {
                return;
            }
            waits.retain(|w| !matches!(w, Wait::Reached { kind: k, .. } if k == kind));
        }
        waits.insert(wait);
    }

    /// What the owner still waits for; forgets what is covered.
    pub(crate) fn behind(&mut self, owner: &Owner, stores: &Stores) -> Option<Wait> {
        let waits = self.waits.get_mut(owner)?;
        waits.retain(|w| !w.covered(stores));
        let first = waits.first().cloned();
        if first.is_none() {
            self.waits.remove(owner);
            self.by_kind.values_mut().for_each(|owners| {
                owners.remove(owner);
            });
        }
        first
    }

    /// Owners for whom, after news of `kind`, nothing is missing any more.
    pub(crate) fn released(&mut self, kind: Kind, stores: &Stores) -> Vec<Owner> {
        let Some(owners) = self.by_kind.get(kind) else { return Vec::new() };
        let owners: Vec<Owner> = owners.iter().cloned().collect();
        owners.into_iter().filter(|owner| self.behind(owner, stores).is_none()).collect()
    }

    /// Versions of `kind` that were waited for may never come again: the server was restored from a backup.
    pub(crate) fn reset(&mut self, kind: Kind) {
        for waits in self.waits.values_mut() {
            waits.retain(|w| !matches!(w, Wait::Reached { kind: k, .. } if *k == kind));
        }
    }

    pub(crate) fn forget(&mut self, owner: &Owner) {
        if self.waits.remove(owner).is_some() {
            self.by_kind.values_mut().for_each(|owners| {
                owners.remove(owner);
            });
        }
    }
}
