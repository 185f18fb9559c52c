//! Both drivers and the audit against the local API server, in process.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use evenkeel_api::{Deployment, Object, Pod};
use evenkeel_apiserver::{Body as Answer, Options, Request, Server, UserInfo};
use evenkeel_cache::Cache;
use evenkeel_watch::{Audit, Driver, Feed, ListWatch, RuntimeWatcher, wait_current, wait_synced};
use futures::StreamExt;
use http::{HeaderMap, Method};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use crate::rig::{chance, store};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// A client whose transport is a function call.
fn client(server: &Arc<Server>) -> kube::Client {
    let server = server.clone();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let server = server.clone();
        async move {
            let (head, body) = request.into_parts();
            let answer = server.handle(&Request {
                method: head.method,
                path: head.uri.path().to_owned(),
                query: head.uri.query().unwrap_or_default().to_owned(),
                headers: head.headers,
                body: body.collect().await?.to_bytes(),
                user: UserInfo::admin(),
            });
            let chunks = match answer.body {
                Answer::Full(bytes) => futures::stream::iter([bytes]).boxed(),
                Answer::Watch(lines) => lines,
            };
            let body: UnsyncBoxBody<Bytes, Error> = StreamBody::new(chunks.map(|bytes| Ok(Frame::data(bytes)))).boxed_unsync();
            let mut response = http::Response::new(body);
            *response.status_mut() = answer.status;
            *response.headers_mut() = answer.headers;
            Ok::<_, Error>(response)
        }
    });
    kube::Client::new(service, "default")
}

fn call(server: &Arc<Server>, method: Method, path: &str, body: &Value) {
    let mut headers = HeaderMap::new();
    let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    headers.insert("content-type", kind.parse().unwrap());
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let request = Request {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body: if body.is_null() { Bytes::new() } else { body.to_string().into() },
        user: UserInfo::admin(),
    };
    let answer = server.handle(&request);
    assert!(answer.status.is_success(), "{path}: {answer:?}");
}

const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn create_pod(server: &Arc<Server>, name: &str) {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    call(server, Method::POST, PODS, &pod);
}

fn create_deployment(server: &Arc<Server>, name: &str) {
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    call(server, Method::POST, DEPLOYMENTS, &deployment);
}

fn delete(server: &Arc<Server>, path: &str) {
    call(server, Method::DELETE, &format!("{path}?gracePeriodSeconds=0"), &Value::Null);
}

struct Run {
    cache: Arc<Cache>,
    feed: Feed,
    pods: Arc<dyn Driver>,
    stop: watch::Sender<bool>,
}

impl Run {
    async fn start(server: &Arc<Server>, pods: fn(Feed) -> Arc<dyn Driver>, deployments: fn(Feed) -> Arc<dyn Driver>) -> Self {
        let feed = Feed::new(client(server), chance(11));
        let (cache, (stop, stopped)) = (Cache::new(), watch::channel(false));
        let (pods, deployments) = (pods(feed.clone()), deployments(feed.clone()));
        for driver in [pods.clone(), deployments] {
            let (cache, stopped) = (cache.clone(), stopped.clone());
            tokio::spawn(async move { driver.run(cache, stopped).await });
        }
        assert!(wait_synced(&cache, &[Pod::resource(), Deployment::resource()], &stopped).await);
        Self { cache, feed, pods, stop }
    }

    #[allow(clippy::type_complexity)] // two lists to compare, nowhere else named
    fn state(&self) -> (Vec<Arc<Pod>>, Vec<(String, String, u64)>) {
        (self.cache.read().of::<Pod>().iter().cloned().collect(), store::<Deployment>(&self.cache))
    }
}

#[tokio::test(start_paused = true)]
async fn both_drivers_agree_on_what_the_local_server_says() {
    let server = Server::new(Options { bookmark_interval: Duration::from_secs(60), ..Options::default() });
    for n in 0..620 {
        create_pod(&server, &format!("p{n}"));
    }
    create_deployment(&server, "web");
    let ours = Run::start(&server, |f| Arc::new(ListWatch::<Pod>::new(f)), |f| Arc::new(ListWatch::<Deployment>::new(f))).await;
    let theirs = Run::start(&server, |f| Arc::new(RuntimeWatcher::<Pod>::new(f)), |f| Arc::new(RuntimeWatcher::<Deployment>::new(f))).await;
    // A streaming list, and one in pages.
    assert_eq!(ours.feed.metrics.of(Pod::resource()).paged.get(), 0);
    assert_eq!(ours.state().0.len(), 620);
    assert_eq!(ours.state(), theirs.state());
    for round in 0..8 {
        for n in 0..20 {
            let name = format!("p{}", round * 20 + n);
            if n % 3 == 0 {
                delete(&server, &format!("{PODS}/{name}"));
                create_pod(&server, &name);
            } else {
                call(&server, Method::PATCH, &format!("{PODS}/{name}"), &json!({"metadata": {"labels": {"round": round.to_string()}}}));
            }
        }
        create_deployment(&server, &format!("d{round}"));
        server.compact();
        // Watches end and resume in these ten minutes, from versions that bookmarks carry past the compactions.
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(ours.state(), theirs.state(), "round {round}");
        let since = Instant::now();
        let report = Audit::new(ours.feed.clone(), ours.pods.clone()).once(&ours.cache).await.unwrap();
        assert_eq!((report.objects, report.differences), (620, vec![]), "round {round}, {:?}", since.elapsed());
    }
    let metrics = ours.feed.metrics.of(Pod::resource());
    assert!(metrics.watches.get() >= 8, "{}", metrics.watches.get());
    assert_eq!((metrics.lists.get(), metrics.failures.get(), metrics.bad_objects.get(), metrics.refused.get()), (1, 0, 0, 0));
    ours.stop.send(true).unwrap();
    theirs.stop.send(true).unwrap();
}

/// The version of the store of pods.
fn shown(cache: &Cache) -> u64 {
    cache.read().any(Pod::resource()).map_or(0, |store| store.version().0)
}

/// A leader's first question: a large store proves its version by a bookmark, a small one by a new list; both within two seconds.
#[tokio::test(start_paused = true)]
async fn an_idle_store_proves_that_it_is_current() {
    for (objects, lists) in [(620, 1), (20, 2)] {
        let server = Server::new(Options { bookmark_interval: Duration::from_secs(60), ..Options::default() });
        for n in 0..objects {
            create_pod(&server, &format!("p{n}"));
        }
        let run = Run::start(&server, |f| Arc::new(ListWatch::<Pod>::new(f)), |f| Arc::new(ListWatch::<Deployment>::new(f))).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        // The server goes on, and this kind does not hear of it.
        create_deployment(&server, "web");
        let (before, since) = (shown(&run.cache), Instant::now());
        assert!(wait_current(&run.cache, &*run.pods, &run.stop.subscribe()).await);
        assert!(shown(&run.cache) > before, "{objects} objects");
        assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
        let metrics = run.feed.metrics.of(Pod::resource());
        assert_eq!((metrics.lists.get(), metrics.failures.get()), (lists, 0), "{objects} objects");
        // The watch goes on as before, and as long as before.
        create_pod(&server, "late");
        tokio::time::sleep(Duration::from_secs(200)).await;
        assert_eq!(run.cache.read().of::<Pod>().iter().count(), objects + 1);
        assert!(metrics.watches.get() <= 2, "{}", metrics.watches.get());
        run.stop.send(true).unwrap();
    }
}
