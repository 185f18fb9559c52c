//! What would follow if an object were deleted: the loop itself, at work on a copy of what the cache shows.
//!
//! What is concerned (the object, all that depends on it, and the owners of those) is copied onto an [imagined server](crate::imagined);
//! there the object is deleted, and the loop's own rules run until nothing moves. So there is no second set of rules that could say
//! something else than what then happens. Passes of a manager run side by side, and now and then it matters who is first: the loop is at work
//! several times, in other orders, and an object that does not fare the same each time is said to have an open end. What other loops would do is not asked: a pod of a ReplicaSet goes, and the one that takes its
//! place is not told of.

mod play;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_api::{FOREGROUND, Key, Kind, Name, ORPHAN, OwnerReference, Uid};
use evenkeel_cache::Stores;
use evenkeel_plan::{ControlLoop, Propagation};

use crate::{
    Standing, imagined, key_of, ring,
    what_if::play::{Below, Order, Play},
};

/// With more objects than this, other orders of passes are not tried.
const OTHER_ORDERS: usize = 5_000;

/// What would become of an object and of all that depends on it.
#[derive(Debug, Clone)]
pub struct Tree {
    /// How the object would be deleted: as was asked, or as the server does it by default (garbage-collection A1).
    pub propagation: Propagation,
    /// The object, and below each the objects that depend on it: each object once, under the owner that is nearest to the first.
    pub nodes: Vec<Node>,
    /// There was no end after very many passes: what is said is how far it went.
    pub unfinished: bool,
}

/// One object of a [`Tree`].
#[derive(Debug, Clone)]
pub struct Node {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace and name.
    pub key: Key,
    /// Its uid.
    pub uid: Uid,
    /// How far below the object that is deleted: 0 for that one.
    pub depth: usize,
    /// What becomes of it.
    pub fate: Fate,
    /// Owners that it had before and names no longer in the end. Of what goes, is being deleted, or has an open end: not said.
    pub loses: Vec<OwnerReference>,
    /// Owners that it loses or keeps: that depends on the order of passes.
    pub may_lose: Vec<OwnerReference>,
    /// Owners that it has in the end.
    pub keeps: Vec<OwnerReference>,
    /// Who makes objects such as this one, and may put another in its place.
    pub controller: Option<OwnerReference>,
}

/// What becomes of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It goes.
    Goes {
        /// When, as far as the owner above it is concerned.
        when: When,
        /// What becomes of its own dependents.
        with: With,
    },
    /// It stays, or is not gone when nothing moves any more.
    Stays {
        /// Whether it is being deleted then.
        deleting: bool,
        /// What keeps it.
        why: Vec<Why>,
    },
    /// It goes or stays, or is not even deleted: that depends on the order of passes.
    Open,
}

/// When an object goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// It is the one that is deleted, or what is above it in the tree stays, or they go in no order.
    ByItself,
    /// It is on its way already.
    Already,
    /// The owner waits for it.
    BeforeOwner,
    /// Because the owner is gone.
    AfterOwner,
}

/// What becomes of the dependents of an object that goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum With {
    /// Nothing depends on it, or what does is collected later, or that depends on the order of passes.
    Nothing,
    /// They are to go before it.
    DependentsFirst,
    /// They are let go of.
    DependentsLetGo,
}

/// What keeps an object. Objects are named as `plural.group/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// An owner that stays.
    Owner(String),
    /// An owner that nobody can tell anything about without asking the server: its kind is not listed.
    NotKnown(String),
    /// Nobody serves this kind of owner: `apiVersion kind name` (garbage-collection A8.2).
    NotServed(String),
    /// It is in no namespace, and the kind of this owner is: never looked up (garbage-collection A12).
    OutOfScope(String),
    /// Nobody owns it.
    NoOwner,
    /// A finalizer that is not the collector's.
    Finalizer(Name),
    /// It waits for this dependent to go first.
    WaitsFor(String),
}

