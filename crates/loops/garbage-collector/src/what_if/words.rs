//! A tree of fates, for people.

use std::collections::BTreeMap;

use evenkeel_api::{Key, Kind, OwnerReference};
use evenkeel_cache::Stores;

use crate::what_if::{Fate, Node, Tree, When, Why, With};

/// More siblings than this that all fare alike are told of in one line.
const ALIKE: usize = 20;

/// Most things that one line names as reasons.
const NAMED: usize = 3;

impl Tree {
    /// A line for each object, those that depend on it indented below it, and one with the sum. Unless `all` are asked for, very many
    /// siblings of one kind that fare alike, and all below them, have one line together.
    pub fn tell(&self, all: bool) -> String {
        let Some(root) = self.nodes.first() else { return String::new() };
        let home = &*root.key.namespace;
        let shapes = self.shapes(home);
        let groups = if all { BTreeMap::new() } else { self.groups(&shapes) };
        let mut out = String::new();
        let mut at = 0;
        while let Some(node) = self.nodes.get(at) {
            let told = match groups.get(&at) {
                Some(Group::First(count)) => Some(self.together(at, *count, home)),
                // Its line was the first one's.
                Some(Group::Other) => None,
                None => Some(format!("{} {}", named(node.kind, &node.key, home), fate(node))),
            };
            out.extend(told.map(|told| format!("{:1$}{told}\n", "", 2 * node.depth)));
            at = if groups.contains_key(&at) { self.end(at) } else { at + 1 };
        }
        out.push_str(&self.sum());
        out.push('\n');
        if let Some(controller) = &root.controller {
            out.push_str(&format!("{} {} controls it and may put another in its place\n", controller.kind, controller.name));
        }
        if self.unfinished {
            out.push_str("this is how far it was followed; it did not come to an end\n");
        }
        out
    }

    fn sum(&self) -> String {
        let (goes, stays, open) = self.count(0, self.nodes.len());
        let deleting = self.nodes.iter().filter(|n| matches!(n.fate, Fate::Stays { deleting: true, .. })).count();
        let held = if deleting == 0 { String::new() } else { format!(", {deleting} of them being deleted") };
        let open = if open == 0 { String::new() } else { format!(", {open} would do either") };
        format!("{} would go, {stays} would stay{held}{open}", objects(goes))
    }

    /// How many of the objects from `from` to before `to` go, stay, or may do either.
    fn count(&self, from: usize, to: usize) -> (usize, usize, usize) {
        let goes = self.nodes[from..to].iter().filter(|n| matches!(n.fate, Fate::Goes { .. })).count();
        let open = self.nodes[from..to].iter().filter(|n| n.fate == Fate::Open).count();
        (goes, to - from - goes - open, open)
    }

    /// Many siblings, the first of which is at `at`.
    fn together(&self, at: usize, count: usize, home: &str) -> String {
        let node = &self.nodes[at];
        let below = match self.count(at + 1, self.end(at)) {
            (0, 0, 0) => String::new(),
            (goes, 0, 0) => format!(", and all {} below them", goes * count),
            (goes, stays, open) => {
                let open = if open == 0 { String::new() } else { format!(" and {} do either", open * count) };
                format!("; below them {} go and {} stay{open}", goes * count, stays * count)
            }
        };
        let first = named(node.kind, &node.key, home);
        format!("{count} objects such as {first}: each {}{below}", fate(node))
    }

    /// Where what is below an object ends.
    fn end(&self, at: usize) -> usize {
        let below = self.nodes[at + 1..].iter().take_while(|node| node.depth > self.nodes[at].depth);
        at + 1 + below.count()
    }

