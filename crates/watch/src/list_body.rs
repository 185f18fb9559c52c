use std::marker::PhantomData;

use evenkeel_api::{Text, Version, Watched};
use serde::Deserialize;

use crate::{Item, Json, ListEnd, ListReader, Malformed, bounds, json::oversized};

/// Reads `{"kind": "PodList", "metadata": {…}, "items": […]}` while it arrives: each item is decoded and dropped as soon as its last byte
/// is there, so that a list of any length needs room for one object.
///
/// Only as much JSON is understood here as it takes to find where items end: strings, escapes and nesting. Whether an item *is* JSON its
/// decoder finds out, and a bad one costs only itself. What is left when the items are cut out (a few hundred bytes) is parsed whole.
#[derive(Debug)]
pub struct JsonList<T> {
    json: Json,
    place: Place,
    depth: u32,
    in_string: bool,
    escaped: bool,
    envelope: Vec<u8>,
    item: Vec<u8>,
    item_length: usize,
    kind: PhantomData<fn() -> T>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Outside `items`: kept.
    Envelope,
    /// Between two items.
    Between,
    /// Within an item.
    Item,
    /// After the end.
    End,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    metadata: Option<ListMeta<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta<'a> {
    #[serde(borrow)]
    resource_version: Option<Text<'a>>,
    #[serde(borrow, rename = "continue")]
    more: Option<Text<'a>>,
}

impl<T: Watched> JsonList<T> {
    pub(crate) fn new(json: Json) -> Self {
        Self {
            json,
            place: Place::Envelope,
            depth: 0,
            in_string: false,
            escaped: false,
            envelope: Vec::new(),
            item: Vec::new(),
            item_length: 0,
            kind: PhantomData,
        }
    }

    fn keep_envelope(&mut self, part: &[u8]) -> Result<(), Malformed> {
        if self.envelope.len() + part.len() > bounds::ENVELOPE {
            return Err(Malformed(format!("more than {} bytes around the items", bounds::ENVELOPE)));
        }
        self.envelope.extend_from_slice(part);
        Ok(())
    }

    fn keep_item(&mut self, part: &[u8]) {
        let before = self.item_length;
        self.item_length += part.len();
        if self.item_length <= self.json.limit {
            self.item.extend_from_slice(part);
        } else if before <= self.json.limit {
            let missing = bounds::OBJECT_START.saturating_sub(self.item.len()).min(part.len());
            self.item.extend_from_slice(&part[..missing]);
            self.item.truncate(bounds::OBJECT_START);
            self.item.shrink_to_fit();
        }
    }

    /// The item whose last bytes are `part`.
    fn close_item(&mut self, part: &[u8]) -> Item<T> {
        if self.item_length == 0 && part.len() <= self.json.limit {
            return self.decode(part);
        }
        self.keep_item(part);
        let (bytes, length) = (std::mem::take(&mut self.item), std::mem::take(&mut self.item_length));
        let item = if length > self.json.limit { Item::Bad(oversized(&bytes, length)) } else { self.decode(&bytes) };
        if bytes.capacity() <= bounds::BUFFER_KEPT {
            self.item = bytes;
            self.item.clear();
        }
        item
    }

    fn decode(&self, bytes: &[u8]) -> Item<T> {
        self.json.object::<T>(bytes, false).map_or_else(Item::Bad, Item::Good)
    }

    /// Whether the `[` that ends the envelope so far opens the items.
    fn opens_items(&self) -> bool {
        let Some(head) = self.envelope.trim_ascii_end().strip_suffix(b"[") else { return false };
        head.trim_ascii_end().strip_suffix(b":").is_some_and(|head| head.trim_ascii_end().ends_with(b"\"items\""))
    }
}

