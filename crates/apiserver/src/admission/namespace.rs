//! Nothing is created in a namespace that is not there or ends (NamespaceLifecycle).

use serde_json::Value;

use crate::registry::Resource;
use crate::server::Server;
use crate::status::{ApiError, Cause};

/// Refuses creates in missing and ending namespaces (workloads 1.4.8).
pub(crate) fn check(server: &Server, r: &Resource, ns: &str, name: &str) -> Result<(), ApiError> {
    if !r.namespaced || ns.is_empty() {
        return Ok(());
    }
    let Some(stored) = server.store.get("/namespaces", ns) else {
        let mut e = ApiError::new(404, "NotFound", format!("namespaces {ns:?} not found"));
        e.details = crate::status::details("", "namespaces", ns);
        return Err(e);
    };
    // The selectable field of namespaces is their phase.
    let phase = stored.fields.first().map_or("", |f| f);
    if phase != "Terminating" {
        return Ok(());
    }
    // Access reviews may still be asked.
    if matches!(r.plural.as_str(), "localsubjectaccessreviews" | "subjectaccessreviews") {
        return Ok(());
    }
    let mut e = ApiError::forbidden(r, name, format!("unable to create new content in namespace {ns} because it is being terminated"));
    if e.details.is_null() {
        e.details = Value::Object(serde_json::Map::new());
    }
    Err(e.with_causes(&[Cause::new("NamespaceTerminating", "metadata.namespace", format!("namespace {ns} is being terminated"))]))
}
