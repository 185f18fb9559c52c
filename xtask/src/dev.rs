//! `cargo dev`: the local control plane, built and started.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::{Failure, program, workspace};

/// Builds the workspace's programs and becomes `devcluster`, so that signals reach it directly.
pub fn run(args: &[String]) -> Result<(), Failure> {
    program::build(&["--bins"])?;
    let error = Command::new(workspace::built("devcluster")).args(args).exec();
    Err(Failure::Machine(format!("cannot start the local control plane: {error}")))
}
