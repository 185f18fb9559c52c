//! The kubeconfig that leads clients to the local control plane.
//!
//! The file stays locked while its control plane runs: a second one sees that and takes a name of its own. A file that
//! was not written here is never overwritten.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use base64::Engine;

/// First line of every file written here.
const MARK: &str = "# Written by cargo dev; written anew at its next start.";

/// Why a kubeconfig could not be written.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// Another local control plane runs with this file: name another.
    #[error("{} belongs to another local control plane that is running; give --kubeconfig another file", .0.display())]
    InUse(PathBuf),
    /// The file was written by somebody else, and stays.
    #[error("{} was not written by cargo dev and will not be overwritten; give --kubeconfig another file", .0.display())]
    Foreign(PathBuf),
    /// The file cannot be written.
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What a client needs to know.
#[derive(Debug, Clone)]
pub struct Access {
    /// `https://127.0.0.1:PORT`.
    pub server: String,
    /// Certificate of the server's authority, PEM.
    pub ca_pem: String,
    /// Bearer token of user `admin`.
    pub token: String,
}

/// A written kubeconfig, locked until dropped.
#[derive(Debug)]
pub struct Kubeconfig {
    path: PathBuf,
    _locked: File,
}

impl Kubeconfig {
    /// Writes `access` to `path`, readable by its owner only; folders are made.
    ///
    /// # Errors
    /// See [`KubeconfigError`].
    pub fn write(path: &Path, access: &Access) -> Result<Self, KubeconfigError> {
        let failed = |source| KubeconfigError::Write { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(KubeconfigError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let mut before = String::new();
        file.read_to_string(&mut before).map_err(failed)?;
        if !before.trim().is_empty() && !is_ours(&before) {
            return Err(KubeconfigError::Foreign(path.to_owned()));
        }
        #[cfg(unix)]
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600)).map_err(failed)?;
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        file.write_all(render(access).as_bytes()).map_err(failed)?;
        file.flush().map_err(failed)?;
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        Ok(Self { path, _locked: file })
    }

    /// Where it is, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether a kubeconfig was written here. `kubectl config set-context` and the like write it anew, without the first line: then it is known by
/// its one cluster, called `evenkeel` and on this machine.
fn is_ours(text: &str) -> bool {
    let servers: Vec<&str> = text.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("server:")).collect();
    let named = text.lines().any(|line| matches!(line.trim().trim_start_matches("- "), "name: evenkeel" | "cluster: evenkeel"));
    text.starts_with(MARK) || (named && matches!(servers[..], [server] if server.trim().starts_with("https://127.0.0.1:")))
}

/// The text of a kubeconfig: one cluster, one user, one context, all called `evenkeel`.
pub fn render(access: &Access) -> String {
    let Access { server, ca_pem, token } = access;
    let ca = base64::engine::general_purpose::STANDARD.encode(ca_pem);
    format!(
        "{MARK}
apiVersion: v1
kind: Config
clusters:
- name: evenkeel
  cluster:
    server: {server}
    certificate-authority-data: {ca}
users:
- name: evenkeel
  user:
    token: {token}
contexts:
- name: evenkeel
  context:
    cluster: evenkeel
    user: evenkeel
current-context: evenkeel
"
    )
}

/// The default place: `dev/kubeconfig` below the build folder that this program lies in (the one that cargo has tagged), which is the
/// workspace's `target` unless somebody chose another; else `target/dev/kubeconfig` below the current folder.
pub fn default_path() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let build = program.ancestors().skip(1).find(|folder| folder.join("CACHEDIR.TAG").is_file());
    build.unwrap_or(Path::new("target")).join("dev/kubeconfig")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> Access {
        Access { server: "https://127.0.0.1:6443".into(), ca_pem: "PEM".into(), token: "t0ken".into() }
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("evenkeel-kubeconfig-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        folder
    }

    /// Whoever called: cargo by itself, xtask, or nobody.
    #[test]
    fn the_default_lies_in_the_build_folder() {
        let path = default_path();
        let build = path.parent().and_then(Path::parent).expect("two folders up");
        assert!(path.ends_with("dev/kubeconfig") && build.join("CACHEDIR.TAG").is_file(), "{}", path.display());
        assert!(std::env::current_exe().expect("a test program").starts_with(build));
    }

    #[test]
    fn a_kubeconfig_is_readable_by_its_owner_only_and_is_replaced_by_the_next_start() {
        let path = folder("mode").join("deep/kubeconfig");
        drop(Kubeconfig::write(&path, &access()).expect("a new file"));
        let later = Access { token: "later".into(), ..access() };
        let written = Kubeconfig::write(&path, &later).expect("our own file");
        let text = std::fs::read_to_string(written.path()).expect("written");
        assert!(text.contains("token: later") && !text.contains("t0ken"), "{text}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&path).expect("written").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_second_control_plane_does_not_take_the_file_of_one_that_runs() {
        let path = folder("lock").join("kubeconfig");
        let _first = Kubeconfig::write(&path, &access()).expect("a new file");
        assert!(matches!(Kubeconfig::write(&path, &access()), Err(KubeconfigError::InUse(_))));
    }

    #[test]
    fn a_file_that_kubectl_wrote_anew_is_still_ours() {
        let written = render(&access());
        let by_kubectl =
            written.replace(MARK, "").trim_start().replace("    user: evenkeel\n", "    namespace: mine\n    user: evenkeel\n");
        assert!(is_ours(&written) && is_ours(&by_kubectl));
        assert!(!is_ours(&by_kubectl.replace("127.0.0.1", "10.0.0.1")));
        assert!(!is_ours(&by_kubectl.replace("evenkeel", "other")));
        assert!(!is_ours(&format!("{by_kubectl}- cluster:\n    server: https://10.0.0.1:6443\n  name: other\n")));
    }

    #[test]
    fn a_file_that_somebody_else_wrote_stays() {
        let path = folder("foreign").join("config");
        std::fs::create_dir_all(path.parent().expect("has one")).expect("made");
        std::fs::write(&path, "apiVersion: v1\nkind: Config\n").expect("written");
        assert!(matches!(Kubeconfig::write(&path, &access()), Err(KubeconfigError::Foreign(_))));
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "apiVersion: v1\nkind: Config\n");
    }
}
