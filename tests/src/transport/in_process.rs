//! Requests to a server in the same process, without a socket.
//!
//! What stands between a socket and the server's core is done here in a few words: who a token stands for, how long a body may be, and
//! that `HEAD` is answered without one.

use std::sync::Arc;

use bytes::Bytes;
use evenkeel_apiserver::edge::BODY_LIMIT;
use evenkeel_apiserver::{Body, Request, Response, Server, UserInfo};
use futures::StreamExt;
use futures::future::BoxFuture;
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::json;

use super::{Answer, Headers, NoAnswer, Stream, Transport, header_map};

/// A client in the server's process. It is user `admin` unless a step shows no token or another one.
pub struct InProcess {
    server: Arc<Server>,
}

/// The administrator's token.
const TOKEN: &str = "admin";

impl InProcess {
    /// A client of this server, which learns the administrator's token.
    pub fn new(server: Arc<Server>) -> Self {
        server.add_token(TOKEN, UserInfo::admin());
        InProcess { server }
    }

    async fn ask(&self, method: &str, path: &str, headers: Headers<'_>, body: Option<Bytes>) -> Result<Response, NoAnswer> {
        let headers = header_map(Some(TOKEN), body.is_some(), headers)?;
        let Some(user) = self.user(&headers) else { return Ok(failure(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")) };
        let body = body.unwrap_or_default();
        if body.len() > BODY_LIMIT {
            let message = format!("Request entity too large: limit is {BODY_LIMIT}");
            return Ok(failure(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", &message));
        }
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| NoAnswer::Settings(format!("not a method: {method}")))?;
        let bodyless = method == Method::HEAD;
        let request = Request {
            method: if bodyless { Method::GET } else { method },
            path: percent_decoded(path),
            query: query.to_owned(),
            headers,
            body,
            user,
        };
        let mut response = self.server.handle(&request);
        // The others have their turn after every request, as they would have with a socket between.
        tokio::task::yield_now().await;
        if bodyless {
            response.body = Body::Full(Bytes::new());
        }
        Ok(response)
    }

    /// Who asks. Without a bearer token it is the anonymous user; `None`: nobody has this one.
    fn user(&self, headers: &HeaderMap) -> Option<UserInfo> {
        let shown = headers.get(header::AUTHORIZATION).and_then(|shown| shown.to_str().ok()).unwrap_or_default();
        match shown.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => self.server.user_of_token(token.trim()),
            _ => Some(UserInfo::anonymous()),
        }
    }
}

impl Transport for InProcess {
    fn call<'a>(
        &'a mut self,
        method: &'a str,
        path: &'a str,
        headers: Headers<'a>,
        body: Option<Bytes>,
    ) -> BoxFuture<'a, Result<Answer, NoAnswer>> {
        Box::pin(async move {
            let response = self.ask(method, path, headers, body).await?;
            let body = match response.body {
                Body::Full(bytes) => bytes,
                Body::Watch(stream) => Bytes::from(stream.collect::<Vec<Bytes>>().await.concat()),
            };
            Ok(Answer { status: response.status, headers: response.headers, body })
        })
    }

    fn watch<'a>(&'a mut self, path: &'a str, headers: Headers<'a>) -> BoxFuture<'a, Result<Stream, NoAnswer>> {
        Box::pin(async move {
            let response = self.ask("GET", path, headers, None).await?;
            let body = match response.body {
                Body::Full(bytes) => futures::stream::iter([Ok(bytes)]).boxed(),
                Body::Watch(stream) => stream.map(Ok).boxed(),
            };
            Ok(Stream { status: response.status, headers: response.headers, body })
        })
    }
}

/// An answer of what stands before the core.
fn failure(status: StatusCode, reason: &str, message: &str) -> Response {
    let code = status.as_u16();
    Response::json(
        status,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code}),
    )
}

fn percent_decoded(path: &str) -> String {
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.as_bytes();
    while let [first, rest @ ..] = bytes {
        let hex = (*first == b'%').then(|| rest.get(..2)).flatten().and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                bytes = &rest[2..];
            }
            None => {
                out.push(*first);
                bytes = rest;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::percent_decoded;

    #[test]
    fn paths_reach_the_server_decoded() {
        assert_eq!(percent_decoded("/a%2Fb/%zz/%C3%A9"), "/a/b/%zz/é");
    }
}
