use evenkeel_api::{DEPLOYMENTS, Deployment, ReplicaSet, Template};
use evenkeel_plan::{Event, ObjectReference, Target, Write};
use serde_json::Value;

use crate::{
    annotations::{self, ROLLBACK_TO, skipped},
    edit::{name_kind, object},
    sets::Sets,
};

/// The revision that the legacy annotation asks for; none where it is absent, empty or no number (workloads 2.9).
pub(crate) fn requested(deployment: &Deployment) -> Option<i64> {
    deployment.annotations.get(ROLLBACK_TO)?.parse().ok()
}

/// What a request comes to: one PUT of the Deployment, and what to say when it has gone through.
pub(crate) fn answer(deployment: &Deployment, template: &Template, sets: &Sets, requested: i64) -> (Write, Event) {
    let about = ObjectReference::to(&DEPLOYMENTS, &deployment.meta);
    let not_found = "DeploymentRollbackRevisionNotFound";
    let wanted = if requested == 0 { last_but_one(sets) } else { requested };
    if wanted == 0 {
        return (replace(deployment, None), Event::warning(about, not_found, "Unable to find last revision."));
    }
    let Some(set) = sets.all().find(|s| annotations::revision(s) == Some(wanted)) else {
        return (replace(deployment, None), Event::warning(about, not_found, "Unable to find the revision to rollback to."));
    };
    let name = &deployment.meta.name;
    if set.template().same_as(template) {
        let message = format!("The rollback revision contains the same template as current deployment {name:?}");
        return (replace(deployment, None), Event::warning(about, "DeploymentRollbackTemplateUnchanged", message));
    }
    (
        replace(deployment, Some(set)),
        Event::normal(about, "DeploymentRollback", format!("Rolled back deployment {name:?} to revision {wanted}")),
    )
}

/// The second highest revision; 0 where there is none.
fn last_but_one(sets: &Sets) -> i64 {
    let (mut highest, mut second) = (0, 0);
    for revision in sets.all().filter_map(|s| annotations::revision(s)) {
        if revision >= highest {
            (highest, second) = (revision, highest);
        } else {
            second = second.max(revision);
        }
    }
    second
}

/// The Deployment without the request and, where given, with the template and annotations of an earlier set.
fn replace(deployment: &Deployment, from: Option<&ReplicaSet>) -> Write {
    let mut body = deployment.document.value();
    name_kind(&mut body, &DEPLOYMENTS);
    let annotations = object(object(&mut body, "metadata"), "annotations");
    if let Some(map) = annotations.as_object_mut() {
        map.retain(|key, _| key != ROLLBACK_TO && (from.is_none() || skipped(key)));
        for (key, value) in from.iter().flat_map(|set| annotations::travelling(&set.annotations)) {
            map.insert(key.clone(), Value::from(value.as_str()));
        }
    }
    if let Some(set) = from {
        object(&mut body, "spec")["template"] = set.template().with_hash(None);
    }
    Write::Replace { target: Target::exactly(&DEPLOYMENTS, &deployment.meta), subresource: None, body }
}
