//! Random operations against a model that is too simple to be wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel_queue::{Priority, Queue, QueueMetrics, QueueOptions};
use futures::FutureExt;
use proptest::prelude::*;
use tokio::time::{Instant, advance};

type Key = u8;

#[derive(Debug, Clone)]
enum Op {
    Add(Key, Priority),
    AddAfter(Key, u64),
    Retry(Key),
    Forget(Key),
    Next,
    Done(usize),
    Advance(u64),
    ShutDown(bool),
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0..6_u8;
    let priority = prop_oneof![Just(Priority::Changed), Just(Priority::Existing)];
    prop_oneof![
        6 => (key.clone(), priority).prop_map(|(key, priority)| Op::Add(key, priority)),
        3 => (key.clone(), 0..40_u64).prop_map(|(key, ms)| Op::AddAfter(key, ms)),
        2 => key.clone().prop_map(Op::Retry),
        1 => key.prop_map(Op::Forget),
        8 => Just(Op::Next),
        6 => (0..4_usize).prop_map(Op::Done),
        3 => (0..30_u64).prop_map(Op::Advance),
        1 => (0..20_u8).prop_map(|n| if n < 2 { Op::ShutDown(n == 0) } else { Op::Next }),
    ]
}

/// Waiting keys as one list in order of arrival, everything else as maps, every rule as one obvious line.
#[derive(Default)]
struct Model {
    waiting: Vec<(Key, Priority)>,
    busy: BTreeMap<Key, (Priority, Option<Priority>)>,
    delayed: BTreeMap<Key, (u64, Priority)>,
    failures: BTreeMap<Key, u32>,
    run_of_changed: u32,
    shut: bool,
}

impl Model {
    fn put(&mut self, key: Key, priority: Priority) {
        if let Some(at) = self.waiting.iter().position(|(k, _)| *k == key) {
            if priority < self.waiting[at].1 {
                self.waiting.remove(at);
                self.waiting.push((key, priority));
            }
        } else if let Some((_, again)) = self.busy.get_mut(&key) {
            *again = Some(again.map_or(priority, |before| before.min(priority)));
        } else {
            self.waiting.push((key, priority));
        }
    }

    fn delay(&mut self, key: Key, priority: Priority, ms: u64, now: u64) {
        if self.shut {
        } else if ms == 0 {
            self.put(key, priority);
        } else {
            let new = (now + ms, priority);
            self.delayed.entry(key).and_modify(|(at, lane)| (*at, *lane) = (new.0.min(*at), new.1.min(*lane))).or_insert(new);
        }
    }

    fn retry(&mut self, key: Key, now: u64) {
        if !self.shut {
            let failures = self.failures.entry(key).or_default();
            let ms = (5_u64 << (*failures).min(10)).min(80);
            *failures += 1;
            let priority = self.busy.get(&key).map_or(Priority::Changed, |(priority, _)| *priority);
            self.delay(key, priority, ms, now);
        }
    }

    fn add_due(&mut self, now: u64) {
        let mut due: Vec<_> = self.delayed.iter().filter(|(_, (at, _))| *at <= now).map(|(key, (at, lane))| (*at, *key, *lane)).collect();
        due.sort();
        for (_, key, lane) in due {
            self.delayed.remove(&key);
            self.put(key, lane);
        }
    }

    fn next(&mut self, now: u64) -> Option<Key> {
        self.add_due(now);
        let first = |lane| self.waiting.iter().position(|(_, priority)| *priority == lane);
        let (at, run) = match (first(Priority::Changed), first(Priority::Existing)) {
            (Some(changed), None) => (changed, 0),
            (Some(changed), Some(_)) if self.run_of_changed < 7 => (changed, self.run_of_changed + 1),
            (_, existing) => (existing?, 0),
        };
        self.run_of_changed = run;
        let (key, priority) = self.waiting.remove(at);
        self.delayed.remove(&key);
        self.busy.insert(key, (priority, None));
        Some(key)
    }

    fn done(&mut self, key: Key) {
        if let Some((_, Some(again))) = self.busy.remove(&key) {
            self.put(key, again);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_queue_does_what_the_model_does(ops in proptest::collection::vec(op(), 1..200)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let options = QueueOptions { cap: Duration::from_millis(80), overall: None, ..QueueOptions::named("model") };
            let queue = Queue::new(options, &QueueMetrics::default());
            let mut model = Model::default();
            let start = Instant::now();
            for op in ops {
                // Keeps the runtime's budget for one poll from running out, which would look like an empty queue.
                tokio::task::yield_now().await;
                let now = u64::try_from(start.elapsed().as_millis()).unwrap();
                match op {
                    Op::Add(key, priority) => {
                        queue.add(key, priority);
                        if !model.shut {
                            model.put(key, priority);
                        }
                    }
                    Op::AddAfter(key, ms) => {
                        queue.add_after(key, Duration::from_millis(ms));
                        model.delay(key, Priority::Changed, ms, now);
                    }
                    Op::Retry(key) => {
                        queue.retry(key);
                        model.retry(key, now);
                    }
                    Op::Forget(key) => {
                        queue.forget(&key);
                        model.failures.remove(&key);
                    }
                    Op::Next => {
                        let got = queue.next().now_or_never();
                        let expected = model.next(now);
                        prop_assert_eq!(got.flatten(), expected);
                        prop_assert!(got.is_some() || !model.shut, "a worker waits though the queue is shut down");
                    }
                    Op::Done(n) => {
                        if let Some(key) = model.busy.keys().nth(n).copied() {
                            queue.done(&key);
                            model.done(key);
                        } else {
                            queue.done(&99);
                        }
                    }
                    Op::Advance(ms) => advance(Duration::from_millis(ms)).await,
                    Op::ShutDown(drop_waiting) => {
                        model.shut = true;
                        model.delayed.clear();
                        if drop_waiting {
                            queue.shut_down_now();
                            model.waiting.clear();
                            model.busy.values_mut().for_each(|(_, again)| *again = None);
                        } else {
                            queue.shut_down();
                        }
                    }
                }
                prop_assert_eq!(queue.failures(&0), model.failures.get(&0).copied().unwrap_or(0));
                if model.delayed.is_empty() {
                    prop_assert_eq!(queue.len(), model.waiting.len());
                }
            }
            Ok(())
        })?;
    }
}
