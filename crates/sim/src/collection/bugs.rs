//! What a broken collector sees, hears and plans ([`Bug`]).

use evenkeel_api::{Key, OwnerReference};
use evenkeel_cache::{Change, Stores};
use evenkeel_garbage_collector::{Held, Snapshot, Standing};
use evenkeel_plan::{Plan, Trigger, Write};

use crate::{Bug, bugs::Memory, history::lock};

/// The collector's name.
pub(crate) const COLLECTOR: &str = "garbage-collector-controller";

impl Bug {
    /// Changes what the collector knows.
    pub(crate) fn mislead(self, snap: &mut Snapshot, stores: &Stores, memory: &Memory) {
        let Some(object) = snap.object.clone() else { return };
        let namespace = object.meta.namespace.clone();
        for owner in &mut snap.owners {
            let standing = match (self, &owner.standing) {
                (Self::UnknownIsGone, Standing::Unknown) | (Self::OutOfScopeIsGone, Standing::OutOfScope) => Standing::Gone,
                (Self::WaitingIgnored, Standing::Waits) => Standing::Stays,
                (Self::AsksForEachDependent, Standing::Asked) => ask(stores, &namespace, &owner.reference).unwrap_or(Standing::Asked),
                (Self::GoneByUidAlone | Self::GoneForEver, standing) => {
                    let name = match self {
                        Self::GoneByUidAlone => owner.reference.uid.to_string(),
                        _ => format!("{:?} in {namespace}", owner.reference),
                    };
                    let mut gone = lock(&memory.gone);
                    match *standing == Standing::Gone || gone.contains(&name) {
                        true => {
                            gone.insert(name);
                            Standing::Gone
                        }
                        false => standing.clone(),
                    }
                }
                (_, standing) => standing.clone(),
            };
            owner.standing = standing;
        }
        match (self, &mut snap.held) {
            (Self::ReleasedTooEarly, Held::ByDependents { blocked, .. }) => *blocked = false,
            (Self::RingsHang, Held::ByDependents { blocked, .. }) => {
                *blocked |= stores.dependents(&object.meta.uid).any(|(_, d)| d.owners.iter().any(|o| o.block_owner_deletion));
            }
            (Self::OrphansKeepTheirReference, Held::ByOrphans(dependents)) => dependents.clear(),
            _ => {}
        }
        if self == Self::WaitsForEveryKind && stores.kinds().any(|(_, store)| !store.synced()) {
            snap.object = None;
        }
    }

    /// Changes what the collector hears.
    pub(crate) fn alter_triggers(self, change: &Change, triggers: Vec<Trigger>) -> Vec<Trigger> {
        if self == Self::OwnersGoUnseen && change.new_header().is_none() { Vec::new() } else { triggers }
    }

    /// Changes what the collector wants.
    pub(crate) fn alter_collection(self, plan: &mut Plan) {
        let deletes = plan.writes().any(|w| matches!(w, Write::Delete { .. }));
        if self == Self::DeletesTwice && deletes {
            let again = plan.steps.clone();
            plan.steps.extend(again);
        }
    }
}

/// Where an owner would have to be asked for.
fn ask(stores: &Stores, namespace: &str, reference: &OwnerReference) -> Option<Standing> {
    let kind = stores.mapping().resolve(&reference.api_version, &reference.kind)?;
    Some(Standing::Ask(kind, Key::new(if kind.namespaced { namespace } else { "" }, reference.name.clone())))
}
