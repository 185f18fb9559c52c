use std::collections::BTreeSet;

use evenkeel_api::{Deployment, Uid};

use crate::{edit::SetEdit, sets::Sets};

/// All active old sets to 0 (workloads 2.8.2).
pub(crate) fn empty_old(deployment: &Deployment, sets: &Sets) -> Vec<SetEdit> {
    sets.active_old().filter_map(|s| SetEdit::resize(deployment, s, 0, false)).collect()
}

/// Whether pods of old sets still run, or their sets think so (workloads 2.8.3). Pods on their way out count until they have ended.
pub(crate) fn old_pods_running(sets: &Sets, running: &BTreeSet<Uid>) -> bool {
    sets.old.iter().any(|s| s.status.replicas > 0 || running.contains(&s.meta.uid))
}
