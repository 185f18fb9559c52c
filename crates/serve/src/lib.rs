//! The manager's HTTPS port (manager 9): `/healthz`, `/livez`, `/readyz` and `/metrics`.
//!
//! [`Checks`] holds the health checks, which come and go with controllers; [`Metrics`] is the registry with what must happen before it is
//! read; [`process`] what the kernel says of this process; [`listen`] and [`Server`] put checks and metrics on a port. Certificates come from
//! files that are read again when they change, or are made here.
//!
//! Who may ask: everybody may read health, as upstream allows by default. `/metrics` is open while the port is bound to a loopback address,
//! and refused with 403 otherwise unless [`ServeOptions::metrics_open`] says that the network is trusted. Asking the API server who may read
//! it (manager 9.1, scenario 16.21) is not built yet.
//!
//! What never lives here: what is healthy, which metrics there are, flags. Start reading at `server.rs`; `pages.rs` has the answers.

mod certificate;
mod checks;
mod exposition;
mod pages;
pub mod process;
mod server;

pub use certificate::{CertificateSource, TlsVersion};
pub use checks::{Checks, Endpoint};
pub use exposition::Metrics;
pub use pages::DebugPage;
pub use server::{ServeError, ServeOptions, Server, listen};
