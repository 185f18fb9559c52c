//! Managers that are broken on purpose: the proof that the checks bite (reliability part 3, "mutation check of the battery").
//!
//! A bug changes what a loop saw, planned or reported, or what the server answered; the product knows nothing of it. The test in
//! `tests/bugs.rs` runs seeds with each of them and wants the invariant that [`Bug::breaks`] names.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use evenkeel_api::{Key, Uid};
use evenkeel_cache::Stores;
use evenkeel_plan::{Plan, Report, Target, Write};
use serde_json::Value;

use crate::collection::bugs::COLLECTOR;

macro_rules! bugs {
    ($($(#[$doc:meta])* $name:ident $row:literal $breaks:literal,)*) => {
        /// A bug, most of them of reliability part 1.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Bug {
            $($(#[$doc])* $name,)*
        }

        impl Bug {
            /// All bugs.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Row of reliability part 1, or the rule that it breaks where that part has no such row.
            pub fn row(self) -> &'static str {
                match self { $(Self::$name => $row),* }
            }

            /// The invariant that must find it.
            pub fn breaks(self) -> &'static str {
                match self { $(Self::$name => $breaks),* }
            }
        }
    };
}

bugs! {
    /// The cache need not show a create before the next look, and names of pods are not derived.
    FreshnessGateOff "1" "RS-1",
    /// Adoption without a live read of the owner.
    AdoptionUnchecked "4" "D-3",
    /// Deletes go by name, whoever owns the pod by now.
    DeleteByName "5" "RS-2",
    /// One pod more than there is a surplus goes.
    DeletesOneTooMany "5" "RS-2",
    /// The new set grows by one more than the surge allows.
    SurgeOffByOne "9" "DP-1",
    /// An old set is scaled up where it should shrink.
    OldSetsScaledUp "9" "DP-1",
    /// Old sets are emptied at once, whatever must stay available.
    NoUnavailabilityBound "9" "DP-2",
    /// A new size goes to one set as a whole instead of being split.
    SplitWrong "10" "DP-5",
    /// Healthy pods go first.
    HealthyVictims "11" "RS-3",
    /// The progress deadline is never told.
    DeadlineNeverTold "12" "DP-6",
    /// Creates of a step do not begin slowly, and those after a failure are sent all the same; and there is always more than one.
    NoSlowStart "16" "RS-5",
    /// The status is never written.
    StatusNeverWritten "40" "LV-1",
    /// The fence believes in a clock that hardly moves.
    FenceOff "76" "LE-1",
    /// Every new set gets revision 1.
    RevisionNotIncreased "DP-3" "DP-3",
    /// Recreate does not wait until the old pods are gone.
    RecreateDoesNotWait "DP-4" "DP-4",
    /// Who is gone is remembered by uid alone.
    GoneByUidAlone "GC-1" "GC-1",
    /// An owner of an unknown kind counts as gone.
    UnknownIsGone "GC-1" "GC-1",
    /// Deletes of the collector carry neither uid nor version.
    NoPreconditions "GC-1" "GC-1",
    /// Who was gone before the server was restored from a backup is gone after it.
    GoneForEver "GC-1" "GC-1",
    /// The deletion of an owner concerns nobody.
    OwnersGoUnseen "GC-2" "GC-2",
    /// A new leader, or a new kind, gives no cause to look at anything.
    NeverLooksAgain "GC-2" "GC-2",
    /// Owners that wait hold their dependents like any other.
    WaitingIgnored "GC-2" "GC-2",
    /// An owner that waits is released whoever still blocks it.
    ReleasedTooEarly "GC-3" "GC-3",
    /// Dependents keep the reference to an owner that orphaned them.
    OrphansKeepTheirReference "GC-3" "GC-3",
    /// A cluster-scoped object whose owner would have to be in a namespace counts as having lost it.
    OutOfScopeIsGone "GC-4" "GC-4",
    /// Who waits for itself through others waits for ever.
    RingsHang "GC-4" "GC-4",
    /// Nothing is done before every kind is listed.
    WaitsForEveryKind "GC-5" "GC-5",
    /// Every object asks for its owners itself.
    AsksForEachDependent "GC-6" "GC-6",
    /// Every delete is sent twice.
    DeletesTwice "GC-6" "GC-6",
}

/// What a bug knows of the stores that a snapshot was taken from.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Active pods of the set, ready ones first.
    pub(crate) pods: Vec<Target>,
    /// Size of each set, by uid.
    pub(crate) sizes: BTreeMap<String, i64>,
}

/// What a bug remembers as long as its process lives: owners that were found gone.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) gone: Mutex<BTreeSet<String>>,
}

const SETS: &str = "replicasets";

impl Bug {
    /// Whether it is about collection, and its worlds those of `collection/`.
    pub(crate) fn of_collection(self) -> bool {
        self.breaks().starts_with("GC-")
    }

    /// Rate of the monotonic clock.
    pub(crate) fn clock_rate(self) -> Option<f64> {
        (self == Self::FenceOff).then_some(0.05)
    }

