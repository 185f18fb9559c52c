//! The local API server as a process of its own, and connections to it on which anything can be written.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::process::{Process, built, scratch, until};

/// How long an answer may take: longer than a busy disk can stop everybody.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that runs, without nodes and manager.
pub struct Local {
    /// Its process.
    pub process: Process,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Token of its administrator.
    pub token: String,
    /// The administrator's kubeconfig.
    pub kubeconfig: PathBuf,
    ca: CertificateDer<'static>,
}

impl Local {
    /// Starts one that forgets its history every second.
    pub async fn start(name: &str) -> Self {
        let folder = scratch(name);
        let kubeconfig = folder.join("kubeconfig");
        let path = kubeconfig.to_str().expect("UTF-8");
        let args = ["--port", "0", "--no-nodes", "--no-manager", "--compaction-interval", "1s", "--kubeconfig", path];
        let process = Process::of(built("devcluster"), folder.join("log"), &args);
        assert!(until(PATIENCE, || kubeconfig.is_file()).await, "it does not start: {}", process.log());
        let text = std::fs::read_to_string(&kubeconfig).expect("readable");
        let config: Value = serde_saphyr::from_str(&text).expect("a kubeconfig");
        let field = |pointer: &str| config.pointer(pointer).and_then(Value::as_str).expect("a kubeconfig").to_owned();
        let server = field("/clusters/0/cluster/server");
        let addr = server.trim_start_matches("https://").parse().expect("an address");
        use base64::Engine;
        let ca = base64::engine::general_purpose::STANDARD.decode(field("/clusters/0/cluster/certificate-authority-data")).expect("base64");
        let ca = CertificateDer::from_pem_slice(&ca).expect("a certificate").into_owned();
        Local { process, addr, token: field("/users/0/user/token"), kubeconfig, ca }
    }

    /// TLS settings of a client that trusts it and offers these protocols.
    pub fn tls(&self, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.ca.clone()).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("supported");
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
        Arc::new(config)
    }

    /// A connection with these settings.
    pub async fn connect_with(&self, tls: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
        let socket = TcpStream::connect(self.addr).await?;
        TlsConnector::from(tls).connect(ServerName::try_from("localhost").expect("a name"), socket).await
    }

    /// A connection for HTTP/1.1.
    pub async fn connect(&self) -> TlsStream<TcpStream> {
        self.connect_with(self.tls(&[b"http/1.1"])).await.expect("it listens")
    }

    /// The head of a request by the administrator, but for its last empty line.
    pub fn head(&self, line: &str) -> String {
        format!("{line} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n", self.token)
    }

    /// Writes a request on a connection of its own and reads the answer.
    pub async fn ask(&self, request: &[u8]) -> Result<Answer, String> {
        let mut stream = self.connect().await;
        // A server that refuses a long request may stop reading it. Without the flush, TLS may keep what the socket had no room for.
        let sent = async { stream.write_all(request).await.and(stream.flush().await) };
        let _ = tokio::time::timeout(PATIENCE, sent).await;
        tokio::time::timeout(PATIENCE, Answer::read(&mut stream, request.starts_with(b"HEAD ")))
            .await
            .map_err(|_| "no answer".to_owned())?
    }

    /// Whether others are served, and how long that took.
    pub async fn serves(&self) -> Duration {
        let start = std::time::Instant::now();
        let answer = self.ask(format!("{}\r\n", self.head("GET /api/v1/namespaces/default")).as_bytes()).await.expect("an answer");
        assert_eq!(answer.code, 200, "{answer:?}");
        start.elapsed()
    }

    /// Creates a ConfigMap with this much data.
    pub async fn create(&self, name: &str, size: usize) {
        let body = format!(r#"{{"metadata":{{"name":"{name}"}},"data":{{"a":"{}"}}}}"#, "x".repeat(size));
        let head = self.head("POST /api/v1/namespaces/default/configmaps");
        let request = format!("{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        assert_eq!(self.ask(request.as_bytes()).await.expect("an answer").code, 201);
    }

    /// Nothing has panicked up to now.
    pub fn assert_calm(&self) {
        assert!(!self.process.log().contains("panicked"), "{}", self.process.log());
    }
}

/// An answer of HTTP/1.1.
#[derive(Debug)]
pub struct Answer {
    /// Status.
    pub code: u16,
    /// Header lines: name in lower case, value.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads one; answers of 100 are passed over.
    pub async fn read(stream: &mut (impl AsyncReadExt + Unpin), bodyless: bool) -> Result<Self, String> {
        let mut read = Vec::new();
        loop {
            let head = loop {
                if let Some(end) = read.windows(4).position(|w| w == b"\r\n\r\n") {
                    break end;
                }
                if !more(stream, &mut read).await {
                    return Err(format!("the connection ended after {:?}", String::from_utf8_lossy(&read)));
                }
            };
            let text = String::from_utf8_lossy(&read[..head]).into_owned();
            read.drain(..head + 4);
            let mut lines = text.split("\r\n");
            let code = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).ok_or("no status line")?;
            let headers: Vec<(String, String)> =
                lines.filter_map(|line| line.split_once(": ")).map(|(k, v)| (k.to_lowercase(), v.to_owned())).collect();
            let mut answer = Answer { code, headers, body: Vec::new() };
            if code == 100 {
                continue;
            }
            if bodyless {
                return Ok(answer);
            }
            if let Some(length) = answer.header("content-length").and_then(|text| text.parse().ok()) {
                while read.len() < length {
                    if !more(stream, &mut read).await {
                        return Err("the connection ended within the body".into());
                    }
                }
                read.truncate(length);
            } else if answer.header("transfer-encoding").is_some() {
                while !read.ends_with(b"0\r\n\r\n") {
                    if !more(stream, &mut read).await {
                        break;
                    }
                }
                read = unchunked(&read);
            } else {
                while more(stream, &mut read).await {}
            }
            answer.body = read;
            return Ok(answer);
        }
    }

    /// The first header of a name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }

    /// The body as a document; `Null` when it is none.
    pub fn document(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

async fn more(stream: &mut (impl AsyncReadExt + Unpin), read: &mut Vec<u8>) -> bool {
    matches!(stream.read_buf(read).await, Ok(n) if n > 0)
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(line) = rest.windows(2).position(|w| w == b"\r\n") {
        let size = std::str::from_utf8(&rest[..line]).ok().and_then(|text| usize::from_str_radix(text, 16).ok()).unwrap_or(0);
        let from = line + 2;
        if size == 0 || rest.len() < from + size {
            break;
        }
        out.extend_from_slice(&rest[from..from + size]);
        rest = rest.get(from + size + 2..).unwrap_or_default();
    }
    out
}
