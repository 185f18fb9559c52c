//! Stories: what a person does with a cluster, with real kubectl, each step with what must be seen.
//!
//! [`handson`] is the walk, [`usage`] the table of everything else that kubectl and Helm can do; [`plane`] the control planes that they can be
//! told on; [`kubectl`], [`history`] and [`wait`] what steps are written in.

pub mod handson;
pub mod history;
pub mod kubectl;
pub mod plane;
pub mod program;
pub mod usage;
pub mod wait;
