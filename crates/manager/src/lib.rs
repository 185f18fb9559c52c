//! The manager: flags, wiring, shutdown; no decisions.
//!
//! Here live the command line ([`parse`], one table of flags), the names of controllers, the shell that every loop's passes run in
//! (`pass.rs`), the wiring of cache, drivers, queues and loops (`wiring.rs`), and the life of one process ([`run`]). What never lives
//! here: what a loop decides, and anything of the local control plane.
//!
//! Start reading at [`run`], then `pass.rs`.

mod around;
pub mod controllers;
mod election;
pub mod flags;
pub mod gc_command;
pub mod interlock;
mod kind_names;
mod kinds;
mod metrics;
mod pages;
mod pass;
pub mod plan_command;
mod planner;
mod run;
mod subcommand;
mod what_if_command;
mod wiring;
mod world;

pub use around::{Around, AsIs};
pub use flags::{FlagError, Options, Parsed, parse};
pub use run::{RunError, run, run_around};
pub use world::World;
