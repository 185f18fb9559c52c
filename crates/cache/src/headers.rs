use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evenkeel_api::{Key, Meta, Name, Partial, Uid, Version, Watched};

use crate::{AnyStore, BeforeAfter, Entry, Fold, Header, Refused};

/// All objects of a kind that no loop reads, by their headers: what ownership is decided by.
///
/// Most have nobody who owns, holds or deletes them, and there may be hundreds of thousands: of those a name and a uid are kept, about 100
/// bytes together.
#[derive(Debug, Clone, Default)]
pub struct Headers {
    version: Version,
    synced: bool,
    count: usize,
    namespaces: BTreeMap<Name, BTreeMap<Name, Slot>>,
    by_owner: BTreeMap<Uid, BTreeMap<Key, Arc<Meta>>>,
}

#[derive(Debug, Clone)]
enum Slot {
    Plain(Uid),
    Full(Arc<Meta>),
}

impl Slot {
    fn header(&self) -> Header<'_> {
        match self {
            Self::Plain(uid) => Header::Plain(uid),
            Self::Full(meta) => Header::Full(meta),
        }
    }

    /// The object again; a version that nobody kept is 0.
    fn object(self, key: &Key) -> Partial {
        match self {
            Self::Plain(uid) => Partial::Plain { key: key.clone(), uid, version: Version::default() },
            Self::Full(meta) => Partial::Full(meta),
        }
    }
}

impl Headers {
    fn slot(&self, namespace: &str, name: &str) -> Option<&Slot> {
        self.namespaces.get(namespace)?.get(name)
    }

    fn advance(&mut self, version: Version) -> Result<(), Refused> {
        if version < self.version && version != Version::default() {
            return Err(Refused { offered: version, seen: self.version });
        }
        self.version = self.version.max(version);
        Ok(())
    }

    /// Takes an object out.
    fn remove(&mut self, key: &Key) -> Option<Slot> {
        let names = self.namespaces.get_mut(&key.namespace)?;
        let slot = names.remove(&key.name)?;
        if names.is_empty() {
            self.namespaces.remove(&key.namespace);
        }
        self.count -= 1;
        for owner in slot.header().owners() {
            if let Some(owned) = self.by_owner.get_mut(&owner.uid) {
                owned.remove(key);
                if owned.is_empty() {
                    self.by_owner.remove(&owner.uid);
                }
            }
        }
        Some(slot)
    }

    fn insert(&mut self, object: Partial) {
        let (key, slot) = self.indexed(object);
        self.namespaces.entry(key.namespace).or_default().insert(key.name, slot);
        self.count += 1;
    }

    /// What is kept of an object, known to its owners.
    fn indexed(&mut self, object: Partial) -> (Key, Slot) {
        match object {
            Partial::Plain { key, uid, .. } => (key, Slot::Plain(uid)),
            Partial::Full(meta) => {
                let key = meta.key();
                for owner in meta.owners.iter() {
                    self.by_owner.entry(owner.uid.clone()).or_default().insert(key.clone(), meta.clone());
                }
                (key, Slot::Full(meta))
            }
        }
    }

    /// Takes the first list in, sorted and without a name twice. A map that is made of a sorted list is packed; one that grows name by name
    /// stays half empty.
    fn fill(&mut self, objects: Vec<Partial>) -> Vec<BeforeAfter<Partial>> {
        let mut changes = Vec::new();
        let mut namespaces: BTreeMap<Name, Vec<(Name, Slot)>> = BTreeMap::new();
        for object in objects {
            if let Partial::Full(_) = &object {
                changes.push((None, Some(Arc::new(object.clone()))));
            }
            let (key, slot) = self.indexed(object);
            namespaces.entry(key.namespace).or_default().push((key.name, slot));
        }
        self.count = namespaces.values().map(Vec::len).sum();
        self.namespaces = namespaces.into_iter().map(|(namespace, names)| (namespace, names.into_iter().collect())).collect();
        changes
    }

    /// Puts an object in the place of what is there under its name. Nothing is told where there was nothing to say before and is not now.
    fn put(&mut self, object: Partial) -> Vec<BeforeAfter<Partial>> {
        let key = object.key();
        let old = self.remove(&key);
        self.insert(object.clone());
        let new = Some(Arc::new(object));
        match old {
            None => vec![(None, new)],
            Some(old) if new.as_ref().is_some_and(|n| n.uid() != old.header().uid()) => {
                vec![(Some(Arc::new(old.object(&key))), None), (None, new)]
            }
            Some(Slot::Plain(_)) if matches!(new.as_deref(), Some(Partial::Plain { .. })) => Vec::new(),
            Some(old) => vec![(Some(Arc::new(old.object(&key))), new)],
        }
    }

