//! What becomes of definitions: rows of the registry, accepted names, conditions, and the end of their objects
//! (apiextensions `controller/status`, `controller/establish`, `controller/finalizer`).

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use serde_json::{Value, json};

use super::{CustomSchema, compile, rules};
use crate::json;
use crate::meta;
use crate::registry::{Generation, Resource, Subresource, version_rank};
use crate::selector::fields;
use crate::server::Server;
use crate::status::ApiError;
use crate::write::delete::{DeleteOptions, delete_one};
use crate::write::{self, Target};

/// Store key of definitions.
pub(crate) const LOG: &str = "apiextensions.k8s.io/customresourcedefinitions";
/// Holds a definition until its objects are gone.
pub(crate) const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Told of every commit of a definition.
pub(crate) fn committed(server: &Server, r: &Resource, doc: &Value, deleted: bool) {
    let (group, plural) = (json::text(doc, "spec.group"), json::text(doc, "spec.names.plural"));
    if deleted {
        forget(server, group, plural);
        settle_others(server, r, group, "");
        return;
    }
    if serves(doc) {
        publish(server, doc, group, plural);
    }
    if doc["metadata"].get("deletionTimestamp").is_some() {
        clean_up(server, r, doc, group, plural);
        return;
    }
    if let Some(status) = settled(server, doc) {
        let mut next = doc.clone();
        next["status"] = status;
        let key = json::text(&next, "metadata.name").to_owned();
        write::commit(server, r, &key, next, false);
        settle_others(server, r, group, json::text(doc, "metadata.name"));
    }
}

/// Gives the values of selectable fields, of custom objects by these definitions.
pub(crate) fn field_values(definitions: &[Value]) -> crate::store::FieldValues {
    let name = |d: &Value| format!("{}/{}", json::text(d, "spec.group"), json::text(d, "spec.names.plural"));
    let custom: BTreeMap<String, Vec<String>> = definitions.iter().map(|d| (name(d), selectable(d))).collect();
    Box::new(move |log, doc| match custom.get(log) {
        Some(paths) => fields::custom_values(paths, doc),
        None => fields::values(log, doc),
    })
}

/// Makes the definitions known that the store holds.
pub(crate) fn restore(server: &Server) {
    let (_, items) = server.store.list(LOG, "");
    for s in items {
        let Ok(doc) = serde_json::from_slice::<Value>(&s.bytes) else { continue };
        if serves(&doc) {
            publish(server, &doc, json::text(&doc, "spec.group"), json::text(&doc, "spec.names.plural"));
        }
    }
}

fn condition_is_true(doc: &Value, kind: &str) -> bool {
    json::list(doc, "status.conditions").iter().any(|c| c["type"] == kind && c["status"] == "True")
}

fn serves(doc: &Value) -> bool {
    condition_is_true(doc, "NamesAccepted") || condition_is_true(doc, "Established")
}

fn definitions(server: &Server, group: &str) -> Vec<Value> {
    let (_, items) = server.store.list(LOG, "");
    items.iter().filter_map(|s| serde_json::from_slice::<Value>(&s.bytes).ok()).filter(|d| json::text(d, "spec.group") == group).collect()
}

/// Names that became free may be what other definitions of the group wait for.
fn settle_others(server: &Server, r: &Resource, group: &str, but: &str) {
    for d in definitions(server, group) {
        let name = json::text(&d, "metadata.name").to_owned();
        if name != but && !condition_is_true(&d, "NamesAccepted") && !json::list(&d, "status.conditions").is_empty() {
            committed(server, r, &d, false);
        }
    }
}

