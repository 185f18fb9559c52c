//! Watches. A watch holds no lines: it reads the log from its position and encodes an event when somebody takes it, so a slow reader
//! costs a few references, and is told (410) when what it has not read yet is forgotten.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch as notify;
use tokio::time::Instant;

use super::{Event, Store, Stored};
use crate::request::WatchStream;
use crate::selector::fields::FieldSelector;
use crate::selector::labels::LabelSelector;
use crate::status::ApiError;

/// Most events taken from the log at once. While they wait for the reader, they keep the versions that they name in memory.
const BATCH: usize = 64;
/// A watch that ends gets its last bookmark this long before.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

/// What a watch or list wants to see.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Beginning of the keys: `ns/`, or empty for all.
    pub prefix: String,
    /// By label.
    pub labels: LabelSelector,
    /// By field.
    pub fields: FieldSelector,
}

impl Filter {
    /// Whether nothing but the prefix counts.
    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// Whether an object is wanted.
    pub fn wants(&self, s: &Stored) -> bool {
        s.key.starts_with(&*self.prefix)
            && (self.labels.is_everything() || self.labels.matches(|k| s.labels.iter().find(|(n, _)| **n == *k).map(|(_, v)| &**v)))
            && (self.fields.is_everything() || self.fields.matches(s.namespace(), s.name(), &s.fields))
    }
}

/// How objects of a watch are shown.
pub trait View: Send {
    /// The object of an event.
    fn object(&mut self, stored: &Stored) -> Bytes;
    /// Whether [`View::object`] is the stored form, so that lines can be shared.
    fn is_plain(&self) -> bool;
    /// The object of a bookmark.
    fn bookmark(&mut self, rv: u64, end_of_initial: bool) -> Bytes;
}

/// A watch that is about to start.
pub struct Plan {
    /// Store key of the resource.
    pub log: String,
    /// What it wants to see.
    pub filter: Filter,
    /// Objects shown as ADDED first.
    pub initial: Vec<Arc<Stored>>,
    /// A bookmark at this revision ends the initial objects.
    pub initial_bookmark: Option<u64>,
    /// Events up to this revision are not shown.
    pub after: u64,
    /// Where the log is read from.
    pub position: u64,
    /// The log's alarm.
    pub alarm: notify::Receiver<u64>,
    /// Bookmarks are wanted, at this distance.
    pub bookmarks: Option<Duration>,
    /// The watch ends after this time.
    pub timeout: Duration,
    /// How objects are shown.
    pub view: Box<dyn View>,
}

/// One line of a watch.
pub fn line(kind: &str, object: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(object.len() + 32);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    out.extend_from_slice(object.trim_ascii_end());
    out.extend_from_slice(b"}\n");
    Bytes::from(out)
}

/// The line of an error that ends a watch.
pub fn error_line(e: &ApiError) -> Bytes {
    let bytes = serde_json::to_vec(&e.to_value()).expect("a Status always encodes");
    line("ERROR", &bytes)
}

struct Running {
    store: Arc<Store>,
    plan: Plan,
    initial: std::vec::IntoIter<Arc<Stored>>,
    /// Taken from the log and not shown yet.
    taken: VecDeque<Arc<Event>>,
    deadline: Instant,
    next_bookmark: Option<Instant>,
    over: bool,
}

impl Store {
    /// Starts a watch.
    pub fn start_watch(self: &Arc<Self>, mut plan: Plan) -> WatchStream {
        let store = self.clone();
        let start = async move {
            let now = Instant::now();
            let deadline = now + plan.timeout;
            let next_bookmark = plan.bookmarks.map(|every| {
                let last = deadline.checked_sub(LAST_BOOKMARK).filter(|t| *t > now).unwrap_or(deadline);
                (now + every).min(last)
            });
            let initial = std::mem::take(&mut plan.initial).into_iter();
            Running { store, plan, initial, taken: VecDeque::new(), deadline, next_bookmark, over: false }
        };
        let stream = futures::stream::once(start);
        Box::pin(futures::StreamExt::flat_map(stream, |running| {
            futures::stream::unfold(running, |mut r| async move { r.next().await.map(|line| (line, r)) })
        }))
    }
}

