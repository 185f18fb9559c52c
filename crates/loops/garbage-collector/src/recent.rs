//! A map with an end: what was touched longest ago is forgotten.

use std::collections::BTreeMap;

/// Keys and values, at most so many.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    entries: BTreeMap<K, (u64, V)>,
    by_age: BTreeMap<u64, K>,
    clock: u64,
    most: usize,
}

impl<K: Ord + Clone, V> Recent<K, V> {
    pub(crate) fn new(most: usize) -> Self {
        Self { entries: BTreeMap::new(), by_age: BTreeMap::new(), clock: 0, most }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.remove(&key);
        self.clock += 1;
        self.by_age.insert(self.clock, key.clone());
        self.entries.insert(key, (self.clock, value));
        while self.entries.len() > self.most {
            let Some((_, oldest)) = self.by_age.pop_first() else { break };
            self.entries.remove(&oldest);
        }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// The value of a key, which is then the one touched last.
    pub(crate) fn touch(&mut self, key: &K) -> Option<&V> {
        let (age, value) = self.entries.get_mut(key)?;
        self.clock += 1;
        if let Some(key) = self.by_age.remove(age) {
            self.by_age.insert(self.clock, key);
        }
        *age = self.clock;
        Some(value)
    }

    pub(crate) fn remove(&mut self, key: &K) {
        if let Some((age, _)) = self.entries.remove(key) {
            self.by_age.remove(&age);
        }
    }
}
