//! Live reads that take more than one request: what a server serves, and what is left of a kind.

use std::sync::Arc;

use evenkeel_api::{Key, Kind, Resource};
use evenkeel_plan::{Discovered, Done, FailureKind, Left, Served, Verbs};
use http::Method;
use serde_json::Value;

use crate::{
    Api, Reply,
    api::{Ask, JSON},
    request::escaped,
    writer::{failed, refused},
};

/// All of discovery in one answer per root (KEP-3352), or the plain one of a server that does not have that.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
/// Objects without their contents.
const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
/// One object without its contents.
pub(crate) const ONE: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
/// What a write left, without its contents where the server can leave them out.
pub(crate) const ANSWER: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
/// Objects in one page of a list.
const PAGE: usize = 500;
/// Most pages of one list: 10 million objects.
const PAGES: usize = 20_000;
/// Most group versions that are asked one by one.
const VERSIONS: usize = 2_000;

async fn get(api: &Api, path: &str, query: &str, accept: &str) -> Result<Reply, Done> {
    let ask = Ask { method: Method::GET, path, query, accept };
    let reply = api.send(ask, &|| None, None).await.map_err(|error| failed(FailureKind::Other, error.to_string()))?;
    if reply.code.is_success() { Ok(reply) } else { Err(Done::Failed(refused(reply.code, reply.status()))) }
}

async fn document(api: &Api, path: &str, query: &str, accept: &str) -> Result<Value, Done> {
    let garbage = || failed(FailureKind::Other, format!("the server answered {path} with something that is no JSON"));
    get(api, path, query, accept).await?.json().ok_or_else(garbage)
}

impl Api {
    /// All that the server serves, as far as it can be asked.
    ///
    /// # Errors
    /// When nothing at all can be asked; in words.
    pub async fn discover(&self) -> Result<Arc<Discovered>, String> {
        match discover(self).await {
            Done::Discovered(found) => Ok(found),
            Done::Failed(failure) => Err(failure.message),
            other => Err(format!("{other:?}")),
        }
    }
}

