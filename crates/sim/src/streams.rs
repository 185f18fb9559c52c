//! Watches on their way: late, cut, doubled, garbled, out of the past; and lists of a server that is behind.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use evenkeel_apiserver::{Body as Answer, Request as Question, WatchStream};
use futures::StreamExt;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tower::BoxError;

use crate::{
    Fault,
    history::{Actor, lock},
    network::{Link, Network},
    weather::Weather,
};

/// Lines of a watch that can come again.
const PAST: usize = 8;

/// An open watch.
pub(crate) struct Stream {
    pub(crate) manager: usize,
    pub(crate) kind: &'static str,
    /// Leads nowhere any more, and does not end either.
    pub(crate) hollow: bool,
    lines: WatchStream,
    to: mpsc::UnboundedSender<(Instant, Bytes)>,
    /// When the last line arrives.
    pub(crate) last: Instant,
    past: VecDeque<Bytes>,
}

impl Network {
    /// Moves lines from the server to the watches, in one task, so that the order of wake-ups never shows.
    pub async fn pump(self: Arc<Self>) {
        std::future::poll_fn(|cx| self.pump_once(cx)).await
    }

    fn pump_once(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.opened.register(cx.waker());
        lock(&self.streams).retain_mut(|s| {
            loop {
                if s.to.is_closed() {
                    return false;
                }
                match s.lines.as_mut().poll_next(cx) {
                    Poll::Pending => return true,
                    Poll::Ready(None) => return s.hollow,
                    Poll::Ready(Some(_)) if s.hollow => {}
                    Poll::Ready(Some(line)) => s.send(&mut lock(&self.weather), line),
                }
            }
        });
        Poll::Pending
    }

    pub(crate) fn open(self: &Arc<Self>, link: &Arc<Link>, kind: &'static str, lines: WatchStream) -> UnsyncBoxBody<Bytes, BoxError> {
        let (to, from) = mpsc::unbounded_channel::<(Instant, Bytes)>();
        let (manager, last) = (link.manager, Instant::now());
        lock(&self.streams).push(Stream { manager, kind, hollow: false, lines, to, last, past: VecDeque::new() });
        self.opened.wake();
        let (network, link) = (self.clone(), link.clone());
        let lines = futures::stream::unfold(from, move |mut from| {
            let (network, link) = (network.clone(), link.clone());
            async move {
                let (at, line) = from.recv().await?;
                sleep_until(at).await;
                network.show(link.id, kind, &line);
                Some((Ok::<_, BoxError>(http_body::Frame::data(line)), from))
            }
        });
        StreamBody::new(lines).boxed_unsync()
    }

    /// Notes what a manager gets to know.
    fn show(&self, link: usize, kind: &str, line: &[u8]) {
        let Ok(event) = serde_json::from_slice::<Value>(line) else { return };
        if event["object"]["code"] == 410 {
            self.struck(Fault::Expired);
        }
        let version: Option<u64> = event["object"]["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse().ok());
        // Initial events come in the order of names: only what is newer than all before says how far the manager is.
        if let Some(version) = version {
            let mut history = lock(&self.history);
            let shown = history.shown.entry((link, kind.to_owned())).or_default();
            let version = shown.last().map_or(version, |(_, last): &(u64, u64)| version.max(*last));
            shown.push((self.now(), version));
        }
    }

    /// What a server that is behind answers to a streaming list (F4, F6): that it is not there yet, or what it has. `None`: the list does
    /// not ask for anything that the server lacks, or insists on a consistent answer, which even such a server gives.
    pub(crate) fn behind(&self, link: &Link, kind: &'static str, question: &Question) -> Option<evenkeel_apiserver::Response> {
        let (revision, refuses) = {
            let mut weather = lock(&self.weather);
            let (until, revision) = weather.lag.get(&link.manager).copied()?;
            (until > Instant::now()).then_some(())?;
            (revision, weather.dice.percent(50))
        };
        let asked: u64 = question.query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="))?.parse().ok()?;
        (question.query.contains("sendInitialEvents=true") && asked > revision).then_some(())?;
        if refuses {
            self.struck(Fault::TooLargeVersion);
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 504, "reason": "Timeout",
                "message": format!("Timeout: Too large resource version: {asked}, current: {revision}"),
                "details": {"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}], "retryAfterSeconds": 1},
            });
            return Some(evenkeel_apiserver::Response::json(http::StatusCode::GATEWAY_TIMEOUT, &status));
        }
        let query = format!("watch=true&allowWatchBookmarks=true&resourceVersion={revision}");
        let mut rest = self.ask(&Question { query, ..question.clone() }, Actor::Server);
        let Answer::Watch(later) = rest.body else { return Some(rest) };
        self.struck(Fault::OlderList);
        let partial = question.headers.get(http::header::ACCEPT).is_some_and(|a| a.to_str().is_ok_and(|a| a.contains("PartialObject")));
        let (version, kind_name) = if partial { ("meta.k8s.io/v1", "PartialObjectMetadata") } else { named(kind) };
        let first = older_list(lock(&self.history).as_of(kind, revision).values().map(|o| &***o), (version, kind_name), revision);
        rest.body = Answer::Watch(Box::pin(futures::stream::iter(first).chain(later)));
        Some(rest)
    }
}

