//! Which node a pod goes to: those that fit, and of them the one with the fewest pods of the same controller, then the fewest pods.

use std::collections::BTreeMap;

use serde_json::Value;

/// What a pod asks for: milli-CPUs and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Request {
    /// Thousandths of a CPU.
    pub cpu: u64,
    /// Bytes of memory.
    pub memory: u64,
}

impl Request {
    /// The requests of a pod: the sum of its containers, or its greediest init container.
    pub fn of(pod: &Value) -> Self {
        let list = |key: &str| pod["spec"][key].as_array().map(Vec::as_slice).unwrap_or_default();
        let one = |c: &Value| {
            let quantity = |key: &str| c["resources"]["requests"][key].as_str().and_then(quantity).unwrap_or(0.0);
            Request { cpu: (quantity("cpu") * 1000.0) as u64, memory: quantity("memory") as u64 }
        };
        let sum = list("containers")
            .iter()
            .map(one)
            .fold(Request::default(), |a, b| Request { cpu: a.cpu.saturating_add(b.cpu), memory: a.memory.saturating_add(b.memory) });
        list("initContainers").iter().map(one).fold(sum, |a, b| Request { cpu: a.cpu.max(b.cpu), memory: a.memory.max(b.memory) })
    }
}

/// Reads a quantity (`100m`, `1.5`, `64Mi`).
pub fn quantity(text: &str) -> Option<f64> {
    let at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(at);
    let factor = match suffix {
        "" => 1.0,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|n| n * factor)
}

/// A node as the scheduler sees it.
#[derive(Debug, Clone, Default)]
pub struct NodeView {
    /// The Node object.
    pub node: Value,
    /// What its pods ask for together.
    pub used: Request,
    /// How many pods it has.
    pub pods: usize,
    /// How many pods of each controller it has, by the controller's uid.
    pub of_owner: BTreeMap<String, usize>,
}

/// Picks a node for `pod`.
///
/// # Errors
/// Why none fits, as the scheduler's event says it.
pub fn pick<'a>(pod: &Value, nodes: &'a BTreeMap<String, NodeView>) -> Result<&'a str, String> {
    let request = Request::of(pod);
    let owner = controller(pod);
    let mut reasons: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut best: Option<((usize, usize, &str), &'a str)> = None;
    for (name, view) in nodes {
        match misfit(pod, request, name, view) {
            Some(reason) => *reasons.entry(reason).or_default() += 1,
            None => {
                let mates = owner.and_then(|uid| view.of_owner.get(uid)).copied().unwrap_or(0);
                let rank = (mates, view.pods, name.as_str());
                if best.is_none_or(|(best, _)| rank < best) {
                    best = Some((rank, name));
                }
            }
        }
    }
    best.map(|(_, name)| name).ok_or_else(|| {
        let mut reasons: Vec<String> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        reasons.sort();
        match reasons.is_empty() {
            true => "no nodes available to schedule pods".to_owned(),
            false => format!("0/{} nodes are available: {}.", nodes.len(), reasons.join(", ")),
        }
    })
}

/// Uid of the pod's controller.
pub fn controller(pod: &Value) -> Option<&str> {
    let owners = pod["metadata"]["ownerReferences"].as_array()?;
    owners.iter().find(|o| o["controller"] == true).and_then(|o| o["uid"].as_str())
}

/// Why the node does not fit; `None`: it does.
fn misfit(pod: &Value, request: Request, name: &str, view: &NodeView) -> Option<&'static str> {
    let node = &view.node;
    let tolerations = pod["spec"]["tolerations"].as_array().map(Vec::as_slice).unwrap_or_default();
    let taints = node["spec"]["taints"].as_array().map(Vec::as_slice).unwrap_or_default();
    let repels = |taint: &Value| {
        matches!(taint["effect"].as_str(), Some("NoSchedule" | "NoExecute")) && !tolerations.iter().any(|t| tolerates(t, taint))
    };
    let cordon = serde_json::json!({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"});
    let ready =
        node["status"]["conditions"].as_array().is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"));
    let allocatable = |key: &str| node["status"]["allocatable"][key].as_str().and_then(quantity);
    let labels = &node["metadata"]["labels"];
    if node["spec"]["unschedulable"] == true && repels(&cordon) {
        return Some("node(s) were unschedulable");
    }
    if !ready {
        return Some("node(s) were not ready");
    }
    if taints.iter().any(repels) {
        return Some("node(s) had untolerated taint(s)");
    }
    let selector = pod["spec"]["nodeSelector"].as_object();
    if selector.is_some_and(|wanted| wanted.iter().any(|(key, value)| labels[key] != *value)) || !affine(pod, name, labels) {
        return Some("node(s) didn't match Pod's node affinity/selector");
    }
    if allocatable("pods").is_some_and(|most| view.pods as f64 >= most) {
        return Some("Too many pods");
    }
    if allocatable("cpu").is_some_and(|most| (view.used.cpu + request.cpu) as f64 > most * 1000.0) {
        return Some("Insufficient cpu");
    }
    if allocatable("memory").is_some_and(|most| (view.used.memory + request.memory) as f64 > most) {
        return Some("Insufficient memory");
    }
    None
}

fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let text = |v: &Value, key: &str| v[key].as_str().unwrap_or_default().to_owned();
    let effect = text(toleration, "effect");
    let key = text(toleration, "key");
    (effect.is_empty() || effect == text(taint, "effect"))
        && (key.is_empty() || key == text(taint, "key"))
        && (toleration["operator"] == "Exists" || (!key.is_empty() && text(toleration, "value") == text(taint, "value")))
}