/// The status that a definition should have by its names; `None`: it has it.
fn settled(server: &Server, doc: &Value) -> Option<Value> {
    let (wanted, accepted) = (&doc["spec"]["names"], &doc["status"]["acceptedNames"]);
    if wanted == accepted && serves(doc) {
        return None;
    }
    let (mut resources, mut kinds) = (Vec::new(), Vec::new());
    for d in definitions(server, json::text(doc, "spec.group")) {
        let names = &d["status"]["acceptedNames"];
        let text = |k: &str| json::text(names, k).to_owned();
        resources.extend([text("plural"), text("singular")]);
        resources.extend(json::list(names, "shortNames").iter().filter_map(Value::as_str).map(str::to_owned));
        kinds.extend([text("kind"), text("listKind")]);
    }
    let taken = |name: &str, own: &str, used: &[String]| {
        (name != own && !name.is_empty() && used.iter().any(|u| u == name)).then(|| format!("{name:?} is already in use"))
    };
    let mut names = accepted.clone();
    let mut refused: Option<(&str, String)> = None;
    for (key, reason, used) in [("plural", "PluralConflict", &resources), ("singular", "SingularConflict", &resources)] {
        match taken(json::text(wanted, key), json::text(accepted, key), used) {
            Some(why) => refused = Some((reason, why)),
            None => json::put(&mut names, key, wanted.get(key).cloned()),
        }
    }
    let own: Vec<&str> = json::list(accepted, "shortNames").iter().filter_map(Value::as_str).collect();
    let mut errors: Vec<String> = json::list(wanted, "shortNames")
        .iter()
        .filter_map(Value::as_str)
        .filter(|n| !own.contains(n))
        .filter_map(|n| taken(n, "", &resources))
        .collect();
    match errors.len() {
        0 => json::put(&mut names, "shortNames", wanted.get("shortNames").cloned()),
        1 => refused = Some(("ShortNamesConflict", errors.remove(0))),
        _ => refused = Some(("ShortNamesConflict", format!("[{}]", errors.join(", ")))),
    }
    for (key, reason) in [("kind", "KindConflict"), ("listKind", "ListKindConflict")] {
        match taken(json::text(wanted, key), json::text(accepted, key), &kinds) {
            Some(why) => refused = Some((reason, why)),
            None => json::put(&mut names, key, wanted.get(key).cloned()),
        }
    }
    json::put(&mut names, "categories", wanted.get("categories").cloned());
    let mut status = doc["status"].clone();
    status["acceptedNames"] = names;
    let now = meta::seconds(server.options.clock.now());
    match &refused {
        Some((reason, why)) => {
            condition(&mut status, "NamesAccepted", "False", reason, why, &now);
            if !condition_is_true(doc, "Established") {
                condition(&mut status, "Established", "False", "NotAccepted", "not all names are accepted", &now);
            }
        }
        None => {
            condition(&mut status, "NamesAccepted", "True", "NoConflicts", "no conflicts found", &now);
            if !condition_is_true(doc, "Established") {
                condition(&mut status, "Established", "True", "InitialNamesAccepted", "the initial names have been accepted", &now);
            }
        }
    }
    (status != doc["status"]).then_some(status)
}

/// Sets a condition; its time moves when its status does.
fn condition(status: &mut Value, kind: &str, value: &str, reason: &str, message: &str, now: &str) {
    let list = json::object_mut(&mut json!({ "status": status.take() }), "status").clone();
    *status = Value::Object(list);
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(list) = status["conditions"].as_array_mut() else { return };
    let mut new = json!({"type": kind, "status": value, "lastTransitionTime": now, "reason": reason, "message": message});
    match list.iter().position(|c| c["type"] == kind) {
        Some(i) => {
            if list[i]["status"] == value {
                new["lastTransitionTime"] = list[i]["lastTransitionTime"].clone();
            }
            list[i] = new;
        }
        None => list.push(new),
    }
}

/// Makes the versions of a definition known.
fn publish(server: &Server, doc: &Value, group: &str, plural: &str) {
    let storage = json::list(doc, "spec.versions").iter().find(|v| v["storage"] == true).map_or("", |v| json::text(v, "name"));
    let rows: Vec<Resource> = json::list(doc, "spec.versions").iter().map(|v| row(doc, v, storage)).collect();
    {
        let mut known = server.custom.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|k, _| !is_of(k, group, plural));
        for (v, row) in json::list(doc, "spec.versions").iter().zip(&rows) {
            known.insert(format!("{group}/{}/{plural}", row.version), Arc::new(schema_of(doc, v)));
        }
    }
    if server.registry.all_of(group, plural).is_empty() {
        server.store.begin(&format!("{group}/{plural}"));
    }
    server.registry.remove(group, plural);
    server.registry.insert(rows);
}

