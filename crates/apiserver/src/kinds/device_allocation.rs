//! What was allocated to a claim, for whom, and how its devices are: the status of claims, and who may write which part of it
//! (`ValidateResourceClaimStatusUpdate`, `AuthorizedForBinding`, `AuthorizedForDeviceStatus`).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::device_claims::{Requests, may_be_admin};
use super::errors::Errors;
use super::{Env, Flavour, addresses, devices, internal, metadata, misc, pod_scheduling, volumes};
use crate::json;
use crate::meta;
use crate::rbac::{self, Attributes};

/// Most users of a claim.
const MOST_USERS: usize = 256;
/// Most devices that are allocated to a claim.
const MOST_RESULTS: usize = 32;
/// Most configurations of an allocation: those of classes, and those of the claim.
const MOST_CONFIGURATIONS: usize = 2 * devices::MOST;
const MOST_CONDITIONS: usize = 8;
/// Bounds of what is told about a network device.
const MOST_ADDRESSES: usize = 16;
const LONGEST_INTERFACE: usize = 256;
const LONGEST_HARDWARE_ADDRESS: usize = 128;

/// A share of a device, by its full name.
fn device_id(v: &Value) -> Value {
    let text = |k: &str| json::text(v, k);
    json!({"Driver": text("driver"), "Pool": text("pool"), "Device": text("device"), "ShareID": text("shareID")})
}

fn results(doc: &Value) -> &[Value] {
    json::list(doc, "status.allocation.devices.results")
}

fn allocated(doc: &Value) -> Vec<Value> {
    results(doc).iter().map(device_id).collect()
}

/// What is told about devices goes with their allocation.
pub(super) fn drop_deallocated(doc: &mut Value, old: &Value) {
    let now = allocated(doc);
    let gone: Vec<Value> = allocated(old).into_iter().filter(|d| !now.contains(d)).collect();
    let Some(status) = doc.get_mut("status").and_then(Value::as_object_mut) else { return };
    let Some(list) = status.get_mut("devices").and_then(Value::as_array_mut) else { return };
    list.retain(|d| !gone.contains(&device_id(d)));
    if list.is_empty() {
        status.shift_remove("devices");
    }
}

/// What must hold of a new status.
pub(super) fn status(new: &Value, old: &Value, e: &mut Errors, env: &Env<'_>) {
    ask_for_admin(new, old, e, env);
    may_bind(new, old, e, env);
    may_tell(new, old, e, env);
    metadata::update(Flavour::Core, new, old, e);
    let (s, was) = (&new["status"], &old["status"]);
    let users = json::list(s, "reservedFor");
    devices::each_once("status.reservedFor", users, MOST_USERS, e, devices::by("uid"), |at, user, e| {
        for k in ["resource", "name", "uid"].into_iter().filter(|k| json::text(user, k).is_empty()) {
            e.required(&format!("{at}.{k}"), "");
        }
    });
    let known = allocated(new);
    devices::each_once("status.devices", json::list(s, "devices"), usize::MAX, e, device_id, |at, d, e| device(at, d, &known, e));
    let allocation = s.get("allocation").filter(|a| !a.is_null());
    if !users.is_empty() {
        let had = json::list(was, "reservedFor");
        let deleted = new["metadata"].get("deletionTimestamp").is_some();
        if allocation.is_none() {
            e.forbidden("status.reservedFor", "may not be specified when `allocated` is not set");
        } else if deleted && users.iter().any(|u| !had.contains(u)) {
            let why = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
            e.forbidden("status.reservedFor", why);
        }
    }
    match (allocation, was.get("allocation").filter(|a| !a.is_null())) {
        (Some(is), Some(was)) if is != was => {
            e.invalid("status.allocation", &internal::form("resource.k8s.io/v1.AllocationResult", is), "field is immutable");
        }
        (Some(is), None) => allocation_result("status.allocation", is, &Requests::of(&new["spec"]["devices"]), e),
        _ => {}
    }
}

fn ask_for_admin(new: &Value, old: &Value, e: &mut Errors, env: &Env<'_>) {
    let asks = |doc: &Value| results(doc).iter().position(|r| r["adminAccess"] == true);
    if let (Some(i), None) = (asks(new), asks(old)) {
        may_be_admin(&format!("status.allocation.devices.results[{i}].adminAccess"), e, env);
    }
}