/// Required node affinity: one of the terms must hold, all of its expressions with it.
fn affine(pod: &Value, name: &str, labels: &Value) -> bool {
    let required = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let Some(terms) = required["nodeSelectorTerms"].as_array() else { return true };
    let list = |term: &Value, key: &str| term[key].as_array().cloned().unwrap_or_default();
    terms.iter().any(|term| {
        let (by_label, by_field) = (list(term, "matchExpressions"), list(term, "matchFields"));
        !(by_label.is_empty() && by_field.is_empty())
            && by_label.iter().all(|e| expression_holds(e, labels[e["key"].as_str().unwrap_or_default()].as_str()))
            && by_field.iter().all(|e| e["key"] == "metadata.name" && expression_holds(e, Some(name)))
    })
}

fn expression_holds(expression: &Value, value: Option<&str>) -> bool {
    let values = expression["values"].as_array().map(Vec::as_slice).unwrap_or_default();
    let listed = value.is_some_and(|value| values.iter().any(|v| v == value));
    let number = |v: Option<&str>| v.and_then(|v| v.parse::<i64>().ok());
    let bound = number(values.first().and_then(Value::as_str));
    match expression["operator"].as_str() {
        Some("In") => listed,
        Some("NotIn") => !listed,
        Some("Exists") => value.is_some(),
        Some("DoesNotExist") => value.is_none(),
        Some("Gt") => matches!((number(value), bound), (Some(v), Some(b)) if v > b),
        Some("Lt") => matches!((number(value), bound), (Some(v), Some(b)) if v < b),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn nodes(change: impl Fn(u32, &mut NodeView)) -> BTreeMap<String, NodeView> {
        (1..=3)
            .map(|n| {
                let mut view = NodeView { node: super::super::machines::node(n, jiff::Timestamp::UNIX_EPOCH), ..NodeView::default() };
                change(n, &mut view);
                (super::super::machines::node_name(n), view)
            })
            .collect()
    }

    fn pod(spec: Value) -> Value {
        json!({"metadata": {"ownerReferences": [{"uid": "set", "controller": true}]}, "spec": spec})
    }

    #[test]
    fn pods_of_one_controller_are_spread_before_nodes_are_evened_out() {
        let nodes = nodes(|n, view| {
            view.pods = 10 * n as usize;
            if n == 1 {
                view.of_owner.insert("set".into(), 1);
            }
        });
        assert_eq!(pick(&pod(json!({})), &nodes), Ok("node-2"));
    }

    #[test]
    fn cordoned_tainted_and_unready_nodes_are_left_out_and_the_reason_names_them() {
        let nodes = nodes(|n, view| match n {
            1 => view.node["spec"]["unschedulable"] = json!(true),
            2 => view.node["spec"]["taints"] = json!([{"key": "a", "value": "b", "effect": "NoSchedule"}]),
            _ => view.node["status"]["conditions"] = json!([]),
        });
        let why = "0/3 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were not ready, 1 node(s) were unschedulable.";
        assert_eq!(pick(&pod(json!({})), &nodes), Err(why.to_owned()));
        let tolerant = pod(json!({"tolerations": [{"key": "a", "operator": "Equal", "value": "b"}]}));
        assert_eq!(pick(&tolerant, &nodes), Ok("node-2"));
        let cordon = pod(json!({"tolerations": [{"operator": "Exists"}]}));
        assert_eq!(pick(&cordon, &nodes), Ok("node-1"));
    }

    #[test]
    fn selectors_and_affinity_narrow_the_choice() {
        let nodes = nodes(|_, _| {});
        assert_eq!(pick(&pod(json!({"nodeSelector": {"kubernetes.io/hostname": "node-3"}})), &nodes), Ok("node-3"));
        let field = json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-2"]}]}]}}}});
        assert_eq!(pick(&pod(field), &nodes), Ok("node-2"));
        assert!(pick(&pod(json!({"nodeSelector": {"disk": "ssd"}})), &nodes).is_err());
    }

    #[test]
    fn requests_are_counted_against_what_a_node_can_give() {
        let nodes = nodes(|n, view| {
            view.node["status"]["allocatable"] = json!({"cpu": "2", "memory": "1Gi", "pods": "5"});
            view.used = Request { cpu: 1500, memory: 0 };
            view.pods = if n == 3 { 5 } else { 1 };
        });
        let asking = |cpu: &str| pod(json!({"containers": [{"resources": {"requests": {"cpu": cpu, "memory": "64Mi"}}}]}));
        assert_eq!(pick(&asking("500m"), &nodes), Ok("node-1"));
        assert_eq!(pick(&asking("501m"), &nodes), Err("0/3 nodes are available: 1 Too many pods, 2 Insufficient cpu.".to_owned()));
    }
}
