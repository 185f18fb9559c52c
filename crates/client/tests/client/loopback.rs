//! Real sockets below a real `kube::Client`: nothing in the layers under the writer sends a POST twice.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use evenkeel_client::{Api, CallError, ClientMetrics, ConnectOptions, Pace, PaceOptions, connect, load};
use http::{Method, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What the server does after it has read the n-th request as a whole.
#[derive(Clone, Copy)]
enum Then {
    /// Answers, and goes on with the connection.
    Answer(u16),
    /// Answers, keeps silent about it, and closes the connection after a while.
    AnswerAndClose(u16, Duration),
    /// Closes without an answer.
    Close,
    /// Says nothing for ever.
    Nothing,
}

#[derive(Clone, Default)]
struct Counts {
    connections: Arc<AtomicUsize>,
    /// How often each body arrived.
    bodies: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Counts {
    fn requests(&self) -> usize {
        self.bodies.lock().unwrap().values().sum()
    }
}

/// A server that speaks just enough HTTP/1.1, on a port of the loopback.
async fn serve(then: impl Fn(usize) -> Then + Clone + Send + 'static) -> (SocketAddr, Counts) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let counts = Counts::default();
    let served = counts.clone();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            served.connections.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(talk(socket, then.clone(), served.clone()));
        }
    });
    (address, counts)
}

async fn talk(mut socket: TcpStream, then: impl Fn(usize) -> Then, counts: Counts) {
    let mut buffer = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            if socket.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
        let length: usize = text.lines().find_map(|l| l.strip_prefix("content-length: ")).map_or(0, |n| n.trim().parse().unwrap());
        while buffer.len() < head + length {
            if socket.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let body = String::from_utf8_lossy(&buffer[head..head + length]).into_owned();
        buffer.drain(..head + length);
        let number = counts.requests();
        *counts.bodies.lock().unwrap().entry(body).or_default() += 1;
        let answer = |code: u16| format!("HTTP/1.1 {code} X\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}");
        match then(number) {
            Then::Answer(code) => socket.write_all(answer(code).as_bytes()).await.unwrap(),
            Then::AnswerAndClose(code, time) => {
                let _ = socket.write_all(answer(code).as_bytes()).await;
                tokio::time::sleep(time).await;
                return;
            }
            Then::Close => return,
            Then::Nothing => std::future::pending().await,
        }
    }
}

fn master(address: SocketAddr) -> ConnectOptions {
    ConnectOptions { kubeconfig: None, master: Some(format!("http://{address}")) }
}

fn api(client: kube::Client) -> Api {
    Api::new(client, "test", Pace::new(PaceOptions::default()), ClientMetrics::unregistered("host")).with_timeout(Duration::from_secs(5))
}

async fn post(api: &Api, body: &str) -> Result<evenkeel_client::Reply, CallError> {
    api.call(Method::POST, "/api/v1/namespaces/ns/pods", "", Some(("application/json", Bytes::from(body.to_owned())))).await
}

#[tokio::test]
async fn a_loaded_configuration_has_no_retry_layer() {
    assert!(!load(&master("127.0.0.1:1".parse().unwrap())).await.unwrap().default_retry);
}

#[tokio::test]
async fn a_post_answered_503_over_a_socket_arrives_once() {
    for code in [500, 503, 504] {
        let (address, counts) = serve(move |_| Then::Answer(code)).await;
        // Both ways to a client: ours, and kube's own stack over the same configuration.
        for client in
            [connect(&master(address)).await.unwrap().requests, kube::Client::try_from(load(&master(address)).await.unwrap()).unwrap()]
        {
            let before = counts.requests();
            assert_eq!(post(&api(client), "x").await.unwrap().code, StatusCode::from_u16(code).unwrap());
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_eq!(counts.requests() - before, 1);
        }
    }
}

/// That the test above can fail: with the default that `load` switches off, kube does send it again.
#[tokio::test]
async fn with_kubes_default_retry_the_same_post_would_arrive_again() {
    let (address, counts) = serve(|n| Then::Answer(if n == 0 { 503 } else { 201 })).await;
    let mut config = load(&master(address)).await.unwrap();
    config.default_retry = true;
    assert_eq!(post(&api(kube::Client::try_from(config).unwrap()), "x").await.unwrap().code, StatusCode::CREATED);
    assert_eq!(counts.requests(), 2);
}

#[tokio::test]
async fn a_post_whose_connection_is_closed_arrives_once() {
    let (address, counts) = serve(|_| Then::Close).await;
    let api = api(connect(&master(address)).await.unwrap().requests);
    for n in 0..20 {
        let body = format!("post {n}");
        assert!(matches!(post(&api, &body).await, Err(CallError::Broken(_))));
    }
    assert!(counts.bodies.lock().unwrap().values().all(|n| *n == 1));
}

