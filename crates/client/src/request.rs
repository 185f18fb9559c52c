//! How a planned write looks on the wire.

use std::{borrow::Cow, fmt::Display};

use bytes::Bytes;
use evenkeel_api::{Uid, Version};
use evenkeel_plan::{PatchForm, Propagation, Target, Write};
use http::Method;
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// Method and path of one write. The body is made when the request leaves.
pub(crate) struct Wire<'w> {
    pub(crate) method: Method,
    pub(crate) path: String,
    write: &'w Write,
}

impl<'w> Wire<'w> {
    pub(crate) fn of(write: &'w Write) -> Self {
        let object = |target: &Target, sub| target.kind.object_path(&target.key.namespace, &escaped(&target.key.name), sub);
        let (method, path) = match write {
            Write::Create { kind, key, .. } => (Method::POST, kind.collection_path(Some(&key.namespace))),
            Write::Replace { target, subresource, .. } => (Method::PUT, object(target, *subresource)),
            Write::Patch { target, subresource, .. } => (Method::PATCH, object(target, *subresource)),
            Write::Delete { target, .. } => (Method::DELETE, object(target, None)),
            Write::ConfirmOwner { target } => (Method::GET, object(target, None)),
            Write::Look { kind, key } => (Method::GET, kind.object_path(&key.namespace, &escaped(&key.name), None)),
            Write::DeleteCollection { kind, place, .. } => (Method::DELETE, kind.collection_path(Some(&place.namespace))),
            // These take several requests: `read.rs` makes them.
            Write::Count { kind, place } => (Method::GET, kind.collection_path(Some(&place.namespace))),
            Write::Discover => (Method::GET, "/apis".to_owned()),
        };
        Self { method, path, write }
    }

    /// Content type and bytes.
    pub(crate) fn body(&self) -> Option<(&'static str, Bytes)> {
        Some(match self.write {
            Write::Create { key, body, .. } => (JSON, bytes(&Named { body, namespace: &key.namespace, name: &key.name })),
            Write::Replace { body, .. } => (JSON, bytes(body)),
            Write::Patch { body, form: PatchForm::Strategic, .. } => (STRATEGIC, bytes(body)),
            Write::Patch { body, form: PatchForm::Merge, .. } => (MERGE, bytes(body)),
            Write::Delete { target, propagation, grace } => (JSON, bytes(&DeleteOptions::of(Some(target), *propagation, *grace))),
            Write::DeleteCollection { propagation, .. } => (JSON, bytes(&DeleteOptions::of(None, Some(*propagation), None))),
            Write::ConfirmOwner { .. } | Write::Look { .. } | Write::Count { .. } | Write::Discover => return None,
        })
    }
}

/// A name as a part of a path, or a value in a query. Some kinds take any text for a name.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:".contains(&b);
    if text.bytes().all(plain) {
        return text.into();
    }
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect::<String>().into()
}

/// `metav1.DeleteOptions`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeleteOptions<'a> {
    api_version: &'static str,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    preconditions: Option<Preconditions<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    propagation_policy: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grace_period_seconds: Option<u32>,
}

/// What an object must be for its deletion to go ahead.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Preconditions<'a> {
    uid: Shown<&'a Uid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_version: Option<Shown<Version>>,
}

/// A value as the text that it is shown as.
struct Shown<T>(T);

impl<T: Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(&self.0)
    }
}

impl<'a> DeleteOptions<'a> {
    fn of(target: Option<&'a Target>, propagation: Option<Propagation>, grace: Option<u32>) -> Self {
        let guard = |target: &'a Target| Preconditions { uid: Shown(&target.uid), resource_version: target.version.map(Shown) };
        Self {
            api_version: "v1",
            kind: "DeleteOptions",
            preconditions: target.map(guard),
            propagation_policy: propagation.map(Propagation::as_str),
            grace_period_seconds: grace,
        }
    }
}

fn bytes(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("values print").into()
}

/// A shared body under a name of its own, printed without copying the body.
struct Named<'a> {
    body: &'a Value,
    namespace: &'a str,
    name: &'a str,
}

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let Value::Object(fields) = self.body else { return self.body.serialize(out) };
        let mut map = out.serialize_map(None)?;
        for (field, value) in fields {
            if field == "metadata" {
                map.serialize_entry(field, &NamedMeta(value, self))?;
            } else {
                map.serialize_entry(field, value)?;
            }
        }
        if !fields.contains_key("metadata") {
            map.serialize_entry("metadata", &NamedMeta(&Value::Null, self))?;
        }
        map.end()
    }
}

struct NamedMeta<'a>(&'a Value, &'a Named<'a>);

impl Serialize for NamedMeta<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(None)?;
        map.serialize_entry("name", self.1.name)?;
        if !self.1.namespace.is_empty() {
            map.serialize_entry("namespace", self.1.namespace)?;
        }
        for (field, value) in self.0.as_object().into_iter().flatten().filter(|(f, _)| *f != "name" && *f != "namespace") {
            map.serialize_entry(field, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_api::{Key, PODS};
    use serde_json::json;

    fn body(write: &Write) -> Value {
        serde_json::from_slice(&Wire::of(write).body().unwrap().1).unwrap()
    }

    #[test]
    fn a_create_carries_its_name_and_keeps_the_rest() {
        let shared = std::sync::Arc::new(json!({"metadata": {"generateName": "web-", "labels": {"a": "1"}}, "spec": {"fromTheFuture": 1}}));
        let write = Write::Create { kind: &PODS, key: Key::new("ns", "web-x"), controller: None, body: shared };
        assert_eq!(
            body(&write),
            json!({"metadata": {"name": "web-x", "namespace": "ns", "generateName": "web-", "labels": {"a": "1"}}, "spec": {"fromTheFuture": 1}})
        );
    }

    #[test]
    fn every_delete_carries_the_uid() {
        let target = Target { kind: &PODS, key: Key::new("ns", "a"), uid: Uid::new("u"), version: Some(Version(7)) };
        let options = body(&Write::Delete { target: target.clone(), propagation: Some(Propagation::Background), grace: None });
        assert_eq!(options["preconditions"], json!({"uid": "u", "resourceVersion": "7"}));
        assert_eq!((&options["propagationPolicy"], options.get("gracePeriodSeconds")), (&json!("Background"), None));
        assert_eq!(body(&Write::Delete { target, propagation: None, grace: Some(0) })["gracePeriodSeconds"], 0);
    }
}
