use std::{collections::BTreeMap, sync::Arc};

use evenkeel_api::{Deployment, ReplicaSet, Uid};

use crate::{
    bounds::Bounds,
    create::grown,
    edit::SetEdit,
    sets::{Sets, clamp, sum},
};

/// The new set as sizing sees it: the one in the cache, or the one that this pass makes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewSize {
    /// `spec.replicas`.
    pub(crate) replicas: i32,
    /// `status.availableReplicas`, but no more than the size: pods beyond it are condemned.
    pub(crate) available: i32,
}

/// Growing (workloads 2.7.1): the size of the existing new set, where it should change.
pub(crate) fn grow(deployment: &Deployment, sets: &Sets, new: &Arc<ReplicaSet>) -> Result<Option<SetEdit>, String> {
    let size = if new.replicas >= deployment.replicas {
        deployment.replicas
    } else {
        grown(deployment, sum(sets.all().map(|s| s.replicas)), new.replicas)?
    };
    Ok(SetEdit::resize(deployment, new, size, false))
}

/// What shrinking found.
#[derive(Debug, Default)]
pub(crate) struct Shrink {
    /// New sizes, oldest set first.
    pub(crate) edits: Vec<SetEdit>,
    /// A set is smaller than its status says that pods of it are available: its counters are behind an earlier shrink, so nothing more is
    /// counted on them. The set's next status resumes the rollout.
    pub(crate) lagging: bool,
}

/// Shrinking old sets (workloads 2.7.2).
pub(crate) fn shrink(deployment: &Deployment, sets: &Sets, new: NewSize) -> Shrink {
    let old: Vec<&Arc<ReplicaSet>> = sets.active_old().collect();
    let old_total = sum(sets.old.iter().map(|s| s.replicas));
    let min_available = Bounds::of(deployment).min_available(deployment);
    let new_unavailable = i64::from(new.replicas) - i64::from(new.available);
    let mut budget = old_total + i64::from(new.replicas) - min_available - new_unavailable;
    let mut out = Shrink::default();
    if old.is_empty() || budget <= 0 {
        return out;
    }
    let mut sizes: BTreeMap<&Uid, i64> = old.iter().map(|s| (&s.meta.uid, i64::from(s.replicas))).collect();
    // Pods that are not available go first, however few may be missing: the ReplicaSet loop takes just these.
    for set in &old {
        if budget <= 0 {
            break;
        }
        let sick = i64::from(set.replicas) - i64::from(set.status.available_replicas);
        if sick < 0 {
            out.lagging = true;
            break;
        }
        let share = sick.min(budget);
        budget -= share;
        *sizes.entry(&set.meta.uid).or_default() -= share;
    }
    // A set whose turn did not come lags just the same: upstream counts its condemned pods as available here.
    out.lagging |= old.iter().any(|s| s.status.available_replicas > s.replicas);
    if !out.lagging {
        let available = sum(old.iter().map(|s| s.status.available_replicas)) + i64::from(new.available);
        let mut allowance = available - min_available;
        for set in &old {
            if allowance <= 0 {
                break;
            }
            let size = sizes.entry(&set.meta.uid).or_default();
            let share = (*size).min(allowance);
            allowance -= share;
            *size -= share;
        }
    }
    out.edits = old.iter().filter_map(|s| SetEdit::resize(deployment, s, clamp(sizes[&s.meta.uid]), false)).collect();
    out
}
