//! What of a pod may change (core `ValidatePodUpdate`, `ValidatePodEphemeralContainersUpdate`).

use serde_json::{Map, Value, json};

use super::errors::Errors;
use super::metadata::{self, Flavour};
use super::pod_containers::{image_blanks, shown};
use super::pod_spec::MIRROR;
use super::{Env, difference, internal, pod, pod_scheduling, pod_spec};
use crate::json;
use crate::meta;

const MUTABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// What must hold between old and new.
pub(crate) fn validate(new: &Value, old: &Value, e: &mut Errors, _: &Env<'_>) {
    annotations(new, old, e);
    for which in ["containers", "initContainers"] {
        let (n, o) = (json::list(&new["spec"], which), json::list(&old["spec"], which));
        if n.len() != o.len() {
            e.forbidden(&format!("spec.{which}"), "pod updates may not add or remove containers");
            return;
        }
        for (i, c) in n.iter().enumerate() {
            let at = format!("spec.{which}[{i}]");
            if json::text(c, "image").is_empty() {
                e.required(&format!("{at}.image"), "");
            }
            image_blanks(&at, c, e);
        }
    }
    if !deadline(new, old, e) {
        return;
    }
    tolerations(new, old, e);
    gates(new, old, e);
    let (new, old) = (&new["spec"], &old["spec"]);
    if new == old {
        return;
    }
    let mut munged = new.clone();
    munge(&mut munged, old, e);
    if munged != *old {
        let d = difference::unified(&internal::form("v1.PodSpec", old), &internal::form("v1.PodSpec", &munged));
        e.forbidden("spec", &format!("{MUTABLE}\n{d}"));
    }
}

/// Annotations that only the maker of a pod can set.
fn annotations(new: &Value, old: &Value, e: &mut Errors) {
    let none = Map::new();
    let map = |d: &'_ Value| json::object(d, "metadata.annotations").cloned().unwrap_or_else(|| none.clone());
    let (n, o) = (map(new), map(old));
    for (k, was) in &o {
        if n.get(k) == Some(was) {
            continue;
        }
        let at = format!("metadata.annotations[{k}]");
        if k.starts_with(APP_ARMOR) {
            e.forbidden(&at, "may not remove or update AppArmor annotations");
        }
        if k == MIRROR {
            e.forbidden(&at, "may not remove or update mirror pod annotation");
        }
    }
    for k in n.keys().filter(|k| !o.contains_key(*k)) {
        let at = format!("metadata.annotations[{k}]");
        if k.starts_with(APP_ARMOR) {
            e.forbidden(&at, "may not add AppArmor annotations");
        }
        if k == MIRROR {
            e.forbidden(&at, "may not add mirror pod annotation");
        }
    }
    pod_spec::annotations("metadata.annotations", Some(&n), &new["spec"], e);
}

/// A deadline only comes nearer. Whether the rest is looked at.
fn deadline(new: &Value, old: &Value, e: &mut Errors) -> bool {
    let path = "spec.activeDeadlineSeconds";
    match (json::int(new, path), json::int(old, path)) {
        (Some(n), was) => {
            if !(0..=i64::from(i32::MAX)).contains(&n) {
                e.invalid(path, &n.into(), "must be between 0 and 2147483647, inclusive");
                return false;
            }
            if was.is_some_and(|o| o < n) {
                e.invalid(path, &n.into(), "must be less than or equal to previous value");
                return false;
            }
        }
        (None, Some(_)) => e.invalid(path, &Value::Null, "must not update from a positive integer to nil value"),
        (None, None) => {}
    }
    true
}

/// Tolerations may come, and last longer or shorter; none may go.
fn tolerations(new: &Value, old: &Value, e: &mut Errors) {
    let path = "spec.tolerations";
    let (n, o) = (json::list(new, path), json::list(old, path));
    let bare = |t: &Value| {
        let mut t = t.clone();
        json::take(&mut t, "tolerationSeconds");
        t
    };
    for t in o {
        if !n.iter().any(|x| bare(x) == bare(t)) {
            e.forbidden(path, "existing toleration can not be modified except its tolerationSeconds");
            return;
        }
    }
    pod_scheduling::tolerations(path, n, e);
}

fn gates(new: &Value, old: &Value, e: &mut Errors) {
    let (n, o) = (json::list(new, "spec.schedulingGates"), json::list(old, "spec.schedulingGates"));
    for (i, g) in n.iter().enumerate() {
        let name = json::text(g, "name");
        let last = !n[i + 1..].iter().any(|x| json::text(x, "name") == name);
        if last && !o.iter().any(|x| json::text(x, "name") == name) {
            let why = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            e.forbidden(&format!("spec.schedulingGates[{i}].name"), &why);
        }
    }
}

