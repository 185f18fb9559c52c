//! PUT, and what every change of a stored object goes through.

use http::StatusCode;
use serde_json::Value;

use super::create::finish;
use super::{Target, WriteOptions, check_namespace, commit_stored, decode_body, load, read_object, write_options};
use crate::admission;
use crate::apply::managed;
use crate::custom;
use crate::json;
use crate::kinds::{self, Env, Errors};
use crate::read::written_response;
use crate::registry::Generation;
use crate::request::Response;
use crate::server::{Call, verb};
use crate::status::ApiError;

/// What the answer of a failed optimistic write says.
pub(crate) const MODIFIED: &str = "the object has been modified; please apply your changes to the latest version and try again";

/// PUT of an object.
pub(crate) fn update(call: &mut Call<'_>) -> Result<Response, ApiError> {
    let target = Target::of(call.server, &call.resource)?;
    let opts = write_options(call, "UpdateOptions", false)?;
    let body = read_object(call.req, &target.served.kind)?;
    let mut doc = decode_body(call, &target, body, opts.validation)?;
    check_name(call, &doc)?;
    check_namespace(call, &mut doc)?;
    let name = call.route.name.unwrap_or("").to_owned();
    let server = call.server.clone();
    let mut turn = Some(server.my_turn());
    let Some((_, old)) = load(call.server, &target.stored, &call.key(&name)) else {
        if kinds::rules(&target.stored).create_on_update && call.route.subresource.is_none() {
            if !json::text(&doc, "metadata.uid").is_empty() {
                let uid = json::text(&doc, "metadata.uid");
                return Err(ApiError::conflict(
                    &target.served,
                    &name,
                    format!("Precondition failed: UID in precondition: {uid}, UID in object meta: "),
                ));
            }
            json::put(&mut doc["metadata"], "resourceVersion", None);
            let doc = super::create::create_document(call, &server, &mut turn, &target, doc, &opts, managed::Op::Update)?;
            return written_response(call, StatusCode::CREATED, &target, doc);
        }
        return Err(ApiError::not_found(&target.served, &name));
    };
    let uid = json::text(&doc, "metadata.uid");
    let have = json::text(&old, "metadata.uid");
    if !uid.is_empty() && uid != have {
        return Err(ApiError::conflict(
            &target.served,
            &name,
            format!(
                "StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {have}",
                storage_path(&target.stored, &call.key(&name))
            ),
        ));
    }
    let doc = change(call, &target, &old, doc, &opts, managed::Op::Update, true)?;
    drop(turn);
    written_response(call, StatusCode::OK, &target, doc)
}

/// Where the reference keeps an object.
fn storage_path(r: &crate::registry::Resource, key: &str) -> String {
    let folder = match (r.group.as_str(), r.plural.as_str()) {
        ("", "services") => "services/specs".to_owned(),
        ("", "endpoints") => "services/endpoints".to_owned(),
        ("", "nodes") => "minions".to_owned(),
        ("", "replicationcontrollers") => "controllers".to_owned(),
        ("networking.k8s.io", "ingresses") => "ingress".to_owned(),
        (g, p) if r.custom => format!("{g}/{p}"),
        (_, p) => p.to_owned(),
    };
    format!("/registry/{folder}/{key}")
}

/// The name in a document must be that of the path.
pub(crate) fn check_name(call: &Call<'_>, doc: &Value) -> Result<(), ApiError> {
    let want = call.route.name.unwrap_or("");
    match json::text(doc, "metadata.name") {
        "" => Err(ApiError::bad_request(format!("the name of the object ({want} based on URL) was undeterminable: name must be provided"))),
        have if have != want => {
            Err(ApiError::bad_request(format!("the name of the object ({have}) does not match the name on the URL ({want})")))
        }
        _ => Ok(()),
    }
}

