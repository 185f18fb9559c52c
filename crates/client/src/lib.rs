//! Transport to the API server, and the writer that carries plans out.
//!
//! Here live [`connect`] (kubeconfig or in-cluster, no hidden retries), [`Api`] (one identity's requests: User-Agent, field manager, timeouts,
//! metrics) over a shared [`Pace`] (concurrency that adapts to the server), [`Writer`] (ordered steps, preconditions, unknown outcomes
//! resolved by a live read) and [`Recorder`] (events). What never lives here: decisions. The transport itself is [`kube::Client`], which
//! can be built over any service: that is how tests and simulations put theirs in.
//!
//! Start reading at [`Writer::carry_out`].

mod api;
mod clock;
mod connect;
mod correlate;
mod events;
mod metrics;
mod pace;
mod read;
mod request;
mod writer;

pub use api::{Api, CallError, Reply, Status};
pub use clock::{Clock, SystemClock};
pub use connect::{Clients, ConnectError, ConnectOptions, connect, load};
pub use events::Recorder;
pub use metrics::ClientMetrics;
pub use pace::{Pace, PaceOptions};
pub use writer::{Fence, Writer};