/// Takes over from the old spec what may change.
fn munge(new: &mut Value, old: &Value, e: &mut Errors) {
    for which in ["containers", "initContainers"] {
        let was = json::list(old, which);
        for (c, o) in new.get_mut(which).and_then(Value::as_array_mut).into_iter().flatten().zip(was) {
            json::put(c, "image", o.get("image").cloned());
        }
    }
    for k in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        json::put(new, k, old.get(k).cloned());
    }
    let (n, o) = (json::int(new, "terminationGracePeriodSeconds"), json::int(old, "terminationGracePeriodSeconds"));
    if n == Some(1) && o.is_some_and(|o| o < 0) {
        json::put(new, "terminationGracePeriodSeconds", o.map(Value::from));
    }
    // A gated pod may still be told more closely where to go.
    if json::list(old, "schedulingGates").is_empty() {
        return;
    }
    if new.get("nodeSelector") != old.get("nodeSelector") {
        node_selector(new, old, e);
        json::put(new, "nodeSelector", old.get("nodeSelector").cloned());
    }
    node_affinity(new, old, e);
}

fn node_selector(new: &Value, old: &Value, e: &mut Errors) {
    let n = json::object(new, "nodeSelector");
    for (k, v) in json::object(old, "nodeSelector").into_iter().flatten() {
        if n.and_then(|n| n.get(k)) != Some(v) {
            let why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
            e.invalid("spec.nodeSelector", &internal::texts(n), why);
        }
    }
}

fn node_affinity(new: &mut Value, old: &Value, e: &mut Errors) {
    let of = |s: &Value| s["affinity"].get("nodeAffinity").filter(|a| !a.is_null()).cloned();
    let (n, o) = (of(new), of(old));
    if n == o {
        return;
    }
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    let terms = |a: &Option<Value>| a.as_ref().map(|a| json::list(&a[REQUIRED], "nodeSelectorTerms").to_vec()).unwrap_or_default();
    if o.as_ref().is_some_and(|o| o.get(REQUIRED).is_some()) {
        let (now, was) = (terms(&n), terms(&o));
        let path = format!("spec.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms");
        if !was.is_empty() && was.len() != now.len() {
            let shown = if now.is_empty() { Value::Null } else { internal::list("v1.NodeSelectorTerm", &now) };
            e.invalid(&path, &shown, "no additions/deletions to non-empty NodeSelectorTerms list are allowed");
        } else {
            for (i, (a, b)) in now.iter().zip(&was).enumerate().filter(|(_, (a, b))| !only_more(a, b)) {
                let _ = b;
                let why = "only additions are allowed (no mutations or deletions)";
                e.invalid(&format!("{path}[{i}]"), &internal::form("v1.NodeSelectorTerm", a), why);
            }
        }
    }
    match (new.get("affinity").is_some(), old.get("affinity").is_some()) {
        (false, _) if o.is_none() => {}
        (false, _) => json::put(new, "affinity", Some(json!({"nodeAffinity": o}))),
        (true, false) if ["podAffinity", "podAntiAffinity"].iter().all(|k| new["affinity"].get(*k).is_none()) => {
            json::put(new, "affinity", None);
        }
        (true, _) => json::put(&mut new["affinity"], "nodeAffinity", o),
    }
}

/// Whether a term of a node selector only grew.
fn only_more(new: &Value, old: &Value) -> bool {
    let lists = ["matchExpressions", "matchFields"].map(|k| (json::list(new, k), json::list(old, k)));
    if lists.iter().all(|(_, o)| o.is_empty()) {
        return lists.iter().all(|(n, _)| n.is_empty());
    }
    lists.iter().all(|(n, o)| n.starts_with(o))
}

/// Ephemeral containers may come; none may go or change.
pub(crate) fn ephemeral_containers(new: &Value, old: &Value, e: &mut Errors, env: &Env<'_>) {
    metadata::update(Flavour::Core, new, old, e);
    metadata::whole(env.served, meta::dns_subdomain, Flavour::Core, new, e);
    pod::meta_and_spec(new, e);
    annotations(new, old, e);
    if old["metadata"]["annotations"].get(MIRROR).is_some() {
        *e = Errors::default();
        e.forbidden("", "static pods do not support ephemeral containers");
        return;
    }
    let path = "spec.ephemeralContainers";
    for was in json::list(old, path) {
        let name = json::text(was, "name");
        match json::list(new, path).iter().rfind(|c| json::text(c, "name") == name) {
            None => e.forbidden(path, &format!("existing ephemeral containers {name:?} may not be removed\n")),
            Some(now) if now != was => {
                let d = difference::unified(&shown(was), &shown(now));
                e.forbidden(path, &format!("existing ephemeral containers {name:?} may not be changed\n{d}"));
            }
            Some(_) => {}
        }
    }
}