fn is_of(key: &str, group: &str, plural: &str) -> bool {
    key.strip_prefix(group).and_then(|k| k.strip_prefix('/')).and_then(|k| k.split_once('/')).is_some_and(|(_, p)| p == plural)
}

fn schema_of(doc: &Value, v: &Value) -> CustomSchema {
    let stated = v["schema"]["openAPIV3Schema"].clone();
    let (schema, root) = compile::compile(&stated);
    let subs = &v["subresources"];
    CustomSchema {
        schema,
        root,
        columns: json::list(v, "additionalPrinterColumns").to_vec(),
        warning: (v["deprecated"] == true).then(|| deprecation(doc, v)),
        scale: subs.get("scale").filter(|s| s.is_object()).cloned(),
        rules: rules::Rules::of(&stated),
        stated,
    }
}

/// What a deprecated version is told: its own text, or the best version to use instead.
fn deprecation(doc: &Value, v: &Value) -> String {
    if let Some(text) = v["deprecationWarning"].as_str() {
        return text.to_owned();
    }
    let (group, kind, name) = (json::text(doc, "spec.group"), json::text(doc, "spec.names.kind"), json::text(v, "name"));
    let mut better: Vec<&str> = json::list(doc, "spec.versions")
        .iter()
        .filter(|o| o["served"] == true && o["deprecated"] != true)
        .map(|o| json::text(o, "name"))
        .filter(|o| version_rank(o) > version_rank(name))
        .collect();
    better.sort_by_key(|o| std::cmp::Reverse(version_rank(o)));
    match better.first() {
        Some(b) => format!("{group}/{name} {kind} is deprecated; use {group}/{b} {kind}"),
        None => format!("{group}/{name} {kind} is deprecated"),
    }
}

fn row(doc: &Value, v: &Value, storage: &str) -> Resource {
    // Names are those that were accepted, which need not be all that are wanted.
    let names = &doc["status"]["acceptedNames"];
    let texts = |k: &str| json::list(names, k).iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let group = json::text(doc, "spec.group").to_owned();
    let version = json::text(v, "name").to_owned();
    let kind = json::text(names, "kind").to_owned();
    let sub = |name: &str, kind: &str, gv: Option<(&str, &str)>| Subresource {
        name: name.to_owned(),
        kind: kind.to_owned(),
        group_version: gv.map(|(g, v)| (g.to_owned(), v.to_owned())),
        verbs: ["get", "patch", "update"].map(str::to_owned).to_vec(),
    };
    let subs = &v["subresources"];
    let mut subresources = Vec::new();
    if subs.get("scale").is_some_and(Value::is_object) {
        subresources.push(sub("scale", "Scale", Some(("autoscaling", "v1"))));
    }
    if subs.get("status").is_some_and(Value::is_object) {
        subresources.push(sub("status", &kind, None));
    }
    Resource {
        list_kind: json::text(names, "listKind").to_owned(),
        plural: json::text(names, "plural").to_owned(),
        singular: json::text(names, "singular").to_owned(),
        short_names: texts("shortNames"),
        categories: texts("categories"),
        namespaced: json::text(doc, "spec.scope") == "Namespaced",
        verbs: ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"].map(str::to_owned).to_vec(),
        subresources,
        generation: Generation::AllButMeta,
        is_virtual: false,
        graceful: false,
        orphans_by_default: false,
        returns_deleted: false,
        served: v["served"].as_bool().unwrap_or(false),
        hub: (version != storage).then(|| (group.clone(), storage.to_owned())),
        custom: true,
        selectable: selectable(doc),
        storage_version: version == storage,
        group,
        version,
        kind,
    }
}

/// What selectors may name, in any version: the store keeps these values beside each object.
fn selectable(doc: &Value) -> Vec<String> {
    let mut out: Vec<String> = json::list(doc, "spec.versions")
        .iter()
        .flat_map(|v| json::list(v, "selectableFields"))
        .map(|f| json::text(f, "jsonPath").trim_start_matches('.').to_owned())
        .collect();
    out.sort();
    out.dedup();
    out
}

fn forget(server: &Server, group: &str, plural: &str) {
    server.registry.remove(group, plural);
    server.custom.lock().unwrap_or_else(PoisonError::into_inner).retain(|k, _| !is_of(k, group, plural));
}

