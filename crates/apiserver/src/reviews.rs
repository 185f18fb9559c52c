//! Kinds that are asked and not kept: access reviews, token reviews, bindings.

use http::StatusCode;
use serde_json::{Value, json};

use crate::admission;
use crate::json;
use crate::meta;
use crate::rbac::{self, Attributes};
use crate::read::object_response;
use crate::request::{Response, UserInfo};
use crate::server::Call;
use crate::status::{ApiError, Cause};
use crate::sub::binding;
use crate::write::{Target, create::finish, decode_body, read_object, write_options};

/// Answers a kind that is never stored.
pub(crate) fn dispatch(call: &mut Call<'_>, verb: &str) -> Result<Response, ApiError> {
    let r = call.resource.clone();
    if !r.has_verb(verb) {
        return Err(ApiError::method_not_allowed());
    }
    if r.plural == "componentstatuses" {
        if let Some(name) = call.route.name {
            return Err(ApiError::not_found(&r, name));
        }
        return Ok(Response::json(
            StatusCode::OK,
            &json!({"kind": r.list_kind, "apiVersion": r.api_version(), "metadata": {}, "items": []}),
        ));
    }
    if call.route.name.is_some() {
        return Err(ApiError::method_not_allowed());
    }
    let target = Target::of(call.server, &r)?;
    let opts = write_options(call, "CreateOptions", false)?;
    let body = read_object(call.req, &target.served.kind)?;
    let mut doc = decode_body(call, &target, body, opts.validation)?;
    if r.namespaced {
        crate::write::check_namespace(call, &mut doc)?;
        admission::namespace::check(call.server, &r, call.namespace(), "")?;
    }
    if r.plural == "bindings" {
        let name = json::text(&doc, "metadata.name").to_owned();
        return binding::bind(call, &name, &doc, opts.dry_run);
    }
    answer(call, &target, &mut doc)?;
    if matches!(r.plural.as_str(), "selfsubjectreviews") {
        json::object_mut(&mut doc, "metadata").insert("creationTimestamp".into(), meta::seconds(call.server.options.clock.now()).into());
    }
    finish(&target, &mut doc);
    object_response(call, StatusCode::CREATED, doc)
}

fn answer(call: &Call<'_>, target: &Target, doc: &mut Value) -> Result<(), ApiError> {
    let user = &call.req.user;
    let kind = target.served.kind.as_str();
    match kind {
        "SelfSubjectReview" => {
            doc["status"] = json!({"userInfo": user_info(user)});
            let mut extra = serde_json::Map::new();
            for (k, v) in &call.req.headers {
                if let (Some(name), Ok(v)) = (k.as_str().strip_prefix("impersonate-extra-"), v.to_str()) {
                    extra.insert(name.to_owned(), json!([v]));
                }
            }
            if !extra.is_empty() {
                doc["status"]["userInfo"]["extra"] = Value::Object(extra);
            }
            Ok(())
        }
        "TokenReview" => {
            let token = json::text(doc, "spec.token");
            if token.is_empty() {
                return Err(ApiError::bad_request("token is required for TokenReview in authentication"));
            }
            // A token is good for this server; asked for others, it is good for none of them.
            let asked = json::list(doc, "spec.audiences");
            let good = asked.is_empty() || asked.iter().any(|a| a == AUDIENCE);
            doc["status"] = match call.server.user_of_token(token).filter(|_| good) {
                Some(u) => json!({"authenticated": true, "user": user_info(&u), "audiences": [AUDIENCE]}),
                None => json!({"user": {}, "error": "invalid bearer token"}),
            };
            Ok(())
        }
        "SelfSubjectRulesReview" => {
            let ns = json::text(doc, "spec.namespace").to_owned();
            if ns.is_empty() {
                return Err(ApiError::bad_request("no namespace on request"));
            }
            let (resources, urls) = rules_review(call, user, &ns);
            json::put(&mut doc["spec"], "namespace", None);
            doc["status"] = json!({"resourceRules": resources, "nonResourceRules": urls, "incomplete": false});
            Ok(())
        }
        _ => access_review(call, target, doc),
    }
}

/// Whom tokens of this server are for.
pub(crate) const AUDIENCE: &str = "https://kubernetes.default.svc";

/// Attributes of a path as messages show them.
fn path_form(na: &Option<Value>) -> Value {
    let get = |k: &str| na.as_ref().map_or("", |n| json::text(n, k));
    json!({"Path": get("path"), "Verb": get("verb")})
}

