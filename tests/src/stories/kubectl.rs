//! Real kubectl as a child process.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::wait::eventually;
use crate::recorded::Broken;

/// Longest that one call may take: longer than every `--timeout` that a step gives.
const LIMIT: Duration = Duration::from_secs(180);

/// Where kubectl is: what `EVENKEEL_KUBECTL` says, else what `cargo xtask kubectl` finds or fetches.
///
/// # Errors
/// When there is none and none can be fetched.
pub fn find() -> Result<PathBuf, Broken> {
    if let Some(path) = std::env::var_os("EVENKEEL_KUBECTL") {
        return Ok(path.into());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = std::process::Command::new(cargo).args(["run", "--quiet", "--package", "xtask", "--", "kubectl"]).output();
    let output = output.map_err(|error| Broken(format!("cannot run cargo: {error}")))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().into()),
        false => Err(Broken(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}

/// What a call printed, and whether it ended well.
#[derive(Debug)]
pub struct Said {
    /// Exit code 0.
    pub ok: bool,
    /// Exit code; -1 after a signal.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// kubectl, on one server and in one namespace.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    /// The file that leads to the server.
    pub kubeconfig: PathBuf,
    /// The namespace of every call.
    pub namespace: String,
    /// What `kubectl edit` opens.
    editor: Option<String>,
}

impl Kubectl {
    /// kubectl at `program`.
    pub fn new(program: &Path, kubeconfig: &Path, namespace: &str) -> Self {
        Kubectl { program: program.to_owned(), kubeconfig: kubeconfig.to_owned(), namespace: namespace.to_owned(), editor: None }
    }

    /// The same with an editor.
    pub fn with_editor(&self, editor: &str) -> Self {
        Kubectl { editor: Some(editor.to_owned()), ..self.clone() }
    }

    /// A call, not yet started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--kubeconfig").arg(&self.kubeconfig).arg("--namespace").arg(&self.namespace).args(args);
        command.stdin(Stdio::null()).kill_on_drop(true).env("KUBECTL_EXTERNAL_DIFF", "diff -u -N");
        if let Some(editor) = &self.editor {
            command.env("KUBE_EDITOR", editor);
        }
        command
    }

    /// Calls it to its end.
    ///
    /// # Errors
    /// When it cannot be started or does not end.
    pub async fn say(&self, args: &[&str], input: Option<&str>) -> Result<Said, Broken> {
        let text = || format!("kubectl {}", args.join(" "));
        let mut command = self.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if input.is_some() {
            command.stdin(Stdio::piped());
        }
        let mut child = command.spawn().map_err(|error| Broken(format!("cannot run {}: {error}", self.program.display())))?;
        if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
            // One that does not read to the end says why by itself.
            _ = stdin.write_all(input.as_bytes()).await;
        }
        let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await.map_err(|_| Broken(format!("{} does not end", text())))?;
        let output = output.map_err(|error| Broken(format!("{}: {error}", text())))?;
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Said {
            ok: output.status.success(),
            code: output.status.code().unwrap_or(-1),
            out: said(&output.stdout),
            err: said(&output.stderr),
        })
    }

    /// Calls it; it must end well. Gives what it printed.
    ///
    /// # Errors
    /// When it does not.
    pub async fn run(&self, args: &[&str]) -> Result<String, Broken> {
        self.run_with(args, None).await
    }

    /// Applies a manifest from its text.
    ///
    /// # Errors
    /// When kubectl or the server refuses it.
    pub async fn apply(&self, manifest: &str) -> Result<String, Broken> {
        self.run_with(&["apply", "-f", "-"], Some(manifest)).await
    }

    /// As [`Kubectl::run`], with something on its standard input.
    ///
    /// # Errors
    /// As for [`Kubectl::run`].
    pub async fn run_with(&self, args: &[&str], input: Option<&str>) -> Result<String, Broken> {
        let said = self.say(args, input).await?;
        if said.ok { Ok(said.out) } else { Err(Broken(format!("kubectl {}: {}", args.join(" "), said.err.trim()))) }
    }

    /// Calls it; it must fail. Gives what it complained about.
    ///
    /// # Errors
    /// When it ends well.
    pub async fn refused(&self, args: &[&str]) -> Result<String, Broken> {
        let said = self.say(args, None).await?;
        if said.ok {
            Err(Broken(format!("kubectl {} should have failed, and said: {}", args.join(" "), said.out.trim())))
        } else {
            Ok(said.err)
        }
    }

    /// Calls it with `-o json`.
    ///
    /// # Errors
    /// When it fails, or prints something else.
    pub async fn json(&self, args: &[&str]) -> Result<Value, Broken> {
        let mut all = args.to_vec();
        all.extend(["-o", "json"]);
        let text = self.run(&all).await?;
        serde_json::from_str(&text).map_err(|error| Broken(format!("kubectl {}: no JSON: {error}", args.join(" "))))
    }

    /// One object.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn object(&self, kind: &str, name: &str) -> Result<Value, Broken> {
        self.json(&["get", kind, name]).await
    }

    /// Objects of a kind, with a label selector; empty: all. Those being deleted are left out.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn live(&self, kind: &str, selector: &str) -> Result<Vec<Value>, Broken> {
        let mut list = self.json(&["get", kind, "--selector", selector]).await?;
        let Value::Array(mut items) = list["items"].take() else { return Err(Broken(format!("no list of {kind}"))) };
        items.retain(|item| item["metadata"]["deletionTimestamp"].is_null());
        Ok(items)
    }

    /// Waits until exactly `count` live and Ready pods have these labels, and gives them.
    ///
    /// # Errors
    /// When there are not, in time.
    pub async fn ready_pods(&self, selector: &str, count: usize, limit: Duration) -> Result<Vec<Value>, Broken> {
        eventually(limit, &format!("{count} Ready pods of {selector}"), async || {
            let pods = self.live("pods", selector).await?;
            let ready = pods.iter().filter(|pod| is_ready(pod)).count();
            if pods.len() == count && ready == count { Ok(pods) } else { Err(Broken(format!("{} pods, {ready} Ready", pods.len()))) }
        })
        .await
    }
}

/// Name of an object.
pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// Whether a condition of an object is `True`.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array().into_iter().flatten().find(|condition| condition["type"] == kind)
}

/// Whether a pod is Ready.
pub fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True")
}
