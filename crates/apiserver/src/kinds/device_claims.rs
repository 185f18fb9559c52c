//! Claims for devices and templates of them (`ValidateResourceClaim`, `ValidateResourceClaimTemplate`); what is allocated to a claim is
//! looked at in `device_allocation`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::errors::Errors;
use super::{ALL_META, Check, DEFAULT, Env, Rules, device_allocation, devices, internal, metadata};
use crate::json;
use crate::meta;
use crate::status::Cause;

/// Most requests of which the first that can be fulfilled is.
const MOST_ALTERNATIVES: usize = 8;
/// The label of namespaces whose claims may ask for the access of an administrator.
const ADMIN_LABEL: &str = "resource.kubernetes.io/admin-access";

pub(crate) const RESOURCE_CLAIM: Rules = Rules {
    on_create: &[Check::Always],
    on_update: &[Check::Meta, Check::MetaUpdate, Check::Update],
    on_status: &[Check::Status],
    status_keeps_meta: ALL_META,
    settle: as_sent,
    validate: |doc, _, e, env| {
        ask_for_admin(&doc["spec"]["devices"], e, env);
        metadata::whole(env.served, DEFAULT.name, DEFAULT.meta, doc, e);
        spec("spec", &doc["spec"], e);
    },
    validate_update: |new, old, e, _| immutable("ResourceClaimSpec", new, old, e),
    prepare_status: |doc, old, _| device_allocation::drop_deallocated(doc, old),
    validate_status: device_allocation::status,
    ..DEFAULT
};

pub(crate) const RESOURCE_CLAIM_TEMPLATE: Rules = Rules {
    on_create: &[Check::Always],
    on_update: &[Check::Always, Check::MetaUpdate, Check::Update],
    settle: as_sent,
    validate: |doc, old, e, env| {
        let template = &doc["spec"];
        if old.is_none() {
            ask_for_admin(&template["spec"]["devices"], e, env);
        }
        metadata::whole(env.served, DEFAULT.name, DEFAULT.meta, doc, e);
        metadata::of_template("spec.metadata", &template["metadata"], e);
        spec("spec.spec", &template["spec"], e);
    },
    validate_update: |new, old, e, _| immutable("ResourceClaimTemplateSpec", new, old, e),
    ..DEFAULT
};

/// Messages tell an empty list from none, and the stored form does not: changes are looked at before they take that form.
fn as_sent(doc: &mut Value, old: Option<&Value>, env: &Env<'_>) -> Result<(), Vec<Cause>> {
    let Some(old) = old else { return Ok(()) };
    let mut e = Errors::default();
    super::rules(env.served).check_update(None, doc, old, &mut e, env);
    if e.is_empty() { Ok(()) } else { Err(e.causes) }
}

fn immutable(type_name: &str, new: &Value, old: &Value, e: &mut Errors) {
    let form = |d: &Value| {
        let spec = d.get("spec").filter(|s| s.is_object()).cloned().unwrap_or_else(|| json!({}));
        internal::form(&format!("resource.k8s.io/v1.{type_name}"), &spec)
    };
    let (is, was) = (form(new), form(old));
    if without_empty(&is) != without_empty(&was) {
        e.invalid("spec", &is, "field is immutable");
    }
}

/// A value in which empty lists are none.
fn without_empty(v: &Value) -> Value {
    match v {
        Value::Array(l) if l.is_empty() => Value::Null,
        Value::Array(l) => l.iter().map(without_empty).collect(),
        Value::Object(m) => Value::Object(m.iter().map(|(k, v)| (k.clone(), without_empty(v))).collect()),
        v => v.clone(),
    }
}

/// Whether the namespace lets claims ask for the access of an administrator; if not, that is said of a path.
pub(super) fn may_be_admin(path: &str, e: &mut Errors, env: &Env<'_>) {
    let namespace = env.server.store.get("/namespaces", env.namespace);
    if !namespace.is_some_and(|ns| ns.labels.iter().any(|(k, v)| **k == *ADMIN_LABEL && **v == *"true")) {
        e.forbidden(path, &format!("admin access to devices requires the `{ADMIN_LABEL}: true` label on the containing namespace"));
    }
}

fn ask_for_admin(devices: &Value, e: &mut Errors, env: &Env<'_>) {
    if let Some(i) = json::list(devices, "requests").iter().position(|r| r["exactly"]["adminAccess"] == true) {
        may_be_admin(&format!("spec.devices.requests[{i}].adminAccess"), e, env);
    }
}

/// Names of requests, and of the alternatives that each has.
pub(super) struct Requests<'a>(BTreeMap<&'a str, Vec<&'a str>>);