/// What would follow if an object were deleted. `None`: there is no such object.
///
/// `propagation`: `None` for a DELETE that does not say. Kinds that the stores do not show, or whose first list is not in, count as not known:
/// no owner of such a kind is taken to be gone. A pod goes at once there, where a real one that has a node goes after its grace period.
pub fn if_deleted(stores: &Stores, kind: Kind, key: &Key, propagation: Option<Propagation>) -> Option<Tree> {
    let below = play::below(stores, kind, key);
    let root = below.first()?;
    let propagation = propagation.unwrap_or_else(|| imagined::by_default(kind, &root.meta));
    let owners: BTreeSet<&Uid> = below.iter().flat_map(|object| object.meta.owners.iter().map(|owner| &owner.uid)).collect();
    let mut tree: Option<Tree> = None;
    let others = if below.len() > OTHER_ORDERS { &[][..] } else { &[Order::OwnersFirst, Order::DependentsFirst, Order::NewestFirst] };
    for order in [Order::SideBySide].iter().chain(others) {
        let mut play = Play::new(stores, &below, *order);
        play.how.insert((kind, key.clone()), propagation);
        play.delete(kind, key, propagation);
        let unfinished = !play.run();
        let nodes = in_order(&below).into_iter().map(|(at, depth)| node(&play, &below, at, depth, &owners));
        match &mut tree {
            None => tree = Some(Tree { propagation, nodes: nodes.collect(), unfinished }),
            Some(tree) => {
                tree.unfinished |= unfinished;
                tree.nodes.iter_mut().zip(nodes).for_each(|(node, other)| node.allow_for(other));
            }
        }
    }
    tree.iter_mut().for_each(|tree| spread(&mut tree.nodes, &below));
    tree
}

/// Who waits for one whose end is open has an open end.
fn spread(nodes: &mut [Node], below: &[Below]) {
    let blocks: BTreeMap<&Uid, Vec<&Uid>> = below
        .iter()
        .map(|object| (&object.meta.uid, object.meta.owners.iter().filter(|o| o.block_owner_deletion).map(|o| &o.uid).collect()))
        .collect();
    let places: BTreeMap<Uid, usize> = nodes.iter().enumerate().map(|(at, node)| (node.uid.clone(), at)).collect();
    let mut open: Vec<usize> = (0..nodes.len()).filter(|at| nodes[*at].fate == Fate::Open).collect();
    while let Some(at) = open.pop() {
        let owners = blocks.get(&nodes[at].uid).into_iter().flatten();
        for owner in owners.filter_map(|owner| places.get(*owner)) {
            if matches!(nodes[*owner].fate, Fate::Goes { with: With::DependentsFirst, .. }) {
                nodes[*owner].fate = Fate::Open;
                open.push(*owner);
            }
        }
    }
}

impl Node {
    /// Leaves of what is said only what holds when it may as well come out like this.
    fn allow_for(&mut self, other: Node) {
        match (&mut self.fate, other.fate) {
            (Fate::Goes { when, with }, Fate::Goes { when: when_else, with: with_else }) => {
                if *when != when_else {
                    *when = When::ByItself;
                }
                if *with != with_else {
                    *with = With::Nothing;
                }
            }
            (Fate::Stays { deleting: false, .. }, Fate::Stays { deleting: false, .. }) => {
                let (loses, loses_not) = std::mem::take(&mut self.loses).into_iter().partition(|owner| other.loses.contains(owner));
                let (keeps, keeps_not) = std::mem::take(&mut self.keeps).into_iter().partition(|owner| other.keeps.contains(owner));
                (self.loses, self.keeps) = (loses, keeps);
                self.may_lose = [std::mem::take(&mut self.may_lose), loses_not, keeps_not].concat();
            }
            (Fate::Stays { deleting, .. }, Fate::Stays { deleting: other, .. }) if *deleting == other => {}
            _ => self.fate = Fate::Open,
        }
        if !matches!(self.fate, Fate::Stays { deleting: false, .. }) {
            [&mut self.loses, &mut self.may_lose, &mut self.keeps].into_iter().for_each(Vec::clear);
        }
    }
}

