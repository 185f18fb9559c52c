//! Reading: one object, lists and watches.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::accept::{self, Accept, Scope, Shape};
use crate::convert;
use crate::go_text;
use crate::json;
use crate::list_body::ListBody;
use crate::registry::Resource;
use crate::request::{Body, Response};
use crate::selector::fields::FieldSelector;
use crate::selector::labels::LabelSelector;
use crate::server::{Call, Server};
use crate::status::{ApiError, Cause};
use crate::store::watch::{Filter, Plan, View};
use crate::store::{Compacted, Stored};
use crate::view::{self, PlainView, ShapedView};
use crate::write::Target;

/// Watches without a timeout of their own end after this; a real server draws from 30 to 60 minutes.
const WATCH_TIMEOUT: Duration = Duration::from_secs(45 * 60);

/// Answers with one document in the accepted form.
pub(crate) fn object_response(call: &Call<'_>, status: StatusCode, doc: Value) -> Result<Response, ApiError> {
    let accept = accept::negotiate(&call.req.headers, Scope::One)?;
    let doc = shaped_one(call, accept, doc);
    Ok(encode(accept, status, &doc))
}

/// Answers with the document that a write has left.
pub(crate) fn written_response(call: &Call<'_>, status: StatusCode, target: &Target, doc: Value) -> Result<Response, ApiError> {
    if let Some(stored) = &call.stored {
        let accept = accept::negotiate(&call.req.headers, Scope::One)?;
        if is_as_stored(accept, &target.served) {
            return Ok(Response::stored(status, stored));
        }
    }
    object_response(call, status, target.answer(doc))
}

/// Whether what is stored is just what is to be shown.
fn is_as_stored(accept: Accept, r: &Resource) -> bool {
    accept.shape == Shape::Plain && !accept.yaml && r.hub.is_none() && !r.custom
}

fn shaped_one(call: &Call<'_>, accept: Accept, doc: Value) -> Value {
    if doc["kind"] == "Status" {
        return doc;
    }
    let mut out = match accept.shape {
        Shape::Plain => doc,
        Shape::Partial => partial(&doc),
        Shape::Table => {
            let rv = doc["metadata"]["resourceVersion"].clone();
            let mut t = render(call, &[doc]);
            if !rv.is_null() {
                t["metadata"] = json!({"resourceVersion": rv});
            }
            t
        }
    };
    accept.version(&mut out);
    out
}

/// A table shows its objects in one of three ways.
fn check_include(call: &Call<'_>, accept: Accept) -> Result<(), ApiError> {
    let v = call.query.get("includeObject");
    if accept.shape != Shape::Table || matches!(v, "" | "Metadata" | "Object" | "None") {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "Unable to convert to Table as requested: includeObject: Invalid value: {v:?}: must be 'Metadata', 'Object', 'None', or empty"
    )))
}

fn render(call: &Call<'_>, docs: &[Value]) -> Value {
    let include = match call.query.get("includeObject") {
        "" => "Metadata",
        other => other,
    };
    view::table(call.server, &call.resource, docs, include)
}

/// The metadata-only form of a document.
pub(crate) fn partial(doc: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": doc["metadata"]})
}

/// Encodes an answer as JSON or YAML.
pub(crate) fn encode(accept: Accept, status: StatusCode, doc: &Value) -> Response {
    if accept.yaml {
        let text = crate::yaml::emit(doc);
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/yaml"));
        return Response::new(status, headers, Body::Full(Bytes::from(text)));
    }
    Response::json(status, doc)
}

/// An answer of JSON as YAML.
pub(crate) fn as_yaml(r: Response) -> Response {
    let doc = match &r.body {
        Body::Full(bytes) => serde_json::from_slice::<Value>(bytes).ok(),
        _ => None,
    };
    let Some(doc) = doc else { return r };
    let yaml = encode(Accept { shape: Shape::Plain, yaml: true, beta: false }, r.status, &doc);
    let mut headers = r.headers;
    headers.extend(yaml.headers);
    Response { headers, ..yaml }
}

