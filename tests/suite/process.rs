//! The manager's binary as a process of its own.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use evenkeel_devcluster::cluster::{Cluster, ClusterOptions};
use evenkeel_tests::transport::{Https, Transport, Trust};

/// The binary `evenkeel` of this build.
pub fn binary() -> PathBuf {
    built("evenkeel")
}

/// A program of this build.
pub fn built(program: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test runs from a file");
    let target = test.ancestors().nth(2).expect("tests are built into target/<profile>/deps");
    let path = target.join(program);
    assert!(path.is_file(), "{} is missing: build it with `cargo build --workspace --bins`", path.display());
    path
}

/// A folder of this test's own.
pub fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("evenkeel-suite-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("the temporary folder can be written");
    dir
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound").port()
}

/// A control plane without nodes.
pub async fn cluster(name: &str, manager: bool) -> Cluster {
    let options = ClusterOptions {
        port: Some(0),
        kubeconfig: Some(scratch(name).join("kubeconfig")),
        nodes: None,
        manager,
        ..ClusterOptions::default()
    };
    Cluster::start(options).await.expect("a control plane starts")
}

/// A manager that runs, its log in a file; ended when dropped.
pub struct Process(Child, PathBuf);

impl Process {
    /// Starts it with these flags.
    pub fn start(log: PathBuf, args: &[&str]) -> Self {
        Self::of(binary(), log, args)
    }

    /// Starts another program of this build.
    pub fn of(program: PathBuf, log: PathBuf, args: &[&str]) -> Self {
        let file = std::fs::File::create(&log).expect("writable");
        let child = Command::new(program)
            .args(args)
            .env_remove("KUBECONFIG")
            .env("NO_COLOR", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::from(file))
            .spawn()
            .expect("the binary starts");
        Self(child, log)
    }

    /// Starts it against the server of a kubeconfig.
    pub fn with_kubeconfig(kubeconfig: &Path, log: PathBuf, args: &[&str]) -> Self {
        let kubeconfig = format!("--kubeconfig={}", kubeconfig.display());
        Self::start(log, &[&[kubeconfig.as_str()], args].concat())
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.1).unwrap_or_default()
    }

    /// Asks it to end in order.
    pub fn terminate(&self) {
        let sent = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().expect("kill can be run");
        assert!(sent.success());
    }

    /// How it ended; `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("it can be asked")
    }

    /// Waits for its end; the code and the time that it took.
    pub async fn end(&mut self, limit: Duration) -> (Option<i32>, Duration) {
        let start = Instant::now();
        assert!(until(limit, || self.ended().is_some()).await, "it goes on: {}", self.log());
        (self.ended().and_then(|status| status.code()), start.elapsed())
    }

    /// How many file descriptors it has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.0.id())).map_or(0, Iterator::count)
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).expect("it runs");
        let kb = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<u64>().ok());
        kb.expect("a figure") * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether something comes to hold in time.
pub async fn until(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        if holds() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    holds()
}

/// A page of a manager on this machine: code and text.
pub async fn page(port: u16, path: &str) -> (u16, String) {
    let mut client = Https::new(&format!("https://127.0.0.1:{port}"), "", &Trust::Anyone).expect("an address");
    let answer = client.call("GET", path, &[], None).await.expect("an answer");
    (answer.status.as_u16(), String::from_utf8_lossy(&answer.body).into_owned())
}

/// The value of one series on a page of metrics.
pub fn value(metrics: &str, series: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}
