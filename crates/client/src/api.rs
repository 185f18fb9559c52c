use std::{fmt::Write, pin::pin, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;
use tokio::time::Instant;
use tracing::debug;

use crate::{
    ClientMetrics, Fence, Pace,
    pace::{Ended, Permit, kind_of},
};

/// Field manager of all writes. The stock manager's name, so that server-side apply sees one owner before and after a change of managers
/// (docs/decisions/0005-field-manager.md).
const FIELD_MANAGER: &str = "kube-controller-manager";

/// Largest answer that is read: the server's own limit for one object is about 3 MB.
const MAX_BODY: usize = 16 << 20;

/// How often a request that the server refused to take (429) is sent again (manager 3.1).
const MAX_RETRIES: u32 = 10;

/// Wait after a 429 that names none, and the longest that is believed: a proxy that says "tomorrow" must not stop the process until then.
const RETRY_AFTER: Duration = Duration::from_secs(1);
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// A write is not begun with less time left than this.
const LEAST_TIME: Duration = Duration::from_millis(10);

/// One identity's way to the API server: its User-Agent, pace, time-outs and metrics, over the shared connection pool.
#[derive(Clone)]
pub struct Api {
    client: kube::Client,
    user_agent: HeaderValue,
    pace: Pace,
    /// Its place in the pace's turns.
    turn: usize,
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

/// No answer. Whether the server has acted is unknown in the last two cases.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The request was never sent: it makes no sense, or there is no connection to send it on.
    #[error("{0}")]
    NotSent(String),
    /// The request was never sent, because this process does not lead, or not for long enough.
    #[error("not sent: this process does not lead")]
    Fenced,
    /// No complete answer within the time allowed.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The connection broke, or the answer is not HTTP, or too long.
    #[error("{0}")]
    Broken(String),
}

/// One request, but for its body.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    /// Value of `Accept`.
    pub(crate) accept: &'a str,
}

/// Whole objects.
pub(crate) const JSON: &str = "application/json";

/// Makes a body, with its content type, when the request is about to leave: what waits for its turn holds none.
pub(crate) type MakeBody<'a> = &'a (dyn Fn() -> Option<(&'static str, Bytes)> + Send + Sync);

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
            turn: pace.join(),
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
    /// A 429 means that the server did not take the request: it is sent again after `Retry-After`. Nothing else is ever sent twice
    /// (docs/decisions/0001-no-hidden-retries.md).
    ///
    /// # Errors
    /// When there is no complete answer. Every answer, whatever its code, is a [`Reply`].
    pub async fn call(&self, method: Method, path: &str, query: &str, body: Option<(&'static str, Bytes)>) -> Result<Reply, CallError> {
        self.send(Ask { method, path, query, accept: JSON }, &|| body.clone(), None).await
    }

    /// [`Api::call`] for writes of a leader: `fence` is asked when the request is about to leave, however long it waited for the pace, and
    /// bounds the time for the answer.
    pub(crate) async fn send(&self, ask: Ask<'_>, body: MakeBody<'_>, fence: Option<&Fence>) -> Result<Reply, CallError> {
        let kind = kind_of(ask.method.as_str(), ask.path);
        let mut tries = 0;
        loop {
            let asked = Instant::now();
            let permit = self.admitted(fence).await?;
            self.metrics.waited(&ask.method, asked.elapsed());
            let limit = match fence {
                None => self.timeout,
                Some(fence) => self.timeout.min(until(fence)?.saturating_duration_since(Instant::now())),
            };
            if limit < LEAST_TIME {
                return Err(CallError::Fenced);
            }
            let request = self.request(&ask, body(), limit)?;
            let sent = Instant::now();
            let answer = match tokio::time::timeout(limit, self.exchange(request)).await {
                Ok(answer) => answer,
                Err(_) => Err(CallError::TimedOut(limit)),
            };
            permit.done(&kind, ended(&answer));
            self.metrics.answered(&ask.method, answer.as_ref().ok().map(|(r, _)| r.code.as_u16()), sent.elapsed());
            let (reply, _) = answer?;
            debug!(method = %ask.method, path = ask.path, code = reply.code.as_u16(), "request");
            if reply.code != StatusCode::TOO_MANY_REQUESTS || tries == MAX_RETRIES {
                return Ok(reply);
            }
            tries += 1;
            self.metrics.retried(&ask.method, reply.code.as_u16());
        }
    }

    /// A permit of the pace. Whoever waits for one while leadership goes on keeps the place; whoever loses it gives up then.
    async fn admitted(&self, fence: Option<&Fence>) -> Result<Permit, CallError> {
        let mut admit = pin!(self.pace.admit(self.turn));
        let Some(fence) = fence else { return Ok(admit.await) };
        loop {
            if let Ok(permit) = tokio::time::timeout_at(until(fence)?, admit.as_mut()).await {
                return Ok(permit);
            }
        }
    }

    fn request(&self, ask: &Ask<'_>, body: Option<(&'static str, Bytes)>, limit: Duration) -> Result<Request<Body>, CallError> {
        let mut uri = String::with_capacity(ask.path.len() + ask.query.len() + 64);
        uri.push_str(ask.path);
        let mut parameter = |text: std::fmt::Arguments<'_>| {
            uri.push(if uri.contains('?') { '&' } else { '?' });
            uri.write_fmt(text).expect("texts take all that is written");
        };
        if !ask.query.is_empty() {
            parameter(format_args!("{}", ask.query));
        }
        if !matches!(ask.method, Method::GET | Method::DELETE) {
            parameter(format_args!("fieldManager={FIELD_MANAGER}"));
        }
        if ask.method != Method::GET {
            // The server's own limit ends a little before ours, so that its answer still arrives, and nothing is done after we gave up.
            let server = limit - (limit / 10).min(Duration::from_secs(1));
            parameter(format_args!("timeout={}ms", server.as_millis()));
        }
        let mut builder =
            Request::builder().method(&ask.method).uri(uri).header(header::USER_AGENT, &self.user_agent).header(header::ACCEPT, ask.accept);
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
        let response = self.client.send(request).await.map_err(|e| broken(&e))?;
        let code = response.status();
        let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
        let body = http_body_util::Limited::new(response.into_body(), MAX_BODY);
        let body = body.collect().await.map_err(|e| CallError::Broken(chain(&*e)))?.to_bytes();
        Ok((Reply { code, body }, retry_after.map(Duration::from_secs)))
    }
}

/// Until when the holder of a fence leads, if it does.
fn until(fence: &Fence) -> Result<Instant, CallError> {
    fence().filter(|at| *at > Instant::now()).ok_or(CallError::Fenced)
}

/// What an answer says about the server's pace.
fn ended(answer: &Result<(Reply, Option<Duration>), CallError>) -> Ended {
    match answer {
        Ok((reply, wait)) if reply.code == StatusCode::TOO_MANY_REQUESTS => Ended::Busy(wait.unwrap_or(RETRY_AFTER).min(MAX_RETRY_AFTER)),
        Ok((reply, _)) if reply.code.is_success() => Ended::Done,
        Ok(_) => Ended::Refused,
        Err(_) => Ended::Silent,
    }
}

/// Only where no connection came about it is certain that nothing was sent.
fn broken(error: &(dyn std::error::Error + 'static)) -> CallError {
    let mut cause = Some(error);
    while let Some(inner) = cause {
        if inner.downcast_ref::<hyper_util::client::legacy::Error>().is_some_and(|e| e.is_connect()) {
            return CallError::NotSent(chain(error));
        }
        cause = inner.source();
    }
    CallError::Broken(chain(error))
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
