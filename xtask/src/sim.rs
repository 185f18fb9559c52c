//! `cargo xtask sim`: seeded fault simulation, run by the crate `evenkeel-sim`.

use crate::{Failure, program};

/// `cargo xtask sim --seeds A..B`: hands on to the crate's own program.
pub fn run(args: &[String]) -> Result<(), Failure> {
    let mut command = program::cargo(&["run", "--quiet", "--package", "evenkeel-sim", "--bin", "sim", "--"]);
    program::run(command.args(args))
}
