//! A connection that speaks just enough HTTP/1.1: requests of known length out, answers in, bodies counted.

use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::transport::{Access, NoAnswer, Url};

/// How much of a refusal is kept.
const SHOWN: usize = 300;

/// Where connections go.
#[derive(Clone)]
pub(super) struct Target {
    host: String,
    port: u16,
    token: String,
    tls: TlsConnector,
}

impl Target {
    pub(super) fn new(access: &Access) -> std::result::Result<Target, NoAnswer> {
        let url = Url::parse(&access.server)?;
        let (host, port) = url.place();
        let tls = TlsConnector::from(Arc::new(access.trust.client_config()?));
        Ok(Target { host: host.to_owned(), port, token: access.token.clone(), tls })
    }

    pub(super) async fn connect(&self) -> Result<Connection> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(self.host.clone()).map_err(Error::other)?;
        let stream = self.tls.connect(name, tcp).await?;
        // All that does not change from one request to the next.
        let head = format!(
            "host: {}:{}\r\nauthorization: Bearer {}\r\naccept: application/json\r\nuser-agent: load\r\n",
            self.host, self.port, self.token
        );
        Ok(Connection { stream, head, out: Vec::with_capacity(4096), read: BytesMut::with_capacity(64 * 1024) })
    }
}

/// What came back.
pub(super) struct Answered {
    pub(super) status: u16,
    /// Length of the body.
    pub(super) length: usize,
    /// Its beginning.
    pub(super) start: String,
}

/// One connection.
pub(super) struct Connection {
    stream: TlsStream<TcpStream>,
    head: String,
    out: Vec<u8>,
    read: BytesMut,
}

struct Head {
    status: u16,
    /// `None`: in chunks.
    length: Option<usize>,
}

impl Connection {
    /// Sends a request and reads the answer to its last byte.
    pub(super) async fn ask(&mut self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Result<Answered> {
        self.send(method, path, content_type, body).await?;
        let head = self.head().await?;
        let length = head.length.ok_or_else(|| Error::new(ErrorKind::InvalidData, "the answer does not say its length"))?;
        let (mut left, mut start) = (length, Vec::new());
        loop {
            let n = left.min(self.read.len());
            if start.len() < SHOWN {
                start.extend_from_slice(&self.read[..n.min(SHOWN - start.len())]);
            }
            self.read.advance(n);
            left -= n;
            if left == 0 {
                return Ok(Answered { status: head.status, length, start: String::from_utf8_lossy(&start).into_owned() });
            }
            self.fill().await?;
        }
    }

    /// Opens a watch; the status says whether it is one.
    pub(super) async fn watch(mut self, path: &str) -> Result<(u16, Lines)> {
        self.send("GET", path, "", b"").await?;
        let head = self.head().await?;
        Ok((head.status, Lines { connection: self, chunk: 0 }))
    }

    async fn send(&mut self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Result<()> {
        use std::io::Write as _;
        self.out.clear();
        write!(self.out, "{method} {path} HTTP/1.1\r\n{}", self.head)?;
        if !body.is_empty() {
            write!(self.out, "content-type: {content_type}\r\ncontent-length: {}\r\n", body.len())?;
        }
        self.out.extend_from_slice(b"\r\n");
        self.out.extend_from_slice(body);
        self.stream.write_all(&self.out).await?;
        self.stream.flush().await
    }

    async fn head(&mut self) -> Result<Head> {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|w| w == b"\r\n\r\n") {
                break at;
            }
            self.fill().await?;
        };
        let wrong = || Error::new(ErrorKind::InvalidData, "no HTTP/1.1 answer");
        let text = std::str::from_utf8(&self.read[..end]).map_err(|_| wrong())?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok()).ok_or_else(wrong)?;
        let length = lines
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse().ok());
        self.read.advance(end + 4);
        Ok(Head { status, length })
    }

    async fn fill(&mut self) -> Result<()> {
        self.read.reserve(16 * 1024);
        match self.stream.read_buf(&mut self.read).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// An open watch: a body in chunks, of which lines are counted.
pub(super) struct Lines {
    connection: Connection,
    /// What is left of the chunk that is being read.
    chunk: usize,
}

impl Lines {
    /// How many lines ended in what came next.
    pub(super) async fn next(&mut self) -> Result<usize> {
        let mut ended = 0;
        loop {
            let read = &mut self.connection.read;
            if self.chunk > 0 {
                let n = self.chunk.min(read.len());
                ended += read[..n].iter().filter(|b| **b == b'\n').count();
                read.advance(n);
                self.chunk -= n;
            } else if let Some(at) = read.windows(2).position(|w| w == b"\r\n") {
                // An empty line ends the chunk before.
                let length = std::str::from_utf8(&read[..at]).ok().and_then(|t| usize::from_str_radix(t.trim(), 16).ok());
                let empty = at == 0;
                read.advance(at + 2);
                match length {
                    Some(0) => return Err(Error::new(ErrorKind::UnexpectedEof, "the watch ended")),
                    Some(length) => self.chunk = length,
                    None if empty => {}
                    None => return Err(Error::new(ErrorKind::InvalidData, "no chunk")),
                }
                continue;
            }
            if ended > 0 {
                return Ok(ended);
            }
            self.connection.fill().await?;
        }
    }
}
