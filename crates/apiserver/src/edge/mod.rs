//! The server behind a socket: TLS, HTTP/1.1 and HTTP/2, bearer tokens.
//!
//! Lives here: connections, their limits and their ends, and authentication. Everything that an answer says is the core's
//! ([`Server::handle`]); the edge only answers by itself where no core is asked: 401, 413, and 408 for a body that never comes.

mod auth;
mod connection;
mod identity;
mod manners;
pub(crate) mod protobuf;
mod stall;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::debug;

pub use auth::Tokens;
pub use identity::{Identity, LOCAL_NAMES};

use crate::Server;

/// Largest request body, as on a real server (`MaxRequestBodyBytes`).
pub const BODY_LIMIT: usize = 3 * 1024 * 1024;
/// Most connections at once; further ones wait in the listen queue. Above the 10,000 idle ones that a test opens.
const CONNECTION_LIMIT: usize = 20_000;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// What the system keeps of written bytes that a peer does not take, per connection. Left to itself it would take megabytes for each
/// watch that nobody reads; these learn sooner that they are too slow.
const SEND_BUFFER: u32 = 256 * 1024;
/// How long a peer may take for its TLS handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// How long connections may take to end their answers once the server stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why a server could not be put behind a socket.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// The address is taken: try another port.
    #[error("{addr} is in use")]
    AddressInUse {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The certificates could not be made.
    #[error("cannot make the server's certificates: {0}")]
    Certificate(#[from] rcgen::Error),
    /// Kept certificates cannot be read: make new ones.
    #[error("the server's certificates cannot be read")]
    KeptCertificate,
    /// The certificates were refused by the TLS library.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// What a listener needs.
#[derive(Debug)]
pub struct EdgeOptions {
    /// Address to listen on; port 0 takes a free one.
    pub addr: SocketAddr,
    /// Certificates, see [`Identity::generate`].
    pub tls: Identity,
    /// Static tokens.
    pub tokens: Tokens,
}

/// A listening server. Dropping it stops listening at once; [`EdgeHandle::shutdown`] lets answers end first.
#[derive(Debug)]
pub struct EdgeHandle {
    local_addr: SocketAddr,
    ca_pem: String,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl EdgeHandle {
    /// Where the server listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The certificate of the authority that clients must trust.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Takes no more requests, ends watches, and returns when all connections are closed (two seconds at most).
    pub async fn shutdown(mut self) {
        let _ = self.stop.send(true);
        if tokio::time::timeout(FAREWELL, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

impl Drop for EdgeHandle {
    fn drop(&mut self) {
        // The task owns the connections: they end with it.
        self.task.abort();
    }
}

/// Listens on `options.addr` and answers requests with `server` until the handle is shut down or dropped.
///
/// # Errors
/// [`EdgeError::AddressInUse`] when another process has the port.
pub async fn serve(server: Arc<Server>, options: EdgeOptions) -> Result<EdgeHandle, EdgeError> {
    serve_on(bind(options.addr)?, server, options)
}

/// Listens on an address, for [`serve_on`]: so that the port is known before there is a server.
///
/// # Errors
/// [`EdgeError::AddressInUse`] when another process has the port.
pub fn bind(addr: SocketAddr) -> Result<TcpListener, EdgeError> {
    let listen = || {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A port that was just left can be taken at once; on Windows the option means something else.
        #[cfg(not(windows))]
        socket.set_reuseaddr(true)?;
        socket.set_send_buffer_size(SEND_BUFFER)?;
        socket.bind(addr)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|source| match source.kind() {
        std::io::ErrorKind::AddrInUse => EdgeError::AddressInUse { addr },
        _ => EdgeError::Listen { addr, source },
    })
}

/// Answers the requests that come to `listener`, as [`serve`] does.
///
/// # Errors
/// [`EdgeError::Tls`] when the certificates are no good.
pub fn serve_on(listener: TcpListener, server: Arc<Server>, options: EdgeOptions) -> Result<EdgeHandle, EdgeError> {
    let EdgeOptions { addr, tls, tokens } = options;
    let local_addr = listener.local_addr().map_err(|source| EdgeError::Listen { addr, source })?;
    let ca_pem = tls.ca_pem().to_owned();
    let acceptor = TlsAcceptor::from(Arc::new(tls.into_server_config()?));
    for (token, user) in &tokens {
        server.add_token(token, user.clone());
    }
    let (stop, stopped) = watch::channel(false);
    let front = Arc::new(connection::Front { server, tokens });
    let task = tokio::spawn(accept(listener, acceptor, front, stopped));
    Ok(EdgeHandle { local_addr, ca_pem, stop, task })
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, front: Arc<connection::Front>, mut stopped: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTION_LIMIT));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = async {
                let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
                (place, listener.accept().await)
            } => accepted,
        };
        let (place, socket) = match accepted {
            (place, Ok((socket, _))) => (place, socket),
            (_, Err(error)) => {
                // Out of file descriptors, or a peer that hung up in the queue: neither ends the server.
                debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        let (acceptor, front, stopped) = (acceptor.clone(), Arc::clone(&front), stopped.clone());
        connections.spawn(async move {
            let _place = place;
            let _ = socket.set_nodelay(true);
            match tokio::time::timeout(HANDSHAKE_LIMIT, handshake(acceptor, socket)).await {
                Ok(Some(stream)) => {
                    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    connection::serve(stream, http2, front, stopped).await;
                }
                Ok(None) => {}
                Err(_) => debug!("TLS handshake timed out"),
            }
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// What Go's server says to a client that speaks HTTP where it should speak TLS.
const NO_TLS: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
/// How such clients begin, as far as Go recognizes them.
const HTTP_BEGINS: [&[u8; 5]; 5] = [b"GET /", b"HEAD ", b"POST ", b"PUT /", b"OPTIO"];

async fn handshake(acceptor: TlsAcceptor, mut socket: TcpStream) -> Option<TlsStream<stall::Stalling<TcpStream>>> {
    let mut begin = [0; 5];
    if socket.peek(&mut begin).await.is_ok_and(|n| n == begin.len()) && HTTP_BEGINS.contains(&&begin) {
        // What the client wrote is taken first: a socket that is closed with unread bytes would take the answer back.
        let _ = socket.read(&mut [0; 4096]).await;
        let _ = socket.write_all(NO_TLS).await;
        let _ = socket.shutdown().await;
        return None;
    }
    match acceptor.accept(stall::Stalling::new(socket, stall::PATIENCE)).await {
        Ok(stream) => Some(stream),
        Err(error) => {
            debug!(%error, "TLS handshake failed");
            None
        }
    }
}
