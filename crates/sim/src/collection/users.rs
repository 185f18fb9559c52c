//! People who make, own, delete, delete again, edit, hold and let go, at the worst moments (reliability F16, S8).

use std::{sync::Arc, time::Duration};

use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::graph::{FLEETING, Known, NAMESPACES, SORTS, Sort, any, definition, owners, some_reference};
use crate::{
    Fault,
    chance::Dice,
    history::{Actor, lock},
    invariants::collection::Graph,
    network::Network,
};

/// A finalizer of somebody else.
const HOLD: &str = "example.com/hold";
/// Where definitions live.
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// Objects that references still name after they are gone.
const REMEMBERED: usize = 60;
/// Most objects at a time: worlds are small, so that very many can be lived through.
const MOST: usize = 90;

/// One run's people.
pub(super) struct Users {
    network: Arc<Network>,
    dice: Dice,
    /// All that is there, kept up with.
    graph: Graph,
    past: Vec<Known>,
    made: u64,
}

impl Users {
    pub(super) fn new(network: Arc<Network>, seed: u64) -> Self {
        let graph = Graph::new(&lock(&network.history));
        Self { network, dice: Dice::new(seed, 3), graph, past: Vec::new(), made: 0 }
    }

    /// Makes namespaces, definitions and the first objects.
    pub(super) fn begin(&mut self) {
        for namespace in NAMESPACES {
            self.send(
                Method::POST,
                "/api/v1/namespaces",
                &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
            );
        }
        for sort in SORTS.iter().filter(|s| is_custom(s)) {
            self.send(Method::POST, DEFINITIONS, &definition(sort));
        }
        for _ in 0..self.dice.pick(3..25) {
            self.create();
        }
    }

    /// Does things until told to stop.
    pub(super) async fn act_until(&mut self, end: Instant) {
        while Instant::now() < end {
            let pause = match self.dice.pick(0..10) {
                0..4 => 1..60,
                4..8 => 60..900,
                _ => 900..5000,
            };
            tokio::time::sleep(self.dice.ms(pause)).await;
            self.act();
        }
    }

    fn act(&mut self) {
        match self.dice.pick(0..100) {
            0..26 => self.create(),
            26..48 => self.delete(|k| !k.deleting()),
            48..56 => self.delete(Known::deleting),
            56..70 => self.edit(),
            70..76 => self.hold(),
            76..82 => self.let_go(),
            82..86 => self.touch(),
            86..90 => self.ring(),
            90..94 => self.family(),
            94..97 => self.chain(),
            _ => self.define(),
        }
    }

    fn present(&mut self) -> Vec<Known> {
        self.graph.follow(&lock(&self.network.history));
        let all = |sort: &'static Sort| self.graph.of(sort.group, sort.plural).map(move |object| Known { sort, object: object.clone() });
        SORTS.iter().flat_map(all).filter(|k| !k.sort.namespaced || NAMESPACES.contains(&k.namespace())).collect()
    }

    /// Somebody of whom this holds.
    fn one(&mut self, which: impl Fn(&Known) -> bool) -> Option<Known> {
        let present = self.present();
        any(&present.iter().filter(|k| which(k)).collect::<Vec<_>>(), &mut self.dice).cloned()
    }

    fn create(&mut self) {
        let (sort, namespace) = self.place();
        let present = self.present();
        let owners = owners(namespace, &present, &self.past, &mut self.dice);
        let finalizers: &[&str] = match self.dice.pick(0..40) {
            0..5 => &[HOLD],
            5 => &["orphan"],
            6 => &["foregroundDeletion"],
            _ => &[],
        };
        self.make(sort, namespace, &owners, finalizers);
        if self.dice.percent(4)
            && let Some(last) = self.past.last().cloned()
        {
            let itself = last.reference(&mut self.dice);
            self.network.merge(&last.path(), &json!({"metadata": {"ownerReferences": [itself]}}));
        }
    }