/// Whether two documents are the same but for their managedFields.
fn same(a: &Value, b: &Value) -> bool {
    let (Value::Object(a), Value::Object(b)) = (a, b) else { return a == b };
    a.len() == b.len()
        && a.iter().all(|(k, v)| {
            if k != "metadata" {
                return b.get(k) == Some(v);
            }
            let strip = |v: &Value| {
                let mut v = v.clone();
                json::take(&mut v, "managedFields");
                v
            };
            b.get(k).is_some_and(|w| strip(v) == strip(w))
        })
}

/// Takes a change of a stored object from the decoded new document to the store and returns what is stored then.
///
/// `put`: a missing resourceVersion has the meaning that it has for PUT. The caller holds the turn.
pub(crate) fn change(
    call: &mut Call<'_>,
    target: &Target,
    old: &Value,
    mut doc: Value,
    opts: &WriteOptions,
    op: managed::Op<'_>,
    put: bool,
) -> Result<Value, ApiError> {
    let server = call.server.clone();
    let r = target.stored.clone();
    let rules = kinds::rules(&r);
    let name = call.route.name.unwrap_or("").to_owned();
    let ns = call.namespace().to_owned();
    let sub = call.route.subresource;
    let env = Env {
        server: &server,
        now: server.options.clock.now(),
        namespace: &ns,
        warnings: Default::default(),
        user: &call.req.user,
        served: &target.served,
        verb: verb(call).unwrap_or("update"),
    };

    let rv = json::text(&doc, "metadata.resourceVersion").to_owned();
    let unconditional = rv.is_empty() || rv == "0";
    if unconditional && put && !rules.unconditional_update {
        let mut e = Errors::default();
        e.invalid("metadata.resourceVersion", &Value::from(0), "must be specified for an update");
        // The reference names the resource here, not the kind.
        return Err(ApiError::invalid(&target.served.group, &target.served.plural, &name, &e.causes));
    }
    if !unconditional && rv != json::text(old, "metadata.resourceVersion") {
        if rv.parse::<u64>().is_err() {
            return Err(ApiError::new(500, "", format!("strconv.ParseUint: parsing {rv:?}: invalid syntax")));
        }
        return Err(ApiError::conflict(&target.served, &name, MODIFIED));
    }

    let owned = match op {
        managed::Op::Update => managed::updated(target, Some(old), &doc, sub, &opts.manager, env.now),
        managed::Op::Apply(list) => list.to_vec(),
    };
    if let Some(s) = sub.filter(|s| *s != "status") {
        crate::sub::restrict(s, &mut doc, old);
    }
    restore(target, sub, old, &mut doc, rules);
    call.warnings.extend(kinds::dedup_owners(&mut doc));
    let mut errors = Errors::default();
    let mut grant = None;
    match sub {
        None => {
            admission::mutate(&env, target, &mut doc, Some(old))?;
            (rules.settle)(&mut doc, Some(old), &env).map_err(|causes| target.invalid(&name, &causes))?;
            grant = Some(kinds::allocate(&server, &r, &mut doc, Some(old))?);
            kinds::features::drop_disabled(&r, &mut doc, Some(old));
            (rules.prepare_update)(&mut doc, old, &env);
        }
        Some("status") => (rules.prepare_status)(&mut doc, old, &env),
        Some("approval") => kinds::signing_request::stamp(&mut doc, old, &env),
        Some(_) => {}
    }
    // What is read from the store is filled in anew, so that a write cannot leave defaults out.
    target.schema.schema().apply_defaults(target.schema.root(), &mut doc);
    finish(target, &mut doc);
    raise_generation(&r, sub, old, &mut doc);
    managed::put(&mut doc, owned);
    rules.check_update(sub, &doc, old, &mut errors, &env);
    if !errors.is_empty() {
        return Err(target.invalid(&name, &errors.causes));
    }
    if r.custom {
        custom::whole_numbers(&mut doc);
    }
    call.warnings.extend(kinds::warnings(&r, sub, &doc, Some(old)));
    if !matches!(sub, Some("status" | "scale" | "finalize" | "approval")) {
        admission::validate(&env, target, &doc, Some(old))?;
    }
    admission::growth::check(&env, target, sub, &doc, old)?;
    doc["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
    call.warnings.extend(env.warnings.take());
    if same(&doc, old) && managed::same_but_times(&doc, old) {
        return Ok(old.clone());
    }
    if opts.dry_run {
        return Ok(doc);
    }
    let charge = admission::quota::check(&env, target, &doc, Some(old))?;
    charge.settle(&server);
    if let Some(grant) = grant {
        grant.settle();
    }
    let k = call.key(&name);
    if super::delete::is_finished(&r, &doc) {
        // Watches see the state that was stored; the answer shows the one that was sent, at the version before the removal.
        super::delete::remove(&server, &r, &k, old.clone());
        return Ok(doc);
    }
    let (doc, stored) = commit_stored(&server, &r, &k, doc, false);
    call.stored = Some(stored);
    Ok(doc)
}

/// Puts back what a writer may not change: system metadata, and the half of the object that the path does not name.
fn restore(target: &Target, sub: Option<&str>, old: &Value, doc: &mut Value, rules: &kinds::Rules) {
    let r = &target.stored;
    let from = |k: &str| old["metadata"].get(k).cloned();
    let meta = json::object_mut(doc, "metadata");
    for k in ["creationTimestamp", "generation"] {
        match from(k) {
            Some(v) => meta.insert(k.into(), v),
            None => meta.shift_remove(k),
        };
    }
    // A deletion can neither be taken back nor begun by a write.
    if let Some(at) = from("deletionTimestamp") {
        meta.insert("deletionTimestamp".into(), at);
    }
    if let (Some(grace), false) = (from("deletionGracePeriodSeconds"), meta.contains_key("deletionGracePeriodSeconds")) {
        meta.insert("deletionGracePeriodSeconds".into(), grace);
    }
    meta.shift_remove("selfLink");
    if meta.get("uid").and_then(Value::as_str).unwrap_or("").is_empty()
        && let Some(uid) = from("uid")
    {
        meta.insert("uid".into(), uid);
    }
    match sub {
        Some("status") => {
            let keys: Vec<String> = doc.as_object().map(|m| m.keys().cloned().collect()).unwrap_or_default();
            for k in keys.iter().filter(|k| !matches!(k.as_str(), "metadata" | "status" | "kind" | "apiVersion")) {
                json::put(doc, k, old.get(k).cloned());
            }
            for (k, v) in old.as_object().into_iter().flatten() {
                if doc.get(k).is_none() && k != "status" {
                    json::put(doc, k, Some(v.clone()));
                }
            }
            for k in rules.status_keeps_meta {
                let v = from(k);
                json::put(&mut doc["metadata"], k, v);
            }
        }
        None if r.has_status() => json::put(doc, "status", old.get("status").cloned()),
        _ => {}
    }
}

fn raise_generation(r: &crate::registry::Resource, sub: Option<&str>, old: &Value, doc: &mut Value) {
    if sub == Some("status") {
        return;
    }
    let differs = |k: &str| doc.get(k) != old.get(k);
    let all_but_meta = |v: &Value| {
        let mut v = v.clone();
        json::take(&mut v, "metadata");
        if r.has_status() {
            json::take(&mut v, "status");
        }
        v
    };
    let changed = match r.generation {
        Generation::None | Generation::Always1 => false,
        Generation::Spec => differs("spec"),
        Generation::SpecAndAnnotations => differs("spec") || doc["metadata"].get("annotations") != old["metadata"].get("annotations"),
        Generation::LabelsAndAllButMeta => {
            doc["metadata"].get("labels") != old["metadata"].get("labels") || all_but_meta(doc) != all_but_meta(old)
        }
        Generation::AllButMeta => all_but_meta(doc) != all_but_meta(old),
    };
    if changed {
        let n = json::int(old, "metadata.generation").unwrap_or(0);
        doc["metadata"]["generation"] = (n + 1).into();
    }
}
