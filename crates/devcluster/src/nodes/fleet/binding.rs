//! The scheduler's side of the fleet: which nodes there are, and binding pods to them.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tracing::{debug, warn};

use super::{Fleet, Waiting, count_in, text};
use crate::api::{Change, PatchType};
use crate::nodes::machines;
use crate::nodes::reporter::{About, Source};
use crate::nodes::scheduler::{NodeView, pick};

impl Fleet {
    pub(super) fn register(&self) {
        for number in 1..=self.options.count {
            let now = self.clock.now();
            let node = machines::node(number, now);
            if let Err(error) = self.kubelet.create("/api/v1/nodes", &node) {
                debug!(%error, number, "a node was there already, or was refused");
            }
            let path = format!("/api/v1/nodes/{}/status", machines::node_name(number));
            if let Err(error) = self.kubelet.patch(&path, PatchType::Strategic, &json!({"status": machines::status(number, now)})) {
                warn!(%error, number, "a node's status was refused");
            }
            self.lift_not_ready(&machines::node_name(number));
            self.renew(number);
        }
    }

    /// Renews the Leases of all nodes that are still registered: without them, a node lifecycle loop would take the nodes for dead.
    pub(super) fn heartbeat(&self) {
        (1..=self.options.count).filter(|n| self.nodes.contains_key(&machines::node_name(*n))).for_each(|n| self.renew(n));
    }

    fn renew(&self, number: u32) {
        let lease = machines::lease(number, self.clock.now());
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{}", machines::node_name(number));
        if let Err(error) = self.kubelet.patch(&format!("{path}?fieldManager=kubelet&force=true"), PatchType::Apply, &lease) {
            debug!(%error, number, "a node's lease was refused");
        }
    }

    /// A server taints new nodes as not ready; where a node lifecycle loop runs, it takes the taint away once the node is Ready.
    fn lift_not_ready(&self, name: &str) {
        let path = format!("/api/v1/nodes/{name}");
        let Ok(node) = self.scheduler.get(&path) else { return };
        let taints = node["spec"]["taints"].as_array().map(Vec::as_slice).unwrap_or_default();
        let (lifted, kept): (Vec<&Value>, Vec<&Value>) = taints.iter().partition(|taint| taint["key"] == "node.kubernetes.io/not-ready");
        if lifted.is_empty() {
            return;
        }
        let kept = if kept.is_empty() { Value::Null } else { json!(kept) };
        let patch = json!({"metadata": {"resourceVersion": node["metadata"]["resourceVersion"]}, "spec": {"taints": kept}});
        if let Err(error) = self.scheduler.patch(&path, PatchType::Strategic, &patch) {
            warn!(%error, name, "a node's taint could not be lifted");
        }
    }

    pub(super) fn nodes_changed(&mut self, change: Change) {
        match change {
            Change::All(nodes) => {
                let names: BTreeSet<String> = nodes.iter().map(|node| text(&node["metadata"]["name"])).collect();
                self.nodes.retain(|name, _| names.contains(name));
                nodes.into_iter().for_each(|node| self.node_set(node));
            }
            Change::Set(node) => self.node_set(node),
            Change::Gone(node) => {
                self.nodes.remove(&text(&node["metadata"]["name"]));
            }
        }
        self.schedule_waiting();
    }

    fn node_set(&mut self, node: Value) {
        let name = text(&node["metadata"]["name"]);
        if let Some(view) = self.nodes.get_mut(&name) {
            view.node = node;
            return;
        }
        let mut view = NodeView { node, ..NodeView::default() };
        for pod in self.placed.values().filter(|pod| pod.node == name) {
            count_in(&mut view, pod.request, pod.owner.as_deref());
        }
        self.nodes.insert(name, view);
    }

    pub(super) fn schedule_waiting(&mut self) {
        for (uid, waiting) in std::mem::take(&mut self.waiting) {
            self.schedule(uid, waiting);
        }
    }

    pub(super) fn schedule(&mut self, uid: String, mut waiting: Waiting) {
        let pod = &waiting.pod;
        let (namespace, name) = (text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]));
        let node = match pick(pod, &self.nodes) {
            Ok(node) => node.to_owned(),
            Err(reason) => {
                // While no node is known yet, the fleet is still starting: nothing to complain about.
                if waiting.reason.as_deref() != Some(&reason) && !self.nodes.is_empty() {
                    self.unschedulable(&uid, &namespace, &name, &reason);
                    waiting.reason = Some(reason);
                }
                self.waiting.insert(uid, waiting);
                return;
            }
        };
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/binding");
        let target = json!({"apiVersion": "v1", "kind": "Node", "name": node});
        let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name, "namespace": namespace, "uid": uid}, "target": target});
        match self.scheduler.create(&path, &binding) {
            Ok(_) => {
                self.place(&uid, &node, &waiting.pod);
                let about = About { namespace: &namespace, name: &name, uid: &uid };
                let message = format!("Successfully assigned {namespace}/{name} to {node}");
                self.reporter.event(Source::Scheduler, about, "Normal", "Scheduled", &message);
            }
            // Gone, bound by somebody else, or another pod by now: the watch is bringing it.
            Err(error) if error.not_found() || error.reason == "Conflict" => debug!(%error, namespace, name, "binding refused"),
            Err(error) => {
                warn!(%error, namespace, name, "binding failed");
                self.waiting.insert(uid, waiting);
            }
        }
    }

    fn unschedulable(&mut self, uid: &str, namespace: &str, name: &str, reason: &str) {
        let condition = json!({
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": reason,
            "lastProbeTime": null, "lastTransitionTime": machines::seconds(self.clock.now()),
        });
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/status");
        let patch = json!({"metadata": {"uid": uid}, "status": {"conditions": [condition]}});
        if let Err(error) = self.scheduler.patch(&path, PatchType::Strategic, &patch) {
            debug!(%error, namespace, name, "a pod's status was refused");
        }
        self.reporter.event(Source::Scheduler, About { namespace, name, uid }, "Warning", "FailedScheduling", reason);
    }
}
