use std::collections::BTreeSet;

use evenkeel_api::{Key, Object, Version};
use evenkeel_cache::{Cache, Entry};
use tokio::time::Instant;
use tracing::{error, info};

use crate::{
    Bad, Event, Item, ListWatch, Malformed, WatchError, bounds,
    follow::Open,
    list_watch::Course,
    transport,
};

/// Objects of a list that is not complete yet.
struct Gathered<T> {
    /// In the order in which they came; `None`: gone again.
    steps: Vec<(Key, Option<T>)>,
    unreadable: BTreeSet<Key>,
    /// Something came that may be about an object already here.
    late: bool,
}

impl<T: Object> Gathered<T> {
    fn new() -> Self {
        Self { steps: Vec::new(), unreadable: BTreeSet::new(), late: false }
    }

    fn put(&mut self, object: T) -> Result<(), Malformed> {
        self.step(object.meta().key(), Some(object))
    }

    fn step(&mut self, key: Key, object: Option<T>) -> Result<(), Malformed> {
        if self.steps.len() >= bounds::LISTED {
            return Err(Malformed(format!("more than {} objects in one list", bounds::LISTED)));
        }
        // Lists are ordered by key; one that goes back may repeat an object.
        self.late |= self.steps.last().is_some_and(|(last, _)| *last >= key);
        if !self.unreadable.is_empty() {
            self.unreadable.remove(&key);
        }
        self.steps.push((key, object));
        Ok(())
    }

    fn bad(&mut self, bad: Bad) -> Result<(), Malformed> {
        let Some(key) = bad.key else { return Ok(()) };
        self.step(key.clone(), None)?;
        if !bad.deleted {
            self.unreadable.insert(key);
        }
        Ok(())
    }

    /// The last state of each object.
    fn objects(mut self) -> (Vec<T>, BTreeSet<Key>) {
        if self.late {
            self.steps.reverse();
            self.steps.sort_by(|a, b| a.0.cmp(&b.0));
            self.steps.dedup_by(|later, first| later.0 == first.0);
        }
        (self.steps.into_iter().filter_map(|(_, object)| object).collect(), self.unreadable)
    }
}

impl<T: Object> ListWatch<T> {
    /// Fills the store from a complete list. With a streaming list the watch goes on in the same stream.
    pub(crate) async fn fill(&self, cache: &Cache, course: &mut Course) -> Result<Option<Open>, WatchError> {
        let mut retried = false;
        loop {
            let from = self.seen(cache).filter(|_| !course.consistent);
            match self.fill_from(cache, course, from).await {
                Err(e @ (WatchError::Expired(_) | WatchError::AheadOfServer(_))) if !retried => {
                    info!(kind = %T::resource(), %e, "listing again, consistently");
                    course.consistent = true;
                    retried = true;
                }
                Ok(open) => {
                    self.metrics.lists.inc();
                    course.consistent = false;
                    return Ok(open);
                }
                Err(e) => {
                    course.consistent |= matches!(e, WatchError::Backwards { .. } | WatchError::AheadOfServer(_));
                    return Err(e);
                }
            }
        }
    }

    async fn fill_from(&self, cache: &Cache, course: &mut Course, from: Option<Version>) -> Result<Option<Open>, WatchError> {
        if course.pages_until.is_none_or(|until| Instant::now() >= until) {
            course.pages_until = None;
            match self.stream(cache, course, from).await {
                Ok(open) => return Ok(Some(open)),
                Err(WatchError::NoStreamingList(why)) => {
                    course.pages_until = Some(Instant::now() + bounds::STREAM_PAUSE);
                    info!(kind = %T::resource(), why, "no streaming list; listing in pages");
                }
                // Whatever else the server did not like about it, pages may do (manager 13.1 rule 1).
                Err(e @ (WatchError::Refused(_) | WatchError::Malformed(_))) => {
                    info!(kind = %T::resource(), %e, "no streaming list; listing in pages");
                }
                Err(e) => return Err(e),
            }
        }
        self.pages(cache, course, from).await?;
        self.metrics.paged.inc();
        Ok(None)
    }

