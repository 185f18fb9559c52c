use std::collections::{BTreeMap, BTreeSet};

use evenkeel_api::{Kind, Uid, Version};
use evenkeel_plan::{Answer, Done, Failure, FailureKind, Target, Write};
use jiff::Timestamp;
use serde_json::{Value, json};

/// One entry of the log that the watch brings.
pub struct Step {
    pub kind: Kind,
    pub object: Value,
    pub deleted: bool,
}

/// Objects of one namespace, with the rules of workloads 1.4.
#[derive(Default)]
pub struct Server {
    objects: BTreeMap<(Kind, String), Value>,
    log: Vec<Step>,
    version: u64,
    uids: u64,
}

impl Server {
    pub fn get(&self, kind: Kind, name: &str) -> Option<&Value> {
        self.objects.get(&(kind, name.to_owned()))
    }

    pub fn names(&self, kind: Kind) -> Vec<String> {
        self.objects.keys().filter(|(k, _)| *k == kind).map(|(_, name)| name.clone()).collect()
    }

    pub fn take_log(&mut self) -> Vec<Step> {
        std::mem::take(&mut self.log)
    }

    pub fn give_back(&mut self, rest: Vec<Step>) {
        self.log = rest;
    }

    pub fn put(&mut self, kind: Kind, mut object: Value) {
        self.version = self.version.max(10) + 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.log.push(Step { kind, object: object.clone(), deleted: false });
        self.objects.insert((kind, object["metadata"]["name"].as_str().unwrap().to_owned()), object);
    }

    pub fn remove(&mut self, kind: Kind, name: &str) {
        let mut object = self.objects.remove(&(kind, name.to_owned())).unwrap_or_else(|| panic!("no {name}"));
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.log.push(Step { kind, object, deleted: true });
    }

    pub fn send(&mut self, write: &Write, now: Timestamp) -> Done {
        match write {
            Write::Create { kind, key, controller, body } => self.create(kind, &key.name, controller.as_ref(), body, now),
            Write::Patch { target, body, .. } => self.patch(target, body),
            Write::Delete { target, .. } => self.delete(target, now),
            Write::Replace { target, body, .. } => self.replace_status(target, body),
            Write::ConfirmOwner { target } => self.confirm(target),
            other => panic!("sets have no use for {other:?}"),
        }
    }

    fn answer(&self, kind: Kind, name: &str) -> Done {
        let meta = &self.get(kind, name).unwrap()["metadata"];
        Done::Written(Answer { uid: Uid::new(meta["uid"].as_str().unwrap()), version: version(meta), gone: false })
    }

