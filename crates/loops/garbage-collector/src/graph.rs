//! The graph as people look at it: who owns whom, as Graphviz text (garbage-collection A15).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use evenkeel_api::{Kind, Meta, OwnerReference, Uid};
use evenkeel_cache::Stores;

/// Most objects that are drawn; a picture of more helps nobody.
const MOST: usize = 50_000;

#[derive(Debug, Default)]
struct Graph {
    /// What is written at each object, by uid.
    labels: BTreeMap<Uid, String>,
    /// Owners that are not there.
    absent: BTreeSet<Uid>,
    /// Dependent, owner, and whether the owner waits for it.
    edges: BTreeSet<(Uid, Uid, bool)>,
}

/// Every object that has owners, and its owners; with `uids` only what is connected with these.
pub fn dot(stores: &Stores, uids: &[Uid]) -> String {
    let mut graph = Graph::default();
    for (kind, store) in stores.kinds() {
        store.each(&mut |meta| {
            if graph.labels.len() < MOST || !uids.is_empty() {
                graph.add(stores, kind, meta);
            }
        });
    }
    let shown = graph.connected_with(uids);
    let mut text = String::from("strict digraph full {\n");
    for (uid, label) in graph.labels.iter().filter(|(uid, _)| shown.contains(uid)).take(MOST) {
        let style = if graph.absent.contains(uid) { ", style=dashed" } else { "" };
        let _ = writeln!(text, "  {:?} [label={label:?}{style}];", uid.to_string());
    }
    for (dependent, owner, blocks) in graph.edges.iter().filter(|(dependent, ..)| shown.contains(dependent)).take(MOST) {
        let style = if *blocks { " [style=bold]" } else { "" };
        let _ = writeln!(text, "  {:?} -> {:?}{style};", dependent.to_string(), owner.to_string());
    }
    text.push_str("}\n");
    text
}

impl Graph {
    fn add(&mut self, stores: &Stores, kind: Kind, meta: &Meta) {
        if meta.owners.is_empty() {
            return;
        }
        self.labels.insert(meta.uid.clone(), label(kind, meta));
        for reference in meta.owners.iter() {
            self.edges.insert((meta.uid.clone(), reference.uid.clone(), reference.block_owner_deletion));
            if self.labels.contains_key(&reference.uid) {
                continue;
            }
            let there = owner(stores, meta, reference);
            if there.is_none() {
                self.absent.insert(reference.uid.clone());
            }
            let absent = || format!("{}/{}\nnot there", reference.kind, reference.name);
            self.labels.insert(reference.uid.clone(), there.unwrap_or_else(absent));
        }
    }

    fn connected_with(&self, uids: &[Uid]) -> BTreeSet<Uid> {
        if uids.is_empty() {
            return self.labels.keys().cloned().collect();
        }
        let mut beside: BTreeMap<&Uid, Vec<&Uid>> = BTreeMap::new();
        for (dependent, owner, _) in &self.edges {
            beside.entry(dependent).or_default().push(owner);
            beside.entry(owner).or_default().push(dependent);
        }
        let mut open: Vec<&Uid> = uids.iter().collect();
        let mut shown: BTreeSet<Uid> = uids.iter().cloned().collect();
        while let Some(uid) = open.pop() {
            for next in beside.get(uid).into_iter().flatten() {
                if shown.insert((*next).clone()) {
                    open.push(next);
                }
            }
        }
        shown
    }
}

/// The owner that a reference names, if the cache shows it.
fn owner(stores: &Stores, dependent: &Meta, reference: &OwnerReference) -> Option<String> {
    let kind = stores.mapping().resolve(&reference.api_version, &reference.kind)?;
    let namespace = if kind.namespaced { &*dependent.namespace } else { "" };
    let header = stores.any(kind)?.header(namespace, &reference.name).filter(|header| *header.uid() == reference.uid)?;
    let plain = || format!("{}/{}", kind.group_resource(), reference.name);
    Some(header.meta().map_or_else(plain, |meta| label(kind, meta)))
}

fn label(kind: Kind, meta: &Meta) -> String {
    let mut label = format!("{}/{}", kind.group_resource(), meta.name);
    if !meta.namespace.is_empty() {
        let _ = write!(label, "\nnamespace {}", meta.namespace);
    }
    if meta.deleting.is_some() {
        label.push_str("\nbeing deleted");
    }
    if !meta.finalizers.is_empty() {
        let _ = write!(label, "\nheld by {}", meta.finalizers.join(", "));
    }
    label
}
