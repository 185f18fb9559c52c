use std::{
    borrow::Borrow,
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evenkeel_api::{Key, Labels, Name, Object, Operator, Selector, Uid, Version};

/// One entry of a kind's ordered log.
#[derive(Debug)]
pub enum Entry<T> {
    /// A complete list at this version takes the place of everything before.
    Replace {
        /// `metadata.resourceVersion` of the list.
        version: Version,
        /// All objects at that version.
        objects: Vec<T>,
    },
    /// An object came or changed.
    Put(T),
    /// An object went; its last state, with the version of the deletion.
    Delete(T),
    /// Nothing changed up to this version.
    Bookmark(Version),
    /// [`Entry::Replace`] by a list that is not perfect.
    Refill {
        /// `metadata.resourceVersion` of the list.
        version: Version,
        /// All objects at that version that could be read.
        objects: Vec<T>,
        /// Objects that are there and could not be read: the last known state, if any, stays.
        unreadable: BTreeSet<Key>,
        /// Take it even if it is older than what was seen: the server was restored from a backup.
        reset: bool,
    },
    /// An object went, and its last state cannot be read.
    Gone {
        /// Its namespace and name.
        key: Key,
        /// Its uid, where readable; another life of the name stays.
        uid: Option<Uid>,
        /// Version of the deletion.
        version: Version,
    },
}

/// A log entry that would take the store back in time (reliability 1, rows 65 and 66).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("version {offered} is older than {seen}, which was seen already")]
pub struct Refused {
    /// What came.
    pub offered: Version,
    /// The highest version seen.
    pub seen: Version,
}

/// All objects of one kind, as of one version, with indexes by name, owner and label set.
///
/// Entries are immutable and shared. Every index holds pointers into the entries and no text of its own.
#[derive(Debug)]
pub struct Store<T> {
    version: Version,
    synced: bool,
    objects: BTreeSet<ByName<T>>,
    by_owner: BTreeMap<Uid, BTreeSet<ByName<T>>>,
    namespaces: BTreeMap<Name, LabelIndex<T>>,
}

/// An object before and after one step of the log; at least one of them is there.
pub type BeforeAfter<T> = (Option<Arc<T>>, Option<Arc<T>>);

/// A label: key and value.
type Pair = (Box<str>, Box<str>);

/// Objects of one namespace by label set. A set shared by ten thousand pods is looked at once.
#[derive(Debug)]
struct LabelIndex<T> {
    sets: BTreeMap<Arc<Labels>, Bucket<T>>,
    pairs: BTreeMap<Pair, BTreeSet<Arc<Labels>>>,
}

#[derive(Debug)]
struct Bucket<T> {
    orphans: BTreeSet<ByName<T>>,
    owned: BTreeSet<ByName<T>>,
}

impl<T: Object> Default for Store<T> {
    fn default() -> Self {
        Self {
            version: Version::default(),
            synced: false,
            objects: BTreeSet::new(),
            by_owner: BTreeMap::new(),
            namespaces: BTreeMap::new(),
        }
    }
}

impl<T: Object> Store<T> {
    /// The highest version that the log has reached; 0 before the first list.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether the first complete list is in.
    pub fn synced(&self) -> bool {
        self.synced
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there are no objects.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// All objects by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.objects.iter().map(|o| &o.0)
    }

    /// One object.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<T>> {
        self.objects.get(&(namespace, name) as &dyn Named).map(|o| &o.0)
    }

    /// All objects that have an owner reference with this uid, by name.
    pub fn owned_by<'s>(&'s self, owner: &Uid) -> impl Iterator<Item = &'s Arc<T>> + use<'s, T> {
        self.by_owner.get(owner).into_iter().flatten().map(|o| &o.0)
    }

    /// All objects whose controller reference has this uid, by name.
    pub fn controlled_by<'s>(&'s self, owner: &'s Uid) -> impl Iterator<Item = &'s Arc<T>> {
        self.owned_by(owner).filter(move |o| o.meta().controlled_by(owner))
    }

    /// Objects of a namespace that have no controller and match `selector`.
    pub fn orphans(&self, namespace: &str, selector: &Selector) -> Vec<Arc<T>> {
        self.buckets(namespace, selector).flat_map(|b| &b.orphans).map(|o| o.0.clone()).collect()
    }

    /// All objects of a namespace that match `selector`.
    pub fn matching(&self, namespace: &str, selector: &Selector) -> Vec<Arc<T>> {
        self.buckets(namespace, selector).flat_map(|b| b.owned.iter().chain(&b.orphans)).map(|o| o.0.clone()).collect()
    }

    /// All namespaces that have objects.
    pub fn namespaces(&self) -> impl Iterator<Item = &Name> {
        self.namespaces.keys()
    }

    /// All objects of a namespace.
    pub fn in_namespace<'s>(&'s self, namespace: &'s str) -> impl Iterator<Item = &'s Arc<T>> {
        self.objects
            .range::<dyn Named, _>((std::ops::Bound::Included(&(namespace, "") as &dyn Named), std::ops::Bound::Unbounded))
            .map(|o| &o.0)
            .take_while(move |o| *o.meta().namespace == *namespace)
    }

    fn buckets<'s>(&'s self, namespace: &str, selector: &'s Selector) -> impl Iterator<Item = &'s Bucket<T>> {
        let index = self.namespaces.get(namespace);
        let narrow = selector.requirements.iter().find(|r| r.operator == Operator::In);
        let candidates: Vec<&Arc<Labels>> = match (index, narrow) {
            (None, _) => Vec::new(),
            (Some(index), Some(r)) => {
                r.values.iter().filter_map(|v| index.pairs.get(&(r.key.as_str().into(), v.as_str().into()))).flatten().collect()
            }
            (Some(index), None) => index.sets.keys().collect(),
        };
        candidates.into_iter().filter(|labels| selector.matches(labels)).filter_map(move |labels| index?.sets.get(labels))
    }

    /// Folds one entry in and tells what changed, in order. Deletions carry the last known object.
    pub fn apply(&mut self, entry: Entry<T>) -> Result<Vec<BeforeAfter<T>>, Refused> {
        match entry {
            Entry::Bookmark(version) => {
                self.advance(version)?;
                Ok(Vec::new())
            }
            Entry::Put(object) => {
                self.advance(object.meta().version)?;
                Ok(self.put(object))
            }
            Entry::Delete(last) => {
                let meta = last.meta();
                self.gone(&meta.namespace, &meta.name, Some(&meta.uid), meta.version)
            }
            Entry::Replace { version, objects } => self.replace(version, objects, &BTreeSet::new(), false),
            Entry::Refill { version, objects, unreadable, reset } => self.replace(version, objects, &unreadable, reset),
            Entry::Gone { key, uid, version } => self.gone(&key.namespace, &key.name, uid.as_ref(), version),
        }
    }

    /// Takes an object out; with a uid only that life of the name.
    fn gone(&mut self, namespace: &str, name: &str, uid: Option<&Uid>, version: Version) -> Result<Vec<BeforeAfter<T>>, Refused> {
        self.advance(version)?;
        let known = self.get(namespace, name).filter(|o| uid.is_none_or(|uid| o.meta().uid == *uid)).cloned();
        known.iter().for_each(|old| self.remove(old));
        Ok(known.into_iter().map(|old| (Some(old), None)).collect())
    }

    fn replace(
        &mut self,
        version: Version,
        objects: Vec<T>,
        unreadable: &BTreeSet<Key>,
        reset: bool,
    ) -> Result<Vec<BeforeAfter<T>>, Refused> {
        if version < self.version && !reset {
            return Err(Refused { offered: version, seen: self.version });
        }
        let back = version < self.version;
        self.version = version;
        self.synced = true;
        let listed: BTreeSet<(Name, Name, Uid)> =
            objects.iter().map(|o| (o.meta().namespace.clone(), o.meta().name.clone(), o.meta().uid.clone())).collect();
        let gone: Vec<Arc<T>> = self
            .iter()
            .filter(|o| !listed.contains(&(o.meta().namespace.clone(), o.meta().name.clone(), o.meta().uid.clone())))
            .filter(|o| unreadable.is_empty() || !unreadable.contains(&o.meta().key()))
            .cloned()
            .collect();
        let mut changes = Vec::new();
        for old in gone {
            self.remove(&old);
            changes.push((Some(old), None));
        }
        for object in objects {
            // After a step back, versions are given out a second time and say nothing about which state is newer.
            let known = self.get(&object.meta().namespace, &object.meta().name).filter(|_| back).cloned();
            if let Some(old) = known {
                let new = Arc::new(object);
                self.remove(&old);
                self.insert(&new);
                changes.push((Some(old), Some(new)));
            } else {
                changes.extend(self.put(object));
            }
        }
        Ok(changes)
    }

    /// A log never repeats a version that it has passed: what comes late is refused, not applied.
    fn advance(&mut self, version: Version) -> Result<(), Refused> {
        if version <= self.version && version != Version::default() {
            return if version == self.version { Ok(()) } else { Err(Refused { offered: version, seen: self.version }) };
        }
        self.version = version;
        Ok(())
    }

    fn put(&mut self, object: T) -> Vec<BeforeAfter<T>> {
        let new = Arc::new(object);
        let old = self.get(&new.meta().namespace, &new.meta().name).cloned();
        if let Some(old) = &old {
            if old.meta().uid == new.meta().uid && old.meta().version >= new.meta().version {
                return Vec::new();
            }
            self.remove(old);
        }
        self.insert(&new);
        match old {
            Some(old) if old.meta().uid != new.meta().uid => vec![(Some(old), None), (None, Some(new))],
            old => vec![(old, Some(new))],
        }
    }

    fn insert(&mut self, object: &Arc<T>) {
        let meta = object.meta();
        self.objects.insert(ByName(object.clone()));
        for owner in meta.owners.iter() {
            self.by_owner.entry(owner.uid.clone()).or_default().insert(ByName(object.clone()));
        }
        let index =
            self.namespaces.entry(meta.namespace.clone()).or_insert_with(|| LabelIndex { sets: BTreeMap::new(), pairs: BTreeMap::new() });
        let bucket = index.sets.entry(meta.labels.clone()).or_insert_with(|| {
            for (k, v) in meta.labels.iter() {
                index.pairs.entry((k.into(), v.into())).or_default().insert(meta.labels.clone());
            }
            Bucket { orphans: BTreeSet::new(), owned: BTreeSet::new() }
        });
        let side = if meta.controller().is_some() { &mut bucket.owned } else { &mut bucket.orphans };
        side.insert(ByName(object.clone()));
    }

    fn remove(&mut self, object: &Arc<T>) {
        let meta = object.meta();
        let entry = ByName(object.clone());
        self.objects.remove(&entry);
        for owner in meta.owners.iter() {
            if let Some(set) = self.by_owner.get_mut(&owner.uid) {
                set.remove(&entry);
                if set.is_empty() {
                    self.by_owner.remove(&owner.uid);
                }
            }
        }
        let Some(index) = self.namespaces.get_mut(&meta.namespace) else { return };
        if let Some(bucket) = index.sets.get_mut(&meta.labels) {
            bucket.owned.remove(&entry);
            bucket.orphans.remove(&entry);
            if bucket.owned.is_empty() && bucket.orphans.is_empty() {
                index.sets.remove(&meta.labels);
                for (k, v) in meta.labels.iter() {
                    let pair = (k.into(), v.into());
                    if let Some(sets) = index.pairs.get_mut(&pair) {
                        sets.remove(&meta.labels);
                        if sets.is_empty() {
                            index.pairs.remove(&pair);
                        }
                    }
                }
            }
        }
        if index.sets.is_empty() {
            self.namespaces.remove(&meta.namespace);
        }
    }
}