/// `apiVersion` and `kind` of what loops read whole.
fn named(plural: &str) -> (&'static str, &'static str) {
    match plural {
        "pods" => ("v1", "Pod"),
        "namespaces" => ("v1", "Namespace"),
        "replicationcontrollers" => ("v1", "ReplicationController"),
        "replicasets" => ("apps/v1", "ReplicaSet"),
        _ => ("apps/v1", "Deployment"),
    }
}

/// Initial events and the bookmark that ends them.
fn older_list<'o>(objects: impl Iterator<Item = &'o Value>, (version, kind): (&str, &str), revision: u64) -> Vec<Bytes> {
    let line = |event: &str, object: Value| Bytes::from(format!("{}\n", json!({"type": event, "object": object})));
    let named = |object: &Value| {
        let mut object = object.clone();
        (object["apiVersion"], object["kind"]) = (version.into(), kind.into());
        object
    };
    let mark = json!({"apiVersion": version, "kind": kind, "metadata": {
        "resourceVersion": revision.to_string(), "creationTimestamp": null, "annotations": {"k8s.io/initial-events-end": "true"},
    }});
    objects.map(|o| line("ADDED", named(o))).chain([line("BOOKMARK", mark)]).collect()
}

impl Stream {
    fn send(&mut self, weather: &mut Weather, line: Bytes) {
        let mut at = Instant::now() + weather.dice.ms(1..15);
        if let Some(until) = weather.frozen.get(&(self.manager, self.kind)).filter(|until| **until > at) {
            at = *until;
            weather.struck(Fault::WatchLate);
        }
        if let Some(until) = weather.paused.get(&self.manager) {
            at = at.max(*until);
        }
        self.last = self.last.max(at);
        for line in self.garble(weather, line) {
            // A watch that was cut meanwhile takes no more.
            let _ = self.to.send((self.last, line));
        }
    }

    /// What arrives of a line: itself, as a rule.
    fn garble(&mut self, weather: &mut Weather, line: Bytes) -> Vec<Bytes> {
        self.past.push_back(line.clone());
        let oldest = if self.past.len() > PAST { self.past.pop_front() } else { None };
        if weather.calm || self.kind == "leases" || !weather.dice.percent(2) {
            return vec![line];
        }
        let Ok(mut event) = serde_json::from_slice::<Value>(&line) else { return vec![line] };
        if event["type"] == "BOOKMARK" || event["type"] == "ERROR" {
            return vec![line];
        }
        let text = |event: &Value| Bytes::from(format!("{event}\n"));
        let (fault, lines) = match weather.dice.pick(0..5) {
            0 => (Fault::EventTwice, vec![line.clone(), line]),
            1 => (Fault::EventMalformed, vec![Bytes::from_static(b"{\"type\":\"MODIFIED\",\"object\":{\"metadata\":\n"), line]),
            2 => {
                event["novel"] = json!([1, null]);
                event["object"]["novel"] = json!({"a": {"b": []}});
                event["object"]["spec"]["novel"] = json!("from the future");
                (Fault::EventUnknownFields, vec![text(&event)])
            }
            3 => {
                (event["object"]["apiVersion"], event["object"]["kind"]) = ("v1".into(), "Secret".into());
                (Fault::EventWrongKind, vec![text(&event), line])
            }
            _ => match oldest {
                Some(old) => (Fault::EventFromThePast, vec![line, old]),
                None => return vec![line],
            },
        };
        weather.struck(fault);
        lines
    }
}
