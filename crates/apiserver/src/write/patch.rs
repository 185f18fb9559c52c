//! PATCH: JSON patch, merge patch, strategic merge patch, server-side apply.

use std::sync::Arc;

use http::StatusCode;
use serde_json::Value;

use super::update::{MODIFIED, change, check_name};
use super::{ReadBody, Target, Validation, WriteOptions, check_namespace, load, media_type, too_deep, write_options, yaml_text};
use crate::apply::{self, managed};
use crate::go_text;
use crate::go_value;
use crate::json;
use crate::patch;
use crate::read::written_response;
use crate::request::Response;
use crate::server::{Call, Server, Turn};
use crate::status::{ApiError, Cause};

/// Most operations of a JSON patch.
const OPERATIONS_LIMIT: usize = 10_000;

/// The kinds of patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Json,
    Merge,
    Strategic,
    Apply,
}

fn kind_of(call: &Call<'_>) -> Result<Kind, ApiError> {
    let custom = call.resource.custom;
    match media_type(call.req).as_str() {
        "application/json-patch+json" => Ok(Kind::Json),
        "application/merge-patch+json" => Ok(Kind::Merge),
        "application/strategic-merge-patch+json" if !custom => Ok(Kind::Strategic),
        "application/apply-patch+yaml" => Ok(Kind::Apply),
        "application/strategic-merge-patch+json" => Err(ApiError::new(
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
        )),
        _ => {
            let mut e = ApiError::new(415, "UnsupportedMediaType", "415: Unsupported Media Type");
            e.details = serde_json::json!({});
            Err(e)
        }
    }
}

/// PATCH of an object.
pub(crate) fn patch(call: &mut Call<'_>) -> Result<Response, ApiError> {
    let kind = kind_of(call)?;
    if call.route.name.is_none() {
        return Err(ApiError::bad_request("name must be provided"));
    }
    let target = Target::of(call.server, &call.resource)?;
    let opts = write_options(call, "PatchOptions", kind == Kind::Apply)?;
    if call.req.body.len() > super::BODY_LIMIT {
        return Err(ApiError::new(413, "RequestEntityTooLarge", format!("Request entity too large: limit is {}", super::BODY_LIMIT)));
    }
    let server = call.server.clone();
    let mut turn = Some(server.my_turn());
    let name = call.route.name.unwrap_or("").to_owned();
    let old = load(&server, &target.stored, &call.key(&name)).map(|(_, d)| d);
    if kind == Kind::Apply {
        let (doc, created) = apply_patch(call, &server, &mut turn, &target, old, &opts)?;
        let status = if created { StatusCode::CREATED } else { StatusCode::OK };
        return written_response(call, status, &target, doc);
    }
    let Some(old) = old else { return Err(ApiError::not_found(&target.served, &name)) };
    let doc = changed_document(call, &target, &old, kind, opts.validation)?;
    let doc = change(call, &target, &old, doc, &opts, managed::Op::Update, false)?;
    drop(turn);
    written_response(call, StatusCode::OK, &target, doc)
}

/// Applies a patch that is no apply to a stored document and decodes the outcome.
fn changed_document(call: &mut Call<'_>, target: &Target, old: &Value, kind: Kind, validation: Validation) -> Result<Value, ApiError> {
    let mut before = target.answer(old.clone());
    let body = &call.req.body;
    let mut findings = Vec::new();
    let after = match kind {
        Kind::Json => {
            let (ops, duplicates) = json_patch_of(body)?;
            findings.extend(duplicates.into_iter().map(|d| format!("json patch duplicate field {d:?}")));
            patch::apply_json(&mut before, &ops, &target.served, call.route.name.unwrap_or(""))?;
            before
        }
        _ => {
            let (patch, duplicates) = parse_patch(body, kind)?;
            findings.extend(duplicates.into_iter().map(|d| format!("duplicate field {d:?}")));
            if kind == Kind::Merge {
                patch::merge(&mut before, &patch);
                before
            } else {
                let schema = &target.served_schema;
                patch::strategic(schema.schema(), schema.root(), &mut before, &patch)
                    .map_err(|e| ApiError::new(e.code, e.reason, e.message))?;
                before
            }
        }
    };
    if !after.is_object() {
        return Err(ApiError::new(422, "Invalid", "the patch did not leave an object"));
    }
    let mut after = after;
    // The type of an object cannot be patched away.
    let outcome = after.clone();
    let value = || refused_value(kind, target, body, &outcome);
    for (k, want) in [("kind", target.served.kind.clone()), ("apiVersion", target.served.api_version())] {
        let have = json::text(&after, k);
        if !have.is_empty() && have != want {
            if target.served.custom {
                return Err(wrong_type(target, k, have, &want, json::text(&after, "metadata.name")));
            }
            return Err(patch_refused(&value(), &format!("converting ({have}) to ({want}): unknown conversion")));
        }
        json::put(&mut after, k, Some(want.into()));
    }
    let (mut doc, unknown) = target.decode(call.server, after).map_err(|e| {
        let text = e.to_string();
        patch_refused(&value(), &if kind == Kind::Strategic { as_converted(text) } else { text })
    })?;
    findings.extend(unknown);
    match validation {
        Validation::Strict if !findings.is_empty() => {
            return Err(patch_refused(&value(), &format!("strict decoding error: {}", findings.join(", "))));
        }
        Validation::Warn => call.warnings.extend(findings),
        _ => {}
    }
    check_name(call, &doc)?;
    check_namespace(call, &mut doc)?;
    Ok(doc)
}

