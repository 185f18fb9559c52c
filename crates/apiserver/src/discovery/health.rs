//! `/healthz`, `/livez` and `/readyz`, with the checks of a real server that have a meaning here.

use http::{HeaderValue, StatusCode, header};

use crate::{Request, Response};

/// The checks that each health path names, in order.
pub(super) const CHECKS: [&str; 3] = ["ping", "log", "poststarthook/rbac/bootstrap-roles"];

/// Answers a health path. A server that answers at all is healthy: its state is in the same process.
pub(super) fn answer(req: &Request, segments: &[&str]) -> Response {
    let mut response = checked(req, segments);
    response.headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn checked(req: &Request, segments: &[&str]) -> Response {
    let (root, check) = (segments[0], segments[1..].join("/"));
    if !check.is_empty() {
        return match CHECKS.contains(&check.as_str()) {
            true => Response::text(StatusCode::OK, "ok"),
            false => Response::text(StatusCode::NOT_FOUND, "404 page not found\n"),
        };
    }
    let has = |name: &str| req.query.split('&').any(|p| p == name || p.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')));
    if !has("verbose") {
        return Response::text(StatusCode::OK, "ok");
    }
    let excluded = |check: &str| req.query.split('&').any(|p| p.strip_prefix("exclude=") == Some(check));
    let mut text = String::new();
    for check in CHECKS {
        text += &match excluded(check) {
            true => format!("[+]{check} excluded: ok\n"),
            false => format!("[+]{check} ok\n"),
        };
    }
    text += &format!("{root} check passed\n");
    Response::text(StatusCode::OK, text)
}
