use std::{ops::Range, time::Duration};

use evenkeel_cache::{Cache, Cached, Entry};
use tokio::time::Instant;

use crate::{
    Event, FrameSplitter, ListWatch, Malformed, WatchError, bounds,
    list_watch::Course,
    transport::{self, Chunks},
};

/// A watch that is running.
pub(crate) struct Open {
    pub(crate) chunks: Chunks,
    pub(crate) frames: Box<dyn FrameSplitter>,
    /// Longest silence that is still well.
    pub(crate) silence: Duration,
    pub(crate) opened: Instant,
}

/// How a watch ended well.
pub(crate) enum End {
    /// As it should: resume.
    Served,
    /// Sooner than makes sense.
    Short {
        /// Whether it brought anything.
        news: bool,
    },
    /// Somebody asked for a new list.
    Asked,
    /// Somebody wants to know how far it is: resume with a short one.
    Hurried,
}

impl<T: Cached> ListWatch<T> {
    /// Opens a watch from the store's version on.
    pub(crate) async fn resume(&self, cache: &Cache, seconds: Range<u64>) -> Result<Open, WatchError> {
        let version = self.intake.seen(cache).unwrap_or_default().to_string();
        self.open(seconds, &[("resourceVersion", &version)]).await
    }

    /// Opens a watch of so many seconds, with these parameters besides the usual ones.
    pub(crate) async fn open(&self, seconds: Range<u64>, more: &[(&str, &str)]) -> Result<Open, WatchError> {
        let seconds = self.intake.feed.draw(seconds);
        let timeout = seconds.to_string();
        let mut query = vec![("watch", "true"), ("allowWatchBookmarks", "true"), ("timeoutSeconds", timeout.as_str())];
        query.extend_from_slice(more);
        let opened = Instant::now();
        let chunks = transport::get(&self.intake.feed.client, self.intake.kind, self.wire.accept_watch(), &query).await?;
        let silence = Duration::from_secs(seconds) + bounds::WATCH_SLACK;
        Ok(Open { chunks, frames: self.wire.splitter(), silence, opened })
    }

    /// Takes events in until the watch ends or fails.
    pub(crate) async fn follow(&self, cache: &Cache, course: &mut Course, mut open: Open) -> Result<End, WatchError> {
        let mut news = false;
        loop {
            // Frames first: a streaming list leaves some behind in the splitter.
            while let Some(frame) = open.frames.next() {
                self.take(cache, self.wire.event(&frame)?)?;
                news = true;
            }
            if news && open.opened.elapsed() >= bounds::WATCH_SHORT {
                course.hurried = false;
            }
            let chunk = tokio::select! {
                biased;
                () = self.intake.again.notified() => return Ok(End::Asked),
                () = self.hurry.notified() => return Ok(End::Hurried),
                chunk = open.chunks.next(open.silence) => chunk?,
            };
            let Some(chunk) = chunk else { break };
            open.frames.push(chunk);
        }
        if let Some(rest) = open.frames.finish() {
            match self.wire.event(&rest) {
                // The connection broke within a frame: the rest comes with the next watch.
                Err(Malformed(_)) => {}
                Ok(event) => {
                    self.take(cache, event)?;
                    news = true;
                }
            }
        }
        if open.opened.elapsed() < bounds::WATCH_SHORT { Ok(End::Short { news }) } else { Ok(End::Served) }
    }

    fn take(&self, cache: &Cache, event: Event<T>) -> Result<(), WatchError> {
        let entry = match event {
            Event::Put(object) => Entry::Put(object),
            Event::Delete(last) => Entry::Delete(last),
            Event::Bookmark { version, .. } => Entry::Bookmark(version),
            Event::Error(status) => return Err(WatchError::of_status(status)),
            Event::Bad(bad) => match self.intake.pass_over(cache, bad) {
                Some(entry) => entry,
                None => return Ok(()),
            },
        };
        self.intake.ingest(cache, entry)
    }
}