/// What a refused patch is shown as: a strategic one by itself, of others the outcome (`jsonPatcher`, `strategicPatchObject`).
fn refused_value(kind: Kind, target: &Target, body: &[u8], after: &Value) -> String {
    let custom = target.served.custom;
    match serde_json::from_slice::<Value>(body) {
        Ok(patch) if kind == Kind::Strategic => go_value::map(&patch),
        Ok(patch) => {
            let mut shown = after.clone();
            if !custom {
                target.served_schema.schema().order(target.served_schema.root(), &mut shown);
            }
            match kind {
                // Custom objects are maps all through.
                _ if custom => shown.sort_all_objects(),
                Kind::Json => {
                    sort_keys(&mut shown, None);
                    for path in patch.as_array().into_iter().flatten().filter_map(|op| op["path"].as_str()) {
                        sort_path(&mut shown, path.trim_start_matches('/'));
                    }
                }
                _ => sort_keys(&mut shown, Some(&patch)),
            }
            go_value::json(&shown)
        }
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    }
}

/// What a patch touched is written with its keys in order, the rest as it was.
fn sort_keys(v: &mut Value, patch: Option<&Value>) {
    let Value::Object(m) = v else { return };
    m.sort_keys();
    for (k, below) in m.iter_mut() {
        if let Some(p) = patch.and_then(|p| p.get(k)).filter(|p| p.is_object()) {
            sort_keys(below, Some(p));
        }
    }
}

fn sort_path(v: &mut Value, path: &str) {
    let (Value::Object(m), Some((first, rest))) = (v, path.split_once('/')) else { return };
    if let Some(below) = m.get_mut(first) {
        sort_keys(below, None);
        sort_path(below, rest);
    }
}

/// 422 for a custom object whose type was patched away (`ValidateTypeMeta`).
fn wrong_type(target: &Target, key: &str, have: &str, want: &str, name: &str) -> ApiError {
    let kind = if key == "kind" { have } else { &target.served.kind };
    let cause = Cause::new("FieldValueInvalid", key, format!("Invalid value: {have:?}: must be {want}"));
    ApiError::invalid(&target.served.group, kind, name, &[cause])
}

/// 422 that names the patch itself.
fn patch_refused(value: &str, why: &str) -> ApiError {
    let cause = Cause::new("FieldValueInvalid", "patch", format!("Invalid value: {value:?}: {why}"));
    let mut e = ApiError::new(422, "Invalid", format!(" \"\" is invalid: patch: {}", cause.message));
    e.details = serde_json::json!({});
    e.with_causes(&[cause])
}

/// What a patch of JSON is, in Go's words.
const OPERATIONS: &str = "[]handlers.jsonPatchOp";
const OPERATION: &str = "handlers.jsonPatchOp";

fn decoding(why: impl std::fmt::Display) -> ApiError {
    ApiError::bad_request(format!("error decoding patch: {why}"))
}

