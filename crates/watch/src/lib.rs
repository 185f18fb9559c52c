//! List/watch drivers that feed the one watch cache.
//!
//! Here live [`ListWatch`], the product's own driver (streaming list, paged fall-back, bookmarks, resume, never back in time);
//! [`RuntimeWatcher`], `kube_runtime`'s watcher behind the same [`Driver`] trait, against which the first is checked; [`Audit`], the slow
//! comparison of a store with the server; and the codec seam [`Wire`]. What never lives here: stores and indexes (`evenkeel-cache`),
//! decisions, and how a connection is made (a [`kube::Client`] is handed in; it can be built from any tower service).
//!
//! Start reading at [`Driver`], then `list_watch.rs` (the cycle), `fill.rs` (how a list is taken) and `follow.rs` (how it is kept).

mod audit;
mod backoff;
mod current;
mod driver;
mod error;
mod fill;
mod follow;
mod frames;
mod intake;
mod json;
mod list_body;
mod list_watch;
mod metrics;
mod pages;
mod runtime;
mod status;
mod synced;
mod transport;
mod wire;

pub use audit::{Audit, AuditReport, run_audited};
pub use backoff::Backoff;
pub use current::wait_current;
pub use driver::{Chance, Driver, Feed, Released, Stop, Trouble};
pub use error::WatchError;
pub use frames::{Frame, Lines};
pub use json::Json;
pub use list_body::JsonList;
pub use list_watch::ListWatch;
pub use metrics::{KindMetrics, Metrics};
pub use runtime::RuntimeWatcher;
pub use status::Status;
pub use synced::wait_synced;
pub use wire::{Bad, Event, FrameSplitter, Item, ListEnd, ListReader, Malformed, Wire};

/// The bounds of this crate, by name.
pub mod bounds {
    use std::time::Duration;

    /// Longest object, in bytes, that is decoded. etcd takes 1.5 MiB by default and 3 MiB at most in practice; its JSON is at most a
    /// few times that. Longer ones are skipped and counted.
    pub const OBJECT: usize = 8 << 20;
    /// Bytes kept of an object that is too long, to read its name from.
    pub const OBJECT_START: usize = 4 << 10;
    /// Longest part of a list outside its items (kind, metadata, continue token).
    pub const ENVELOPE: usize = 64 << 10;
    /// Longest error body that is read.
    pub const STATUS: usize = 64 << 10;
    /// Most objects of one kind that a list may have: an etcd of 8 GiB holds fewer.
    pub const LISTED: usize = 4_000_000;
    /// Objects asked for per page (client-go's pager asks the same).
    pub const PAGE: usize = 500;
    /// Most pages of one list; a server whose pages never end is wrong.
    pub const PAGES: usize = 2 * LISTED / PAGE;
    /// Unreadable objects remembered, per kind, so that each version of one is logged once.
    pub const BAD_REMEMBERED: usize = 1_000;
    /// A read buffer that grew beyond this for one big object is given back.
    pub const BUFFER_KEPT: usize = 16 << 10;
    /// Wait for the head of an answer.
    pub const HEAD: Duration = Duration::from_secs(60);
    /// Longest silence inside a list answer.
    pub const LIST_SILENCE: Duration = Duration::from_secs(60);
    /// Longest silence of a streaming list before its end mark; then pages are asked for.
    pub const STREAM_SILENCE: Duration = Duration::from_secs(30);
    /// How long a kind is listed in pages after a server did not understand the streaming list without saying so.
    pub const STREAM_PAUSE: Duration = Duration::from_secs(1_800);
    /// How much longer than its `timeoutSeconds` a watch may be silent before it counts as half open.
    pub const WATCH_SLACK: Duration = Duration::from_secs(15);
    /// `timeoutSeconds` of a watch is drawn from here (manager 13.1).
    pub const WATCH_SECONDS: std::ops::Range<u64> = 300..600;
    /// `timeoutSeconds` of a watch that is to show soon how far it is: servers send a bookmark two seconds before the end.
    pub const WATCH_HURRIED: std::ops::Range<u64> = 3..4;
    /// A watch that ends sooner without news counts as a failure (manager 13.2).
    pub const WATCH_SHORT: Duration = Duration::from_secs(1);
    /// Lists older than what was seen are refused this long; then the server is believed (its etcd was restored from a backup).
    pub const OLDER_LISTS: Duration = Duration::from_secs(60);
    /// Longest Retry-After that is obeyed.
    pub const RETRY_AFTER: Duration = Duration::from_secs(300);
}
