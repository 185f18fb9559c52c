//! Runs recorded behaviours and stories; `cargo xtask story` and `cargo xtask behaviours` call it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use evenkeel_tests::behaviours::in_process;
use evenkeel_tests::behaviours::player::PlayOptions;
use evenkeel_tests::behaviours::run::{JOBS, run};
use evenkeel_tests::behaviours::story::{Choice, Story, read_stories};
use evenkeel_tests::clients;
use evenkeel_tests::corpus;
use evenkeel_tests::corpus::conversation::{Conversation, read_conversations};
use evenkeel_tests::load::{self, Load};
use evenkeel_tests::recorded::alter::{Recorded, altered};
use evenkeel_tests::recorded::chance::mix;
use evenkeel_tests::recorded::report::{Report, read_meant};
use evenkeel_tests::recorded::virtual_time::in_virtual_time;
use evenkeel_tests::stories::plane::Place;
use evenkeel_tests::stories::{handson, usage};
use evenkeel_tests::takeover::recorded::read_handovers;
use evenkeel_tests::takeover::{live, loaded};
use evenkeel_tests::transport::{Access, Https, Transport, Trust};
use jiff::Timestamp;

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
    /// Plays recorded conversations with an API server.
    Corpus(Corpus),
    /// Writes conversations with one recorded value altered in each, of those that are not in the list of open ones: all must fail.
    AlterCorpus(AlterCorpus),
    /// The hands-on story, with real kubectl: on the local control plane, or on what KUBEBUILDER_ASSETS or EVENKEEL_TEST_KUBECONFIG name.
    Handson(Handson),
    /// kubectl as a person uses it, every command of it, where the hands-on story can be told.
    Kubectl {
        #[command(flatten)]
        usage: Usage,
        /// The story of Helm beside it.
        #[arg(long)]
        with_helm: bool,
    },
    /// Helm with a small chart, where the hands-on story can be told.
    Helm(Usage),
    /// The story of clients that others wrote: the Python client, kube-rs and kube-lease-manager. On the local control plane, or on the
    /// cluster that EVENKEEL_TEST_KUBECONFIG names.
    Clients,
    /// Two managers take turns on one server: what the second finds causes no write, and the stories end as recorded.
    Takeover(Takeover),
    /// Loads an API server and prints one figure set; `cargo xtask bench apiserver` calls it.
    Load(LoadFlags),
    /// Sends requests out of a file and prints one figure set; `cargo xtask bench` calls it.
    Send(SendFlags),
}

#[derive(Debug, Args)]
struct SendFlags {
    /// The way to the server: one cluster, one user with a token.
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// One JSON line for each run of requests: method, path, body, type, count.
    #[arg(long, value_name = "FILE")]
    requests: PathBuf,
    /// How many connections send requests.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// A list that is looked at until it is empty, once all requests are answered.
    #[arg(long, value_name = "PATH")]
    until_empty: Vec<String>,
    /// How long that may take, in seconds.
    #[arg(long, default_value_t = 600)]
    patience: u64,
}

#[derive(Debug, Args)]
struct LoadFlags {
    /// What is done.
    #[arg(value_enum)]
    what: What,
    /// The way to the server: one cluster, one user with a token.
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// Namespace of the pods.
    #[arg(long)]
    namespace: String,
    /// How many pods.
    #[arg(long, default_value_t = 10_000)]
    pods: usize,
    /// How many connections send requests.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// How many watch (deliver).
    #[arg(long, default_value_t = 10)]
    watchers: usize,
    /// How many times (list).
    #[arg(long, default_value_t = 20)]
    times: usize,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum What {
    /// Create pods.
    Create,
    /// Write the status of each pod.
    Touch,
    /// Create pods while others watch.
    Deliver,
    /// List the pods.
    List,
}

/// Which entries of a recorded file.
#[derive(Debug, Args)]
struct Selected {
    /// The file, where it is not the project's own.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// This entry; `*` at the end matches any rest.
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// Entries that carry the tag.
    #[arg(long)]
    tag: Vec<String>,
}

#[derive(Debug, Args)]
struct Chosen {
    #[command(flatten)]
    selected: Selected,
    /// Loops that run; behaviours that need others are left out.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "deployment,replicaset,replicationcontroller,pod-garbage-collector,namespace,garbage-collector"
    )]
    loops: Vec<String>,
}