impl<'a> Requests<'a> {
    pub(super) fn of(devices: &'a Value) -> Self {
        let alternatives = |r: &'a Value| json::list(r, "firstAvailable").iter().map(|s| json::text(s, "name")).collect();
        Requests(json::list(devices, "requests").iter().map(|r| (json::text(r, "name"), alternatives(r))).collect())
    }

    /// A text that names a request, or one of its alternatives.
    pub(super) fn reference(&self, path: &str, name: &str, e: &mut Errors) {
        let parts: Vec<&str> = name.split('/').collect();
        if parts.len() <= 2 {
            for part in &parts {
                e.names(path, part, meta::dns_label(part));
            }
        }
        let there = match parts[..] {
            [request] => self.0.contains_key(request),
            [request, alternative] => self.0.get(request).is_some_and(|l| l.contains(&alternative)),
            _ => false,
        };
        if !there {
            let why = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
            e.invalid_text(path, name, why);
        }
    }

    /// The requests that something is for, each named once.
    pub(super) fn references(&self, at: &str, v: &Value, e: &mut Errors) {
        devices::each_once(&format!("{at}.requests"), json::list(v, "requests"), devices::MOST, e, Value::clone, |at, name, e| {
            self.reference(at, name.as_str().unwrap_or(""), e);
        });
    }
}

fn spec(path: &str, s: &Value, e: &mut Errors) {
    let claim = &s["devices"];
    let (requests, at) = (Requests::of(claim), |k: &str| format!("{path}.devices.{k}"));
    devices::each_once(&at("requests"), json::list(claim, "requests"), devices::MOST, e, devices::by("name"), request);
    devices::each(&at("constraints"), json::list(claim, "constraints"), devices::MOST, e, |at, c, e| constraint(at, c, &requests, e));
    devices::each(&at("config"), json::list(claim, "config"), devices::MOST, e, |at, c, e| {
        requests.references(at, c, e);
        devices::configuration(at, c, false, e);
    });
}

fn request(at: &str, r: &Value, e: &mut Errors) {
    const ONE: &str = "exactly one of `exactly` or `firstAvailable` is required";
    name(at, r, e);
    let (exactly, first) = (r.get("exactly").filter(|x| !x.is_null()), json::list(r, "firstAvailable"));
    match (exactly, first) {
        (None, []) => e.required(at, ONE),
        (Some(_), [_, ..]) => e.invalid(at, &Value::Null, &format!("{ONE}, but multiple fields are set")),
        (Some(x), []) => wanted(&format!("{at}.exactly"), x, e),
        (None, list) => {
            devices::each_once(&format!("{at}.firstAvailable"), list, MOST_ALTERNATIVES, e, devices::by("name"), |at, r, e| {
                name(at, r, e);
                wanted(at, r, e);
            });
        }
    }
}

fn name(at: &str, r: &Value, e: &mut Errors) {
    let name = json::text(r, "name");
    e.names(&format!("{at}.name"), name, meta::dns_label(name));
}

/// Which devices are wanted, and how many of them.
fn wanted(at: &str, r: &Value, e: &mut Errors) {
    match json::text(r, "deviceClassName") {
        "" => e.required(&format!("{at}.deviceClassName"), ""),
        class => e.names(&format!("{at}.deviceClassName"), class, meta::dns_subdomain(class)),
    }
    devices::selectors(&format!("{at}.selectors"), r, e);
    let (count, path) = (json::int(r, "count").unwrap_or(0), format!("{at}.count"));
    match json::text(r, "allocationMode") {
        "All" if count != 0 => e.invalid(&path, &count.into(), "must not be specified when allocationMode is 'All'"),
        "ExactCount" if count <= 0 => e.invalid(&path, &count.into(), "must be greater than zero"),
        "All" | "ExactCount" => {}
        other => e.unsupported(&format!("{at}.allocationMode"), other, &["All", "ExactCount"]),
    }
    for (i, t) in json::list(r, "tolerations").iter().enumerate() {
        devices::toleration(&format!("{at}.tolerations[{i}]"), t, e);
    }
}

