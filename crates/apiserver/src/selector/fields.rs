//! Field selectors: `metadata.name`, `metadata.namespace` and what each resource adds.

use serde_json::Value;

use crate::json;
use crate::registry::Resource;

/// Fields that lists and watches of a resource can be selected by, besides name and namespace, by storage key.
pub fn selectable(storage_key: &str) -> &'static [&'static str] {
    match storage_key {
        "/pods" => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        "/events" => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        "/secrets" => &["type"],
        "/namespaces" => &["status.phase"],
        "/nodes" => &["spec.unschedulable"],
        "/replicationcontrollers" => &["status.replicas"],
        "batch/jobs" => &["status.successful"],
        "/services" => &["spec.clusterIP", "spec.type"],
        "certificates.k8s.io/certificatesigningrequests" => &["spec.signerName"],
        "resource.k8s.io/resourceslices" => &["spec.nodeName", "spec.driver"],
        _ => &[],
    }
}

/// The values of a document's selectable fields.
pub fn values(storage_key: &str, doc: &Value) -> Box<[Box<str>]> {
    selectable(storage_key).iter().map(|f| value(storage_key, f, doc)).collect()
}

/// The values of a custom object's selectable fields.
pub fn custom_values(paths: &[String], doc: &Value) -> Box<[Box<str>]> {
    paths
        .iter()
        .map(|p| match json::at(doc, p) {
            None | Some(Value::Null) => "".into(),
            Some(Value::String(s)) => s.as_str().into(),
            Some(other) => other.to_string().into(),
        })
        .collect()
}

fn value(storage_key: &str, field: &str, doc: &Value) -> Box<str> {
    let path = match (storage_key, field) {
        ("/events", "source") => {
            let component = json::text(doc, "source.component");
            return if component.is_empty() { json::text(doc, "reportingComponent") } else { component }.into();
        }
        ("/events", "reportingComponent") => {
            let component = json::text(doc, "reportingComponent");
            return component.into();
        }
        ("batch/jobs", "status.successful") => "status.succeeded",
        (_, f) => f,
    };
    match json::at(doc, path) {
        Some(Value::String(s)) => s.as_str().into(),
        Some(Value::Bool(b)) => if *b { "true" } else { "false" }.into(),
        Some(Value::Number(n)) => n.to_string().into(),
        _ if matches!(field, "spec.hostNetwork" | "spec.unschedulable") => "false".into(),
        _ if matches!(field, "status.replicas" | "status.successful") => "0".into(),
        _ => "".into(),
    }
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    what: What,
    equal: bool,
    value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Name,
    Namespace,
    Field(usize),
}

/// All conditions must hold; none: everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSelector {
    terms: Vec<Term>,
}

impl FieldSelector {
    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// The one name that can match, when there is one.
    pub fn name(&self) -> Option<&str> {
        self.terms.iter().find(|t| t.what == What::Name && t.equal).map(|t| t.value.as_str())
    }

    /// Adds the condition that the name is this one.
    pub fn and_name(mut self, name: &str) -> Self {
        self.terms.push(Term { what: What::Name, equal: true, value: name.to_owned() });
        self
    }

    /// Whether an object matches.
    pub fn matches(&self, namespace: &str, name: &str, fields: &[Box<str>]) -> bool {
        self.terms.iter().all(|t| {
            let have = match t.what {
                What::Name => name,
                What::Namespace => namespace,
                What::Field(i) => fields.get(i).map_or("", |f| f),
            };
            (have == t.value) == t.equal
        })
    }