/// GET of one object.
pub(crate) fn get(call: &Call<'_>) -> Result<Response, ApiError> {
    let name = call.route.name.unwrap_or("");
    let accept = accept::negotiate(&call.req.headers, Scope::One)?;
    match call.query.get("resourceVersion") {
        "" => {}
        rv => match rv.parse::<u64>() {
            Ok(n) => newer_than_now(call.server, n)?,
            Err(e) => {
                let mut err = ApiError::new(500, "", format!("invalid resource version {rv:?}: {e}"));
                err.message = format!("resourceVersion: Invalid value: {rv:?}: {}", go_text::parse_uint(rv));
                return Err(err);
            }
        },
    }
    let stored =
        call.server.store.get(&call.resource.storage_key(), &call.key(name)).ok_or_else(|| ApiError::not_found(&call.resource, name))?;
    if is_as_stored(accept, &call.resource) {
        return Ok(Response::stored(StatusCode::OK, &stored));
    }
    let doc = shaped_one(call, accept, convert::served(call.server, &call.resource, &stored));
    Ok(encode(accept, StatusCode::OK, &doc))
}

fn newer_than_now(server: &Server, rv: u64) -> Result<(), ApiError> {
    let current = server.store.revision();
    if rv <= current {
        return Ok(());
    }
    let mut e = ApiError::new(504, "Timeout", format!("Timeout: Too large resource version: {rv}, current: {current}"))
        .with_causes(&[Cause::new("ResourceVersionTooLarge", "", "Too large resource version")]);
    e.retry_after = Some(1);
    Err(e)
}

/// What a list or watch selects.
pub(crate) fn filter(call: &Call<'_>) -> Result<Filter, ApiError> {
    let labels = LabelSelector::parse(call.query.get("labelSelector")).map_err(|e| ApiError::bad_request(e.to_string()))?;
    let mut fields = FieldSelector::parse(call.query.get("fieldSelector"), &call.resource).map_err(ApiError::bad_request)?;
    if let Some(name) = call.route.name {
        fields = fields.and_name(name);
    }
    let prefix = call.route.namespace.map_or(String::new(), |ns| format!("{ns}/"));
    Ok(Filter { prefix, labels, fields })
}

fn list_options_invalid(causes: Vec<Cause>) -> Result<(), ApiError> {
    if causes.is_empty() { Ok(()) } else { Err(ApiError::invalid("meta.k8s.io", "ListOptions", "", &causes)) }
}

