use std::{collections::BTreeSet, sync::Arc};

use evenkeel_api::{Deployment, ReplicaSet, Uid};

use crate::{edit::SetEdit, sets::Sets};

/// All active old sets to 0 (workloads 2.8.2).
pub(crate) fn empty_old(deployment: &Deployment, sets: &Sets) -> Vec<SetEdit> {
    sets.active_old().filter_map(|s| SetEdit::resize(deployment, s, 0, false)).collect()
}

/// Old sets whose pods still run, or that think so (workloads 2.8.3). Pods on their way out count until they have ended.
pub(crate) fn running<'s>(sets: &'s Sets, running: &BTreeSet<Uid>) -> impl Iterator<Item = &'s Arc<ReplicaSet>> {
    sets.old.iter().filter(|s| s.status.replicas > 0 || running.contains(&s.meta.uid))
}
