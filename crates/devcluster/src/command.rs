//! What `cargo dev` does, from its flags to its end.

use std::io::{IsTerminal, Write};
use std::sync::Arc;

use evenkeel_apiserver::NotKept;

use crate::cluster::{Cluster, ClusterOptions, DEFAULT_PORT, StartError};
use crate::demo::{DemoError, run_demo};
use crate::flags::Flags;
use crate::nodes::NodeOptions;

/// Why `cargo dev` ended without success.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The control plane could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The demo did not converge, or could not be applied.
    #[error(transparent)]
    Demo(#[from] DemoError),
    /// The data file cannot be written any more.
    #[error(transparent)]
    NotKept(#[from] NotKept),
    /// Somebody pressed Ctrl-C before the demo had converged.
    #[error("interrupted before the demo had converged")]
    Interrupted,
}

/// Runs `cargo dev`: starts a control plane, says where it is, shows the demo, and ends with Ctrl-C (or, with `--once`, with the demo).
///
/// # Errors
/// See [`CommandError`].
pub async fn run(flags: Flags) -> Result<(), CommandError> {
    let mut interrupted = std::pin::pin!(stop_signal());
    let options = ClusterOptions {
        port: flags.port,
        kubeconfig: flags.kubeconfig.clone(),
        compaction_interval: flags.compaction_interval,
        data: flags.data.clone(),
        nodes: (!flags.no_nodes).then(|| NodeOptions { count: flags.nodes, ..NodeOptions::default() }),
        manager: !flags.no_manager,
    };
    let cluster = Cluster::start(options).await?;
    say(&greeting(&flags, &cluster));

    let server = Arc::clone(cluster.server());
    let mut ended = std::pin::pin!(async {
        tokio::select! {
            () = interrupted.as_mut() => Ok(()),
            error = server.failed() => Err(CommandError::from(error)),
        }
    });
    let outcome = match flags.demo {
        None => {
            say(&farewell(&cluster, &flags));
            ended.as_mut().await
        }
        Some(demo) => {
            let limit = flags.once.then_some(flags.timeout);
            let live = std::io::stdout().is_terminal();
            let shown = tokio::select! {
                shown = run_demo(demo, cluster.admin("devcluster"), limit, live) => shown.map_err(CommandError::from),
                ended = ended.as_mut() => ended.and(Err(CommandError::Interrupted)),
            };
            match shown {
                Ok(()) if !flags.once => {
                    say(&farewell(&cluster, &flags));
                    ended.as_mut().await
                }
                Ok(()) => {
                    say(&format!(
                        "Kubeconfig: {}\nRun it again without --once to keep the control plane and try it.",
                        cluster.kubeconfig().display()
                    ));
                    Ok(())
                }
                // Watching a demo and leaving it is no failure.
                Err(CommandError::Interrupted) if !flags.once => Ok(()),
                Err(error) => Err(error),
            }
        }
    };
    cluster.stop().await;
    outcome
}

fn greeting(flags: &Flags, cluster: &Cluster) -> String {
    let mut text = format!("API server  {}", cluster.access().server);
    if flags.port.is_none() && flags.data.is_none() && cluster.port() != DEFAULT_PORT {
        text += &format!("   (port {DEFAULT_PORT} is in use)");
    }
    text += &format!("\nKubeconfig  {}", cluster.kubeconfig().display());
    if let Some(data) = &flags.data {
        text += &format!("\nData        {}", data.display());
    }
    text += &match flags.no_nodes {
        true => "\nNodes       none (--no-nodes)".to_owned(),
        false => format!("\nNodes       {} simulated", flags.nodes),
    };
    text += match (flags.no_manager, cluster.has_manager()) {
        (true, _) => "\nManager     none (--no-manager)",
        (false, true) => "\nManager     evenkeel, in this process",
        (false, false) => "\nManager     none (this build cannot start one)",
    };
    text
}

fn farewell(cluster: &Cluster, flags: &Flags) -> String {
    let kubeconfig = cluster.kubeconfig().display();
    let (first, second) = match flags.demo {
        Some(_) => ("kubectl scale deployment/frontend --replicas=3", "kubectl rollout status deployment/frontend"),
        None => ("kubectl create deployment web --image=nginx --replicas=2", "kubectl rollout status deployment/web"),
    };
    format!(
        "\nTry, in another terminal:\n  export KUBECONFIG={kubeconfig}\n  kubectl get all -o wide\n  {first}\n  {second}\nCtrl-C ends it."
    )
}

/// Prints lines; somebody who closed the pipe does not end the control plane.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// Waits for Ctrl-C, or for SIGTERM where there is one.
async fn stop_signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
