//! Keeps the store's changes in a data file. Commits only queue their change; one thread takes all that is queued, writes it in one
//! durable transaction, and then says up to where everything is kept. Whoever answers a request waits for that, and watches read no further.
//!
//! Changes of one turn of a writer are published together, so that the file never holds half of what a request did.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::watch as notify;
use tracing::error;

use super::Stored;
use super::file::{DataError, DataFile};
use crate::request::UserInfo;

/// Most changes that wait to be written. A writer waits for room before its turn: only callers in this process, which do not wait for
/// their answers to be kept, ever come to that.
const QUEUE: usize = 20_000;

/// A change of what is kept.
pub(super) enum Change {
    /// A new version of an object; `tell` is the alarm of its resource.
    Version { log: Arc<str>, stored: Arc<Stored>, deleted: bool, tell: notify::Sender<u64> },
    /// Events of a resource up to `floor` were forgotten, and with them versions that nothing else needs.
    Forgotten { log: Arc<str>, floor: u64, superseded: Vec<u64> },
    /// Revisions up to this one were compacted.
    Compacted(u64),
    /// A token was issued (`None`: is no longer known).
    Token { token: Box<str>, user: Option<(UserInfo, jiff::Timestamp)> },
}

/// The state cannot be kept any more: the file cannot be written. What is in memory is ahead of it, so the server has to end.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the state can no longer be kept: {0}")]
pub struct NotKept(pub Arc<str>);

/// How far the thread has come.
#[derive(Debug, Clone, Default)]
struct Progress {
    /// Changes up to this number are durable.
    done: u64,
    failed: Option<NotKept>,
}

#[derive(Default)]
struct Queue {
    /// Of the turn that is going on.
    open: Vec<Change>,
    /// To be written.
    ready: Vec<Change>,
    /// Number of the last change.
    queued: u64,
    /// Number of the last change that is ready.
    published: u64,
    closing: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Something is ready, or the end has come.
    work: Condvar,
    /// What was ready was taken.
    room: Condvar,
    /// The last durable revision.
    durable: AtomicU64,
    progress: notify::Sender<Progress>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing between lock and unlock can panic half-way.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writing thread and the way to it. Dropping it writes what is still ready.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Keeper {
    /// Starts the thread. Everything up to revision `durable` is in the file already.
    pub(super) fn start(file: DataFile, durable: u64) -> Result<Keeper, DataError> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
            durable: AtomicU64::new(durable),
            progress: notify::channel(Progress::default()).0,
        });
        let (theirs, path) = (Arc::clone(&shared), file.path().to_owned());
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                let error = work(&file, &theirs);
                theirs.progress.send_modify(|progress| progress.failed = Some(error));
                // Whoever has looked but does not wait yet holds the lock.
                drop(theirs.lock());
                theirs.room.notify_all();
            })
            .map_err(|source| DataError::System { path, source })?;
        Ok(Keeper { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Queues a change of the turn that is going on.
    pub(super) fn push(&self, change: Change) {
        let mut queue = self.shared.lock();
        queue.open.push(change);
        queue.queued += 1;
    }

    /// The turn is over: its changes may be written.
    pub(super) fn publish(&self) {
        let mut guard = self.shared.lock();
        let queue = &mut *guard;
        if !queue.open.is_empty() {
            queue.ready.append(&mut queue.open);
            queue.published = queue.queued;
            self.shared.work.notify_one();
        }
    }

    /// Waits until there is room for the changes of another turn.
    pub(super) fn make_room(&self) {
        let queue = self.shared.lock();
        let full = |queue: &mut Queue| queue.ready.len() > QUEUE && self.shared.progress.borrow().failed.is_none();
        drop(self.shared.room.wait_while(queue, full).unwrap_or_else(PoisonError::into_inner));
    }

    /// The last durable revision.
    pub(super) fn durable(&self) -> u64 {
        self.shared.durable.load(Ordering::Acquire)
    }

    /// Waits until everything that happened before the call is durable.
    pub(super) async fn settled(&self) -> Result<(), NotKept> {
        let wanted = self.shared.lock().queued;
        self.reached(|progress| progress.done >= wanted).await
    }

    /// Waits until the file cannot be written any more.
    pub(super) async fn failed(&self) -> NotKept {
        match self.reached(|_| false).await {
            Err(error) => error,
            Ok(()) => std::future::pending().await,
        }
    }

    async fn reached(&self, there: impl Fn(&Progress) -> bool) -> Result<(), NotKept> {
        let mut progress = self.shared.progress.subscribe();
        let seen = progress.wait_for(|progress| there(progress) || progress.failed.is_some()).await;
        match seen.as_deref() {
            Ok(progress) if there(progress) => Ok(()),
            Ok(Progress { failed: Some(error), .. }) => Err(error.clone()),
            Ok(_) | Err(_) => Err(ended()),
        }
    }

    /// Writes what is ready, and closes the file. What comes later is not kept.
    pub(super) fn close(&self) {
        self.publish();
        self.shared.lock().closing = true;
        self.shared.work.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.close();
    }
}

fn ended() -> NotKept {
    NotKept("the server has ended".into())
}

/// Writes until the end, and says why it ended.
fn work(file: &DataFile, shared: &Shared) -> NotKept {
    loop {
        let (changes, number) = {
            let mut queue = shared.lock();
            while queue.ready.is_empty() {
                if queue.closing {
                    return ended();
                }
                queue = shared.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            (std::mem::take(&mut queue.ready), queue.published)
        };
        shared.room.notify_all();
        if let Err(fault) = file.write(&changes) {
            error!(error = %fault, "the data file cannot be written");
            return NotKept(fault.to_string().into());
        }
        let mut alarms: BTreeMap<&str, (&notify::Sender<u64>, u64)> = BTreeMap::new();
        for change in &changes {
            if let Change::Version { log, stored, tell, .. } = change {
                alarms.insert(log, (tell, stored.rv));
            }
        }
        if let Some(last) = alarms.values().map(|(_, rv)| *rv).max() {
            shared.durable.store(last, Ordering::Release);
        }
        for (tell, rv) in alarms.into_values() {
            tell.send_replace(rv);
        }
        shared.progress.send_modify(|progress| progress.done = number);
    }
}
