//! `cargo xtask story`, `behaviours` and `corpus`: the tests package's binary, with kubectl and the programs that it looks at.

use std::process::Command;

use crate::{Failure, kubectl, program, python, workspace};

/// `cargo xtask story NAME [FLAGS]`.
pub fn story(args: &[String]) -> Result<(), Failure> {
    let Some(name) = args.first() else { return Err(Failure::Usage("which story? handson, kubectl, helm, clients, takeover".into())) };
    program::build(&["--bins"])?;
    program::run(of(name)?.args(&args[1..]))
}

/// `cargo xtask behaviours [FLAGS]`, `cargo xtask corpus [FLAGS]`: a recorded file, played.
pub fn recorded(what: &str, args: &[String]) -> Result<(), Failure> {
    program::build(&["--bins"])?;
    program::run(Command::new(workspace::built("stories")).arg(what).args(args))
}

/// The built binary `stories` with a story's name, and with the tools of just that version where the story is about the tools.
pub fn of(name: &str) -> Result<Command, Failure> {
    let mut command = stories()?;
    if matches!(name, "kubectl" | "helm") {
        let tools = kubectl::pinned()?;
        command.env("EVENKEEL_KUBECTL", &tools.kubectl).env("EVENKEEL_HELM", &tools.helm);
    }
    if name == "clients" {
        let python = python::find()?;
        command.env("EVENKEEL_PYTHON", python.program).env("EVENKEEL_PYTHON_MODULES", python.modules);
    }
    command.arg(name);
    Ok(command)
}

/// The built binary `stories`, told where kubectl is and that the programs it starts are fresh.
pub fn stories() -> Result<Command, Failure> {
    let mut command = Command::new(workspace::built("stories"));
    command.env("EVENKEEL_KUBECTL", kubectl::find()?).env("EVENKEEL_BUILT", "1");
    Ok(command)
}
