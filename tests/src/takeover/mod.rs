//! Taking over: one manager has worked, another goes on from what it left.
//!
//! A handover is a recorded behaviour cut in two at a moment of rest. What the second manager finds must cause no write, and the rest of
//! the story must end in every look as if one manager had done all of it. [`recorded`] holds what kube-controller-manager 1.36.2 had left
//! at the cuts, to be loaded into a server in process; [`live`] lets two real managers take turns on a real server.

pub mod cut;
pub mod live;
pub mod loaded;
pub mod recorded;
