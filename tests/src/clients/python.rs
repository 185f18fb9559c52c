//! The half of the Python client: a program of its own, whose lines are counted.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::Count;
use crate::recorded::Broken;

/// Runs the script and passes its lines on.
pub(super) async fn tell(modules: &Path, kubeconfig: &Path, namespace: &str) -> Result<Count, Broken> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/story.py");
    let python = std::env::var_os("EVENKEEL_PYTHON").unwrap_or_else(|| "python3".into());
    let broken = |error: std::io::Error| Broken(format!("the Python half: {error}"));
    let mut command = Command::new(python);
    // Nothing of the machine's own Python packages is looked at, and nothing is left beside the script.
    command.arg("-s").arg(script).arg(kubeconfig).arg(namespace);
    command.env("PYTHONPATH", modules).env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUTF8", "1");
    for proxy in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().map_err(broken)?;
    let mut lines = BufReader::new(child.stdout.take().expect("it was piped")).lines();
    let mut count = Count::default();
    while let Some(line) = lines.next_line().await.map_err(broken)? {
        match line.split_once(' ') {
            Some(("ok", title)) => {
                count.passed += 1;
                println!("ok   Python: {}", title.trim());
            }
            Some(("FAIL", title)) => {
                count.failed += 1;
                println!("FAIL Python: {}", title.trim());
            }
            _ => println!("     {line}"),
        }
    }
    let status = child.wait().await.map_err(broken)?;
    // It ends with 1 when a step failed; anything else, or an end before the first step, is no story.
    match (status.code(), count.passed + count.failed) {
        (Some(0 | 1), 1..) => Ok(count),
        _ => Err(Broken(format!("the Python half ended early: {status}"))),
    }
}
