//! Requests to a server in the same process, without a socket.

use std::sync::Arc;

use bytes::Bytes;
use evenkeel_apiserver::{Body, Request, Server, UserInfo};
use futures::StreamExt;
use futures::future::BoxFuture;
use http::{Method, header};

use super::{Answer, Headers, NoAnswer, Transport, header_map};

/// A client in the server's process. It is user `admin` unless a step shows no token or a foreign one.
pub struct InProcess {
    server: Arc<Server>,
}

/// Stands for the administrator's token: there is none without a socket.
const TOKEN: &str = "admin";

impl InProcess {
    /// A client of this server.
    pub fn new(server: Arc<Server>) -> Self {
        InProcess { server }
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
            let headers = header_map(Some(TOKEN), body.is_some(), headers)?;
            let admin = headers.get(header::AUTHORIZATION).is_some_and(|token| token.as_bytes() == format!("Bearer {TOKEN}").as_bytes());
            let (path, query) = path.split_once('?').unwrap_or((path, ""));
            let request = Request {
                method: Method::from_bytes(method.as_bytes()).map_err(|_| NoAnswer::Settings(format!("not a method: {method}")))?,
                path: percent_decoded(path),
                query: query.to_owned(),
                headers,
                body: body.unwrap_or_default(),
                user: if admin { UserInfo::admin() } else { UserInfo::anonymous() },
            };
            let response = self.server.handle(&request);
            // The others have their turn after every request, as they would have with a socket between.
            tokio::task::yield_now().await;
            let body = match response.body {
                Body::Full(bytes) => bytes,
                Body::Watch(stream) => Bytes::from(stream.collect::<Vec<Bytes>>().await.concat()),
            };
            Ok(Answer { status: response.status, headers: response.headers, body })
        })
    }
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
