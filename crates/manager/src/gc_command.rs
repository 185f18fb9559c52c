//! `evenkeel gc`: what people say to the garbage collector's interlock.

use std::{process::ExitCode, sync::Arc};

use clap::{Parser, Subcommand};
use evenkeel_client::{Api, ClientMetrics, ConnectOptions, Pace, PaceOptions, SystemClock};

use crate::{World, interlock::LeaseNotes, subcommand::subcommand};

/// Says what the garbage collector holds, and lets it go.
#[derive(Debug, Parser)]
#[command(name = "evenkeel gc", disable_version_flag = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Kubeconfig file; without it the in-cluster configuration.
    #[arg(long, env = "KUBECONFIG", global = true)]
    kubeconfig: Option<std::path::PathBuf>,
    #[command(flatten)]
    lease: LeaseArguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists what is held.
    Held,
    /// Lets a batch go.
    Release {
        /// Its name, as the manager's log, its event and `evenkeel plan` say it, such as `configmaps-1`.
        id: String,
    },
}

/// Where the manager's Lease is.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct LeaseArguments {
    /// Name of the manager's Lease.
    #[arg(long, default_value = "kube-controller-manager", global = true)]
    leader_elect_resource_name: String,
    /// Namespace of the manager's Lease.
    #[arg(long, default_value = "kube-system", global = true)]
    leader_elect_resource_namespace: String,
}

/// Runs the subcommand with the words after `gc`.
pub async fn main(args: impl Iterator<Item = String>) -> ExitCode {
    subcommand("evenkeel gc", args, run).await
}

async fn run(Arguments { command, kubeconfig, lease }: Arguments) -> Result<String, String> {
    let connect = ConnectOptions { kubeconfig, master: None };
    let world = World::connect(&connect, Arc::new(SystemClock)).await.map_err(|e| e.to_string())?;
    let notes = notes(&world, &lease);
    match command {
        Command::Held => {
            let held = held(&notes).await?;
            Ok(if held.is_empty() { "nothing is held\n".to_owned() } else { held })
        }
        Command::Release { id } => {
            let objects = notes.release(&id).await?;
            Ok(format!("{id} released: {objects} objects may go\n"))
        }
    }
}

/// The notes on a Lease, for a command.
pub(crate) fn notes(world: &World, lease: &LeaseArguments) -> LeaseNotes {
    let metrics = ClientMetrics::unregistered(&world.host);
    let api = Api::new(world.client.clone(), "gc", Pace::new(PaceOptions::default()), metrics);
    LeaseNotes::new(api, &lease.leader_elect_resource_namespace, &lease.leader_elect_resource_name)
}

/// What is held, a line each; empty when nothing is.
pub(crate) async fn held(notes: &LeaseNotes) -> Result<String, String> {
    let notes = notes.read().await?;
    let line = |(id, objects): (&String, &usize)| {
        let released = notes.released.contains(id);
        let what = if released { "released, and on its way".to_owned() } else { format!("held until `evenkeel gc release {id}`") };
        format!("{id}: {objects} objects over the collection budget, {what}\n")
    };
    Ok(notes.held.iter().map(line).collect())
}