/// Places in `below`, every object before what is under it, and how deep each is.
fn in_order(below: &[Below]) -> Vec<(usize, usize)> {
    let mut children: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, object) in below.iter().enumerate() {
        if let Some(parent) = object.parent {
            children.entry(parent).or_default().push(at);
        }
    }
    let mut out = Vec::with_capacity(below.len());
    let mut open = vec![(0, 0)];
    while let Some((at, depth)) = open.pop() {
        out.push((at, depth));
        open.extend(children.get(&at).into_iter().flatten().rev().map(|child| (*child, depth + 1)));
    }
    out
}

/// What became of the object at `at`; `owners`: whoever is an owner of any.
fn node(play: &Play, below: &[Below], at: usize, depth: usize, owners: &BTreeSet<&Uid>) -> Node {
    let Below { kind, meta, parent } = &below[at];
    let place = (*kind, meta.key());
    let controller = meta.controller().cloned();
    let node = |fate, loses, keeps| Node {
        kind,
        key: meta.key(),
        uid: meta.uid.clone(),
        depth,
        fate,
        loses,
        may_lose: Vec::new(),
        keeps,
        controller,
    };
    let Some(left) = play.server.get(kind, &place.1) else {
        let owner = parent.map(|parent| (below[parent].kind, below[parent].meta.key()));
        let when = match owner.map(|owner| play.went.get(&owner)) {
            _ if meta.deleting.is_some() => When::Already,
            None | Some(None) => When::ByItself,
            Some(owner) if owner > play.went.get(&place) => When::BeforeOwner,
            Some(_) => When::AfterOwner,
        };
        let owns = owners.contains(&meta.uid);
        let with = match play.how.get(&place) {
            Some(Propagation::Foreground) if owns => With::DependentsFirst,
            Some(Propagation::Orphan) if owns => With::DependentsLetGo,
            _ => With::Nothing,
        };
        return node(Fate::Goes { when, with }, Vec::new(), Vec::new());
    };
    let fate = Fate::Stays { deleting: left.deleting.is_some(), why: why(play, kind, &place.1) };
    if left.deleting.is_some() {
        return node(fate, Vec::new(), Vec::new());
    }
    let (keeps, loses) = meta.owners.iter().cloned().partition(|owner| left.owners.contains(owner));
    node(fate, loses, keeps)
}

/// What keeps an object that is there when nothing moves any more.
fn why(play: &Play, kind: Kind, key: &Key) -> Vec<Why> {
    let stores = play.cache.read();
    let snap = play.collector.snapshot(&stores, &key_of(kind, key));
    let Some(object) = &snap.object else { return vec![Why::NoOwner] };
    let meta = &object.meta;
    if meta.deleting.is_some() {
        let others = meta.finalizers.iter().filter(|f| ***f != *FOREGROUND && ***f != *ORPHAN).cloned().map(Why::Finalizer);
        let waits = meta.held_by(FOREGROUND).then(|| ring::blockers(&stores, kind, meta)).into_iter().flatten();
        return others.chain(waits.map(|(kind, meta)| Why::WaitsFor(words::named(kind, &meta.key(), &key.namespace)))).collect();
    }
    let reason = |owner: &crate::Owner| {
        let reference = &owner.reference;
        let name = words::owner(&stores, reference);
        match owner.standing {
            Standing::Stays | Standing::StaysUnwatched => Some(Why::Owner(name)),
            Standing::Ask(..) | Standing::Asked | Standing::Awaited => Some(Why::NotKnown(name)),
            Standing::Unknown => Some(Why::NotServed(format!("{} {} {}", reference.api_version, reference.kind, reference.name))),
            Standing::OutOfScope => Some(Why::OutOfScope(name)),
            Standing::Gone | Standing::Waits => None,
        }
    };
    let why: Vec<Why> = snap.owners.iter().filter_map(reason).collect();
    if why.is_empty() { vec![Why::NoOwner] } else { why }
}