impl Running {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(s) = self.initial.next() {
            let object = self.plan.view.object(&s);
            return Some(line("ADDED", &object));
        }
        if let Some(rv) = self.plan.initial_bookmark.take() {
            let object = self.plan.view.bookmark(rv, true);
            return Some(line("BOOKMARK", &object));
        }
        loop {
            let had_some = !self.taken.is_empty();
            while let Some(e) = self.taken.pop_front() {
                if let Some(line) = self.show(&e) {
                    return Some(line);
                }
            }
            if self.over {
                return None;
            }
            // Others get a turn between batches of which nothing is shown.
            if had_some {
                tokio::task::yield_now().await;
            }
            // Seen before reading, so that nothing committed in between is slept through.
            self.plan.alarm.borrow_and_update();
            let Some((events, position, rv)) = self.store.events_from(&self.plan.log, self.plan.position, BATCH) else {
                self.over = true;
                return Some(error_line(&ApiError::expired("The resourceVersion for the provided watch is too old.")));
            };
            self.plan.position = position;
            if !events.is_empty() {
                self.taken.extend(events);
                continue;
            }
            let far = self.deadline;
            tokio::select! {
                biased;
                changed = self.plan.alarm.changed() => {
                    if changed.is_err() {
                        // The resource itself is gone.
                        self.over = true;
                    }
                }
                () = tokio::time::sleep_until(self.next_bookmark.unwrap_or(far)), if self.next_bookmark.is_some() => {
                    let now = Instant::now();
                    self.next_bookmark = self.plan.bookmarks.and_then(|every| {
                        let last = self.deadline.checked_sub(LAST_BOOKMARK)?;
                        let next = (now + every).min(last);
                        (next > now).then_some(next)
                    });
                    let object = self.plan.view.bookmark(rv, false);
                    return Some(line("BOOKMARK", &object));
                }
                () = tokio::time::sleep_until(self.deadline) => self.over = true,
            }
        }
    }

    fn show(&mut self, e: &Event) -> Option<Bytes> {
        let f = &self.plan.filter;
        if e.rv <= self.plan.after || !e.new.key.starts_with(&*f.prefix) {
            return None;
        }
        let before = e.old.as_ref().is_some_and(|o| f.wants(o));
        let after = !e.deleted && f.wants(&e.new);
        let kind = match (before, after) {
            (false, false) => return None,
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
        };
        // Left the selection: the last state that was in it, at the revision of the change.
        if kind == "DELETED" && !e.deleted {
            let old = e.old.as_ref()?;
            let moved = Stored {
                rv: e.rv,
                key: old.key.clone(),
                bytes: with_rv(&old.bytes, e.rv),
                labels: old.labels.clone(),
                fields: old.fields.clone(),
            };
            let object = self.plan.view.object(&moved);
            return Some(line(kind, &object));
        }
        let natural = if e.deleted {
            "DELETED"
        } else if e.old.is_some() {
            "MODIFIED"
        } else {
            "ADDED"
        };
        if self.plan.view.is_plain() && natural == kind {
            return Some(e.line());
        }
        let object = self.plan.view.object(&e.new);
        Some(line(kind, &object))
    }
}

/// The document with another resourceVersion.
pub fn with_rv(bytes: &[u8], rv: u64) -> Bytes {
    let Ok(mut doc) = serde_json::from_slice::<serde_json::Value>(bytes) else { return Bytes::copy_from_slice(bytes) };
    doc["metadata"]["resourceVersion"] = rv.to_string().into();
    Bytes::from(serde_json::to_vec(&doc).expect("a document always encodes"))
}
