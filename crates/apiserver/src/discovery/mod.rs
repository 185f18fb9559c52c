//! Discovery: what is served, said in the legacy and in the aggregated form; the server's version, health and list of paths.

mod accept;
mod aggregated;
mod health;
mod legacy;

use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};

use self::accept::Form;
use crate::status::ApiError;
use crate::{Request, Response, Server};

/// The release whose answers this server gives.
pub const GIT_VERSION: &str = "v1.36.2";

/// Answers `/api`, `/apis` and everything below them that names no resource, `/version`, `/healthz` and the like.
/// `None`: not a path of discovery.
pub fn handle(server: &Arc<Server>, req: &Request) -> Option<Response> {
    let path = req.path.as_str();
    let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    let answer: fn(&Arc<Server>, &Request, &[&str]) -> Option<Response> = match segments.as_slice() {
        [] => |server, _, _| Some(indented(&paths(server))),
        ["version"] => |_, _, _| Some(indented(&version())),
        ["healthz" | "livez" | "readyz", ..] => |_, req, segments| Some(health::answer(req, segments)),
        ["api"] => core_group,
        ["apis"] => groups,
        ["api", _] => {
            |server, _, s| Some(legacy::resources(server, "", s[1]).map_or_else(|| ApiError::no_such_path().to_response(), json_ok))
        }
        ["apis", _] => |server, _, s| Some(legacy::group(server, s[1]).map_or_else(not_a_page, json_ok)),
        ["apis", _, _] => group_version,
        _ => return None,
    };
    if !server.allows_path(&req.user, "get", path) {
        return Some(forbidden(req).to_response());
    }
    // Some paths have handlers that do not ask for the method.
    let any_method = matches!(segments.as_slice(), [] | ["healthz" | "livez" | "readyz", ..] | ["apis"] | ["apis", _]);
    // A group and version that is not served has no handler that could ask.
    let unserved = matches!(segments.as_slice(), ["apis", group, version] if legacy::resources(server, group, version).is_none());
    if req.method != Method::GET && !any_method && !unserved {
        return Some(ApiError::method_not_allowed().to_response());
    }
    answer(server, req, &segments)
}

fn core_group(server: &Arc<Server>, req: &Request, _: &[&str]) -> Option<Response> {
    Some(match accept::wanted(&req.headers) {
        Form::Legacy => json_ok(legacy::core_versions(server)),
        Form::Aggregated(version) => aggregated_answer(server, version, true),
        Form::Unknown => accept::not_acceptable().to_response(),
    })
}

fn groups(server: &Arc<Server>, req: &Request, _: &[&str]) -> Option<Response> {
    Some(match accept::wanted(&req.headers) {
        Form::Legacy => json_ok(legacy::groups(server)),
        Form::Aggregated(version) => aggregated_answer(server, version, false),
        Form::Unknown => accept::not_acceptable().to_response(),
    })
}

fn group_version(server: &Arc<Server>, _: &Request, segments: &[&str]) -> Option<Response> {
    if let Some(list) = legacy::resources(server, segments[1], segments[2]) {
        return Some(json_ok(list));
    }
    // An unknown version of a known group is an API error, an unknown group a page that is not there.
    match legacy::group(server, segments[1]) {
        Some(_) => Some(ApiError::no_such_path().to_response()),
        None => Some(not_a_page()),
    }
}

fn json_ok(value: Value) -> Response {
    Response::json(StatusCode::OK, &value)
}

/// These two are written for people.
fn indented(value: &Value) -> Response {
    let mut response = json_ok(value.clone());
    response.indent();
    response
}

fn not_a_page() -> Response {
    let mut response = Response::text(StatusCode::NOT_FOUND, "404 page not found\n");
    response.headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn aggregated_answer(server: &Arc<Server>, version: &'static str, core: bool) -> Response {
    let mut response = json_ok(aggregated::document(server, version, core));
    let content_type = match version {
        "v2beta1" => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        _ => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    };
    response.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

pub(crate) fn forbidden(req: &Request) -> ApiError {
    let message = format!("forbidden: User \"{}\" cannot get path \"{}\"", req.user.name, req.path);
    let mut error = ApiError::new(403, "Forbidden", message);
    error.details = json!({});
    error
}

fn version() -> Value {
    json!({
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, go_arch()),
    })
}

/// The architecture as Go names it.
fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn paths(server: &Arc<Server>) -> Value {
    let mut paths = vec!["/api".to_owned(), "/apis".to_owned(), "/version".to_owned(), "/openapi/v2".to_owned(), "/openapi/v3".to_owned()];
    for (group, versions) in server.registry().group_versions() {
        if !group.is_empty() {
            paths.push(format!("/apis/{group}"));
        }
        paths.extend(versions.iter().map(|version| match group.as_str() {
            "" => format!("/api/{version}"),
            group => format!("/apis/{group}/{version}"),
        }));
    }
    for root in ["/healthz", "/livez", "/readyz"] {
        paths.push(root.to_owned());
        paths.extend(health::CHECKS.iter().map(|check| format!("{root}/{check}")));
    }
    paths.sort();
    json!({"paths": paths})
}
