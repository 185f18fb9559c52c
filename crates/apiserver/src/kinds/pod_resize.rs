//! What a resize of a pod may change (core `ValidatePodResize`).

use serde_json::{Map, Value};

use super::errors::Errors;
use super::metadata::{self, Flavour};
use super::pod_spec::MIRROR;
use super::{Env, pod};
use crate::json;
use crate::meta;

const LISTS: [&str; 2] = ["initContainers", "containers"];

/// A resize.
pub(crate) fn resize(new: &Value, old: &Value, e: &mut Errors, env: &Env<'_>) {
    let before = e.causes.clone();
    metadata::update(Flavour::Core, new, old, e);
    metadata::whole(env.served, meta::dns_subdomain, Flavour::Core, new, e);
    pod::meta_and_spec(new, e);
    let never = if old["metadata"]["annotations"].get(MIRROR).is_some() {
        Some("static pods cannot be resized")
    } else if json::text(old, "spec.os.name") == "windows" {
        Some("windows pods cannot be resized")
    } else {
        None
    };
    if let Some(why) = never {
        e.causes = before;
        e.forbidden("", why);
        return;
    }
    let (was, now) = (json::text(old, "status.qosClass"), pod::qos_class(&new["spec"]));
    if was != now {
        e.invalid_text("spec", json::text(new, "status.qosClass"), "Pod QOS Class may not change as a result of resizing");
    }
    let running = json::list(old, "status.containerStatuses").iter().find(|c| c["state"].get("running").is_some());
    if running.is_some_and(|c| c.get("resources").is_none()) {
        e.forbidden("spec", "Pod running on node without support for resize");
    }
    if !same_containers(new, old, e) {
        return;
    }
    for list in LISTS {
        for (i, (n, o)) in pairs(new, old, list).enumerate() {
            for k in ["requests", "limits"] {
                let keys = |c: &Value| json::object(&c["resources"], k).cloned().unwrap_or_default();
                let (n, o) = (keys(n), keys(o));
                if o.keys().any(|k| !n.contains_key(k)) {
                    e.forbidden(&format!("spec.{list}[{i}].resources.{k}"), &format!("resource {k} cannot be removed"));
                }
            }
        }
    }
    let mut munged = new["spec"].clone();
    for list in ["containers", "initContainers"] {
        mutable_amounts(&mut munged, &old["spec"], list, e);
    }
    if e.causes.len() == before.len() && munged != old["spec"] {
        e.forbidden("spec", "only cpu and memory resources are mutable");
    }
}

fn pairs<'a>(new: &'a Value, old: &'a Value, list: &str) -> impl Iterator<Item = (&'a Value, &'a Value)> {
    json::list(&new["spec"], list).iter().zip(json::list(&old["spec"], list))
}

fn same_containers(new: &Value, old: &Value, e: &mut Errors) -> bool {
    let before = e.len();
    for list in ["containers", "initContainers"] {
        if json::list(&new["spec"], list).len() != json::list(&old["spec"], list).len() {
            e.forbidden(&format!("spec.{list}"), &format!("{list} may not be added or removed on resize"));
            continue;
        }
        for (i, _) in pairs(new, old, list).enumerate().filter(|(_, (n, o))| n["name"] != o["name"]) {
            e.forbidden(&format!("spec.{list}[{i}].name"), &format!("{list} may not be renamed or reordered on resize"));
        }
    }
    e.len() == before
}

/// Takes over the old amounts of processor and memory; anything else that differs is a fault.
fn mutable_amounts(new: &mut Value, old: &Value, list: &str, e: &mut Errors) {
    let was = json::list(old, list);
    for (i, (c, o)) in new.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().zip(was).enumerate() {
        let changed = c != o;
        let mut resources = Map::new();
        for k in ["limits", "requests"] {
            let old_amounts = json::object(&o["resources"], k);
            let mut amounts = json::object(&c["resources"], k).cloned().unwrap_or_default();
            for name in ["cpu", "memory"] {
                amounts.shift_remove(name);
                if let Some(v) = old_amounts.and_then(|a| a.get(name)) {
                    amounts.insert(name.into(), v.clone());
                }
            }
            if !amounts.is_empty() {
                resources.insert(k.into(), amounts.into());
            }
        }
        c["resources"] = resources.into();
        let sidecar = json::text(o, "restartPolicy") == "Always";
        if list == "containers" {
            if c != o {
                e.forbidden("spec", "only cpu and memory resources are mutable");
            }
        } else if !sidecar {
            if changed {
                e.forbidden("spec", "resources for non-sidecar init containers are immutable");
            }
        } else if c != o {
            let why = "only cpu and memory resources for init or sidecar containers are mutable";
            e.forbidden(&format!("spec.initContainers[{i}]"), why);
        }
    }
}
