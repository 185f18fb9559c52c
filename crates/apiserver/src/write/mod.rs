//! Writing: from a body to a stored document. The order is the server's: read, decode, fill in, look whether the namespace takes it,
//! prepare, admit, validate, commit.

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod patch;
pub(crate) mod update;

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::edge::protobuf;
use crate::go_text;
use crate::registry::Resource;
use crate::request::Request;
use crate::schema::decode::{Findings, WrongType};
use crate::selector::fields;
use crate::server::{Call, SchemaRef, Server};
use crate::status::{ApiError, Cause};
use crate::store::{Stored, labels_of};
use crate::{convert, json};

/// Largest body (`MaxRequestBodyBytes`).
pub(crate) const BODY_LIMIT: usize = 3 * 1024 * 1024;
/// How much memory for encoding a thread keeps.
const SCRATCH_LIMIT: usize = 64 * 1024;
/// Longest field manager name.
const MANAGER_LIMIT: usize = 128;

/// What to do about fields that the schema does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Validation {
    Ignore,
    Warn,
    Strict,
}

/// Options of a write.
#[derive(Debug, Clone)]
pub(crate) struct WriteOptions {
    pub(crate) dry_run: bool,
    pub(crate) manager: String,
    pub(crate) validation: Validation,
    pub(crate) force: bool,
}

/// Reads the options of a write; `kind` names them in messages.
pub(crate) fn write_options(call: &Call<'_>, kind: &'static str, apply: bool) -> Result<WriteOptions, ApiError> {
    let q = &call.query;
    let mut causes = Vec::new();
    let force = q.opt("force").map(|v| v != "false" && v != "0");
    if kind == "PatchOptions" {
        if apply && q.get("fieldManager").is_empty() {
            causes.push(Cause::new("FieldValueRequired", "fieldManager", "Required value: is required for apply patch"));
        }
        if !apply && force.is_some() {
            causes.push(Cause::new("FieldValueForbidden", "force", "Forbidden: may not be specified for non-apply patch"));
        }
    }
    let manager = q.get("fieldManager");
    if manager.len() > MANAGER_LIMIT {
        causes.push(Cause::new("FieldValueTooLong", "fieldManager", format!("Too long: may not be more than {MANAGER_LIMIT} bytes")));
    }
    if manager.chars().any(|c| c.is_control()) {
        causes.push(Cause::new(
            "FieldValueInvalid",
            "fieldManager",
            format!("Invalid value: {}: invalid character {}", go_text::quoted_text(manager), odd_character(manager)),
        ));
    }
    causes.extend(dry_run_causes(&q.all("dryRun")));
    let validation = match q.get("fieldValidation") {
        "" | "Warn" => Validation::Warn,
        "Ignore" => Validation::Ignore,
        "Strict" => Validation::Strict,
        other => {
            causes.push(Cause::new(
                "FieldValueNotSupported",
                "fieldValidation",
                format!("Unsupported value: {other:?}: supported values: \"\", \"Ignore\", \"Strict\", \"Warn\""),
            ));
            Validation::Warn
        }
    };
    if !causes.is_empty() {
        return Err(ApiError::invalid("meta.k8s.io", kind, "", &causes));
    }
    Ok(WriteOptions {
        dry_run: !q.get("dryRun").is_empty(),
        manager: if manager.is_empty() { manager_of(call.req) } else { manager.to_owned() },
        validation,
        force: force.unwrap_or(false),
    })
}

/// What is wrong with the values of `dryRun`.
pub(crate) fn dry_run_causes(values: &[&str]) -> Vec<Cause> {
    values
        .iter()
        .filter(|v| **v != "All")
        .map(|_| {
            Cause::new(
                "FieldValueNotSupported",
                "dryRun",
                format!("Unsupported value: {}: supported values: \"All\"", serde_json::to_string(values).unwrap_or_default()),
            )
        })
        .take(1)
        .collect()
}

/// The manager that a User-Agent stands for: what is before its first slash.
fn manager_of(req: &Request) -> String {
    let agent = req.headers.get(http::header::USER_AGENT).and_then(|h| h.to_str().ok()).unwrap_or("");
    let name: String = agent.split('/').next().unwrap_or("").chars().filter(|c| !c.is_control()).take(MANAGER_LIMIT).collect();
    if name.is_empty() { "unknown".to_owned() } else { name }
}

