//! The manager, started in this process: the same code as the binary `evenkeel`, over TLS to the control plane's own server.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_manager::{Options, RunError, World, run};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long the manager may take for its orderly end.
const FAREWELL: Duration = Duration::from_secs(10);

/// Why the manager could not be started.
#[derive(Debug, thiserror::Error)]
#[error("the manager could not be started: {0}")]
pub struct ManagerError(pub String);

/// A running manager.
#[derive(Debug)]
pub struct Manager {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), RunError>>,
}

impl Manager {
    /// Stops it and waits for its loops to end; a manager that takes longer than [`FAREWELL`] is dropped.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        match tokio::time::timeout(FAREWELL, &mut self.task).await {
            // An error was reported when it happened.
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!("the manager ended badly: {error}"),
            Err(_) => self.task.abort(),
        }
    }
}

/// Starts the manager against the control plane that `kubeconfig` leads to, with election, without pages of its own.
///
/// # Errors
/// [`ManagerError`] when the kubeconfig cannot be used.
pub async fn start_manager(kubeconfig: &Path) -> Result<Option<Manager>, ManagerError> {
    let connect = evenkeel_client::ConnectOptions { kubeconfig: Some(kubeconfig.to_owned()), master: None };
    let world = World::connect(&connect, Arc::new(evenkeel_client::SystemClock)).await.map_err(|e| ManagerError(e.to_string()))?;
    // A second control plane runs beside the first, and each manager would ask for the same port.
    let options = Options { secure_port: None, lease_name: "evenkeel".to_owned(), ..Options::default() };
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(async move {
        let outcome = run(options, world, stopped).await;
        if let Err(error) = &outcome {
            tracing::error!("the manager ended: {error}");
        }
        outcome
    });
    Ok(Some(Manager { stop, task }))
}