/// An entry ordered by namespace and name, without a key beside it.
#[derive(Debug)]
struct ByName<T>(Arc<T>);

trait Named {
    fn named(&self) -> (&str, &str);
}

impl Named for (&str, &str) {
    fn named(&self) -> (&str, &str) {
        *self
    }
}

impl<T: Object> Named for ByName<T> {
    fn named(&self) -> (&str, &str) {
        let meta = self.0.meta();
        (&meta.namespace, &meta.name)
    }
}

impl<'a, T: Object> Borrow<dyn Named + 'a> for ByName<T> {
    fn borrow(&self) -> &(dyn Named + 'a) {
        self
    }
}

impl PartialEq for dyn Named + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.named() == other.named()
    }
}
impl Eq for dyn Named + '_ {}
impl PartialOrd for dyn Named + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for dyn Named + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.named().cmp(&other.named())
    }
}
impl<T: Object> PartialEq for ByName<T> {
    fn eq(&self, other: &Self) -> bool {
        self.named() == other.named()
    }
}
impl<T: Object> Eq for ByName<T> {}
impl<T: Object> PartialOrd for ByName<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<T: Object> Ord for ByName<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.named().cmp(&other.named())
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_api::Pod;
    use serde_json::json;

    use super::*;

    fn pod(name: &str, uid: &str, version: u64) -> Pod {
        let json = json!({"metadata": {"name": name, "namespace": "n", "uid": uid, "resourceVersion": version.to_string()}});
        Pod::decode(json.to_string().as_bytes()).unwrap()
    }

    fn state(store: &Store<Pod>) -> Vec<(String, u64)> {
        store.iter().map(|p| (p.meta.name.to_string(), p.meta.version.0)).collect()
    }

    fn filled() -> Store<Pod> {
        let mut store = Store::default();
        store.apply(Entry::Replace { version: Version(9), objects: vec![pod("a", "1", 5), pod("b", "2", 9)] }).unwrap();
        store
    }

    #[test]
    fn what_a_list_shows_but_nobody_can_read_stays_as_it_was_known() {
        let mut store = filled();
        let unreadable = BTreeSet::from([Key::new("n", "b"), Key::new("n", "never-seen")]);
        let changes = store.apply(Entry::Refill { version: Version(12), objects: vec![], unreadable, reset: false }).unwrap();
        assert_eq!(changes.len(), 1);
        assert_eq!(state(&store), [("b".to_owned(), 9)]);
    }

    /// reliability 1, row 65; F8
    #[test]
    fn only_a_reset_takes_a_store_back() {
        let mut store = filled();
        let older = |reset| Entry::Refill { version: Version(7), objects: vec![pod("a", "1", 4)], unreadable: BTreeSet::new(), reset };
        assert_eq!(store.apply(older(false)).unwrap_err(), Refused { offered: Version(7), seen: Version(9) });
        assert_eq!(state(&store).len(), 2);
        assert_eq!(store.apply(older(true)).unwrap().len(), 2);
        assert_eq!((state(&store), store.version()), (vec![("a".to_owned(), 4)], Version(7)));
    }

    #[test]
    fn an_unreadable_deletion_takes_only_the_life_it_is_about() {
        let mut store = filled();
        let gone = |uid: Option<&str>, version| Entry::Gone { key: Key::new("n", "a"), uid: uid.map(Uid::new), version: Version(version) };
        assert!(store.apply(gone(Some("other"), 10)).unwrap().is_empty());
        assert!(store.apply(gone(Some("1"), 8)).is_err());
        assert_eq!(store.apply(gone(None, 11)).unwrap().len(), 1);
        assert_eq!((state(&store), store.version()), (vec![("b".to_owned(), 9)], Version(11)));
    }
}
