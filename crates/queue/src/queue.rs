use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, Notify, Semaphore};
use tokio::time::{Instant, sleep_until};

use crate::Bucket;
use crate::metrics::{Handles, Progress, QueueMetrics};
use crate::state::{Added, Priority, State};

/// What a queue is called and how it backs off.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueOptions {
    /// `name` label of its metrics.
    pub name: String,
    /// Wait after a key's first failure; it doubles with each further one.
    pub base: Duration,
    /// Longest wait of one key.
    pub cap: Duration,
    /// Limit over all retries of the queue; the larger wait counts. `None`: no limit.
    pub overall: Option<Bucket>,
}

impl QueueOptions {
    /// The limits most queues have: 5 ms doubling up to 1000 s, and 10 retries a second over all keys after a burst of 100 (manager 12.5).
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), base: Duration::from_millis(5), cap: Duration::from_secs(1000), overall: Some(Bucket::DEFAULT) }
    }
}

/// A keyed work queue. Cheap to clone; all clones are the same queue.
///
/// Workers loop over [`Queue::next`] and call [`Queue::done`] for each key they got, also after a panic of the pass. Workers that wait are
/// served in the order in which they came. A key's pass must say itself when it wants to be looked at again: handing the key out drops
/// what [`Queue::add_after`] had planned for it.
///
/// ```
/// # use evenkeel_queue::{Priority, Queue, QueueMetrics, QueueOptions};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let queue = Queue::new(QueueOptions::named("deployment"), &QueueMetrics::default());
/// queue.add("default/web", Priority::Changed);
/// queue.shut_down();
/// while let Some(key) = queue.next().await {
///     // look, decide, act; then either forget(&key), add_after(key, …) or retry(key), and always:
///     queue.forget(&key);
///     queue.done(&key);
/// }
/// # }
/// ```
pub struct Queue<K: Ord + Clone + Send + 'static> {
    inner: Arc<Inner<K>>,
}

impl<K: Ord + Clone + Send + 'static> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

struct Inner<K: Ord + Clone + Send> {
    state: Mutex<State<K>>,
    /// One permit per waiting key, given to waiting workers in order. Closed at shutdown.
    ready: Semaphore,
    /// Held by the one waiting worker that looks after delayed keys.
    timekeeper: AsyncMutex<()>,
    /// The earliest due time came nearer.
    nearer: Notify,
    metrics: Handles,
}

