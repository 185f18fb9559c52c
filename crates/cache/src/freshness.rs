use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use evenkeel_api::{Key, Kind, Uid, Version};

use crate::Stores;

/// Who waits: a loop and its key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// Canonical name of the loop.
    pub controller: &'static str,
    /// Key of the work.
    pub key: Key,
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.controller, self.key)
    }
}

/// What a cache must show before its owner looks again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// The kind has reached the version of our write.
    Reached {
        /// Kind that was written.
        kind: Kind,
        /// Version that the server answered with.
        version: Version,
    },
    /// The object is gone, or known to be going.
    Gone {
        /// Kind of the deleted object.
        kind: Kind,
        /// Its namespace and name.
        key: Key,
        /// Its uid: another life of the name does not count.
        uid: Uid,
    },
}

impl Wait {
    /// The kind that it is about.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Reached { kind, .. } | Self::Gone { kind, .. } => kind,
        }
    }

    /// Whether the stores show it.
    pub fn covered(&self, stores: &Stores) -> bool {
        match self {
            Self::Reached { kind, version } => stores.any(kind).is_none_or(|s| s.version() >= *version),
            Self::Gone { kind, key, uid } => {
                stores.any(kind).is_none_or(|s| s.header(&key.namespace, &key.name).is_none_or(|h| h.uid() != uid || h.deleting()))
            }
        }
    }
}

/// Own writes that the cache has not shown yet, per owner. Bounded by the writes of one pass per key.
///
/// Waits are indexed by what ends them, so that an event costs what it releases and not what waits.
#[derive(Debug, Default)]
pub(crate) struct Freshness {
    waits: BTreeMap<Owner, Waiting>,
    by_kind: BTreeMap<Kind, Ends>,
    /// Number of the last wait.
    last: u64,
}

/// What one owner waits for.
#[derive(Debug, Default)]
struct Waiting {
    /// And the number of each.
    waits: BTreeMap<Wait, u64>,
    /// Whether it wanted to look meanwhile. Nobody else has to be told of the end: what comes then is an event like any other.
    parked: bool,
}

/// Who waits for something of one kind, by what ends the wait.
#[derive(Debug, Default)]
struct Ends {
    /// Until the kind reaches this version.
    reached: BTreeSet<(Version, Owner)>,
    /// Until this object is gone or going, in whichever life.
    gone: BTreeSet<(Key, Owner)>,
}

/// One step of a kind's log, as far as waits are concerned.
pub(crate) struct News<'n> {
    /// The kind.
    pub(crate) kind: Kind,
    /// Namespace and name of everything that changed.
    pub(crate) changed: &'n [Key],
    /// What was waited for may never come: the server was restored from a backup, and has given out no such version, or not deleted that.
    pub(crate) back: bool,
}

impl Freshness {
    pub(crate) fn add(&mut self, owner: &Owner, wait: Wait) {
        let waits = &mut self.waits.entry(owner.clone()).or_default().waits;
        if let Wait::Reached { kind, version } = &wait {
            // Of several writes to one kind only the last counts.
            let known = waits.keys().find(|w| matches!(w, Wait::Reached { kind: k, .. } if k == kind)).cloned();
            match known {
                Some(Wait::Reached { version: known, .. }) if known >= *version => return,
                Some(known) => {
                    waits.remove(&known);
                    self.unindex(owner, &known);
                }
                None => {}
            }
        }
        let ends = self.by_kind.entry(wait.kind()).or_default();
        match &wait {
            Wait::Reached { version, .. } => ends.reached.insert((*version, owner.clone())),
            Wait::Gone { key, .. } => ends.gone.insert((key.clone(), owner.clone())),
        };
        self.last += 1;
        self.waits.entry(owner.clone()).or_default().waits.insert(wait, self.last);
    }

    /// Number of the last wait.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Ends all waits for a kind up to this number: how many, and the owners that wanted to look and for whom nothing is missing any more.
    pub(crate) fn settled(&mut self, kind: Kind, last: u64) -> (usize, Vec<Owner>) {
        let Some(ends) = self.by_kind.get(kind) else { return (0, Vec::new()) };
        let owners = ends.reached.iter().map(|(_, owner)| owner).chain(ends.gone.iter().map(|(_, owner)| owner));
        let owners: BTreeSet<Owner> = owners.cloned().collect();
        let ended = Cell::new(0);
        let over = |wait: &Wait, number| {
            let over = wait.kind() == kind && number <= last;
            ended.set(ended.get() + usize::from(over));
            over
        };
        let released = owners.into_iter().filter(|owner| self.drop_waits(owner, over)).collect();
        (ended.get(), released)
    }

    /// What the owner, who wants to look, still waits for; forgets what is covered.
    pub(crate) fn behind(&mut self, owner: &Owner, stores: &Stores) -> Option<Wait> {
        self.drop_waits(owner, |wait, _| wait.covered(stores));
        let waiting = self.waits.get_mut(owner)?;
        waiting.parked = true;
        waiting.waits.keys().next().cloned()
    }

    /// Owners that wanted to look and for whom, after the news, nothing is missing any more.
    pub(crate) fn released(&mut self, news: &News<'_>, stores: &Stores) -> Vec<Owner> {
        let told = self.told(news, stores);
        let dropped = |wait: &Wait, _| wait.covered(stores) || (news.back && wait.kind() == news.kind);
        told.into_iter().filter(|owner| self.drop_waits(owner, dropped)).collect()
    }