    fn create(&mut self, kind: Kind, name: &str, controller: Option<&Uid>, body: &Value, now: Timestamp) -> Done {
        if let Some(there) = self.get(kind, name) {
            let owners = there["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
            let ours = owners.iter().any(|o| o["controller"] == true && controller.is_some_and(|c| o["uid"] == c.to_string()));
            return match (ours, self.answer(kind, name)) {
                (true, Done::Written(answer)) => Done::Existed(answer),
                _ => failed(FailureKind::AlreadyExists, format!("pods \"{name}\" already exists")),
            };
        }
        self.uids += 1;
        let mut object = body.clone();
        object["metadata"]["name"] = name.into();
        object["metadata"]["namespace"] = "ns".into();
        object["metadata"]["uid"] = format!("uid-made-{}", self.uids).into();
        object["metadata"]["creationTimestamp"] = now.to_string().into();
        object["status"] = json!({"phase": "Pending"});
        self.put(kind, object);
        self.answer(kind, name)
    }

    /// Owner references merge by uid; `$patch: delete` takes one away. A patch that changes nothing leaves the version alone.
    fn patch(&mut self, target: &Target, body: &Value) -> Done {
        let name = &*target.key.name;
        let Some(there) = self.get(target.kind, name) else {
            return failed(FailureKind::NotFound, format!("pods \"{name}\" not found"));
        };
        if body["metadata"]["uid"] != there["metadata"]["uid"] {
            return failed(FailureKind::Invalid, "metadata.uid: field is immutable".into());
        }
        let mut object = there.clone();
        let mut owners = object["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
        for entry in body["metadata"]["ownerReferences"].as_array().unwrap() {
            match owners.iter().position(|o| o["uid"] == entry["uid"]) {
                Some(at) if entry["$patch"] == "delete" => drop(owners.remove(at)),
                Some(at) => owners[at] = entry.clone(),
                None if entry["$patch"] == "delete" => {}
                None => owners.insert(0, entry.clone()),
            }
        }
        if owners.iter().filter(|o| o["controller"] == true).count() > 1 {
            return failed(FailureKind::Invalid, "metadata.ownerReferences: only one reference can have Controller set to true".into());
        }
        object["metadata"]["ownerReferences"] = owners.into();
        if object["metadata"]["ownerReferences"] == json!([]) {
            object["metadata"].as_object_mut().unwrap().shift_remove("ownerReferences");
        }
        if object != *there {
            self.put(target.kind, object);
        }
        self.answer(target.kind, name)
    }

    fn delete(&mut self, target: &Target, now: Timestamp) -> Done {
        let name = &*target.key.name;
        let Some(there) = self.get(target.kind, name).filter(|o| o["metadata"]["uid"] == target.uid.to_string()) else {
            return Done::AlreadyGone;
        };
        if target.version.is_some_and(|v| version(&there["metadata"]) != Some(v)) {
            return failed(FailureKind::Conflict, format!("the ResourceVersion of {name} is not the one in the precondition"));
        }
        let answer = Answer { uid: target.uid.clone(), version: None, gone: false };
        let ended = matches!(there["status"]["phase"].as_str(), Some("Failed" | "Succeeded"));
        let held = there["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
        if held || (!ended && there["spec"].get("nodeName").is_some()) {
            let mut object = there.clone();
            if object["metadata"].get("deletionTimestamp").is_none() {
                object["metadata"]["deletionTimestamp"] = now.to_string().into();
                self.put(target.kind, object);
            }
        } else {
            self.remove(target.kind, name);
        }
        Done::Written(answer)
    }

    fn replace_status(&mut self, target: &Target, body: &Value) -> Done {
        let name = &*target.key.name;
        let Some(there) = self.get(target.kind, name).filter(|o| o["metadata"]["uid"] == target.uid.to_string()) else {
            return failed(FailureKind::NotFound, format!("{name} not found"));
        };
        if target.version.is_some_and(|v| version(&there["metadata"]) != Some(v)) {
            return failed(FailureKind::Conflict, format!("{name}: the object has been modified"));
        }
        let status = &body["status"];
        let n = |field: &str| status[field].as_i64().unwrap_or(0);
        assert!(n("availableReplicas") <= n("readyReplicas") && n("readyReplicas") <= n("replicas"), "the server refuses {status}");
        assert!(n("fullyLabeledReplicas") <= n("replicas") && status["replicas"].is_number(), "the server refuses {status}");
        if *status != there["status"] {
            let mut object = there.clone();
            object["status"] = status.clone();
            self.put(target.kind, object);
        }
        self.answer(target.kind, name)
    }

    fn confirm(&self, target: &Target) -> Done {
        let key = &target.key;
        match self.get(target.kind, &key.name).map(|o| &o["metadata"]) {
            None => failed(FailureKind::OwnerGone, format!("can't recheck DeletionTimestamp: {} not found", key.name)),
            Some(meta) if meta["uid"] != target.uid.to_string() => failed(FailureKind::OwnerGone, format!("original {key} is gone")),
            Some(meta) if meta.get("deletionTimestamp").is_some() => failed(FailureKind::OwnerGone, format!("{key} has just been deleted")),
            Some(_) => self.answer(target.kind, &key.name),
        }
    }

    /// Uids of all pods: no two may share one.
    pub fn distinct_uids(&self, kind: Kind) -> usize {
        self.objects.iter().filter(|((k, _), _)| *k == kind).map(|(_, o)| o["metadata"]["uid"].to_string()).collect::<BTreeSet<_>>().len()
    }
}

fn version(meta: &Value) -> Option<Version> {
    Version::parse(meta["resourceVersion"].as_str()?)
}

fn failed(kind: FailureKind, message: String) -> Done {
    Done::Failed(Failure { kind, message })
}
