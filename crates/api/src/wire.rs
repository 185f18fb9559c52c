use std::{
    borrow::{Borrow, Cow},
    collections::BTreeMap,
    ops::Deref,
};

use jiff::Timestamp;
use serde::Deserialize;

use crate::{Key, Kind, Labels, Meta, Name, Pool, Uid, Version, meta::OwnerReference};

/// A kind that the cache keeps as slim entries.
pub trait Object: Sized + Send + Sync + 'static {
    /// The resource that it is an object of.
    fn resource() -> Kind;
    /// Reads one object from the JSON that a server sent. Unknown fields are skipped, `null` is absence.
    fn decode(json: &[u8]) -> Result<Self, DecodeError>;
    /// Its header.
    fn meta(&self) -> &Meta;
}

/// What a driver brings into the cache: a kind of its own ([`Object`]), or any kind without its contents ([`crate::Partial`]).
pub trait Watched: Sized + Send + Sync + 'static {
    /// The resource, where all of these are objects of one.
    fn only() -> Option<Kind>;
    /// Reads one from the JSON that a server sent.
    fn read(json: &[u8]) -> Result<Self, DecodeError>;
    /// Namespace and name.
    fn key(&self) -> Key;
    /// Uid.
    fn uid(&self) -> &Uid;
    /// Version of the last write that the server made known.
    fn version(&self) -> Version;
}

impl<T: Object> Watched for T {
    fn only() -> Option<Kind> {
        Some(T::resource())
    }
    fn read(json: &[u8]) -> Result<Self, DecodeError> {
        T::decode(json)
    }
    fn key(&self) -> Key {
        self.meta().key()
    }
    fn uid(&self) -> &Uid {
        &self.meta().uid
    }
    fn version(&self) -> Version {
        self.meta().version
    }
}

/// Text that points into what was read, unless it has to be unescaped. An optional [`Cow`], or one in a list, would always be copied.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Ordered as its text is.
impl Borrow<str> for Text<'_> {
    fn borrow(&self) -> &str {
        self
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
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
    name: Option<Text<'a>>,
    #[serde(borrow)]
    namespace: Option<Text<'a>>,
    #[serde(borrow)]
    uid: Option<Text<'a>>,
    #[serde(borrow)]
    resource_version: Option<Text<'a>>,
    generation: Option<i64>,
    creation_timestamp: Option<Timestamp>,
    deletion_timestamp: Option<Timestamp>,
    pub(crate) deletion_grace_period_seconds: Option<i64>,
    #[serde(borrow)]
    labels: Option<BTreeMap<Text<'a>, Option<Text<'a>>>>,
    #[serde(borrow)]
    pub(crate) annotations: Option<BTreeMap<Text<'a>, Option<Text<'a>>>>,
    #[serde(borrow)]
    owner_references: Option<Vec<OwnerWire<'a>>>,
    #[serde(borrow)]
    finalizers: Option<Vec<Text<'a>>>,
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
        fn text<'a>(field: &'a Option<Text<'_>>) -> &'a str {
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
            finalizers: pool.finalizers(self.finalizers.iter().flatten().map(|f| pool.name(f)).collect()),
        })
    }

    /// Name, uid and version of an object that nobody owns, holds or deletes; `None` where there is more to say.
    pub(crate) fn plain(&self) -> Option<(Key, Uid, Version)> {
        let empty = |length: Option<usize>| length.unwrap_or_default() == 0;
        let plain = self.deletion_timestamp.is_none()
            && empty(self.owner_references.as_ref().map(Vec::len))
            && empty(self.finalizers.as_ref().map(Vec::len));
        let text = |field: &Option<Text<'_>>| field.as_deref().filter(|t| !t.is_empty()).map(str::to_owned);
        let (name, uid) = (text(&self.name).filter(|_| plain)?, text(&self.uid)?);
        let version = Version::parse(self.resource_version.as_deref()?)?;
        let namespace: Name = Pool::shared().name(self.namespace.as_deref().unwrap_or_default());
        Some((Key::new(namespace, name), Uid::new(&uid), version))
    }
}

/// The pairs of a map whose values may be null (read as empty text).
pub(crate) fn pairs<'m>(map: &'m Option<BTreeMap<Text<'_>, Option<Text<'_>>>>) -> impl Iterator<Item = (&'m str, &'m str)> {
    map.iter().flatten().map(|(k, v)| (&**k, v.as_deref().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_no_unescaping_is_not_copied() {
        let json = r#"{"name": "a", "uid": "u\u0031", "labels": {"k": "v", "n": null}, "finalizers": ["f"]}"#;
        let meta: MetaWire<'_> = serde_json::from_str(json).unwrap();
        let borrowed = |text: &Text<'_>| matches!(text.0, Cow::Borrowed(_));
        assert!(borrowed(meta.name.as_ref().unwrap()) && borrowed(&meta.finalizers.unwrap()[0]));
        let labels = meta.labels.unwrap();
        assert!(labels.iter().all(|(key, value)| borrowed(key) && value.as_ref().is_none_or(borrowed)));
        assert_eq!(labels.get("k").and_then(Option::as_deref), Some("v"));
        assert_eq!(meta.uid.as_deref(), Some("u1"));
    }
}
