//! The keyed work queue between what happened and the passes that look at it (manager 12).
//!
//! A [`Queue`] holds distinct keys: adding one that already waits changes nothing, adding one that a worker holds queues it once more
//! when the worker is done, and no two workers ever hold the same key. Keys can be added later ([`Queue::add_after`]) or after a back-off
//! of their own ([`Queue::retry`]). Two priorities keep what changed ahead of what merely exists. It is bounded by the number of distinct
//! keys and never drops one.
//!
//! What never lives here: what a key means, what a pass does, who starts the workers. Start reading at [`Queue`]; the rules are in
//! `state.rs`, free of waiting, and `queue.rs` adds the waiting.

mod backoff;
mod metrics;
mod queue;
mod state;

pub use backoff::Bucket;
pub use metrics::QueueMetrics;
pub use queue::{Queue, QueueOptions};
pub use state::Priority;
