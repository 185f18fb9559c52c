//! The edge as a client meets it: TLS, tokens, limits, HTTP/1.1 and HTTP/2, and an orderly end.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use evenkeel_apiserver::edge::{BODY_LIMIT, EdgeError, EdgeHandle, EdgeOptions, Identity, LOCAL_NAMES, Tokens, serve};
use evenkeel_apiserver::{Options, Server, UserInfo};
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const TOKEN: &str = "s3cret";

async fn start() -> EdgeHandle {
    let tokens = Tokens::from([(TOKEN.to_owned(), UserInfo::admin())]);
    let tls = Identity::generate(&LOCAL_NAMES).expect("local names are valid");
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    serve(Server::new(Options::default()), EdgeOptions { addr, tls, tokens }).await.expect("a free port")
}

fn connector(ca_pem: &str, alpn: &[&[u8]]) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).expect("a certificate")).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("supported")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

async fn connect(edge: &EdgeHandle, alpn: &[&[u8]], name: &'static str) -> TlsStream<TcpStream> {
    let socket = TcpStream::connect(edge.local_addr()).await.expect("listening");
    let name = ServerName::try_from(name).expect("a valid name");
    connector(edge.ca_pem(), alpn).connect(name, socket).await.expect("a trusted certificate")
}

/// Sends one HTTP/1.1 request and reads the whole answer.
async fn ask(edge: &EdgeHandle, head: &str, body: &[u8]) -> (u16, String, Value) {
    let mut stream = connect(edge, &[b"http/1.1"], "localhost").await;
    stream
        .write_all(format!("{head}\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes())
        .await
        .expect("sent");
    // A server that refuses a long body may stop reading it.
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (code, head.to_lowercase(), serde_json::from_str(body).unwrap_or(Value::String(body.to_owned())))
}

#[tokio::test]
async fn the_certificate_holds_for_localhost_and_the_loopback_addresses() {
    let edge = start().await;
    for name in ["localhost", "127.0.0.1", "::1"] {
        connect(&edge, &[b"http/1.1"], name).await;
    }
    let socket = TcpStream::connect(edge.local_addr()).await.expect("listening");
    let other = ServerName::try_from("example.com").expect("valid");
    assert!(connector(edge.ca_pem(), &[]).connect(other, socket).await.is_err(), "another name is not trusted");
}

#[tokio::test]
async fn a_wrong_token_is_unauthorized_and_no_token_is_the_anonymous_user() {
    let edge = start().await;
    let (code, head, status) = ask(&edge, "GET /apis HTTP/1.1\r\nauthorization: Bearer nope", b"").await;
    assert_eq!((code, &status["reason"], &status["message"]), (401, &Value::from("Unauthorized"), &Value::from("Unauthorized")));
    assert!(head.contains("content-type: application/json"), "{head}");
    let (code, _, _) = ask(&edge, &format!("GET /apis HTTP/1.1\r\nauthorization: Bearer {TOKEN}"), b"").await;
    assert_eq!(code, 200);
    let (code, head, text) = ask(&edge, "GET /healthz HTTP/1.1", b"").await;
    assert_eq!((code, text), (200, Value::from("ok")));
    assert!(head.contains("cache-control: no-cache, private"), "{head}");
    assert_eq!(ask(&edge, "GET /version HTTP/1.1", b"").await.2["gitVersion"], "v1.36.2");
}

#[tokio::test]
async fn bodies_above_the_limit_are_refused_whether_or_not_they_say_their_length() {
    let edge = start().await;
    let long = vec![b' '; BODY_LIMIT + 1];
    let head = format!("POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nauthorization: Bearer {TOKEN}");
    let mut stream = connect(&edge, &[b"http/1.1"], "localhost").await;
    stream.write_all(format!("{head}\r\nhost: x\r\ncontent-length: {}\r\n\r\n", long.len()).as_bytes()).await.expect("sent");
    let mut answer = vec![0; 256];
    let read = stream.read(&mut answer).await.expect("answered before the body came");
    assert!(answer[..read].starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&answer[..read]));

    let mut stream = connect(&edge, &[b"http/1.1"], "localhost").await;
    stream
        .write_all(format!("{head}\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n", long.len()).as_bytes())
        .await
        .expect("sent");
    let _ = stream.write_all(&long).await;
    let read = stream.read(&mut answer).await.expect("answered");
    assert!(answer[..read].starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&answer[..read]));
}

#[tokio::test]
async fn many_requests_share_one_http2_connection() {
    let edge = start().await;
    let stream = connect(&edge, &[b"h2", b"http/1.1"], "localhost").await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    let driver = tokio::spawn(connection);
    let asked = (0..100).map(|_| {
        let mut sender = sender.clone();
        async move {
            let request =
                Request::get("https://localhost/api").header("authorization", format!("Bearer {TOKEN}")).body(Full::<Bytes>::default());
            let answer = sender.send_request(request.expect("valid")).await.expect("answered");
            (answer.status(), answer.into_body().collect().await.expect("whole").to_bytes())
        }
    });
    for (status, body) in futures::future::join_all(asked).await {
        assert_eq!(status, StatusCode::OK);
        let body: Value = serde_json::from_slice(&body).expect("a document");
        assert_eq!(body["kind"], "APIVersions");
    }
    driver.abort();
}

#[tokio::test]
async fn a_head_request_gets_the_length_but_no_body() {
    let edge = start().await;
    let (code, head, body) = ask(&edge, "HEAD /healthz HTTP/1.1", b"").await;
    assert_eq!((code, body), (200, Value::from("")));
    assert!(head.contains("content-length: 2"), "{head}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_so() {
    let edge = start().await;
    let tls = Identity::generate(&LOCAL_NAMES).expect("valid");
    let options = EdgeOptions { addr: edge.local_addr(), tls, tokens: Tokens::new() };
    let error = serve(Server::new(Options::default()), options).await.expect_err("taken");
    assert!(matches!(error, EdgeError::AddressInUse { .. }), "{error}");
}

#[tokio::test]
async fn garbage_instead_of_tls_or_http_harms_nobody() {
    let edge = start().await;
    let mut plain = TcpStream::connect(edge.local_addr()).await.expect("listening");
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("sent");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    let mut stream = connect(&edge, &[b"http/1.1"], "localhost").await;
    stream.write_all(b"\x00\x01garbage\r\n\r\n").await.expect("sent");
    let _ = stream.read_to_end(&mut answer).await;
    assert_eq!(ask(&edge, "GET /healthz HTTP/1.1", b"").await.0, 200);
}

#[tokio::test]
async fn shutting_down_closes_idle_connections_in_time() {
    let edge = start().await;
    let addr = edge.local_addr();
    let mut idle = connect(&edge, &[b"http/1.1"], "localhost").await;
    tokio::time::timeout(Duration::from_secs(5), edge.shutdown()).await.expect("two seconds at most");
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(1), idle.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "the connection is closed");
    assert!(TcpStream::connect(addr).await.is_err(), "nobody listens");
}
