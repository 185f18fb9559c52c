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

// Refusals are rare and travel a few frames only: boxing them would cost more words than it saves bytes.
#![allow(clippy::result_large_err)]

mod accept;
mod admission;
mod apply;
mod bootstrap;
mod convert;
mod custom;
mod defaults;
pub mod discovery;
pub mod edge;
mod go_text;
mod go_time;
mod go_value;
mod impersonate;
mod json;
mod kinds;
mod list_body;
mod meta;
pub mod openapi;
pub mod options;
mod patch;
mod pretty;
mod quantity;
mod query;
mod rbac;
mod read;
pub mod registry;
pub mod request;
mod reviews;
mod route;
pub mod schema;
mod selector;
pub mod server;
pub mod status;
mod store;
mod sub;
pub mod table;
mod view;
mod write;
mod yaml;

pub use options::{Chance, Clock, Commit, Observer, Options, SeededChance, WallClock};
pub use registry::{Registry, Resource, Subresource};
pub use request::{Body, Request, Response, UserInfo, WatchStream};
pub use server::Server;
pub use store::{DataError, DataFile, NotKept};