    /// Owners whom the news concern: all that are looked at for them.
    fn told(&self, news: &News<'_>, stores: &Stores) -> BTreeSet<Owner> {
        let Some(ends) = self.by_kind.get(news.kind) else { return BTreeSet::new() };
        let at = stores.any(news.kind).map(|s| s.version()).unwrap_or_default();
        let reached = ends.reached.iter().take_while(|(version, _)| news.back || *version <= at).map(|(_, owner)| owner);
        let gone = news.changed.iter().flat_map(|key| ends.gone_by(key));
        let undone = ends.gone.iter().filter(|_| news.back).map(|(_, owner)| owner);
        reached.chain(gone).chain(undone).cloned().collect()
    }

    pub(crate) fn forget(&mut self, owner: &Owner) {
        self.drop_waits(owner, |_, _| true);
    }

    /// Takes waits of an owner out. Whether it wanted to look, and nothing is left.
    fn drop_waits(&mut self, owner: &Owner, dropped: impl Fn(&Wait, u64) -> bool) -> bool {
        let Some(waiting) = self.waits.get_mut(owner) else { return false };
        let over: Vec<Wait> = waiting.waits.extract_if(.., |wait, number| dropped(wait, *number)).map(|(wait, _)| wait).collect();
        let released = waiting.waits.is_empty() && waiting.parked;
        if waiting.waits.is_empty() {
            self.waits.remove(owner);
        }
        over.iter().for_each(|wait| self.unindex(owner, wait));
        released
    }

    fn unindex(&mut self, owner: &Owner, wait: &Wait) {
        let Some(ends) = self.by_kind.get_mut(wait.kind()) else { return };
        match wait {
            Wait::Reached { version, .. } => ends.reached.remove(&(*version, owner.clone())),
            // Two lives of one name are two waits and one place; while one waits still, the other's end tells too.
            Wait::Gone { key, .. } => {
                let more = self.waits.get(owner).is_some_and(|waiting| {
                    waiting.waits.keys().any(|w| matches!(w, Wait::Gone { kind, key: k, .. } if *kind == wait.kind() && k == key))
                });
                !more && ends.gone.remove(&(key.clone(), owner.clone()))
            }
        };
    }
}

impl Ends {
    fn gone_by<'e>(&'e self, key: &'e Key) -> impl Iterator<Item = &'e Owner> {
        let least = Owner { controller: "", key: Key::new("", "") };
        self.gone.range((key.clone(), least)..).take_while(move |(k, _)| k == key).map(|(_, owner)| owner)
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_api::{Object, PODS, Pod};
    use serde_json::json;

    use super::*;

    fn owner(n: usize) -> Owner {
        Owner { controller: "test-controller", key: Key::new("n", format!("web-{n:05}")) }
    }

    fn pod(name: &str, version: u64) -> Pod {
        let value = json!({"metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": version.to_string()}});
        Pod::decode(value.to_string().as_bytes()).unwrap()
    }

    /// reliability 1, row 18: an event is not paid for by everybody who waits.
    #[test]
    fn of_ten_thousand_that_wait_an_event_looks_only_at_those_whom_it_concerns() {
        let mut freshness = Freshness::default();
        for n in 0..10_000 {
            freshness.add(&owner(n), Wait::Reached { kind: &PODS, version: Version(100 + n as u64) });
            freshness
                .add(&owner(n), Wait::Gone { kind: &PODS, key: Key::new("n", format!("pod-{n}")), uid: Uid::new(&format!("pod-{n}")) });
        }
        let stores = Stores::default().with([pod("other", 102)]);
        let changed = [Key::new("n", "other"), Key::new("n", "pod-7")];
        let news = News { kind: &PODS, changed: &changed, back: false };
        assert_eq!(freshness.told(&news, &stores), BTreeSet::from([owner(0), owner(1), owner(2), owner(7)]));
        (0..2).for_each(|n| assert!(freshness.behind(&owner(n), &Stores::default().with([pod(&format!("pod-{n}"), 99)])).is_some()));
        assert_eq!(freshness.released(&news, &stores), [owner(0), owner(1)], "these wanted to look, and their pods are gone already");
        assert_eq!(freshness.told(&news, &stores), BTreeSet::new(), "what has ended is looked at once");
        (0..10_000).for_each(|n| freshness.forget(&owner(n)));
        assert!(freshness.waits.is_empty() && freshness.by_kind.values().all(|e| e.reached.is_empty() && e.gone.is_empty()));
    }

    /// reliability F8: a server that was restored from a backup gives no version out that was waited for.
    #[test]
    fn a_server_that_went_back_ends_every_wait_for_its_versions() {
        let mut freshness = Freshness::default();
        freshness.add(&owner(1), Wait::Reached { kind: &PODS, version: Version(900) });
        let stores = Stores::default().with([pod("a", 5)]);
        assert!(freshness.behind(&owner(1), &stores).is_some());
        assert_eq!(freshness.released(&News { kind: &PODS, changed: &[], back: false }, &stores), []);
        assert_eq!(freshness.released(&News { kind: &PODS, changed: &[], back: true }, &stores), [owner(1)]);
    }

    /// The same: what it was seen to delete may be there again, in the same life.
    #[test]
    fn a_server_that_went_back_ends_every_wait_for_its_deletions() {
        let mut freshness = Freshness::default();
        freshness.add(&owner(1), Wait::Gone { kind: &PODS, key: Key::new("n", "a"), uid: Uid::new("a") });
        let stores = Stores::default().with([pod("a", 5)]);
        assert!(freshness.behind(&owner(1), &stores).is_some());
        assert_eq!(freshness.released(&News { kind: &PODS, changed: &[], back: false }, &stores), []);
        assert_eq!(freshness.released(&News { kind: &PODS, changed: &[], back: true }, &stores), [owner(1)]);
    }
}
