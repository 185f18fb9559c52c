//! Black-box stories and recorded truth, played against the local and a real API server.
//!
//! What lives here: the player of recorded behaviours ([`behaviours`]), the stories that a person would go through with kubectl
//! ([`stories`]), and the ways in which their requests reach a server ([`transport`]). What never does: anything that the manager or the
//! local control plane needs to run; they are looked at from outside only.
//!
//! Start reading at [`behaviours`] or [`stories`]; the binary `stories` runs both.

pub mod behaviours;
pub mod stories;
pub mod takeover;
pub mod transport;
