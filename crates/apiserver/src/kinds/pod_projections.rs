//! Projected volumes, and fields of the pod that containers can see (core `validateProjectedVolumeSource`, `validateObjectFieldSelector`).

use serde_json::Value;

use super::amounts;
use super::errors::Errors;
use super::pod_volumes::{file_mode, key_to_path, local_path, source_selector};
use crate::json;
use crate::meta;

/// Fields that a file may show.
const FILE_FIELDS: &[&str] = &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
/// Fields that a variable may show.
pub(crate) const VARIABLE_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// All fields that have a name.
const FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const AMOUNTS: &[&str] =
    &["limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory"];
const BYTES: &[&str] = &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/// One file of the downward API.
pub(crate) fn downward_file(path: &str, f: &Value, e: &mut Errors) {
    let at = format!("{path}.path");
    let target = json::text(f, "path");
    if target.is_empty() {
        e.required(&at, "");
    }
    local_path(&at, target, e);
    let (field, amount) = (f.get("fieldRef").filter(|r| !r.is_null()), f.get("resourceFieldRef").filter(|r| !r.is_null()));
    match (field, amount) {
        (Some(r), other) => {
            field_ref(&format!("{path}.fieldRef"), r, FILE_FIELDS, e);
            if other.is_some() {
                e.invalid_text(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously");
            }
        }
        (None, Some(r)) => amount_ref(&format!("{path}.resourceFieldRef"), r, true, e),
        (None, None) => e.required(path, "one of fieldRef and resourceFieldRef is required"),
    }
    file_mode(&format!("{path}.mode"), f.get("mode"), e);
}

/// A field of the pod.
pub(crate) fn field_ref(path: &str, r: &Value, allowed: &[&str], e: &mut Errors) {
    let (version, field) = (json::text(r, "apiVersion"), json::text(r, "fieldPath"));
    let at = format!("{path}.fieldPath");
    if version.is_empty() {
        e.required(&format!("{path}.apiVersion"), "");
        return;
    }
    if field.is_empty() {
        e.required(&at, "");
        return;
    }
    let subscript = field.strip_suffix("']").and_then(|f| f.split_once("['"));
    let wrong = match subscript {
        _ if version != "v1" => Some(format!("unsupported pod version: {version}")),
        Some(("metadata.annotations" | "metadata.labels", _)) => None,
        Some(_) => Some(format!("field label does not support subscript: {field}")),
        None if FIELDS.contains(&field) || field == "spec.host" => None,
        None => Some(format!("field label not supported: {field}")),
    };
    if let Some(w) = wrong {
        e.invalid_text(&at, field, &format!("error converting fieldPath: {w}"));
        return;
    }
    match subscript {
        Some(("metadata.annotations", key)) => {
            let key = key.to_lowercase();
            e.names(path, &key, meta::qualified_name(&key));
        }
        Some((_, key)) => e.names(path, key, meta::qualified_name(key)),
        None => {
            let field = if field == "spec.host" { "spec.nodeName" } else { field };
            if !allowed.contains(&field) {
                e.unsupported(&at, field, allowed);
            }
        }
    }
}

/// An amount of a container.
pub(crate) fn amount_ref(path: &str, r: &Value, file: bool, e: &mut Errors) {
    let resource = json::text(r, "resource");
    let huge = resource.starts_with("requests.hugepages-") || resource.starts_with("limits.hugepages-");
    if file && json::text(r, "containerName").is_empty() {
        e.required(&format!("{path}.containerName"), "");
        return;
    }
    if resource.is_empty() {
        e.required(&format!("{path}.resource"), "");
        return;
    }
    if !AMOUNTS.contains(&resource) && !huge {
        e.unsupported(&format!("{path}.resource"), resource, AMOUNTS);
        return;
    }
    let Some(divisor) = amounts::amount(r.get("divisor")).filter(|q| q.nanos() != 0) else { return };
    let text = divisor.to_string();
    let what = match resource {
        "limits.cpu" | "requests.cpu" => {
            if !matches!(text.as_str(), "1m" | "1") {
                let why = "only divisor's values 1m and 1 are supported with the cpu resource";
                e.invalid_text(&format!("{path}.divisor"), resource, why);
            }
            return;
        }
        "limits.memory" | "requests.memory" => "memory",
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => "local ephemeral storage",
        _ => "hugepages",
    };
    if !BYTES.contains(&text.as_str()) {
        let why = format!("only divisor's values {} are supported with the {what} resource", BYTES.join(", "));
        e.invalid_text(&format!("{path}.divisor"), resource, &why);
    }
}

/// Paths that were given out; a second use is a conflict.
struct Taken<'a> {
    path: &'a str,
    paths: Vec<String>,
}