    /// Takes something out of a snapshot.
    pub(crate) fn blind<S: 'static>(self, snap: &mut S, stores: &Stores, memory: &Memory) {
        let snap: &mut dyn Any = snap;
        if let Some(snap) = snap.downcast_mut::<evenkeel_garbage_collector::Snapshot>() {
            return self.mislead(snap, stores, memory);
        }
        if self == Self::RecreateDoesNotWait
            && let Some(snap) = snap.downcast_mut::<evenkeel_deployment::Snapshot>()
        {
            snap.running.clear();
            // Nor does it empty the old sets first: it takes them for empty.
            let recreated = snap.deployment.as_ref().filter(|d| d.strategy == evenkeel_api::Strategy::Recreate);
            let current = recreated.map(|d| d.template_fingerprint);
            for set in snap.sets.iter_mut().filter(|s| current.is_some_and(|c| c != s.template_fingerprint)) {
                std::sync::Arc::make_mut(set).0.replicas = 0;
            }
        }
    }

    pub(crate) fn alter_plan(self, controller: &str, facts: &Facts, fresh: &dyn Fn() -> String, plan: &mut Plan) {
        if controller == COLLECTOR {
            return self.alter_collection(plan);
        }
        let deletes_pods = controller == "replicaset-controller" && plan.writes().any(|w| matches!(w, Write::Delete { .. }));
        match self {
            Self::FreshnessGateOff if controller == "replicaset-controller" => {
                for write in plan.steps.iter_mut().flatten() {
                    if let Write::Create { key, .. } = write {
                        *key = Key::new(key.namespace.clone(), format!("{}-{}", key.name, fresh()));
                    }
                }
            }
            Self::AdoptionUnchecked => plan.steps.iter_mut().for_each(|step| step.retain(|w| !matches!(w, Write::ConfirmOwner { .. }))),
            Self::DeletesOneTooMany if deletes_pods => {
                let spared = spared(plan, facts);
                if let (Some(step), Some(target)) = (plan.steps.last_mut(), spared.into_iter().next()) {
                    step.push(Write::Delete { target, propagation: None, grace: None });
                }
            }
            Self::HealthyVictims if deletes_pods => {
                let victims = plan.steps.iter_mut().flatten().filter(|w| matches!(w, Write::Delete { .. }));
                victims
                    .zip(&facts.pods)
                    .for_each(|(write, target)| *write = Write::Delete { target: target.clone(), propagation: None, grace: None });
            }
            Self::SurgeOffByOne => resize(plan, facts, |size, known| if size > known { size + 1 } else { size }),
            Self::OldSetsScaledUp => resize(plan, facts, |size, known| if size < known && known < 12 { known + 2 } else { size }),
            Self::NoUnavailabilityBound => resize(plan, facts, |size, known| if size < known { 0 } else { size }),
            Self::SplitWrong if plan.writes().filter(|w| w.kind().plural == SETS).count() > 1 => {
                let mut first = true;
                resize(plan, facts, |size, _| if std::mem::take(&mut first) { size } else { (size - 1).max(0) });
            }
            Self::NoSlowStart if controller == "replicaset-controller" => {
                // A write of another kind in the step makes the writer send all of them side by side.
                if let Some(step) = plan.steps.first_mut()
                    && let Some(Write::Create { kind, key: pod, controller, body }) = step.first().cloned()
                {
                    let key = Key::new(pod.namespace.clone(), format!("{}-{}", pod.name, fresh()));
                    step.push(Write::Create { kind, key, controller, body });
                    let target = Target { kind: &evenkeel_api::PODS, key: pod, uid: Uid::new("none"), version: None };
                    step.push(Write::Delete { target, propagation: None, grace: None });
                }
            }
            Self::RevisionNotIncreased => {
                let first = |body: &mut Value| body["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "1".into();
                for write in plan.steps.iter_mut().flatten().filter(|w| w.kind().plural == SETS) {
                    match write {
                        Write::Create { body, .. } => first(std::sync::Arc::make_mut(body)),
                        Write::Replace { subresource: None, body, .. } => first(body),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    pub(crate) fn alter_report(self, report: &mut Report) {
        match self {
            Self::StatusNeverWritten => report.steps.clear(),
            Self::DeadlineNeverTold => {
                let tells = |w: &Write| matches!(w, Write::Replace { body, .. } if body.to_string().contains("ProgressDeadlineExceeded"));
                report.steps.iter_mut().for_each(|step| step.retain(|w| !tells(w)));
            }
            _ => {}
        }
    }

    /// Changes the body of a request on its way.
    pub(crate) fn alter_request(self, method: &http::Method, body: &mut bytes::Bytes) {
        if matches!(self, Self::DeleteByName | Self::NoPreconditions) && *method == http::Method::DELETE {
            edit(body, |value| {
                value.as_object_mut().map(|o| o.shift_remove("preconditions"));
            });
        }
    }

    /// Changes the answer to a request.
    pub(crate) fn alter_answer(self, method: &http::Method, path: &str, body: &mut bytes::Bytes) {
        if self == Self::FreshnessGateOff && *method == http::Method::POST && path.ends_with("/pods") {
            // Version 1 is visible always.
            edit(body, |value| {
                if value["kind"] == "Pod" {
                    value["metadata"]["resourceVersion"] = "1".into();
                }
            });
        }
    }
}

fn edit(body: &mut bytes::Bytes, change: impl FnOnce(&mut Value)) {
    if let Ok(mut value) = serde_json::from_slice::<Value>(body) {
        change(&mut value);
        *body = value.to_string().into();
    }
}

/// Pods of the set that the plan leaves alone.
fn spared(plan: &Plan, facts: &Facts) -> Vec<Target> {
    facts.pods.iter().filter(|t| plan.writes().all(|w| *w.key() != t.key)).cloned().collect()
}

/// Gives each sized set another size: by the planned one and the one that the cache shows.
fn resize(plan: &mut Plan, facts: &Facts, mut size: impl FnMut(i64, i64) -> i64) {
    for write in plan.steps.iter_mut().flatten() {
        let new = match write {
            Write::Replace { target, subresource: None, body } if target.kind.plural == SETS => {
                let known = facts.sizes.get(&target.uid.to_string()).copied().unwrap_or(0);
                body["spec"]["replicas"].as_i64().map(|planned| (body, size(planned, known)))
            }
            _ => None,
        };
        if let Some((body, replicas)) = new {
            body["spec"]["replicas"] = replicas.into();
        }
    }
}
