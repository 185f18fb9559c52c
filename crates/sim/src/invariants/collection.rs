//! GC-1 to GC-6 (reliability part 3): what a garbage collector may do, and what it must have done, judged on the true history alone.
//!
//! [`check`] goes through the history once: every delete of the collector (GC-1, GC-4), every release of an owner (GC-3), and its requests
//! (GC-6). [`left_over`] says what a world at rest still has to be done about (GC-2 to GC-5); a simulation asks it until nothing is left, or
//! the time is up. Both go by [`Graph`], the state of all objects and kinds at one moment.
//!
//! Nobody can know what the server does between a read and the write that follows. What a collector could not know is no violation, and that
//! is little, since its deletes carry uid and version:
//!
//! - An owner that waits for its dependents and then changes its mind (a second delete, in background or to orphan): a read is good for
//!   [`FRESH`], and for its own way there and back. Had the owner waited within that time before the pass looked, the delete is fair.
//! - Where a delete met a conflict, and its object was then found with the same owners in another version, it is sent again with the uid
//!   alone (garbage-collection A10). A reference that is added in the moment after that look ([`LOOKED`]) cannot be known.
//! - Dependents that the collector's cache does not show block nobody (GC-3: "known").
//! - Between the restore of an older state and the first list that shows it, what is known to be gone may be there again, and what a cache
//!   shows is of two pasts for [`TWO_PASTS`]: until then only deletes are judged, and those that it could know of.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evenkeel_plan::Write;
use serde_json::Value;

use crate::history::{Asked, History, Pass, Restored, Served, Written, uid};

/// Milliseconds after a restore until every kind has been compared with the server: the audit's ten minutes and a quarter, and two lists.
const TWO_PASTS: u64 = 900_000;

/// How long a live read of an owner counts, in milliseconds (`facts.rs` of the collector).
const FRESH: u64 = 2_000;
/// The way of a read there and back, and of the pass behind it.
const ROUND: u64 = 150;
/// Longest that events are late.
const LATE: u64 = 30_000;
/// Longest time between the look at an object whose deletion met a conflict and the delete by uid that follows.
const LOOKED: u64 = 1_000;

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";
const COLLECTOR: &str = "garbage-collector-controller";

/// Group, plural, `namespace/name`.
type Id = (String, String, String);

/// What an owner reference says, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Reference<'v> {
    group: &'v str,
    version: &'v str,
    kind: &'v str,
    name: &'v str,
    uid: &'v str,
    blocks: bool,
}

fn references(object: &Value) -> impl Iterator<Item = Reference<'_>> {
    object["metadata"]["ownerReferences"].as_array().into_iter().flatten().map(|r| {
        let text = |field: &str| r[field].as_str().unwrap_or_default();
        let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
        Reference { group, version, kind: text("kind"), name: text("name"), uid: text("uid"), blocks: r["blockOwnerDeletion"] == true }
    })
}

impl std::fmt::Display for Reference<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{} {} {} (uid {})", self.group, self.version, self.kind, self.name, self.uid)
    }
}

fn deleting(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

fn held_by(object: &Value, finalizer: &str) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|all| all.iter().any(|f| f == finalizer))
}

/// Whether it waits for its dependents to go before it.
fn waits(object: &Value) -> bool {
    deleting(object) && held_by(object, FOREGROUND)
}

