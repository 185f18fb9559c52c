//! RS-4: a world that has come to rest.

use serde_json::Value;

use crate::history::{condition, controller, live, ready, replicas, template, terminal, uid};

/// What keeps the present state from being converged (RS-4, LV-1).
pub fn not_converged(deployments: &[Value], sets: &[Value], pods: &[Value]) -> Vec<String> {
    let mut left = Vec::new();
    let behind = |o: &Value| o["status"]["observedGeneration"] != o["metadata"]["generation"];
    let number = |o: &Value, field: &str| o["status"][field].as_i64().unwrap_or(0);
    for set in sets {
        let mine: Vec<&Value> = pods.iter().filter(|p| controller(p) == Some(uid(set))).collect();
        let (alive, are_ready) =
            (mine.iter().filter(|p| live(p)).count() as i64, mine.iter().filter(|p| live(p) && ready(p)).count() as i64);
        let ending = mine.iter().filter(|p| !live(p) && !terminal(p)).count();
        // A pod without a verdict yet will still change.
        let starting = mine.iter().filter(|p| live(p) && condition(p, "Ready").is_none()).count();
        let status = [number(set, "replicas"), number(set, "readyReplicas"), number(set, "availableReplicas")];
        if alive != replicas(set) || status != [alive, are_ready, are_ready] || behind(set) || ending + starting > 0 {
            left.push(format!(
                "RS-4: set {}: {alive} live of {}, {are_ready} ready, status {status:?}",
                set["metadata"]["name"],
                replicas(set)
            ));
        }
    }
    for deployment in deployments {
        let mine: Vec<&Value> = sets.iter().filter(|s| controller(s) == Some(uid(deployment))).collect();
        let reason = condition(deployment, "Progressing").and_then(|c| c["reason"].as_str()).unwrap_or_default();
        let new: i64 = mine.iter().filter(|s| template(s) == template(deployment)).map(|s| replicas(s)).sum();
        let all: i64 = mine.iter().map(|s| replicas(s)).sum();
        let complete = reason == "NewReplicaSetAvailable"
            && new == replicas(deployment)
            && all == new
            && number(deployment, "availableReplicas") == new;
        if behind(deployment) || !(complete || reason == "ProgressDeadlineExceeded") {
            left.push(format!(
                "Deployment {}: {reason}, new set {new}, all sets {all} of {}",
                deployment["metadata"]["name"],
                replicas(deployment)
            ));
        }
    }
    left
}
