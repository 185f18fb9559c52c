use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::ServeError;

/// Files are looked at again at most this often, when a connection comes.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Largest certificate or key file that is read.
const FILE_BYTES: u64 = 1 << 20;

/// Where the serving certificate comes from (manager 1.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateSource {
    /// `--tls-cert-file` and `--tls-private-key-file`, PEM. Read again when they change.
    Files {
        /// Certificate chain, the server's own first.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// A certificate for `localhost` and the loopback addresses that we sign ourselves.
    SelfSigned {
        /// `--cert-dir`: kept there as `<name>.crt` and `<name>.key`, and used again if both are there. `None`: in memory.
        dir: Option<PathBuf>,
        /// Name of the files, such as `kube-controller-manager`.
        name: String,
    },
}

/// `--tls-min-version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersion {
    /// TLS 1.2 and later. `VersionTLS10` and `VersionTLS11` mean this too: we speak nothing older.
    #[default]
    Tls12,
    /// TLS 1.3 only.
    Tls13,
}

impl FromStr for TlsVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" | "VersionTLS10" | "VersionTLS11" | "VersionTLS12" => Ok(Self::Tls12),
            "VersionTLS13" => Ok(Self::Tls13),
            _ => Err(format!("unknown tls version {text:?}: must be VersionTLS10, VersionTLS11, VersionTLS12 or VersionTLS13")),
        }
    }
}

impl TlsVersion {
    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        static FROM_12: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
        static ONLY_13: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
        match self {
            Self::Tls12 => &FROM_12,
            Self::Tls13 => &ONLY_13,
        }
    }
}

/// The present certificate, replaced when its files change.
pub(crate) struct Certificate {
    files: Option<(PathBuf, PathBuf)>,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<CertifiedKey>>,
    seen: Mutex<Seen>,
}

struct Seen {
    /// Contents that were last looked at, good or bad.
    contents: (Vec<u8>, Vec<u8>),
    at: Instant,
}

impl Certificate {
    pub(crate) async fn load(source: &CertificateSource) -> Result<Self, ServeError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (files, contents) = match source {
            CertificateSource::Files { certificate, key } => {
                (Some((certificate.clone(), key.clone())), (read(certificate).await?, read(key).await?))
            }
            CertificateSource::SelfSigned { dir: None, .. } => (None, self_signed()?),
            CertificateSource::SelfSigned { dir: Some(dir), name } => {
                let files = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
                let there =
                    tokio::fs::try_exists(&files.0).await.unwrap_or(false) && tokio::fs::try_exists(&files.1).await.unwrap_or(false);
                if !there {
                    let (certificate, key) = self_signed()?;
                    let (dir, (certificate_file, key_file)) = (dir.clone(), files.clone());
                    let write = move || {
                        std::fs::create_dir_all(&dir).map_err(|error| unusable(&dir, error))?;
                        // The key first: both are there only when both are whole.
                        keep(&key_file, &key).and_then(|()| keep(&certificate_file, &certificate))
                    };
                    tokio::task::spawn_blocking(write).await.map_err(|error| unusable(&files.0, error))??;
                }
                let contents = (read(&files.0).await?, read(&files.1).await?);
                (Some(files), contents)
            }
        };
        let name = files.as_ref().map_or(Path::new("self-signed"), |(certificate, _)| certificate);
        let current = parsed(&contents, &provider).map_err(|why| ServeError::Certificate { file: name.to_owned(), why })?;
        let seen = Mutex::new(Seen { contents, at: Instant::now() });
        Ok(Self { files, provider, current: RwLock::new(Arc::new(current)), seen })
    }

    pub(crate) fn server_config(self: &Arc<Self>, min: TlsVersion) -> Result<ServerConfig, ServeError> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(min.versions())
            .map_err(|error| ServeError::Tls { why: error.to_string() })?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// Looks at the files again, unless that was done a moment ago. Files that cannot be used leave the certificate as it is.
    pub(crate) async fn refresh(&self) {
        let Some((certificate, key)) = &self.files else { return };
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.at.elapsed() < LOOK_AGAIN {
                return;
            }
            seen.at = Instant::now();
        }
        let contents = match (read(certificate).await, read(key).await) {
            (Ok(certificate), Ok(key)) => (certificate, key),
            (Err(error), _) | (_, Err(error)) => {
                warn!(%error, "the serving certificate cannot be read again; the one before stays");
                return;
            }
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.contents == contents {
            return;
        }
        match parsed(&contents, &self.provider) {
            Ok(new) => {
                info!(file = %certificate.display(), "the serving certificate has changed");
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
            }
            // Perhaps only one of the two files has been replaced yet.
            Err(why) => warn!(file = %certificate.display(), %why, "the new serving certificate cannot be used; the one before stays"),
        }
        seen.contents = contents;
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("files", &self.files).finish_non_exhaustive()
    }
}

fn unusable(file: &Path, why: impl fmt::Display) -> ServeError {
    ServeError::Certificate { file: file.to_owned(), why: why.to_string() }
}

async fn read(file: &Path) -> Result<Vec<u8>, ServeError> {
    let size = tokio::fs::metadata(file).await.map_err(|error| unusable(file, error))?.len();
    if size > FILE_BYTES {
        return Err(unusable(file, format!("it has {size} bytes")));
    }
    tokio::fs::read(file).await.map_err(|error| unusable(file, error))
}

fn parsed(contents: &(Vec<u8>, Vec<u8>), provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&contents.0)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("the certificate is no PEM: {error}"))?;
    if chain.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(&contents.1).map_err(|error| format!("the private key cannot be read: {error}"))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| error.to_string())
}

/// A certificate and its key, PEM.
fn self_signed() -> Result<(Vec<u8>, Vec<u8>), ServeError> {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    let made = rcgen::generate_simple_self_signed(names).map_err(|error| ServeError::Tls { why: error.to_string() })?;
    Ok((made.cert.pem().into_bytes(), made.signing_key.serialize_pem().into_bytes()))
}

/// Writes a file as a whole or not at all, readable by its owner only.
fn keep(file: &Path, contents: &[u8]) -> Result<(), ServeError> {
    let new = file.with_extension(format!("{}.new", file.extension().and_then(|e| e.to_str()).unwrap_or_default()));
    let written = || {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut out = options.open(&new)?;
        out.write_all(contents)?;
        out.sync_all()?;
        std::fs::rename(&new, file)
    };
    written().map_err(|error| unusable(file, error))
}
