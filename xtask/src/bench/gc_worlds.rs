//! The worlds of `bench gc`: how each is made, how its deletion begins, and what a client that knows it all would send.

use serde_json::{Value, json};

use super::Options;
use super::stage::Stage;
use crate::Failure;

/// What is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// 100 Deployments × 100 pods, in background.
    Background,
    /// The same in foreground.
    Foreground,
    /// The same, Deployments and ReplicaSets, with everything let go that they own.
    Orphan,
    /// One owner of 50,000 ConfigMaps, in background.
    Wide,
    /// 200 ConfigMaps, each owned by the one before, in background.
    Chain,
    /// The same in foreground.
    ChainForeground,
    /// 1,000 rings of three ConfigMaps with blocking references, in foreground.
    Rings,
}

impl Case {
    /// All of them.
    pub const ALL: [Case; 7] =
        [Case::Background, Case::Foreground, Case::Orphan, Case::Wide, Case::Chain, Case::ChainForeground, Case::Rings];

    /// Its name in flags and figures.
    pub fn name(self) -> &'static str {
        match self {
            Case::Background => "background",
            Case::Foreground => "foreground",
            Case::Orphan => "orphan",
            Case::Wide => "wide",
            Case::Chain => "chain",
            Case::ChainForeground => "chain-foreground",
            Case::Rings => "rings",
        }
    }
}

/// A world that is there, and ways to end it.
pub struct World {
    /// What somebody deletes: the collector has to do the rest.
    pub begin: Vec<Value>,
    /// How many objects the collector then deletes or lets go, those included whose own deletion waits for it.
    pub objects: u64,
    /// Lists that are empty once all is done.
    pub ends: Vec<String>,
    /// What a client that knows it all would send instead: a deletion for each object, and what holds it only in foreground is released.
    pub bound: Vec<Value>,
    /// Over how many connections: one where each request has to wait for the one before.
    pub bound_connections: usize,
    /// What stays, to be cleared away afterwards: a list, and how many.
    pub stays: Option<(String, u64)>,
}

/// Connections of a client that keeps a server as busy as it can be.
pub const MANY: usize = 64;

/// Makes what a case is about in a namespace of its own.
pub fn make(stage: &Stage, case: Case, namespace: &str, options: &Options) -> Result<World, Failure> {
    let place =
        Place { stage, namespace, core: format!("/api/v1/namespaces/{namespace}"), apps: format!("/apis/apps/v1/namespaces/{namespace}") };
    stage.call(&["create", "namespace", namespace])?;
    match case {
        Case::Background | Case::Foreground | Case::Orphan => place.deployments(case, options.scaled(100), 100),
        Case::Wide => place.wide(options.scaled(50_000)),
        Case::Chain | Case::ChainForeground => place.chain(case, options.scaled(200)),
        Case::Rings => place.rings(options.scaled(1_000)),
    }
}

struct Place<'a> {
    stage: &'a Stage,
    namespace: &'a str,
    /// Path of the core kinds.
    core: String,
    apps: String,
}

