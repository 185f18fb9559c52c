//! Where a group of uses takes place: the server, a namespace, a folder, and the programs.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::recorded::Broken;
use crate::stories::kubectl::Said;

/// Longest that one call may take: longer than every `--timeout` that a use gives.
const LIMIT: Duration = Duration::from_secs(90);
/// What is added to an expectation to make it wrong.
const SPOIL: &str = "\u{1}something else";

/// The ground of one group.
#[derive(Debug, Clone)]
pub struct Ground {
    /// Where kubectl is.
    pub kubectl: PathBuf,
    /// Where Helm is; `None`: nobody looked.
    pub helm: Option<PathBuf>,
    /// Leads to the server.
    pub kubeconfig: PathBuf,
    /// Where kubectl keeps what it learned about the server.
    pub cache: PathBuf,
    /// The namespace of the group: its own.
    pub namespace: String,
    /// Files of the group.
    pub folder: PathBuf,
    /// How long anything may take to be seen.
    pub limit: Duration,
    /// All expectations are made wrong: every use must fail.
    pub spoiled: bool,
}

impl Ground {
    /// A text with `{ns}` and `{folder}` filled in.
    pub fn filled(&self, text: &str) -> String {
        text.replace("{ns}", &self.namespace).replace("{folder}", &self.folder.to_string_lossy())
    }

    /// What must be seen, filled in; made wrong when that is asked for.
    pub fn expected(&self, text: &str) -> String {
        let filled = self.filled(text);
        if self.spoiled { filled + SPOIL } else { filled }
    }

    /// Writes a file to the folder; gives its path.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf, Broken> {
        let path = self.folder.join(name);
        let written = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&path, self.filled(text)));
        written.map_err(|error| Broken(format!("{}: {error}", path.display())))?;
        Ok(path)
    }

    /// A call of a command line, not yet started.
    ///
    /// # Errors
    /// When it names a program that is not there.
    pub fn command(&self, line: &str) -> Result<Command, Broken> {
        let words = words(&self.filled(line));
        let mut command = match words.split_first() {
            Some((first, rest)) if first == "helm" => {
                let mut command = Command::new(self.helm.as_deref().ok_or_else(|| Broken("no Helm".into()))?);
                command.args(rest).arg("--kubeconfig").arg(&self.kubeconfig).arg("--namespace").arg(&self.namespace);
                command
            }
            _ => {
                let mut command = Command::new(&self.kubectl);
                let (own, behind) = words.split_at(words.iter().position(|word| word == "--").unwrap_or(words.len()));
                command.args(own).arg("--kubeconfig").arg(&self.kubeconfig);
                // A use may name another one itself.
                if !own.iter().any(|word| word == "-n" || word == "-A" || word.starts_with("--namespace")) {
                    command.arg("--namespace").arg(&self.namespace);
                }
                command.args(behind);
                command
            }
        };
        let own = |name: &str| self.folder.join(name);
        command.stdin(Stdio::null()).kill_on_drop(true).current_dir(&self.folder);
        command.env("KUBECACHEDIR", &self.cache).env("KUBECTL_EXTERNAL_DIFF", "diff -u -N").env("KUBERC", "off");
        command
            .env("HELM_CACHE_HOME", own("helm/cache"))
            .env("HELM_CONFIG_HOME", own("helm/config"))
            .env("HELM_DATA_HOME", own("helm/data"));
        Ok(command)
    }

    /// Calls a command line to its end.
    ///
    /// # Errors
    /// When it cannot be started or does not end.
    pub async fn say(&self, line: &str, input: Option<&str>, variable: Option<(&str, &str)>) -> Result<Said, Broken> {
        let mut command = self.command(line)?;
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if input.is_some() {
            command.stdin(Stdio::piped());
        }
        if let Some((name, value)) = variable {
            command.env(name, value);
        }
        let broken = |what: &dyn std::fmt::Display| Broken(format!("{line}: {what}"));
        let mut child = command.spawn().map_err(|error| broken(&error))?;
        if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
            // One that does not read to the end says why by itself.
            _ = stdin.write_all(self.filled(input).as_bytes()).await;
        }
        let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await.map_err(|_| broken(&"does not end"))?;
        let output = output.map_err(|error| broken(&error))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Said {
            ok: output.status.success(),
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        })
    }

    /// Calls a command line; it must end well. Gives what it printed.
    ///
    /// # Errors
    /// When it does not.
    pub async fn run(&self, line: &str, input: Option<&str>) -> Result<String, Broken> {
        let said = self.say(line, input, None).await?;
        if said.ok { Ok(said.out) } else { Err(Broken(format!("{}: {}", self.filled(line), said.err.trim()))) }
    }
}

/// A file that only tests read.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
}

/// Splits a command line into words; what stands in single quotes stays together.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut begun) = (Vec::new(), String::new(), false, false);
    for c in line.chars() {
        match c {
            '\'' => (quoted, begun) = (!quoted, true),
            ' ' | '\n' if !quoted => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            c => {
                word.push(c);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_splits_them() {
        assert_eq!(words("get  pods -o 'jsonpath={.a b}'"), ["get", "pods", "-o", "jsonpath={.a b}"]);
        assert_eq!(words("run a --image=''"), ["run", "a", "--image="]);
        assert_eq!(words("a '' b"), ["a", "", "b"]);
    }
}
