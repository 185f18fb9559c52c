//! Stories: what a person does with a cluster, with real kubectl, each step with what must be seen.
//!
//! [`handson`] is the walk; [`plane`] the control planes that it can be taken on; [`kubectl`], [`history`] and [`wait`] what its steps are
//! written in.

pub mod handson;
pub mod history;
pub mod kubectl;
pub mod plane;
pub mod program;
pub mod wait;
