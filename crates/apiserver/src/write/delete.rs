//! DELETE of an object and of collections: preconditions, grace, finalizers. Dependents are somebody else's job.

use http::StatusCode;
use serde_json::{Value, json};

use super::{Target, commit, dry_run_causes, load, read_body};
use crate::accept;
use crate::json;
use crate::kinds;
use crate::meta;
use crate::read::{self, object_response};
use crate::registry::Resource;
use crate::request::Response;
use crate::server::{Call, Server};
use crate::status::{ApiError, Cause};

/// Grace of pods that name none.
const DEFAULT_GRACE: i64 = 30;
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
const JOB_WARNING: &str = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning";

/// Options of a deletion.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) grace: Option<i64>,
    policy: Option<String>,
    orphan: Option<bool>,
    uid: Option<String>,
    rv: Option<String>,
    pub(crate) dry_run: bool,
}

impl DeleteOptions {
    /// Reads the options of a body document.
    pub(crate) fn from_value(doc: &Value) -> Result<Self, ApiError> {
        let text = |path: &str| json::at(doc, path).and_then(Value::as_str).map(str::to_owned);
        let dry: Vec<&str> = doc["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let options = DeleteOptions {
            grace: doc["gracePeriodSeconds"].as_i64(),
            policy: text("propagationPolicy"),
            orphan: doc["orphanDependents"].as_bool(),
            uid: text("preconditions.uid"),
            rv: text("preconditions.resourceVersion"),
            dry_run: !dry.is_empty(),
        };
        options.validate(&dry)?;
        Ok(options)
    }

    /// Reads the options of a call: from the body when there is one, else from the query.
    pub(crate) fn of(call: &Call<'_>) -> Result<Self, ApiError> {
        let q = &call.query;
        if !call.req.body.is_empty() {
            let body = read_body(call.req)?;
            let (kind, version) = (json::text(&body.doc, "kind"), json::text(&body.doc, "apiVersion"));
            if !(matches!(kind, "" | "DeleteOptions")) {
                return Err(ApiError::bad_request(format!(
                    "decoded object cannot be converted to DeleteOptions: no kind {kind:?} is registered for version {version:?}"
                )));
            }
            let schema = crate::schema::Schema::builtin();
            if let Some(root) = schema.find("meta/v1.DeleteOptions") {
                let decoded = schema.decode(root, body.doc, &mut Default::default()).map_err(|e| ApiError::bad_request(e.to_string()))?;
                return Self::from_value(&decoded);
            }
        }
        let flag = |name: &str| q.opt(name).map(|v| v != "false" && v != "0");
        let grace = match q.opt("gracePeriodSeconds") {
            None | Some("") => None,
            Some(v) => Some(v.parse().map_err(|_| ApiError::bad_request(format!("strconv.ParseInt: parsing {v:?}: invalid syntax")))?),
        };
        let dry = q.all("dryRun");
        let options = DeleteOptions {
            grace,
            policy: q.opt("propagationPolicy").map(str::to_owned),
            orphan: flag("orphanDependents"),
            dry_run: !q.get("dryRun").is_empty(),
            ..Self::default()
        };
        options.validate(&dry)?;
        Ok(options)
    }

    /// The preconditions of an eviction, in its own words.
    pub(crate) fn check_eviction(&mut self, pod: &Value, name: &str) -> Result<(), ApiError> {
        let conflict = |what: &str, want: &str, have: &str, tail: &str| {
            let mut e = ApiError::new(
                409,
                "Conflict",
                format!(
                    "Operation cannot be fulfilled on Pod {name:?}: the {what} in the precondition ({want}) does not match the {what} in record ({have}). The object might have been {tail}"
                ),
            );
            e.details = crate::status::details("", "Pod", name);
            e
        };
        let have = json::text(pod, "metadata.uid");
        if let Some(want) = self.uid.as_deref().filter(|w| *w != have) {
            return Err(conflict("UID", want, have, "deleted and then recreated"));
        }
        let have = json::text(pod, "metadata.resourceVersion");
        if let Some(want) = self.rv.take().filter(|w| *w != have) {
            return Err(conflict("ResourceVersion", &want, have, "modified"));
        }
        Ok(())
    }

