use std::time::Duration;

use evenkeel_api::Version;

use crate::{Malformed, Status};

/// Why a list or watch did not go on, by what the driver does next.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The version that we hold is gone from the server: list again at once.
    #[error("the version is too old: {0}")]
    Expired(Status),
    /// The version that we hold is beyond what this server has: list again at once, consistently.
    #[error("the version is beyond the server's: {0}")]
    AheadOfServer(Status),
    /// The server gave something older than was seen: list again, consistently, after a pause.
    #[error("the server went back in time: version {offered} after {seen}")]
    Backwards {
        /// What came.
        offered: Version,
        /// The highest version seen.
        seen: Version,
    },
    /// No answer, a cut connection, or a server that is busy: the same again after a pause; what is known stays good.
    #[error("not reachable: {what}")]
    Unreachable {
        /// What happened.
        what: String,
        /// How long the server wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// The streaming list is not understood: ask for pages in the same cycle.
    #[error("no streaming list: {0}")]
    NoStreamingList(String),
    /// The server said no (403, 401, 500, …): list again after a pause.
    #[error("refused: {0}")]
    Refused(Status),
    /// Bytes that make no sense: list again after a pause.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl WatchError {
    /// Sorts what a server said.
    pub(crate) fn of_status(status: Status) -> Self {
        if status.version_too_large {
            Self::AheadOfServer(status)
        } else if status.expired() {
            Self::Expired(status)
        } else if matches!(status.code, 429 | 502 | 503 | 504) {
            Self::Unreachable { retry_after: status.retry_after, what: status.to_string() }
        } else {
            Self::Refused(status)
        }
    }

    pub(crate) fn unreachable(what: impl std::fmt::Display) -> Self {
        Self::Unreachable { what: what.to_string(), retry_after: None }
    }
}
