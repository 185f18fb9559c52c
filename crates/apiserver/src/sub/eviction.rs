//! Evicting a pod: a deletion that asks the disruption budgets first.

use http::StatusCode;
use serde_json::{Value, json};

use super::sub_target;
use crate::json;
use crate::meta;
use crate::read::object_response;
use crate::request::Response;
use crate::selector::labels::LabelSelector;
use crate::server::Call;
use crate::status::{ApiError, Cause};
use crate::write::delete::{DeleteOptions, delete_one};
use crate::write::{self, Target, commit, load};

/// POST of an Eviction.
pub(crate) fn evict(call: &mut Call<'_>) -> Result<Response, ApiError> {
    let pods = Target::of(call.server, &call.resource)?;
    let name = call.route.name.unwrap_or("").to_owned();
    let opts = write::write_options(call, "CreateOptions", false)?;
    let body = write::read_object(call.req, "Eviction")?;
    let kind = json::text(&body.doc, "kind");
    if !matches!(kind, "" | "Eviction") {
        return Err(ApiError::bad_request(format!("{kind} in version \"v1\" cannot be handled as a Eviction: unknown conversion")));
    }
    let have = json::text(&body.doc, "metadata.name");
    if have != name {
        return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut options = match body.doc.get("deleteOptions") {
        Some(d) if !d.is_null() => DeleteOptions::from_value(d)?,
        _ => DeleteOptions::default(),
    };
    options.dry_run |= opts.dry_run;
    let server = call.server.clone();
    let _turn = server.my_turn();
    let k = call.key(&name);
    let Some((_, pod)) = load(&server, &pods.stored, &k) else { return Err(ApiError::not_found(&pods.served, &name)) };
    let free = matches!(json::text(&pod, "status.phase"), "Succeeded" | "Failed" | "Pending")
        || pod["metadata"].get("deletionTimestamp").is_some();
    if !free {
        ask_budgets(call, &pod, &name, options.dry_run)?;
    }
    if !options.dry_run {
        options.check_eviction(&pod, &name)?;
        mark_disrupted(call, &pods, &k, pod);
    }
    delete_one(&server, &pods, &k, &name, &options)?;
    let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    object_response(call, StatusCode::CREATED, done)
}

/// The condition by which controllers tell an eviction from other ends.
fn mark_disrupted(call: &Call<'_>, pods: &Target, k: &str, mut pod: Value) {
    let now = meta::seconds(call.server.options.clock.now());
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "lastProbeTime": null, "lastTransitionTime": now,
        "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
    });
    let status = json::object_mut(&mut pod, "status");
    let list = status.entry("conditions").or_insert_with(|| json!([]));
    if let Some(list) = list.as_array_mut() {
        match list.iter().position(|c| c["type"] == "DisruptionTarget") {
            Some(i) if ["status", "reason", "message"].iter().all(|k| list[i][*k] == condition[*k]) => return,
            Some(i) => list[i] = condition,
            None => list.push(condition),
        }
    }
    commit(call.server, &pods.stored, k, pod, false);
}

fn ask_budgets(call: &Call<'_>, pod: &Value, name: &str, dry_run: bool) -> Result<(), ApiError> {
    let budgets = sub_target(call, "policy", "v1", "poddisruptionbudgets")?;
    let (_, items) = call.server.store.list(&budgets.stored.storage_key(), &format!("{}/", call.namespace()));
    let labels = json::object(pod, "metadata.labels");
    let mut found: Vec<(String, Value)> = items
        .iter()
        .filter_map(|s| Some((s.key.to_string(), serde_json::from_slice::<Value>(&s.bytes).ok()?)))
        .filter(|(_, d)| LabelSelector::from_value(d["spec"].get("selector")).matches_map(labels))
        .collect();
    if found.len() > 1 {
        return Err(ApiError::new(
            500,
            "",
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        ));
    }
    let Some((key, mut budget)) = found.pop() else { return Ok(()) };
    let who = json::text(&budget, "metadata.name").to_owned();
    let status = |k: &str| json::int(&budget["status"], k).unwrap_or(0);
    // A pod that is not ready may go when enough others are, or always when the policy says so.
    let ready = json::list(pod, "status.conditions").iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
    if !ready {
        let always = json::text(&budget, "spec.unhealthyPodEvictionPolicy") == "AlwaysAllow";
        let enough = status("currentHealthy") >= status("desiredHealthy") && status("desiredHealthy") > 0;
        if always || enough {
            return Ok(());
        }
    }
    let too_many = |text: String, cause: String| {
        let mut e = ApiError::new(429, "TooManyRequests", text).with_causes(&[Cause::new("DisruptionBudget", "", cause)]);
        e.retry_after = None;
        e
    };
    let refused = "Cannot evict pod as it would violate the pod's disruption budget.";
    let generation = json::int(&budget, "metadata.generation").unwrap_or(0);
    if status("observedGeneration") < generation {
        let mut e = too_many(refused.into(), format!("The disruption budget {who} is still being processed by the server."));
        e.retry_after = Some(10);
        return Err(e);
    }
    let allowed = status("disruptionsAllowed");
    if allowed <= 0 {
        return Err(too_many(refused.into(), why_not(&who, &budget["status"])));
    }
    if !dry_run {
        budget["status"]["disruptionsAllowed"] = (allowed - 1).into();
        let now = meta::seconds(call.server.options.clock.now());
        let (status, reason) = if allowed > 1 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
        let condition = json!({
            "type": "DisruptionAllowed", "status": status, "reason": reason, "message": "",
            "lastTransitionTime": now, "observedGeneration": json::int(&budget, "status.observedGeneration").unwrap_or(0),
        });
        let list = json::object_mut(&mut budget, "status").entry("conditions").or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            match list.iter().position(|c| c["type"] == "DisruptionAllowed") {
                Some(i) if list[i]["status"] == status => {}
                Some(i) => list[i] = condition,
                None => list.push(condition),
            }
        }
        budget["status"]["disruptedPods"][name] = meta::seconds(call.server.options.clock.now()).into();
        commit(call.server, &budgets.stored, &key, budget, false);
    }
    Ok(())
}

/// Why a budget allows no eviction. What it counts is not to be trusted while it cannot be kept up to date.
fn why_not(who: &str, status: &Value) -> String {
    let count = |k: &str| json::int(status, k).unwrap_or(0);
    let (healthy, desired) = (count("currentHealthy"), count("desiredHealthy"));
    let condition = json::list(status, "conditions").iter().find(|c| c["type"] == "DisruptionAllowed");
    let told = condition.filter(|c| c["status"] == "False" && !json::text(c, "message").is_empty());
    match told.map(|c| (json::text(c, "reason"), json::text(c, "message"))) {
        Some(("SyncFailed", message)) => {
            format!("The disruption budget {who} does not allow evicting pods currently because it failed sync: {message}")
        }
        _ if healthy <= desired => format!("The disruption budget {who} needs {desired} healthy pods and has {healthy} currently"),
        Some((reason, message)) => format!("The disruption budget {who} does not allow evicting pods currently ({reason}): {message}"),
        None => format!("The disruption budget {who} does not allow evicting pods currently"),
    }
}
