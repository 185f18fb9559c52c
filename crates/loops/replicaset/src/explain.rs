//! Why a pass does what it does, for `evenkeel plan`.

use evenkeel_plan::phrase;

use crate::{SetKind, Snapshot, pods, snapshot::Course};

/// One phrase for a pass; none where there is no set.
pub(crate) fn explain<S: SetKind>(snap: &Snapshot<S>) -> Option<String> {
    let set = snap.set.as_ref()?;
    Some(match snap.course() {
        Course::Gone => return None,
        Course::Unusable(unusable) => unusable.message,
        Course::Claim => phrase::claims(snap.claims.adopt.len(), snap.claims.release.len(), "pod"),
        Course::Dying => "being deleted: status only".into(),
        Course::Manage => {
            let (want, missing, surplus) = (snap.want(), snap.missing(), snap.surplus());
            match (pods::refusal(set), missing, surplus) {
                (_, 0, 0) => format!("{want} of {want} pods: status only"),
                (Some(refusal), 1.., _) => format!("{missing} of {want} pods missing: {refusal}"),
                (_, 1.., _) => format!("{missing} of {want} pods missing{}", rounds(snap, missing)),
                _ => format!("{} too many{}", phrase::of(surplus, "pod"), rounds(snap, surplus)),
            }
        }
    })
}

/// What is more than one pass may do.
fn rounds<S>(snap: &Snapshot<S>, count: usize) -> String {
    let burst = snap.options.burst;
    if count > burst { format!(", {burst} at a time") } else { String::new() }
}
