//! What form of answer a client accepts.

use http::HeaderMap;

use crate::status::ApiError;

/// How objects are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// As stored.
    Plain,
    /// As a table.
    Table,
    /// Metadata only.
    Partial,
}

/// The negotiated form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accept {
    /// How objects are shown.
    pub shape: Shape,
    /// As YAML instead of JSON.
    pub yaml: bool,
    /// In the beta version of `meta.k8s.io`.
    pub beta: bool,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One object.
    One,
    /// A list.
    List,
    /// A watch.
    Watch,
}

impl Accept {
    /// Puts the version of `meta.k8s.io` that was asked for into a table or a document of metadata.
    pub fn version(self, doc: &mut serde_json::Value) {
        if !self.beta {
            return;
        }
        let is_meta = |v: &serde_json::Value| v["apiVersion"] == "meta.k8s.io/v1";
        if is_meta(doc) {
            doc["apiVersion"] = "meta.k8s.io/v1beta1".into();
        }
        for list in ["rows", "items"] {
            for row in doc.get_mut(list).and_then(serde_json::Value::as_array_mut).into_iter().flatten() {
                let v = if list == "rows" { &mut row["object"] } else { row };
                if is_meta(v) {
                    v["apiVersion"] = "meta.k8s.io/v1beta1".into();
                }
            }
        }
    }
}

/// How much a clause is wanted (`q=`).
fn weight(clause: &str) -> f64 {
    clause.split(';').find_map(|p| p.trim().strip_prefix("q=")).and_then(|q| q.parse().ok()).unwrap_or(1.0)
}

/// Reads the `Accept` header. 406 when nothing in it can be served.
pub fn negotiate(headers: &HeaderMap, scope: Scope) -> Result<Accept, ApiError> {
    let header = headers.get(http::header::ACCEPT).and_then(|h| h.to_str().ok()).unwrap_or("");
    if header.trim().is_empty() {
        return Ok(Accept { shape: Shape::Plain, yaml: false, beta: false });
    }
    let watch = scope == Scope::Watch;
    let mut known = false;
    let mut clauses: Vec<&str> = header.split(',').collect();
    clauses.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
    for clause in clauses {
        let mut parts = clause.split(';').map(str::trim);
        let yaml = match parts.next().unwrap_or("") {
            "application/json" | "*/*" => false,
            "application/yaml" if !watch => true,
            _ => continue,
        };
        known = true;
        let (mut kind, mut group, mut version) = ("", "", "");
        for p in parts {
            match p.split_once('=') {
                Some(("as", v)) => kind = v,
                Some(("g", v)) => group = v,
                Some(("v", v)) => version = v,
                _ => {}
            }
        }
        let meta = group == "meta.k8s.io" && matches!(version, "v1" | "v1beta1");
        let shape = match kind {
            "" => Shape::Plain,
            "Table" if meta => Shape::Table,
            "PartialObjectMetadata" if meta && scope != Scope::List => Shape::Partial,
            "PartialObjectMetadataList" if meta && scope == Scope::List => Shape::Partial,
            _ => continue,
        };
        return Ok(Accept { shape, yaml, beta: version == "v1beta1" && shape != Shape::Plain });
    }
    if !known && !header.contains("application/vnd.kubernetes.protobuf") {
        let streams =
            if scope == Scope::One { "" } else { ", application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch" };
        let mut e = ApiError::new(
            406,
            "NotAcceptable",
            format!(
                "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf{streams}"
            ),
        );
        e.details = serde_json::json!({});
        return Err(e);
    }
    let list = if watch { "application/json, application/json;stream=watch" } else { "application/json, application/yaml" };
    Err(ApiError::new(
        406,
        "NotAcceptable",
        format!("only the following media types are accepted: {list}, application/vnd.kubernetes.protobuf"),
    ))
}
