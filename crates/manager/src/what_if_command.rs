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

#[cfg(test)]
mod tests {
    use evenkeel_api::{Deployment, Namespace, Object, ReplicaSet};
    use evenkeel_cache::Mapping;
    use serde_json::json;

    use super::*;

    fn asked(object: &str, namespace: Option<&str>, cascade: Option<Cascade>) -> Result<String, String> {
        let meta = |name: &str| json!({"name": name, "namespace": "n", "uid": name, "resourceVersion": "1"});
        let spec = json!({"selector": {"matchLabels": {"app": "a"}}, "template": {"metadata": {"labels": {"app": "a"}}}});
        let deployment = Deployment::decode(json!({"metadata": meta("web"), "spec": spec}).to_string().as_bytes()).unwrap();
        let mut owned = meta("web-1");
        owned["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "web"}]);
        owned["finalizers"] = json!(["example.com/h"]);
        let set = ReplicaSet::decode(json!({"metadata": owned, "spec": spec}).to_string().as_bytes()).unwrap();
        let namespace_n = json!({"metadata": {"name": "n", "uid": "n", "resourceVersion": "1"}});
        let mut mapping = Mapping::default();
        let kinds = [Deployment::resource(), ReplicaSet::resource(), &NAMESPACES];
        kinds.iter().for_each(|kind| mapping.add(&kind.api_version(), kind.kind, kind));
        let stores =
            Stores::default().with([deployment]).with([set]).with([Namespace::decode(namespace_n.to_string().as_bytes()).unwrap()]);
        tell(&stores.with_mapping(mapping), &Question { object, namespace, cascade, all: false })
    }

    #[test]
    fn an_object_is_found_by_its_names_and_its_tree_told() {
        let told = asked("deploy/web", Some("n"), None).unwrap();
        let held = "  replicasets.apps/web-1 stays, being deleted: held by the finalizer example.com/h\n";
        assert_eq!(told, format!("deployments.apps/web goes\n{held}1 object would go, 1 would stay, 1 of them being deleted\n"));
        let orphaned = asked("Deployment/web", Some("n"), Some(Cascade::Orphan)).unwrap();
        assert!(orphaned.contains("replicasets.apps/web-1 stays: owned by nobody, loses its owner Deployment web\n"), "{orphaned}");
    }

    #[test]
    fn what_cannot_be_answered_is_an_error_that_says_why() {
        assert_eq!(asked("deploy/web", None, None), Err("deployments.apps \"web\" not found in namespace \"default\"".to_owned()));
        assert_eq!(asked("namespaces/m", None, None), Err("namespaces \"m\" not found".to_owned()));
        assert_eq!(asked("boat/x", None, None), Err("the server has no kind that is called \"boat\"".to_owned()));
        assert_eq!(asked("web", None, None), Err(HOW_TO_NAME.to_owned()));
    }

    #[test]
    fn of_a_namespace_what_another_loop_deletes_in_it_is_counted() {
        let told = asked("ns/n", None, None).unwrap();
        assert!(told.ends_with("deletes all that is in it: 2 objects, 1 of them when their finalizers let them\n"), "{told}");
    }
}
