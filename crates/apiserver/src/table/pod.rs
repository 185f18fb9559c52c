//! The row of a pod: its status in one word is the longest story of all tables.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::human::{deleting, list, number, since, span, text, text_or, truth};

/// Cells of a pod.
pub(super) fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let seen = Seen::of(pod);
    let mut restarts = seen.restarts.to_string();
    if let (1.., Some(last)) = (seen.restarts, seen.last_restart) {
        restarts = format!("{restarts} ({} ago)", span(now.as_second() - last.as_second()));
    }
    let gates = list(pod, "/spec/readinessGates");
    let holds = |gate: &&Value| condition(pod, text(gate, "/conditionType")) == Some("True");
    let gates = match gates.len() {
        0 => "<none>".to_owned(),
        all => format!("{}/{all}", gates.iter().filter(holds).count()),
    };
    vec![
        text(pod, "/metadata/name").into(),
        format!("{}/{}", seen.ready, seen.containers).into(),
        seen.reason.into(),
        restarts.into(),
        since(pod, "/metadata/creationTimestamp", now).into(),
        text_or(pod, "/status/podIPs/0/ip", "<none>").into(),
        text_or(pod, "/spec/nodeName", "<none>").into(),
        text_or(pod, "/status/nominatedNodeName", "<none>").into(),
        gates.into(),
    ]
}

/// `conditions` of a pod's row: finished pods are marked, so that clients can leave them out.
pub(super) fn row_conditions(pod: &Value) -> Option<Value> {
    let (reason, message) = match text(pod, "/status/phase") {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]))
}

/// Status of the condition of that type.
fn condition<'a>(pod: &'a Value, kind: &str) -> Option<&'a str> {
    list(pod, "/status/conditions").iter().find(|c| text(c, "/type") == kind).map(|c| text(c, "/status"))
}

/// What the containers of a pod say together.
struct Seen {
    reason: String,
    ready: usize,
    containers: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

impl Seen {
    fn of(pod: &Value) -> Self {
        let phase = text(pod, "/status/phase");
        let mut reason = text_or(pod, "/status/reason", phase).to_owned();
        if list(pod, "/status/conditions").iter().any(|c| text(c, "/type") == "PodScheduled" && text(c, "/reason") == "SchedulingGated") {
            reason = "SchedulingGated".to_owned();
        }
        // Init containers that are always restarted are sidecars: they count with the others.
        let sidecars: Vec<&str> =
            list(pod, "/spec/initContainers").iter().filter(|c| text(c, "/restartPolicy") == "Always").map(|c| text(c, "/name")).collect();
        let mut seen =
            Seen { reason, ready: 0, containers: list(pod, "/spec/containers").len() + sidecars.len(), restarts: 0, last_restart: None };
        let (initializing, sidecar_restarts) = seen.init_containers(pod, &sidecars);
        if !initializing || condition(pod, "Initialized") == Some("True") {
            (seen.restarts, seen.last_restart) = sidecar_restarts;
            seen.main_containers(pod);
        }
        if deleting(pod) {
            if text(pod, "/status/reason") == "NodeLost" {
                seen.reason = "Unknown".to_owned();
            } else if !matches!(phase, "Succeeded" | "Failed") {
                seen.reason = "Terminating".to_owned();
            }
        }
        seen
    }

    /// Goes through the init containers up to the first that holds the pod up. Returns whether one does, and the sidecars' restarts.
    fn init_containers(&mut self, pod: &Value, sidecars: &[&str]) -> (bool, (i64, Option<Timestamp>)) {
        let mut of_sidecars = (0, None);
        for (i, status) in list(pod, "/status/initContainerStatuses").iter().enumerate() {
            let sidecar = sidecars.contains(&text(status, "/name"));
            let ended = last_end(status);
            self.restarts += number(status, "/restartCount");
            self.last_restart = self.last_restart.max(ended);
            if sidecar {
                of_sidecars = (of_sidecars.0 + number(status, "/restartCount"), of_sidecars.1.max(ended));
            }
            let terminated = status.pointer("/state/terminated");
            if terminated.is_some_and(|t| number(t, "/exitCode") == 0) {
                continue;
            }
            if sidecar && truth(status, "/started", false) {
                self.ready += usize::from(truth(status, "/ready", false));
                continue;
            }
            let waiting = text(status, "/state/waiting/reason");
            self.reason = match terminated {
                Some(t) => format!("Init:{}", end_reason(t)),
                None if !waiting.is_empty() && waiting != "PodInitializing" => format!("Init:{waiting}"),
                None => format!("Init:{i}/{}", list(pod, "/spec/initContainers").len()),
            };
            return (true, of_sidecars);
        }
        (false, of_sidecars)
    }

