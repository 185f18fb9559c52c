//! What contributors run: `cargo xtask test`, `story`, `behaviours`, `corpus`, `sim`, `bench`, `mutants`.
//!
//! Lives here: the order in which other programs are called, and the tools that they need ([`kubectl`], [`python`]). What never does: anything
//! that takes long to build; the player of stories is the binary `stories` of the tests package, and runs through cargo.
//!
//! Start reading at [`main`], a match on the subcommand.

mod bench;
mod dev;
mod kubectl;
mod mutants;
mod process;
mod program;
mod python;
mod sim;
mod story;
mod test;
mod workspace;

use std::process::ExitCode;

/// Why a command ended without success. The text is for whoever ran it.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It was called wrongly: read the usage.
    #[error("{0}\n\n{USAGE}")]
    Usage(String),
    /// Something outside is missing or refused to work: put it right and try again.
    #[error("{0}")]
    Machine(String),
    /// It ran, and what was looked at is not as it should be.
    #[error("{0}")]
    Verdict(String),
}

const USAGE: &str = "\
cargo xtask COMMAND

  test                        everything to run before pushing: format, lints, unit, property and story tests,
                              50 kills of a control plane with --data
  dev [FLAGS]                 the local control plane; `cargo dev` is short for it
  story NAME [FLAGS]          one story with real kubectl: handson, kubectl, helm, takeover  (story NAME --help)
  story clients               one with clients that others wrote: the Python client, kube-rs and kube-lease-manager
  behaviours [FLAGS]          recorded behaviours of kube-controller-manager, in process or with --https URL
  corpus [FLAGS]              recorded conversations with kube-apiserver, in process or with --https URL
  sim --seeds A..B            seeded fault simulation, B left out; a failing seed replays exactly
                              --world collection  owners and dependents instead of workloads;  --history  all that happened
  bench idle|burst [FLAGS]    figures of the real binary, one JSON line each
  bench idle --noise          its memory beside 120,000 objects that no loop cares about; fails above what is to be reached
  bench gc [FLAGS]            calls and time of the garbage collector beside a client that deletes as much; fails when one is missed
                              --case NAMES  background, foreground, orphan, wide, chain, chain-foreground, rings
                              --scale N  sizes in percent (gc, idle --noise)
  bench apiserver             figures of the local API server; fails when one is not reached
                              all but the last:  --kubeconfig FILE  a real API server;  --rival BINARY  pair another manager
  mutants [FLAGS]             how many mutants of the loops the tests catch (long)
  kubectl                     where kubectl is; fetched below target/ when the machine has none of 1.30 or newer";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let outcome = match command.as_str() {
        "test" => test::run(&rest),
        "dev" => dev::run(&rest),
        "story" => story::story(&rest),
        "behaviours" | "corpus" => story::recorded(&command, &rest),
        "sim" => sim::run(&rest),
        "bench" => bench::run(&rest),
        "mutants" => mutants::run(&rest),
        "kubectl" => kubectl::print(&rest),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        "" => Err(Failure::Usage("which command?".into())),
        other => Err(Failure::Usage(format!("no such command: {other}"))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(if matches!(failure, Failure::Usage(_)) { 2 } else { 1 })
        }
    }
}
