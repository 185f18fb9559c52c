use std::{collections::BTreeSet, sync::Arc};

use evenkeel_api::{Deployment, Key, Operator, Pod, ReplicaSet, Requirement, Selector, Strategy, Uid};
use evenkeel_cache::Stores;

use crate::{claiming::PassedOver, create};

/// Everything one pass may look at.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// What the pass is about.
    pub key: Key,
    /// `None`: deleted, or not seen yet.
    pub deployment: Option<Arc<Deployment>>,
    /// ReplicaSets that the Deployment controls, matching or not, and those of its namespace that match and have no controller.
    pub sets: Vec<Arc<ReplicaSet>>,
    /// Of these, sets with at least one pod that is neither Succeeded nor Failed (workloads 2.8.3). Only filled for Recreate: a rolling update reads
    /// counters, never pods.
    pub running: BTreeSet<Uid>,
    /// The ReplicaSet under the name that a new one would get, where one would be made (workloads 2.4, AlreadyExists).
    pub namesake: Option<Arc<ReplicaSet>>,
    /// Sets that an earlier pass tried to adopt or release and did not find so.
    pub passed_over: PassedOver,
}

impl Snapshot {
    /// Takes what one pass over `key` needs.
    pub(crate) fn take(stores: &Stores, key: &Key, passed_over: PassedOver) -> Self {
        let mut snap = Self {
            key: key.clone(),
            deployment: stores.of::<Deployment>().get(&key.namespace, &key.name).cloned(),
            sets: Vec::new(),
            running: BTreeSet::new(),
            namesake: None,
            passed_over,
        };
        let Some(deployment) = &snap.deployment else { return snap };
        let Some(selector) = usable_selector(deployment) else { return snap };
        let sets = stores.of::<ReplicaSet>();
        snap.sets = sets.controlled_by(&deployment.meta.uid).cloned().collect();
        snap.sets.extend(sets.orphans(&key.namespace, &selector));
        if deployment.strategy == Strategy::Recreate {
            let pods = stores.of::<Pod>();
            let running = |uid: &Uid| pods.controlled_by(uid).any(|p| !p.terminal());
            snap.running = snap.sets.iter().map(|s| &s.meta.uid).filter(|uid| running(uid)).cloned().collect();
        }
        let usable = |s: &ReplicaSet| {
            s.template_fingerprint == deployment.template_fingerprint
                && s.meta.controlled_by(&deployment.meta.uid)
                && selector.matches(&s.meta.labels)
                && !snap.passed_over.contains(&(s.meta.uid.clone(), s.meta.version))
        };
        if !snap.sets.iter().any(|s| usable(s)) {
            let name = create::set_name(deployment, &deployment.template().hash(deployment.status.collision_count));
            snap.namesake = sets.get(&key.namespace, &name).cloned();
        }
        snap
    }
}

/// The selector as the claim algorithm uses it: an absent one matches nothing, an empty or broken one is handled before anything is claimed.
pub(crate) fn usable_selector(deployment: &Deployment) -> Option<Selector> {
    match &deployment.selector {
        Ok(Some(selector)) if selector.is_empty() => None,
        Ok(Some(selector)) => Some(selector.clone()),
        Ok(None) => {
            let never = Requirement { key: String::new(), operator: Operator::In, values: BTreeSet::new() };
            Some(Selector { requirements: vec![never] })
        }
        Err(_) => None,
    }
}
