//! Limit ranges: defaults for containers, and bounds (LimitRanger).

use serde_json::{Map, Value};

use super::documents;
use crate::defaults::amounts;
use crate::json;
use crate::kinds::Env;
use crate::quantity::Quantity;
use crate::status::ApiError;
use crate::write::Target;

const LOG: &str = "/limitranges";

fn items(env: &Env<'_>, kind: &str) -> Vec<Value> {
    documents(env, LOG)
        .into_iter()
        .flat_map(|(_, d)| json::list(&d, "spec.limits").to_vec())
        .filter(|i| json::text(i, "type") == kind)
        .collect()
}

/// Fills in requests and limits of containers that name none.
pub(crate) fn apply_defaults(env: &Env<'_>, doc: &mut Value) {
    let items = items(env, "Container");
    if items.is_empty() {
        return;
    }
    let mut notes = Vec::new();
    for which in ["containers", "initContainers"] {
        let word = if which == "containers" { "container" } else { "init container" };
        for c in doc["spec"].get_mut(which).and_then(Value::as_array_mut).into_iter().flatten() {
            let name = json::text(c, "name").to_owned();
            let (mut requests, mut limits) = (Vec::new(), Vec::new());
            for item in &items {
                requests.extend(fill(c, "requests", item.get("defaultRequest")));
                limits.extend(fill(c, "limits", item.get("default")));
            }
            for (set, kind) in [(&mut requests, "request"), (&mut limits, "limit")] {
                if !set.is_empty() {
                    set.sort();
                    notes.push(format!("{} {kind} for {word} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let meta = json::object_mut(doc, "metadata");
        let a = meta.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
        a["kubernetes.io/limit-ranger"] = format!("LimitRanger plugin set: {}", notes.join("; ")).into();
    }
}

fn fill(c: &mut Value, which: &str, defaults: Option<&Value>) -> Vec<String> {
    let Some(Value::Object(defaults)) = defaults else { return Vec::new() };
    let resources = json::object_mut(c, "resources");
    let have = resources.entry(which.to_owned()).or_insert_with(|| Value::Object(Map::new()));
    let mut set = Vec::new();
    if let Some(have) = have.as_object_mut() {
        for (k, v) in defaults {
            if !have.contains_key(k) {
                have.insert(k.clone(), v.clone());
                set.push(k.clone());
            }
        }
    }
    if resources.get(which).and_then(Value::as_object).is_some_and(Map::is_empty) {
        resources.shift_remove(which);
    }
    set
}

fn find(list: &[(String, Quantity)], name: &str) -> Option<Quantity> {
    list.iter().find(|(n, _)| n == name).map(|(_, q)| *q)
}

/// Bounds of one kind against requests and limits.
fn bounds(item: &Value, kind: &str, requests: &[(String, Quantity)], limits: &[(String, Quantity)]) -> Vec<String> {
    let mut out = Vec::new();
    for (name, min) in amounts(item.get("min")) {
        match (find(requests, &name), find(limits, &name)) {
            (None, _) => out.push(format!("minimum {name} usage per {kind} is {min}.  No request is specified")),
            (Some(r), _) if r < min => out.push(format!("minimum {name} usage per {kind} is {min}, but request is {r}")),
            (_, Some(l)) if l < min => out.push(format!("minimum {name} usage per {kind} is {min}, but limit is {l}")),
            _ => {}
        }
    }
    for (name, max) in amounts(item.get("max")) {
        match (find(requests, &name), find(limits, &name)) {
            (_, None) => out.push(format!("maximum {name} usage per {kind} is {max}.  No limit is specified")),
            (_, Some(l)) if l > max => out.push(format!("maximum {name} usage per {kind} is {max}, but limit is {l}")),
            (Some(r), _) if r > max => out.push(format!("maximum {name} usage per {kind} is {max}, but request is {r}")),
            _ => {}
        }
    }
    for (name, ratio) in amounts(item.get("maxLimitRequestRatio")) {
        match (find(requests, &name), find(limits, &name)) {
            (None, None) => {
                out.push(format!("{name} max limit to request ratio per {kind} is {ratio}, but no request is specified or request is 0"))
            }
            (None, _) => {
                out.push(format!("{name} max limit to request ratio per {kind} is {ratio}, but no request is specified or request is 0"))
            }
            (_, None) => {
                out.push(format!("{name} max limit to request ratio per {kind} is {ratio}, but no limit is specified or limit is 0"))
            }
            (Some(r), Some(l)) if r.nanos() > 0 => {
                let have = l.nanos() as f64 / r.nanos() as f64;
                let most = ratio.nanos() as f64 / 1e9;
                if have > most {
                    out.push(format!("{name} max limit to request ratio per {kind} is {ratio}, but provided ratio is {have:.6}"));
                }
            }
            _ => {}
        }
    }
    out
}

fn refuse(target: &Target, doc: &Value, found: Vec<String>) -> Result<(), ApiError> {
    match found.len() {
        0 => Ok(()),
        1 => Err(ApiError::forbidden(&target.served, json::text(doc, "metadata.name"), &found[0])),
        _ => Err(ApiError::forbidden(&target.served, json::text(doc, "metadata.name"), format!("[{}]", found.join(", ")))),
    }
}

/// Refuses pods out of bounds.
pub(crate) fn check_pod(env: &Env<'_>, target: &Target, doc: &Value) -> Result<(), ApiError> {
    let (for_containers, for_pods) = (items(env, "Container"), items(env, "Pod"));
    if for_containers.is_empty() && for_pods.is_empty() {
        return Ok(());
    }
    let mut found = Vec::new();
    let lists = |c: &Value| (amounts(c["resources"].get("requests")), amounts(c["resources"].get("limits")));
    for item in &for_containers {
        for c in json::list(doc, "spec.containers").iter().chain(json::list(doc, "spec.initContainers")) {
            let (r, l) = lists(c);
            found.extend(bounds(item, "Container", &r, &l));
        }
    }
    for item in &for_pods {
        let r = super::quota::pod_amounts(doc, "requests");
        let l = super::quota::pod_amounts(doc, "limits");
        found.extend(bounds(item, "Pod", &r, &l));
    }
    refuse(target, doc, found)
}

/// Refuses claims out of bounds.
pub(crate) fn check_claim(env: &Env<'_>, target: &Target, doc: &Value) -> Result<(), ApiError> {
    let have = amounts(doc["spec"]["resources"].get("requests"));
    let mut found = Vec::new();
    for item in items(env, "PersistentVolumeClaim") {
        for (name, min) in amounts(item.get("min")) {
            if let Some(r) = find(&have, &name).filter(|r| *r < min) {
                found.push(format!("minimum {name} usage per PersistentVolumeClaim is {min}, but request is {r}"));
            }
        }
        for (name, max) in amounts(item.get("max")) {
            if let Some(r) = find(&have, &name).filter(|r| *r > max) {
                found.push(format!("maximum {name} usage per PersistentVolumeClaim is {max}, but request is {r}"));
            }
        }
    }
    refuse(target, doc, found)
}
