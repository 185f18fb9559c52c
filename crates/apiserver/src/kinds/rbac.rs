//! Roles and bindings (rbac `ValidateRole`, `ValidateRoleBinding`).

use serde_json::Value;

use super::errors::Errors;
use super::{Check, DEFAULT, Rules, internal, selectors};
use crate::json;
use crate::meta;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(crate) const ROLE: Rules = Rules {
    name: meta::path_segment,
    create_on_update: true,
    on_update: &[Check::Meta, Check::Always, Check::MetaUpdate],
    validate: |doc, _, e, env| {
        for (i, r) in json::list(doc, "rules").iter().enumerate() {
            rule(&format!("rules[{i}]"), r, env.served.namespaced, e);
        }
        let Some(a) = doc.get("aggregationRule").filter(|a| !a.is_null()) else { return };
        let path = "aggregationRule.clusterRoleSelectors";
        let list = json::list(a, "clusterRoleSelectors");
        if list.is_empty() {
            e.required(path, "at least one clusterRoleSelector required if aggregationRule is non-nil");
        }
        for (i, s) in list.iter().enumerate() {
            let at = format!("{path}[{i}]");
            selectors::label_selector(&at, s, e);
            if !selectors::usable(s) {
                e.invalid(&at, &Value::Null, "invalid label selector.");
            }
        }
    },
    ..DEFAULT
};

fn rule(at: &str, r: &Value, namespaced: bool, e: &mut Errors) {
    if json::list(r, "verbs").is_empty() {
        e.required(&format!("{at}.verbs"), "verbs must contain at least one value");
    }
    let urls = json::list(r, "nonResourceURLs");
    if !urls.is_empty() {
        let path = format!("{at}.nonResourceURLs");
        let shown = Value::from(urls.to_vec());
        if namespaced {
            e.invalid(&path, &shown, "namespaced rules cannot apply to non-resource URLs");
        }
        if ["apiGroups", "resources", "resourceNames"].iter().any(|k| !json::list(r, k).is_empty()) {
            e.invalid(&path, &shown, "rules cannot apply to both regular resources and non-resource URLs");
        }
        return;
    }
    if json::list(r, "apiGroups").is_empty() {
        e.required(&format!("{at}.apiGroups"), "resource rules must supply at least one api group");
    }
    if json::list(r, "resources").is_empty() {
        e.required(&format!("{at}.resources"), "resource rules must supply at least one resource");
    }
}

pub(crate) const ROLE_BINDING: Rules = Rules {
    name: meta::path_segment,
    create_on_update: true,
    on_update: &[Check::Meta, Check::Always, Check::MetaUpdate, Check::Update],
    validate: |doc, _, e, env| {
        let r = &doc["roleRef"];
        let (group, kind, name) = (json::text(r, "apiGroup"), json::text(r, "kind"), json::text(r, "name"));
        if group != GROUP {
            e.unsupported("roleRef.apiGroup", group, &[GROUP]);
        }
        let kinds: &[&str] = if env.served.namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
        if !kinds.contains(&kind) {
            e.unsupported("roleRef.kind", kind, kinds);
        }
        if name.is_empty() {
            e.required("roleRef.name", "");
        } else {
            e.names("roleRef.name", name, meta::path_segment(name));
        }
        for (i, s) in json::list(doc, "subjects").iter().enumerate() {
            subject(&format!("subjects[{i}]"), s, env.served.namespaced, e);
        }
    },
    validate_update: |new, old, e, _| {
        if new["roleRef"] != old["roleRef"] {
            e.invalid("roleRef", &internal::form("rbac.authorization.k8s.io/v1.RoleRef", &new["roleRef"]), "cannot change roleRef");
        }
    },
    ..DEFAULT
};

fn subject(at: &str, s: &Value, namespaced: bool, e: &mut Errors) {
    let (name, group) = (json::text(s, "name"), json::text(s, "apiGroup"));
    if name.is_empty() {
        e.required(&format!("{at}.name"), "");
    }
    match json::text(s, "kind") {
        "ServiceAccount" => {
            e.name_if_any(&format!("{at}.name"), name, meta::dns_subdomain);
            if !group.is_empty() {
                e.unsupported(&format!("{at}.apiGroup"), group, &[""]);
            }
            if !namespaced && json::text(s, "namespace").is_empty() {
                e.required(&format!("{at}.namespace"), "");
            }
        }
        "User" | "Group" => {
            if group != GROUP {
                e.unsupported(&format!("{at}.apiGroup"), group, &[GROUP]);
            }
        }
        other => e.unsupported(&format!("{at}.kind"), other, &["ServiceAccount", "User", "Group"]),
    }
}