/// What a reference means, in truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Truth<'g> {
    /// Nobody serves its kind in its version.
    Unknown,
    /// A cluster-scoped object names a kind that lives in namespaces.
    OutOfScope,
    /// There is no such object.
    Gone,
    /// It waits for its dependents.
    Waits(&'g Id),
    /// It is there.
    Stays(&'g Id),
}

/// All objects and kinds at one moment of a history.
#[derive(Debug, Default)]
pub struct Graph {
    /// By group and kind, with the versions that are served.
    kinds: BTreeMap<(String, String), Served>,
    /// All group versions and kinds that were served at some time.
    ever: BTreeSet<(String, String, String)>,
    objects: BTreeMap<Id, Arc<Value>>,
    /// By uid: when somebody who waited was last seen to.
    waited: BTreeMap<String, u64>,
    /// Number of writes that are in it.
    taken: usize,
    /// Whether it has gone back with the server.
    rewound: bool,
}

impl Graph {
    /// Before anything was written.
    pub fn new(history: &History) -> Self {
        let mut graph = Self::default();
        history.served.iter().for_each(|served| graph.serve(served.clone()));
        graph
    }

    fn serve(&mut self, served: Served) {
        let version = |version: &String| (served.group.clone(), version.clone(), served.kind.clone());
        self.ever.extend(served.versions.iter().map(version));
        self.kinds.insert((served.group.clone(), served.kind.clone()), served);
    }

    /// All objects of a kind.
    pub fn of<'g>(&'g self, group: &'g str, plural: &'g str) -> impl Iterator<Item = &'g Arc<Value>> {
        self.objects.iter().filter(move |((g, p, _), _)| g == group && p == plural).map(|(_, object)| object)
    }

    /// Takes all in that has been written since the last time.
    pub fn follow(&mut self, history: &History) {
        while let Some(written) = history.writes.get(self.taken) {
            self.take(written, history);
        }
        self.rewind(history);
    }

    /// Takes the next write in.
    fn take(&mut self, w: &Written, history: &History) {
        self.rewind(history);
        self.taken += 1;
        if w.kind == "leases" || w.kind == "events" {
            return;
        }
        if let Some(old) = w.old.as_ref().filter(|old| waits(old)) {
            self.waited.insert(uid(old).to_owned(), w.at);
        }
        self.set(w);
    }

    fn set(&mut self, w: &Written) {
        if w.kind == "customresourcedefinitions" {
            self.define(w);
        }
        let id = (w.group.clone(), w.kind.clone(), w.key.clone());
        match &w.new {
            Some(new) => drop(self.objects.insert(id, new.clone())),
            None => drop(self.objects.remove(&id)),
        }
    }

    /// Goes back with the server, if all before that is in it.
    fn rewind(&mut self, history: &History) {
        let Some(restored) = history.restored.filter(|r| r.before == self.taken && !self.rewound) else { return };
        let mut then = Self::new(history);
        let kept = history.writes[..self.taken].iter().filter(|w| w.rv <= restored.revision && w.kind != "leases");
        kept.for_each(|w| then.set(w));
        (self.kinds, self.objects, self.rewound) = (then.kinds, then.objects, true);
        self.ever.append(&mut then.ever);
    }

    /// What a pass had been shown, kind by kind.
    fn as_seen(history: &History, pass: &Pass) -> Self {
        let mut graph = Self::new(history);
        let first = history.restored.filter(|r| pass.began >= r.at).map_or(0, |r| r.before);
        if first > 0 {
            graph.taken = first;
            graph.rewind(history);
        }
        history.writes[first..].iter().filter(|w| w.rv <= pass.saw(&w.kind)).for_each(|w| graph.set(w));
        graph
    }

    /// A definition came, changed or went.
    fn define(&mut self, w: &Written) {
        let Some(spec) = w.new.as_ref().or(w.old.as_ref()).map(|d| &d["spec"]) else { return };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let versions =
            spec["versions"].as_array().into_iter().flatten().filter(|v| v["served"] == true).map(|v| text(&v["name"])).collect();
        let served = Served {
            group: text(&spec["group"]),
            kind: text(&spec["names"]["kind"]),
            plural: text(&spec["names"]["plural"]),
            namespaced: spec["scope"] == "Namespaced",
            versions,
        };
        match w.new {
            Some(_) => self.serve(served),
            None => drop(self.kinds.remove(&(served.group, served.kind))),
        }
    }

    /// Whether a reference's kind was served in its version at some time.
    fn was_served(&self, r: &Reference<'_>) -> bool {
        self.ever.contains(&(r.group.to_owned(), r.version.to_owned(), r.kind.to_owned()))
    }

    /// What a reference of an object in `namespace` (empty: cluster-scoped) means.
    fn means(&self, namespace: &str, r: &Reference<'_>) -> Truth<'_> {
        let served = self.kinds.get(&(r.group.to_owned(), r.kind.to_owned())).filter(|s| s.versions.iter().any(|v| v == r.version));
        let Some(served) = served else { return Truth::Unknown };
        if served.namespaced && namespace.is_empty() {
            return Truth::OutOfScope;
        }
        let place = if served.namespaced { namespace } else { "" };
        let id = (served.group.clone(), served.plural.clone(), format!("{place}/{}", r.name));
        match self.objects.get_key_value(&id).filter(|(_, owner)| uid(owner) == r.uid) {
            None => Truth::Gone,
            Some((id, owner)) if waits(owner) => Truth::Waits(id),
            Some((id, _)) => Truth::Stays(id),
        }
    }

    /// Objects that have a reference to this owner, and whether one of them blocks.
    ///
    /// In whatever version they name its kind: nobody may decide by a version that is not served, but whoever named the owner with one blocks
    /// it nevertheless.
    fn dependents<'g>(&'g self, owner: &'g Id) -> impl Iterator<Item = (&'g Id, &'g Arc<Value>, bool)> {
        let kind = self.kinds.values().find(|served| served.group == owner.0 && served.plural == owner.1);
        let (place, name) = owner.2.split_once('/').unwrap_or_default();
        let owner_uid = self.objects.get(owner).map_or("", |object| uid(object));
        self.objects.iter().filter_map(move |(id, object)| {
            let kind = kind.filter(|served| !served.namespaced || namespace(id) == place)?;
            let to_owner = |r: &Reference<'_>| (r.group, r.kind, r.name, r.uid) == (&*kind.group, &*kind.kind, name, owner_uid);
            let mut all = references(object).filter(to_owner).peekable();
            all.peek()?;
            Some((id, object, all.any(|r| r.blocks)))
        })
    }

    fn blockers<'g>(&'g self, owner: &'g Id) -> impl Iterator<Item = (&'g Id, &'g Arc<Value>)> {
        self.dependents(owner).filter(|(.., blocks)| *blocks).map(|(id, object, _)| (id, object))
    }

    /// Whether something that waits does so, through others that wait, for `to` in the end.
    fn leads_to(&self, from: &Id, to: &Id) -> bool {
        let mut open = vec![from];
        let mut known = BTreeSet::from([from]);
        while let Some(id) = open.pop() {
            if id == to {
                return true;
            }
            open.extend(self.blockers(id).filter(|(_, d)| waits(d)).map(|(id, _)| id).filter(|id| known.insert(id)));
        }
        false
    }

    /// Whether an object never lets go of an owner that waits for it, because it waits for that owner itself.
    fn in_ring(&self, blocker: &Id, owner: &Id) -> bool {
        self.objects.get(blocker).is_some_and(|b| waits(b)) && self.leads_to(blocker, owner)
    }

    fn is_about(&self, id: &Id, kind: &str) -> bool {
        let refers =
            |r: Reference<'_>| self.kinds.get(&(r.group.to_owned(), r.kind.to_owned())).is_some_and(|served| served.plural == kind);
        id.1 == kind || self.objects.get(id).is_some_and(|object| references(object).any(refers))
    }
}