/// Reads a JSON patch: a list of operations. Also tells of keys that occur twice.
pub(crate) fn json_patch_of(body: &[u8]) -> Result<(Value, Vec<String>), ApiError> {
    let read = json::parse(body).map_err(decoding)?;
    let ops = match read.value {
        Value::Null => Value::Array(Vec::new()),
        ops @ Value::Array(_) => ops,
        other => return Err(decoding(format!("json: cannot unmarshal {} into Go value of type {OPERATIONS}", go_text::word(&other)))),
    };
    let list = ops.as_array().map_or(&[][..], Vec::as_slice);
    for op in list {
        if !op.is_object() && !op.is_null() {
            return Err(decoding(format!("json: cannot unmarshal {} into Go value of type {OPERATION}", go_text::word(op))));
        }
        for field in ["op", "from", "path"] {
            if let Some(v) = op.get(field).filter(|v| !v.is_string() && !v.is_null()) {
                let word = go_text::word(v);
                return Err(decoding(format!("json: cannot unmarshal {word} into Go struct field jsonPatchOp.{field} of type string")));
            }
        }
    }
    if list.len() > OPERATIONS_LIMIT {
        let text =
            format!("Request entity too large: The allowed maximum operations in a JSON patch is {OPERATIONS_LIMIT}, got {}", list.len());
        return Err(ApiError::new(413, "RequestEntityTooLarge", text));
    }
    match read.cut {
        Some(cut) => Err(too_deep(&cut)),
        None => Ok((ops, read.duplicates)),
    }
}

/// Reads a merge patch of either kind.
pub(crate) fn parse_patch(body: &[u8], kind: Kind) -> Result<(Value, Vec<String>), ApiError> {
    // A strategic patch is decoded in the reference where nobody names the step.
    let fault = |why: String| if kind == Kind::Strategic { ApiError::bad_request(why) } else { decoding(why) };
    let read = json::parse(body).map_err(fault)?;
    match read.value {
        _ if read.cut.is_some() && read.value.is_object() => Err(too_deep(&read.cut.unwrap_or_default())),
        v @ Value::Object(_) => Ok((v, read.duplicates)),
        Value::Null if kind == Kind::Strategic => Ok((Value::Object(serde_json::Map::new()), Vec::new())),
        Value::Null => Err(ApiError::bad_request("Invalid JSON Patch")),
        v => Err(fault(format!("json: cannot unmarshal {} into Go value of type map[string]interface {{}}", go_text::word(&v)))),
    }
}

/// A strategic patch is merged as maps and turned into the object without JSON in between (apimachinery `runtime/converter`), which
/// complains in words of its own about a value of the wrong kind.
fn as_converted(text: String) -> String {
    let parts = text.strip_prefix("json: cannot unmarshal ").and_then(|rest| rest.split_once(" into Go struct field "));
    let Some((have, (_, want))) = parts.and_then(|(have, rest)| Some((have, rest.rsplit_once(" of type ")?))) else { return text };
    let number = have.strip_prefix("number");
    let fraction = number.is_some_and(|n| n.contains(['.', 'e', 'E']));
    // What the value is in Go.
    let go = match have {
        "object" => "map",
        "array" => "slice",
        _ if fraction => "float64",
        _ if number.is_some() => "int64",
        other => other,
    };
    match want {
        "int32" | "int64" if fraction => format!("cannot convert float64 to {want}"),
        "string" if go == "int64" => "cannot convert int64 to string".to_owned(),
        "string" | "bool" | "int32" | "int64" | "float64" => format!("unrecognized type: {want}"),
        want if want.starts_with("[]") => format!("cannot restore slice from {go}"),
        want if want.starts_with("map[") => format!("cannot restore map from {go}"),
        _ => format!("cannot restore struct from: {go}"),
    }
}

