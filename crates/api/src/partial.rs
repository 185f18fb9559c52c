use std::sync::Arc;

use crate::{DecodeError, Key, Kind, Meta, Pool, Uid, Version, Watched, replicas::Header};

/// An object of any kind without its contents: what ownership is decided by.
///
/// Most objects have nobody who owns, holds or deletes them. Of those only a name is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Partial {
    /// Nobody owns, holds or deletes it.
    Plain {
        /// Namespace and name.
        key: Key,
        /// Uid.
        uid: Uid,
        /// Version.
        version: Version,
    },
    /// There is more to say.
    Full(Arc<Meta>),
}

impl Watched for Partial {
    fn only() -> Option<Kind> {
        None
    }

    fn read(json: &[u8]) -> Result<Self, DecodeError> {
        let header: Header<'_> = serde_json::from_slice(json)?;
        Ok(match header.metadata.plain() {
            Some((key, uid, version)) => Self::Plain { key, uid, version },
            None => Self::Full(Arc::new(header.metadata.slim(Pool::shared())?)),
        })
    }

    fn key(&self) -> Key {
        match self {
            Self::Plain { key, .. } => key.clone(),
            Self::Full(meta) => meta.key(),
        }
    }

    fn uid(&self) -> &Uid {
        match self {
            Self::Plain { uid, .. } => uid,
            Self::Full(meta) => &meta.uid,
        }
    }

    fn version(&self) -> Version {
        match self {
            Self::Plain { version, .. } => *version,
            Self::Full(meta) => meta.version,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_somebody_owns_holds_or_deletes_is_kept_whole() {
        let read = |more: serde_json::Value| {
            let mut meta = json!({"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "3", "labels": {"x": "y"}});
            meta.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            Partial::read(json!({"metadata": meta}).to_string().as_bytes())
        };
        let plain = Partial::Plain { key: Key::new("n", "a"), uid: Uid::new("u"), version: Version(3) };
        assert_eq!(read(json!({})).unwrap(), plain);
        assert_eq!(read(json!({"finalizers": [], "ownerReferences": null})).unwrap(), plain);
        let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "x"});
        for more in
            [json!({"finalizers": ["orphan"]}), json!({"ownerReferences": [owner]}), json!({"deletionTimestamp": "2026-01-01T00:00:00Z"})]
        {
            let read = read(more.clone()).unwrap();
            assert!(matches!(&read, Partial::Full(meta) if meta.key() == Key::new("n", "a")), "{more}");
            assert_eq!((read.key(), read.uid(), read.version()), (Key::new("n", "a"), &Uid::new("u"), Version(3)));
        }
        assert!(read(json!({"uid": ""})).is_err() && read(json!({"resourceVersion": "x"})).is_err());
    }
}
