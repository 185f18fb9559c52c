//! How a planned write looks on the wire.

use bytes::Bytes;
use evenkeel_plan::{PatchForm, Propagation, Target, Write};
use http::Method;
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Value, json};

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
            Write::Delete { target, propagation, grace } => (JSON, bytes(&delete_options(target, *propagation, *grace))),
            Write::DeleteCollection { propagation, .. } => {
                (JSON, bytes(&json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation.as_str()})))
            }
            Write::ConfirmOwner { .. } | Write::Look { .. } | Write::Count { .. } | Write::Discover => return None,
        })
    }
}

/// A name as a part of a path, or a value in a query. Some kinds take any text for a name.
pub(crate) fn escaped(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:".contains(&b);
    if text.bytes().all(plain) {
        return text.to_owned();
    }
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn delete_options(target: &Target, propagation: Option<Propagation>, grace: Option<u32>) -> Value {
    let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": target.uid.to_string()}});
    if let Some(version) = target.version {
        options["preconditions"]["resourceVersion"] = version.to_string().into();
    }
    if let Some(propagation) = propagation {
        options["propagationPolicy"] = propagation.as_str().into();
    }
    if let Some(seconds) = grace {
        options["gracePeriodSeconds"] = seconds.into();
    }
    options
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
    use evenkeel_api::{Key, PODS, Uid, Version};

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
