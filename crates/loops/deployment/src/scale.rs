use std::{cmp::Reverse, sync::Arc};

use evenkeel_api::{Deployment, ReplicaSet, Strategy};

use crate::{
    annotations::{self, DESIRED_REPLICAS, MAX_REPLICAS},
    bounds::Bounds,
    edit::SetEdit,
    sets::{Sets, by_age, clamp, sum},
};

/// What `spec.replicas` was when the active sets were sized, where it has changed since (workloads 2.6.1).
pub(crate) fn sized_before(deployment: &Deployment, sets: &Sets) -> Option<i32> {
    sets.active().find_map(|s| outdated(deployment, s))
}

fn outdated(deployment: &Deployment, set: &ReplicaSet) -> Option<i32> {
    annotations::size(set, DESIRED_REPLICAS).filter(|n| *n != deployment.replicas)
}

/// What scaling comes to (workloads 2.6.2).
#[derive(Debug)]
pub(crate) enum Scale {
    /// Sizes, to be written one after the other: if one fails, the next pass goes on from there.
    InOrder(Vec<SetEdit>),
    /// Sizes that do not depend on each other.
    AtOnce(Vec<SetEdit>),
    /// Nothing here sizes several active sets of a Recreate Deployment (step 4, S2).
    NotHere,
}

/// Sizes for a new `spec.replicas`, or for a paused Deployment.
pub(crate) fn scale(deployment: &Deployment, sets: &Sets) -> Scale {
    let mut active = sets.active();
    let (first, second) = (active.next(), active.next());
    if second.is_none() {
        let newest = || sets.new.as_ref().or(sets.old.last());
        let Some(set) = first.or_else(newest) else { return Scale::AtOnce(Vec::new()) };
        // S1: an out-of-date annotation on the one active set would be a scaling event for ever.
        let forced = first.is_some() && outdated(deployment, set).is_some();
        return Scale::AtOnce(SetEdit::resize(deployment, set, deployment.replicas, forced).into_iter().collect());
    }
    if sets.new.as_ref().is_some_and(|new| saturated(deployment, new)) {
        return Scale::AtOnce(sets.active_old().filter_map(|s| SetEdit::resize(deployment, s, 0, false)).collect());
    }
    match deployment.strategy {
        Strategy::RollingUpdate { .. } => {
            let sized = proportional(deployment, sets);
            Scale::InOrder(sized.into_iter().filter_map(|(s, size)| SetEdit::resize(deployment, &s, size, true)).collect())
        }
        _ => Scale::NotHere,
    }
}

/// Whether the new set has all that the Deployment wants, and all of it is available.
fn saturated(deployment: &Deployment, new: &ReplicaSet) -> bool {
    let noted = new.annotations.get(DESIRED_REPLICAS).and_then(|text| text.parse::<i64>().ok());
    new.replicas == deployment.replicas
        && new.status.available_replicas == deployment.replicas
        && noted == Some(i64::from(deployment.replicas))
}

/// New sizes of all active sets, in the order in which they are written (workloads 2.6.2 step 3).
fn proportional(deployment: &Deployment, sets: &Sets) -> Vec<(Arc<ReplicaSet>, i32)> {
    let allowed = if deployment.replicas > 0 { i64::from(deployment.replicas) + i64::from(Bounds::of(deployment).surge) } else { 0 };
    let mut active: Vec<Arc<ReplicaSet>> = sets.old.iter().rev().chain(&sets.new).filter(|s| s.replicas > 0).cloned().collect();
    let to_add = allowed - sum(active.iter().map(|s| s.replicas));
    if to_add > 0 {
        active.sort_by(|a, b| b.replicas.cmp(&a.replicas).then_with(|| by_age(b, a)));
    } else if to_add < 0 {
        active.sort_by(|a, b| Reverse(a.replicas).cmp(&Reverse(b.replicas)).then_with(|| by_age(a, b)));
    }
    let mut left = to_add;
    let mut sizes: Vec<i64> = active
        .iter()
        .map(|set| {
            let fraction = fraction(deployment, set, allowed);
            let share = match to_add {
                // No set can be larger than its field.
                1.. => fraction.min(left).min(i64::from(i32::MAX) - i64::from(set.replicas)),
                _ => fraction.max(left),
            };
            let share = if left == 0 { 0 } else { share };
            left -= share;
            i64::from(set.replicas) + share
        })
        .collect();
    if let Some(largest) = sizes.first_mut() {
        *largest = (*largest + left).max(0);
    }
    active.into_iter().zip(sizes.into_iter().map(clamp)).collect()
}

/// What one set should gain (or lose) by its share of the size that all sets had. In 128 bits: sizes times sizes (S11).
fn fraction(deployment: &Deployment, set: &ReplicaSet, allowed: i64) -> i64 {
    let size = i64::from(set.replicas);
    if deployment.replicas == 0 {
        return -size;
    }
    let before = annotations::size(set, MAX_REPLICAS).filter(|n| *n != 0).unwrap_or(deployment.status.replicas);
    if before == 0 {
        // Somebody took the annotation away, and no pod exists to count by.
        return 0;
    }
    let (product, before) = (i128::from(size) * i128::from(allowed), i128::from(before));
    // Half away from zero; all three are positive.
    let rounded = (2 * product + before) / (2 * before);
    rounded.clamp(0, i128::from(i64::MAX / 4)) as i64 - size
}
