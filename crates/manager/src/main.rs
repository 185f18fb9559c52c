//! The binary `evenkeel`: reads flags, connects, runs the manager, turns signals into an orderly end.

use std::{process::ExitCode, sync::Arc};

use evenkeel_client::{ConnectOptions, SystemClock};
use evenkeel_manager::{FlagError, Options, Parsed, World, gc_command, parse, plan_command, run};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).peekable();
    match args.peek().map(String::as_str) {
        Some("plan") => return runtime().block_on(plan_command::main(args.skip(1))),
        Some("gc") => return runtime().block_on(gc_command::main(args.skip(1))),
        _ => {}
    }
    let (options, warnings) = match parse(args) {
        Ok(Parsed::Run(options, warnings)) => (*options, warnings),
        Ok(Parsed::Print(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(FlagError::Usage(text)) => {
            eprintln!("Usage: evenkeel [flags]   (evenkeel --help lists them)\n\nError: {}", text.trim_start_matches("error: "));
            return ExitCode::FAILURE;
        }
        Err(error) => {
            eprintln!("Error: {error}");
            return ExitCode::FAILURE;
        }
    };
    start_log(&options);
    warnings.iter().for_each(|w| warn!("{w}"));
    runtime().block_on(serve(options))
}

/// One thread: the work is waiting for the server. A second would cost memory (an allocation arena, caches) and gains nothing that the API
/// server could take; `docs/benchmarks.md` has the figures.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime needs only an event loop of the system")
}

fn start_log(options: &Options) {
    let level = match options.verbosity {
        ..=2 => "info",
        3..=4 => "debug",
        _ => "trace",
    };
    // What the HTTP stack says of every request belongs to the highest verbosity only.
    let quiet = if options.verbosity > 5 { "" } else { ",hyper=info,hyper_util=info,rustls=info,tower=info,h2=info,kube_client=off" };
    let filter = EnvFilter::new(format!("{level}{quiet}"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if options.log_json { builder.json().init() } else { builder.init() }
}

async fn serve(options: Options) -> ExitCode {
    let connect = ConnectOptions { kubeconfig: options.kubeconfig.clone(), master: options.master.clone() };
    let world = match World::connect(&connect, Arc::new(SystemClock)).await {
        Ok(world) => world,
        Err(error) => {
            error!("{error}");
            return ExitCode::FAILURE;
        }
    };
    info!(version = env!("CARGO_PKG_VERSION"), server = world.host, "evenkeel");
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(signals(stop));
    match run(options, world, stopped).await {
        Ok(()) => {
            info!("ended");
            ExitCode::SUCCESS
        }
        Err(error) => {
            error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The first SIGTERM or SIGINT asks for an orderly end, the second ends the process at once (manager 8).
async fn signals(stop: watch::Sender<bool>) {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        warn!("signals cannot be caught; an end will not be orderly");
        return std::future::pending().await;
    };
    for round in 0.. {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        if round > 0 {
            error!("second signal: ending at once");
            std::process::exit(1);
        }
        info!("ending: no new passes, then the lease is released");
        stop.send_replace(true);
    }
}