    /// A number for each object, the same for those that are of one kind and fare alike, with all that is below them.
    fn shapes(&self, home: &str) -> Vec<usize> {
        let mut numbers: BTreeMap<(Kind, String, Vec<usize>), usize> = BTreeMap::new();
        let mut shapes = vec![0; self.nodes.len()];
        // Shapes of the children that were seen last, by depth.
        let mut children: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, node) in self.nodes.iter().enumerate().rev() {
            let mut below = children.remove(&(node.depth + 1)).unwrap_or_default();
            below.sort_unstable();
            let elsewhere = if *node.key.namespace == *home { "" } else { &node.key.namespace };
            let next = numbers.len();
            shapes[at] = *numbers.entry((node.kind, format!("{elsewhere} {}", fate(node)), below)).or_insert(next);
            children.entry(node.depth).or_default().push(shapes[at]);
        }
        shapes
    }

    /// Who shares a line: very many siblings of one shape.
    fn groups(&self, shapes: &[usize]) -> BTreeMap<usize, Group> {
        let mut siblings: BTreeMap<(Option<usize>, usize), Vec<usize>> = BTreeMap::new();
        let mut above: Vec<usize> = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            above.truncate(node.depth);
            siblings.entry((above.last().copied(), shapes[at])).or_default().push(at);
            above.push(at);
        }
        let mut groups = BTreeMap::new();
        for alike in siblings.into_values().filter(|alike| alike.len() > ALIKE) {
            groups.extend(alike.iter().skip(1).map(|at| (*at, Group::Other)));
            groups.insert(alike[0], Group::First(alike.len()));
        }
        groups
    }
}

enum Group {
    /// It stands for so many.
    First(usize),
    Other,
}

fn objects(count: usize) -> String {
    format!("{count} object{}", if count == 1 { "" } else { "s" })
}

/// `plural.group/name`, and the namespace where it is another than the one that everything is about.
pub(super) fn named(kind: Kind, key: &Key, home: &str) -> String {
    let elsewhere =
        if key.namespace.is_empty() || *key.namespace == *home { String::new() } else { format!(" of namespace {}", key.namespace) };
    format!("{kind}/{}{elsewhere}", key.name)
}

/// Whom a reference names.
pub(super) fn owner(stores: &Stores, reference: &OwnerReference) -> String {
    match stores.mapping().resolve(&reference.api_version, &reference.kind) {
        Some(kind) => format!("{kind}/{}", reference.name),
        None => format!("{} {}", reference.kind, reference.name),
    }
}

/// What becomes of an object, in one phrase.
fn fate(node: &Node) -> String {
    let (deleting, why) = match &node.fate {
        Fate::Goes { when, with } => {
            let when = match when {
                When::ByItself => "",
                When::Already => ", and is being deleted already",
                When::BeforeOwner => " before its owner",
                When::AfterOwner => " after its owner",
            };
            let with = match with {
                With::Nothing => "",
                With::DependentsFirst => ", its dependents first",
                With::DependentsLetGo => ", its dependents are let go",
            };
            return format!("goes{when}{with}");
        }
        Fate::Stays { deleting, why } => (deleting, why),
        Fate::Open => return "goes or stays: that depends on who is looked at first".to_owned(),
    };
    let shown = why.iter().take(NAMED).map(reason);
    let more = (why.len() > NAMED).then(|| format!("and {} more", why.len() - NAMED));
    let lost = node.loses.iter().map(|owner| format!("loses its owner {} {}", owner.kind, owner.name));
    let may = node.may_lose.iter().map(|owner| format!("may lose its owner {} {}", owner.kind, owner.name));
    let said: Vec<String> = shown.chain(more).chain(lost).chain(may).collect();
    format!("stays{}: {}", if *deleting { ", being deleted" } else { "" }, said.join(", "))
}

fn reason(why: &Why) -> String {
    match why {
        Why::Owner(owner) => format!("owned by {owner}"),
        Why::NotKnown(owner) => format!("nobody can tell here whether its owner {owner} is there"),
        Why::NotServed(owner) => format!("its owner {owner} is of a kind that nobody serves"),
        Why::OutOfScope(owner) => format!("its owner {owner} would have to be in a namespace"),
        Why::NoOwner => "owned by nobody".to_owned(),
        Why::Finalizer(finalizer) => format!("held by the finalizer {finalizer}"),
        Why::WaitsFor(dependent) => format!("waits for {dependent}"),
    }
}
