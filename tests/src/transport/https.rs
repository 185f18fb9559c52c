//! Requests over HTTP/1.1 and TLS: one connection per client, opened anew when the server closed it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use http::{Request, header};
use http_body_util::{BodyDataStream, BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Answer, Headers, NoAnswer, Stream, Transport, header_map};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whom to trust.
#[derive(Debug, Clone)]
pub enum Trust {
    /// The authority with this certificate, PEM.
    Authority(String),
    /// Whoever answers: for servers on loopback whose certificate is not at hand.
    Anyone,
}

impl Trust {
    /// The TLS settings of a client that trusts like this.
    ///
    /// # Errors
    /// When the certificate is none.
    pub fn client_config(&self) -> Result<ClientConfig, NoAnswer> {
        let settings = |error: &dyn std::fmt::Display| NoAnswer::Settings(error.to_string());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().map_err(|e| settings(&e))?;
        Ok(match self {
            Trust::Authority(pem) => {
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                    roots.add(certificate.map_err(|e| settings(&e))?).map_err(|e| settings(&e))?;
                }
                builder.with_root_certificates(roots).with_no_client_auth()
            }
            Trust::Anyone => builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider))).with_no_client_auth(),
        })
    }
}

/// Scheme, host and port of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    tls: bool,
    host: String,
    port: u16,
}

impl Url {
    /// Host and port.
    pub fn place(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// Reads `https://HOST:PORT` (or `http://`).
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse(text: &str) -> Result<Url, NoAnswer> {
        let wrong = || NoAnswer::Settings(format!("{text} is not https://HOST:PORT"));
        let uri: http::Uri = text.parse().map_err(|_| wrong())?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        let host = uri.host().ok_or_else(wrong)?.trim_matches(['[', ']']).to_owned();
        Ok(Url { tls, host, port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }) })
    }
}

/// A client of a server behind a socket.
#[derive(Clone)]
pub struct Https {
    url: Url,
    token: String,
    tls: Arc<ClientConfig>,
    connection: Arc<tokio::sync::Mutex<Option<SendRequest<Full<Bytes>>>>>,
}

impl Https {
    /// A client that shows this token.
    ///
    /// # Errors
    /// When the settings lead nowhere.
    pub fn new(server: &str, token: &str, trust: &Trust) -> Result<Self, NoAnswer> {
        let tls = trust.client_config()?;
        Ok(Https { url: Url::parse(server)?, token: token.to_owned(), tls: Arc::new(tls), connection: Arc::default() })
    }

    /// Another client of the same server, with a connection of its own.
    pub fn another(&self) -> Https {
        Https { connection: Arc::default(), ..self.clone() }
    }

    async fn open(&self) -> Result<SendRequest<Full<Bytes>>, NoAnswer> {
        let broken = |error: &dyn std::fmt::Display| NoAnswer::Broken(error.to_string());
        let tcp = TcpStream::connect((self.url.host.as_str(), self.url.port)).await.map_err(|e| broken(&e))?;
        tcp.set_nodelay(true).map_err(|e| broken(&e))?;
        if !self.url.tls {
            let (sender, connection) = handshake(TokioIo::new(tcp)).await.map_err(|e| broken(&e))?;
            tokio::spawn(connection);
            return Ok(sender);
        }
        let name = ServerName::try_from(self.url.host.clone()).map_err(|e| NoAnswer::Settings(e.to_string()))?;
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp).await.map_err(|e| broken(&e))?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|e| broken(&e))?;
        tokio::spawn(connection);
        Ok(sender)
    }

    fn request(&self, method: &str, path: &str, headers: Headers<'_>, body: Option<Bytes>) -> Result<Request<Full<Bytes>>, NoAnswer> {
        let settings = |error: &dyn std::fmt::Display| NoAnswer::Settings(error.to_string());
        let mut request = Request::builder().method(method).uri(path);
        if let Some(map) = request.headers_mut() {
            *map = header_map(Some(&self.token), body.is_some(), headers)?;
            let host = http::HeaderValue::from_str(&format!("{}:{}", self.url.host, self.url.port));
            map.insert(header::HOST, host.map_err(|e| settings(&e))?);
        }
        request.body(Full::new(body.unwrap_or_default())).map_err(|e| settings(&e))
    }

    async fn send(&self, method: &str, path: &str, headers: Headers<'_>, body: Option<Bytes>) -> Result<Answer, NoAnswer> {
        let mut slot = self.connection.lock().await;
        // Only a read on a connection that the server may have closed meanwhile is sent a second time.
        let mut again = method == "GET";
        loop {
            let kept = slot.take().filter(|sender| !sender.is_closed());
            let fresh = kept.is_none();
            let mut sender = match kept {
                Some(sender) => sender,
                None => self.open().await?,
            };
            let request = self.request(method, path, headers, body.clone())?;
            let answer = async {
                sender.ready().await?;
                let response = sender.send_request(request).await?;
                let (parts, body) = response.into_parts();
                Ok::<_, hyper::Error>(Answer { status: parts.status, headers: parts.headers, body: body.collect().await?.to_bytes() })
            };
            match answer.await {
                Ok(answer) => {
                    *slot = Some(sender);
                    return Ok(answer);
                }
                Err(_) if again && !fresh => again = false,
                Err(error) => return Err(NoAnswer::Broken(error.to_string())),
            }
        }
    }
}

impl Transport for Https {
    fn call<'a>(
        &'a mut self,
        method: &'a str,
        path: &'a str,
        headers: Headers<'a>,
        body: Option<Bytes>,
    ) -> BoxFuture<'a, Result<Answer, NoAnswer>> {
        Box::pin(async move {
            match tokio::time::timeout(PATIENCE, self.send(method, path, headers, body)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(NoAnswer::Late(PATIENCE.as_secs())),
            }
        })
    }

    fn watch<'a>(&'a mut self, path: &'a str, headers: Headers<'a>) -> BoxFuture<'a, Result<Stream, NoAnswer>> {
        Box::pin(async move {
            let broken = |error: hyper::Error| NoAnswer::Broken(error.to_string());
            let request = self.request("GET", path, headers, None)?;
            let mut sender = self.open().await?;
            let (parts, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
            // The connection lives as long as somebody may still send on it.
            let body = BodyDataStream::new(body).map(move |data| {
                let _open = &sender;
                data.map_err(|error| NoAnswer::Broken(error.to_string()))
            });
            Ok(Stream { status: parts.status, headers: parts.headers, body: body.boxed() })
        })
    }
}

/// Takes any certificate, but still checks that the peer holds its key.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::Url;

    #[test]
    fn only_addresses_of_web_servers_are_taken() {
        let url = Url::parse("https://127.0.0.1:6443").expect("an address");
        assert_eq!(url, Url { tls: true, host: "127.0.0.1".into(), port: 6443 });
        assert!(Url::parse("127.0.0.1:6443").is_err() && Url::parse("ftp://x").is_err());
    }
}
