//! Calling other programs to their end.

use std::process::{Command, Stdio};

use crate::{Failure, workspace};

/// A call of cargo in the workspace: the cargo that runs this.
pub fn cargo(args: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(workspace::root()).args(args);
    // What cargo told this program about itself is not true of what it calls; a build script that asks for it (ring's does) would run again
    // at each change between this way of building and plain cargo, and everything above it would be built again.
    let about_us = |name: &str| {
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE"].iter().any(|p| name.starts_with(p))
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(about_us)) {
        command.env_remove(name);
    }
    command
}

/// Builds the whole workspace, never single packages: cargo chooses features of shared dependencies by what is built together, so that
/// another selection would build kube and k8s-openapi a second time. Progress is shown; when all is fresh there is none.
pub fn build(what: &[&str]) -> Result<(), Failure> {
    run(cargo(&["build", "--workspace"]).args(what))
}

/// Runs a program to its end; what it prints is seen.
pub fn run(command: &mut Command) -> Result<(), Failure> {
    let text = shown(command);
    let status = command.status().map_err(|error| Failure::Machine(format!("cannot run {text}: {error}")))?;
    if status.success() { Ok(()) } else { Err(Failure::Verdict(format!("{text}: {status}"))) }
}

/// Runs a program to its end and gives what it printed.
pub fn output(command: &mut Command) -> Result<String, Failure> {
    let text = shown(command);
    let output = command.stdin(Stdio::null()).output().map_err(|error| Failure::Machine(format!("cannot run {text}: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::Machine(format!("{text}: {}\n{}", output.status, said.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command line, short enough to read.
pub fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    if let Some((_, name)) = words[0].rsplit_once('/') {
        words[0] = name.to_owned();
    }
    let text = words.join(" ");
    match text.char_indices().nth(120) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
