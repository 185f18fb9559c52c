//! A server without a socket, and small words to talk to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use evenkeel_apiserver::{Body, Clock, Options, Request, Response, Server, UserInfo, WatchStream};
use futures::StreamExt as _;
use serde_json::Value;

/// A clock that a test moves.
pub struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::from_second(self.0.load(Ordering::Relaxed)).expect("a time in range")
    }
}

#[allow(dead_code)]
impl TestClock {
    pub fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

pub struct Talk {
    pub server: Arc<Server>,
    #[allow(dead_code)]
    pub clock: Arc<TestClock>,
    pub user: UserInfo,
}

pub fn talk() -> Talk {
    talk_with(|_| {})
}

pub fn talk_with(change: impl FnOnce(&mut Options)) -> Talk {
    let clock = Arc::new(TestClock(AtomicI64::new(1_700_000_000)));
    let mut options = Options::seeded(clock.clone(), 42);
    change(&mut options);
    Talk { server: Server::new(options), clock, user: UserInfo::admin() }
}

#[allow(dead_code)]
impl Talk {
    pub fn send(&self, method: &str, path: &str, content_type: &str, body: Option<&Value>) -> Response {
        self.send_with(method, path, &[("content-type", content_type)], body)
    }

    pub fn send_with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Response {
        let (p, q) = path.split_once('?').unwrap_or((path, ""));
        let mut map = http::HeaderMap::new();
        for (k, v) in headers.iter().filter(|(_, v)| !v.is_empty()) {
            map.append(http::HeaderName::from_bytes(k.as_bytes()).expect("a header name"), v.parse().expect("a header"));
        }
        self.server.handle(&Request {
            method: method.parse().expect("a method"),
            path: p.into(),
            query: q.into(),
            headers: map,
            body: body.map(|b| b.to_string().into()).unwrap_or_default(),
            user: self.user.clone(),
        })
    }

    pub fn get(&self, path: &str) -> (u16, Value) {
        let r = self.send("GET", path, "", None);
        (r.status.as_u16(), r.value())
    }

    pub fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let r = self.send("POST", path, "application/json", Some(&body));
        (r.status.as_u16(), r.value())
    }

    pub fn put(&self, path: &str, body: Value) -> (u16, Value) {
        let r = self.send("PUT", path, "application/json", Some(&body));
        (r.status.as_u16(), r.value())
    }

    pub fn merge(&self, path: &str, body: Value) -> (u16, Value) {
        let r = self.send("PATCH", path, "application/merge-patch+json", Some(&body));
        (r.status.as_u16(), r.value())
    }

    pub fn strategic(&self, path: &str, body: Value) -> (u16, Value) {
        let r = self.send("PATCH", path, "application/strategic-merge-patch+json", Some(&body));
        (r.status.as_u16(), r.value())
    }

    pub fn apply(&self, path: &str, body: Value) -> (u16, Value) {
        let r = self.send("PATCH", path, "application/apply-patch+yaml", Some(&body));
        (r.status.as_u16(), r.value())
    }

    pub fn delete(&self, path: &str) -> (u16, Value) {
        let r = self.send("DELETE", path, "", None);
        (r.status.as_u16(), r.value())
    }

    pub fn watch(&self, path: &str) -> WatchStream {
        match self.send("GET", path, "", None).body {
            Body::Watch(w) => w,
            Body::Full(b) => panic!("no watch: {}", String::from_utf8_lossy(&b)),
        }
    }
}

/// The next event of a watch; panics when none comes within two seconds of the test's clock.
#[allow(dead_code)]
pub async fn next(w: &mut WatchStream) -> (String, Value) {
    let line = tokio::time::timeout(std::time::Duration::from_secs(2), w.next()).await.expect("an event").expect("still open");
    let v: Value = serde_json::from_slice(&line).expect("JSON");
    (v["type"].as_str().unwrap_or("").to_owned(), v["object"].clone())
}
