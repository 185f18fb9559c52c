//! Connections of a manager: how many it takes, whom it trusts, and how soon a dead one is given up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use evenkeel_client::{Api, CallError, ClientMetrics, Clients, ConnectOptions, Pace, PaceOptions, connect};
use http::{Method, Request};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::raw::Local;

/// A way to the server that counts connections, and can go dead: then nothing passes on those that are there, and nobody is told.
struct Gate {
    addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// How often it went dead.
    dead: watch::Sender<usize>,
}

impl Gate {
    async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let gate = Self { addr: listener.local_addr().expect("bound"), connections: Arc::default(), dead: watch::Sender::new(0) };
        let (connections, dead) = (gate.connections.clone(), gate.dead.clone());
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let mut dead = dead.subscribe();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(server).await.expect("it listens");
                    tokio::select! {
                        _ = dead.changed() => {
                            // Open, and deaf and dumb.
                            std::future::pending::<()>().await;
                            drop((near, far));
                        }
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    }
                });
            }
        });
        gate
    }

    fn count(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    async fn clients(&self, local: &Local) -> Clients {
        let options = ConnectOptions { kubeconfig: Some(local.kubeconfig.clone()), master: Some(format!("https://{}", self.addr)) };
        connect(&options).await.expect("a kubeconfig")
    }
}

fn api(client: kube::Client) -> Api {
    Api::new(client, "test", Pace::new(PaceOptions::default()), ClientMetrics::unregistered("host"))
}

async fn ask(api: &Api) -> Result<u16, CallError> {
    api.call(Method::GET, "/api/v1/namespaces/default", "", None).await.map(|reply| reply.code.as_u16())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_share_a_connection_and_every_watch_has_its_own() {
    let local = Local::start("connections").await;
    let gate = Gate::before(local.addr).await;
    let clients = gate.clients(&local).await;
    let api = api(clients.requests);
    assert_eq!(ask(&api).await.expect("an answer"), 200);
    let many = futures::future::join_all((0..200).map(|_| ask(&api))).await;
    assert!(many.iter().all(|answer| matches!(answer, Ok(200))), "{many:?}");
    assert_eq!(gate.count(), 1);
    let mut watches = Vec::new();
    for _ in 0..3 {
        let request = Request::get("/api/v1/configmaps?watch=1").body(kube::client::Body::empty()).expect("a request");
        let answer = clients.watches.send(request).await.expect("a watch");
        assert_eq!(answer.status(), 200);
        watches.push(answer);
    }
    assert_eq!(gate.count(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_has_to_bear_the_name_that_the_kubeconfig_says() {
    let local = Local::start("server-name").await;
    let text = std::fs::read_to_string(&local.kubeconfig).expect("readable");
    for (name, trusted) in [("localhost", true), ("elsewhere.example", false)] {
        let named = text.replacen("server: ", &format!("tls-server-name: {name}\n    server: "), 1);
        assert_ne!(named, text);
        let kubeconfig = local.kubeconfig.with_file_name(name);
        std::fs::write(&kubeconfig, named).expect("written");
        let clients = connect(&ConnectOptions { kubeconfig: Some(kubeconfig), master: None }).await.expect("a kubeconfig");
        for client in [clients.requests, clients.watches, clients.lease] {
            match ask(&api(client)).await {
                Ok(200) if trusted => {}
                Err(CallError::NotSent(why)) if !trusted => assert!(why.contains("certificate"), "{why}"),
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}

/// reliability F11: a connection that many requests share must not be used for as long as the kernel tries to send.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_connection_is_given_up_within_a_minute() {
    let local = Local::start("dead-connection").await;
    let gate = Gate::before(local.addr).await;
    let api = api(gate.clients(&local).await.requests).with_timeout(Duration::from_secs(2));
    assert_eq!(ask(&api).await.expect("an answer"), 200);
    gate.dead.send_modify(|times| *times += 1);
    let start = Instant::now();
    assert!(matches!(ask(&api).await, Err(CallError::TimedOut(_))));
    while ask(&api).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(60), "it is still used");
    }
    assert_eq!(gate.count(), 2);
}
