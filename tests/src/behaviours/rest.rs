//! Whether silence is rest: on a busy machine a manager may only have paused.

use serde_json::Value;

use super::conditions::has;
use super::picture::State;

/// Whether what is written about workloads does not fit what is there: somebody has yet to act, or cannot.
pub fn lagging(deployments: &[Value], sets: &[&Value], pods: &[Value]) -> bool {
    let ready = serde_json::json!({"type": "Ready", "status": "True"});
    let behind = |item: &Value| item["metadata"]["generation"].as_i64().unwrap_or(0) > told(item, "observedGeneration");
    if deployments.iter().any(behind) || sets.iter().any(|set| behind(set)) {
        return true;
    }
    let set_lags = |set: &&Value| {
        let ended = |pod: &&Value| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        let active: Vec<&Value> =
            pods.iter().filter(|pod| owns(set, pod) && pod["metadata"]["deletionTimestamp"].is_null() && !ended(pod)).collect();
        let ready = active.iter().filter(|pod| has(pod["status"].get("conditions"), &ready)).count() as i64;
        let there = active.len() as i64;
        let wanted = set["spec"].get("replicas").map_or(Some(1), Value::as_i64);
        wanted != Some(there) || told(set, "replicas") != there || told(set, "readyReplicas") != ready
    };
    if sets.iter().any(set_lags) {
        return true;
    }
    deployments.iter().any(|deployment| {
        let own: Vec<&&Value> = sets.iter().filter(|set| owns(deployment, set)).collect();
        ["replicas", "readyReplicas", "availableReplicas", "terminatingReplicas"]
            .iter()
            .any(|key| told(deployment, key) != own.iter().map(|set| told(set, key)).sum::<i64>())
    })
}

fn told(item: &Value, key: &str) -> i64 {
    item["status"][key].as_i64().unwrap_or(0)
}

fn owns(owner: &Value, item: &Value) -> bool {
    let references = item["metadata"]["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
    references.iter().any(|reference| reference["uid"] == owner["metadata"]["uid"] && reference["controller"] == true)
}

/// Whether a look at these kinds is about workloads at all.
pub fn about_workloads(state: &State) -> bool {
    ["deployments", "replicasets", "replicationcontrollers"].iter().any(|kind| state.contains_key(*kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_set_lags_until_its_status_tells_of_its_pods() {
        let set =
            |replicas: u64, told: u64| json!({"metadata": {"uid": "s"}, "spec": {"replicas": replicas}, "status": {"replicas": told}});
        let pod = json!({"metadata": {"ownerReferences": [{"uid": "s", "controller": true}]}, "status": {"phase": "Pending"}});
        assert!(!lagging(&[], &[&set(1, 1)], std::slice::from_ref(&pod)));
        assert!(lagging(&[], &[&set(1, 0)], std::slice::from_ref(&pod)));
        assert!(lagging(&[], &[&set(2, 1)], &[pod]));
    }

    #[test]
    fn a_deployment_lags_until_it_tells_what_its_sets_tell() {
        let set = json!({"metadata": {"ownerReferences": [{"uid": "d", "controller": true}]}, "spec": {"replicas": 0}, "status": {"terminatingReplicas": 1}});
        let deployment = |told: u64| json!({"metadata": {"uid": "d"}, "status": {"terminatingReplicas": told}});
        assert!(lagging(&[deployment(0)], &[&set], &[]));
        assert!(!lagging(&[deployment(1)], &[&set], &[]));
    }
}
