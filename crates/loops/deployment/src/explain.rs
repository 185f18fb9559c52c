//! Why a pass does what it does, for `evenkeel plan`.

use evenkeel_api::Strategy;
use evenkeel_plan::phrase;

use crate::{
    bounds::Bounds,
    claiming,
    plan::{Act, Finish, Pass, Work},
    progress,
    sets::sum,
};

/// What a pass came upon; noted where it is decided, so that no rule is written down twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The Deployment is being deleted.
    Deleting,
    /// It is paused.
    Paused,
    /// An earlier revision is asked for; 0 is the last one.
    RollBack(i64),
    /// `spec.replicas` was this when the sets were sized.
    Resized(i32),
    /// No set has the template.
    NoNewSet,
    /// The new set should have another size.
    NewSize,
    /// Old sets may shrink (rolling update).
    OldSizes,
    /// Counters are behind an earlier shrink (rolling update).
    Lagging,
    /// Old sets are not empty (recreate).
    OldPodsFirst,
    /// So many old sets are empty and still have pods (recreate).
    OldPodsRun(usize),
    /// All sizes are as they can be by now.
    Settled,
}

/// One phrase for a pass; none where there is no Deployment.
pub(crate) fn explain(pass: &Pass<'_>) -> Option<String> {
    match pass {
        Pass::Gone => None,
        Pass::SelectsAll(_) => Some("the selector is empty, it would select everything".into()),
        Pass::Broken(error) => Some(error.clone()),
        Pass::Claim(steps) => {
            let (adopt, release) = claiming::numbers(steps);
            Some(phrase::claims(adopt, release, "ReplicaSet"))
        }
        Pass::Work(work) => Some(said(work)),
    }
}

fn said(work: &Work<'_>) -> String {
    if let Finish::Failed(error) = &work.finish {
        return error.clone();
    }
    let mut text = way(work);
    if work.notes_alone {
        text.push_str("; annotations or minReadySeconds of the new ReplicaSet are behind");
    }
    // What the deadline found no longer matters to a Deployment that is not rolled out now.
    if work.finish == Finish::Rollout && !done(work) && progress::told_timeout(work.deployment) {
        text.push_str("; the progress deadline is exceeded");
    }
    text
}

fn way(work: &Work<'_>) -> String {
    let (deployment, bounds) = (work.deployment, Bounds::of(work.deployment));
    let rolling = matches!(deployment.strategy, Strategy::RollingUpdate { .. });
    let strategy = if rolling { "rolling update" } else { "recreate" };
    let wanted = deployment.replicas;
    let old = phrase::counted(sum(work.sets.old.iter().map(|s| s.replicas)), "old pod");
    match work.why {
        Why::Deleting => "being deleted: status only".into(),
        Why::Paused => "paused: sizes only".into(),
        Why::RollBack(revision) => roll_back(work, revision),
        Why::Resized(before) => format!("scaling {before} → {wanted}: the size changed"),
        Why::NoNewSet => format!("{strategy}: no ReplicaSet has the template"),
        Why::NewSize => {
            let size = work.sets.new.as_ref().map_or(0, |new| new.replicas);
            let limit = if rolling { format!(", at most {} in all", bounds.max_replicas(deployment)) } else { String::new() };
            format!("{strategy}: {size} of {wanted} new pods{limit}")
        }
        Why::OldSizes => format!("{strategy}: {old}, at least {} of all must be available", bounds.min_available(deployment)),
        Why::Lagging => format!("{strategy}: waiting for the counters of an old ReplicaSet"),
        Why::OldPodsFirst => format!("{strategy}: {old} to stop first"),
        Why::OldPodsRun(sets) => format!("{strategy}: waiting for the pods of {}", phrase::of(sets, "old ReplicaSet")),
        Why::Settled if done(work) => match work.acts.iter().flatten().filter(|act| matches!(act, Act::Delete(_))).count() {
            0 => "the rollout is complete".into(),
            gone => format!("the rollout is complete: {} beyond the history limit", phrase::of(gone, "ReplicaSet")),
        },
        Why::Settled if work.sets.active_old().next().is_some() => {
            format!("{strategy}: {old}, waiting for new ones: at least {} of all must be available", bounds.min_available(deployment))
        }
        Why::Settled => {
            let available = work.sets.new.as_ref().map_or(0, |new| new.status.available_replicas);
            format!("{strategy}: {available} of {wanted} new pods available")
        }
    }
}

fn roll_back(work: &Work<'_>, revision: i64) -> String {
    let to = if revision == 0 { "the last revision".into() } else { format!("revision {revision}") };
    let answered = work.acts.iter().flatten().any(|act| matches!(act, Act::Rollback(_)));
    format!("rollback to {to}{}", if answered { "" } else { ": the present template is recorded first" })
}

fn done(work: &Work<'_>) -> bool {
    progress::complete(work.deployment, &work.deployment.status)
}
