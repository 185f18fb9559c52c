use std::{borrow::Cow, collections::BTreeMap};

use evenkeel_api::{Key, Text, Uid, Version, Watched};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{Bad, Event, Frame, FrameSplitter, JsonList, Lines, ListReader, Malformed, Status, Wire, bounds, transport::chain};

/// `application/json`, decoded by [`Watched::read`].
#[derive(Debug, Clone, Copy)]
pub struct Json {
    /// Longest object, in bytes, that is decoded.
    pub limit: usize,
    /// Ask for, and accept, `PartialObjectMetadata` in place of the objects.
    pub metadata_only: bool,
}

impl Default for Json {
    fn default() -> Self {
        Self { limit: bounds::OBJECT, metadata_only: false }
    }
}

const WHOLE: &str = "application/json";
const METADATA: &str = "PartialObjectMetadata";

#[derive(Deserialize)]
struct FrameWire<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct KindWire<'a> {
    #[serde(borrow)]
    kind: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct BookmarkWire<'a> {
    #[serde(borrow)]
    metadata: BookmarkMeta<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BookmarkMeta<'a> {
    #[serde(borrow)]
    resource_version: Cow<'a, str>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, Option<String>>>,
}

impl Json {
    /// Whether an object that calls itself `kind` can be a `T`.
    pub(crate) fn serves<T: Watched>(&self, kind: &str) -> bool {
        T::only().is_some_and(|only| kind == only.kind) || (self.metadata_only && kind == METADATA)
    }

    /// One object, or what can be said of it when it is none. A kind of its own that is not ours makes it none (items of a list carry no
    /// kind), and then it says nothing about the object of that name either.
    pub(crate) fn object<T: Watched>(&self, bytes: &[u8], deleted: bool) -> Result<T, Bad> {
        // Servers put the kind first; only when they do not is the object looked through for it.
        let first = bytes
            .strip_prefix(b"{\"kind\":\"")
            .and_then(|rest| rest.split(|b| *b == b'"').next())
            .is_some_and(|kind| std::str::from_utf8(kind).is_ok_and(|kind| self.serves::<T>(kind)));
        if !first {
            let kind = serde_json::from_slice::<KindWire<'_>>(bytes).map_err(|e| bad_object(bytes, deleted, e.to_string()))?.kind;
            if let Some(kind) = kind.filter(|kind| !kind.is_empty() && !self.serves::<T>(kind)) {
                return Err(bad_object(bytes, false, format!("a {kind:?} among {}", T::only().map_or(METADATA, |only| only.plural))));
            }
        }
        T::read(bytes).map_err(|e| bad_object(bytes, deleted, chain(&e)))
    }
}

impl<T: Watched> Wire<T> for Json {
    fn accept_list(&self) -> &'static str {
        match (self.metadata_only, T::only()) {
            (false, _) => WHOLE,
            (true, Some(_)) => "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
            // Contents that nobody reads are never asked for: they may be secret.
            (true, None) => "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        }
    }

    fn accept_watch(&self) -> &'static str {
        match (self.metadata_only, T::only()) {
            (false, _) => WHOLE,
            (true, Some(_)) => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
            (true, None) => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        }
    }

    fn splitter(&self) -> Box<dyn FrameSplitter> {
        Box::new(Lines::new(self.limit))
    }

    fn event(&self, frame: &Frame) -> Result<Event<T>, Malformed> {
        let bytes = match frame {
            Frame::Whole(bytes) => bytes,
            Frame::Oversized { start, length } => return Ok(Event::Bad(oversized(start, *length))),
        };
        let wire: FrameWire<'_> = serde_json::from_slice(bytes).map_err(|e| Malformed(e.to_string()))?;
        let Some(kind) = wire.kind else {
            let bare = serde_json::from_slice::<KindWire<'_>>(bytes).ok().and_then(|k| k.kind);
            return match bare.as_deref() {
                Some("Status") => Ok(Event::Error(Status::read(bytes, 500))),
                _ => Err(Malformed("a frame without a type".into())),
            };
        };
        let object = wire.object.ok_or_else(|| Malformed("a frame without an object".into()))?.get().as_bytes();
        match &*kind {
            "ADDED" | "MODIFIED" | "DELETED" => {
                let deleted = &*kind == "DELETED";
                Ok(match self.object(object, deleted) {
                    Ok(object) if deleted => Event::Delete(object),
                    Ok(object) => Event::Put(object),
                    Err(bad) => Event::Bad(bad),
                })
            }
            "BOOKMARK" => {
                let meta = serde_json::from_slice::<BookmarkWire<'_>>(object).map_err(|e| Malformed(e.to_string()))?.metadata;
                Ok(Event::Bookmark {
                    version: Version::parse(&meta.resource_version)
                        .ok_or_else(|| Malformed("a bookmark without a usable version".into()))?,
                    initial_end: meta
                        .annotations
                        .is_some_and(|a| a.get("k8s.io/initial-events-end").and_then(Option::as_deref) == Some("true")),
                })
            }
            "ERROR" => Ok(Event::Error(Status::read(object, 500))),
            other => Err(Malformed(format!("an event of type {:.40}", other))),
        }
    }

    fn list(&self) -> Box<dyn ListReader<T>> {
        Box::new(JsonList::new(*self))
    }
}

/// What can be said about an object that does not decode.
fn bad_object(bytes: &[u8], deleted: bool, why: String) -> Bad {
    let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).filter(|t| !t.is_empty());
    Bad {
        key: text("/metadata/name").map(|name| Key::new(text("/metadata/namespace").unwrap_or_default(), name)),
        uid: text("/metadata/uid").map(Uid::new),
        version: text("/metadata/resourceVersion").and_then(Version::parse),
        deleted,
        why,
    }
}

/// What the first bytes of an object tell about it. They are no whole JSON, so fields are searched as text, in the first `metadata`
/// and before any nested part: a guess, good enough to name the object in a log and to keep what is known of it.
pub(crate) fn oversized(start: &[u8], length: usize) -> Bad {
    let text = String::from_utf8_lossy(start);
    let meta = text.split_once("\"metadata\"").map_or("", |(_, rest)| rest);
    let field = |name: &str| {
        let (_, rest) = meta.split_once(&format!("\"{name}\""))?;
        let rest = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
        rest.split_once('"').map(|(value, _)| value).filter(|v| !v.is_empty() && !v.contains('\\'))
    };
    Bad {
        key: field("name").map(|name| Key::new(field("namespace").unwrap_or_default(), name)),
        uid: field("uid").map(Uid::new),
        version: field("resourceVersion").and_then(Version::parse),
        deleted: text.trim_start().starts_with("{\"type\":\"DELETED\""),
        why: format!("{length} bytes are too many"),
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_api::{Partial, Pod};

    use super::*;

    /// Headers of Secrets are watched without what is in them, also where a server would rather send it.
    #[test]
    fn contents_that_nobody_reads_are_never_asked_for() {
        let headers = Json { metadata_only: true, ..Json::default() };
        for accept in [Wire::<Partial>::accept_list(&headers), Wire::<Partial>::accept_watch(&headers)] {
            assert!(accept.split(',').all(|form| form.contains("as=PartialObjectMetadata")), "{accept}");
        }
        assert_eq!(Wire::<Pod>::accept_list(&Json::default()), WHOLE);
    }
}