fn namespace(id: &Id) -> &str {
    id.2.split_once('/').map_or("", |(namespace, _)| namespace)
}

/// What a world at rest still waits for (GC-2, GC-3, GC-4); with the plural of a kind that cannot be listed, what does not need that kind
/// (GC-5). Empty: all is done.
pub fn left_over(graph: &Graph, unlistable: Option<&str>) -> Vec<String> {
    let mut left = Vec::new();
    let mut tell = |rule: &str, (group, plural, key): &Id, text: &str| match unlistable {
        Some(kind) => left.push(format!("GC-5: while {kind} cannot be listed: {plural}.{group} {key}: {text}")),
        None => left.push(format!("{rule}: {plural}.{group} {key}: {text}")),
    };
    let known = |id: &Id| graph.kinds.values().any(|served| served.group == id.0 && served.plural == id.1);
    for (id, object) in graph.objects.iter().filter(|(id, _)| known(id) && unlistable.is_none_or(|kind| !graph.is_about(id, kind))) {
        if deleting(object) {
            if held_by(object, ORPHAN) {
                tell("GC-3", id, "is still held by the finalizer orphan");
            } else if held_by(object, FOREGROUND) && graph.blockers(id).all(|(blocker, _)| graph.in_ring(blocker, id)) {
                let ring = graph.blockers(id).next().is_some();
                tell(if ring { "GC-4" } else { "GC-3" }, id, "is still held by the finalizer foregroundDeletion, and nothing blocks it");
            }
            continue;
        }
        let truths: Vec<Truth<'_>> = references(object).map(|r| graph.means(namespace(id), &r)).collect();
        // Never deleted, never changed; unless what is of a kind that is served no more was known to be gone before.
        if truths.is_empty() || truths.iter().any(|t| matches!(t, Truth::Unknown | Truth::OutOfScope)) {
            continue;
        }
        let leaves = |t: &Truth<'_>| matches!(t, Truth::Gone | Truth::Waits(_));
        if truths.iter().all(leaves) {
            tell("GC-2", id, "is still there, and all its owners are gone or wait for it");
        } else if truths.iter().any(leaves) {
            tell("GC-2", id, "still names an owner that is gone or waits for it, beside one that stays");
        }
    }
    left
}

