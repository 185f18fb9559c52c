use std::collections::{BTreeMap, BTreeSet};

use evenkeel_plan::{Event, EventType};
use jiff::{SignedDuration, Timestamp};

/// Keys remembered per stage (manager 11.2).
const MEMORY: usize = 4096;
/// Different messages after which like events are combined.
const COMBINE_FROM: usize = 10;
/// Like events further apart than this start anew.
const COMBINE_WITHIN: SignedDuration = SignedDuration::from_secs(600);
/// Events that one object may have at once, and how long one more takes.
const BURST: f64 = 25.0;
const REFILL_SECONDS: f64 = 300.0;

/// Type and identity of an event without its text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Similar {
    object: String,
    kind: EventType,
    reason: &'static str,
}

/// What is to be sent for an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Correlated {
    /// A new event object.
    Create {
        /// Text, perhaps combined.
        message: String,
    },
    /// One more of an event object that was made before.
    Repeat {
        /// Text, perhaps combined.
        message: String,
        /// How often it happened now.
        count: u32,
        /// The event's `firstTimestamp`.
        first: Timestamp,
        /// Name of the event object.
        name: String,
    },
    /// Too many for this object.
    Dropped,
}

#[derive(Debug, Default)]
struct Gathered {
    messages: BTreeSet<String>,
    last: Option<Timestamp>,
}

#[derive(Debug, Clone)]
struct Known {
    count: u32,
    first: Timestamp,
    name: String,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Timestamp,
}

/// Aggregation, de-duplication and spam filter of one recorder, in this order (manager 11.2).
#[derive(Debug, Default)]
pub(crate) struct Correlator {
    gathered: Recent<Similar, Gathered>,
    known: Recent<(Similar, String), Known>,
    spam: Recent<(String, EventType), Bucket>,
}

impl Correlator {
    /// What to send for `event` at `now`; `name` is the name that a new event object would get.
    pub(crate) fn correlate(&mut self, event: &Event, name: &str, now: Timestamp) -> Correlated {
        let object = format!("{} {}/{} {}", event.about.kind.kind, event.about.namespace, event.about.name, event.about.uid);
        let similar = Similar { object: object.clone(), kind: event.kind, reason: event.reason };

        let gathered = self.gathered.entry(similar.clone(), Gathered::default);
        if gathered.last.is_some_and(|last| now.duration_since(last) > COMBINE_WITHIN) {
            gathered.messages.clear();
        }
        gathered.last = Some(now);
        gathered.messages.insert(event.message.clone());
        let combined = gathered.messages.len() >= COMBINE_FROM;
        if combined {
            // Only their number counts from here on: the memory of one key stays bounded.
            while gathered.messages.len() > COMBINE_FROM {
                gathered.messages.pop_first();
            }
        }
        let message = if combined { format!("(combined from similar events): {}", event.message) } else { event.message.clone() };
        let key = (similar, if combined { String::new() } else { message.clone() });

        let bucket = self.spam.entry((object, event.kind), || Bucket { tokens: BURST, at: now });
        bucket.tokens = (bucket.tokens + now.duration_since(bucket.at).as_secs_f64().max(0.0) / REFILL_SECONDS).min(BURST);
        bucket.at = now;
        let admitted = bucket.tokens >= 1.0;
        if admitted {
            bucket.tokens -= 1.0;
        }

        // A dropped event still counts, as upstream has it: the next one that passes tells the whole number.
        let fresh = Known { count: 0, first: now, name: name.to_owned() };
        let known = self.known.entry(key, || fresh);
        known.count += 1;
        match (admitted, known.count) {
            (false, _) => Correlated::Dropped,
            (true, 1) => Correlated::Create { message },
            (true, count) => Correlated::Repeat { message, count, first: known.first, name: known.name.clone() },
        }
    }
}

/// A map that forgets what was used longest ago.
#[derive(Debug)]
struct Recent<K, V> {
    values: BTreeMap<K, (u64, V)>,
    order: BTreeMap<u64, K>,
    clock: u64,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self { values: BTreeMap::new(), order: BTreeMap::new(), clock: 0 }
    }
}

impl<K: Ord + Clone, V> Recent<K, V> {
    fn entry(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        self.clock += 1;
        if let Some((used, _)) = self.values.get(&key) {
            self.order.remove(used);
        } else if self.values.len() >= MEMORY
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.values.remove(&oldest);
        }
        self.order.insert(self.clock, key.clone());
        let slot = self.values.entry(key).or_insert_with(|| (0, make()));
        slot.0 = self.clock;
        &mut slot.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_api::{PODS, Uid, Version};
    use evenkeel_plan::ObjectReference;

    fn event(message: &str) -> Event {
        let about = ObjectReference { kind: &PODS, namespace: "n".into(), name: "a".into(), uid: Uid::new("u"), version: Version(1) };
        Event::normal(about, "R", message)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// manager 16.33
    #[test]
    fn the_same_event_five_times_is_one_object_with_count_five() {
        let mut c = Correlator::default();
        assert_eq!(c.correlate(&event("m"), "a.1", at(0)), Correlated::Create { message: "m".into() });
        for n in 2..=5 {
            let want = Correlated::Repeat { message: "m".into(), count: n, first: at(0), name: "a.1".into() };
            assert_eq!(c.correlate(&event("m"), "a.9", at(i64::from(n))), want);
        }
    }

    /// manager 16.33
    #[test]
    fn the_tenth_different_message_and_later_ones_are_combined() {
        let mut c = Correlator::default();
        let sent: Vec<Correlated> = (1..=12).map(|n| c.correlate(&event(&format!("m{n}")), &format!("a.{n}"), at(n))).collect();
        assert!(matches!(&sent[8], Correlated::Create { message } if message == "m9"));
        assert!(matches!(&sent[9], Correlated::Create { message } if message == "(combined from similar events): m10"));
        assert!(matches!(&sent[11], Correlated::Repeat { message, count: 3, name, .. } if message.ends_with("m12") && name == "a.10"));
    }

    #[test]
    fn like_events_far_apart_are_not_combined() {
        let mut c = Correlator::default();
        for n in 1..=12 {
            let sent = c.correlate(&event(&format!("m{n}")), "a", at(n * 601));
            assert!(matches!(sent, Correlated::Create { message } if !message.starts_with('(')));
        }
    }

    /// manager 16.34
    #[test]
    fn of_thirty_events_in_a_second_twenty_five_are_recorded() {
        let mut c = Correlator::default();
        let sent = (0..30).map(|n| c.correlate(&event(&format!("m{n}")), "a", at(0))).filter(|s| *s != Correlated::Dropped).count();
        assert_eq!(sent, 25);
        assert_ne!(c.correlate(&event("later"), "a", at(301)), Correlated::Dropped);
    }

    #[test]
    fn memory_is_bounded() {
        let mut r: Recent<u32, ()> = Recent::default();
        for n in 0..10_000 {
            r.entry(n, || ());
        }
        assert_eq!((r.values.len(), r.order.len()), (MEMORY, MEMORY));
    }
}
