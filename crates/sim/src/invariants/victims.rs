//! RS-3: who goes is whom the ranking of workloads 3.7 names, worked out once more from the objects as they were when the pass looked.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use evenkeel_plan::Write;
use jiff::Timestamp;
use serde_json::Value;

use crate::history::{History, Pass, condition, controller, live, ready, replicas, uid};

pub(super) fn check(history: &History) -> Vec<String> {
    history.passes.iter().filter_map(|pass| judge(history, pass).map(|why| fail(pass, &why))).collect()
}

fn fail(pass: &Pass, why: &str) -> String {
    format!("{why} (link {}, {} at {} ms, saw {:?})", pass.link, pass.key, pass.began, pass.seen)
}

/// What is wrong with the deletes of a pass (RS-2: how many; RS-3: which).
fn judge(history: &History, pass: &Pass) -> Option<String> {
    let doomed: Vec<String> = pass.plan.writes().filter(|w| matches!(w, Write::Delete { .. })).map(|w| w.key().to_string()).collect();
    if pass.controller != "replicaset-controller" || doomed.is_empty() {
        return None;
    }
    let sets = history.as_of("replicasets", pass.saw("replicasets"));
    let pods = history.as_of("pods", pass.saw("pods"));
    let Some(set) = sets.get(pass.key.as_str()) else { return Some("RS-2: pods of a set that is gone are deleted".into()) };
    let mine: BTreeMap<&str, &Arc<Value>> =
        pods.iter().filter(|(_, p)| live(p) && controller(p) == Some(uid(set)) && selects(set, p)).map(|(k, p)| (*k, *p)).collect();
    let surplus = (mine.len() as i64 - replicas(set)).max(0);
    if doomed.len() as i64 > surplus {
        return Some(format!("RS-2: {} pods are to go where {surplus} are too many", doomed.len()));
    }
    let related = related(set, &sets, &pods);
    for victim in &doomed {
        let Some(pod) = mine.get(victim.as_str()) else { return Some(format!("RS-2: {victim} is to go and is not the set's")) };
        let better = mine
            .iter()
            .find(|(key, other)| !doomed.iter().any(|d| d == *key) && order(other, pod, &related, pass.now) == Some(Ordering::Less));
        if let Some((better, _)) = better {
            return Some(format!("RS-3: {victim} is to go and {better}, which is worth less, to stay"));
        }
    }
    None
}

/// Whether a set's plain labels select a pod; the sim has no expressions.
fn selects(set: &Value, pod: &Value) -> bool {
    let wanted = set["spec"]["selector"]["matchLabels"].as_object();
    wanted.is_some_and(|labels| labels.iter().all(|(k, v)| pod["metadata"]["labels"][k.as_str()] == *v))
}

/// Active pods per node that the selectors of all sets with the same controller match (rule 5).
fn related(set: &Value, sets: &BTreeMap<&str, &Arc<Value>>, pods: &BTreeMap<&str, &Arc<Value>>) -> BTreeMap<String, u32> {
    let mut on_node = BTreeMap::new();
    let Some(owner) = controller(set) else { return on_node };
    let siblings: Vec<_> = sets.values().filter(|s| controller(s) == Some(owner)).collect();
    for pod in pods.values().filter(|p| live(p) && siblings.iter().any(|s| selects(s, p))) {
        if let Some(node) = pod["spec"]["nodeName"].as_str() {
            *on_node.entry(node.to_owned()).or_default() += 1;
        }
    }
    on_node
}

/// Which of two pods goes first. `None`: they are equal, or only their uids decide (where upstream's comparison can go round in a circle).
fn order(a: &Value, b: &Value, related: &BTreeMap<String, u32>, now: Timestamp) -> Option<Ordering> {
    let node = |p: &Value| p["spec"]["nodeName"].as_str().map(str::to_owned);
    let phase = |p: &Value| match p["status"]["phase"].as_str() {
        Some("Running") => 2,
        Some("Unknown") => 1,
        _ => 0,
    };
    let together = |p: &Value| node(p).and_then(|n| related.get(&n).copied()).unwrap_or(0);
    let coarse = node(a)
        .is_some()
        .cmp(&node(b).is_some())
        .then_with(|| phase(a).cmp(&phase(b)))
        .then_with(|| ready(a).cmp(&ready(b)))
        .then_with(|| together(b).cmp(&together(a)));
    if coarse != Ordering::Equal {
        return Some(coarse);
    }
    let time = |text: &Value| text.as_str().and_then(|t| t.parse::<Timestamp>().ok());
    let bucket =
        |at: Option<Timestamp>| at.map(|at| now.duration_since(at).as_nanos()).map(|age| if age > 0 { age.ilog2() as i64 } else { -1 });
    let since = |p: &Value| condition(p, "Ready").and_then(|c| time(&c["lastTransitionTime"]));
    if ready(a) && since(a) != since(b) {
        return Some(bucket(since(a)).cmp(&bucket(since(b)))).filter(|o| *o != Ordering::Equal);
    }
    let created = |p: &Value| time(&p["metadata"]["creationTimestamp"]);
    Some(bucket(created(a)).cmp(&bucket(created(b)))).filter(|o| *o != Ordering::Equal)
}
