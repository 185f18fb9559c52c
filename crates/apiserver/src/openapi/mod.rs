//! OpenAPI documents: v2 as a whole, v3 by group and version. Made when they are first asked for; those of
//! built-in groups are kept.

mod custom;
pub(crate) mod descriptions;
mod documents;
mod facts;
mod gnostic;
pub(crate) mod names;
mod paths;
mod schemas;

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{Request, Response, Server};

/// Answers `/openapi/...`; `None`: not one of its paths.
pub fn handle(server: &Arc<Server>, req: &Request) -> Option<Response> {
    let rest = req.path.strip_prefix("/openapi/")?;
    let (document, content_type) = match rest.trim_end_matches('/') {
        // The reference calls its index plain text.
        "v3" => (Some(documents::index(server)), "text/plain; charset=utf-8"),
        "v2" if asks_for_protobuf(&req.headers) => (Some(documents::v2_as_protobuf(server)), gnostic::ANSWERED),
        "v2" => (Some(documents::v2(server)), "application/json"),
        path => (path.strip_prefix("v3/").and_then(|path| documents::v3(server, path)), "application/json"),
    };
    if !server.allows_path(&req.user, "get", &req.path) {
        return Some(crate::discovery::forbidden(req).to_response());
    }
    let Some(document) = document else {
        return Some(Response::text(StatusCode::NOT_FOUND, "404 page not found\n"));
    };
    if content_type != gnostic::ANSWERED && !accepts_json(&req.headers) {
        return Some(Response::text(StatusCode::NOT_ACCEPTABLE, ""));
    }
    let mut response = Response::json_bytes(StatusCode::OK, document);
    response.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    Some(response)
}

/// Whether the first thing that a client accepts is the protobuf encoding.
fn asks_for_protobuf(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let first = accepted.split([',', ';']).next().unwrap_or_default().trim();
    gnostic::ASKED.contains(&first)
}

/// Whether JSON is among what a client accepts.
fn accepts_json(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok()).peekable();
    if accepted.peek().is_none() {
        return true;
    }
    accepted.flat_map(|value| value.split(',')).any(|range| {
        let media = range.split(';').next().unwrap_or_default().trim();
        media.is_empty() || matches!(media, "application/json" | "application/*" | "*/*")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_given_wherever_it_is_accepted() {
        let with = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(value));
            accepts_json(&headers)
        };
        assert!(accepts_json(&HeaderMap::new()));
        assert!(with("application/com.github.proto-openapi.spec.v2.v1.0+protobuf, application/json;q=0.9"));
        assert!(with("*/*"));
        let first = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(value));
            asks_for_protobuf(&headers)
        };
        assert!(first("application/com.github.proto-openapi.spec.v2@v1.0+protobuf"));
        assert!(!first("application/json, application/com.github.proto-openapi.spec.v2@v1.0+protobuf"));
        assert!(!with("application/com.github.proto-openapi.spec.v2.v1.0+protobuf"));
    }
}