/// The connection was used before, so that hyper's pool might think of trying another.
#[tokio::test]
async fn a_post_on_a_kept_connection_that_is_closed_on_it_arrives_once() {
    let (address, counts) = serve(|n| if n % 2 == 0 { Then::Answer(201) } else { Then::Close }).await;
    let api = api(connect(&master(address)).await.unwrap().requests);
    for n in 0..40 {
        let result = post(&api, &format!("post {n}")).await;
        assert_eq!(result.is_ok(), n % 2 == 0, "{n}: {result:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let bodies = counts.bodies.lock().unwrap();
    assert_eq!(bodies.len(), 40);
    assert!(bodies.values().all(|n| *n == 1), "{bodies:?}");
    assert!(counts.connections.load(Ordering::SeqCst) < 30, "most connections were used twice");
}

/// A server that closes connections at rest, at the very moment when the next request comes: whatever the race does, a POST arrives at
/// most once, and what is reported as answered did arrive.
#[tokio::test]
async fn posts_that_race_with_the_closing_of_idle_connections_arrive_at_most_once() {
    let (address, counts) = serve(|n| Then::AnswerAndClose(201, Duration::from_micros((n as u64 * 37) % 700))).await;
    let api = api(connect(&master(address)).await.unwrap().requests);
    let mut answered = 0;
    for n in 0..1500_u64 {
        let body = format!("post {n}");
        match post(&api, &body).await {
            Ok(reply) => {
                assert_eq!(reply.code, StatusCode::CREATED);
                assert_eq!(counts.bodies.lock().unwrap().get(&body), Some(&1));
                answered += 1;
            }
            // Written to a connection that the server no longer read: unknown, and said so.
            Err(CallError::Broken(_)) => assert!(counts.bodies.lock().unwrap().get(&body).is_none_or(|n| *n == 1)),
            Err(other) => panic!("{other:?}"),
        }
        tokio::time::sleep(Duration::from_micros((n * 53) % 500)).await;
    }
    assert!(counts.bodies.lock().unwrap().values().all(|n| *n == 1));
    assert!(answered > 500, "{answered}");
}

/// The server closes a connection at rest and nobody races: the next request gets a new one and an answer.
#[tokio::test]
async fn a_kept_connection_that_was_closed_at_rest_costs_nothing() {
    let (address, counts) = serve(|_| Then::AnswerAndClose(201, Duration::ZERO)).await;
    let api = api(connect(&master(address)).await.unwrap().requests);
    for n in 0..20 {
        assert!(post(&api, &format!("post {n}")).await.is_ok());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(counts.requests(), 20);
}

#[tokio::test]
async fn connections_are_kept_and_shared() {
    let (address, counts) = serve(|_| Then::Answer(200)).await;
    let api = api(connect(&master(address)).await.unwrap().requests);
    for _ in 0..200 {
        post(&api, "x").await.unwrap();
    }
    assert!(counts.connections.load(Ordering::SeqCst) <= 5);
}

/// reliability row 78
#[tokio::test]
async fn loops_and_lease_share_no_connection() {
    let (address, counts) = serve(|_| Then::Answer(200)).await;
    let clients = connect(&master(address)).await.unwrap();
    assert_eq!(clients.host, address.to_string());
    let (requests, lease) = (api(clients.requests), api(clients.lease));
    for round in 0..5 {
        post(&requests, "x").await.unwrap();
        // The connection is back in its pool a moment later.
        tokio::time::sleep(Duration::from_millis(20)).await;
        if round == 0 {
            assert_eq!(counts.connections.load(Ordering::SeqCst), 1);
        }
        post(&lease, "y").await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(counts.connections.load(Ordering::SeqCst), 2, "each keeps its own");
}

/// reliability F11: half-open
#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_times_out() {
    let (address, counts) = serve(|_| Then::Nothing).await;
    let api = api(connect(&master(address)).await.unwrap().requests).with_timeout(Duration::from_millis(200));
    assert!(matches!(post(&api, "x").await, Err(CallError::TimedOut(_))));
    assert!(matches!(post(&api, "y").await, Err(CallError::TimedOut(_))));
    assert_eq!(counts.requests(), 2);
}

/// Then it is certain that nothing was done, and no live read is needed.
#[tokio::test]
async fn a_server_that_is_not_there_was_sent_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = post(&api(connect(&master(address)).await.unwrap().requests), "x").await.unwrap_err();
    assert!(matches!(&error, CallError::NotSent(text) if text.contains("refused")), "{error:?}");
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 1024];
        let _ = socket.read(&mut buffer).await;
        let _ = socket.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await;
    });
    let result = post(&api(connect(&master(address)).await.unwrap().requests), "x").await;
    assert!(matches!(result, Err(CallError::Broken(_))), "{result:?}");
}

/// Many at once over real sockets: the pace opens up although the machine is small and its latency is not steady.
#[tokio::test]
async fn a_quick_server_on_this_machine_is_not_throttled() {
    let (address, _) = serve(|_| Then::Answer(201)).await;
    let pace = Pace::new(PaceOptions::default());
    let api = Api::new(connect(&master(address)).await.unwrap().requests, "test", pace.clone(), ClientMetrics::unregistered("host"));
    for _ in 0..4 {
        let posts = (0..500).map(|_| post(&api, "{}"));
        assert!(futures::future::join_all(posts).await.iter().all(Result::is_ok));
    }
    assert!(pace.limit() >= 16, "{}", pace.limit());
}