/// A body that was read.
pub(crate) struct ReadBody {
    pub(crate) doc: Value,
    /// What is wrong with keys that occur twice.
    pub(crate) duplicates: Vec<String>,
    /// Path of a value that lies too deep to be kept.
    pub(crate) cut: Option<String>,
}

impl ReadBody {
    fn new(doc: Value) -> Self {
        ReadBody { doc, duplicates: Vec::new(), cut: None }
    }
}

/// The refusal of a document that would have to be kept although it is too deep. The reference keeps 10,000 levels.
pub(crate) fn too_deep(path: &str) -> ApiError {
    ApiError::bad_request(format!("{}: nested too deeply", path.chars().take(100).collect::<String>()))
}

/// The media type of the body, without parameters. Where the parameters are broken it is one that nobody takes.
pub(crate) fn media_type(req: &Request) -> String {
    let header = req.headers.get(http::header::CONTENT_TYPE).and_then(|h| h.to_str().ok()).unwrap_or("");
    let mut parts = header.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or("").to_ascii_lowercase();
    let mut names: Vec<String> = Vec::new();
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        match part.split_once('=') {
            Some((name, _)) if !name.is_empty() && !names.contains(&name.to_ascii_lowercase()) => names.push(name.to_ascii_lowercase()),
            // A semicolon at the end means nothing.
            None if part.is_empty() && parts.peek().is_none() => {}
            _ => return header.to_owned(),
        }
    }
    media_type
}

fn check_size(req: &Request) -> Result<(), ApiError> {
    if req.body.len() > BODY_LIMIT {
        return Err(ApiError::new(413, "RequestEntityTooLarge", format!("Request entity too large: limit is {BODY_LIMIT}")));
    }
    Ok(())
}

/// Reads a body of JSON or YAML.
pub(crate) fn read_body(req: &Request) -> Result<ReadBody, ApiError> {
    check_size(req)?;
    match media_type(req).as_str() {
        "" | "application/json" => read_json(&req.body),
        "application/yaml" => read_yaml(&req.body),
        protobuf::MEDIA_TYPE if !protobuf::begins(&req.body) => Err(ApiError::bad_request(match &*req.body {
            [] => "empty data".to_owned(),
            body if body.starts_with(protobuf::MAGIC) => "empty body".to_owned(),
            _ => "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]".to_owned(),
        })),
        _ => Err(ApiError::new(
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf",
        )),
    }
}

/// Reads the body of a write of an object of a kind.
pub(crate) fn read_object(req: &Request, kind: &str) -> Result<ReadBody, ApiError> {
    let read = read_body(req).map_err(|e| if e.code == 400 { unrecognized(&req.body, kind, &e.message) } else { e })?;
    for k in ["apiVersion", "kind"] {
        if let Some(v) = read.doc.get(k).filter(|v| !v.is_string() && !v.is_null()) {
            let why = format!("{NO_TYPE}json: cannot unmarshal {} into Go struct field .{k} of type string", go_text::word(v));
            return Err(unrecognized(&req.body, kind, &why));
        }
    }
    Ok(read)
}

/// How errors begin of what does not tell its type.
const NO_TYPE: &str = "couldn't get version/kind; json parse error: ";

fn odd_character(text: &str) -> String {
    match text.chars().enumerate().find(|(_, c)| c.is_control()) {
        Some((i, c)) => format!("U+{:04X} (at position {i})", c as u32),
        None => String::new(),
    }
}

/// Reads JSON.
fn read_json(body: &[u8]) -> Result<ReadBody, ApiError> {
    let read = json::parse(body).map_err(|e| ApiError::bad_request(format!("{NO_TYPE}{e}")))?;
    match read.value {
        doc @ Value::Object(_) => {
            let duplicates = read.duplicates.iter().map(|d| format!("duplicate field {d:?}")).collect();
            Ok(ReadBody { doc, duplicates, cut: read.cut })
        }
        Value::Null => Ok(ReadBody::new(Value::Object(serde_json::Map::new()))),
        v => Err(ApiError::bad_request(format!("{NO_TYPE}{}", go_text::no_type(&v)))),
    }
}

/// The text of a body of YAML.
pub(crate) fn yaml_text(body: &[u8]) -> Result<&str, ApiError> {
    let text = std::str::from_utf8(body).map_err(|_| ApiError::bad_request("yaml: invalid leading UTF-8 octet"))?;
    if text.chars().any(|c| c.is_ascii_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err(ApiError::bad_request("yaml: control characters are not allowed"));
    }
    Ok(text)
}

