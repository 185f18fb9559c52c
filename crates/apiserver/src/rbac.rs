//! Authorization by stored roles and bindings. `system:masters` may do everything.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use serde_json::Value;

use crate::json;
use crate::request::{Request, Response, UserInfo};
use crate::server::{Call, Server};
use crate::status::ApiError;

/// One rule of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) verbs: Vec<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) resources: Vec<String>,
    pub(crate) names: Vec<String>,
    pub(crate) urls: Vec<String>,
}

/// What somebody wants to do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attributes<'a> {
    pub(crate) verb: &'a str,
    pub(crate) group: &'a str,
    /// Resource, with its subresource: `pods/status`.
    pub(crate) resource: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// Set for paths that are no resource.
    pub(crate) path: &'a str,
}

/// A binding's scope and rules, and what allows by it.
#[derive(Debug)]
struct Grant {
    scope: Option<String>,
    rules: Arc<Vec<Rule>>,
    /// Place among all grants: the first that allows is named.
    order: usize,
    text: String,
}

/// All bindings, by subject.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    by_subject: BTreeMap<String, Vec<Grant>>,
}

fn texts(v: &Value, k: &str) -> Vec<String> {
    v[k].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The rules of a role document.
pub(crate) fn rules_of(role: &Value) -> Vec<Rule> {
    json::list(role, "rules")
        .iter()
        .map(|r| Rule {
            verbs: texts(r, "verbs"),
            groups: texts(r, "apiGroups"),
            resources: texts(r, "resources"),
            names: texts(r, "resourceNames"),
            urls: texts(r, "nonResourceURLs"),
        })
        .collect()
}

impl Rule {
    fn covers(&self, a: &Attributes<'_>) -> bool {
        let has = |l: &[String], x: &str| l.iter().any(|i| i == "*" || i == x);
        if !has(&self.verbs, a.verb) {
            return false;
        }
        if !a.path.is_empty() {
            return self.urls.iter().any(|u| match u.strip_suffix('*') {
                Some(p) => a.path.starts_with(p),
                None => u == a.path,
            });
        }
        let (_, sub) = a.resource.split_once('/').unwrap_or((a.resource, ""));
        let resource = self
            .resources
            .iter()
            .any(|r| r == "*" || r == a.resource || (!sub.is_empty() && r.strip_prefix("*/").is_some_and(|s| s == sub)));
        has(&self.groups, a.group) && resource && (self.names.is_empty() || (!a.name.is_empty() && self.names.iter().any(|n| n == a.name)))
    }

    /// Whether everything that `other` allows is allowed by this rule.
    fn contains(&self, other: &Rule) -> bool {
        let all = |have: &[String], want: &[String]| want.iter().all(|w| have.iter().any(|h| h == "*" || h == w));
        all(&self.verbs, &other.verbs)
            && all(&self.groups, &other.groups)
            && all(&self.resources, &other.resources)
            && (self.names.is_empty() || (!other.names.is_empty() && other.names.iter().all(|n| self.names.contains(n))))
            && other
                .urls
                .iter()
                .all(|u| self.urls.iter().any(|h| h == "*" || h == u || h.strip_suffix('*').is_some_and(|p| u.starts_with(p))))
            && (other.urls.is_empty() == self.urls.is_empty())
    }
}

impl Policy {
    fn load(server: &Server) -> Policy {
        let docs = |log: &str| -> Vec<(String, Value)> {
            let (_, items) = server.store.list(log, "");
            items.iter().map(|s| (s.namespace().to_owned(), serde_json::from_slice(&s.bytes).unwrap_or(Value::Null))).collect()
        };
        const GROUP: &str = "rbac.authorization.k8s.io";
        let mut roles: BTreeMap<(String, String), Arc<Vec<Rule>>> = BTreeMap::new();
        for (ns, d) in docs(&format!("{GROUP}/clusterroles")).into_iter().chain(docs(&format!("{GROUP}/roles"))) {
            roles.insert((ns, json::text(&d, "metadata.name").to_owned()), Arc::new(rules_of(&d)));
        }
        let mut policy = Policy::default();
        let mut order = 0;
        for (ns, d) in docs(&format!("{GROUP}/clusterrolebindings")).into_iter().chain(docs(&format!("{GROUP}/rolebindings"))) {
            let home = if json::text(&d, "roleRef.kind") == "Role" { ns.clone() } else { String::new() };
            let Some(rules) = roles.get(&(home, json::text(&d, "roleRef.name").to_owned())) else { continue };
            let scope = (!ns.is_empty()).then(|| ns.clone());
            for s in json::list(&d, "subjects") {
                let name = json::text(s, "name");
                let subject = match json::text(s, "kind") {
                    "Group" => format!("group:{name}"),
                    "ServiceAccount" => format!("user:system:serviceaccount:{}:{name}", json::text(s, "namespace")),
                    _ => format!("user:{name}"),
                };
                let binding = match &scope {
                    Some(ns) => format!("RoleBinding \"{}/{ns}\"", json::text(&d, "metadata.name")),
                    None => format!("ClusterRoleBinding \"{}\"", json::text(&d, "metadata.name")),
                };
                let who = match json::text(s, "kind") {
                    "ServiceAccount" => format!("ServiceAccount \"{name}/{}\"", json::text(s, "namespace")),
                    kind => format!("{kind} \"{name}\""),
                };
                let text = format!(
                    "RBAC: allowed by {binding} of {} \"{}\" to {who}",
                    json::text(&d, "roleRef.kind"),
                    json::text(&d, "roleRef.name")
                );
                order += 1;
                let grant = Grant { scope: scope.clone(), rules: rules.clone(), order, text };
                policy.by_subject.entry(subject).or_default().push(grant);
            }
        }
        policy
    }

    /// All rules of a user within a namespace (empty: cluster scope).
    pub(crate) fn rules_for<'a>(&'a self, user: &UserInfo, namespace: &'a str) -> impl Iterator<Item = &'a Rule> {
        self.grants_for(user, namespace).flat_map(|g| g.rules.iter())
    }

    fn grants_for<'a>(&'a self, user: &UserInfo, namespace: &'a str) -> impl Iterator<Item = &'a Grant> {
        let subjects: Vec<String> =
            std::iter::once(format!("user:{}", user.name)).chain(user.groups.iter().map(|g| format!("group:{g}"))).collect();
        subjects
            .into_iter()
            .filter_map(|s| self.by_subject.get(&s))
            .flatten()
            .filter(move |g| g.scope.as_deref().is_none_or(|s| s == namespace && !namespace.is_empty()))
    }

    /// Why a user may do something; `None`: he may not, or needs no reason.
    pub(crate) fn reason(&self, user: &UserInfo, a: &Attributes<'_>) -> Option<String> {
        self.grants_for(user, a.namespace).filter(|g| g.rules.iter().any(|r| r.covers(a))).min_by_key(|g| g.order).map(|g| g.text.clone())
    }

    pub(crate) fn allows(&self, user: &UserInfo, a: &Attributes<'_>) -> bool {
        self.rules_for(user, a.namespace).any(|r| r.covers(a))
    }
}

/// The policy of the moment, rebuilt after roles or bindings changed.
pub(crate) fn policy(server: &Server) -> Arc<Policy> {
    let mut cached = server.policy.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(p) = &*cached {
        return p.clone();
    }
    let p = Arc::new(Policy::load(server));
    *cached = Some(p.clone());
    p
}

/// Forgets the policy: roles or bindings changed.
pub(crate) fn forget(server: &Server) {
    *server.policy.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

fn is_master(user: &UserInfo) -> bool {
    user.groups.iter().any(|g| g == "system:masters")
}

/// Whether a user may do something.
pub(crate) fn allows(server: &Server, user: &UserInfo, a: &Attributes<'_>) -> bool {
    !server.options.authorize || is_master(user) || policy(server).allows(user, a)
}

/// Whether a user may do something with a path that is no resource.
pub(crate) fn allows_path(server: &Server, user: &UserInfo, verb: &str, path: &str) -> bool {
    allows(server, user, &Attributes { verb, path, ..Attributes::default() })
}

fn http_verb(req: &Request) -> String {
    req.method.as_str().to_lowercase()
}

/// 403 for a path that names no served resource, when the user may not even ask.
pub(crate) fn refuse_path(server: &Server, req: &Request) -> Option<Response> {
    if let Some(route) = crate::route::parse(&req.path) {
        let verb = match (req.method.as_str(), route.name.is_some()) {
            ("GET" | "HEAD", true) => "get",
            ("GET" | "HEAD", false) => "list",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            (_, true) => "delete",
            _ => "deletecollection",
        };
        let a = Attributes {
            verb,
            group: route.group,
            resource: route.plural,
            namespace: route.namespace.unwrap_or(""),
            name: route.name.unwrap_or(""),
            path: "",
        };
        if allows(server, &req.user, &a) {
            return None;
        }
        return Some(refusal(&req.user, &a).to_response());
    }
    if allows_path(server, &req.user, &http_verb(req), &req.path) {
        return None;
    }
    Some(path_refusal(&req.user, &http_verb(req), &req.path).to_response())
}

/// The 403 for a path.
pub fn path_refusal(user: &UserInfo, verb: &str, path: &str) -> ApiError {
    let mut e = ApiError::new(403, "Forbidden", format!("forbidden: User {:?} cannot {verb} path {path:?}", user.name));
    e.details = serde_json::json!({});
    e
}

pub(crate) fn refusal(user: &UserInfo, a: &Attributes<'_>) -> ApiError {
    let (plural, _) = a.resource.split_once('/').unwrap_or((a.resource, ""));
    let qualified = if a.group.is_empty() { plural.to_owned() } else { format!("{plural}.{}", a.group) };
    let object = if a.name.is_empty() { qualified } else { format!("{qualified} {:?}", a.name) };
    let place = if a.namespace.is_empty() { "at the cluster scope".to_owned() } else { format!("in the namespace {:?}", a.namespace) };
    let mut e = ApiError::new(
        403,
        "Forbidden",
        format!(
            "{object} is forbidden: User {:?} cannot {} resource {:?} in API group {:?} {place}",
            user.name, a.verb, a.resource, a.group
        ),
    );
    e.details = crate::status::details(a.group, plural, a.name);
    e
}

/// Refuses a call that its user may not make.
pub(crate) fn check(call: &Call<'_>, verb: &str) -> Result<(), ApiError> {
    let user = &call.req.user;
    if !call.server.options.authorize || is_master(user) {
        return Ok(());
    }
    let r = &call.resource;
    let resource = match call.route.subresource {
        Some(s) => format!("{}/{s}", r.plural),
        None => r.plural.clone(),
    };
    // A namespace is its own place.
    let namespace = match call.route.namespace {
        Some(ns) => ns,
        None if r.plural == "namespaces" && r.group.is_empty() => call.route.name.unwrap_or(""),
        None => "",
    };
    // A list or watch of one name counts as access to that name.
    let selected = crate::selector::fields::FieldSelector::parse(call.query.get("fieldSelector"), r).unwrap_or_default();
    let name = call.route.name.or(selected.name()).unwrap_or("");
    let a = Attributes { verb, group: &r.group, resource: &resource, namespace, name, path: "" };
    if policy(call.server).allows(user, &a) {
        return Ok(());
    }
    let shown = Attributes { name: call.route.name.unwrap_or(""), ..a };
    Err(refusal(user, &shown))
}

/// Refuses roles that grant more than their writer has.
pub(crate) fn check_escalation(server: &Server, user: &UserInfo, namespace: &str, group_resource: &str, doc: &Value) -> Result<(), String> {
    if !server.options.authorize || is_master(user) {
        return Ok(());
    }
    let policy = policy(server);
    let (verb, rules) = match group_resource {
        "roles" | "clusterroles" => ("escalate", rules_of(doc)),
        _ => {
            let (log, key) = match json::text(doc, "roleRef.kind") {
                "Role" => ("roles", format!("{namespace}/{}", json::text(doc, "roleRef.name"))),
                _ => ("clusterroles", json::text(doc, "roleRef.name").to_owned()),
            };
            let role = server.store.get(&format!("rbac.authorization.k8s.io/{log}"), &key);
            let role = role.and_then(|s| serde_json::from_slice::<Value>(&s.bytes).ok());
            ("bind", role.map(|r| rules_of(&r)).unwrap_or_default())
        }
    };
    let resource =
        if verb == "bind" { if json::text(doc, "roleRef.kind") == "Role" { "roles" } else { "clusterroles" } } else { group_resource };
    let name = if verb == "bind" { json::text(doc, "roleRef.name") } else { json::text(doc, "metadata.name") };
    let a = Attributes { verb, group: "rbac.authorization.k8s.io", resource, namespace, name, path: "" };
    if policy.allows(user, &a) {
        return Ok(());
    }
    let have: Vec<&Rule> = policy.rules_for(user, namespace).collect();
    let missing: Vec<String> = rules.iter().filter(|r| !have.iter().any(|h| h.contains(r))).map(compact).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let groups = user.groups.iter().map(|g| format!("{g:?}")).collect::<Vec<_>>().join(" ");
    Err(format!(
        "user {:?} (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        missing.join("\n")
    ))
}

fn compact(r: &Rule) -> String {
    let list = |l: &[String]| l.iter().map(|x| format!("{x:?}")).collect::<Vec<_>>().join(" ");
    let mut parts = Vec::new();
    for (name, l) in [
        ("APIGroups", &r.groups),
        ("Resources", &r.resources),
        ("ResourceNames", &r.names),
        ("NonResourceURLs", &r.urls),
        ("Verbs", &r.verbs),
    ] {
        if !l.is_empty() {
            parts.push(format!("{name}:[{}]", list(l)));
        }
    }
    format!("{{{}}}", parts.join(", "))
}
