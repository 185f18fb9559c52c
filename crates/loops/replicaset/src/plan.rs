use std::sync::Arc;

use evenkeel_api::{Key, PODS, Pod};
use evenkeel_plan::{Plan, Target, Write, claim::Claims};
use jiff::Timestamp;

use crate::{Ranking, SetKind, Snapshot, choose_victims, deletion_age_ratios, pods, snapshot::Course, status};

/// The writes that the snapshot calls for: claims alone, or creates, or deletes.
pub(crate) fn plan<S: SetKind>(snap: &Snapshot<S>, now: Timestamp) -> Plan {
    let Some(set) = &snap.set else { return Plan::default() };
    let steps = match snap.course() {
        Course::Gone | Course::Unusable(_) => return Plan::default(),
        // What is to be adopted or released cannot be counted yet. The next pass goes on once the cache shows it.
        Course::Claim => return Plan { steps: claim_steps(snap, set), wake_at: None },
        Course::Dying => Vec::new(),
        Course::Manage if snap.missing() > 0 => creates(snap, set),
        Course::Manage => deletes(snap, now),
    };
    Plan { steps, wake_at: status::next_availability(snap, now) }
}

/// Releases and adoptions, at most a burst of them.
fn claim_steps<S: SetKind>(snap: &Snapshot<S>, set: &S) -> Vec<Vec<Write>> {
    let release: Vec<Arc<Pod>> = snap.claims.release.iter().take(snap.options.burst).cloned().collect();
    let adopt: Vec<Arc<Pod>> = snap.claims.adopt.iter().take(snap.options.burst - release.len()).cloned().collect();
    Claims { claimed: Vec::new(), adopt, release }.steps(S::resource(), &set.meta)
}

/// One step of creates, all with one body. Names are derived, so the same decision taken twice collides instead of doubling.
fn creates<S: SetKind>(snap: &Snapshot<S>, set: &S) -> Vec<Vec<Write>> {
    if snap.names.is_empty() {
        return Vec::new();
    }
    let body = Arc::new(pods::body(S::resource(), set));
    let create = |name: &str| Write::Create {
        kind: &PODS,
        key: Key::new(set.meta.namespace.clone(), name),
        controller: Some(set.meta.uid.clone()),
        body: body.clone(),
    };
    vec![snap.names.iter().map(|(_, name)| create(name)).collect()]
}

/// One step of deletes. Each holds for exactly the state that the choice was made by: a pod that was orphaned, relabelled or became ready
/// in the meantime is looked at again instead (reliability 1, row 5).
fn deletes<S: SetKind>(snap: &Snapshot<S>, now: Timestamp) -> Vec<Vec<Write>> {
    let count = snap.surplus().min(snap.options.burst);
    if count == 0 {
        return Vec::new();
    }
    let ranking = Ranking { related_on_node: &snap.related_on_node, deletion_cost: snap.options.deletion_cost, now };
    let victims = choose_victims(&snap.claims.claimed, count, ranking);
    vec![victims.iter().map(|pod| Write::Delete { target: Target::exactly(&PODS, &pod.meta), propagation: None, grace: None }).collect()]
}

/// Age ratios of the victims of a plan, where they were chosen (workloads 3.7).
pub(crate) fn age_ratios<S: SetKind>(snap: &Snapshot<S>, plan: &Plan, now: Timestamp) -> Vec<f64> {
    if snap.course() != Course::Manage || !snap.chooses() {
        return Vec::new();
    }
    let names: std::collections::BTreeSet<&str> =
        plan.writes().filter(|w| matches!(w, Write::Delete { .. })).map(|w| &**w.name()).collect();
    let victims: Vec<Arc<Pod>> = snap.claims.claimed.iter().filter(|pod| names.contains(&*pod.meta.name)).cloned().collect();
    deletion_age_ratios(&victims, &snap.claims.claimed, now)
}