/// How a recorded file is played.
#[derive(Debug, Args)]
struct Played {
    /// URL of a server (of behaviours: with a manager beside it). Left out: all runs in this process.
    #[arg(long, value_name = "URL")]
    https: Option<String>,
    /// Bearer token of a cluster administrator.
    #[arg(long, default_value = "", requires = "https")]
    token: String,
    /// File with the certificate of the server's authority; left out: whoever answers is trusted.
    #[arg(long, value_name = "FILE", requires = "https")]
    ca: Option<PathBuf>,
    /// Differences that are meant: `ID reason` a line.
    #[arg(long, value_name = "FILE")]
    meant: Option<PathBuf>,
    /// Leave the objects on the server.
    #[arg(long)]
    keep: bool,
    /// In process: decides uids, names, addresses and the order of things.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Long values, and every state or answer of entries that fail.
    #[arg(long)]
    verbose: bool,
}

#[derive(Debug, Args)]
struct Behaviours {
    #[command(flatten)]
    chosen: Chosen,
    #[command(flatten)]
    played: Played,
    /// Factor on every waiting time.
    #[arg(long, default_value_t = 1.0)]
    patience: f64,
    /// How many at a time.
    #[arg(long, default_value_t = JOBS)]
    jobs: usize,
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

#[derive(Debug, Args)]
struct Corpus {
    #[command(flatten)]
    chosen: Selected,
    #[command(flatten)]
    played: Played,
    /// How many at a time.
    #[arg(long, default_value_t = corpus::run::JOBS)]
    jobs: usize,
}

#[derive(Debug, Args)]
struct AlterCorpus {
    #[command(flatten)]
    chosen: Selected,
    /// Conversations that do not pass yet, `ID reason` a line: these are left out.
    #[arg(long, value_name = "FILE")]
    open: Option<PathBuf>,
    /// How many conversations.
    #[arg(long, default_value_t = 100)]
    count: usize,
    /// Decides which, and which value of each.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct Handson {
    /// Leave the manager out: most steps must fail then.
    #[arg(long)]
    no_manager: bool,
    /// Another manager's program in the place of evenkeel; not on a given cluster.
    #[arg(long, value_name = "PROGRAM", conflicts_with = "no_manager")]
    manager: Option<PathBuf>,
    /// Just these steps; most need what an earlier one left.
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    only: Vec<u32>,
}

#[derive(Debug, Args)]
struct Usage {
    /// Just these groups of uses.
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    only: Vec<String>,
    /// Make every expectation wrong: every use must fail then.
    #[arg(long)]
    spoiled: bool,
}

#[derive(Debug, Args)]
struct Takeover {
    #[command(flatten)]
    chosen: Chosen,
    /// URL of a server without a manager (with `--record`: with kube-controller-manager beside it). Left out: what
    /// kube-controller-manager left is loaded into a server in this process, and evenkeel takes over.
    #[arg(long, value_name = "URL")]
    https: Option<String>,
    /// Bearer token of a cluster administrator.
    #[arg(long, default_value = "", requires = "https")]
    token: String,
    /// Command line of the manager that begins.
    #[arg(long, value_name = "COMMAND", requires = "https")]
    first: Option<String>,
    /// Command line of the manager that takes over.
    #[arg(long, value_name = "COMMAND", requires = "https")]
    second: Option<String>,
    /// Writes what the running manager leaves at the cuts into this file instead.
    #[arg(long, value_name = "FILE", requires = "https", conflicts_with_all = ["first", "second"])]
    record: Option<PathBuf>,
    /// Decides where stories are cut.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

type Outcome = Result<bool, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let outcome = match Flags::parse().command {
        Command::Behaviours(flags) => play(&flags),
        Command::Alter(flags) => alter(&flags),
        Command::Corpus(flags) => converse(&flags),
        Command::AlterCorpus(flags) => alter_corpus(&flags),
        Command::Handson(flags) => tell(&flags),
        Command::Kubectl { usage: flags, with_helm: false } => tell_usage("kubectl", &usage::GROUPS, &flags),
        Command::Kubectl { usage: flags, with_helm: true } => {
            tell_usage("kubectl", &[&usage::HELM[..], &usage::GROUPS[..]].concat(), &flags)
        }
        Command::Helm(flags) => tell_usage("helm", &usage::HELM, &flags),
        Command::Clients => tell_of_clients(),
        Command::Takeover(flags) => take_over(&flags),
        Command::Load(flags) => make_load(flags),
        Command::Send(flags) => send(flags),
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
    let file = flags.selected.file.clone().unwrap_or_else(|| data("behaviours.jsonl"));
    let loops: BTreeSet<String> = flags.loops.iter().cloned().collect();
    let choice = Choice { only: flags.selected.only.clone(), tags: flags.selected.tag.clone(), loops };
    let mut stories = read_stories(&read(&file)?)?;
    stories.retain(|story| choice.takes(story));
    if stories.is_empty() { Err("no such behaviour".into()) } else { Ok(stories) }
}

fn play(flags: &Behaviours) -> Outcome {
    let stories = chosen(&flags.chosen)?;
    let meant = read_meant(&read(&flags.played.meant.clone().unwrap_or_else(|| data("meant.txt")))?)?;
    let report = match &flags.played.https {
        None => in_virtual_time(in_process::play(&stories, &meant, flags.played.seed, flags.played.verbose))??,
        Some(server) => play_over_tls(flags, server, &stories, &meant)?,
    };
    if flags.played.verbose {
        report.print_pictures();
    }
    println!("{report}");
    Ok(report.failed().next().is_none())
}

fn play_over_tls(
    flags: &Behaviours,
    server: &str,
    stories: &[Story],
    meant: &BTreeMap<String, String>,
) -> Result<Report, Box<dyn std::error::Error>> {
    let client = Https::new(server, &flags.played.token, &trust(flags.played.ca.as_ref())?)?;
    let options =
        PlayOptions { patience: flags.patience, keep: flags.played.keep, verbose: flags.played.verbose, now: Arc::new(Timestamp::now) };
    let seed = fresh_seed();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(run(stories, &options, meant, flags.jobs, seed, &|| Box::new(client.another()))))
}

fn trust(ca: Option<&PathBuf>) -> Result<Trust, String> {
    Ok(match ca {
        Some(file) => Trust::Authority(read(file)?),
        None => Trust::Anyone,
    })
}

/// Namespaces of an earlier run may still be there.
fn fresh_seed() -> u64 {
    mix(Timestamp::now().as_nanosecond() as u64 ^ u64::from(std::process::id()))
}

fn alter(flags: &Alter) -> Outcome {
    write_altered(&chosen(&flags.chosen)?, flags.count, flags.seed, &flags.out)
}

fn write_altered<T: Recorded + serde::Serialize>(entries: &[T], count: usize, seed: u64, out: &PathBuf) -> Outcome {
    let entries = altered(entries, count, seed);
    if entries.len() < count {
        return Err(format!("only {} can be altered", entries.len()).into());
    }
    let lines: Vec<String> = entries.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
    std::fs::write(out, lines.join("\n") + "\n")?;
    Ok(true)
}

fn chosen_conversations(flags: &Selected) -> Result<Vec<Conversation>, Box<dyn std::error::Error>> {
    let file = flags.file.clone().unwrap_or_else(|| data("apiserver-corpus.jsonl"));
    let choice = corpus::conversation::Choice { only: flags.only.clone(), tags: flags.tag.clone() };
    let mut conversations = read_conversations(&read(&file)?).map_err(|fault| format!("{}: {fault}", file.display()))?;
    conversations.retain(|conversation| choice.takes(conversation));
    if conversations.is_empty() { Err("no such conversation".into()) } else { Ok(conversations) }
}

fn converse(flags: &Corpus) -> Outcome {
    let conversations = chosen_conversations(&flags.chosen)?;
    let meant =
        flags.played.meant.as_ref().map_or(Ok(BTreeMap::new()), |file| read_meant(&read(file)?).map_err(|fault| fault.to_string()))?;
    let report = match &flags.played.https {
        None => in_virtual_time(corpus::in_process::play(&conversations, &meant, flags.played.seed, flags.played.verbose))?,
        Some(server) => {
            let client = Https::new(server, &flags.played.token, &trust(flags.played.ca.as_ref())?)?;
            let options =
                corpus::player::PlayOptions { now: Arc::new(Timestamp::now), keep: flags.played.keep, verbose: flags.played.verbose };
            let connect = || -> Box<dyn Transport> { Box::new(client.another()) };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(corpus::run::run(&conversations, &options, &meant, flags.jobs, fresh_seed(), &connect))
        }
    };
    if flags.played.verbose {
        report.print_pictures();
    }
    println!("{report}");
    Ok(report.failed().next().is_none())
}

fn alter_corpus(flags: &AlterCorpus) -> Outcome {
    let open = read_meant(&read(&flags.open.clone().unwrap_or_else(|| data("corpus-open.txt")))?)?;
    let mut conversations = chosen_conversations(&flags.chosen)?;
    conversations.retain(|conversation| !open.contains_key(&conversation.id));
    write_altered(&conversations, flags.count, flags.seed, &flags.out)
}

/// A folder of this run's own, in the build folder.
fn story_folder(name: &str) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let here = std::env::current_exe()?;
    let target = here.ancestors().nth(2).ok_or("the program lies in no build folder")?;
    Ok(target.join("stories").join(format!("{name}-{}", std::process::id())))
}

