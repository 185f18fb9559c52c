use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, time::Duration};

use clap::{Arg, ArgAction, Command, builder::PossibleValuesParser, parser::ValueSource};
use evenkeel_election::{Timings, flag_errors};
use evenkeel_garbage_collector::Budgets;
use jiff::SignedDuration;

use super::table::{Effect, FLAGS, Flag, Kind};
use crate::controllers::{Selection, SelectionError};

/// What the flags that have an effect say.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// `--kubeconfig`.
    pub kubeconfig: Option<PathBuf>,
    /// `--master`.
    pub master: Option<String>,
    /// `--kube-api-qps`, only where it was given.
    pub qps: Option<f64>,
    /// `--kube-api-burst`.
    pub burst: u32,
    /// `--controllers`.
    pub controllers: Selection,
    /// `--controller-shutdown-timeout`; zero: for ever.
    pub shutdown_timeout: Duration,
    /// `--concurrent-deployment-syncs`.
    pub deployment_syncs: usize,
    /// `--concurrent-replicaset-syncs`.
    pub replicaset_syncs: usize,
    /// `--concurrent-rc-syncs`.
    pub rc_syncs: usize,
    /// `--concurrent-namespace-syncs`.
    pub namespace_syncs: usize,
    /// `--terminated-pod-gc-threshold`; zero or less: ended pods are kept, however many.
    pub terminated_pods: i64,
    /// `--enable-garbage-collector`.
    pub enable_gc: bool,
    /// `--concurrent-gc-syncs`.
    pub gc_syncs: usize,
    /// `--gc-budget`.
    pub gc_budgets: Budgets,
    /// `--gc-hold-over-budget`.
    pub gc_holds: bool,
    /// `--leader-elect`.
    pub leader_elect: bool,
    /// `--leader-elect-lease-duration`.
    pub lease_duration: Duration,
    /// `--leader-elect-renew-deadline`.
    pub renew_deadline: Duration,
    /// `--leader-elect-retry-period`.
    pub retry_period: Duration,
    /// `--leader-elect-resource-name`.
    pub lease_name: String,
    /// `--leader-elect-resource-namespace`.
    pub lease_namespace: String,
    /// `--leader-elect-exit-on-loss`.
    pub exit_on_loss: bool,
    /// `--leader-elect-identity`.
    pub identity: Option<String>,
    /// `--bind-address`.
    pub bind_address: IpAddr,
    /// `--secure-port`; `None`: no pages.
    pub secure_port: Option<u16>,
    /// `--cert-dir`.
    pub cert_dir: Option<PathBuf>,
    /// `--tls-cert-file` and `--tls-private-key-file`.
    pub tls_files: Option<(PathBuf, PathBuf)>,
    /// `--logging-format` is `json`.
    pub log_json: bool,
    /// `-v`.
    pub verbosity: i64,
}

impl Default for Options {
    /// What an empty command line gives.
    fn default() -> Self {
        match parse([]) {
            Ok(Parsed::Run(options, _)) => *options,
            _ => unreachable!("the defaults of the table are valid, as a test shows"),
        }
    }
}

/// What a command line asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Parsed {
    /// Run the manager; warn first about these flags, which have no effect.
    Run(Box<Options>, Vec<String>),
    /// Print this and end well (`--help`, `--version`).
    Print(String),
}

/// A command line that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// It does not parse: the usage is shown, then this.
    #[error("{0}")]
    Usage(String),
    /// It parses, but what it says cannot be: all complaints together, without usage.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
}

fn command() -> Command {
    let mut command = Command::new("evenkeel")
        .about("A kube-controller-manager: reconcile loops over one watch cache.\nSubcommand, as the first word: plan [-n NAMESPACE] [KIND/NAME]")
        .disable_version_flag(true)
        .arg(Arg::new("version").long("version").num_args(0..=1).require_equals(true).default_missing_value("true").value_parser(PossibleValuesParser::new(["true", "false", "raw"])).help("print the version"));
    for flag in FLAGS {
        let mut arg = Arg::new(flag.name)
            .long(flag.name)
            .help(flag.help)
            .help_heading(flag.area)
            .default_value(flag.default)
            .hide_default_value(flag.default.is_empty());
        if flag.name == "v" {
            arg = arg.short('v');
        }
        arg = match flag.kind {
            Kind::Bool => arg.num_args(0..=1).require_equals(true).default_missing_value("true").overrides_with(flag.name),
            Kind::List => arg.action(ArgAction::Append).allow_hyphen_values(true),
            _ => arg.overrides_with(flag.name).allow_hyphen_values(true),
        };
        command = command.arg(arg);
    }
    command
}