/// Reads YAML (JSON is YAML too).
fn read_yaml(body: &[u8]) -> Result<ReadBody, ApiError> {
    if body.first() == Some(&b'{') {
        return read_json(body);
    }
    let text = yaml_text(body)?;
    match crate::yaml::parse(text) {
        Ok((doc @ Value::Object(_), duplicates)) => Ok(ReadBody { doc, duplicates, cut: None }),
        Ok((Value::Null, _)) => Ok(ReadBody::new(Value::Object(serde_json::Map::new()))),
        Ok((v, _)) => Err(ApiError::bad_request(format!("{NO_TYPE}{}", go_text::no_type(&v)))),
        Err(e) => Err(ApiError::bad_request(e)),
    }
}

/// A resource as it was asked for and as it is stored.
pub(crate) struct Target {
    pub(crate) served: Arc<Resource>,
    pub(crate) stored: Arc<Resource>,
    pub(crate) served_schema: SchemaRef,
    pub(crate) schema: SchemaRef,
}

impl Target {
    pub(crate) fn of(server: &Server, r: &Arc<Resource>) -> Result<Target, ApiError> {
        let stored = match &r.hub {
            None => r.clone(),
            // Custom objects are written in the version that was asked for, and stored in the other.
            Some(_) if r.custom => r.clone(),
            Some((g, v)) => server.registry.get(g, v, &r.plural).ok_or_else(ApiError::no_such_path)?,
        };
        let none = || ApiError::new(500, "InternalError", format!("no schema for {}", r.qualified()));
        let served_schema = server.schema(r).ok_or_else(none)?;
        let schema = server.schema(&stored).ok_or_else(none)?;
        Ok(Target { served: r.clone(), stored, served_schema, schema })
    }

    /// 422 for this kind.
    pub(crate) fn invalid(&self, name: &str, causes: &[Cause]) -> ApiError {
        // The kind is the one that the strategy knows: an event is one of the core group whatever path it came by.
        ApiError::invalid(&self.stored.group, &self.stored.kind, name, causes)
    }

    /// Decodes a document of the served version into one of the stored version, defaults filled in.
    ///
    /// What the schema does not know comes back as texts such as `unknown field "spec.foo"`.
    pub(crate) fn decode(&self, server: &Server, doc: Value) -> Result<(Value, Vec<String>), WrongType> {
        let mut findings = Findings { keep_unknown: server.options.keep_unknown_fields, ..Findings::default() };
        if let SchemaRef::Custom(own) = &self.served_schema {
            let doc = own.decode(doc, &mut findings)?;
            return Ok((doc, findings.unknown.iter().map(|p| format!("unknown field {p:?}")).collect()));
        }
        let schema = self.served_schema.schema();
        let mut doc = schema.decode(self.served_schema.root(), doc, &mut findings)?;
        schema.apply_defaults(self.served_schema.root(), &mut doc);
        let unknown = findings.unknown.iter().map(|p| format!("unknown field {p:?}")).collect();
        if self.served.hub.is_some() {
            doc = convert::to_hub(&self.served, &self.stored, doc);
            self.schema.schema().apply_defaults(self.schema.root(), &mut doc);
        }
        Ok((doc, unknown))
    }

    /// The answer's form of a stored document.
    pub(crate) fn answer(&self, doc: Value) -> Value {
        convert::from_hub(&self.served, doc)
    }
}