/// Whether a write is about an object that names an owner of a kind which is served no more: [`left_over`] waits for nothing there, and yet
/// whoever saw that owner go may act on it, whenever that is heard of (garbage-collection A11).
pub fn may_come_late(graph: &Graph, w: &Written) -> bool {
    let place = w.key.split_once('/').map_or("", |(namespace, _)| namespace);
    w.old.as_ref().is_some_and(|old| references(old).any(|r| graph.means(place, &r) == Truth::Unknown && graph.was_served(&r)))
}

/// Everything that a collector did and must not have done; empty: all is well.
pub fn check(history: &History) -> Vec<String> {
    let mut passes: BTreeMap<usize, Vec<&Pass>> = BTreeMap::new();
    history.passes.iter().filter(|p| p.controller == COLLECTOR).for_each(|pass| passes.entry(pass.link).or_default().push(pass));
    let mut found = Vec::new();
    let mut graph = Graph::new(history);
    for (n, w) in history.writes.iter().enumerate() {
        if w.actor.manager().is_some() && w.kind != "leases" && w.kind != "events" {
            match pass_of(&passes, w) {
                Some(pass) => judge(history, &graph, n, w, pass, &mut found),
                None => found.push(told("GC-1", w, "no pass has planned it")),
            }
        }
        graph.take(w, history);
    }
    found.extend(costs(history));
    found
}

fn told(rule: &str, w: &Written, text: &str) -> String {
    let Written { rv, at, actor, group, kind, key, .. } = w;
    format!("{rule}: {kind}.{group} {key} at rv {rv}, {at} ms, by {actor:?}: {text}")
}

/// The pass behind a write: the last one of its process that wanted it and had begun when the write left.
fn pass_of<'h>(passes: &BTreeMap<usize, Vec<&'h Pass>>, w: &Written) -> Option<&'h Pass> {
    let (link, sent) = w.actor.manager()?;
    let all = passes.get(&link)?;
    let begun = all.partition_point(|p| p.began <= sent);
    all[..begun].iter().rev().find(|p| p.wants(&w.kind, w.key.trim_start_matches('/'), w.status)).copied()
}