/// Reads a command line without the program's name.
pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Parsed, FlagError> {
    // `-` and `_` are the same inside flag names (manager 1.1.1).
    let args = args.into_iter().map(|arg| match arg.strip_prefix("--") {
        Some(rest) => match rest.split_once('=') {
            Some((name, value)) => format!("--{}={value}", name.replace('_', "-")),
            None => format!("--{}", rest.replace('_', "-")),
        },
        None => arg,
    });
    let matches = match command().try_get_matches_from(std::iter::once("evenkeel".to_owned()).chain(args)) {
        Ok(matches) => matches,
        Err(error) if error.kind() == clap::error::ErrorKind::DisplayHelp => return Ok(Parsed::Print(error.to_string())),
        Err(error) => return Err(FlagError::Usage(error.to_string())),
    };
    match matches.get_one::<String>("version").map(String::as_str) {
        Some("raw") => {
            return Ok(Parsed::Print(format!(
                "version.Info{{Major:\"1\", Minor:\"36\", GitVersion:\"v1.36.2\", Evenkeel:\"{}\"}}\n",
                env!("CARGO_PKG_VERSION")
            )));
        }
        Some("true") => return Ok(Parsed::Print(format!("evenkeel {} (Kubernetes v1.36.2)\n", env!("CARGO_PKG_VERSION")))),
        _ => {}
    }
    let given: BTreeMap<&str, String> = FLAGS
        .iter()
        .map(|flag| {
            let values: Vec<&str> = matches.get_many::<String>(flag.name).into_iter().flatten().map(String::as_str).collect();
            (flag.name, if flag.kind == Kind::List { values.join(",") } else { values.last().copied().unwrap_or_default().to_owned() })
        })
        .collect();
    let mut values = Values { given: &given, wrong: Vec::new() };
    for flag in FLAGS {
        values.check(flag);
    }
    if !values.wrong.is_empty() {
        return Err(FlagError::Usage(values.wrong.join("\n")));
    }
    let warnings = FLAGS
        .iter()
        .filter(|f| {
            f.effect != Effect::Full && matches.value_source(f.name) == Some(ValueSource::CommandLine) && given[f.name] != f.default
        })
        .map(|f| match f.effect {
            Effect::NotYet => format!("--{}={} has no effect: {} is not built yet", f.name, given[f.name], f.area),
            _ => format!("--{}={} has no effect here: {}", f.name, given[f.name], f.help),
        })
        .collect();
    let qps_given = matches.value_source("kube-api-qps") == Some(ValueSource::CommandLine);
    values.options(qps_given).map(|options| Parsed::Run(Box::new(options), warnings))
}

struct Values<'a> {
    given: &'a BTreeMap<&'static str, String>,
    wrong: Vec<String>,
}

