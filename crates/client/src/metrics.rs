use std::{fmt, sync::Arc, time::Duration};

use http::Method;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        histogram::Histogram,
    },
    registry::Registry,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    code: Code,
    method: &'static str,
    host: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Latency {
    verb: &'static str,
    host: Arc<str>,
}

/// HTTP status, where there was an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Code(Option<u16>);

impl EncodeLabelValue for Code {
    fn encode(&self, out: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        match self.0 {
            Some(code) => u64::from(code).encode(out),
            None => "<error>".encode(out),
        }
    }
}

/// A method as a label: one of those that are ever sent.
fn label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "OTHER",
    }
}

#[derive(Debug, Clone)]
struct Buckets(&'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

const SECONDS: [f64; 12] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];

/// Metrics of requests, under upstream's names (manager 10.1).
#[derive(Debug, Clone)]
pub struct ClientMetrics {
    host: Arc<str>,
    requests: Family<Request, Counter>,
    duration: Family<Latency, Histogram, Buckets>,
    waited: Family<Latency, Histogram, Buckets>,
    retries: Family<Request, Counter>,
    dropped_events: Counter,
}

impl ClientMetrics {
    /// Registers the families; `host` is the server's `host:port`.
    pub fn register(registry: &mut Registry, host: &str) -> Self {
        let metrics = Self::unregistered(host);
        registry.register(
            "rest_client_requests",
            "Number of HTTP requests, partitioned by status code, method, and host",
            metrics.requests.clone(),
        );
        registry.register(
            "rest_client_request_duration_seconds",
            "Request latency in seconds. Broken down by verb, and host",
            metrics.duration.clone(),
        );
        registry.register(
            "rest_client_rate_limiter_duration_seconds",
            "Time in seconds that requests waited for their turn. Broken down by verb, and host",
            metrics.waited.clone(),
        );
        registry.register(
            "rest_client_request_retries",
            "Number of requests sent again after the server asked to wait",
            metrics.retries.clone(),
        );
        registry.register(
            "evenkeel_events_dropped",
            "Events that the buffer or the spam filter did not let through",
            metrics.dropped_events.clone(),
        );
        metrics
    }

    /// Metrics that nobody scrapes.
    pub fn unregistered(host: &str) -> Self {
        Self {
            host: host.into(),
            requests: Family::default(),
            duration: Family::new_with_constructor(Buckets(&SECONDS)),
            waited: Family::new_with_constructor(Buckets(&SECONDS)),
            retries: Family::default(),
            dropped_events: Counter::default(),
        }
    }

    pub(crate) fn waited(&self, method: &Method, time: Duration) {
        self.waited.get_or_create(&self.latency(method)).observe(time.as_secs_f64());
    }

    pub(crate) fn answered(&self, method: &Method, code: Option<u16>, took: Duration) {
        self.requests.get_or_create(&self.request(method, code)).inc();
        self.duration.get_or_create(&self.latency(method)).observe(took.as_secs_f64());
    }

    pub(crate) fn retried(&self, method: &Method, code: u16) {
        self.retries.get_or_create(&self.request(method, Some(code))).inc();
    }

    fn request(&self, method: &Method, code: Option<u16>) -> Request {
        Request { code: Code(code), method: label(method), host: self.host.clone() }
    }

    fn latency(&self, method: &Method) -> Latency {
        Latency { verb: label(method), host: self.host.clone() }
    }

    pub(crate) fn event_dropped(&self) {
        self.dropped_events.inc();
    }
}