/// One write of the collector; `graph` is what was before it.
fn judge(history: &History, graph: &Graph, n: usize, w: &Written, pass: &Pass, found: &mut Vec<String>) {
    let Some(old) = &w.old else { return found.push(told("GC-1", w, "the collector made it")) };
    // What is known to be gone may be there again, until some list shows it. A process that began later knows of nothing that went before.
    let unaware = |r: &Restored| r.at <= w.at && pass.restores == 0 && pass.link <= r.link;
    if history.restored.as_ref().is_some_and(unaware) {
        return;
    }
    let id: Id = (w.group.clone(), w.kind.clone(), w.key.clone());
    let after = w.new.as_deref();
    if !deleting(old) && after.is_none_or(deleting) {
        return deleted(history, graph, n, w, pass, old, found);
    }
    let lost = |finalizer: &str| held_by(old, finalizer) && after.is_none_or(|new| !held_by(new, finalizer));
    let released = deleting(old) && (lost(FOREGROUND) || lost(ORPHAN));
    // Nobody can say what a cache of two pasts knew.
    let two_pasts = history.restored.is_some_and(|restored| (restored.at..restored.at + TWO_PASTS).contains(&w.at));
    if !released || two_pasts {
        return;
    }
    let seen = Graph::as_seen(history, pass);
    let knew = |d: &Id, object: &Value, blocking: bool| {
        let same = seen.objects.get(d).is_some_and(|then| uid(then) == uid(object));
        same && seen.dependents(&id).any(|(then, _, blocks)| then == d && (blocks || !blocking))
    };
    if lost(FOREGROUND) {
        for (d, object) in graph.blockers(&id) {
            let ring = graph.in_ring(d, &id) || seen.in_ring(d, &id);
            if !ring && knew(d, object, true) {
                found.push(told("GC-3", w, &format!("released, and {} {} still blocks it", d.1, d.2)));
            }
        }
    }
    if lost(ORPHAN) {
        for (d, object, _) in graph.dependents(&id).filter(|(d, object, _)| knew(d, object, false)) {
            found.push(told("GC-3", w, &format!("released, and {} {} (uid {}) still names it", d.1, d.2, uid(object))));
        }
    }
}

/// GC-1, and the half of GC-4 that is about scopes: nothing is deleted that has an owner which stays, or of which nobody knows.
fn deleted(history: &History, graph: &Graph, n: usize, w: &Written, pass: &Pass, old: &Value, found: &mut Vec<String>) {
    let place = w.key.split_once('/').map_or("", |(namespace, _)| namespace);
    let mut owners = references(old).peekable();
    if owners.peek().is_none() {
        return found.push(told("GC-1", w, "deleted, and it has no owner at all"));
    }
    for r in owners {
        match graph.means(place, &r) {
            Truth::Gone | Truth::Waits(_) => {}
            // Whoever was found gone while its kind was served is gone still (garbage-collection A11).
            Truth::Unknown if graph.was_served(&r) => {}
            Truth::Unknown => found.push(told("GC-1", w, &format!("deleted, and nobody serves the kind of its owner {r}"))),
            Truth::OutOfScope => found.push(told("GC-4", w, &format!("deleted, and it cannot even name its owner {r}"))),
            Truth::Stays(_) => {
                let waited = graph.waited.get(r.uid).is_some_and(|at| at + FRESH + ROUND >= pass.began);
                if !waited && !unknowable(history, n, w, &r) {
                    found.push(told("GC-1", w, &format!("deleted, and its owner {r} stays")));
                }
            }
        }
    }
}

/// Whether a delete went by the uid alone, and the reference was added after the look that allowed this.
fn unknowable(history: &History, n: usize, w: &Written, r: &Reference<'_>) -> bool {
    let guarded = request_of(history, w).is_none_or(|asked| asked.body.pointer("/preconditions/resourceVersion").is_some());
    let looked = asked_before(history, w).is_some_and(|first| first.code == 409);
    let before = history.writes[..n].iter().rev().filter(|o| o.group == w.group && o.kind == w.kind && o.key == w.key);
    let then = before.skip_while(|o| o.at + LOOKED > w.at).find_map(|o| o.new.as_ref());
    !guarded && looked && then.is_none_or(|then| !references(then).any(|known| known == *r))
}

fn is_path_of(path: &str, w: &Written) -> bool {
    let (namespace, name) = w.key.split_once('/').unwrap_or_default();
    let place = if namespace.is_empty() { String::new() } else { format!("/namespaces/{namespace}") };
    path.ends_with(&format!("{place}/{}/{name}", w.kind))
}