fn tell_usage(name: &str, groups: &[usage::Group], flags: &Usage) -> Outcome {
    let folder = story_folder(name)?;
    let options = usage::Options { place: Place::from_environment(), only: flags.only.clone(), spoiled: flags.spoiled, folder };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let count = runtime.block_on(usage::tell(groups, &options))?;
    if count.failed == 0 {
        std::fs::remove_dir_all(&options.folder)?;
    } else {
        println!("Logs: {}", options.folder.display());
    }
    Ok(count.failed == 0)
}

fn tell(flags: &Handson) -> Outcome {
    let options = handson::Options {
        place: Place::from_environment(),
        manager: !flags.no_manager,
        program: flags.manager.clone(),
        only: flags.only.clone(),
        folder: story_folder("handson")?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (_, failed) = runtime.block_on(handson::tell(&options))?;
    if failed == 0 {
        std::fs::remove_dir_all(&options.folder)?;
    } else {
        println!("Logs: {}", options.folder.display());
    }
    Ok(failed == 0)
}

fn tell_of_clients() -> Outcome {
    let here = std::env::current_exe()?;
    let target = here.ancestors().nth(2).ok_or("the program lies in no build folder")?;
    let options = clients::Options {
        kubeconfig: std::env::var_os("EVENKEEL_TEST_KUBECONFIG").map(PathBuf::from),
        modules: std::env::var_os("EVENKEEL_PYTHON_MODULES").map(PathBuf::from),
        folder: target.join("stories").join(format!("clients-{}", std::process::id())),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (_, failed) = runtime.block_on(clients::tell(&options))?;
    if failed == 0 {
        std::fs::remove_dir_all(&options.folder)?;
    } else {
        println!("Logs: {}", options.folder.display());
    }
    Ok(failed == 0)
}

fn take_over(flags: &Takeover) -> Outcome {
    let stories = chosen(&flags.chosen)?;
    let Some(server) = &flags.https else {
        let meant = read_meant(&read(&data("meant.txt"))?)?;
        let mut handovers = read_handovers(&read(&data("takeover.jsonl"))?)?;
        handovers.retain(|handover| stories.iter().any(|story| story.id == handover.story));
        let report = in_virtual_time(loaded::take_over(&handovers, &stories, &meant))??;
        println!("{report}");
        return Ok(report.failed().next().is_none());
    };
    let client = Https::new(server, &flags.token, &Trust::Anyone)?;
    let seeds = live::Seeds { cuts: flags.seed, names: fresh_seed() };
    let connect = || -> Box<dyn Transport> { Box::new(client.another()) };
    let options = PlayOptions { patience: 1.0, keep: false, verbose: false, now: Arc::new(Timestamp::now) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if let Some(file) = &flags.record {
        let handovers = runtime.block_on(live::record(&stories, &options, seeds, &Timestamp::now, &connect))?;
        let lines: Vec<String> = handovers.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        std::fs::write(file, lines.join("\n") + "\n")?;
        println!("{} handovers written", lines.len());
        return Ok(true);
    }
    let words = |line: &Option<String>| line.iter().flat_map(|line| line.split_whitespace().map(str::to_owned)).collect::<Vec<_>>();
    let (first, second) = (words(&flags.first), words(&flags.second));
    let turns = live::take_turns(&stories, &options, seeds, &first, &second, &connect);
    let report = runtime.block_on(turns)?;
    println!("{report}");
    Ok(report.failed().next().is_none())
}

fn make_load(flags: LoadFlags) -> Outcome {
    let access = Access::read(&flags.kubeconfig)?;
    let load = Load { access, namespace: flags.namespace, pods: flags.pods, connections: flags.connections };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let line = runtime.block_on(async {
        match flags.what {
            What::Create => load::create(&load).await,
            What::Touch => load::touch(&load).await,
            What::Deliver => load::deliver(&load, flags.watchers).await,
            What::List => load::list(&load, flags.times).await,
        }
    })?;
    println!("{line}");
    Ok(true)
}

fn send(flags: SendFlags) -> Outcome {
    let SendFlags { kubeconfig, requests, connections, until_empty, patience } = flags;
    let patience = std::time::Duration::from_secs(patience);
    let send = load::Send { access: Access::read(&kubeconfig)?, requests, connections, until_empty, patience };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!("{}", runtime.block_on(load::send(&send))?);
    Ok(true)
}
