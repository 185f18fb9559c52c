//! Flags of `cargo dev`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::demo::Demo;

/// A local control plane: API server, simulated nodes and the manager, in one process and with nothing installed.
#[derive(Debug, Clone, Parser)]
#[command(name = "cargo dev", bin_name = "cargo dev", version)]
pub struct Flags {
    /// Apply a demo and show how it converges.
    #[arg(long, value_enum)]
    pub demo: Option<Demo>,
    /// Exit once the demo has converged: 0, or non-zero with a reason.
    #[arg(long, requires = "demo")]
    pub once: bool,
    /// How long a demo may take with --once, such as 90s or 2m.
    #[arg(long, value_name = "DURATION", default_value = "120s", value_parser = duration)]
    pub timeout: Duration,
    /// Leave the simulated nodes out: pods stay Pending.
    #[arg(long)]
    pub no_nodes: bool,
    /// Leave the manager out: nothing acts on Deployments and the like.
    #[arg(long)]
    pub no_manager: bool,
    /// Port on 127.0.0.1 [default: 6443, or the next free one; 0: any].
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// How often the history of watches is compacted; 0s: never.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub compaction_interval: Duration,
    /// Keep the state in this file across restarts; it is made when there is none [default: in memory only].
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Where the kubeconfig is written [default: target/dev/kubeconfig].
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// How many nodes are simulated.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=i64::from(crate::nodes::MOST_NODES)))]
    pub nodes: u32,
}

/// Reads a duration such as `10s`, `5m` or `1m30s`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is no duration; write it like 10s, 5m or 1m30s");
    let span: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(span).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_flags_are_consistent_and_the_defaults_are_the_promised_ones() {
        Flags::command().debug_assert();
        let flags = Flags::parse_from(["cargo dev"]);
        assert_eq!((flags.port, flags.nodes, flags.compaction_interval), (None, 3, Duration::from_secs(300)));
        assert!(!flags.no_nodes && !flags.no_manager && !flags.once);
    }

    #[test]
    fn durations_are_read_as_go_writes_them_and_others_refused() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(duration("soon").is_err());
        assert!(duration("-5s").is_err());
    }

    #[test]
    fn once_without_a_demo_is_refused() {
        assert!(Flags::try_parse_from(["cargo dev", "--once"]).is_err());
    }
}
