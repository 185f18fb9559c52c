use std::{
    collections::BTreeMap,
    hash::{BuildHasher, Hash},
    sync::{Arc, Mutex, OnceLock, Weak},
};

use crate::{Name, meta::OwnerReference};

/// Labels of one object, sorted by key. Shared: all pods of a ReplicaSet point at one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Labels(Box<[(Name, Name)]>);

impl Labels {
    /// From a map.
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let sorted: BTreeMap<&str, &str> = pairs.into_iter().collect();
        Self(sorted.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.binary_search_by(|(k, _)| (**k).cmp(key)).ok().map(|at| &*self.0[at].1)
    }

    /// All pairs, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (&**k, &**v))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every pair of `other` is here too.
    pub fn contains(&self, other: &Labels) -> bool {
        other.iter().all(|(k, v)| self.get(k) == Some(v))
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Labels {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Self {
        Self::new(pairs)
    }
}

/// Keeps one copy of values that many entries share (label sets, owner lists, namespaces, node names).
///
/// Entries hold the only strong references; a value that nobody holds goes at the next sweep, which runs when the table has doubled,
/// so the table is bounded by twice the number of distinct values alive.
#[derive(Debug, Default)]
pub struct Pool {
    labels: Mutex<Table<Labels>>,
    owners: Mutex<Table<[OwnerReference]>>,
    finalizers: Mutex<Table<[Name]>>,
    names: Mutex<Table<str>>,
}

#[derive(Debug)]
struct Table<T: ?Sized> {
    buckets: BTreeMap<u64, Vec<Weak<T>>>,
    held: usize,
    sweep_at: usize,
}

impl<T: ?Sized> Default for Table<T> {
    fn default() -> Self {
        Self { buckets: BTreeMap::new(), held: 0, sweep_at: 1024 }
    }
}

impl<T: ?Sized + Hash + Eq> Table<T> {
    fn share<O>(&mut self, value: O) -> Arc<T>
    where
        O: std::borrow::Borrow<T> + Into<Arc<T>>,
    {
        let bucket = self.buckets.entry(fingerprint(value.borrow())).or_default();
        if let Some(found) = bucket.iter().filter_map(Weak::upgrade).find(|have| **have == *value.borrow()) {
            return found;
        }
        let made: Arc<T> = value.into();
        bucket.push(Arc::downgrade(&made));
        self.held += 1;
        if self.held >= self.sweep_at {
            self.buckets.retain(|_, bucket| {
                bucket.retain(|weak| weak.strong_count() > 0);
                !bucket.is_empty()
            });
            self.held = self.buckets.values().map(Vec::len).sum();
            self.sweep_at = (2 * self.held).max(1024);
        }
        made
    }
}

/// A fixed-key hash: the order of buckets never depends on chance.
fn fingerprint(value: &(impl Hash + ?Sized)) -> u64 {
    std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default().hash_one(value)
}

impl Pool {
    /// The process-wide pool: sharing is only a saving, never a meaning, so one serves every cache.
    pub fn shared() -> &'static Pool {
        static POOL: OnceLock<Pool> = OnceLock::new();
        POOL.get_or_init(Pool::default)
    }

    /// One copy of `labels`.
    pub fn labels(&self, labels: Labels) -> Arc<Labels> {
        self.labels.lock().unwrap_or_else(|e| e.into_inner()).share(labels)
    }

    /// One copy of an owner list.
    pub fn owners(&self, owners: Vec<OwnerReference>) -> Arc<[OwnerReference]> {
        self.owners.lock().unwrap_or_else(|e| e.into_inner()).share(owners)
    }

    /// One copy of a list of finalizers.
    pub fn finalizers(&self, finalizers: Vec<Name>) -> Arc<[Name]> {
        self.finalizers.lock().unwrap_or_else(|e| e.into_inner()).share(finalizers)
    }

    /// One copy of a text.
    pub fn name(&self, text: &str) -> Name {
        self.names.lock().unwrap_or_else(|e| e.into_inner()).share(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_one_copy_and_dead_ones_go() {
        let pool = Pool::default();
        let a = pool.labels(Labels::new([("a", "1"), ("b", "2")]));
        let b = pool.labels(Labels::new([("b", "2"), ("a", "1")]));
        assert!(Arc::ptr_eq(&a, &b));
        for n in 0..10_000 {
            drop(pool.name(&n.to_string()));
        }
        assert!(pool.names.lock().unwrap().held <= 1024);
    }

    #[test]
    fn a_set_contains_its_parts() {
        let all = Labels::new([("a", "1"), ("b", "2")]);
        assert!(all.contains(&Labels::new([("b", "2")])));
        assert!(!all.contains(&Labels::new([("b", "3")])));
        assert!(all.contains(&Labels::default()));
    }
}