impl<K: Ord + Clone + Send + 'static> Queue<K> {
    /// An empty queue.
    pub fn new(options: QueueOptions, metrics: &QueueMetrics) -> Self {
        let inner = Arc::new_cyclic(|queue: &Weak<Inner<K>>| Inner {
            state: Mutex::new(State::new(&options)),
            ready: Semaphore::new(0),
            timekeeper: AsyncMutex::new(()),
            nearer: Notify::new(),
            metrics: metrics.of(&options.name, queue.clone()),
        });
        Self { inner }
    }

    /// Adds a key. One that waits already is at most promoted; one that a worker holds is queued once when the worker is done.
    pub fn add(&self, key: K, priority: Priority) {
        let mut state = self.inner.lock();
        let added = state.add(key, priority, Instant::now());
        self.inner.account(added);
    }

    /// Adds a key after a delay; without one, at once. For one key the earliest due time wins, and handing the key out drops it.
    pub fn add_after(&self, key: K, delay: Duration) {
        let mut state = self.inner.lock();
        self.inner.delay(&mut state, key, Priority::Changed, delay);
    }

    /// Adds a key after its back-off, which grows with each call until [`Queue::forget`]. It goes back to the lane it came from.
    pub fn retry(&self, key: K) {
        let mut state = self.inner.lock();
        if !state.is_shut() {
            let (delay, priority) = state.fail(&key, Instant::now());
            self.inner.delay(&mut state, key, priority, delay);
        }
    }

    /// Resets the key's back-off.
    pub fn forget(&self, key: &K) {
        self.inner.lock().forget(key);
    }

    /// How often [`Queue::retry`] was called for the key since it was last forgotten.
    pub fn failures(&self, key: &K) -> u32 {
        self.inner.lock().failures(key)
    }

    /// The next key, once there is one. `None` when the queue is shut down and no key waits.
    ///
    /// Cancel-safe: a key is taken only in the moment in which it is returned.
    pub async fn next(&self) -> Option<K> {
        let inner = &*self.inner;
        inner.add_due(&mut inner.lock());
        let permit = tokio::select! {
            biased;
            permit = inner.ready.acquire() => permit,
            never = inner.keep_time() => match never {},
        };
        if let Ok(permit) = permit {
            permit.forget();
        }
        // A closed semaphore means shutdown: what still waits is handed out without permits.
        let taken = inner.lock().take(Instant::now())?;
        inner.metrics.depth.dec();
        inner.metrics.waited.observe(taken.waited.as_secs_f64());
        Some(taken.key)
    }

    /// Gives a key back that [`Queue::next`] had returned. A key that nobody holds is ignored.
    pub fn done(&self, key: &K) {
        let mut state = self.inner.lock();
        if let Some(finished) = state.finish(key, Instant::now()) {
            self.inner.metrics.worked.observe(finished.worked.as_secs_f64());
            if finished.again {
                self.inner.ready.add_permits(1);
            }
        }
    }

    /// Ignores all later adds and drops delayed keys. Waiting keys are still handed out, then workers get `None` (manager 12.2).
    pub fn shut_down(&self) {
        self.inner.shut(false);
    }

    /// As [`Queue::shut_down`], and drops the waiting keys too: workers get `None` at once. For a process that ends, whose successor looks
    /// at every object anyway (manager 8, our contract).
    pub fn shut_down_now(&self) {
        self.inner.shut(true);
    }

    /// Keys that wait to be handed out; not those in progress or delayed.
    pub fn len(&self) -> usize {
        self.inner.lock().waiting()
    }

    /// Whether no key waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Ord + Clone + Send> Inner<K> {
    fn lock(&self) -> MutexGuard<'_, State<K>> {
        // Nothing of ours panics while it holds the lock except a key's own `Ord` or `Clone`, and the state stays usable then.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn account(&self, added: Added) {
        if added != Added::Nothing {
            self.metrics.adds.inc();
            self.metrics.depth.inc();
        }
        if added == Added::Waits {
            self.ready.add_permits(1);
        }
    }

    fn delay(&self, state: &mut State<K>, key: K, priority: Priority, delay: Duration) {
        if state.is_shut() {
            return;
        }
        self.metrics.retries.inc();
        let now = Instant::now();
        if delay.is_zero() {
            self.account(state.add(key, priority, now));
        } else if state.delay(key, priority, delay, now) {
            self.nearer.notify_one();
        }
    }

    fn add_due(&self, state: &mut State<K>) {
        let now = Instant::now();
        while let Some(added) = state.add_due(now) {
            self.account(added);
        }
    }

    /// Adds delayed keys when they are due. All waiting workers call this; one at a time does it, the others are behind the lock.
    async fn keep_time(&self) -> Infallible {
        let _one = self.timekeeper.lock().await;
        loop {
            let earliest = {
                let mut state = self.lock();
                self.add_due(&mut state);
                state.earliest()
            };
            // `nearer` keeps a notification that comes before we wait for it.
            match earliest {
                Some(at) => tokio::select! {
                    biased;
                    () = sleep_until(at) => {}
                    () = self.nearer.notified() => {}
                },
                None => self.nearer.notified().await,
            }
        }
    }

    fn shut(&self, drop_waiting: bool) {
        let mut state = self.lock();
        let dropped = state.shut(drop_waiting);
        self.metrics.depth.dec_by(i64::try_from(dropped).unwrap_or(i64::MAX));
        self.ready.close();
    }
}

impl<K: Ord + Clone + Send> Progress for Inner<K> {
    fn in_progress(&self) -> (Duration, Duration) {
        self.lock().in_progress(Instant::now())
    }
}

impl<K: Ord + Clone + Send> Drop for Inner<K> {
    fn drop(&mut self) {
        // A queue of the same name may follow (a new term): the gauge must not keep what this one never handed out.
        let left = self.lock().depth();
        self.metrics.depth.dec_by(i64::try_from(left).unwrap_or(i64::MAX));
    }
}
