//! Rows of admission, flow control and device resources.

use jiff::Timestamp;
use serde_json::Value;

use super::human::{count, deleting, list, number, selector, since, text, text_or};

const CREATED: &str = "/metadata/creationTimestamp";
const NAME: &str = "/metadata/name";

pub(super) fn webhooks(o: &Value, now: Timestamp) -> Vec<Value> {
    vec![text(o, NAME).into(), count(o, "/webhooks").into(), since(o, CREATED, now).into()]
}

pub(super) fn validating_policy(o: &Value, now: Timestamp) -> Vec<Value> {
    policy(o, count(o, "/spec/validations"), now)
}

pub(super) fn mutating_policy(o: &Value, now: Timestamp) -> Vec<Value> {
    policy(o, count(o, "/spec/mutations"), now)
}

fn policy(o: &Value, rules: usize, now: Timestamp) -> Vec<Value> {
    let param = o.pointer("/spec/paramKind").map_or("<unset>".to_owned(), |p| format!("{}/{}", text(p, "/apiVersion"), text(p, "/kind")));
    vec![text(o, NAME).into(), rules.into(), param.into(), since(o, CREATED, now).into()]
}

pub(super) fn policy_binding(o: &Value, now: Timestamp) -> Vec<Value> {
    let param = match o.pointer("/spec/paramRef") {
        Some(p) if !text(p, "/name").is_empty() => format!("{}/{}", text_or(p, "/namespace", "*"), text(p, "/name")),
        Some(p) if p.get("selector").is_some() => selector(p.get("selector")),
        _ => "<unset>".to_owned(),
    };
    vec![text(o, NAME).into(), text(o, "/spec/policyName").into(), param.into(), since(o, CREATED, now).into()]
}

pub(super) fn flow_schema(o: &Value, now: Timestamp) -> Vec<Value> {
    let dangling = list(o, "/status/conditions").iter().find(|c| text(c, "/type") == "Dangling").map_or("?", |c| text(c, "/status"));
    vec![
        text(o, NAME).into(),
        text(o, "/spec/priorityLevelConfiguration/name").into(),
        number(o, "/spec/matchingPrecedence").into(),
        text_or(o, "/spec/distinguisherMethod/type", "<none>").into(),
        since(o, CREATED, now).into(),
        dangling.into(),
    ]
}

pub(super) fn priority_level(o: &Value, now: Timestamp) -> Vec<Value> {
    let or_none = |pointer: &str| o.pointer(pointer).filter(|v| v.is_number()).cloned().unwrap_or_else(|| "<none>".into());
    vec![
        text(o, NAME).into(),
        text(o, "/spec/type").into(),
        or_none("/spec/limited/nominalConcurrencyShares"),
        or_none("/spec/limited/limitResponse/queuing/queues"),
        or_none("/spec/limited/limitResponse/queuing/handSize"),
        or_none("/spec/limited/limitResponse/queuing/queueLengthLimit"),
        since(o, CREATED, now).into(),
    ]
}

pub(super) fn resource_claim(o: &Value, now: Timestamp) -> Vec<Value> {
    let allocated = o.pointer("/status/allocation").is_some_and(Value::is_object);
    let mut states = Vec::new();
    if deleting(o) {
        states.push("deleted");
    }
    match (allocated, deleting(o)) {
        (false, false) => states.push("pending"),
        (true, _) => states.push("allocated"),
        (false, true) => {}
    }
    if allocated && !list(o, "/status/reservedFor").is_empty() {
        states.push("reserved");
    }
    vec![text(o, NAME).into(), states.join(",").into(), since(o, CREATED, now).into()]
}

pub(super) fn resource_slice(o: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        text(o, NAME).into(),
        text(o, "/spec/nodeName").into(),
        text(o, "/spec/driver").into(),
        text(o, "/spec/pool/name").into(),
        since(o, CREATED, now).into(),
    ]
}
