use std::{borrow::Cow, pin::pin, sync::Arc};

use evenkeel_api::{Kind, Object, Version};
use evenkeel_cache::{Cache, Cached, Entry};
use futures::{StreamExt, future::BoxFuture};
use kube::{Api, api::ObjectMeta, core::DynamicResourceScope};
use kube_runtime::watcher;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::{
    Backoff, Bad, Feed, Json, Malformed, WatchError,
    driver::Cycle,
    intake::{Gathered, Intake},
    transport::chain,
};

/// `kube_runtime::watcher` behind the same trait: the second opinion that [`ListWatch`](crate::ListWatch) is checked against.
///
/// What it loses, since the library keeps it to itself:
/// - the versions of lists and bookmarks. The store stands at the highest version among its objects, so the freshness gate waits longer,
///   an idle kind never advances, and a list that is older than what was seen goes unnoticed;
/// - limits on sizes and silence within a list, `Retry-After`, and items as they arrive (a page is parsed whole);
/// - one unparsable frame ends its watch call, and a page that is no list its list call.
pub struct RuntimeWatcher<T> {
    intake: Intake<T>,
    config: watcher::Config,
}

impl<T: Object + Cached> RuntimeWatcher<T> {
    /// A driver with the library's defaults: pages of 500, consistent lists.
    pub fn new(feed: Feed) -> Self {
        Self::with_config(feed, watcher::Config::default())
    }

    /// A driver with settings of the library's own.
    pub fn with_config(feed: Feed, config: watcher::Config) -> Self {
        Self { intake: Intake::new(feed, T::resource()), config }
    }

    async fn follow(&self, cache: &Cache) {
        let mut pace = Backoff::default();
        loop {
            let api: Api<Raw> = Api::all_with(self.intake.feed.client.clone(), &T::resource());
            let mut events = pin!(watcher::watcher(api, self.config.clone()));
            let mut list: Option<Gathered<T>> = None;
            loop {
                let event = tokio::select! {
                    biased;
                    () = self.intake.again.notified() => break,
                    event = events.next() => event,
                };
                let taken = match event {
                    Some(Ok(event)) => self.take(cache, &mut list, event),
                    Some(Err(e)) => Err(WatchError::unreachable(chain(&e))),
                    None => break,
                };
                match taken {
                    Ok(()) => self.intake.troubles.clear(),
                    Err(error) => {
                        self.intake.pause(&mut pace, &error).await;
                        if !matches!(error, WatchError::Unreachable { .. }) {
                            break;
                        }
                    }
                }
            }
        }
    }

    fn take(&self, cache: &Cache, list: &mut Option<Gathered<T>>, event: watcher::Event<Raw>) -> Result<(), WatchError> {
        match event {
            watcher::Event::Init => *list = Some(Gathered::new()),
            watcher::Event::InitApply(raw) => {
                let gathered = list.get_or_insert_with(Gathered::new);
                match raw.object::<T>(false) {
                    Ok(object) => gathered.put(object)?,
                    Err(bad) => {
                        self.intake.note_bad(&bad);
                        gathered.bad(bad)?;
                    }
                }
            }
            watcher::Event::InitDone => {
                let gathered = list.take().ok_or_else(|| Malformed("the end of a list that never began".into()))?;
                let version = gathered.highest().max(self.intake.seen(cache).unwrap_or(Version(1)));
                let (objects, unreadable) = gathered.finish();
                self.intake.ingest(cache, Entry::Refill { version, objects, unreadable, reset: false })?;
                self.intake.metrics.lists.inc();
            }
            watcher::Event::Apply(raw) => self.event(cache, &raw, false)?,
            watcher::Event::Delete(raw) => self.event(cache, &raw, true)?,
        }
        Ok(())
    }

    fn event(&self, cache: &Cache, raw: &Raw, deleted: bool) -> Result<(), WatchError> {
        let entry = match raw.object::<T>(deleted) {
            Ok(object) if deleted => Entry::Delete(object),
            Ok(object) => Entry::Put(object),
            Err(bad) => match self.intake.pass_over(cache, bad) {
                Some(entry) => entry,
                None => return Ok(()),
            },
        };
        self.intake.ingest(cache, entry)
    }
}

impl<T: Object + Cached> Cycle for RuntimeWatcher<T> {
    type Of = T;

    fn intake(&self) -> &Intake<T> {
        &self.intake
    }

    fn catch_up(&self) {
        self.intake.again.notify_one();
    }

    fn cycle<'a>(&'a self, cache: &'a Cache) -> BoxFuture<'a, ()> {
        Box::pin(self.follow(cache))
    }
}

/// Any object as text, with the three fields that the library reads.
#[derive(Debug, Clone)]
struct Raw {
    meta: ObjectMeta,
    json: Arc<[u8]>,
}

impl Raw {
    fn object<T: Object>(&self, deleted: bool) -> Result<T, Bad> {
        Json::default().object(&self.json, deleted)
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let meta = ObjectMeta {
            name: text("/metadata/name"),
            namespace: text("/metadata/namespace"),
            resource_version: text("/metadata/resourceVersion"),
            ..ObjectMeta::default()
        };
        Ok(Self { meta, json: value.to_string().into_bytes().into() })
    }
}

impl kube::Resource for Raw {
    type DynamicType = Kind;
    type Scope = DynamicResourceScope;

    fn kind(kind: &Kind) -> Cow<'_, str> {
        kind.kind.into()
    }
    fn group(kind: &Kind) -> Cow<'_, str> {
        kind.group.into()
    }
    fn version(kind: &Kind) -> Cow<'_, str> {
        kind.version.into()
    }
    fn plural(kind: &Kind) -> Cow<'_, str> {
        kind.plural.into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}
