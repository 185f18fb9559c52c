//! Binding a pod to a node.

use http::StatusCode;
use serde_json::{Value, json};

use crate::json;
use crate::meta;
use crate::read::object_response;
use crate::request::Response;
use crate::server::Call;
use crate::status::ApiError;
use crate::write::{commit, load};

/// Binds the named pod to the node of a Binding.
pub(crate) fn bind(call: &Call<'_>, name: &str, doc: &Value, dry_run: bool) -> Result<Response, ApiError> {
    let pods = call.server.registry.get("", "v1", "pods").ok_or_else(ApiError::no_such_path)?;
    let (kind, node) = (json::text(doc, "target.kind"), json::text(doc, "target.name"));
    // The reference says this without a reason.
    let mut wrong = Vec::new();
    if !matches!(kind, "" | "Node") {
        wrong.push(format!("target.kind: Unsupported value: {kind:?}: supported values: \"Node\", \"<empty>\""));
    }
    if node.is_empty() {
        wrong.push("target.name: Required value".to_owned());
    }
    match wrong.len() {
        0 => {}
        1 => return Err(ApiError::new(500, "", wrong.remove(0))),
        _ => return Err(ApiError::new(500, "", format!("[{}]", wrong.join(", ")))),
    }
    let _turn = call.server.my_turn();
    let k = call.key(name);
    let Some((_, mut pod)) = load(call.server, &pods, &k) else { return Err(ApiError::not_found(&pods, name)) };
    let conflict = |why: String| {
        let mut e = ApiError::new(409, "Conflict", format!("Operation cannot be fulfilled on pods/binding {name:?}: {why}"));
        e.details = crate::status::details("", "pods/binding", name);
        e
    };
    let uid = json::text(doc, "metadata.uid");
    if !uid.is_empty() && uid != json::text(&pod, "metadata.uid") {
        return Err(ApiError::conflict(
            &pods,
            name,
            format!(
                "StorageError: invalid object, Code: 4, Key: /registry/pods/{k}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                json::text(&pod, "metadata.uid")
            ),
        ));
    }
    if pod["metadata"].get("deletionTimestamp").is_some() {
        return Err(conflict(format!("pod {name} is being deleted, cannot be assigned to a host")));
    }
    let have = json::text(&pod, "spec.nodeName");
    if !have.is_empty() {
        return Err(conflict(format!("pod {name} is already assigned to node {have:?}")));
    }
    if !json::list(&pod, "spec.schedulingGates").is_empty() {
        return Err(conflict(format!("pod {name} has non-empty .spec.schedulingGates")));
    }
    pod["spec"]["nodeName"] = node.into();
    for (which, map) in [("annotations", json::object(doc, "metadata.annotations")), ("labels", json::object(doc, "metadata.labels"))] {
        for (a, v) in map.into_iter().flatten() {
            pod["metadata"][which][a] = v.clone();
        }
    }
    let now = meta::seconds(call.server.options.clock.now());
    let status = json::object_mut(&mut pod, "status");
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    let scheduled = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now});
    if let Some(list) = conditions.as_array_mut() {
        match list.iter().position(|c| c["type"] == "PodScheduled") {
            Some(i) => list[i] = scheduled,
            None => list.push(scheduled),
        }
    }
    if !dry_run {
        commit(call.server, &pods, &k, pod, false);
    }
    let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    object_response(call, StatusCode::CREATED, done)
}