/// Server-side apply. Returns the stored document and whether it was created.
fn apply_patch<'s>(
    call: &mut Call<'_>,
    server: &'s Arc<Server>,
    turn: &mut Option<Turn<'s>>,
    target: &Target,
    old: Option<Value>,
    opts: &WriteOptions,
) -> Result<(Value, bool), ApiError> {
    let body = read_apply(&call.req.body)?;
    let mut config = body.doc;
    let name = call.route.name.unwrap_or("").to_owned();
    let r = target.served.clone();
    apply::check_config(call, target, &mut config, &name)?;
    if let Some(cut) = &body.cut {
        return Err(too_deep(cut));
    }
    if opts.validation == Validation::Strict && !body.duplicates.is_empty() {
        return Err(ApiError::bad_request(format!("error strict decoding YAML: {}", body.duplicates.join(", "))));
    }
    if opts.validation == Validation::Warn {
        call.warnings.extend(body.duplicates.iter().filter(|d| d.starts_with("line ")).cloned());
    }
    let given_rv = json::text(&config, "metadata.resourceVersion").to_owned();
    let given_uid = json::text(&config, "metadata.uid").to_owned();
    let Some(old) = old else {
        if call.route.subresource.is_some() {
            return Err(ApiError::not_found(&r, &name));
        }
        if !given_uid.is_empty() {
            return Err(ApiError::conflict(
                &r,
                &name,
                format!("uid mismatch: the provided object specified uid {given_uid}, and no existing object was found"),
            ));
        }
        let merged = apply::merge(call, target, None, &config, opts)?;
        check_name(call, &config)?;
        let (mut doc, _) = target.decode(call.server, merged.doc).map_err(|e| ApiError::bad_request(e.to_string()))?;
        let meta = json::object_mut(&mut doc, "metadata");
        meta.insert("name".into(), name.as_str().into());
        // Only a conflict could come of it, and there is nothing to be in conflict with.
        meta.shift_remove("resourceVersion");
        check_namespace(call, &mut doc)?;
        let doc = super::create::create_document(call, server, turn, target, doc, opts, managed::Op::Apply(&merged.owned))?;
        return Ok((doc, true));
    };
    if !given_rv.is_empty() && given_rv != json::text(&old, "metadata.resourceVersion") {
        return Err(ApiError::conflict(&r, &name, MODIFIED));
    }
    let merged = apply::merge(call, target, Some(&old), &config, opts)?;
    let (mut doc, _) = target.decode(call.server, merged.doc).map_err(|e| ApiError::bad_request(e.to_string()))?;
    check_namespace(call, &mut doc)?;
    let doc = change(call, target, &old, doc, opts, managed::Op::Apply(&merged.owned), false)?;
    Ok((doc, false))
}

/// Reads the body of an apply: YAML, of which JSON is the most usual form.
pub(crate) fn read_apply(body: &[u8]) -> Result<ReadBody, ApiError> {
    let fault = |why: &str| ApiError::bad_request(format!("error decoding YAML: {why}"));
    let text = yaml_text(body).map_err(|e| fault(&format!("error converting YAML to JSON: {}", e.message)))?;
    let read = match serde_json::from_slice::<serde::de::IgnoredAny>(body) {
        // What is too deep as JSON is too deep as YAML, which it is taken for.
        Ok(_) => json::parse(body).map_err(|_| fault("error converting YAML to JSON: yaml: exceeded max depth of 10000"))?,
        Err(_) => {
            let (value, duplicates) = crate::yaml::parse(text).map_err(|e| fault(&format!("error converting YAML to JSON: {e}")))?;
            return apply_body(json::Parsed { value, duplicates, cut: None }, fault);
        }
    };
    let duplicates = read.duplicates.iter().map(|d| format!("duplicate field {d:?}")).collect();
    apply_body(json::Parsed { duplicates, ..read }, fault)
}

fn apply_body(read: json::Parsed, fault: impl Fn(&str) -> ApiError) -> Result<ReadBody, ApiError> {
    let doc = match read.value {
        doc @ Value::Object(_) => doc,
        Value::Null => Value::Object(serde_json::Map::new()),
        v => {
            let word = go_text::word(&v);
            let why = "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal";
            return Err(fault(&format!("{why} {word} into Go value of type map[string]interface {{}}")));
        }
    };
    Ok(ReadBody { doc, duplicates: read.duplicates, cut: read.cut })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_the_wrong_kind_in_a_strategic_patch_is_told_in_the_converters_words() {
        let told = |have: &str, want: &str| as_converted(format!("json: cannot unmarshal {have} into Go struct field A.b of type {want}"));
        assert_eq!(told("string", "int32"), "unrecognized type: int32");
        assert_eq!(told("number", "string"), "cannot convert int64 to string");
        assert_eq!(told("number 1.5", "int32"), "cannot convert float64 to int32");
        assert_eq!(told("string", "[]v1.Container"), "cannot restore slice from string");
        assert_eq!(told("array", "map[string]string"), "cannot restore map from slice");
        assert_eq!(told("string", "v1.PodSpec"), "cannot restore struct from: string");
        assert_eq!(as_converted("other".into()), "other");
    }
}