    /// A kind and, for it, a namespace.
    fn place(&mut self) -> (&'static Sort, &'static str) {
        let sort = &SORTS[self.dice.pick(0..SORTS.len() as u64) as usize];
        let namespace = if sort.namespaced { NAMESPACES[self.dice.pick(0..10) as usize / 7] } else { "" };
        (sort, namespace)
    }

    /// Makes an object under a name that somebody may have had before.
    fn make(&mut self, sort: &'static Sort, namespace: &str, owners: &[Value], finalizers: &[&str]) -> Option<Known> {
        if self.present().len() >= MOST {
            return None;
        }
        self.made += 1;
        let number = if self.dice.percent(40) { self.dice.pick(0..self.made) } else { self.made };
        let object = sort.object(&format!("{}-{number}", sort.kind.to_lowercase()), owners, finalizers);
        let (code, object) = self.network.act(Actor::User, Method::POST, &sort.path(namespace), &object);
        let made = code.is_success().then_some(Known { sort, object: Arc::new(object) })?;
        if self.past.len() >= REMEMBERED {
            self.past.remove(0);
        }
        self.past.push(made.clone());
        Some(made)
    }

    fn delete(&mut self, which: impl Fn(&Known) -> bool) {
        for _ in 0..1 + self.dice.pick(0..5) / 4 * 3 {
            let Some(known) = self.one(&which) else { return };
            self.send_delete(&known);
        }
    }

    fn send_delete(&mut self, known: &Known) {
        let body = match self.dice.pick(0..10) {
            0..3 => json!({"propagationPolicy": "Background"}),
            3..7 => json!({"propagationPolicy": "Foreground"}),
            7..9 => json!({"propagationPolicy": "Orphan"}),
            _ => json!({}),
        };
        self.send(Method::DELETE, &known.path(), &body);
    }

    /// References come, go, or change whether they block.
    fn edit(&mut self) {
        let Some(known) = self.one(|_| true) else { return };
        let present = self.present();
        let mut references = known.list("ownerReferences");
        match self.dice.pick(0..4) {
            0 if !references.is_empty() => drop(references.remove(self.dice.pick(0..references.len() as u64) as usize)),
            1 if !references.is_empty() => {
                let blocks = self.dice.percent(50);
                references.iter_mut().for_each(|r| r["blockOwnerDeletion"] = blocks.into());
            }
            2 => references = owners(known.namespace(), &present, &self.past, &mut self.dice),
            _ => references.extend(some_reference(known.namespace(), &present, &self.past, &mut self.dice)),
        }
        self.network.merge(&known.path(), &json!({"metadata": {"ownerReferences": references}}));
    }

    fn hold(&mut self) {
        let Some(known) = self.one(|k| !k.deleting()) else { return };
        let mut finalizers = known.list("finalizers");
        finalizers.push(HOLD.into());
        self.network.merge(&known.path(), &json!({"metadata": {"finalizers": finalizers}}));
    }

    fn let_go(&mut self) {
        if let Some(known) = self.one(|k| k.list("finalizers").contains(&HOLD.into())) {
            self.release(&known);
        }
    }

    fn release(&self, known: &Known) {
        let left: Vec<Value> = known.list("finalizers").into_iter().filter(|f| *f != HOLD).collect();
        self.network.merge(
            &known.path(),
            &json!({"metadata": {"finalizers": left, "resourceVersion": known.object["metadata"]["resourceVersion"]}}),
        );
    }

    /// Changes nothing that matters, again and again.
    fn touch(&mut self) {
        let Some(known) = self.one(|k| !k.list("ownerReferences").is_empty()) else { return };
        for n in 0..self.dice.pick(1..4) {
            self.network.merge(&known.path(), &json!({"metadata": {"annotations": {"touched": format!("{n}-{}", self.made)}}}));
        }
    }

