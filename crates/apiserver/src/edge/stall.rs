//! A connection that gives up on a peer which no longer reads.
//!
//! Watches may be silent for long, so silence is no fault. But bytes that wait to be taken for [`PATIENCE`] mean that the reader is gone
//! or stuck: what it holds (a watch, its queue) must come free.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long written bytes may wait for the peer before the connection is dropped.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A stream whose writes fail when the peer has taken nothing for [`PATIENCE`].
#[derive(Debug)]
pub struct Stalling<S> {
    stream: S,
    waiting: Option<Pin<Box<Sleep>>>,
    patience: Duration,
}

impl<S> Stalling<S> {
    /// Wraps `stream`.
    pub fn new(stream: S, patience: Duration) -> Self {
        Self { stream, waiting: None, patience }
    }

    /// Notes whether a write got on; turns one that waited too long into an error.
    fn judge<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.waiting = None;
            return outcome;
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(patience)));
        match waiting.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes no more bytes"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stalling<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stalling<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.judge(cx, outcome)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.judge(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.judge(cx, outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_given_up_on() {
        let (near, _far) = tokio::io::duplex(8);
        let mut stream = Stalling::new(near, PATIENCE);
        let error = stream.write_all(&[0; 64]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_peer_that_still_reads_is_kept() {
        let (near, mut far) = tokio::io::duplex(8);
        let mut stream = Stalling::new(near, PATIENCE);
        let reader = tokio::spawn(async move {
            let mut taken = 0;
            let mut buf = [0; 8];
            while taken < 64 {
                sleep(PATIENCE - Duration::from_secs(1)).await;
                taken += far.read(&mut buf).await.expect("open");
            }
        });
        stream.write_all(&[0; 64]).await.expect("each part was taken in time");
        reader.await.expect("no panic");
    }
}
