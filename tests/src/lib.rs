//! Black-box stories and recorded truth, played against the local and a real API server.
//!
//! What lives here: the players of recorded behaviours of a manager ([`behaviours`]) and of recorded conversations with an API server
//! ([`corpus`]), what the two share ([`recorded`]), the stories that a person would go through with kubectl ([`stories`]), that of clients
//! which others wrote ([`clients`]), the load maker of a bench ([`load`]), and the ways in which their requests reach a server
//! ([`transport`]). What never does: anything that the manager or the
//! local control plane needs to run; they are looked at from outside only.
//!
//! Start reading at [`behaviours`], [`corpus`] or [`stories`]; the binary `stories` runs all of them.

pub mod behaviours;
pub mod clients;
pub mod corpus;
pub mod load;
pub mod recorded;
pub mod stories;
pub mod takeover;
pub mod transport;
