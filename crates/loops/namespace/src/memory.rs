//! How far each namespace is that is being deleted. Forgetting it begins its chain of passes anew.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use evenkeel_api::{Key, Meta, Uid};

use crate::Progress;

#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<BTreeMap<Key, (Uid, Progress)>>);

impl Memory {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<Key, (Uid, Progress)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries().len()
    }

    pub(crate) fn forget(&self, key: &Key) {
        self.entries().remove(key);
    }

    /// How far this life of the name is.
    pub(crate) fn recall(&self, meta: &Meta) -> Progress {
        self.entries().get(&meta.key()).filter(|(uid, _)| *uid == meta.uid).map(|(_, progress)| progress.clone()).unwrap_or_default()
    }

    pub(crate) fn keep(&self, meta: &Meta, progress: Progress) {
        if progress == Progress::default() {
            self.entries().remove(&meta.key());
        } else {
            self.entries().insert(meta.key(), (meta.uid.clone(), progress));
        }
    }
}