    /// Reads a selector for a resource. The error is a text for people.
    pub fn parse(text: &str, resource: &Resource) -> Result<Self, String> {
        let own: Vec<&str> = resource.selectable.iter().map(String::as_str).collect();
        let known = if resource.custom { &own[..] } else { selectable(&resource.storage_key()) };
        let mut terms = Vec::new();
        for part in split(text) {
            if part.is_empty() {
                continue;
            }
            let (field, equal, value) = operator(&part).ok_or_else(|| format!("invalid selector: '{text}'; can't understand '{part}'"))?;
            let value = unescape(value)?;
            let field = match (resource.plural.as_str(), field) {
                ("events", "reportingController") => "reportingComponent".to_owned(),
                ("events", f) => f.strip_prefix("regarding.").map_or(f.to_owned(), |r| format!("involvedObject.{r}")),
                (_, f) => f.to_owned(),
            };
            let what = match field.as_str() {
                "metadata.name" => What::Name,
                "metadata.namespace" if resource.namespaced => What::Namespace,
                f => match known.iter().position(|k| *k == f) {
                    Some(i) => What::Field(i),
                    None if resource.custom || !known.is_empty() => return Err(format!("field label not supported: {f}")),
                    None if resource.namespaced => {
                        return Err(format!("{f:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""));
                    }
                    None => return Err(format!("{f:?} is not a known field selector: only \"metadata.name\"")),
                },
            };
            terms.push(Term { what, equal, value });
        }
        Ok(FieldSelector { terms })
    }
}

fn split(text: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        let last = out.last_mut().expect("starts with one");
        if escaped {
            last.push('\\');
            last.push(c);
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == ',' {
            out.push(String::new());
        } else {
            last.push(c);
        }
    }
    if escaped {
        out.last_mut().expect("starts with one").push('\\');
    }
    out
}

fn operator(part: &str) -> Option<(&str, bool, &str)> {
    let at = part.find(['=', '!'])?;
    let (field, rest) = part.split_at(at);
    if let Some(v) = rest.strip_prefix("!=") {
        return Some((field, false, v));
    }
    if let Some(v) = rest.strip_prefix("==").or_else(|| rest.strip_prefix('=')) {
        return Some((field, true, v));
    }
    None
}

fn unescape(v: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = v.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(e @ ('\\' | ',' | '=')) => out.push(e),
                Some(e) => return Err(format!("invalid field selector: invalid escape sequence: \\{e}")),
                None => return Err("invalid field selector: invalid escape sequence: \\".to_owned()),
            },
            ',' | '=' => return Err(format!("invalid field selector: unescaped character in value: {}", u32::from(c))),
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    #[test]
    fn pods_are_found_by_node_and_phase() {
        let pods = Registry::builtin().get("", "v1", "pods").expect("pods are served");
        let s = FieldSelector::parse("spec.nodeName=n1,status.phase!=Failed", &pods).expect("valid");
        let doc = serde_json::json!({"spec": {"nodeName": "n1"}, "status": {"phase": "Running"}});
        assert!(s.matches("ns", "p", &values("/pods", &doc)));
        assert!(FieldSelector::parse("spec.color=red", &pods).is_err());
        assert!(FieldSelector::parse("status.phase", &pods).is_err());
    }

    use proptest::prelude::*;

    fn print(selector: &FieldSelector) -> String {
        let escaped = |v: &str| v.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
        let term = |t: &Term| {
            let field = match t.what {
                What::Name => "metadata.name",
                What::Namespace => "metadata.namespace",
                What::Field(i) => selectable("/pods")[i],
            };
            format!("{field}{}{}", if t.equal { "=" } else { "!=" }, escaped(&t.value))
        };
        selector.terms.iter().map(term).collect::<Vec<_>>().join(",")
    }

    fn text() -> impl Strategy<Value = String> {
        let field =
            prop::sample::select(vec!["metadata.name", "metadata.namespace", "spec.nodeName", "status.phase", "spec.color", "", "a!b"]);
        let glue = prop::sample::select(vec!["=", "==", "!=", "!", "", ">", "=="]);
        let value = prop_oneof![3 => "[a-z]{0,3}", 1 => "[\\\\,=a]{0,5}", 1 => "\\PC{0,3}"];
        let end = prop::sample::select(vec![",", "", ",,", "\\", "\\,"]);
        prop::collection::vec((field, glue, value, end), 0..5)
            .prop_map(|parts| parts.into_iter().map(|(f, g, v, e)| format!("{f}{g}{v}{e}")).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever comes is a selector or an error in words; what was read and printed is read the same again.
        #[test]
        fn reading_and_printing_are_the_same_thing(text in text(), any in any::<String>()) {
            let pods = Registry::builtin().get("", "v1", "pods").expect("pods are served");
            let _ = FieldSelector::parse(&any, &pods);
            match FieldSelector::parse(&text, &pods) {
                Err(e) => prop_assert!(!e.is_empty()),
                Ok(read) => {
                    let printed = print(&read);
                    let again = FieldSelector::parse(&printed, &pods);
                    prop_assert_eq!(again.as_ref(), Ok(&read), "{:?} is printed as {:?}", text, printed);
                }
            }
        }
    }
}
