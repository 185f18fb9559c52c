use evenkeel_api::{Key, Namespace, Pod};
use evenkeel_cache::{Change, Stores};
use evenkeel_plan::Trigger;

use crate::DELAY;

/// Namespaces that are being deleted, some time after each change of them; and at once when the last pod has left, which upstream only
/// notices when it looks again. Not before a first round was told: the delay stands before that.
pub(crate) fn triggers(change: &Change, stores: &Stores) -> Vec<Trigger> {
    if let Some((_, Some(namespace))) = change.of::<Namespace>() {
        return delayed(&namespace).into_iter().collect();
    }
    let Some((Some(gone), None)) = change.of::<Pod>() else { return Vec::new() };
    let name = &gone.meta.namespace;
    let emptied = || stores.of::<Pod>().in_namespace(name).next().is_none();
    match stores.of::<Namespace>().get("", name) {
        Some(namespace) if namespace.meta.deleting.is_some() && !namespace.conditions.is_empty() && emptied() => {
            vec![Trigger::now(namespace.meta.key())]
        }
        _ => Vec::new(),
    }
}

/// What a new leader finds.
pub(crate) fn all(stores: &Stores) -> Vec<Trigger> {
    stores.of::<Namespace>().iter().filter_map(|namespace| delayed(namespace)).collect()
}

fn delayed(namespace: &Namespace) -> Option<Trigger> {
    let key: Key = namespace.meta.key();
    namespace.meta.deleting.map(|_| Trigger { key, after: DELAY })
}
