//! Admission: what changes or refuses a write besides the rules of its kind.

mod classes;
pub(crate) mod growth;
mod limits;
pub(crate) mod namespace;
mod pod_security;
mod priority;
pub(crate) mod quota;

use serde_json::{Value, json};

use crate::json;
use crate::kinds::Env;
use crate::status::ApiError;
use crate::write::Target;

/// Changes a document on its way in. `old` for updates.
pub(crate) fn mutate(env: &Env<'_>, target: &Target, doc: &mut Value, old: Option<&Value>) -> Result<(), ApiError> {
    match (target.stored.group.as_str(), target.stored.plural.as_str()) {
        ("", "pods") => {}
        ("", "persistentvolumeclaims") | ("networking.k8s.io", "ingresses") if old.is_none() => {
            classes::default_for(env, &target.stored.plural, doc);
            return Ok(());
        }
        _ => return Ok(()),
    }
    match old {
        None => {
            limits::apply_defaults(env, doc);
            priority::resolve(env, target, doc)?;
        }
        // What admission once set stays when a writer leaves it out.
        Some(old) => {
            for k in ["priority", "preemptionPolicy"] {
                if doc["spec"].get(k).is_none() {
                    json::put(&mut doc["spec"], k, old["spec"].get(k).cloned());
                }
            }
        }
    }
    default_tolerations(doc);
    if old.is_none() { classes::runtime(env, target, doc) } else { Ok(()) }
}

/// Refuses a complete document.
pub(crate) fn validate(env: &Env<'_>, target: &Target, doc: &Value, old: Option<&Value>) -> Result<(), ApiError> {
    let r = &target.stored;
    match (r.group.as_str(), r.plural.as_str()) {
        ("", "pods") => {
            if old.is_none() {
                limits::check_pod(env, target, doc)?;
            }
            pod_security::check_pod(env, target, doc, old)
        }
        ("", "namespaces") => pod_security::check_namespace(env, target, doc, old),
        ("", "persistentvolumeclaims") if old.is_none() => limits::check_claim(env, target, doc),
        ("rbac.authorization.k8s.io", plural) => crate::rbac::check_escalation(env.server, env.user, env.namespace, plural, doc)
            .map_err(|why| ApiError::forbidden(&target.served, json::text(doc, "metadata.name"), why)),
        (group, plural) => {
            if let Some(template) = pod_security::template(group, plural, doc) {
                pod_security::check_template(env, template);
            }
            Ok(())
        }
    }
}

/// Pods stay a while on nodes that are not ready or cannot be reached.
fn default_tolerations(doc: &mut Value) {
    const SECONDS: i64 = 300;
    let spec = json::object_mut(doc, "spec");
    let list = spec.entry("tolerations").or_insert_with(|| json!([]));
    let Some(list) = list.as_array_mut() else { return };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = list.iter().any(|t| {
            let (k, effect) = (json::text(t, "key"), json::text(t, "effect"));
            (k == key || k.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        });
        if !tolerated {
            list.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS}));
        }
    }
}

/// All documents of a resource in a namespace.
pub(crate) fn documents(env: &Env<'_>, log: &str) -> Vec<(std::sync::Arc<str>, Value)> {
    let (_, items) = env.server.store.list(log, &format!("{}/", env.namespace));
    items.iter().filter_map(|s| Some((s.key.clone(), serde_json::from_slice(&s.bytes).ok()?))).collect()
}
