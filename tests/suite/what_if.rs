//! What `evenkeel plan --if-deleted` says, held against what then really happens: random owner graphs on a server in this process, with the
//! whole manager at work in virtual time.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use evenkeel_api::{Key, Kind, OwnerReference, Partial, Resource, Version, Watched};
use evenkeel_cache::{Entry, Fold, Headers, Mapping, Stores};
use evenkeel_garbage_collector::what_if::{Fate, Node, Tree, if_deleted};
use evenkeel_plan::Propagation;
use evenkeel_tests::behaviours::world::World;
use evenkeel_tests::recorded::chance::mix;
use evenkeel_tests::recorded::virtual_time::{in_virtual_time, zero};
use evenkeel_tests::transport::Transport;
use serde_json::{Value, json};

/// Each seed has a graph of its own, in a namespace of its own.
const SEEDS: std::ops::Range<u64> = 0..150;

/// Until nothing moves any more; virtual, so it costs next to nothing.
const REST: Duration = Duration::from_secs(180);

/// Kinds of the graphs. Of cluster roles only one stands in each, as an owner.
fn kinds() -> [Kind; 5] {
    [
        Resource::found("", "v1", "configmaps", "ConfigMap", true),
        Resource::found("", "v1", "secrets", "Secret", true),
        Resource::found("", "v1", "serviceaccounts", "ServiceAccount", true),
        &evenkeel_api::REPLICATION_CONTROLLERS,
        Resource::found("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", false),
    ]
}

/// Numbers that a seed gives, one after another.
struct Draw(u64, u64);

impl Draw {
    fn below(&mut self, limit: usize) -> usize {
        self.1 += 1;
        (mix(self.0 ^ mix(self.1)) % limit as u64) as usize
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }
}

struct Client(Box<dyn Transport>);

impl Client {
    async fn call(&mut self, method: &str, path: &str, body: Option<Value>) -> Value {
        let headers = [("Content-Type".to_owned(), Some("application/merge-patch+json".to_owned()))];
        let headers = if method == "PATCH" { &headers[..] } else { &[] };
        let answer = self.0.call(method, path, headers, body.map(|body| Bytes::from(body.to_string()))).await.expect("an answer");
        assert!(answer.status.is_success(), "{method} {path}: {}", answer.value());
        answer.value()
    }
}

/// One graph: what is deleted in the end, and how.
struct Graph {
    namespace: String,
    root: (Kind, Key),
    propagation: Option<Propagation>,
}

fn reference(kind: Kind, object: &Value, blocks: bool) -> Value {
    let meta = &object["metadata"];
    let mut reference = json!({"apiVersion": kind.api_version(), "kind": kind.kind, "name": meta["name"], "uid": meta["uid"]});
    if blocks {
        reference["blockOwnerDeletion"] = true.into();
    }
    reference
}

fn path(kind: Kind, key: &Key) -> String {
    kind.object_path(&key.namespace, &key.name, None)
}

/// Makes the graph of a seed: objects that own later ones, by references that block or do not, held by finalizers or not, now and then in a
/// ring, or with an owner that is not there or of a kind that nobody serves.
async fn grow(client: &mut Client, seed: u64) -> Graph {
    let mut draw = Draw(seed, 0);
    let namespace = format!("graph-{seed}");
    client.call("POST", "/api/v1/namespaces", Some(json!({"metadata": {"name": namespace}}))).await;
    let [.., cluster_role] = kinds();
    let mut made: Vec<(Kind, Value)> = Vec::new();
    for number in 0..3 + draw.below(12) {
        let kind = if number == 0 && draw.one_in(4) { cluster_role } else { kinds()[draw.below(4)] };
        let mut owners: Vec<Value> = Vec::new();
        for _ in 0..if made.is_empty() { 0 } else { draw.below(4) } {
            let (owner_kind, owner) = &made[draw.below(made.len())];
            if owners.iter().all(|other| other["uid"] != owner["metadata"]["uid"]) {
                owners.push(reference(owner_kind, owner, draw.one_in(2)));
            }
        }
        if !owners.is_empty() && draw.one_in(12) {
            owners.push(json!({"apiVersion": "v1", "kind": "Secret", "name": "never", "uid": format!("never-{seed}")}));
        }
        if draw.one_in(20) {
            owners.push(json!({"apiVersion": "example.com/v1", "kind": "Alien", "name": "alien", "uid": format!("alien-{seed}")}));
        }
        let mut meta = json!({"name": format!("o-{seed}-{number}"), "ownerReferences": owners});
        if draw.one_in(6) {
            meta["finalizers"] = json!(["example.com/hold"]);
        } else if made.is_empty() && draw.one_in(4) {
            let policy = ["orphan", "foregroundDeletion"][draw.below(2)];
            meta["finalizers"] = json!([policy]);
        }
        let mut object = json!({"metadata": meta});
        if kind.plural == "replicationcontrollers" {
            let labels = json!({"app": format!("{seed}-{number}")});
            let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "app:1"}]}});
            object["spec"] = json!({"replicas": 0, "selector": labels, "template": template});
        }
        let object = client.call("POST", &kind.collection_path(Some(&namespace)), Some(object)).await;
        made.push((kind, object));
    }
    // An owner of some that is owned by one of them, or by one that those own: a ring.
    if draw.one_in(2) {
        let (first, last) = (draw.below(made.len()), draw.below(made.len()));
        let (kind, object) = &made[first];
        let (owner_kind, owner) = &made[last];
        if kind.namespaced && first != last {
            let mut owners = object["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
            if owners.iter().all(|other| other["uid"] != owner["metadata"]["uid"]) {
                owners.push(reference(owner_kind, owner, draw.one_in(2)));
            }
            let patch = json!({"metadata": {"ownerReferences": owners}});
            client
                .call("PATCH", &path(kind, &Key::new(&*namespace, object["metadata"]["name"].as_str().expect("named"))), Some(patch))
                .await;
        }
    }
    let (kind, object) = &made[draw.below(made.len().min(3))];
    let place = if kind.namespaced { &*namespace } else { "" };
    let root = (*kind, Key::new(place, object["metadata"]["name"].as_str().expect("named")));
    let propagation = [None, Some(Propagation::Background), Some(Propagation::Foreground), Some(Propagation::Orphan)][draw.below(4)];
    Graph { namespace, root, propagation }
}