impl Place<'_> {
    fn send(&self, what: &str, requests: &[Value]) -> Result<(), Failure> {
        self.stage.send(&format!("{}-{what}", self.namespace), requests, MANY, &[]).map(drop)
    }

    /// Name and uid of every object of a list, by name.
    fn uids(&self, path: &str) -> Result<Vec<(String, String)>, Failure> {
        let text = self.stage.get(path)?;
        let list: Value = serde_json::from_str(&text).map_err(|error| Failure::Machine(format!("{path}: {error}")))?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let one = |item: &Value| (text(&item["metadata"]["name"]), text(&item["metadata"]["uid"]));
        let mut all: Vec<_> = list["items"].as_array().into_iter().flatten().map(one).collect();
        all.retain(|(name, _)| name != "kube-root-ca.crt");
        all.sort();
        Ok(all)
    }

    fn deployments(&self, case: Case, owners: u64, pods: u64) -> Result<World, Failure> {
        let (deployments, sets, list) =
            (format!("{}/deployments", self.apps), format!("{}/replicasets", self.apps), format!("{}/pods", self.core));
        let spec = json!({"containers": [{"name": "main", "image": "registry.invalid/main:1"}]});
        let template = json!({"metadata": {"labels": {"app": "gc"}}, "spec": spec});
        let workload = json!({"replicas": 0, "selector": {"matchLabels": {"app": "gc"}}, "template": template});
        let body = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web-{n}"}, "spec": workload});
        self.send("deployments", &[post(&deployments, &body, owners)])?;
        let owned = |kind, name: &str, api, owner, (at, uid): &(String, String), spec: &Value| {
            json!({"apiVersion": api, "kind": kind, "spec": spec, "metadata": {
                "name": name, "labels": {"app": "gc"}, "ownerReferences": [reference("apps/v1", owner, at, uid)]}})
        };
        let set = |owner: &(String, String)| post(&sets, &owned("ReplicaSet", &owner.0, "apps/v1", "Deployment", owner, &workload), 1);
        self.send("sets", &self.uids(&deployments)?.iter().map(set).collect::<Vec<_>>())?;
        let made = self.uids(&sets)?;
        let pod =
            |owner: &(String, String)| post(&list, &owned("Pod", &format!("{}-{{n}}", owner.0), "v1", "ReplicaSet", owner, &spec), pods);
        self.send("pods", &made.iter().map(pod).collect::<Vec<_>>())?;

        let own = |policy: &str| delete(&format!("{deployments}/web-{{n}}"), policy, owners);
        let own_sets = |policy: &str| delete(&format!("{sets}/web-{{n}}"), policy, owners);
        let all = vec![deployments.clone(), sets.clone(), list.clone()];
        let all_pods =
            |policy: &str| made.iter().map(|(name, _)| delete(&format!("{list}/{name}-{{n}}"), policy, pods)).collect::<Vec<_>>();
        let by_hand = || [all_pods("Background"), vec![own_sets("Background"), own("Background")]].concat();
        let world = |begin, objects, ends, bound| World { begin, objects, ends, bound, bound_connections: MANY, stays: None };
        Ok(match case {
            Case::Orphan => {
                let let_go = |(name, uid): &(String, String)| without(&format!("{list}/{name}-{{n}}"), uid, pods);
                let bound = [made.iter().map(let_go).collect(), vec![own_sets("Background"), own("Background")]].concat();
                let begin = vec![own("Orphan"), own_sets("Orphan")];
                World { stays: Some((list, owners * pods)), ..world(begin, owners * (pods + 2), vec![deployments, sets], bound) }
            }
            Case::Foreground => world(vec![own("Foreground")], owners * (pods + 2), all, by_hand()),
            _ => world(vec![own("Background")], owners * (pods + 1), all, by_hand()),
        })
    }

    fn wide(&self, dependents: u64) -> Result<World, Failure> {
        let list = format!("{}/configmaps", self.core);
        self.send("owner", &[post(&list, &config_map("owner", &[]), 1)])?;
        let owner = reference_to(self.uids(&list)?.first());
        self.send("dependents", &[post(&list, &config_map("part-{n}", &[owner]), dependents)])?;
        Ok(World {
            begin: vec![delete(&format!("{list}/owner"), "Background", 1)],
            objects: dependents,
            bound: vec![delete(&format!("{list}/part-{{n}}"), "Background", dependents), delete(&format!("{list}/owner"), "Background", 1)],
            bound_connections: MANY,
            ends: vec![list],
            stays: None,
        })
    }

    fn chain(&self, case: Case, depth: u64) -> Result<World, Failure> {
        let list = format!("{}/configmaps", self.core);
        self.send("links", &[post(&list, &config_map("link-{n}", &[]), depth)])?;
        let links = self.uids(&list)?;
        let owned = links.iter().zip(links.iter().skip(1)).map(|(owner, (name, _))| own(&format!("{list}/{name}"), owner));
        self.send("owners", &owned.collect::<Vec<_>>())?;
        let paths: Vec<String> = links.iter().map(|(name, _)| format!("{list}/{name}")).collect();
        let foreground = case == Case::ChainForeground;
        let policy = if foreground { "Foreground" } else { "Background" };
        let mut bound: Vec<Value> = paths.iter().map(|path| delete(path, policy, 1)).collect();
        if foreground {
            bound.extend(paths.iter().rev().map(|path| merge(path, json!({"metadata": {"finalizers": null}}))));
        }
        Ok(World {
            begin: paths.first().map(|path| delete(path, policy, 1)).into_iter().collect(),
            objects: if foreground { depth } else { depth - 1 },
            ends: vec![list],
            bound,
            bound_connections: 1,
            stays: None,
        })
    }

    fn rings(&self, rings: u64) -> Result<World, Failure> {
        let list = format!("{}/configmaps", self.core);
        self.send("members", &[post(&list, &config_map("member-{n}", &[]), 3 * rings)])?;
        let members = self.uids(&list)?;
        let ring = |ring: &[(String, String)]| -> Vec<Value> {
            let owners = ring.iter().cycle().skip(ring.len() - 1);
            ring.iter().zip(owners).map(|((name, _), owner)| own(&format!("{list}/{name}"), owner)).collect()
        };
        self.send("owners", &members.chunks(3).flat_map(ring).collect::<Vec<_>>())?;
        // The n-th of each ring, by path.
        let nth = |n: usize| members.iter().skip(n).step_by(3).map(|(name, _)| format!("{list}/{name}"));
        let deleted = |n: usize, policy: &'static str| nth(n).map(move |path| delete(&path, policy, 1));
        let released = |n: usize| nth(n).map(|path| merge(&path, json!({"metadata": {"finalizers": null}})));
        let bound = deleted(0, "Foreground").chain(deleted(1, "Foreground")).chain(deleted(2, "Background"));
        Ok(World {
            begin: deleted(0, "Foreground").collect(),
            objects: 3 * rings,
            bound: bound.chain(released(1)).chain(released(0)).collect(),
            bound_connections: MANY,
            ends: vec![list],
            stays: None,
        })
    }
}

