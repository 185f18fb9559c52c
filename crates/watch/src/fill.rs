use evenkeel_api::Version;
use evenkeel_cache::{Cache, Cached, Entry};
use tokio::time::Instant;
use tracing::{error, info};

use crate::{
    Event, Item, ListWatch, WatchError, bounds,
    follow::Open,
    intake::Gathered,
    list_watch::Course,
    pages::{self, Broken},
};

impl<T: Cached> ListWatch<T> {
    /// Fills the store from a complete list. With a streaming list the watch goes on in the same stream.
    pub(crate) async fn fill(&self, cache: &Cache, course: &mut Course) -> Result<Option<Open>, WatchError> {
        let mut retried = false;
        loop {
            let from = self.intake.seen(cache).filter(|_| !course.consistent);
            match self.fill_from(cache, course, from).await {
                Ok(open) => {
                    self.intake.metrics.lists.inc();
                    course.consistent = false;
                    return Ok(open);
                }
                Err(e @ (WatchError::Expired(_) | WatchError::AheadOfServer(_))) if !retried => {
                    info!(kind = %self.intake.kind, %e, "listing again, consistently");
                    course.consistent = true;
                    retried = true;
                }
                Err(e) => {
                    course.consistent |= matches!(e, WatchError::Backwards { .. });
                    return Err(e);
                }
            }
        }
    }

    async fn fill_from(&self, cache: &Cache, course: &mut Course, from: Option<Version>) -> Result<Option<Open>, WatchError> {
        if course.pages_until.is_none_or(|until| Instant::now() >= until) {
            match self.stream(cache, course, from).await {
                Ok(open) => return Ok(Some(open)),
                Err(WatchError::NoStreamingList(why)) => {
                    course.pages_until = Some(Instant::now() + bounds::STREAM_PAUSE);
                    info!(kind = %self.intake.kind, why, "no streaming list; listing in pages");
                }
                // Whatever else the server did not like about it, pages may do (manager 13.1 rule 1).
                Err(e @ (WatchError::Refused(_) | WatchError::Malformed(_))) => {
                    info!(kind = %self.intake.kind, %e, "no streaming list; listing in pages");
                }
                Err(e) => return Err(e),
            }
        }
        self.pages(cache, course, from).await?;
        self.intake.metrics.paged.inc();
        Ok(None)
    }

    /// The streaming list: initial events until the bookmark that ends them.
    async fn stream(&self, cache: &Cache, course: &mut Course, from: Option<Version>) -> Result<Open, WatchError> {
        let version = from.map(|v| v.to_string());
        let mut query = vec![("sendInitialEvents", "true"), ("resourceVersionMatch", "NotOlderThan")];
        query.extend(version.as_deref().map(|v| ("resourceVersion", v)));
        let mut open = self.open(bounds::WATCH_SECONDS, &query).await?;
        let mut gathered = Gathered::new();
        loop {
            while let Some(frame) = open.frames.next() {
                match self.wire.event(&frame)? {
                    Event::Put(object) => gathered.put(object)?,
                    Event::Delete(last) => gathered.delete(last.key())?,
                    Event::Bookmark { version, initial_end: true } => {
                        self.replace(cache, course, version, gathered, from.is_none())?;
                        return Ok(open);
                    }
                    Event::Bookmark { .. } => {
                        return Err(WatchError::NoStreamingList("a plain bookmark came before the initial events were complete".into()));
                    }
                    Event::Error(status) => return Err(WatchError::of_status(status)),
                    Event::Bad(bad) => {
                        self.intake.note_bad(&bad);
                        gathered.bad(bad)?;
                    }
                }
            }
            let chunk = match tokio::time::timeout(bounds::STREAM_SILENCE, open.chunks.next(bounds::LIST_SILENCE)).await {
                Ok(chunk) => chunk?,
                Err(_) => return Err(WatchError::NoStreamingList(format!("silent for {} s", bounds::STREAM_SILENCE.as_secs()))),
            };
            open.frames
                .push(chunk.ok_or_else(|| WatchError::NoStreamingList("the stream ended before the initial events were complete".into()))?);
        }
    }

    /// The list in pages. A page token that expires costs one more try, without pages.
    async fn pages(&self, cache: &Cache, course: &mut Course, from: Option<Version>) -> Result<(), WatchError> {
        let (whole, consistent) = match self.gather(from, Some(bounds::PAGE)).await {
            Err(Broken { error: WatchError::Expired(_), later: true }) => (self.gather(None, None).await, true),
            other => (other, from.is_none()),
        };
        let (gathered, version) = whole.map_err(|broken| broken.error)?;
        self.replace(cache, course, version, gathered, consistent)
    }

    async fn gather(&self, from: Option<Version>, limit: Option<usize>) -> Result<(Gathered<T>, Version), Broken> {
        let mut gathered = Gathered::new();
        let version = pages::list(&self.intake.feed.client, self.intake.kind, &*self.wire, from, limit, |item| match item {
            Item::Good(object) => gathered.put(object),
            Item::Bad(bad) => {
                self.intake.note_bad(&bad);
                gathered.bad(bad)
            }
        })
        .await?;
        Ok((gathered, version))
    }

    /// Puts a complete list in the place of all that is known. One that is older is refused, unless only older ones have come for long.
    fn replace(
        &self,
        cache: &Cache,
        course: &mut Course,
        version: Version,
        gathered: Gathered<T>,
        consistent: bool,
    ) -> Result<(), WatchError> {
        let reset = consistent && course.older_since.is_some_and(|since| since.elapsed() >= bounds::OLDER_LISTS);
        let seen = self.intake.seen(cache).unwrap_or_default();
        let (objects, unreadable) = gathered.finish();
        match self.intake.ingest(cache, Entry::Refill { version, objects, unreadable, reset }) {
            Ok(()) => {
                if version < seen {
                    self.intake.metrics.resets.inc();
                    error!(kind = %self.intake.kind, %version, %seen,
                        "the server has gone back in time and stays there (restored from a backup?): taking its state as it is");
                }
                course.older_since = None;
                Ok(())
            }
            Err(e) => {
                course.older_since.get_or_insert_with(Instant::now);
                Err(e)
            }
        }
    }
}
