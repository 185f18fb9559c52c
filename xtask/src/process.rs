//! Programs in the background, and what the system says of them.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Failure, program};

/// Clock ticks per second in `/proc/PID/stat` (`USER_HZ`, 100 on every Linux).
const TICKS: f64 = 100.0;

/// A program that runs in the background and is ended when this goes.
pub struct Running {
    child: Child,
    name: String,
}

impl Running {
    /// Starts it; what it says goes into `log`.
    pub fn start(command: &mut Command, log: &Path) -> Result<Running, Failure> {
        let name = program::shown(command);
        let machine = |error: std::io::Error| Failure::Machine(format!("cannot start {name}: {error}"));
        if let Some(folder) = log.parent() {
            std::fs::create_dir_all(folder).map_err(machine)?;
        }
        let file = File::create(log).map_err(machine)?;
        let child = command.stdin(Stdio::null()).stdout(file.try_clone().map_err(machine)?).stderr(file).spawn().map_err(machine)?;
        Ok(Running { child, name })
    }

    /// Whether it still runs; an error says how it ended.
    pub fn check(&mut self) -> Result<(), Failure> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(Failure::Machine(format!("{} ended: {status}", self.name))),
            Err(error) => Err(Failure::Machine(format!("{}: {error}", self.name))),
        }
    }

    /// Resident memory in bytes (`VmRSS`).
    pub fn resident(&self) -> Result<u64, Failure> {
        self.memory("VmRSS")
    }

    /// The most resident memory that it had so far, in bytes (`VmHWM`).
    pub fn peak(&self) -> Result<u64, Failure> {
        self.memory("VmHWM")
    }

    fn memory(&self, name: &str) -> Result<u64, Failure> {
        let text = self.proc_file("status")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
        kilobytes.map(|kb| kb * 1024).ok_or_else(|| Failure::Machine(format!("{} has no {name}", self.name)))
    }

    /// CPU seconds used so far, in user and kernel mode.
    pub fn cpu_seconds(&self) -> Result<f64, Failure> {
        let text = self.proc_file("stat")?;
        // The name in brackets may hold spaces.
        let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
        match (ticks(11), ticks(12)) {
            (Some(user), Some(kernel)) => Ok((user + kernel) / TICKS),
            _ => Err(Failure::Machine(format!("{} has no CPU times", self.name))),
        }
    }

    fn proc_file(&self, file: &str) -> Result<String, Failure> {
        let path = format!("/proc/{}/{file}", self.child.id());
        std::fs::read_to_string(&path).map_err(|error| Failure::Machine(format!("cannot read {path} ({}): {error}", self.name)))
    }

    /// Asks it to end and waits; what does not listen is killed.
    pub fn stop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // std knows no signal but SIGKILL; `kill` is where POSIX is.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}
