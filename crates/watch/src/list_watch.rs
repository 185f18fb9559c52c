use std::{sync::Arc, time::Duration};

use evenkeel_api::{Kind, Object};
use evenkeel_cache::Cache;
use futures::future::BoxFuture;
use tokio::{sync::Notify, time::Instant};
use tracing::{info, warn};

use crate::{
    Backoff, Driver, Feed, Json, Stop, Trouble, WatchError, Wire, bounds,
    driver::{Troubles, until},
    follow::{End, Open},
    intake::Intake,
};

/// The product's list/watch driver of one kind.
///
/// A cycle: fill the store by a streaming list, or by pages where the server has none; keep it by a watch that is resumed from the last
/// version as long as the server lets it; fill again when it does not. Lists and events older than what was seen are refused.
pub struct ListWatch<T> {
    pub(crate) intake: Intake<T>,
    pub(crate) wire: Arc<dyn Wire<T>>,
    pub(crate) again: Notify,
    troubles: Troubles,
}

/// What one run knows besides the store.
pub(crate) struct Course {
    pub(crate) pace: Backoff,
    /// The next list must be as new as the server can give, whatever we hold.
    pub(crate) consistent: bool,
    /// Since when all lists were older than what was seen.
    pub(crate) older_since: Option<Instant>,
    /// Until when no streaming list is tried.
    pub(crate) pages_until: Option<Instant>,
    /// Whether an immediate new list was already taken without any news since: the next one waits.
    pub(crate) hurried: bool,
}

impl<T: Object> ListWatch<T> {
    /// A driver that speaks JSON.
    pub fn new(feed: Feed) -> Self {
        Self::with_wire(feed, Arc::new(Json::default()))
    }

    /// A driver with a wire form of its own.
    pub fn with_wire(feed: Feed, wire: Arc<dyn Wire<T>>) -> Self {
        Self { intake: Intake::new(feed), wire, again: Notify::new(), troubles: Troubles::default() }
    }

    async fn cycle(&self, cache: &Cache) {
        let mut course = Course { pace: Backoff::default(), consistent: false, older_since: None, pages_until: None, hurried: false };
        loop {
            match self.fill(cache, &mut course).await {
                Ok(open) => {
                    self.troubles.clear();
                    self.keep(cache, &mut course, open).await;
                }
                Err(e) => self.pause(&mut course, &e).await,
            }
        }
    }

    /// Watches until a new list is due.
    async fn keep(&self, cache: &Cache, course: &mut Course, mut open: Option<Open>) {
        loop {
            let end = match open.take() {
                Some(open) => self.follow(cache, course, open).await,
                None => match self.resume(cache).await {
                    Ok(open) => {
                        self.intake.metrics.watches.inc();
                        self.troubles.clear();
                        self.follow(cache, course, open).await
                    }
                    Err(e) => Err(e),
                },
            };
            match end {
                Ok(End::Asked) => return,
                Ok(End::Served) => {}
                Ok(End::Short { news: true }) => self.pause(course, &WatchError::unreachable("the watch ended at once")).await,
                Ok(End::Short { news: false }) => {
                    self.pause(course, &WatchError::unreachable("the watch ended at once and without news")).await;
                    return;
                }
                Err(e @ WatchError::Unreachable { .. }) => self.pause(course, &e).await,
                Err(e @ (WatchError::Expired(_) | WatchError::AheadOfServer(_))) => {
                    course.consistent |= matches!(e, WatchError::AheadOfServer(_));
                    if std::mem::replace(&mut course.hurried, true) {
                        self.pause(course, &e).await;
                    } else {
                        info!(kind = %T::resource(), %e, "listing again");
                    }
                    return;
                }
                Err(e) => {
                    course.consistent |= matches!(e, WatchError::Backwards { .. });
                    self.pause(course, &e).await;
                    return;
                }
            }
        }
    }

    /// Notes a failure and waits as long as it asks for. A refill that somebody asked for does not cut the pause short.
    async fn pause(&self, course: &mut Course, error: &WatchError) {
        let asked = match error {
            WatchError::Unreachable { retry_after, .. } => *retry_after,
            WatchError::Refused(status) => status.retry_after,
            _ => None,
        };
        let pause = course.pace.next((self.intake.feed.chance)()).max(asked.unwrap_or_default().min(bounds::RETRY_AFTER));
        self.intake.metrics.failures.inc();
        let failures = self.troubles.add(error);
        warn!(kind = %T::resource(), %error, failures, pause_ms = millis(pause), "not current; trying again after a pause");
        tokio::time::sleep(pause).await;
    }
}

impl<T: Object> Driver for ListWatch<T> {
    fn kind(&self) -> Kind {
        T::resource()
    }

    fn register(&self, cache: &Cache) {
        cache.register::<T>();
    }

    fn run<'a>(&'a self, cache: Arc<Cache>, stop: Stop) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            cache.register::<T>();
            until(stop, self.cycle(&cache)).await;
        })
    }

    fn refill(&self) {
        self.again.notify_one();
    }

    fn trouble(&self) -> Option<Trouble> {
        self.troubles.get()
    }
}

fn millis(pause: Duration) -> u64 {
    u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)
}