    /// The streaming list: initial events until the bookmark that ends them.
    async fn stream(&self, cache: &Cache, course: &mut Course, from: Option<Version>) -> Result<Open, WatchError> {
        let version = from.map(|v| v.to_string());
        let mut query = vec![("sendInitialEvents", "true"), ("resourceVersionMatch", "NotOlderThan")];
        query.extend(version.as_deref().map(|v| ("resourceVersion", v)));
        let mut open = self.open(&query).await?;
        let mut gathered = Gathered::new();
        loop {
            while let Some(frame) = open.frames.next() {
                match self.wire.event(&frame)? {
                    Event::Put(object) => gathered.put(object)?,
                    Event::Delete(last) => gathered.step(last.meta().key(), None)?,
                    Event::Bookmark { version, initial_end: true } => {
                        self.replace(cache, course, version, gathered, from.is_none())?;
                        return Ok(open);
                    }
                    Event::Bookmark { .. } => {
                        return Err(WatchError::NoStreamingList("a plain bookmark came before the initial events were complete".into()));
                    }
                    Event::Error(status) => return Err(WatchError::of_status(status)),
                    Event::Bad(bad) => {
                        self.note_bad(&bad);
                        gathered.bad(bad)?;
                    }
                }
            }
            let chunk = match tokio::time::timeout(bounds::STREAM_SILENCE, open.chunks.next(bounds::LIST_SILENCE)).await {
                Ok(chunk) => chunk?,
                Err(_) => return Err(WatchError::NoStreamingList(format!("silent for {} s", bounds::STREAM_SILENCE.as_secs()))),
            };
            let chunk = chunk.ok_or_else(|| WatchError::NoStreamingList("the stream ended before the initial events were complete".into()))?;
            open.frames.push(chunk);
        }
    }

    /// The list in pages. A page token that expires costs one more try, without pages.
    async fn pages(&self, cache: &Cache, course: &mut Course, from: Option<Version>) -> Result<(), WatchError> {
        let whole = match self.page_by_page(from, bounds::PAGE).await {
            Err((WatchError::Expired(_), true)) => self.page_by_page(None, 0).await,
            other => other,
        };
        let (gathered, version) = whole.map_err(|(e, _)| e)?;
        self.replace(cache, course, version, gathered, from.is_none())
    }

    /// All pages of a list, and its version. An error says besides whether it was about a later page.
    async fn page_by_page(&self, from: Option<Version>, limit: usize) -> Result<(Gathered<T>, Version), (WatchError, bool)> {
        let (limit, version) = (limit.to_string(), from.map(|v| v.to_string()));
        let mut gathered = Gathered::new();
        let mut oldest: Option<Version> = None;
        let mut token: Option<String> = None;
        for _ in 0..bounds::PAGES {
            let mut query = Vec::new();
            if limit != "0" {
                query.push(("limit", limit.as_str()));
            }
            match (&token, &version) {
                (Some(token), _) => query.push(("continue", token)),
                (None, Some(version)) => query.extend([("resourceVersion", version.as_str()), ("resourceVersionMatch", "NotOlderThan")]),
                (None, None) => {}
            }
            let page = self.page(&query, &mut gathered).await.map_err(|e| (e, token.is_some()))?;
            // Watching from the oldest page misses nothing.
            oldest = Some(oldest.map_or(page.version, |v| v.min(page.version)));
            token = page.more;
            if token.is_none() {
                break;
            }
        }
        match (oldest, token) {
            (Some(version), None) => Ok((gathered, version)),
            _ => Err((Malformed(format!("a list of more than {} pages", bounds::PAGES)).into(), true)),
        }
    }

    async fn page(&self, query: &[(&str, &str)], gathered: &mut Gathered<T>) -> Result<crate::ListEnd, WatchError> {
        let mut chunks = transport::get(&self.feed.client, T::resource(), self.wire.accept(), query).await?;
        let mut reader = self.wire.list();
        let mut items = Vec::new();
        while let Some(chunk) = chunks.next(bounds::LIST_SILENCE).await? {
            reader.push(&chunk, &mut items)?;
            for item in items.drain(..) {
                match item {
                    Item::Good(object) => gathered.put(object)?,
                    Item::Bad(bad) => {
                        self.note_bad(&bad);
                        gathered.bad(bad)?;
                    }
                }
            }
        }
        Ok(reader.finish()?)
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
        let seen = self.seen(cache).unwrap_or_default();
        let (objects, unreadable) = gathered.objects();
        match self.ingest(cache, Entry::Refill { version, objects, unreadable, reset }) {
            Ok(_) => {
                if version < seen {
                    self.metrics.resets.inc();
                    error!(kind = %T::resource(), %version, %seen,
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
