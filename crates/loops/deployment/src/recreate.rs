use std::{collections::BTreeSet, sync::Arc};

use evenkeel_api::{Deployment, ReplicaSet, Uid};

use crate::{edit::SetEdit, sets::Sets};

/// All active old sets to 0 (workloads 2.8.2).
pub(crate) fn empty_old(deployment: &Deployment, sets: &Sets) -> Vec<SetEdit> {
    sets.active_old().filter_map(|s| SetEdit::resize(deployment, s, 0, false)).collect()
}

/// Old sets whose pods still run, or that think so (workloads 2.8.3). Pods on their way out count until they have ended.
///
/// A set whose status does not answer to its present size counts, too: a pass of the set's own loop may be making pods that the cache does not
/// show yet, and only a pass that began after all of them were seen writes that it has observed the size of 0 (Better S23).
pub(crate) fn running<'s>(sets: &'s Sets, running: &BTreeSet<Uid>) -> impl Iterator<Item = &'s Arc<ReplicaSet>> {
    sets.old.iter().filter(|s| s.status.replicas > 0 || s.meta.generation > s.status.observed_generation || running.contains(&s.meta.uid))
}
