use std::{cmp::Ordering, sync::Arc};

use evenkeel_api::{Deployment, ReplicaSet, Template};

/// The claimed ReplicaSets of a Deployment, sorted out (workloads 2.3).
#[derive(Debug, Clone, Default)]
pub(crate) struct Sets {
    /// The oldest one with the Deployment's template.
    pub(crate) new: Option<Arc<ReplicaSet>>,
    /// All others, oldest first.
    pub(crate) old: Vec<Arc<ReplicaSet>>,
}

impl Sets {
    /// Sorts out `claimed`. Fingerprints are compared first, whole templates only where they agree.
    pub(crate) fn classify(deployment: &Deployment, template: &Template, mut claimed: Vec<Arc<ReplicaSet>>) -> Self {
        claimed.sort_by(|a, b| by_age(a, b));
        let same = |s: &Arc<ReplicaSet>| s.template_fingerprint == deployment.template_fingerprint && s.template().same_as(template);
        let new = claimed.iter().position(same).map(|at| claimed.remove(at));
        Self { new, old: claimed }
    }

    /// Old ones, oldest first, then the new one: the list order of upstream.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<ReplicaSet>> {
        self.old.iter().chain(&self.new)
    }

    /// Old ones with a size above 0, oldest first.
    pub(crate) fn active_old(&self) -> impl Iterator<Item = &Arc<ReplicaSet>> {
        self.old.iter().filter(|s| s.replicas > 0)
    }

    /// All with a size above 0.
    pub(crate) fn active(&self) -> impl Iterator<Item = &Arc<ReplicaSet>> {
        self.all().filter(|s| s.replicas > 0)
    }
}

/// Oldest first, then by name.
pub(crate) fn by_age(a: &ReplicaSet, b: &ReplicaSet) -> Ordering {
    (a.meta.created, &a.meta.name).cmp(&(b.meta.created, &b.meta.name))
}

/// A sum that cannot overflow.
pub(crate) fn sum(numbers: impl IntoIterator<Item = i32>) -> i64 {
    numbers.into_iter().map(i64::from).sum()
}

/// Back to the 32 bits of the API, cut off at its ends.
pub(crate) fn clamp(number: i64) -> i32 {
    number.clamp(i32::MIN.into(), i32::MAX.into()) as i32
}