/// Checks kind and apiVersion of a body and decodes it.
pub(crate) fn decode_body(call: &mut Call<'_>, target: &Target, body: ReadBody, validation: Validation) -> Result<Value, ApiError> {
    let r = target.served.clone();
    let api_version = r.api_version();
    let (mut doc, duplicates, cut) = (body.doc, body.duplicates, body.cut);
    let text = |doc: &Value, k: &str| doc.get(k).and_then(Value::as_str).unwrap_or("").to_owned();
    let (kind, version) = (text(&doc, "kind"), text(&doc, "apiVersion"));
    if version.matches('/').count() > 1 {
        return Err(unrecognized(&call.req.body, &r.kind, &format!("unexpected GroupVersion string: {version}")));
    }
    if r.custom && kind.is_empty() {
        let text = String::from_utf8_lossy(&call.req.body).into_owned();
        return Err(unrecognized(&call.req.body, &r.kind, &format!("Object 'Kind' is missing in '{text}'")));
    }
    check_type(call.server, &r, &kind, &version)?;
    let other = (r.custom && !kind.is_empty() && kind != r.kind).then_some(kind);
    json::put(&mut doc, "kind", Some(r.kind.as_str().into()));
    json::put(&mut doc, "apiVersion", Some(api_version.into()));
    let prefix = format!("{} in version {:?} cannot be handled as a {}", r.kind, r.version, r.kind);
    let (doc, unknown) = target.decode(call.server, doc).map_err(|e| ApiError::bad_request(format!("{prefix}: {e}")))?;
    if let Some(cut) = cut
        && !unknown.iter().filter_map(|f| finding_path(f, UNKNOWN)).any(|u| below(&cut, &u))
    {
        return Err(too_deep(&cut));
    }
    let findings = findings(duplicates, unknown, &call.req.body);
    match validation {
        Validation::Strict if !findings.is_empty() => {
            let (lines, rest): (Vec<_>, Vec<_>) = findings.into_iter().partition(|f| f.starts_with("line "));
            // What the reader of YAML has found is one error of many lines.
            let yaml = (!lines.is_empty()).then(|| format!("yaml: unmarshal errors:\n  {}", lines.join("\n  ")));
            let list: Vec<String> = yaml.into_iter().chain(rest).collect();
            return Err(ApiError::bad_request(format!("{prefix}: strict decoding error: {}", list.join(", "))));
        }
        Validation::Warn => call.warnings.extend(findings),
        _ => {}
    }
    // The kind of a custom object is looked at when it is validated (`ValidateTypeMeta`).
    if let Some(kind) = other {
        let cause = Cause::new("FieldValueInvalid", "kind", format!("Invalid value: {kind:?}: must be {}", r.kind));
        return Err(ApiError::invalid(&r.group, &kind, json::text(&doc, "metadata.name"), &[cause]));
    }
    Ok(doc)
}

const UNKNOWN: &str = "unknown field ";
const DUPLICATE: &str = "duplicate field ";

/// The path that a finding names, when it is of this kind.
fn finding_path(finding: &str, what: &str) -> Option<String> {
    finding.strip_prefix(what).map(|p| p.trim_matches('"').to_owned())
}

/// Whether a path is another one or leads below it.
fn below(path: &str, top: &str) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// What is odd about a body, in the order in which it stands there. Below what nobody knows, duplicates are not looked for.
fn findings(duplicates: Vec<String>, unknown: Vec<String>, body: &[u8]) -> Vec<String> {
    if duplicates.is_empty() || unknown.is_empty() {
        return if duplicates.is_empty() { unknown } else { duplicates };
    }
    let nowhere: Vec<String> = unknown.iter().filter_map(|f| finding_path(f, UNKNOWN)).collect();
    let known = |d: &String| finding_path(d, DUPLICATE).is_none_or(|d| !nowhere.iter().any(|u| below(&d, u)));
    let all: Vec<String> = duplicates.into_iter().filter(known).chain(unknown).collect();
    let paths: Option<Vec<(String, bool)>> = all
        .iter()
        .map(|f| finding_path(f, DUPLICATE).map(|p| (p, true)).or_else(|| finding_path(f, UNKNOWN).map(|p| (p, false))))
        .collect();
    // What is found in YAML names lines instead of paths, and comes first.
    let Some(paths) = paths else { return all };
    let mut placed: Vec<(usize, String)> = json::places(body, &paths).into_iter().zip(all).collect();
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, finding)| finding).collect()
}

/// The package of a group's types within the server (`pkg/apis`).
fn package(group: &str) -> &str {
    match group {
        "" | "events.k8s.io" => "core",
        g => g.split('.').next().unwrap_or(g),
    }
}

/// 400 for a body whose kind cannot be told.
fn unrecognized(body: &[u8], kind: &str, why: &str) -> ApiError {
    const SHOWN: usize = 30;
    let head = &body[..body.len().min(SHOWN)];
    let mut summary = match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(head).into_owned(),
        Some(_) => head.iter().map(|b| format!("{b:02x}")).collect(),
    };
    if body.len() > SHOWN {
        summary.push_str(" ...");
    }
    ApiError::bad_request(format!("the object provided is unrecognized (must be of type {kind}): {why} ({summary})"))
}