    fn gone(&mut self, key: &Key, uid: Option<&Uid>, version: Version) -> Result<Vec<BeforeAfter<Partial>>, Refused> {
        self.advance(version)?;
        if uid.is_some_and(|uid| self.slot(&key.namespace, &key.name).is_some_and(|s| s.header().uid() != uid)) {
            return Ok(Vec::new());
        }
        Ok(self.remove(key).map(|old| (Some(Arc::new(old.object(key))), None)).into_iter().collect())
    }

    fn replace(
        &mut self,
        version: Version,
        objects: Vec<Partial>,
        unreadable: &BTreeSet<Key>,
        reset: bool,
    ) -> Result<Vec<BeforeAfter<Partial>>, Refused> {
        if version < self.version && !reset {
            return Err(Refused { offered: version, seen: self.version });
        }
        let first = !self.synced;
        (self.version, self.synced) = (version, true);
        if self.namespaces.is_empty() && objects.is_sorted_by(|a, b| a.key() < b.key()) {
            return Ok(self.fill(objects));
        }
        let mut changes = Vec::new();
        if !first {
            let listed: BTreeSet<Key> = objects.iter().map(Watched::key).collect();
            let keys = self.keys().into_iter();
            for key in keys.filter(|key| !listed.contains(key) && !unreadable.contains(key)) {
                changes.extend(self.remove(&key).map(|old| (Some(Arc::new(old.object(&key))), None)));
            }
        }
        for object in objects {
            // That objects are there about which there is nothing to say is told for none of them: a list may have very many.
            let plain = matches!(object, Partial::Plain { .. });
            let told = self.put(object);
            changes.extend(told.into_iter().filter(|(old, _)| !(plain && old.is_none())));
        }
        Ok(changes)
    }
}

impl Fold<Partial> for Headers {
    fn fold(&mut self, entry: Entry<Partial>) -> Result<Vec<BeforeAfter<Partial>>, Refused> {
        match entry {
            Entry::Bookmark(version) => self.advance(version).map(|()| Vec::new()),
            Entry::Put(object) => {
                self.advance(object.version())?;
                Ok(self.put(object))
            }
            Entry::Delete(last) => self.gone(&last.key(), Some(last.uid()), last.version()),
            Entry::Gone { key, uid, version } => self.gone(&key, uid.as_ref(), version),
            Entry::Replace { version, objects } => self.replace(version, objects, &BTreeSet::new(), false),
            Entry::Refill { version, objects, unreadable, reset } => self.replace(version, objects, &unreadable, reset),
        }
    }
}