/// Who changes the allocation or the users needs a permission of its own.
fn may_bind(new: &Value, old: &Value, e: &mut Errors, env: &Env<'_>) {
    let differs = |k: &str| new["status"].get(k) != old["status"].get(k);
    if !differs("allocation") && !differs("reservedFor") {
        return;
    }
    let a = Attributes { verb: env.verb, group: "resource.k8s.io", resource: "resourceclaims/binding", ..Attributes::default() };
    if !rbac::allows(env.server, env.user, &a) {
        let why = format!(
            "changing status.allocation or status.reservedFor requires resource=\"resourceclaims/binding\", verb=\"{}\" permission: {}",
            env.verb,
            rbac::refusal(env.user, &a).message
        );
        e.forbidden("status.allocation", &why);
    }
}

/// Who changes what is told about devices needs a permission for each of their drivers. That a user is a pod on the node of the devices is
/// not known here: tokens do not say where their pods are.
fn may_tell(new: &Value, old: &Value, e: &mut Errors, env: &Env<'_>) {
    if new["status"].get("allocation").is_none_or(Value::is_null) {
        return;
    }
    let (is, was) = (json::list(new, "status.devices"), json::list(old, "status.devices"));
    let differs = |d: &&Value, others: &[Value]| others.iter().find(|o| device_id(o) == device_id(d)) != Some(*d);
    let changed = is.iter().filter(|d| differs(d, was)).chain(was.iter().filter(|d| differs(d, is)));
    let drivers: BTreeSet<&str> = changed.map(|d| json::text(d, "driver")).collect();
    let verb = format!("arbitrary-node:{}", env.verb);
    for name in drivers {
        let a = Attributes {
            verb: &verb,
            group: "resource.k8s.io",
            resource: "resourceclaims/driver",
            namespace: env.namespace,
            name,
            ..Attributes::default()
        };
        if !rbac::allows(env.server, env.user, &a) {
            let why = format!(
                "changing status.devices requires resource=\"resourceclaims/driver\", verb=\"[{verb}]\" permission: {}",
                rbac::refusal(env.user, &a).message
            );
            e.forbidden("status.devices", &why);
        }
    }
}

/// What is told about a device.
fn device(at: &str, d: &Value, allocated: &[Value], e: &mut Errors) {
    named(at, d, e);
    share(at, d, e);
    let id = device_id(d);
    if !allocated.contains(&id) {
        e.invalid(at, &id, "must be an allocated device in the claim");
    }
    let (conditions, path) = (json::list(d, "conditions"), format!("{at}.conditions"));
    if conditions.len() > MOST_CONDITIONS {
        e.too_many(&path, conditions.len(), MOST_CONDITIONS);
    }
    misc::conditions(&path, conditions, e);
    if let Some(data) = d.get("data").filter(|d| !d.is_null()) {
        devices::raw_object(&format!("{at}.data"), data, false, e);
    }
    let network = &d["networkData"];
    for (k, most) in [("interfaceName", LONGEST_INTERFACE), ("hardwareAddress", LONGEST_HARDWARE_ADDRESS)] {
        if json::text(network, k).len() > most {
            e.too_long(&format!("{at}.networkData.{k}"), most);
        }
    }
    let path = format!("{at}.networkData.ips");
    devices::each_once(&path, json::list(network, "ips"), MOST_ADDRESSES, e, Value::clone, |at, ip, e| {
        addresses::interface(at, ip.as_str().unwrap_or(""), e);
    });
}

/// Driver, pool and device.
fn named(at: &str, d: &Value, e: &mut Errors) {
    let device = json::text(d, "device");
    volumes::driver_name(&format!("{at}.driver"), json::text(d, "driver"), e);
    devices::pool_name(&format!("{at}.pool"), json::text(d, "pool"), e);
    e.names(&format!("{at}.device"), device, meta::dns_label(device));
}

fn share(at: &str, d: &Value, e: &mut Errors) {
    if let Some(id) = d.get("shareID").and_then(Value::as_str) {
        devices::uuid(&format!("{at}.shareID"), id, e);
    }
}

