//! Objects that the reference's own controllers write inside the API server: an IPAddress for each address of a Service, an APIService for
//! each group and version of custom resources, and conditions of FlowSchemas and APIServices.

use serde_json::{Value, json};

use crate::json;
use crate::meta;
use crate::options::SeededChance;
use crate::registry::Resource;
use crate::server::{Server, key};
use crate::write::{self, load};

/// Makes an object that nobody asked for. Its uid follows from its name, so that it costs none of the chance that others draw from.
pub(crate) fn put(server: &Server, group: &str, version: &str, plural: &str, mut doc: Value) {
    let r = server.registry.get(group, version, plural).expect("a built-in resource");
    let k = key(json::text(&doc, "metadata.namespace"), json::text(&doc, "metadata.name"));
    let seed = format!("{}/{k}", r.storage_key())
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let now = meta::seconds(server.options.clock.now());
    doc["metadata"]["uid"] = meta::uid(&SeededChance::new(seed ^ server.store.revision())).into();
    doc["metadata"]["creationTimestamp"] = now.as_str().into();
    for condition in doc["status"].get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        condition["lastTransitionTime"] = now.as_str().into();
    }
    crate::convert::set_type(&mut doc, &r);
    write::commit(server, &r, &k, doc, false);
}

/// The same, unless there is one of that name: after a restart with a data file.
pub(crate) fn put_missing(server: &Server, group: &str, version: &str, plural: &str, doc: Value) {
    if !exists(server, group, version, plural, json::text(&doc, "metadata.name")) {
        put(server, group, version, plural, doc);
    }
}

fn remove(server: &Server, group: &str, version: &str, plural: &str, name: &str) {
    let r = server.registry.get(group, version, plural).expect("a built-in resource");
    if let Some((_, doc)) = load(server, &r, name) {
        write::commit(server, &r, name, doc, true);
    }
}

fn exists(server: &Server, group: &str, version: &str, plural: &str, key: &str) -> bool {
    server.registry.get(group, version, plural).is_some_and(|r| server.store.get(&r.storage_key(), key).is_some())
}

const NETWORKING: &str = "networking.k8s.io";

/// Told of every commit of a Service: its addresses have objects (allocator `ipallocator`, since 1.33).
pub(crate) fn service(server: &Server, doc: &Value, deleted: bool) {
    let addresses = json::list(doc, "spec.clusterIPs").iter().filter_map(Value::as_str).filter(|ip| !matches!(*ip, "" | "None"));
    for ip in addresses {
        match (deleted, exists(server, NETWORKING, "v1", "ipaddresses", ip)) {
            (true, true) => remove(server, NETWORKING, "v1", "ipaddresses", ip),
            (false, false) => {
                let family = if ip.contains(':') { "IPv6" } else { "IPv4" };
                let labels =
                    json!({"ipaddress.kubernetes.io/ip-family": family, "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"});
                let parent = json!({"resource": "services", "namespace": doc["metadata"]["namespace"], "name": doc["metadata"]["name"]});
                put(
                    server,
                    NETWORKING,
                    "v1",
                    "ipaddresses",
                    json!({"metadata": {"name": ip, "labels": labels}, "spec": {"parentRef": parent}}),
                );
            }
            _ => {}
        }
    }
}

/// An address that a Service gave back without going.
pub(crate) fn address_released(server: &Server, ip: &str) {
    remove(server, NETWORKING, "v1", "ipaddresses", ip);
}

const REGISTRATION: &str = "apiregistration.k8s.io";

/// Told when the versions of a group of custom resources may have changed (apiserver `crdregistration`).
pub(crate) fn group_changed(server: &Server, group: &str) {
    let served: Vec<String> = server.registry.served().iter().filter(|r| r.custom && r.group == group).map(|r| r.version.clone()).collect();
    for version in &served {
        let name = format!("{version}.{group}");
        if !exists(server, REGISTRATION, "v1", "apiservices", &name) {
            put(
                server,
                REGISTRATION,
                "v1",
                "apiservices",
                json!({
                    "metadata": {"name": name, "labels": {"kube-aggregator.kubernetes.io/automanaged": "true"}},
                    "spec": {"group": group, "version": version, "groupPriorityMinimum": 1000, "versionPriority": 100},
                    "status": {"conditions": [local()]},
                }),
            );
        }
    }
    let Some(r) = server.registry.get(REGISTRATION, "v1", "apiservices") else { return };
    let (_, all) = server.store.list(&r.storage_key(), "");
    let ours = all.iter().filter_map(|s| serde_json::from_slice::<Value>(&s.bytes).ok()).filter(|doc| {
        json::text(doc, "spec.group") == group && doc["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"] == "true"
    });
    for doc in ours.filter(|doc| !served.iter().any(|version| version == json::text(doc, "spec.version"))).collect::<Vec<_>>() {
        remove(server, REGISTRATION, "v1", "apiservices", json::text(&doc, "metadata.name"));
    }
}

fn local() -> Value {
    json!({"type": "Available", "status": "True", "reason": "Local", "message": "Local APIServices are always available"})
}

/// Told of every commit of an APIService: whether it is available. What stands behind a Service is not asked.
pub(crate) fn api_service(server: &Server, r: &Resource, doc: &Value) {
    let service = &doc["spec"]["service"];
    let (name, namespace) = (json::text(service, "name"), json::text(service, "namespace"));
    let condition = if service.is_null() {
        local()
    } else if exists(server, "", "v1", "services", &key(namespace, name)) {
        return;
    } else {
        let message = format!("service/{name} in {namespace:?} is not present");
        json!({"type": "Available", "status": "False", "reason": "ServiceNotFound", "message": message})
    };
    settle(server, r, doc, condition);
}

/// Told of every commit of a FlowSchema: whether its priority level is there.
pub(crate) fn flow_schema(server: &Server, r: &Resource, doc: &Value) {
    let level = json::text(doc, "spec.priorityLevelConfiguration.name");
    let named = format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?}");
    let condition = match exists(server, &r.group, "v1", "prioritylevelconfigurations", level) {
        true => json!({"type": "Dangling", "status": "False", "reason": "Found", "message": format!("{named} and it exists")}),
        false => {
            json!({"type": "Dangling", "status": "True", "reason": "NotFound", "message": format!("{named} but there is no such object")})
        }
    };
    settle(server, r, doc, condition);
}

/// Writes a condition where the object does not say it yet.
fn settle(server: &Server, r: &Resource, doc: &Value, mut condition: Value) {
    let kind = condition["type"].clone();
    let said = json::list(doc, "status.conditions").iter().find(|c| c["type"] == kind);
    if said.is_some_and(|c| ["status", "reason", "message"].iter().all(|k| c[*k] == condition[*k]))
        || doc["metadata"].get("deletionTimestamp").is_some()
    {
        return;
    }
    condition["lastTransitionTime"] = meta::seconds(server.options.clock.now()).into();
    let mut next = doc.clone();
    let list = json::object_mut(&mut next, "status").entry("conditions").or_insert_with(|| json!([]));
    if let Some(list) = list.as_array_mut() {
        list.retain(|c| c["type"] != kind);
        list.push(condition);
    }
    let k = json::text(&next, "metadata.name").to_owned();
    write::commit(server, r, &k, next, false);
}