    /// Objects that own each other in a ring, of any length from one; some or all of them are deleted.
    fn ring(&mut self) {
        let namespace = NAMESPACES[0];
        let length = self.dice.pick(1..6);
        let members: Vec<Known> = (0..length)
            .filter_map(|_| {
                let (sort, _) = self.place();
                let sort = if sort.namespaced { sort } else { &SORTS[0] };
                self.make(sort, namespace, &[], &[])
            })
            .collect();
        for (n, member) in members.iter().enumerate() {
            let mut owner = members[(n + 1) % members.len()].reference(&mut self.dice);
            if self.dice.percent(80) {
                owner["blockOwnerDeletion"] = true.into();
            }
            self.network.merge(&member.path(), &json!({"metadata": {"ownerReferences": [owner]}}));
        }
        for member in &members {
            if self.dice.percent(50) {
                self.send_delete(member);
            }
        }
    }

    /// One owner, there or not, and many dependents.
    fn family(&mut self) {
        let (sort, _) = self.place();
        let sort = if sort.namespaced { sort } else { &SORTS[5] };
        let Some(owner) = self.make(sort, NAMESPACES[0], &[], &[]) else { return };
        let never = self.dice.percent(40);
        for _ in 0..self.dice.pick(3..9) {
            let mut reference = owner.reference(&mut self.dice);
            if never {
                (reference["name"], reference["uid"]) = ("never".into(), format!("never-{}", self.made / 16).into());
            }
            let (child, _) = self.place();
            let child = if child.namespaced { child } else { &SORTS[1] };
            self.make(child, NAMESPACES[0], &[reference], &[]);
        }
        if self.dice.percent(50) {
            self.send_delete(&owner);
        }
    }

    /// One owns the next, and so on; the first is deleted.
    fn chain(&mut self) {
        let Some(first) = self.make(&SORTS[0], NAMESPACES[0], &[], &[]) else { return };
        let mut last = first.clone();
        for _ in 0..self.dice.pick(2..7) {
            let (sort, _) = self.place();
            let sort = if sort.namespaced { sort } else { &SORTS[1] };
            let reference = last.reference(&mut self.dice);
            let Some(next) = self.make(sort, NAMESPACES[0], &[reference], &[]) else { return };
            last = next;
        }
        self.send_delete(&first);
    }

    /// A definition goes, with all objects of its kind, or comes back.
    fn define(&mut self) {
        let Some(sort) = SORTS.iter().find(|s| s.group == FLEETING) else { return };
        let name = format!("{DEFINITIONS}/{}.{}", sort.plural, sort.group);
        if self.network.act(Actor::User, Method::GET, &name, &Value::Null).0.is_success() {
            self.present().iter().filter(|k| k.sort.group == FLEETING).for_each(|k| self.release(k));
            self.send(Method::DELETE, &name, &json!({}));
            self.network.struck(Fault::KindGone);
        } else {
            self.send(Method::POST, DEFINITIONS, &definition(sort));
        }
    }

    /// Gives every object that has owners one more, who never was there: all of them have to be judged.
    pub(super) fn put_in_doubt(&mut self) {
        for known in self.present().iter().filter(|k| !k.deleting() && !k.list("ownerReferences").is_empty()) {
            let mut references = known.list("ownerReferences");
            references.push(json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "doubt", "uid": "doubt"}));
            if known.sort.namespaced {
                self.network.merge(&known.path(), &json!({"metadata": {"ownerReferences": references}}));
            }
        }
    }

    /// Lets everything go that is held: from now on nobody but the collector stands in the way of anything.
    pub(super) fn settle(&mut self) {
        self.present().iter().for_each(|k| self.release(k));
    }

    fn send(&self, method: Method, path: &str, body: &Value) {
        // Refusals are part of life: the object may be gone.
        let _ = self.network.act(Actor::User, method, path, body);
    }
}

fn is_custom(sort: &Sort) -> bool {
    sort.group == FLEETING || sort.group == "example.com"
}

/// How long people act.
pub(super) const ACTING: Duration = Duration::from_secs(40);
