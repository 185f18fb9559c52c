//! Logs of pods, and what runs a stream to one: only as far as that goes without a node (registry `core/pod`).

use http::StatusCode;
use serde_json::Value;

use crate::json;
use crate::kinds::Errors;
use crate::request::{Body, Response};
use crate::server::Call;
use crate::status::ApiError;
use crate::write::load;

/// What a log may be asked for besides the container.
struct LogOptions {
    tail: Option<i64>,
    bytes: Option<i64>,
    since: Option<i64>,
}

fn number(call: &Call<'_>, name: &str) -> Result<Option<i64>, ApiError> {
    match call.query.get(name) {
        "" => Ok(None),
        v => v.parse().map(Some).map_err(|_| ApiError::bad_request(format!("strconv.ParseInt: parsing {v:?}: invalid syntax"))),
    }
}

fn options(call: &Call<'_>, name: &str) -> Result<LogOptions, ApiError> {
    let o = LogOptions { tail: number(call, "tailLines")?, bytes: number(call, "limitBytes")?, since: number(call, "sinceSeconds")? };
    let mut e = Errors::default();
    e.non_negative("tailLines", o.tail);
    if let Some(n) = o.bytes.filter(|n| *n < 1) {
        e.invalid("limitBytes", &n.into(), "must be greater than 0");
    }
    match o.since {
        Some(_) if !call.query.get("sinceTime").is_empty() => {
            e.forbidden("[]", "at most one of `sinceTime` or `sinceSeconds` may be specified");
        }
        Some(n) if n < 1 => e.invalid("sinceSeconds", &n.into(), "must be greater than 0"),
        _ => {}
    }
    let stream = call.query.get("stream");
    if !matches!(stream, "" | "All" | "Stdout" | "Stderr") {
        e.unsupported("stream", stream, &["All", "Stderr", "Stdout"]);
    }
    if !matches!(stream, "" | "All") && o.tail.is_some() {
        e.forbidden("[]", "`tailLines` and specific `stream` are mutually exclusive for now");
    }
    if e.is_empty() { Ok(o) } else { Err(ApiError::invalid("", "PodLogOptions", name, &e.causes)) }
}

/// The container that is meant: the one that was named, or the only one.
fn container(call: &Call<'_>, pod: &Value, name: &str) -> Result<(), ApiError> {
    let names = |k: &str| json::list(&pod["spec"], k).iter().map(|c| json::text(c, "name")).collect::<Vec<_>>();
    let all: Vec<&str> = ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(names).collect();
    match (call.query.get("container"), names("containers").len()) {
        ("", 1) => Ok(()),
        ("", 0) => Err(ApiError::bad_request(format!("a container name must be specified for pod {name}"))),
        ("", _) => {
            Err(ApiError::bad_request(format!("a container name must be specified for pod {name}, choose one of: [{}]", all.join(" "))))
        }
        (c, _) if all.contains(&c) => Ok(()),
        (c, _) => Err(ApiError::bad_request(format!("container {c} is not valid for pod {name}"))),
    }
}

/// The object at hand: most often a pod.
fn pod(call: &Call<'_>, name: &str) -> Result<Value, ApiError> {
    load(call.server, &call.resource, &call.key(name)).map(|(_, d)| d).ok_or_else(|| ApiError::not_found(&call.resource, name))
}

/// GET of a log: nothing for a pod without a node, a made-up line that says so for others. What a kubelet refuses is refused in its words.
pub(super) fn log(call: &Call<'_>) -> Result<Response, ApiError> {
    let name = call.route.name.unwrap_or("");
    let options = options(call, name)?;
    let pod = pod(call, name)?;
    container(call, &pod, name)?;
    if json::text(&pod, "spec.nodeName").is_empty() {
        return Ok(Response::new(StatusCode::NO_CONTENT, http::HeaderMap::new(), Body::Full(bytes::Bytes::new())));
    }
    let container = match call.query.get("container") {
        "" => json::list(&pod["spec"], "containers").first().map_or("", |c| json::text(c, "name")),
        named => named,
    };
    let state = state_of(&pod, container);
    if call.query.flag("previous") && state.is_none_or(|s| s["lastState"].get("terminated").is_none()) {
        return Err(ApiError::bad_request(format!("previous terminated container {container:?} in pod {name:?} not found")));
    }
    if let Some(waiting) = state.map_or(Some("ContainerCreating"), |s| s["state"]["waiting"]["reason"].as_str()) {
        let why = match waiting {
            "ImagePullBackOff" | "ErrImagePull" => "trying and failing to pull image",
            other => other,
        };
        // One that ran before shows what it said then.
        if state.is_none_or(|s| s["lastState"].get("terminated").is_none()) {
            let text = format!("container {container:?} in pod {name:?} is waiting to start: {why}");
            return Err(ApiError::bad_request(text));
        }
    }
    if options.tail == Some(0) {
        return Ok(Response::text(StatusCode::OK, ""));
    }
    let mut line = format!("pod {name} runs on a simulated node: there is no process behind this log\n");
    if call.query.flag("timestamps") {
        let started =
            state.and_then(|s| s["state"]["running"]["startedAt"].as_str().or_else(|| s["state"]["terminated"]["startedAt"].as_str()));
        line.insert_str(0, &format!("{} ", started.unwrap_or("1970-01-01T00:00:00Z")));
    }
    line.truncate(options.bytes.and_then(|n| usize::try_from(n).ok()).map_or(line.len(), |n| n.min(line.len())));
    Ok(Response::text(StatusCode::OK, line))
}

/// The status of a container.
fn state_of<'a>(pod: &'a Value, container: &str) -> Option<&'a Value> {
    let all = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];
    all.into_iter().flat_map(|list| json::list(&pod["status"], list)).find(|status| json::text(status, "name") == container)
}

/// Streams to a pod.
pub(super) fn connect(call: &Call<'_>, sub: &str) -> Result<Response, ApiError> {
    let name = call.route.name.unwrap_or("");
    // Services and nodes are looked up by their name alone, or by `scheme:name:port`.
    if call.resource.plural != "pods" {
        let bare = match name.split(':').collect::<Vec<_>>()[..] {
            [_, name, _] | [name, _] => name,
            _ => name,
        };
        pod(call, bare)?;
    }
    if call.resource.plural == "pods" {
        let pod = pod(call, name)?;
        match sub {
            "proxy" if json::text(&pod, "status.podIP").is_empty() => return Err(ApiError::bad_request("address not allowed")),
            "proxy" => {}
            _ => {
                if sub != "portforward" {
                    container(call, &pod, name)?;
                }
                if json::text(&pod, "spec.nodeName").is_empty() {
                    return Err(ApiError::bad_request(format!("pod {name} does not have a host assigned")));
                }
            }
        }
    }
    Err(ApiError::new(501, "NotImplemented", format!("{sub} is not available: the nodes of this control plane are simulated")))
}
