//! The rules of manager 12 and what we do better (manager 17), under a paused clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use evenkeel_queue::{Bucket, Priority, Queue, QueueMetrics, QueueOptions};
use futures::FutureExt;
use tokio::task::unconstrained;
use tokio::time::{Instant, advance, sleep, timeout};

const MS: Duration = Duration::from_millis(1);
const SEC: Duration = Duration::from_secs(1);

fn queue() -> Queue<&'static str> {
    Queue::new(QueueOptions { overall: None, ..QueueOptions::named("test") }, &QueueMetrics::default())
}

/// What a worker gets without waiting; unconstrained because a used-up budget of the runtime would look like an empty queue.
fn ready<K: Ord + Clone + Send>(queue: &Queue<K>) -> Option<K> {
    unconstrained(queue.next()).now_or_never().flatten()
}

fn pass<K: Ord + Clone + Send>(queue: &Queue<K>) -> Option<K> {
    let key = ready(queue);
    if let Some(key) = &key {
        queue.done(key);
    }
    key
}

/// manager 16.30, first half.
#[tokio::test(start_paused = true)]
async fn a_key_added_a_thousand_times_while_waiting_is_handed_out_once() {
    let queue = queue();
    for _ in 0..1000 {
        queue.add("a", Priority::Changed);
    }
    assert_eq!(queue.len(), 1);
    assert_eq!(pass(&queue), Some("a"));
    assert_eq!(pass(&queue), None);
}

/// manager 16.30, second half; manager 12.1.
#[tokio::test(start_paused = true)]
async fn a_key_added_while_in_progress_is_handed_out_exactly_once_more() {
    let queue = queue();
    queue.add("a", Priority::Changed);
    assert_eq!(ready(&queue), Some("a"));
    for _ in 0..1000 {
        queue.add("a", Priority::Changed);
    }
    assert_eq!(ready(&queue), None, "nobody else may hold it");
    queue.done(&"a");
    assert_eq!(pass(&queue), Some("a"));
    assert_eq!(pass(&queue), None);
}

/// manager 12.1.
#[tokio::test(start_paused = true)]
async fn keys_come_out_in_the_order_in_which_they_were_added() {
    let queue = queue();
    for key in ["c", "a", "b"] {
        queue.add(key, Priority::Changed);
    }
    assert_eq!([pass(&queue), pass(&queue), pass(&queue)], [Some("c"), Some("a"), Some("b")]);
}

/// manager 12.2.
#[tokio::test(start_paused = true)]
async fn after_shutdown_waiting_keys_are_handed_out_and_later_adds_ignored() {
    let queue = queue();
    queue.add("a", Priority::Changed);
    queue.add("b", Priority::Existing);
    queue.add_after("delayed", SEC);
    queue.shut_down();
    queue.add("late", Priority::Changed);
    queue.add_after("late", MS);
    queue.retry("late");
    advance(10 * SEC).await;
    assert_eq!(queue.next().await, Some("a"));
    assert_eq!(queue.next().await, Some("b"));
    assert_eq!(queue.next().await, None);
}

/// manager 12.2: what was added while in progress before the shutdown is still handed out.
#[tokio::test(start_paused = true)]
async fn after_shutdown_a_key_remembered_in_progress_still_comes() {
    let queue = queue();
    queue.add("a", Priority::Changed);
    assert_eq!(queue.next().await, Some("a"));
    queue.add("a", Priority::Changed);
    queue.shut_down();
    assert_eq!(queue.next().await, None);
    queue.done(&"a");
    assert_eq!(queue.next().await, Some("a"));
}

