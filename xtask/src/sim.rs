//! `cargo xtask sim`: seeded fault simulation, run by the crate `evenkeel-sim`.

use std::process::Command;

use crate::{Failure, program, workspace};

/// `cargo xtask sim --seeds A..B`: hands on to the crate's own program.
pub fn run(args: &[String]) -> Result<(), Failure> {
    program::build(&["--bins"])?;
    program::run(Command::new(workspace::built("sim")).args(args))
}
