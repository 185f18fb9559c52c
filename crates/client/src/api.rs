use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;
use tokio::time::Instant;
use tracing::debug;

use crate::{ClientMetrics, Pace};

/// Field manager of all writes. The stock manager's name, so that server-side apply sees one owner before and after a change of managers.
const FIELD_MANAGER: &str = "kube-controller-manager";

/// Largest answer that is read: the server's own limit for one object is about 3 MB.
const MAX_BODY: usize = 16 << 20;

/// How often a request that the server refused to take (429) is sent again.
const MAX_RETRIES: u32 = 10;

/// One identity's way to the API server: its User-Agent, pace, time-outs and metrics, over the shared connection pool.
#[derive(Clone)]
pub struct Api {
    client: kube::Client,
    user_agent: HeaderValue,
    pace: Pace,
    metrics: ClientMetrics,
    timeout: Duration,
}

/// What the server answered, whatever the code.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub code: StatusCode,
    /// Body, at most [`MAX_BODY`] bytes.
    pub body: Bytes,
}

/// No answer. Whether the server has acted is unknown in all cases but the first.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The request was never sent.
    #[error("{0}")]
    NotSent(String),
    /// No complete answer within the time allowed.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The connection broke, or the answer is not HTTP.
    #[error("{0}")]
    Broken(String),
}

/// `metav1.Status`, as far as callers look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// HTTP code.
    pub code: u16,
    /// Machine-readable reason, such as `AlreadyExists`.
    pub reason: String,
    /// Text for people.
    pub message: String,
    /// `reason` of each of `details.causes`.
    pub causes: Vec<String>,
}

impl Api {
    /// A way in for one identity. `suffix` ends the User-Agent: the client name of manager 2.1.
    pub fn new(client: kube::Client, suffix: &str, pace: Pace, metrics: ClientMetrics) -> Self {
        let agent = format!(
            "evenkeel/{} ({}/{}) kubernetes/1.36 {suffix}",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::OS,
            match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            }
        );
        Self {
            client,
            user_agent: HeaderValue::from_str(&agent).expect("names of clients are visible ASCII"),
            pace,
            metrics,
            timeout: Duration::from_secs(30),
        }
    }

    /// The pace that it shares.
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// The same identity with another limit for one request.
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    /// Sends one request and reads the whole answer.
    ///
    /// A 429 means that the server did not take the request: it is sent again after `Retry-After`. Nothing else is ever sent twice.
    pub async fn call(&self, method: Method, path: &str, query: &str, body: Option<(&'static str, Bytes)>) -> Result<Reply, CallError> {
        self.call_before(method, path, query, body, None).await
    }

    /// [`Api::call`], with nothing sent at or after `deadline`, and the answer given up then.
    pub(crate) async fn call_before(
        &self,
        method: Method,
        path: &str,
        query: &str,
        body: Option<(&'static str, Bytes)>,
        deadline: Option<Instant>,
    ) -> Result<Reply, CallError> {
        let mut tries = 0;
        loop {
            let asked = Instant::now();
            let permit = match deadline {
                None => self.pace.admit().await,
                Some(at) => tokio::time::timeout_at(at, self.pace.admit())
                    .await
                    .map_err(|_| CallError::NotSent("leadership could not be confirmed in time".to_owned()))?,
            };
            self.metrics.waited(method.as_str(), asked.elapsed());
            let limit = deadline.map_or(self.timeout, |at| self.timeout.min(at.saturating_duration_since(Instant::now())));
            if limit.is_zero() {
                return Err(CallError::NotSent("leadership could not be confirmed in time".to_owned()));
            }
            let request = self.request(method.clone(), path, query, body.clone(), limit)?;
            let sent = Instant::now();
            let answer = match tokio::time::timeout(limit, self.exchange(request)).await {
                Ok(answer) => answer,
                Err(_) => Err(CallError::TimedOut(limit)),
            };
            permit.done(answer.is_ok());
            self.metrics.answered(method.as_str(), answer.as_ref().ok().map(|(r, _)| r.code.as_u16()), sent.elapsed());
            let (reply, retry_after) = answer?;
            debug!(%method, path, code = reply.code.as_u16(), "request");
            if reply.code != StatusCode::TOO_MANY_REQUESTS {
                return Ok(reply);
            }
            self.pace.pause(retry_after.unwrap_or(Duration::from_secs(1)));
            tries += 1;
            if tries > MAX_RETRIES {
                return Ok(reply);
            }
            self.metrics.retried(method.as_str(), reply.code.as_u16());
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        query: &str,
        body: Option<(&'static str, Bytes)>,
        limit: Duration,
    ) -> Result<Request<Body>, CallError> {
        let mut uri = path.to_owned();
        let mut query = query.to_owned();
        if method != Method::GET {
            // The server's own limit, a little before ours, so that its answer still arrives.
            let seconds = limit.as_secs().max(1);
            for extra in [format!("fieldManager={FIELD_MANAGER}"), format!("timeout={seconds}s")] {
                if !(method == Method::DELETE && extra.starts_with("field")) {
                    query = if query.is_empty() { extra } else { format!("{query}&{extra}") };
                }
            }
        }
        if !query.is_empty() {
            uri = format!("{uri}?{query}");
        }
        let mut builder = Request::builder().method(method).uri(uri).header(header::USER_AGENT, &self.user_agent).header(header::ACCEPT, "application/json");
        let body = match body {
            Some((kind, bytes)) => {
                builder = builder.header(header::CONTENT_TYPE, kind);
                Body::from(bytes)
            }
            None => Body::empty(),
        };
        builder.body(body).map_err(|e| CallError::NotSent(e.to_string()))
    }

    async fn exchange(&self, request: Request<Body>) -> Result<(Reply, Option<Duration>), CallError> {
        let response = self.client.send(request).await.map_err(|e| CallError::Broken(chain(&e)))?;
        let code = response.status();
        let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
        let body = http_body_util::Limited::new(response.into_body(), MAX_BODY);
        let body = body.collect().await.map_err(|e| CallError::Broken(chain(&*e)))?.to_bytes();
        Ok((Reply { code, body }, retry_after.map(Duration::from_secs)))
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

impl Reply {
    /// The body as JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The `Status` of a failure; made up from the code where the body is none.
    pub fn status(&self) -> Status {
        let code = self.code.as_u16();
        let value = self.json().filter(|v| v["kind"] == "Status");
        let Some(value) = value else {
            return Status { code, message: format!("the server answered {code} without a readable reason"), ..Status::default() };
        };
        let causes = value.pointer("/details/causes").and_then(Value::as_array);
        Status {
            code,
            reason: value["reason"].as_str().unwrap_or_default().to_owned(),
            message: value["message"].as_str().unwrap_or_default().to_owned(),
            causes: causes.into_iter().flatten().filter_map(|c| c["reason"].as_str()).map(str::to_owned).collect(),
        }
    }
}