fn check_type(server: &Server, r: &Resource, kind: &str, version: &str) -> Result<(), ApiError> {
    let want = r.api_version();
    if r.custom {
        if version == want {
            return Ok(());
        }
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({want})"
        )));
    }
    let (kind_ok, version_ok) = (kind.is_empty() || kind == r.kind, version.is_empty() || version == want);
    if kind_ok && version_ok {
        return Ok(());
    }
    let kind = if kind.is_empty() { &r.kind } else { kind };
    let version = if version.is_empty() { &want } else { version };
    let (g, v) = version.split_once('/').unwrap_or(("", version));
    // Old versions are known still, though not served.
    if server.registry.by_kind(g, v, kind).is_some_and(|k| !k.custom) || (kind_ok && g == r.group && v.contains("beta")) {
        if kind_ok {
            return Err(ApiError::bad_request(format!(
                "the API version in the data ({version}) does not match the expected API version ({want})"
            )));
        }
        return Err(ApiError::bad_request(format!(
            "{kind} in version {v:?} cannot be handled as a {}: converting ({v}.{kind}) to ({}.{}): unknown conversion",
            r.kind,
            package(&r.group),
            r.kind
        )));
    }
    Err(ApiError::bad_request(format!(
        "{kind} in version {v:?} cannot be handled as a {}: no kind {kind:?} is registered for version {version:?} in scheme {:?}",
        r.kind,
        if r.group == "apiextensions.k8s.io" { "pkg/apiserver/apiserver.go:55" } else { "pkg/api/legacyscheme/scheme.go:30" }
    )))
}

/// The names of a body must agree with the path.
pub(crate) fn check_namespace(call: &Call<'_>, doc: &mut Value) -> Result<(), ApiError> {
    let ns = call.namespace();
    let have = json::text(doc, "metadata.namespace");
    if !call.resource.namespaced {
        if let Some(m) = doc.get_mut("metadata") {
            json::take(m, "namespace");
        }
        return Ok(());
    }
    if !have.is_empty() && have != ns {
        return Err(ApiError::bad_request("the namespace of the provided object does not match the namespace sent on the request"));
    }
    let meta = json::object_mut(doc, "metadata");
    meta.insert("namespace".into(), ns.into());
    Ok(())
}

/// Makes the stored form of a document at a revision.
pub(crate) fn stored(r: &Resource, key: &str, doc: &mut Value, rv: u64) -> Stored {
    doc["metadata"]["resourceVersion"] = rv.to_string().into();
    let bytes = encoded(doc);
    let labels = labels_of(doc);
    let fields = if r.custom { fields::custom_values(&r.selectable, doc) } else { fields::values(&r.storage_key(), doc) };
    Stored { rv, key: Arc::from(key), bytes, labels, fields }
}

/// The encoded document, in a piece of memory of just its size: most of the server's memory are such pieces.
fn encoded(doc: &Value) -> Bytes {
    thread_local! {
        static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.clear();
        serde_json::to_writer(&mut *scratch, doc).expect("a document of strings, numbers and maps always encodes");
        let bytes = Bytes::copy_from_slice(scratch);
        if scratch.capacity() > SCRATCH_LIMIT {
            scratch.shrink_to(SCRATCH_LIMIT);
        }
        bytes
    })
}

/// Commits a document and returns it with its resourceVersion. The caller holds the turn.
pub(crate) fn commit(server: &Server, r: &Resource, key: &str, doc: Value, deleted: bool) -> Value {
    commit_stored(server, r, key, doc, deleted).0
}

/// Commits a document and returns it with its resourceVersion, and what is stored of it. The caller holds the turn.
pub(crate) fn commit_stored(server: &Server, r: &Resource, key: &str, mut doc: Value, deleted: bool) -> (Value, Arc<Stored>) {
    let kept = server.store.commit(&r.storage_key(), r, deleted, |rv| {
        if r.hub.is_none() || !r.custom {
            return stored(r, key, &mut doc, rv);
        }
        doc["metadata"]["resourceVersion"] = rv.to_string().into();
        let mut kept = crate::custom::to_storage(server, r, &doc);
        stored(r, key, &mut kept, rv)
    });
    crate::kinds::committed(server, r, &doc, deleted);
    (doc, kept)
}

/// The stored document of a key.
pub(crate) fn load(server: &Server, r: &Resource, key: &str) -> Option<(Arc<Stored>, Value)> {
    let s = server.store.get(&r.storage_key(), key)?;
    let doc: Value = serde_json::from_slice(&s.bytes).expect("the store holds what this server encoded");
    let doc = if r.custom { crate::custom::from_storage(server, r, doc) } else { doc };
    Some((s, doc))
}
