//! How far the Deployments of a demo are.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

/// What is known of the Deployments of a demo and their pods.
#[derive(Debug, Default)]
pub(super) struct Progress {
    deployments: BTreeMap<String, Option<State>>,
    pods: BTreeMap<String, PodState>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct State {
    generation: i64,
    observed: i64,
    wanted: i64,
    replicas: i64,
    updated: i64,
    available: i64,
    failure: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct PodState {
    ready: bool,
    status: String,
}

impl State {
    fn of(object: &Value) -> Self {
        let number = |v: &Value| v.as_i64().unwrap_or(0);
        let (spec, status) = (&object["spec"], &object["status"]);
        let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let failed =
            |c: &&Value| (c["type"] == "ReplicaFailure" && c["status"] == "True") || (c["type"] == "Progressing" && c["status"] == "False");
        Self {
            generation: number(&object["metadata"]["generation"]),
            observed: number(&status["observedGeneration"]),
            wanted: spec["replicas"].as_i64().unwrap_or(1),
            replicas: number(&status["replicas"]),
            updated: number(&status["updatedReplicas"]),
            available: number(&status["availableReplicas"]),
            failure: conditions.iter().find(failed).map(|c| c["message"].as_str().unwrap_or_default().to_owned()),
        }
    }

    /// As `kubectl rollout status` judges it.
    fn complete(&self) -> bool {
        self.observed >= self.generation && self.updated == self.wanted && self.replicas == self.wanted && self.available == self.wanted
    }

    fn missing(&self) -> String {
        if let Some(failure) = &self.failure {
            return failure.clone();
        }
        if self.observed < self.generation {
            return "no manager has looked at it yet".to_owned();
        }
        if self.updated < self.wanted {
            return format!("{} of {} new replicas have been made", self.updated, self.wanted);
        }
        if self.replicas > self.updated {
            return format!("{} old replicas are still there", self.replicas - self.updated);
        }
        format!("{} of {} replicas are available", self.available, self.wanted)
    }
}

impl Progress {
    /// A Deployment that belongs to the demo.
    pub(super) fn expect(&mut self, name: &str) {
        self.deployments.entry(name.to_owned()).or_default();
    }

    /// A Deployment was seen, or is gone.
    pub(super) fn deployment(&mut self, object: &Value, gone: bool) {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        if let Some(state) = self.deployments.get_mut(name) {
            *state = (!gone).then(|| State::of(object));
        }
    }

    /// A pod was seen, or is gone.
    pub(super) fn pod(&mut self, object: &Value, gone: bool) {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if gone {
            self.pods.remove(&name);
            return;
        }
        let status = &object["status"];
        let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let waiting = status["containerStatuses"][0]["state"]["waiting"]["reason"].as_str();
        let text = match waiting {
            _ if !object["metadata"]["deletionTimestamp"].is_null() => "Terminating",
            Some(reason) => reason,
            None => status["phase"].as_str().unwrap_or("Pending"),
        };
        let ready = conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
        self.pods.insert(name, PodState { ready, status: text.to_owned() });
    }

    /// Whether every Deployment is complete.
    pub(super) fn complete(&self) -> bool {
        self.deployments.values().all(|state| state.as_ref().is_some_and(State::complete))
    }

    /// What keeps the Deployments from being complete.
    pub(super) fn missing(&self) -> String {
        let missing = |(name, state): (&String, &Option<State>)| match state {
            Some(state) if state.complete() => None,
            Some(state) => Some(format!("Deployment {name}: {}", state.missing())),
            None => Some(format!("Deployment {name} is not there")),
        };
        self.deployments.iter().filter_map(missing).collect::<Vec<_>>().join("; ")
    }

    /// One line per Deployment, and one about the pods.
    pub(super) fn lines(&self, elapsed: Duration) -> Vec<String> {
        let mut lines: Vec<String> = self
            .deployments
            .iter()
            .map(|(name, state)| {
                let state = state.clone().unwrap_or_default();
                let mark = if state.complete() && state.generation > 0 { "done" } else { "    " };
                let State { wanted, updated, available, .. } = state;
                format!("  {mark}  {name:<16} {available}/{wanted} available, {updated} up to date")
            })
            .collect();
        let ready = self.pods.values().filter(|pod| pod.ready).count();
        let mut by_status: BTreeMap<&str, usize> = BTreeMap::new();
        for pod in self.pods.values().filter(|pod| !pod.ready) {
            *by_status.entry(&pod.status).or_default() += 1;
        }
        let others: String = by_status.iter().map(|(status, count)| format!(", {count} {status}")).collect();
        lines.push(format!("        pods             {ready} ready{others}   ({:.1} s)", elapsed.as_secs_f64()));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment(observed: i64, counts: [i64; 3]) -> Value {
        let [replicas, updated, available] = counts;
        json!({
            "metadata": {"name": "web", "generation": 2},
            "spec": {"replicas": 2},
            "status": {"observedGeneration": observed, "replicas": replicas, "updatedReplicas": updated, "availableReplicas": available},
        })
    }

    #[test]
    fn a_deployment_is_complete_as_rollout_status_judges_it() {
        let mut progress = Progress::default();
        progress.expect("web");
        assert!(!progress.complete());
        for (state, missing) in [
            (deployment(1, [2, 2, 2]), Some("Deployment web: no manager has looked at it yet")),
            (deployment(2, [2, 1, 1]), Some("Deployment web: 1 of 2 new replicas have been made")),
            (deployment(2, [3, 2, 2]), Some("Deployment web: 1 old replicas are still there")),
            (deployment(2, [2, 2, 1]), Some("Deployment web: 1 of 2 replicas are available")),
            (deployment(2, [2, 2, 2]), None),
        ] {
            progress.deployment(&state, false);
            assert_eq!(progress.complete(), missing.is_none());
            assert_eq!(progress.missing(), missing.unwrap_or_default());
        }
    }

    #[test]
    fn objects_of_others_do_not_count() {
        let mut progress = Progress::default();
        progress.expect("web");
        let mut other = deployment(2, [2, 2, 2]);
        other["metadata"]["name"] = json!("other");
        progress.deployment(&other, false);
        assert_eq!(progress.missing(), "Deployment web is not there");
    }
}