/// What the devices of some requests must have in common, or must not.
fn constraint(at: &str, c: &Value, requests: &Requests<'_>, e: &mut Errors) {
    requests.references(at, c, e);
    let given = ["matchAttribute", "distinctAttribute"].into_iter().find_map(|k| Some((k, c.get(k)?.as_str()?)));
    match given {
        Some((k, name)) => devices::fully_qualified_name(&format!("{at}.{k}"), name, e),
        None => e.required(at, "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
    const NO_REQUEST: &str = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

    fn told(devices: Value) -> Vec<String> {
        let mut e = Errors::default();
        spec("spec", &json!({"devices": devices}), &mut e);
        e.causes.into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
    }

    fn one() -> Value {
        json!({"name": "r", "exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1}})
    }

    #[test]
    fn a_request_says_which_devices_in_one_way() {
        let sub = |n: &str| json!({"name": n, "deviceClassName": "gpu", "allocationMode": "All"});
        for (request, want) in [
            (one(), vec![]),
            (json!({"name": "r", "firstAvailable": [sub("a"), sub("b")]}), vec![]),
            (
                json!({}),
                vec![
                    format!("spec.devices.requests[0].name: Invalid value: \"\": {LABEL}"),
                    "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required".to_owned(),
                ],
            ),
            (
                json!({"name": "r", "exactly": {}, "firstAvailable": [{}]}),
                vec!["spec.devices.requests[0]: Invalid value: null: exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set".to_owned()],
            ),
            (
                json!({"name": "r", "firstAvailable": [sub("a"), sub("a")]}),
                vec!["spec.devices.requests[0].firstAvailable[1]: Duplicate value: \"a\"".to_owned()],
            ),
            (
                json!({"name": "r", "firstAvailable": vec![sub("a"); 9]}),
                vec!["spec.devices.requests[0].firstAvailable: Too many: 9: must have at most 8 items".to_owned()],
            ),
            (
                json!({"name": "r", "exactly": {"allocationMode": "Some"}}),
                vec![
                    "spec.devices.requests[0].exactly.deviceClassName: Required value".to_owned(),
                    "spec.devices.requests[0].exactly.allocationMode: Unsupported value: \"Some\": supported values: \"All\", \"ExactCount\"".to_owned(),
                ],
            ),
            (
                json!({"name": "r", "exactly": {"deviceClassName": "gpu", "allocationMode": "All", "count": 2}}),
                vec!["spec.devices.requests[0].exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'".to_owned()],
            ),
            (
                json!({"name": "r", "exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": -1}}),
                vec!["spec.devices.requests[0].exactly.count: Invalid value: -1: must be greater than zero".to_owned()],
            ),
        ] {
            assert_eq!(told(json!({"requests": [request]})), want, "{request}");
        }
    }

    #[test]
    fn constraints_and_configuration_are_for_requests_of_the_claim() {
        let config = |requests: Value| json!({"requests": requests, "opaque": {"driver": "x.example.com", "parameters": {}}});
        for (more, want) in [
            (json!({"constraints": [{"requests": ["r"], "matchAttribute": "x.example.com/a"}], "config": [config(json!(["r"]))]}), vec![]),
            (json!({"constraints": [{"distinctAttribute": "x.example.com/a"}]}), vec![]),
            (
                json!({"constraints": [{"requests": ["r", "r"]}]}),
                vec![
                    "spec.devices.constraints[0].requests[1]: Duplicate value: \"r\"".to_owned(),
                    "spec.devices.constraints[0]: Required value: exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set".to_owned(),
                ],
            ),
            (
                json!({"constraints": [{"matchAttribute": "a"}]}),
                vec!["spec.devices.constraints[0].matchAttribute: Invalid value: \"a\": a fully qualified name must be a domain and a name separated by a slash".to_owned()],
            ),
            (
                json!({"config": [config(json!(["q", "r/s", "a/b/c"]))]}),
                ["q", "r/s", "a/b/c"].iter().enumerate().map(|(i, n)| format!("spec.devices.config[0].requests[{i}]: Invalid value: {n:?}: {NO_REQUEST}")).collect(),
            ),
        ] {
            let mut devices = json!({"requests": [one()]});
            devices.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            assert_eq!(told(devices), want, "{more}");
        }
    }

    /// Answers of kube-apiserver 1.36.2.
    #[test]
    fn the_spec_stays_and_is_shown_as_it_was_sent() {
        let old = json!({"spec": {"devices": {"requests": [one()]}}});
        let changed = |new: Value| {
            let mut e = Errors::default();
            immutable("ResourceClaimSpec", &new, &old, &mut e);
            e.causes.into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect::<Vec<_>>()
        };
        assert!(changed(old.clone()).is_empty());
        for (requests, shown) in [
            (json!([]), "[]"),
            (json!(null), "null"),
            (json!([{}]), r#"[{"Name":"","Exactly":null,"FirstAvailable":null}]"#),
            (
                json!([{"exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1}}]),
                r#"[{"Name":"","Exactly":{"DeviceClassName":"gpu","Selectors":null,"AllocationMode":"ExactCount","Count":1,"AdminAccess":null,"Tolerations":null,"Capacity":null},"FirstAvailable":null}]"#,
            ),
        ] {
            let want = format!(
                r#"spec: Invalid value: {{"Devices":{{"Requests":{shown},"Constraints":null,"Config":null}}}}: field is immutable"#
            );
            assert_eq!(changed(json!({"spec": {"devices": {"requests": requests}}})), [want]);
        }
        assert_eq!(
            changed(json!({})),
            [r#"spec: Invalid value: {"Devices":{"Requests":null,"Constraints":null,"Config":null}}: field is immutable"#]
        );
    }
}
