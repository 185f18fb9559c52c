//! Watches: read in the background while the conversation goes on.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::recorded::Broken;
use crate::transport::{Headers, Stream, Transport};

/// How long the head of the answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Even when the time is up, events that have come already are taken.
const AT_LEAST: Duration = Duration::from_millis(1);

enum Told {
    Event(Vec<u8>),
    /// The body of an answer other than 200.
    Body(Bytes),
    End,
}

/// An open watch.
pub struct Watch {
    head: Result<(StatusCode, HeaderMap), String>,
    told: mpsc::UnboundedReceiver<Told>,
    ended: bool,
    reader: Option<JoinHandle<()>>,
}

/// What was read of a watch.
pub struct Collected {
    /// HTTP status of the watch.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// The events.
    pub events: Vec<Value>,
    /// Whether the server ended it.
    pub ended: bool,
    /// The body, when it was refused.
    pub refusal: Option<Bytes>,
}

impl Watch {
    /// Opens a watch; a request that gets no answer is seen when events are read.
    pub async fn open(wire: &mut dyn Transport, path: &str, headers: Headers<'_>) -> Watch {
        // As long as the conversation reads it: what it does not collect is dropped with the watch.
        let (tell, told) = mpsc::unbounded_channel();
        match timeout(PATIENCE, wire.watch(path, headers)).await {
            Ok(Ok(stream)) => {
                let head = Ok((stream.status, stream.headers.clone()));
                Watch { head, told, ended: false, reader: Some(tokio::spawn(read(stream, tell))) }
            }
            Ok(Err(error)) => Watch { head: Err(error.to_string()), told, ended: false, reader: None },
            Err(_) => Watch { head: Err("no headers in time".into()), told, ended: false, reader: None },
        }
    }

    /// Up to `count` events within the time.
    ///
    /// # Errors
    /// When the watch got no answer, or something else than JSON.
    pub async fn collect(&mut self, count: usize, time: Duration) -> Result<Collected, Broken> {
        let (status, headers) = self.head.clone().map_err(Broken)?;
        let mut collected = Collected { status, headers, events: Vec::new(), ended: self.ended, refusal: None };
        let until = Instant::now() + time;
        while collected.events.len() < count && !collected.ended {
            let Ok(told) = timeout_at(until.max(Instant::now() + AT_LEAST), self.told.recv()).await else { break };
            match told.unwrap_or(Told::End) {
                Told::Event(line) => {
                    let shown = String::from_utf8_lossy(line.get(..80).unwrap_or(&line));
                    let event = serde_json::from_slice(&line).map_err(|_| Broken(format!("a watch event is not JSON: {shown}")))?;
                    collected.events.push(event);
                }
                Told::Body(body) => (collected.ended, collected.refusal) = (true, Some(body)),
                Told::End => (collected.ended, self.ended) = (true, true),
            }
        }
        // A watch that had ended before still ends only those reads that want more than there is.
        collected.ended &= collected.events.len() < count;
        Ok(collected)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(reader) = &self.reader {
            reader.abort();
        }
    }
}

async fn read(mut stream: Stream, tell: mpsc::UnboundedSender<Told>) {
    let mut buffer = Vec::new();
    let refused = stream.status != StatusCode::OK;
    while let Some(Ok(bytes)) = stream.body.next().await {
        buffer.extend_from_slice(&bytes);
        while let Some(end) = buffer.iter().position(|b| *b == b'\n').filter(|_| !refused) {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            if !line.trim_ascii().is_empty() {
                _ = tell.send(Told::Event(line));
            }
        }
    }
    if refused {
        _ = tell.send(Told::Body(buffer.into()));
    } else if !buffer.trim_ascii().is_empty() {
        _ = tell.send(Told::Event(buffer));
    }
    _ = tell.send(Told::End);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded::virtual_time::in_virtual_time;

    fn watch_of(status: u16, chunks: &'static [&'static str], stays_open: bool) -> Watch {
        let (tell, told) = mpsc::unbounded_channel();
        let status = StatusCode::from_u16(status).expect("a status");
        let chunks = futures::stream::iter(chunks.iter().map(|chunk| Ok(Bytes::from(*chunk))));
        let body = if stays_open { chunks.chain(futures::stream::pending()).boxed() } else { chunks.boxed() };
        let stream = Stream { status, headers: HeaderMap::new(), body };
        Watch { head: Ok((status, HeaderMap::new())), told, ended: false, reader: Some(tokio::spawn(read(stream, tell))) }
    }

    #[test]
    fn events_are_read_line_by_line_until_enough_the_time_or_the_end() {
        let second = Duration::from_secs(1);
        in_virtual_time(async {
            let mut open = watch_of(200, &["{\"a\":", "1}\n\n{\"a\":2}\n", "{\"a\":3}\n"], true);
            let first = open.collect(2, second).await.expect("events");
            assert_eq!((first.events.len(), first.ended), (2, false));
            let rest = open.collect(9, second).await.expect("events");
            assert_eq!((rest.events.len(), rest.ended), (1, false));
            let mut ended = watch_of(200, &["{}\n{}"], false);
            for (count, events, end) in [(1, 1, false), (2, 1, true), (1, 0, true)] {
                let read = ended.collect(count, second).await.expect("events");
                assert_eq!((read.events.len(), read.ended), (events, end));
            }
            let refused = watch_of(410, &["{\"code\":", "410}\n"], false).collect(1, second).await.expect("an answer");
            assert_eq!((refused.refusal.as_deref(), refused.ended), (Some(b"{\"code\":410}\n".as_slice()), true));
            assert!(watch_of(200, &["{\n"], true).collect(1, second).await.is_err());
        })
        .expect("a runtime");
    }
}
