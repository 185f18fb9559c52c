//! One connection: requests in, answers out.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tracing::{debug, error};

use super::BODY_LIMIT;
use super::auth::{Shown, Tokens, shown};
use super::{manners, protobuf};
use crate::list_body::ListBody;
use crate::{Body, Request, Response, Server, UserInfo, WatchStream};

/// How long a connection may wait for the head of its next request. Longer than the 90 seconds after which Go's and kube's clients
/// close idle connections by themselves, so that the server never closes one that a client is about to use.
const HEAD_LIMIT: Duration = Duration::from_secs(120);
/// How much of a body that is too large is read all the same, and for how long.
const DRAIN_LIMIT: usize = 32 * 1024 * 1024;
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);
/// How long a request body may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(30);
/// Most requests at once on one HTTP/2 connection, watches included.
const STREAM_LIMIT: u32 = 1_000;
/// Most bytes that hyper reads of a head before it gives up by itself, and that wait unsent on an HTTP/1 connection: more than
/// [`manners::HEAD_SIZE`], so that a head which is only somewhat too large gets a text with its refusal.
const BUFFER: usize = 2 * manners::HEAD_SIZE;
/// About how much of a busy watch is written at once: as much as a TLS record holds.
const PIECE: usize = 16 * 1024;
/// Most headers of an HTTP/1 request. Go counts their bytes alone.
const HEADERS: usize = 1_000;
/// Most bytes that wait on one HTTP/2 stream whose reader takes none: with [`STREAM_LIMIT`], 64 MiB on one connection.
const UNSENT: usize = 64 * 1024;
/// The warning of an `Authorization` header with more than one space, as it is on the wire.
const SPACED: &str = "299 - \"the provided Authorization header contains extra space before the bearer token, and is ignored\"";
/// How often a silent HTTP/2 peer is asked whether it still lives, and how long it has for its answer.
const PING: Duration = Duration::from_secs(30);

/// What all connections share.
pub(super) struct Front {
    pub(super) server: Arc<Server>,
    pub(super) tokens: Tokens,
}

impl Front {
    /// Who a token stands for. Static ones are looked up without a lock, the others (of service accounts) are the server's to know.
    fn user_of(&self, token: &str) -> Option<UserInfo> {
        self.tokens.get(token).cloned().or_else(|| self.server.user_of_token(token))
    }
}

/// Serves one connection until the peer leaves or the server stops.
pub(super) async fn serve<S>(stream: S, http2: bool, front: Arc<Front>, stopped: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let builder = builder(http2);
    let stop = stopped.clone();
    let service = service_fn(move |request| {
        let (front, stop) = (Arc::clone(&front), stop.clone());
        async move { Ok::<_, Infallible>(answer(&front, request, stop).await) }
    });
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = stopping(stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        debug!(%error, "connection ended");
    }
}

fn builder(http2: bool) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // No `pipeline_flush`: it would let the buffer of an answer grow without a bound while the peer takes nothing, and keep the answer to what
    // is no HTTP from being sent.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT).max_headers(HEADERS).max_buf_size(BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAM_LIMIT)
        .max_header_list_size(manners::HEAD_SIZE as u32)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        .max_send_buf_size(UNSENT)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    if http2 { builder.http2_only() } else { builder.http1_only() }
}

