use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evenkeel_api::{FOREGROUND, Key, Kind, Meta, ORPHAN};
use evenkeel_cache::Stores;
use evenkeel_plan::PatchForm;
use jiff::Timestamp;

use crate::{
    BATCH,
    facts::Facts,
    interlock::Admission,
    ring,
    standing::{self, Owner, Standing},
    telling::Told,
    work::{key_of, object_of},
};

/// Where custom resources are defined: group and plural.
const DEFINITIONS: (&str, &str) = ("apiextensions.k8s.io", "customresourcedefinitions");

/// Most owners of one object that are looked for in other namespaces. Each costs a look into all of them, and is only for telling.
const MISPLACED: usize = 100;

/// Everything one pass looks at.
#[derive(Debug)]
pub struct Snapshot {
    /// The key.
    pub key: Key,
    /// The object, where there is something to say about it.
    pub object: Option<Object>,
    /// Its owners, in the object's order. Not judged while it is being deleted.
    pub owners: Vec<Owner>,
    /// Since when others have been asking for one of them.
    pub asked_since: Option<Timestamp>,
    /// What people were told about references of it that name nobody, where there are such.
    pub told: Option<Told>,
    /// What its own deletion waits for.
    pub held: Held,
    /// How often the server had gone back in time.
    pub restores: u64,
    /// Whether anything depends on it, and whether all that does waits for others already.
    pub dependents: Dependents,
    /// What its deletion met, when that was another version.
    pub met: Option<Met>,
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
    /// Nothing any more: it went when it was released, and the cache has yet to show that.
    Released,
    /// Take the references of these dependents away (at most a batch of them), then the finalizer `orphan`.
    ByOrphans(Vec<(Kind, Meta)>),
    /// Wait until no dependent blocks any more, then take the finalizer `foregroundDeletion` away.
    ByDependents {
        /// Whether any still does.
        blocked: bool,
        /// Whether one that does not block has yet to be looked at, and would not go any more if the owner stopped waiting first.
        unjudged: bool,
    },
}

/// What a deletion met that was refused because of the object's version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Met {
    /// Another version. It has to be looked at before another try.
    Another,
    /// That look found this.
    Found {
        /// What it found.
        meta: Arc<Meta>,
        /// Whether that was a moment ago.
        fresh: bool,
    },
    /// It found nothing.
    Gone,
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
        asked_since: None,
        told: None,
        held: Held::Not,
        restores: stores.restores(),
        dependents: Dependents::None,
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
        snap.held = held(stores, facts, kind, meta);
        if let Held::ByOrphans(dependents) = &snap.held {
            snap.forms = dependents
                .iter()
                .map(|(kind, _)| *kind)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .map(|k| (k, form(stores, facts, k)))
                .collect();
        }
        return snap;
    }
    snap.owners = meta.owners.iter().map(|reference| standing::judge(stores, facts, meta, reference)).collect();
    judged(&mut snap, stores, facts, meta);
    if snap.owners.iter().any(Owner::leaves) {
        if !snap.owners.iter().all(Owner::leaves) {
            snap.forms.insert(kind, form(stores, facts, kind));
        }
        snap.dependents = dependents(stores, kind, meta);
    }
    // A cache that has got there shows what was found, or what has come after it.
    let shown = |found: &Meta| stores.any(kind).is_some_and(|store| store.version() >= found.version) && found.version != meta.version;
    snap.met = facts.met(key).filter(|met| !matches!(met, Met::Found { meta, .. } if shown(meta)));
    debug_assert_eq!(key_of(kind, &at), *key);
    snap
}

/// Who of the owners is asked for by this pass, and who of them lives elsewhere.
fn judged(snap: &mut Snapshot, stores: &Stores, facts: &Facts, meta: &Meta) {
    // While nothing may be decided nobody has to be asked: whoever else asks for the same owners goes on doing so.
    let undecided = snap.owners.iter().any(Owner::undecided);
    let mut asks = 0;
    for owner in snap.owners.iter_mut().filter(|owner| matches!(owner.standing, Standing::Ask(..))) {
        if undecided {
            owner.standing = Standing::Asked;
            continue;
        }
        let claim = if asks < BATCH { facts.claim(&owner.identity) } else { Err(facts.now()) };
        match claim {
            Ok(()) => asks += 1,
            Err(since) => {
                owner.standing = Standing::Asked;
                snap.asked_since = Some(snap.asked_since.map_or(since, |other| other.min(since)));
            }
        }
    }
    let absent = |owner: &&mut Owner| matches!(owner.standing, Standing::Gone | Standing::OutOfScope);
    for owner in snap.owners.iter_mut().filter(absent).take(MISPLACED) {
        owner.elsewhere = facts.misplaced(&owner.identity, || standing::elsewhere(stores, &owner.reference, meta));
    }
    if snap.owners.iter().any(|owner| owner.elsewhere.is_some() || owner.undecided()) {
        snap.told = Some(facts.told(meta));
    }
}

/// Strategic patches name just what goes, so nobody's write in between makes them wrong; custom resources do not take them (A10, A17.14).
fn form(stores: &Stores, facts: &Facts, kind: Kind) -> PatchForm {
    let mut definitions = stores.kinds().filter(|(kind, _)| (kind.group, kind.plural) == DEFINITIONS);
    let custom = definitions.any(|(_, store)| store.header("", &kind.group_resource()).is_some());
    if custom || facts.merge_only(kind) { PatchForm::Merge } else { PatchForm::Strategic }
}

fn held(stores: &Stores, facts: &Facts, kind: Kind, meta: &Meta) -> Held {
    if facts.released(meta) {
        return Held::Released;
    }
    if meta.held_by(ORPHAN) {
        return Held::ByOrphans(
            standing::dependents(stores, kind, meta).take(BATCH).map(|(kind, dependent)| (kind, dependent.clone())).collect(),
        );
    }
    if !meta.held_by(FOREGROUND) {
        return Held::Not;
    }
    let blocked = ring::blocked(stores, facts, kind, meta);
    Held::ByDependents { blocked, unjudged: !blocked && unjudged(stores, facts, kind, meta) }
}

/// Whether a dependent has yet to be looked at that would stay if its owner stopped waiting now. One that nobody else holds goes with its
/// finalizer, and its dependents after it.
fn unjudged(stores: &Stores, facts: &Facts, kind: Kind, meta: &Meta) -> bool {
    if meta.finalizers.iter().all(|f| **f == *FOREGROUND) {
        return false;
    }
    let alive = standing::dependents(stores, kind, meta).filter(|(_, dependent)| dependent.deleting.is_none());
    facts.waits_for(&meta.uid, alive.map(|(_, dependent)| &dependent.uid))
}

fn dependents(stores: &Stores, kind: Kind, meta: &Meta) -> Dependents {
    let mut all = standing::dependents(stores, kind, meta).peekable();
    if all.peek().is_none() {
        return Dependents::None;
    }
    if all.all(|(_, dependent)| ring::waits(dependent)) { Dependents::Waiting } else { Dependents::Some }
}
