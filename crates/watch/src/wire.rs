use bytes::Bytes;
use evenkeel_api::{Key, Uid, Version};

use crate::{Frame, Status};

/// How objects of one kind travel: what to ask for, where one message ends, how it is read.
///
/// The seam at which a second form (protobuf) comes in beside [`Json`](crate::Json): a driver knows no more of the form than this trait.
pub trait Wire<T>: Send + Sync + 'static {
    /// Value of `Accept` for a list.
    fn accept_list(&self) -> &'static str;
    /// Value of `Accept` for a watch, streaming lists included.
    fn accept_watch(&self) -> &'static str;
    /// Cuts the body of a watch into frames, one event each.
    fn splitter(&self) -> Box<dyn FrameSplitter>;
    /// Reads one frame of a watch. An error fails the watch; a frame whose *object* cannot be read is [`Event::Bad`].
    fn event(&self, frame: &Frame) -> Result<Event<T>, Malformed>;
    /// Reads the body of one list page as it arrives.
    fn list(&self) -> Box<dyn ListReader<T>>;
}

/// Cuts a byte stream into frames.
pub trait FrameSplitter: Send {
    /// Takes the next bytes; call only when [`FrameSplitter::next`] has given `None`.
    fn push(&mut self, chunk: Bytes);
    /// The next complete frame.
    fn next(&mut self) -> Option<Frame>;
    /// What is left at the end of the stream, when it may be a frame.
    fn finish(&mut self) -> Option<Frame>;
}

/// Reads one page of a list as its bytes arrive.
pub trait ListReader<T>: Send {
    /// Takes the next bytes and adds the items that they complete to `out`.
    fn push(&mut self, chunk: &[u8], out: &mut Vec<Item<T>>) -> Result<(), Malformed>;
    /// The end of the body: what the page says about itself.
    fn finish(self: Box<Self>) -> Result<ListEnd, Malformed>;
}

/// One item of a list.
#[derive(Debug)]
pub enum Item<T> {
    /// A readable object.
    Good(T),
    /// One that must be passed over.
    Bad(Bad),
}

/// `metadata` of a list page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEnd {
    /// `metadata.resourceVersion`.
    pub version: Version,
    /// `metadata.continue`, when there are more pages.
    pub more: Option<String>,
}

/// One event of a watch.
#[derive(Debug)]
pub enum Event<T> {
    /// `ADDED` or `MODIFIED`.
    Put(T),
    /// `DELETED`: the last state, at the version of the deletion.
    Delete(T),
    /// `BOOKMARK`.
    Bookmark {
        /// Nothing is missing up to here.
        version: Version,
        /// Annotation `k8s.io/initial-events-end` is `"true"`: the initial events are complete.
        initial_end: bool,
    },
    /// `ERROR`, or a bare `Status` in the stream.
    Error(Status),
    /// An event whose object cannot be read.
    Bad(Bad),
}

/// An object that cannot be read, and what can be said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// Namespace and name, where readable.
    pub key: Option<Key>,
    /// Uid, where readable.
    pub uid: Option<Uid>,
    /// Version, where readable.
    pub version: Option<Version>,
    /// Whether the event says that the object is gone.
    pub deleted: bool,
    /// What is wrong with it.
    pub why: String,
}

/// Bytes that are no message of this form: the answer as a whole cannot be trusted any further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed answer: {0}")]
pub struct Malformed(pub String);