/// The request that a write of a manager came from.
fn request_of<'h>(history: &'h History, w: &Written) -> Option<&'h Asked> {
    let (link, sent) = w.actor.manager()?;
    history.requests.iter().find(|r| r.link == link && r.sent == sent && r.method == "DELETE" && is_path_of(&r.path, w))
}

/// The delete of the same object before that.
fn asked_before<'h>(history: &'h History, w: &Written) -> Option<&'h Asked> {
    let (link, sent) = w.actor.manager()?;
    history.requests.iter().rev().find(|r| r.link == link && r.sent < sent && r.method == "DELETE" && is_path_of(&r.path, w))
}

/// GC-6: no object is deleted twice where the first answer was heard and good, and no owner is read again while the last read counts.
fn costs(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    let mut done: BTreeMap<(usize, &str), u64> = BTreeMap::new();
    let deletes = history.requests.iter().filter(|r| r.method == "DELETE");
    for asked in deletes {
        let Some(uid) = asked.body.pointer("/preconditions/uid").and_then(Value::as_str) else { continue };
        if let Some(before) = done.get(&(asked.link, uid)).filter(|_| history.restored.is_none_or(|r| asked.at < r.at)) {
            found.push(format!("GC-6: link {} deletes {} (uid {uid}) at {} ms, and did at {before} ms", asked.link, asked.path, asked.at));
        }
        // Of a kind that is served no more the answer is a page that says nothing about objects.
        let gone = asked.code == 404 && !asked.path.starts_with("/apis/");
        if !asked.unheard && (asked.code < 300 || gone) {
            done.insert((asked.link, uid), asked.at);
        }
    }
    found.extend(reads(history));
    found
}

/// When the pass behind a read looked: what the read says counts from then on, however long it waited for its turn.
fn wanted_at(history: &History, asked: &Asked) -> u64 {
    let begun = history.passes.partition_point(|p| p.began <= asked.sent);
    let wants = |w: &Write| matches!(w, Write::Look { kind, key } if asked.path.ends_with(&format!("/{}/{}", kind.plural, key.name)));
    let behind = history.passes[..begun].iter().rev().find(|p| p.link == asked.link && p.plan.writes().any(wants));
    behind.map_or(asked.at, |pass| pass.began)
}

fn reads(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    let mut uids: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for object in history.writes.iter().filter_map(|w| w.new.as_ref()) {
        object["metadata"]["ownerReferences"].as_array().into_iter().flatten().for_each(|r| {
            uids.entry(r["name"].as_str().unwrap_or_default()).or_default().insert(r["uid"].as_str().unwrap_or_default());
        });
    }
    let mut answered: BTreeMap<(usize, &str), Vec<u64>> = BTreeMap::new();
    for asked in history
        .requests
        .iter()
        .filter(|r| r.method == "GET" && !r.path.contains("/leases") && !r.unheard && (r.code == 200 || r.code == 404))
    {
        // Who learns that the server went back forgets what was known of it.
        if history.restored.is_some_and(|restored| asked.at >= restored.at) {
            continue;
        }
        answered.entry((asked.link, &asked.path)).or_default().push(wanted_at(history, asked));
    }
    for ((link, path), times) in answered {
        let owners = path.rsplit('/').next().and_then(|name| uids.get(name)).map_or(0, BTreeSet::len);
        for (n, from) in times.iter().enumerate() {
            let within = times[n..].iter().take_while(|at| **at < from + FRESH).count();
            // An object whose deletion met a conflict is looked at itself.
            let met = |r: &&Asked| r.link == link && r.method == "DELETE" && r.code == 409 && r.path == path;
            let conflicts = history.requests.iter().filter(met).filter(|r| r.at + LOOKED >= *from && r.at < from + FRESH).count();
            // And an owner that has changed since it was read, or of which late events tell that it is there, may be read again.
            let changed = |w: &&Written| w.at + LATE >= *from && w.at < from + FRESH && is_path_of(path, w);
            let changes = history.writes.iter().filter(changed).count();
            if within > owners + conflicts + changes {
                found.push(format!(
                    "GC-6: link {link} reads {path} {within} times within {FRESH} ms from {from} ms on, for {owners} owners"
                ));
                break;
            }
        }
    }
    found
}
