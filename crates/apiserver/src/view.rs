//! How the objects of a watch are shown.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::accept::{Accept, Shape};
use crate::read::partial;
use crate::registry::Resource;
use crate::server::Server;
use crate::store::Stored;
use crate::store::watch::View;
use crate::{convert, custom, table as tables};

/// Documents as a table; a custom kind has the columns that its definition asks for.
pub(crate) fn table(server: &Server, r: &Resource, docs: &[Value], include: &str) -> Value {
    let now = server.options.clock.now();
    let own = if r.custom { custom::of(server, &r.group, &r.version, &r.plural) } else { None };
    match own.as_ref().filter(|c| !c.columns.is_empty()) {
        Some(c) => tables::render_with(r, Some(&c.columns), docs, now, include),
        None => tables::render(r, docs, now, include),
    }
}

/// Shows each object as stored.
pub(crate) struct PlainView {
    pub(crate) kind: String,
    pub(crate) api_version: String,
    pub(crate) empty: Value,
}

impl View for PlainView {
    fn object(&mut self, stored: &Stored) -> Bytes {
        stored.bytes.clone()
    }
    fn is_plain(&self) -> bool {
        true
    }
    fn bookmark(&mut self, rv: u64, end: bool) -> Bytes {
        bookmark(&self.kind, &self.api_version, &self.empty, rv, end)
    }
}

fn bookmark(kind: &str, api_version: &str, empty: &Value, rv: u64, end: bool) -> Bytes {
    let mut meta = json!({"resourceVersion": rv.to_string()});
    if end {
        meta["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    let mut doc = json!({"kind": kind, "apiVersion": api_version, "metadata": meta});
    if let (Some(d), Some(e)) = (doc.as_object_mut(), empty.as_object()) {
        for (k, v) in e {
            d.entry(k.clone()).or_insert_with(|| v.clone());
        }
    }
    Bytes::from(serde_json::to_vec(&doc).expect("a document always encodes"))
}

/// Shows each object in another form than the stored one.
pub(crate) struct ShapedView {
    pub(crate) server: Arc<Server>,
    pub(crate) resource: Arc<Resource>,
    pub(crate) accept: Accept,
    pub(crate) include: String,
    /// The columns were sent.
    pub(crate) headed: bool,
    pub(crate) empty: Value,
}

impl ShapedView {
    /// The metadata-only form, cut out of what is stored: watches of headers are many, and their objects may be large.
    fn metadata(&self, stored: &Stored) -> Option<Bytes> {
        #[derive(Deserialize)]
        struct Document<'a> {
            #[serde(borrow)]
            metadata: &'a RawValue,
        }
        let as_stored = self.accept.shape == Shape::Partial && self.resource.hub.is_none() && !self.resource.custom;
        let metadata = serde_json::from_slice::<Document<'_>>(&stored.bytes).ok().filter(|_| as_stored)?.metadata.get();
        let version = if self.accept.beta { "v1beta1" } else { "v1" };
        Some(format!(r#"{{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/{version}","metadata":{metadata}}}"#).into())
    }
}

impl View for ShapedView {
    fn object(&mut self, stored: &Stored) -> Bytes {
        if let Some(metadata) = self.metadata(stored) {
            return metadata;
        }
        let doc = convert::served(&self.server, &self.resource, stored);
        let mut doc = match self.accept.shape {
            Shape::Plain => doc,
            Shape::Partial => partial(&doc),
            Shape::Table => {
                let rv = doc["metadata"]["resourceVersion"].clone();
                let mut t = table(&self.server, &self.resource, &[doc], &self.include);
                t["metadata"] = json!({"resourceVersion": rv});
                // Columns are sent once.
                if std::mem::replace(&mut self.headed, true) {
                    t["columnDefinitions"] = Value::Null;
                }
                t
            }
        };
        self.accept.version(&mut doc);
        Bytes::from(serde_json::to_vec(&doc).expect("a document always encodes"))
    }
    fn is_plain(&self) -> bool {
        false
    }
    fn bookmark(&mut self, rv: u64, end: bool) -> Bytes {
        match self.accept.shape {
            Shape::Partial => bookmark("PartialObjectMetadata", "meta.k8s.io/v1", &Value::Null, rv, end),
            Shape::Table => {
                let mut meta = json!({"kind": self.resource.kind, "apiVersion": self.resource.api_version(), "metadata": {"resourceVersion": rv.to_string()}});
                if end {
                    meta["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
                }
                let mut t = table(&self.server, &self.resource, &[meta], &self.include);
                t["metadata"] = json!({"resourceVersion": rv.to_string()});
                if std::mem::replace(&mut self.headed, true) {
                    t["columnDefinitions"] = Value::Null;
                }
                Bytes::from(serde_json::to_vec(&t).expect("a document always encodes"))
            }
            Shape::Plain => bookmark(&self.resource.kind, &self.resource.api_version(), &self.empty, rv, end),
        }
    }
}