/// Counts what is left, page by page, without contents.
pub(crate) async fn count(api: &Api, kind: Kind, place: &Key) -> Done {
    let path = kind.collection_path(Some(&place.namespace));
    let mut left = Left::default();
    let mut token = String::new();
    for _ in 0..PAGES {
        let query = if token.is_empty() { format!("limit={PAGE}") } else { format!("limit={PAGE}&continue={}", escaped(&token)) };
        let page = match document(api, &path, &query, METADATA).await {
            Ok(page) => page,
            Err(done) => return done,
        };
        if !page["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) {
            return failed(FailureKind::Other, format!("the server answered {path} with something that is no list"));
        }
        // A list of nothing has no items at all.
        for item in page["items"].as_array().into_iter().flatten() {
            let meta = &item["metadata"];
            let text = |field: &str| meta[field].as_str().unwrap_or_default();
            let finalizers = meta["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str);
            left.add(text("name"), text("uid"), finalizers);
        }
        match page.pointer("/metadata/continue").and_then(Value::as_str) {
            Some(more) if !more.is_empty() => token = more.to_owned(),
            _ => return Done::Counted(left),
        }
    }
    failed(FailureKind::Other, format!("{path}: a list of more than {PAGES} pages"))
}

/// Asks what the server serves. Only an answer to neither root is a failure: groups that cannot be asked are told of.
pub(crate) async fn discover(api: &Api) -> Done {
    let mut found = Discovered::default();
    let mut failure = None;
    for root in ["/api", "/apis"] {
        match document(api, root, "", AGGREGATED).await {
            Ok(list) if list["kind"] == "APIGroupDiscoveryList" => aggregated(&list, &mut found),
            Ok(list) => one_by_one(api, root, &list, &mut found).await,
            Err(Done::Failed(why)) => {
                // Without the core group there are no pods, and nobody may say that none are left.
                found.failed.insert(if root == "/api" { "v1" } else { "apis" }.to_owned(), why.message.clone());
                failure = Some(why);
            }
            Err(other) => return other,
        }
    }
    match failure {
        Some(why) if found.resources.is_empty() => Done::Failed(why),
        _ => Done::Discovered(Arc::new(found)),
    }
}

/// Reads an `APIGroupDiscoveryList`. Of each resource, the first version that lists it counts: they come in the group's order.
fn aggregated(list: &Value, found: &mut Discovered) {
    for group in list["items"].as_array().into_iter().flatten() {
        let name = group.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        for version in group["versions"].as_array().into_iter().flatten() {
            let version_name = version["version"].as_str().unwrap_or_default();
            let group_version = if name.is_empty() { version_name.to_owned() } else { format!("{name}/{version_name}") };
            if version["freshness"] == "Stale" {
                found.failed.insert(group_version.clone(), format!("stale GroupVersion discovery: {group_version}"));
                continue;
            }
            for resource in version["resources"].as_array().into_iter().flatten() {
                let kind = resource.pointer("/responseKind/kind").and_then(Value::as_str).unwrap_or_default();
                add(found, name, version_name, &resource["resource"], kind, resource["scope"] == "Namespaced", &resource["verbs"]);
            }
        }
    }
}

fn add(found: &mut Discovered, group: &str, version: &str, plural: &Value, kind: &str, namespaced: bool, verbs: &Value) {
    let Some(plural) = plural.as_str().filter(|p| !p.is_empty() && !p.contains('/')) else { return };
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    if let Some(preferred) = found.find(group, plural).map(|served| served.kind) {
        found.kinds.entry((api_version, kind.to_owned())).or_insert(preferred);
        return;
    }
    let can = |verb: &str| verbs.as_array().into_iter().flatten().any(|v| v == verb);
    let verbs = Verbs { list: can("list"), watch: can("watch"), delete: can("delete"), delete_collection: can("deletecollection") };
    let resource = Resource::found(group, version, plural, kind, namespaced);
    found.kinds.entry((api_version, kind.to_owned())).or_insert(resource);
    found.resources.push(Served { kind: resource, verbs });
}

/// Discovery of a server without the aggregated form: each group version is asked by itself.
async fn one_by_one(api: &Api, root: &str, list: &Value, found: &mut Discovered) {
    let texts =
        |value: &Value| -> Vec<String> { value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect() };
    let versions: Vec<String> = if root == "/api" {
        texts(&list["versions"])
    } else {
        let groups = list["groups"].as_array().into_iter().flatten();
        groups.flat_map(preferred_first).collect()
    };
    for group_version in versions.into_iter().take(VERSIONS) {
        let (group, version) = match group_version.split('/').collect::<Vec<_>>()[..] {
            [version] if root == "/api" && !version.is_empty() => ("", version),
            [group, version] if root == "/apis" && !group.is_empty() && !version.is_empty() => (group, version),
            _ => {
                found.malformed.push(group_version);
                continue;
            }
        };
        match document(api, &format!("{root}/{group_version}"), "", JSON).await {
            Ok(resources) => {
                for resource in resources["resources"].as_array().into_iter().flatten() {
                    let kind = resource["kind"].as_str().unwrap_or_default();
                    add(found, group, version, &resource["name"], kind, resource["namespaced"] == true, &resource["verbs"]);
                }
            }
            Err(Done::Failed(why)) => drop(found.failed.insert(group_version.clone(), why.message)),
            Err(_) => {}
        }
    }
}

/// Group versions of one `APIGroup`, the preferred one first.
fn preferred_first(group: &Value) -> Vec<String> {
    let name = |version: &Value| version["groupVersion"].as_str().map(str::to_owned);
    let preferred = name(&group["preferredVersion"]);
    let mut versions: Vec<String> = group["versions"].as_array().into_iter().flatten().filter_map(name).collect();
    versions.sort_by_key(|v| Some(v) != preferred.as_ref());
    versions
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    #[test]
    fn of_each_resource_the_first_version_counts_and_stale_ones_are_told_of() {
        let resource = |name: &str, kind: &str, scope: &str, verbs: Value| {
            json!({"resource": name, "responseKind": {"kind": kind}, "scope": scope, "verbs": verbs,
            "subresources": [{"subresource": "status", "verbs": ["get"]}]})
        };
        let list = json!({"kind": "APIGroupDiscoveryList", "items": [
            {"metadata": {}, "versions": [{"version": "v1", "resources": [resource("pods", "Pod", "Namespaced", json!(["list", "delete", "deletecollection", "watch"]))]}]},
            {"metadata": {"name": "example.com"}, "versions": [
                {"version": "v2", "resources": [resource("shelves", "Shelf", "Cluster", json!(["get"]))]},
                {"version": "v1", "resources": [resource("shelves", "Shelf", "Namespaced", json!(["list"])), resource("books", "Book", "Namespaced", json!(["delete"]))]}]},
            {"metadata": {"name": "metrics.k8s.io"}, "versions": [{"version": "v1beta1", "freshness": "Stale"}]},
        ]});
        let mut found = Discovered::default();
        aggregated(&list, &mut found);
        let told: Vec<_> =
            found.resources.iter().map(|s| (s.kind.api_version(), s.kind.plural, s.kind.namespaced, s.verbs.delete)).collect();
        assert_eq!(
            told,
            [
                ("v1".into(), "pods", true, true),
                ("example.com/v2".into(), "shelves", false, false),
                ("example.com/v1".into(), "books", true, true)
            ]
        );
        assert!(std::ptr::eq(found.resources[0].kind, &evenkeel_api::PODS));
        assert_eq!(
            found.failed,
            BTreeMap::from([("metrics.k8s.io/v1beta1".to_owned(), "stale GroupVersion discovery: metrics.k8s.io/v1beta1".to_owned())])
        );
    }

    #[test]
    fn the_preferred_version_comes_first() {
        let versions = json!([{"groupVersion": "example.com/v2"}, {"groupVersion": "example.com/v1"}]);
        assert_eq!(
            preferred_first(&json!({"preferredVersion": {"groupVersion": "example.com/v1"}, "versions": versions})),
            ["example.com/v1", "example.com/v2"]
        );
    }

    #[test]
    fn tokens_are_escaped() {
        assert_eq!(escaped("a+b/c="), "a%2Bb%2Fc%3D");
    }
}
