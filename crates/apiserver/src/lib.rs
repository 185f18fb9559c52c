//! An API server in one process: on a laptop and in tests.
//!
//! What lives here: the answers of a Kubernetes API server, from path to stored document and back. What never does: control loops,
//! collection of orphans, scheduling. Objects are JSON documents driven by tables (`tables/`): what fields a kind has, how its lists
//! merge, what is filled in, what is immutable; there is no Rust struct per kind.
//!
//! The core ([`Server`]) is synchronous and owns no clock, no randomness and no socket: all three are handed in, so that the same
//! seed gives the same history. `edge` puts it behind TLS.
//!
//! Start reading at [`Server::handle`] (`server.rs`), then `registry.rs` (what is served), `store/` (what is kept), `write/` (how a
//! write becomes a stored document).

pub mod discovery;
pub mod edge;
pub mod openapi;
pub mod options;
pub mod registry;
pub mod request;
pub mod server;
pub mod status;
pub mod table;

pub use options::{Chance, Clock, Commit, Observer, Options, SeededChance, WallClock};
pub use registry::{Registry, Resource, Subresource};
pub use request::{Body, Request, Response, UserInfo, WatchStream};
pub use server::Server;