impl<T: Watched> ListReader<T> for JsonList<T> {
    fn push(&mut self, chunk: &[u8], out: &mut Vec<Item<T>>) -> Result<(), Malformed> {
        // Bytes of the current place that are not kept yet start here.
        let mut from = 0;
        for (at, &byte) in chunk.iter().enumerate() {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match (self.place, byte) {
                (Place::Item | Place::Envelope, b'"') => self.in_string = true,
                (Place::Item, b'{' | b'[') => self.depth += 1,
                (Place::Item, b'}' | b']') => {
                    self.depth -= 1;
                    if self.depth == 2 {
                        let item = self.close_item(&chunk[from..=at]);
                        out.push(item);
                        self.place = Place::Between;
                    }
                }
                (Place::Between, b'{') => {
                    self.depth += 1;
                    self.place = Place::Item;
                    from = at;
                }
                (Place::Between, b']') => {
                    self.depth -= 1;
                    self.place = Place::Envelope;
                    from = at;
                }
                (Place::Between, b',' | b' ' | b'\n' | b'\r' | b'\t') => {}
                (Place::Between, other) => return Err(Malformed(format!("{:?} among the items", char::from(other)))),
                (Place::Envelope, b'[') if self.depth == 1 => {
                    self.keep_envelope(&chunk[from..=at])?;
                    from = at + 1;
                    self.depth += 1;
                    if self.opens_items() {
                        self.place = Place::Between;
                    }
                }
                (Place::Envelope, b'{' | b'[') => self.depth += 1,
                (Place::Envelope, b'}' | b']') => {
                    self.depth = self.depth.checked_sub(1).ok_or_else(|| Malformed("an end without a start".into()))?;
                    if self.depth == 0 {
                        self.keep_envelope(&chunk[from..=at])?;
                        self.place = Place::End;
                    }
                }
                (Place::End, byte) if !byte.is_ascii_whitespace() => return Err(Malformed("more bytes after the list".into())),
                _ => {}
            }
        }
        match self.place {
            Place::Envelope => self.keep_envelope(&chunk[from..])?,
            Place::Item => self.keep_item(&chunk[from..]),
            Place::Between | Place::End => {}
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<ListEnd, Malformed> {
        if self.place != Place::End {
            return Err(Malformed("the list breaks off".into()));
        }
        let envelope: Envelope<'_> = serde_json::from_slice(&self.envelope).map_err(|e| Malformed(e.to_string()))?;
        let kind = envelope.kind.as_deref().unwrap_or_default();
        if kind.strip_suffix("List").is_none_or(|kind| !self.json.serves::<T>(kind)) {
            return Err(Malformed(format!("a {kind:?} in place of a list of {}", T::only().map_or("objects", |only| only.kind))));
        }
        let meta = envelope.metadata.ok_or_else(|| Malformed("a list without metadata".into()))?;
        Ok(ListEnd {
            version: Version::parse(meta.resource_version.as_deref().unwrap_or_default())
                .ok_or_else(|| Malformed("a list without a usable resourceVersion".into()))?,
            more: meta.more.filter(|m| !m.is_empty()).map(|m| m.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_api::Pod;
    use serde_json::json;

    use super::*;

    fn read(chunks: &[&[u8]], limit: usize) -> Result<(Vec<Item<Pod>>, ListEnd), Malformed> {
        let mut reader: Box<dyn ListReader<Pod>> = Box::new(JsonList::new(Json { limit, ..Json::default() }));
        let mut out = Vec::new();
        for chunk in chunks {
            reader.push(chunk, &mut out)?;
        }
        Ok((out, reader.finish()?))
    }

    fn pod(name: &str, note: &str) -> serde_json::Value {
        json!({"metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": "7", "annotations": {"note": note, "items": "[{"}}})
    }

    fn names(items: &[Item<Pod>]) -> Vec<String> {
        items
            .iter()
            .map(|i| match i {
                Item::Good(p) => p.meta.name.to_string(),
                Item::Bad(b) => format!("!{}", b.key.as_ref().map(|k| k.name.to_string()).unwrap_or_default()),
            })
            .collect()
    }

    #[test]
    fn a_list_is_read_the_same_wherever_its_chunks_break() {
        let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "9", "continue": "abc"},
            "items": [pod("a", "}\"]\\"), pod("b", "{"), {"metadata": {"name": "c", "namespace": "n"}}, pod("d", "é")]});
        for text in [list.to_string(), serde_json::to_string_pretty(&list).unwrap()] {
            let bytes = text.as_bytes();
            for at in 0..=bytes.len() {
                let (items, end) = read(&[&bytes[..at], &bytes[at..]], 1 << 20).unwrap();
                assert_eq!(names(&items), ["a", "b", "!c", "d"], "{at}");
                assert_eq!(end, ListEnd { version: Version(9), more: Some("abc".into()) });
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(names(&read(&single, 1 << 20).unwrap().0), ["a", "b", "!c", "d"]);
        }
    }

    #[test]
    fn items_may_be_null_empty_or_after_other_arrays() {
        for items in ["null", "[]", "[ ]"] {
            let text = format!(r#"{{"kind":"PodList","x":["items",[1]],"items":{items},"metadata":{{"resourceVersion":"3"}}}}"#);
            let (found, end) = read(&[text.as_bytes()], 100).unwrap();
            assert!(found.is_empty());
            assert_eq!(end, ListEnd { version: Version(3), more: None });
        }
    }

    #[test]
    fn an_item_over_the_bound_costs_only_itself() {
        let list = json!({"kind": "PodList", "metadata": {"resourceVersion": "9"}, "items": [pod("a", "x"), pod("big", &"y".repeat(50_000)), pod("c", "")]});
        let text = list.to_string();
        for size in [1_000, 7, 100_000] {
            let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            assert_eq!(names(&read(&chunks, 10_000).unwrap().0), ["a", "!big", "c"]);
        }
    }

    #[test]
    fn what_is_no_list_is_an_error_and_never_an_empty_list() {
        let good = json!({"kind": "PodList", "metadata": {"resourceVersion": "9"}, "items": [pod("a", "x")]}).to_string();
        for end in 0..good.len() {
            assert!(read(&[&good.as_bytes()[..end]], 1 << 20).is_err(), "{end}");
        }
        for text in [
            r#"{"kind":"Status","metadata":{"resourceVersion":"9"}}"#,
            r#"{"kind":"NodeList","metadata":{"resourceVersion":"9"},"items":[]}"#,
            r#"{"kind":"PodList","metadata":{},"items":[]}"#,
            r#"{"kind":"PodList","metadata":{"resourceVersion":"x"},"items":[]}"#,
            r#"{"kind":"PodList","items":[]}"#,
            r#"{"kind":"PodList","metadata":{"resourceVersion":"9"},"items":[3]}"#,
            r#"{"kind":"PodList","metadata":{"resourceVersion":"9"},"items":[]} x"#,
            "<html>",
            "]",
            "",
        ] {
            assert!(read(&[text.as_bytes()], 100).is_err(), "{text}");
        }
        let endless = format!(r#"{{"kind":"PodList","x":"{}"#, "y".repeat(bounds::ENVELOPE));
        assert!(read(&[endless.as_bytes()], 100).is_err());
    }
}
