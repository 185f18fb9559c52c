//! Writes to the namespace itself: edits of the document that the server sent.

use std::collections::BTreeSet;

use evenkeel_api::{NAMESPACES, Namespace};
use evenkeel_plan::{Target, Write};
use serde_json::{Map, Value};

use crate::FINALIZER;

/// Says in the phase that the namespace is being deleted.
pub(crate) fn mark(namespace: &Namespace) -> Write {
    replace(namespace, "status", |body| object(body, "status").insert("phase".into(), "Terminating".into()))
}

/// Puts these conditions in the place of all there are.
pub(crate) fn tell(namespace: &Namespace, conditions: Vec<Value>) -> Write {
    replace(namespace, "status", |body| object(body, "status").insert("conditions".into(), conditions.into()))
}

/// Takes this loop's finalizer away; others stay, sorted and once each (garbage-collection C3.5).
pub(crate) fn release(namespace: &Namespace) -> Write {
    let others: BTreeSet<&str> = namespace.finalizers.iter().map(String::as_str).filter(|f| *f != FINALIZER).collect();
    let others: Vec<&str> = others.into_iter().collect();
    replace(namespace, "finalize", |body| object(body, "spec").insert("finalizers".into(), others.into()))
}

/// A PUT of the version that the decision was made on.
fn replace(namespace: &Namespace, subresource: &'static str, edit: impl FnOnce(&mut Value) -> Option<Value>) -> Write {
    let mut body = namespace.document.value();
    // Objects in lists come without them.
    body["apiVersion"] = NAMESPACES.api_version().into();
    body["kind"] = NAMESPACES.kind.into();
    edit(&mut body);
    Write::Replace { target: Target::exactly(&NAMESPACES, &namespace.meta), subresource: Some(subresource), body }
}

/// A field that is an object, made one where it is none.
fn object<'b>(body: &'b mut Value, field: &str) -> &'b mut Map<String, Value> {
    let value = &mut body[field];
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("made an object above")
}
