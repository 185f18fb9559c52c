use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};
use futures::stream::{self, Stream};
use http::{Request, header};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use crate::{KubeLease, Lease};

/// Something that a standby need not wait for its next poll to learn. Hints only speed things up: an election without them is as safe.
#[expect(clippy::large_enum_variant, reason = "short-lived, one at a time")]
#[derive(Debug, Clone, PartialEq)]
pub enum Hint {
    /// The Lease as it is now, or was not long ago.
    Seen(Lease),
    /// It is worth a look: the Lease is gone, or changes may have been missed.
    Look,
}

/// A stream of hints. Ending it is allowed; it must not be always ready.
pub type Hints = Pin<Box<dyn Stream<Item = Hint> + Send>>;

/// First pause before watching again; doubled with each failure in a row.
const BACK_OFF: Duration = Duration::from_millis(800);
/// Longest pause before watching again.
const BACK_OFF_CAP: Duration = Duration::from_secs(30);
/// A watch that lasted this long was no failure.
const LASTED: Duration = Duration::from_secs(10);
/// How long the answer to a watch request may take to begin.
const CONNECT: Duration = Duration::from_secs(10);
/// A leader renews every other second; a watch silent for this long is taken for a dead connection. Without a leader that costs one request
/// each time.
const SILENCE: Duration = Duration::from_secs(30);
/// Longest event that is read. A server takes no object of this size.
const EVENT_BYTES: u64 = 3 << 20;

type Lines = Pin<Box<dyn AsyncBufRead + Send>>;

struct Watching {
    lease: KubeLease,
    chance: Arc<dyn Fn() -> f64 + Send + Sync>,
    lines: Option<Lines>,
    since: Instant,
    failures: u32,
    first: bool,
}

impl KubeLease {
    /// Watches the Lease for ever; a watch that ends is begun again after a bounded pause. `chance` draws from [0, 1).
    pub fn watch(&self, chance: Arc<dyn Fn() -> f64 + Send + Sync>) -> Hints {
        let watching = Watching { lease: self.clone(), chance, lines: None, since: Instant::now(), failures: 0, first: true };
        Box::pin(stream::unfold(watching, |mut watching| async {
            let hint = watching.next().await;
            Some((hint, watching))
        }))
    }
}

impl Watching {
    async fn next(&mut self) -> Hint {
        loop {
            let Some(lines) = &mut self.lines else {
                if self.connect().await {
                    return Hint::Look;
                }
                continue;
            };
            let ended = match timeout(SILENCE, read_line(lines)).await {
                Ok(Ok(Some(line))) => match Event::parse(&line) {
                    Event::Hint(hint) => return hint,
                    Event::Nothing => continue,
                    Event::Failed(why) => why,
                },
                Ok(Ok(None)) => "it ended".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it was silent for too long".to_owned(),
            };
            debug!(lease = %self.lease.name, why = %ended, "the watch of the lease begins again");
            self.lines = None;
            self.failures = if self.since.elapsed() >= LASTED { 0 } else { self.failures.saturating_add(1) };
        }
    }

    /// True if changes may have been missed since an earlier watch.
    async fn connect(&mut self) -> bool {
        if !self.first {
            let pause = BACK_OFF.saturating_mul(1 << self.failures.min(10)).min(BACK_OFF_CAP);
            sleep(pause.mul_f64(1.0 + (self.chance)())).await;
        }
        let again = !std::mem::take(&mut self.first);
        self.since = Instant::now();
        let seconds = 300.0 + 300.0 * (self.chance)();
        // Without a resourceVersion the watch begins with the present state.
        let path =
            format!("{}?watch=true&fieldSelector=metadata.name%3D{}&timeoutSeconds={seconds:.0}", self.lease.collection(), self.lease.name);
        let request = match Request::get(path).header(header::ACCEPT, "application/json").body(Vec::new()) {
            Ok(request) => request,
            Err(error) => {
                debug!(%error, "the lease cannot be watched");
                return std::future::pending().await;
            }
        };
        match timeout(CONNECT, self.lease.client.request_stream(request)).await {
            Ok(Ok(lines)) => {
                self.lines = Some(Box::pin(lines));
                return again;
            }
            Ok(Err(error)) => debug!(lease = %self.lease.name, %error, "the lease cannot be watched now"),
            Err(_) => debug!(lease = %self.lease.name, "no answer to the watch of the lease"),
        }
        self.failures = self.failures.saturating_add(1);
        false
    }
}

async fn read_line(lines: &mut Lines) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    lines.take(EVENT_BYTES).read_until(b'\n', &mut line).await?;
    match line.last() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) => Err(std::io::Error::other("an event was cut off or too long")),
    }
}

#[expect(clippy::large_enum_variant, reason = "short-lived, one at a time")]
enum Event {
    Hint(Hint),
    Nothing,
    Failed(String),
}

impl Event {
    fn parse(line: &[u8]) -> Self {
        let Ok(mut event) = serde_json::from_slice::<Value>(line) else { return Self::Failed("an event was no JSON".to_owned()) };
        let object = event.get_mut("object").map(Value::take).unwrap_or_default();
        match event.get("type").and_then(Value::as_str) {
            Some("ADDED" | "MODIFIED") => Lease::read(object).map_or(Self::Nothing, |lease| Self::Hint(Hint::Seen(lease))),
            Some("DELETED") => Self::Hint(Hint::Look),
            Some("BOOKMARK") => Self::Nothing,
            _ => Self::Failed(object.get("message").and_then(Value::as_str).unwrap_or("an event of unknown type").to_owned()),
        }
    }
}
