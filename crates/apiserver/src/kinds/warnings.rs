//! Warnings that go with a write.

use serde_json::Value;

use crate::json;
use crate::registry::Resource;

/// Warnings about an object; `old` for updates.
pub(crate) fn warnings(r: &Resource, doc: &Value, _old: Option<&Value>) -> Vec<String> {
    let mut out = Vec::new();
    if r.custom {
        return out;
    }
    match r.plural.as_str() {
        "pods" => pod_spec(&doc["spec"], "spec", &mut out),
        "deployments" | "replicasets" | "statefulsets" | "daemonsets" | "jobs" | "replicationcontrollers" => {
            pod_spec(&doc["spec"]["template"]["spec"], "spec.template.spec", &mut out);
        }
        "cronjobs" => pod_spec(&doc["spec"]["jobTemplate"]["spec"]["template"]["spec"], "spec.jobTemplate.spec.template.spec", &mut out),
        "podtemplates" => pod_spec(&doc["template"]["spec"], "template.spec", &mut out),
        "services" if !json::list(doc, "spec.externalIPs").is_empty() => {
            out.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned());
        }
        _ => {}
    }
    out
}

fn pod_spec(spec: &Value, path: &str, out: &mut Vec<String>) {
    for (i, c) in json::list(spec, "topologySpreadConstraints").iter().enumerate() {
        if c.get("labelSelector").is_none_or(Value::is_null) {
            out.push(format!("{path}.topologySpreadConstraints[{i}].labelSelector: a null labelSelector results in matching no pod"));
        }
    }
    for which in ["initContainers", "containers"] {
        for (i, c) in json::list(spec, which).iter().enumerate() {
            let mut seen = Vec::new();
            for (j, env) in json::list(c, "env").iter().enumerate() {
                let name = json::text(env, "name");
                if seen.contains(&name) {
                    out.push(format!(
                        "{path}.{which}[{i}].env[{j}]: hides previous definition of {name:?}, which may be dropped when using apply"
                    ));
                }
                seen.push(name);
            }
        }
    }
}