impl Values<'_> {
    fn text(&self, name: &str) -> &str {
        &self.given[name]
    }

    /// The form of a value.
    fn check(&mut self, flag: &Flag) {
        let value = self.text(flag.name);
        let form = match flag.kind {
            Kind::Bool => value.parse::<bool>().is_ok().then_some(()).ok_or("true or false"),
            Kind::Int => value.parse::<i64>().is_ok().then_some(()).ok_or("a whole number"),
            Kind::Float => value.parse::<f64>().is_ok_and(f64::is_finite).then_some(()).ok_or("a number"),
            Kind::Duration => duration(value).map(|_| ()).ok_or("a duration such as 15s"),
            Kind::Text | Kind::List => Ok(()),
        };
        if let Err(wanted) = form {
            let complaint = format!("invalid argument {value:?} for \"--{}\" flag: must be {wanted}", flag.name);
            self.wrong.push(complaint);
        }
    }

    fn int(&self, name: &str) -> i64 {
        self.text(name).parse().expect("checked before")
    }

    fn flag(&self, name: &str) -> bool {
        self.text(name).parse().expect("checked before")
    }

    fn time(&self, name: &str) -> Duration {
        duration(self.text(name)).expect("checked before")
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        Some(self.text(name)).filter(|t| !t.is_empty()).map(PathBuf::from)
    }

    /// Checks what the values mean; all complaints are collected.
    fn options(mut self, qps_given: bool) -> Result<Options, FlagError> {
        let mut wrong = std::mem::take(&mut self.wrong);
        let controllers = Selection::parse(self.text("controllers")).unwrap_or_else(|SelectionError { unknown }| {
            wrong.extend(unknown.iter().map(|name| format!("{name:?} is not in the list of known controllers")));
            Selection::default()
        });
        for flag in FLAGS.iter().filter(|f| f.area == "concurrency") {
            if self.int(flag.name) <= 0 {
                wrong.push(format!("--{} must be greater than 0", flag.name));
            }
        }
        let (lease, renew, retry) =
            (self.time("leader-elect-lease-duration"), self.time("leader-elect-renew-deadline"), self.time("leader-elect-retry-period"));
        if self.flag("leader-elect") {
            let timings = Timings { lease_duration: lease, renew_deadline: renew, retry_period: retry };
            let (lock, name, namespace) = ("leader-elect-resource-lock", "leader-elect-resource-name", "leader-elect-resource-namespace");
            let errors = flag_errors(&timings, self.text(lock), self.text(name), self.text(namespace));
            wrong.extend(errors.iter().map(ToString::to_string));
        }
        if !matches!(self.text("cloud-provider"), "" | "external") {
            wrong.push(format!(
                "--cloud-provider {:?} is not supported: built-in cloud providers were removed",
                self.text("cloud-provider")
            ));
        }
        if !matches!(self.text("logging-format"), "text" | "json") {
            wrong.push(format!("--logging-format {:?} must be text or json", self.text("logging-format")));
        }
        let secure_port = self.int("secure-port");
        if !(0..=65535).contains(&secure_port) {
            wrong.push(format!("--secure-port {secure_port} must be between 0 and 65535, inclusive. 0 for turning off secure port"));
        }
        let bind_address = self.text("bind-address").parse().unwrap_or_else(|_| {
            wrong.push(format!("--bind-address {:?} is not an IP address", self.text("bind-address")));
            IpAddr::from([127, 0, 0, 1])
        });
        let tls_files = match (self.path("tls-cert-file"), self.path("tls-private-key-file")) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => {
                wrong.push("--tls-cert-file and --tls-private-key-file go together".to_owned());
                None
            }
        };
        let gc_budgets = self.text("gc-budget").parse().unwrap_or_else(|error| {
            wrong.push(format!("--gc-budget: {error}"));
            Budgets::default()
        });
        if self.flag("gc-hold-over-budget") && !self.flag("leader-elect") {
            wrong.push("--gc-hold-over-budget needs --leader-elect: what is held and released stands in the Lease".to_owned());
        }
        let qps: f64 = self.text("kube-api-qps").parse().expect("checked before");
        if !wrong.is_empty() {
            return Err(FlagError::Invalid(wrong));
        }
        let count = |name| usize::try_from(self.int(name)).unwrap_or(1).min(1000);
        Ok(Options {
            kubeconfig: self.path("kubeconfig"),
            master: Some(self.text("master").to_owned()).filter(|m| !m.is_empty()),
            // A rate of zero or below means no limit, as with the stock client.
            qps: (qps_given && qps > 0.0).then_some(qps),
            burst: u32::try_from(self.int("kube-api-burst")).unwrap_or(1).max(1),
            controllers,
            shutdown_timeout: self.time("controller-shutdown-timeout"),
            deployment_syncs: count("concurrent-deployment-syncs"),
            replicaset_syncs: count("concurrent-replicaset-syncs"),
            rc_syncs: count("concurrent-rc-syncs"),
            namespace_syncs: count("concurrent-namespace-syncs"),
            terminated_pods: self.int("terminated-pod-gc-threshold"),
            enable_gc: self.flag("enable-garbage-collector"),
            gc_syncs: count("concurrent-gc-syncs"),
            gc_budgets,
            gc_holds: self.flag("gc-hold-over-budget"),
            leader_elect: self.flag("leader-elect"),
            lease_duration: lease,
            renew_deadline: renew,
            retry_period: retry,
            lease_name: self.text("leader-elect-resource-name").to_owned(),
            lease_namespace: self.text("leader-elect-resource-namespace").to_owned(),
            exit_on_loss: self.flag("leader-elect-exit-on-loss"),
            identity: Some(self.text("leader-elect-identity").to_owned()).filter(|i| !i.is_empty()),
            bind_address,
            secure_port: u16::try_from(secure_port).ok().filter(|p| *p != 0),
            cert_dir: self.path("cert-dir"),
            tls_files,
            log_json: self.text("logging-format") == "json",
            verbosity: self.int("v"),
        })
    }
}

