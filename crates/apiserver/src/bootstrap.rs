//! What a server holds from its start: namespaces, the `kubernetes` Service, system priority classes, bootstrap roles. What is there
//! already, from a data file, stays as it is; only the ports of the `kubernetes` Service follow those of the server.

use serde_json::{Value, json};

use crate::kinds::own_objects;
use crate::meta;
use crate::server::{Server, key};
use crate::write;

const NAMESPACES: &[&str] = &["default", "kube-node-lease", "kube-public", "kube-system"];

/// Makes what is not there.
pub(crate) fn fill(server: &Server) {
    let _turn = server.my_turn();
    for name in NAMESPACES {
        put(
            server,
            "",
            "v1",
            "namespaces",
            json!({
                "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
                "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
            }),
        );
    }
    for (name, value, text) in [
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        ("system-node-critical", 2_000_001_000, "Used for system critical pods that must not be moved from their current node."),
    ] {
        put(
            server,
            "scheduling.k8s.io",
            "v1",
            "priorityclasses",
            json!({
                "metadata": {"name": name, "generation": 1}, "value": value, "description": text, "preemptionPolicy": "PreemptLowerPriority",
            }),
        );
    }
    kubernetes_service(server);
    roles(server);
    tabled(server);
}

/// What the reference's own controllers write before anybody asks: API services of the built-in groups, flow control
/// (`tables/objects.jsonl`), the range of Services' addresses, and the endpoints as they were before there were slices.
fn tabled(server: &Server) {
    for line in include_str!("../tables/objects.jsonl").lines() {
        let doc: Value = serde_json::from_str(line).expect("the table holds an object a line");
        let (group, version) = crate::json::text(&doc, "apiVersion").split_once('/').unwrap_or_default();
        let plural = format!("{}s", crate::json::text(&doc, "kind").to_lowercase());
        own_objects::put_missing(server, group, version, &plural, doc.clone());
    }
    let (network, prefix) = server.options.service_cidr;
    let ready = json!({"type": "Ready", "status": "True", "reason": "", "message": "Kubernetes default Service CIDR is ready"});
    let range = json!({
        "metadata": {"name": "kubernetes"}, "spec": {"cidrs": [format!("{network}/{prefix}")]}, "status": {"conditions": [ready]},
    });
    own_objects::put_missing(server, "networking.k8s.io", "v1", "servicecidrs", range);
    if let Some((addr, port)) = server.options.advertise {
        let labels = json!({"endpointslice.kubernetes.io/skip-mirror": "true"});
        let endpoints = json!({
            "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
            "subsets": [{"addresses": [{"ip": addr.to_string()}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}],
        });
        put(server, "", "v1", "endpoints", endpoints);
    }
}

fn kubernetes_service(server: &Server) {
    let (network, _) = server.options.service_cidr;
    let ip = std::net::Ipv4Addr::from(u32::from(network) + 1).to_string();
    let port = server.options.advertise.map_or(6443, |(_, p)| p);
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    crate::kinds::reserve(server, &ip);
    put(
        server,
        "",
        "v1",
        "services",
        json!({
            "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
            "spec": {
                "clusterIP": ip, "clusterIPs": [ip], "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"],
                "ipFamilyPolicy": "SingleStack",
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
                "sessionAffinity": "None", "type": "ClusterIP",
            },
            "status": {"loadBalancer": {}},
        }),
    );
    if let Some((addr, port)) = server.options.advertise {
        put(
            server,
            "discovery.k8s.io",
            "v1",
            "endpointslices",
            json!({
                "metadata": {"name": "kubernetes", "namespace": "default", "generation": 1, "labels": {"kubernetes.io/service-name": "kubernetes"}},
                "addressType": "IPv4",
                "endpoints": [{"addresses": [addr.to_string()], "conditions": {"ready": true}}],
                "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
            }),
        );
    }
}

