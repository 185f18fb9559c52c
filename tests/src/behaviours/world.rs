//! A world in one process: the local API server and the manager on it, on one thread and in tokio's time. With a paused clock a minute
//! of waiting takes no time, and the same seed gives the same history.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use evenkeel_apiserver::{Body, Options as ServerOptions, Request, Server, UserInfo};
use evenkeel_manager::{Options, RunError, run};
use futures::StreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::recorded::chance::mix;
use crate::recorded::virtual_time::TokioClock;
use crate::transport::{InProcess, Transport};

/// A server in this process, and the manager when it was started.
pub struct World {
    /// The server.
    pub server: Arc<Server>,
    clock: TokioClock,
    seed: u64,
    manager: Option<Running>,
}

/// A manager that runs.
struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), RunError>>,
}

impl World {
    /// A fresh server. Its uids and names come from `seed`; it is `zero` there.
    pub fn new(seed: u64, zero: Timestamp) -> Self {
        let clock = TokioClock::starting_at(zero);
        let server = Server::new(ServerOptions::seeded(Arc::new(clock), seed));
        World { server, clock, seed, manager: None }
    }

    /// The time there.
    pub fn now(&self) -> Timestamp {
        self.clock.time()
    }

    /// The clock, for whoever must outlive this borrow.
    pub fn clock(&self) -> TokioClock {
        self.clock
    }

    /// A new client.
    pub fn client(&self) -> Box<dyn Transport> {
        Box::new(InProcess::new(Arc::clone(&self.server)))
    }

    /// Starts the manager with all its loops; it is alone, so nothing is elected.
    pub fn start_manager(&mut self) {
        let draws = AtomicU64::new(self.seed);
        let client = kube_client(Arc::clone(&self.server));
        let world = evenkeel_manager::World {
            watch_client: client.clone(),
            lease_client: client.clone(),
            client,
            host: "in-process".to_owned(),
            clock: Arc::new(self.clock),
            chance: Arc::new(move || mix(draws.fetch_add(1, Ordering::Relaxed))),
        };
        let options = Options { secure_port: None, leader_elect: false, ..Options::default() };
        let (stop, stopped) = watch::channel(false);
        self.manager = Some(Running { stop, task: tokio::spawn(run(options, world, stopped)) });
    }

    /// Why the manager ended, when it has.
    pub async fn manager_fault(&mut self) -> Option<String> {
        let Running { task, .. } = self.manager.as_mut()?;
        if !task.is_finished() {
            return None;
        }
        Some(match task.await {
            Ok(Ok(())) => "it ended by itself".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        })
    }

    /// Stops the manager in order.
    pub async fn stop_manager(&mut self) {
        if let Some(Running { stop, task }) = self.manager.take() {
            stop.send_replace(true);
            _ = task.await;
        }
    }
}

/// A kube client whose requests go straight to the server.
fn kube_client(server: Arc<Server>) -> kube::Client {
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let server = Arc::clone(&server);
        async move { answer(&server, request).await }
    });
    kube::Client::new(service, "default")
}

async fn answer(
    server: &Arc<Server>,
    request: http::Request<kube::client::Body>,
) -> Result<http::Response<UnsyncBoxBody<Bytes, Infallible>>, tower::BoxError> {
    let (parts, body) = request.into_parts();
    let request = Request {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body: body.collect().await?.to_bytes(),
        user: UserInfo::admin(),
    };
    let answer = server.handle(&request);
    // The others have their turn after every request, as they would have with a socket between.
    tokio::task::yield_now().await;
    let body = match answer.body {
        Body::Full(bytes) => UnsyncBoxBody::new(Full::new(bytes)),
        Body::Watch(stream) => UnsyncBoxBody::new(StreamBody::new(stream.map(|line| Ok(Frame::data(line))))),
    };
    let mut response = http::Response::new(body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    Ok(response)
}
