//! Subresources.

pub(crate) mod binding;
mod eviction;
mod scale;
mod streams;
mod token;

use serde_json::Value;

use crate::json;
use crate::read;
use crate::request::Response;
use crate::server::Call;
use crate::status::ApiError;
use crate::write;

/// Answers a call on a subresource that the resource has, with a verb that it has.
pub(crate) fn dispatch(call: &mut Call<'_>, sub: &str, verb: &str) -> Result<Response, ApiError> {
    match sub {
        "scale" => scale::dispatch(call, verb),
        "binding" => {
            let target = sub_target(call, "", "v1", "bindings")?;
            let opts = write::write_options(call, "CreateOptions", false)?;
            let body = write::read_object(call.req, "Binding")?;
            let doc = write::decode_body(call, &target, body, opts.validation)?;
            let name = call.route.name.unwrap_or("").to_owned();
            if json::text(&doc, "metadata.name") != name {
                return Err(ApiError::bad_request("name in URL does not match name in Binding object"));
            }
            binding::bind(call, &name, &doc, opts.dry_run)
        }
        "eviction" => eviction::evict(call),
        "token" => token::issue(call),
        "log" => streams::log(call),
        "exec" | "attach" | "portforward" | "proxy" => streams::connect(call, sub),
        _ => match verb {
            "get" => read::get(call),
            "update" => write::update::update(call),
            "patch" => write::patch::patch(call),
            _ => Err(ApiError::method_not_allowed()),
        },
    }
}

/// The target of a subresource with a body of another kind.
fn sub_target(call: &Call<'_>, group: &str, version: &str, plural: &str) -> Result<write::Target, ApiError> {
    let r = call.server.registry.get(group, version, plural).ok_or_else(ApiError::no_such_path)?;
    write::Target::of(call.server, &r)
}

/// Names of a pod's containers.
fn names(doc: &Value) -> [Vec<&str>; 2] {
    ["containers", "initContainers"].map(|which| json::list(&doc["spec"], which).iter().map(|c| json::text(c, "name")).collect())
}

/// What a write of a subresource other than status may change: everything else comes from the stored object.
pub(crate) fn restrict(sub: &str, doc: &mut Value, old: &Value) {
    let new = std::mem::replace(doc, old.clone());
    doc["metadata"]["resourceVersion"] = new["metadata"]["resourceVersion"].clone();
    if doc["metadata"]["resourceVersion"].is_null() {
        json::put(&mut doc["metadata"], "resourceVersion", None);
    }
    match sub {
        "finalize" => {
            *doc = new;
            json::put(doc, "status", old.get("status").cloned());
        }
        "ephemeralcontainers" => json::put(&mut doc["spec"], "ephemeralContainers", new["spec"].get("ephemeralContainers").cloned()),
        // Validation refuses containers that come, go, or change places.
        "resize" if names(&new) != names(doc) => *doc = new,
        "resize" => {
            json::put(&mut doc["spec"], "resources", new["spec"].get("resources").cloned());
            for which in ["containers", "initContainers"] {
                let wanted = json::list(&new["spec"], which).to_vec();
                for c in doc["spec"].get_mut(which).and_then(Value::as_array_mut).into_iter().flatten() {
                    let name = json::text(c, "name").to_owned();
                    if let Some(w) = wanted.iter().find(|w| json::text(w, "name") == name) {
                        json::put(c, "resources", w.get("resources").cloned());
                        json::put(c, "resizePolicy", w.get("resizePolicy").cloned());
                    }
                }
            }
        }
        "approval" => {
            json::object_mut(doc, "status");
            json::put(&mut doc["status"], "conditions", new["status"].get("conditions").cloned());
        }
        "scale" => *doc = new,
        _ => *doc = new,
    }
}
