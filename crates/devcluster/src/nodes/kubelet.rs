//! What a kubelet reports of a pod: the status at each stage of its life. Plain functions; [`super::fleet`] decides when.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::machines::seconds;

/// What a kubelet must remember of a pod's document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    /// Names and images of its containers.
    pub containers: Vec<(String, String)>,
    /// Names and images of its init containers.
    pub init_containers: Vec<(String, String)>,
    /// Names and images of its ephemeral containers: `kubectl debug` adds them while it runs.
    pub ephemeral_containers: Vec<(String, String)>,
    /// Condition types of its readiness gates.
    pub gates: Vec<String>,
    /// Whether a container that ends with this code (0 or another) is run again.
    pub restarts: Restarts,
}

/// `restartPolicy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Restarts {
    /// Whatever the exit code.
    #[default]
    Always,
    /// When the exit code is not 0.
    OnFailure,
    /// Never.
    Never,
}

impl Restarts {
    /// Whether a container that ended with `code` is run again.
    pub fn again(self, code: u8) -> bool {
        match self {
            Restarts::Always => true,
            Restarts::OnFailure => code != 0,
            Restarts::Never => false,
        }
    }
}

impl Shape {
    /// Reads the shape of a pod.
    pub fn of(pod: &Value) -> Self {
        let spec = &pod["spec"];
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let containers = |key: &str| {
            let list = spec[key].as_array().map(Vec::as_slice).unwrap_or_default();
            list.iter().map(|c| (text(&c["name"]), text(&c["image"]))).collect()
        };
        let gates = spec["readinessGates"].as_array().map(Vec::as_slice).unwrap_or_default();
        Self {
            containers: containers("containers"),
            init_containers: containers("initContainers"),
            ephemeral_containers: containers("ephemeralContainers"),
            gates: gates.iter().map(|g| text(&g["conditionType"])).collect(),
            restarts: match spec["restartPolicy"].as_str() {
                Some("Never") => Restarts::Never,
                Some("OnFailure") => Restarts::OnFailure,
                _ => Restarts::Always,
            },
        }
    }

    /// Whether all readiness gates of the pod hold.
    pub fn gates_hold(&self, pod: &Value) -> bool {
        let conditions = pod["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        self.gates.iter().all(|gate| conditions.iter().any(|c| c["type"] == gate.as_str() && c["status"] == "True"))
    }
}

/// A stage of a pod's life on its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Its image cannot be pulled.
    PullBackOff,
    /// Its containers run, Ready or not yet.
    Running {
        /// Whether the readiness probes pass.
        ready: bool,
    },
    /// Its containers ended and wait to be run again.
    CrashBackOff {
        /// Exit code.
        code: u8,
    },
    /// Its containers ended for good.
    Ended {
        /// Exit code.
        code: u8,
    },
}

/// What else a status says.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// Uid of the pod: the patch holds for no other.
    pub uid: &'a str,
    /// `metadata.generation` that the kubelet saw.
    pub generation: i64,
    /// Address of the pod; empty before it has one.
    pub ip: &'a str,
    /// Address of its node.
    pub node_ip: &'a str,
    /// When the kubelet first saw it.
    pub seen_at: Timestamp,
    /// When its containers started last.
    pub started_at: Timestamp,
    /// How often they were run again.
    pub restart_count: u32,
    /// How they ended before they were run again.
    pub last_code: Option<u8>,
    /// Whether all readiness gates hold.
    pub gates_hold: bool,
}

