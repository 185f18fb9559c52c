//! The load maker of `cargo xtask bench`: creates, deliveries of watches, long lists, and requests out of a file, timed.
//!
//! It shares the machine with the server that it measures, so it does as little as it can: requests are put together once, answers are
//! counted, not read.

mod connection;
mod runs;
mod send;

pub use runs::{Load, create, deliver, list, touch};
pub use send::{Send, send};

use crate::transport::NoAnswer;

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The way to the server is none.
    #[error(transparent)]
    Settings(#[from] NoAnswer),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] std::io::Error),
    /// The server refused what was asked for.
    #[error("{what} was answered with {status}: {body}")]
    Refused {
        /// Method and path.
        what: String,
        /// HTTP status.
        status: u16,
        /// The beginning of the answer.
        body: String,
    },
    /// A file of requests is none.
    #[error("{0}")]
    File(String),
    /// It took too long.
    #[error("{0}")]
    Late(String),
}
