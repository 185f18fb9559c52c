//! `evenkeel plan --if-deleted`: prints what would go and what would stay if an object were deleted, and deletes nothing.

use clap::ValueEnum;
use evenkeel_api::{FOREGROUND, Key, NAMESPACES, ORPHAN};
use evenkeel_cache::Stores;
use evenkeel_garbage_collector::what_if;
use evenkeel_plan::Propagation;

use crate::{kind_names, planner::Planner};

/// How dependents go, in kubectl's words.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Cascade {
    /// Dependents go after it.
    Background,
    /// Dependents go before it.
    Foreground,
    /// Dependents stay.
    Orphan,
}

/// What is asked.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    /// The object, such as `deployment/web`.
    pub(crate) object: &'a str,
    /// Its namespace, where it is in one; none: `default`.
    pub(crate) namespace: Option<&'a str>,
    /// How; none: as the server does it when nobody says.
    pub(crate) cascade: Option<Cascade>,
    /// Whether every object has its line.
    pub(crate) all: bool,
}

/// The answer, from a planner whose caches are full.
///
/// # Errors
/// When there is no such object, or nobody can tell.
pub(crate) fn answer(planner: &Planner, question: &Question<'_>) -> Result<String, String> {
    let told = tell(&planner.read(), question);
    let not_known = planner.not_known();
    match told {
        Ok(told) => Ok(format!("{told}{not_known}")),
        Err(error) => Err(format!("{error}\n{not_known}").trim_end().to_owned()),
    }
}

fn tell(stores: &Stores, question: &Question<'_>) -> Result<String, String> {
    let Some((given, name)) = kind_and_name(question.object) else { return Err(HOW_TO_NAME.to_owned()) };
    let kind = kind_names::find(stores, given)?;
    if !stores.any(kind).is_some_and(|store| store.synced()) {
        return Err(format!("{kind} cannot be listed and watched"));
    }
    let namespace = if kind.namespaced { question.namespace.unwrap_or("default") } else { "" };
    let propagation = question.cascade.map(|cascade| match cascade {
        Cascade::Background => Propagation::Background,
        Cascade::Foreground => Propagation::Foreground,
        Cascade::Orphan => Propagation::Orphan,
    });
    let tree = what_if::if_deleted(stores, kind, &Key::new(namespace, name), propagation);
    let Some(tree) = tree else {
        let place = if kind.namespaced { format!(" in namespace {namespace:?}") } else { String::new() };
        return Err(format!("{kind} {name:?} not found{place}"));
    };
    let content = if *kind == NAMESPACES { content(stores, name) } else { String::new() };
    Ok(tree.tell(question.all) + &content)
}

/// How objects are named.
pub(crate) const HOW_TO_NAME: &str = "name an object as KIND/NAME, such as deployment/web";

/// The two halves of `KIND/NAME`.
pub(crate) fn kind_and_name(object: &str) -> Option<(&str, &str)> {
    object.split_once('/').filter(|(kind, name)| !kind.is_empty() && !name.is_empty())
}

/// What is in a namespace, and goes with it: by the work of another loop, and without any reference.
fn content(stores: &Stores, namespace: &str) -> String {
    let (mut count, mut held) = (0, 0);
    for (_, store) in stores.kinds() {
        for key in store.keys().into_iter().filter(|key| *key.namespace == *namespace) {
            count += 1;
            let finalizers = store.header(&key.namespace, &key.name).and_then(|header| header.meta()).map(|meta| &*meta.finalizers);
            held += usize::from(finalizers.unwrap_or_default().iter().any(|f| **f != *ORPHAN && **f != *FOREGROUND));
        }
    }
    let held = if held == 0 { String::new() } else { format!(", {held} of them when their finalizers let them") };
    format!("before it, the namespace loop deletes all that is in it: {count} objects{held}\n")
}