/// Whether a user may do something, and why.
fn verdict(call: &Call<'_>, user: &UserInfo, a: &Attributes<'_>) -> Value {
    let allowed = rbac::allows(call.server, user, a);
    let mut v = json!({"allowed": allowed});
    if allowed
        && !user.groups.iter().any(|g| g == "system:masters")
        && let Some(text) = rbac::policy(call.server).reason(user, a)
    {
        v["reason"] = text.into();
    }
    v
}

fn user_info(u: &UserInfo) -> Value {
    let mut m = json!({});
    if !u.name.is_empty() {
        m["username"] = u.name.as_str().into();
    }
    if !u.uid.is_empty() {
        m["uid"] = u.uid.as_str().into();
    }
    if !u.groups.is_empty() {
        m["groups"] = json!(u.groups);
    }
    m
}

fn rules_review(call: &Call<'_>, user: &UserInfo, ns: &str) -> (Vec<Value>, Vec<Value>) {
    let policy = rbac::policy(call.server);
    let (mut resources, mut urls) = (Vec::new(), Vec::new());
    let mut push = |r: &rbac::Rule| {
        if !r.urls.is_empty() {
            urls.push(json!({"verbs": r.verbs, "nonResourceURLs": r.urls}));
        }
        if !r.resources.is_empty() {
            let mut v = json!({"verbs": r.verbs, "apiGroups": r.groups, "resources": r.resources});
            if !r.names.is_empty() {
                v["resourceNames"] = json!(r.names);
            }
            resources.push(v);
        }
    };
    policy.rules_for(user, ns).for_each(&mut push);
    (resources, urls)
}

fn access_review(call: &Call<'_>, target: &Target, doc: &mut Value) -> Result<(), ApiError> {
    let kind = target.served.kind.as_str();
    let spec = &doc["spec"];
    let (ra, na) = (spec.get("resourceAttributes").cloned(), spec.get("nonResourceAttributes").cloned());
    let selfish = kind == "SelfSubjectAccessReview";
    let mut causes = Vec::new();
    match (&ra, &na) {
        (Some(_), Some(_)) => causes.push(Cause::new(
            "FieldValueInvalid",
            "spec.nonResourceAttributes",
            format!("Invalid value: {}: cannot be specified in combination with resourceAttributes", path_form(&na)),
        )),
        (None, None) => causes.push(Cause::new(
            "FieldValueInvalid",
            "spec.resourceAttributes",
            "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )),
        _ => {}
    }
    let user = if selfish {
        call.req.user.clone()
    } else {
        let groups: Vec<String> = json::list(spec, "groups").iter().filter_map(Value::as_str).map(str::to_owned).collect();
        if json::text(spec, "user").is_empty() && groups.is_empty() {
            causes.push(Cause::new(
                "FieldValueInvalid",
                "spec.user",
                "Invalid value: \"\": at least one of user or group must be specified",
            ));
        }
        UserInfo { name: json::text(spec, "user").to_owned(), uid: json::text(spec, "uid").to_owned(), groups }
    };
    if kind == "LocalSubjectAccessReview" {
        let ns = ra.as_ref().map_or("", |r| json::text(r, "namespace"));
        if na.is_some() {
            causes.push(Cause::new(
                "FieldValueInvalid",
                "spec.nonResourceAttributes",
                format!("Invalid value: {}: disallowed on this kind of request", path_form(&na)),
            ));
        }
        if ns != call.namespace() {
            causes.push(Cause::new(
                "FieldValueInvalid",
                "spec.resourceAttributes.namespace",
                format!("Invalid value: {ns:?}: must match metadata.namespace"),
            ));
        }
    }
    if !causes.is_empty() {
        // The reference leaves the kind out.
        return Err(ApiError::invalid(&target.served.group, "", "", &causes));
    }
    let allowed = match (&ra, &na) {
        (Some(r), _) => {
            let sub = json::text(r, "subresource");
            let resource =
                if sub.is_empty() { json::text(r, "resource").to_owned() } else { format!("{}/{sub}", json::text(r, "resource")) };
            let a = Attributes {
                verb: json::text(r, "verb"),
                group: json::text(r, "group"),
                resource: &resource,
                namespace: json::text(r, "namespace"),
                name: json::text(r, "name"),
                path: "",
            };
            verdict(call, &user, &a)
        }
        (_, Some(n)) => {
            let a = Attributes { verb: json::text(n, "verb"), path: json::text(n, "path"), ..Attributes::default() };
            verdict(call, &user, &a)
        }
        _ => json!({"allowed": false}),
    };
    doc["status"] = allowed;
    Ok(())
}