    fn main_containers(&mut self, pod: &Value) {
        let (mut running, mut failure) = (false, None);
        for status in list(pod, "/status/containerStatuses").iter().rev() {
            self.restarts += number(status, "/restartCount");
            self.last_restart = self.last_restart.max(last_end(status));
            let waiting = text(status, "/state/waiting/reason");
            if !waiting.is_empty() {
                self.reason = waiting.to_owned();
            } else if let Some(terminated) = status.pointer("/state/terminated") {
                self.reason = end_reason(terminated);
                if number(terminated, "/exitCode") != 0 {
                    failure = Some(self.reason.clone());
                }
            } else if truth(status, "/ready", false) && status.pointer("/state/running").is_some() {
                running = true;
                self.ready += 1;
            }
        }
        // One container ended well while another still runs: the pod runs.
        if self.reason == "Completed" {
            if running && condition(pod, "Ready") == Some("True") {
                self.reason = "Running".to_owned();
            } else if let Some(failure) = failure {
                self.reason = failure;
            } else if running {
                self.reason = "NotReady".to_owned();
            }
        }
    }
}

fn last_end(status: &Value) -> Option<Timestamp> {
    text(status, "/lastState/terminated/finishedAt").parse().ok()
}

fn end_reason(terminated: &Value) -> String {
    match (text(terminated, "/reason"), number(terminated, "/signal")) {
        ("", 0) => format!("ExitCode:{}", number(terminated, "/exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(pod: Value) -> (String, String, String) {
        let cells = cells(&pod, Timestamp::from_second(1_000_000).expect("valid"));
        let cell = |i: usize| cells[i].as_str().unwrap_or_default().to_owned();
        (cell(1), cell(2), cell(3))
    }

    fn s(ready: &str, status: &str, restarts: &str) -> (String, String, String) {
        (ready.into(), status.into(), restarts.into())
    }

    #[test]
    fn a_pods_status_is_the_reason_that_matters_most() {
        let spec = json!({"containers": [{"name": "a"}, {"name": "b"}]});
        let running = json!({"name": "a", "ready": true, "restartCount": 0, "state": {"running": {}}});
        let done = json!({"name": "b", "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
        let failed = json!({"name": "b", "ready": false, "restartCount": 2, "state": {"terminated": {"exitCode": 1, "reason": "Error"}},
            "lastState": {"terminated": {"exitCode": 1, "finishedAt": "1970-01-12T13:45:30Z"}}});
        let pod = |status: Value| json!({"metadata": {"name": "p"}, "spec": spec, "status": status});
        assert_eq!(status(pod(json!({"phase": "Pending"}))), s("0/2", "Pending", "0"));
        let ready = json!([{"type": "Ready", "status": "True"}]);
        assert_eq!(
            status(pod(json!({"phase": "Running", "conditions": ready, "containerStatuses": [running, done]}))),
            s("1/2", "Running", "0")
        );
        assert_eq!(status(pod(json!({"phase": "Running", "containerStatuses": [running, done]}))), s("1/2", "NotReady", "0"));
        assert_eq!(status(pod(json!({"phase": "Running", "containerStatuses": [done, failed]}))), s("0/2", "Error", "2 (70s ago)"));
    }

    #[test]
    fn init_containers_hold_a_pod_up_and_sidecars_count() {
        let pod = json!({
            "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "s", "restartPolicy": "Always"}, {"name": "i"}]},
            "status": {"phase": "Pending", "initContainerStatuses": [
                {"name": "s", "started": true, "ready": true, "restartCount": 1, "state": {"running": {}}},
                {"name": "i", "restartCount": 0, "state": {"waiting": {"reason": "PodInitializing"}}}]},
        });
        assert_eq!(status(pod), s("1/2", "Init:1/2", "1"));
    }

    #[test]
    fn a_deleted_pod_terminates_unless_it_is_finished() {
        let pod = |phase: &str| json!({"metadata": {"name": "p", "deletionTimestamp": "2020-01-01T00:00:00Z"}, "status": {"phase": phase}});
        assert_eq!(status(pod("Running")).1, "Terminating");
        assert_eq!(status(pod("Succeeded")).1, "Succeeded");
    }
}
