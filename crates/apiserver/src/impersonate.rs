//! Acting as somebody else by header.

use crate::rbac::{self, Attributes};
use crate::request::{Request, UserInfo};
use crate::server::Server;
use crate::status::ApiError;

const PREFIX: &str = "system:serviceaccount:";

/// The user that a request asks to act as; `None`: as himself.
pub(crate) fn acting_user(server: &Server, req: &Request) -> Result<Option<UserInfo>, ApiError> {
    let text = |name: &str| req.headers.get(name).and_then(|h| h.to_str().ok()).unwrap_or("");
    let name = text("impersonate-user");
    let mut groups: Vec<String> =
        req.headers.get_all("impersonate-group").iter().filter_map(|h| h.to_str().ok()).map(str::to_owned).collect();
    let uid = text("impersonate-uid");
    let extra = req.headers.keys().any(|k| k.as_str().starts_with("impersonate-extra-"));
    if name.is_empty() {
        if groups.is_empty() && uid.is_empty() && !extra {
            return Ok(None);
        }
        let list = |l: &[String]| match l {
            [] => "(nil)".to_owned(),
            l => format!("{{{}}}", l.iter().map(|t| format!("{t:?}")).collect::<Vec<_>>().join(", ")),
        };
        return Err(ApiError::bad_request(format!(
            "requested &user.DefaultInfo{{Name:\"\", UID:{uid:?}, Groups:[]string{}, Extra:map[string][]string(nil)}} without impersonating a user name",
            list(&groups)
        )));
    }
    let account = name.strip_prefix(PREFIX).and_then(|r| r.split_once(':'));
    let wanted = match account {
        Some((ns, n)) => Attributes { verb: "impersonate", resource: "serviceaccounts", namespace: ns, name: n, ..Attributes::default() },
        None => Attributes { verb: "impersonate", resource: "users", name, ..Attributes::default() },
    };
    let groups_ok = groups.iter().all(|g| {
        rbac::allows(server, &req.user, &Attributes { verb: "impersonate", resource: "groups", name: g, ..Attributes::default() })
    });
    if !rbac::allows(server, &req.user, &wanted) || !groups_ok {
        return Err(refusal(req));
    }
    if groups.is_empty()
        && let Some((ns, _)) = account
    {
        groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{ns}")];
    }
    let anonymous = name == "system:anonymous";
    let last = if anonymous { "system:unauthenticated" } else { "system:authenticated" };
    if !groups.iter().any(|g| g == last) {
        groups.push(last.to_owned());
    }
    Ok(Some(UserInfo { name: name.to_owned(), uid: uid.to_owned(), groups }))
}

fn refusal(req: &Request) -> ApiError {
    let verb = req.method.as_str().to_lowercase();
    let Some(route) = crate::route::parse(&req.path) else { return rbac::path_refusal(&req.user, &verb, &req.path) };
    let verb = match (verb.as_str(), route.name.is_some()) {
        ("get", true) => "get",
        ("get", false) => "list",
        ("post", _) => "create",
        ("put", _) => "update",
        ("patch", _) => "patch",
        (_, true) => "delete",
        _ => "deletecollection",
    };
    let resource = match route.subresource {
        Some(s) => format!("{}/{s}", route.plural),
        None => route.plural.to_owned(),
    };
    rbac::refusal(
        &req.user,
        &Attributes {
            verb: &format!("impersonate-on:user-info:{verb}"),
            group: route.group,
            resource: &resource,
            namespace: route.namespace.unwrap_or(""),
            name: route.name.unwrap_or(""),
            path: "",
        },
    )
}