async fn answer(front: &Front, request: http::Request<Incoming>, stop: watch::Receiver<bool>) -> http::Response<Outgoing> {
    let (mut head, body) = request.into_parts();
    let bodyless = head.method == Method::HEAD;
    if let Some(response) = manners::refused(&head) {
        return finish(response, bodyless, stop);
    }
    // The body is read even where the answer does not need it: a connection with unread bytes cannot be used again, and closing it could
    // take the answer with it.
    let mut body = gather(body).await;
    if matches!(head.method, Method::GET | Method::HEAD) {
        // Nobody looks at it.
        body = Ok(Bytes::new());
    }
    let mut spaced = false;
    let user = match shown(&head.headers) {
        Shown::Nothing => UserInfo::anonymous(),
        Shown::Spaced => {
            spaced = true;
            UserInfo::anonymous()
        }
        Shown::Bearer(token) => match front.user_of(token) {
            Some(user) => user,
            None => return finish(failure(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized".into()), bodyless, stop),
        },
    };
    let body = match body.and_then(|body| as_json(&head.method, &mut head.headers, body)) {
        Ok(body) => body,
        Err(error) => return finish(error.response(), bodyless, stop),
    };
    let request = Request {
        method: head.method,
        path: manners::percent_decoded(head.uri.path()).unwrap_or_default(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body,
        user,
    };
    let mut response = std::panic::catch_unwind(AssertUnwindSafe(|| front.server.answer(&request))).unwrap_or_else(|_| {
        error!(method = %request.method, path = %request.path, "an answer panicked");
        let message = format!("This request caused apiserver to panic. Look in the logs for details: {} {}", request.method, request.path);
        failure(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    });
    if spaced {
        response.headers.append(header::WARNING, HeaderValue::from_static(SPACED));
    }
    // Nothing leaves the process that a crash could take back.
    let response = match front.server.settled().await {
        Ok(()) => response,
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", format!("Internal error occurred: {error}")),
    };
    finish(response, bodyless, stop)
}

/// Why a request has no body that the core could read.
#[derive(Debug, thiserror::Error)]
enum BodyError {
    #[error("Request entity too large: limit is {BODY_LIMIT}")]
    TooLarge,
    #[error("the request body did not arrive in time")]
    Late,
    #[error("{}", manners::body_fault(&**.0))]
    Broken(Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Encoding(#[from] protobuf::ProtobufError),
}

impl BodyError {
    fn response(&self) -> Response {
        let (status, reason) = match self {
            BodyError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge"),
            BodyError::Late => (StatusCode::REQUEST_TIMEOUT, "Timeout"),
            // What Go's reader says is no `Status` of its own, so it becomes one without a reason.
            BodyError::Broken(_) => {
                let mut response = crate::status::ApiError::new(500, "", self.to_string()).to_response();
                response.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
                return response;
            }
            BodyError::Encoding(_) => (StatusCode::BAD_REQUEST, "BadRequest"),
        };
        failure(status, reason, self.to_string())
    }
}

/// Reads on what will not be used, so that a peer that still writes comes to read the answer.
async fn drain(mut body: Limited<Incoming>) {
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = tokio::time::timeout(DRAIN_PATIENCE, rest).await;
}

/// Reads the whole body.
async fn gather(body: Incoming) -> Result<Bytes, BodyError> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if body.size_hint().lower() > BODY_LIMIT as u64 {
        drain(Limited::new(body, DRAIN_LIMIT)).await;
        return Err(BodyError::TooLarge);
    }
    match tokio::time::timeout(BODY_PATIENCE, Limited::new(body, BODY_LIMIT).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Ok(Err(error)) => Err(BodyError::Broken(error)),
        Err(_) => Err(BodyError::Late),
    }
}

/// Turns a body in Kubernetes' protobuf encoding into the JSON that the core reads. Kinds without a known encoding are left as they are:
/// the core says which encodings it takes.
fn as_json(method: &Method, headers: &mut HeaderMap, body: Bytes) -> Result<Bytes, BodyError> {
    let encoded = headers.get(header::CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(protobuf::MEDIA_TYPE.as_bytes()));
    if !encoded {
        return Ok(body);
    }
    let deletes = body.is_empty() && *method == Method::DELETE;
    match protobuf::to_json(&body) {
        _ if deletes => {}
        Ok(document) => {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            return Ok(Bytes::from(document.to_string()));
        }
        // What does not begin as the encoding does, the core words better: it knows what should have come.
        Err(protobuf::ProtobufError::UnknownKind(_)) => return Ok(body),
        Err(_) if !protobuf::begins(&body) => return Ok(body),
        Err(error) => return Err(error.into()),
    }
    // DELETE without options still names the encoding that it would have used.
    headers.remove(header::CONTENT_TYPE);
    Ok(body)
}

/// A `Status` that the edge itself answers with.
fn failure(status: StatusCode, reason: &str, message: String) -> Response {
    let code = status.as_u16();
    Response::json(
        status,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code}),
    )
}

fn finish(response: Response, bodyless: bool, stop: watch::Receiver<bool>) -> http::Response<Outgoing> {
    let Response { status, mut headers, body, list } = response;
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
    let body = match (list, body) {
        (Some(list), _) if bodyless => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(list.length()));
            Outgoing::Full(Bytes::new())
        }
        (Some(list), _) => Outgoing::List { left: list.length() as u64, list },
        (None, Body::Full(bytes)) if bodyless => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
            Outgoing::Full(Bytes::new())
        }
        (None, Body::Full(bytes)) => Outgoing::Full(bytes),
        (None, Body::Watch(_)) if bodyless => Outgoing::Full(Bytes::new()),
        (None, Body::Watch(stream)) => Outgoing::Watch { stream, stop: Box::pin(stopping(stop)), over: false },
    };
    let mut answer = http::Response::new(body);
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    answer
}