/// The strategic merge patch of `pods/NAME/status` for a stage.
pub fn status_patch(shape: &Shape, stage: Stage, facts: &Facts<'_>, now: Timestamp) -> Value {
    let (phase, done, ready) = match stage {
        Stage::PullBackOff => ("Pending", None, false),
        Stage::Running { ready } => ("Running", None, ready),
        Stage::CrashBackOff { .. } => ("Running", None, false),
        Stage::Ended { code: 0 } => ("Succeeded", Some("PodCompleted"), false),
        Stage::Ended { .. } => ("Failed", Some("PodFailed"), false),
    };
    let names: Vec<&str> = shape.containers.iter().map(|(name, _)| name.as_str()).collect();
    let not_ready = || (done.unwrap_or("ContainersNotReady"), format!("containers with unready status: [{}]", names.join(" ")));
    let condition = |kind: &str, holds: bool, why: Option<(&str, String)>| {
        let mut c = Map::new();
        c.insert("type".into(), kind.into());
        c.insert("status".into(), if holds { "True" } else { "False" }.into());
        c.insert("observedGeneration".into(), facts.generation.into());
        c.insert("lastProbeTime".into(), Value::Null);
        c.insert("lastTransitionTime".into(), seconds(now).into());
        // A patch must take away what an earlier status said.
        let (reason, message) = why.map_or((Value::Null, Value::Null), |(reason, message)| (reason.into(), message.into()));
        c.insert("reason".into(), reason);
        c.insert("message".into(), if done.is_some() { Value::Null } else { message });
        Value::Object(c)
    };
    let gates = facts.gates_hold;
    let conditions = vec![
        condition("PodReadyToStartContainers", !facts.ip.is_empty() && done.is_none(), None),
        condition("Initialized", true, done.map(|reason| (reason, String::new()))),
        condition("ContainersReady", ready, (!ready).then(not_ready)),
        condition(
            "Ready",
            ready && gates,
            match (ready, gates) {
                (true, true) => None,
                (true, false) => Some(("ReadinessGatesNotReady", "the status of a readiness gate is not \"True\"".to_owned())),
                (false, _) => Some(not_ready()),
            },
        ),
    ];
    let mut status = json!({
        "observedGeneration": facts.generation,
        "phase": phase,
        "conditions": conditions,
        "hostIP": facts.node_ip,
        "hostIPs": [{"ip": facts.node_ip}],
        "startTime": seconds(facts.seen_at),
        "containerStatuses": containers(&shape.containers, stage, facts, now),
    });
    if !facts.ip.is_empty() {
        status["podIP"] = facts.ip.into();
        status["podIPs"] = json!([{"ip": facts.ip}]);
    }
    if !shape.init_containers.is_empty() && stage != Stage::PullBackOff {
        let finished = Facts { last_code: None, restart_count: 0, ..facts.clone() };
        status["initContainerStatuses"] = containers(&shape.init_containers, Stage::Ended { code: 0 }, &finished, facts.started_at);
    }
    if !shape.ephemeral_containers.is_empty() && stage != Stage::PullBackOff {
        let own = Facts { last_code: None, restart_count: 0, ..facts.clone() };
        // They run beside the others until the pod ends, and are never ready.
        let stage = if done.is_some() { stage } else { Stage::Running { ready: false } };
        status["ephemeralContainerStatuses"] = containers(&shape.ephemeral_containers, stage, &own, now);
    }
    json!({"metadata": {"uid": facts.uid}, "status": status})
}

