//! Programs of the workspace, and signals to those that were started.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tokio::process::Child;

use crate::recorded::Broken;

/// Where a program of the workspace is, freshly built (all are, as by every command here: another selection would build the dependencies
/// anew). With `EVENKEEL_BUILT` set whoever calls has built it.
///
/// # Errors
/// When it cannot be built.
pub fn built(program: &str) -> Result<PathBuf, Broken> {
    if std::env::var_os("EVENKEEL_BUILT").is_none() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo).args(["build", "--quiet", "--workspace", "--bins"]).status();
        if !status.as_ref().is_ok_and(std::process::ExitStatus::success) {
            return Err(Broken(format!("{program} cannot be built: {status:?}")));
        }
    }
    // Tests run from `deps/`, one below the programs.
    let here = std::env::current_exe().map_err(|error| Broken(format!("where am I? {error}")))?;
    let found = here.ancestors().skip(1).take(2).map(|folder| folder.join(program)).find(|path| path.is_file());
    found.ok_or_else(|| Broken(format!("{program} is not beside {}", here.display())))
}

/// Asks a child to end (SIGTERM).
pub fn terminate(child: &Child) {
    // std knows no signal but SIGKILL; `kill` is where POSIX is.
    if let Some(pid) = child.id() {
        _ = Command::new("kill").arg(pid.to_string()).status();
    }
}

/// Asks a child to end and waits; one that does not listen is killed.
pub async fn stop(mut child: Child) {
    terminate(&child);
    if tokio::time::timeout(Duration::from_secs(20), child.wait()).await.is_err() {
        _ = child.kill().await;
    }
}