    fn validate(&self, dry: &[&str]) -> Result<(), ApiError> {
        let mut causes = Vec::new();
        if self.policy.is_some() && self.orphan.is_some() {
            causes.push(Cause::new(
                "FieldValueInvalid",
                "propagationPolicy",
                format!(
                    "Invalid value: {:?}: orphanDependents and deletionPropagation cannot be both set",
                    self.policy.as_deref().unwrap_or("")
                ),
            ));
        }
        if let Some(p) = &self.policy
            && !matches!(p.as_str(), "Foreground" | "Background" | "Orphan")
        {
            causes.push(Cause::new(
                "FieldValueNotSupported",
                "propagationPolicy",
                format!("Unsupported value: {p:?}: supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""),
            ));
        }
        causes.extend(dry_run_causes(dry));
        if causes.is_empty() { Ok(()) } else { Err(ApiError::invalid("meta.k8s.io", "DeleteOptions", "", &causes)) }
    }
}

/// DELETE of one object.
pub(crate) fn delete(call: &mut Call<'_>) -> Result<Response, ApiError> {
    let target = Target::of(call.server, &call.resource)?;
    let options = DeleteOptions::of(call)?;
    let name = call.route.name.unwrap_or("").to_owned();
    let server = call.server.clone();
    let _turn = server.my_turn();
    let k = call.key(&name);
    if target.stored.plural == "jobs" && options.policy.is_none() && options.orphan.is_none() {
        call.warnings.push(JOB_WARNING.to_owned());
    }
    let (doc, gone) = delete_one(&server, &target, &k, &name, &options)?;
    let waits = !gone && options.orphan == Some(false);
    let status = if waits { StatusCode::ACCEPTED } else { StatusCode::OK };
    if gone && !target.stored.returns_deleted {
        let mut details = crate::status::details(&target.served.group, &target.served.plural, &name);
        details["uid"] = doc["metadata"]["uid"].clone();
        let status_doc = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
        return object_response(call, status, status_doc);
    }
    object_response(call, status, target.answer(doc))
}

/// Deletes or marks one object. Returns its last state and whether it is gone. The caller holds the turn.
pub(crate) fn delete_one(
    server: &Server,
    target: &Target,
    k: &str,
    name: &str,
    options: &DeleteOptions,
) -> Result<(Value, bool), ApiError> {
    let r = &target.stored;
    let Some((_, old)) = load(server, r, k) else { return Err(ApiError::not_found(&target.served, name)) };
    preconditions(target, &old, name, options)?;
    kinds::may_delete(&target.served, &old, name)?;
    let mut doc = old.clone();
    let marked = doc["metadata"].get("deletionTimestamp").is_some();
    let now = server.options.clock.now();
    let definition = r.plural == "customresourcedefinitions";
    if definition && !marked {
        crate::custom::lifecycle::begin_deletion(server, &mut doc);
        if !options.dry_run {
            doc = commit(server, r, k, doc, false);
        }
        return Ok((doc, false));
    }
    let mut changed = apply_finalizers(r, &mut doc, options);
    let mut wait = false;
    if r.graceful {
        match grace(&old, &mut doc, options, now) {
            Grace::Pending => wait = true,
            Grace::Changed(seconds) => {
                changed = true;
                wait = seconds > 0;
            }
            Grace::AtOnce => {}
        }
    }
    if r.plural == "namespaces" && r.group.is_empty() {
        let held = !json::list(&doc, "spec.finalizers").is_empty();
        if held && !marked {
            doc["status"]["phase"] = "Terminating".into();
            changed = true;
        }
        wait |= held;
    }
    let held = !json::list(&doc, "metadata.finalizers").is_empty();
    if (held || wait) && doc["metadata"].get("deletionTimestamp").is_none() {
        mark(&mut doc, now);
        if r.plural == "namespaces" && r.group.is_empty() {
            json::put(&mut doc["metadata"], "deletionGracePeriodSeconds", None);
        }
        changed = true;
    }
    if held || wait {
        if changed && !options.dry_run && doc != old {
            doc = commit(server, r, k, doc, false);
        }
        return Ok((doc, false));
    }
    if options.dry_run {
        return Ok((doc, true));
    }
    // A pod that goes at once is seen marked first.
    if r.graceful && changed && doc != old {
        doc = commit(server, r, k, doc, false);
    }
    Ok((remove(server, r, k, doc), true))
}

fn preconditions(target: &Target, old: &Value, name: &str, options: &DeleteOptions) -> Result<(), ApiError> {
    let conflict = |what: &str, want: &str, have: &str, tail: &str| {
        let r = &target.served;
        let mut e = ApiError::new(
            409,
            "Conflict",
            format!(
                "Operation cannot be fulfilled on {} {name:?}: the {what} in the precondition ({want}) does not match the {what} in record ({have}). The object might have been {tail}",
                r.qualified_kind()
            ),
        );
        e.details = crate::status::details(&r.group, &r.kind, name);
        e
    };
    let (uid, rv) = (json::text(old, "metadata.uid"), json::text(old, "metadata.resourceVersion"));
    if let Some(want) = options.uid.as_deref().filter(|w| *w != uid) {
        return Err(conflict("UID", want, uid, "deleted and then recreated"));
    }
    if let Some(want) = options.rv.as_deref().filter(|w| *w != rv) {
        return Err(conflict("ResourceVersion", want, rv, "modified"));
    }
    Ok(())
}

/// Sets or takes away the finalizers that stand for the propagation policy. Returns whether anything changed.
fn apply_finalizers(r: &Resource, doc: &mut Value, options: &DeleteOptions) -> bool {
    let have: Vec<String> = json::list(doc, "metadata.finalizers").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let has = |f: &str| have.iter().any(|h| h == f);
    let orphan = match (options.orphan, options.policy.as_deref()) {
        (Some(o), _) => o,
        (_, Some(p)) => p == "Orphan",
        _ => has(ORPHAN) || (!has(FOREGROUND) && r.orphans_by_default),
    };
    let foreground = match (options.orphan, options.policy.as_deref()) {
        (Some(_), _) => false,
        (_, Some(p)) => p == "Foreground",
        _ => has(FOREGROUND) && !has(ORPHAN),
    };
    let mut want: Vec<String> = have.iter().filter(|f| *f != ORPHAN && *f != FOREGROUND).cloned().collect();
    if orphan {
        want.push(ORPHAN.to_owned());
    }
    if foreground {
        want.push(FOREGROUND.to_owned());
    }
    let same = want.len() == have.len() && want.iter().all(|w| have.contains(w));
    if same {
        return false;
    }
    let value = (!want.is_empty()).then(|| json!(want));
    json::put(&mut doc["metadata"], "finalizers", value);
    true
}

enum Grace {
    /// Nothing to change: the pod already ends.
    Pending,
    /// Marked anew with this grace.
    Changed(i64),
    /// No grace at all.
    AtOnce,
}

/// The grace of a pod (workloads 1.4.6; upstream `BeforeDelete` and `CheckGracefulDelete`).
fn grace(old: &Value, doc: &mut Value, options: &DeleteOptions, now: jiff::Timestamp) -> Grace {
    let asked = options.grace.map(|g| if g < 0 { 1 } else { g });
    if let Some(since) = old["metadata"]["deletionTimestamp"].as_str() {
        let have = json::int(old, "metadata.deletionGracePeriodSeconds").unwrap_or(0);
        if have == 0 {
            return Grace::AtOnce;
        }
        let Some(mut period) = asked.filter(|p| *p < have) else { return Grace::Pending };
        let at: jiff::Timestamp = since.parse().unwrap_or(now);
        let mut at = at - jiff::SignedDuration::from_secs(have) + jiff::SignedDuration::from_secs(period);
        if at < now {
            at = now;
            period = period.min(1);
        }
        doc["metadata"]["deletionTimestamp"] = meta::seconds(at).into();
        doc["metadata"]["deletionGracePeriodSeconds"] = period.into();
        return Grace::Changed(period);
    }
    let mut period = asked.or_else(|| json::int(old, "spec.terminationGracePeriodSeconds")).unwrap_or(DEFAULT_GRACE);
    if json::text(old, "spec.nodeName").is_empty() || matches!(json::text(old, "status.phase"), "Failed" | "Succeeded") {
        period = 0;
    }
    if period < 0 {
        period = 1;
    }
    mark(doc, now + jiff::SignedDuration::from_secs(period));
    doc["metadata"]["deletionGracePeriodSeconds"] = period.into();
    Grace::Changed(period)
}

/// Marks an object as being deleted.
fn mark(doc: &mut Value, at: jiff::Timestamp) {
    let generation = json::int(doc, "metadata.generation").unwrap_or(0);
    let m = json::object_mut(doc, "metadata");
    m.insert("deletionTimestamp".into(), meta::seconds(at).into());
    m.insert("deletionGracePeriodSeconds".into(), 0.into());
    if generation > 0 {
        m.insert("generation".into(), (generation + 1).into());
    }
}

/// Whether a marked object has nothing left that holds it.
pub(crate) fn is_finished(r: &Resource, doc: &Value) -> bool {
    let m = &doc["metadata"];
    m.get("deletionTimestamp").is_some()
        && json::list(doc, "metadata.finalizers").is_empty()
        && m.get("deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0) == 0
        && !(r.plural == "namespaces" && r.group.is_empty() && !json::list(doc, "spec.finalizers").is_empty())
}

/// Takes an object out of the store.
pub(crate) fn remove(server: &Server, r: &Resource, k: &str, doc: Value) -> Value {
    kinds::release(server, r, &doc);
    commit(server, r, k, doc, true)
}

/// DELETE of a collection.
pub(crate) fn delete_collection(call: &mut Call<'_>) -> Result<Response, ApiError> {
    let target = Target::of(call.server, &call.resource)?;
    let options = DeleteOptions::of(call)?;
    let accept = accept::negotiate(&call.req.headers, accept::Scope::List)?;
    let server = call.server.clone();
    let _turn = server.my_turn();
    let page = read::page(call)?;
    for s in &page.items {
        match delete_one(&server, &target, &s.key, s.name(), &options) {
            Ok(_) => {}
            Err(e) if e.code == 404 => {}
            Err(e) => return Err(e),
        }
    }
    read::respond_list(call, accept, &page)
}