/// The rules of `metav1.ListOptions` (apimachinery `ValidateListOptions`).
fn validate_list_options(call: &Call<'_>, watch: bool) -> Result<(), ApiError> {
    let q = &call.query;
    let (rv, matching, cont) = (q.get("resourceVersion"), q.get("resourceVersionMatch"), q.get("continue"));
    let forbidden = |field: &str, text: &str| Cause::new("FieldValueForbidden", field, format!("Forbidden: {text}"));
    let unsupported = |list: &str| {
        Cause::new("FieldValueNotSupported", "resourceVersionMatch", format!("Unsupported value: {matching:?}: supported values: {list}"))
    };
    let mut causes = Vec::new();
    if watch {
        if q.opt("sendInitialEvents").is_some() {
            if matching != "NotOlderThan" {
                causes.push(forbidden("resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"));
            }
        } else if !matching.is_empty() {
            causes.push(forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        if !matching.is_empty() && matching != "NotOlderThan" {
            causes.push(unsupported("\"NotOlderThan\""));
        }
        if !cont.is_empty() {
            causes.push(forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided"));
        }
        return list_options_invalid(causes);
    }
    if !matching.is_empty() {
        if rv.is_empty() {
            causes.push(forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided"));
        }
        if !cont.is_empty() {
            causes.push(forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided"));
        }
        if !matches!(matching, "Exact" | "NotOlderThan") {
            causes.push(unsupported("\"Exact\", \"NotOlderThan\", \"\""));
        }
        if matching == "Exact" && rv == "0" {
            causes.push(forbidden("resourceVersionMatch", "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""));
        }
    }
    if q.opt("sendInitialEvents").is_some() {
        causes.push(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
    }
    list_options_invalid(causes)
}

fn number(call: &Call<'_>, name: &str) -> Result<i64, ApiError> {
    let Some(v) = call.query.opt(name) else { return Ok(0) };
    v.parse().map_err(|_| ApiError::bad_request(go_text::parse_int(v)))
}

#[derive(serde::Serialize)]
struct Token {
    v: String,
    rv: i64,
    start: String,
}

impl Token {
    /// Reads a token's document as Go does: what is not there is empty, null is nothing, other types are named.
    fn read(bytes: &[u8]) -> Result<Token, String> {
        let mut doc = json::parse(bytes)?.value;
        if !doc.is_object() && !doc.is_null() {
            return Err(format!("json: cannot unmarshal {} into Go value of type storage.continueToken", go_text::word(&doc)));
        }
        let wrong = |v: &Value, field: &str, want: &str| {
            format!("json: cannot unmarshal {} into Go struct field continueToken.{field} of type {want}", go_text::word(v))
        };
        let mut text = |field: &str| match json::take(&mut doc, field) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(wrong(&other, field, "string")),
        };
        let (v, start) = (text("v")?, text("start")?);
        let rv = match json::take(&mut doc, "rv") {
            None | Some(Value::Null) => 0,
            Some(other) => other.as_i64().ok_or_else(|| wrong(&other, "rv", "int64"))?,
        };
        Ok(Token { v, rv, start })
    }
}

/// Tokens are read whether or not the bits behind the last byte are zero.
const TOKENS: base64::engine::GeneralPurpose = base64::engine::GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    base64::engine::general_purpose::NO_PAD.with_decode_allow_trailing_bits(true),
);

fn encode_token(rv: i64, last: &str, prefix: &str) -> String {
    let start = format!("{}\u{0}", last.strip_prefix(prefix).unwrap_or(last));
    let json = serde_json::to_vec(&Token { v: "meta.k8s.io/v1".into(), rv, start }).expect("a token always encodes");
    TOKENS.encode(json)
}

fn decode_token(token: &str) -> Result<Token, ApiError> {
    let bad = |text: &str| ApiError::bad_request(format!("invalid continue token: continue key is not valid: {text}"));
    let text = token.trim_end_matches('=');
    let bytes = TOKENS.decode(text).map_err(|e| {
        let at = match e {
            base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
            _ => text.len().saturating_sub(1),
        };
        bad(&format!("illegal base64 data at input byte {at}"))
    })?;
    let t = Token::read(&bytes).map_err(|e| bad(&e))?;
    if t.v != "meta.k8s.io/v1" {
        return Err(bad(&format!("server does not recognize this encoded version {}", t.v)));
    }
    if t.rv == 0 {
        return Err(bad("incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
    }
    if t.start.is_empty() {
        return Err(bad("encoded start key empty (version meta.k8s.io/v1)"));
    }
    if t.start.split('/').any(|p| p == "..") {
        return Err(bad(&format!("{:?}", t.start)));
    }
    Ok(t)
}

const EXPIRED_CONTINUE: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

/// One page of a list.
pub(crate) struct Page {
    /// Revision of the list.
    pub(crate) rv: u64,
    /// The objects.
    pub(crate) items: Vec<Arc<Stored>>,
    /// Token of the next page.
    pub(crate) next: Option<String>,
    /// How many follow; unknown with selectors.
    pub(crate) remaining: Option<usize>,
}

impl Page {
    fn metadata(&self) -> Value {
        let mut m = json!({"resourceVersion": self.rv.to_string()});
        if let Some(t) = &self.next {
            m["continue"] = t.as_str().into();
        }
        if let Some(n) = self.remaining {
            m["remainingItemCount"] = n.into();
        }
        m
    }
}

/// Finds the page that the query asks for.
pub(crate) fn page(call: &Call<'_>) -> Result<Page, ApiError> {
    validate_list_options(call, false)?;
    let filter = filter(call)?;
    let (store, log) = (&call.server.store, call.resource.storage_key());
    let limit = number(call, "limit")?;
    number(call, "timeoutSeconds")?;
    let (rv_text, matching, cont) = (call.query.get("resourceVersion"), call.query.get("resourceVersionMatch"), call.query.get("continue"));
    let rv_asked: u64 = match rv_text {
        "" => 0,
        t => t.parse().map_err(|_| {
            ApiError::bad_request(format!("invalid resource version: resourceVersion: Invalid value: {t:?}: {}", go_text::parse_uint(t)))
        })?,
    };
    let (rv, mut items, after) = if cont.is_empty() {
        newer_than_now(call.server, rv_asked)?;
        if matching == "Exact" {
            let items = store.list_at(&log, &filter.prefix, rv_asked).map_err(|Compacted { oldest }| {
                ApiError::expired(format!("The resourceVersion for the provided list is too old: {rv_asked} ({oldest})"))
            })?;
            (rv_asked, items, None)
        } else {
            let (rv, items) = store.list(&log, &filter.prefix);
            (rv, items, None)
        }
    } else {
        let token = decode_token(cont)?;
        if !matches!(rv_text, "" | "0") {
            return Err(ApiError::bad_request("specifying resource version is not allowed when using continue"));
        }
        let after = format!("{}{}", filter.prefix, token.start.trim_end_matches('\u{0}'));
        if token.rv < 0 {
            let (rv, items) = store.list(&log, &filter.prefix);
            (rv, items, Some(after))
        } else {
            let rv = token.rv.unsigned_abs();
            newer_than_now(call.server, rv)?;
            let items = store.list_at(&log, &filter.prefix, rv).map_err(|_| {
                let mut e = ApiError::expired(EXPIRED_CONTINUE);
                e.continue_token = Some(encode_token(-1, &after, &filter.prefix));
                e
            })?;
            (rv, items, Some(after))
        }
    };
    if let Some(after) = after {
        items.retain(|s| *s.key > *after);
    }
    // The watch cache answers any-version lists whole.
    let whole = cont.is_empty() && rv_text == "0";
    let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0 && !whole).unwrap_or(usize::MAX);
    // A page is full at the object that fills it. Another one is offered when anything follows, wanted or not: nobody has looked yet.
    let (mut next, mut remaining) = (None, None);
    if limit < items.len()
        && let Some((last, _)) = items.iter().enumerate().filter(|(_, s)| filter.wants(s)).nth(limit - 1)
        && last + 1 < items.len()
    {
        let end = last + 1;
        next = Some(encode_token(rv as i64, &items[end - 1].key, &filter.prefix));
        remaining = filter.is_everything().then_some(items.len() - end);
        items.truncate(end);
    }
    if !filter.is_everything() {
        items.retain(|s| filter.wants(s));
    }
    Ok(Page { rv, items, next, remaining })
}

/// GET of a collection.
pub(crate) fn list(call: &Call<'_>) -> Result<Response, ApiError> {
    let accept = accept::negotiate(&call.req.headers, Scope::List)?;
    check_include(call, accept)?;
    let page = page(call)?;
    respond_list(call, accept, &page)
}

/// The answer for a page.
pub(crate) fn respond_list(call: &Call<'_>, accept: Accept, page: &Page) -> Result<Response, ApiError> {
    let r = &call.resource;
    if is_as_stored(accept, r) {
        let head = json!({"kind": r.list_kind, "apiVersion": r.api_version(), "metadata": page.metadata()});
        let mut head = serde_json::to_vec(&head).expect("a document always encodes");
        head.pop();
        return Ok(Response::list(ListBody::new(head, type_lead(r), page.items.clone())));
    }
    let docs: Vec<Value> = page.items.iter().map(|s| convert::served(call.server, r, s)).collect();
    let mut doc = match accept.shape {
        Shape::Table => {
            let mut t = render(call, &docs);
            t["metadata"] = page.metadata();
            t
        }
        Shape::Partial => json!({
            "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": page.metadata(),
            "items": if docs.is_empty() { Value::Null } else { docs.iter().map(partial).collect() },
        }),
        Shape::Plain => json!({
            "kind": r.list_kind, "apiVersion": r.api_version(), "metadata": page.metadata(),
            "items": docs.into_iter().map(|d| if r.custom { d } else { without_type(d) }).collect::<Vec<_>>(),
        }),
    };
    accept.version(&mut doc);
    Ok(encode(accept, StatusCode::OK, &doc))
}

fn without_type(mut doc: Value) -> Value {
    if let Some(m) = doc.as_object_mut() {
        m.shift_remove("kind");
        m.shift_remove("apiVersion");
    }
    doc
}

/// How every stored document of a resource begins.
pub(crate) fn type_lead(r: &Resource) -> String {
    format!("{{\"kind\":{:?},\"apiVersion\":{:?},", r.kind, r.api_version())
}

/// GET with `watch`.
pub(crate) fn watch(call: &Call<'_>) -> Result<Response, ApiError> {
    let accept = accept::negotiate(&call.req.headers, Scope::Watch)?;
    validate_list_options(call, true)?;
    let filter = filter(call)?;
    let (store, log) = (&call.server.store, call.resource.storage_key());
    number(call, "limit")?;
    let seconds = number(call, "timeoutSeconds")?;
    let timeout = if seconds > 0 { Duration::from_secs(seconds.unsigned_abs()) } else { WATCH_TIMEOUT };
    let bookmarks = call.query.flag("allowWatchBookmarks").then_some(call.server.options.bookmark_interval);
    let rv_text = call.query.get("resourceVersion");
    let rv: u64 = match rv_text {
        "" => 0,
        t => t.parse().map_err(|_| ApiError::new(500, "", format!("resourceVersion: Invalid value: {t:?}: {}", go_text::parse_uint(t))))?,
    };
    let stream_list = call.query.flag("sendInitialEvents") && call.query.opt("sendInitialEvents").is_some();
    let skip_initial = call.query.opt("sendInitialEvents").is_some() && !stream_list;
    let (initial, initial_bookmark, position, alarm) = if stream_list {
        newer_than_now(call.server, rv)?;
        let ((now, items), position, alarm) = store.list_and_position(&log, &filter.prefix);
        let items = items.into_iter().filter(|s| filter.wants(s)).collect();
        (items, bookmarks.map(|_| now), position, alarm)
    } else if rv == 0 && skip_initial {
        let (_, position, alarm) = store.list_and_position(&log, &filter.prefix);
        (Vec::new(), None, position, alarm)
    } else if rv == 0 {
        let ((_, items), position, alarm) = store.list_and_position(&log, &filter.prefix);
        (items.into_iter().filter(|s| filter.wants(s)).collect(), None, position, alarm)
    } else {
        // A watch from a revision that is not there yet waits for what comes after it.
        match store.position_after(&log, rv) {
            Ok((position, alarm)) => (Vec::new(), None, position, alarm),
            Err(Compacted { oldest }) => {
                let e = ApiError::expired(format!("too old resource version: {rv} ({oldest})"));
                return Ok(watch_error(&e));
            }
        }
    };
    let empty = call.server.schema(&call.resource).map_or(Value::Null, |s| {
        let mut doc = json!({});
        s.schema().add_zeros(s.root(), &mut doc);
        convert::empty_form(&call.resource, doc)
    });
    let plain = accept.shape == Shape::Plain && call.resource.hub.is_none() && !call.resource.custom;
    let view: Box<dyn View> = if plain {
        Box::new(PlainView { kind: call.resource.kind.clone(), api_version: call.resource.api_version(), empty })
    } else {
        Box::new(ShapedView {
            server: call.server.clone(),
            resource: call.resource.clone(),
            accept,
            include: match call.query.get("includeObject") {
                "" => "Metadata".to_owned(),
                other => other.to_owned(),
            },
            headed: false,
            empty,
        })
    };
    let stream = store.start_watch(Plan { log, filter, initial, initial_bookmark, after: rv, position, alarm, bookmarks, timeout, view });
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(Response::new(StatusCode::OK, headers, Body::Watch(stream)))
}

/// A watch that says only why it cannot be.
fn watch_error(e: &ApiError) -> Response {
    let line = crate::store::watch::error_line(e);
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Response::new(StatusCode::OK, headers, Body::Watch(Box::pin(futures::stream::iter([line]))))
}
