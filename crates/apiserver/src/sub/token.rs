//! Tokens of service accounts: opaque, known to this server only.

use std::sync::PoisonError;

use http::StatusCode;
use serde_json::{Value, json};

use crate::json;
use crate::meta;
use crate::read::object_response;
use crate::request::{Response, UserInfo};
use crate::server::{Call, Server};
use crate::status::{ApiError, Cause};
use crate::write::{read_body, write_options};

/// Shortest and default life of a token, seconds.
const SHORTEST: i64 = 600;
const DEFAULT: i64 = 3600;
/// Most tokens remembered; the first to expire goes when there are more.
const LIMIT: usize = 10_000;

/// POST of a TokenRequest.
pub(crate) fn issue(call: &mut Call<'_>) -> Result<Response, ApiError> {
    let name = call.route.name.unwrap_or("").to_owned();
    write_options(call, "CreateOptions", false)?;
    let mut doc = if call.req.body.is_empty() { json!({}) } else { read_body(call.req)?.doc };
    let server = call.server.clone();
    let stored = server.store.get("/serviceaccounts", &call.key(&name)).ok_or_else(|| ApiError::not_found(&call.resource, &name))?;
    let account: Value = serde_json::from_slice(&stored.bytes).expect("the store holds what this server encoded");
    let given = json::int(&doc, "spec.expirationSeconds");
    if let Some(s) = given.filter(|s| *s < SHORTEST) {
        let cause = Cause::new(
            "FieldValueInvalid",
            "spec.expirationSeconds",
            format!("Invalid value: {s}: may not specify a duration less than 10 minutes"),
        );
        return Err(ApiError::invalid("authentication.k8s.io", "TokenRequest", "", &[cause]));
    }
    if let Some(bound) = doc["spec"].get("boundObjectRef").filter(|b| !b.is_null()) {
        let (plural, who) = match json::text(bound, "kind") {
            "Pod" => ("pods", json::text(bound, "name")),
            "Secret" => ("secrets", json::text(bound, "name")),
            "Node" => ("nodes", json::text(bound, "name")),
            other => return Err(ApiError::bad_request(format!("cannot bind token for serviceaccount {name:?} to object {other:?}"))),
        };
        let r = server.registry.get("", "v1", plural).ok_or_else(ApiError::no_such_path)?;
        let key = if plural == "nodes" { who.to_owned() } else { call.key(who) };
        if server.store.get(&r.storage_key(), &key).is_none() {
            return Err(ApiError::not_found(&r, who));
        }
    }
    let seconds = given.unwrap_or(DEFAULT);
    let now = server.options.clock.now();
    let until = now + jiff::SignedDuration::from_secs(seconds);
    let chance = &server.options.chance;
    let token = format!("evenkeel-{:016x}{:016x}", chance.next_u64(), chance.next_u64());
    let ns = call.namespace();
    let user = UserInfo {
        name: format!("system:serviceaccount:{ns}:{name}"),
        uid: json::text(&account, "metadata.uid").to_owned(),
        groups: vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{ns}"), "system:authenticated".into()],
    };
    remember(&server, &token, user, now, until);
    let spec = json::object_mut(&mut doc, "spec");
    spec.entry("audiences").or_insert_with(|| json!([crate::reviews::AUDIENCE]));
    spec.entry("boundObjectRef").or_insert(Value::Null);
    spec.insert("expirationSeconds".into(), seconds.into());
    let answer = json!({
        "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
        "metadata": {
            "name": name, "namespace": ns, "uid": account["metadata"]["uid"], "creationTimestamp": meta::seconds(now),
        },
        "spec": doc["spec"],
        "status": {"token": token, "expirationTimestamp": meta::seconds(until)},
    });
    object_response(call, StatusCode::CREATED, answer)
}

/// Makes a token known, and forgets those that have expired.
fn remember(server: &Server, token: &str, user: UserInfo, now: jiff::Timestamp, until: jiff::Timestamp) {
    let _turn = server.my_turn();
    let mut tokens = server.tokens.lock().unwrap_or_else(PoisonError::into_inner);
    let mut gone: Vec<String> = tokens.iter().filter(|(_, (_, t))| t.is_some_and(|t| t <= now)).map(|(k, _)| k.clone()).collect();
    if tokens.len() - gone.len() >= LIMIT {
        gone.extend(tokens.iter().filter_map(|(k, (_, t))| t.filter(|t| *t > now).map(|t| (t, k.clone()))).min().map(|(_, k)| k));
    }
    for k in gone {
        tokens.remove(&k);
        server.store.keep_token(&k, None);
    }
    server.store.keep_token(token, Some((user.clone(), until)));
    tokens.insert(token.to_owned(), (user, Some(until)));
}
