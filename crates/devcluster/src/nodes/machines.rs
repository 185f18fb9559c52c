//! The Node objects of simulated machines.

use jiff::Timestamp;
use serde_json::{Value, json};

/// What each machine offers. Roomy, so that a laptop's ten thousand pods fit; requests are counted against it all the same.
const CPU: &str = "1000";
const MEMORY: &str = "4Ti";
const PODS: &str = "20000";

/// Name of the node with this number, counted from 1.
pub fn node_name(number: u32) -> String {
    format!("node-{number}")
}

/// The address of the node with this number.
pub fn node_ip(number: u32) -> String {
    format!("192.168.{}.{}", number / 200, 10 + number % 200)
}

/// The Node with this number, as its kubelet registers it.
pub fn node(number: u32, now: Timestamp) -> Value {
    let name = node_name(number);
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "topology.kubernetes.io/region": "local",
                "topology.kubernetes.io/zone": format!("local-{}", (b'a' + ((number - 1) % 3) as u8) as char),
            },
            "annotations": {"devcluster.evenkeel/simulated": "true"},
        },
        "spec": {"podCIDR": pod_cidr(number), "podCIDRs": [pod_cidr(number)]},
        "status": status(number, now),
    })
}

/// The first two bytes of the addresses of a node's pods.
pub fn pod_prefix(number: u32) -> (u8, u8) {
    (10, 127 + number as u8)
}

fn pod_cidr(number: u32) -> String {
    let (a, b) = pod_prefix(number);
    format!("{a}.{b}.0.0/16")
}

/// The status that the kubelet reports: Ready, no pressure.
pub fn status(number: u32, now: Timestamp) -> Value {
    let now = seconds(now);
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        })
    };
    let room = json!({"cpu": CPU, "memory": MEMORY, "pods": PODS, "ephemeral-storage": "1Ti"});
    json!({
        "capacity": room,
        "allocatable": room,
        "addresses": [{"type": "InternalIP", "address": node_ip(number)}, {"type": "Hostname", "address": node_name(number)}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        ],
        "nodeInfo": {
            "machineID": "", "systemUUID": "", "bootID": "",
            "kernelVersion": "simulated", "osImage": "simulated", "containerRuntimeVersion": "simulated://1",
            "kubeletVersion": "v1.36.2", "kubeProxyVersion": "", "operatingSystem": "linux", "architecture": "amd64",
        },
    })
}

/// The Lease by which the kubelet of the node with this number shows that it lives.
pub fn lease(number: u32, now: Timestamp) -> Value {
    let name = node_name(number);
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": "kube-node-lease"},
        "spec": {
            "holderIdentity": name,
            "leaseDurationSeconds": 40,
            "renewTime": now.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
        },
    })
}

/// A time as `metav1.Time` writes it: whole seconds, UTC.
pub fn seconds(time: Timestamp) -> String {
    let whole = Timestamp::from_second(time.as_second()).expect("a part of a valid time is valid");
    whole.to_string()
}
