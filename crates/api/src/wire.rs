use std::{borrow::Cow, collections::BTreeMap};

use jiff::Timestamp;
use serde::Deserialize;

use crate::{Kind, Labels, Meta, Pool, Uid, Version, meta::OwnerReference};

/// A kind that the cache keeps as slim entries.
pub trait Object: Sized + Send + Sync + 'static {
    /// The resource that it is an object of.
    fn resource() -> Kind;
    /// Reads one object from the JSON that a server sent. Unknown fields are skipped, `null` is absence.
    fn decode(json: &[u8]) -> Result<Self, DecodeError>;
    /// Its header.
    fn meta(&self) -> &Meta;
}

/// An object that cannot be an entry. The kind goes on without it.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON, or a field of the wrong type.
    #[error("malformed object")]
    Json(#[from] serde_json::Error),
    /// `metadata` without what every stored object has.
    #[error("object without a usable metadata.{0}")]
    Missing(&'static str),
}

/// `metadata` on the wire. Every part may be missing or null.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct MetaWire<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow)]
    uid: Option<Cow<'a, str>>,
    #[serde(borrow)]
    resource_version: Option<Cow<'a, str>>,
    generation: Option<i64>,
    creation_timestamp: Option<Timestamp>,
    deletion_timestamp: Option<Timestamp>,
    pub(crate) deletion_grace_period_seconds: Option<i64>,
    #[serde(borrow)]
    labels: Option<BTreeMap<Cow<'a, str>, Option<Cow<'a, str>>>>,
    #[serde(borrow)]
    pub(crate) annotations: Option<BTreeMap<Cow<'a, str>, Option<Cow<'a, str>>>>,
    #[serde(borrow)]
    owner_references: Option<Vec<OwnerWire<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OwnerWire<'a> {
    #[serde(borrow)]
    api_version: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    uid: Cow<'a, str>,
    controller: Option<bool>,
    block_owner_deletion: Option<bool>,
}

impl MetaWire<'_> {
    /// The slim header, with shared parts taken from the pool.
    pub(crate) fn slim(&self, pool: &Pool) -> Result<Meta, DecodeError> {
        fn text<'a>(field: &'a Option<Cow<'_, str>>) -> &'a str {
            field.as_deref().unwrap_or_default()
        }
        if text(&self.name).is_empty() {
            return Err(DecodeError::Missing("name"));
        }
        if text(&self.uid).is_empty() {
            return Err(DecodeError::Missing("uid"));
        }
        let labels: Labels = pairs(&self.labels).collect();
        let owners = self.owner_references.as_deref().unwrap_or_default();
        Ok(Meta {
            namespace: pool.name(text(&self.namespace)),
            name: text(&self.name).into(),
            uid: Uid::new(text(&self.uid)),
            version: Version::parse(text(&self.resource_version)).ok_or(DecodeError::Missing("resourceVersion"))?,
            generation: self.generation.unwrap_or_default(),
            created: self.creation_timestamp,
            deleting: self.deletion_timestamp,
            labels: pool.labels(labels),
            owners: pool.owners(
                owners
                    .iter()
                    .map(|o| OwnerReference {
                        api_version: pool.name(&o.api_version),
                        kind: pool.name(&o.kind),
                        name: pool.name(&o.name),
                        uid: Uid::new(&o.uid),
                        controller: o.controller.unwrap_or_default(),
                        block_owner_deletion: o.block_owner_deletion.unwrap_or_default(),
                    })
                    .collect(),
            ),
        })
    }
}

/// The pairs of a map whose values may be null (read as empty text).
pub(crate) fn pairs<'m>(map: &'m Option<BTreeMap<Cow<'_, str>, Option<Cow<'_, str>>>>) -> impl Iterator<Item = (&'m str, &'m str)> {
    map.iter().flatten().map(|(k, v)| (&**k, v.as_deref().unwrap_or_default()))
}