/// manager 8, our contract: stop taking new keys.
#[tokio::test(start_paused = true)]
async fn shutting_down_now_hands_out_nothing_more() {
    let queue = queue();
    for key in ["a", "b", "c"] {
        queue.add(key, Priority::Changed);
    }
    assert_eq!(ready(&queue), Some("a"));
    queue.add("a", Priority::Changed);
    queue.shut_down_now();
    assert_eq!(queue.next().await, None);
    queue.done(&"a");
    assert_eq!(queue.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn shutdown_wakes_every_waiting_worker() {
    let queue = queue();
    queue.add_after("delayed", 100 * SEC);
    let workers: Vec<_> = (0..5)
        .map(|_| {
            tokio::spawn({
                let queue = queue.clone();
                async move { queue.next().await }
            })
        })
        .collect();
    sleep(MS).await;
    queue.shut_down();
    for worker in workers {
        assert_eq!(timeout(SEC, worker).await.expect("woken").unwrap(), None);
    }
}

/// manager 12.3.
#[tokio::test(start_paused = true)]
async fn of_two_delays_the_earlier_due_time_wins() {
    let queue = queue();
    let start = Instant::now();
    queue.add_after("a", 5 * SEC);
    queue.add_after("a", 2 * SEC);
    queue.add_after("a", 9 * SEC);
    assert_eq!(queue.next().await, Some("a"));
    assert_eq!(start.elapsed(), 2 * SEC);
    queue.done(&"a");
    assert!(timeout(100 * SEC, queue.next()).await.is_err(), "the later ones are gone");
}

/// manager 12.3.
#[tokio::test(start_paused = true)]
async fn no_delay_means_at_once() {
    let queue = queue();
    queue.add_after("a", Duration::ZERO);
    assert_eq!(ready(&queue), Some("a"));
}

/// manager 17.7: upstream keeps the delay and works once more for nothing.
#[tokio::test(start_paused = true)]
async fn a_delay_ends_when_the_key_is_handed_out_at_once() {
    let queue = queue();
    queue.add_after("a", 5 * SEC);
    queue.add("a", Priority::Changed);
    assert_eq!(pass(&queue), Some("a"));
    assert!(timeout(100 * SEC, queue.next()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_delay_asked_for_by_the_pass_itself_is_kept() {
    let queue = queue();
    queue.add("a", Priority::Changed);
    assert_eq!(ready(&queue), Some("a"));
    queue.add_after("a", 5 * SEC);
    queue.done(&"a");
    assert_eq!(ready(&queue), None);
    let start = Instant::now();
    assert_eq!(queue.next().await, Some("a"));
    assert_eq!(start.elapsed(), 5 * SEC);
}

#[tokio::test(start_paused = true)]
async fn a_delay_that_ends_while_the_key_is_in_progress_is_remembered() {
    let queue = queue();
    queue.add("a", Priority::Changed);
    assert_eq!(ready(&queue), Some("a"));
    queue.add_after("a", SEC);
    advance(2 * SEC).await;
    assert_eq!(ready(&queue), None);
    queue.done(&"a");
    assert_eq!(ready(&queue), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn a_waiting_worker_is_woken_by_a_delay_that_became_nearer() {
    let queue = queue();
    queue.add_after("late", 100 * SEC);
    let start = Instant::now();
    let worker = tokio::spawn({
        let queue = queue.clone();
        async move { queue.next().await }
    });
    sleep(SEC).await;
    queue.add_after("early", SEC);
    assert_eq!(worker.await.unwrap(), Some("early"));
    assert_eq!(start.elapsed(), 2 * SEC);
}

#[tokio::test(start_paused = true)]
async fn absurd_delays_are_kept_without_harm() {
    let queue = queue();
    queue.add_after("a", Duration::MAX);
    assert!(timeout(1_000_000 * SEC, queue.next()).await.is_err());
    queue.add_after("a", MS);
    assert_eq!(queue.next().await, Some("a"));
}

/// manager 12.4 and the default row of 12.5.
#[tokio::test(start_paused = true)]
async fn retries_back_off_by_key_until_forgotten() {
    let queue = queue();
    for (key, wait) in [("a", 5), ("a", 10), ("b", 5), ("a", 20)] {
        let start = Instant::now();
        queue.retry(key);
        assert_eq!(queue.next().await, Some(key));
        queue.done(&key);
        assert_eq!(start.elapsed(), wait * MS);
    }
    assert_eq!(queue.failures(&"a"), 3);
    queue.forget(&"a");
    assert_eq!(queue.failures(&"a"), 0);
    let start = Instant::now();
    queue.retry("a");
    assert_eq!(queue.next().await, Some("a"));
    assert_eq!(start.elapsed(), 5 * MS);
}

/// manager 12.5: the larger delay wins.
#[tokio::test(start_paused = true)]
async fn many_failing_keys_share_the_overall_limit() {
    let options = QueueOptions { overall: Some(Bucket { per_second: 10.0, burst: 2 }), ..QueueOptions::named("test") };
    let queue = Queue::new(options, &QueueMetrics::default());
    let start = Instant::now();
    for key in 0..5 {
        queue.retry(key);
    }
    let mut at = Vec::new();
    for _ in 0..5 {
        let key = queue.next().await.unwrap();
        at.push((key, start.elapsed().as_millis()));
        queue.done(&key);
    }
    assert_eq!(at, [(0, 5), (1, 5), (2, 100), (3, 200), (4, 300)]);
}

#[tokio::test(start_paused = true)]
async fn what_changed_comes_before_what_merely_exists() {
    let queue = queue();
    queue.add("existing", Priority::Existing);
    queue.add("changed", Priority::Changed);
    assert_eq!([pass(&queue), pass(&queue)], [Some("changed"), Some("existing")]);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_existing_key_is_promoted_when_it_changes() {
    let queue = queue();
    for key in ["a", "b", "c"] {
        queue.add(key, Priority::Existing);
    }
    queue.add("c", Priority::Changed);
    queue.add("c", Priority::Existing);
    assert_eq!([pass(&queue), pass(&queue), pass(&queue), pass(&queue)], [Some("c"), Some("a"), Some("b"), None]);
}

#[tokio::test(start_paused = true)]
async fn an_existing_key_in_progress_that_changes_comes_back_as_changed() {
    let queue = queue();
    queue.add("a", Priority::Existing);
    assert_eq!(ready(&queue), Some("a"));
    queue.add("b", Priority::Existing);
    queue.add("a", Priority::Existing);
    queue.add("a", Priority::Changed);
    queue.done(&"a");
    assert_eq!([pass(&queue), pass(&queue)], [Some("a"), Some("b")]);
}

#[tokio::test(start_paused = true)]
async fn a_failing_existing_key_does_not_push_ahead_of_changed_ones() {
    let queue = queue();
    queue.add("old", Priority::Existing);
    assert_eq!(ready(&queue), Some("old"));
    queue.retry("old");
    queue.done(&"old");
    advance(SEC).await;
    queue.add("new", Priority::Changed);
    assert_eq!([pass(&queue), pass(&queue)], [Some("new"), Some("old")]);
}

#[tokio::test(start_paused = true)]
async fn existing_keys_do_not_starve_behind_a_flood_of_changes() {
    let queue = Queue::new(QueueOptions::named("test"), &QueueMetrics::default());
    for key in 0..100 {
        queue.add(key, Priority::Existing);
    }
    let mut served = 0;
    for key in 1000..1800 {
        queue.add(key, Priority::Changed);
        queue.add(key + 1000, Priority::Changed);
        served += usize::from(pass(&queue).is_some_and(|key| key < 100));
    }
    assert_eq!(served, 100, "one hand-out in eight");
}

#[tokio::test(start_paused = true)]
async fn changed_keys_that_come_alone_owe_nothing_to_existing_ones_added_later() {
    let queue = Queue::new(QueueOptions::named("test"), &QueueMetrics::default());
    for key in 0..50 {
        queue.add(key, Priority::Changed);
        pass(&queue);
    }
    queue.add(100, Priority::Existing);
    queue.add(50, Priority::Changed);
    assert_eq!(pass(&queue), Some(50));
}

#[tokio::test(start_paused = true)]
async fn waiting_workers_are_served_in_the_order_in_which_they_came() {
    let queue = Queue::new(QueueOptions::named("test"), &QueueMetrics::default());
    let mut workers = Vec::new();
    for _ in 0..4 {
        workers.push(tokio::spawn({
            let queue = queue.clone();
            async move { queue.next().await }
        }));
        sleep(MS).await;
    }
    for key in 0..4 {
        queue.add(key, Priority::Changed);
    }
    let late = ready(&queue);
    for (key, worker) in workers.into_iter().enumerate() {
        assert_eq!(worker.await.unwrap(), Some(key));
    }
    assert_eq!(late, None, "a worker that comes later takes nothing from those before it");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_gives_up_waiting_loses_no_key() {
    let queue = queue();
    for round in 0..200 {
        let mut first = Box::pin(queue.next());
        let mut second = Box::pin(queue.next());
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        match round % 2 {
            0 => queue.add("a", Priority::Changed),
            _ => {
                queue.add_after("a", MS);
                advance(2 * MS).await;
            }
        }
        drop(first);
        assert_eq!(timeout(SEC, second).await.expect("woken"), Some("a"));
        queue.done(&"a");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_two_workers_hold_a_key_and_no_change_goes_unseen() {
    const KEYS: usize = 7;
    let queue: Queue<usize> = Queue::new(QueueOptions::named("test"), &QueueMetrics::default());
    let version: Arc<[AtomicUsize; KEYS]> = Arc::default();
    let seen: Arc<[AtomicUsize; KEYS]> = Arc::default();
    let held: Arc<[AtomicUsize; KEYS]> = Arc::default();
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let (queue, version, seen, held) = (queue.clone(), Arc::clone(&version), Arc::clone(&seen), Arc::clone(&held));
            tokio::spawn(async move {
                while let Some(key) = queue.next().await {
                    assert_eq!(held[key].fetch_add(1, Ordering::SeqCst), 0, "two holders");
                    let now = version[key].load(Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    seen[key].store(now, Ordering::SeqCst);
                    held[key].fetch_sub(1, Ordering::SeqCst);
                    queue.done(&key);
                }
            })
        })
        .collect();
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (queue, version) = (queue.clone(), Arc::clone(&version));
            tokio::spawn(async move {
                for turn in 0..5_000_usize {
                    let key = (turn * 5 + writer) % KEYS;
                    version[key].fetch_add(1, Ordering::SeqCst);
                    match turn % 3 {
                        0 => queue.add_after(key, Duration::from_micros(50)),
                        1 => queue.add(key, Priority::Existing),
                        _ => queue.add(key, Priority::Changed),
                    }
                    if turn % 16 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let all_seen = async {
        while (0..KEYS).any(|key| version[key].load(Ordering::SeqCst) != seen[key].load(Ordering::SeqCst)) {
            sleep(MS).await;
        }
    };
    timeout(20 * SEC, all_seen).await.expect("every key was looked at after its last change");
    queue.shut_down();
    for worker in workers {
        worker.await.unwrap();
    }
}
