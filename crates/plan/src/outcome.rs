use std::sync::Arc;

use evenkeel_api::{Meta, Uid, Version};

use crate::{Discovered, Left};

/// How every write of a plan went: same steps, same order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// One list per step of the plan.
    pub steps: Vec<Vec<Done>>,
}

/// How one write went.
#[derive(Debug, Clone, PartialEq)]
pub enum Done {
    /// The server has done it.
    Written(Answer),
    /// Answer to [`crate::Write::Look`]: this is there.
    Found(Arc<Meta>),
    /// It had been done before: the object is there and ours (the name of a create was taken by our own earlier write).
    Existed(Answer),
    /// The object to delete was gone already, or another life of its name is there. Of a look: there is no such object.
    AlreadyGone,
    /// Answer to [`crate::Write::Discover`].
    Discovered(Arc<Discovered>),
    /// Answer to [`crate::Write::Count`].
    Counted(Left),
    /// It failed.
    Failed(Failure),
    /// It was not sent, because something before it failed.
    Skipped,
}

/// What the server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Uid of the object.
    pub uid: Uid,
    /// Its version after the write. `None`: the server did not say, as where a deletion left nothing.
    pub version: Option<Version>,
    /// Whether the object certainly went with the write: a deletion that nothing holds up, or the release of what held it last.
    pub gone: bool,
}

/// Why a write failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What to do about it.
    pub kind: FailureKind,
    /// The server's message, as upstream would quote it in conditions and events.
    pub message: String,
}

/// Failures by what the caller should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Somebody wrote first (409 Conflict): the watch brings their version.
    Conflict,
    /// The name is taken by an object that is not ours (409 AlreadyExists).
    AlreadyExists,
    /// The object is gone (404), or another life of its name is there.
    NotFound,
    /// Creates in a dying namespace cannot succeed (403 with cause `NamespaceTerminating`): drop the work.
    NamespaceTerminating,
    /// Refused by authorisation, quota or admission (403).
    Forbidden,
    /// The object is not valid (400, 422).
    Invalid,
    /// The live owner is gone, another one, or being deleted: nothing may be adopted.
    OwnerGone,
    /// We lead no longer, so nothing was sent.
    Fenced,
    /// The server does not do this for objects of the kind (405), or not in this form (415).
    NotAllowed,
    /// Whatever else the server said, or no answer at all where a live read showed that nothing had happened.
    Other,
}

impl Outcome {
    /// The first failure, in plan order.
    pub fn first_failure(&self) -> Option<&Failure> {
        self.failures().next()
    }

    /// All failures, in plan order.
    pub fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.steps.iter().flatten().filter_map(Done::failure)
    }

    /// Whether everything was done.
    pub fn all_done(&self) -> bool {
        self.steps.iter().flatten().all(|d| !matches!(d, Done::Failed(_) | Done::Skipped))
    }
}

impl Done {
    /// The failure, if it is one.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure) => Some(failure),
            _ => None,
        }
    }

    /// The answer of a write that the server has done, now or before.
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Written(answer) | Self::Existed(answer) => Some(answer),
            _ => None,
        }
    }
}
