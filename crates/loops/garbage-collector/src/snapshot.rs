use std::collections::{BTreeMap, BTreeSet};

use evenkeel_api::{FOREGROUND, Key, Kind, Meta, ORPHAN};
use evenkeel_cache::Stores;
use evenkeel_plan::PatchForm;

use crate::{
    facts::Facts,
    interlock::Admission,
    ring,
    standing::{self, Owner},
    work::{key_of, object_of},
};

/// Where custom resources are defined.
const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// Everything one pass looks at.
#[derive(Debug)]
pub struct Snapshot {
    /// The key.
    pub key: Key,
    /// The object, where there is something to say about it.
    pub object: Option<Object>,
    /// Its owners, in the object's order. Not judged while it is being deleted.
    pub owners: Vec<Owner>,
    /// What its own deletion waits for.
    pub held: Held,
    /// Whether anything depends on it, and whether all that does waits for others already.
    pub dependents: Dependents,
    /// Its deletion met another version: it has to be looked at before another try.
    pub confirms: bool,
    /// The live object after such a look.
    pub met: Option<Meta>,
    /// How references of the object, or of its dependents, are taken away, by kind.
    pub forms: BTreeMap<Kind, PatchForm>,
    /// Whether its deletion is within the budget.
    pub admission: Admission,
    /// Kinds whose first list is under way: dependents may be missing.
    pub unlisted: usize,
}

impl Snapshot {
    pub(crate) fn form(&self, kind: Kind) -> PatchForm {
        self.forms.get(&kind).copied().unwrap_or(PatchForm::Merge)
    }
}

/// The object that a pass is about.
#[derive(Debug, Clone)]
pub struct Object {
    /// Its kind.
    pub kind: Kind,
    /// Its header.
    pub meta: Meta,
}

/// What the collector has to do before an object that is being deleted can go.
#[derive(Debug, Clone, Default)]
pub enum Held {
    /// Nothing.
    #[default]
    Not,
    /// Take the references of these dependents away, then the finalizer `orphan`.
    ByOrphans(Vec<(Kind, Meta)>),
    /// Wait until no dependent blocks any more, then take the finalizer `foregroundDeletion` away.
    ByDependents {
        /// Whether any still does.
        blocked: bool,
    },
}

/// What depends on an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dependents {
    /// Nothing.
    None,
    /// Something, and all of it waits for its own dependents already.
    Waiting,
    /// Something.
    Some,
}

/// Takes what one pass needs out of one read of the cache.
pub(crate) fn take(stores: &Stores, key: &Key, facts: &Facts) -> Snapshot {
    facts.as_of(stores);
    let mut snap = Snapshot {
        key: key.clone(),
        object: None,
        owners: Vec::new(),
        held: Held::Not,
        dependents: Dependents::None,
        confirms: false,
        met: None,
        forms: BTreeMap::new(),
        admission: Admission::default(),
        unlisted: stores.mapping().awaited.len() + usize::from(stores.mapping().is_empty()),
    };
    let Some((kind, at)) = object_of(stores, key) else { return snap };
    let header = stores.any(kind).and_then(|store| store.header(&at.namespace, &at.name)).and_then(|header| header.meta());
    let Some(meta) = header else { return snap };
    snap.object = Some(Object { kind, meta: meta.clone() });
    if meta.deleting.is_some() {
        snap.held = held(stores, kind, meta);
        if let Held::ByOrphans(dependents) = &snap.held {
            snap.forms = dependents.iter().map(|(kind, _)| *kind).collect::<BTreeSet<_>>().into_iter().map(|k| (k, form(stores, facts, k))).collect();
        }
        return snap;
    }
    snap.forms.insert(kind, form(stores, facts, kind));
    snap.owners = meta.owners.iter().map(|reference| standing::judge(stores, facts, meta, reference)).collect();
    snap.dependents = dependents(stores, meta);
    if let Some(met) = facts.met(key) {
        (snap.confirms, snap.met) = (met.is_none(), met);
    }
    debug_assert_eq!(key_of(kind, &at), *key);
    snap
}

/// Strategic patches name just what goes, so nobody's write in between makes them wrong; custom resources do not take them (A10, A17.14).
fn form(stores: &Stores, facts: &Facts, kind: Kind) -> PatchForm {
    let defined = stores.mapping().called(DEFINITIONS).and_then(|kind| stores.any(kind));
    let custom = defined.is_some_and(|definitions| definitions.header("", &kind.group_resource()).is_some());
    if custom || facts.merge_only(kind) { PatchForm::Merge } else { PatchForm::Strategic }
}

fn held(stores: &Stores, kind: Kind, meta: &Meta) -> Held {
    if meta.held_by(ORPHAN) {
        return Held::ByOrphans(stores.dependents(&meta.uid).map(|(kind, meta)| (kind, meta.clone())).collect());
    }
    if meta.held_by(FOREGROUND) { Held::ByDependents { blocked: ring::blocked(stores, kind, meta) } } else { Held::Not }
}

fn dependents(stores: &Stores, meta: &Meta) -> Dependents {
    let mut all = stores.dependents(&meta.uid).peekable();
    if all.peek().is_none() {
        return Dependents::None;
    }
    if all.all(|(_, d)| d.deleting.is_some() && d.held_by(FOREGROUND)) { Dependents::Waiting } else { Dependents::Some }
}
