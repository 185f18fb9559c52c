//! The body of a list, put together from the stored bytes while it is sent: a long list takes no memory of its own.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::store::Stored;

/// About how much is put together at a time.
const PIECE: usize = 64 * 1024;
const END: &[u8] = b"]}\n";

/// A list that is about to be sent.
pub(crate) struct ListBody {
    /// The list up to its items.
    head: Bytes,
    /// How every stored document begins: kind and apiVersion, which items of a list do not carry.
    lead: String,
    items: Vec<Arc<Stored>>,
    /// How many items were put into pieces.
    done: usize,
    over: bool,
}

impl ListBody {
    /// A list of `items`; `head` is an object without its closing brace.
    pub(crate) fn new(head: Vec<u8>, lead: String, items: Vec<Arc<Stored>>) -> Self {
        let mut head = BytesMut::from(&*head);
        head.extend_from_slice(b",\"items\":[");
        ListBody { head: head.freeze(), lead, items, done: 0, over: false }
    }

    /// Length of all of it in bytes.
    pub(crate) fn length(&self) -> usize {
        let items: usize = self.items.iter().map(|s| self.length_of(s)).sum();
        self.head.len() + items + self.items.len().saturating_sub(1) + END.len()
    }

    fn length_of(&self, s: &Stored) -> usize {
        if s.bytes.starts_with(self.lead.as_bytes()) { s.bytes.len() - self.lead.len() + 1 } else { s.bytes.len() }
    }

    /// The next piece; `None` when all was given.
    pub(crate) fn next_piece(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        let mut out = BytesMut::with_capacity(PIECE + PIECE / 4);
        if self.done == 0 {
            out.extend_from_slice(&self.head);
        }
        while let Some(s) = self.items.get(self.done).filter(|_| out.len() < PIECE) {
            if self.done > 0 {
                out.extend_from_slice(b",");
            }
            match s.bytes.strip_prefix(self.lead.as_bytes()) {
                Some(rest) => {
                    out.extend_from_slice(b"{");
                    out.extend_from_slice(rest);
                }
                None => out.extend_from_slice(&s.bytes),
            }
            self.done += 1;
        }
        if self.done == self.items.len() {
            out.extend_from_slice(END);
            self.over = true;
        }
        Some(out.freeze())
    }

    /// All of it at once.
    pub(crate) fn whole(mut self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.length());
        while let Some(piece) = self.next_piece() {
            out.extend_from_slice(&piece);
        }
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_a_document_of_the_promised_length() {
        let lead = r#"{"kind":"Pod","apiVersion":"v1","#;
        for (n, size) in [(0, 0), (1, 10), (3, 70_000), (2_000, 100)] {
            let item = |i: usize| {
                let text = format!("{lead}\"metadata\":{{\"name\":\"{i}\",\"filler\":\"{}\"}}}}", "x".repeat(size));
                Arc::new(Stored { rv: 1, key: "k".into(), bytes: text.into(), labels: Box::default(), fields: Box::default() })
            };
            let list = || ListBody::new(br#"{"kind":"PodList""#.to_vec(), lead.to_owned(), (0..n).map(item).collect());
            let (length, whole) = (list().length(), list().whole());
            assert_eq!(length, whole.len());
            let doc: serde_json::Value = serde_json::from_slice(&whole).expect("a document");
            assert_eq!(doc["items"].as_array().map(Vec::len), Some(n));
            assert!(
                doc["items"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .enumerate()
                    .all(|(i, d)| d["metadata"]["name"].as_str() == Some(&*i.to_string()) && d["kind"].is_null())
            );
        }
    }
}
