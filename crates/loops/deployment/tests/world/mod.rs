//! A small world to decide in: objects as a server holds them, and the words to build them.
//!
//! [`objects`] has the words, [`Cluster`] plays the API server and the ReplicaSet loop, [`say`] puts plans and reports into short lines.

mod cluster;
mod objects;
mod say;

pub use cluster::{Cluster, T0, at};
pub use objects::{Dep, PodObject, Set, deployment, owner, pod, set, uid};
pub use say::{condition, conditions, events, reason, said, sizes, status};

/// How many cases a property is tried with: this many, unless `PROPTEST_CASES` has another number.
pub fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}
