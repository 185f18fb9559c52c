//! The manager, started in this process.
//!
//! The crate `evenkeel-manager` offers no way to be run as a library yet: until it does, a control plane starts without it and says so.
//! This file is the only place that knows.

use std::path::Path;

/// Why the manager could not be started.
#[derive(Debug, thiserror::Error)]
#[error("the manager could not be started: {0}")]
pub struct ManagerError(pub String);

/// A running manager.
#[derive(Debug)]
pub struct Manager {}

impl Manager {
    /// Stops it and waits for its loops to end.
    pub async fn stop(self) {}
}

/// Starts the manager against the control plane that `kubeconfig` leads to; `None`: this build has none.
///
/// # Errors
/// [`ManagerError`] when it refuses to start.
pub async fn start_manager(_kubeconfig: &Path) -> Result<Option<Manager>, ManagerError> {
    Ok(None)
}