/// Marks a definition on its way out: it stays until its objects are gone.
pub(crate) fn begin_deletion(server: &Server, doc: &mut Value) {
    let now = meta::seconds(server.options.clock.now());
    let m = json::object_mut(doc, "metadata");
    m.entry("deletionTimestamp").or_insert_with(|| now.as_str().into());
    let list = m.entry("finalizers").or_insert_with(|| json!([]));
    if let Some(l) = list.as_array_mut()
        && !l.iter().any(|f| f == FINALIZER)
    {
        l.push(FINALIZER.into());
    }
    let why = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    condition(&mut doc["status"], "Terminating", "True", "InstanceDeletionPending", why, &now);
}

fn has_finalizer(doc: &Value) -> bool {
    json::list(doc, "metadata.finalizers").iter().any(|f| f == FINALIZER)
}

/// Deletes the objects of a definition that ends, and lets it go when there are none.
fn clean_up(server: &Server, r: &Resource, doc: &Value, group: &str, plural: &str) {
    if !has_finalizer(doc) {
        return;
    }
    let log = format!("{group}/{plural}");
    let row = server.registry.all_of(group, plural).into_iter().find(|r| r.hub.is_none());
    if let Some(row) = row
        && let Ok(target) = Target::of(server, &row)
    {
        let (_, items) = server.store.list(&log, "");
        for s in items {
            // An object that a finalizer holds stays for now, and the definition with it.
            let _ = delete_one(server, &target, &s.key, s.name(), &DeleteOptions::default());
        }
    }
    let key = json::text(doc, "metadata.name").to_owned();
    let Some((_, mut now_doc)) = write::load(server, r, &key).filter(|(_, d)| has_finalizer(d)) else { return };
    let now = meta::seconds(server.options.clock.now());
    if server.store.count(&log) > 0 {
        let why = format!("CustomResource deletion is in progress: {} of {log} remain", server.store.count(&log));
        let before = now_doc.clone();
        condition(&mut now_doc["status"], "Terminating", "True", "InstanceDeletionInProgress", &why, &now);
        if now_doc["status"] != before["status"]
            && !json::list(&before, "status.conditions").iter().any(|c| c["reason"] == "InstanceDeletionInProgress")
        {
            write::commit(server, r, &key, now_doc, false);
        }
        return;
    }
    condition(&mut now_doc["status"], "Terminating", "False", "InstanceDeletionCompleted", "removed all instances", &now);
    if let Some(l) = now_doc["metadata"]["finalizers"].as_array_mut() {
        l.retain(|f| f != FINALIZER);
    }
    let free = json::list(&now_doc, "metadata.finalizers").is_empty();
    if free {
        json::put(&mut now_doc["metadata"], "finalizers", None);
    }
    write::commit(server, r, &key, now_doc, free);
}

/// Told of every custom object that is gone: its definition may wait for that.
pub(crate) fn object_gone(server: &Server, r: &Resource) {
    if server.store.count(&r.storage_key()) > 0 {
        return;
    }
    let Some(definitions) = server.registry.get("apiextensions.k8s.io", "v1", "customresourcedefinitions") else { return };
    let key = format!("{}.{}", r.plural, r.group);
    if let Some((_, doc)) = write::load(server, &definitions, &key)
        && json::list(&doc, "status.conditions").iter().any(|c| c["reason"] == "InstanceDeletionInProgress")
    {
        clean_up(server, &definitions, &doc, &r.group, &r.plural);
    }
}

/// Nothing new is created for a definition that ends.
pub(crate) fn refuse_new(server: &Server, r: &Resource) -> Result<(), ApiError> {
    let Some(stored) = server.store.get(LOG, &format!("{}.{}", r.plural, r.group)) else { return Ok(()) };
    let doc: Value = serde_json::from_slice(&stored.bytes).unwrap_or(Value::Null);
    if !condition_is_true(&doc, "Terminating") {
        return Ok(());
    }
    let mut e = ApiError::new(405, "MethodNotAllowed", "create not allowed while custom resource definition is terminating");
    e.details = crate::status::details(&r.group, &r.plural, "");
    Err(e)
}
