//! Connections that are no good: half open, cut, too many, too slow, or not TLS at all. The server goes on serving others, and its memory
//! stays bounded. How long it waits for a head, a body and a reader is proved with a paused clock beside the code (`edge/connection.rs`,
//! `edge/stall.rs`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::process::until;
use crate::raw::{Answer, Local};

const MIB: u64 = 1 << 20;

async fn written(local: &Local, bytes: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(local.addr).await.expect("it listens");
    socket.write_all(bytes).await.expect("sent");
    socket
}

/// What a socket gives until it is closed, in time.
async fn rest(socket: &mut (impl AsyncReadExt + Unpin), limit: Duration) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    // A connection that is reset is closed too.
    let _ = tokio::time::timeout(limit, socket.read_to_end(&mut bytes)).await.ok()?;
    Some(bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_connections_hold_nobody_up_and_are_dropped() {
    let local = Local::start("half-open").await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(written(&local, b"").await);
        // The beginning of a TLS handshake.
        silent.push(written(&local, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03").await);
    }
    let (mut heads, mut bodies) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        let mut stream = local.connect().await;
        stream.write_all(b"GET /api HTTP/1.1\r\nHost: loc").await.expect("sent");
        heads.push(stream);
        let mut stream = local.connect().await;
        let head = local.head("POST /api/v1/namespaces/default/configmaps");
        stream.write_all(format!("{head}Content-Length: 1000\r\n\r\n{{").as_bytes()).await.expect("sent");
        bodies.push(stream);
    }
    let took = local.serves().await;
    assert!(took < Duration::from_secs(1), "{took:?} beside 600 half open connections");
    for (i, socket) in silent.iter_mut().enumerate() {
        assert!(rest(socket, Duration::from_secs(20)).await.is_some(), "connection {i} without a handshake is kept");
    }
    drop((heads, bodies));
    assert!(until(Duration::from_secs(10), || local.process.descriptors() < 60).await, "{} descriptors", local.process.descriptors());
    local.assert_calm();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_tls_is_turned_away() {
    let local = Local::start("no-tls").await;
    // As Go's server says it.
    let mut plain = written(&local, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let said = rest(&mut plain, Duration::from_secs(5)).await.expect("it is closed");
    assert_eq!(String::from_utf8_lossy(&said), "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n");
    for garbage in [
        b"SSH-2.0-x\r\n".to_vec(),
        vec![0; 5000],
        vec![0xff; 100_000],
        b"\x16\x03\x01\xff\xffgarbage".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
    ] {
        let mut socket = TcpStream::connect(local.addr).await.expect("it listens");
        let _ = socket.write_all(&garbage).await;
        assert!(rest(&mut socket, Duration::from_secs(15)).await.is_some(), "{:?} keeps a connection", &garbage[..5]);
    }
    // A name that the certificate does not have: whoever looks at it turns away, the server does not mind.
    let other = rustls::pki_types::ServerName::try_from("example.com").expect("a name");
    let socket = TcpStream::connect(local.addr).await.expect("it listens");
    assert!(tokio_rustls::TlsConnector::from(local.tls(&[])).connect(other, socket).await.is_err());
    // A protocol that nobody speaks.
    assert!(local.connect_with(local.tls(&[b"spdy/1"])).await.is_err());
    local.serves().await;
    local.assert_calm();
}

/// Nobody is known by a certificate here, so one is no harm, and no help.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_client_certificates_prove_nothing() {
    let local = Local::start("certificates").await;
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec!["admin".to_owned()]).expect("a name");
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:masters");
    let certificate = params.self_signed(&key).expect("a certificate");
    let mut tls = (*local.tls(&[b"http/1.1"])).clone();
    let chain = vec![certificate.der().clone()];
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let provider = rustls::crypto::ring::default_provider();
    let signing = provider.key_provider.load_private_key(key).expect("a key");
    tls.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(rustls::sign::CertifiedKey::new(chain, signing)));
    let tls = Arc::new(tls);
    for (head, code) in
        [("GET /api/v1/namespaces HTTP/1.1\r\nHost: localhost\r\n".to_owned(), 403), (local.head("GET /api/v1/namespaces"), 200)]
    {
        let mut stream = local.connect_with(Arc::clone(&tls)).await.expect("a handshake");
        stream.write_all(format!("{head}\r\n").as_bytes()).await.expect("sent");
        assert_eq!(Answer::read(&mut stream, false).await.expect("an answer").code, code);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_cut_create_nothing() {
    let local = Local::start("cut").await;
    let body = r#"{"metadata":{"name":"cut"},"data":{"a":"b"}}"#;
    let head = local.head("POST /api/v1/namespaces/default/configmaps");
    let request = format!("{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let cuts: Vec<usize> = (1..request.len()).step_by(3).collect();
    let one = |at: usize| {
        let (local, part) = (&local, &request.as_bytes()[..at]);
        async move {
            let mut stream = local.connect().await;
            stream.write_all(part).await.expect("sent");
            match at % 2 {
                // With a word of farewell, and without.
                0 => drop(stream.shutdown().await),
                _ => drop(stream),
            }
        }
    };
    futures::stream::iter(cuts).for_each_concurrent(16, one).await;
    local.serves().await;
    let read =
        local.ask(format!("{}\r\n", local.head("GET /api/v1/namespaces/default/configmaps/cut")).as_bytes()).await.expect("an answer");
    assert_eq!(read.code, 404);
    assert_eq!(local.ask(request.as_bytes()).await.expect("an answer").code, 201, "the whole request creates it");
    local.assert_calm();
}

/// 10,000 idle connections, as many as a large cluster has: the figure is printed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_cost_bounded_memory_and_hold_nobody_up() {
    const IDLE: usize = 10_000;
    let allowed = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024);
    let count = IDLE.min(usize::try_from(allowed).unwrap_or(IDLE).saturating_sub(500));
    if count < IDLE {
        eprintln!("only {allowed} file descriptors are allowed: {count} connections");
    }
    let local = Local::start("idle").await;
    let (before, open) = (local.process.resident(), local.process.descriptors());
    let tls = local.tls(&[b"http/1.1"]);
    let start = Instant::now();
    let connect = |_| local.connect_with(Arc::clone(&tls));
    let connections: Vec<_> = futures::stream::iter(0..count).map(connect).buffer_unordered(64).collect().await;
    let took = start.elapsed();
    let connections: Vec<_> = connections.into_iter().map(|c| c.expect("a handshake")).collect();
    let held = local.process.resident().saturating_sub(before);
    let answer = local.serves().await;
    eprintln!(
        "{count} idle connections, made in {:.1} s: {} MiB, {:.1} KiB each; another client is answered in {answer:?}",
        took.as_secs_f64(),
        held / MIB,
        held as f64 / 1024.0 / count as f64
    );
    assert!(local.process.descriptors() <= open + count + 100, "{} descriptors", local.process.descriptors());
    assert!(held < 48 * 1024 * count as u64 + 32 * MIB, "{held} bytes for {count} connections");
    assert!(answer < Duration::from_secs(10), "{answer:?}");
    drop(connections);
    assert!(
        until(Duration::from_secs(20), || local.process.descriptors() < open + 50).await,
        "{} descriptors",
        local.process.descriptors()
    );
    local.assert_calm();
}

const WATCH: &str = "GET /api/v1/namespaces/default/configmaps?watch=true&resourceVersion=";

/// Its memory does not grow by what a reader leaves behind; the reader is told in the stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_is_not_read_is_told_410_and_costs_bounded_memory() {
    let local = Local::start("slow").await;
    local.create("slow", 10).await;
    let version = local
        .ask(format!("{}\r\n", local.head("GET /api/v1/namespaces/default/configmaps/slow")).as_bytes())
        .await
        .expect("it is there")
        .document()["metadata"]["resourceVersion"]
        .as_str()
        .expect("a version")
        .to_owned();
    let mut readers = Vec::new();
    for _ in 0..20 {
        let mut stream = local.connect().await;
        let head = local.head(&format!("{WATCH}{version}"));
        stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).await.expect("sent");
        readers.push(stream);
    }
    local.serves().await;
    let before = local.process.resident();
    let mut most = 0;
    // 120 MB for each reader, over more than two compactions.
    for round in 0..120 {
        let body = format!(r#"{{"data":{{"a":"{round}{}"}}}}"#, "y".repeat(1_000_000));
        let head = local.head("PATCH /api/v1/namespaces/default/configmaps/slow");
        let request = format!("{head}Content-Type: application/merge-patch+json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        assert_eq!(local.ask(request.as_bytes()).await.expect("an answer").code, 200);
        tokio::time::sleep(Duration::from_millis(30)).await;
        most = most.max(local.process.resident());
    }
    let grown = most.saturating_sub(before);
    eprintln!("20 readers that left 120 MB each: at most {} MiB more", grown / MIB);
    assert!(grown < 500 * MIB, "{grown} bytes more");
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let mut told = 0;
    for reader in &mut readers {
        let text = rest(reader, Duration::from_secs(20)).await.expect("the watch ends");
        let text = String::from_utf8_lossy(&text);
        told += usize::from(text.contains(r#""type":"ERROR""#) && text.contains(r#""code":410"#) && text.contains(r#""reason":"Expired""#));
    }
    assert_eq!(told, readers.len(), "readers that were told 410");
    local.assert_calm();
}

async fn http2(local: &Local) -> (http2::SendRequest<Empty<Bytes>>, tokio::task::JoinHandle<()>) {
    let stream = local.connect_with(local.tls(&[b"h2"])).await.expect("a handshake");
    let mut builder = http2::Builder::new(TokioExecutor::new());
    let (sender, connection) = builder.initial_stream_window_size(64 * 1024).handshake(TokioIo::new(stream)).await.expect("HTTP/2");
    (sender, tokio::spawn(async move { drop(connection.await) }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_watches_share_one_connection() {
    const WATCHES: usize = 1_000;
    let local = Local::start("watches").await;
    local.create("first", 10).await;
    let before = local.process.resident();
    let (sender, driver) = http2(&local).await;
    let watch = |_| {
        let mut sender = sender.clone();
        let request = hyper::Request::get("https://localhost/api/v1/namespaces/default/configmaps?watch=true")
            .header("authorization", format!("Bearer {}", local.token))
            .body(Empty::<Bytes>::new())
            .expect("a request");
        async move { sender.send_request(request).await.expect("a watch").into_body() }
    };
    let mut bodies: Vec<_> = futures::future::join_all((0..WATCHES).map(watch)).await;
    let took = local.serves().await;
    local.create("second", 10).await;
    for body in &mut bodies {
        let mut seen = String::new();
        while !seen.contains("\"second\"") {
            let frame =
                tokio::time::timeout(Duration::from_secs(20), body.frame()).await.expect("in time").expect("it goes on").expect("whole");
            seen += &String::from_utf8_lossy(frame.data_ref().map_or(&[][..], |data| data));
        }
        assert!(seen.contains("\"first\""), "{seen}");
    }
    let grown = local.process.resident().saturating_sub(before);
    eprintln!("{WATCHES} watches on one connection: {} KiB each; another client is answered in {took:?}", grown / 1024 / WATCHES as u64);
    assert!(grown < 64 * MIB, "{grown} bytes");
    assert!(took < Duration::from_secs(1), "{took:?}");
    driver.abort();
    local.assert_calm();
}

/// Streams that are opened and reset at once (CVE-2023-44487).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_resets_end_their_connection_and_nothing_else() {
    let local = Local::start("resets").await;
    local.serves().await;
    let before = local.process.resident();
    let mut stream = local.connect_with(local.tls(&[b"h2"])).await.expect("a handshake");
    let frame = |length: u32, kind: u8, flags: u8, id: u32, payload: &[u8]| {
        [&length.to_be_bytes()[1..], &[kind, flags], &id.to_be_bytes(), payload].concat()
    };
    // `:method GET`, `:scheme https`, `:path /`, `:authority x`.
    let head = [0x82, 0x87, 0x84, 0x41, 0x01, b'x'];
    let mut bytes = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(0, 4, 0, 0, b"")].concat();
    for id in (1..100_000).step_by(2) {
        bytes.extend(frame(6, 1, 5, id, &head));
        bytes.extend(frame(4, 3, 0, id, &[0, 0, 0, 8]));
    }
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.write_all(&bytes)).await;
    let took = local.serves().await;
    let said = rest(&mut stream, Duration::from_secs(10)).await.expect("the connection is ended");
    let goaway =
        frames(&said).find(|(kind, _)| *kind == 7).map(|(_, payload)| u32::from_be_bytes(payload[4..8].try_into().expect("four bytes")));
    const ENHANCE_YOUR_CALM: u32 = 11;
    assert_eq!(goaway, Some(ENHANCE_YOUR_CALM), "in {} bytes", said.len());
    let grown = local.process.resident().saturating_sub(before);
    assert!(grown < 64 * MIB, "{grown} bytes");
    assert!(took < Duration::from_secs(1), "{took:?}");
    local.assert_calm();
}

/// Type and payload of HTTP/2 frames.
fn frames(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (head, rest) = bytes.split_at_checked(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (payload, rest) = rest.split_at_checked(length)?;
        bytes = rest;
        Some((head[3], payload))
    })
}
