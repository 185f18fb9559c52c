//! Simulated nodes for a real API server: pods are bound, become Ready and go, as the nodes of the local control plane do it.
//!
//! It asks again and again instead of watching: a story has a few dozen pods, and what is on trial here is somebody else.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::recorded::Broken;
use crate::transport::{Https, NoAnswer, Transport, Trust};

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(100);
/// Nodes that pods are bound to in turn.
const NODES: usize = 3;

/// Starts them with what a kubeconfig says.
pub(super) fn start(kubeconfig: &Path) -> Result<JoinHandle<()>, Broken> {
    let wrong = |what: &dyn std::fmt::Display| Broken(format!("{}: {what}", kubeconfig.display()));
    let text = std::fs::read_to_string(kubeconfig).map_err(|error| wrong(&error))?;
    let config: Value = serde_saphyr::from_str(&text).map_err(|error| wrong(&error))?;
    let field = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| wrong(&"not as written here"));
    let server = field(&config["clusters"][0]["cluster"]["server"])?;
    let token = field(&config["users"][0]["user"]["token"])?;
    let ca = base64::engine::general_purpose::STANDARD.decode(field(&config["clusters"][0]["cluster"]["certificate-authority-data"])?);
    let pem = String::from_utf8(ca.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
    let wire = Https::new(&server, &token, &Trust::Authority(pem)).map_err(|error| wrong(&error))?;
    Ok(tokio::spawn(run(wire)))
}

async fn run(mut wire: Https) {
    for number in 1..=NODES {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("node-{number}")}});
        _ = send(&mut wire, "POST", "/api/v1/nodes", &node).await;
    }
    let mut bound = 0;
    loop {
        // A look that fails is followed by the next one.
        _ = look(&mut wire, &mut bound).await;
        sleep(PERIOD).await;
    }
}

async fn look(wire: &mut Https, bound: &mut usize) -> Result<(), NoAnswer> {
    let list = wire.call("GET", "/api/v1/pods", &[], None).await?.value();
    for pod in list["items"].as_array().into_iter().flatten() {
        let (meta, status) = (&pod["metadata"], &pod["status"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let path = format!("/api/v1/namespaces/{}/pods/{}", text(&meta["namespace"]), text(&meta["name"]));
        let images: Vec<String> = pod["spec"]["containers"].as_array().into_iter().flatten().map(|c| text(&c["image"])).collect();
        if !meta["deletionTimestamp"].is_null() {
            if pod["spec"]["nodeName"].is_string() {
                let gone =
                    json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}});
                send(wire, "DELETE", &path, &gone).await?;
            }
        } else if pod["spec"]["nodeName"].is_null() {
            *bound += 1;
            let target = json!({"apiVersion": "v1", "kind": "Node", "name": format!("node-{}", *bound % NODES + 1)});
            let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": meta["name"]}, "target": target});
            send(wire, "POST", &format!("{path}/binding"), &binding).await?;
        } else if status["phase"] == "Pending" && !images.iter().any(|image| image.starts_with("registry.invalid/")) {
            let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now});
            let conditions: Vec<Value> = ["Initialized", "Ready", "ContainersReady", "PodScheduled"].map(condition).into();
            send(
                wire,
                "PATCH",
                &format!("{path}/status"),
                &json!({"status": {"phase": "Running", "startTime": now, "conditions": conditions}}),
            )
            .await?;
        }
    }
    Ok(())
}

async fn send(wire: &mut Https, method: &str, path: &str, body: &Value) -> Result<(), NoAnswer> {
    let headers = match method {
        "PATCH" => vec![("Content-Type".to_owned(), Some("application/strategic-merge-patch+json".to_owned()))],
        _ => Vec::new(),
    };
    wire.call(method, path, &headers, Some(Bytes::from(body.to_string()))).await.map(|_| ())
}
