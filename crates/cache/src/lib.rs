//! The one watch cache of the process: for every kind an ordered log and the indexed store that is its fold.
//!
//! Here live [`Store`] (objects, indexes, three-way diff on relist, never back in time), [`Cache`] (all stores behind one lock, listeners,
//! and the freshness gate: own writes are seen before the next decision) and [`Change`], what listeners are told. What never lives here:
//! IO, tokio, decisions. The drivers that feed it are in `evenkeel-watch`.
//!
//! Start reading at [`Cache::ingest`].

mod cache;
mod change;
mod freshness;
mod header;
mod headers;
mod mapping;
mod store;

pub use cache::{AnyStore, Cache, Ingested, Stats, Stores};
pub use change::Change;
pub use freshness::{Owner, Wait};
pub use header::{Cached, Fold, Header};
pub use headers::Headers;
pub use mapping::Mapping;
pub use store::{BeforeAfter, Entry, Refused, Store};