/// `containerStatuses`, in order.
fn containers(list: &[(String, String)], stage: Stage, facts: &Facts<'_>, now: Timestamp) -> Value {
    let of_one = |(name, image): &(String, String)| {
        let id = format!("simulated://{}-{name}-{}", facts.uid, facts.restart_count);
        let terminated = |code: u8| {
            json!({"terminated": {
                "exitCode": code,
                "reason": if code == 0 { "Completed" } else { "Error" },
                "startedAt": seconds(facts.started_at),
                "finishedAt": seconds(now),
                "containerID": id,
            }})
        };
        let last = || facts.last_code.map_or(json!({}), terminated);
        let (state, last, ready, started) = match stage {
            Stage::PullBackOff => {
                let message = format!("Back-off pulling image \"{image}\"");
                (json!({"waiting": {"reason": "ImagePullBackOff", "message": message}}), json!({}), false, false)
            }
            Stage::Running { ready } => (json!({"running": {"startedAt": seconds(facts.started_at)}}), last(), ready, true),
            Stage::CrashBackOff { code } => {
                let waiting = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off restarting failed container"}});
                (waiting, terminated(code), false, false)
            }
            Stage::Ended { code } => (terminated(code), last(), false, false),
        };
        let pulled = stage != Stage::PullBackOff;
        let mut status = json!({
            "name": name, "image": image, "imageID": if pulled { format!("simulated://{image}") } else { String::new() },
            "state": state, "lastState": last, "ready": ready, "started": started, "restartCount": facts.restart_count,
        });
        if pulled {
            status["containerID"] = id.into();
        }
        status
    };
    list.iter().map(of_one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(gates_hold: bool) -> Facts<'static> {
        Facts {
            uid: "u1",
            generation: 1,
            ip: "10.128.0.1",
            node_ip: "192.168.0.11",
            seen_at: Timestamp::UNIX_EPOCH,
            started_at: Timestamp::UNIX_EPOCH,
            restart_count: 0,
            last_code: None,
            gates_hold,
        }
    }

    fn shape() -> Shape {
        Shape::of(&json!({"spec": {"containers": [{"name": "main", "image": "web:1"}], "restartPolicy": "Never"}}))
    }

    fn condition(patch: &Value, kind: &str) -> (String, String) {
        let all = patch["status"]["conditions"].as_array().expect("a list");
        let c = all.iter().find(|c| c["type"] == kind).expect("there");
        (c["status"].as_str().unwrap_or_default().into(), c["reason"].as_str().unwrap_or_default().into())
    }

    #[test]
    fn a_running_pod_is_ready_only_with_its_readiness_gates() {
        let patch = status_patch(&shape(), Stage::Running { ready: true }, &facts(false), Timestamp::UNIX_EPOCH);
        assert_eq!(condition(&patch, "ContainersReady"), ("True".into(), String::new()));
        assert_eq!(condition(&patch, "Ready"), ("False".into(), "ReadinessGatesNotReady".into()));
        let patch = status_patch(&shape(), Stage::Running { ready: true }, &facts(true), Timestamp::UNIX_EPOCH);
        assert_eq!(condition(&patch, "Ready"), ("True".into(), String::new()));
        assert_eq!(patch["status"]["containerStatuses"][0]["ready"], true);
        assert_eq!(patch["metadata"]["uid"], "u1");
    }

    #[test]
    fn an_image_that_cannot_be_pulled_keeps_the_pod_pending() {
        let patch = status_patch(&shape(), Stage::PullBackOff, &Facts { ip: "", ..facts(true) }, Timestamp::UNIX_EPOCH);
        assert_eq!(patch["status"]["phase"], "Pending");
        assert_eq!(patch["status"]["containerStatuses"][0]["state"]["waiting"]["reason"], "ImagePullBackOff");
        assert_eq!(condition(&patch, "Ready"), ("False".into(), "ContainersNotReady".into()));
        assert!(patch["status"].get("podIP").is_none());
    }

    #[test]
    fn a_pod_that_ended_has_failed_unless_its_code_is_0() {
        let patch = status_patch(&shape(), Stage::Ended { code: 0 }, &facts(true), Timestamp::UNIX_EPOCH);
        assert_eq!((patch["status"]["phase"].as_str(), condition(&patch, "Ready").1.as_str()), (Some("Succeeded"), "PodCompleted"));
        let patch = status_patch(&shape(), Stage::Ended { code: 3 }, &facts(true), Timestamp::UNIX_EPOCH);
        assert_eq!((patch["status"]["phase"].as_str(), condition(&patch, "Ready").1.as_str()), (Some("Failed"), "PodFailed"));
        assert_eq!(patch["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 3);
    }

    #[test]
    fn an_ephemeral_container_runs_beside_the_others() {
        let pod = json!({"spec": {"containers": [{"name": "main", "image": "web:1"}], "ephemeralContainers": [{"name": "look", "image": "tools:1"}]}});
        let patch = status_patch(&Shape::of(&pod), Stage::Running { ready: true }, &facts(true), Timestamp::UNIX_EPOCH);
        let status = &patch["status"]["ephemeralContainerStatuses"][0];
        assert_eq!((status["name"].as_str(), status["state"]["running"].is_object()), (Some("look"), true));
    }

    #[test]
    fn restart_policies_say_what_is_run_again() {
        assert!(Restarts::Always.again(0) && Restarts::OnFailure.again(1));
        assert!(!Restarts::OnFailure.again(0) && !Restarts::Never.again(1));
    }
}
