//! Runs recorded behaviours and stories; `cargo xtask story` and `cargo xtask behaviours` call it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use jiff::Timestamp;
use evenkeel_tests::behaviours::alter::{altered, mix};
use evenkeel_tests::behaviours::player::PlayOptions;
use evenkeel_tests::behaviours::run::{JOBS, run};
use evenkeel_tests::behaviours::story::{Choice, Story, read_meant, read_stories};
use evenkeel_tests::transport::{Https, Trust};

/// Stories and recorded behaviours, held against a control plane.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Plays recorded behaviours.
    Behaviours(Behaviours),
    /// Writes behaviours with one recorded value altered in each: every one of them must fail.
    Alter(Alter),
}

#[derive(Debug, Args)]
struct Chosen {
    /// File of behaviours.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Loops that run; behaviours that need others are left out.
    #[arg(long, value_delimiter = ',', default_value = "deployment,replicaset,replicationcontroller")]
    loops: Vec<String>,
    /// This behaviour; `*` at the end matches any rest.
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// Behaviours that carry the tag.
    #[arg(long)]
    tag: Vec<String>,
}

#[derive(Debug, Args)]
struct Behaviours {
    #[command(flatten)]
    chosen: Chosen,
    /// URL of a server with a manager beside it. Left out: both run in this process.
    #[arg(long, value_name = "URL")]
    https: Option<String>,
    /// Bearer token of a cluster administrator.
    #[arg(long, default_value = "", requires = "https")]
    token: String,
    /// File with the certificate of the server's authority; left out: whoever answers is trusted.
    #[arg(long, value_name = "FILE", requires = "https")]
    ca: Option<PathBuf>,
    /// Factor on every waiting time.
    #[arg(long, default_value_t = 1.0)]
    patience: f64,
    /// How many at a time.
    #[arg(long, default_value_t = JOBS)]
    jobs: usize,
    /// Differences that are meant: `ID reason` a line.
    #[arg(long, value_name = "FILE")]
    meant: Option<PathBuf>,
    /// Leave the objects on the server.
    #[arg(long)]
    keep: bool,
    /// Long values, and every state of behaviours that fail.
    #[arg(long)]
    verbose: bool,
}

#[derive(Debug, Args)]
struct Alter {
    #[command(flatten)]
    chosen: Chosen,
    /// How many behaviours.
    #[arg(long, default_value_t = 50)]
    count: usize,
    /// Decides which, and which value of each.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

type Outcome = Result<bool, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let outcome = match Flags::parse().command {
        Command::Behaviours(flags) => play(&flags),
        Command::Alter(flags) => alter(&flags),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
}

fn read(path: &PathBuf) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn chosen(flags: &Chosen) -> Result<Vec<Story>, Box<dyn std::error::Error>> {
    let file = flags.file.clone().unwrap_or_else(|| data("behaviours.jsonl"));
    let loops: BTreeSet<String> = flags.loops.iter().cloned().collect();
    let choice = Choice { only: flags.only.clone(), tags: flags.tag.clone(), loops };
    let mut stories = read_stories(&read(&file)?)?;
    stories.retain(|story| choice.takes(story));
    if stories.is_empty() { Err("no such behaviour".into()) } else { Ok(stories) }
}

fn play(flags: &Behaviours) -> Outcome {
    let stories = chosen(&flags.chosen)?;
    let meant = read_meant(&read(&flags.meant.clone().unwrap_or_else(|| data("meant.txt")))?)?;
    let Some(server) = &flags.https else {
        return Err("in process: not yet".into());
    };
    let trust = match &flags.ca {
        Some(file) => Trust::Authority(read(file)?),
        None => Trust::Anyone,
    };
    let client = Https::new(server, &flags.token, &trust)?;
    let options = PlayOptions { patience: flags.patience, keep: flags.keep, verbose: flags.verbose, now: Arc::new(Timestamp::now) };
    // Namespaces of an earlier run may still be there.
    let seed = mix(Timestamp::now().as_nanosecond() as u64 ^ u64::from(std::process::id()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(run(&stories, &options, &meant, flags.jobs, seed, &|| Box::new(client.another())));
    if flags.verbose {
        for played in report.played.iter().filter(|played| played.fault.is_some()) {
            println!("{} ({:.1} s)", played.id, played.took.as_secs_f64());
            for (step, picture) in &played.pictures {
                println!("  {step} {picture}");
            }
        }
    }
    println!("{report}");
    Ok(report.failed().next().is_none())
}

fn alter(flags: &Alter) -> Outcome {
    let stories = altered(&chosen(&flags.chosen)?, flags.count, flags.seed);
    if stories.len() < flags.count {
        return Err(format!("only {} behaviours can be altered", stories.len()).into());
    }
    let lines: Vec<String> = stories.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
    std::fs::write(&flags.out, lines.join("\n") + "\n")?;
    Ok(true)
}
