//! Lease-based leader election (manager 5): who may write, and until when.
//!
//! An [`Elector`] campaigns for one Lease. It tells the rest of the process where it stands through a [`Handle`]: the [`State`] for starting
//! and stopping loops, and the [`Fence`] that every write must pass before it leaves. The fence is what keeps two leaders apart, whatever
//! else is late: it closes by itself, by the local monotonic clock, one renew deadline after the last successful renewal was *sent*.
//!
//! Times stored in the Lease are written for people and never compared with a clock. What counts is how long ago, by the local monotonic
//! clock, the record was seen to change. That clock stands still while a machine is suspended, as Go's does: a suspended leader that comes
//! back may pass its own fence for the rest of the deadline. Preconditions on writes are the second line of defence there.
//!
//! What never lives here: loops, workers, the decision to exit. Start reading at `machine.rs`, which is all of the rules and no IO;
//! `elector.rs` is its shell, `lease.rs` and `watch.rs` speak to the API server.

mod clock;
mod config;
mod elector;
mod fence;
mod handle;
mod health;
mod lease;
pub mod machine;
mod metrics;
mod record;
mod step;
mod watch;

pub use clock::Clock;
pub use config::{ElectionConfig, FlagError, OnLoss, Timings, flag_errors};
pub use elector::{Elector, Ended, InvalidConfig, Surroundings};
pub use fence::{Fence, Fenced};
pub use handle::{ElectionEvent, Handle, State};
pub use health::Health;
pub use lease::{KubeLease, LeaseClient, LeaseError};
pub use metrics::ElectionMetrics;
pub use record::{Lease, Record};
pub use watch::{Hint, Hints};
