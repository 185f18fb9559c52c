//! A server of headers, imagined: what a real one makes of the collector's requests, as far as ownership is concerned (garbage-collection A1).
//! The question "what if" is answered by the loop against such a server, and the loop's own scenarios play on it.

use std::{collections::BTreeMap, sync::Arc};

use evenkeel_api::{FOREGROUND, Key, Kind, Meta, Name, ORPHAN, OwnerReference, Partial, Version};
use evenkeel_cache::Entry;
use evenkeel_plan::{Answer, Done, Failure, FailureKind, PatchForm, Propagation, Target, Write};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Headers of objects by kind, namespace and name, and the log of what happened to them.
///
/// Every object goes as soon as nothing holds it: a pod, too, which on a real server has its grace period.
#[derive(Debug, Default)]
pub struct Server {
    objects: BTreeMap<(Kind, Key), Arc<Meta>>,
    news: Vec<(Kind, Entry<Partial>)>,
    version: u64,
}

impl Server {
    /// Stores an object in a new version, or takes it away when it is being deleted and nobody holds it.
    pub fn put(&mut self, kind: Kind, mut meta: Meta) {
        self.version += 1;
        meta.version = Version(self.version);
        let (meta, place) = (Arc::new(meta.clone()), (kind, meta.key()));
        if meta.deleting.is_some() && meta.finalizers.is_empty() {
            self.objects.remove(&place);
            self.news.push((kind, Entry::Delete(Partial::Full(meta))));
        } else {
            self.news.push((kind, Entry::Put(partial(&meta))));
            self.objects.insert(place, meta);
        }
    }

    /// One object.
    pub fn get(&self, kind: Kind, key: &Key) -> Option<&Arc<Meta>> {
        self.objects.get(&(kind, key.clone()))
    }

    /// All objects, by kind, namespace and name.
    pub fn objects(&self) -> impl Iterator<Item = (Kind, &Arc<Meta>)> {
        self.objects.iter().map(|((kind, _), meta)| (*kind, meta))
    }

    /// The version of the last write.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What has happened since this was asked last.
    pub fn take_news(&mut self) -> Vec<(Kind, Entry<Partial>)> {
        std::mem::take(&mut self.news)
    }

    /// What a server makes of a DELETE (garbage-collection A1). Nothing, where there is no such object.
    pub fn delete(&mut self, kind: Kind, key: &Key, propagation: Propagation, now: Timestamp) {
        let Some(meta) = self.get(kind, key) else { return };
        let held = match propagation {
            Propagation::Background => None,
            Propagation::Foreground => Some(FOREGROUND),
            Propagation::Orphan => Some(ORPHAN),
        };
        let others = meta.finalizers.iter().filter(|f| ***f != *ORPHAN && ***f != *FOREGROUND).cloned();
        let finalizers = others.chain(held.map(Name::from)).collect();
        let deleting = meta.deleting.or(Some(now));
        self.put(kind, Meta { finalizers, deleting, ..(**meta).clone() });
    }

    /// Does what the collector asks for, and answers.
    pub fn answer(&mut self, write: &Write, now: Timestamp) -> Done {
        let stored = self.get(write.kind(), write.key()).cloned();
        match write {
            Write::Look { .. } => stored.map_or(Done::AlreadyGone, Done::Found),
            Write::Delete { target, propagation, .. } => match stored {
                Some(meta) if meta.uid == target.uid => {
                    if let Some(failure) = outdated(target, &meta) {
                        return failure;
                    }
                    let propagation = propagation.unwrap_or_else(|| by_default(target.kind, &meta));
                    self.delete(target.kind, &target.key, propagation, now);
                    self.written(target)
                }
                _ => Done::AlreadyGone,
            },
            Write::Patch { target, form, body, .. } => match stored {
                None => failed(FailureKind::NotFound, "there is no such object"),
                Some(meta) if meta.uid != target.uid => failed(FailureKind::Invalid, "the uid cannot be changed"),
                Some(meta) => {
                    if let Some(failure) = outdated(target, &meta) {
                        return failure;
                    }
                    match patched(&meta, *form, &body["metadata"]) {
                        Some(new) => {
                            self.put(target.kind, new);
                            self.written(target)
                        }
                        None => failed(FailureKind::Invalid, "the patch cannot be read"),
                    }
                }
            },
            _ => failed(FailureKind::NotAllowed, "headers are all there is here"),
        }
    }

    fn written(&self, target: &Target) -> Done {
        let left = self.get(target.kind, &target.key);
        Done::Written(Answer { uid: target.uid.clone(), version: left.map(|meta| meta.version), gone: left.is_none() })
    }
}

/// How the dependents of an object go when its DELETE does not say (garbage-collection A1).
pub fn by_default(kind: Kind, meta: &Meta) -> Propagation {
    let orphaned = [("", "v1", "replicationcontrollers"), ("batch", "v1", "jobs")];
    match () {
        () if meta.held_by(ORPHAN) => Propagation::Orphan,
        () if meta.held_by(FOREGROUND) => Propagation::Foreground,
        () if orphaned.contains(&(kind.group, kind.version, kind.plural)) => Propagation::Orphan,
        () => Propagation::Background,
    }
}

/// The object as a watch of headers tells of it.
fn partial(meta: &Arc<Meta>) -> Partial {
    if meta.owners.is_empty() && meta.finalizers.is_empty() && meta.deleting.is_none() {
        return Partial::Plain { key: meta.key(), uid: meta.uid.clone(), version: meta.version };
    }
    Partial::Full(meta.clone())
}

fn outdated(target: &Target, meta: &Meta) -> Option<Done> {
    target.version.filter(|version| *version != meta.version).map(|_| failed(FailureKind::Conflict, "the object has been changed"))
}

fn failed(kind: FailureKind, message: &str) -> Done {
    Done::Failed(Failure { kind, message: message.to_owned() })
}

/// The header after a patch of its finalizers or owner references: all of them, or (strategic) references taken away by uid.
fn patched(meta: &Meta, form: PatchForm, patch: &Value) -> Option<Meta> {
    let mut new = meta.clone();
    if let Some(left) = patch.get("finalizers") {
        let left = left.as_array().map(Vec::as_slice).unwrap_or_default();
        new.finalizers = left.iter().map(|f| f.as_str().map(Name::from)).collect::<Option<_>>()?;
    }
    let Some(references) = patch.get("ownerReferences") else { return Some(new) };
    new.owners = match form {
        PatchForm::Strategic => {
            let entries = references.as_array()?;
            let gone = |owner: &&OwnerReference| entries.iter().any(|e| e["$patch"] == "delete" && e["uid"] == owner.uid.to_string());
            meta.owners.iter().filter(|owner| !gone(owner)).cloned().collect()
        }
        // Read as they are read of every object.
        PatchForm::Merge => {
            let header = json!({"name": &*meta.name, "uid": meta.uid.to_string(), "resourceVersion": "1", "ownerReferences": references});
            Meta::read(json!({"metadata": header}).to_string().as_bytes()).ok()?.owners
        }
    };
    Some(new)
}