/// All objects there are, with their owners' uids.
type Picture = BTreeMap<(Kind, Key), Vec<String>>;

/// What a server has, as a cache shows it, and at one look.
async fn look(client: &mut Client) -> (Stores, Picture) {
    let mut mapping = Mapping::default();
    let mut stores = Stores::default();
    let mut picture = Picture::new();
    for kind in kinds() {
        mapping.add(&kind.api_version(), kind.kind, kind);
        let list = client.call("GET", &kind.collection_path(None), None).await;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        for item in &items {
            let meta = &item["metadata"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let owners = meta["ownerReferences"].as_array().into_iter().flatten().map(|owner| text(&owner["uid"])).collect();
            picture.insert((kind, Key::new(text(&meta["namespace"]), text(&meta["name"]))), owners);
        }
        let objects = items.iter().map(|item| Partial::read(item.to_string().as_bytes()).expect("a stored object")).collect();
        let version = list["metadata"]["resourceVersion"].as_str().and_then(Version::parse).expect("a version");
        let mut store = Headers::default();
        store.fold(Entry::Replace { version, objects }).expect("a first list");
        stores = stores.with_headers(kind, store);
    }
    (stores.with_mapping(mapping), picture)
}

/// Whether an object has fared as was said; `None`: it is not there any more.
fn as_told(node: &Node, found: Option<&Vec<String>>) -> bool {
    match (&node.fate, found) {
        (Fate::Open, _) | (Fate::Goes { .. }, None) | (Fate::Stays { deleting: true, .. }, Some(_)) => true,
        (Fate::Stays { deleting: false, .. }, Some(owners)) => {
            let uids = |references: &[OwnerReference]| references.iter().map(|owner| owner.uid.to_string()).collect::<Vec<_>>();
            let (keeps, may_lose) = (uids(&node.keeps), uids(&node.may_lose));
            keeps.iter().all(|owner| owners.contains(owner)) && owners.iter().all(|owner| keeps.contains(owner) || may_lose.contains(owner))
        }
        _ => false,
    }
}

/// What is different from what was said; empty when all is as it was to be.
fn differences(graph: &Graph, tree: &Tree, before: &Picture, after: &Picture) -> Vec<String> {
    let told: BTreeMap<(Kind, &Key), &Node> = tree.nodes.iter().map(|node| ((node.kind, &node.key), node)).collect();
    let ours = before.iter().filter(|((_, key), _)| *key.namespace == *graph.namespace || *key == graph.root.1);
    let wrong = ours.filter_map(|(place, owners)| {
        let found = after.get(place);
        // What is not told of stays as it is.
        let right = told.get(&(place.0, &place.1)).map_or(found == Some(owners), |node| as_told(node, found));
        (!right).then(|| format!("{}/{} had owners {owners:?}, has {found:?}", place.0, place.1.name))
    });
    wrong.collect()
}

#[test]
fn what_is_told_to_follow_a_delete_follows() {
    in_virtual_time(async {
        let mut world = World::new(7, zero());
        world.start_manager();
        let mut client = Client(world.client());
        let mut graphs = Vec::new();
        for seed in SEEDS {
            graphs.push((seed, grow(&mut client, seed).await));
        }
        tokio::time::sleep(REST).await;
        let (stores, before) = look(&mut client).await;
        // A root may have gone already: owners that nobody has were among those of its ring.
        let told: Vec<(u64, Graph, Tree)> = graphs
            .into_iter()
            .filter_map(|(seed, graph)| {
                let tree = if_deleted(&stores, graph.root.0, &graph.root.1, graph.propagation)?;
                Some((seed, graph, tree))
            })
            .collect();
        for (_, Graph { root: (kind, key), propagation, .. }, _) in &told {
            let options = propagation.map(|propagation| json!({"propagationPolicy": propagation.as_str()}));
            client.call("DELETE", &path(kind, key), options).await;
        }
        tokio::time::sleep(REST).await;
        let (_, after) = look(&mut client).await;
        assert_eq!(world.manager_fault().await, None);
        let mut failed = String::new();
        for (seed, graph, tree) in &told {
            let wrong = differences(graph, tree, &before, &after);
            if !wrong.is_empty() {
                failed.push_str(&format!("seed {seed}, {:?}: {}\n{}\n", graph.propagation, wrong.join("\n"), tree.tell(true)));
            }
        }
        assert!(failed.is_empty(), "{failed}");
        // It is no proof where nothing happens.
        let count = |wanted: fn(&Fate) -> bool| told.iter().flat_map(|(.., tree)| &tree.nodes).filter(|node| wanted(&node.fate)).count();
        let goes = count(|fate| matches!(fate, Fate::Goes { .. }));
        let stays = count(|fate| matches!(fate, Fate::Stays { deleting: false, .. }));
        let held = count(|fate| matches!(fate, Fate::Stays { deleting: true, .. }));
        let open = count(|fate| *fate == Fate::Open);
        let enough = told.len() > 125 && goes > 120 && stays > 150 && held > 25 && open < 20;
        assert!(enough, "{} graphs: {goes} go, {stays} stay, {held} are held, {open} are open", told.len());
        world.stop_manager().await;
    })
    .expect("a runtime");
}
