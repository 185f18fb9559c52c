use std::sync::Arc;

use evenkeel_api::{Key, Namespace, Pod};
use evenkeel_cache::Stores;
use jiff::Timestamp;

use crate::{FINALIZER, Progress, memory::Memory};

/// Everything one pass looks at.
#[derive(Debug)]
pub struct Snapshot {
    /// The namespace. `None`: it is gone, or nobody deletes it.
    pub namespace: Option<Arc<Namespace>>,
    /// How far it is.
    pub progress: Progress,
    /// How long its pods may take.
    pub grace: Grace,
}

/// Until when pods may run that have not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Grace {
    /// When the last of those that are being deleted has to have ended.
    pub until: Option<Timestamp>,
    /// Some are not known to be deleted yet.
    pub unmarked: bool,
}

impl Snapshot {
    /// Whether the namespace waits for this loop: others' finalizers are theirs to take away.
    pub(crate) fn ours(&self) -> bool {
        self.namespace.as_ref().is_some_and(|n| n.finalizers.iter().any(|f| f == FINALIZER))
    }

    /// Whether the phase says that it is being deleted.
    pub(crate) fn marked(&self) -> bool {
        self.namespace.as_ref().is_some_and(|n| n.terminating)
    }
}

/// Takes what one pass needs out of one read of the cache.
pub(crate) fn take(stores: &Stores, key: &Key, memory: &Memory) -> Snapshot {
    let namespace = stores.of::<Namespace>().get("", &key.name).filter(|n| n.meta.deleting.is_some()).cloned();
    let Some(namespace) = namespace else {
        memory.forget(key);
        return Snapshot { namespace: None, progress: Progress::default(), grace: Grace::default() };
    };
    let mut grace = Grace::default();
    for pod in stores.of::<Pod>().in_namespace(&key.name).filter(|pod| !pod.terminal()) {
        grace.unmarked |= pod.meta.deleting.is_none();
        grace.until = grace.until.max(pod.meta.deleting);
    }
    Snapshot { progress: memory.recall(&namespace.meta), namespace: Some(namespace), grace }
}