/// A ConfigMap of which nobody exists, in the hands of a live collector: it is gone soon.
pub fn garbage(namespace: &str) -> Value {
    let nobody = reference("v1", "ConfigMap", "nobody", "00000000-0000-4000-8000-000000000000");
    post(&format!("/api/v1/namespaces/{namespace}/configmaps"), &config_map("garbage", &[nobody]), 1)
}

fn config_map(name: &str, owners: &[Value]) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "ownerReferences": owners}, "data": {"key": "value"}})
}

fn reference(api_version: &str, kind: &str, name: &str, uid: &str) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "blockOwnerDeletion": true})
}

fn reference_to(owner: Option<&(String, String)>) -> Value {
    owner.map_or(Value::Null, |(name, uid)| reference("v1", "ConfigMap", name, uid))
}

/// So many requests that create what is called by its number.
pub fn post(path: &str, body: &Value, count: u64) -> Value {
    json!({"method": "POST", "path": path, "body": body, "count": count})
}

/// So many requests that delete what is called by its number.
pub fn delete(path: &str, policy: &str, count: u64) -> Value {
    // Pods that no node runs have nobody to wait for, with a grace period or without.
    let body = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy});
    json!({"method": "DELETE", "path": path, "body": body, "count": count})
}

fn merge(path: &str, body: Value) -> Value {
    json!({"method": "PATCH", "path": path, "type": "application/merge-patch+json", "body": body})
}

/// Makes a ConfigMap another's.
fn own(path: &str, owner: &(String, String)) -> Value {
    merge(path, json!({"metadata": {"ownerReferences": [reference_to(Some(owner))]}}))
}

/// Takes the references to an owner away, as the collector does.
fn without(path: &str, uid: &str, count: u64) -> Value {
    let body = json!({"metadata": {"ownerReferences": [{"$patch": "delete", "uid": uid}]}});
    json!({"method": "PATCH", "path": path, "type": "application/strategic-merge-patch+json", "body": body, "count": count})
}