/// A Go-style duration; `0` needs no unit.
fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    if text.contains(char::is_whitespace) {
        return None;
    }
    text.parse::<SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::LOOPS;

    fn run(args: &[&str]) -> Result<(Options, Vec<String>), FlagError> {
        match parse(args.iter().map(|a| (*a).to_owned()))? {
            Parsed::Run(options, warnings) => Ok((*options, warnings)),
            Parsed::Print(text) => panic!("{text}"),
        }
    }

    #[test]
    fn the_defaults_of_the_table_parse() {
        let (options, warnings) = run(&[]).unwrap();
        assert!(warnings.is_empty());
        assert_eq!((options.qps, options.secure_port, options.lease_duration), (None, Some(10257), Duration::from_secs(15)));
    }

    #[test]
    fn every_flag_of_the_table_is_accepted_and_those_without_effect_warn_once() {
        for flag in FLAGS {
            let value = match flag.kind {
                Kind::Bool => {
                    if flag.default == "true" {
                        "false"
                    } else {
                        "true"
                    }
                }
                Kind::Int => "7",
                Kind::Float => "0.5",
                Kind::Duration => "11s",
                Kind::Text | Kind::List => match flag.name {
                    "controllers" => "deployment",
                    "leader-elect-resource-lock" => "leases",
                    "bind-address" => "0.0.0.0",
                    "logging-format" => "json",
                    "cloud-provider" => "external",
                    "gc-budget" => "pods=5/5%/5s",
                    _ => "x",
                },
            };
            let mut args = vec![format!("--{}={value}", flag.name)];
            match flag.name {
                "tls-cert-file" => args.push("--tls-private-key-file=x".into()),
                "tls-private-key-file" => args.push("--tls-cert-file=x".into()),
                "leader-elect-lease-duration" => args.push("--leader-elect-renew-deadline=5s".into()),
                "leader-elect-retry-period" => {
                    args.extend(["--leader-elect-renew-deadline=20s".into(), "--leader-elect-lease-duration=30s".into()])
                }
                _ => {}
            }
            let (_, warnings) = match parse(args.clone()).unwrap_or_else(|e| panic!("{args:?}: {e}")) {
                Parsed::Run(o, w) => (o, w),
                Parsed::Print(_) => unreachable!(),
            };
            assert_eq!(warnings.len(), usize::from(flag.effect != Effect::Full), "{args:?} {warnings:?}");
        }
    }

    /// manager 16.1, 16.3
    #[test]
    fn the_first_entry_that_names_a_controller_decides() {
        let on = |list: &str| -> Vec<&'static str> {
            let (options, _) = run(&["--controllers", list]).unwrap();
            LOOPS.iter().map(|l| l.name).filter(|n| options.controllers.runs(n)).collect()
        };
        assert_eq!(on("deployment,-deployment"), ["deployment-controller"]);
        let others: Vec<&str> = LOOPS.iter().map(|l| l.name).filter(|n| *n != "deployment-controller").collect();
        assert_eq!(on("-deployment,*"), others);
        assert_eq!(on("deployment"), ["deployment-controller"]);
        assert_eq!(on("-deployment"), Vec::<&str>::new());
        assert_eq!(on("*,deployment").len(), LOOPS.len());
        assert_eq!(on("deployment-controller"), on("deployment"));
    }

    /// manager 16.2
    #[test]
    fn unknown_controllers_are_named_and_shown_without_usage() {
        let error = run(&["--controllers=nope", "--secure-port=99999"]).unwrap_err();
        let FlagError::Invalid(all) = &error else { panic!("{error}") };
        assert_eq!(all[0], "\"nope\" is not in the list of known controllers");
        assert_eq!(all.len(), 2, "all complaints together");
    }

    /// manager 16.4
    #[test]
    fn bad_election_settings_are_refused_at_start() {
        assert!(matches!(run(&["--leader-elect-resource-lock=endpoints"]), Err(FlagError::Invalid(_))));
        assert!(matches!(run(&["--leader-elect-renew-deadline=15s", "--leader-elect-lease-duration=15s"]), Err(FlagError::Invalid(_))));
    }

    /// manager 16.6
    #[test]
    fn underscores_are_dashes_and_zero_workers_are_refused() {
        assert_eq!(run(&["--concurrent_deployment_syncs=3"]).unwrap().0.deployment_syncs, 3);
        run(&["--concurrent_job_syncs=3"]).unwrap();
        assert!(matches!(run(&["--concurrent-job-syncs=0"]), Err(FlagError::Invalid(_))));
    }

    /// manager 16.5, 16.8
    #[test]
    fn no_port_no_pages_and_positional_arguments_are_errors() {
        assert_eq!(run(&["--secure-port=0"]).unwrap().0.secure_port, None);
        assert!(matches!(run(&["surprise"]), Err(FlagError::Usage(_))));
        assert!(matches!(run(&["--no-such-flag"]), Err(FlagError::Usage(_))));
        assert!(matches!(run(&["--kube-api-qps=fast"]), Err(FlagError::Usage(_))));
    }

    #[test]
    fn booleans_durations_and_verbosity_read_as_usual() {
        let (options, _) = run(&["--leader-elect=false", "-v", "4", "--controller-shutdown-timeout=1m30s", "--kube-api-qps=50"]).unwrap();
        assert!(!options.leader_elect);
        assert_eq!((options.verbosity, options.shutdown_timeout, options.qps), (4, Duration::from_secs(90), Some(50.0)));
        assert!(run(&["--leader-elect"]).unwrap().0.leader_elect);
    }
}
