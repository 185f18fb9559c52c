//! POST of an object.

use std::sync::Arc;

use http::StatusCode;
use serde_json::Value;

use super::{Target, WriteOptions, check_namespace, commit_stored, decode_body, read_object, write_options};
use crate::admission;
use crate::apply::managed;
use crate::custom;
use crate::kinds::{self, Env, Errors};
use crate::read::written_response;
use crate::registry::Generation;
use crate::request::Response;
use crate::server::{Call, Server, Turn, key, verb};
use crate::status::ApiError;
use crate::{json, meta};

/// How often a generated name that is taken is drawn anew.
const NAME_TRIES: usize = 8;

/// POST of an object.
pub(crate) fn create(call: &mut Call<'_>) -> Result<Response, ApiError> {
    let target = Target::of(call.server, &call.resource)?;
    let opts = write_options(call, "CreateOptions", false)?;
    let body = read_object(call.req, &target.served.kind)?;
    let mut doc = decode_body(call, &target, body, opts.validation)?;
    check_namespace(call, &mut doc)?;
    let server = call.server.clone();
    let mut turn = None;
    let doc = create_document(call, &server, &mut turn, &target, doc, &opts, managed::Op::Update)?;
    drop(turn);
    written_response(call, StatusCode::CREATED, &target, doc)
}

/// Everything from a decoded document to the stored one. Where the caller has no turn yet, it is taken only for the end: what a new object
/// must look like does not depend on other writers.
pub(crate) fn create_document<'s>(
    call: &mut Call<'_>,
    server: &'s Arc<Server>,
    turn: &mut Option<Turn<'s>>,
    target: &Target,
    mut doc: Value,
    opts: &WriteOptions,
    op: managed::Op<'_>,
) -> Result<Value, ApiError> {
    let r = target.stored.clone();
    let given_rv = json::text(&doc, "metadata.resourceVersion").to_owned();
    let ns = call.namespace().to_owned();
    admission::namespace::check(server, &target.served, &ns, json::text(&doc, "metadata.name"))?;
    let env = Env {
        server,
        now: server.options.clock.now(),
        namespace: &ns,
        warnings: Default::default(),
        user: &call.req.user,
        served: &target.served,
        verb: verb(call).unwrap_or("create"),
    };

    let owned = match op {
        managed::Op::Update => managed::updated(target, None, &doc, None, &opts.manager, env.now),
        managed::Op::Apply(list) => list.to_vec(),
    };
    let generated = fill_metadata(&env, target, &mut doc);
    call.warnings.extend(kinds::dedup_owners(&mut doc));
    let rules = kinds::rules(&r);
    if r.has_status() && !rules.keeps_status_on_create {
        json::take(&mut doc, "status");
        let schema = target.schema.schema();
        schema.apply_defaults(target.schema.root(), &mut doc);
    }
    admission::mutate(&env, target, &mut doc, None)?;
    let name = json::text(&doc, "metadata.name").to_owned();
    (rules.settle)(&mut doc, None, &env).map_err(|causes| target.invalid(&name, &causes))?;
    let grant = kinds::allocate(server, &r, &mut doc, None)?;
    kinds::features::drop_disabled(&r, &mut doc, None);
    (rules.prepare_create)(&mut doc, &env);
    finish(target, &mut doc);

    let mut errors = Errors::default();
    rules.check_create(&doc, &mut errors, &env);
    if !errors.is_empty() {
        return Err(target.invalid(&name, &errors.causes));
    }
    if r.custom {
        custom::whole_numbers(&mut doc);
    }
    // They come even when the write fails from here on.
    call.warnings.extend(kinds::warnings(&r, None, &doc, None));
    if !matches!(given_rv.as_str(), "" | "0") {
        return Err(ApiError::new(500, "", "resourceVersion should not be set on objects to be created"));
    }
    admission::validate(&env, target, &doc, None)?;
    // What is read from the store is filled in anew: defaults that follow from what the strategy set come now.
    target.schema.schema().apply_defaults(target.schema.root(), &mut doc);
    finish(target, &mut doc);
    managed::put(&mut doc, owned);

    if turn.is_none() {
        *turn = Some(server.my_turn());
        // The namespace may have begun to end meanwhile.
        admission::namespace::check(server, &target.served, &ns, &name)?;
    }
    let mut name = name;
    let log = r.storage_key();
    if generated {
        for _ in 1..NAME_TRIES {
            if server.store.get(&log, &key(&ns, &name)).is_none() {
                break;
            }
            name = meta::generate_name(&*server.options.chance, json::text(&doc, "metadata.generateName"));
            doc["metadata"]["name"] = name.as_str().into();
        }
    }
    let charge = admission::quota::check(&env, target, &doc, None)?;
    let prefix = json::text(&doc, "metadata.generateName");
    if let Some((_, there)) = super::load(server, &r, &key(&ns, &name)) {
        let mut e = ApiError::already_exists(&target.served, &name);
        if there["metadata"].get("deletionTimestamp").is_some() {
            e.message = format!("object is being deleted: {}", e.message);
        }
        if !prefix.is_empty() {
            e.message.push_str(", the server was not able to generate a unique name for the object");
            e.retry_after = Some(1);
        }
        return Err(e);
    }
    call.warnings.extend(env.warnings.take());
    if opts.dry_run {
        return Ok(doc);
    }
    grant.settle();
    charge.settle(server);
    let (doc, stored) = commit_stored(server, &r, &key(&ns, &name), doc, false);
    call.stored = Some(stored);
    Ok(doc)
}

/// Name, uid, times, generation. Returns whether the name was generated.
fn fill_metadata(env: &Env<'_>, target: &Target, doc: &mut Value) -> bool {
    let r = &target.stored;
    let chance = &*env.server.options.chance;
    let m = json::object_mut(doc, "metadata");
    for k in ["selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion", "generation", "managedFields"] {
        m.shift_remove(k);
    }
    let text = |m: &serde_json::Map<String, Value>, k: &str| m.get(k).and_then(Value::as_str).unwrap_or("").to_owned();
    let (name, prefix) = (text(m, "name"), text(m, "generateName"));
    let generated = name.is_empty() && !prefix.is_empty();
    if generated {
        m.insert("name".into(), meta::generate_name(chance, &prefix).into());
    }
    m.insert("uid".into(), meta::uid(chance).into());
    m.insert("creationTimestamp".into(), meta::seconds(env.now).into());
    if r.generation != Generation::None {
        m.insert("generation".into(), 1.into());
    }
    generated
}

/// The wire form of a complete document: zero values that are always written, kind and apiVersion first.
pub(crate) fn finish(target: &Target, doc: &mut Value) {
    target.schema.schema().add_zeros(target.schema.root(), doc);
    crate::convert::set_type(doc, &target.stored);
}