impl Taken<'_> {
    fn take(&mut self, p: &str, shown: &str, e: &mut Errors) {
        if self.paths.iter().any(|t| t == p) {
            e.invalid_text(self.path, shown, "conflicting duplicate paths");
        } else {
            self.paths.push(p.to_owned());
        }
    }
}

/// A projected volume.
pub(crate) fn projected(path: &str, s: &Value, e: &mut Errors) {
    file_mode(&format!("{path}.defaultMode"), s.get("defaultMode"), e);
    let mut taken = Taken { path, paths: Vec::new() };
    for (i, source) in json::list(s, "sources").iter().enumerate() {
        let at = format!("{path}.sources[{i}]");
        let get = |k: &str| source.get(k).filter(|v| !v.is_null());
        for k in ["secret", "configMap"] {
            let Some(p) = get(k) else { continue };
            let (at, name) = (format!("{at}.{k}"), json::text(p, "name"));
            if name.is_empty() {
                e.required(&format!("{at}.name"), "");
            }
            for (j, item) in json::list(p, "items").iter().enumerate() {
                key_to_path(&format!("{at}.items[{j}]"), item, e);
                let target = json::text(item, "path");
                if !target.is_empty() {
                    taken.take(target, name, e);
                }
            }
        }
        for f in get("downwardAPI").map_or(&[][..], |d| json::list(d, "items")) {
            downward_file(&format!("{at}.downwardAPI"), f, e);
            let target = json::text(f, "path");
            if !target.is_empty() {
                taken.take(target, target, e);
            }
        }
        if let Some(t) = get("serviceAccountToken") {
            token(path, &format!("{at}.serviceAccountToken"), t, e);
        }
        if let Some(b) = get("clusterTrustBundle") {
            bundle(&format!("{at}.clusterTrustBundle"), b, &mut taken, e);
        }
        const KINDS: &[&str] = &["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate"];
        if KINDS.iter().filter(|k| get(k).is_some()).count() > 1 {
            e.forbidden(&at, "may not specify more than 1 volume type per source");
        }
    }
}

fn token(volume: &str, at: &str, t: &Value, e: &mut Errors) {
    let seconds = json::int(t, "expirationSeconds").unwrap_or(0);
    let path = format!("{at}.expirationSeconds");
    if seconds < 600 {
        e.invalid(&path, &seconds.into(), "may not specify a duration less than 10 minutes");
    }
    if seconds > 1 << 32 {
        e.invalid(&path, &seconds.into(), "may not specify a duration larger than 2^32 seconds");
    }
    let (target, at) = (json::text(t, "path"), format!("{volume}.path"));
    if target.is_empty() {
        e.required(&at, "");
    } else {
        local_path(&at, target, e);
    }
}

fn bundle(at: &str, b: &Value, taken: &mut Taken<'_>, e: &mut Errors) {
    let get = |k: &str| b.get(k).and_then(Value::as_str);
    match (get("name"), get("signerName")) {
        (Some(_), Some(_)) => {
            let shown = super::internal::form("v1.ClusterTrustBundleProjection", b);
            e.invalid(at, &shown, "only one of name and signerName may be used");
        }
        (Some(""), None) => e.required(&format!("{at}.name"), "must be a valid object name"),
        (Some(n), None) => {
            for w in meta::dns_subdomain(n) {
                e.invalid_text(&format!("{at}.name"), n, &format!("not a valid clustertrustbundlename: {w}"));
            }
        }
        (None, Some(s)) => {
            if s.is_empty() {
                e.required(&format!("{at}.signerName"), "must be a valid signer name");
            }
            source_selector(&format!("{at}.labelSelector"), b.get("labelSelector"), e);
        }
        (None, None) => e.required(at, "either name or signerName must be specified"),
    }
    let target = json::text(b, "path");
    if target.is_empty() {
        e.required(&format!("{at}.path"), "");
    }
    local_path(&format!("{at}.path"), target, e);
    taken.take(target, target, e);
}
