use evenkeel_plan::{Plan, Report, Write};
use serde_json::Value;

use super::Cluster;

/// A plan in short lines, one list per step: `create 3`, `web-1 4→2`, `web-1 note`, `delete web-1`, `adopt x`, `release x`, `confirm`.
pub fn said(world: &Cluster, plan: &Plan) -> Vec<Vec<String>> {
    plan.steps.iter().map(|step| step.iter().map(|w| line(world, w)).collect()).collect()
}

fn line(world: &Cluster, write: &Write) -> String {
    let name = write.name();
    match write {
        Write::Create { body, .. } => format!("create {}", body["spec"]["replicas"]),
        Write::Replace { body, .. } if write.kind().kind == "ReplicaSet" => {
            let (from, to) = (&world.set(name)["spec"]["replicas"], &body["spec"]["replicas"]);
            if from == to { format!("{name} note") } else { format!("{name} {from}→{to}") }
        }
        Write::Replace { .. } => format!("put {name}"),
        Write::Patch { body, .. } if body["metadata"]["ownerReferences"][0]["$patch"] == "delete" => format!("release {name}"),
        Write::Patch { .. } => format!("adopt {name}"),
        Write::Delete { .. } => format!("delete {name}"),
        Write::ConfirmOwner { .. } => "confirm".to_owned(),
        other => panic!("Deployments have no use for {other:?}"),
    }
}

/// Sizes of all sets after a plan would be carried out, by name; a new one under `+`.
pub fn sizes(world: &Cluster, plan: &Plan) -> Vec<(String, i64)> {
    let mut sizes: Vec<(String, i64)> = world
        .sets()
        .iter()
        .map(|s| (s["metadata"]["name"].as_str().unwrap().to_owned(), s["spec"]["replicas"].as_i64().unwrap()))
        .collect();
    for write in plan.writes() {
        match write {
            Write::Create { body, .. } => sizes.push(("+".to_owned(), body["spec"]["replicas"].as_i64().unwrap())),
            Write::Replace { body, .. } if write.kind().kind == "ReplicaSet" => {
                let place = sizes.iter_mut().find(|(n, _)| **n == **write.name()).unwrap();
                place.1 = body["spec"]["replicas"].as_i64().unwrap();
            }
            _ => {}
        }
    }
    sizes
}

/// The object that the status write of a report sends; fails where there is none.
pub fn status(report: &Report) -> &Value {
    match report.steps.iter().flatten().collect::<Vec<_>>()[..] {
        [Write::Replace { body, subresource: Some("status"), .. }] => body,
        ref other => panic!("not one status write: {other:?}"),
    }
}

/// Conditions of a Deployment as `Type=Status/Reason`, in order.
pub fn conditions(deployment: &Value) -> Vec<String> {
    let list = deployment["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().map(|c| format!("{}={}/{}", text(&c["type"]), text(&c["status"]), text(&c["reason"]))).collect()
}

/// One condition of a Deployment; `Null` where it has none.
pub fn condition<'v>(deployment: &'v Value, kind: &str) -> &'v Value {
    let list = deployment["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().find(|c| c["type"] == kind).unwrap_or(&Value::Null)
}

/// Reason of the condition `Progressing`.
pub fn reason(deployment: &Value) -> &str {
    condition(deployment, "Progressing")["reason"].as_str().unwrap_or("none")
}

/// Events of a report as `Type Reason: message`.
pub fn events(report: &Report) -> Vec<String> {
    report.events.iter().map(|e| format!("{} {}: {}", e.kind.as_str(), e.reason, e.message)).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