fn allocation_result(at: &str, a: &Value, requests: &Requests<'_>, e: &mut Errors) {
    let devices = &a["devices"];
    devices::each(&format!("{at}.devices.results"), json::list(devices, "results"), MOST_RESULTS, e, |at, r, e| {
        requests.reference(&format!("{at}.request"), json::text(r, "request"), e);
        named(at, r, e);
        devices::binding(at, r, e);
        share(at, r, e);
    });
    devices::each(&format!("{at}.devices.config"), json::list(devices, "config"), MOST_CONFIGURATIONS, e, |at, c, e| {
        e.one_of(&format!("{at}.source"), json::text(c, "source"), &["FromClaim", "FromClass"]);
        requests.references(at, c, e);
        devices::configuration(at, c, false, e);
    });
    if let Some(s) = a.get("nodeSelector").filter(|s| !s.is_null()) {
        pod_scheduling::node_selector(&format!("{at}.nodeSelector"), s, e);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(check: impl FnOnce(&mut Errors)) -> Vec<String> {
        let mut e = Errors::default();
        check(&mut e);
        e.causes.into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
    }

    fn of_device(device: &str) -> Value {
        json!({"driver": "x.example.com", "pool": "p", "device": device})
    }

    fn claim(results: Value, told: Value) -> Value {
        json!({"status": {"allocation": {"devices": {"results": results}}, "devices": told}})
    }

    #[test]
    fn an_allocation_fulfils_requests() {
        let spec = json!({"requests": [{"name": "r", "exactly": {}}]});
        let requests = Requests::of(&spec);
        let result = |request: &str| {
            let mut r = of_device("d");
            r["request"] = request.into();
            r
        };
        for (a, want) in [
            (json!({"devices": {"results": [result("r")]}}), vec![]),
            (
                json!({"devices": {"results": [result("q")]}}),
                vec![
                    "a.devices.results[0].request: Invalid value: \"q\": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'",
                ],
            ),
            (
                json!({"devices": {"results": [], "config": [{"source": "Here", "opaque": {"driver": "x.example.com", "parameters": {}}}]}}),
                vec!["a.devices.config[0].source: Unsupported value: \"Here\": supported values: \"FromClaim\", \"FromClass\""],
            ),
            (
                json!({"devices": {}, "nodeSelector": {}}),
                vec!["a.nodeSelector.nodeSelectorTerms: Required value: must have at least one node selector term"],
            ),
        ] {
            assert_eq!(told(|e| allocation_result("a", &a, &requests, e)), want, "{a}");
        }
    }

    #[test]
    fn only_allocated_devices_are_told_about() {
        let known = [device_id(&of_device("d"))];
        assert!(told(|e| device("d", &of_device("d"), &known, e)).is_empty());
        assert_eq!(
            told(|e| device("d", &of_device("other"), &known, e)),
            [
                r#"d: Invalid value: {"Driver":"x.example.com","Pool":"p","Device":"other","ShareID":""}: must be an allocated device in the claim"#
            ]
        );
        let mut d = of_device("d");
        d["networkData"] = json!({"ips": ["10.0.0.1/24", "10.0.0.1", "10.0.0.01/24"]});
        assert_eq!(
            told(|e| device("d", &d, &known, e)),
            [
                "d.networkData.ips[1]: Invalid value: \"10.0.0.1\": must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)",
                "d.networkData.ips[2]: Invalid value: \"10.0.0.01/24\": must be in canonical form (\"10.0.0.1/24\")",
            ]
        );
        d["networkData"] = Value::Null;
        d["data"] = json!([1]);
        assert_eq!(told(|e| device("d", &d, &known, e)), ["d.data: Invalid value: \"<value omitted>\": must be a valid JSON object"]);
    }

    #[test]
    fn what_is_told_goes_with_the_allocation() {
        let old = claim(json!([of_device("a"), of_device("b")]), json!([of_device("a"), of_device("b")]));
        let mut new = claim(json!([of_device("b")]), json!([of_device("a"), of_device("b")]));
        drop_deallocated(&mut new, &old);
        assert_eq!(new["status"]["devices"], json!([of_device("b")]));
        let mut new = json!({"status": {"devices": [of_device("a")]}});
        drop_deallocated(&mut new, &old);
        assert_eq!(new, json!({"status": {}}));
    }
}