async fn stopping(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The body of an answer. A watch is only asked for its next lines when the connection has room for them: what a slow reader leaves
/// behind stays in the server's history, which is bounded.
pub(super) enum Outgoing {
    Full(Bytes),
    List { list: ListBody, left: u64 },
    Watch { stream: WatchStream, stop: Pin<Box<dyn Future<Output = ()> + Send>>, over: bool },
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Outgoing::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Outgoing::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Outgoing::List { list, left } => Poll::Ready(list.next_piece().map(|piece| {
                *left = left.saturating_sub(piece.len() as u64);
                Ok(Frame::data(piece))
            })),
            Outgoing::Watch { stream, stop, over } => {
                if *over || stop.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(None);
                }
                poll_lines(stream, over, cx).map(|lines| lines.map(|lines| Ok(Frame::data(lines))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Outgoing::Full(bytes) => bytes.is_empty(),
            Outgoing::List { left, .. } => *left == 0,
            Outgoing::Watch { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Outgoing::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Outgoing::List { left, .. } => SizeHint::with_exact(*left),
            Outgoing::Watch { .. } => SizeHint::default(),
        }
    }
}

/// The lines of a watch that are there, as one piece: a busy watch would else be cut into as many records and packets as it has lines.
fn poll_lines(stream: &mut WatchStream, over: &mut bool, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
    let mut lines: Option<BytesMut> = None;
    let mut first = match std::task::ready!(stream.as_mut().poll_next(cx)) {
        Some(line) => line,
        None => {
            *over = true;
            return Poll::Ready(None);
        }
    };
    while lines.as_ref().map_or(first.len(), BytesMut::len) < PIECE {
        match stream.as_mut().poll_next(cx) {
            Poll::Ready(Some(line)) => {
                let gathered = lines.get_or_insert_with(|| {
                    let mut gathered = BytesMut::with_capacity(2 * PIECE);
                    gathered.extend_from_slice(&std::mem::take(&mut first));
                    gathered
                });
                gathered.extend_from_slice(&line);
            }
            Poll::Ready(None) => {
                *over = true;
                break;
            }
            Poll::Pending => break,
        }
    }
    Poll::Ready(Some(lines.map_or(first, BytesMut::freeze)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::time::Instant;

    use super::*;

    /// A connection to a fresh server, without TLS.
    fn connect() -> (DuplexStream, watch::Sender<bool>) {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (stop, stopped) = watch::channel(false);
        let front = Arc::new(Front { server: Server::new(crate::Options::default()), tokens: BTreeMap::new() });
        tokio::spawn(serve(near, false, front, stopped));
        (far, stop)
    }

    async fn all(peer: &mut DuplexStream) -> String {
        let mut text = String::new();
        peer.read_to_string(&mut text).await.expect("text");
        text
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_come_to_its_end_is_given_up_on() {
        let start = Instant::now();
        let (mut peer, _stop) = connect();
        peer.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n").await.expect("sent");
        let slow = async {
            loop {
                tokio::time::sleep(Duration::from_secs(5)).await;
                if peer.write_all(b"x: y\r\n").await.is_err() {
                    break;
                }
            }
        };
        tokio::time::timeout(2 * HEAD_LIMIT, slow).await.expect("the connection is closed");
        assert!(start.elapsed() >= HEAD_LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_to_its_end_is_answered_408() {
        let (mut peer, _stop) = connect();
        let head = "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{";
        peer.write_all(head.as_bytes()).await.expect("sent");
        let mut answer = [0; 12];
        peer.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 408");
    }

    /// As kube-apiserver says it.
    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_cut_is_an_unexpected_end() {
        let (mut peer, _stop) = connect();
        let head = "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{";
        peer.write_all(head.as_bytes()).await.expect("sent");
        peer.shutdown().await.expect("open");
        // The peer that hung up may or may not be told.
        let text = all(&mut peer).await;
        assert!(text.is_empty() || text.contains("unexpected EOF"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_http_is_answered_400() {
        let long = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(70_000));
        for (text, code) in [
            ("GARBAGE\r\n\r\nmore and more", "400"),
            ("G@T / HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"),
            ("GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", "400"),
            (long.as_str(), "414"),
        ] {
            let (mut peer, _stop) = connect();
            let (mut from, mut to) = tokio::io::split(&mut peer);
            let mut answer = String::new();
            let _ = tokio::join!(to.write_all(text.as_bytes()), from.read_to_string(&mut answer));
            assert!(answer.starts_with(&format!("HTTP/1.1 {code}")), "{answer:?}");
        }
    }
}
