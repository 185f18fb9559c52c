use std::sync::Arc;

use evenkeel_api::{Kind, Object, Partial};
use evenkeel_cache::{Cache, Cached};
use futures::future::BoxFuture;
use tokio::{sync::Notify, time::Instant};
use tracing::info;

use crate::{
    Backoff, Feed, Json, WatchError, Wire, bounds,
    driver::Cycle,
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
    /// Told when somebody wants to know soon how far the watch is.
    pub(crate) hurry: Notify,
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

impl ListWatch<Partial> {
    /// A driver of any kind, whose objects come without their contents.
    pub fn headers(feed: Feed, kind: Kind) -> Self {
        let wire = Json { metadata_only: true, ..Json::default() };
        Self { intake: Intake::new(feed, kind), wire: Arc::new(wire), hurry: Notify::new() }
    }
}

impl<T: Object + Cached> ListWatch<T> {
    /// A driver that speaks JSON.
    pub fn new(feed: Feed) -> Self {
        Self::with_wire(feed, Arc::new(Json::default()))
    }

    /// A driver with a wire form of its own.
    pub fn with_wire(feed: Feed, wire: Arc<dyn Wire<T>>) -> Self {
        Self { intake: Intake::new(feed, T::resource()), wire, hurry: Notify::new() }
    }
}

impl<T: Cached> ListWatch<T> {
    /// Watches until a new list is due.
    async fn keep(&self, cache: &Cache, course: &mut Course, mut open: Option<Open>) {
        let mut seconds = bounds::WATCH_SECONDS;
        loop {
            let end = match open.take() {
                Some(open) => self.follow(cache, course, open).await,
                None => match self.resume(cache, std::mem::replace(&mut seconds, bounds::WATCH_SECONDS)).await {
                    Ok(open) => {
                        self.intake.metrics.watches.inc();
                        self.intake.troubles.clear();
                        self.follow(cache, course, open).await
                    }
                    Err(e) => Err(e),
                },
            };
            match end {
                Ok(End::Asked) => {
                    // Whoever asks doubts what is there: a list that is only not older than that could say the same for ever.
                    course.consistent = true;
                    return;
                }
                Ok(End::Served) => {}
                Ok(End::Hurried) => seconds = bounds::WATCH_HURRIED,
                Ok(End::Short { news: true }) => {
                    self.intake.pause(&mut course.pace, &WatchError::unreachable("the watch ended at once")).await
                }
                Ok(End::Short { news: false }) => {
                    self.intake.pause(&mut course.pace, &WatchError::unreachable("the watch ended at once and without news")).await;
                    return;
                }
                Err(e @ WatchError::Unreachable { .. }) => self.intake.pause(&mut course.pace, &e).await,
                Err(e @ (WatchError::Expired(_) | WatchError::AheadOfServer(_))) => {
                    course.consistent |= matches!(e, WatchError::AheadOfServer(_));
                    if std::mem::replace(&mut course.hurried, true) {
                        self.intake.pause(&mut course.pace, &e).await;
                    } else {
                        info!(kind = %self.intake.kind, %e, "listing again");
                    }
                    return;
                }
                Err(e) => {
                    course.consistent |= matches!(e, WatchError::Backwards { .. });
                    self.intake.pause(&mut course.pace, &e).await;
                    return;
                }
            }
        }
    }
}

impl<T: Cached> Cycle for ListWatch<T> {
    type Of = T;

    fn intake(&self) -> &Intake<T> {
        &self.intake
    }

    fn catch_up(&self) {
        self.hurry.notify_one();
    }

    fn cycle<'a>(&'a self, cache: &'a Cache) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let mut course = Course { pace: Backoff::default(), consistent: false, older_since: None, pages_until: None, hurried: false };
            loop {
                match self.fill(cache, &mut course).await {
                    Ok(open) => {
                        self.intake.troubles.clear();
                        self.keep(cache, &mut course, open).await;
                    }
                    Err(e) => self.intake.pause(&mut course.pace, &e).await,
                }
            }
        })
    }
}
