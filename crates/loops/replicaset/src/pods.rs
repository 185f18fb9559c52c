use std::borrow::Cow;

use evenkeel_api::{Kind, OwnerReference, PODS, Replicated};
use serde_json::{Map, Value, json};

/// Longest name of an object (DNS-1123 subdomain).
const MAX_NAME: usize = 253;

/// What the names of a set's pods begin with: `<set>-`, or the bare name where the dash would make it too long (workloads 3.6.1). The
/// server admits only DNS-1123 subdomains as names of sets, so length is all that can be wrong with the prefix.
pub(crate) fn base(set: &str) -> Cow<'_, str> {
    if set.len() < MAX_NAME { Cow::Owned(format!("{set}-")) } else { Cow::Borrowed(set) }
}

/// Why no pod of this set may be created; the text is that of the condition. Nothing but a change of the set can cure it.
pub(crate) fn refusal(set: &Replicated) -> Option<&'static str> {
    if set.template_labels.is_empty() {
        return Some("unable to create pods, no labels");
    }
    // The server forbids this. Would it get by, every pod made would be let go by the next look and another one made, without end.
    let counted = matches!(&set.selector, Ok(Some(selector)) if selector.matches(&set.template_labels));
    (!counted).then_some("unable to create pods, the labels of the template do not match the selector")
}

/// A pod of this set, without its name. The template travels as it is: fields of its spec that this program does not know stay
/// (workloads 3.6.1).
pub(crate) fn body(kind: Kind, set: &Replicated) -> Value {
    let mut template = match set.document.part("/spec/template") {
        Value::Object(template) => template,
        _ => Map::new(),
    };
    let mut metadata = Map::new();
    if let Some(Value::Object(mut given)) = template.shift_remove("metadata") {
        for field in ["labels", "annotations", "finalizers"] {
            if let Some(value) = given.shift_remove(field).filter(|v| !v.is_null()) {
                metadata.insert(field.into(), value);
            }
        }
    }
    metadata.insert("generateName".into(), base(&set.meta.name).as_ref().into());
    metadata.insert("ownerReferences".into(), json!([OwnerReference::controller_of(kind, &set.meta.name, &set.meta.uid)]));
    json!({
        "apiVersion": PODS.api_version(),
        "kind": PODS.kind,
        "metadata": metadata,
        "spec": template.shift_remove("spec").filter(Value::is_object).unwrap_or_else(|| json!({})),
    })
}
