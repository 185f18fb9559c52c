use std::{cmp::Ordering, sync::Arc};

use evenkeel_api::{Deployment, ReplicaSet, Uid};

use crate::{
    annotations,
    sets::{Sets, by_age},
};

/// Old sets beyond the history limit that may go (workloads 2.10). A set that this pass writes is left for the next one.
pub(crate) fn surplus_history(deployment: &Deployment, sets: &Sets, written: &[Uid]) -> Vec<Arc<ReplicaSet>> {
    let Some(limit) = deployment.revision_history_limit.filter(|l| *l != i32::MAX) else { return Vec::new() };
    let alive: Vec<&Arc<ReplicaSet>> = sets.old.iter().filter(|s| s.meta.deleting.is_none()).collect();
    let excess = alive.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    if excess == 0 {
        return Vec::new();
    }
    // Only the first ones are looked at: one that cannot go is not replaced by a later one (S18).
    by_revision(alive).into_iter().take(excess).filter(|s| idle(s) && !written.contains(&s.meta.uid)).cloned().collect()
}

/// No pods wanted, none left, and its loop has seen that.
fn idle(set: &ReplicaSet) -> bool {
    set.replicas == 0 && set.status.replicas == 0 && set.meta.generation <= set.status.observed_generation
}

/// Lowest revision first. Revisions that are no numbers make the relation intransitive, so this is an insertion sort, which takes any relation.
fn by_revision(sets: Vec<&Arc<ReplicaSet>>) -> Vec<&Arc<ReplicaSet>> {
    // Those of one revision stay as they come: oldest first.
    let before = |a: &(Option<i64>, &Arc<ReplicaSet>), b: &(Option<i64>, &Arc<ReplicaSet>)| match (a.0, b.0) {
        (Some(x), Some(y)) => x.cmp(&y),
        _ => by_age(a.1, b.1),
    };
    let mut sorted: Vec<(Option<i64>, &Arc<ReplicaSet>)> = Vec::with_capacity(sets.len());
    for set in sets {
        let entry = (annotations::revision(set), set);
        let at = sorted.iter().rposition(|other| before(other, &entry) != Ordering::Greater).map_or(0, |at| at + 1);
        sorted.insert(at, entry);
    }
    sorted.into_iter().map(|(_, set)| set).collect()
}
