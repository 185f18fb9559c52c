//! `cargo xtask bench`: figures of the real binary, run as its own process. One JSON line per figure set.

mod apiserver;
mod burst;
mod gc;
mod gc_worlds;
mod idle;
mod noise;
mod stage;
mod verdict;

use std::path::PathBuf;

use crate::Failure;

/// What a bench is told.
#[derive(Debug, Default)]
pub struct Options {
    /// A real API server without a manager; `None`: a local control plane of its own.
    pub kubeconfig: Option<PathBuf>,
    /// Another manager to pair with evenkeel, run after it on the same server.
    pub rival: Option<PathBuf>,
    /// Flags for the rival beyond `--kubeconfig` and `--controllers`.
    pub rival_flags: Vec<String>,
    /// How many pods (burst, apiserver).
    pub pods: Option<u64>,
    /// How long an idle manager is watched, in seconds.
    pub seconds: Option<u64>,
    /// Whether the server holds very many objects that no loop cares about (idle).
    pub noise: bool,
    /// Which cases; none: all (gc).
    pub cases: Vec<String>,
    /// How often each case is measured (gc).
    pub rounds: Option<u64>,
    /// Sizes, in percent of the full ones (gc, idle with noise).
    pub scale: Option<u64>,
}

impl Options {
    /// So many, at the scale that was asked for; at least one.
    pub fn scaled(&self, full: u64) -> u64 {
        (full * self.scale.unwrap_or(100) / 100).max(1)
    }
}

/// `cargo xtask bench NAME [FLAGS]`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    let Some((name, rest)) = args.split_first() else { return Err(Failure::Usage("which bench? idle, burst, gc, apiserver".into())) };
    let options = parse(rest)?;
    match name.as_str() {
        "idle" if options.noise => noise::run(&options),
        "idle" => idle::run(&options),
        "burst" => burst::run(&options),
        "gc" => gc::run(&options),
        "apiserver" => apiserver::run(&options),
        other => Err(Failure::Usage(format!("no such bench: {other}; there are idle, burst, gc and apiserver"))),
    }
}

fn parse(args: &[String]) -> Result<Options, Failure> {
    let mut options = Options::default();
    let mut words = args.iter();
    while let Some(flag) = words.next() {
        if flag == "--noise" {
            options.noise = true;
            continue;
        }
        let (flag, value) = match flag.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (flag.as_str(), words.next().cloned()),
        };
        let value = value.ok_or_else(|| Failure::Usage(format!("{flag} needs a value")))?;
        let number = || value.parse::<u64>().map_err(|_| Failure::Usage(format!("{flag} needs a number, not {value}")));
        match flag {
            "--kubeconfig" => options.kubeconfig = Some(value.into()),
            "--rival" => options.rival = Some(value.into()),
            "--rival-flag" => options.rival_flags.push(value),
            "--pods" => options.pods = Some(number()?),
            "--seconds" => options.seconds = Some(number()?),
            "--case" => options.cases.extend(value.split(',').map(str::to_owned)),
            "--rounds" => options.rounds = Some(number()?),
            "--scale" => options.scale = Some(number()?),
            _ => return Err(Failure::Usage(format!("no such flag: {flag}"))),
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_taken_with_and_without_an_equals_sign() {
        let args: Vec<String> = ["--pods=100", "--rival", "kcm", "--rival-flag", "-v=2"].iter().map(|s| (*s).to_owned()).collect();
        let options = parse(&args).expect("good flags");
        assert_eq!((options.pods, options.rival), (Some(100), Some("kcm".into())));
        assert_eq!(options.rival_flags, ["-v=2"]);
        let args: Vec<String> = ["--noise", "--case", "wide,chain", "--case=rings", "--scale=10"].iter().map(|s| (*s).to_owned()).collect();
        let options = parse(&args).expect("good flags");
        assert_eq!((options.noise, options.cases.join(" ")), (true, "wide chain rings".to_owned()));
        assert_eq!((options.scaled(200), options.scaled(5)), (20, 1));
        assert!(parse(&["--pods".to_owned()]).is_err() && parse(&["--pods=x".to_owned()]).is_err());
    }
}