fn put(server: &Server, group: &str, version: &str, plural: &str, mut doc: Value) {
    let r = server.registry.get(group, version, plural).expect("a built-in resource");
    let text = |k: &str| doc["metadata"][k].as_str().unwrap_or("").to_owned();
    let k = key(&text("namespace"), &text("name"));
    if let Some((_, mut there)) = write::load(server, &r, &k) {
        if k == KUBERNETES && follow(&mut there, &doc) {
            write::commit(server, &r, &k, there, false);
        }
        return;
    }
    doc["metadata"]["uid"] = meta::uid(&*server.options.chance).into();
    doc["metadata"]["creationTimestamp"] = meta::seconds(server.options.clock.now()).into();
    crate::convert::set_type(&mut doc, &r);
    write::commit(server, &r, &k, doc, false);
}

/// Key of the Service, the EndpointSlice and the Endpoints that lead to the server.
const KUBERNETES: &str = "default/kubernetes";

/// Brings where the server is reached up to date; whether anything changed.
fn follow(there: &mut Value, wanted: &Value) -> bool {
    let before = there.clone();
    for path in ["/spec/ports", "/endpoints", "/ports", "/subsets"] {
        if let (Some(have), Some(want)) = (there.pointer_mut(path), wanted.pointer(path)) {
            *have = want.clone();
        }
    }
    *there != before
}

fn list(cell: &str) -> Value {
    if cell == "-" {
        return Value::Null;
    }
    cell.split(',').map(|x| Value::from(if x == "\"\"" { "" } else { x })).collect()
}

/// The roles and bindings of `tables/roles.tsv`.
fn roles(server: &Server) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    let mut docs: Vec<Value> = Vec::new();
    for line in include_str!("../tables/roles.tsv").lines().filter(|l| !l.starts_with('#') && !l.is_empty()) {
        let c: Vec<&str> = line.split('\t').collect();
        if !line.starts_with('\t') {
            let mut meta = json!({
                "name": c[2], "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
                "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
            });
            if c[1] != "-" {
                meta["namespace"] = c[1].into();
            }
            let mut doc = json!({"kind": c[0], "metadata": meta});
            match c.get(4) {
                Some(role) => doc["roleRef"] = json!({"apiGroup": GROUP, "kind": c[3], "name": role}),
                // Roles that gather others stay empty until a controller fills them.
                None => doc["rules"] = Value::Null,
            }
            docs.push(doc);
            continue;
        }
        let doc = docs.last_mut().expect("a row follows its role");
        match c[1] {
            "label" => doc["metadata"]["labels"][c[2]] = c[3].into(),
            "aggregates" => {
                let slot = &mut doc["aggregationRule"]["clusterRoleSelectors"];
                let mut all = slot.as_array().cloned().unwrap_or_default();
                all.push(json!({"matchLabels": {c[2]: c[3]}}));
                *slot = Value::Array(all);
            }
            "rule" => {
                let mut rule = json!({"verbs": list(c[2])});
                for (k, cell) in [("apiGroups", c[3]), ("resources", c[4]), ("resourceNames", c[5]), ("nonResourceURLs", c[6])] {
                    if cell != "-" {
                        rule[k] = list(cell);
                    }
                }
                if !doc["rules"].is_array() {
                    doc["rules"] = json!([]);
                }
                doc["rules"].as_array_mut().expect("made above").push(rule);
            }
            _ => {
                let mut s = json!({"kind": c[2], "name": c[4]});
                if c[3] != "-" {
                    s["namespace"] = c[3].into();
                }
                if c[2] != "ServiceAccount" {
                    s["apiGroup"] = GROUP.into();
                }
                let slot = &mut doc["subjects"];
                let mut all = slot.as_array().cloned().unwrap_or_default();
                all.push(s);
                *slot = Value::Array(all);
            }
        }
    }
    for mut doc in docs {
        let plural = format!("{}s", doc["kind"].as_str().unwrap_or("").to_lowercase());
        crate::json::take(&mut doc, "kind");
        put(server, GROUP, "v1", &plural, doc);
    }
}
