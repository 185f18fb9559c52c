//! Pod security levels that a namespace's labels enforce: the parts of `baseline` that need no look into the kernel.

use serde_json::Value;

use crate::json;
use crate::kinds::Env;
use crate::status::ApiError;
use crate::write::Target;

const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
const ENFORCE_VERSION: &str = "pod-security.kubernetes.io/enforce-version";

/// Refuses pods that the namespace's level forbids.
pub(crate) fn check(env: &Env<'_>, target: &Target, doc: &Value) -> Result<(), ApiError> {
    let Some(ns) = env.server.store.get("/namespaces", env.namespace) else { return Ok(()) };
    let label = |k: &str| ns.labels.iter().find(|(n, _)| **n == *k).map(|(_, v)| v.to_string());
    if let Some(level) = label("pod-security.kubernetes.io/warn").filter(|l| l != "privileged") {
        let found = violations(&doc["spec"], level == "restricted");
        let version = label("pod-security.kubernetes.io/warn-version").unwrap_or_else(|| "latest".to_owned());
        if !found.is_empty() {
            env.warnings.borrow_mut().push(format!("would violate PodSecurity \"{level}:{version}\": {}", found.join(", ")));
        }
    }
    let Some(level) = label(ENFORCE).filter(|l| l != "privileged") else { return Ok(()) };
    let version = label(ENFORCE_VERSION).unwrap_or_else(|| "latest".to_owned());
    let found = violations(&doc["spec"], level == "restricted");
    if found.is_empty() {
        return Ok(());
    }
    Err(ApiError::forbidden(
        &target.served,
        json::text(doc, "metadata.name"),
        format!("violates PodSecurity \"{level}:{version}\": {}", found.join(", ")),
    ))
}

fn containers(spec: &Value) -> Vec<&Value> {
    ["initContainers", "containers", "ephemeralContainers"].iter().flat_map(|k| json::list(spec, k)).collect()
}

fn named(list: &[&Value], which: impl Fn(&Value) -> bool) -> Vec<String> {
    list.iter().filter(|c| which(c)).map(|c| format!("{:?}", json::text(c, "name"))).collect()
}

fn plural(names: &[String]) -> String {
    format!("container{} {}", if names.len() == 1 { "" } else { "s" }, names.join(", "))
}

fn violations(spec: &Value, restricted: bool) -> Vec<String> {
    let mut out = Vec::new();
    let all = containers(spec);
    let host: Vec<String> =
        ["hostNetwork", "hostPID", "hostIPC"].iter().filter(|k| spec[**k].as_bool() == Some(true)).map(|k| format!("{k}=true")).collect();
    if !host.is_empty() {
        out.push(format!("host namespaces ({})", host.join(", ")));
    }
    let paths: Vec<String> = json::list(spec, "volumes")
        .iter()
        .filter(|v| v.get("hostPath").is_some())
        .map(|v| format!("{:?}", json::text(v, "name")))
        .collect();
    if !paths.is_empty() {
        out.push(format!("hostPath volumes (volume{} {})", if paths.len() == 1 { "" } else { "s" }, paths.join(", ")));
    }
    let privileged = named(&all, |c| c["securityContext"]["privileged"].as_bool() == Some(true));
    if !privileged.is_empty() {
        out.push(format!("privileged ({} must not set securityContext.privileged=true)", plural(&privileged)));
    }
    if restricted {
        let escalates = named(&all, |c| c["securityContext"]["allowPrivilegeEscalation"].as_bool() != Some(false));
        if !escalates.is_empty() {
            out.push(format!(
                "allowPrivilegeEscalation != false ({} must set securityContext.allowPrivilegeEscalation=false)",
                plural(&escalates)
            ));
        }
        let keeps = named(&all, |c| !json::list(c, "securityContext.capabilities.drop").iter().any(|d| d == "ALL"));
        if !keeps.is_empty() {
            out.push(format!("unrestricted capabilities ({} must set securityContext.capabilities.drop=[\"ALL\"])", plural(&keeps)));
        }
        let root = named(&all, |c| c["securityContext"]["runAsNonRoot"].as_bool() != Some(true));
        if spec["securityContext"]["runAsNonRoot"].as_bool() != Some(true) && !root.is_empty() {
            out.push(format!("runAsNonRoot != true (pod or {} must set securityContext.runAsNonRoot=true)", plural(&root)));
        }
        let profile = |v: &Value| matches!(json::text(v, "securityContext.seccompProfile.type"), "RuntimeDefault" | "Localhost");
        let free = named(&all, |c| !profile(c));
        if !profile(spec) && !free.is_empty() {
            out.push(format!(
                "seccompProfile (pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")",
                plural(&free)
            ));
        }
    }
    out
}
