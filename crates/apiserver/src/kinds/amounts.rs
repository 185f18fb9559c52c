//! Resource names and amounts (core `ValidateResourceQuantityValue`, `validateResourceName` and their kin).

use serde_json::{Map, Value};

use super::errors::Errors;
use crate::go_value::quote;
use crate::meta;
use crate::quantity::Quantity;

const CONTAINER: &[&str] = &["cpu", "memory", "ephemeral-storage"];

/// Resources that a quota may limit.
const QUOTA: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];

/// Resources that are counted in whole numbers.
const WHOLE: &[&str] = &[
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// Where a resource name stands: what it may be differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Anywhere.
    Any,
    /// In a container.
    Container,
    /// In a pod as a whole.
    Pod,
    /// In a quota.
    Quota,
}

pub(crate) fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn is_quota_huge_page(name: &str) -> bool {
    is_huge_page(name) || name.starts_with("requests.hugepages-")
}

fn is_standard_for_quota(name: &str) -> bool {
    QUOTA.contains(&name) || is_quota_huge_page(name)
}

/// Whether the project itself defines the resource.
pub(crate) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether the resource is one that somebody else defines.
pub(crate) fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && meta::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Whether more may be promised of the resource than there is.
pub(crate) fn overcommit(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

/// The name of a resource.
pub(crate) fn name(path: &str, name: &str, place: Place, e: &mut Errors) {
    let before = e.len();
    e.names(path, name, meta::qualified_name(name));
    let short = !name.contains('/');
    if e.len() == before && short && !(is_standard_for_quota(name) || name == "storage") {
        e.invalid_text(path, name, "must be a standard resource type or fully qualified");
    }
    match place {
        Place::Any => {}
        Place::Container if short => {
            if !(CONTAINER.contains(&name) || is_huge_page(name)) {
                e.invalid_text(path, name, "must be a standard resource for containers");
            }
        }
        Place::Container => {
            if !is_native(name) && !is_extended(name) {
                e.invalid_text(path, name, "doesn't follow extended resource name standard");
            }
        }
        Place::Pod => {
            if e.len() == before && !(matches!(name, "cpu" | "memory") || is_huge_page(name)) {
                e.unsupported(path, name, &["cpu", "hugepages-", "memory"]);
            }
        }
        Place::Quota if short => {
            if !is_standard_for_quota(name) {
                e.invalid_text(path, name, "must be a standard resource for quota");
            }
        }
        Place::Quota => {}
    }
}

/// The amount of a value; nothing when it is none (decoding has refused those).
pub(crate) fn amount(v: Option<&Value>) -> Option<Quantity> {
    Quantity::parse(v?.as_str()?).ok()
}

/// An amount of a resource.
pub(crate) fn value(path: &str, name: &str, v: &Value, e: &mut Errors) {
    let Some(q) = amount(Some(v)) else { return };
    if q < Quantity::ZERO {
        e.invalid(path, v, "must be greater than or equal to 0");
    }
    if (WHOLE.contains(&name) || is_extended(name)) && !q.is_whole() {
        e.invalid(path, v, "must be an integer");
    }
}

/// Entries of a resource list in the order of their names.
pub(crate) fn entries(list: Option<&Value>) -> Vec<(&String, &Value)> {
    let mut all: Vec<(&String, &Value)> = list.and_then(Value::as_object).into_iter().flat_map(Map::iter).collect();
    all.sort_unstable_by_key(|(k, _)| *k);
    all
}

/// What a container or a pod asks for and may use; `claims` are the names of the pod's resource claims.
pub(crate) fn requirements(path: &str, r: &Value, place: Place, claims: &[&str], e: &mut Errors) {
    let (limits, requests) = (format!("{path}.limits"), format!("{path}.requests"));
    let (mut plain, mut huge) = (false, false);
    for (k, v) in entries(r.get("limits")) {
        let at = format!("{limits}[{k}]");
        name(&at, k, place, e);
        value(&at, k, v, e);
        huge_pages(&at, k, v, e);
        plain |= matches!(k.as_str(), "cpu" | "memory");
        huge |= is_huge_page(k);
    }
    for (k, v) in entries(r.get("requests")) {
        let at = format!("{requests}[{k}]");
        name(&at, k, place, e);
        value(&at, k, v, e);
        let limit = r["limits"].get(k.as_str());
        match (amount(Some(v)), amount(limit)) {
            (Some(q), Some(l)) if q != l && !overcommit(k) => {
                e.invalid(&requests, v, &format!("must be equal to {k} limit of {l}"));
            }
            (Some(q), Some(l)) if q > l => e.invalid(&requests, v, &format!("must be less than or equal to {k} limit of {l}")),
            (Some(_), None) if !overcommit(k) => e.required(&limits, "Limit must be set for non overcommitable resources"),
            _ => {}
        }
        huge_pages(&at, k, v, e);
        plain |= matches!(k.as_str(), "cpu" | "memory");
        huge |= is_huge_page(k);
    }
    if huge && !plain {
        e.forbidden(path, "HugePages require cpu or memory");
    }
    claim_names(&format!("{path}.claims"), r, claims, e);
}

fn huge_pages(path: &str, name: &str, v: &Value, e: &mut Errors) {
    let Some(size) = name.strip_prefix("hugepages-") else { return };
    let Some(q) = amount(Some(v)) else { return };
    let whole = Quantity::parse(size).ok().filter(|s| *s > Quantity::ZERO && s.is_whole());
    if whole.is_none_or(|s| q.whole_up() % s.whole_up() != 0) {
        e.invalid(path, v, &format!("{q} is not positive integer multiple of {name}"));
    }
}

fn claim_names(path: &str, r: &Value, claims: &[&str], e: &mut Errors) {
    let mut seen: Vec<String> = Vec::new();
    for (i, c) in crate::json::list(r, "claims").iter().enumerate() {
        let at = format!("{path}[{i}]");
        let (claim, request) = (crate::json::text(c, "name"), crate::json::text(c, "request"));
        if claim.is_empty() {
            e.required(&at, "");
            continue;
        }
        if seen.iter().any(|s| s == claim) {
            e.duplicate(&at, &claim.into());
        } else {
            let mut key = claim.to_owned();
            if !request.is_empty() {
                e.names(&format!("{at}.request"), request, meta::dns_label(request));
                key = format!("{claim}/{request}");
            }
            if seen.contains(&key) {
                e.duplicate(&at, &key.as_str().into());
            } else if request.is_empty() && seen.iter().any(|s| s.split('/').next() == Some(claim)) {
                e.duplicate(&at, &claim.into());
            }
            seen.push(key);
        }
        if !claims.contains(&claim) {
            let rest = if claims.is_empty() { " which is empty".to_owned() } else { format!(": {}", claims.join(", ")) };
            e.not_found_because(&at, claim, &format!("must be one of the names in pod.spec.resourceClaims{rest}"));
        }
    }
}

/// Amounts of bytes that are no whole number: warned about only.
pub(crate) fn fraction_warning(path: &str, list: Option<&Value>, name: &str) -> Option<String> {
    let q = amount(list?.get(name))?;
    (!q.is_whole()).then(|| format!("{path}[{name}]: fractional byte value {} is invalid, must be an integer", quote(&q.to_string())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn causes(r: Value) -> Vec<String> {
        let mut e = Errors::default();
        requirements("r", &r, Place::Container, &[], &mut e);
        e.causes.into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
    }

    #[test]
    fn requests_stay_below_limits() {
        assert_eq!(
            causes(json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}})),
            ["r.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"]
        );
        assert_eq!(
            causes(json!({"requests": {"example.com/a": "1"}})),
            ["r.limits: Required value: Limit must be set for non overcommitable resources"]
        );
        assert!(causes(json!({"requests": {"cpu": "1"}, "limits": {"cpu": "1000m"}})).is_empty());
    }

    #[test]
    fn names_of_resources_depend_on_where_they_stand() {
        assert_eq!(
            causes(json!({"limits": {"pods": "1"}})),
            ["r.limits[pods]: Invalid value: \"pods\": must be a standard resource for containers"]
        );
        assert_eq!(causes(json!({"limits": {"bogus": "1"}})).len(), 2);
        assert_eq!(
            causes(json!({"limits": {"example.com/a": "1500m"}})),
            ["r.limits[example.com/a]: Invalid value: \"1500m\": must be an integer"]
        );
        assert_eq!(causes(json!({"limits": {"hugepages-2Mi": "3Mi", "cpu": "1"}})).len(), 1);
    }
}
