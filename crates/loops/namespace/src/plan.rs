use evenkeel_api::{Key, Kind, Name, Namespace, Uid};
use evenkeel_plan::{Plan, Propagation, Served, Target, Write};

use crate::{Act, Progress, Scope, Snapshot, Stage, conditions, edit};

/// The step that is due. Steps of a chain are passes of their own, because one that fails for some kinds must not hold up the others.
pub(crate) fn plan(snap: &Snapshot) -> Plan {
    let Some(namespace) = snap.namespace.as_ref().filter(|_| snap.ours()) else { return Plan::default() };
    let step = match snap.progress.stage {
        // The server's own DELETE says so; rarely somebody else has written it away (garbage-collection C3.2).
        Stage::Discover if !snap.marked() => vec![edit::mark(namespace)],
        Stage::Discover => vec![Write::Discover],
        Stage::Delete(scope, act) => delete(namespace, &snap.progress, scope, act),
        Stage::Tell if snap.progress.clean() && conditions::told(snap, namespace) => vec![edit::release(namespace)],
        Stage::Tell => Vec::new(),
    };
    Plan { steps: if step.is_empty() { Vec::new() } else { vec![step] }, wake_at: None }
}

fn delete(namespace: &Namespace, progress: &Progress, scope: Scope, act: Act) -> Vec<Write> {
    let place = Key::of_namespace(namespace.meta.name.clone());
    let count = |served: &Served| Write::Count { kind: served.kind, place: place.clone() };
    let each = progress.scope(scope);
    match act {
        Act::Collections => {
            // Nobody's dependents are orphaned: all there is goes anyway.
            let collection =
                |s: &Served| Write::DeleteCollection { kind: s.kind, place: place.clone(), propagation: Propagation::Background };
            each.filter(|s| s.verbs.delete_collection).map(collection).collect()
        }
        Act::Items => {
            let one_by_one = |s: &&Served| s.verbs.list && (!s.verbs.delete_collection || progress.singly.contains(s.kind));
            each.filter(one_by_one).map(count).collect()
        }
        Act::Singles => {
            let single = |&(kind, ref name, ref uid): &(Kind, Name, Uid)| Write::Delete {
                target: Target { kind, key: Key::new(namespace.meta.name.clone(), name.clone()), uid: uid.clone(), version: None },
                propagation: Some(Propagation::Background),
                grace: None,
            };
            progress.items.iter().map(single).collect()
        }
        Act::Count => {
            let counted = |s: &&Served| s.verbs.list && !progress.unlisted.contains(s.kind) && !progress.errors.contains_key(s.kind);
            each.filter(counted).map(count).collect()
        }
    }
}
