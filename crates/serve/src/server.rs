use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::certificate::Certificate;
use crate::pages::{DebugPage, Pages};
use crate::{CertificateSource, Checks, Metrics, TlsVersion};

/// Most connections at once. One more closes the oldest, so that idle or hostile clients cannot keep a probe out.
const CONNECTIONS: usize = 200;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a client may take to send a request's head.
const HEADERS: Duration = Duration::from_secs(10);
/// How long a connection lives; a client that wants more opens another. Bounds clients that do not read their answers.
const LIFETIME: Duration = Duration::from_secs(120);
/// Requests at once on one HTTP/2 connection.
const STREAMS: u32 = 16;
/// Longest head of a request.
const HEAD_BYTES: usize = 32 << 10;
/// How long open requests may take to finish at shutdown.
const GRACE: Duration = Duration::from_secs(3);
/// Pause after a failed accept, as when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no port.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The port cannot be had. Choose another address.
    #[error("cannot listen on {address}")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A certificate or key cannot be used. Mend the file.
    #[error("cannot use {}: {why}", file.display())]
    Certificate {
        /// The file.
        file: PathBuf,
        /// Why not.
        why: String,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {why}")]
    Tls {
        /// Why not.
        why: String,
    },
}

/// How the port is served.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The certificate.
    pub certificate: CertificateSource,
    /// Oldest version of TLS that is spoken.
    pub min_tls: TlsVersion,
    /// Opens `/metrics` and debug pages to everybody, on other addresses than loopback ones too.
    pub metrics_open: bool,
}

/// Opens the port. `None` for port 0, which switches serving off (manager 1.4, scenario 16.5).
pub async fn listen(address: IpAddr, port: u16) -> Result<Option<TcpListener>, ServeError> {
    if port == 0 {
        return Ok(None);
    }
    let address = SocketAddr::new(address, port);
    TcpListener::bind(address).await.map(Some).map_err(|source| ServeError::Listen { address, source })
}

/// A served port. Dropping it closes everything at once; [`Server::shut_down`] lets open requests finish.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Serves these checks, metrics and debug pages on an open port.
    pub async fn start(
        listener: TcpListener,
        options: &ServeOptions,
        checks: Checks,
        metrics: Metrics,
        debug: Vec<DebugPage>,
    ) -> Result<Self, ServeError> {
        let address = listener.local_addr().map_err(|error| ServeError::Tls { why: error.to_string() })?;
        let certificate = Arc::new(Certificate::load(&options.certificate).await?);
        let acceptor = TlsAcceptor::from(Arc::new(certificate.server_config(options.min_tls)?));
        let metrics_open = options.metrics_open || address.ip().to_canonical().is_loopback();
        let pages = Arc::new(Pages { checks, metrics, debug: debug.into(), metrics_open });
        let (stop, stopped) = watch::channel(false);
        let accepting = tokio::spawn(accept(listener, Port { acceptor, certificate, pages, stopped }));
        Ok(Self { address, stop, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, lets open requests finish for a few seconds, and closes the port.
    pub async fn shut_down(mut self) {
        self.stop.send_replace(true);
        if (&mut self.accepting).await.is_err() {
            warn!("the serving task had ended early");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its connections are in a set that the task owns, so they end with it.
        self.accepting.abort();
    }
}

#[derive(Clone)]
struct Port {
    acceptor: TlsAcceptor,
    certificate: Arc<Certificate>,
    pages: Arc<Pages>,
    stopped: watch::Receiver<bool>,
}

async fn accept(listener: TcpListener, mut port: Port) {
    let mut tasks = JoinSet::new();
    // By age.
    let open: Arc<Mutex<BTreeMap<u64, AbortHandle>>> = Arc::default();
    for number in 0_u64.. {
        let stream = tokio::select! {
            biased;
            () = told_to_stop(&mut port.stopped) => break,
            Some(_) = tasks.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "cannot accept connections");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let mut by_age = open.lock().unwrap_or_else(PoisonError::into_inner);
        if by_age.len() >= CONNECTIONS
            && let Some((_, oldest)) = by_age.pop_first()
        {
            oldest.abort();
        }
        let leave = Leave { number, open: Arc::clone(&open) };
        let serving = port.clone().serve(stream);
        let task = tasks.spawn(async move {
            let _leave = leave;
            serving.await;
        });
        by_age.insert(number, task);
    }
    drop(listener);
    let finished = timeout(GRACE, async { while tasks.join_next().await.is_some() {} }).await;
    if finished.is_err() {
        debug!(open = tasks.len(), "connections closed with requests unanswered");
    }
}

/// Also ends when nobody can tell us any more.
async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Takes a connection off the list, however it ends.
struct Leave {
    number: u64,
    open: Arc<Mutex<BTreeMap<u64, AbortHandle>>>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

impl Port {
    async fn serve(mut self, stream: TcpStream) {
        self.certificate.refresh().await;
        let tls = match timeout(HANDSHAKE, self.acceptor.accept(stream)).await {
            Ok(Ok(tls)) => tls,
            Ok(Err(error)) => return debug!(%error, "no TLS connection came about"),
            Err(_) => return debug!("a client took too long to begin"),
        };
        let pages = Arc::clone(&self.pages);
        let answer = service_fn(move |request| {
            let response = pages.answer(&request);
            async move { Ok::<_, Infallible>(response) }
        });
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(HEAD_BYTES);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(u32::try_from(HEAD_BYTES).unwrap_or(u32::MAX))
            .keep_alive_interval(HEADERS)
            .keep_alive_timeout(HEADERS);
        let connection = builder.serve_connection(TokioIo::new(tls), answer);
        tokio::pin!(connection);
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = told_to_stop(&mut self.stopped) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            () = sleep(LIFETIME) => {
                connection.as_mut().graceful_shutdown();
                timeout(GRACE, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = served {
            debug!(%error, "a connection ended badly");
        }
    }
}