impl AnyStore for Headers {
    fn version(&self) -> Version {
        self.version
    }
    fn synced(&self) -> bool {
        self.synced
    }
    fn count(&self) -> usize {
        self.count
    }
    fn header(&self, namespace: &str, name: &str) -> Option<Header<'_>> {
        self.slot(namespace, name).map(Slot::header)
    }
    fn dependents<'s>(&'s self, owner: &Uid) -> Box<dyn Iterator<Item = &'s Meta> + 's> {
        match self.by_owner.get(owner) {
            Some(owned) => Box::new(owned.values().map(|meta| &**meta)),
            None => Box::new(std::iter::empty()),
        }
    }
    fn keys(&self) -> Vec<Key> {
        let keys = |(namespace, names): (&Name, &BTreeMap<Name, Slot>)| {
            names.keys().map(|name| Key { namespace: namespace.clone(), name: name.clone() }).collect::<Vec<_>>()
        };
        self.namespaces.iter().flat_map(keys).collect()
    }
    fn each(&self, look: &mut dyn FnMut(&Meta)) {
        let all = self.namespaces.values().flat_map(BTreeMap::values);
        all.filter_map(|slot| slot.header().meta()).for_each(look);
    }
    fn anywhere(&self, name: &str, uid: &Uid) -> Option<Key> {
        let life = |(namespace, names): (&Name, &BTreeMap<Name, Slot>)| {
            let (name, slot) = names.get_key_value(name)?;
            (slot.header().uid() == uid).then(|| Key { namespace: namespace.clone(), name: name.clone() })
        };
        self.namespaces.iter().find_map(life)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(name: &str, uid: &str, version: u64, more: Value) -> Partial {
        let mut meta = json!({"name": name, "namespace": "n", "uid": uid, "resourceVersion": version.to_string()});
        meta.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Partial::read(json!({"metadata": meta}).to_string().as_bytes()).unwrap()
    }

    fn owned(owner: &str) -> Value {
        json!({"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": owner}]})
    }

    fn told(changes: Result<Vec<BeforeAfter<Partial>>, Refused>) -> Vec<(Option<String>, Option<String>)> {
        let uid = |side: Option<Arc<Partial>>| side.map(|o| o.uid().to_string());
        changes.unwrap().into_iter().map(|(old, new)| (uid(old), uid(new))).collect()
    }

    fn uids(texts: [Option<&str>; 2]) -> (Option<String>, Option<String>) {
        let [old, new] = texts.map(|t| t.map(str::to_owned));
        (old, new)
    }

    #[test]
    fn what_has_nothing_to_say_is_kept_and_told_of_only_when_it_goes() {
        let mut store = Headers::default();
        let list = vec![object("a", "1", 5, json!({})), object("b", "2", 6, owned("x"))];
        let first = told(store.fold(Entry::Replace { version: Version(9), objects: list }));
        assert_eq!(first, [uids([None, Some("2")])]);
        assert_eq!((store.count(), store.synced(), store.version()), (2, true, Version(9)));
        assert!(matches!(store.header("n", "a"), Some(Header::Plain(_))));
        assert_eq!(told(store.fold(Entry::Put(object("a", "1", 10, json!({}))))), []);
        assert_eq!(told(store.fold(Entry::Put(object("c", "3", 11, json!({}))))), [uids([None, Some("3")])]);
        assert_eq!(told(store.fold(Entry::Delete(object("a", "1", 12, json!({}))))), [uids([Some("1"), None])]);
        assert!(store.header("n", "a").is_none());
    }

    #[test]
    fn dependents_are_found_by_the_uid_of_their_owner_and_follow_its_changes() {
        let mut store = Headers::default();
        store.fold(Entry::Replace { version: Version(9), objects: vec![object("b", "2", 6, owned("x"))] }).unwrap();
        let names = |store: &Headers, owner: &str| store.dependents(&Uid::new(owner)).map(|m| m.name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&store, "x"), ["b"]);
        store.fold(Entry::Put(object("b", "2", 10, owned("y")))).unwrap();
        assert_eq!((names(&store, "x"), names(&store, "y")), (vec![], vec!["b".to_owned()]));
        store.fold(Entry::Put(object("b", "2", 11, json!({})))).unwrap();
        assert!(names(&store, "y").is_empty() && store.by_owner.is_empty());
    }

    #[test]
    fn a_new_life_of_a_name_is_two_changes_and_old_news_are_refused() {
        let mut store = Headers::default();
        store.fold(Entry::Replace { version: Version(9), objects: vec![object("a", "1", 5, json!({}))] }).unwrap();
        let reborn = told(store.fold(Entry::Put(object("a", "2", 12, owned("x")))));
        assert_eq!(reborn, [uids([Some("1"), None]), uids([None, Some("2")])]);
        assert!(store.fold(Entry::Put(object("a", "1", 11, json!({})))).is_err());
        assert_eq!(told(store.fold(Entry::Gone { key: Key::new("n", "a"), uid: Some(Uid::new("1")), version: Version(13) })), []);
        assert_eq!(store.count(), 1);
    }

    #[test]
    fn a_second_list_tells_what_went_and_keeps_what_cannot_be_read() {
        let mut store = Headers::default();
        let list = vec![object("a", "1", 5, json!({})), object("b", "2", 6, owned("x")), object("c", "3", 7, json!({}))];
        store.fold(Entry::Replace { version: Version(9), objects: list }).unwrap();
        let unreadable = BTreeSet::from([Key::new("n", "c")]);
        let second = store.fold(Entry::Refill { version: Version(20), objects: vec![], unreadable, reset: false });
        assert_eq!(told(second), [uids([Some("1"), None]), uids([Some("2"), None])]);
        assert_eq!(store.keys(), [Key::new("n", "c")]);
        let older = |reset| Entry::Refill { version: Version(7), objects: vec![], unreadable: BTreeSet::new(), reset };
        assert!(store.fold(older(false)).is_err());
        assert_eq!(told(store.fold(older(true))), [uids([Some("3"), None])]);
    }
}
