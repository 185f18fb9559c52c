//! Server-side apply and field ownership.

pub(crate) mod compare;
pub(crate) mod managed;
mod merge;
mod schema_check;
pub(crate) mod set;

use serde_json::Value;

use self::compare::{compare, fields_of};
use self::managed::{Entry, entries, root_type, strip, take_away, typed};
use self::set::FieldSet;
use crate::server::Call;
use crate::status::{ApiError, Cause};
use crate::write::{Target, WriteOptions};
use crate::{convert, json, meta};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Checks an applied configuration before anything is merged.
pub(crate) fn check_config(call: &Call<'_>, target: &Target, config: &mut Value, name: &str) -> Result<(), ApiError> {
    let r = &target.served;
    let (kind, version) = (json::text(config, "kind").to_owned(), json::text(config, "apiVersion").to_owned());
    if version.is_empty() {
        return Err(ApiError::bad_request(format!("invalid object type: /, Kind={kind}")));
    }
    let have = json::text(config, "metadata.name").to_owned();
    if !have.is_empty() && have != name {
        return Err(ApiError::bad_request(format!("the name of the object ({have}) does not match the name on the URL ({name})")));
    }
    let ns = json::text(config, "metadata.namespace").to_owned();
    if r.namespaced && !ns.is_empty() && ns != call.namespace() {
        return Err(ApiError::bad_request("the namespace of the provided object does not match the namespace sent on the request"));
    }
    if kind != r.kind {
        let slash = if version.contains('/') { "" } else { "/" };
        return Err(ApiError::bad_request(format!("invalid object type: {slash}{version}, Kind={kind}")));
    }
    if version != r.api_version() {
        return Err(ApiError::bad_request(format!(
            "Incorrect version specified in apply patch. Specified patch version: {version}, expected: {}",
            r.api_version()
        )));
    }
    if !json::list(config, "metadata.managedFields").is_empty() {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    let gvk = match r.group.as_str() {
        "" => format!("/{}, Kind={kind}", r.version),
        g => format!("{g}/{}, Kind={kind}", r.version),
    };
    schema_check::check(target, config)
        .map_err(|e| ApiError::new(500, "", format!("failed to create typed patch object ({ns}/{have}; {gvk}): {e}")))
}

/// The outcome of merging a configuration.
pub(crate) struct Merged {
    /// The whole document, in the served version.
    pub(crate) doc: Value,
    /// Who owns what then.
    pub(crate) owned: Vec<Entry>,
}

/// Merges a configuration into the stored document, with 409 for what others own.
pub(crate) fn merge(
    call: &Call<'_>,
    target: &Target,
    old: Option<&Value>,
    config: &Value,
    opts: &WriteOptions,
) -> Result<Merged, ApiError> {
    match merge_once(call, target, old, config, opts, opts.force) {
        Err(Failure::Conflicts(found)) => {
            // kubectl's own client-side apply must not stand in the way of its server-side apply.
            if opts.manager == "kubectl"
                && let Some(allowed) = old.and_then(|o| from_last_applied(target, o))
                && found.iter().all(|(_, s)| s.minus(&allowed).is_empty())
                && let Ok(m) = merge_once(call, target, old, config, opts, true)
            {
                return Ok(m);
            }
            Err(conflict_error(&found))
        }
        Ok(m) => Ok(m),
    }
}

enum Failure {
    Conflicts(Vec<(Entry, FieldSet)>),
}

fn merge_once(
    call: &Call<'_>,
    target: &Target,
    old: Option<&Value>,
    config: &Value,
    opts: &WriteOptions,
    force: bool,
) -> Result<Merged, Failure> {
    let sub = call.route.subresource;
    let now = meta::seconds(call.server.options.clock.now());
    let ty = root_type(target);
    let at = typed(target, &ty);
    let live = old.map(|o| convert::from_hub(&target.served, o.clone()));
    let mut base = live.clone().unwrap_or_else(|| {
        let mut zero = serde_json::json!({});
        target.served_schema.schema().add_zeros(target.served_schema.root(), &mut zero);
        zero
    });
    json::put(&mut base["metadata"], "managedFields", None);
    let mut list = old.map(entries).unwrap_or_default();
    if let (true, Some(live)) = (list.is_empty(), &live) {
        // What nobody is known to own belongs to whoever came before the first apply, as if it had been written just now.
        let mut zero = serde_json::json!({"kind": target.served.kind, "apiVersion": target.served.api_version()});
        target.served_schema.schema().add_zeros(target.served_schema.root(), &mut zero);
        let c = compare(at, Some(&zero), Some(live));
        let mut fields = c.modified.union(&c.added);
        strip(target, sub, &mut fields);
        list.push(Entry {
            manager: "before-first-apply".into(),
            apply: false,
            api_version: target.served.api_version(),
            subresource: String::new(),
            time: now.clone(),
            fields,
        });
    }
    let whole = fields_of(at, config);
    let mut fields = whole.clone();
    strip(target, sub, &mut fields);
    let mut entry = Entry {
        manager: opts.manager.clone(),
        apply: true,
        api_version: target.served.api_version(),
        subresource: sub.unwrap_or("").to_owned(),
        time: now,
        fields,
    };
    let mine = list.iter().position(|e| e.is_of(&entry));
    let last = mine.map(|i| list[i].clone());
    let mut doc = merge::merged(at, Some(&base), config);
    if let Some(last) = &last {
        // The identity of the object is never up for removal, whoever owns it.
        let mut keep = whole;
        keep.child("f:metadata").own = true;
        for (i, e) in list.iter().enumerate() {
            if Some(i) != mine {
                keep.add(&e.fields);
            }
        }
        merge::prune(at, &mut doc, &last.fields, &keep);
    }
    let mut c = compare(at, Some(&base), Some(&doc));
    for set in [&mut c.added, &mut c.modified, &mut c.removed] {
        strip(target, sub, set);
    }
    let touched = c.modified.clone().union(&c.added);
    let found: Vec<(Entry, FieldSet)> = list
        .iter()
        .enumerate()
        .filter(|(i, _)| Some(*i) != mine)
        .map(|(_, e)| (e.clone(), e.fields.both(&touched)))
        .filter(|(_, s)| !s.is_empty())
        .collect();
    if !found.is_empty() && !force {
        return Err(Failure::Conflicts(found));
    }
    take_away(&mut list, mine, &c);
    if let Some(last) = &last
        && c.is_same()
    {
        entry.time.clone_from(&last.time);
    } else if old.is_some() && c.is_same() {
        // Owning what already is as it should be takes no time.
        entry.time.clear();
    }
    match mine {
        Some(i) => list[i] = entry,
        None => list.push(entry),
    }
    if opts.manager == "kubectl" && !json::text_at(&doc, &["metadata", "annotations", LAST_APPLIED]).is_empty() {
        sync_last_applied(&mut doc, config);
    }
    list.retain(|e| !e.fields.is_empty());
    Ok(Merged { doc, owned: list })
}

/// The fields that a client-side apply wrote and that still are as it wrote them.
fn from_last_applied(target: &Target, old: &Value) -> Option<FieldSet> {
    let live = convert::from_hub(&target.served, old.clone());
    let text = json::text_at(&live, &["metadata", "annotations", LAST_APPLIED]);
    let last: Value = serde_json::from_str(text).ok()?;
    if json::text(&last, "apiVersion") != target.served.api_version() {
        return None;
    }
    let ty = root_type(target);
    let at = typed(target, &ty);
    let c = compare(at, Some(&last), Some(&live));
    Some(fields_of(at, &last).minus(&c.modified).minus(&c.added).minus(&c.removed))
}

fn sync_last_applied(doc: &mut Value, config: &Value) {
    let mut clean = config.clone();
    if let Some(a) = clean.pointer_mut("/metadata/annotations") {
        json::take(a, LAST_APPLIED);
    }
    let text = format!("{}\n", sorted(&clean));
    doc["metadata"]["annotations"][LAST_APPLIED] = text.into();
}

/// The document with its keys in order, as the reference encodes free documents.
fn sorted(v: &Value) -> Value {
    match v {
        Value::Object(m) => {
            let mut keys: Vec<&String> = m.keys().collect();
            keys.sort();
            Value::Object(keys.into_iter().map(|k| (k.clone(), sorted(&m[k]))).collect())
        }
        Value::Array(l) => Value::Array(l.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

fn describe(e: &Entry) -> String {
    let mut out = format!("{:?}", e.manager);
    if !e.subresource.is_empty() {
        out.push_str(&format!(" with subresource {:?}", e.subresource));
    }
    if !e.apply {
        out.push_str(&format!(" using {}", e.api_version));
    }
    out
}

fn conflict_error(found: &[(Entry, FieldSet)]) -> ApiError {
    let mut list: Vec<(String, Vec<String>)> = found.iter().map(|(e, s)| (describe(e), s.paths())).collect();
    list.sort();
    let n: usize = list.iter().map(|(_, p)| p.len()).sum();
    let message = match (n, list.first()) {
        (1, Some((who, paths))) => format!("Apply failed with 1 conflict: conflict with {who}: {}", paths[0]),
        _ => {
            let lines: Vec<String> = list
                .iter()
                .flat_map(|(who, paths)| std::iter::once(format!("conflicts with {who}:")).chain(paths.iter().map(|p| format!("- {p}"))))
                .collect();
            format!("Apply failed with {n} conflicts: {}", lines.join("\n"))
        }
    };
    let causes: Vec<Cause> = list
        .iter()
        .flat_map(|(who, paths)| paths.iter().map(move |p| Cause::new("FieldManagerConflict", p.clone(), format!("conflict with {who}"))))
        .collect();
    ApiError::new(409, "Conflict", message).with_causes(&causes)
}
