use std::{fmt::Write, time::Duration};

use bytes::Bytes;
use evenkeel_api::Kind;
use http::{Request, header};
use http_body_util::BodyExt;
use kube::client::Body;

use crate::{Status, WatchError, bounds};

/// The body of an answer, read with a limit on silence.
pub(crate) struct Chunks(Body);

impl Chunks {
    /// The next bytes; `None` at the proper end. May be dropped and called again.
    pub(crate) async fn next(&mut self, silence: Duration) -> Result<Option<Bytes>, WatchError> {
        loop {
            let frame = tokio::time::timeout(silence, self.0.frame())
                .await
                .map_err(|_| WatchError::unreachable(format_args!("silent for {} s", silence.as_secs())))?;
            match frame {
                None => return Ok(None),
                Some(Err(e)) => return Err(WatchError::unreachable(chain(&e))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

/// Sends a GET and gives the body of a good answer; anything else is an error that says what to do.
pub(crate) async fn get(client: &kube::Client, kind: Kind, accept: &str, query: &[(&str, &str)]) -> Result<Chunks, WatchError> {
    let request = Request::get(target(kind, query))
        .header(header::ACCEPT, accept)
        // 1.37 compresses watches event by event, which kube's decoder does not follow (see kube's `request_events`).
        .header(header::ACCEPT_ENCODING, "identity")
        .body(Body::empty())
        .map_err(WatchError::unreachable)?;
    let answer = tokio::time::timeout(bounds::HEAD, client.send(request))
        .await
        .map_err(|_| WatchError::unreachable(format_args!("no answer within {} s", bounds::HEAD.as_secs())))?
        .map_err(|e| WatchError::unreachable(chain(&e)))?;
    let code = answer.status();
    if code.is_success() {
        return Ok(Chunks(answer.into_body()));
    }
    let after = answer
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.trim().parse().ok())
        .map(Duration::from_secs);
    let body = tokio::time::timeout(bounds::HEAD, start_of(Chunks(answer.into_body()))).await.unwrap_or_default();
    let mut status = Status::read(&body, code.as_u16());
    status.retry_after = after.or(status.retry_after).map(|after| after.min(bounds::RETRY_AFTER));
    Err(WatchError::of_status(status))
}

/// The first bytes of an error body, or what came of them.
async fn start_of(mut chunks: Chunks) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = chunks.next(bounds::HEAD).await {
        let room = bounds::STATUS.saturating_sub(body.len());
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if room == 0 {
            break;
        }
    }
    body
}

fn target(kind: Kind, query: &[(&str, &str)]) -> String {
    let mut target = kind.collection_path(None);
    for (at, (name, value)) in query.iter().enumerate() {
        target.push(if at == 0 { '?' } else { '&' });
        target.push_str(name);
        target.push('=');
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => target.push(byte.into()),
                other => write!(target, "%{other:02X}").expect("a string takes all that is written"),
            }
        }
    }
    target
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_continue_token_survives_the_query() {
        assert_eq!(
            target(&evenkeel_api::PODS, &[("limit", "500"), ("continue", "a+b/c=&d")]),
            "/api/v1/pods?limit=500&continue=a%2Bb%2Fc%3D%26d"
        );
    }
}
