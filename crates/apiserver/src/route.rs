//! From a path to what is asked for.

/// A path that names a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route<'a> {
    /// API group; empty for the core.
    pub group: &'a str,
    /// Version.
    pub version: &'a str,
    /// Namespace; `None`: none in the path.
    pub namespace: Option<&'a str>,
    /// Plural.
    pub plural: &'a str,
    /// Name of an object.
    pub name: Option<&'a str>,
    /// Subresource.
    pub subresource: Option<&'a str>,
    /// The old `/watch/` paths.
    pub watch: bool,
}

/// Reads a path; `None` when it names no resource.
pub fn parse(path: &str) -> Option<Route<'_>> {
    let mut parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    if parts.last() == Some(&"") {
        parts.pop();
    }
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let (watch, rest) = match rest {
        ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
        rest => (false, rest),
    };
    let base = Route { group, version, namespace: None, plural: "", name: None, subresource: None, watch };
    if let ["namespaces", "", plural] = *rest {
        // The namespace of no name: all of them.
        return Some(Route { plural, ..base });
    }
    if rest.iter().any(|p| p.is_empty()) {
        return None;
    }
    match *rest {
        [] => None,
        // Behind a subresource stands something only where requests are passed on.
        ["namespaces", _, _, _, sub, _, ..] if sub != "proxy" => None,
        // `namespaces/x/status` is a subresource of the namespace, anything else below it a resource in it.
        ["namespaces", ns, sub @ ("status" | "finalize")] if group.is_empty() => {
            Some(Route { plural: "namespaces", name: Some(ns), subresource: Some(sub), ..base })
        }
        ["namespaces", ns, plural] => Some(Route { namespace: Some(ns), plural, ..base }),
        ["namespaces", ns, plural, name] => Some(Route { namespace: Some(ns), plural, name: Some(name), ..base }),
        ["namespaces", ns, plural, name, sub, ..] => {
            Some(Route { namespace: Some(ns), plural, name: Some(name), subresource: Some(sub), ..base })
        }
        [plural] => Some(Route { plural, ..base }),
        [plural, name] => Some(Route { plural, name: Some(name), ..base }),
        [plural, name, sub, ..] => Some(Route { plural, name: Some(name), subresource: Some(sub), ..base }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_namespaces_are_told_apart() {
        let r = parse("/api/v1/namespaces/a/pods/b/status").expect("a resource");
        assert_eq!((r.namespace, r.plural, r.name, r.subresource), (Some("a"), "pods", Some("b"), Some("status")));
        let r = parse("/api/v1/namespaces/a/finalize").expect("a resource");
        assert_eq!((r.plural, r.name, r.subresource), ("namespaces", Some("a"), Some("finalize")));
        let r = parse("/apis/apps/v1/deployments").expect("a resource");
        assert_eq!((r.group, r.plural, r.name), ("apps", "deployments", None));
        assert_eq!(parse("/apis/apps/v1"), None);
        assert_eq!(parse("/api/v1/namespaces/a/pods/b/log/c"), None);
        assert!(parse("/api/v1/namespaces/a/pods/b/proxy/c/d").is_some_and(|r| r.subresource == Some("proxy")));
        assert!(parse("/api/v1/namespaces//pods").is_some_and(|r| r.namespace.is_none() && r.name.is_none()));
        assert!(parse("/api/v1/watch/namespaces/a/pods").is_some_and(|r| r.watch));
    }
}
