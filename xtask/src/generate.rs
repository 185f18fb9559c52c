//! `cargo xtask gen`: files that are generated and checked in. A test of the crate that owns each fails when it is stale.

use crate::{Failure, program, workspace};

/// A generated file: where it is, and the program of the workspace that prints it.
struct Generated {
    path: &'static str,
    package: &'static str,
    args: &'static [&'static str],
}

/// All of them. CRDs, metrics and RBAC join as the crates that own them learn to print theirs.
const FILES: &[Generated] =
    &[Generated { path: "docs/flags.md", package: "evenkeel-manager", args: &["--bin", "evenkeel", "--", "--print-flag-table"] }];

/// Writes every file, or with `--check` fails when one is not what it would be.
pub fn run(args: &[String]) -> Result<(), Failure> {
    let check = match args {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => return Err(Failure::Usage("gen takes no argument but --check".into())),
    };
    let mut stale = Vec::new();
    for file in FILES {
        let mut command = program::cargo(&["run", "--quiet", "--package", file.package]);
        let text = program::output(command.args(file.args))?;
        let path = workspace::root().join(file.path);
        if std::fs::read_to_string(&path).is_ok_and(|there| there == text) {
            println!("{} is up to date", file.path);
        } else if check {
            stale.push(file.path);
        } else {
            std::fs::write(&path, text).map_err(|error| Failure::Machine(format!("cannot write {}: {error}", path.display())))?;
            println!("{} written", file.path);
        }
    }
    match stale.as_slice() {
        [] => Ok(()),
        _ => Err(Failure::Verdict(format!("stale: {}; run `cargo xtask gen`", stale.join(", ")))),
    }
}
